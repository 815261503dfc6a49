// Package challenge is SCRAM as an authenticator: the methods SCRAM-SHA-256 and
// SCRAM-SHA-512 of MQTT 5's enhanced authentication (MQTT 5.0, 4.12), and their -PLUS
// variants, which are bound to the TLS channel. The password never leaves the client,
// and the broker proves in the CONNACK that it knows the client's verifier.
//
// It hides where an exchange meets MQTT: what of a CONNECT may stand beside SCRAM,
// where -PLUS is offered, and what a file of verifiers is. The protocol itself is
// internal/scram.
//
// Invariants:
//   - The SCRAM name is the identity. A user name in the CONNECT is equal to it or not
//     there; a password in the CONNECT is refused, since it would have been sent for nothing.
//   - Nobody of the name, nobody with a verifier of this hash, and a wrong password are
//     the same to the client: the same messages, a salt that stays the same over
//     restarts, the same step and code. Whether the account may connect is judged by
//     the chain after the proof.
//   - A verifier that was replaced while an exchange ran lets nobody in.
//   - An exchange is two messages of the client's, and costs a few HMACs: the iterations
//     were paid when the verifier was made.
package challenge

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"sallyport/internal/scram"
	"sallyport/security"
	"sallyport/security/authn"
)

// DefaultRealm is that of the account database, so that an account is the same
// principal by its password and by SCRAM.
const DefaultRealm = "accounts"

// Options is what an Authenticator is made of.
type Options struct {
	Name    string         // in the configuration, and the principals' method
	Realm   string         // of its principals; empty is DefaultRealm
	Methods []scram.Method // that are offered; none is all of AllMethods

	// Lookup finds the verifier of a name, which SASLprep has prepared, for a hash.
	// known is false for nobody, and for who has none of this hash. An error says that
	// nobody can tell. It may not wait for long.
	Lookup func(name string, h scram.Hash) (v *scram.Verifier, known bool, err error)
	// Source names what Lookup looks in, such as a file: those who do not exist have
	// another salt in each.
	Source string
	// Generation grows with each change of what Lookup finds; nil is never.
	Generation func() uint64
	// Version grows, for a name, with each change of its account, which the chain holds
	// the principal against; nil where Lookup finds no accounts.
	Version func(name string) uint64
	// Secret makes the salts of those who do not exist: scram.MinSecret bytes or more,
	// the same as long as the accounts live. Until it gives them all are refused.
	Secret func() []byte
	// Iterations are told to those who do not exist; 0 is scram.DefaultIterations.
	Iterations int
}

// AllMethods are the methods that there are, the stronger first.
func AllMethods() []scram.Method {
	return []scram.Method{
		{Hash: scram.SHA512, Plus: true}, {Hash: scram.SHA256, Plus: true}, {Hash: scram.SHA512}, {Hash: scram.SHA256},
	}
}

// Authenticator is SCRAM with one source of verifiers. It is safe for concurrent use.
type Authenticator struct{ o Options }

// New makes an authenticator.
func New(o Options) (*Authenticator, error) {
	if o.Realm == "" {
		o.Realm = DefaultRealm
	}
	if o.Iterations == 0 {
		o.Iterations = scram.DefaultIterations
	}
	if len(o.Methods) == 0 {
		o.Methods = AllMethods()
	}
	o.Methods = slices.Clone(o.Methods)
	for _, m := range o.Methods {
		if m.String() == "" || !slices.Contains(AllMethods(), m) {
			return nil, fmt.Errorf("scram: no such method")
		}
	}
	if o.Lookup == nil || o.Secret == nil {
		return nil, errors.New("scram: no verifiers, or no secret")
	}
	if o.Iterations < scram.MinIterations || o.Iterations > scram.MaxIterations {
		return nil, scram.ErrIterations
	}
	return &Authenticator{o}, nil
}

// Name is the authenticator's name in the configuration.
func (a *Authenticator) Name() string { return a.o.Name }

// Realm is the realm of its principals.
func (a *Authenticator) Realm() string { return a.o.Realm }

// Generation grows with each change of the verifiers.
func (a *Authenticator) Generation() uint64 {
	if a.o.Generation == nil {
		return 0
	}
	return a.o.Generation()
}

// Quick knows no plain credential.
func (a *Authenticator) Quick(*authn.Credentials) (*security.Principal, error, bool) {
	return nil, authn.ErrNotMine, true
}

// Authenticate knows no plain credential: where there is nothing but SCRAM, passwords
// are refused.
func (a *Authenticator) Authenticate(context.Context, *authn.Credentials) (*security.Principal, error) {
	return nil, authn.ErrNotMine
}

// Serves reports whether a method, by its name, is one of those that were chosen.
func (a *Authenticator) Serves(method string) bool {
	m, ok := scram.ParseMethod(method)
	return ok && slices.Contains(a.o.Methods, m)
}

// Offers implements authn.Offering: a method with -PLUS needs a TLS channel of the
// client's own, whose exporter can be used.
func (a *Authenticator) Offers(c *authn.Credentials) bool {
	m, ok := scram.ParseMethod(c.AuthMethod)
	return ok && slices.Contains(a.o.Methods, m) && (!m.Plus || a.binding(c) != nil)
}

// Start begins an exchange by a method that is offered.
func (a *Authenticator) Start(c *authn.Credentials) (authn.Exchange, error) {
	m, ok := scram.ParseMethod(c.AuthMethod)
	binding := a.binding(c)
	if !ok || !slices.Contains(a.o.Methods, m) || m.Plus && binding == nil {
		return nil, a.refuse("method is not offered here")
	}
	if c.HasPassword {
		return nil, a.refuse("a password beside SCRAM")
	}
	secret := a.o.Secret()
	if secret == nil {
		return nil, fmt.Errorf("%w: the secret of SCRAM is not there yet", authn.ErrUnavailable)
	}
	// Who exists in two sources has two salts: who had the same one in both would be
	// known not to exist.
	own := hmac.New(sha256.New, secret)
	own.Write([]byte("source\x00" + a.o.Source))
	secret = own.Sum(nil)
	x := &exchange{a: a, hash: m.Hash, hasUsername: c.HasUsername, username: c.Username}
	var err error
	x.server, err = scram.NewServer(scram.ServerOptions{
		Method: m, Lookup: x.lookup, Secret: secret, Iterations: a.o.Iterations, Binding: binding,
	})
	if err != nil {
		return nil, err
	}
	return x, nil
}

// binding is that of the channel, where a method with -PLUS is offered on it; else nil.
func (a *Authenticator) binding(c *authn.Credentials) *scram.Binding {
	if c.TLS == nil || !slices.ContainsFunc(a.o.Methods, func(m scram.Method) bool { return m.Plus }) {
		return nil
	}
	b, err := scram.TLSExporter(c.TLS)
	if err != nil {
		return nil // TLS 1.2 without an extended master secret: -PLUS can't be offered
	}
	return b
}

func (a *Authenticator) refuse(reason string) error {
	return &authn.Refused{Method: a.o.Name, Reason: reason}
}

// find is the verifier of one who has proved the name, by any hash that is offered.
func (a *Authenticator) find(name string) (known bool, err error) {
	for _, m := range a.o.Methods {
		_, ok, e := a.o.Lookup(name, m.Hash)
		if err = errors.Join(err, e); ok {
			return true, nil
		}
	}
	return false, err
}

// Keeps reports whether there is still a verifier of p's name. If that can't be told
// p stays: a source that is down ends no session.
func (a *Authenticator) Keeps(p *security.Principal) bool {
	if p.Realm != a.o.Realm {
		return false
	}
	known, err := a.find(p.Name)
	return known || err != nil
}

// Introduce says what it would do with a client that names a user. Without the
// exchange the right proof is presumed.
func (a *Authenticator) Introduce(_ context.Context, c *authn.Credentials) (p *security.Principal, text, remedy string, err error) {
	first := a.o.Methods[0].String()
	switch {
	case c.AuthMethod != "" && !a.Serves(c.AuthMethod):
		return nil, "does not know the method " + c.AuthMethod, "use the method " + first, authn.ErrNotMine
	case c.AuthMethod == "" && c.HasPassword:
		return nil, "takes no password", "use the authentication method " + first + " (MQTT 5)", authn.ErrNotMine
	case c.HasPassword:
		err = a.refuse("a password beside SCRAM")
		return nil, "", "leave the password out of the CONNECT", err
	case !c.HasUsername:
		return nil, "knows nobody without a name", "log in by " + first + " (MQTT 5)", authn.ErrNotMine
	}
	name, ok := scram.Prepare(c.Username)
	known := false
	if ok {
		if known, err = a.find(name); err != nil && !known {
			return nil, "", "", fmt.Errorf("%w: %w", authn.ErrUnavailable, err)
		}
	}
	if !known {
		return nil, "has no verifier of " + c.Username, "make one: set the password of " + c.Username + " again, for SCRAM", authn.ErrNotMine
	}
	return a.principal(name), "knows " + name + " by SCRAM; the proof is not checked here", "", nil
}

func (a *Authenticator) principal(name string) *security.Principal {
	return &security.Principal{Realm: a.o.Realm, Name: name}
}
