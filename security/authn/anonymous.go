package authn

import (
	"cmp"
	"context"
	"unique"

	"sallyport/security"
)

// Anonymous accepts a CONNECT that presents no credential at all. Its principal
// has no name and one realm per listener, so it equals no named one.
//
// BelieveUsername is for configurations that ask nobody: a chain that has
// another member which checks credentials refuses it (NewChain).
type Anonymous struct {
	Label string // its name; empty: anonymous
	// BelieveUsername also accepts a CONNECT with credentials, unchecked, under the name that it gives, as Mosquitto does
	// with allow_anonymous and without a password file: anyone can be anyone.
	// Such a principal has a realm of its own and equals no authenticated one.
	BelieveUsername bool
}

// Name is that of the configuration.
func (a Anonymous) Name() string { return cmp.Or(a.Label, "anonymous") }

// Authenticate is Quick.
func (a Anonymous) Authenticate(_ context.Context, c *Credentials) (*security.Principal, error) {
	p, err, _ := a.Quick(c)
	return p, err
}

// Quick answers at once, always.
func (a Anonymous) Quick(c *Credentials) (*security.Principal, error, bool) {
	switch {
	case !c.present():
	case a.BelieveUsername && c.Username != "":
		return &security.Principal{Realm: realmOf("unchecked:", c), Name: c.Username}, nil, true
	case !a.BelieveUsername:
		return nil, ErrNotMine, true
	}
	return &security.Principal{Realm: realmOf("anonymous:", c)}, nil, true
}

// realmOf is the realm of a listener's clients. They share one string.
func realmOf(kind string, c *Credentials) string {
	return unique.Make(kind + c.Listener).Value()
}
