package bench

import (
	"context"
	"fmt"
	"time"
)

// filtersPerPacket is how many filters a SUBSCRIBE of the scenario holds.
const filtersPerPacket = 100

// subscriptions subscribes one connection to Count filters, times each
// SUBSCRIBE, then sends one message to each filter's topic.
func (r *run) subscriptions(ctx context.Context) error {
	r.Progress(fmt.Sprintf("subscribing to %d filters", r.Count))
	l, v, err := r.pair(ctx, "n", true)
	if err != nil {
		return err
	}
	h := new(histogram)
	usage, begin := r.proc.sample(), r.now()
	filters := make([]string, 0, filtersPerPacket)
	for i := range r.Count {
		filters = append(filters, fmt.Sprintf("%s/n/%0*d", r.prefix, topicDigits, i))
		if len(filters) < filtersPerPacket && i < r.Count-1 {
			continue
		}
		from := r.now()
		if err := v.subscribe(ctx, filters...); err != nil {
			return err
		}
		h.record(r.now() - from)
		filters = filters[:0]
	}
	after := r.proc.sample()
	seconds := time.Duration(r.now() - begin).Seconds()
	r.report.addMemory("rss_bytes_per_subscription", usage, after, r.Count)
	r.report.set("subscriptions_per_second", float64(r.Count)/seconds)
	r.report.set("subscribe_p50_us", float64(h.quantile(.5))/1e3)
	r.report.set("subscribe_p99_us", float64(h.quantile(.99))/1e3)
	l.pubs[0].topics = uint64(r.Count)
	r.Messages, r.Rate = r.Count, 0
	return l.measure(ctx)
}
