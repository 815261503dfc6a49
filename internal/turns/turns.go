// Package turns bounds what is computed for newcomers at the same time, so that the
// processors stay with the clients that are served.
package turns

import (
	"container/list"
	"net/netip"
	"runtime"
	"sync"
	"time"
)

// Turns bounds the handshakes, and proofs of who a client is, that are computed at the
// same time, whatever their listener. Only work has a turn: who waits for the peer
// gives it back. Who waits for a turn gets it by source prefix (/32, /64), one after
// the other, and within a prefix in order. It is safe for concurrent use.
type Turns struct {
	Pace  // of those who have turns
	limit int

	mu      sync.Mutex // guards the fields below
	running int
	waiting map[netip.Prefix]*list.Element // of order
	order   list.List                      // of *queue: the prefixes that wait, the next one first
}

// queue is who waits of one prefix, never empty.
type queue struct {
	prefix netip.Prefix
	waits  []chan struct{} // closed to give the turn
}

// New makes n turns; 0 is one for each processor that Go uses but one, and
// one at least.
func New(n int) *Turns {
	if n <= 0 {
		n = max(1, runtime.GOMAXPROCS(0)-1)
	}
	return &Turns{limit: n, waiting: make(map[netip.Prefix]*list.Element)}
}

// Outside is called with a turn and runs wait without it: for what takes its time
// elsewhere, such as asking a responder during a handshake.
func (t *Turns) Outside(wait func()) {
	t.Leave()
	defer t.Enter(netip.Prefix{}) // the functions of a tls.Config aren't told whose handshake it is
	wait()
}

// Enter waits for a turn.
func (t *Turns) Enter(prefix netip.Prefix) {
	t.mu.Lock()
	if t.running < t.limit && t.order.Len() == 0 {
		t.running++
		t.mu.Unlock()
		return
	}
	turn := make(chan struct{})
	e := t.waiting[prefix]
	if e == nil {
		e = t.order.PushBack(&queue{prefix: prefix})
		t.waiting[prefix] = e
	}
	q := e.Value.(*queue)
	q.waits = append(q.waits, turn)
	t.mu.Unlock()
	<-turn // who leaves gives it, and everybody leaves: at the end of its work at the latest
}

// Leave gives the turn to who waits longest of the prefix that is next.
func (t *Turns) Leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running--
	for t.running < t.limit && t.order.Len() > 0 {
		e := t.order.Front()
		q := e.Value.(*queue)
		close(q.waits[0])
		t.running++
		if q.waits = q.waits[1:]; len(q.waits) > 0 {
			t.order.MoveToBack(e)
		} else {
			t.order.Remove(e)
			delete(t.waiting, q.prefix)
		}
	}
}

// Do runs work with a turn of prefix.
func (t *Turns) Do(prefix netip.Prefix, work func()) {
	t.Enter(prefix)
	defer t.Leave()
	t.Rest()
	since := time.Now()
	work()
	t.Add(time.Since(since))
}

// State is how many run and wait.
func (t *Turns) State() (running, waiting int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for e := t.order.Front(); e != nil; e = e.Next() {
		waiting += len(e.Value.(*queue).waits)
	}
	return t.running, waiting
}
