package broker

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"sallyport/packet"
	"sallyport/store"
	"sallyport/store/storetest"
)

// failing is a store whose commits take 20 ms, and fail where fail says so.
func failing(fail func(n int, b *store.Batch) bool) *storetest.Double {
	return storetest.New(storetest.Options{Fail: fail, Delay: func(int) time.Duration { return 20 * time.Millisecond }})
}

func hasKind(b *store.Batch, k store.Kind) bool {
	return slices.ContainsFunc(b.Ops, func(op store.Op) bool { return op.Kind == k })
}

func TestAcknowledgementsLeaveInTheOrderOfTheirRequests(t *testing.T) {
	w := ways()[1]
	w.run(t, nil, func(x *bed) {
		x.connect(packet.V5, "sub", kept(100)).subscribe(filter("t/#", 2))
		p := x.connect(packet.V5, "pub")
		var all []byte
		for i := range uint16(200) {
			id := i + 1
			switch i % 4 {
			case 0: // waits for its commit
				all = append(all, p.pub(packet.PublishOut{Topic: "t/1", QoS: 1, PacketID: id})...)
			case 1: // nobody keeps it: ready at once
				all = append(all, p.pub(packet.PublishOut{Topic: "none", QoS: 1, PacketID: id})...)
			case 2:
				all = append(all, packet.AppendSubscribe(nil, p.v, &packet.Subscribe{PacketID: id, Filters: []packet.Subscription{filter("x", 0)}})...)
			case 3:
				all = append(all, p.pub(packet.PublishOut{Topic: "t/2", QoS: 2, PacketID: id})...)
			}
		}
		p.send(all)
		for i := range uint16(200) {
			want := []packet.Type{packet.PUBACK, packet.PUBACK, packet.SUBACK, packet.PUBREC}[i%4]
			e := p.expect(want)
			if id := uint16(e.body[0])<<8 | uint16(e.body[1]); id != i+1 {
				t.Fatalf("%v of %d, want %d", want, id, i+1)
			}
		}
	})
}

func TestNoAcknowledgementForAFailedCommit(t *testing.T) {
	for _, c := range []struct {
		name string
		kind store.Kind
		do   func(*peer)
	}{
		{"QoS 1", store.PutEntry, func(p *peer) { p.send(p.pub(packet.PublishOut{Topic: "t", QoS: 1, PacketID: 7})) }},
		{"QoS 2", store.PutEntry, func(p *peer) { p.send(p.pub(packet.PublishOut{Topic: "t", QoS: 2, PacketID: 7})) }},
		{"retained", store.PutRetained, func(p *peer) {
			p.send(p.pub(packet.PublishOut{Topic: "r", QoS: 1, PacketID: 7, Retain: true, Payload: []byte("x")}))
		}},
		{"SUBSCRIBE", store.PutSubscription, func(p *peer) { p.sendSubscribe(0, filter("z", 1)) }},
		{"UNSUBSCRIBE", store.DeleteSubscription, func(p *peer) {
			p.send(packet.AppendUnsubscribe(nil, p.v, &packet.Unsubscribe{PacketID: 3, Filters: []string{"mine"}}))
		}},
		{"PUBREL", store.DeleteIncoming, func(p *peer) {
			p.send(p.pub(packet.PublishOut{Topic: "none", QoS: 2, PacketID: 9}))
			p.expectAck(packet.PUBREC, 9, 0)
			p.ack(packet.PUBREL, 9)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			armed := false
			s := func() store.Store {
				return failing(func(_ int, b *store.Batch) bool { return armed && hasKind(b, c.kind) })
			}
			way{bubble: true, store: s}.run(t, nil, func(x *bed) {
				sub := x.connect(packet.V5, "sub", kept(100))
				sub.subscribe(filter("t", 2))
				p := x.connect(packet.V5, "pub", kept(100))
				p.subscribe(filter("mine", 0))
				x.settle()
				armed = true
				c.do(p)
				p.leaves(packet.ImplementationSpecificError)
				if n := x.b.metrics.StoreFailures.Load(); n == 0 {
					t.Error("no failure was counted")
				}
			})
		})
	}
}

func TestAFailedSessionRefusesTheConnect(t *testing.T) {
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		s := func() store.Store {
			return failing(func(_ int, b *store.Batch) bool { return hasKind(b, store.PutSession) })
		}
		way{bubble: true, store: s}.run(t, nil, func(x *bed) {
			watch := x.connect(packet.V5, "watch")
			watch.subscribe(filter("will", 1))
			p, ack := x.tryConnect(v, "c", kept(100), willOf("will", "x", 0))
			want := packet.ServerUnavailable
			if v == packet.V311 {
				want = packet.V3ServerUnavailable
			}
			if ack.Code != want {
				t.Errorf("version %d: 0x%02x, want 0x%02x", v, byte(ack.Code), byte(want))
			}
			p.closed()
			watch.nothing() // a refused CONNECT has no will
		})
	}
}

func TestQoS2CopiesLeaveAfterTheCommit(t *testing.T) {
	fail := false
	s := func() store.Store {
		return failing(func(_ int, b *store.Batch) bool { return fail && hasKind(b, store.AddIncoming) })
	}
	for _, session := range []uint32{0, 100} {
		way{bubble: true, store: s}.run(t, nil, func(x *bed) {
			fail = false
			sub := x.connect(packet.V5, "sub", func(c *packet.Connect) {
				if session > 0 {
					kept(session)(c)
				}
			})
			sub.subscribe(filter("t", 2), filter("$share/g/s", 2))
			p := x.connect(packet.V5, "pub", kept(100))
			x.settle()
			for _, topic := range []string{"t", "s"} {
				begin := time.Now()
				p.send(p.pub(packet.PublishOut{Topic: topic, QoS: 2, PacketID: 5, Payload: []byte("one")}))
				sub.gets("one")
				if took := time.Since(begin); took < 20*time.Millisecond {
					t.Errorf("%s: delivered after %v, before the commit", topic, took)
				}
				p.expectAck(packet.PUBREC, 5, 0)
				p.ack(packet.PUBREL, 5)
				p.expectAck(packet.PUBCOMP, 5, 0)
				fail = true
				p.send(p.pub(packet.PublishOut{Topic: topic, QoS: 2, PacketID: 6, Payload: []byte("two")}))
				p.leaves(packet.ImplementationSpecificError)
				x.settle()
				sub.nothing()
				fail = false
				// Sent again it is a new message, and comes once.
				p = x.connect(packet.V5, "pub", kept(100))
				p.send(p.pub(packet.PublishOut{Topic: topic, QoS: 2, PacketID: 6, Payload: []byte("two"), Dup: true}))
				sub.gets("two")
				p.expectAck(packet.PUBREC, 6, 0)
				p.ack(packet.PUBREL, 6)
				p.expectAck(packet.PUBCOMP, 6, 0)
				sub.nothing()
			}
		})
	}
}

// A client that loses its connection while the commit is under way sends again:
// it must not hear that the message is safe before it is.
func TestADuplicateIsAcknowledgedAfterTheFirstCommit(t *testing.T) {
	for _, fail := range []bool{false, true} {
		n := 0
		s := func() store.Store {
			return storetest.New(storetest.Options{
				Delay: func(int) time.Duration { return 100 * time.Millisecond },
				Fail: func(_ int, b *store.Batch) bool {
					if hasKind(b, store.AddIncoming) {
						n++
						return fail && n == 1
					}
					return false
				},
			})
		}
		way{bubble: true, store: s}.run(t, nil, func(x *bed) {
			sub := x.connect(packet.V5, "sub")
			sub.subscribe(filter("t", 2))
			p := x.connect(packet.V5, "pub", kept(100))
			first := packet.PublishOut{Topic: "t", QoS: 2, PacketID: 6, Payload: []byte("x")}
			p.send(p.pub(first))
			p2 := x.open(packet.V5)
			p2.sendConnect("pub", kept(100))
			x.pass(50 * time.Millisecond)
			first.Dup = true
			p2.connack()
			p2.send(p2.pub(first))
			if fail {
				// It came before the failure was known, or after: never is it acknowledged and lost.
				e, ok := p2.next()
				if ok && e.h.Type == packet.DISCONNECT {
					p2.closed()
					p2 = x.connect(packet.V5, "pub", kept(100))
					p2.send(p2.pub(first))
				}
			}
			sub.gets("x")
			x.settle()
			sub.nothing()
		})
	}
}

func TestABacklogOfCommitsPausesInput(t *testing.T) {
	s := func() store.Store {
		return storetest.New(storetest.Options{Delay: func(int) time.Duration { return 10 * time.Millisecond }})
	}
	way{bubble: true, store: s}.run(t, func(s *setup) { s.lis.Limits.ReceiveMaximum = 65535 }, func(x *bed) {
		x.connect(packet.V5, "sub", kept(100)).subscribe(filter("t", 0), filter("t/q", 1))
		p := x.connect(packet.V5, "pub", keepAlive(2))
		var all []byte
		for i := range uint16(600) {
			all = append(all, p.pub(packet.PublishOut{Topic: "t/q", QoS: 1, PacketID: i + 1})...)
		}
		p.send(all)
		// All of it takes 6 s, and for more than 3 s nothing is read: who isn't read isn't silent.
		for i := range uint16(600) {
			p.expectAck(packet.PUBACK, i+1, 0)
		}
	})
}

func TestNothingIsLostOverASlowStore(t *testing.T) {
	w := ways()[1]
	w.run(t, nil, func(x *bed) {
		sub := x.connect(packet.V5, "sub", kept(1000), receiveMax(7))
		sub.subscribe(filter("t/+", 2))
		pub := x.connect(packet.V5, "pub")
		const n = 200
		go func() {
			for i := range uint16(n) {
				pub.send(pub.pub(packet.PublishOut{Topic: "t/x", QoS: byte(1 + i%2), PacketID: i + 1, Payload: fmt.Append(nil, i)}))
			}
		}()
		last := map[byte]int{1: -1, 2: -1}
		for got := 0; got < n; {
			e, ok := sub.next()
			if !ok {
				t.Fatal("the subscriber was closed")
			}
			switch e.h.Type {
			case packet.PUBLISH:
				m := sub.decode(e)
				var k int
				if _, err := fmt.Sscan(m.payload, &k); err != nil {
					t.Fatal(err)
				}
				if k <= last[m.qos] {
					t.Fatalf("QoS %d: %d after %d", m.qos, k, last[m.qos])
				}
				last[m.qos] = k
				got++
				if m.qos == 1 {
					sub.ack(packet.PUBACK, m.id)
				} else {
					sub.ack(packet.PUBREC, m.id)
				}
			case packet.PUBREL:
				sub.send(packet.AppendAck(nil, packet.V5, packet.PUBCOMP, &packet.Ack{PacketID: uint16(e.body[0])<<8 | uint16(e.body[1])}))
			}
		}
	})
}

// prompt is a store that completes at once, but from another goroutine.
type prompt struct {
	*store.Memory
	work chan func()
	end  sync.WaitGroup
}

func newPrompt() *prompt {
	s := &prompt{Memory: store.NewMemory(), work: make(chan func(), 1024)}
	s.end.Go(func() {
		for f := range s.work {
			f()
		}
	})
	return s
}

func (s *prompt) Commit(_ *store.Batch, done func(error)) { s.work <- func() { done(nil) } }

func (s *prompt) Close() error {
	close(s.work)
	s.end.Wait()
	return s.Memory.Close()
}

func TestAnAcknowledgementWithoutACommitIsNotForgottenBehindOne(t *testing.T) {
	way{store: func() store.Store { return newPrompt() }}.run(t, nil, func(x *bed) {
		x.connect(packet.V5, "sub", kept(100)).subscribe(filter("t", 0), filter("kept", 1))
		p := x.connect(packet.V5, "pub", kept(100))
		for i := range 20_000 {
			both := p.pub(packet.PublishOut{Topic: "kept", QoS: 1, PacketID: 1})
			both = append(both, p.pub(packet.PublishOut{Topic: "none", QoS: 1, PacketID: 2})...)
			p.send(both)
			for id := range uint16(2) {
				select {
				case e := <-p.in:
					if e.h.Type != packet.PUBACK || e.body[1] != byte(id+1) {
						t.Fatalf("round %d: %v %x", i, e.h.Type, e.body)
					}
				case <-time.After(5 * time.Second):
					t.Fatalf("round %d: no PUBACK of %d", i, id+1)
				}
			}
		}
	})
}

// recording is a memory store that says what it was given.
func recording(got *[]store.Op) func() store.Store {
	return func() store.Store {
		return storetest.New(storetest.Options{
			Delay: func(int) time.Duration { return 0 },
			Fail:  func(_ int, b *store.Batch) bool { *got = append(*got, b.Ops...); return false },
		})
	}
}

func TestTheStoreForgetsASessionThatEndsWithItsNextConnection(t *testing.T) {
	var got []store.Op
	way{bubble: true, store: recording(&got)}.run(t, nil, func(x *bed) {
		p := x.connect(packet.V5, "c", kept(100))
		p.subscribe(filter("t", 1))
		number := x.b.reg.find("c").session.Number
		p.drop()
		p, ack := x.tryConnect(packet.V5, "c", func(c *packet.Connect) { c.CleanStart = false })
		if !ack.SessionPresent {
			t.Fatal("the session was not resumed")
		}
		p.drop()
		if last := got[len(got)-1]; last.Kind != store.DeleteSession || last.Session != number {
			t.Errorf("the last operation is %+v, want the session's end", last)
		}
	})
}

func TestTheStoreForgetsFlightsThatMoveToAnotherMember(t *testing.T) {
	var got []store.Op
	way{bubble: true, store: recording(&got)}.run(t, func(s *setup) { s.opt.RedeliverOnDisconnect = true }, func(x *bed) {
		a := joinGroup(x, "a", kept(100))
		x.connect(packet.V5, "pub").publishes("s", "x", 1, false)
		x.settle()
		number := x.b.reg.find("a").session.Number
		var seq uint64
		for _, op := range got {
			if op.Kind == store.PutEntry && op.Session == number {
				seq = op.Entry.Seq
			}
		}
		a.drop()
		if !slices.ContainsFunc(got, func(op store.Op) bool {
			return op.Kind == store.DeleteEntry && op.Session == number && op.Entry.Seq == seq
		}) {
			t.Errorf("entry %d of a is not deleted", seq)
		}
	})
}
