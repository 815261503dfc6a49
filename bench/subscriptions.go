package bench

import (
	"context"
	"fmt"
)

// filtersPerPacket is how many filters a SUBSCRIBE of the scenario holds.
const filtersPerPacket = 100

// subscriptions deals Count filters to Subscribers connections, times each
// SUBSCRIBE, then sends one message to each filter's topic.
func (r *run) subscriptions(ctx context.Context) error {
	connections := min(r.Subscribers, r.Count)
	r.Progress(fmt.Sprintf("subscribing to %d filters on %d connections", r.Count, connections))
	l, err := r.numbered(ctx, "n", connections, false)
	if err != nil {
		return err
	}
	rep := r.report
	rep.Connections, rep.Rate, rep.Corrected = connections+1, 0, false
	h := new(histogram)
	r.settle(ctx)
	before := r.sample()
	for i, v := range l.receivers {
		v.trackers[0] = tracker{share: uint64(i), of: uint64(connections)}
		if err := r.deal(ctx, v, i, connections, h); err != nil {
			return err
		}
	}
	after := r.sample()
	rep.set("subscriptions_per_second", float64(r.Count)/after.at.Sub(before.at).Seconds())
	rep.addCPU("subscription", before, after, uint64(r.Count))
	r.settle(ctx)
	rep.addMemory("rss_bytes_per_subscription", before, r.sample(), r.Count)
	rep.set("subscribe_p50_us", float64(h.quantile(.5))/1e3)
	rep.set("subscribe_p99_us", float64(h.quantile(.99))/1e3)
	l.pubs[0].fan = 1
	l.pubs[0].topics = uint64(r.Count)
	r.Messages, r.Rate = r.Count, 0
	return l.measure(ctx)
}

// deal subscribes v to every of-th filter, beginning with number share.
func (r *run) deal(ctx context.Context, v *receiver, share, of int, h *histogram) error {
	filters := make([]string, 0, filtersPerPacket)
	for n := share; n < r.Count; n += of {
		filters = append(filters, fmt.Sprintf("%s/n/%0*d", r.prefix, topicDigits, n))
		if len(filters) < filtersPerPacket && n+of < r.Count {
			continue
		}
		from := r.now()
		if err := v.subscribe(ctx, filters...); err != nil {
			return err
		}
		h.record(r.now() - from)
		filters = filters[:0]
	}
	return nil
}
