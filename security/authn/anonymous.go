package authn

import (
	"context"

	"sallyport/security"
)

// Anonymous accepts a CONNECT that presents no credential at all. Its principal
// has no name and one realm per listener, so it equals no named one.
type Anonymous struct {
	// IgnoreCredentials also accepts a CONNECT whose credentials nobody was
	// asked to check, as Mosquitto does when no password file is configured.
	// The principal stays anonymous: an unchecked name is no name.
	IgnoreCredentials bool
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
	if c.present() && !a.IgnoreCredentials {
		return nil, ErrNotMine, true
	}
	return &security.Principal{Realm: "anonymous:" + c.Listener}, nil, true
}
