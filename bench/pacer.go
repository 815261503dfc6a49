package bench

import (
	"context"
	"time"
)

// A schedule says when messages are due: rate a second in all, of each publisher
// in turn, so that the k-th of publisher i of n is due at from + (k*n+i)/rate.
type schedule struct {
	from     int64   // nanoseconds on the run's clock
	interval float64 // nanoseconds between two messages
	n        uint64  // publishers
	total    uint64  // messages that were due at the last look
}

// newSchedule lets nothing be due yet.
func (r *run) newSchedule(pubs []*publisher, from int64) *schedule {
	s := &schedule{from: from, interval: float64(time.Second) / r.Rate, n: uint64(len(pubs))}
	for i, p := range pubs {
		p.due.Store(0)
		p.dueAt = func(k uint64) int64 { return s.at(k*s.n + uint64(i)) }
	}
	return s
}

// at is when message number k of all is due.
func (s *schedule) at(k uint64) int64 { return s.from + int64(float64(k)*s.interval) }

// advance calls due with each publisher for which messages have become due by
// now, and how many of its messages are due in all. It returns when the next is.
func (s *schedule) advance(now int64, due func(i int, messages uint64)) (next int64) {
	if now < s.from {
		return s.from
	}
	fresh := uint64(float64(now-s.from)/s.interval) + 1
	// Publisher i has one more than its share while i < fresh mod n.
	for k := s.total; k < min(fresh, s.total+s.n); k++ {
		i := k % s.n
		due(int(i), (fresh+s.n-1-i)/s.n)
	}
	s.total = max(s.total, fresh)
	return s.at(s.total)
}

// pace lets messages become due as s says.
func (r *run) pace(ctx context.Context, pubs []*publisher, s *schedule) {
	r.goroutine("pacer", func() error {
		due := func(i int, messages uint64) {
			pubs[i].due.Store(messages)
			pubs[i].notify()
		}
		for ctx.Err() == nil {
			next := s.advance(r.now(), due)
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
