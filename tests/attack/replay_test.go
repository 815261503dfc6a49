package attack_test

import (
	"fmt"
	"sync"
	"testing"

	"sallyport/packet"
)

func TestScanningRetainedMessagesStallsNobody(t *testing.T) {
	s := siege(t, plain("", ""), freely)
	p := s.as(packet.V5, "mallory")
	const n = 60_000
	var batch []byte
	for i := range n {
		batch = append(batch, pub(packet.V5, fmt.Sprint("r/", i), "x", 0, true, 0)...)
	}
	p.send(batch)
	p.ping()
	// Everything retained is the peer's own and so is not for it: a scan brings
	// nothing that a full socket could slow down.
	p.allowed(0, "live")
	scan := packet.AppendSubscribe(nil, packet.V5, &packet.Subscribe{PacketID: 1, Filters: []packet.Subscription{{Filter: "r/#", NoLocal: true}}})
	w := s.as(packet.V5, "alice")
	w.publish("r/zzz", "the last one", 1, true)
	stop := make(chan struct{})
	var flow sync.WaitGroup
	flow.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if w.trySend(pub(packet.V5, "live", "x", 1, false, 1)) != nil {
				return
			}
			if _, _, err := w.read(); err != nil {
				return
			}
		}
	})
	passed := 0 // live messages between a SUBACK and the end of its replay
	for range 10 {
		p.send(scan)
		replaying := false
		for {
			h, body := p.next()
			if h.Type == packet.SUBACK {
				replaying = true
				continue
			}
			m := p.decode(h, body)
			if m.topic == "live" && replaying {
				passed++
			}
			if m.topic == "r/zzz" {
				break
			}
		}
	}
	close(stop)
	flow.Wait()
	if passed < 5 {
		t.Errorf("%d live messages passed during 10 scans of %d retained ones: publishers wait for a subscriber", passed, n)
	}
}
