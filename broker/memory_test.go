package broker

import (
	"fmt"
	"runtime"
	"testing"

	"sallyport/packet"
)

// liveHeap is the bytes alive after a collection.
func liveHeap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what finalizers and pools have let go
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// subscribeMany subscribes n clients to each filters of their own, a hundred to a
// packet, and returns the bytes that stay alive for each filter: tree,
// subscription, session and strings.
func subscribeMany(tb testing.TB, w *benchWorld, clients, each int) float64 {
	var conns []*Conn
	for i := range clients {
		c, _ := w.open(tb, fmt.Sprint("many", i))
		conns = append(conns, c)
	}
	before := liveHeap()
	for n := 0; n < clients*each; {
		for _, c := range conns {
			p := packet.Subscribe{PacketID: 1}
			for range 100 {
				p.Filters = append(p.Filters, packet.Subscription{Filter: fmt.Sprintf("bench/89abcdef/n/%08d", n)})
				n++
			}
			c.Feed(packet.AppendSubscribe(nil, packet.V5, &p))
		}
	}
	used := liveHeap() - before
	if got := w.b.tree.Len(); got != clients*each {
		tb.Fatalf("%d filters in the tree, want %d", got, clients*each)
	}
	return float64(used) / float64(clients*each)
}

// BenchmarkFilters is what 100,000 filters over 100 clients take each, and a
// PUBLISH to one of them after the other.
func BenchmarkFilters(b *testing.B) {
	w := newBenchWorld(b, benchRules(b, 1000), 0, 0)
	live := subscribeMany(b, w, 100, 1000)
	var frames [][]byte
	for i := range 100_000 {
		frames = append(frames, packet.AppendPublish(nil, packet.V5, &packet.PublishOut{
			Topic: fmt.Sprintf("bench/89abcdef/n/%08d", i), Payload: make([]byte, 64), ExpiryAt: -1,
		}))
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		w.pub.Feed(frames[i%len(frames)])
	}
	b.ReportMetric(live, "live-bytes/filter")
}
