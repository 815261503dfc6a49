package broker

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/audit"
	"sallyport/packet"
	"sallyport/security"
)

// byTopic lets a shared subscription's member have the topics that begin with its
// user name, or with "all"; each may subscribe to everything.
func byTopic(r *security.Request) security.Effect {
	if r.Action == security.Receive && r.Group == "g" && !strings.HasPrefix(r.Topic, "s/"+r.Principal.Name) && !strings.HasPrefix(r.Topic, "s/all") {
		return security.Silent
	}
	return security.Allow
}

func joinAs(x *bed, id string, opts ...with) *peer {
	x.t.Helper()
	p := x.connect(packet.V5, id, append(opts, user(id))...)
	p.subscribe(filter("$share/g/s/#", 2))
	return p
}

func TestAMessageWhoseMembersAreBusyHoldsUpNoOther(t *testing.T) {
	everyWay(t, func(s *setup) { s.policy = byTopic }, func(x *bed) {
		a, b := joinAs(x, "a", receiveMax(1)), joinAs(x, "b")
		pub := x.connect(packet.V5, "pub")
		for _, m := range []string{"a/1", "a/2", "b/1", "a/3", "all/1", "b/2", "b/3"} {
			pub.publishes("s/"+m, m, 1, false)
		}
		inA, ids := a.take()
		// a waits for a/2: what comes after is for it only when it has had that.
		inB, _ := b.take()
		if !slices.Equal(inA, []string{"a/1"}) || !slices.Equal(inB, []string{"b/1", "all/1", "b/2", "b/3"}) {
			t.Errorf("a: %v, b: %v", inA, inB)
		}
		a.ack(packet.PUBACK, ids[0])
		if inA, ids = a.take(); !slices.Equal(inA, []string{"a/2"}) {
			t.Errorf("%v, want a/2", inA)
		}
		a.ack(packet.PUBACK, ids[0])
		if inA, _ = a.take(); !slices.Equal(inA, []string{"a/3"}) {
			t.Errorf("%v, want a/3", inA)
		}
	})
}

func TestOneLooksPastABoundedNumberOfWaitingMessages(t *testing.T) {
	overPipes(t, func(s *setup) { s.policy = byTopic }, func(x *bed) {
		a, b := joinAs(x, "a", receiveMax(1)), joinAs(x, "b")
		pub := x.connect(packet.V5, "pub")
		for i := range dealAhead + 1 {
			pub.publishes("s/a", fmt.Sprint(i), 1, false)
		}
		pub.publishes("s/b", "far", 1, false)
		b.nothing()
		_, ids := a.take()
		a.ack(packet.PUBACK, ids[0])
		b.gets("far")
	})
}

func TestNothingOvertakesWhatNobodyHasLookedAt(t *testing.T) {
	overPipes(t, func(s *setup) { s.policy = byTopic }, func(x *bed) {
		a, b := joinAs(x, "a", receiveMax(1)), joinAs(x, "b")
		pub := x.connect(packet.V5, "pub")
		expires := func(topic string, seconds byte) {
			pub.pid++
			pub.send(pub.pub(packet.PublishOut{Topic: topic, QoS: 1, PacketID: pub.pid, Props: []byte{2, 0, 0, 0, seconds}, ExpiryAt: 1, Expiry: uint32(seconds)}))
			pub.expectAck(packet.PUBACK, pub.pid, 0)
		}
		for range dealAhead + 1 {
			expires("s/a", 10) // one is sent, the others wait
		}
		for _, m := range []string{"1", "2"} {
			pub.publishes("s/b", m, 1, false) // out of reach
		}
		x.pass(20 * time.Second)
		a.take()
		if got, _ := b.take(); len(got) != 0 {
			t.Errorf("%v, too early", got)
		}
		pub.publishes("s/b", "3", 1, false)
		b.gets("1", "2", "3")
		if n := x.b.metrics.Queued.Load(); n != 0 {
			t.Errorf("%d wait, want none", n)
		}
	})
}

func TestNothingOvertakesWhatWaitsForItsCommit(t *testing.T) {
	everyWay(t, nil, func(x *bed) {
		b := joinAs(x, "b")
		pub := x.connect(packet.V5, "pub", kept(100))
		pub.send(append(pub.pub(packet.PublishOut{Topic: "s/b", QoS: 2, PacketID: 1, Payload: []byte("1")}),
			pub.pub(packet.PublishOut{Topic: "s/b", QoS: 1, PacketID: 2, Payload: []byte("2")})...))
		b.gets("1", "2")
	})
}

func TestAMemberThatWaitsIsPassedByNothing(t *testing.T) {
	overPipes(t, func(s *setup) { s.policy, s.opt.QueueQoS0 = byTopic, true }, func(x *bed) {
		a, b := joinAs(x, "a", receiveMax(1)), joinAs(x, "b")
		pub := x.connect(packet.V5, "pub")
		pub.publishes("s/a", "1", 1, false)
		pub.publishes("s/a", "2", 1, false)
		pub.publishes("s/a", "3", 0, false) // needs no window, and comes after 2 all the same
		pub.publishes("s/b", "4", 1, false)
		b.gets("4")
		pub.publishes("s/all", "5", 0, false)
		b.gets("5")
		got, ids := a.take()
		if !slices.Equal(got, []string{"1"}) {
			t.Errorf("%v, want 1", got)
		}
		x.enforce(byTopic) // everything is dealt again
		a.nothing()
		a.ack(packet.PUBACK, ids[0])
		if got, _ = a.take(); !slices.Equal(got, []string{"2", "3"}) {
			t.Errorf("%v, want 2 and 3", got)
		}
	})
}

// Whatever comes, each member has its messages in order, and none is lost.
func TestEachMemberOfAGroupHasItsMessagesInOrder(t *testing.T) {
	overPipes(t, func(s *setup) { s.policy = byTopic }, func(x *bed) {
		rnd := rand.New(rand.NewPCG(3, 4))
		names := []string{"a", "b", "c"}
		var group []*peer
		for _, n := range names {
			group = append(group, joinAs(x, n, receiveMax(2)))
		}
		pub := x.connect(packet.V5, "pub")
		open := make([][]uint16, len(group))
		got := make([][]string, len(group))
		collect := func() {
			for i, p := range group {
				payloads, ids := p.take()
				got[i], open[i] = append(got[i], payloads...), append(open[i], ids...)
			}
		}
		const n = 500
		for k := range n {
			to := append([]string{"all"}, names...)[rnd.IntN(4)]
			pub.publishes("s/"+to, fmt.Sprintf("%04d %s", k, to), 1, false)
			if rnd.IntN(2) == 0 {
				continue
			}
			collect()
			i := rnd.IntN(len(group))
			for len(open[i]) > 0 && rnd.IntN(3) > 0 {
				group[i].ack(packet.PUBACK, open[i][0])
				open[i] = open[i][1:]
			}
		}
		for range n {
			collect()
			for i, p := range group {
				for _, id := range open[i] {
					p.ack(packet.PUBACK, id)
				}
				open[i] = nil
			}
			if x.b.metrics.Queued.Load() == 0 {
				break
			}
		}
		collect()
		var all []string
		for i := range group {
			if !slices.IsSorted(got[i]) {
				t.Errorf("%s has %v", names[i], got[i])
			}
			for _, m := range got[i] {
				if to := m[5:]; to != "all" && to != names[i] {
					t.Errorf("%s has %q", names[i], m)
				}
			}
			all = append(all, got[i]...)
		}
		slices.Sort(all)
		if len(all) != n || len(slices.Compact(all)) != n {
			t.Errorf("%d messages arrived, want %d", len(all), n)
		}
		for _, p := range group {
			p.send(packet.AppendDisconnect(nil, packet.V5, &packet.Disconnect{}))
		}
	})
}

func TestWhatNoMemberMayHaveIsCountedAndLoggedOnceAMinute(t *testing.T) {
	var log logbook
	overPipes(t, func(s *setup) { s.policy, s.opt.Log = byTopic, log.logger() }, func(x *bed) {
		joinAs(x, "a")
		pub := x.connect(packet.V5, "pub")
		for range 10 {
			pub.publishes("s/nobody", "x", 1, false)
		}
		pub.publishes("s/nobody", "x", 2, false)
		x.pass(2 * time.Minute)
		pub.publishes("s/nobody", "x", 0, false)
		pub.ping()
		if n := x.b.metrics.DroppedNoMember.Load(); n != 12 {
			t.Errorf("%d counted, want 12", n)
		}
		lines := log.lines(t, audit.MessagesDropped)
		if len(lines) != 2 || lines[1]["count"] != 12.0 || lines[1]["client"] != "$share/g/s/#" ||
			lines[1]["reason"] != "no member of the shared subscription may receive it" {
			t.Errorf("logged: %v", lines)
		}
	})
}

func TestTheRightsOfAGroupAreJudgedAgainWhenRulesChange(t *testing.T) {
	everyWay(t, nil, func(x *bed) {
		a, b := joinAs(x, "a", receiveMax(1)), joinAs(x, "b", receiveMax(1))
		pub := x.connect(packet.V5, "pub")
		for _, m := range []string{"all/1", "all/2", "b/1", "none/1", "a/1"} {
			pub.publishes("s/"+m, m, 1, false)
		}
		_, idsA := a.take()
		_, idsB := b.take()
		x.enforce(byTopic)
		if n := x.b.metrics.DroppedNoMember.Load(); n != 1 {
			t.Errorf("%d dropped, want the one that nobody may have any more", n)
		}
		a.ack(packet.PUBACK, idsA[0])
		b.ack(packet.PUBACK, idsB[0])
		inA, _ := a.take()
		inB, _ := b.take()
		if !slices.Equal(inA, []string{"a/1"}) || !slices.Equal(inB, []string{"b/1"}) {
			t.Errorf("a: %v, b: %v", inA, inB)
		}
	})
}

func TestARevokedMemberGetsNothingMore(t *testing.T) {
	everyWay(t, nil, func(x *bed) {
		a, b := joinAs(x, "a", receiveMax(2)), joinAs(x, "b", receiveMax(2), kept(1000))
		pub := x.connect(packet.V5, "pub")
		for _, m := range numbered("m", 6) {
			pub.publishes("s/all", m, 1, false)
		}
		got, ids := a.take()
		_, _ = b.take()
		b.drop() // with two messages that it has not acknowledged
		n := x.enforce(func(r *security.Request) security.Effect {
			if r.Action == security.Subscribe && r.Principal.Name == "b" {
				return security.Deny
			}
			return security.Allow
		})
		if n != (Enforced{Revoked: 1}) {
			t.Errorf("%+v, want one revoked", n)
		}
		for len(ids) > 0 {
			a.ack(packet.PUBACK, ids[0])
			more, moreIDs := a.take()
			got, ids = append(got, more...), append(ids[1:], moreIDs...)
		}
		if slices.Sort(got); !slices.Equal(got, numbered("m", 6)) {
			t.Errorf("the member that is left has %v, want all six", got)
		}
		joinAgain := x.connect(packet.V5, "b", user("b"), kept(1000))
		pub.publishes("s/all", "new", 1, false)
		joinAgain.nothing()
	})
}

func TestWhatAMemberMayNotHaveAgainGoesToAnother(t *testing.T) {
	everyWay(t, nil, func(x *bed) {
		b := joinAs(x, "b", kept(1000))
		pub := x.connect(packet.V5, "pub")
		pub.publishes("s/a", "1", 1, false)
		pub.publishes("s/b", "2", 1, false)
		if got, _ := b.take(); len(got) != 2 {
			t.Fatalf("%v, want both", got)
		}
		b.drop()
		a := joinAs(x, "a")
		x.enforce(byTopic)
		b = x.connect(packet.V5, "b", user("b"), kept(1000))
		if m := b.message(); m.payload != "2" || !m.dup {
			t.Errorf("%+v, want 2 again", m)
		}
		a.gets("1")
		b.nothing()
	})
}
