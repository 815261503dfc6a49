package broker

import (
	"fmt"
	"testing"

	"sallyport/packet"
)

// run is n acknowledgements with the identifiers from first on, as bytes.
func (p *peer) run(typ packet.Type, first uint16, n int) (b []byte) {
	for i := range n {
		b = packet.AppendAck(b, p.v, typ, &packet.Ack{PacketID: first + uint16(i)})
	}
	return b
}

func TestAcknowledgementsThatComeTogetherMakeRoomInOrder(t *testing.T) {
	everyWay(t, func(s *setup) { s.lis.Limits.Inflight = 10 }, func(x *bed) {
		sub := x.connect(packet.V311, "sub", kept(100))
		sub.subscribe(filter("t", 1))
		pub := x.connect(packet.V5, "pub")
		for i := range 45 {
			pub.publishes("t", fmt.Sprint(i), 1, false)
		}
		next := 0
		for round := range 5 {
			n := min(10, 45-next)
			first := uint16(0)
			for i := range n {
				m := sub.message()
				if m.payload != fmt.Sprint(next) || m.id != uint16(next+1) {
					t.Fatalf("round %d: %+v, want %d", round, m, next)
				}
				if next++; i == 0 {
					first = m.id
				}
			}
			sub.nothing()
			// All twice, and one that was never sent: that gives no room.
			sub.send(append(append(sub.run(packet.PUBACK, first, n), sub.run(packet.PUBACK, first, n)...), sub.run(packet.PUBACK, 999, 1)...))
		}
		sub.nothing()
	})
}

func TestAnExchangeIsCompletedInBatches(t *testing.T) {
	const n = ackRun + 100
	everyWay(t, func(s *setup) { s.lis.Limits.Inflight = 1000 }, func(x *bed) {
		for _, v := range []packet.Version{packet.V311, packet.V5} {
			sub := x.connect(v, "sub", kept(100))
			sub.subscribe(filter("t", 2))
			pub := x.connect(v, "pub", kept(100))
			var all []byte
			for i := range uint16(n) {
				all = append(all, pub.pub(packet.PublishOut{Topic: "t", QoS: 2, PacketID: i + 1, Payload: []byte("x")})...)
			}
			pub.send(all)
			for i := range uint16(n) {
				pub.expectAck(packet.PUBREC, i+1, 0)
			}
			// One in the middle is not known.
			pub.send(append(append(pub.run(packet.PUBREL, 1, 300), pub.run(packet.PUBREL, 2000, 1)...), pub.run(packet.PUBREL, 301, n-300)...))
			for i := range uint16(n) {
				if i == 300 {
					code := packet.Success
					if v == packet.V5 {
						code = packet.PacketIDNotFound
					}
					pub.expectAck(packet.PUBCOMP, 2000, code)
				}
				pub.expectAck(packet.PUBCOMP, i+1, 0)
			}
			first := sub.message().id
			for range n - 1 {
				sub.message()
			}
			sub.send(sub.run(packet.PUBREC, first, n))
			for i := range uint16(n) {
				sub.expectAck(packet.PUBREL, first+i, 0)
			}
			sub.send(sub.run(packet.PUBCOMP, first, n))
			sub.nothing()
			cl := x.b.reg.find("sub")
			cl.mu.Lock()
			if k, _ := cl.session.InFlight(); k != 0 {
				t.Errorf("%d are in flight at the end", k)
			}
			cl.mu.Unlock()
			sub.disconnect(0)
			pub.disconnect(0)
			x.settle()
		}
	})
}

func TestAWrongAcknowledgementEndsTheBatch(t *testing.T) {
	everyWay(t, nil, func(x *bed) {
		sub := x.connect(packet.V5, "sub", kept(100))
		sub.subscribe(filter("t/+", 2))
		pub := x.connect(packet.V5, "pub")
		for i, qos := range []byte{1, 2, 1} {
			pub.publishes(fmt.Sprint("t/", i), fmt.Sprint(i), qos, false)
		}
		for range 3 {
			sub.message()
		}
		sub.send(sub.run(packet.PUBACK, 1, 3)) // the second is of QoS 2
		sub.leaves(packet.ProtocolError)
		sub = x.connect(packet.V5, "sub", kept(100))
		for _, want := range []string{"1", "2"} { // what came before it counts, what came after not
			m := sub.message()
			if m.payload != want || !m.dup {
				t.Errorf("%+v, want %s again", m, want)
			}
			sub.finish(m)
		}
		sub.nothing()
	})
}

// What is acknowledged gives its place of the receive maximum back, at once or by
// a commit, and nothing else does.
func TestTheReceiveMaximumIsCountedThroughBatches(t *testing.T) {
	everyWay(t, func(s *setup) { s.lis.Limits.ReceiveMaximum = 4 }, func(x *bed) {
		sub := x.connect(packet.V5, "sub", kept(100))
		sub.subscribe(filter("t", 0))
		pub := x.connect(packet.V5, "pub", kept(100))
		for range 10 {
			var all []byte
			for id := range uint16(4) {
				all = append(all, pub.pub(packet.PublishOut{Topic: "t", QoS: 2 - byte(id%2), PacketID: id + 1})...)
			}
			pub.send(all)
			for id := range uint16(4) {
				if id%2 == 0 {
					pub.expectAck(packet.PUBREC, id+1, 0)
				} else {
					pub.expectAck(packet.PUBACK, id+1, 0)
				}
			}
			pub.send(append(pub.run(packet.PUBREL, 1, 1), pub.run(packet.PUBREL, 3, 1)...))
			pub.expectAck(packet.PUBCOMP, 1, 0)
			pub.expectAck(packet.PUBCOMP, 3, 0)
		}
		for id := range uint16(5) {
			pub.send(pub.pub(packet.PublishOut{Topic: "t", QoS: 2, PacketID: id + 1}))
			if id < 4 {
				pub.expectAck(packet.PUBREC, id+1, 0)
			}
		}
		pub.leaves(packet.ReceiveMaximumExceeded)
	})
}
