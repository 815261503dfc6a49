package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"

	"sallyport/packet"
)

// Authentication is a method of MQTT 5.0's enhanced authentication (4.12) as its
// client has it. It may be used by several connections at a time.
type Authentication interface {
	// Method is its name, such as SCRAM-SHA-256.
	Method() string
	// Begin starts an exchange on a connection, which the method may be bound to. Each
	// connection and each re-authentication has one of its own.
	Begin(nc net.Conn) (Exchange, error)
}

// Exchange is the client's side of one login. It belongs to one goroutine at a time.
type Exchange interface {
	// First is the data for CONNECT, or for the AUTH that begins a re-authentication.
	First() ([]byte, error)
	// Next takes the server's data and gives the answer to it. The data that comes with
	// the server's success, which may be nil, must give done: that the server has proved
	// all that it has to. Before, done is a violation.
	Next(data []byte) (reply []byte, done bool, err error)
}

// maxRounds bounds how often a server may ask before it decides.
const maxRounds = 8

// ErrNoAuthentication refuses to re-authenticate without Options.Authentication.
var ErrNoAuthentication = errors.New("no enhanced authentication was used")

// ErrUnproved says that the server did not prove what the method demands of it, so that
// it may be anybody: it ended the exchange before, proved something else, or asked for
// what a client does not do.
var ErrUnproved = errors.New("the server did not prove who it is")

// authentication is the exchange for a CONNECT, which takes its beginning; nil without one.
func (cn *conn) authentication(hello *packet.Connect) (Exchange, error) {
	a := cn.c.opts.Authentication
	if a == nil {
		return nil, nil
	}
	if hello.Version != packet.V5 {
		return nil, errors.New("enhanced authentication needs MQTT 5.0")
	}
	x, err := a.Begin(cn.nc)
	if err != nil {
		return nil, err
	}
	data, err := x.First()
	if err != nil {
		return nil, err
	}
	hello.Props.AuthMethod, hello.Props.AuthData = a.Method(), data
	hello.Props.Mark(packet.PropAuthMethod, packet.PropAuthData)
	return x, nil
}

// answer gives the AUTH for a server's AUTH that asks on.
func (cn *conn) answer(x Exchange, a *packet.Auth) ([]byte, error) {
	if a.Code != packet.ContinueAuthentication {
		return nil, malformed(packet.ProtocolError, "AUTH with another code than continue")
	}
	reply, done, err := x.Next(a.Props.AuthData)
	switch {
	case err != nil:
		return nil, refused(err)
	case done:
		return nil, malformed(packet.ProtocolError, "the server goes on with an exchange that is over")
	}
	return cn.appendAuth(nil, packet.ContinueAuthentication, reply), nil
}

// proved judges the data that came with the server's success.
func proved(x Exchange, data []byte) error {
	_, done, err := x.Next(data)
	switch {
	case err != nil:
		return refused(err)
	case !done:
		return refused(ErrUnproved)
	}
	return nil
}

// refused is an exchange that ended by a fault of the server's, which it is told of as
// not authorized: by what we send nobody learns more.
func refused(err error) error {
	return fmt.Errorf("authentication: %w", &refusal{err})
}

// refusal is err, and for stop a violation.
type refusal struct{ err error }

func (r *refusal) Error() string { return r.err.Error() }

func (r *refusal) Unwrap() []error {
	return []error{r.err, ErrUnproved, &packet.Error{Code: packet.NotAuthorized, Text: "authentication failed"}}
}

// decodeAuth takes a server's AUTH, of the connection's method. Its data is a copy.
func (cn *conn) decodeAuth(h packet.Header, body []byte) (*packet.Auth, error) {
	a, err := packet.DecodeAuth(cn.c.version, h.Flags, body, limits)
	if err != nil {
		return nil, err
	}
	if a.Props.AuthMethod != cn.c.opts.Authentication.Method() { // MQTT-4.12.0-5
		return nil, malformed(packet.ProtocolError, "AUTH with another method than CONNECT")
	}
	a.Props.AuthData = bytes.Clone(a.Props.AuthData)
	return a, nil
}

func (cn *conn) appendAuth(b []byte, code packet.Code, data []byte) []byte {
	a := packet.Auth{Code: code}
	a.Props.AuthMethod, a.Props.AuthData = cn.c.opts.Authentication.Method(), data
	a.Props.Mark(packet.PropAuthMethod)
	if len(data) > 0 {
		a.Props.Mark(packet.PropAuthData)
	}
	return packet.AppendAuth(b, &a)
}

// handleAuth gives a server's AUTH to the re-authentication that waits for it.
func (cn *conn) handleAuth(h packet.Header, body []byte) error {
	cn.c.mu.Lock()
	answers := cn.reauth
	cn.c.mu.Unlock()
	if answers == nil {
		return malformed(packet.ProtocolError, "unexpected AUTH")
	}
	a, err := cn.decodeAuth(h, body)
	if err != nil {
		return err
	}
	select {
	case answers <- a:
		return nil
	default:
		return malformed(packet.ProtocolError, "AUTH before the last one was answered")
	}
}

// Reauthenticate logs in anew on the connection as it stands (MQTT 5.0, 4.12.1), by the
// method of the CONNECT and on the same name, while messages go on. It returns when
// both sides have proved who they are. A failure, also that of ctx, ends the connection,
// unless it had not begun: ErrNotConnected, ErrNoAuthentication, or that another one runs.
func (c *Client) Reauthenticate(ctx context.Context) error {
	cn, err := c.current()
	if err != nil {
		return err
	}
	if c.opts.Authentication == nil {
		return ErrNoAuthentication
	}
	x, err := c.opts.Authentication.Begin(cn.nc)
	if err != nil {
		return err
	}
	first, err := x.First()
	if err != nil {
		return err
	}
	answers := make(chan *packet.Auth, 1)
	c.mu.Lock()
	busy := cn.reauth != nil
	if !busy {
		cn.reauth = answers
	}
	c.mu.Unlock()
	if busy {
		return errors.New("a re-authentication is under way")
	}
	if err = cn.reauthenticate(ctx, x, first, answers); err != nil {
		cn.stop(err)
	}
	c.mu.Lock()
	cn.reauth = nil
	c.mu.Unlock()
	return err
}

func (cn *conn) reauthenticate(ctx context.Context, x Exchange, data []byte, answers <-chan *packet.Auth) error {
	out := cn.appendAuth(nil, packet.ReAuthenticate, data)
	for range maxRounds {
		if cn.send(packet.AUTH, func(b []byte) []byte { return append(b, out...) }) != nil {
			return ErrNotConnected
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-cn.done:
			return fmt.Errorf("%w: %w", ErrNotConnected, orClosed(cn.failure()))
		case a := <-answers:
			if a.Code == packet.Success {
				return proved(x, a.Props.AuthData)
			}
			var err error
			if out, err = cn.answer(x, a); err != nil {
				return err
			}
		}
	}
	return malformed(packet.ProtocolError, "the authentication has no end")
}
