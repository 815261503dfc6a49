package broker

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"sallyport/packet"
	"sallyport/security"
)

func connectBytes(id string) []byte {
	return packet.AppendConnect(nil, &packet.Connect{Version: packet.V5, CleanStart: true, ClientID: id})
}

func (x *bed) dialTCP() *net.TCPConn {
	x.t.Helper()
	nc := x.dial().(*net.TCPConn)
	if err := nc.SetDeadline(time.Now().Add(x.wait)); err != nil {
		x.t.Fatal(err)
	}
	return nc
}

func TestTheReasonOfAProtocolErrorCanBeRead(t *testing.T) {
	overTCP(t, nil, func(x *bed) {
		for range 20 {
			nc := x.dialTCP()
			// The packet that ends it is followed by more than the broker will
			// ever read: a close with unread input would destroy the answer.
			if _, err := nc.Write(append(connectBytes("c"), append([]byte{0x10, 0x00}, make([]byte, 200_000)...)...)); err != nil {
				t.Fatal(err)
			}
			all, err := io.ReadAll(nc)
			if err != nil {
				t.Fatalf("after %d bytes: %v", len(all), err)
			}
			if !bytes.Contains(all, []byte{0xE0, 0x01}) && !bytes.Contains(all, []byte{0xE0, 0x02}) {
				t.Fatalf("no DISCONNECT in % x", all)
			}
			_ = nc.Close()
		}
	})
}

func TestAHalfClosedClientGetsItsAnswers(t *testing.T) {
	overTCP(t, nil, func(x *bed) {
		nc := x.dialTCP()
		p := packet.AppendPublish(connectBytes("c"), packet.V5, &packet.PublishOut{Topic: "t", QoS: 1, PacketID: 7, ExpiryAt: -1})
		if _, err := nc.Write(p); err != nil {
			t.Fatal(err)
		}
		if err := nc.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		all, err := io.ReadAll(nc)
		if err != nil || !bytes.HasSuffix(all, []byte{0x40, 0x02, 0x00, 0x07}) {
			t.Fatalf("% x, %v; want it to end with a PUBACK", all, err)
		}
	})
}

func TestAPeerThatDoesNotReadIsGoneInTime(t *testing.T) {
	overTCP(t, func(s *setup) { s.lis.Limits.OutputBytes = 64 << 20 }, func(x *bed) {
		slow := x.dialTCP()
		if err := slow.SetReadBuffer(4096); err != nil {
			t.Fatal(err)
		}
		sub := packet.AppendSubscribe(connectBytes("slow"), packet.V5, &packet.Subscribe{PacketID: 1, Filters: []packet.Subscription{filter("t", 0)}})
		if _, err := slow.Write(sub); err != nil {
			t.Fatal(err)
		}
		x.until("the slow client has subscribed", func() bool { return x.b.metrics.Subscriptions.Load() == 1 })
		pub := x.connect(packet.V5, "pub")
		begin := time.Now()
		payload := string(make([]byte, 500_000))
		for range 40 {
			pub.publishes("t", payload, 1, false)
		}
		if took := time.Since(begin); took > 20*time.Second {
			t.Errorf("publishing past a client that doesn't read took %v", took)
		}
		begin = time.Now()
		x.connect(packet.V5, "slow") // takes over
		x.until("the slow connection is gone", func() bool { return x.b.metrics.Connections.Load() == 2 })
		if took := time.Since(begin); took > 4*time.Second {
			t.Errorf("it took %v to be rid of a client that doesn't read", took)
		}
		_ = slow.Close()
	})
}

func TestShutdownEndsEveryConnectionInOrder(t *testing.T) {
	for _, wills := range []bool{false, true} {
		for _, over := range []func(*testing.T, func(*setup), func(*bed)){overPipes, overTCP} {
			over(t, func(s *setup) { s.opt.WillsOnShutdown = wills }, func(x *bed) {
				p, v3 := x.connect(packet.V5, "c", kept(100), willOf("w", "x", 50)), x.connect(packet.V311, "v3")
				x.connect(packet.V5, "away", kept(100)).drop()
				silent := x.open(packet.V5)
				x.b.Shutdown(x.wait)
				p.leaves(packet.ServerShuttingDown)
				v3.closed()
				silent.closed()
				if _, err := x.b.Pipe(Info{Listener: "test"}); err == nil {
					t.Error("a connection was accepted after Shutdown")
				}
				if n := x.b.metrics.Sessions.Load(); n != 2 {
					t.Errorf("%d sessions are kept, want 2", n)
				}
			})
		}
	}
}

func TestServeOverNetPipe(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		x.dial = func() io.ReadWriteCloser {
			a, b := net.Pipe()
			go x.b.Serve(b, Info{Listener: "test"})
			return a
		}
		p := x.connect(packet.V5, "c")
		p.subscribe(filter("t", 2))
		for qos := range byte(3) {
			p.send(p.pub(packet.PublishOut{Topic: "t", QoS: qos, PacketID: 5, Payload: []byte("x")}))
			if qos > 0 {
				p.until([]packet.Type{0, packet.PUBACK, packet.PUBREC}[qos])
			}
			p.finish(p.message())
			if qos == 2 {
				p.ack(packet.PUBREL, 5)
				p.expectAck(packet.PUBCOMP, 5, 0)
			}
		}
		p.send([]byte{0xF0, 0})
		p.leaves(packet.ProtocolError)
	})
}

func TestServeClosesWhatItRefuses(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		a, b := net.Pipe()
		x.b.Serve(b, Info{Listener: "other"})
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("%v, want EOF", err)
		}
	})
}

// A thousand connections come and go under fan-out, and no byte of one reaches
// another: each client hears only its own topic.
func TestNoBytesReachAnotherConnection(t *testing.T) {
	overTCP(t, nil, func(x *bed) {
		pub := x.connect(packet.V5, "pub")
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				id := string(rune('a' + i%8))
				pub.send(pub.pub(packet.PublishOut{Topic: "t/" + id, Payload: bytes.Repeat([]byte(id), 100)}))
				if i%64 == 0 {
					pub.ping()
				}
			}
		}()
		for i := range 200 {
			id := string(rune('a' + i%8))
			p := x.connect(packet.V5, "sub-"+id)
			p.sendSubscribe(0, filter("t/"+id, 0))
			p.until(packet.SUBACK)
			for range 3 {
				if m := p.message(); m.topic != "t/"+id || m.payload != string(bytes.Repeat([]byte(id), 100)) {
					t.Fatalf("%s got %+v", id, m)
				}
			}
			_ = p.conn.Close()
		}
		close(stop)
		<-done
	})
}

// A stream whose socket can't be read directly is read by one byte and then the
// rest: the last byte of a packet may come alone.
func TestAStreamMayDripBytes(t *testing.T) {
	for _, id := range []string{"c", "cc"} { // an even and an odd number of bytes
		overPipes(t, nil, func(x *bed) {
			x.dial = func() io.ReadWriteCloser {
				a, b := net.Pipe()
				go x.b.Serve(b, Info{Listener: "test"})
				return a
			}
			p := x.open(packet.V5)
			for _, b := range connectBytes(id) {
				p.send([]byte{b})
			}
			p.connack()
			p.send([]byte{0xC0})
			p.send([]byte{0})
			p.expect(packet.PINGRESP)
			p.send([]byte{0xC0, 0, 0xC0})
			p.expect(packet.PINGRESP)
			p.send([]byte{0})
			p.expect(packet.PINGRESP)
		})
	}
}

func TestSubscribingAgainAndAgainKeepsOneReplay(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		fillRetained(x, 100)
		sub := x.connect(packet.V5, "sub", receiveMax(1))
		for range 50 {
			sub.sendSubscribe(0, filter("r/#", 1))
		}
		x.settle()
		cl := x.b.reg.find("sub")
		cl.mu.Lock()
		n := len(cl.extra().replays)
		cl.mu.Unlock()
		if n > 1 {
			t.Errorf("%d replays for one subscription, want 1", n)
		}
	})
}

// A will is judged where nobody waits for an answer, also on an event loop.
func TestAPolicyThatPanicsOverAWillEndsNobodyElse(t *testing.T) {
	everyWay(t, func(s *setup) {
		judged := 0
		s.policy = func(r *security.Request) security.Effect {
			if r.Will {
				if judged++; judged > 1 { // at CONNECT it was allowed
					panic("test")
				}
			}
			return security.Allow
		}
	}, func(x *bed) {
		other := x.connect(packet.V5, "other")
		x.connect(packet.V5, "goes", willOf("wills", "gone", 0)).drop()
		x.until("the policy has panicked", func() bool { return x.b.metrics.Panics.Load() == 1 })
		x.b.metrics.Panics.Store(0)
		other.subscribe(filter("t", 0))
		x.connect(packet.V5, "pub").publishes("t", "1", 1, false)
		other.gets("1")
	})
}
