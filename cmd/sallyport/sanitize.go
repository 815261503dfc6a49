package main

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// sanitize replaces what could steer a terminal: control characters (C0, DEL,
// C1), bidirectional overrides and bytes that aren't UTF-8 become visible
// escapes. Newline and tab stay.
func sanitize(s string) string {
	if !needsSanitizing(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			writeHex(&b, s[i])
		case harmful(r) && r < 0x80:
			writeHex(&b, s[i])
		case harmful(r):
			const hex = "0123456789abcdef"
			b.WriteString(`\u`)
			for shift := 12; shift >= 0; shift -= 4 {
				b.WriteByte(hex[r>>shift&0xf])
			}
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

// sanitizeJSON is sanitize for a JSON document, which stays one with the same
// values: what is harmful stands within its strings alone, and is escaped there.
func sanitizeJSON(data []byte) []byte {
	if !needsSanitizing(string(data)) {
		return data
	}
	out := make([]byte, 0, len(data)+16)
	for _, r := range string(data) { // what isn't UTF-8 becomes U+FFFD
		if harmful(r) {
			out = fmt.Appendf(out, `\u%04x`, r)
		} else {
			out = utf8.AppendRune(out, r)
		}
	}
	return out
}

func needsSanitizing(s string) bool {
	for i, r := range s {
		if harmful(r) {
			return true
		}
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return true
			}
		}
	}
	return false
}

// harmful reports whether a terminal may act on r instead of showing it.
func harmful(r rune) bool {
	switch {
	case r == '\n' || r == '\t':
		return false
	case r < 0x20 || r >= 0x7f && r < 0xa0:
		return true
	case r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x200e || r == 0x200f:
		return true // direction overrides: text that reads otherwise than it is
	}
	return false
}

func writeHex(b *strings.Builder, c byte) {
	const hex = "0123456789abcdef"
	b.WriteString(`\x`)
	b.WriteByte(hex[c>>4])
	b.WriteByte(hex[c&0xf])
}
