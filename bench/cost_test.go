package bench

import (
	"testing"

	"sallyport/packet"
)

// BenchmarkTake is what verifying one message costs, without system calls.
func BenchmarkTake(b *testing.B) {
	for _, qos := range []byte{0, 1} {
		b.Run([]string{"QoS0", "QoS1"}[qos], func(b *testing.B) {
			v, _ := listener(packet.V311, qos)
			tm := newTemplate(packet.V311, "demo/bench/12345678/42", false, qos, false, 64)
			v.pubs[0].t = tm
			const batch = 64
			var stream []byte
			for n := range uint64(batch) {
				stream = tm.append(stream, &stamp{run: 99, publisher: 3, sequence: n}, 1, 0)
			}
			for b.Loop() {
				v.trackers[0].next = 0 // the same messages again
				v.begin()
				if used, err := v.take(stream); err != nil || used != len(stream) {
					b.Fatal(used, err)
				}
				v.commit(func(*publisher) {})
				v.out = v.out[:0]
			}
			b.ReportMetric(float64(b.Elapsed())/float64(b.N)/batch, "ns/message")
			if v.trackers[0].duplicates+v.invalid.Load()+v.foreign.Load() > 0 {
				b.Fatal(verdicts(v))
			}
		})
	}
}

// BenchmarkFill is what making one message costs, without system calls.
func BenchmarkFill(b *testing.B) {
	tm := newTemplate(packet.V311, "demo/bench/12345678/42", false, 0, false, 64)
	const window = 64
	v, _ := listener(packet.V311, 0)
	p := &publisher{r: v.r, t: tm, window: window, fan: 1, limit: 1 << 63, topics: 1}
	p.due.Store(1 << 63)
	var out []byte
	for b.Loop() {
		out = p.fill(out[:0])
		p.delivered.Add(window)
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/window, "ns/message")
}
