package certfield

import (
	"encoding/asn1"
	"strings"
	"testing"
)

func TestWhatIsNoDERIsNotRead(t *testing.T) {
	long := strings.Repeat("x", 200)
	for _, tt := range []struct {
		name, der string
		body      string
		ok        bool
	}{
		{"short", "\x0c\x02ab", "ab", true},
		{"empty", "\x0c\x00", "", true},
		{"long", "\x0c\x81\xc8" + long, long, true},
		{"something behind it", "\x0c\x01ab", "a", true},
		{"nothing", "", "", false},
		{"no length", "\x0c", "", false},
		{"cut short", "\x0c\x03ab", "", false},
		{"an indefinite length", "\x30\x80\x00\x00", "", false},
		{"a length that is too long for its value", "\x0c\x81\x02ab", "", false},
		{"a length with a zero before it", "\x0c\x82\x00\xc8" + long, "", false},
		{"a length of four octets", "\x0c\x84\x00\x00\x00\x01a", "", false},
		{"a length that is cut short", "\x0c\x82\x01", "", false},
		{"a tag of several octets", "\x1f\x81\x01\x00", "", false},
	} {
		e, _, ok := next([]byte(tt.der))
		if ok != tt.ok || string(e.body) != tt.body {
			t.Errorf("%s: %q, %t; want %q, %t", tt.name, e.body, ok, tt.body, tt.ok)
		}
	}
}

// Whatever is read is what encoding/asn1 reads.
func FuzzNext(f *testing.F) {
	f.Add([]byte("\x30\x03\x0c\x01a"))
	f.Add([]byte("\x0c\x81\x80"))
	f.Fuzz(func(t *testing.T, der []byte) {
		e, rest, ok := next(der)
		if !ok {
			return
		}
		var raw asn1.RawValue
		want, err := asn1.Unmarshal(der, &raw)
		if err != nil || string(want) != string(rest) || string(raw.Bytes) != string(e.body) || string(raw.FullBytes) != string(e.full) {
			t.Errorf("%x: %x and %x, encoding/asn1 has %x and %x, %v", der, e.body, rest, raw.Bytes, want, err)
		}
	})
}
