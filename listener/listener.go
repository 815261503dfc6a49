// Package listener is the doors: TCP, TLS, WebSocket, secure WebSocket and Unix
// sockets. It accepts, filters by source address, limits, runs the TLS and
// WebSocket handshakes, and hands over a [Conn] that reads and writes plain
// MQTT bytes whatever the door.
//
// The order is fixed and cheapest first: source address, number of
// connections, a place among the handshakes, TLS, upgrade, handler. No byte is
// read before the first three.
//
// Behind a proxy ([ProxyProtocolOptions]) the proxy's address and the number of
// connections come first, then the PROXY header, and then the client's address
// and place. Until its header has come a connection has a place among the
// proxies', of which there are as many again, shared in the same way.
//
// Handshakes are bounded per listener and each is timed. While there is room
// nobody is refused, so that a fleet behind one address can reconnect at once;
// when there is none, places are shared evenly between source prefixes (/32,
// /64): a newcomer takes the place of the oldest handshake of the prefix that
// holds the most, or is refused if that is its own prefix.
//
// Of the TLS handshakes in progress only a few compute at once ([turns.Turns]); the
// others wait for their peers, or for a turn. So the processors stay with those
// who are served, however many handshakes come to be. What a peer may send in a
// handshake is bounded to 64 KiB.
//
// Goroutines: one per socket accepts, one per handshake in progress; both end
// before [Listener.Close] returns. The handler runs on a goroutine of its own,
// started fresh because a TLS handshake leaves a grown stack behind; it and the
// connection belong to the handler.
//
// [Listener.ServeSockets] does the same for drivers that wait for sockets
// themselves (Linux): it hands over a [Socket], a descriptor with a [Stream]
// between it and MQTT, and starts no goroutine for it.
package listener

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/internal/turns"
)

// Transport is a kind of door.
type Transport uint8

// The transports. The zero value is none of them.
const (
	TCP  Transport = iota + 1
	TLS            // MQTT over TLS
	WS             // MQTT over WebSocket
	WSS            // MQTT over WebSocket over TLS
	Unix           // MQTT over a Unix stream socket
)

// String returns "tcp", "tls", "ws", "wss" or "unix".
func (t Transport) String() string {
	switch t {
	case TCP:
		return "tcp"
	case TLS:
		return "tls"
	case WS:
		return "ws"
	case WSS:
		return "wss"
	case Unix:
		return "unix"
	}
	return "none"
}

// Secure reports whether the transport encrypts.
func (t Transport) Secure() bool { return t == TLS || t == WSS }

// WebSocket reports whether MQTT travels in WebSocket frames.
func (t Transport) WebSocket() bool { return t == WS || t == WSS }

// Defaults of Options fields that are 0.
const (
	DefaultHandshakeTimeout = 10 * time.Second
	DefaultMaxHandshakes    = 2048
	DefaultSocketMode       = fs.FileMode(0o600)
	DefaultMaxFrame         = 256<<20 + 1<<10 // the largest MQTT packet, with room
)

// Options describes one listener.
type Options struct {
	Name      string // as logs and [Info] show it
	Transport Transport
	// Address is host:port; for Unix the path of the socket. An empty host is
	// every address, "localhost" both loopback addresses, a name each of its
	// addresses. 0.0.0.0 and [::] are one family each. Port 0 picks a port, the
	// same one for all addresses.
	Address string
	// SocketMode is the mode of the Unix socket; 0 is DefaultSocketMode.
	SocketMode fs.FileMode
	// TLS is required for TLS and WSS, and refused for the others.
	TLS *tls.Config
	// HandshakeTimeout bounds PROXY header, TLS handshake and upgrade together;
	// 0 is DefaultHandshakeTimeout.
	HandshakeTimeout time.Duration
	// MaxHandshakes bounds the handshakes in progress; 0 is
	// DefaultMaxHandshakes. The package comment says how places are shared.
	MaxHandshakes int
	// Turns bounds the handshakes that compute at once; nil is one set of them
	// for this listener alone. Listeners should share theirs.
	Turns *turns.Turns
	// Failed is told of every TLS handshake that failed, was displaced or found
	// no place, on the goroutine of the handshake or of accept; nil is nobody.
	// The error is of crypto/tls, of a function of TLS, of the socket, or one of
	// ErrCrowded, ErrDisplaced and ErrOversized. Logs show the same at debug then.
	Failed    func(*Info, error)
	WebSocket WebSocketOptions
	// Allow and Deny are matched against the source address, unmapped and
	// without its zone. Deny wins; an empty Allow allows every address. A
	// Unix socket has no address: both must be empty, unless ProxyProtocol.
	Allow, Deny []netip.Prefix
	// ProxyProtocol requires a PROXY header of every connection, and reads it
	// within HandshakeTimeout; nil expects none (proxy_protocol).
	ProxyProtocol *ProxyProtocolOptions
	// ForwardedFor is for WS and WSS; nil ignores the field (forwarded_for).
	ForwardedFor *ForwardedForOptions
	// NoDelay sets TCP_NODELAY; it means nothing on a Unix socket.
	NoDelay bool
	// MaxConnections bounds open connections, those in a handshake included;
	// 0 is no bound. Newcomers over it are closed at once.
	MaxConnections int
	// Log is where the listener speaks; nil is nowhere. A peer's failures are
	// logged at info, at most 10 a second.
	Log *slog.Logger
	// Counters is where it counts; nil is a set of its own.
	Counters *Counters
}

// WebSocketOptions are the upgrade's.
type WebSocketOptions struct {
	Path string // exact; empty accepts every path
	// Origins are the accepted values of an Origin header, scheme and host as
	// browsers send them ("https://app.example"), without regard to case. An
	// empty list accepts every origin unless RequireSameOrigin.
	Origins []string
	// RequireSameOrigin accepts, beside Origins, only an origin whose host and
	// port are those of the Host header. It is meant for listeners where the
	// browser adds the credential by itself (client certificates, cookies,
	// headers), so that a foreign page could use it.
	RequireSameOrigin bool
	// Subprotocols are the accepted ones, favourite first; empty is "mqtt", "mqttv3.1".
	Subprotocols []string
	// MaxFrame bounds a frame's payload in bytes; 0 is DefaultMaxFrame. It
	// costs no memory: frames are streamed.
	MaxFrame uint64
}

// Counters count since the start, Open and Handshaking apart, which are levels.
type Counters struct {
	Accepted          atomic.Uint64 // connections accepted from the system
	Served            atomic.Uint64 // handed to the handler
	RefusedAddress    atomic.Uint64 // by Allow and Deny
	RefusedLimit      atomic.Uint64 // by MaxConnections
	RefusedHandshakes atomic.Uint64 // by MaxHandshakes: closed newcomers and displaced handshakes
	RefusedProxy      atomic.Uint64 // by ProxyProtocol: peers that are no trusted proxies
	HeaderFailed      atomic.Uint64 // PROXY headers that were missing, late, malformed or named no client
	RefusedFiles      atomic.Uint64 // closed at the limit of open files
	HandshakeFailed   atomic.Uint64 // TLS handshakes that failed or timed out
	HandshakeDone     atomic.Uint64 // TLS handshakes that succeeded, resumed ones included
	HandshakeResumed  atomic.Uint64 // of these, resumed sessions
	UpgradeFailed     atomic.Uint64 // WebSocket upgrades that were refused or timed out
	AcceptFailed      atomic.Uint64 // errors of accept
	Open              atomic.Int64  // connections not yet closed, handshakes included
	Handshaking       atomic.Int64  // handshakes in progress
}

// Handler takes over an accepted connection, on a goroutine of its own. It
// must see to it that the connection is closed, now or later.
type Handler func(*Conn)

// Listener is one bound listener.
type Listener struct {
	options  Options
	log      *slog.Logger
	counts   *Counters
	sockets  []*socket
	unix     string       // path of the socket file to remove, or ""
	unixFile fs.FileInfo  // what was bound there
	open     atomic.Int64 // connections under MaxConnections
	noise    quiet        // of peers
	trouble  quiet        // of accept
	chunks   sync.Pool    // of *[]byte, one frame header and frameChunk bytes
	leave    func()       // left, for every Socket
	lender   *lender      // for every Stream

	done  chan struct{} // closed by Close
	group sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	closed  bool
	serving bool
	places  places // of handshakes, by the client's address
	headers places // of proxies whose PROXY header is awaited, by theirs
}

// Listen binds the addresses of o; nothing is accepted before Serve.
func Listen(o Options) (*Listener, error) {
	l, err := newListener(o)
	if err != nil {
		return nil, err
	}
	if o.Transport == Unix {
		err = l.bindUnix()
	} else {
		err = l.bindTCP()
	}
	if err != nil {
		return nil, err
	}
	for _, s := range l.sockets {
		l.log.Info("listening", "listener", o.Name, "transport", o.Transport.String(), "addr", s.Addr().String())
	}
	return l, nil
}

// newListener returns a listener that is not bound.
func newListener(o Options) (*Listener, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	l := &Listener{options: o, log: o.Log, counts: o.Counters, done: make(chan struct{})}
	l.leave = l.left
	l.lender = &lender{inside: lookInside()}
	l.places.limit, l.headers.limit = o.MaxHandshakes, o.MaxHandshakes
	return l, nil
}

// complete checks o and fills in its defaults.
func (o *Options) complete() error {
	switch {
	case o.Transport < TCP || o.Transport > Unix:
		return errors.New("listener: no transport")
	case o.Transport.Secure() && o.TLS == nil:
		return errors.New("listener: " + o.Transport.String() + " needs a TLS configuration")
	case !o.Transport.Secure() && o.TLS != nil:
		return errors.New("listener: " + o.Transport.String() + " takes no TLS configuration")
	case o.Transport == Unix && o.ProxyProtocol == nil && len(o.Allow)+len(o.Deny) > 0:
		return errors.New("listener: a Unix socket has no source addresses to allow or deny")
	case o.Transport == Unix && (o.Address == "" || o.Address[0] == '@'):
		// Abstract sockets have no mode: anybody may connect.
		return errors.New("listener: a Unix socket needs a path in the file system")
	case o.HandshakeTimeout < 0 || o.MaxHandshakes < 0 || o.MaxConnections < 0:
		return errors.New("listener: negative limit")
	case o.SocketMode&^fs.ModePerm != 0:
		return errors.New("listener: socket mode has more than permission bits")
	}
	var allowErr, denyErr error
	o.Allow, allowErr = unmapPrefixes(o.Allow)
	o.Deny, denyErr = unmapPrefixes(o.Deny)
	if err := errors.Join(allowErr, denyErr); err != nil {
		return err
	}
	if err := o.completeProxies(); err != nil {
		return err
	}
	o.setDefaults()
	return nil
}

func (o *Options) completeProxies() (err error) {
	if o.ProxyProtocol != nil {
		if o.ProxyProtocol, err = o.ProxyProtocol.complete(o.Transport); err != nil {
			return err
		}
	}
	if o.ForwardedFor != nil {
		o.ForwardedFor, err = o.ForwardedFor.complete(o.Transport)
	}
	return err
}

func (o *Options) setDefaults() {
	if o.HandshakeTimeout == 0 {
		o.HandshakeTimeout = DefaultHandshakeTimeout
	}
	if o.MaxHandshakes == 0 {
		o.MaxHandshakes = DefaultMaxHandshakes
	}
	if o.Turns == nil {
		o.Turns = turns.New(0)
	}
	if o.SocketMode == 0 {
		o.SocketMode = DefaultSocketMode
	}
	if len(o.WebSocket.Subprotocols) == 0 {
		o.WebSocket.Subprotocols = []string{"mqtt", "mqttv3.1"}
	}
	if o.WebSocket.MaxFrame == 0 {
		o.WebSocket.MaxFrame = DefaultMaxFrame
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Counters == nil {
		o.Counters = new(Counters)
	}
}

// unmapPrefixes returns prefixes as they compare with unmapped addresses.
func unmapPrefixes(prefixes []netip.Prefix) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for _, p := range prefixes {
		switch {
		case !p.IsValid():
			return nil, errors.New("listener: invalid prefix of addresses")
		case p.Addr().Is4In6() && p.Bits() < 96:
			// It would hold IPv4 and IPv6 addresses, which nobody means.
			return nil, fmt.Errorf("listener: prefix %s is shorter than the IPv4-mapped range", p)
		case p.Addr().Is4In6():
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		all = append(all, p)
	}
	return all, nil
}

// Addrs returns the bound addresses, ports chosen by the system included.
func (l *Listener) Addrs() []net.Addr {
	var all []net.Addr
	for _, s := range l.sockets {
		all = append(all, s.Addr())
	}
	return all
}

// Counters returns what the listener counts.
func (l *Listener) Counters() *Counters { return l.counts }

// Serve accepts until Close and calls h for each connection. It returns nil
// after Close, and an error if the listener was served before.
func (l *Listener) Serve(h Handler) error {
	return l.serve(func(s *socket) error {
		l.group.Go(func() { acceptLoop(l, s, s.Accept, func(c net.Conn) { l.admit(c, h) }) })
		return nil
	})
}

// serve begins to accept on every socket and waits for Close.
func (l *Listener) serve(begin func(*socket) error) error {
	if err := l.beginServing(begin); err != nil {
		return err
	}
	<-l.done
	l.group.Wait()
	return nil
}

func (l *Listener) beginServing(begin func(*socket) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.serving {
		return errors.New("listener: served already")
	}
	l.serving = true
	if l.closed {
		return nil
	}
	for _, s := range l.sockets {
		if err := begin(s); err != nil {
			return fmt.Errorf("listener: %w", err)
		}
	}
	return nil
}

// Close stops accepting, ends the handshakes in progress and returns when the
// listener's goroutines have ended. Connections that were handed over stay open.
func (l *Listener) Close() error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		close(l.done)
		for _, s := range l.sockets {
			// Nothing was written to a listening socket: its close loses nothing.
			_ = s.Close()
		}
		l.removeUnix()
		l.places.endAll()
		l.headers.endAll()
	}
	l.mu.Unlock()
	l.group.Wait()
	return nil
}
