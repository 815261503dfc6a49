package scram

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/bidi"
	"golang.org/x/text/unicode/norm"
)

// Prepare is a name as Lookup gets it: prepared by SASLprep. ok is false for one
// that no client can log in by. A name that Prepare changes is never looked up.
func Prepare(name string) (prepared string, ok bool) { return prepare(name) }

// prepare is SASLprep (RFC 4013): what may be typed in several ways becomes one
// string. ok is false for what it prohibits, for invalid UTF-8, for more than
// MaxMessage bytes (before or after) and for an empty result.
//
// It differs from the letter of RFC 3454 in three ways, to the strict side but
// for the first: characters count as assigned by today's Unicode, not by that
// of 2002, so that a password may hold what keyboards now offer; unassigned
// ones are refused in names too, because how they normalise is not settled; and
// U+200B is refused, which the tables both remove and turn into a space. Five
// ideographs (U+2F868 and others) normalise as Unicode's corrigendum 4 has them.
// Of the characters of 2002 all others give what Python's stringprep tables do.
func prepare(s string) (prepared string, ok bool) {
	if s == "" || len(s) > MaxMessage || !utf8.ValidString(s) {
		return "", false
	}
	if strings.ContainsRune(s, 0x200B) {
		return "", false
	}
	s = norm.NFKC.String(strings.Map(mapRune, s))
	if s == "" || len(s) > MaxMessage || strings.IndexFunc(s, prohibited) >= 0 || !directed(s) {
		return "", false
	}
	return s, true
}

// mapRune is the mapping of RFC 4013, section 2.1: table C.1.2 of RFC 3454
// becomes a space, table B.1 nothing (-1).
func mapRune(r rune) rune {
	switch {
	case r == 0x00A0, r == 0x1680, r >= 0x2000 && r <= 0x200A, r == 0x202F, r == 0x205F, r == 0x3000:
		return ' '
	case r == 0x00AD, r == 0x034F, r == 0x1806, r >= 0x180B && r <= 0x180D, r == 0x200C, r == 0x200D,
		r == 0x2060, r >= 0xFE00 && r <= 0xFE0F, r == 0xFEFF:
		return -1
	}
	return r
}

// prohibited is RFC 4013, section 2.3, and 2.5: tables C.1.2 to C.9 of RFC
// 3454, and what is not assigned.
func prohibited(r rune) bool {
	return unicode.IsControl(r) || // C.2.1, C.2.2
		unicode.In(r, unicode.Zl, unicode.Zp, unicode.Co, unicode.Cs, unicode.Cn) || // C.2.2, C.3, C.5; C.4 is within Cn
		r != ' ' && unicode.Is(unicode.Zs, r) || // C.1.2
		r == 0x06DD || r == 0x070F || r == 0x180E || // C.2.2
		r >= 0x200B && r <= 0x200F || r >= 0x202A && r <= 0x202E || // C.2.2, C.8
		r >= 0x2060 && r <= 0x206F || r == 0xFEFF || // C.2.2, C.8
		r >= 0xFFF9 && r <= 0xFFFD || r >= 0x2FF0 && r <= 0x2FFB || // C.6, C.7
		r == 0x0340 || r == 0x0341 || // C.8
		r >= 0x1D173 && r <= 0x1D17A || r >= 0xE0001 && r <= 0xE007F // C.2.2, C.9
}

// directed is RFC 3454, section 6: a string with characters written from right
// to left has none from left to right, and begins and ends with one.
func directed(s string) bool {
	right, left := false, false
	for _, r := range s {
		right = right || rightToLeft(r)
		left = left || class(r) == bidi.L
	}
	if !right {
		return true
	}
	first, _ := utf8.DecodeRuneInString(s)
	last, _ := utf8.DecodeLastRuneInString(s)
	return !left && rightToLeft(first) && rightToLeft(last)
}

func rightToLeft(r rune) bool { return class(r) == bidi.R || class(r) == bidi.AL }

func class(r rune) bidi.Class {
	p, _ := bidi.LookupRune(r)
	return p.Class()
}
