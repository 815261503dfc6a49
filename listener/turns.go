package listener

import (
	"container/list"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// Turns bounds the handshakes that compute at the same time, whatever their
// listener, so that the processors stay with the clients that are served. Only
// work has a turn: a handshake that waits for its peer gives it back. Who waits
// for a turn gets it by source prefix (/32, /64), one after the other, and
// within a prefix in order. It is safe for concurrent use.
type Turns struct {
	limit int
	pause pause

	mu      sync.Mutex // guards the fields below
	running int
	worked  time.Duration                  // since the last rest
	waiting map[netip.Prefix]*list.Element // of order
	order   list.List                      // of *queue: the prefixes that wait, the next one first
}

// queue is who waits of one prefix, never empty.
type queue struct {
	prefix netip.Prefix
	waits  []chan struct{} // closed to give the turn
}

// NewTurns makes n turns; 0 is one for each processor that Go uses but one, and
// one at least.
func NewTurns(n int) *Turns {
	if n <= 0 {
		n = max(1, runtime.GOMAXPROCS(0)-1)
	}
	return &Turns{limit: n, waiting: make(map[netip.Prefix]*list.Element)}
}

// Outside runs wait without a turn: for what a tls.Config's functions do during
// a handshake and takes its time elsewhere, such as asking a responder.
func (t *Turns) Outside(wait func()) {
	t.leave()
	defer t.enter(netip.Prefix{}) // the functions aren't told whose handshake it is
	wait()
}

// enter waits for a turn.
func (t *Turns) enter(prefix netip.Prefix) {
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
	<-turn // who leaves gives it, and everybody leaves: at the handshake's end at the latest
}

// leave gives the turn to who waits longest of the prefix that is next.
func (t *Turns) leave() {
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

// Handshakes that follow each other are goroutines that are ready to run, and while
// there is one the scheduler may not ask which sockets are readable: on one
// processor it does so every 10 ms, which is what clients that are served would
// wait. So after some work nobody computes for a moment; if nothing else is ready
// then, that costs a millisecond at most.
const (
	restAfter = time.Millisecond
	restFor   = 100 * time.Microsecond
)

// rest is called with a turn, and rests if it is time.
func (t *Turns) rest() {
	t.mu.Lock()
	due := t.worked >= restAfter
	if due {
		t.worked = 0
	}
	t.mu.Unlock()
	if due {
		runtime.Gosched() // a turn that is handed on jumps the queue of what is ready
		t.pause.wait(restFor)
	}
}

// worked adds what a turn has taken.
func (t *Turns) add(work time.Duration) {
	t.mu.Lock()
	t.worked += work
	t.mu.Unlock()
}

// maxHandshakeBytes bounds what a peer may send in a TLS handshake, in bytes.
// Chains of certificates are the longest part, and a dear one: crypto/x509 would
// check a hundred signatures in one of the 256 KiB that crypto/tls takes.
const maxHandshakeBytes = 64 << 10

// overlong is the header of a record that is too long: what tls.Conn gets in place
// of more than maxHandshakeBytes, so that it says so to the peer.
var overlong = [recordHeader]byte{22, 3, 3, 0xff, 0xff}

// paced is the socket of a TLS handshake: while the handshake waits for it, it has
// no turn. Afterwards it is the socket and nothing more.
type paced struct {
	net.Conn
	turns    *Turns
	prefix   netip.Prefix
	deadline time.Time
	gone     *atomic.Bool // the handshake was displaced, or the listener closes

	// owned by the handshake's goroutine
	has   bool      // a turn
	since time.Time // it has it
	over  bool      // the handshake is
	read  int       // bytes of the peer
}

// Read implements [net.Conn].
func (p *paced) Read(b []byte) (int, error) {
	if p.over {
		return p.Conn.Read(b)
	}
	p.leave()
	n, err := p.Conn.Read(b)
	if err != nil {
		return n, err
	}
	// A link says so itself, between records.
	if p.read += n; p.read > maxHandshakeBytes+maxRecord+handshakeRead {
		return 0, ErrOversized
	}
	if err := p.enter(); err != nil {
		return 0, err // so that nobody goes on with what was read
	}
	return n, nil
}

// Write implements [net.Conn].
func (p *paced) Write(b []byte) (int, error) {
	if !p.over {
		p.leave()
		// What is computed after the write is little: the turn comes with the next read.
	}
	return p.Conn.Write(b)
}

// enter waits for a turn, and tells whether it comes in time.
func (p *paced) enter() error {
	p.turns.enter(p.prefix)
	p.turns.rest()
	p.has, p.since = true, time.Now()
	switch {
	case p.gone.Load():
		return net.ErrClosed
	case !time.Now().Before(p.deadline):
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (p *paced) leave() {
	if p.has {
		p.has = false
		p.turns.add(time.Since(p.since))
		p.turns.leave()
	}
}

// finish ends the pace with the handshake.
func (p *paced) finish() {
	p.leave()
	p.over = true
}

// CloseWrite ends the sending side.
func (p *paced) CloseWrite() error { return closeWriteSocket(p.Conn) }
