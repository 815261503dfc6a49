package broker

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/packet"
	"sallyport/store"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// outage is a disk whose power fails at one of its operations: what reached it by
// then is in after, and nothing comes back from it any more.
type outage struct {
	mem   *vfs.MemFS
	left  atomic.Int64 // operations until then
	after chan *vfs.MemFS
	over  chan struct{}
	rnd   *rand.Rand
}

func (o *outage) fs() vfs.FS {
	return errorfs.Wrap(o.mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileWrite, errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		default:
			return nil
		}
		switch left := o.left.Add(-1); {
		case left > 0:
			return nil
		case left == 0:
			o.after <- o.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: o.rnd.IntN(2) * o.rnd.IntN(100), RNG: o.rnd})
		}
		<-o.over // when nobody listens any more
		return nil
	}))
}

// sending is a message of a publisher until its exchange is over.
type sending struct {
	id       uint16
	payload  string
	qos      byte
	received bool // PUBREC came
}

// actor is a client that keeps its own state as the standard says (MQTT 5.0, 4.3, 4.4).
type actor struct {
	*peer
	id      string
	topic   string // that it publishes to; empty: it subscribes
	made    int
	open    []*sending
	acked   []string // payloads, taken by the broker
	have    []string // payloads that arrived
	pending map[uint16]bool
	away    bool
}

// tick sends what may be sent, up to a window.
func (a *actor) tick(rnd *rand.Rand) {
	for a.topic != "" && len(a.open) < 20 && rnd.IntN(8) > 0 {
		a.made++
		id := uint16(a.made)
		qos := byte(1 + a.made%2)
		s := &sending{id: id, qos: qos, payload: fmt.Sprintf("%s/%d/%d/%s", a.topic, qos, a.made, strings.Repeat("x", rnd.IntN(900)))}
		a.open = append(a.open, s)
		a.publish(s, false)
	}
}

func (a *actor) publish(s *sending, dup bool) {
	a.send(a.pub(packet.PublishOut{Topic: a.topic, Payload: []byte(s.payload), QoS: s.qos, PacketID: s.id, Dup: dup, Retain: s.qos == 1}))
}

// again sends again what a new connection has to (MQTT-4.4.0-1).
func (a *actor) again() {
	for _, s := range a.open {
		if s.received {
			a.ack(packet.PUBREL, s.id)
		} else {
			a.publish(s, true)
		}
	}
}

// hears handles what has arrived.
func (a *actor) hears() {
	for len(a.in) > 0 {
		e, ok := <-a.in
		if !ok {
			return
		}
		if e.h.Type == packet.PUBLISH {
			m := a.decode(e)
			if m.qos == 2 {
				if !a.pending[m.id] {
					a.have = append(a.have, m.payload)
				}
				a.pending[m.id] = true
				a.ack(packet.PUBREC, m.id)
				continue
			}
			a.have = append(a.have, m.payload)
			a.ack(packet.PUBACK, m.id)
			continue
		}
		ack, err := packet.DecodeAck(a.v, e.h.Type, e.h.Flags, e.body, packet.Limits{})
		if err != nil {
			a.t.Fatal(err)
		}
		at := slices.IndexFunc(a.open, func(s *sending) bool { return s.id == ack.PacketID })
		switch {
		case e.h.Type == packet.PUBREL:
			delete(a.pending, ack.PacketID)
			a.ack(packet.PUBCOMP, ack.PacketID)
		case at < 0:
		case e.h.Type == packet.PUBREC:
			if !a.open[at].received {
				a.acked = append(a.acked, a.open[at].payload)
			}
			a.open[at].received = true
			a.ack(packet.PUBREL, ack.PacketID)
		default: // PUBACK, PUBCOMP
			if e.h.Type == packet.PUBACK {
				a.acked = append(a.acked, a.open[at].payload)
			}
			a.open = slices.Delete(a.open, at, at+1)
		}
	}
}

// TestPowerLossUnderTheWholeBroker cuts the power at random operations of the disk
// while clients publish and receive. What they were told before counts.
func TestPowerLossUnderTheWholeBroker(t *testing.T) {
	rounds := 40
	if testing.Short() {
		rounds = 10
	}
	for seed := range rounds {
		synctest.Test(t, func(t *testing.T) { powerLoss(t, uint64(seed)) })
	}
}

func powerLoss(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 9))
	o := &outage{mem: vfs.NewCrashableMem(), after: make(chan *vfs.MemFS, 1), over: make(chan struct{}), rnd: rand.New(rand.NewPCG(seed, 8))}
	o.left.Store(1 << 40)
	way{bubble: true, store: func() store.Store { return openDisk(o.mem, o.fs()) }}.play(t, nil, func(x *bed) {
		var all []*actor
		for _, id := range []string{"p1", "p2"} {
			all = append(all, &actor{id: id, topic: "t/" + id, pending: map[uint16]bool{}})
		}
		for _, id := range []string{"s1", "s2", "g1", "g2"} {
			all = append(all, &actor{id: id, pending: map[uint16]bool{}})
		}
		connect := func(a *actor) {
			window := uint16(1 + rnd.IntN(5))
			a.peer = x.connect(packet.V5, a.id, kept(10000), receiveMax(window))
		}
		for _, a := range all {
			connect(a)
			switch a.id[0] {
			case 's':
				a.subscribe(filter("t/#", 2))
			case 'g':
				a.subscribe(filter("$share/g/t/#", 2))
			}
		}
		synctest.Wait()
		o.left.Store(1 + rnd.Int64N(400))
		var after *vfs.MemFS
		for after == nil {
			for _, a := range all {
				if !a.away {
					a.hears()
					a.tick(rnd)
				}
				// And its connection may be lost as well, for a while.
				if !a.away && rnd.IntN(30) == 0 {
					_ = a.conn.Close()
					synctest.Wait()
					a.hears()
					a.away = true
				}
				if a.away && rnd.IntN(2+10*len(a.id)*int(a.id[0]&1)) == 0 && len(o.after) == 0 {
					a.away = false
					a.peer = x.open(packet.V5)
					a.sendConnect(a.id, kept(10000))
					if synctest.Wait(); len(a.in) > 0 { // else the power has failed
						a.connack()
						a.again()
					}
				}
			}
			if rnd.IntN(3) == 0 {
				synctest.Wait()
			}
			select {
			case after = <-o.after:
			default:
			}
		}
		synctest.Wait()
		for _, a := range all {
			if !a.away {
				a.hears() // what was sent before the end
			}
		}
		for _, p := range x.peers {
			_ = p.conn.Close() // what comes now nobody hears
		}
		close(o.over)
		x.leaveAll()
		if err := x.b.Close(); err != nil {
			t.Fatal(err)
		}
		x.opt.Store = openDisk(after, after)
		x.b = New(x.opt)
		for _, a := range all {
			connect(a)
			a.again()
		}
		for quiet := 0; quiet < 5; {
			time.Sleep(time.Second)
			synctest.Wait()
			quiet++
			for _, a := range all {
				if len(a.in) > 0 {
					quiet = 0
				}
				a.hears()
			}
		}
		judge(t, seed, all)
	})
}

// judge compares what was acknowledged with what arrived.
func judge(t *testing.T, seed uint64, all []*actor) {
	t.Helper()
	var acked []string
	for _, a := range all {
		if acked = append(acked, a.acked...); len(a.open) > 0 {
			t.Errorf("seed %d: %s: %d exchanges are not over", seed, a.id, len(a.open))
		}
	}
	if testing.Verbose() {
		t.Logf("seed %d: %d acknowledged", seed, len(acked))
	}
	count := func(who string) map[string]int {
		n := map[string]int{}
		for _, a := range all {
			if a.id[:len(who)] == who {
				for _, m := range a.have {
					n[m]++
				}
			}
		}
		return n
	}
	for _, who := range []string{"s1", "s2", "g"} {
		got := count(who)
		for _, m := range acked {
			if got[m] == 0 {
				t.Errorf("seed %d: %s never got %.20s", seed, who, m)
			}
		}
		for m, n := range got {
			if n > 1 && m[5] == '2' {
				t.Errorf("seed %d: %s got %.20s %d times", seed, who, m, n)
			}
		}
	}
	for _, a := range all {
		last := map[string]int{}
		seen := map[string]bool{}
		for _, m := range a.have {
			if seen[m] || a.id[0] != 's' {
				continue
			}
			seen[m] = true
			var n int
			if _, err := fmt.Sscanf(m[7:], "%d", &n); err != nil {
				t.Fatal(err)
			}
			if n < last[m[:6]] {
				t.Errorf("seed %d: %s got %.20s after %d", seed, a.id, m, last[m[:6]])
			}
			last[m[:6]] = n
		}
	}
}
