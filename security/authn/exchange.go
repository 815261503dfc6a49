package authn

import (
	"context"
	"errors"

	"sallyport/security"
)

// ErrNotOffered says that a method is served, but not on this connection: one that is
// bound to a TLS channel, where there is none. The broker answers bad authentication
// method (0x8C), as for one that nobody serves.
var ErrNotOffered = errors.New("authn: authentication method is not offered on this connection")

// EnhancedAuthenticator is a method of MQTT 5.0's enhanced authentication
// (4.12): it begins exchanges. A Member that also implements it is offered to
// clients by the chain.
type EnhancedAuthenticator interface {
	// Serves reports whether it knows an authentication method, by its name as clients
	// send it, such as SCRAM-SHA-256; compared bytewise.
	Serves(method string) bool
	// Start begins an exchange for a CONNECT, or a re-authentication, that names such
	// a method in c.AuthMethod. It keeps no part of c.AuthData. ErrNotOffered says that
	// the method can't be had on this connection.
	Start(c *Credentials) (Exchange, error)
}

// Exchange is one run of challenges and answers. It belongs to one connection
// and is not safe for concurrent use.
type Exchange interface {
	// Next takes the client's authentication data (of CONNECT first, then of
	// each AUTH). With a nil principal and error, reply goes out in an AUTH and
	// the exchange goes on; with a principal it has succeeded and reply goes
	// into CONNACK; an error ends it.
	Next(ctx context.Context, data []byte) (reply []byte, p *security.Principal, err error)
}

// Enhanced is the chain's member for an authentication method.
func (c *Chain) Enhanced(method string) (EnhancedAuthenticator, bool) {
	for _, m := range c.members {
		if e, ok := m.Authenticator.(EnhancedAuthenticator); ok && e.Serves(method) {
			return e, true
		}
	}
	return nil, false
}

// Accept judges the principal of a finished exchange by the chain's conditions
// and completes it, as Authenticate does for its own.
func (c *Chain) Accept(ctx context.Context, method string, p *security.Principal, cr *Credentials) (*security.Principal, error) {
	if err := c.askHosts(ctx, cr); err != nil {
		return nil, err
	}
	if r := c.condition(cr); r != nil {
		return nil, r
	}
	return c.accept(method, p, cr)
}
