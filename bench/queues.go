package bench

import (
	"context"
	"errors"
	"fmt"

	"sallyport/packet"
)

// away is one session of the scenario queues.
type away struct {
	client int // its number among the clients, for the user's name
	of     int // its publisher
	topic  int // that publisher's, which is its own
}

// absent lists the sessions: they are dealt to the publishers.
func (r *run) absent() (pubs int, list []away) {
	pubs = min(r.Publishers, r.Subscribers, r.Count)
	for i := range r.Subscribers {
		list = append(list, away{client: pubs + i, of: i % pubs, topic: i / pubs})
	}
	return pubs, list
}

// queues lets Publishers fill the queues of Subscribers sessions that are away,
// each publisher those of sessions that hear no other, and then takes all of the
// sessions up at once.
func (r *run) queues(ctx context.Context) error {
	r.Rate = 0
	pubs, list := r.absent()
	l := newLoad(r, 1, histograms(1))
	if err := r.leave(ctx, list); err != nil {
		return err
	}
	defer r.discardAll(context.WithoutCancel(ctx), len(list), func(i int) *packet.Connect { return r.hello(list[i].client, "o", i, true) })
	if err := l.openQueuers(ctx, pubs, list); err != nil {
		return err
	}
	rep := r.report
	rep.Connections = len(list)
	r.Progress(fmt.Sprintf("queueing %d messages for %d sessions", r.Count, len(list)))
	r.settle(ctx)
	before := r.sample()
	peak := r.watchMemory(before)
	err := l.send(ctx, r.Count)
	grown := peak()
	if err != nil {
		return err
	}
	after := r.sample()
	rep.set("queued_per_second", float64(r.Count)/after.at.Sub(before.at).Seconds())
	rep.addCPU("queued_message", before, after, uint64(r.Count))
	r.settle(ctx)
	full := r.sample()
	if before.broker.known {
		rep.set("broker_rss_bytes_peak_growth_queueing", float64(grown))
		rep.set("broker_rss_bytes_growth_queued", float64(full.broker.rss-before.broker.rss))
	}
	r.Progress("taking up the sessions")
	peak = r.watchMemory(before)
	err = l.takeUp(ctx, list)
	grown = peak()
	if err != nil {
		return err
	}
	// What the broker did between the phases, and so does for its store, counts.
	if total, _, _, known := r.sample().broker.since(before.broker); known {
		rep.set("broker_cpu_us_per_queued_and_drained_message", float64(total.Microseconds())/float64(r.Count))
		rep.set("broker_rss_bytes_peak_growth_draining", float64(grown))
	}
	err = l.verdict()
	rep.Latency, rep.Rate = nil, 0 // the age of a queued message is no latency
	return err
}

// leave makes the sessions, whose clients go away again.
func (r *run) leave(ctx context.Context, list []away) error {
	r.Progress(fmt.Sprintf("making %d sessions", len(list)))
	return r.each(ctx, len(list), func(i int) error {
		a := list[i]
		c, err := r.open(ctx, r.hello(a.client, "o", i, false))
		if err != nil {
			return fmt.Errorf("connect subscriber %d: %w", i, err)
		}
		v := r.newReceiver(c, 0, nil, new(histogram))
		if err := v.subscribe(ctx, fmt.Sprintf("%s/q/%d/%0*d", r.prefix, a.of, topicDigits, a.topic)); err != nil {
			return err
		}
		c.awaitBye() // what is published before the broker has noticed isn't queued
		c.release()
		return nil
	})
}

// openQueuers connects the publishers.
func (l *load) openQueuers(ctx context.Context, pubs int, list []away) error {
	r := l.r
	l.pubs = make([]*publisher, pubs)
	return r.each(ctx, pubs, func(i int) error {
		c, err := r.open(ctx, r.hello(i, "p", i, true))
		if err != nil {
			return fmt.Errorf("connect publisher %d: %w", i, err)
		}
		p := r.newPublisher(c, uint32(i), fmt.Sprintf("%s/q/%d/", r.prefix, i), true, false)
		p.topics = uint64(shareOf(len(list), pubs, i))
		l.pubs[i] = p
		return nil
	})
}

// shareOf is how many of n things are dealt to number i of k.
func shareOf(n, k, i int) int { return (n + k - 1 - i) / k }

// takeUp connects the clients again and reads what waits for them.
func (l *load) takeUp(ctx context.Context, list []away) error {
	r := l.r
	s := l.begin()
	l.receivers = make([]*receiver, len(list))
	err := r.each(ctx, len(list), func(i int) error {
		a := list[i]
		c, err := r.open(ctx, r.hello(a.client, "o", i, false))
		if err != nil {
			return fmt.Errorf("connect subscriber %d again: %w", i, err)
		}
		if !c.ack.SessionPresent {
			return errors.New("the broker did not keep the session")
		}
		v := r.newReceiver(c, uint32(a.of), l.pubs[a.of:a.of+1], l.histograms[0])
		v.trackers[0] = tracker{share: uint64(a.topic), of: l.pubs[a.of].topics}
		l.receivers[i] = v
		return nil
	})
	if err != nil {
		return err
	}
	return l.drain(ctx, s)
}
