package listener

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
)

// Info is what is known about a connection before MQTT begins. It is not
// changed after the handler got it. Header and Query often hold credentials:
// log the Info itself, which hides them.
type Info struct {
	Listener  string
	Transport Transport
	// Remote is the client, unmapped, without zone; invalid for Unix. Where a
	// trusted proxy named the client it is that, the port 0 if it told none.
	Remote netip.AddrPort
	TLS    *tls.ConnectionState
	// Host, Path, Query (undecoded, after the '?') and Header are the WebSocket
	// upgrade's, with canonical header names; at most 8 KiB together.
	Host   string
	Path   string
	Query  string
	Header map[string][]string
	Peer   *Peer  // of a Unix socket, where the system tells, and of the proxy's process behind one; else nil
	Proxy  *Proxy // of a connection whose client a trusted proxy names; else nil
}

// Peer is the process that connected to a Unix socket.
type Peer struct {
	UID, GID uint32
	PID      int32
}

// String names listener, transport and remote address.
func (i Info) String() string {
	return fmt.Sprintf("%s (%s) %s", i.Listener, i.Transport, i.source())
}

// LogValue implements [slog.LogValuer], without query and headers.
func (i Info) LogValue() slog.Value {
	about := []slog.Attr{slog.String("listener", i.Listener),
		slog.String("transport", i.Transport.String()), slog.String("addr", i.source())}
	if i.Proxy != nil {
		about = append(about, slog.String("proxy", i.Proxy.source()))
	}
	return slog.GroupValue(about...)
}

func (i Info) source() string { return addrText(i.Remote) }

func (p *Proxy) source() string { return addrText(p.Remote) }

func addrText(a netip.AddrPort) string {
	if a.IsValid() {
		return a.String()
	}
	return "local"
}

// Conn is an accepted connection: a stream of MQTT bytes, decrypted and
// deframed, and where it came from. Reads may run beside writes; writes from
// several goroutines are ordered whole. It keeps no buffer of its own.
type Conn struct {
	net.Conn // TCP, Unix, *tls.Conn, or the WebSocket stream over one of them
	Info

	raw      net.Conn // the socket
	frames   *frames  // nil without WebSocket
	listener *Listener
	left     atomic.Bool
}

// SyscallConn implements [syscall.Conn] for every transport without TLS, so
// that a driver can wait for readability without holding a buffer. It is the
// socket: for WS what is read from it must go through [Conn.Deframe], and
// nothing may be written to it. With TLS the error is [errors.ErrUnsupported],
// since bytes may be ready inside the TLS layer while the socket has none.
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	s, has := c.raw.(syscall.Conn)
	if !has || c.Transport.Secure() {
		return nil, errors.ErrUnsupported
	}
	return s.SyscallConn()
}

// Deframe turns bytes that a driver read from the socket itself into MQTT
// bytes, in place. For TCP and Unix that is b. For WS the frames are taken off,
// pings and the close handshake answered; it must not run beside Read. The
// result may be empty. The error is what Read would return once the result is
// consumed: io.EOF after the peer's close frame.
func (c *Conn) Deframe(b []byte) ([]byte, error) {
	if c.frames == nil {
		return b, nil
	}
	n, err := c.frames.deframe(b)
	return b[:n], err
}

// CloseWrite ends the sending side, so that the peer can still read what was
// sent: a WebSocket close frame, TLS close_notify, then FIN, as the transport
// has them. It may block like a Write, and obeys the write deadline.
func (c *Conn) CloseWrite() error {
	w, has := c.Conn.(interface{ CloseWrite() error })
	if !has {
		return errors.ErrUnsupported
	}
	err := w.CloseWrite()
	if t, isTLS := c.Conn.(*tls.Conn); isTLS && err == nil {
		err = closeWriteSocket(t.NetConn())
	}
	return err
}

func closeWriteSocket(c net.Conn) error {
	if w, has := c.(interface{ CloseWrite() error }); has {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close closes the connection. With TLS or WebSocket it tries to say goodbye
// first, for a few seconds at most. It unblocks Read and Write.
func (c *Conn) Close() error {
	c.leave()
	return c.Conn.Close()
}

// Abort closes the socket at once, without goodbye and without blocking.
func (c *Conn) Abort() error {
	c.leave()
	return c.raw.Close()
}

// leave makes room under MaxConnections, once.
func (c *Conn) leave() {
	if !c.left.Swap(true) {
		c.listener.left()
	}
}
