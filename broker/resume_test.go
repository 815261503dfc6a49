package broker

import (
	"slices"
	"strings"
	"testing"

	"sallyport/audit"
	"sallyport/packet"
	"sallyport/security"
	"sallyport/session"
)

// members lets only members of group g have or subscribe to what is below secret/.
func members(r *security.Request) security.Effect {
	if len(r.Topic) > 7 && r.Topic[:7] == "secret/" && r.Action != security.Publish && !slices.Contains(r.Principal.Groups, "g") {
		return security.Deny
	}
	return security.Allow
}

func (d *door) setGroups(groups ...string) {
	d.mu.Lock()
	d.groups = groups
	d.mu.Unlock()
}

func TestWhatWaitedIsJudgedWithThePrincipalThatComesBack(t *testing.T) {
	var log logbook
	everyWay(t, func(s *setup) { s.policy, s.opt.Log = members, log.logger() }, func(x *bed) {
		x.door.setGroups("g")
		c := x.connect(packet.V5, "c", kept(100))
		c.subscribe(filter("secret/+", 2), filter("open", 1), filter("secret/a", 0))
		c.drop()
		pub := x.connect(packet.V5, "pub")
		// While the client is away its stored principal counts.
		pub.publishes("secret/a", "1", 1, false)
		pub.publishes("open", "2", 1, false)
		pub.publishes("secret/b", "3", 2, false)
		if n := x.b.metrics.Queued.Load(); n != 3 {
			t.Fatalf("%d wait, want 3", n)
		}
		x.door.setGroups()
		c = x.connect(packet.V5, "c", kept(100))
		c.gets("2")
		c.nothing()
		pub.publishes("secret/c", "4", 1, false)
		pub.publishes("open", "5", 1, false)
		c.gets("5")
		m := &x.b.metrics
		if m.DroppedDenied.Load() != 2 || m.SubscriptionsRevoked.Load() != 2 || m.Subscriptions.Load() != 1 {
			t.Errorf("%d dropped, %d revoked, %d stand", m.DroppedDenied.Load(), m.SubscriptionsRevoked.Load(), m.Subscriptions.Load())
		}
	})
	if n := len(log.lines(t, audit.SubscriptionRevoked)); n != 2*len(ways()) {
		t.Errorf("%d lines, want %d", n, 2*len(ways()))
	}
}

func TestAWithheldSubscriptionIsThereWhenItsClientComesBack(t *testing.T) {
	overPipes(t, func(s *setup) { s.policy, s.opt.OnPolicyChange = members, Withhold }, func(x *bed) {
		x.door.setGroups("g")
		c := x.connect(packet.V5, "c", kept(100))
		c.subscribe(filter("secret/a", 1))
		c.drop()
		x.door.setGroups()
		c = x.connect(packet.V5, "c", kept(100))
		pub := x.connect(packet.V5, "pub")
		pub.publishes("secret/a", "1", 1, false)
		c.nothing()
		c.drop()
		x.door.setGroups("g")
		c = x.connect(packet.V5, "c", kept(100))
		pub.publishes("secret/a", "2", 1, false)
		c.gets("2")
	})
}

func TestWhatIsInFlightIsJudgedWhenItIsSentAgain(t *testing.T) {
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		everyWay(t, nil, func(x *bed) {
			c := x.connect(v, "c", kept(100))
			c.subscribe(filter("#", 2))
			pub := x.connect(packet.V5, "pub")
			for _, m := range []struct {
				topic string
				qos   byte
			}{{"b", 1}, {"a", 1}, {"b", 2}, {"a", 2}, {"b", 2}} {
				pub.publishes(m.topic, strings.Repeat("x", 2*session.CountStep), m.qos, false)
			}
			var ids []uint16
			for range 5 {
				ids = append(ids, c.message().id)
			}
			c.ack(packet.PUBREC, ids[4]) // this one's payload has arrived
			c.expectAck(packet.PUBREL, ids[4], 0)
			c.drop()
			before := x.b.metrics.BufferedBytes.Load()
			x.swap(denyAction(security.Receive, "b"))

			c = x.connect(v, "c", kept(100))
			if m := c.message(); m.topic != "a" || !m.dup || m.qos != 1 {
				t.Errorf("%+v, want a again", m)
			}
			// The exchange that had begun goes on without its payload, in its place.
			c.expectAck(packet.PUBREL, ids[2], 0)
			if m := c.message(); m.topic != "a" || !m.dup || m.qos != 2 {
				t.Errorf("%+v, want a again", m)
			}
			c.expectAck(packet.PUBREL, ids[4], 0)
			c.nothing()
			if n := x.b.metrics.DroppedDenied.Load(); n != 2 {
				t.Errorf("%d dropped, want 2", n)
			}
			if after := x.b.metrics.BufferedBytes.Load(); after >= before {
				t.Errorf("%d bytes are held, and were %d: the payloads are not released", after, before)
			}
			// It is the same after one more loss of the connection, until PUBCOMP.
			c.drop()
			x.swap(allowAll)
			c = x.connect(v, "c", kept(100))
			c.message()
			c.expectAck(packet.PUBREL, ids[2], 0)
			c.message()
			c.expectAck(packet.PUBREL, ids[4], 0)
			code := packet.Success
			if v == packet.V5 {
				code = packet.PacketIDNotFound // the PUBLISH had never arrived there
			}
			c.send(packet.AppendAck(nil, v, packet.PUBCOMP, &packet.Ack{PacketID: ids[2], Code: code}))
			c.ack(packet.PUBCOMP, ids[4])
			c.ping()
			cl := x.b.reg.find("c")
			cl.mu.Lock()
			n, _ := cl.session.InFlight()
			cl.mu.Unlock()
			if n != 2 {
				t.Errorf("%d in flight, want the two that are allowed", n)
			}
		})
	}
}

func TestAnExchangeWithoutPayloadTakesNothingOfTheWindow(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		c := x.connect(packet.V5, "c", kept(100), receiveMax(1))
		c.subscribe(filter("#", 2))
		pub := x.connect(packet.V5, "pub")
		pub.publishes("b", "1", 2, false)
		pub.publishes("a", "2", 2, false)
		id := c.message().id
		c.drop()
		x.swap(denyAction(security.Receive, "b"))
		c = x.connect(packet.V5, "c", kept(100), receiveMax(1))
		c.expectAck(packet.PUBREL, id, 0)
		if m := c.message(); m.payload != "2" {
			t.Errorf("%+v, want the next message", m)
		}
		pub.publishes("a", "3", 1, false)
		c.ack(packet.PUBCOMP, id) // gives nothing back that was not taken
		c.nothing()
	})
}
