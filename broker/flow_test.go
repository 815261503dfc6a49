package broker

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"sallyport/packet"
	"sallyport/session"
)

func TestPacketIdentifiersBeginAtOneAndGoUp(t *testing.T) {
	everyWay(t, nil, func(x *bed) {
		sub := x.connect(packet.V5, "sub")
		sub.subscribe(filter("t", 2))
		pub := x.connect(packet.V5, "pub")
		for i := range uint16(20) {
			pub.publishes("t", "x", byte(1+i%2), false)
			if m := sub.message(); m.id != i+1 {
				t.Fatalf("id %d, want %d", m.id, i+1)
			} else if i != 4 { // 5 stays in use
				sub.finish(m)
			}
		}
		cl := x.b.reg.find("sub")
		cl.mu.Lock()
		cl.session.SetLastID(65534)
		cl.mu.Unlock()
		for _, want := range []uint16{65535, 1, 2, 3, 4, 6} {
			pub.publishes("t", "x", 1, false)
			m := sub.message()
			if m.id != want {
				t.Fatalf("id %d, want %d", m.id, want)
			}
			sub.finish(m)
		}
	})
}

func TestResumedFlightsAreSentAgainInOrderWithDup(t *testing.T) {
	everyWay(t, nil, func(x *bed) {
		sub := x.connect(packet.V5, "sub", kept(100), receiveMax(4))
		sub.subscribe(filter("t", 2))
		pub := x.connect(packet.V5, "pub")
		for i, p := range numbered("m", 8) {
			pub.publishes("t", p, byte(1+i%2), false)
		}
		for i := range 4 {
			if m := sub.message(); m.dup || m.payload != fmt.Sprintf("m%d", i+1) {
				t.Fatalf("first delivery: %+v", m)
			}
		}
		sub.nothing()
		sub.ack(packet.PUBREC, 2) // m2 is with the client, m5 has no room yet
		sub.expectAck(packet.PUBREL, 2, 0)
		sub.nothing()
		sub.drop()
		// The new window is smaller than what is in flight.
		sub = x.connect(packet.V5, "sub", kept(100), receiveMax(2))
		if m := sub.message(); !m.dup || m.payload != "m1" || m.id != 1 {
			t.Fatalf("%+v, want m1 again", m)
		}
		sub.expectAck(packet.PUBREL, 2, 0)
		if m := sub.message(); !m.dup || m.payload != "m3" || m.id != 3 {
			t.Fatalf("%+v, want m3 again", m)
		}
		sub.nothing()
		sub.ack(packet.PUBACK, 1)
		if m := sub.message(); !m.dup || m.payload != "m4" || m.id != 4 {
			t.Fatalf("%+v, want m4 again", m)
		}
		sub.ack(packet.PUBCOMP, 2)
		sub.nothing()
		sub.ack(packet.PUBACK, 3)
		if m := sub.message(); m.dup || m.payload != "m5" || m.id != 5 {
			t.Fatalf("%+v, want m5 for the first time", m)
		}
		sub.ack(packet.PUBACK, 5)
		if m := sub.message(); m.dup || m.payload != "m6" {
			t.Fatalf("%+v, want m6 for the first time", m)
		}
	})
}

func TestTheReceiveMaximumOfTheServerIsEnforced(t *testing.T) {
	w := ways()[1] // acknowledgements have to wait for it to be reached at QoS 1
	w.run(t, func(s *setup) { s.lis.Limits.ReceiveMaximum = 3 }, func(x *bed) {
		x.connect(packet.V5, "sub", kept(100)).subscribe(filter("t", 1))
		p := x.connect(packet.V5, "pub")
		var all []byte
		for id := range uint16(4) {
			all = append(all, p.pub(packet.PublishOut{Topic: "t", QoS: 1, PacketID: id + 1})...)
		}
		p.send(all)
		p.leaves(packet.ReceiveMaximumExceeded)
	})
	overPipes(t, func(s *setup) { s.lis.Limits.ReceiveMaximum = 3 }, func(x *bed) {
		p := x.connect(packet.V5, "pub", kept(100))
		for id := range uint16(3) {
			p.send(p.pub(packet.PublishOut{Topic: "t", QoS: 2, PacketID: id + 1}))
			p.expectAck(packet.PUBREC, id+1, 0)
		}
		p.send(p.pub(packet.PublishOut{Topic: "t", QoS: 2, PacketID: 2, Dup: true})) // the same three
		p.expectAck(packet.PUBREC, 2, 0)
		p.ack(packet.PUBREL, 1)
		p.expectAck(packet.PUBCOMP, 1, 0)
		p.send(p.pub(packet.PublishOut{Topic: "t", QoS: 1, PacketID: 9}))
		p.expectAck(packet.PUBACK, 9, 0)
		p.send(p.pub(packet.PublishOut{Topic: "t", QoS: 2, PacketID: 4}))
		p.expectAck(packet.PUBREC, 4, 0)
		p.send(p.pub(packet.PublishOut{Topic: "t", QoS: 2, PacketID: 5}))
		p.leaves(packet.ReceiveMaximumExceeded)
		// A new connection has a new window.
		p = x.connect(packet.V5, "pub", kept(100))
		p.send(p.pub(packet.PublishOut{Topic: "t", QoS: 1, PacketID: 9}))
		p.expectAck(packet.PUBACK, 9, 0)
	})
}

func TestDuplicatesOfQoS2AreTakenOnce(t *testing.T) {
	everyWay(t, nil, func(x *bed) {
		sub := x.connect(packet.V5, "sub")
		sub.subscribe(filter("t", 0))
		p := x.connect(packet.V5, "pub", kept(100))
		m := packet.PublishOut{Topic: "t", QoS: 2, PacketID: 1, Payload: []byte("x")}
		p.send(p.pub(m))
		p.expectAck(packet.PUBREC, 1, 0)
		m.Dup = true
		p.send(p.pub(m))
		p.expectAck(packet.PUBREC, 1, 0)
		p.drop()
		p = x.connect(packet.V5, "pub", kept(100))
		p.send(p.pub(m))
		p.expectAck(packet.PUBREC, 1, 0)
		p.ack(packet.PUBREL, 1)
		p.expectAck(packet.PUBCOMP, 1, 0)
		p.ack(packet.PUBREL, 1)
		p.expectAck(packet.PUBCOMP, 1, packet.PacketIDNotFound)
		sub.gets("x")
		sub.nothing()
		p.send(p.pub(m)) // released: a new message, whatever DUP says
		p.expectAck(packet.PUBREC, 1, 0)
		sub.gets("x")
	})
}

func TestUnknownAcknowledgementsEndNothing(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		p := x.connect(packet.V5, "c")
		p.ack(packet.PUBACK, 7)
		p.ack(packet.PUBCOMP, 7)
		p.ack(packet.PUBREC, 7)
		p.expectAck(packet.PUBREL, 7, packet.PacketIDNotFound)
		p.ping()
	})
}

func TestWrongAcknowledgementsAreProtocolErrors(t *testing.T) {
	for name, c := range map[string]struct {
		qos byte
		typ packet.Type
	}{
		"PUBREC for QoS 1":      {1, packet.PUBREC},
		"PUBCOMP for QoS 1":     {1, packet.PUBCOMP},
		"PUBACK for QoS 2":      {2, packet.PUBACK},
		"PUBCOMP before PUBREC": {2, packet.PUBCOMP},
	} {
		t.Run(name, func(t *testing.T) {
			overPipes(t, nil, func(x *bed) {
				p := x.connect(packet.V5, "c")
				p.subscribe(filter("t", 2))
				x.connect(packet.V5, "pub").publishes("t", "x", c.qos, false)
				p.ack(c.typ, p.message().id)
				p.leaves(packet.ProtocolError)
			})
		})
	}
}

func TestARefusedQoS2MessageIsOver(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		sub := x.connect(packet.V5, "sub", receiveMax(1))
		sub.subscribe(filter("t", 2))
		pub := x.connect(packet.V5, "pub")
		pub.publishes("t", "one", 2, false)
		pub.publishes("t", "two", 2, false)
		m := sub.message()
		sub.send(packet.AppendAck(nil, packet.V5, packet.PUBREC, &packet.Ack{PacketID: m.id, Code: packet.QuotaExceeded}))
		if m := sub.message(); m.payload != "two" {
			t.Errorf("%+v, want two", m)
		}
	})
}

func TestQueueBounds(t *testing.T) {
	size := (&session.Message{Topic: "t", Payload: []byte("m1")}).Size()
	for _, c := range []struct {
		name   string
		limits func(*Limits)
		codes  []packet.Code
		after  []string
	}{
		{"drop newest by messages", func(l *Limits) { l.QueueMessages = 3 }, []packet.Code{0, 0, 0, 0x97, 0x97}, []string{"m1", "m2", "m3"}},
		{"drop newest by bytes", func(l *Limits) { l.QueueBytes = 3*size + 5 }, []packet.Code{0, 0, 0, 0x97, 0x97}, []string{"m1", "m2", "m3"}},
		{"drop oldest", func(l *Limits) { l.QueueMessages = 3; l.QueueFull = DropOldest }, []packet.Code{0, 0, 0, 0, 0}, []string{"m3", "m4", "m5"}},
		{"drop oldest by bytes", func(l *Limits) { l.QueueBytes = 2 * size; l.QueueFull = DropOldest }, []packet.Code{0, 0, 0, 0, 0}, []string{"m4", "m5"}},
		{"disconnect, but nobody is there", func(l *Limits) { l.QueueMessages = 3; l.QueueFull = Disconnect }, []packet.Code{0, 0, 0, 0x97, 0x97}, []string{"m1", "m2", "m3"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			everyWay(t, func(s *setup) { c.limits(&s.lis.Limits) }, func(x *bed) {
				sub := x.connect(packet.V5, "sub", kept(100))
				sub.subscribe(filter("t", 1))
				sub.drop()
				pub := x.connect(packet.V5, "pub")
				for i, p := range numbered("m", 5) {
					if code := pub.publishes("t", p, 1, false); code != c.codes[i] {
						t.Errorf("%s: 0x%02x, want 0x%02x", p, byte(code), byte(c.codes[i]))
					}
				}
				if n := x.b.metrics.DroppedQueueFull.Load(); n != int64(5-len(c.after)) {
					t.Errorf("%d dropped, want %d", n, 5-len(c.after))
				}
				if n := x.b.metrics.Queued.Load(); n != int64(len(c.after)) {
					t.Errorf("%d queued, want %d", n, len(c.after))
				}
				sub = x.connect(packet.V5, "sub", kept(100))
				sub.gets(c.after...)
				sub.nothing()
			})
		})
	}
}

func TestAFullQueueDisconnectsTheSlow(t *testing.T) {
	overPipes(t, func(s *setup) { s.lis.Limits.QueueMessages, s.lis.Limits.QueueFull = 2, Disconnect }, func(x *bed) {
		sub := x.connect(packet.V5, "sub", receiveMax(1))
		sub.subscribe(filter("t", 1))
		pub := x.connect(packet.V5, "pub")
		for range 4 {
			pub.publishes("t", "x", 1, false)
		}
		sub.message()
		sub.leaves(packet.QuotaExceeded)
	})
}

func TestQuotaExceededOnlyWhenNobodyCouldTakeIt(t *testing.T) {
	overPipes(t, func(s *setup) { s.lis.Limits.QueueMessages = 1 }, func(x *bed) {
		full := x.connect(packet.V5, "full", kept(100))
		full.subscribe(filter("t", 1))
		full.drop()
		pub := x.connect(packet.V5, "pub")
		pub.publishes("t", "m1", 1, false)
		if code := pub.publishes("t", "m2", 1, false); code != packet.QuotaExceeded {
			t.Errorf("0x%02x, want 0x97", byte(code))
		}
		if code := pub.publishes("t", "m3", 2, false); code != packet.QuotaExceeded {
			t.Errorf("QoS 2: 0x%02x, want 0x97", byte(code))
		}
		x.connect(packet.V5, "open").subscribe(filter("t", 0))
		if code := pub.publishes("t", "m4", 1, false); code != 0 {
			t.Errorf("0x%02x, want success: one receiver took it", byte(code))
		}
		if code := pub.publishes("none", "m5", 1, false); code != 0 {
			t.Errorf("0x%02x, want success: nobody asked for it", byte(code))
		}
	})
}

func TestNoMatchingSubscribersIsToldOnlyWhenConfigured(t *testing.T) {
	for _, on := range []bool{false, true} {
		overPipes(t, func(s *setup) { s.opt.TellNoSubscribers = on }, func(x *bed) {
			pub := x.connect(packet.V5, "pub")
			want := packet.Success
			if on {
				want = packet.NoMatchingSubscribers
			}
			if code := pub.publishes("none", "x", 1, false); code != want {
				t.Errorf("0x%02x, want 0x%02x", byte(code), byte(want))
			}
		})
	}
}

func TestQoS0IsDroppedAtTheLimitOfOutput(t *testing.T) {
	overPipes(t, func(s *setup) { s.lis.Limits.OutputBytes = 1000 }, func(x *bed) {
		sub := x.connect(packet.V5, "sub")
		sub.subscribe(filter("t", 0))
		sub.conn.(*Pipe).Stall(true)
		pub := x.connect(packet.V5, "pub")
		for range 100 {
			pub.publishes("t", strings.Repeat("x", 94), 0, false)
		}
		pub.ping()
		if n := x.b.metrics.DroppedOutputFull.Load(); n != 90 {
			t.Errorf("%d dropped, want 90", n)
		}
		sub.conn.(*Pipe).Stall(false)
		for range 10 {
			sub.message()
		}
		sub.nothing()
	})
}

func TestQoS1WaitsInTheQueueWhileOutputIsFull(t *testing.T) {
	overPipes(t, func(s *setup) { s.lis.Limits.OutputBytes = 1000 }, func(x *bed) {
		sub := x.connect(packet.V5, "sub")
		sub.subscribe(filter("t", 1), filter("$share/g/s", 1))
		for _, topic := range []string{"t", "s"} {
			sub.conn.(*Pipe).Stall(true)
			pub := x.connect(packet.V5, "pub")
			for i := range 100 {
				pub.publishes(topic, fmt.Sprintf("%d %s", i, strings.Repeat("x", 92)), 1, false)
			}
			if n := x.b.metrics.Queued.Load(); n < 80 {
				t.Errorf("%d queued, want nearly all", n)
			}
			sub.conn.(*Pipe).Stall(false)
			for i := range 100 {
				m := sub.message()
				if want := fmt.Sprintf("%d ", i); !strings.HasPrefix(m.payload, want) {
					t.Fatalf("%q, want %s", m.payload[:4], want)
				}
				sub.finish(m)
			}
			sub.nothing()
		}
	})
}

func TestBufferBytesBoundsEverythingTogether(t *testing.T) {
	overPipes(t, func(s *setup) { s.opt.BufferBytes = 10_000 }, func(x *bed) {
		var codes [2]int
		pub := x.connect(packet.V5, "pub")
		for i := range 20 {
			id := fmt.Sprintf("s%d", i)
			p := x.connect(packet.V5, id, kept(100))
			p.subscribe(filter(id, 1), filter("$share/"+id+"/x"+id, 1))
			p.drop()
			for _, topic := range []string{id, "x" + id} {
				if pub.publishes(topic, strings.Repeat("x", 872), 1, false) == packet.QuotaExceeded {
					codes[1]++
				} else {
					codes[0]++
				}
			}
		}
		if n := x.b.metrics.BufferedBytes.Load(); n > 10_000 || n < 8000 {
			t.Errorf("%d bytes buffered, want nearly 10,000", n)
		}
		if codes[0] != 9 || codes[1] != 31 {
			t.Errorf("taken and refused %v, want 9 and 31", codes)
		}
		// QoS 0 for those who are there is dropped as well, and the subscribers get it when there is room again.
	})
}

func TestTheClientsMaximumPacketSizeIsHonoured(t *testing.T) {
	small := func(c *packet.Connect) {
		c.Props.MaximumPacketSize = 50
		c.Props.Mark(packet.PropMaximumPacketSize)
		c.Props.TopicAliasMaximum = 5
		c.Props.Mark(packet.PropTopicAliasMaximum)
	}
	everyWay(t, nil, func(x *bed) {
		pub := x.connect(packet.V5, "pub")
		pub.publishes("t/x", strings.Repeat("x", 50), 1, true)
		sub := x.connect(packet.V5, "sub", kept(100), small)
		sub.subscribe(filter("t/#", 1), filter("$share/g/s", 1))
		for qos := range byte(2) {
			for n := range 60 {
				pub.publishes("t/x", strings.Repeat("x", n), qos, false)
				pub.publishes("t/"+strings.Repeat("y", n+1), "", qos, false)
			}
		}
		pub.publishes("s", strings.Repeat("x", 50), 1, false)
		seen := 0
		read := func(p *peer) {
			p.send(packet.AppendPing(nil, packet.PINGREQ))
			for {
				e, ok := p.next()
				if !ok || e.h.Type == packet.PINGRESP {
					break
				}
				if n := len(e.body) + 2; n > 50 {
					t.Errorf("%v of %d bytes, want at most 50", e.h.Type, n)
				}
				seen++
			}
		}
		read(sub) // before it drops: what it has not read then is lost
		sub.drop()
		pub.publishes("t/x", strings.Repeat("x", 50), 1, false)
		pub.publishes("t/x", "last", 1, false)
		sub = x.connect(packet.V5, "sub", kept(100), small)
		x.settle()
		read(sub)
		if seen < 100 || x.b.metrics.DroppedTooLarge.Load() == 0 {
			t.Errorf("%d arrived, %d dropped", seen, x.b.metrics.DroppedTooLarge.Load())
		}
	})
}

func TestTopicAliasesOfTheClient(t *testing.T) {
	alias := func(p *peer, topic string, a uint16, qos byte) {
		p.send(p.pub(packet.PublishOut{Topic: topic, Alias: a, QoS: qos, PacketID: 1, Payload: []byte("x")}))
	}
	overPipes(t, func(s *setup) { s.lis.Limits.TopicAlias = 3 }, func(x *bed) {
		sub := x.connect(packet.V5, "sub")
		sub.subscribe(filter("#", 0))
		p := x.connect(packet.V5, "pub")
		for _, c := range []struct {
			topic string
			alias uint16
			want  string
		}{{"a", 1, "a"}, {"b", 3, "b"}, {"", 1, "a"}, {"", 3, "b"}, {"c", 1, "c"}, {"", 1, "c"}} {
			alias(p, c.topic, c.alias, 0)
			if m := sub.message(); m.topic != c.want {
				t.Errorf("%q with alias %d: %q, want %q", c.topic, c.alias, m.topic, c.want)
			}
		}
		alias(p, "", 2, 0)
		p.leaves(packet.ProtocolError)
		p = x.connect(packet.V5, "pub")
		alias(p, "", 1, 0) // the old connection's aliases are gone
		p.leaves(packet.ProtocolError)
		p = x.connect(packet.V5, "pub")
		alias(p, "a", 4, 0)
		p.leaves(packet.TopicAliasInvalid)
	})
}

func TestTopicAliasesTowardsTheClient(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		sub := x.connect(packet.V5, "sub", kept(100), func(c *packet.Connect) {
			c.Props.TopicAliasMaximum = 2
			c.Props.Mark(packet.PropTopicAliasMaximum)
		})
		sub.subscribe(filter("#", 1))
		pub := x.connect(packet.V5, "pub")
		for _, c := range []struct {
			topic, want string
			alias       uint16
		}{{"a", "a", 1}, {"a", "", 1}, {"b", "b", 2}, {"c", "c", 0}, {"b", "", 2}, {"c", "c", 0}} {
			pub.publishes(c.topic, "x", 1, false)
			if m := sub.message(); m.topic != c.want || m.alias != c.alias {
				t.Errorf("%s: topic %q alias %d, want %q %d", c.topic, m.topic, m.alias, c.want, c.alias)
			}
		}
		sub.drop()
		sub = x.connect(packet.V5, "sub", kept(100)) // no aliases now
		for range 6 {
			if m := sub.message(); m.alias != 0 || m.topic == "" {
				t.Errorf("resent: %+v", m)
			}
		}
	})
}

func TestMessagesArriveByteForByte(t *testing.T) {
	props := slices.Concat([]byte{0x01, 1}, []byte{0x08, 0, 1, 'r'}, []byte{0x09, 0, 2, 0, 9},
		[]byte{0x26, 0, 1, 'b', 0, 1, '2'}, []byte{0x03, 0, 1, 'c'}, []byte{0x26, 0, 1, 'a', 0, 1, '1'})
	everyWay(t, nil, func(x *bed) {
		sub, v3 := x.connect(packet.V5, "sub", kept(100)), x.connect(packet.V311, "v3")
		sub.subscribe(filter("#", 2))
		v3.subscribe(filter("#", 2))
		pub := x.connect(packet.V5, "pub")
		payload := string(bytes.Repeat([]byte{0, 1, 0xff}, 30_000))
		for qos := range byte(3) {
			pub.send(pub.pub(packet.PublishOut{Topic: "t", QoS: qos, PacketID: 9, Payload: []byte(payload), Props: props, ExpiryAt: -1, Retain: true}))
			if qos > 0 {
				pub.next()
			}
			for _, p := range []*peer{sub, v3} {
				m := p.message()
				if m.payload != payload || p.v == packet.V5 && m.props != string(props) {
					t.Fatalf("QoS %d to version %d: other bytes arrived", qos, p.v)
				}
				p.finish(m)
			}
		}
		late := x.connect(packet.V5, "late")
		late.subscribe(filter("t", 0))
		if m := late.message(); m.payload != payload || m.props != string(props) {
			t.Error("retained: other bytes arrived")
		}
	})
}

func TestPacketsCutAnywhereAreWhole(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		sub := x.connect(packet.V5, "sub")
		sub.subscribe(filter("t", 0))
		p := x.open(packet.V5)
		all := packet.AppendConnect(nil, &packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "p"})
		for i := range 5 {
			all = append(all, p.pub(packet.PublishOut{Topic: "t", Payload: bytes.Repeat([]byte{'x'}, i*100)})...)
		}
		for _, b := range all {
			p.send([]byte{b})
		}
		p.connack()
		for i := range 5 {
			if m := sub.message(); len(m.payload) != i*100 {
				t.Fatalf("%d bytes, want %d", len(m.payload), i*100)
			}
		}
	})
}

func TestAnAliasMakesNoPacketLargerThanTheClientAccepts(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		const most = 60
		sub := x.connect(packet.V5, "sub", func(c *packet.Connect) {
			c.Props.TopicAliasMaximum, c.Props.MaximumPacketSize = 2, most
			c.Props.Mark(packet.PropTopicAliasMaximum)
			c.Props.Mark(packet.PropMaximumPacketSize)
		})
		sub.subscribe(filter("#", 1))
		pub := x.connect(packet.V5, "pub")
		pub.publishes("t", "teaches the alias", 1, false)
		sub.message()
		// The fixed header is two bytes.
		full := packet.PublishOut{Topic: "t", QoS: 1, PacketID: 9, ExpiryAt: -1}
		for packet.PublishSize(packet.V5, &full) < most {
			full.Payload = append(full.Payload, 'x')
		}
		pub.publishes("t", string(full.Payload), 1, false)
		if e := sub.expect(packet.PUBLISH); 2+len(e.body) > most {
			t.Errorf("a packet of %d bytes, the client accepts %d", 2+len(e.body), most)
		}
	})
}
