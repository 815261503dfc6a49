package jwt

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// Token is what a token says that a key vouches for. Claims that are missing are
// zero.
type Token struct {
	Issuer    string
	Subject   string
	ID        string
	Audience  []string
	Expires   time.Time
	NotBefore time.Time
	IssuedAt  time.Time

	// Certificate is the SHA-256 of the certificate that the token is bound to, in
	// DER (x5t#S256 of cnf, RFC 8705 3.1); nil if it is bound to none.
	Certificate []byte

	// Claims has every claim, those above too: string, [json.Number], bool, nil,
	// []any and map[string]any.
	Claims map[string]any

	KeyID      string     // of the key that vouches, as configured; may be empty
	Thumbprint Thumbprint // of the key that vouches: if it leaves the [KeySet], the token's word ends
	Secret     bool       // that key is a secret one: see [Thumbprint]
	Algorithm  Algorithm
}

// Strings returns the texts of a claim that is a text or a list of texts, such as
// groups or roles. path leads through objects: "realm_access", "roles". ok is false
// if there is no such claim, or anything in it is no text.
func (t *Token) Strings(path ...string) (all []string, ok bool) {
	var v any = t.Claims
	for _, name := range path {
		o, isObject := v.(object)
		if !isObject {
			return nil, false
		}
		if v, ok = o[name]; !ok {
			return nil, false
		}
	}
	return texts(v)
}

// texts returns a text, or a list of them.
func texts(v any) ([]string, bool) {
	switch v := v.(type) {
	case string:
		return []string{v}, true
	case []any:
		all := make([]string, 0, len(v))
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, false
			}
			all = append(all, s)
		}
		return all, true
	}
	return nil, false
}

// newToken reads the claims of RFC 7519 4.1 and RFC 8705 3.1, and holds each to its
// type.
func newToken(claims object) (*Token, error) {
	t := &Token{Claims: claims}
	for name, to := range map[string]*string{"iss": &t.Issuer, "sub": &t.Subject, "jti": &t.ID} {
		var err error
		if *to, _, err = text(claims, name); err != nil {
			return nil, err
		}
	}
	for name, to := range map[string]*time.Time{"exp": &t.Expires, "nbf": &t.NotBefore, "iat": &t.IssuedAt} {
		v, ok := claims[name]
		if !ok {
			continue
		}
		var err error
		if *to, err = numericDate(name, v); err != nil {
			return nil, err
		}
	}
	if v, ok := claims["aud"]; ok {
		if t.Audience, ok = texts(v); !ok {
			return nil, refuse(Malformed, "aud is neither a text nor a list of texts")
		}
	}
	if v, ok := claims["cnf"]; ok {
		var err error
		if t.Certificate, err = confirmation(v); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// The bounds of a NumericDate: the end of the year 9999, and the digits that a
// fraction may have.
const (
	lastSecond   = 253402300799
	longestDate  = 32
	nanosecondsN = 9
)

// numericDate reads seconds since 1970 (RFC 7519 2), with a fraction, which is cut
// to nanoseconds. An exponent is refused, as is what is before 1970.
func numericDate(name string, v any) (time.Time, error) {
	bad := refuse(Malformed, "%s is no number of seconds from 0 to %d", name, lastSecond)
	n, ok := v.(json.Number)
	if !ok || len(n) > longestDate {
		return time.Time{}, bad
	}
	whole, fraction, _ := strings.Cut(string(n), ".")
	seconds, err := strconv.ParseUint(whole, 10, 63) // no sign
	if err != nil || seconds > lastSecond || strings.Trim(fraction, "0123456789") != "" {
		return time.Time{}, bad
	}
	if len(fraction) > nanosecondsN {
		fraction = fraction[:nanosecondsN]
	}
	fraction += strings.Repeat("0", nanosecondsN-len(fraction))
	nano, err := strconv.ParseInt(fraction, 10, 64)
	if err != nil {
		return time.Time{}, bad
	}
	return time.Unix(int64(seconds), nano), nil
}

// sha256Size is the length of x5t#S256, decoded.
const sha256Size = 32

// confirmation reads cnf. What it binds a token to is one thing (RFC 7800 3.1), and
// the one that can be seen here is a certificate.
func confirmation(v any) ([]byte, error) {
	o, ok := v.(object)
	if !ok {
		return nil, refuse(Malformed, "cnf is no object")
	}
	print, ok, err := text(o, "x5t#S256")
	if err != nil {
		return nil, err
	}
	if !ok || len(o) != 1 {
		return nil, refuse(NotBound, "cnf binds to something else than one certificate")
	}
	hash, err := decodeBase64(print)
	if err != nil || len(hash) != sha256Size {
		return nil, refuse(Malformed, "x5t#S256 is no SHA-256")
	}
	return hash, nil
}
