//go:build !386 && !s390x

package broker

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"sallyport/internal/epoll"
)

const (
	// loopBuffer is how much one read takes at most, in bytes.
	loopBuffer = 256 << 10
	// smallBuffer is the same from a client that sends small packets, of less than
	// smallSize on average: what so many of them cause holds up the others too long.
	smallBuffer = 64 << 10
	smallSize   = 256
	// roundBytes is how much is read before what it caused is flushed, in bytes.
	roundBytes = 256 << 10
	// roundTime is how long input is handled before that, in nanoseconds.
	roundTime = 1e6
	// longQueue is so many newcomers that telling the poller of each costs less than
	// what it tells of them otherwise.
	longQueue = 64
	// yieldAfter is how long a loop works before it lets others run, in nanoseconds.
	yieldAfter = 2e6
)

// Loops is the driver for Linux: a few event loops, each of which feeds its
// connections from nonblocking sockets by raw system calls. In a round a loop
// reads each readable socket once, handles every whole packet, and then
// flushes each connection that was touched, of whichever loop, once.
//
// Who is served comes first: connections without a CONNACK wait at the doorway
// until the others of the round were handled, see receive.
//
// A loop parks in the runtime's poller, so that it needs no thread of its own,
// and lets other goroutines run now and then while it is busy.
type Loops struct {
	b     *Broker
	loops []*loop
	next  atomic.Uint32
	over  sync.WaitGroup
}

// Calls is how many system calls the loops have made.
type Calls struct {
	Reads, Writes uint64
	Waits         uint64 // for events
	Controls      uint64 // of what is waited for, and ends of connections
}

// NewLoops starts n loops; Close ends them. Where the system has no epoll the
// error is errors.ErrUnsupported.
func (b *Broker) NewLoops(n int) (*Loops, error) {
	ls := &Loops{b: b}
	for range n {
		p, err := epoll.New()
		if err != nil {
			_ = ls.Close() // the first error is the one to report
			return nil, err
		}
		l := &loop{b: b, poll: p, turn: turn{bounded: true}}
		ls.loops = append(ls.loops, l)
		ls.over.Go(l.run)
	}
	return ls, nil
}

// Close ends the loops, and the connections that Shutdown has left.
func (ls *Loops) Close() error {
	for _, l := range ls.loops {
		l.stopping.Store(true)
		l.poll.Wake()
	}
	ls.over.Wait()
	var err error
	for _, l := range ls.loops {
		err = errors.Join(err, l.poll.Close())
	}
	return err
}

// Calls sums up what the loops have done.
func (ls *Loops) Calls() Calls {
	var c Calls
	for _, l := range ls.loops {
		c.Reads += l.reads.Load()
		c.Writes += l.writes.Load()
		c.Waits += l.waits.Load()
		c.Controls += l.controls.Load()
	}
	return c
}

// Serve gives a socket to one of the loops, which closes it and then calls
// done. fd is a connected stream socket that does not block and that no other
// poller knows. stream lies between it and MQTT; nil is nothing. Serve does not
// wait.
func (ls *Loops) Serve(fd int, stream Stream, info Info, done func()) {
	l := ls.loops[int(ls.next.Add(1)-1)%len(ls.loops)]
	s := &socket{loop: l, fd: int32(fd), done: done}
	// As if somebody wrote: so nobody closes the descriptor before it is known here.
	s.state.Store(sockWriting)
	if stream != nil {
		s.more.Store(&layered{stream: stream})
		s.state.Or(sockPrime) // it may have read ahead
	}
	c, err := ls.b.Open(s, info)
	if err != nil {
		epoll.Close(fd)
		done() // nobody is there to be told why
		return
	}
	s.conn, s.interest = c, epoll.In
	l.table.enter(s)
	// From here on the loop may be told of it, and interest is the loop's.
	l.controls.Add(1)
	if err := l.poll.Add(fd, s.data(), epoll.In); err != nil {
		s.end(fmt.Errorf("epoll: %w", err))
	}
	if stream != nil {
		l.post(s)
	}
	s.write(nil)
}

// loop is one event loop.
type loop struct {
	b        *Broker
	poll     *epoll.Poll
	stopping atomic.Bool
	asleep   atomic.Bool // parked, or about to be
	posted   atomic.Bool // toDo is not empty

	// Owned by run.
	turn  turn
	fed   int
	since int64 // when what was fed since the last flush began
	spare []*socket
	buf   [loopBuffer]byte
	plain []byte // of streams, made for the first
	door  doorway

	reads, writes, waits, controls atomic.Uint64

	table sockets

	mu   sync.Mutex // guards toDo
	toDo []*socket
}

// post asks the loop to attend to s.
func (l *loop) post(s *socket) {
	if s.state.Or(sockPosted)&sockPosted != 0 {
		return
	}
	l.mu.Lock()
	l.toDo = append(l.toDo, s)
	l.mu.Unlock()
	l.posted.Store(true)
	if l.asleep.Load() {
		l.poll.Wake()
	}
}

// run is the loop's goroutine; it ends with Close.
func (l *loop) run() {
	rested := l.b.now()
	for !l.stopping.Load() {
		n, parked, err := l.await(rested)
		if err != nil {
			l.b.log.Error("an event loop failed", "error", err)
			break
		}
		t := &l.turn
		t.now = l.b.now()
		if parked {
			rested = t.now
		}
		began := t.now
		l.since, l.fed = began, 0
		for i := range n {
			data, ready := l.poll.Event(i)
			if s := l.table.find(data); s != nil {
				s.handle(ready)
			}
			if l.fed >= roundBytes || i%16 == 15 && l.b.now()-l.since > roundTime {
				l.flush()
			}
		}
		l.attend()
		if !l.door.empty() {
			l.receive(began)
		}
		l.flush()
	}
	for _, s := range l.table.all() {
		s.shut(errors.New("the driver has ended"))
	}
}

// await finds what is ready. parked says that other goroutines could run.
func (l *loop) await(rested int64) (n int, parked bool, err error) {
	defer func() { l.waits.Store(l.poll.Waits()) }()
	if l.turn.now-rested > yieldAfter {
		n, err = l.poll.Yield()
		return n, true, err
	}
	if !l.posted.Load() && l.door.empty() {
		l.asleep.Store(true)
		if !l.posted.Load() && !l.stopping.Load() {
			n, err = l.poll.Park()
			l.asleep.Store(false)
			return n, true, err
		}
		l.asleep.Store(false)
	}
	return l.poll.Ready(), false, nil
}

// attend looks after the sockets that were posted.
func (l *loop) attend() {
	if !l.posted.Swap(false) {
		return
	}
	l.mu.Lock()
	q := l.toDo
	l.toDo = l.spare[:0]
	l.mu.Unlock()
	for i, s := range q {
		q[i] = nil
		if s.conn.accepted() {
			s.attend()
		} else {
			l.door.join(s)
		}
		if l.fed >= roundBytes || i%16 == 15 && l.b.now()-l.since > roundTime {
			l.flush()
		}
	}
	l.spare = q[:0]
	if cap(q) > 4096 {
		l.spare = nil
	}
}

// receive handles connections at the doorway: for roundTime, or for as long as the
// others took of the round that began then, so that neither can starve the other.
func (l *loop) receive(began int64) {
	d := &l.door
	now := l.b.now()
	end := now + max(roundTime, now-began)
	for now < end && !d.empty() {
		d.next().enter()
		now = l.b.now()
		if l.fed >= roundBytes || now-l.since > roundTime {
			l.flush()
		}
	}
	d.mute()
}

// doorway is the queue of the connections without a CONNACK that have something
// to do. What a fleet that comes back at once costs is theirs to wait for, not
// that of the clients who are served.
type doorway struct {
	sockets []*socket
	first   int // of sockets, in the queue
	loud    int // the first that the poller may tell of again
}

func (d *doorway) empty() bool { return d.first == len(d.sockets) }

// join puts s at the end of the queue, if it isn't in it.
func (d *doorway) join(s *socket) {
	if !s.atDoor {
		s.atDoor = true
		d.sockets = append(d.sockets, s)
	}
}

// next takes the first out of the queue.
func (d *doorway) next() *socket {
	s := d.sockets[d.first]
	d.sockets[d.first] = nil
	d.first++
	s.atDoor = false
	switch {
	case d.empty():
		d.sockets, d.first, d.loud = d.sockets[:0], 0, 0
		if cap(d.sockets) > 4096 {
			d.sockets = nil
		}
	case d.first >= 1024 && d.first >= len(d.sockets)/2: // as many are moved as were taken, at most
		n := copy(d.sockets, d.sockets[d.first:])
		clear(d.sockets[n:])
		d.sockets, d.loud, d.first = d.sockets[:n], max(d.loud-d.first, 0), 0
	}
	d.loud = max(d.loud, d.first)
	return s
}

// mute has the poller say nothing of those who stay in a long queue: it would tell
// of each of them in every round, and of few others.
func (d *doorway) mute() {
	if len(d.sockets)-d.first < longQueue {
		return
	}
	for _, s := range d.sockets[d.loud:] {
		if s.knocks {
			s.ask(s.interest &^ epoll.In)
		}
	}
	d.loud = len(d.sockets)
}

// flush writes what was caused since the last flush.
func (l *loop) flush() {
	l.b.settle(&l.turn)
	l.turn.flush()
	l.turn.now = l.b.now()
	l.since, l.fed = l.turn.now, 0
}

// feed gives bytes to a connection and reports whether it takes more now.
func (l *loop) feed(c *Conn, p []byte) (more bool) {
	l.turn.rest = feedWork
	l.fed += len(p)
	return c.feed(&l.turn, p)
}

// small reports whether n bytes that were just fed were small packets, or caused as much.
func (l *loop) small(n int) bool { return n < (feedWork-l.turn.rest)*smallSize }

func (l *loop) control(s *socket, call func(fd int, data uint64, interest uint32) error) error {
	l.controls.Add(1)
	return call(int(s.fd), s.data(), s.interest)
}

// sockets finds a socket by the data of its events, which is a slot and the
// number of its use, so that an event that comes late finds nothing.
type sockets struct {
	chunks atomic.Pointer[[]*chunk]

	mu   sync.Mutex // guards the fields below, and changes of chunks
	free []uint32
	gen  uint32
}

type chunk [256]atomic.Pointer[socket]

func (t *sockets) find(data uint64) *socket {
	chunks, slot := t.chunks.Load(), uint32(data)
	if chunks == nil || int(slot/256) >= len(*chunks) {
		return nil
	}
	s := (*chunks)[slot/256][slot%256].Load()
	if s == nil || s.data() != data {
		return nil
	}
	return s
}

// enter gives s a place.
func (t *sockets) enter(s *socket) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.free) == 0 {
		t.grow()
	}
	slot := t.free[len(t.free)-1]
	t.free = t.free[:len(t.free)-1]
	if t.gen++; t.gen == math.MaxUint32 {
		t.gen = 0 // all ones is not for sockets
	}
	s.slot, s.gen = slot, t.gen
	(*t.chunks.Load())[slot/256][slot%256].Store(s)
}

// grow adds a chunk of places.
func (t *sockets) grow() {
	var chunks []*chunk
	if old := t.chunks.Load(); old != nil {
		chunks = *old
	}
	first := uint32(len(chunks)) * 256
	chunks = append(append([]*chunk(nil), chunks...), new(chunk))
	t.chunks.Store(&chunks)
	for i := uint32(256); i > 0; i-- {
		t.free = append(t.free, first+i-1)
	}
}

func (t *sockets) leave(s *socket) {
	t.mu.Lock()
	defer t.mu.Unlock()
	(*t.chunks.Load())[s.slot/256][s.slot%256].Store(nil)
	t.free = append(t.free, s.slot)
}

func (t *sockets) all() (list []*socket) {
	if chunks := t.chunks.Load(); chunks != nil {
		for _, c := range *chunks {
			for i := range c {
				if s := c[i].Load(); s != nil {
					list = append(list, s)
				}
			}
		}
	}
	return list
}
