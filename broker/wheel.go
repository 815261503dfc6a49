package broker

import (
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// tick is the resolution of every timer: keep alive, expiry, delays.
const tick = 100 * time.Millisecond

const wheelSlots = 1024

// timer is an entry of the wheel; embed it where the time is awaited.
type timer struct {
	fire       func()
	at         int64 // tick number
	slot       int
	armed      bool
	prev, next *timer
}

// wheel is a hashed timing wheel. Arming and disarming cost a list operation
// under one lock; the clock is passed in. A timer never fires early.
type wheel struct {
	mu    sync.Mutex
	start int64
	tick  int64 // the last tick that was turned
	slots [wheelSlots]*timer
	armed int
}

func newWheel(now int64) *wheel { return &wheel{start: now} }

// arm makes t fire at the first tick at or after time at.
func (w *wheel) arm(t *timer, at int64) {
	n := (at - w.start + int64(tick) - 1) / int64(tick)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unlink(t)
	t.at = max(n, w.tick+1)
	t.slot = int(t.at % wheelSlots)
	t.armed = true
	t.prev, t.next = nil, w.slots[t.slot]
	if t.next != nil {
		t.next.prev = t
	}
	w.slots[t.slot] = t
	w.armed++
}

// disarm reports whether t was armed and now isn't.
func (w *wheel) disarm(t *timer) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.unlink(t)
}

func (w *wheel) unlink(t *timer) bool {
	if !t.armed {
		return false
	}
	t.armed = false
	w.armed--
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		w.slots[t.slot] = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	}
	t.prev, t.next = nil, nil
	return true
}

// due takes out what is due at now.
func (w *wheel) due(now int64) []*timer {
	to := (now - w.start) / int64(tick)
	var due []*timer
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.tick < to {
		w.tick++
		for t := w.slots[w.tick%wheelSlots]; t != nil; {
			next := t.next
			if t.at <= w.tick {
				w.unlink(t)
				due = append(due, t)
			}
			t = next
		}
	}
	return due
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

// turnWheel is the goroutine of the wheel; it ends with the broker.
func (b *Broker) turnWheel() {
	defer b.work.Done()
	turns := b.opt.Tick
	if turns == nil {
		t := time.NewTicker(tick)
		defer t.Stop()
		turns = t.C
	}
	for {
		select {
		case <-turns:
			for _, t := range b.wheel.due(b.now()) {
				b.guarded(t.fire)
			}
		case <-b.done:
			return
		}
	}
}
