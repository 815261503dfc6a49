package main

import (
	"context"
	"fmt"
	"os"
	"slices"
)

// neighbour measures short queues beside a long one.
func neighbour(ctx context.Context, b *bench) error {
	long := b.scaled(1_000_000)
	sides := []*side{{what: "alone"}, {what: fmt.Sprintf("beside a session with %d messages", long)}}
	for i, s := range sides {
		store := b.path(fmt.Sprintf("neighbour-%d", i))
		defer os.RemoveAll(store)
		if i == 1 {
			if err := fill(ctx, store, contents{sessions: 1, each: long, payload: 64}); err != nil {
				return err
			}
		}
		v, err := b.serve(ctx, store, "0")
		if err != nil {
			return err
		}
		defer v.stop()
		s.broker = v
	}
	sessions := min(1000, b.scaled(1000))
	for range b.runs { // in turn, so that a machine that slows down slows down both
		for _, s := range sides {
			r, err := b.load(ctx, s.broker, "1", "queues", "--publishers", "64", "--subscribers", fmt.Sprint(sessions), "--count", fmt.Sprint(b.scaled(400_000)))
			if err != nil {
				return err
			}
			s.queued = append(s.queued, r.Measures["queued_per_second"])
			s.drained = append(s.drained, r.PerSecond)
			s.cost = append(s.cost, r.Measures["broker_cpu_us_per_queued_and_drained_message"])
		}
	}
	for _, s := range sides {
		b.say("neighbour: %d short queues %s: queued %.0f a second, drained %.0f a second, %.1f us of CPU for each message", sessions, s.what, median(s.queued), median(s.drained), median(s.cost))
	}
	return nil
}

// side is one of the two brokers.
type side struct {
	what                  string
	broker                *broker
	queued, drained, cost []float64
}

func median[T float64 | int64](values []T) T {
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2]
}
