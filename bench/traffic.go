package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"sallyport/packet"
)

// maxHistograms bounds the histograms of a run: receivers share them.
const maxHistograms = 64

// traffic runs p2p, fan-in and fan-out: groups of publishers that all of the
// group's receivers hear.
func (r *run) traffic(ctx context.Context) error {
	groups, pubs, subs := 1, 1, 1
	switch r.Scenario {
	case P2P:
		groups = r.Pairs
	case FanIn:
		pubs = r.Publishers
	case FanOut:
		subs = r.Subscribers
	}
	before := r.sample()
	l := newLoad(r, uint64(subs), histograms(groups*subs))
	if r.Kept {
		defer r.discardAll(context.WithoutCancel(ctx), groups*subs, func(i int) *packet.Connect { return r.hello(groups*pubs+i, "s", i, true) })
	}
	if err := l.open(ctx, groups, pubs, subs); err != nil {
		return err
	}
	if r.Kept {
		l.timeAcks()
	}
	connections := groups * (pubs + subs)
	r.report.Connections = connections
	if connections >= 100 { // of fewer, the growth of memory tells nothing
		r.report.addMemory("rss_bytes_per_connection", before, r.sample(), connections)
	}
	return l.measure(ctx)
}

func histograms(receivers int) []*histogram {
	h := make([]*histogram, min(receivers, maxHistograms))
	for i := range h {
		h[i] = new(histogram)
	}
	return h
}

// load is publishers and receivers under way together.
type load struct {
	r          *run
	fan        uint64 // receivers of each message
	pubs       []*publisher
	receivers  []*receiver
	histograms []*histogram
	acks       *histogram // from sending to the end of the exchange; nil: not timed

	stop       chan struct{} // closed: publishers send no more
	stopOnce   sync.Once
	publishing sync.WaitGroup // publishers, or loops of them, that may yet send
	wakeUps    []func()       // wake who doesn't wait for stop
}

func newLoad(r *run, fan uint64, h []*histogram) *load {
	return &load{r: r, fan: fan, histograms: h, stop: make(chan struct{})}
}

// open connects everybody. Subscriptions stand before the first message.
func (l *load) open(ctx context.Context, groups, pubs, subs int) error {
	r := l.r
	r.Progress(fmt.Sprintf("connecting %d publishers and %d subscribers", groups*pubs, groups*subs))
	l.pubs = make([]*publisher, groups*pubs)
	l.receivers = make([]*receiver, groups*subs)
	err := r.each(ctx, groups*pubs, func(i int) error {
		c, err := r.open(ctx, r.hello(i, "p", i, true))
		if err != nil {
			return fmt.Errorf("connect publisher %d: %w", i, err)
		}
		topic := fmt.Sprintf("%s/%d", r.prefix, i/pubs)
		if r.Topics > 1 {
			topic += "/"
		}
		p := r.newPublisher(c, uint32(i), topic, r.Topics > 1, false)
		p.topics, p.fresh = uint64(r.Topics), uint64(r.Fresh)
		p.fan = l.fan
		l.pubs[i] = p
		return nil
	})
	if err != nil {
		return err
	}
	return r.each(ctx, groups*subs, func(i int) error {
		group := i / subs
		c, err := r.open(ctx, r.hello(groups*pubs+i, "s", i, !r.Kept))
		if err != nil {
			return fmt.Errorf("connect subscriber %d: %w", i, err)
		}
		v := r.newReceiver(c, uint32(group*pubs), l.pubs[group*pubs:(group+1)*pubs], l.histograms[i%len(l.histograms)])
		l.receivers[i] = v
		filter := fmt.Sprintf("%s/%d", r.prefix, group)
		if r.Topics > 1 {
			filter += "/+"
		}
		return v.subscribe(ctx, filter)
	})
}

// measure runs the load: warm-up, measurement, drain, verdict.
func (l *load) measure(ctx context.Context) error {
	r := l.r
	warmup := r.Warmup
	if r.Messages > 0 {
		warmup = 0
	}
	beside, err := r.startChurn(ctx, len(l.pubs)+len(l.receivers))
	if err != nil {
		return err
	}
	begin := r.now()
	r.measureFrom.Store(begin + int64(warmup))
	for _, p := range l.pubs {
		p.stop = l.stop
		if r.Messages > 0 {
			p.limit = uint64(r.Messages)
		}
	}
	span := l.begin()
	if looping, err := l.startLoops(ctx, begin, l.pubs, l.receivers); err != nil {
		return err
	} else if !looping {
		r.report.Generator = "goroutines"
		l.startGoroutines(ctx, begin)
	}
	if warmup > 0 {
		if err := sleep(ctx, warmup); err != nil {
			return err
		}
		span = l.begin()
	}
	if err := l.awaitSending(ctx); err != nil {
		return err
	}
	if r.Messages == 0 {
		l.end(span)
	}
	drained := r.until(ctx, func() bool { return l.delivered() >= l.sent()*l.fan && l.acked() }, l.delivered)
	if drained != nil && !errors.Is(drained, errStalled) {
		return drained
	}
	if r.Messages > 0 {
		l.end(span)
	}
	beside.end()
	return l.verdict()
}

// startGoroutines serves the connections with goroutines over net.Conn: one
// that reads each, and one for each publisher that writes.
func (l *load) startGoroutines(ctx context.Context, begin int64) {
	r := l.r
	if r.Rate > 0 {
		r.pace(ctx, l.pubs, r.newSchedule(l.pubs, begin))
	}
	for _, v := range l.receivers {
		r.goroutine("subscriber", v.receive)
	}
	for _, p := range l.pubs {
		r.goroutine("publisher", p.acknowledge)
		l.publishing.Add(1)
		r.goroutine("publisher", func() error { defer l.publishing.Done(); return p.publish(ctx) })
	}
}

// awaitSending returns when all publishers have stopped.
func (l *load) awaitSending(ctx context.Context) error {
	r := l.r
	finished := make(chan struct{})
	go func() { l.publishing.Wait(); close(finished) }() // ends with the publishers
	if r.Messages == 0 {
		r.Progress(fmt.Sprintf("measuring for %v", r.Duration))
		if err := sleep(ctx, r.Duration); err != nil {
			return err
		}
		l.stopSending()
	} else {
		r.Progress(fmt.Sprintf("sending %d messages each", r.Messages))
	}
	progress := func() uint64 { return l.sent() + l.delivered() }
	closed := func() bool {
		select {
		case <-finished:
			return true
		default:
			return false
		}
	}
	err := r.until(ctx, closed, progress)
	if errors.Is(err, errStalled) {
		// The window stays full because something was lost: what was sent counts.
		l.stopSending()
		return r.until(ctx, closed, progress)
	}
	return err
}

// stopSending asks the publishers to send no more.
func (l *load) stopSending() {
	l.stopOnce.Do(func() { close(l.stop) })
	for _, wake := range l.wakeUps {
		wake()
	}
}

func (l *load) sent() (n uint64) {
	for _, p := range l.pubs {
		n += p.sent.Load()
	}
	return n
}

func (l *load) delivered() (n uint64) {
	for _, v := range l.receivers {
		n += v.got.Load()
	}
	return n
}

// timeAcks measures how long acknowledgements take.
func (l *load) timeAcks() {
	if l.r.QoS == 0 {
		return
	}
	l.acks = new(histogram)
	for _, p := range l.pubs {
		p.acks, p.sentAt = l.acks, make([]int64, p.window)
	}
}

// acked reports whether every message has been acknowledged.
func (l *load) acked() bool {
	for _, p := range l.pubs {
		if p.t.idAt >= 0 && p.acked.Load() < p.sent.Load() {
			return false
		}
	}
	return true
}

// span is the start of a measurement.
type span struct {
	sent, delivered uint64
	cost            cost
}

func (l *load) begin() span {
	return span{sent: l.sent(), delivered: l.delivered(), cost: l.r.sample()}
}

// end reports rates and costs since s.
func (l *load) end(s span) {
	rep := l.r.report
	now := l.r.sample()
	seconds := now.at.Sub(s.cost.at).Seconds()
	delivered := l.delivered() - s.delivered
	rep.Seconds = seconds
	rep.SentPerSecond = float64(l.sent()-s.sent) / seconds
	rep.PerSecond = float64(delivered) / seconds
	rep.addCPU("message", s.cost, now, delivered)
}

// verdict closes the connections and counts what was wrong.
func (l *load) verdict() error {
	l.r.closeAll() // after it, nobody writes to trackers and histograms
	rep := l.r.report
	rep.Sent, rep.Delivered = l.sent(), l.delivered()
	rep.Expected = rep.Sent * l.fan
	for _, v := range l.receivers {
		for i := range v.trackers {
			t := &v.trackers[i]
			rep.Lost += t.lost(v.pubs[i].sent.Load())
			rep.Duplicated += t.duplicates
			rep.Misordered += t.misordered
			rep.Invalid += t.misrouted
		}
		rep.Foreign += v.foreign.Load()
		rep.Invalid += v.invalid.Load()
	}
	for _, p := range l.pubs {
		rep.Refused += p.refused.Load()
	}
	all := new(histogram)
	for _, h := range l.histograms {
		all.merge(h)
	}
	rep.Latency = all.latency()
	if l.acks != nil && l.acks.total > 0 {
		rep.set("acknowledged_p50_us", float64(l.acks.quantile(.5))/1e3)
		rep.set("acknowledged_p99_us", float64(l.acks.quantile(.99))/1e3)
	}
	return nil
}
