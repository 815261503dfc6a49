// Package jwt verifies JSON Web Tokens (RFC 7519) that are signed (JWS, RFC 7515)
// with the algorithms of RFC 7518 and RFC 8037, against keys that somebody
// configured. It makes no token, fetches nothing and does no I/O.
//
// The order is the defence (RFC 8725). The size comes first, then the form: three
// parts in base64url with nothing around or between, of which the header is read.
// The header says nothing but which of the algorithms of the configured keys it
// is and, by kid, which of these keys: a key has its algorithms from its kind, so
// that "none" does not exist and an RSA key never verifies HS256. Keys that a
// header brings along or points to (jwk, jku, x5c, x5u) are never looked at. Only
// what is signed is parsed any further, and only then the claims are judged.
//
// JSON is read strictly ([Verifier.Verify] says how), because two readers that
// understand a token differently are what attacks are made of: a name that stands
// twice refuses the token, and "EXP" is not "exp".
//
// Everything an [Error] says is a text of this package: neither a part of a token
// nor of a key is ever in it.
package jwt

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Bounds of a token, in bytes and in objects and arrays that lie in each other.
const (
	MaxToken = 16 << 10
	maxDepth = 16
)

// MaxSkew is how far clocks may be apart at most.
const MaxSkew = time.Minute

// Options is what a token must satisfy. What may be missing in a token is said by
// name; the zero value makes no [Verifier].
type Options struct {
	// Keys vouch for tokens, each for every issuer: what one issuer must not say in
	// the name of another (RFC 8725 3.8) belongs to a Verifier of its own.
	Keys *KeySet

	Issuers   []string // of which iss must be one
	Audiences []string // of which aud must have one

	NoIssuer   bool // iss is not asked for; Issuers must be empty
	NoAudience bool // aud is not asked for; Audiences must be empty
	NoExpiry   bool // exp may be missing; one that is there counts

	// Types is what typ of a header must be one of (RFC 8725 3.11), without
	// "application/", in any case. Empty, typ may be missing, "JWT" or "at+jwt"
	// (RFC 9068): tokens of other kinds, as for a logout, are for others.
	Types []string

	// Bound demands that a token is bound to a certificate (RFC 8705 3.1). One that
	// is bound is held to it in any case.
	Bound bool

	Skew   time.Duration    // how far the clocks of issuers may be off, 0 to MaxSkew
	MaxAge time.Duration    // with iat, how old a token may be; 0 for any age
	Now    func() time.Time // the clock; nil for time.Now
}

// Verifier verifies tokens. It doesn't change and may be used at the same time.
type Verifier struct {
	o Options
}

// New returns a Verifier, or says which of the options is missing or contradicts
// another.
func New(o Options) (*Verifier, error) {
	switch {
	case o.Keys == nil || len(o.Keys.keys) == 0:
		return nil, errors.New("no key to verify a token with")
	case o.NoIssuer == (len(o.Issuers) > 0):
		return nil, errors.New("either issuers, or none are asked for")
	case o.NoAudience == (len(o.Audiences) > 0):
		return nil, errors.New("either audiences, or none are asked for")
	case slices.Contains(o.Issuers, "") || slices.Contains(o.Audiences, "") || slices.Contains(o.Types, ""):
		return nil, errors.New("an issuer, an audience or a type is empty")
	case o.Skew < 0 || o.Skew > MaxSkew:
		return nil, fmt.Errorf("skew of %v is not between 0 and %v", o.Skew, MaxSkew)
	case o.MaxAge < 0:
		return nil, fmt.Errorf("greatest age of %v is negative", o.MaxAge)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.Issuers, o.Audiences, o.Types = slices.Clone(o.Issuers), slices.Clone(o.Audiences), slices.Clone(o.Types)
	return &Verifier{o}, nil
}

// Verify returns what the token says, if a key vouches for it and it is for us,
// now and from whom it may be. peer is the certificate that whoever presents the
// token has proven to hold the key of, or nil: a token that is bound to a
// certificate (cnf with x5t#S256) is refused with another one or with none, and
// one that is bound to anything else always is.
//
// The form is the compact serialization (RFC 7515 7.1) of at most [MaxToken]
// bytes: base64url without padding, line ends or loose bits. Header and claims are
// each one JSON object in valid UTF-8, at most 16 objects and arrays deep, without
// a name twice in any object, escapes resolved, and without half a surrogate pair
// or U+FFFD, which readers put in its place.
//
// Whatever the error, it is an [*Error].
func (v *Verifier) Verify(token []byte, peer *x509.Certificate) (*Token, error) {
	signed, payload, signature, h, err := v.split(token)
	if err != nil {
		return nil, err
	}
	key, err := v.o.Keys.verify(h, signed, signature)
	if err != nil {
		return nil, err
	}
	claims, err := parseObject(payload, MaxToken)
	if err != nil {
		return nil, err
	}
	t, err := newToken(claims)
	if err != nil {
		return nil, err
	}
	t.KeyID, t.Thumbprint, t.Secret, t.Algorithm = key.id, key.thumbprint, key.Secret(), h.alg
	if err := v.judge(t); err != nil {
		return nil, err
	}
	if err := v.judgeBinding(t, peer); err != nil {
		return nil, err
	}
	return t, nil
}

// split takes a token apart and reads its header, and nothing else of it.
func (v *Verifier) split(token []byte) (signed, payload, signature []byte, h header, err error) {
	fail := func(err error) ([]byte, []byte, []byte, header, error) { return nil, nil, nil, header{}, err }
	if len(token) > MaxToken {
		return fail(refuse(Malformed, "longer than %d bytes", MaxToken))
	}
	switch bytes.Count(token, []byte(".")) {
	case 2:
	case 4:
		return fail(refuse(Malformed, "five parts: an encrypted token"))
	default:
		return fail(refuse(Malformed, "not three parts"))
	}
	dot := bytes.LastIndexByte(token, '.')
	signed = token[:dot]
	first, second, _ := bytes.Cut(signed, []byte("."))
	var parts [3][]byte
	for i, part := range [][]byte{first, second, token[dot+1:]} {
		if parts[i], err = decodeBase64(string(part)); err != nil {
			return fail(err)
		}
	}
	if h, err = parseHeader(parts[0]); err != nil {
		return fail(err)
	}
	if err = v.judgeType(h); err != nil {
		return fail(err)
	}
	return signed, parts[1], parts[2], h, nil
}

func (v *Verifier) judgeType(h header) error {
	types := v.o.Types
	if len(types) == 0 {
		if !h.typed {
			return nil
		}
		types = []string{"JWT", "at+jwt"}
	}
	if h.typed && slices.ContainsFunc(types, func(t string) bool { return strings.EqualFold(t, h.typ) }) {
		return nil
	}
	return refuse(BadType, "typ is none of the types asked for")
}

// judge holds the claims to the options, at one moment.
func (v *Verifier) judge(t *Token) error {
	now := v.o.Now()
	switch {
	case !v.o.NoIssuer && t.Issuer == "":
		return refuse(MissingClaim, "no iss")
	case !v.o.NoIssuer && !slices.Contains(v.o.Issuers, t.Issuer):
		return refuse(BadIssuer, "iss is no issuer of ours")
	case !v.o.NoAudience && len(t.Audience) == 0:
		return refuse(MissingClaim, "no aud")
	case !v.o.NoAudience && !slices.ContainsFunc(t.Audience, func(a string) bool { return slices.Contains(v.o.Audiences, a) }):
		return refuse(BadAudience, "aud has no audience of ours")
	case !v.o.NoExpiry && t.Expires.IsZero():
		return refuse(MissingClaim, "no exp")
	case !t.Expires.IsZero() && !now.Before(t.Expires.Add(v.o.Skew)): // RFC 7519 4.1.4: on or after
		return refuse(Expired, "exp has passed")
	case !t.NotBefore.IsZero() && now.Before(t.NotBefore.Add(-v.o.Skew)):
		return refuse(NotYetValid, "nbf is to come")
	case !t.IssuedAt.IsZero() && now.Before(t.IssuedAt.Add(-v.o.Skew)):
		return refuse(NotYetValid, "iat is to come")
	case v.o.MaxAge > 0 && t.IssuedAt.IsZero():
		return refuse(MissingClaim, "no iat")
	case v.o.MaxAge > 0 && now.Sub(t.IssuedAt) > v.o.MaxAge+v.o.Skew:
		return refuse(Expired, "iat is too long ago")
	}
	return nil
}

// judgeBinding holds a token to the certificate that it is bound to (RFC 8705 3.1).
func (v *Verifier) judgeBinding(t *Token, peer *x509.Certificate) error {
	if t.Certificate == nil {
		if v.o.Bound {
			return refuse(MissingClaim, "no cnf: bound to no certificate")
		}
		return nil
	}
	if peer == nil {
		return refuse(NotBound, "bound to a certificate, and presented without one")
	}
	if sum := sha256.Sum256(peer.Raw); subtle.ConstantTimeCompare(sum[:], t.Certificate) != 1 {
		return refuse(NotBound, "bound to another certificate")
	}
	return nil
}
