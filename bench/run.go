package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// run is the state of one Run.
type run struct {
	Options
	id     uint64
	prefix string // TopicPrefix and the run's own level
	start  time.Time
	proc   *process // nil: not measured
	report *Report
	abort  context.CancelCauseFunc
	rest   []byte // pattern of the payloads

	secured secured

	// measureFrom is the time from which stamps count, in nanoseconds since start.
	measureFrom atomic.Int64

	// mu guards the fields below.
	mu     sync.Mutex
	conns  []*rawConn
	ending bool // connections close because the run does
	ends   []func()
	wait   sync.WaitGroup
}

// now is the time on the run's clock, in nanoseconds.
func (r *run) now() int64 { return int64(time.Since(r.start)) }

// keep closes c at the end of the run.
func (r *run) keep(c *rawConn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns = append(r.conns, c)
}

// goroutine runs f beside the scenario; its error ends the run.
func (r *run) goroutine(name string, f func() error) {
	r.wait.Go(func() {
		if err := f(); err != nil && !r.isEnding() {
			r.abort(fmt.Errorf("%s: %w", name, err))
		}
	})
}

func (r *run) isEnding() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ending
}

// closeAll ends connections and goroutines.
func (r *run) closeAll() {
	r.mu.Lock()
	r.ending = true
	conns := r.conns
	r.conns = nil
	r.mu.Unlock()
	for _, c := range conns {
		c.bye()
	}
	r.abort(nil)
	r.wait.Wait()
	r.mu.Lock()
	ends := r.ends
	r.ends = nil
	r.mu.Unlock()
	for _, f := range ends {
		f()
	}
}

// atEnd calls f when the run's goroutines have ended.
func (r *run) atEnd(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ends = append(r.ends, f)
}

// each calls f for 0..n-1 on Concurrency goroutines until one fails.
func (r *run) each(ctx context.Context, n int, f func(i int) error) error {
	return abreast(ctx, n, r.Concurrency, f)
}

// abreast calls f for 0..n-1 on width goroutines until one fails.
func abreast(ctx context.Context, n, width int, f func(i int) error) error {
	var next atomic.Int64
	var group sync.WaitGroup
	failed := make(chan error, 1)
	for range min(n, width) {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				if err := f(i); err != nil {
					next.Store(int64(n))
					select {
					case failed <- err:
					default: // another was first
					}
					return
				}
			}
		})
	}
	group.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return ctx.Err()
	}
}

var errStalled = errors.New("no progress")

// until waits for done to be true; errStalled when progress has not changed
// for the Stall time.
func (r *run) until(ctx context.Context, done func() bool, progress func() uint64) error {
	return until(ctx, r.Stall, done, progress)
}

func until(ctx context.Context, stall time.Duration, done func() bool, progress func() uint64) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	last, since := progress(), time.Now()
	for !done() {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		if p := progress(); p != last {
			last, since = p, time.Now()
		} else if time.Since(since) > stall {
			return errStalled
		}
	}
	return nil
}

// sleep waits for d.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
