//go:build !386 && !s390x

package broker

import (
	"bytes"
	"errors"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"sallyport/packet"
)

// plainStream is a Stream that changes nothing; a byte 0xFF is its end.
type plainStream struct {
	in   []byte
	sent func() // called by Send

	mu      sync.Mutex // guards the fields below: both sides ask for what is pending
	out     []byte
	largest int // that was taken at once
}

var errMore = errors.New("more")

func (s *plainStream) Receive(wire []byte) { s.in = append(s.in, wire...) }

func (s *plainStream) Read(p []byte) (int, error) {
	n := len(s.in)
	if end := bytes.IndexByte(s.in, 0xFF); end == 0 {
		return 0, io.EOF
	} else if end > 0 {
		n = end
	}
	n = copy(p, s.in[:n])
	if s.in = s.in[n:]; n == 0 {
		return 0, errMore
	}
	return n, nil
}

func (s *plainStream) More(err error) bool { return err == errMore }

func (s *plainStream) Send(mqtt []byte) error {
	s.mu.Lock()
	s.out = append(s.out, mqtt...)
	s.mu.Unlock()
	if s.sent != nil {
		s.sent()
	}
	return nil
}

func (s *plainStream) Take([]byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.out
	s.largest, s.out = max(s.largest, len(out)), nil
	return out
}

func (s *plainStream) Pending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.out) > 0
}

func (s *plainStream) CloseWrite() error { return nil }

// accepted is a connection between the test and the broker, both ends as sockets.
func accepted(t *testing.T, network, address string) (ours, brokers net.Conn) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if ours, err = net.Dial(network, l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ours.Close() })
	if brokers, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return ours, brokers
}

// A stream's end may be read while the connection waits: what came before it is
// handled first, the DISCONNECT too, which takes the will away.
func TestWhatCameBeforeTheEndOfAStreamIsHandled(t *testing.T) {
	way{tcp: true, loops: true, one: true}.run(t, func(s *setup) { s.door.hold = make(chan struct{}) }, func(x *bed) {
		ours, theirs := accepted(t, "tcp", "127.0.0.1:0")
		connect := packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "goes", Will: &packet.Will{Topic: "t", Payload: []byte("will"), ExpiryAt: -1, Retain: true}}
		out := packet.AppendConnect(nil, &connect)
		out = packet.AppendPublish(out, packet.V5, &packet.PublishOut{Topic: "t", Payload: []byte("last"), ExpiryAt: -1})
		send(t, ours, append(packet.AppendDisconnect(out, packet.V5, &packet.Disconnect{}), 0xFF))
		x.loops.Serve(descriptor(theirs), &plainStream{}, Info{Listener: "test"}, func() {})
		x.until("the client is asked for", func() bool { return x.b.metrics.BytesReceived.Load() > 0 })
		close(x.door.hold)
		x.until("the client has gone", func() bool { return x.b.metrics.Connections.Load() == 0 })
		if n := x.b.metrics.PublishReceived.Load(); n != 1 {
			t.Errorf("%d messages came, want 1", n)
		}
		sub := x.connect(packet.V5, "sub")
		sub.subscribe(filter("t", 0))
		sub.nothing() // no will of who said goodbye
	})
}

// Others may add to a connection's output as fast as its stream takes it: they
// do not keep it from being written.
func TestAStreamTakesNoMoreThanTheConnectionHad(t *testing.T) {
	way{tcp: true, loops: true, one: true}.run(t, nil, func(x *bed) {
		ours, theirs := accepted(t, "tcp", "127.0.0.1:0")
		s := &plainStream{}
		more := 100
		s.sent = func() {
			if more--; more > 0 {
				c := x.b.conns.all()[0]
				tn := turn{now: x.b.now()}
				c.sendTouch(&tn, func(dst []byte) []byte { return packet.AppendPing(dst, packet.PINGRESP) })
				tn.flush()
			}
		}
		send(t, ours, connectBytes("c"))
		x.loops.Serve(descriptor(theirs), s, Info{Listener: "test"}, func() {})
		if _, err := io.ReadFull(ours, make([]byte, 2*99)); err != nil {
			t.Fatal(err)
		}
		_ = ours.Close()
		x.until("the client has gone", func() bool { return x.b.metrics.Connections.Load() == 0 })
		if s.largest > 100 {
			t.Errorf("%d bytes were taken at once", s.largest)
		}
	})
}

func TestLittleIsKeptBeforeTheClientIsKnown(t *testing.T) {
	way{tcp: true, loops: true, one: true}.run(t, func(s *setup) { s.door.hold = make(chan struct{}) }, func(x *bed) {
		ours, theirs := accepted(t, "tcp", "127.0.0.1:0")
		send(t, ours, append(connectBytes("c"), bytes.Repeat([]byte{0xC0, 0}, 30<<10)...))
		x.loops.Serve(descriptor(theirs), nil, Info{Listener: "test"}, func() {})
		x.until("the client is asked for", func() bool { return x.b.metrics.BytesReceived.Load() > 0 })
		if n := x.b.metrics.BytesReceived.Load(); n > openingBytes {
			t.Errorf("%d bytes were taken, want at most %d", n, openingBytes)
		}
		close(x.door.hold)
		got, err := io.ReadAll(io.LimitReader(ours, 60<<10))
		if err != nil || !bytes.HasSuffix(got, []byte{0xD0, 0}) {
			t.Errorf("%d bytes, %v, want answers to all", len(got), err)
		}
		_ = ours.Close()
	})
}

// Who sends, ends and goes away without reading an answer has sent what it has sent.
func TestWhatAPeerSentBeforeItWentIsHandled(t *testing.T) {
	for _, w := range drivers() {
		t.Run(w.name, func(t *testing.T) {
			w.run(t, nil, func(x *bed) {
				const messages = 6000
				s := x.connect(packet.V5, "s")
				s.subscribe(filter("t", 0), filter("+", 0), filter("#", 0), filter("t/#", 0)) // so that it takes more than one turn
				ours, theirs := accepted(t, "unix", filepath.Join(t.TempDir(), "s"))
				if err := ours.(*net.UnixConn).SetWriteBuffer(1 << 20); err != nil {
					t.Fatal(err)
				}
				out := connectBytes("p")
				for range messages {
					out = packet.AppendPublish(out, packet.V5, &packet.PublishOut{Topic: "t", ExpiryAt: -1})
				}
				send(t, ours, packet.AppendDisconnect(out, packet.V5, &packet.Disconnect{}))
				_ = ours.Close()
				if w.loops {
					x.loops.Serve(descriptor(theirs), nil, Info{Listener: "test"}, func() {})
				} else {
					x.b.Serve(theirs, Info{Listener: "test"})
				}
				x.until("the peer has gone", func() bool { return x.b.metrics.Connections.Load() == 1 })
				if n := x.b.metrics.PublishReceived.Load(); n != messages {
					t.Errorf("%d messages came, want %d", n, messages)
				}
			})
		})
	}
}

// A write that fails ends nothing where it happens: whoever writes may hold
// Broker.outside for reading, which the client's will takes too.
func TestAFailedWriteEndsTheConnectionOnItsLoop(t *testing.T) {
	overBusyLoop(t, func(y *busy) {
		x := y.x
		sub, holder := x.connect(packet.V5, "sub"), x.connect(packet.V5, "holder")
		sub.subscribe(filter("wills", 0))
		goes := x.connect(packet.V5, "goes", willOf("wills", "gone", 0))
		cl := x.b.reg.find("goes")
		cl.mu.Lock()
		c := cl.conn
		cl.mu.Unlock()
		y.whileHeld(holder, func() {
			nc := goes.conn.(*net.TCPConn)
			if err := nc.SetLinger(0); err != nil {
				t.Fatal(err)
			}
			_ = nc.Close() // by RST
			x.b.outside.RLock()
			defer x.b.outside.RUnlock()
			tn := turn{now: x.b.now()}
			c.sendTouch(&tn, func(dst []byte) []byte { return packet.AppendPing(dst, packet.PINGRESP) })
			tn.flush()
			if c.ended.Load() {
				t.Error("it has ended on the writer's stack")
			}
		})
		sub.gets("gone")
	})
}

// A stream may have read ahead all that its peer sent, so that of the socket only
// the end is left.
func TestWhatAStreamHasReadAheadIsHandled(t *testing.T) {
	way{tcp: true, loops: true, one: true}.run(t, nil, func(x *bed) {
		for i := range 20 {
			ours, theirs := accepted(t, "tcp", "127.0.0.1:0")
			_ = ours.Close()
			out := packet.AppendPublish(connectBytes("c"), packet.V5, &packet.PublishOut{Topic: "t", ExpiryAt: -1})
			ahead := &plainStream{in: packet.AppendDisconnect(out, packet.V5, &packet.Disconnect{})}
			x.loops.Serve(descriptor(theirs), ahead, Info{Listener: "test"}, func() {})
			x.until("the peer has gone", func() bool { return x.b.metrics.Connections.Load() == 0 })
			if n := x.b.metrics.PublishReceived.Load(); n != int64(i+1) {
				t.Fatalf("%d messages came, want %d", n, i+1)
			}
		}
	})
}
