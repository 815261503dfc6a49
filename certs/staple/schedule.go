package staple

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// schedule is a heap of entries that wait for their next request.
type schedule []*entry

func (q schedule) Len() int           { return len(q) }
func (q schedule) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q schedule) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].place, q[j].place = i, j
}
func (q *schedule) Push(x any) {
	e := x.(*entry)
	e.place = len(*q)
	*q = append(*q, e)
}
func (q *schedule) Pop() any {
	last := len(*q) - 1
	e := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	e.place = notQueued
	return e
}

// notQueued is the place of an entry whose request is under way, or that is gone.
const notQueued = -1

// pushLocked sets when e is due.
func (s *Stapler) pushLocked(e *entry, due time.Time) {
	e.due = due
	if e.place == notQueued {
		heap.Push(&s.queue, e)
	} else {
		heap.Fix(&s.queue, e.place)
	}
	s.signal()
}

func (s *Stapler) signal() {
	select {
	case s.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// jitter is how long a first request waits.
func (s *Stapler) jitter() time.Duration {
	if s.options.Jitter <= 0 {
		return 0
	}
	return rand.N(s.options.Jitter)
}

// run is the schedule's goroutine; Close ends it.
func (s *Stapler) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if next, any := s.begin(); any {
			timer.Reset(time.Until(next))
		} else {
			timer.Stop()
		}
		select {
		case <-s.wake:
		case <-timer.C:
		case <-s.ctx.Done():
			return
		}
	}
}

// begin starts the requests that are due and have a place, and returns when the
// next will be; none if only the end of another can make one possible.
func (s *Stapler) begin() (next time.Time, any bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for len(s.queue) > 0 && !s.closed {
		if s.running >= s.options.Parallel {
			return time.Time{}, false
		}
		e := s.queue[0]
		if e.due.After(now) {
			return e.due, true
		}
		heap.Pop(&s.queue)
		s.running++
		f := e.flightLocked()
		s.group.Go(func() { e.request(f) })
	}
	return time.Time{}, false
}

// release ends one use of e.
func (s *Stapler) release(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.users--; e.users == 0 && !e.gone {
		s.removeLocked(e)
	}
}

// removeLocked ends e: its request, its place in the schedule, its response.
func (s *Stapler) removeLocked(e *entry) {
	e.gone = true
	e.cancel()
	e.cached.Store(nil)
	if e.place != notQueued {
		heap.Remove(&s.queue, e.place)
		if e.flight != nil { // asked for and not begun
			e.landLocked(ErrClosed)
		}
	}
	delete(s.entries, e.id)
}
