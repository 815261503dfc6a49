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
	"sallyport/store/disk"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// outage is a disk whose power fails at one of its operations: what reached it by
// then is in after, and nothing comes back from it any more.
type outage struct {
	mem   *vfs.MemFS
	left  atomic.Int64 // operations until then
	after chan *vfs.MemFS
	at    time.Time // when it was; read after after
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
			o.at = time.Now()
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

// taking is the acknowledgement of a payload, when the publisher had it.
type taking struct {
	payload string
	at      time.Time
}

// actor is a client that keeps its own state as the standard says (MQTT 5.0, 4.3, 4.4).
type actor struct {
	*peer
	id      string
	topic   string // that it publishes to; empty: it subscribes
	made    int
	open    []*sending
	acked   []taking
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
				a.acked = append(a.acked, taking{a.open[at].payload, time.Now()})
			}
			a.open[at].received = true
			a.ack(packet.PUBREL, ack.PacketID)
		default: // PUBACK, PUBCOMP
			if e.h.Type == packet.PUBACK {
				a.acked = append(a.acked, taking{a.open[at].payload, time.Now()})
			}
			a.open = slices.Delete(a.open, at, at+1)
		}
	}
}

// TestPowerLossUnderTheWholeBroker cuts the power at random operations of the disk
// while clients publish and receive. What they were told before counts: with Interval
// but for the last interval, and with System only that the broker goes on.
func TestPowerLossUnderTheWholeBroker(t *testing.T) {
	for _, c := range []struct {
		name   string
		opt    disk.Options
		rounds int
	}{
		{"always", disk.Options{}, 40},
		{"always, encrypted", disk.Options{Key: []byte("the key of 32 bytes for the test")}, 16},
		{"interval", disk.Options{Durability: disk.Interval, Interval: 50 * time.Millisecond}, 24},
		{"os", disk.Options{Durability: disk.System}, 12},
	} {
		t.Run(c.name, func(t *testing.T) {
			if testing.Short() {
				c.rounds /= 4
			}
			judged := 0
			for seed := range c.rounds {
				synctest.Test(t, func(t *testing.T) { judged += powerLoss(t, uint64(seed), c.opt) })
			}
			if judged == 0 && c.opt.Durability != disk.System {
				t.Error("nothing was acknowledged that has to be there: this shows nothing")
			}
		})
	}
}

// powerLoss is how many acknowledgements counted.
func powerLoss(t *testing.T, seed uint64, opt disk.Options) (judged int) {
	rnd := rand.New(rand.NewPCG(seed, 9))
	o := &outage{mem: vfs.NewCrashableMem(), after: make(chan *vfs.MemFS, 1), over: make(chan struct{}), rnd: rand.New(rand.NewPCG(seed, 8))}
	o.left.Store(1 << 40)
	way{bubble: true, store: func() store.Store {
		opt.FS = o.fs()
		return openDiskWith(o.mem, opt)
	}}.play(t, nil, func(x *bed) {
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
			if opt.Durability != disk.Always {
				time.Sleep(opt.Interval / 20) // the disk does nothing else
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
		x.opt.Store = x.b.store.(*onDisk).on(after)
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
		switch opt.Durability {
		case disk.Always:
			judged = judge(t, seed, all, o.at.Add(time.Hour))
		case disk.Interval:
			judged = judge(t, seed, all, o.at.Add(-opt.Interval))
		}
	})
	return judged
}

// judge compares what was acknowledged before a time with what arrived.
func judge(t *testing.T, seed uint64, all []*actor, before time.Time) int {
	t.Helper()
	var acked []string
	whole := true // nothing that was acknowledged may be lost
	for _, a := range all {
		for _, m := range a.acked {
			if m.at.Before(before) {
				acked = append(acked, m.payload)
			} else {
				whole = false
			}
		}
		if len(a.open) > 0 {
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
			if n > 1 && m[5] == '2' && whole {
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
			if n < last[m[:6]] && whole {
				t.Errorf("seed %d: %s got %.20s after %d", seed, a.id, m, last[m[:6]])
			}
			last[m[:6]] = n
		}
	}
	return len(acked)
}
