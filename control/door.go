package control

import (
	"log/slog"
	"net"
	"sync"

	"sallyport/audit"
	"sallyport/listener"
)

// door is the socket as net/http wants it: connections of actors alone pass.
type door struct {
	l      *listener.Listener
	admit  func(*listener.Peer) (Actor, error)
	refuse func(Actor, error)
	in     chan *guest
	done   chan struct{}
	once   sync.Once
}

// guest is a connection whose actor is known.
type guest struct {
	net.Conn
	actor Actor
}

func newDoor(l *listener.Listener, s *Server) *door {
	d := &door{l: l, admit: s.admit, in: make(chan *guest), done: make(chan struct{})}
	d.refuse = func(a Actor, err error) {
		s.audit.Record(audit.ControlRefused, slog.String("actor", a.Name), slog.String("addr", a.Address),
			slog.String("action", "connect"), slog.String("reason", err.Error()))
	}
	return d
}

// admitted judges a connection before a byte of it is read, and hands it on. It
// has a goroutine of its own, and waits there for Accept.
func (d *door) admitted(c *listener.Conn) {
	a, err := d.admit(c.Peer)
	if err != nil {
		d.refuse(a, err)
		_ = c.Close() // nothing was read or written
		return
	}
	select {
	case d.in <- &guest{c, a}:
	case <-d.done:
		_ = c.Close() // the same
	}
}

// Accept implements net.Listener.
func (d *door) Accept() (net.Conn, error) {
	select {
	case g := <-d.in:
		return g, nil
	case <-d.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener: it stops accepting and removes the socket.
func (d *door) Close() error {
	var err error
	d.once.Do(func() {
		close(d.done)
		err = d.l.Close()
	})
	return err
}

// Addr implements net.Listener.
func (d *door) Addr() net.Addr { return d.l.Addrs()[0] }
