package bench

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"sallyport/internal/epoll"
	"sallyport/packet"
)

const (
	// loopRead is how many bytes one read takes at most.
	loopRead = 64 << 10
	// loopPayload is the largest payload that loops carry: a packet that spans
	// many reads would be copied in each.
	loopPayload = 256 << 10
	// yieldAfter is how long a loop that has work keeps others waiting.
	yieldAfter = time.Millisecond
)

// loop serves some of a load's connections on one goroutine, with raw system
// calls. A turn reads each readable socket once, verifies what came, answers,
// and then writes to each publisher that may send, once. Between the turns
// nothing is kept but what a socket didn't take and packets that came in part.
type loop struct {
	r         *run
	poll      *epoll.Poll
	home      []*loop // of each of the load's publishers, by its number; nil: it has no loop
	seat      []*endpoint
	stop      <-chan struct{}
	endpoints []*endpoint
	ready     []*endpoint // publishers that may send
	in, out   []byte      // of the call under way
	schedule  *schedule   // nil in a closed loop
	due       func(i int, messages uint64)
	timer     *timer // with schedule
	heard     func(*publisher)
	finished  func() // its publishers send no more
	sending   bool   // finished was not called yet
	ended     atomic.Bool

	// mu guards mail, publishers of this loop that other loops' receivers heard.
	mu   sync.Mutex
	mail []*publisher
}

// endpoint is a connection in a loop: a publisher's or a receiver's.
type endpoint struct {
	fd      int
	c       *rawConn
	pub     *publisher // or nil
	rec     *receiver  // or nil
	part    []byte     // the start of a packet
	unsent  []byte     // what the socket didn't take
	waiting bool       // for the socket to take unsent
	queued  bool       // in ready
	index   uint64     // in the loop's endpoints
}

// startLoops gives the connections of pubs and receivers, which are l's, to
// event loops, one for each processor, if all are plain sockets; else it leaves
// them alone and reports false.
func (l *load) startLoops(ctx context.Context, begin int64, pubs []*publisher, receivers []*receiver) (looping bool, err error) {
	if l.r.Payload > loopPayload {
		return false, nil
	}
	plain := func(c *rawConn) bool { _, ok := c.Conn.(syscall.Conn); return ok }
	for _, p := range pubs {
		if !plain(p.c) {
			return false, nil
		}
	}
	for _, v := range receivers {
		if !plain(v.c) {
			return false, nil
		}
	}
	n := min(runtime.GOMAXPROCS(0), max(1, len(receivers)))
	loops := make([]*loop, n)
	for i := range loops {
		if loops[i], err = l.newLoop(begin); err != nil {
			break
		}
	}
	if err == nil {
		err = l.seat(loops, pubs, receivers)
	}
	if err != nil {
		for _, lp := range loops {
			lp.close()
		}
		return false, err
	}
	for _, lp := range loops {
		l.publishing.Add(1)
		l.wakeUps = append(l.wakeUps, lp.poll.Wake)
		l.r.goroutine("connection", lp.run)
		l.r.atEnd(lp.close) // not before: other loops may yet wake it
	}
	l.r.goroutine("end of the loops", func() error {
		<-ctx.Done()
		for _, lp := range loops {
			lp.ended.Store(true)
			lp.poll.Wake()
		}
		return nil
	})
	l.r.report.Generator = fmt.Sprintf("%d event loops", len(loops))
	return true, nil
}

func (l *load) newLoop(begin int64) (*loop, error) {
	lp := &loop{r: l.r, stop: l.stop, sending: true, finished: l.publishing.Done,
		in: make([]byte, loopRead+l.r.Payload+64<<10), out: make([]byte, 0, flushSize+l.r.Payload+64<<10)}
	lp.heard = lp.progress
	var err error
	if lp.poll, err = epoll.New(); err != nil {
		return nil, err
	}
	if l.r.Rate == 0 {
		return lp, nil
	}
	lp.schedule = l.r.newSchedule(l.pubs, begin)
	lp.due = func(i int, messages uint64) {
		if lp.home[i] == lp {
			l.pubs[i].due.Store(messages)
			lp.touch(lp.seat[i])
		}
	}
	if lp.timer, err = newTimer(lp.poll); err != nil {
		lp.close()
		return nil, err
	}
	return lp, nil
}

// seat deals the connections to the loops: those of a pair to the same one.
func (l *load) seat(loops []*loop, pubs []*publisher, receivers []*receiver) error {
	home, seat := make([]*loop, len(l.pubs)), make([]*endpoint, len(l.pubs))
	h := make([]*histogram, len(loops))
	for i := range loops {
		h[i] = new(histogram)
		loops[i].home, loops[i].seat = home, seat
	}
	l.histograms = append(l.histograms, h...)
	for i, p := range pubs {
		lp, e := loops[i%len(loops)], &endpoint{c: p.c, pub: p}
		home[p.number], seat[p.number] = lp, e
		if err := lp.add(e); err != nil {
			return err
		}
	}
	for i, v := range receivers {
		v.latency = h[i%len(loops)]
		if err := loops[i%len(loops)].add(&endpoint{c: v.c, rec: v}); err != nil {
			return err
		}
	}
	return nil
}

// add takes the connection over from the runtime.
func (lp *loop) add(e *endpoint) error {
	var err error
	if e.fd, err = detach(e.c); err != nil {
		return fmt.Errorf("take a connection over: %w", err)
	}
	return lp.register(e)
}

func (lp *loop) register(e *endpoint) error {
	e.index = uint64(len(lp.endpoints))
	lp.endpoints = append(lp.endpoints, e)
	return lp.poll.Add(e.fd, e.index, epoll.In)
}

// detach returns a descriptor of c's socket that the runtime's poller doesn't
// know, and ends c's own.
func detach(c *rawConn) (fd int, err error) {
	raw, err := c.Conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return -1, err
	}
	var errno syscall.Errno
	err = raw.Control(func(old uintptr) {
		r, _, e := syscall.Syscall(syscall.SYS_FCNTL, old, syscall.F_DUPFD_CLOEXEC, 0)
		fd, errno = int(r), e
	})
	if err == nil && errno != 0 {
		err = errno
	}
	if err != nil {
		return -1, err
	}
	return fd, c.Conn.Close()
}

// close ends the loop's connections in order.
func (lp *loop) close() {
	if lp == nil {
		return
	}
	for _, e := range lp.endpoints {
		if len(e.unsent) == 0 {
			epoll.Write(e.fd, packet.AppendDisconnect(nil, e.c.version, &packet.Disconnect{})) // the close says the same
		}
		epoll.Close(e.fd)
	}
	lp.timer.close()
	_ = lp.poll.Close() // nobody waits in it any more
}
