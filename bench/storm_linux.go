package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"

	"sallyport/internal/epoll"
	"sallyport/packet"
)

// storm opens connections on one event loop, some at a time, each closed after
// its CONNACK.
type storm struct {
	*storms
	family  int
	to      syscall.Sockaddr // not shared: a call writes into it
	poll    *epoll.Poll
	timer   *timer
	latency histogram
	calls   []call
	free    []int // indexes of calls without a socket
	held    int   // the connection that this loop begins next; -1: none is taken
	in, out []byte
}

// storms is what the loops share.
type storms struct {
	r     *run
	begin int64        // when connection 0 is due
	next  atomic.Int64 // the connection that no loop has taken
	done  atomic.Int64
	ended atomic.Bool
}

// call is one connection, from its opening to its CONNACK.
type call struct {
	fd       int
	number   int
	from     int64
	greeting bool   // CONNECT is yet to be sent: the socket isn't connected
	part     []byte // of a CONNACK
}

// stormLoops opens Connections connections with event loops, one for each
// processor, if the broker is reached with nothing but TCP; else it reports false.
func (r *run) stormLoops(ctx context.Context, begin int64, h *histogram) (looping bool, err error) {
	if r.Plain == "" {
		return false, nil
	}
	addr, err := net.ResolveTCPAddr("tcp", r.Plain)
	if err != nil {
		return false, err
	}
	shared := &storms{r: r, begin: begin}
	all := make([]*storm, min(runtime.GOMAXPROCS(0), r.Concurrency))
	for i := range all {
		if all[i], err = newStorm(shared, addr, (r.Concurrency+i)/len(all)); err != nil {
			return false, err
		}
		r.atEnd(all[i].close)
	}
	r.report.Generator = fmt.Sprintf("%d event loops", len(all))
	var running sync.WaitGroup
	for _, s := range all {
		running.Add(1)
		r.goroutine("connection", func() error { defer running.Done(); return s.run() })
	}
	finished := func() bool { return shared.done.Load() >= int64(r.Connections) }
	err = until(ctx, handshakeTimeout, finished, func() uint64 { return uint64(shared.done.Load()) })
	if errors.Is(err, errStalled) {
		err = errors.New("no CONNACK")
	}
	shared.ended.Store(true)
	for _, s := range all {
		s.poll.Wake()
	}
	running.Wait()
	for _, s := range all {
		h.merge(&s.latency)
	}
	return true, err
}

// aim makes a socket address of addr.
func (s *storm) aim(addr *net.TCPAddr) error {
	if ip := addr.IP.To4(); ip != nil {
		s.family, s.to = syscall.AF_INET, &syscall.SockaddrInet4{Port: addr.Port, Addr: [4]byte(ip)}
	} else if ip := addr.IP.To16(); ip != nil && addr.Zone == "" {
		s.family, s.to = syscall.AF_INET6, &syscall.SockaddrInet6{Port: addr.Port, Addr: [16]byte(ip)}
	} else {
		return fmt.Errorf("%s is not an address to connect to", s.r.Plain)
	}
	return nil
}

func newStorm(shared *storms, addr *net.TCPAddr, width int) (*storm, error) {
	s := &storm{storms: shared, calls: make([]call, width), free: make([]int, width), held: -1, in: make([]byte, 64<<10)}
	for i := range s.free {
		s.calls[i].fd, s.free[i] = -1, i
	}
	err := s.aim(addr)
	if err != nil {
		return nil, err
	}
	if s.poll, err = epoll.New(); err != nil {
		return nil, err
	}
	if s.timer, err = newTimer(s.poll); err != nil {
		_ = s.poll.Close() // nobody waits in it
		return nil, err
	}
	return s, nil
}

func (s *storm) close() {
	for i := range s.calls {
		if s.calls[i].fd >= 0 {
			epoll.Close(s.calls[i].fd)
		}
	}
	s.timer.close()
	_ = s.poll.Close() // nobody waits in it any more
}

// run opens connections until there is none left or the run ends.
func (s *storm) run() error {
	for !s.ended.Load() {
		if err := s.dial(); err != nil {
			return err
		}
		events, err := s.poll.Ready(), error(nil)
		if events == 0 {
			events, err = s.poll.Park()
		}
		for i := 0; i < events && err == nil; i++ {
			if data, _ := s.poll.Event(i); data != timerData {
				err = s.serve(int(data))
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// dial begins as many connections as may be and are due.
func (s *storm) dial() error {
	for len(s.free) > 0 {
		if s.held < 0 {
			n := int(s.next.Add(1)) - 1
			if n >= s.r.Connections {
				return nil
			}
			s.held = n
		}
		from := s.r.now()
		if s.r.Rate > 0 {
			due := s.r.dueAt(s.begin, s.held)
			if due > from {
				return s.timer.arm(from, due)
			}
			from = due
		}
		i := s.free[len(s.free)-1]
		s.free = s.free[:len(s.free)-1]
		c := &s.calls[i]
		c.number, c.from, c.part = s.held, from, c.part[:0]
		s.held = -1
		if err := s.open(i); err != nil {
			return fmt.Errorf("connection %d: %w", c.number, err)
		}
	}
	return nil
}

// open makes a socket and sends CONNECT as soon as it is connected, which on
// loopback is at once.
func (s *storm) open(i int) error {
	c := &s.calls[i]
	fd, err := syscall.Socket(s.family, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	c.fd = fd
	err = syscall.Connect(fd, s.to)
	if c.greeting = err == syscall.EINPROGRESS; c.greeting {
		return s.poll.Add(fd, uint64(i), epoll.In|epoll.Out)
	}
	if err != nil {
		return err
	}
	if err := s.poll.Add(fd, uint64(i), epoll.In); err != nil {
		return err
	}
	return s.greet(c)
}

// greet sends CONNECT. A new socket takes that much. Not by epoll.Write: the race
// detector is to see that what was before a connection is before its serving.
func (s *storm) greet(c *call) error {
	n := s.r.clientOf(c.number)
	s.out = packet.AppendConnect(s.out[:0], s.r.hello(n, "c", n, true))
	if n, err := syscall.Write(c.fd, s.out); err != nil {
		return err
	} else if n < len(s.out) {
		return io.ErrShortWrite
	}
	return nil
}

// serve goes on with a call whose socket is ready.
func (s *storm) serve(i int) error {
	c := &s.calls[i]
	over, err := s.step(c, uint64(i))
	if err != nil {
		return fmt.Errorf("connection %d: %w", c.number, err)
	}
	if over {
		epoll.Close(c.fd)
		c.fd = -1
		s.free = append(s.free, i)
		s.done.Add(1)
	}
	return nil
}

// step returns true when the CONNACK came.
func (s *storm) step(c *call, data uint64) (over bool, err error) {
	if c.greeting {
		if code, err := syscall.GetsockoptInt(c.fd, syscall.SOL_SOCKET, syscall.SO_ERROR); err != nil || code != 0 {
			if err == nil {
				err = syscall.Errno(code)
			}
			return false, err
		}
		c.greeting = false
		if err := s.poll.Modify(c.fd, data, epoll.In); err != nil {
			return false, err
		}
		return false, s.greet(c)
	}
	n, errno := epoll.Read(c.fd, s.in)
	switch {
	case errno == syscall.EAGAIN:
		return false, nil
	case errno != 0:
		return false, fmt.Errorf("no CONNACK: %w", errno)
	case n == 0:
		return false, fmt.Errorf("no CONNACK: %w", io.EOF)
	}
	c.part = append(c.part, s.in[:n]...)
	h, head, err := packet.ReadHeader(c.part)
	if err != nil {
		return false, err
	}
	if head+h.Length > len(s.in) {
		return false, fmt.Errorf("%s of %d bytes in place of CONNACK", h.Type, head+h.Length)
	}
	if head == 0 || len(c.part) < head+h.Length {
		return false, nil
	}
	if _, err := welcome(s.r.Version, h, c.part[head:head+h.Length]); err != nil {
		return false, err
	}
	s.latency.record(s.r.now() - c.from)
	epoll.Write(c.fd, packet.AppendDisconnect(s.out[:0], s.r.Version, &packet.Disconnect{})) // the close says the same
	return true, nil
}
