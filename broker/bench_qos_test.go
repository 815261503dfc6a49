package broker

import (
	"fmt"
	"testing"
	"time"

	"sallyport/packet"
	"sallyport/security"
	"sallyport/store"
)

// benchPeer is a client without a socket: its packets are fed as a loaded socket
// gives them, many at once, and what the broker sends it is taken and given
// back as a driver does.
type benchPeer struct {
	conn    *Conn
	version packet.Version
	buf     []byte
	id      uint16 // of the last packet that was acknowledged
	resumed bool
}

func (p *benchPeer) Flush() {
	for out := p.conn.TakeOutput(nil); out != nil; out = p.conn.TakeOutput(out) {
	}
	p.conn.Drained()
}
func (p *benchPeer) Resume()             { p.resumed = true }
func (p *benchPeer) Close(time.Duration) { p.conn.Gone(nil) }

// feed is one turn.
func (p *benchPeer) feed(data []byte) {
	p.conn.Feed(data) // which flushes its own output, too
	for p.resumed {
		p.resumed = false
		p.conn.Continue()
	}
}

// subscribe asks for filter.
func (p *benchPeer) subscribe(filter string, qos byte) {
	p.feed(packet.AppendSubscribe(nil, p.version, &packet.Subscribe{PacketID: 1, Filters: []packet.Subscription{{Filter: filter, QoS: qos}}}))
}

// acks feeds the acknowledgements of the next n identifiers after id, in one turn.
func (p *benchPeer) acks(typ packet.Type, id uint16, n int) {
	p.buf = p.buf[:0]
	for range n {
		if id++; id == 0 {
			id = 1
		}
		p.buf = packet.AppendAck(p.buf, p.version, typ, &packet.Ack{PacketID: id})
	}
	p.feed(p.buf)
}

// complete ends the exchanges of the next n messages sent to p.
func (p *benchPeer) complete(qos byte, n int) {
	switch qos {
	case 0:
		return
	case 1:
		p.acks(packet.PUBACK, p.id, n)
	case 2:
		p.acks(packet.PUBREC, p.id, n)
		p.acks(packet.PUBCOMP, p.id, n)
	}
	for range n {
		if p.id++; p.id == 0 {
			p.id = 1
		}
	}
}

// benchBed is a broker whose gate asks a permission file of 1,000 rules with
// placeholders.
type benchBed struct {
	tb testing.TB
	b  *Broker
}

func newBenchBed(tb testing.TB) *benchBed {
	lim := testLimits()
	lim.QueueMessages, lim.QueueBytes = 100_000, 100<<20
	lis := &Listener{Name: "test", Limits: lim, Auth: &door{}}
	w := &benchBed{tb: tb, b: New(Options{
		Listeners: map[string]*Listener{"test": lis}, Store: store.NewMemory(),
		Gate: security.NewGate(&security.Ruleset{ByListener: map[string][]security.Policy{"test": {benchRules(tb, 1000)}}}),
	})}
	tb.Cleanup(func() {
		w.b.Shutdown(time.Second)
		if err := w.b.Close(); err != nil {
			tb.Error(err)
		}
	})
	return w
}

// connect opens a connection whose session is kept for expiry seconds.
func (w *benchBed) connect(id string, v packet.Version, expiry uint32) *benchPeer {
	p := &benchPeer{version: v}
	c, err := w.b.Open(p, Info{Listener: "test"})
	if err != nil {
		w.tb.Fatal(err)
	}
	p.conn = c
	connect := &packet.Connect{Version: v, CleanStart: expiry == 0, ClientID: id}
	if v == packet.V5 && expiry > 0 {
		connect.Props.SessionExpiry = expiry
		connect.Props.Mark(packet.PropSessionExpiry)
	}
	p.feed(packet.AppendConnect(nil, connect))
	if !c.accepted() {
		w.tb.Fatal("not connected")
	}
	return p
}

// publishes is n PUBLISH packets of 64 bytes with the identifiers 1 to n, as
// bytes, and the PUBREL packets that end them at QoS 2.
func publishes(topic string, v packet.Version, qos byte, n int) (publish, release []byte) {
	for i := range n {
		f := packet.PublishOut{Topic: topic, QoS: qos, Payload: make([]byte, 64), ExpiryAt: -1}
		if qos > 0 {
			f.PacketID = uint16(i + 1)
		}
		publish = packet.AppendPublish(publish, v, &f)
		if qos == 2 {
			release = packet.AppendAck(release, v, packet.PUBREL, &packet.Ack{PacketID: f.PacketID})
		}
	}
	return publish, release
}

// benchPair is a publisher with its receivers.
type benchPair struct {
	pub              *benchPeer
	subs             []*benchPeer
	publish, release []byte
	qos              byte
	batch            int
}

func (w *benchBed) pair(name string, v packet.Version, qos byte, batch, receivers int) *benchPair {
	p := &benchPair{pub: w.connect("pub"+name, v, 0), qos: qos, batch: batch}
	topic := "bench/" + name + "/value"
	for i := range receivers {
		sub := w.connect(fmt.Sprintf("sub%s-%d", name, i), v, 0)
		sub.subscribe(topic, qos)
		p.subs = append(p.subs, sub)
	}
	p.publish, p.release = publishes(topic, v, qos, batch)
	return p
}

// exchange lets one batch through, with everything that acknowledges it.
func (p *benchPair) exchange() {
	p.pub.feed(p.publish)
	if p.qos == 2 {
		p.pub.feed(p.release)
	}
	for _, s := range p.subs {
		s.complete(p.qos, p.batch)
	}
}

// deliveries reports what one delivered message costs.
func deliveries(b *testing.B, broker *Broker, want int) {
	b.Helper()
	b.StopTimer()
	if got := broker.metrics.PublishSent.Load(); got != int64(want) {
		b.Fatalf("%d messages sent, want %d", got, want)
	}
	if n := broker.metrics.BufferedBytes.Load(); n != 0 {
		b.Fatalf("%d bytes are left in flight", n)
	}
}

// BenchmarkPairs is a message from one of 100 publishers to its one receiver,
// with all acknowledgements: an operation is one delivered message.
func BenchmarkPairs(b *testing.B) {
	const pairs = 100
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		for qos := range byte(3) {
			for _, batch := range []int{1, 64} {
				b.Run(fmt.Sprintf("%v/QoS%d/batch%d", v, qos, batch), func(b *testing.B) {
					w := newBenchBed(b)
					var list []*benchPair
					for i := range pairs {
						list = append(list, w.pair(fmt.Sprint(i), v, qos, batch, 1))
						list[i].exchange()
					}
					b.ReportAllocs()
					b.ResetTimer()
					n := 0
					for n < b.N {
						list[n/batch%pairs].exchange()
						n += batch
					}
					deliveries(b, w.b, n+pairs*batch)
				})
			}
		}
	}
}

// BenchmarkFanOut is a message to 500 receivers, in batches of 16: an operation
// is one delivered message.
func BenchmarkFanOut(b *testing.B) {
	const receivers, batch = 500, 16
	for qos := range byte(2) {
		b.Run(fmt.Sprintf("QoS%d", qos), func(b *testing.B) {
			w := newBenchBed(b)
			p := w.pair("1", packet.V311, qos, batch, receivers)
			p.exchange()
			b.ReportAllocs()
			b.ResetTimer()
			n := 0
			for n < b.N {
				p.exchange()
				n += batch * receivers
			}
			deliveries(b, w.b, n+batch*receivers)
		})
	}
}

// BenchmarkOffline is a message to the kept session of an absent client, and one
// to it when it is back.
func BenchmarkOffline(b *testing.B) {
	const batch, most = 64, 64 * 1000
	run := func(b *testing.B, timed func(queue bool)) {
		w := newBenchBed(b)
		publish, _ := publishes("bench/1/value", packet.V5, 1, batch)
		pub := w.connect("pub", packet.V5, 0)
		sub := w.connect("sub", packet.V5, 1000)
		sub.subscribe("bench/1/value", 1)
		window := int(sub.conn.lis.Limits.Inflight)
		b.ReportAllocs()
		b.ResetTimer()
		for n := 0; n < b.N; {
			timed(true)
			sub.feed(packet.AppendDisconnect(nil, packet.V5, &packet.Disconnect{Props: packet.Properties{}}))
			id := sub.id
			total := 0
			for ; total < most && n < b.N; total += batch {
				pub.feed(publish)
				n += batch
			}
			timed(false)
			sub = w.connect("sub", packet.V5, 1000)
			sub.id = id
			for left := total; left > 0; left -= min(left, window, 64) {
				sub.complete(1, min(left, window, 64))
			}
		}
		b.StopTimer()
		if n := w.b.metrics.BufferedBytes.Load(); n != 0 {
			b.Fatalf("%d bytes are left", n)
		}
	}
	b.Run("queue", func(b *testing.B) {
		run(b, func(queue bool) {
			if queue {
				b.StartTimer()
			} else {
				b.StopTimer()
			}
		})
	})
	b.Run("drain", func(b *testing.B) {
		run(b, func(queue bool) {
			if queue {
				b.StopTimer()
			} else {
				b.StartTimer()
			}
		})
	})
}
