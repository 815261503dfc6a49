package broker

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sallyport/packet"
	"sallyport/security"
	"sallyport/store"
)

// BenchmarkScale is what a broker with n connections costs, each with a session,
// a keep alive and a subscription of its own, under a policy of 1,000 rules.
// docs/scaling.md says what its figures mean:
//
//	go test -run '^$' -bench Scale -benchtime 1x -timeout 1h ./broker
//
// A million takes some 6 GB of memory.
func BenchmarkScale(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for range b.N {
				scale(b, n)
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// city is a broker with many connections and a clock that stands still unless it
// is moved.
type city struct {
	*testing.B
	w     *benchWorld
	clock atomic.Int64 // nanoseconds since start
	start time.Time
	conns []*discard
	rand  *rand.Rand
}

func scale(b *testing.B, n int) {
	c := &city{B: b, start: time.Now(), conns: make([]*discard, n), rand: rand.New(rand.NewPCG(1, uint64(n)))}
	lis := &Listener{Name: "test", Limits: testLimits(), Auth: &door{}}
	c.w = &benchWorld{b: New(Options{
		Listeners: map[string]*Listener{"test": lis}, Store: store.NewMemory(), BufferBytes: 1 << 30,
		Gate: security.NewGate(&security.Ruleset{ByListener: map[string][]security.Policy{"test": {benchRules(b, 1000)}}}),
		Now:  func() time.Time { return c.start.Add(time.Duration(c.clock.Load())) },
		Tick: make(chan time.Time),
	})}
	c.w.pub, c.w.wirePub = c.w.open(b, "pub")

	c.each("connect", n, true, func(i int) {
		c.clock.Store(int64(i) * int64(time.Minute) / int64(n)) // so that the timers are not all due at once
		c.enter(i)
	})
	c.each("subscribe", n, true, func(i int) { churnSubscribe(c.conns[i].c, cityFilter(i)) })
	c.publishing(n)
	c.timers(n)
	c.each("retain", n, true, func(i int) { c.publish(fmt.Sprintf("bench/kept/%d", i), true) })
	c.each("retain_again", min(n, 100_000), false, func(int) { c.publish(fmt.Sprintf("bench/kept/%d", c.rand.IntN(n)), true) })
	c.replays(n)
	b.ReportMetric(per(1, func() { c.w.b.Enforce() })/1e6, "enforce:ms")
	b.ReportMetric(per(1, func() { c.w.b.Shutdown(time.Minute) })/1e6, "shutdown:ms")
	if left := c.w.b.metrics.Connections.Load(); left != 0 {
		b.Fatalf("%d connections are left", left)
	}
	if err := c.w.b.Close(); err != nil {
		b.Error(err)
	}
}

// spent is the CPU time that the process has used, its garbage collection
// included: others who use the machine hardly change it.
func spent() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// per is how many nanoseconds of CPU f took for each of n.
func per(n int, f func()) float64 {
	runtime.GC() // what was before is not f's
	at := spent()
	f()
	return float64(spent()-at) / float64(n)
}

// each reports what f costs for each of n: time, and the memory that stays if grows.
func (c *city) each(what string, n int, grows bool, f func(i int)) {
	before := int64(0)
	if grows {
		before = live()
	}
	c.ReportMetric(per(n, func() {
		for i := range n {
			f(i)
		}
	}), what+":ns")
	if grows {
		c.ReportMetric(float64(live()-before)/float64(n), what+":B")
	}
}

func cityFilter(i int) string { return fmt.Sprintf("bench/dev/%d/cmd", i) }

// enter connects client i, anew if it is connected.
func (c *city) enter(i int) {
	d := &discard{}
	conn, err := c.w.b.Open(d, Info{Listener: "test"})
	if err != nil {
		c.Fatal(err)
	}
	d.c = conn
	id := fmt.Sprintf("client-%d", i)
	d.feed(packet.AppendConnect(nil, &packet.Connect{
		Version: packet.V5, CleanStart: true, KeepAlive: 60, ClientID: id, HasUsername: true, Username: id,
	}))
	if !conn.accepted() {
		c.Fatalf("client %d is not connected", i)
	}
	c.conns[i] = d
}

func (c *city) publish(name string, retain bool) {
	c.w.pub.Feed(packet.AppendPublish(nil, packet.V5, &packet.PublishOut{Topic: name, Payload: make([]byte, 64), ExpiryAt: -1, Retain: retain}))
}

// publishing reports a PUBLISH to one of n: to 64 of them in turn, to anyone by
// chance, to the first 10,000 in turn, and the last while one of n subscribes
// again, unsubscribes or reconnects after each 1,000 messages.
func (c *city) publishing(n int) {
	const messages, few = 200_000, 10_000
	frames := make([][]byte, min(n, messages))
	for i := range frames {
		to := i
		if n > messages {
			to = c.rand.IntN(n)
		}
		if i < few {
			to = i
		}
		frames[i] = packet.AppendPublish(nil, packet.V5, &packet.PublishOut{Topic: cityFilter(to), Payload: make([]byte, 64), ExpiryAt: -1})
	}
	c.each("publish_64", messages, false, func(i int) { c.w.pub.Feed(frames[i%64]) })
	c.each("publish_any", messages, false, func(i int) { c.w.pub.Feed(frames[c.rand.IntN(len(frames))]) })
	some := frames[:min(few, len(frames))]
	for range 3 {
		for _, f := range some {
			c.w.pub.Feed(f)
		}
	}
	c.each("publish_10k", messages, false, func(i int) { c.w.pub.Feed(some[i%len(some)]) })
	changes := time.Duration(0)
	c.each("publish_churn", messages, false, func(i int) {
		c.w.pub.Feed(some[i%len(some)])
		if i%1000 == 999 {
			at := spent()
			c.change(i / 1000)
			changes += spent() - at
		}
	})
	c.ReportMetric(float64(changes)/(messages/1000), "change:ns")
}

// change is one of the three things that clients do to routes.
func (c *city) change(k int) {
	i := c.rand.IntN(len(c.conns))
	switch k % 3 {
	case 0:
		c.conns[i].c.Feed(packet.AppendUnsubscribe(nil, packet.V5, &packet.Unsubscribe{PacketID: 1, Filters: []string{cityFilter(i)}}))
	case 1:
		c.enter(i) // takes over, without the session
	}
	churnSubscribe(c.conns[i].c, cityFilter(i))
}

// timers reports what a keep alive that comes due costs, with the turns of the
// wheel between.
func (c *city) timers(n int) {
	b := c.w.b
	fired, total := 0, time.Duration(0)
	for at, heard := time.Minute, false; at < 160*time.Second; at += tick {
		c.clock.Store(int64(at))
		if !heard && at >= 65*time.Second { // everyone sends something, once
			for _, d := range c.conns {
				d.c.lastRead.Store(b.now())
			}
			heard = true
		}
		from := spent()
		due := b.lives.due(b.now())
		for _, conn := range due {
			conn.checkLife()
		}
		took := spent() - from
		total, fired = total+took, fired+len(due)
		if at >= 150*time.Second { // before anybody's time is over
			break
		}
	}
	if fired < n {
		c.Errorf("%d timers of %d were due", fired, n)
	}
	c.ReportMetric(float64(total)/float64(fired), "timer:ns")
}

// replays reports what retained messages cost one who subscribes: to one of n
// topics, and to all of them, for each.
func (c *city) replays(n int) {
	_, d := c.w.open(c.B, "reader")
	c.each("read_retained", min(n, 10_000), false, func(int) {
		churnSubscribe(d.c, fmt.Sprintf("bench/kept/%d", c.rand.IntN(n)))
	})
	d.c.Feed(packet.AppendDisconnect(nil, packet.V5, &packet.Disconnect{}))
	_, d = c.w.open(c.B, "reader of all")
	sent := &c.w.b.metrics.PublishSent
	before := sent.Load()
	c.ReportMetric(per(n, func() {
		for churnSubscribe(d.c, "bench/kept/#"); sent.Load()-before < int64(n); d.Flush() {
		}
	}), "read_all_retained:ns")
}

// BenchmarkContention is a PUBLISH of 64 bytes at QoS 0 and 1 by several
// goroutines at once, as many loops would: each to a receiver of its own, or at QoS
// 0 all to one.
func BenchmarkContention(b *testing.B) {
	for _, same := range []bool{false, true} {
		for qos := range byte(2) {
			if same && qos == 1 {
				continue // its window would be full
			}
			for _, workers := range []int{1, 2, 4, 8} {
				name := map[bool]string{false: "own receiver", true: "one receiver"}[same]
				b.Run(fmt.Sprintf("%s/QoS %d/%d", name, qos, workers), func(b *testing.B) { contend(b, same, qos, workers) })
			}
		}
	}
}

func contend(b *testing.B, same bool, qos byte, workers int) {
	w := newBenchWorld(b, benchRules(b, 1000), 0, 0)
	w.b.opt.BufferBytes = 1 << 30
	pubs, subs, frames := make([]*Conn, workers), make([]*Conn, workers), make([][]byte, workers)
	for i := range workers {
		to := i
		if same {
			to = 0
		}
		pubs[i], _ = w.open(b, fmt.Sprint("p", i))
		if to == i {
			subs[i], _ = w.open(b, fmt.Sprint("s", i))
			subs[i].Feed(packet.AppendSubscribe(nil, packet.V5, &packet.Subscribe{PacketID: 1, Filters: []packet.Subscription{{Filter: cityFilter(i), QoS: qos}}}))
		}
		frames[i] = packet.AppendPublish(nil, packet.V5, &packet.PublishOut{Topic: cityFilter(to), QoS: qos, PacketID: 1, Payload: make([]byte, 64), ExpiryAt: -1})
	}
	b.ReportAllocs()
	b.ResetTimer()
	began := spent()
	var done sync.WaitGroup
	for i := range workers {
		done.Go(func() {
			ack, id := make([]byte, 0, 8), uint16(0)
			for range b.N / workers {
				pubs[i].Feed(frames[i])
				if qos == 0 {
					continue
				}
				if id++; id == 0 {
					id = 1
				}
				subs[i].Feed(packet.AppendAck(ack[:0], packet.V5, packet.PUBACK, &packet.Ack{PacketID: id}))
			}
		})
	}
	done.Wait()
	b.ReportMetric(float64(spent()-began)/float64(b.N), "cpu-ns/op")
}
