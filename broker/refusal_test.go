package broker

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sallyport/audit"
	"sallyport/packet"
	"sallyport/security"
)

func noProblemInfo(c *packet.Connect) {
	c.Props.Mark(packet.PropRequestProblemInfo) // 0
}

func maxPacketOf(n uint32) with {
	return func(c *packet.Connect) {
		c.Props.MaximumPacketSize = n
		c.Props.Mark(packet.PropMaximumPacketSize)
	}
}

// withIDs denies everything about secret, and names refusals.
func withIDs(d *security.Decisions, log *logbook) func(*setup) {
	return func(s *setup) {
		s.policy = denyTopic("secret")
		s.opt.DenyIDs, s.opt.Decisions, s.opt.Log = true, d, log.logger()
	}
}

// reasonOf is the reason string of the next packet, which is of this type.
func (p *peer) reasonOf(want packet.Type) string {
	p.t.Helper()
	e := p.expect(want)
	var reason string
	err := errors.New("no such packet here")
	switch want {
	case packet.PUBACK, packet.PUBREC:
		var a packet.Ack
		a, err = packet.DecodeAck(p.v, want, e.h.Flags, e.body, packet.Limits{})
		reason = a.Reason
	case packet.SUBACK:
		var a *packet.SubAck
		a, err = packet.DecodeSubAck(p.v, want, e.h.Flags, e.body, packet.Limits{})
		if err == nil {
			reason = a.Reason
		}
	case packet.DISCONNECT:
		var d *packet.Disconnect
		d, err = packet.DecodeDisconnect(p.v, e.h.Flags, e.body, packet.Limits{})
		if err == nil {
			reason = d.Props.ReasonString
		}
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return reason
}

// idOf is the only identifier in a reason string.
func idOf(t *testing.T, reason string) string {
	t.Helper()
	id, ok := strings.CutPrefix(reason, "not authorized, decision ")
	if !ok || len(id) != 8 {
		t.Fatalf("reason %q, want one identifier", reason)
	}
	return id
}

func TestARefusedClientIsToldAnIdentifier(t *testing.T) {
	for _, c := range []struct {
		name   string
		end    bool
		send   func(*peer)
		answer packet.Type
		event  audit.Event
		action security.Action
	}{
		{"QoS 1", false, func(p *peer) { p.send(p.pub(packet.PublishOut{Topic: "secret", QoS: 1, PacketID: 1})) }, packet.PUBACK, audit.PublishDenied, security.Publish},
		{"QoS 2", false, func(p *peer) { p.send(p.pub(packet.PublishOut{Topic: "secret", QoS: 2, PacketID: 1})) }, packet.PUBREC, audit.PublishDenied, security.Publish},
		{"QoS 0, which ends", true, func(p *peer) { p.send(p.pub(packet.PublishOut{Topic: "secret"})) }, packet.DISCONNECT, audit.PublishDenied, security.Publish},
		{"a subscription", false, func(p *peer) { p.sendSubscribe(0, filter("open", 0), filter("secret", 1)) }, packet.SUBACK, audit.SubscribeDenied, security.Subscribe},
		{"a shared subscription", false, func(p *peer) { p.sendSubscribe(0, filter("$share/g/secret", 1)) }, packet.SUBACK, audit.SubscribeDenied, security.Subscribe},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log logbook
			var d security.Decisions
			change := func(s *setup) { withIDs(&d, &log)(s); s.lis.DisconnectDenied = c.end }
			overPipes(t, change, func(x *bed) {
				p := x.connect(packet.V5, "c", user("u"))
				c.send(p)
				id := idOf(t, p.reasonOf(c.answer))
				lines := log.lines(t, c.event)
				if len(lines) != 1 || lines[0]["decision"] != id {
					t.Errorf("logged %v, want %s", lines, id)
				}
				r, ok := d.Find(id)
				if !ok || r.Request.Topic != "secret" || r.Request.Action != c.action || r.Request.Principal.Name != "u" || r.Verdict.Rule != "test rule" {
					t.Errorf("kept: %+v", r)
				}
				if shared := strings.Contains(c.name, "shared"); ok && (r.Request.Shared != shared || (r.Request.Group == "g") != shared) {
					t.Errorf("kept: %+v", r.Request)
				}
			})
			// Where it is not wanted, and where it does not fit, there is none.
			for _, opt := range []with{noProblemInfo, maxPacketOf(20)} {
				overPipes(t, change, func(x *bed) {
					p := x.connect(packet.V5, "c", user("u"), opt)
					c.send(p)
					if reason := p.reasonOf(c.answer); reason != "" {
						t.Errorf("reason %q, want none", reason)
					}
				})
			}
			overPipes(t, func(s *setup) { change(s); s.opt.DenyIDs = false }, func(x *bed) {
				p := x.connect(packet.V5, "c", user("u"))
				c.send(p)
				if reason := p.reasonOf(c.answer); reason != "" {
					t.Errorf("reason %q without the option", reason)
				}
			})
		})
	}
}

func TestRefusalsBeforeMQTT5AreNamedInTheLog(t *testing.T) {
	var log logbook
	var d security.Decisions
	overPipes(t, withIDs(&d, &log), func(x *bed) {
		x.connect(packet.V311, "c").publishes("secret", "x", 1, false)
		lines := log.lines(t, audit.PublishDenied)
		if len(lines) != 1 {
			t.Fatalf("%d lines, want 1", len(lines))
		}
		if _, ok := d.Find(fmt.Sprint(lines[0]["decision"])); !ok {
			t.Errorf("%v names no decision", lines[0])
		}
	})
}

func TestARefusedConnectIsNamedInTheLogOnly(t *testing.T) {
	for name, c := range map[string]struct {
		policy policyFunc
		lines  map[audit.Event]int
	}{
		"the connection": {func(r *security.Request) security.Effect {
			if r.Action == security.Connect {
				return security.Deny
			}
			return security.Allow
		}, map[audit.Event]int{audit.ConnectRefused: 1}},
		"the will": {denyTopic("secret"), map[audit.Event]int{audit.ConnectRefused: 1, audit.WillDenied: 1}},
	} {
		var log logbook
		var d security.Decisions
		change := func(s *setup) { withIDs(&d, &log)(s); s.policy = c.policy }
		overPipes(t, change, func(x *bed) {
			p, ack := x.tryConnect(packet.V5, "c", willOf("secret", "x", 0))
			if ack.Code != packet.NotAuthorized || ack.Props.ReasonString != "" {
				t.Errorf("%s: %+v", name, ack)
			}
			p.closed()
			for event, n := range c.lines {
				lines := log.lines(t, event)
				if len(lines) != n {
					t.Fatalf("%s: %d lines of %s, want %d", name, len(lines), event, n)
				}
				if _, ok := d.Find(fmt.Sprint(lines[0]["decision"])); !ok {
					t.Errorf("%s: %v names no decision", name, lines[0])
				}
			}
		})
	}
}

func TestAFloodOfRefusalsIsNotNamed(t *testing.T) {
	var log logbook
	var d security.Decisions
	overPipes(t, withIDs(&d, &log), func(x *bed) {
		c, other := x.connect(packet.V5, "c"), x.connect(packet.V5, "other")
		named := func(p *peer, n int) (ids int) {
			for i := range n {
				p.send(p.pub(packet.PublishOut{Topic: "secret", QoS: 1, PacketID: uint16(i + 1)}))
				if p.reasonOf(packet.PUBACK) != "" {
					ids++
				}
			}
			return ids
		}
		if n := named(c, 500); n != idsPerSecond {
			t.Errorf("%d of 500 are named, want %d", n, idsPerSecond)
		}
		if n := named(other, 1); n != 1 {
			t.Error("another client's refusal is not named")
		}
		x.pass(time.Second)
		if n := named(c, 1); n != 1 {
			t.Error("a second later nothing is named")
		}
		var filters []packet.Subscription
		for range 100 {
			filters = append(filters, filter("secret", 0))
		}
		x.pass(time.Second)
		c.sendSubscribe(0, filters...)
		if n := strings.Count(c.reasonOf(packet.SUBACK), ","); n != idsPerSecond {
			t.Errorf("%d identifiers in one SUBACK, want %d", n, idsPerSecond)
		}
	})
}

func TestIdentifiersAreKeptWithoutAPlaceOfTheEmbeddersOwn(t *testing.T) {
	overPipes(t, func(s *setup) { s.policy, s.opt.DenyIDs = denyTopic("secret"), true }, func(x *bed) {
		p := x.connect(packet.V5, "c")
		p.send(p.pub(packet.PublishOut{Topic: "secret", QoS: 1, PacketID: 1}))
		if _, ok := x.b.opt.Decisions.Find(idOf(t, p.reasonOf(packet.PUBACK))); !ok {
			t.Error("the decision is not kept")
		}
	})
}
