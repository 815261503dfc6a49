package broker

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"sallyport/packet"
	"sallyport/security"
	"sallyport/security/roles"
	"sallyport/store"
)

// discard is a Wire that throws output away at once.
type discard struct {
	c       *Conn
	resumed bool
}

func (d *discard) Flush() {
	for out := d.c.TakeOutput(nil); out != nil; out = d.c.TakeOutput(out) {
	}
	d.c.Drained()
}
func (d *discard) Resume()             { d.resumed = true }
func (d *discard) Close(time.Duration) { d.c.Gone(nil) }

// benchPolicy is a permission file of 100 rules of which the last one allows.
func benchPolicy(b testing.TB) security.Policy { return benchRules(b, 100) }

// benchRules is a permission file of n rules of which the last one allows.
func benchRules(b testing.TB, n int) security.Policy {
	var text strings.Builder
	text.WriteString("everyone:\n")
	for i := range n - 1 {
		fmt.Fprintf(&text, "  - {allow: both, topic: \"site/%d/${clientid}/#\"}\n", i)
	}
	text.WriteString("  - {allow: both, topic: \"bench/#\"}\n")
	path := filepath.Join(b.TempDir(), "permissions.yaml")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	p, err := roles.Load(roles.Options{Name: "bench", Path: path})
	if err != nil {
		b.Fatal(err)
	}
	return p
}

type benchWorld struct {
	b       *Broker
	pub     *Conn
	wirePub *discard
}

func newBenchWorld(b testing.TB, policy security.Policy, receivers int, qos byte) *benchWorld {
	lis := &Listener{Name: "test", Limits: testLimits(), Auth: &door{}}
	w := &benchWorld{b: New(Options{
		Listeners: map[string]*Listener{"test": lis}, Store: store.NewMemory(),
		Gate: security.NewGate(&security.Ruleset{ByListener: map[string][]security.Policy{"test": {policy}}}),
	})}
	w.pub, w.wirePub = w.open(b, "pub")
	for i := range receivers {
		c, _ := w.open(b, fmt.Sprintf("sub%d", i))
		c.Feed(packet.AppendSubscribe(nil, packet.V5, &packet.Subscribe{PacketID: 1, Filters: []packet.Subscription{{Filter: "bench/+/value", QoS: qos}}}))
	}
	b.Cleanup(func() {
		w.b.Shutdown(time.Second)
		if err := w.b.Close(); err != nil {
			b.Error(err)
		}
	})
	return w
}

func (w *benchWorld) open(b testing.TB, id string) (*Conn, *discard) {
	d := &discard{}
	c, err := w.b.Open(d, Info{Listener: "test"})
	if err != nil {
		b.Fatal(err)
	}
	d.c = c
	d.feed(packet.AppendConnect(nil, &packet.Connect{Version: packet.V5, CleanStart: true, ClientID: id}))
	if !c.accepted() {
		b.Fatal("not connected")
	}
	return c, d
}

// BenchmarkRoute is one PUBLISH of 64 bytes from the publisher's bytes to its
// receivers' output.
func BenchmarkRoute(b *testing.B) {
	for _, policy := range []string{"allow all", "100 rules"} {
		for _, receivers := range []int{1, 1000} {
			for qos := range byte(2) {
				b.Run(fmt.Sprintf("%s/1 to %d/QoS %d", policy, receivers, qos), func(b *testing.B) {
					var p security.Policy = policyFunc(allowAll)
					if policy != "allow all" {
						p = benchPolicy(b)
					}
					route(b, newBenchWorld(b, p, receivers, qos), receivers, qos)
				})
			}
		}
	}
}

func route(b *testing.B, w *benchWorld, receivers int, qos byte) {
	frame := packet.AppendPublish(nil, packet.V5, &packet.PublishOut{Topic: "bench/1/value", QoS: qos, PacketID: uint16(qos), Payload: make([]byte, 64), ExpiryAt: -1})
	// The receivers acknowledge at once, with the identifier that comes next.
	var subs []*Conn
	for i := range receivers {
		cl := w.b.reg.find(fmt.Sprintf("sub%d", i))
		subs = append(subs, cl.conn)
	}
	ack := make([]byte, 0, 8)
	id := uint16(0)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		w.pub.Feed(frame)
		w.wirePub.Flush()
		if qos == 0 {
			continue
		}
		if id++; id == 0 {
			id = 1
		}
		ack = packet.AppendAck(ack[:0], packet.V5, packet.PUBACK, &packet.Ack{PacketID: id})
		for _, c := range subs {
			c.Feed(ack)
		}
	}
	b.StopTimer()
	if got := w.b.metrics.PublishSent.Load(); got != int64(b.N)*int64(receivers) {
		b.Fatalf("%d sent, want %d", got, b.N*receivers)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*receivers), "ns/delivery")
}

// BenchmarkPublish is one PUBLISH of 64 bytes at QoS 0 to one receiver, over 64
// topics in rotation: what authorization costs is the difference of the two.
func BenchmarkPublish(b *testing.B) {
	for _, rules := range []int{0, 1000} {
		b.Run(fmt.Sprintf("%d rules", rules), func(b *testing.B) {
			var p security.Policy = policyFunc(allowAll)
			if rules > 0 {
				p = benchRules(b, rules)
			}
			w := newBenchWorld(b, p, 1, 0)
			var frames [64][]byte
			for i := range frames {
				frames[i] = packet.AppendPublish(nil, packet.V5, &packet.PublishOut{
					Topic: fmt.Sprintf("bench/%d/value", i), Payload: make([]byte, 64), ExpiryAt: -1,
				})
			}
			for _, f := range frames { // the first decisions, and what loading has left behind
				w.pub.Feed(f)
			}
			runtime.GC()
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				w.pub.Feed(frames[i%len(frames)])
			}
		})
	}
}
