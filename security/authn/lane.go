package authn

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/internal/turns"
	"sallyport/security"
)

// LaneOptions bounds what asking one member may take.
type LaneOptions struct {
	Name string
	// Pool is who asks, the bound and the queue: one that several share, for work of this
	// process, or, with Workers, one of the lane's own, for what waits for others.
	Pool    *Pool
	Workers int // asked at the same time, if Pool is nil; 1 to 1024
	Queue   int // how many may wait then; at least 1
	// Turns is where the member's work has its turn among all that is computed for
	// newcomers; nil where it mostly waits for others, or computes on threads of its own.
	Turns *turns.Turns
	// Timeout is how long one answer may take, the wait in the queue included; 0: for
	// ever. A member that gives none in time counts as unavailable. Where the pool is
	// shared, or there are turns, the time goes into the work of this process, and who
	// waits too long is told to come again: else a fleet that connects at once would have
	// a password file count as down, and lock itself and all others out.
	Timeout time.Duration
	// After Failures answers in a row that did not come, the member is not asked for
	// Pause; then one client tries whether it is back, and each time that it is not the
	// pause doubles, up to LongestPause. 0 is 5 failures, 1 s and 30 s.
	Failures            int
	Pause, LongestPause time.Duration
	// Changed is told when the member is not asked any more, and when it is again; it may not block.
	Changed func(name string, down bool, err error)
	Now     func() time.Time // nil is time.Now
}

// Lane is the way to one member: who slows it down slows down nobody who is on
// another. It is safe for concurrent use.
type Lane struct {
	opts LaneOptions
	pool *Pool
	own  bool

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	counts laneCounts

	mu       sync.Mutex // guards the fields below
	failures int        // in a row
	pause    time.Duration
	until    time.Time // not asked before; zero: it is asked
	trying   bool      // one client is trying whether it is back
	last     error     // why it was not available
}

type laneCounts struct {
	accepted, refused, notMine, failed, late, busy, spared atomic.Uint64
	took                                                   [len(laneBuckets) + 1]atomic.Uint64
	nanos                                                  atomic.Uint64
}

// laneBuckets are the upper bounds of the classes that answers are counted in by the time they took.
var laneBuckets = [...]time.Duration{
	time.Millisecond, 5 * time.Millisecond, 25 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond, 2 * time.Second, 10 * time.Second,
}

// LaneStats is what became of the questions to a member.
type LaneStats struct {
	Name     string
	Accepted uint64
	Refused  uint64
	NotMine  uint64
	Failed   uint64 // it could not tell, late ones included
	Late     uint64 // no answer in time
	Busy     uint64 // found no place in the queue
	Spared   uint64 // not asked, since it was down
	Seconds  float64
	// Took counts answers by time: at most Bounds[i], and in the last one all that took longer.
	Bounds []time.Duration
	Took   []uint64
	Queued int // in a queue of its own
	Down   bool
	Error  string // why it was not available when that was last so; empty: it always was
}

var errDown = errors.New("it did not answer lately, and is left alone for a while")

// NewLane makes a lane. Close ends one with a pool of its own.
func NewLane(o LaneOptions) (*Lane, error) {
	setDefault(&o.Failures, 5)
	setDefault(&o.Pause, time.Second)
	setDefault(&o.LongestPause, 30*time.Second)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Failures < 1 || o.Pause <= 0 || o.LongestPause < o.Pause || o.Timeout < 0 {
		return nil, fmt.Errorf("authn: bounds of %s can't be", o.Name)
	}
	l := &Lane{opts: o, pool: o.Pool}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	if l.pool == nil {
		pool, err := NewPool(PoolOptions{Workers: o.Workers, Queue: o.Queue, Memory: int64(o.Workers) * leastMemory})
		if err != nil {
			return nil, err
		}
		l.pool, l.own = pool, true
	}
	return l, nil
}

// Close tells the member that its answers are not waited for any more, and drops who
// waits in a queue of the lane's own. It does not wait for answers that are under way: a
// member that heeds no context must not hold up a reload.
func (l *Lane) Close() {
	l.cancel()
	if l.own {
		l.pool.shut()
	}
}

// Stats is what happened so far.
func (l *Lane) Stats() LaneStats {
	c := &l.counts
	s := LaneStats{
		Name: l.opts.Name, Accepted: c.accepted.Load(), Refused: c.refused.Load(), NotMine: c.notMine.Load(),
		Failed: c.failed.Load(), Late: c.late.Load(), Busy: c.busy.Load(), Spared: c.spared.Load(),
		Seconds: float64(c.nanos.Load()) / 1e9, Bounds: laneBuckets[:],
	}
	for i := range c.took {
		s.Took = append(s.Took, c.took[i].Load())
	}
	if l.own {
		s.Queued = l.pool.Queued()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s.Down = !l.until.IsZero()
	if l.last != nil {
		s.Error = l.last.Error()
	}
	return s
}

// open reports whether the member may be asked now; not after it failed too often.
func (l *Lane) open() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.until.IsZero() {
		return nil
	}
	if l.trying || l.opts.Now().Before(l.until) {
		l.counts.spared.Add(1)
		return &Unavailable{Member: l.opts.Name, Err: errDown}
	}
	l.trying = true
	return nil
}

// answered counts an answer that took some time, and judges the member by it. One that
// took none asked nobody, and says nothing of whether the member is there. err is of
// verdictOf.
func (l *Lane) answered(err error, took time.Duration) {
	c := &l.counts
	var refused *Refused
	step, onTheWay := err.(*spoken)
	if onTheWay {
		err = step.as
	}
	switch {
	case err == nil && onTheWay: // it says nothing of the client yet
	case err == nil:
		c.accepted.Add(1)
	case errors.Is(err, ErrNotMine):
		c.notMine.Add(1)
	case errors.As(err, &refused):
		c.refused.Add(1)
	case errors.Is(err, ErrUnavailable):
		c.failed.Add(1)
		if errors.Is(err, errLate) {
			c.late.Add(1)
		}
	default: // busy, canceled, closed: it says nothing of the member
		if errors.Is(err, ErrBusy) {
			c.busy.Add(1)
		}
		l.judge(nil, false)
		return
	}
	i := 0
	for i < len(laneBuckets) && took > laneBuckets[i] {
		i++
	}
	c.took[i].Add(1)
	c.nanos.Add(uint64(max(took, 0)))
	if took > 0 {
		l.judge(err, true)
	}
}

// judge opens and closes the way after an answer; without one who tried leaves it as it was.
func (l *Lane) judge(err error, told bool) {
	l.mu.Lock()
	tried := l.trying
	l.trying = false
	var changed, down bool
	switch {
	case !told:
	case errors.Is(err, ErrUnavailable):
		l.last = reasonOf(err)
		l.failures++
		if tried || l.until.IsZero() && l.failures >= l.opts.Failures {
			changed, down = l.until.IsZero(), true
			l.pause = min(max(2*l.pause, l.opts.Pause), l.opts.LongestPause)
			// A little more or less, so that several brokers don't knock together.
			l.until = l.opts.Now().Add(l.pause*3/4 + rand.N(l.pause/2+1))
		}
	case l.until.IsZero() || tried:
		changed = !l.until.IsZero()
		l.failures, l.pause, l.until = 0, 0, time.Time{}
	}
	l.mu.Unlock()
	if changed && l.opts.Changed != nil {
		l.opts.Changed(l.opts.Name, down, reasonOf(err))
	}
}

// reasonOf is what stands behind an Unavailable.
func reasonOf(err error) error {
	if u, ok := errors.AsType[*Unavailable](err); ok {
		return u.Err
	}
	return err
}

// ask asks m on the caller's goroutine, as long as ctx lasts. It counts nothing.
func (m *Member) ask(ctx context.Context, cr *Credentials) (*security.Principal, error) {
	p, err := m.Authenticate(ctx, cr)
	if err != nil {
		return nil, verdictOf(m.Name(), err)
	}
	return p, nil
}

// compute runs work with a turn, where the lane has them.
func (l *Lane) compute(network netip.Prefix, work func() error) (err error) {
	if l.opts.Turns == nil {
		return work()
	}
	l.opts.Turns.Do(network, func() { err = work() })
	return err
}

// run has work done by the lane's pool, within its time, and calls done once with
// work's error, which is of verdictOf, and the time that it took: from whichever
// goroutine comes to it. After a timeout work may still be running, and what it
// writes is its own.
func (l *Lane) run(ctx context.Context, network netip.Prefix, work func(context.Context) error, done func(err error, took time.Duration)) {
	l.runWithin(ctx, l.opts.Timeout, network, work, done)
}

// runWithin is run within another time than the lane's; 0 is for ever.
func (l *Lane) runWithin(ctx context.Context, within time.Duration, network netip.Prefix, work func(context.Context) error, done func(err error, took time.Duration)) {
	began := l.opts.Now()
	var told atomic.Bool
	ctx, cancel := context.WithCancel(ctx)
	release := context.AfterFunc(l.ctx, cancel)
	var timer *time.Timer
	finish := func(err error) {
		if !told.CompareAndSwap(false, true) {
			return
		}
		cancel()
		release()
		if timer != nil {
			timer.Stop()
		}
		took := max(l.opts.Now().Sub(began), 1)
		l.answered(err, took)
		done(err, took)
	}
	var started sync.Mutex // until timer is set
	started.Lock()
	if within > 0 {
		timer = time.AfterFunc(within, func() {
			started.Lock()
			defer started.Unlock()
			if !l.own || l.opts.Turns != nil {
				finish(ErrBusy)
				return
			}
			finish(&Unavailable{Member: l.opts.Name, Err: errLate})
		})
	}
	started.Unlock()
	job := &Job{
		Run: func() {
			if told.Load() {
				return // nobody waits any more
			}
			finish(l.compute(network, func() error {
				if told.Load() {
					return ErrCanceled // in the meantime
				}
				return work(ctx)
			}))
		},
		Drop: finish,
	}
	if err := l.pool.Submit(network, job); err != nil {
		finish(err)
	}
}
