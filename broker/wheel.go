package broker

import (
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

// tick is the resolution of every timer: keep alive, expiry, delays.
const tick = 100 * time.Millisecond

const wheelSlots = 1024

// timer is an entry of a wheel of Ts, which hold one each. It costs three words,
// since every connection has one.
type timer[T any] struct {
	prev, next *T
	at         atomic.Int64 // the tick at which it is due, 0: it is not armed; changed under the wheel's lock
}

// wheel is a hashed timing wheel. Arming and disarming cost a list operation
// under one lock; the clock is passed in. A timer never fires early.
type wheel[T any] struct {
	start int64
	entry func(*T) *timer[T]

	mu    sync.Mutex // guards the fields below
	tick  int64      // the last tick that was turned
	slots [wheelSlots]*T
	armed int
}

func newWheel[T any](now int64, entry func(*T) *timer[T]) *wheel[T] {
	return &wheel[T]{start: now, entry: entry}
}

// arm makes x due at the first tick at or after time at.
func (w *wheel[T]) arm(x *T, at int64) {
	n := (at - w.start + int64(tick) - 1) / int64(tick)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unlink(x)
	n = max(n, w.tick+1)
	t, slot := w.entry(x), &w.slots[n%wheelSlots]
	t.at.Store(n)
	t.next = *slot
	if t.next != nil {
		w.entry(t.next).prev = x
	}
	*slot = x
	w.armed++
}

// disarm reports whether x was armed and now isn't.
func (w *wheel[T]) disarm(x *T) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.unlink(x)
}

// when is the time at which x is due, 0 if it is not armed. It takes no lock.
func (w *wheel[T]) when(x *T) int64 {
	if at := w.entry(x).at.Load(); at != 0 {
		return w.start + at*int64(tick)
	}
	return 0
}

func (w *wheel[T]) unlink(x *T) bool {
	t := w.entry(x)
	at := t.at.Load()
	if at == 0 {
		return false
	}
	w.armed--
	if t.prev != nil {
		w.entry(t.prev).next = t.next
	} else {
		w.slots[at%wheelSlots] = t.next
	}
	if t.next != nil {
		w.entry(t.next).prev = t.prev
	}
	t.prev, t.next = nil, nil
	t.at.Store(0)
	return true
}

// due takes out what is due at now.
func (w *wheel[T]) due(now int64) []*T {
	to := (now - w.start) / int64(tick)
	var due []*T
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.tick < to {
		w.tick++
		for x := w.slots[w.tick%wheelSlots]; x != nil; {
			t := w.entry(x)
			next := t.next
			if t.at.Load() <= w.tick {
				w.unlink(x)
				due = append(due, x)
			}
			x = next
		}
	}
	return due
}

// alarm is a timer for what is rare: it may do anything.
type alarm struct {
	timer timer[alarm]
	fire  func()
}

func newAlarms(now int64) *wheel[alarm] {
	return newWheel(now, func(a *alarm) *timer[alarm] { return &a.timer })
}

// guarded keeps a panic in what no connection's own call does, a timer's work
// for one, from ending the process.
func (b *Broker) guarded(f func()) {
	defer func() {
		if r := recover(); r != nil {
			b.metrics.Panics.Add(1)
			b.log.Error("panic outside of a connection", "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
		}
	}()
	f()
}

// guardedIn is guarded for what happens in the turn t.
func (b *Broker) guardedIn(t *turn, f func()) {
	complete := false
	b.guarded(func() {
		f()
		complete = true
	})
	if !complete {
		t.router = nil // it may have been at work
	}
}

// turnWheels is the goroutine of the wheels; it ends with the broker.
func (b *Broker) turnWheels() {
	defer b.work.Done()
	turns := b.opt.Tick
	if turns == nil {
		t := time.NewTicker(tick)
		defer t.Stop()
		turns = t.C
	}
	ahead := b.ahead()
	for {
		select {
		case <-turns:
			now := b.now()
			ahead = b.followClock(ahead)
			for _, c := range b.lives.due(now) {
				b.guarded(c.checkLife)
			}
			for _, a := range b.absences.due(now) {
				b.guarded(a.due)
			}
			for _, a := range b.alarms.due(now) {
				b.guarded(a.fire)
			}
		case <-b.done:
			return
		}
	}
}
