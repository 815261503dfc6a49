package script_test

import (
	"context"
	"crypto/tls"
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
	name string
	// start begins to drive b's connections, until the test ends. What it returns
	// takes one over, and may return before that is over.
	start func(t *testing.T, b *broker.Broker) func(*listener.Conn, broker.Info)
}

// drivers are all there are for sockets.
func drivers() []driver {
	return []driver{
		{"goroutine", func(_ *testing.T, b *broker.Broker) func(*listener.Conn, broker.Info) {
			return func(c *listener.Conn, info broker.Info) { b.Serve(c, info) }
		}},
	}
}

// door is a bound listener for many worlds, one after the other.
type door struct {
	target client.Target
	world  atomic.Pointer[socketWorld] // the present one, which takes what is accepted
}

// openDoor binds a listener on loopback; it is closed with the test.
func openDoor(t *testing.T, kind listener.Transport) *door {
	t.Helper()
	d := &door{target: client.Target{Transport: client.Transport(kind.String())}}
	o := listener.Options{Name: "main", Transport: kind, Address: "127.0.0.1:0", NoDelay: true}
	if kind.Secure() {
		o.TLS, d.target.TLS = tlsPair(t)
	}
	if kind == listener.Unix {
		o.Address = filepath.Join(t.TempDir(), "mqtt")
	}
	l, err := listener.Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	d.target.Address = l.Addrs()[0].String()
	served := make(chan error, 1)
	go func() { served <- l.Serve(d.admit) }()
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return d
}

// admit gives an accepted connection to the present world.
func (d *door) admit(c *listener.Conn) {
	if w := d.world.Load(); w != nil {
		w.admit(c)
		return
	}
	_ = c.Close() // a case that has ended left it
}

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
	s, _, err := certs.LoadServer(certs.ServerOptions{CertFile: files.CertFile, KeyFile: files.KeyFile})
	if err != nil {
		t.Fatal(err)
	}
	clients, _, err = certs.Client(certs.ClientOptions{CAFile: files.CAFile, ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	return s.Config(), clients
}

// admit runs a connection for the peer that is being dialled.
func (w *socketWorld) admit(c *listener.Conn) {
	info := broker.Info{Listener: "main", Remote: w.nextAddr(), Secure: c.Transport.Secure() || c.Transport == listener.Unix}
	w.arrived <- info.Remote
	w.serve(c, info)
}

// nextAddr is an address that no other connection of the case has, so that the
// broker's log can be told apart by it.
func (w *socketWorld) nextAddr() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 1}), uint16(w.dialled.Add(1)))
}
