package broker

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"sallyport/packet"
)

// sinks adds n clients in memory that take whatever is published to topic.
func (x *bed) sinks(n int, topic string) {
	x.t.Helper()
	subscribe := packet.AppendSubscribe(nil, packet.V5, &packet.Subscribe{PacketID: 1, Filters: []packet.Subscription{filter(topic, 0)}})
	for i := range n {
		d := &discard{}
		c, err := x.b.Open(d, Info{Listener: "test"})
		if err != nil {
			x.t.Fatal(err)
		}
		d.c = c
		d.feed(packet.AppendConnect(nil, &packet.Connect{Version: packet.V5, CleanStart: true, ClientID: fmt.Sprintf("sink%d", i)}))
		d.feed(subscribe)
	}
	if got := x.b.metrics.Subscriptions.Load(); got != int64(n) {
		x.t.Fatalf("%d subscriptions, want %d", got, n)
	}
}

// flood publishes to topic as fast as the broker takes it, until stop is called.
func (x *bed) flood(topic string) (stop func()) {
	x.t.Helper()
	attacker := x.dialTCP()
	frame := packet.AppendPublish(nil, packet.V5, &packet.PublishOut{Topic: topic, ExpiryAt: -1, Payload: []byte("x")})
	over := make(chan struct{})
	if _, err := attacker.Write(connectBytes("attacker")); err != nil {
		x.t.Fatal(err)
	}
	go func() {
		defer close(over)
		block := bytes.Repeat(frame, 4096)
		for {
			if _, err := attacker.Write(block); err != nil {
				return // stopped
			}
		}
	}()
	return func() {
		_ = attacker.Close() // ends the writer
		<-over
	}
}

// exchanges sends messages to the client itself, one after the other, until the
// broker has made so many deliveries in all. It returns how many of them it made
// while each message was under way.
func (p *peer) exchanges(topic string, until int64) (meanwhile []int64, err error) {
	sent := &p.x.b.metrics.PublishSent
	for before := sent.Load(); before < until; before = sent.Load() {
		p.send(p.pub(packet.PublishOut{Topic: topic, Payload: []byte("x")}))
		select {
		case e, open := <-p.in:
			if !open || e.h.Type != packet.PUBLISH {
				return nil, fmt.Errorf("%s got %v", topic, e.h.Type)
			}
		case <-time.After(time.Minute):
			return nil, fmt.Errorf("%s got nothing within a minute", topic)
		}
		meanwhile = append(meanwhile, sent.Load()-before)
	}
	return meanwhile, nil
}

// TestHonestClientsGoOnBesideOneWhoPublishesToAll lets one client publish to
// 100,000 others without a pause. How long that keeps 100 honest clients waiting
// is measured by what the broker does for the flood meanwhile, which no busy
// machine changes: each of their messages may wait for a few of the flood's.
func TestHonestClientsGoOnBesideOneWhoPublishesToAll(t *testing.T) {
	ways, receivers := []way{{name: "goroutines over TCP", tcp: true}}, 100_000
	if hasLoops {
		ways = append(ways, way{name: "one loop over TCP", tcp: true, loops: true, one: true})
	}
	if raceEnabled {
		receivers = 10_000
	}
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			w.run(t, nil, func(x *bed) { x.honest(t, 100, receivers) })
		})
	}
}

func (x *bed) honest(t *testing.T, clients, receivers int) {
	x.sinks(receivers, "all")
	honest := make([]*peer, clients)
	for i := range honest {
		honest[i] = x.connect(packet.V5, fmt.Sprintf("honest%d", i))
		honest[i].subscribe(filter(fmt.Sprintf("honest/%d", i), 0))
	}
	stop := x.flood("all")
	defer stop()
	x.until("the flood has begun", func() bool { return x.b.metrics.PublishSent.Load() > int64(receivers) })
	const messages = 10 // of the flood
	end := x.b.metrics.PublishSent.Load() + int64(messages*receivers)
	var mu sync.Mutex // guards waits
	var waits []int64
	var group sync.WaitGroup
	for i, p := range honest {
		group.Go(func() {
			meanwhile, err := p.exchanges(fmt.Sprintf("honest/%d", i), end)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			waits = append(waits, meanwhile...)
			mu.Unlock()
		})
	}
	group.Wait()
	slices.Sort(waits)
	if len(waits) < clients {
		t.Fatalf("%d honest messages while the flood sent %d", len(waits), messages)
	}
	in := func(n int64) float64 { return float64(n) / float64(receivers) }
	p50, p99 := in(waits[len(waits)/2]), in(waits[len(waits)*99/100])
	t.Logf("the flood's messages while one of %d honest ones is under way: %.2f at the median, %.2f at p99", len(waits), p50, p99)
	if p99 > 5 {
		t.Errorf("one in a hundred honest messages waits for more than %.1f messages to %d others, want at most 5", p99, receivers)
	}
}

// TestAStalledReaderHoldsUpNobody publishes far more than sockets hold past a
// client that doesn't read. Another one gets all of it, in order.
func TestAStalledReaderHoldsUpNobody(t *testing.T) {
	const messages, window, size, output = 16 << 10, 32, 1 << 10, 64 << 10
	for qos, most := range map[byte]int64{
		0: 4 * output, // what either reader may be behind, and what is being written
		1: 4 << 20,    // and flights and queue of the stalled one
	} {
		t.Run(fmt.Sprintf("QoS %d", qos), func(t *testing.T) {
			overTCP(t, func(s *setup) { s.lis.Limits.OutputBytes = output }, func(x *bed) {
				stalled := x.dialTCP()
				defer stalled.Close()
				if err := stalled.SetReadBuffer(4096); err != nil {
					t.Fatal(err)
				}
				hello := packet.AppendSubscribe(connectBytes("stalled"), packet.V5, &packet.Subscribe{PacketID: 1, Filters: []packet.Subscription{filter("t", qos)}})
				if _, err := stalled.Write(hello); err != nil {
					t.Fatal(err)
				}
				x.until("the stalled reader has subscribed", func() bool { return x.b.metrics.Subscriptions.Load() == 1 })
				reader, pub := x.connect(packet.V5, "reader"), x.connect(packet.V5, "pub")
				reader.subscribe(filter("t", 0))
				held := int64(0)
				payload := make([]byte, size)
				for n := uint32(0); n < messages; n += window {
					var block []byte
					for i := range uint32(window) {
						binary.BigEndian.PutUint32(payload, n+i)
						block = append(block, pub.pub(packet.PublishOut{Topic: "t", QoS: qos, PacketID: uint16(i+1) * uint16(qos), Payload: payload})...)
					}
					pub.send(block)
					for i := range uint32(window) {
						if m := reader.message(); len(m.payload) != size || binary.BigEndian.Uint32([]byte(m.payload)) != n+i {
							t.Fatalf("message %d of the reader is % x", n+i, m.payload[:4])
						}
						if qos > 0 {
							pub.expect(packet.PUBACK)
						}
					}
					held = max(held, x.b.metrics.BufferedBytes.Load())
				}
				if held > most {
					t.Errorf("the broker held %d bytes, want at most %d", held, most)
				}
				if x.b.metrics.Dropped() == 0 {
					t.Error("nothing was dropped: the reader was not stalled")
				}
			})
		})
	}
}
