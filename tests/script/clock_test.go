package script_test

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// clock is a broker's time outside of a bubble: it stands still until it is moved.
type clock struct {
	start time.Time
	moved atomic.Int64 // nanoseconds since start
	asked atomic.Int64 // how often the broker looked at it
}

// Now is the broker's Options.Now.
func (c *clock) Now() time.Time {
	c.asked.Add(1)
	return c.start.Add(time.Duration(c.moved.Load()))
}

// turn is how often a broker turns its timers where nobody moves its clock.
const turn = 100 * time.Millisecond

// turns are the moments, as time since the start, at which timers are turned
// from one moment to another: every 100 ms, as the broker does, and for a long
// time at most a thousand times.
func turns(from, to time.Duration) []time.Duration {
	step := turn * ((to-from)/(1000*turn) + 1)
	last := to.Truncate(turn)
	var all []time.Duration
	for at := from.Truncate(turn) + step; at < last; at += step {
		all = append(all, at)
	}
	if last > from {
		all = append(all, last)
	}
	return all
}

func TestTurnsAreThoseOfABrokersOwnClock(t *testing.T) {
	for _, c := range []struct {
		from, to time.Duration
		want     []time.Duration
	}{
		{0, 50 * time.Millisecond, nil},
		{0, turn, []time.Duration{turn}},
		{50 * time.Millisecond, 320 * time.Millisecond, []time.Duration{turn, 2 * turn, 3 * turn}},
		{turn, turn + 1, nil},
	} {
		if got := turns(c.from, c.to); !slices.Equal(got, c.want) {
			t.Errorf("turns(%v, %v) = %v, want %v", c.from, c.to, got, c.want)
		}
	}
	long := turns(3*turn, 10*time.Hour+turn/2)
	if n := len(long); n > 1000 || long[n-1] != 10*time.Hour || !slices.IsSorted(long) {
		t.Errorf("ten hours are %d turns, the last at %v", n, long[n-1])
	}
}
