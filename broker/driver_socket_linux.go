//go:build !386 && !s390x

package broker

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"syscall"
	"time"

	"sallyport/internal/epoll"
)

// The states of a socket, which are bits of one word.
const (
	sockWriting uint32 = 1 << iota // somebody is in its system calls, and owns what is left to write
	sockAgain                      // output came meanwhile
	sockBlocked                    // what is left waits for room; the loop owns it
	sockDead                       // nothing more is written
	sockClosing                    // it is to be closed
	sockPosted                     // it is in the loop's queue
	sockResume                     // Continue is to be called
	sockPrime                      // its stream may have input already
	sockTimeout                    // the time to close in order is over
	sockHurry                      // the peer reads no more
	sockBroken                     // a write has failed: what the peer had sent is still read
)

// openingBytes is how much one read takes before the client is known: what comes
// behind its CONNECT is kept meanwhile.
const openingBytes = 16 << 10

var errWrite = errors.New("write failed")

// flushBytes is how much one flush of one connection writes before the loop
// looks at others, in bytes.
const flushBytes = 256 << 10

// socket is a connection of a loop, and its Wire. Its descriptor is closed by
// its loop alone, and only while nobody is inside a call on it.
type socket struct {
	loop  *loop
	conn  *Conn
	done  func()
	more  atomic.Pointer[layered] // nil: plain, and no trouble yet
	state atomic.Uint32
	fd    int32
	slot  uint32
	gen   uint32

	// Owned by the loop.
	interest uint32 // what epoll was asked; 0: it doesn't know the descriptor
	paused   bool   // the connection takes no input now
	ended    bool   // the peer sends no more
	lingers  bool   // what comes is thrown away
	shutting bool   // Gone was called
	small    bool   // its packets are small
	atDoor   bool   // it is in the queue of the doorway
	knocks   bool   // it is there with input
}

// layered is what only few sockets need.
type layered struct {
	stream Stream // never changed; nil: plain

	left []byte // what could not be written, from at on; who owns it: see sockBlocked
	at   int

	// Owned by the loop.
	held   []byte // MQTT bytes that came from the stream when the connection took none
	last   error  // what the stream said behind them; nil: it goes on
	alarm  alarm
	thrown int   // bytes thrown away while it lingers
	err    error // why it ends
}

func (s *socket) data() uint64 { return uint64(s.gen)<<32 | uint64(s.slot) }

// extra is more, made if need be.
func (s *socket) extra() *layered {
	if x := s.more.Load(); x != nil {
		return x
	}
	s.more.CompareAndSwap(nil, new(layered))
	return s.more.Load()
}

func (s *socket) stream() Stream {
	if x := s.more.Load(); x != nil {
		return x.stream
	}
	return nil
}

// Flush implements Wire: it writes at once, or leaves it to who is writing.
func (s *socket) Flush() {
	for {
		st := s.state.Load()
		switch {
		case st&(sockDead|sockBlocked) != 0:
			return
		case st&sockWriting != 0:
			if st&sockAgain != 0 || s.state.CompareAndSwap(st, st|sockAgain) {
				return
			}
		case s.state.CompareAndSwap(st, st|sockWriting):
			s.write(nil)
			return
		}
	}
}

// write writes until no output is left. out is what was written before, or nil.
// The caller has set sockWriting.
func (s *socket) write(out []byte) {
	for total := 0; ; {
		if s.state.Load()&sockDead != 0 {
			s.leave(0)
			return
		}
		out = s.take(out)
		if out == nil {
			// It may cause more output: that is flushed as if it had come meanwhile.
			s.conn.Drained()
			if s.leave(0) {
				return
			}
			continue
		}
		n, errno := epoll.Write(int(s.fd), out)
		s.loop.writes.Add(1)
		if n < len(out) {
			if errno != 0 && errno != syscall.EAGAIN {
				s.leave(sockDead | sockBroken)
				s.loop.post(s)
				return
			}
			s.block(out, n)
			return
		}
		if total += n; total > flushBytes {
			s.block(out, n) // for a moment: the loop looks at others first
			return
		}
	}
}

// take is the next bytes for the socket; written is what it gave before.
func (s *socket) take(written []byte) []byte {
	stream := s.stream()
	if stream == nil {
		return s.conn.TakeOutput(written)
	}
	if wire := stream.Take(written); wire != nil {
		return wire
	}
	// No more at a time than the connection had: others may add to it as fast as
	// the stream takes it, and what the stream holds is bounded by nothing else.
	out := s.conn.TakeOutput(nil)
	if out == nil {
		return nil
	}
	err := stream.Send(out)
	s.loop.b.buffers.give(out)
	if err != nil {
		s.state.Or(sockClosing)
		s.loop.post(s)
	}
	return stream.Take(nil)
}

// leave ends writing, unless output came meanwhile; with set the state gets
// those bits, and what came does not matter.
func (s *socket) leave(set uint32) bool {
	for {
		st := s.state.Load()
		if st&sockAgain != 0 && set == 0 && st&sockDead == 0 {
			if s.state.CompareAndSwap(st, st&^sockAgain) {
				return false
			}
			continue
		}
		if s.state.CompareAndSwap(st, st&^(sockWriting|sockAgain)|set) {
			if st&sockClosing != 0 {
				s.loop.post(s) // it may have waited for this
			}
			return true
		}
	}
}

// block keeps what the socket has no room for, and leaves it to the loop.
func (s *socket) block(out []byte, written int) {
	x := s.extra()
	x.left, x.at = out, written
	if written < len(out) {
		s.conn.WriteBegins()
	}
	for {
		st := s.state.Load()
		if s.state.CompareAndSwap(st, st&^(sockWriting|sockAgain)|sockBlocked) {
			s.loop.post(s)
			return
		}
	}
}

// Resume implements Wire.
func (s *socket) Resume() {
	s.state.Or(sockResume)
	s.loop.post(s)
}

// Close implements Wire.
func (s *socket) Close(grace time.Duration) {
	bits := sockClosing
	if grace == 0 {
		bits |= sockHurry
	}
	if s.state.Or(bits)&sockClosing == 0 {
		s.loop.post(s)
	}
}

// What follows is called by the loop alone.

// handle does what the socket is ready for.
func (s *socket) handle(ready uint32) {
	if ready&(epoll.Out|epoll.Gone) != 0 && s.state.Load()&sockBlocked != 0 {
		s.unblock()
	}
	switch {
	case ready&(epoll.In|epoll.Gone) == 0:
	case s.conn.accepted():
		s.receive()
	default:
		if s.atDoor && !s.knocks {
			s.ask(s.interest &^ epoll.In) // mute may have passed it by
		}
		s.knocks = true
		s.loop.door.join(s)
	}
}

// enter does what a socket waited for at the doorway.
func (s *socket) enter() {
	if s.state.Load()&sockPosted != 0 {
		s.attend()
	}
	if !s.knocks {
		return
	}
	s.knocks = false
	s.receive()
	if !s.shutting && (s.lingers || !s.paused && s.state.Load()&sockClosing == 0) {
		s.ask(s.interest | epoll.In)
	}
}

// receive takes input, if it may.
func (s *socket) receive() {
	switch st := s.state.Load(); {
	case s.shutting:
	case s.lingers:
		s.discard()
	case st&sockPrime != 0:
		// What was read ahead comes before this, the socket's end too.
	case s.paused || st&sockClosing != 0:
		s.ask(s.interest &^ epoll.In)
	default:
		s.read()
	}
}

// ask changes what the poller is asked. Nothing is asked by not being known
// there, since errors are told unasked.
func (s *socket) ask(interest uint32) {
	l, was := s.loop, s.interest
	if interest == was {
		return
	}
	s.interest = interest
	var err error
	switch {
	case interest == 0:
		l.controls.Add(1)
		err = l.poll.Remove(int(s.fd))
	case was == 0:
		err = l.control(s, l.poll.Add)
	default:
		err = l.control(s, l.poll.Modify)
	}
	if err != nil {
		s.end(fmt.Errorf("epoll: %w", err))
	}
}

// read reads once and feeds the connection.
func (s *socket) read() {
	l := s.loop
	buf := l.buf[:]
	switch {
	case !s.conn.accepted():
		buf = buf[:openingBytes]
	case s.small:
		buf = buf[:smallBuffer]
	}
	n, errno := epoll.Read(int(s.fd), buf)
	l.reads.Add(1)
	switch {
	case errno == syscall.EAGAIN:
	case errno != 0:
		s.end(errno)
	case n == 0:
		s.end(nil)
	case s.stream() == nil:
		s.paused = !l.feed(s.conn, l.buf[:n])
		s.small = l.small(n)
	default:
		s.stream().Receive(l.buf[:n])
		s.drain()
	}
}

// drain feeds what the stream has. While the connection takes nothing it is
// held: the stream views the loop's buffer.
func (s *socket) drain() {
	l, x := s.loop, s.more.Load()
	stream := x.stream
	if l.plain == nil {
		l.plain = make([]byte, loopBuffer)
	}
	for {
		n, err := stream.Read(l.plain)
		switch {
		case n == 0:
		case s.paused:
			x.held = append(x.held, l.plain[:n]...)
		default:
			s.paused = !l.feed(s.conn, l.plain[:n])
		}
		if err == nil && s.state.Load()&sockClosing == 0 {
			continue
		}
		if stream.Pending() {
			s.Flush()
		}
		if err != nil && !stream.More(err) {
			x.last = err
			s.finish()
		}
		return
	}
}

// finish ends the socket when the stream has ended and what came before is handled.
func (s *socket) finish() {
	x := s.more.Load()
	if s.paused || len(x.held) > 0 {
		return // goOn comes back to it
	}
	if x.last != io.EOF {
		// The peer broke a rule of its stream, and its socket is well: who writes
		// just now may still write the alert that tells it.
		x.err = x.last
	}
	s.end(nil)
}

// end begins to close a socket whose peer has gone, err says how: what is still
// on its way out may leave.
func (s *socket) end(err error) {
	s.ended = true
	if err != nil {
		s.state.Or(sockDead)
		s.extra().err = err
	}
	s.state.Or(sockClosing)
	s.loop.post(s)
}

// attend does what was asked of the loop.
func (s *socket) attend() {
	st := s.state.And(^(sockPosted | sockResume | sockPrime))
	if s.shutting {
		return
	}
	if st&sockResume != 0 {
		s.goOn()
	}
	if st&sockPrime != 0 && !s.paused && st&sockClosing == 0 {
		s.drain()
	}
	if st = s.state.Load(); st&sockBlocked != 0 {
		if x := s.more.Load(); x.at < len(x.left) {
			s.ask(s.interest | epoll.Out)
		} else {
			s.unblock() // it only let others go first
		}
	}
	switch st = s.state.Load(); {
	case st&sockClosing != 0:
		s.close()
	case st&sockBroken != 0:
		// The peer has gone, as reading will tell when there is no more to read.
		s.extra().err = errWrite
		s.wait()
	}
}

// goOn lets the connection continue, and reads again.
func (s *socket) goOn() {
	l := s.loop
	l.turn.rest = feedWork
	more := s.conn.carryOn(&l.turn)
	x := s.more.Load()
	if x != nil && more && len(x.held) > 0 {
		p := x.held
		x.held = nil
		more = l.feed(s.conn, p)
	}
	switch s.paused = !more; {
	case s.paused:
	case x != nil && x.last != nil:
		s.finish()
	default:
		s.ask(s.interest | epoll.In)
	}
}

// unblock writes what was left.
func (s *socket) unblock() {
	x := s.more.Load()
	if x.at < len(x.left) && s.state.Load()&sockDead == 0 {
		n, errno := epoll.Write(int(s.fd), x.left[x.at:])
		s.loop.writes.Add(1)
		if errno != 0 && errno != syscall.EAGAIN {
			s.state.Or(sockDead | sockBroken)
			s.loop.post(s)
		}
		if x.at += n; n > 0 {
			s.conn.WriteBegins() // there is progress
		}
		if x.at < len(x.left) && s.state.Load()&sockDead == 0 {
			return
		}
	}
	s.conn.WriteEnds()
	s.ask(s.interest &^ epoll.Out)
	written := x.left
	x.left, x.at = nil, 0
	for {
		st := s.state.Load()
		if s.state.CompareAndSwap(st, st&^sockBlocked|sockWriting) {
			break
		}
	}
	s.write(written)
}

// close closes the socket in order: what is left is written, the sending side
// ended, and what still comes thrown away for a bounded time, so that the last
// packet is read. A peer that has gone is not waited for.
func (s *socket) close() {
	if s.lingers && s.state.Load()&sockTimeout == 0 {
		return
	}
	st := s.state.Load()
	if st&(sockDead|sockTimeout) == 0 {
		if st&sockWriting != 0 {
			return // who writes will post it
		}
		if st&sockBlocked == 0 {
			s.Flush()
			if st = s.state.Load(); st&sockWriting != 0 {
				return // another one came first, and has what is left
			}
		}
		if st&sockBlocked != 0 {
			s.wait()
			return
		}
		if !s.ended && st&(sockDead|sockHurry) == 0 {
			s.farewell()
			return
		}
	}
	var err error
	if x := s.more.Load(); x != nil {
		err = x.err
	}
	s.shut(err)
}

// farewell ends the sending side and waits for the peer to do so too.
func (s *socket) farewell() {
	if stream := s.stream(); stream != nil {
		// As a writer, since a stream is for one at a time.
		st := s.state.Load()
		if st&sockWriting != 0 || !s.state.CompareAndSwap(st, st|sockWriting) {
			s.loop.post(s)
			return
		}
		_ = stream.CloseWrite() // what it could say is written; the socket's end tells the rest
		s.write(nil)
	}
	if epoll.ShutdownWrite(int(s.fd)) != nil {
		s.shut(nil)
		return
	}
	s.loop.controls.Add(1)
	s.lingers = true
	s.wait()
	s.ask(s.interest | epoll.In)
}

// wait bounds the time until it is closed.
func (s *socket) wait() {
	x := s.extra()
	if x.alarm.fire != nil {
		return
	}
	x.alarm.fire = func() {
		s.state.Or(sockTimeout | sockClosing)
		s.loop.post(s)
	}
	s.loop.b.alarms.arm(&x.alarm, s.loop.turn.now+2*int64(closeGrace))
}

// lingerBytes is how much is thrown away at most, in bytes.
const lingerBytes = 1 << 20

// discard throws away what comes while the socket lingers.
func (s *socket) discard() {
	n, errno := epoll.Read(int(s.fd), s.loop.buf[:])
	s.loop.reads.Add(1)
	if errno == syscall.EAGAIN {
		return
	}
	x := s.more.Load()
	if x.thrown += n; errno != 0 || n == 0 || x.thrown > lingerBytes {
		s.shut(nil)
	}
}

// shut closes the descriptor, or leaves that to who is inside a call on it.
func (s *socket) shut(err error) {
	if s.shutting {
		return
	}
	if s.state.Or(sockDead|sockClosing)&sockWriting != 0 {
		if s.loop.stopping.Load() {
			for s.state.Load()&sockWriting != 0 { // it is in a call that doesn't block
			}
		} else {
			return
		}
	}
	s.shutting = true
	l := s.loop
	l.table.leave(s)
	epoll.Close(int(s.fd))
	l.controls.Add(1)
	if x := s.more.Load(); x != nil {
		l.b.alarms.disarm(&x.alarm)
	}
	s.done()
	s.conn.Gone(err)
}
