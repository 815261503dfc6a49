// Package storetest is a store for tests: it keeps items alone, and answers as late
// and as badly as a disk may.
package storetest

import (
	"errors"
	"slices"
	"sync"
	"time"

	"sallyport/store"
)

// ErrFailed is what a commit that was chosen to fail is completed with.
var ErrFailed = errors.New("the test store fails this commit")

// Options makes a Double.
type Options struct {
	// Delay is how long the commit with this number, counted from 0, takes; nil is no time.
	Delay func(n int) time.Duration
	// Fail chooses the commits that fail; nil chooses none.
	Fail func(n int, b *store.Batch) bool
}

// Double is a Store in memory whose commits complete one after the other, on a
// goroutine of its own, each after a delay, and some with an error.
type Double struct {
	*store.Memory
	opt Options

	mu      sync.Mutex // guards the fields below
	changed *sync.Cond
	pending []commit
	n       int
	closed  bool
	done    chan struct{}
}

type commit struct {
	n     int
	fail  bool
	items store.Batch
	done  func(error)
}

// New makes a Double and starts its goroutine, which Close ends.
func New(opt Options) *Double {
	d := &Double{Memory: store.NewMemory(), opt: opt, done: make(chan struct{})}
	d.changed = sync.NewCond(&d.mu)
	go d.run()
	return d
}

// Commit implements store.Store: done is called later, never on the caller's stack,
// except with ErrClosed.
func (d *Double) Commit(b *store.Batch, done func(error)) {
	if done == nil {
		done = func(error) {}
	}
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		done(store.ErrClosed)
		return
	}
	c := commit{n: d.n, done: done}
	if !b.Empty() {
		c.items.Ops = itemsOf(b.Ops)
	}
	c.fail = d.opt.Fail != nil && d.opt.Fail(c.n, b)
	d.n++
	d.pending = append(d.pending, c)
	d.changed.Signal()
	d.mu.Unlock()
}

// itemsOf is a copy of the changes of items.
func itemsOf(ops []store.Op) (list []store.Op) {
	for _, op := range ops {
		if op.Item != nil {
			item := *op.Item
			item.Value = slices.Clone(item.Value)
			op.Item = &item
			list = append(list, op)
		}
	}
	return list
}

// Commits is how many commits there were.
func (d *Double) Commits() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.n
}

func (d *Double) run() {
	defer close(d.done)
	for {
		d.mu.Lock()
		for len(d.pending) == 0 && !d.closed {
			d.changed.Wait()
		}
		if len(d.pending) == 0 {
			d.mu.Unlock()
			return
		}
		c := d.pending[0]
		d.pending = d.pending[1:]
		d.mu.Unlock()
		if d.opt.Delay != nil {
			if wait := d.opt.Delay(c.n); wait > 0 {
				<-time.After(wait)
			}
		}
		if c.fail {
			c.done(ErrFailed)
			continue
		}
		d.Memory.Commit(&c.items, nil)
		c.done(nil)
	}
}

// Close completes what is pending and ends the store.
func (d *Double) Close() error {
	d.mu.Lock()
	d.closed = true
	d.changed.Signal()
	d.mu.Unlock()
	<-d.done
	return d.Memory.Close()
}
