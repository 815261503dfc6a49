package broker

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/packet"
	"sallyport/store"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// overDisk runs a case in virtual time over a store on a disk.
func overDisk(t *testing.T, change func(*setup), f func(*bed)) {
	t.Helper()
	way{bubble: true, store: diskStore}.run(t, change, f)
}

func TestASessionIsThereAfterALossOfPower(t *testing.T) {
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		overDisk(t, nil, func(x *bed) {
			c := x.connect(v, "c", kept(100))
			c.subscribe(filter("a/+", 2), filter("b", 1), filter("gone", 1))
			c.unsubscribe("gone")
			pub := x.connect(v, "pub")
			for i, payload := range numbered("", 6) {
				pub.publishes("a/x", payload, byte(1+i%2), false)
			}
			pub.publishes("b", "retained", 1, true)
			pub.publishes("cleared", "retained", 1, true)
			pub.publishes("cleared", "", 1, true)
			first, second := c.message(), c.message()
			c.ack(packet.PUBACK, first.id)
			c.ack(packet.PUBREC, second.id)
			c.until(packet.PUBREL)
			third := c.message()
			x.restart()

			c, ack := x.tryConnect(v, "c", kept(100))
			if !ack.SessionPresent {
				t.Fatal("no session")
			}
			// In the order in which they were sent: the PUBREL of 2, then 3, which has
			// its identifier still.
			c.expectAck(packet.PUBREL, second.id, 0)
			c.ack(packet.PUBCOMP, second.id)
			again := c.message()
			if again.id != third.id || again.payload != "3" || !again.dup {
				t.Errorf("%+v, want %+v again", again, third)
			}
			c.finish(again)
			c.gets("4", "5", "6", "retained")
			c.nothing()
			pub = x.connect(v, "pub")
			pub.publishes("gone", "x", 1, false)
			pub.publishes("a/y", "after", 2, false)
			c.gets("after")
			c.nothing()
			fresh := x.connect(v, "fresh")
			fresh.subscribe(filter("#", 2))
			if m := fresh.message(); m.topic != "b" || !m.retain {
				t.Errorf("%+v is retained", m)
			}
			fresh.nothing()
		})
	}
}

func TestAQoS2MessageIsNotTakenTwiceAfterALossOfPower(t *testing.T) {
	overDisk(t, nil, func(x *bed) {
		c := x.connect(packet.V5, "c", kept(100))
		c.subscribe(filter("t", 2))
		c.drop()
		pub := x.connect(packet.V5, "pub", kept(100))
		f := packet.PublishOut{Topic: "t", Payload: []byte("once"), QoS: 2, PacketID: 7}
		pub.send(pub.pub(f))
		pub.expectAck(packet.PUBREC, 7, 0)
		x.restart()
		pub = x.connect(packet.V5, "pub", kept(100))
		f.Dup = true
		pub.send(pub.pub(f))
		pub.expectAck(packet.PUBREC, 7, 0)
		pub.ack(packet.PUBREL, 7)
		pub.expectAck(packet.PUBCOMP, 7, 0)
		x.restart()
		pub = x.connect(packet.V5, "pub", kept(100))
		pub.ack(packet.PUBREL, 7)
		pub.expectAck(packet.PUBCOMP, 7, packet.PacketIDNotFound) // it was released before
		f.Dup, f.Payload = false, []byte("new")
		pub.send(pub.pub(f))
		pub.expectAck(packet.PUBREC, 7, 0)
		c = x.connect(packet.V5, "c", kept(100))
		c.gets("once", "new")
		c.nothing()
	})
}

func TestASessionsOwnerIsThereAfterALossOfPower(t *testing.T) {
	overDisk(t, func(s *setup) { s.policy = members }, func(x *bed) {
		x.door.setGroups("g")
		c := x.connect(packet.V5, "c", kept(100), user("anna"))
		c.subscribe(filter("secret/a", 1))
		x.restart()
		// While the client is away, what it may have is judged with the groups of its owner.
		x.connect(packet.V5, "pub").publishes("secret/a", "1", 1, false)
		if _, ack := x.tryConnect(packet.V5, "c", kept(100), user("bert")); ack.Code != packet.NotAuthorized {
			t.Errorf("somebody else's CONNACK is 0x%02x", byte(ack.Code))
		}
		c = x.connect(packet.V5, "c", kept(100), user("anna"))
		c.gets("1")
	})
}

func TestASessionEndsInTimeAfterALossOfPower(t *testing.T) {
	overDisk(t, nil, func(x *bed) {
		x.connect(packet.V5, "short", kept(100))
		c := x.connect(packet.V5, "zero", kept(100))
		c.drop()
		x.connect(packet.V5, "zero", func(c *packet.Connect) { c.CleanStart = false }) // ends with this connection
		x.connect(packet.V5, "clean", kept(100)).drop()
		x.connect(packet.V5, "clean", kept(100), func(c *packet.Connect) { c.CleanStart = true })
		x.restart()
		if n := x.b.metrics.Sessions.Load(); n != 2 {
			t.Errorf("%d sessions, want short's and clean's", n)
		}
		x.pass(101 * time.Second)
		if n := x.b.metrics.Sessions.Load(); n != 0 {
			t.Errorf("%d sessions after their time", n)
		}
	})
}

func TestADelayedWillIsPublishedAfterALossOfPower(t *testing.T) {
	overDisk(t, nil, func(x *bed) {
		watch := func() *peer {
			w := x.connect(packet.V5, "w", kept(1000))
			w.subscribe(filter("will/#", 2))
			return w
		}
		watch()
		x.connect(packet.V5, "dead", kept(1000), willOf("will/dead", "dead", 100)).drop()
		x.connect(packet.V5, "back", kept(1000), willOf("will/back", "back", 100)).drop()
		x.restart()
		w := watch()
		x.connect(packet.V5, "back", kept(1000)) // in time
		x.pass(70 * time.Second)
		w.nothing()
		x.pass(40 * time.Second)
		w.gets("dead")
		w.nothing()
		x.restart()
		w = watch()
		x.pass(200 * time.Second)
		w.nothing()
	})
}

func TestWhatWaitsInASharedSubscriptionIsThereAfterALossOfPower(t *testing.T) {
	overDisk(t, nil, func(x *bed) {
		join := func(id string) *peer {
			p := x.connect(packet.V5, id, kept(100), receiveMax(1))
			p.subscribe(filter("$share/g/t", 2))
			return p
		}
		a := join("a")
		pub := x.connect(packet.V5, "pub")
		for i, payload := range numbered("", 5) {
			pub.publishes("t", payload, byte(1+i%2), false)
		}
		if m := a.message(); m.payload != "1" {
			t.Fatalf("%+v", m)
		}
		x.restart()
		b := join("b") // a member, but with nothing in flight
		b.gets("2", "3")
		a, _ = x.tryConnect(packet.V5, "a", kept(100), receiveMax(1))
		m := a.message()
		if m.payload != "1" || !m.dup {
			t.Fatalf("%+v, want the message that a had", m)
		}
		a.finish(m)
		// Who has room takes what is left, each message once.
		var got []string
		for _, p := range []*peer{a, b} {
			for {
				x.settle()
				if len(p.in) == 0 && len(p.back) == 0 {
					break
				}
				m := p.message()
				got = append(got, m.payload)
				p.finish(m)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, []string{"4", "5"}) {
			t.Errorf("%q came after the others", got)
		}
	})
}

func TestAMemberThatLeavesGivesItsMessagesBackForGood(t *testing.T) {
	overDisk(t, func(s *setup) { s.opt.RedeliverOnDisconnect = true }, func(x *bed) {
		join := func(id string) *peer {
			p := x.connect(packet.V5, id, kept(100), receiveMax(1))
			p.subscribe(filter("$share/g/t", 1))
			return p
		}
		a := join("a")
		pub := x.connect(packet.V5, "pub")
		pub.publishes("t", "1", 1, false)
		a.message()
		a.drop()
		x.restart()
		b := join("b")
		b.gets("1")
		x.restart()
		a, b = join("a"), join("b")
		a.nothing()
		b.nothing()
	})
}

func TestARetainedMessageInFlightIsThereAfterALossOfPower(t *testing.T) {
	overDisk(t, nil, func(x *bed) {
		pub := x.connect(packet.V5, "pub")
		pub.publishes("r1", "1", 1, true)
		pub.publishes("r2", "2", 2, true)
		c := x.connect(packet.V5, "c", kept(100))
		c.subscribe(filter("r1", 1))
		one := c.message()
		c.subscribe(filter("r2", 2))
		two := c.message()
		x.restart()
		c = x.connect(packet.V5, "c", kept(100))
		for _, want := range []msg{one, two} {
			m := c.message()
			if m.id != want.id || m.payload != want.payload || !m.dup || !m.retain {
				t.Errorf("%+v, want %+v again", m, want)
			}
			c.finish(m)
		}
	})
}

// room is a store that may be full.
type room struct {
	store.Store
	full atomic.Bool
}

func (r *room) Full() bool { return r.full.Load() }

func TestAFullStoreTakesNothingNew(t *testing.T) {
	r := &room{}
	way{bubble: true, store: func() store.Store { r.Store = slowStore(nil)(); return r }}.run(t, nil, func(x *bed) {
		kept5 := x.connect(packet.V5, "kept", kept(100))
		kept5.subscribe(filter("t", 2))
		p5, p3 := x.connect(packet.V5, "p5"), x.connect(packet.V311, "p3")
		p5.publishes("t", "1", 1, false)
		one := kept5.message()
		r.full.Store(true)
		for qos := range byte(2) {
			if code := p5.publishes("t", "no", qos+1, false); code != packet.QuotaExceeded {
				t.Errorf("QoS %d: 0x%02x", qos+1, byte(code))
			}
		}
		p5.publishes("r", "no", 0, true)
		if _, there := x.b.store.Retained("r"); there {
			t.Error("a retained message was taken")
		}
		p5.publishes("t", "QoS 0", 0, false)
		kept5.ack(packet.PUBACK, one.id) // what makes room is taken
		if m := kept5.message(); m.payload != "QoS 0" {
			t.Errorf("%+v", m)
		}
		if codes := kept5.subscribe(filter("u", 1)); codes[0] != packet.QuotaExceeded {
			t.Errorf("SUBACK %x", codes)
		}
		if codes := p5.subscribe(filter("u", 1)); codes[0] != 1 {
			t.Errorf("SUBACK of a session that is not kept: %x", codes)
		}
		if _, ack := x.tryConnect(packet.V5, "new", kept(100)); ack.Code != packet.QuotaExceeded {
			t.Errorf("CONNACK 0x%02x", byte(ack.Code))
		}
		x.connect(packet.V5, "kept", kept(100)) // one that is there may come back
		p3.send(p3.pub(packet.PublishOut{Topic: "t", Payload: []byte("no"), QoS: 1, PacketID: 1}))
		p3.closed()
		r.full.Store(false)
		if code := p5.publishes("t", "2", 1, false); code != 0 {
			t.Errorf("with room again: 0x%02x", byte(code))
		}
		if n := x.b.metrics.Limits.Count("min_free"); n != 6 {
			t.Errorf("min_free was reached %d times, want 6", n)
		}
	})
}

func TestAStoreIsReopenedWithWhatWasAcknowledged(t *testing.T) {
	fs := vfs.NewCrashableMem()
	var first *onDisk
	var swap *store.Swap
	way{bubble: true, store: func() store.Store {
		first = openDisk(fs, fs) // its goroutines are the bubble's
		swap = store.NewSwap(first)
		return swap
	}}.run(t, nil, func(x *bed) {
		c := x.connect(packet.V5, "c", kept(100))
		c.subscribe(filter("t", 1), filter("$share/g/s", 1))
		c.drop()
		live := x.connect(packet.V5, "live", kept(100))
		live.subscribe(filter("t", 1))
		clean := x.connect(packet.V5, "clean")
		clean.subscribe(filter("t", 1))
		pub := x.connect(packet.V5, "pub")
		pub.publishes("t", "1", 1, true)
		pub.publishes("s", "shared", 1, false)
		live.gets("1")
		clean.gets("1")
		x.settle()
		after := fs.CrashClone(vfs.CrashCloneCfg{})
		x.b.Reopen(func() { swap.Put(openDisk(after, after)) })
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		live.leaves(packet.ServerBusy)
		if n := x.b.metrics.Sessions.Load(); n != 4 { // c, live, clean, pub
			t.Errorf("%d sessions", n)
		}
		pub.publishes("t", "2", 1, false)
		clean.gets("2")
		live, ack := x.tryConnect(packet.V5, "live", kept(100))
		if !ack.SessionPresent {
			t.Error("the session is not there")
		}
		live.gets("2")
		c = x.connect(packet.V5, "c", kept(100))
		c.gets("1")
		got := []string{}
		for range 2 {
			m := c.message()
			got = append(got, m.payload)
			c.finish(m)
		}
		slices.Sort(got)
		if !slices.Equal(got, []string{"2", "shared"}) {
			t.Errorf("%q", got)
		}
		c.nothing()
	})
}
