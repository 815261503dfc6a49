package broker

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"sallyport/packet"
	"sallyport/store"
	"sallyport/store/storetest"
)

func TestTakeoverTellsTheOldConnection(t *testing.T) {
	everyWay(t, nil, func(x *bed) {
		old := x.connect(packet.V5, "c", kept(100))
		old.subscribe(filter("t", 1))
		p, ack := x.tryConnect(packet.V5, "c", kept(100))
		if !ack.SessionPresent {
			t.Error("the session is not present")
		}
		old.leaves(packet.SessionTakenOver)
		p.publishes("t", "x", 0, false)
		p.gets("x")
		v3 := x.connect(packet.V311, "c3")
		x.connect(packet.V311, "c3")
		v3.closed()
	})
}

func TestAForeignPrincipalIsRefused(t *testing.T) {
	everyWay(t, nil, func(x *bed) {
		for _, end := range []bool{false, true} {
			owner := x.connect(packet.V5, "c", kept(100), user("owner"))
			if end {
				owner.drop()
			}
			for v, want := range map[packet.Version]packet.Code{packet.V311: packet.V3NotAuthorized, packet.V5: packet.NotAuthorized} {
				for _, clean := range []bool{false, true} {
					p, ack := x.tryConnect(v, "c", user("thief"), func(c *packet.Connect) { c.CleanStart = clean })
					if ack.Code != want || ack.SessionPresent {
						t.Errorf("version %d: %+v, want 0x%02x", v, ack, byte(want))
					}
					p.closed()
				}
			}
			if !end {
				owner.ping()
				continue
			}
			if _, ack := x.tryConnect(packet.V5, "c", kept(100), user("owner")); !ack.SessionPresent {
				t.Error("the owner's session is gone")
			}
		}
	})
}

func TestOwnedByClientIDLetsAnotherPrincipalIn(t *testing.T) {
	overPipes(t, func(s *setup) { s.opt.OwnedByClientID = true; s.opt.SessionsPerPrincipal = 5 }, func(x *bed) {
		x.connect(packet.V5, "c", kept(100), user("one")).drop()
		p, ack := x.tryConnect(packet.V5, "c", kept(100), user("two"))
		if ack.Code != 0 || !ack.SessionPresent {
			t.Errorf("%+v, want the session", ack)
		}
		p.ping()
	})
}

func TestCleanStartEndsTheSession(t *testing.T) {
	everyWay(t, nil, func(x *bed) {
		sub := x.connect(packet.V5, "c", kept(100))
		sub.subscribe(filter("t", 1), filter("$share/g/t", 1))
		sub.drop()
		pub := x.connect(packet.V5, "pub")
		pub.publishes("t", "x", 1, false)
		again, ack := x.tryConnect(packet.V5, "c")
		if ack.SessionPresent {
			t.Error("a session is present after clean start")
		}
		pub.publishes("t", "y", 1, false)
		again.nothing()
	})
}

// flights is the client's side of a session that many fighters share: what was
// sent at QoS 2 and how far it is. One of them at a time drives a flight; when
// it is thrown out another goes on.
type flights struct {
	mu    sync.Mutex
	state map[uint16]*flight
	free  []uint16
	n     int
}

type flight struct {
	payload  string
	released bool // PUBREC has come
	busy     bool // a fighter waits for it now
}

// take is a flight to go on with, or a new one; sent says that it was tried before.
func (f *flights) take(limit int) (id uint16, fl *flight, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, fl := range f.state {
		if !fl.busy {
			fl.busy = true
			return id, fl, true
		}
	}
	if f.n >= limit || len(f.free) == 0 {
		return 0, nil, false
	}
	id = f.free[0]
	f.free = f.free[1:]
	f.n++
	fl = &flight{payload: fmt.Sprintf("m%d", f.n), busy: true}
	f.state[id] = fl
	return id, fl, true
}

func (f *flights) done(id uint16) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.state, id)
	f.free = append(f.free, id)
}

// Thirty-two clients fight over one identifier with QoS 2 traffic. Every
// message is seen through by whoever holds the identifier; each arrives once.
func TestTakeoverLosesAndDoublesNothing(t *testing.T) {
	commits := func(fail func(int, *store.Batch) bool) func() store.Store {
		return func() store.Store {
			return storetest.New(storetest.Options{
				Delay: func(n int) time.Duration { return time.Duration(n%4) * 100 * time.Microsecond }, Fail: fail,
			})
		}
	}
	for _, w := range []way{
		{name: "memory store"},
		{name: "slow store", store: commits(nil)},
		{name: "slow store that fails some", store: commits(func(n int, b *store.Batch) bool { return n%11 == 10 && hasKind(b, store.AddIncoming) })},
	} {
		w.tcp = true
		t.Run(w.name, func(t *testing.T) { w.run(t, nil, fightOverOneIdentifier) })
	}
}

func fightOverOneIdentifier(x *bed) {
	t := x.t
	const messages, fighters = 200, 32
	sub := x.connect(packet.V5, "sub", kept(1000))
	sub.subscribe(filter("fight", 2))
	fl := &flights{state: make(map[uint16]*flight)}
	for id := range uint16(8) {
		fl.free = append(fl.free, id+1)
	}
	var wg sync.WaitGroup
	for range fighters {
		wg.Go(func() {
			for {
				id, f, ok := fl.take(messages)
				if !ok {
					fl.mu.Lock()
					over := fl.n >= messages && len(fl.state) == 0
					fl.mu.Unlock()
					if over {
						return
					}
					<-time.After(time.Millisecond)
					continue
				}
				if !fight(x, fl, id, f) && x.slow {
					// A slow store answers nobody who is thrown out at once: back off, as clients do.
					<-time.After(rand.N(100 * time.Millisecond))
				}
			}
		})
	}
	seen := make(map[string]int)
	for len(seen) < messages {
		m := sub.message()
		sub.finish(m)
		if seen[m.payload]++; seen[m.payload] > 1 {
			t.Fatalf("%s came twice", m.payload)
		}
	}
	wg.Wait()
	sub.nothing()
}

// fight connects as "ring" and drives one flight as far as the connection lasts.
func fight(x *bed, fl *flights, id uint16, f *flight) (over bool) {
	defer func() {
		if over {
			fl.done(id)
			return
		}
		fl.mu.Lock()
		f.busy = false
		fl.mu.Unlock()
	}()
	p := &peer{x: x, t: x.t, conn: x.dial(), v: packet.V5, in: make(chan event, 64), id: "ring"}
	go p.read()
	defer func() {
		_ = p.conn.Close()
		for range p.in {
			// the rest is for nobody
		}
	}()
	p.sendConnect("ring", kept(1000))
	if _, ok := p.await(packet.CONNACK); !ok {
		return false
	}
	if !f.released {
		p.send(p.pub(packet.PublishOut{Topic: "fight", QoS: 2, PacketID: id, Payload: []byte(f.payload), Dup: true}))
		if _, ok := p.await(packet.PUBREC); !ok {
			return false
		}
		f.released = true
	}
	p.ack(packet.PUBREL, id)
	_, over = p.await(packet.PUBCOMP)
	return over
}

// await is the next packet if it is of this type; anything else is the end.
func (p *peer) await(want packet.Type) (event, bool) {
	select {
	case e, ok := <-p.in:
		return e, ok && e.h.Type == want
	case <-time.After(p.x.wait):
		p.t.Errorf("%v did not come in time", want)
		return event{}, false
	}
}

func TestAConnectThatWasNotAcceptedLeavesNoWillWhenItIsTakenOver(t *testing.T) {
	s := func() store.Store {
		return storetest.New(storetest.Options{Delay: func(int) time.Duration { return 100 * time.Millisecond }})
	}
	way{bubble: true, store: s}.run(t, nil, func(x *bed) {
		w := x.connect(packet.V5, "watch")
		w.subscribe(filter("will", 0))
		first := x.open(packet.V5)
		first.sendConnect("c", kept(100), willOf("will", "x", 0))
		x.connect(packet.V5, "c", kept(100))
		first.closed() // it has had no CONNACK
		w.nothing()
	})
}
