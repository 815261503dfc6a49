// Package authn answers who a client is. It hides the credential formats, the
// order in which methods are asked, and what an answer may cost.
//
// Words: an Authenticator knows one method. A Member is one at its place in a chain,
// with what is done before it (Preparation) and demanded after it (Requirement). A
// Chain is the members of one listener in order; its end refuses. A Lane is the way to
// one member, with a time, a bound, a queue that is shared fairly between networks,
// and a breaker. A Service holds the chains of all listeners and runs them so that
// nobody waits for another: an answer that costs nothing is given at once, any other
// is one of a fixed number of workers' of a Pool, which the lane says.
//
// Invariants:
//   - An error refuses. Only ErrNotMine lets the next method be asked.
//   - A known user with a wrong credential is refused there and asked nowhere else.
//   - A failed attempt with a user name costs a slow hash where a member's accounts have
//     them, whether or not the user exists; made again within seconds it costs none,
//     for whatever reason it failed.
//   - What is remembered of credentials is under a key that dies with the process.
//   - Whoever accepts, the account under the name has the last word.
//   - No secret stands in an error, a log value or a String.
package authn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"

	"sallyport/security"
)

// Credentials is what a CONNECT and its transport present. It holds secrets:
// its String and LogValue show none.
type Credentials struct {
	ClientID     string // as assigned, if the client left it empty
	HasUsername  bool
	Username     string
	HasPassword  bool
	Password     []byte // any bytes, NUL included
	Addr         netip.AddrPort
	Listener     string
	Secure       bool                 // TLS, or a local transport
	Cert         *x509.Certificate    // leaf of the client's chain, nil if it sent none
	CertVerified bool                 // the chain was verified against the listener's anchors
	Anchor       *x509.Certificate    // root of the verified chain
	Chain        []*x509.Certificate  // the verified chain, leaf to anchor
	CertExpires  uint32               // when Chain stops to hold, see Expiry; 0: never
	Proxied      *ProxyCertificate    // what a trusted proxy says of the client's certificate; nil for nothing, or if it is not asked
	Header       map[string][]string  // of the WebSocket upgrade, canonical keys, bounded by the listener
	Query        string               // of the WebSocket upgrade
	AuthMethod   string               // MQTT 5.0, 3.1.2.11.9; empty for none
	AuthData     []byte               // MQTT 5.0, 3.1.2.11.10
	Presumed     map[string]any       // claims of a token that an Introducing is to take for good; nil in earnest
	TLS          *tls.ConnectionState // of the client's own channel, for what is bound to it; nil without one

	Peer        *Peer // of a Unix socket, where the system tells
	hostMatches bool  // the host names of Cert were found to have Addr
}

// String names the client and what kinds of credentials it presents, never their values.
func (c *Credentials) String() string {
	if c == nil {
		return "no credentials"
	}
	return fmt.Sprintf("client %q from %v on %q (username %t, password %t, certificate %t, method %q)",
		c.ClientID, c.Addr, c.Listener, c.HasUsername, c.HasPassword, c.Cert != nil, c.AuthMethod)
}

// GoString is String, so that %#v shows no secret either.
func (c *Credentials) GoString() string { return c.String() }

// LogValue is String's content as attributes.
func (c *Credentials) LogValue() slog.Value {
	if c == nil {
		return slog.StringValue("none")
	}
	return slog.GroupValue(
		slog.String("client", c.ClientID),
		slog.String("addr", c.Addr.String()),
		slog.String("listener", c.Listener),
		slog.Bool("has_username", c.HasUsername),
		slog.Bool("has_password", c.HasPassword),
		slog.Bool("has_certificate", c.Cert != nil),
		slog.String("auth_method", c.AuthMethod),
	)
}

// present reports whether the CONNECT itself carries any credential. A client
// certificate is not one: where certificates name users, the identity member
// stands before all others and leaves none over.
func (c *Credentials) present() bool {
	return c.HasUsername || c.HasPassword || c.AuthMethod != "" || len(c.AuthData) > 0 ||
		len(c.Header["Authorization"]) > 0
}

// Peer is the user and the group of the process that connected to a Unix socket.
type Peer struct{ UID, GID uint32 }

var (
	// ErrNotMine says that an authenticator does not know these credentials; the next one is asked.
	ErrNotMine = errors.New("authn: credentials of another method")
	// ErrBusy says that the attempt found no place in the queue. The broker
	// answers server busy (MQTT 5.0: 0x89, before: 0x03).
	ErrBusy = errors.New("authn: queue is full")
	// ErrUnavailable says that who would know could not be asked, or did not answer in
	// time. The broker answers server unavailable (MQTT 5.0: 0x88, before: 0x03). A
	// member's error that is neither a *Refused nor ErrNotMine counts as one.
	ErrUnavailable = errors.New("authn: can't be asked")
	// ErrCanceled says that the attempt was given up before it was worked on.
	ErrCanceled = errors.New("authn: attempt was canceled")
	// ErrClosed says that the pool has ended.
	ErrClosed = errors.New("authn: pool is closed")
)

// Refused is a final no. Reason is for log and audit, never for the peer.
type Refused struct {
	Method string // the authenticator's name, or "chain"
	Reason string
	// Unpaid says that the refusal took no slow hash though it depends on the
	// user name; the chain computes one before it answers, so that time and
	// load don't tell users apart.
	Unpaid bool
	// Name is who was accepted by a member and refused for another reason, where the
	// CONNECT does not say it: by a certificate or a token the client has a name without.
	Name string
}

// Error is "method: reason", and the name.
func (r *Refused) Error() string {
	text := "authn: " + r.Method + ": " + r.Reason
	if r.Name != "" {
		text += ": " + strconv.Quote(r.Name)
	}
	return text
}

// naming is r with the name of p, if cr has another or none.
func (r *Refused) naming(p *security.Principal, cr *Credentials) *Refused {
	if r == nil || p.Name == cr.Username {
		return r
	}
	named := *r
	named.Name = p.Name
	return &named
}

// Authenticator knows one method of telling who a client is. It returns a
// fresh principal (realm, name, user name and what else it knows; the chain
// fills in the connection's side), ErrNotMine, or an error, which refuses. It
// is safe for concurrent use and may take as long as its work needs.
type Authenticator interface {
	Name() string
	Authenticate(ctx context.Context, c *Credentials) (*security.Principal, error)
}

// Quick is an Authenticator that can often answer without work worth a worker.
// known is false if it can't; p and err mean what Authenticate's results mean.
type Quick interface {
	Authenticator
	Quick(c *Credentials) (p *security.Principal, err error, known bool)
}

// Generational is an Authenticator whose accounts change under it: Generation
// grows with each change. What was decided under an older one is decided again.
type Generational interface {
	Generation() uint64
}

// Keeping is an Authenticator that can tell, without its credential, whether it
// still stands for a principal that it once accepted: the name is still known, the
// key that verified its token is still there. It may not wait for anything.
type Keeping interface {
	Keeps(p *security.Principal) bool
}

// Introducing is an Authenticator that tells what it would do with a client, as far
// as that can be told without a credential: without a password the right one is
// presumed. text is in words ("knows alice; the password is not checked here"),
// empty for what err says; remedy is what would have to change for it to accept,
// empty if nothing that can be said in a line would do. No secret is in either.
type Introducing interface {
	Introduce(ctx context.Context, c *Credentials) (p *security.Principal, text, remedy string, err error)
}
