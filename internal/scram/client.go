package scram

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// ClientMaxIterations is how many iterations a client pays for unless told
// otherwise: about a second of one core.
const ClientMaxIterations = 2_000_000

// ClientOptions say who a Client is, and what it puts up with.
type ClientOptions struct {
	Method   Method
	Name     string
	Password string
	AuthzID  string // "" for the name itself

	// Binding is the channel's: a -PLUS method needs it. With a method that is
	// not, it says that the client would have bound the channel and believes
	// that the server cannot: a server that can refuses.
	Binding *Binding

	// Salted are the keys of an earlier exchange, to spare the iterations. They
	// are used where method, salt and count are still the same, and it is the
	// caller's to drop them with the password that they were made of.
	Salted *Salted

	MinIterations int       // fewer are refused; 0, and no less, is MinIterations
	MaxIterations int       // more are refused; 0 is ClientMaxIterations
	Rand          io.Reader // crypto/rand if nil
}

// Client is the client's side of one exchange. It is not safe for concurrent
// use. The zero Client refuses.
type Client struct {
	options ClientOptions
	step    step
	nonce   string
	gs2     string
	bare    string // the first message without its header
	auth    string // AuthMessage of RFC 5802, section 3
	salted  *Salted
}

// Salted are the keys that a password gives with one salt and count. They log
// in as the password does: keep them as one.
type Salted struct {
	hash       Hash
	salt       string
	iterations int
	clientKey  []byte
	serverKey  []byte
}

// String tells nothing of the keys, for logs.
func (s Salted) String() string {
	return fmt.Sprintf("%s keys, %d iterations", s.hash, s.iterations)
}

// GoString is String.
func (s Salted) GoString() string { return s.String() }

// LogValue is String, for slog.
func (s Salted) LogValue() slog.Value { return slog.StringValue(s.String()) }

// ServerError is what a server sent instead of its signature: a
// server-error-value of RFC 5802, section 7, "other-error" for any unknown one.
type ServerError string

// Error implements error.
func (e ServerError) Error() string { return "scram: server refuses: " + string(e) }

// serverError knows the RFC's values; others are not passed on, because a text
// of the peer's would end in a terminal.
func serverError(value string) ServerError {
	switch value {
	case "invalid-encoding", "extensions-not-supported", "invalid-proof", "channel-bindings-dont-match",
		"server-does-support-channel-binding", "channel-binding-not-supported", "unsupported-channel-binding-type",
		"unknown-user", "invalid-username-encoding", "no-resources":
		return ServerError(value)
	}
	return "other-error"
}

// NewClient begins an exchange. Name and password are prepared by SASLprep;
// ErrName and ErrPassword say what it refuses.
func NewClient(o ClientOptions) (*Client, error) {
	if o.MinIterations == 0 {
		o.MinIterations = MinIterations
	}
	if o.MaxIterations == 0 {
		o.MaxIterations = max(ClientMaxIterations, o.MinIterations)
	}
	switch {
	case o.Method.Hash.size() == 0:
		return nil, errors.New("scram: no such method")
	case o.MinIterations < MinIterations || o.MaxIterations > MaxIterations || o.MinIterations > o.MaxIterations:
		return nil, ErrIterations
	case o.Method.Plus && o.Binding == nil:
		return nil, errors.New("scram: -PLUS without a channel to bind to")
	}
	if err := o.Binding.check(); err != nil {
		return nil, err
	}
	var ok bool
	if o.Name, ok = prepare(o.Name); !ok {
		return nil, ErrName
	}
	if _, ok = prepare(o.Password); !ok {
		return nil, ErrPassword
	}
	if o.AuthzID != "" {
		if o.AuthzID, ok = prepare(o.AuthzID); !ok {
			return nil, ErrName
		}
	}
	nonce, err := newNonce(o.Rand)
	if err != nil {
		return nil, err
	}
	return &Client{options: o, step: begin, nonce: nonce}, nil
}

// First is the client's first message. It is asked for once.
func (c *Client) First() ([]byte, error) {
	if c.step != begin {
		return nil, ErrState
	}
	c.gs2 = "n,"
	switch {
	case c.options.Method.Plus:
		c.gs2 = "p=" + c.options.Binding.Type + ","
	case c.options.Binding != nil:
		c.gs2 = "y,"
	}
	if c.options.AuthzID != "" {
		c.gs2 += "a=" + escape(c.options.AuthzID)
	}
	c.gs2 += ","
	c.bare = "n=" + escape(c.options.Name) + ",r=" + c.nonce
	if len(c.gs2)+len(c.bare) > MaxMessage {
		c.step = over
		return nil, ErrTooLong
	}
	c.step = awaitFirst
	return []byte(c.gs2 + c.bare), nil
}

// Next takes a message of the server's and gives the reply. With done, which
// has no reply, the server has proved that it knows the user; without it
// nothing that claims to be the server is to be believed. An error is final,
// and is one of this package's (errors.Is) or a ServerError.
func (c *Client) Next(message []byte) (reply []byte, done bool, err error) {
	now := c.step
	c.step = over // unless all goes well
	switch now {
	case awaitFirst:
		if reply, err = c.takeFirst(message); err == nil {
			c.step = awaitFinal
		}
	case awaitFinal:
		if err = c.takeFinal(message); err == nil {
			c.step, done = succeeded, true
		}
	default:
		err = ErrState
	}
	return reply, done, err
}

// Salted are the keys to give a later Client, nil until the exchange has
// succeeded.
func (c *Client) Salted() *Salted {
	if c.step != succeeded {
		return nil
	}
	return c.salted
}

func (c *Client) takeFirst(message []byte) ([]byte, error) {
	m, err := parseServerFirst(message)
	if err != nil {
		return nil, err
	}
	theirs, ours := strings.CutPrefix(m.nonce, c.nonce)
	switch {
	case !ours || len(theirs) < MinNonce:
		return nil, ErrNonce
	case m.count < c.options.MinIterations || m.count > c.options.MaxIterations:
		return nil, ErrIterations
	case len(m.salt) < MinSalt || len(m.salt) > MaxSalt:
		return nil, ErrSalt
	}
	h := c.options.Method.Hash
	if s := c.options.Salted; s != nil && s.hash == h && s.salt == string(m.salt) && s.iterations == m.count {
		c.salted = s
	} else if c.salted, err = salted(h, c.options.Password, m.salt, m.count); err != nil {
		return nil, err
	}
	bound := []byte(c.gs2)
	if c.options.Method.Plus {
		bound = append(bound, c.options.Binding.Data...)
	}
	without := "c=" + encode(bound) + ",r=" + m.nonce
	c.auth = strings.Join([]string{c.bare, string(message), without}, ",")
	proof := make([]byte, h.size())
	subtle.XORBytes(proof, c.salted.clientKey, h.mac(h.sum(c.salted.clientKey), c.auth))
	return []byte(without + ",p=" + encode(proof)), nil
}

func (c *Client) takeFinal(message []byte) error {
	signature, err := parseServerFinal(message)
	if err != nil {
		return err
	}
	if !equal(signature, c.options.Method.Hash.mac(c.salted.serverKey, c.auth)) {
		return ErrSignature
	}
	return nil
}
