package broker

import (
	"fmt"
	"strconv"
	"sync"
	"testing"

	"sallyport/packet"
	"sallyport/session"
)

func fillRetained(x *bed, n int) {
	from := &session.Origin{Realm: "test", Name: "filler", Listener: "test"}
	for i := range n {
		x.b.store.Retain(&session.Message{Topic: fmt.Sprintf("r/%06d", i), Payload: []byte("x"), QoS: 1, ExpiryAt: -1, Origin: from})
	}
}

func TestTwoHundredThousandRetainedMessagesReachOneSubscriber(t *testing.T) {
	const n = 200_000
	overPipes(t, func(s *setup) { s.lis.Limits.QueueMessages, s.lis.Limits.QueueBytes = 10, 10_000 }, func(x *bed) {
		fillRetained(x, n)
		sub := x.connect(packet.V5, "sub", kept(1000), receiveMax(10))
		sub.subscribe(filter("r/#", 1))
		last := ""
		for got := 0; got < n; {
			m := sub.message()
			switch {
			case m.topic <= last && !m.dup:
				t.Fatalf("%s after %s", m.topic, last)
			case !m.retain:
				t.Fatalf("%s without retain", m.topic)
			}
			if got == n/2 && !m.dup {
				// In the middle the connection is lost, with what was in flight.
				sub.drop()
				sub = x.connect(packet.V5, "sub", kept(1000), receiveMax(10))
				got++ // this one comes once more, with DUP
				last = m.topic
				m = sub.message()
				if !m.dup || m.topic != last {
					t.Fatalf("%+v, want %s again", m, last)
				}
				sub.ack(packet.PUBACK, m.id)
				continue
			}
			if m.topic > last {
				last = m.topic
				got++
			}
			sub.ack(packet.PUBACK, m.id)
		}
		sub.nothing()
	})
}

func TestRetainedMessagesWaitForTheSocket(t *testing.T) {
	overPipes(t, func(s *setup) { s.lis.Limits.OutputBytes = 1000 }, func(x *bed) {
		fillRetained(x, 5000)
		sub := x.connect(packet.V5, "sub")
		sub.conn.(*Pipe).Stall(true)
		sub.send(packet.AppendSubscribe(nil, packet.V5, &packet.Subscribe{PacketID: 1, Filters: []packet.Subscription{filter("r/#", 0)}}))
		x.settle()
		if n := x.b.metrics.BufferedBytes.Load(); n > 2000 {
			t.Errorf("%d bytes wait for a client that doesn't read", n)
		}
		sub.conn.(*Pipe).Stall(false)
		sub.suback(1)
		for range 5000 {
			sub.message()
		}
		sub.nothing()
		if n := x.b.metrics.DroppedOutputFull.Load(); n != 0 {
			t.Errorf("%d dropped, want 0", n)
		}
	})
}

func TestAReplayEndsWithItsSubscription(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		fillRetained(x, 100)
		sub := x.connect(packet.V5, "sub", receiveMax(5))
		sub.subscribe(filter("r/#", 1))
		for range 5 {
			sub.message()
		}
		sub.unsubscribe("r/#")
		sub.ack(packet.PUBACK, 1)
		sub.nothing()
	})
}

// While publishers update a topic a subscriber subscribes: once it has seen a
// value live, no older one may come as a retained message.
func TestAReplayNeverFollowsANewerLiveMessage(t *testing.T) {
	overTCP(t, nil, func(x *bed) {
		pub := x.connect(packet.V5, "pub")
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := 1; ; i++ {
				select {
				case <-stop:
					return
				default:
					pub.publishes("v/1", strconv.Itoa(i), 1, true)
				}
			}
		})
		for round := range 300 {
			sub := x.connect(packet.V5, "sub"+strconv.Itoa(round%4))
			qos := byte(round % 2)
			sub.sendSubscribe(0, filter("v/+", qos))
			sub.until(packet.SUBACK) // a live message may come before it
			last := 0
			for range 5 {
				m := sub.message()
				n, err := strconv.Atoi(m.payload)
				if err != nil {
					t.Fatal(err)
				}
				if n < last {
					t.Errorf("round %d: %d (retain %v) after %d", round, n, m.retain, last)
				}
				last = n
				sub.finish(m)
			}
			_ = sub.conn.Close()
		}
		close(stop)
		wg.Wait()
	})
}

func TestBoundsOfRetainedMessages(t *testing.T) {
	overPipes(t, func(s *setup) { s.opt.RetainedMessages = 2 }, func(x *bed) {
		p := x.connect(packet.V5, "c")
		for i, want := range []packet.Code{0, 0, packet.QuotaExceeded} {
			if code := p.publishes(fmt.Sprint("t", i), "x", 1, true); code != want {
				t.Errorf("%d: 0x%02x, want 0x%02x", i, byte(code), byte(want))
			}
		}
		if code := p.publishes("t1", "new", 1, true); code != 0 {
			t.Errorf("a value in place of another: 0x%02x", byte(code))
		}
		p.publishes("t0", "", 1, true)
		if code := p.publishes("t2", "x", 1, true); code != 0 {
			t.Errorf("after one was removed: 0x%02x", byte(code))
		}
	})
	overPipes(t, func(s *setup) { s.opt.RetainedBytes = 300 }, func(x *bed) {
		p := x.connect(packet.V5, "c")
		for i, want := range []packet.Code{0, 0, packet.QuotaExceeded} {
			if code := p.publishes(fmt.Sprint("t", i), "x", 1, true); code != want {
				t.Errorf("%d: 0x%02x, want 0x%02x", i, byte(code), byte(want))
			}
		}
		if code := p.publishes("t1", string(make([]byte, 10_000)), 1, true); code != packet.QuotaExceeded {
			t.Errorf("a value that is much larger than the one it replaces: 0x%02x, want 0x97", byte(code))
		}
	})
	overPipes(t, func(s *setup) { s.opt.NoRetain = true }, func(x *bed) {
		p := x.connect(packet.V5, "c")
		p.send(p.pub(packet.PublishOut{Topic: "t", Retain: true}))
		p.leaves(packet.RetainNotSupported)
		_, ack := x.tryConnect(packet.V5, "c", willOf("w", "x", 0), func(c *packet.Connect) { c.Will.Retain = true })
		if ack.Code != packet.RetainNotSupported {
			t.Errorf("retained will: 0x%02x, want 0x9a", byte(ack.Code))
		}
	})
}
