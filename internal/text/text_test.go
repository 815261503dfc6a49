package text

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestStrings(t *testing.T) {
	tests := []struct {
		name         string
		s            string
		valid, clean bool
	}{
		{"empty is clean", "", true, true},
		{"ASCII is clean", "sensors/1/temperature", true, true},
		{"the last printable ASCII character is clean", "~~~~~~~~~", true, true},
		{"two, three and four bytes are clean", "é€😀", true, true},
		{"a byte order mark is a character", "\xEF\xBB\xBFa", true, true},
		{"the replacement character is clean", "\uFFFD", true, true},
		{"NUL alone is refused", "\x00", false, false},
		{"NUL among eight is refused", "abc\x00defgh", false, false},
		{"NUL in the tail is refused", "abcdefgh\x00", false, false},
		{"overlong NUL is refused", "\xC0\x80", false, false},
		{"overlong slash is refused", "\xC0\xAF", false, false},
		{"overlong in three bytes is refused", "\xE0\x9F\xBF", false, false},
		{"overlong in four bytes is refused", "\xF0\x8F\xBF\xBF", false, false},
		{"the first surrogate is refused", "\xED\xA0\x80", false, false},
		{"the last surrogate is refused", "\xED\xBF\xBF", false, false},
		{"U+110000 is refused", "\xF4\x90\x80\x80", false, false},
		{"lead byte F5 is refused", "\xF5\x80\x80\x80", false, false},
		{"a lone continuation byte is refused", "a\x80", false, false},
		{"a truncated character is refused", "\xE2\x82", false, false},
		{"a lead byte followed by ASCII is refused", "\xC3a", false, false},
		{"a bad third byte is refused", "\xE2\x82a", false, false},
		{"U+0001 is valid but not clean", "\x01", true, false},
		{"a control character among eight is valid but not clean", "abcd\x1Fefgh", true, false},
		{"DEL is valid but not clean", "abcdefgh\x7F", true, false},
		{"DEL among eight is valid but not clean", "abc\x7Fdefgh", true, false},
		{"U+0080 is valid but not clean", "\u0080", true, false},
		{"U+009F is valid but not clean", "\u009F", true, false},
		{"U+00A0 is clean", "\u00A0", true, true},
		{"U+FDCF is clean", "\uFDCF", true, true},
		{"U+FDD0 is valid but not clean", "\uFDD0", true, false},
		{"U+FDEF is valid but not clean", "\uFDEF", true, false},
		{"U+FDF0 is clean", "\uFDF0", true, true},
		{"U+FFFE is valid but not clean", "\uFFFE", true, false},
		{"U+FFFF is valid but not clean", "\uFFFF", true, false},
		{"U+1FFFE is valid but not clean", "\U0001FFFE", true, false},
		{"U+10FFFF is valid but not clean", "\U0010FFFF", true, false},
		{"U+10FFFD is clean", "\U0010FFFD", true, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// Every alignment to the eight-byte steps.
			for pad := range 17 {
				s := strings.Repeat("x", pad) + tt.s + strings.Repeat("y", 16-pad)
				if got := ValidUTF8(s); got != tt.valid {
					t.Errorf("ValidUTF8(%q) = %v, want %v", s, got, tt.valid)
				}
				if got := Clean([]byte(s)); got != tt.clean {
					t.Errorf("Clean(%q) = %v, want %v", s, got, tt.clean)
				}
			}
			if got := ValidUTF8([]byte(tt.s)); got != tt.valid {
				t.Errorf("ValidUTF8(%q) = %v, want %v", tt.s, got, tt.valid)
			}
			if got := Clean(tt.s); got != tt.clean {
				t.Errorf("Clean(%q) = %v, want %v", tt.s, got, tt.clean)
			}
		})
	}
}

func TestEveryCodePoint(t *testing.T) {
	for r := rune(1); r <= unicode.MaxRune; r++ {
		if !utf8.ValidRune(r) {
			continue
		}
		s := string(r)
		if !ValidUTF8(s) {
			t.Fatalf("ValidUTF8(%U) = false, want true", r)
		}
		if got, want := Clean(s), plainClean(s); got != want {
			t.Fatalf("Clean(%U) = %v, want %v", r, got, want)
		}
	}
}

// plainValid is ValidUTF8 in terms of the standard library.
func plainValid(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

// plainClean is Clean in terms of the standard library.
func plainClean(s string) bool {
	for _, r := range s {
		if unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Noncharacter_Code_Point, r) {
			return false
		}
	}
	return plainValid(s)
}

func FuzzText(f *testing.F) {
	for _, s := range []string{"", "plain/topic/name", "é€😀", "\x00", "\xED\xA0\x80", "\xC0\xAF", "abcdefgh\x7F", "\uFDD0", "\xF4\x90\x80\x80"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := string(b)
		if got, want := ValidUTF8(b), plainValid(s); got != want {
			t.Errorf("ValidUTF8(%q) = %v, want %v", s, got, want)
		}
		if got, want := Clean(s), plainClean(s); got != want {
			t.Errorf("Clean(%q) = %v, want %v", s, got, want)
		}
	})
}

func BenchmarkValidUTF8(b *testing.B) {
	for name, s := range map[string]string{
		"topic": "plant/line7/robot12/temperature",
		"short": "a/b/c",
		"words": strings.Repeat("größe ", 20),
	} {
		b.Run(name, func(b *testing.B) {
			p := []byte(s)
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				ValidUTF8(p)
			}
		})
		b.Run(name+"/reference", func(b *testing.B) {
			p := []byte(s)
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				utf8.Valid(p)
			}
		})
	}
}
