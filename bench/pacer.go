package bench

import (
	"context"
	"time"
)

// pace lets n messages of each publisher in turn become due, rate a second in
// all, the first at from (nanoseconds on the run's clock): the k-th of
// publisher i at from + (k*len(pubs)+i)/rate.
func (r *run) pace(ctx context.Context, pubs []*publisher, from int64) {
	interval := float64(time.Second) / r.Rate
	n := uint64(len(pubs))
	for i, p := range pubs {
		p.due.Store(0)
		p.dueAt = func(k uint64) int64 { return from + int64(float64(k*n+uint64(i))*interval) }
	}
	r.goroutine("pacer", func() error {
		var total uint64 // due up to now, over all publishers
		for ctx.Err() == nil {
			now := r.now()
			if now >= from {
				fresh := uint64(float64(now-from)/interval) + 1
				// Publisher i has one more than its share while i < fresh mod n.
				for k := total; k < min(fresh, total+n); k++ {
					i := k % n
					pubs[i].due.Store((fresh + n - 1 - i) / n)
					pubs[i].notify()
				}
				total = fresh
			}
			next := from + int64(float64(total)*interval)
			pause(time.Duration(max(next-r.now(), int64(minPause))))
		}
		return nil
	})
}

const (
	// minPause bounds how often the pacer wakes; what falls due meanwhile
	// leaves together.
	minPause = 50 * time.Microsecond
	// maxPause bounds how long it doesn't notice the end of the run.
	maxPause = 20 * time.Millisecond
)
