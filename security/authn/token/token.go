// Package token is the authenticator of JSON Web Tokens. It hides where a token is
// carried, which issuer's keys it is held against, what becomes of its claims, and how
// a client renews it in place (OAUTHBEARER, RFC 7628).
//
// Words: an Issuer is who makes tokens, with the keys that vouch for them; a key of one
// vouches for no other. A token is ours if its form is a JWT's and it names one of the
// issuers (iss), or one of their keys (kid). A token of ours is accepted or refused
// here and asked about nowhere else; whatever else a client presents is left to the
// next authenticator (authn.ErrNotMine). Both are told by what the token says of
// itself, which whoever sends it knows already: the answer tells nothing of users or
// keys that the token doesn't.
//
// Invariants:
//   - Nothing that is read before the signature decides more than which keys to ask.
//   - A text of this package holds no part of a token, nor a value of a claim.
//   - What is kept of a token with each connection is bounded. A token that says more
//     is refused, not cut: half of its claims could be the harmless half.
//   - Groups and roles of a Principal are as the token has them. What they are called
//     here, and whether they count, is the chain's matter.
package token

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"sallyport/internal/jwt"
	"sallyport/security"
	"sallyport/security/authn"
)

// From is where in a CONNECT a token is looked for.
type From uint8

// The places. A token in a user name lies where names are shown; the engine shows no
// name that resembles one.
const (
	Password From = iota
	Username
	Either // the password, and if that is none, the user name
)

// Issuer is one maker of tokens.
type Issuer struct {
	Realm      string // of the principals
	Name       string // what iss must be; empty with NoIssuer
	Audiences  []string
	Keys       *jwt.KeySet
	NoIssuer   bool // iss is not asked for; it is then the only Issuer
	NoAudience bool // aud is not asked for
}

// Options is what an Authenticator asks of tokens.
type Options struct {
	Name     string // of the authenticator
	Issuers  []Issuer
	From     From
	Types    []string // as in jwt.Options
	Skew     time.Duration
	MaxAge   time.Duration // 0: any
	NoExpiry bool
	Bound    bool // tokens must be bound to the client's certificate (RFC 8705)
	Mapping  Mapping
	// ClientID is what the client identifier must be, a text with placeholders
	// ${claim.PATH} and ${username}; empty: anything.
	ClientID string
	// NoOAUTHBEARER switches the method of enhanced authentication off.
	NoOAUTHBEARER bool
	Now           func() time.Time // nil is time.Now
}

// maxIssuers bounds the issuers of an Authenticator.
const maxIssuers = 64

// Authenticator accepts tokens. It doesn't change and may be used at the same time.
type Authenticator struct {
	o        Options
	issuers  []issuer
	clientID *template // nil: anything
	grants   *grantCache
}

type issuer struct {
	Issuer
	verifier *jwt.Verifier
}

// New makes an Authenticator, or says what of the options is missing or wrong.
func New(o Options) (*Authenticator, error) {
	a := &Authenticator{o: o, grants: newGrantCache()}
	if len(o.Issuers) == 0 || len(o.Issuers) > maxIssuers {
		return nil, fmt.Errorf("there must be 1 to %d issuers", maxIssuers)
	}
	if err := o.Mapping.check(); err != nil {
		return nil, err
	}
	for _, i := range o.Issuers {
		if i.NoIssuer && len(o.Issuers) > 1 {
			return nil, errors.New("an issuer without a name must be the only one")
		}
		if slices.ContainsFunc(a.issuers, func(b issuer) bool { return b.Name == i.Name }) {
			return nil, fmt.Errorf("issuer %q stands twice", i.Name)
		}
		opt := jwt.Options{
			Keys: i.Keys, Audiences: i.Audiences, NoIssuer: i.NoIssuer, NoAudience: i.NoAudience, NoExpiry: o.NoExpiry,
			Types: o.Types, Bound: o.Bound, Skew: o.Skew, MaxAge: o.MaxAge, Now: o.Now,
		}
		if i.Name != "" {
			opt.Issuers = []string{i.Name}
		}
		v, err := jwt.New(opt)
		if err != nil {
			return nil, fmt.Errorf("issuer %q: %w", i.Name, err)
		}
		a.issuers = append(a.issuers, issuer{i, v})
	}
	if o.ClientID != "" {
		t, err := parseTemplate(o.ClientID)
		if err != nil {
			return nil, fmt.Errorf("client id: %w", err)
		}
		a.clientID = t
	}
	return a, nil
}

// Name implements authn.Authenticator.
func (a *Authenticator) Name() string { return a.o.Name }

// presented is what a token is held against.
type presented struct {
	clientID string
	username string            // empty: none
	cert     *x509.Certificate // that the client has shown to have the key of; nil: none
}

func presentedBy(c *authn.Credentials) presented {
	p := presented{clientID: c.ClientID, username: c.Username}
	if c.CertVerified {
		p.cert = c.Cert
	}
	return p
}

// Authenticate accepts a token of ours that is good, and whose name the user name is,
// if there is one. An empty user name is none: no principal has that name, and MQTT
// 3.1.1 allows a password only beside a user name (MQTT-3.1.2-22).
func (a *Authenticator) Authenticate(_ context.Context, c *authn.Credentials) (*security.Principal, error) {
	bearer, from := a.carried(c)
	if bearer == nil {
		return nil, authn.ErrNotMine
	}
	p := presentedBy(c)
	if from == Username {
		p.username = ""
	}
	return a.judge(bearer, p)
}

// Quick answers for what is no token by its form; all else costs a signature.
func (a *Authenticator) Quick(c *authn.Credentials) (p *security.Principal, err error, known bool) {
	bearer, _ := a.carried(c)
	switch {
	case bearer == nil:
		return nil, authn.ErrNotMine, true
	case len(bearer) > jwt.MaxToken:
		return nil, a.refuse("token is longer than %d bytes", jwt.MaxToken), true
	}
	return nil, nil, false
}

// carried finds what has a token's form; nil if nothing has.
func (a *Authenticator) carried(c *authn.Credentials) (bearer []byte, from From) {
	if a.o.From != Username && c.HasPassword {
		if b := bare(c.Password); jwt.HasForm(b) {
			return b, Password
		}
	}
	if a.o.From != Password && c.HasUsername {
		if b := bare([]byte(c.Username)); jwt.HasForm(b) {
			return b, Username
		}
	}
	return nil, a.o.From
}

// scheme is what stands before a token in HTTP (RFC 6750 2.1), in any case.
const scheme = "Bearer "

// bare is b without the scheme.
func bare(b []byte) []byte {
	if len(b) > len(scheme) && strings.EqualFold(string(b[:len(scheme)]), scheme) {
		return bytes.TrimLeft(b[len(scheme):], " ")
	}
	return b
}

func (a *Authenticator) refuse(format string, args ...any) error {
	return &authn.Refused{Method: a.o.Name, Reason: fmt.Sprintf(format, args...)}
}

// judge accepts or refuses what has a token's form.
func (a *Authenticator) judge(bearer []byte, by presented) (*security.Principal, error) {
	if len(bearer) > jwt.MaxToken {
		return nil, a.refuse("token is longer than %d bytes", jwt.MaxToken)
	}
	claimed, ok := jwt.Peek(bearer)
	if !ok {
		return nil, authn.ErrNotMine
	}
	i := a.issuerOf(claimed)
	if i == nil {
		return nil, authn.ErrNotMine
	}
	t, err := i.verifier.Verify(bearer, by.cert)
	if err != nil {
		return nil, a.refuse("%v", err) // which holds nothing of the token
	}
	p, err := a.principal(i.Realm, t.Claims)
	if err != nil {
		return nil, a.refuse("%v", err)
	}
	p.Expires = a.expires(t)
	p.Token.ID, p.Token.Issuer, p.Token.Key, p.Token.Secret = t.ID, t.Issuer, t.Thumbprint, t.Secret
	if t.Secret {
		p.Token.KeyID = t.KeyID
	}
	if by.username != "" && by.username != p.Name {
		return nil, a.refuse("user name is not the one of the token")
	}
	if a.clientID != nil {
		want, err := a.clientID.expand(p.Name, t.Claims)
		if err != nil {
			return nil, a.refuse("client id: %v", err)
		}
		if by.clientID != want {
			return nil, a.refuse("client id is not the one of the token, %s", a.o.ClientID)
		}
	}
	return p, nil
}

// issuerOf is whom a token is held against, nil if it is none of ours.
func (a *Authenticator) issuerOf(c jwt.Claimed) *issuer {
	for i := range a.issuers {
		if a.issuers[i].NoIssuer || c.Issuer == a.issuers[i].Name {
			return &a.issuers[i]
		}
	}
	if c.KeyID == "" {
		return nil
	}
	for i := range a.issuers {
		if slices.ContainsFunc(a.issuers[i].Keys.Keys(), func(k jwt.Key) bool { return k.ID() == c.KeyID }) {
			return &a.issuers[i]
		}
	}
	return nil
}

// expires is when a token's word ends: exp, or when it is too old, and the skew that
// it is granted.
func (a *Authenticator) expires(t *jwt.Token) uint32 {
	end := t.Expires
	if a.o.MaxAge > 0 && !t.IssuedAt.IsZero() {
		if old := t.IssuedAt.Add(a.o.MaxAge); end.IsZero() || old.Before(end) {
			end = old
		}
	}
	if end.IsZero() {
		return 0
	}
	return uint32(min(max(end.Add(a.o.Skew).Unix(), 1), math.MaxUint32)) // early rather than late in 2106
}

// Keeps reports whether the key that vouched for p is still one of its issuer's, and
// its permissions come from the claim that they come from now. Where the token is not
// known the issuer is asked for by the claims.
func (a *Authenticator) Keeps(p *security.Principal) bool {
	if p.Token != nil {
		if g, ok := p.Token.Granted.(*Grants); ok && g.path != a.o.Mapping.Permissions {
			return false
		}
	}
	for i := range a.issuers {
		if p.Method == a.o.Name && a.issuers[i].Realm != p.Realm {
			continue // where several members are needed, the realm may be another's
		}
		name, _ := p.Claims["iss"].(string)
		if p.Token != nil {
			name = p.Token.Issuer
		}
		if !a.issuers[i].NoIssuer && name != "" && name != a.issuers[i].Name {
			continue
		}
		if p.Token == nil || a.issuers[i].vouches(p.Token) {
			return true
		}
	}
	return false
}

// vouches reports whether the key that vouched for t is still one of i's. That of a
// secret is not stored with t, since it would give the secret to guessing: there is
// to be a secret of the same kid then.
func (i *issuer) vouches(t *security.Token) bool {
	if t.Secret && t.Key == [32]byte{} {
		return slices.ContainsFunc(i.Keys.Keys(), func(k jwt.Key) bool { return k.Secret() && k.ID() == t.KeyID })
	}
	return i.Keys.Has(t.Key)
}
