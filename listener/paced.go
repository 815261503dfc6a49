package listener

import (
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"sallyport/internal/turns"
)

// maxHandshakeBytes bounds what a peer may send in a TLS handshake, in bytes.
// Chains of certificates are the longest part, and a dear one: crypto/x509 would
// check a hundred signatures in one of the 256 KiB that crypto/tls takes.
const maxHandshakeBytes = 64 << 10

// overlong is the header of a record that is too long: what tls.Conn gets in place
// of more than maxHandshakeBytes, so that it says so to the peer.
var overlong = [recordHeader]byte{22, 3, 3, 0xff, 0xff}

// paced is the socket of a TLS handshake: while the handshake waits for it, it has
// no turn. Afterwards it is the socket and nothing more.
type paced struct {
	net.Conn
	turns    *turns.Turns
	prefix   netip.Prefix
	deadline time.Time
	gone     *atomic.Bool // the handshake was displaced, or the listener closes

	// owned by the handshake's goroutine
	has   bool      // a turn
	since time.Time // it has it
	over  bool      // the handshake is
	read  int       // bytes of the peer
}

// Read implements [net.Conn].
func (p *paced) Read(b []byte) (int, error) {
	if p.over {
		return p.Conn.Read(b)
	}
	p.leave()
	n, err := p.Conn.Read(b)
	if err != nil {
		return n, err
	}
	// A link says so itself, between records.
	if p.read += n; p.read > maxHandshakeBytes+maxRecord+handshakeRead {
		return 0, ErrOversized
	}
	if err := p.enter(); err != nil {
		return 0, err // so that nobody goes on with what was read
	}
	return n, nil
}

// Write implements [net.Conn].
func (p *paced) Write(b []byte) (int, error) {
	if !p.over {
		p.leave()
		// What is computed after the write is little: the turn comes with the next read.
	}
	return p.Conn.Write(b)
}

// enter waits for a turn, and tells whether it comes in time.
func (p *paced) enter() error {
	p.turns.Enter(p.prefix)
	p.turns.Rest()
	p.has, p.since = true, time.Now()
	switch {
	case p.gone.Load():
		return net.ErrClosed
	case !time.Now().Before(p.deadline):
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (p *paced) leave() {
	if p.has {
		p.has = false
		p.turns.Add(time.Since(p.since))
		p.turns.Leave()
	}
}

// finish ends the pace with the handshake.
func (p *paced) finish() {
	p.leave()
	p.over = true
}

// CloseWrite ends the sending side.
func (p *paced) CloseWrite() error { return closeWriteSocket(p.Conn) }
