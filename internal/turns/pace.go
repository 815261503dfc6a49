package turns

import (
	"runtime"
	"sync"
	"time"
)

// Pace has who computes for newcomers let others run now and then. Goroutines that work
// after each other are ready to run all the time, as is one that never waits, and while
// there is one the scheduler may not ask which sockets are readable: on one processor
// it does so every 10 ms, which is what clients that are served would wait. So after
// some work nobody computes for a moment; if nothing else is ready then, that costs a
// millisecond at most. It is safe for concurrent use.
type Pace struct {
	pause pause

	mu     sync.Mutex    // guards worked
	worked time.Duration // since the last rest
}

const (
	restAfter = time.Millisecond
	restFor   = 100 * time.Microsecond
)

// Add adds what work has taken.
func (p *Pace) Add(work time.Duration) {
	p.mu.Lock()
	p.worked += work
	p.mu.Unlock()
}

// Reset is called by who has waited, so that others could run.
func (p *Pace) Reset() {
	p.mu.Lock()
	p.worked = 0
	p.mu.Unlock()
}

// Rest rests if it is time, and reports whether it was.
func (p *Pace) Rest() (rested bool) {
	p.mu.Lock()
	due := p.worked >= restAfter
	if due {
		p.worked = 0
	}
	p.mu.Unlock()
	if due {
		runtime.Gosched() // a turn that is handed on jumps the queue of what is ready
		p.pause.wait(restFor)
	}
	return due
}
