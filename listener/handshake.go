package listener

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"sallyport/internal/websocket"
)

// guest is a connection in its handshakes.
type guest struct {
	Info
	raw    net.Conn  // the socket
	conn   net.Conn  // what the upgrade reads: raw, or TLS over it
	tls    *tls.Conn // nil without TLS
	stream *Stream   // of ServeSockets, whose TLS is laid over its link; else nil
	// deliver hands the connection over once the handshakes are done.
	deliver func(*guest)
	place   *place // owned by the handshake's goroutine; its fields by Listener.mu
}

// turnAway closes a guest without goodbye.
func (l *Listener) turnAway(g *guest) {
	_ = g.raw.Close() // refused or failed: there is nothing to deliver
	l.left()
}

// beginHandshake finds g a place and runs its handshakes on a goroutine.
func (l *Listener) beginHandshake(g *guest) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		l.turnAway(g) // the listener is going away
		return
	}
	pool := &l.places
	if l.options.ProxyProtocol != nil {
		pool = &l.headers
	}
	got, displaced := pool.take(g.raw, g.Remote.Addr())
	if got != nil {
		g.place = got
		l.counts.Handshaking.Add(1)
		l.group.Go(func() {
			defer l.endHandshake(g)
			l.handshake(g)
		})
	}
	l.mu.Unlock()
	l.displace(displaced)
	if got == nil {
		l.crowded(g)
	}
}

// stretch gives a goroutine the stack that a TLS handshake will need, while there
// is next to nothing on it. Otherwise the runtime doubles it again and again in the
// depths of the handshake, and goes through all frames each time.
//
//go:noinline
func stretch() byte {
	var frame [8 << 10]byte
	return frame[len(os.Args)&1]
}

// displace ends the handshake that had to give up its place, if there is one.
func (l *Listener) displace(p *place) {
	if p != nil {
		l.counts.RefusedHandshakes.Add(1)
		_ = p.raw.Close() // its handshake fails on this
	}
}

// crowded turns away a guest for whom there is no place.
func (l *Listener) crowded(g *guest) {
	l.counts.RefusedHandshakes.Add(1)
	l.turnAway(g)
	l.complain(&g.Info, "connection refused", "too many handshakes in progress")
}

func (l *Listener) endHandshake(g *guest) {
	l.mu.Lock()
	g.place.release()
	l.mu.Unlock()
	l.counts.Handshaking.Add(-1)
}

// handshake does PROXY header, TLS and upgrade within one deadline and hands g over.
func (l *Listener) handshake(g *guest) {
	// Fails on a closed socket only, and so will the handshake.
	_ = g.raw.SetDeadline(time.Now().Add(l.options.HandshakeTimeout))
	if l.options.ProxyProtocol != nil && !l.introduce(g) {
		return
	}
	g.conn = g.raw
	if err := l.secure(g); err != nil {
		l.counts.HandshakeFailed.Add(1)
		l.fail(g, "TLS handshake failed", err)
		return
	}
	if err := l.upgrade(g); err != nil {
		l.counts.UpgradeFailed.Add(1)
		l.fail(g, "WebSocket upgrade failed", err)
		return
	}
	l.mu.Lock()
	held := g.place.release() && !l.closed
	l.mu.Unlock()
	if !held {
		l.turnAway(g) // displaced or closed at the last moment
		return
	}
	g.deliver(g)
}

// secure runs the TLS handshake, where the transport has one.
func (l *Listener) secure(g *guest) error {
	if !l.options.Transport.Secure() {
		return nil
	}
	if g.stream != nil {
		g.tls = g.stream.openTLS(g.raw, l.options.TLS)
		// A client is awaited with hardly any stack: it may never say a word.
		if err := g.stream.link.refill(); err != nil {
			return err
		}
		stretch()
	} else {
		g.tls = tls.Server(g.raw, l.options.TLS)
	}
	g.conn = g.tls
	// The deadline is the socket's: a context would cost a timer and a watcher.
	if err := g.tls.Handshake(); err != nil {
		return err
	}
	state := g.tls.ConnectionState()
	g.TLS = &state
	l.counts.HandshakeDone.Add(1)
	if state.DidResume {
		l.counts.HandshakeResumed.Add(1)
	}
	return nil
}

// flush sends what waits in the stream.
func (g *guest) flush() error {
	if g.stream == nil || g.tls == nil {
		return nil
	}
	return g.stream.link.flush()
}

// closeWrite ends the sending side.
func (g *guest) closeWrite() error {
	var err error
	if g.tls != nil {
		err = errors.Join(g.tls.CloseWrite(), g.flush())
	}
	return errors.Join(err, closeWriteSocket(g.raw))
}

// upgrade runs the WebSocket opening handshake, where the transport has one.
func (l *Listener) upgrade(g *guest) error {
	if !l.options.Transport.WebSocket() {
		return nil
	}
	u := websocket.NewUpgrade(websocket.UpgradeOptions{
		Path:         l.options.WebSocket.Path,
		Subprotocols: l.options.WebSocket.Subprotocols,
		CheckOrigin: func(origin, host string) bool {
			return l.options.WebSocket.originAllowed(origin, host, l.options.Transport.Secure())
		},
	})
	err := readUpgrade(g.conn, u)
	if err == nil {
		if refusal := l.nameForwarded(g, u.Request().Header); refusal != nil {
			err = u.Refuse(refusal.Error())
		}
	}
	if response := u.Response(); response != nil {
		if _, writeErr := g.conn.Write(response); err == nil {
			err = writeErr
		}
	}
	if err != nil {
		linger(g)
		return err
	}
	r := u.Request()
	g.Host, g.Path, g.Query, g.Header = r.Host, r.Path, r.Query, r.Header
	return nil
}

// linger lets the peer of a refused upgrade read the answer: closing a socket
// with unread bytes in it would take the answer back.
func linger(g *guest) {
	if g.closeWrite() != nil {
		return
	}
	_ = g.raw.SetDeadline(time.Now().Add(goodbye)) // fails on a closed socket, as will the read
	const most = 64 << 10
	_, _ = io.CopyN(io.Discard, g.raw, most) // whatever comes is thrown away
}

func readUpgrade(c net.Conn, u *websocket.Upgrade) error {
	buffer := make([]byte, 1<<10)
	for {
		n, readErr := c.Read(buffer)
		used, done, err := u.Feed(buffer[:n])
		switch {
		case err != nil:
			return err
		case done && used < n:
			// RFC 6455, 4.1: nothing is sent before the response. These bytes
			// are a body, or another request that a proxy let slip through.
			return u.Refuse("bytes behind the request")
		case done:
			return nil
		case errors.Is(readErr, io.EOF):
			return io.ErrUnexpectedEOF
		case readErr != nil:
			return readErr
		}
	}
}

// fail closes g after a failed handshake and says so.
func (l *Listener) fail(g *guest, message string, err error) {
	l.mu.Lock()
	closed, displaced := l.closed, g.place.item == nil
	l.mu.Unlock()
	_ = g.flush() // an alert, perhaps; the failure is what gets reported
	if g.stream != nil {
		g.stream.settle() // it gives back what it borrowed
	}
	l.turnAway(g)
	switch {
	case closed:
		return
	case displaced:
		err = errors.New("displaced by a newcomer: too many handshakes in progress")
	}
	l.complain(&g.Info, message, err.Error())
}

// deliverConn hands over a connection of package net.
func (l *Listener) deliverConn(g *guest, h Handler) {
	c := &Conn{Conn: g.conn, Info: g.Info, raw: g.raw, listener: l}
	if c.Transport.WebSocket() {
		c.frames = &frames{Conn: g.conn, in: deframer{decoder: l.decoder()}, chunks: &l.chunks}
		c.Conn = c.frames
	}
	_ = c.raw.SetDeadline(time.Time{}) // fails on a closed socket only, and so will its use
	l.counts.Served.Add(1)
	go h(c)
}

func (l *Listener) decoder() websocket.Decoder {
	return websocket.Decoder{MaxFrame: l.options.WebSocket.MaxFrame}
}
