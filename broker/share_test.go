package broker

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sallyport/packet"
	"sallyport/security"
	"sallyport/session"
	"sallyport/store"
)

// joinGroup connects a client and makes it a member of group g for s.
func joinGroup(x *bed, id string, opts ...with) *peer {
	x.t.Helper()
	p := x.connect(packet.V5, id, opts...)
	p.subscribe(filter("$share/g/s", 2))
	return p
}

// take reads what has arrived at once, without an acknowledgement.
func (p *peer) take() (payloads []string, ids []uint16) {
	p.t.Helper()
	p.x.settle()
	p.send(packet.AppendPing(nil, packet.PINGREQ))
	for {
		e, ok := p.next()
		if !ok || e.h.Type == packet.PINGRESP {
			return payloads, ids
		}
		if e.h.Type == packet.PUBLISH {
			m := p.decode(e)
			payloads, ids = append(payloads, m.payload), append(ids, m.id)
		}
	}
}

func TestSharedMessagesGoToOneMemberEach(t *testing.T) {
	everyWay(t, nil, func(x *bed) {
		a, b := joinGroup(x, "a"), joinGroup(x, "b")
		other := x.connect(packet.V5, "other")
		other.subscribe(filter("$share/h/s", 1), filter("s", 0))
		pub := x.connect(packet.V5, "pub")
		for i, p := range numbered("m", 30) {
			pub.publishes("s", p, byte(i%3), false)
		}
		inA, _ := a.take()
		inB, _ := b.take()
		all := append(slices.Clone(inA), inB...)
		slices.Sort(all)
		if n := len(slices.Compact(all)); n != 30 || len(inA)+len(inB) != 30 || len(inA) < 10 || len(inB) < 10 {
			t.Errorf("%d to a, %d to b, %d together", len(inA), len(inB), n)
		}
		if got, _ := other.take(); len(got) != 60 {
			t.Errorf("the other group and subscription got %d, want 60", len(got))
		}
	})
}

func TestSharedMessagesPassOverWhoHasNoWindow(t *testing.T) {
	everyWay(t, nil, func(x *bed) {
		a, b := joinGroup(x, "a", receiveMax(2)), joinGroup(x, "b")
		pub := x.connect(packet.V5, "pub")
		for _, p := range numbered("m", 20) {
			pub.publishes("s", p, 1, false)
		}
		inA, _ := a.take()
		inB, _ := b.take()
		if len(inA) != 2 || len(inB) != 18 {
			t.Errorf("%d and %d, want 2 and 18", len(inA), len(inB))
		}
	})
}

func TestUnsentSharedMessagesMoveAtOnce(t *testing.T) {
	everyWay(t, nil, func(x *bed) {
		a := joinGroup(x, "a", kept(1000), receiveMax(2))
		pub := x.connect(packet.V5, "pub")
		for i, p := range numbered("m", 9) {
			pub.publishes("s", p, byte(1+i%2), false)
		}
		if got, _ := a.take(); len(got) != 2 {
			t.Fatalf("%v, want two", got)
		}
		a.drop()
		b := joinGroup(x, "b")
		if got, _ := b.take(); !slices.Equal(got, numbered("m", 9)[2:]) {
			t.Errorf("the other member got %v, want m3 to m9 in order", got)
		}
		// What was sent stays with its session.
		a = x.connect(packet.V5, "a", kept(1000))
		for i := range 2 {
			if m := a.message(); !m.dup || m.payload != fmt.Sprint("m", i+1) {
				t.Errorf("%+v, want m%d again", m, i+1)
			}
		}
	})
}

func TestSentSharedMessagesMoveWhenTheSessionEnds(t *testing.T) {
	everyWay(t, nil, func(x *bed) {
		a := joinGroup(x, "a")
		pub := x.connect(packet.V5, "pub")
		for i, p := range numbered("m", 4) {
			pub.publishes("s", p, byte(1+i%2), false)
		}
		if got, _ := a.take(); len(got) != 4 {
			t.Fatalf("%v, want four", got)
		}
		b := joinGroup(x, "b")
		a.drop()
		if got, _ := b.take(); !slices.Equal(got, []string{"m1", "m3"}) {
			t.Errorf("%v, want m1 and m3: QoS 2 stays with its session", got)
		}
	})
}

func TestSentSharedMessagesMoveAtDisconnectionWhenConfigured(t *testing.T) {
	everyWay(t, func(s *setup) { s.opt.RedeliverOnDisconnect = true }, func(x *bed) {
		a := joinGroup(x, "a", kept(1000))
		pub := x.connect(packet.V5, "pub")
		for i, p := range numbered("m", 4) {
			pub.publishes("s", p, byte(1+i%2), false)
		}
		if got, _ := a.take(); len(got) != 4 {
			t.Fatalf("%v, want four", got)
		}
		b := joinGroup(x, "b")
		a.drop()
		if got, _ := b.take(); !slices.Equal(got, []string{"m1", "m3"}) {
			t.Errorf("%v, want m1 and m3", got)
		}
		a = x.connect(packet.V5, "a", kept(1000))
		if got, _ := a.take(); !slices.Equal(got, []string{"m2", "m4"}) {
			t.Errorf("resent on resumption: %v, want m2 and m4", got)
		}
	})
}

func TestSharedMessagesMoveOnATakeover(t *testing.T) {
	everyWay(t, nil, func(x *bed) {
		a, b := joinGroup(x, "a"), joinGroup(x, "b", receiveMax(1))
		pub := x.connect(packet.V5, "pub")
		for _, p := range numbered("m", 4) {
			pub.publishes("s", p, 1, false)
		}
		_, ids := b.take()
		again := x.connect(packet.V5, "a") // a new session: the old one has ended, and with it its flights
		got, _ := b.take()
		if len(got) != 0 {
			t.Errorf("%v beyond the window", got)
		}
		for n := 1; n < 4; n++ {
			b.ack(packet.PUBACK, ids[0])
			if got, ids = b.take(); len(got) != 1 {
				t.Fatalf("%d of 3: %v, want one", n, got)
			}
		}
		again.nothing()
		if _, ok := a.await(packet.PUBLISH); !ok {
			t.Error("the old connection had no share")
		}
	})
}

func TestSharedMessagesWaitForTheGroupWithinItsBound(t *testing.T) {
	for _, c := range []struct {
		policy QueueFull
		last   packet.Code
		want   []string
	}{{DropNewest, packet.QuotaExceeded, []string{"m1", "m2", "m3"}}, {DropOldest, 0, []string{"m3", "m4", "m5"}}} {
		everyWay(t, func(s *setup) { s.lis.Limits.QueueMessages, s.lis.Limits.QueueFull = 3, c.policy }, func(x *bed) {
			joinGroup(x, "a", kept(1000)).drop()
			pub := x.connect(packet.V5, "pub")
			var code packet.Code
			for _, p := range numbered("m", 5) {
				code = pub.publishes("s", p, 1, false)
			}
			if code != c.last {
				t.Errorf("the last got 0x%02x, want 0x%02x", byte(code), byte(c.last))
			}
			if n := x.b.metrics.Queued.Load(); n != 3 {
				t.Errorf("%d wait, want 3", n)
			}
			a := x.connect(packet.V5, "a", kept(1000))
			if got, _ := a.take(); !slices.Equal(got, c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

func TestSharedMessagesExpireWhileTheyWait(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		joinGroup(x, "a", kept(1000)).drop()
		pub := x.connect(packet.V5, "pub")
		pub.send(pub.pub(packet.PublishOut{Topic: "s", QoS: 1, PacketID: 1, Props: []byte{2, 0, 0, 0, 10}, ExpiryAt: 1, Expiry: 10}))
		pub.expectAck(packet.PUBACK, 1, 0)
		x.pass(20e9)
		x.connect(packet.V5, "a", kept(1000)).nothing()
		if n := x.b.metrics.DroppedExpired.Load(); n != 1 {
			t.Errorf("%d expired, want 1", n)
		}
	})
}

func TestMembersWithoutTheRightAreNoCandidates(t *testing.T) {
	policy := func(r *security.Request) security.Effect {
		if r.Action == security.Receive && strings.HasPrefix(r.Principal.Name, "deaf") {
			return security.Deny
		}
		return security.Allow
	}
	overPipes(t, func(s *setup) { s.policy = policy }, func(x *bed) {
		deaf := joinGroup(x, "deaf", user("deaf"))
		pub := x.connect(packet.V5, "pub")
		if code := pub.publishes("s", "nobody", 1, false); code != 0 {
			t.Errorf("0x%02x, want success", byte(code))
		}
		if n := x.b.metrics.DroppedNoMember.Load(); n != 1 {
			t.Errorf("%d dropped without a member, want 1", n)
		}
		good := joinGroup(x, "good", user("good"))
		for _, p := range numbered("m", 10) {
			pub.publishes("s", p, 1, false)
		}
		if got, _ := good.take(); len(got) != 10 {
			t.Errorf("%d, want all ten", len(got))
		}
		deaf.nothing()
	})
}

func TestTheGroupIsOverWhenTheLastMemberLeaves(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		a := joinGroup(x, "a", kept(1000), receiveMax(1))
		pub := x.connect(packet.V5, "pub")
		for _, p := range numbered("m", 5) {
			pub.publishes("s", p, 1, false)
		}
		a.message()
		a.unsubscribe("$share/g/s")
		if n := x.b.metrics.Queued.Load(); n != 0 {
			t.Errorf("%d messages wait for nobody", n)
		}
		if n := len(x.b.groups.byFilter); n != 0 {
			t.Errorf("%d groups, want none", n)
		}
		b := joinGroup(x, "b")
		b.nothing()
		pub.publishes("s", "new", 1, false)
		b.gets("new")
		if n := x.b.metrics.Shared.Load(); n != 1 {
			t.Errorf("%d shared subscriptions, want 1", n)
		}
	})
}

func TestQoS0WaitsForNoGroup(t *testing.T) {
	for _, on := range []bool{false, true} {
		overPipes(t, func(s *setup) { s.opt.QueueQoS0 = on }, func(x *bed) {
			a := joinGroup(x, "a", kept(1000))
			a.subscribe(filter("t", 0))
			a.drop()
			pub := x.connect(packet.V5, "pub")
			pub.publishes("s", "shared", 0, false)
			pub.publishes("t", "plain", 0, false)
			pub.ping()
			got, _ := x.connect(packet.V5, "a", kept(1000)).take()
			want := 0
			if on {
				want = 2
			}
			if len(got) != want {
				t.Errorf("queue_qos0 %v: %v, want %d", on, got, want)
			}
		})
	}
}

func TestALateJoinTakesNobodysPlaceInAGroup(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		a := joinGroup(x, "a")
		cl := x.b.reg.find("a")
		old := session.NewSubscription("$share/g/s", "g", 0)
		old.QoS, old.Removed = 1, true
		cl.join(&cl.conn.lis.Limits, old) // by a connection that was taken over between SUBSCRIBE and this
		x.connect(packet.V5, "pub").publishes("s", "x", 1, false)
		a.gets("x")
		old = session.NewSubscription("$share/none/s", "none", 0)
		old.Removed = true
		cl.join(&cl.conn.lis.Limits, old)
	})
}

func TestQoS0PassesSharedMessagesThatWaitForAWindow(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		a := joinGroup(x, "a", receiveMax(1))
		pub := x.connect(packet.V5, "pub")
		pub.publishes("s", "one", 1, false)
		pub.publishes("s", "two", 1, false)
		pub.publishes("s", "zero", 0, false)
		pub.ping()
		if got, _ := a.take(); !slices.Equal(got, []string{"one", "zero"}) {
			t.Errorf("%v, want one, and zero which needs no window", got)
		}
	})
}

func TestSharedMessagesLeaveWhenAFailedCommitMakesRoom(t *testing.T) {
	s := func() store.Store {
		return failing(func(_ int, b *store.Batch) bool { return hasKind(b, store.AddIncoming) })
	}
	way{bubble: true, store: s}.run(t, nil, func(x *bed) {
		sub := joinGroup(x, "sub")
		sub.subscribe(filter("t", 2))
		bad, good := x.connect(packet.V5, "bad", kept(100)), x.connect(packet.V5, "good")
		bad.send(bad.pub(packet.PublishOut{Topic: "t", QoS: 2, PacketID: 1, Payload: []byte("lost")}))
		good.publishes("s", "shared", 1, false) // waits: sub's queue holds what is not kept yet
		bad.leaves(packet.ImplementationSpecificError)
		sub.gets("shared")
	})
}
