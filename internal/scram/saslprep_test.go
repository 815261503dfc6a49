package scram

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPrepare(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		// RFC 4013, section 3.
		{"I\u00adX", "IX"},
		{"user", "user"},
		{"USER", "USER"},
		{"\u00aa", "a"},
		{"\u2168", "IX"},
		{"\u0007", ""},
		{"\u0627\u0031", ""},
		// Directions.
		{"\u0627\u0031\u0628", "\u0627\u0031\u0628"},
		{"\u0627a\u0628", ""},
		{"a\u0627", ""},
		// Spaces, and what maps to nothing.
		{"a b", "a b"},
		{" ", " "},
		{"a\u00a0\u3000b", "a  b"},
		{"a\u200db\ufe0f", "ab"},
		{"a\u200bb", ""},
		{"\ufeff", ""},
		// One way to write it.
		{"pa\u0308ss", "p\u00e4ss"},
		{"\uff41dmin", "admin"},
		// Prohibited: controls, private use, no character, no text, no scalar.
		{"a\x00", ""},
		{"a\x7f", ""},
		{"a\u0085", ""},
		{"a\u2028", ""},
		{"a\u200e", ""},
		{"a\u202e", ""},
		{"a\u2066", ""},
		{"a\ue000", ""},
		{"a\uffff", ""},
		{"a\U0001fffe", ""},
		{"a\ufffd", ""},
		{"a\u2ff0", ""},
		{"a\U000e0041", ""},
		{"a\U000e0080", ""}, // unassigned
		{"a\xff", ""},
		{"a\xed\xa0\x80", ""},
		{"", ""},
		// Newer than the RFC, and on keyboards.
		{"\U0001f511 key", "\U0001f511 key"},
		{strings.Repeat("x", MaxMessage), strings.Repeat("x", MaxMessage)},
		{strings.Repeat("x", MaxMessage+1), ""},
		{strings.Repeat("\ufdfa", MaxMessage/3), ""}, // eleven times as long once normalised
	} {
		if got, ok := prepare(tt.in); got != tt.want || ok != (tt.want != "") {
			t.Errorf("prepare(%.40q) = %.40q, %v, want %.40q", tt.in, got, ok, tt.want)
		}
	}
}

// What is prepared stays as it is: for every character there is.
func TestPrepareOnce(t *testing.T) {
	accepted := 0
	for r := rune(1); r <= utf8.MaxRune; r++ {
		s, ok := prepare(string(r))
		if !ok {
			continue
		}
		accepted++
		if again, ok := prepare(s); again != s || !ok {
			t.Errorf("prepare(%q) = %q, and that of it %q, %v", r, s, again, ok)
		}
	}
	if accepted < 100_000 {
		t.Errorf("%d characters are accepted", accepted)
	}
}
