package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     bool
	}{
		{"a passed test is enough", `{"Action":"pass","Package":"p","Test":"T"}`, true},
		{"nothing run is a failure", `{"Action":"pass","Package":"p"}`, false},
		{"a skipped test is a failure", `{"Action":"pass","Package":"p","Test":"T"}` + "\n" + `{"Action":"skip","Package":"p","Test":"U"}`, false},
		{"a failed test is a failure", `{"Action":"fail","Package":"p","Test":"T"}`, false},
		{"a package that does not build is a failure", `{"Action":"pass","Package":"p","Test":"T"}` + "\n" + `{"Action":"fail","Package":"q"}`, false},
	} {
		var out strings.Builder
		if got := report(strings.NewReader(c.in), &out); got != c.want {
			t.Errorf("%s: report = %v, want %v\n%s", c.name, got, c.want, out.String())
		}
	}
}
