package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sallyport/packet"
)

// offline queues Count messages for a session that is away, then takes it up.
func (r *run) offline(ctx context.Context) error {
	r.Rate = 0
	hello := func(clean bool) *packet.Connect { return r.hello(1, "o", 0, clean) }
	sc, err := r.open(ctx, hello(false))
	if err != nil {
		return fmt.Errorf("connect the subscriber: %w", err)
	}
	v := r.newReceiver(sc, 0, nil, new(histogram))
	if err := v.subscribe(ctx, r.prefix+"/q"); err != nil {
		return err
	}
	sc.awaitBye() // what is published before the broker has noticed isn't queued
	defer r.discard(context.WithoutCancel(ctx), hello(true))
	pc, err := r.open(ctx, r.hello(0, "p", 0, true))
	if err != nil {
		return fmt.Errorf("connect the publisher: %w", err)
	}
	p := r.newPublisher(pc, 0, r.prefix+"/q", false, false)
	l := newLoad(r, 1, histograms(1))
	l.pubs = []*publisher{p}
	r.Progress(fmt.Sprintf("queueing %d messages", r.Count))
	r.settle(ctx)
	before := r.sample()
	if err := l.send(ctx, r.Count); err != nil {
		return err
	}
	after := r.sample()
	r.report.set("queued_per_second", float64(r.Count)/after.at.Sub(before.at).Seconds())
	r.report.addCPU("queued_message", before, after, uint64(r.Count))
	r.settle(ctx)
	r.report.addMemory("rss_bytes_per_queued_message", before, r.sample(), r.Count)
	r.Progress("taking up the session")
	s := l.begin()
	if sc, err = r.open(ctx, hello(false)); err != nil {
		return fmt.Errorf("connect the subscriber again: %w", err)
	}
	if !sc.ack.SessionPresent {
		return errors.New("the broker did not keep the session")
	}
	v = r.newReceiver(sc, 0, l.pubs, l.histograms[0])
	l.receivers = []*receiver{v}
	if err := v.batch(); err != nil { // what came with the CONNACK
		return err
	}
	if err := l.drain(ctx, s); err != nil {
		return err
	}
	err = l.verdict()
	r.report.Latency, r.report.Rate = nil, 0 // the age of a queued message is no latency
	return err
}

// discardAll is discard for n sessions.
func (r *run) discardAll(ctx context.Context, n int, hello func(i int) *packet.Connect) {
	_ = r.each(ctx, n, func(i int) error { r.discard(ctx, hello(i)); return nil }) // nothing fails
}

// discard ends a kept session of the run; hello cleans. Failure leaves a session that expires.
func (r *run) discard(ctx context.Context, hello *packet.Connect) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	nc, err := r.Dial(ctx)
	if err != nil {
		return
	}
	c := &rawConn{Conn: nc, version: r.Version, limit: 64 << 10}
	defer c.Close()
	if c.handshake(ctx, hello) == nil {
		c.awaitBye()
	}
}
