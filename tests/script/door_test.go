package script_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/certs"
	"sallyport/client"
	"sallyport/listener"
)

// patience is how long a test waits for what has to come.
const patience = 20 * time.Second

// driver is one of the ways in which the broker runs a socket.
type driver struct {
	name  string
	loops int // event loops; 0: a goroutine for each connection
}

// drivers are all there are for sockets.
func drivers() []driver {
	return []driver{{name: "goroutine"}, {name: "epoll", loops: 2}}
}

// door is a bound listener for many worlds, one after the other.
type door struct {
	target client.Target
	world  atomic.Pointer[socketWorld] // the present one, which takes what is accepted
}

// openDoor binds a listener on loopback that hands over as d wants it; it is
// closed with the test.
func openDoor(t *testing.T, d driver, kind listener.Transport) *door {
	t.Helper()
	at := &door{target: client.Target{Transport: client.Transport(kind.String())}}
	o := listener.Options{Name: "main", Transport: kind, Address: "127.0.0.1:0", NoDelay: true}
	if kind.Secure() {
		o.TLS, at.target.TLS = tlsPair(t)
	}
	if kind == listener.Unix {
		o.Address = filepath.Join(t.TempDir(), "mqtt")
	}
	l, err := listener.Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	at.target.Address = l.Addrs()[0].String()
	served := make(chan error, 1)
	go func() {
		if d.loops == 0 {
			served <- l.Serve(at.admit)
		} else {
			served <- l.ServeSockets(at.admitSocket)
		}
	}()
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return at
}

// admit gives an accepted connection to the present world.
func (d *door) admit(c *listener.Conn) {
	if w := d.world.Load(); w != nil {
		w.broker.Serve(c, w.meet(&c.Info))
		return
	}
	_ = c.Close() // a case that has ended left it
}

// admitSocket is admit for a driver with loops. There is a world whenever
// somebody dials.
func (d *door) admitSocket(s listener.Socket) {
	w := d.world.Load()
	if s.Stream == nil {
		w.loops.Serve(s.FD, nil, w.meet(&s.Info), s.Done)
		return
	}
	w.loops.Serve(s.FD, stream{s.Stream}, w.meet(&s.Info), s.Done)
}

// stream is a listener's Stream as the engine wants it.
type stream struct{ *listener.Stream }

// More implements broker.Stream.
func (stream) More(err error) bool { return errors.Is(err, listener.ErrMore) }

// dial connects to the door.
func (d *door) dial() (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return d.target.Dial(ctx)
}

// tlsPair returns the configurations of a server and of its client.
func tlsPair(t *testing.T) (server, clients *tls.Config) {
	t.Helper()
	files, err := certs.Quickstart(t.TempDir(), nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := certs.LoadServer(certs.ServerOptions{CertFile: files.CertFile, KeyFile: files.KeyFile}, nil)
	if err != nil {
		t.Fatal(err)
	}
	clients, _, err = certs.Client(certs.ClientOptions{CAFile: files.CAFile, ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	return s.Config(), clients
}

// meet tells the peer that is being dialled who it is for the broker: an address
// that no other connection of the case has, so that the log can be told apart by it.
func (w *socketWorld) meet(c *listener.Info) broker.Info {
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), uint16(w.dialled.Add(1)))
	w.arrived <- addr
	return broker.Info{Listener: "main", Remote: addr, Secure: c.Transport.Secure() || c.Transport == listener.Unix}
}
