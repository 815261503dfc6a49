package domain

import (
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	for _, d := range []string{"a.example", "A.Example", "mqtt-1.example.org", "xn--bcher-kva.example", "1.example", strings.Repeat("a", 63) + ".example"} {
		if problem := Check(d); problem != "" {
			t.Errorf("%s %s", d, problem)
		}
	}
	for _, d := range []string{"", ".", "a", "a.", ".a.example", "a..example", "*.a.example", "a.*.example", "192.0.2.1", "2001:db8::1", "[::1]", "1.2.3", "a.1",
		"b\u00fccher.example", "a_b.example", "-a.example", "a-.example", "a.example:443", "a.example/", " a.example", strings.Repeat("a", 64) + ".example", strings.Repeat("a.", 124) + "example"} {
		if Check(d) == "" {
			t.Errorf("%q was accepted", d)
		}
	}
}
