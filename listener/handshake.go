package listener

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"

	"sallyport/internal/websocket"
)

// beginHandshake finds c a place and runs its handshakes on a goroutine.
func (l *Listener) beginHandshake(c *Conn, h Handler) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		_ = c.Abort() // the listener is going away
		return
	}
	got, displaced := l.places.take(c.raw, c.Remote.Addr())
	if got != nil {
		l.counts.Handshaking.Add(1)
		l.group.Go(func() {
			defer l.endHandshake(got)
			l.handshake(c, got, h)
		})
	}
	l.mu.Unlock()
	if displaced != nil {
		l.counts.RefusedHandshakes.Add(1)
		_ = displaced.raw.Close() // its handshake fails on this
	}
	if got == nil {
		l.counts.RefusedHandshakes.Add(1)
		_ = c.Abort() // refused: nothing to deliver
		l.complain(&c.Info, "connection refused", "too many handshakes in progress")
	}
}

func (l *Listener) endHandshake(p *place) {
	l.mu.Lock()
	l.places.release(p)
	l.mu.Unlock()
	l.counts.Handshaking.Add(-1)
}

// handshake does TLS and upgrade within one deadline and hands c over.
func (l *Listener) handshake(c *Conn, p *place, h Handler) {
	deadline := time.Now().Add(l.options.HandshakeTimeout)
	// Fails on a closed socket only, and so will the handshake.
	_ = c.raw.SetDeadline(deadline)
	if err := l.secure(c, deadline); err != nil {
		l.counts.HandshakeFailed.Add(1)
		l.fail(c, p, "TLS handshake failed", err)
		return
	}
	if err := l.upgrade(c); err != nil {
		l.counts.UpgradeFailed.Add(1)
		l.fail(c, p, "WebSocket upgrade failed", err)
		return
	}
	l.mu.Lock()
	held := l.places.release(p) && !l.closed
	l.mu.Unlock()
	if !held {
		_ = c.Abort() // displaced or closed at the last moment
		return
	}
	_ = c.raw.SetDeadline(time.Time{}) // as above
	l.counts.Served.Add(1)
	go h(c)
}

// secure runs the TLS handshake, where the transport has one.
func (l *Listener) secure(c *Conn, deadline time.Time) error {
	if !l.options.Transport.Secure() {
		return nil
	}
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	t := tls.Server(c.raw, l.options.TLS)
	if err := t.HandshakeContext(ctx); err != nil {
		return err
	}
	state := t.ConnectionState()
	c.Conn, c.TLS = t, &state
	l.counts.HandshakeDone.Add(1)
	if state.DidResume {
		l.counts.HandshakeResumed.Add(1)
	}
	return nil
}

// upgrade runs the WebSocket opening handshake, where the transport has one.
func (l *Listener) upgrade(c *Conn) error {
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
	err := readUpgrade(c.Conn, u)
	if response := u.Response(); response != nil {
		if _, writeErr := c.Conn.Write(response); err == nil {
			err = writeErr
		}
	}
	if err != nil {
		linger(c)
		return err
	}
	r := u.Request()
	c.Host, c.Path, c.Query, c.Header = r.Host, r.Path, r.Query, r.Header
	c.frames = &frames{
		Conn:    c.Conn,
		decoder: websocket.Decoder{MaxFrame: l.options.WebSocket.MaxFrame},
		chunks:  &l.chunks,
	}
	c.Conn = c.frames
	return nil
}

// linger lets the peer of a refused upgrade read the answer: closing a socket
// with unread bytes in it would take the answer back.
func linger(c *Conn) {
	if c.CloseWrite() != nil {
		return
	}
	_ = c.raw.SetDeadline(time.Now().Add(goodbye)) // fails on a closed socket, as will the read
	const most = 64 << 10
	_, _ = io.CopyN(io.Discard, c.raw, most) // whatever comes is thrown away
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

// fail closes c after a failed handshake and says so.
func (l *Listener) fail(c *Conn, p *place, message string, err error) {
	l.mu.Lock()
	closed, displaced := l.closed, p.item == nil
	l.mu.Unlock()
	_ = c.Abort() // the failure is what gets reported
	switch {
	case closed:
		return
	case displaced:
		err = errors.New("displaced by a newcomer: too many handshakes in progress")
	}
	l.complain(&c.Info, message, err.Error())
}
