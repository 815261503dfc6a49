package main

import (
	"context"
	"fmt"
	"os"
)

// memory measures the broker's memory while much is queued.
func memory(ctx context.Context, b *bench) error {
	const payload = 1024
	sessions, count := min(1000, b.scaled(1000)), b.scaled(1<<20)
	store := b.path("memory")
	v, err := b.serve(ctx, store, "")
	if err != nil {
		return err
	}
	defer v.stop()
	empty, _ := v.memory()
	r, err := b.load(ctx, v, "", "queues", "--publishers", "64", "--subscribers", fmt.Sprint(sessions), "--count", fmt.Sprint(count),
		"--payload", fmt.Sprint(payload), "--window", "16", "--settle", "5s")
	if err != nil {
		return err
	}
	_, most := v.memory()
	m := r.Measures
	mib := func(bytes float64) float64 { return bytes / (1 << 20) }
	b.say("memory: %d messages of %d bytes for %d sessions: %.0f MiB; the empty broker has %d MiB", count, payload, sessions, mib(float64(count*payload)), empty>>20)
	b.say("memory: above that (goal: 200 MiB): %+.0f MiB at most while they are queued, %+.0f MiB when they are, %+.0f MiB at most while %d clients drain; %+d MiB at most in all",
		mib(m["broker_rss_bytes_peak_growth_queueing"]), mib(m["broker_rss_bytes_growth_queued"]), mib(m["broker_rss_bytes_peak_growth_draining"]), sessions, (most-empty)>>20)
	b.say("memory: queued %.0f a second, drained %.0f a second; %.1f us of CPU for each message", m["queued_per_second"], r.PerSecond, m["broker_cpu_us_per_queued_and_drained_message"])
	v.stop()
	return os.RemoveAll(store)
}
