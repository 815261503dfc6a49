package broker

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/packet"
	"sallyport/security"
)

// throng is a publisher with more receivers than a turn serves, and a turn such as a loop has.
type throng struct {
	*benchWorld
	t      *testing.T
	turn   turn
	policy security.Policy
	deny   atomic.Bool
	panics atomic.Bool
}

const throngSize = 12_000

func newThrong(t *testing.T, qos byte) *throng {
	w := &throng{t: t, turn: turn{bounded: true}}
	w.policy = policyFunc(func(q *security.Request) security.Effect {
		if w.panics.Load() {
			panic("test")
		}
		if w.deny.Load() && q.Action == security.Publish {
			return security.Deny
		}
		return security.Allow
	})
	w.benchWorld = newBenchWorld(t, w.policy, throngSize, qos)
	return w
}

// feed feeds c as a loop does, with little to spend.
func (w *throng) feed(c *Conn, p []byte) (more bool) {
	w.turn.now, w.turn.rest = w.b.now(), 1
	more = c.feed(&w.turn, p)
	w.turn.flush()
	return more
}

// goOn lets the publisher continue once and reports whether it takes input again.
func (w *throng) goOn() (more bool) {
	if !w.wirePub.resumed {
		w.t.Fatal("nobody asks for the publisher to go on")
	}
	w.wirePub.resumed = false
	w.turn.rest = 1
	more = w.pub.carryOn(&w.turn)
	w.turn.flush()
	return more
}

func (w *throng) sent() int64 { return w.b.metrics.PublishSent.Load() }

func publishBytes(qos byte, id uint16) []byte {
	return packet.AppendPublish(nil, packet.V5, &packet.PublishOut{Topic: "bench/1/value", QoS: qos, PacketID: id, Payload: []byte("m"), ExpiryAt: -1})
}

func TestAMessageForVeryManyIsServedInSeveralTurns(t *testing.T) {
	for qos := range byte(3) {
		w := newThrong(t, qos)
		other, _ := w.open(t, "other")
		others := w.b.metrics.PacketsSent.Load()
		two := append(publishBytes(qos, 1), publishBytes(qos, 2)...)
		if w.feed(w.pub, two) {
			t.Fatal("the publisher's input does not wait")
		}
		clear(two) // a loop reads others into it
		turns, first := 1, w.sent()
		if qos < 2 && (first == 0 || first >= throngSize) {
			t.Fatalf("QoS %d: %d sent in the first turn", qos, first)
		}
		if n := w.b.metrics.PacketsSent.Load() - first; n != others {
			t.Errorf("QoS %d: it is acknowledged before it was routed", qos)
		}
		if !w.feed(other, publishBytes(0, 0)[:0]) {
			t.Error("another connection waits too")
		}
		for ; !w.goOn(); turns++ {
			if turns > 100 {
				t.Fatal("it has no end")
			}
		}
		if got := w.sent(); got != 2*throngSize {
			t.Errorf("QoS %d: %d sent in %d turns, want %d", qos, got, turns, 2*throngSize)
		}
		if turns < 4 {
			t.Errorf("%d turns", turns)
		}
		if n := w.b.fans.Load(); n != 0 {
			t.Errorf("%d fan-outs are kept", n)
		}
	}
}

func TestAMessageReachesAllThoughItsPublisherGoes(t *testing.T) {
	for qos := range byte(3) {
		w := newThrong(t, qos)
		w.feed(w.pub, publishBytes(qos, 1))
		w.pub.Gone(nil)
		for deadline := time.Now().Add(10 * time.Second); w.sent() < throngSize && time.Now().Before(deadline); {
			runtime.Gosched()
		}
		if got := w.sent(); got != throngSize {
			t.Errorf("QoS %d: %d sent, want %d", qos, got, throngSize)
		}
	}
}

func TestAFanOutHeedsRulesThatChange(t *testing.T) {
	for qos := range byte(2) {
		w := newThrong(t, qos)
		w.feed(w.pub, publishBytes(qos, 1))
		before := w.sent()
		w.deny.Store(true)
		w.b.gate.Swap(&security.Ruleset{ByListener: map[string][]security.Policy{"test": {w.policy}}})
		w.b.Enforce()
		for !w.goOn() {
		}
		if got := w.sent(); got != before {
			t.Errorf("QoS %d: %d were sent after Enforce", qos, got-before)
		}
		if w.b.metrics.PublishDenied.Load() != 1 {
			t.Error("the refusal is not counted")
		}
	}
}

func TestFanOutsThatWaitAreBounded(t *testing.T) {
	w := newThrong(t, 0)
	w.b.fans.Store(fansKept)
	if !w.feed(w.pub, publishBytes(0, 0)) {
		t.Error("one more waits")
	}
	if got := w.sent(); got != throngSize {
		t.Errorf("%d sent, want %d", got, throngSize)
	}
	w.b.fans.Store(0)
}

func TestAFanOutThatPanicsCountsNoMore(t *testing.T) {
	w := newThrong(t, 0)
	w.feed(w.pub, publishBytes(0, 0))
	w.panics.Store(true)
	w.b.gate.Swap(&security.Ruleset{ByListener: map[string][]security.Policy{"test": {w.policy}}}) // so that they are asked again
	w.goOn()
	if n := w.b.fans.Load(); n != 0 {
		t.Errorf("%d fan-outs are kept", n)
	}
	w.panics.Store(false)
}

// BenchmarkFanOutToAHundredThousand is the longest that one turn takes beside the whole.
func BenchmarkFanOutToAHundredThousand(b *testing.B) {
	w := newBenchWorld(b, policyFunc(allowAll), 100_000, 0)
	tn := turn{bounded: true}
	longest := time.Duration(0)
	for range b.N {
		p := publishBytes(0, 0)
		for more := false; !more; {
			begin := time.Now()
			tn.now, tn.rest = w.b.now(), 16384
			if p != nil {
				more = w.pub.feed(&tn, p)
				p = nil
			} else {
				w.wirePub.resumed = false
				more = w.pub.carryOn(&tn)
			}
			tn.flush()
			longest = max(longest, time.Since(begin))
		}
	}
	b.ReportMetric(float64(longest.Microseconds()), "us-longest-turn")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100_000, "ns/delivery")
}
