package broker

import (
	"fmt"
	"testing"

	"sallyport/packet"
)

// Ceilings of allocations for a message from its publisher's bytes to its
// receivers' output and back, with all acknowledgements, through gate, routes,
// counters and a driver: none at QoS 0, one for the message at QoS 1 and 2, however
// many receive it. The race detector makes sync.Pool forget at random, so under it
// only the order of magnitude is held; ./test runs this once without it.
func TestAMessageIsAllocatedOnceForAllReceivers(t *testing.T) {
	const batch = 64
	w := newBenchBed(t)
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		for qos := range byte(3) {
			for _, receivers := range []int{1, 100} {
				name := fmt.Sprintf("MQTT %v, QoS %d to %d", v, qos, receivers)
				p := w.pair(fmt.Sprintf("%v-%d-%d", v, qos, receivers), v, qos, batch, receivers)
				p.exchange()
				sent := w.b.metrics.PublishSent.Load()
				const runs = 50
				got := testing.AllocsPerRun(runs, p.exchange) / batch
				if n := w.b.metrics.PublishSent.Load() - sent; n != (runs+1)*batch*int64(receivers) {
					t.Fatalf("%s: %d messages sent, want %d", name, n, (runs+1)*batch*receivers)
				}
				// A pool may be emptied now and then: a buffer for a batch is no cost of a message.
				ceiling := min(float64(qos), 1) + 0.1
				if raceEnabled {
					ceiling += 10 + 10*float64(receivers)
				}
				if got > ceiling {
					t.Errorf("%s: %.2f allocations per message, want at most %.1f", name, got, ceiling)
				}
			}
		}
	}
}

// The same for messages that come one by one.
func TestASingleMessageIsAllocatedOnce(t *testing.T) {
	w := newBenchBed(t)
	for qos := range byte(3) {
		p := w.pair(fmt.Sprint(qos), packet.V5, qos, 1, 1)
		ceiling := min(float64(qos), 1)
		if raceEnabled {
			ceiling += 20
		}
		if got := testing.AllocsPerRun(1000, p.exchange); got > ceiling {
			t.Errorf("QoS %d: %.1f allocations, want at most %.0f", qos, got, ceiling)
		}
	}
}
