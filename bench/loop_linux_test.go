package bench

import (
	"context"
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/client"
	"sallyport/client/clienttest"
	"sallyport/internal/epoll"
	"sallyport/packet"
)

func TestPlainConnectionsAreServedByLoops(t *testing.T) {
	want := []string{"event loops", "goroutines"}
	for i, form := range forms {
		b := clienttest.Start(t)
		o := small(b, P2P)
		o.Dial = form.dial(client.Target{Transport: client.TCP, Address: b.Addr})
		if r := mustRun(t, o); !r.OK() || !strings.Contains(r.Generator, want[i]) {
			t.Errorf("served by %q, want %s", r.Generator, want[i])
		}
	}
}

// A payload beyond what a socket takes at once leaves and comes in pieces.
func TestALoopGoesOnWithWhatASocketDidNotTake(t *testing.T) {
	for _, payload := range []int{100_000, loopPayload, loopPayload + 1} {
		b := clienttest.Start(t)
		o := small(b, P2P)
		o.Payload, o.Window, o.Messages, o.QoS, o.Stall = payload, 64, 100, 1, 5*time.Second
		if r := mustRun(t, o); !r.OK() || r.Delivered != 200 {
			t.Errorf("payload %d: %+v", payload, r)
		}
	}
}

func TestALostConnectionLeavesNoDescriptors(t *testing.T) {
	open := func() int {
		n := 0
		for fd := range 256 {
			var st syscall.Stat_t
			if syscall.Fstat(fd, &st) == nil {
				n++
			}
		}
		return n
	}
	b := clienttest.Start(t)
	mustRun(t, small(b, P2P)) // what the runtime opens once
	b.DropAll()
	before := open()
	for range 3 {
		mustRun(t, small(b, FanIn))
	}
	// The broker closes its ends when it has read to the end.
	for deadline := time.Now().Add(10 * time.Second); open() > before && time.Now().Before(deadline); {
	}
	if after := open(); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// TestALoopAllocatesNothingPerMessage has one loop send and receive over socket
// pairs, with the test in the broker's place.
func TestALoopAllocatesNothingPerMessage(t *testing.T) {
	const window = 100
	r := &run{Options: Options{Version: packet.V5, QoS: 1, Payload: 64, Window: window}, start: time.Now(), rest: pattern(64), report: new(Report)}
	l := newLoad(r, 1, nil)
	pub, recv := socketPair(t), socketPair(t)
	conn := func() *rawConn { return &rawConn{version: packet.V5, limit: 1 << 20, ack: new(packet.Connack)} }
	p := r.newPublisher(conn(), 0, "a", false, false)
	p.fan = 1
	l.pubs = []*publisher{p}
	v := r.newReceiver(conn(), 0, l.pubs, new(histogram))
	l.publishing.Add(1)
	lp, err := l.newLoop(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(lp.close)
	pe, ve := &endpoint{fd: pub[0], c: p.c, pub: p}, &endpoint{fd: recv[0], c: v.c, rec: v}
	lp.home, lp.seat = []*loop{lp}, []*endpoint{pe}
	for _, e := range []*endpoint{pe, ve} {
		if err := lp.register(e); err != nil {
			t.Fatal(err)
		}
		if err := lp.start(e); err != nil {
			t.Fatal(err)
		}
	}
	buf := make([]byte, 1<<20)
	acks := make([]byte, 0, 4*window)
	for range window {
		acks = append(acks, 0x40, 2, 0, 1)
	}
	relay := func() {
		if err := lp.turn(lp.poll.Ready()); err != nil {
			t.Fatal(err)
		}
		n, _ := epoll.Read(pub[1], buf)
		epoll.Write(recv[1], buf[:n])
		epoll.Write(pub[1], acks[:4*(n/len(p.t.frame))])
		if err := lp.turn(lp.poll.Ready()); err != nil {
			t.Fatal(err)
		}
		epoll.Read(recv[1], buf) // the receiver's acknowledgements
	}
	for range 5 {
		relay()
	}
	before := v.got.Load()
	if allocs := testing.AllocsPerRun(50, relay); allocs != 0 {
		t.Errorf("%v allocations for %d messages", allocs, window)
	}
	if got := v.got.Load() - before; got < 50*window || v.invalid.Load()+v.foreign.Load() > 0 {
		t.Errorf("%d messages, %d invalid, %d foreign", got, v.invalid.Load(), v.foreign.Load())
	}
}

func socketPair(t *testing.T) [2]int {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { epoll.Close(fds[1]) }) // the loop closes the first
	return fds
}

func TestAStormThatNobodyAnswersFails(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	tests := []struct {
		name   string
		answer func(nc net.Conn)
		says   string
	}{
		{"closed at once", func(nc net.Conn) {}, "no CONNACK"},
		{"another packet", func(nc net.Conn) { nc.Write([]byte{0xd0, 0}) }, "PINGRESP in place of CONNACK"},
		{"malformed", func(nc net.Conn) { nc.Write([]byte{0, 0}) }, "reserved"},
		{"a packet without end", func(nc net.Conn) { nc.Write([]byte{0x20, 0xff, 0xff, 0x7f}) }, "in place of CONNACK"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			served := make(chan struct{})
			go func() {
				defer close(served)
				nc, err := ln.Accept()
				if err != nil {
					return
				}
				nc.Read(make([]byte, 1024))
				tt.answer(nc)
				nc.(*net.TCPConn).CloseWrite()
				nc.Read(make([]byte, 1024)) // until the client has gone
				nc.Close()
			}()
			o := small(&clienttest.Broker{Addr: ln.Addr().String()}, Connect)
			o.Connections, o.Concurrency = 1, 1
			o.Plain = ln.Addr().String()
			if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Run = %v, want %q", err, tt.says)
			}
			<-served
		})
	}
	ln.Close()
	o := small(&clienttest.Broker{Addr: ln.Addr().String()}, Connect)
	o.Plain = ln.Addr().String()
	if _, err := Run(context.Background(), o); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody listens: %v", err)
	}
}
