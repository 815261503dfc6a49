package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sallyport/packet"
)

// numbered opens one publisher to numbered topics under level and some
// receivers that have not subscribed.
func (r *run) numbered(ctx context.Context, level string, receivers int, retain bool) (*load, error) {
	l := newLoad(r, 1, histograms(receivers))
	l.receivers = make([]*receiver, receivers)
	c, err := r.open(ctx, r.hello(0, "p", 0, true))
	if err != nil {
		return nil, fmt.Errorf("connect the publisher: %w", err)
	}
	l.pubs = []*publisher{r.newPublisher(c, 0, r.prefix+"/"+level+"/", true, retain)}
	return l, r.each(ctx, receivers, func(i int) error {
		c, err := r.open(ctx, r.hello(1+i, "s", i, true))
		if err != nil {
			return fmt.Errorf("connect subscriber %d: %w", i, err)
		}
		l.receivers[i] = r.newReceiver(c, 0, l.pubs, l.histograms[i%len(l.histograms)])
		return nil
	})
}

// send publishes n messages, dealt to the publishers, and waits until they are
// acknowledged; at QoS 0, until the broker has answered a ping sent behind them.
func (l *load) send(ctx context.Context, n int) error {
	r := l.r
	l.timeAcks()
	for i, p := range l.pubs {
		p.limit, p.pings, p.stop = uint64(shareOf(n, len(l.pubs), i)), true, l.stop
	}
	looping, err := l.startLoops(ctx, r.now(), l.pubs, nil)
	if err != nil {
		return err
	}
	if !looping {
		r.report.Generator = "goroutines"
		for _, p := range l.pubs {
			r.goroutine("publisher", func() error { return p.publish(ctx) })
			r.goroutine("publisher", p.acknowledge)
		}
	}
	acked := func() (n uint64) {
		for _, p := range l.pubs {
			n += p.acked.Load()
		}
		return n
	}
	over := func() bool {
		return !slices.ContainsFunc(l.pubs, func(p *publisher) bool {
			return !p.ponged.Load() || p.t.idAt >= 0 && p.acked.Load() < p.limit
		})
	}
	err = r.until(ctx, over, func() uint64 { return acked() + l.sent() })
	if errors.Is(err, errStalled) {
		return fmt.Errorf("the broker acknowledged %d of %d messages", acked(), n)
	}
	return err
}

// retained stores Count retained messages, replays them to a new subscription
// and clears them.
func (r *run) retained(ctx context.Context) error {
	r.Rate = 0
	l, err := r.numbered(ctx, "r", 1, true)
	if err != nil {
		return err
	}
	v := l.receivers[0]
	r.Progress(fmt.Sprintf("storing %d retained messages", r.Count))
	r.settle(ctx)
	before := r.sample()
	if err := l.send(ctx, r.Count); err != nil {
		return err
	}
	after := r.sample()
	r.report.set("stored_per_second", float64(r.Count)/after.at.Sub(before.at).Seconds())
	r.report.addCPU("stored_message", before, after, uint64(r.Count))
	r.settle(ctx)
	r.report.addMemory("rss_bytes_per_retained_message", before, r.sample(), r.Count)
	r.report.set("topic_and_payload_bytes", float64(len(r.prefix)+len("/r/")+topicDigits+r.Payload))
	r.Progress("replaying them")
	v.trackers[0] = unordered(r.Count) // replays have no order among topics
	s := l.begin()
	if err := v.subscribe(ctx, r.prefix+"/r/+"); err != nil {
		return err
	}
	if err := l.drain(ctx, s); err != nil {
		return err
	}
	err = l.verdict()
	r.report.Latency, r.report.Rate = nil, 0 // the age of a retained message is no latency
	r.Progress("clearing them")
	return errors.Join(err, r.clear(context.WithoutCancel(ctx)))
}

// drain reads what is due to the receivers until all has come or nothing more does.
func (l *load) drain(ctx context.Context, s span) error {
	looping, err := l.startLoops(ctx, l.r.now(), nil, l.receivers)
	if err != nil {
		return err
	}
	if !looping {
		for _, v := range l.receivers {
			l.r.goroutine("subscriber", v.receive)
		}
	}
	err = l.r.until(ctx, func() bool { return l.delivered() >= l.sent() }, l.delivered)
	l.end(s)
	if errors.Is(err, errStalled) {
		return nil // what is missing is in the verdict
	}
	return err
}

// clear removes the retained messages of the run, in the order they were set.
func (r *run) clear(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	c, err := r.openOnce(ctx, 0)
	if err != nil {
		return fmt.Errorf("clear retained messages: %w", err)
	}
	defer c.bye()
	var out []byte
	for i := range r.Count {
		topic := fmt.Sprintf("%s/r/%0*d", r.prefix, topicDigits, i)
		out = packet.AppendPublish(out, r.Version, &packet.PublishOut{Topic: topic, Retain: true, ExpiryAt: -1})
		if len(out) < flushSize && i < r.Count-1 {
			continue
		}
		if _, err := c.Write(out); err != nil {
			return fmt.Errorf("clear retained messages: %w", err)
		}
		out = out[:0]
	}
	return c.ping(ctx) // answered behind them
}
