package jwt

import (
	"bytes"
	"strings"
)

// Claimed is what a token says of itself, for which nobody vouches: good for choosing
// a [Verifier] and for nothing else.
type Claimed struct {
	Issuer string // iss; empty if there is none, or the claims can't be read
	KeyID  string // kid; empty if there is none
}

// HasForm reports whether b looks like a token, signed or encrypted, from outside:
// three or five parts of the alphabet of base64url, the first of which begins like a
// JSON object. It takes no look at what is in them, and no length is too much for it.
func HasForm(b []byte) bool {
	if len(b) < 2 || b[0] != 'e' || strings.IndexByte("wxyz0123456789-_", b[1]) < 0 { // {
		return false
	}
	dots := 0
	for _, c := range b {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		case c == '.':
			dots++
		default:
			return false
		}
	}
	return dots == 2 || dots == 4
}

// Resembles reports whether a text may be a token, or the greater part of one, with
// whatever stands around it: what must not be shown. It errs on that side.
func Resembles(s string) bool {
	// A header is a JSON object with a member alg: {" or { and white space, in base64.
	for _, begin := range []string{"eyJ", "eyA", "ewo", "ewk", "ew0"} {
		if at := strings.Index(s, begin); at >= 0 && len(s)-at >= leastHeader {
			return true
		}
	}
	// Without its beginning: two dots between long parts.
	first, rest, _ := strings.Cut(s, ".")
	second, third, dotted := strings.Cut(rest, ".")
	return dotted && len(first) >= leastPart && len(second) >= leastPart && len(third) >= leastPart && HasForm([]byte("ey."+second+"."+third))
}

// What parts have at least, in letters: {"alg":"EdDSA"} has 15 bytes.
const (
	leastHeader = 16
	leastPart   = 12
)

// Peek reads what a token claims; ok is false if it is none by its form: [HasForm],
// of at most [MaxToken] bytes, with a header that is one JSON object and has an alg.
func Peek(token []byte) (c Claimed, ok bool) {
	if len(token) > MaxToken || !HasForm(token) {
		return Claimed{}, false
	}
	first, rest, _ := bytes.Cut(token, []byte("."))
	second, _, _ := bytes.Cut(rest, []byte("."))
	data, err := decodeBase64(string(first))
	if err != nil {
		return Claimed{}, false
	}
	h, err := parseObject(data, MaxToken)
	if err != nil {
		return Claimed{}, false
	}
	if _, signed, err := text(h, "alg"); err != nil || !signed {
		return Claimed{}, false
	}
	c.KeyID, _ = h["kid"].(string)
	if data, err = decodeBase64(string(second)); err != nil {
		return c, true
	}
	if claims, err := parseObject(data, MaxToken); err == nil {
		c.Issuer, _ = claims["iss"].(string)
	}
	return c, true
}
