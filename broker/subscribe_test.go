package broker

import (
	"slices"
	"testing"

	"sallyport/packet"
)

func TestOverlappingSubscriptionsGetOneMessageEach(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		sub := x.connect(packet.V5, "sub")
		sub.subscribeWith(1, filter("a/+", 0))
		sub.subscribeWith(2, filter("a/#", 2))
		sub.subscribe(filter("a/b", 1))
		x.connect(packet.V5, "pub").publishes("a/b", "x", 2, false)
		got := map[byte][]uint32{}
		for range 3 {
			m := sub.message()
			got[m.qos] = m.subIDs
			sub.finish(m)
		}
		if len(got) != 3 || !slices.Equal(got[0], []uint32{1}) || !slices.Equal(got[2], []uint32{2}) || len(got[1]) != 0 {
			t.Errorf("identifiers by QoS: %v", got)
		}
		sub.nothing()
	})
}

func TestMergedOverlappingSubscriptionsGetOneMessage(t *testing.T) {
	overPipes(t, func(s *setup) { s.opt.MergeOverlapping = true }, func(x *bed) {
		sub := x.connect(packet.V5, "sub")
		sub.subscribeWith(1, filter("a/+", 0))
		sub.subscribeWith(2, packet.Subscription{Filter: "a/#", QoS: 2, RetainAsPublished: true})
		sub.subscribeWith(3, packet.Subscription{Filter: "#", QoS: 2, NoLocal: true})
		pub := x.connect(packet.V5, "pub")
		pub.publishes("a/b", "x", 1, true)
		m := sub.message()
		slices.Sort(m.subIDs)
		if m.qos != 1 || !m.retain || !slices.Equal(m.subIDs, []uint32{1, 2, 3}) {
			t.Errorf("%+v, want QoS 1, retain, identifiers 1 2 3", m)
		}
		sub.finish(m)
		sub.nothing()
	})
}

func TestMergedOwnMessageLeavesNoLocalOut(t *testing.T) {
	overPipes(t, func(s *setup) { s.opt.MergeOverlapping = true }, func(x *bed) {
		sub := x.connect(packet.V5, "sub")
		sub.subscribeWith(1, filter("a/+", 0))
		sub.subscribeWith(3, packet.Subscription{Filter: "#", QoS: 2, NoLocal: true})
		sub.publishes("a/b", "mine", 0, false)
		if m := sub.message(); !slices.Equal(m.subIDs, []uint32{1}) || m.qos != 0 {
			t.Errorf("%+v, want identifier 1", m)
		}
		sub.publishes("other", "mine", 0, false)
		sub.nothing()
	})
}

func TestNoLocal(t *testing.T) {
	everyWay(t, nil, func(x *bed) {
		p := x.connect(packet.V5, "c")
		p.subscribe(packet.Subscription{Filter: "t", QoS: 1, NoLocal: true})
		p.publishes("t", "mine", 1, true)
		p.nothing()
		x.connect(packet.V5, "other").publishes("t", "theirs", 1, false)
		p.gets("theirs")
	})
}

func TestRetainAsPublished(t *testing.T) {
	everyWay(t, nil, func(x *bed) {
		as, not := x.connect(packet.V5, "as"), x.connect(packet.V5, "not")
		as.subscribe(packet.Subscription{Filter: "t", QoS: 1, RetainAsPublished: true})
		not.subscribe(filter("t", 1))
		pub := x.connect(packet.V5, "pub")
		for _, retain := range []bool{true, false} {
			pub.publishes("t", "x", 1, retain)
			if m := as.message(); m.retain != retain {
				t.Errorf("as published %v: retain %v", retain, m.retain)
			}
			if m := not.message(); m.retain {
				t.Error("retain is set on a live message")
			}
		}
	})
}

func TestRetainHandling(t *testing.T) {
	everyWay(t, nil, func(x *bed) {
		pub := x.connect(packet.V5, "pub")
		pub.publishes("t", "kept", 1, true)
		sub := x.connect(packet.V5, "sub")
		handling := func(n byte) packet.Subscription {
			return packet.Subscription{Filter: "t", QoS: 1, RetainHandling: n}
		}
		for _, c := range []struct {
			handling byte
			sent     bool
		}{{2, false}, {1, false}, {0, true}, {0, true}, {1, false}} {
			sub.subscribe(handling(c.handling))
			if c.sent {
				m := sub.message()
				if !m.retain || m.payload != "kept" {
					t.Errorf("%+v, want the retained message", m)
				}
				sub.finish(m)
			}
			sub.nothing()
		}
		sub.unsubscribe("t")
		sub.subscribe(handling(1))
		sub.gets("kept")
		sub.unsubscribe("t")
		sub.subscribe(filter("$share/g/t", 1)) // shared subscriptions get none
		sub.nothing()
	})
}

func TestResubscribingReplaces(t *testing.T) {
	everyWay(t, nil, func(x *bed) {
		sub := x.connect(packet.V5, "sub")
		sub.subscribeWith(1, filter("t", 2), filter("$share/g/s", 2))
		sub.subscribeWith(2, filter("t", 0), filter("$share/g/s", 0))
		if n := x.b.metrics.Subscriptions.Load(); n != 2 {
			t.Errorf("%d subscriptions, want 2", n)
		}
		pub := x.connect(packet.V5, "pub")
		for _, topic := range []string{"t", "s"} {
			pub.publishes(topic, "x", 2, false)
			if m := sub.message(); m.qos != 0 || !slices.Equal(m.subIDs, []uint32{2}) {
				t.Errorf("%s: %+v, want the second subscription", topic, m)
			}
		}
		sub.unsubscribe("t", "$share/g/s", "never")
		for _, topic := range []string{"t", "s"} {
			pub.publishes(topic, "x", 1, false)
		}
		sub.nothing()
	})
}

func TestSubscribeRefusals(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*setup)
		f      packet.Subscription
		id     uint32
		code   packet.Code // in the SUBACK
		end    packet.Code // or of the connection
	}{
		{name: "wildcards switched off", change: func(s *setup) { s.opt.NoWildcards = true }, f: filter("a/#", 0), code: packet.WildcardSubsNotSupported},
		{name: "shared switched off", change: func(s *setup) { s.opt.NoShared = true }, f: filter("$share/g/a", 0), code: packet.SharedSubsNotSupported},
		{name: "identifiers switched off", change: func(s *setup) { s.opt.NoSubscriptionIDs = true }, f: filter("a", 0), id: 1, end: packet.SubIDsNotSupported},
		{name: "no local on shared", f: packet.Subscription{Filter: "$share/g/a", NoLocal: true}, end: packet.ProtocolError},
		{name: "malformed filter", f: filter("a/#/b", 0), end: packet.TopicFilterInvalid},
		{name: "empty group", f: filter("$share//a", 0), code: packet.TopicFilterInvalid},
		{name: "empty shared filter", f: filter("$share/g/", 0), code: packet.TopicFilterInvalid},
		{name: "too deep", change: func(s *setup) { s.lis.Limits.Topic.Levels = 2 }, f: filter("a/b/c", 0), code: packet.TopicFilterInvalid},
		{name: "too long", change: func(s *setup) { s.lis.Limits.Topic.Bytes = 4 }, f: filter("abcde", 0), code: packet.TopicFilterInvalid},
		{name: "denied", change: func(s *setup) { s.policy = denyTopic("a") }, f: filter("a", 0), code: packet.NotAuthorized},
	} {
		t.Run(c.name, func(t *testing.T) {
			overPipes(t, c.change, func(x *bed) {
				p := x.connect(packet.V5, "c")
				id := p.sendSubscribe(c.id, c.f, filter("good", 0))
				if c.end != 0 {
					p.leaves(c.end)
					return
				}
				if codes := p.suback(id); codes[0] != c.code || codes[1] != 0 {
					t.Errorf("%x, want %02x and 00", codes, byte(c.code))
				}
				if c.f.NoLocal {
					return
				}
				v3 := x.connect(packet.V311, "v3")
				if codes := v3.subscribe(c.f); codes[0] != packet.V3SubackFailure {
					t.Errorf("3.1.1: %x, want 80", codes)
				}
			})
		})
	}
}
