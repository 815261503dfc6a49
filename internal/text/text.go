// Package text judges strings that came from a peer: whether they are UTF-8 as
// MQTT demands it, and whether they are free of characters that hide or forge.
// It changes nothing and allocates nothing.
package text

// Masks for looking at eight bytes at once.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// ValidUTF8 reports whether s is a UTF-8 string that MQTT allows: well-formed,
// without overlong forms, surrogates (MQTT-1.5.4-1) or U+0000 (MQTT-1.5.4-2).
// A byte order mark is an ordinary character (MQTT-1.5.4-3).
func ValidUTF8[T ~string | ~[]byte](s T) bool {
	i := 0
	for {
		// A byte of 0x80 and up has its high bit set, and the lowest zero byte
		// gets one by the subtraction; any other byte gets none.
		for len(s)-i >= 8 {
			w := load8(s, i)
			if (w|(w-ones))&highs != 0 {
				break
			}
			i += 8
		}
		// Up to eight bytes singly, then eight at once again.
		for end := min(i+8, len(s)); i < end; {
			if c := s[i]; c-1 < 0x7F {
				i++
				continue
			}
			r, size := decode(s, i)
			if size == 0 || r == 0 {
				return false
			}
			i += size
		}
		if i >= len(s) {
			return true
		}
	}
}

// Clean reports whether s is valid as ValidUTF8 has it and also holds no
// control character (U+0001 to U+001F, U+007F to U+009F) and no noncharacter
// (U+FDD0 to U+FDEF, and the last two code points of every plane): the
// characters that a receiver may refuse (MQTT 5.0, 1.5.4), and that have no
// business in a name that is shown to people and compared by rules.
func Clean[T ~string | ~[]byte](s T) bool {
	i := 0
	for {
		// The lowest byte under 0x20 gets a high bit by the subtraction, 0x7F
		// by the addition, and 0x80 and up has it; 0x20 to 0x7E get none.
		for len(s)-i >= 8 {
			w := load8(s, i)
			if (w|(w-0x20*ones)|(w+ones))&highs != 0 {
				break
			}
			i += 8
		}
		for end := min(i+8, len(s)); i < end; {
			if c := s[i]; c-0x20 < 0x5F {
				i++
				continue
			}
			r, size := decode(s, i)
			if size == 0 || !clean(r) {
				return false
			}
			i += size
		}
		if i >= len(s) {
			return true
		}
	}
}

// clean reports whether r is neither a control character nor a noncharacter.
func clean(r rune) bool {
	switch {
	case r < 0x20, 0x7F <= r && r <= 0x9F:
		return false
	case 0xFDD0 <= r && r <= 0xFDEF, r&0xFFFE == 0xFFFE:
		return false
	}
	return true
}

// load8 loads s[i:i+8]; the compiler makes it one instruction.
func load8[T ~string | ~[]byte](s T, i int) uint64 {
	b := s[i : i+8]
	return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
		uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
}

// decode decodes the character at s[i]; size 0 means that it is not well-formed
// (Unicode, table 3-7). It is here because unicode/utf8 has no generic form.
func decode[T ~string | ~[]byte](s T, i int) (r rune, size int) {
	c := s[i]
	// low and high bound the second byte: that is where overlong forms,
	// surrogates and what lies beyond U+10FFFF are told.
	low, high := byte(0x80), byte(0xBF)
	switch {
	case c < 0x80:
		return rune(c), 1
	case c < 0xC2:
		return 0, 0
	case c < 0xE0:
		r, size = rune(c&0x1F), 2
	case c < 0xF0:
		r, size = rune(c&0x0F), 3
		if c == 0xE0 {
			low = 0xA0
		} else if c == 0xED {
			high = 0x9F
		}
	case c < 0xF5:
		r, size = rune(c&0x07), 4
		if c == 0xF0 {
			low = 0x90
		} else if c == 0xF4 {
			high = 0x8F
		}
	default:
		return 0, 0
	}
	if len(s)-i < size {
		return 0, 0
	}
	for k := 1; k < size; k++ {
		c := s[i+k]
		if c < low || c > high {
			return 0, 0
		}
		r = r<<6 | rune(c&0x3F)
		low, high = 0x80, 0xBF
	}
	return r, size
}
