package listener

import (
	"sync"
	"time"
)

// quiet lets a bounded number of log lines through in each period, so that
// peers can't fill the log. The zero value lets none through.
type quiet struct {
	mu     sync.Mutex // guards the fields below
	since  time.Time
	lines  int // let through in this period
	hidden int // held back since the last line that was let through
}

// allow reports whether a line may be written, and how many were held back
// before it.
func (q *quiet) allow(now time.Time, period time.Duration, most int) (ok bool, hidden int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if now.Sub(q.since) >= period {
		q.since, q.lines = now, 0
	}
	if q.lines >= most {
		q.hidden++
		return false, 0
	}
	q.lines++
	hidden, q.hidden = q.hidden, 0
	return true, hidden
}
