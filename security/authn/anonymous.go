package authn

import (
	"context"

	"sallyport/security"
)

// Anonymous accepts a CONNECT that presents no credential at all. Its principal
// has no name and one realm per listener, so it equals no named one.
//
// Its fields are for configurations that ask nobody: a chain that has another
// member which checks credentials refuses them (NewChain).
type Anonymous struct {
	// IgnoreCredentials also accepts a CONNECT whose credentials nobody was
	// asked to check. The principal stays anonymous: an unchecked name is no name.
	IgnoreCredentials bool
	// BelieveUsername accepts it under the name that it gives, as Mosquitto does
	// with allow_anonymous and without a password file: anyone can be anyone.
	// Such a principal has a realm of its own and equals no authenticated one.
	BelieveUsername bool
}

// Name is "anonymous".
func (Anonymous) Name() string { return "anonymous" }

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
		return &security.Principal{Realm: "unchecked:" + c.Listener, Name: c.Username, Username: c.Username}, nil, true
	case !a.BelieveUsername && !a.IgnoreCredentials:
		return nil, ErrNotMine, true
	}
	return &security.Principal{Realm: "anonymous:" + c.Listener}, nil, true
}

// unchecked reports whether credentials are accepted without a check.
func (a Anonymous) unchecked() bool { return a.IgnoreCredentials || a.BelieveUsername }
