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

// Turns bounds the handshakes, and the proofs of who a client is, that are computed at
// the same time, whatever their listener. Only work has a turn: who waits for the peer
// gives it back. Handshakes and proofs have every other turn where both wait, so that a
// flood of those does not keep out who is through with his; of either who waits gets
// it by source prefix (/32, /64), one after the other, and within a prefix in order. It
// is safe for concurrent use.
type Turns struct {
	Pace  // of those who have turns
	limit int

	mu      sync.Mutex // guards the fields below
	running int
	lines   [2]line // of handshakes and of proofs
	next    int     // line whose turn it is
}

const (
	handshakes = iota
	proofs
)

// line is those who wait.
type line struct {
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
	t := &Turns{limit: n}
	for i := range t.lines {
		t.lines[i].waiting = make(map[netip.Prefix]*list.Element)
	}
	return t
}

// Outside is called in a handshake with a turn, and runs wait without it: for what takes
// its time elsewhere, such as asking a responder.
func (t *Turns) Outside(wait func()) {
	t.Leave()
	defer t.Enter(netip.Prefix{}) // the functions of a tls.Config aren't told whose handshake it is
	wait()
}

// Enter waits for the turn of a handshake.
func (t *Turns) Enter(prefix netip.Prefix) { t.enter(handshakes, prefix) }

func (t *Turns) enter(kind int, prefix netip.Prefix) {
	t.mu.Lock()
	if t.running < t.limit && t.lines[handshakes].empty() && t.lines[proofs].empty() {
		t.running++
		t.mu.Unlock()
		return
	}
	turn := t.lines[kind].join(prefix)
	t.mu.Unlock()
	<-turn // who leaves gives it, and everybody leaves: at the end of its work at the latest
}

// Leave gives the turn to who is next.
func (t *Turns) Leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running--
	for t.running < t.limit {
		if t.lines[t.next].empty() {
			t.next = 1 - t.next
		}
		if t.lines[t.next].empty() {
			return
		}
		t.lines[t.next].call()
		t.running++
		t.next = 1 - t.next
	}
}

func (l *line) empty() bool { return l.order.Len() == 0 }

// join adds one more of a prefix; the channel is closed when it is called.
func (l *line) join(prefix netip.Prefix) <-chan struct{} {
	turn := make(chan struct{})
	e := l.waiting[prefix]
	if e == nil {
		e = l.order.PushBack(&queue{prefix: prefix})
		l.waiting[prefix] = e
	}
	q := e.Value.(*queue)
	q.waits = append(q.waits, turn)
	return turn
}

// call gives a turn to who waits longest of the prefix that is next.
func (l *line) call() {
	e := l.order.Front()
	q := e.Value.(*queue)
	close(q.waits[0])
	if q.waits = q.waits[1:]; len(q.waits) > 0 {
		l.order.MoveToBack(e)
	} else {
		l.order.Remove(e)
		delete(l.waiting, q.prefix)
	}
}

// Do runs work, which proves something, with a turn. It waits for nobody.
func (t *Turns) Do(prefix netip.Prefix, work func()) {
	t.enter(proofs, prefix)
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
	for i := range t.lines {
		for e := t.lines[i].order.Front(); e != nil; e = e.Next() {
			waiting += len(e.Value.(*queue).waits)
		}
	}
	return t.running, waiting
}
