package broker

import (
	"testing"

	"sallyport/packet"
)

// Ceilings of allocations for one PUBLISH from a publisher's bytes to its
// receivers' output, through gate, routes and driver. The race detector makes
// sync.Pool forget at random, so under it only the order of magnitude is held;
// ./test runs this once without it.
func TestRoutingAllocatesLittle(t *testing.T) {
	for _, tt := range []struct {
		name      string
		receivers int
		qos       byte
		ceiling   float64
	}{
		{"QoS 0 to one", 1, 0, 0},
		{"QoS 0 to a hundred", 100, 0, 8},
		{"QoS 1 to one", 1, 1, 5},
	} {
		w := newBenchWorld(t, benchPolicy(t), tt.receivers, tt.qos)
		frame := packet.AppendPublish(nil, packet.V5, &packet.PublishOut{Topic: "bench/1/value", QoS: tt.qos, PacketID: uint16(tt.qos), Payload: make([]byte, 64), ExpiryAt: -1})
		sub := w.b.reg.find("sub0").conn
		id := uint16(0)
		var ack []byte
		once := func() {
			w.pub.Feed(frame)
			w.wirePub.Flush()
			if tt.qos == 1 {
				id++
				ack = packet.AppendAck(ack[:0], packet.V5, packet.PUBACK, &packet.Ack{PacketID: id})
				sub.Feed(ack)
			}
		}
		ceiling := tt.ceiling
		if raceEnabled {
			ceiling += 10 + 10*float64(tt.receivers)
		}
		if got := testing.AllocsPerRun(1000, once); got > ceiling {
			t.Errorf("%s: %.1f allocations per message, want at most %.0f", tt.name, got, ceiling)
		}
	}
}
