package authn

import (
	"context"
	"errors"
	"os/user"
	"strconv"

	"sallyport/security"
)

// UnixPeer takes the user name from the system: a client at the other end of a Unix
// socket is the user whose process it is. User name and password of the CONNECT may
// be left out; a user name has to be the same. A client of another transport, or one
// that comes by a proxy, is left to the next member.
type UnixPeer struct {
	Label string // in the configuration
	Realm string // of the principals; empty is Label
	// Lookup is the name of the user with a number; nil asks the system.
	Lookup func(uid string) (name string, err error)
}

// Name is the authenticator's name in the configuration.
func (u UnixPeer) Name() string { return u.Label }

// Quick leaves to the next member who is none of it, and never more: names are looked up.
func (u UnixPeer) Quick(c *Credentials) (*security.Principal, error, bool) {
	if c.Peer == nil {
		return nil, ErrNotMine, true
	}
	return nil, nil, false
}

// Authenticate asks the system for the name of the user.
func (u UnixPeer) Authenticate(_ context.Context, c *Credentials) (*security.Principal, error) {
	if c.Peer == nil {
		return nil, ErrNotMine
	}
	lookup := u.Lookup
	if lookup == nil {
		lookup = systemUser
	}
	uid := strconv.FormatUint(uint64(c.Peer.UID), 10)
	name, err := lookup(uid)
	var unknown user.UnknownUserIdError
	switch {
	case errors.As(err, &unknown):
		return nil, &Refused{Method: u.Label, Reason: "the system has no name for user " + uid}
	case err != nil:
		return nil, err
	case checkUserName(name) != nil:
		return nil, &Refused{Method: u.Label, Reason: "the system's name of user " + uid + " is no user name"}
	case c.HasUsername && c.Username != name:
		return nil, &Refused{Method: u.Label, Reason: "user name is not the one of the process"}
	}
	realm := u.Realm
	if realm == "" {
		realm = u.Label
	}
	return &security.Principal{Realm: realm, Name: name}, nil
}

func systemUser(uid string) (string, error) {
	found, err := user.LookupId(uid)
	if err != nil {
		return "", err
	}
	return found.Username, nil
}

// Introduce implements Introducing.
func (u UnixPeer) Introduce(ctx context.Context, c *Credentials) (p *security.Principal, text, remedy string, err error) {
	p, err = u.Authenticate(ctx, c)
	switch {
	case errors.Is(err, ErrNotMine):
		text = "the client comes by no Unix socket, or from nobody knows whom"
	case err == nil:
		text = "the system says that it is " + p.Name
	}
	return p, text, "", err
}
