package listener

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"sallyport/internal/turns"
)

// bequeath gives a listening socket the options that its connections inherit
// (tcp(7)), so that accepting one costs a single system call.
func bequeath(c syscall.RawConn, noDelay bool) error {
	seconds := func(d time.Duration) int { return int(d / time.Second) }
	delay := 0
	if noDelay {
		delay = 1
	}
	var failed error
	err := c.Control(func(fd uintptr) {
		for _, o := range [...]struct{ level, name, value int }{
			{syscall.IPPROTO_TCP, syscall.TCP_NODELAY, delay},
			{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1},
			{syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, seconds(keepAlive.Idle)},
			{syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, seconds(keepAlive.Interval)},
			{syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, keepAlive.Count},
		} {
			failed = errors.Join(failed, os.NewSyscallError("setsockopt", syscall.SetsockoptInt(int(fd), o.level, o.name, o.value)))
		}
	})
	return errors.Join(err, failed)
}

func (l *Listener) serveSockets(h func(Socket)) error {
	return l.serve(func(s *socket) error {
		a, err := newAcceptor(s)
		if err != nil {
			return err
		}
		l.group.Go(func() { acceptLoop(l, s, a.accept, func(n newcomer) { l.admitSocket(n, h) }) })
		return nil
	})
}

// newcomer is an accepted socket.
type newcomer struct {
	fd   int
	from netip.AddrPort // of TCP
}

// Close implements [io.Closer].
func (n newcomer) Close() error { return syscall.Close(n.fd) }

// acceptor accepts on one listening socket, for one goroutine. It waits in the
// runtime's poller, and only once accept4 has said that nobody is waiting.
type acceptor struct {
	raw syscall.RawConn
	try func(fd uintptr) (done bool)
	got newcomer
	err error

	// A flood of newcomers is accepted without ever waiting, and has to let others run.
	pace  turns.Pace
	since time.Time // the work that pace does not know yet began
}

// newAcceptor takes the descriptor of s over: package net lets nobody else wait on it.
func newAcceptor(s *socket) (*acceptor, error) {
	lender, has := s.Listener.(interface{ File() (*os.File, error) })
	if !has {
		return nil, errors.ErrUnsupported
	}
	file, err := lender.File() // a duplicate
	if err != nil {
		return nil, err
	}
	_ = s.Listener.Close() // nothing was written to it, and it still tells its address
	s.file = file
	a := new(acceptor)
	if a.raw, err = file.SyscallConn(); err != nil {
		return nil, err
	}
	a.try = func(fd uintptr) bool {
		if a.got, a.err = acceptOne(int(fd)); a.err != syscall.EAGAIN {
			return true
		}
		a.since = time.Time{}
		a.pace.Reset()
		return false
	}
	return a, nil
}

// accept returns the next newcomer. What was done since the last one is the work that
// it caused.
func (a *acceptor) accept() (newcomer, error) {
	now := time.Now()
	if !a.since.IsZero() {
		a.pace.Add(now.Sub(a.since))
		if a.pace.Rest() {
			now = time.Now()
		}
	}
	for a.since = now; ; {
		err := a.raw.Read(a.try)
		if err == nil {
			err = a.err
		}
		switch err {
		case nil:
			return a.got, nil
		case syscall.EINTR, syscall.ECONNABORTED: // it has left already
			continue
		}
		return newcomer{}, os.NewSyscallError("accept4", err)
	}
}

// admitSocket is admit for a descriptor.
func (l *Listener) admitSocket(n newcomer, h func(Socket)) {
	info := l.about(n.from)
	if l.options.Transport == Unix {
		info.Peer = peerOfSocket(n.fd)
	}
	if why := l.judge(&info); why != "" {
		_ = n.Close() // it was refused: there is nothing to deliver
		l.complain(&info, "connection refused", why)
		return
	}
	if l.direct() {
		l.counts.Served.Add(1)
		h(Socket{FD: n.fd, Info: info, Done: l.leave})
		return
	}
	raw := &waiting{os.NewFile(uintptr(n.fd), "socket")}
	g := &guest{Info: info, raw: raw, deliver: func(g *guest) { l.deliverSocket(g, raw, h) }}
	if !l.plain() {
		g.stream = newStream(l.lender)
	}
	l.beginHandshake(g)
}

// deliverSocket hands over a connection whose handshakes are done.
func (l *Listener) deliverSocket(g *guest, raw *waiting, h func(Socket)) {
	fd, err := raw.detach()
	if err != nil {
		l.left()
		l.counts.RefusedFiles.Add(1)
		l.acceptTrouble("no descriptor for a connection after its handshake", err)
		return
	}
	if g.stream != nil {
		g.stream.settle()
	}
	if l.options.Transport.WebSocket() {
		g.stream.web = &web{in: deframer{decoder: l.decoder()}}
	}
	l.counts.Served.Add(1)
	h(Socket{FD: fd, Info: g.Info, Stream: g.stream, Done: l.leave})
}

// waiting is the socket of a handshake: a net.Conn that waits in the runtime's
// poller and tells no addresses.
type waiting struct{ *os.File }

// LocalAddr implements [net.Conn].
func (w *waiting) LocalAddr() net.Addr { return &net.TCPAddr{} }

// RemoteAddr implements [net.Conn].
func (w *waiting) RemoteAddr() net.Addr { return &net.TCPAddr{} }

// CloseWrite sends a FIN.
func (w *waiting) CloseWrite() error {
	var failed error
	err := w.control(func(fd uintptr) { failed = syscall.Shutdown(int(fd), syscall.SHUT_WR) })
	return errors.Join(err, failed)
}

// detach closes w and returns a duplicate of its descriptor, which the
// runtime's poller doesn't know.
func (w *waiting) detach() (int, error) {
	var fd uintptr
	var errno syscall.Errno
	err := w.control(func(old uintptr) {
		fd, _, errno = syscall.Syscall(syscall.SYS_FCNTL, old, syscall.F_DUPFD_CLOEXEC, 0)
	})
	_ = w.Close() // the connection lives on in the duplicate
	if errno != 0 {
		err = os.NewSyscallError("fcntl", errno)
	}
	return int(fd), err
}

func (w *waiting) control(f func(fd uintptr)) error {
	c, err := w.SyscallConn()
	if err != nil {
		return err
	}
	return c.Control(f)
}
