package broker

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sallyport/packet"
)

// Receivers of all kinds get one message after the other, in an order in which
// many have the same bytes and some do not.
func TestEveryReceiverGetsItsOwnCopy(t *testing.T) {
	type kind struct {
		v     packet.Version
		qos   byte
		keep  bool // retain as published
		id    uint32
		alias uint16
		max   uint32
	}
	kinds := []kind{
		{v: packet.V5, qos: 1}, {v: packet.V5, qos: 1}, {v: packet.V5, qos: 1}, {v: packet.V5, qos: 0}, {v: packet.V5, qos: 0},
		{v: packet.V5, qos: 2}, {v: packet.V5, qos: 2}, {v: packet.V311, qos: 1}, {v: packet.V311, qos: 1}, {v: packet.V311, qos: 1},
		{v: packet.V5, qos: 1, keep: true}, {v: packet.V5, qos: 1, keep: true}, {v: packet.V5, qos: 1, id: 7}, {v: packet.V5, qos: 1, id: 7},
		{v: packet.V5, qos: 1}, {v: packet.V5, qos: 1, alias: 5}, {v: packet.V5, qos: 1, alias: 5}, {v: packet.V31, qos: 1}, {v: packet.V311, qos: 0},
		{v: packet.V5, qos: 1, max: 100}, {v: packet.V5, qos: 1, max: 100}, {v: packet.V311, qos: 0},
	}
	everyWay(t, nil, func(x *bed) {
		var subs []*peer
		for i, k := range kinds {
			s := x.connect(k.v, fmt.Sprint("s", i), func(c *packet.Connect) {
				if k.alias > 0 {
					c.Props.TopicAliasMaximum = k.alias
					c.Props.Mark(packet.PropTopicAliasMaximum)
				}
				if k.max > 0 {
					c.Props.MaximumPacketSize = k.max
					c.Props.Mark(packet.PropMaximumPacketSize)
				}
			})
			s.subscribeWith(k.id, packet.Subscription{Filter: "t/+", QoS: k.qos, RetainAsPublished: k.keep})
			subs = append(subs, s)
		}
		pub := x.connect(packet.V5, "pub")
		for n, payload := range []string{"a", strings.Repeat("b", 300), strings.Repeat("c", maxEncoded+1), "d"} {
			pub.publishes("t/x", payload, byte(2-n%2), n == 3)
			for i, k := range kinds {
				if k.max > 0 && len(payload) > 100 {
					continue
				}
				m := subs[i].message()
				var ids []uint32
				if k.id > 0 {
					ids = []uint32{k.id}
				}
				topic := "t/x"
				if k.alias > 0 && n > 0 {
					topic = ""
				}
				if m.topic != topic || m.payload != payload || m.qos != min(k.qos, byte(2-n%2)) || m.retain != (k.keep && n == 3) ||
					!slices.Equal(m.subIDs, ids) || (m.alias != 0) != (k.alias > 0) || m.dup {
					t.Errorf("message %d: receiver %d (%+v) got %+.60v", n, i, k, m)
				}
				subs[i].finish(m)
			}
		}
		for _, s := range subs {
			s.nothing()
		}
	})
}

func TestIdentifiersOfCopiesAreEachTheirReceivers(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		pub := x.connect(packet.V311, "pub")
		var subs []*peer
		for i := range 5 { // each has had another number of messages before
			s := x.connect(packet.V311, fmt.Sprint("s", i))
			s.subscribe(filter(fmt.Sprint("own/", i), 1), filter("all", 1))
			for range i {
				pub.publishes(fmt.Sprint("own/", i), "x", 1, false)
				s.gets("x")
			}
			subs = append(subs, s)
		}
		for n := range uint16(3) {
			pub.publishes("all", "y", 1, false)
			for i, s := range subs {
				if m := s.message(); m.id != uint16(i)+n+1 || m.payload != "y" {
					t.Errorf("receiver %d got %+v, want the identifier %d", i, m, uint16(i)+n+1)
				}
			}
		}
	})
}
