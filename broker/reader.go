package broker

import (
	"net"
	"sync"
	"syscall"
)

// reader reads from a connection without holding a buffer while it waits.
type reader struct {
	nc   net.Conn
	raw  syscall.RawConn // nil where the stream isn't the socket's own
	pool *sync.Pool
	buf  *[readBuffer]byte
	n    int
	err  error
	try  func(fd uintptr) bool
	one  [1]byte
	// expects is how many bytes of a packet are still to come at least.
	expects func() int
	// unwrap takes the framing off what was read from the socket itself; nil: there is none.
	unwrap deframer
}

// deframer is a stream, such as a WebSocket, whose framing can be taken off in place.
type deframer interface {
	Deframe(b []byte) ([]byte, error)
}

// rawReadable is what a plain socket offers besides net.Conn.
type rawReadable interface {
	SyscallConn() (syscall.RawConn, error)
}

func newReader(nc net.Conn, pool *sync.Pool, expects func() int) *reader {
	r := &reader{nc: nc, pool: pool, expects: expects}
	if s, ok := nc.(rawReadable); ok && rawReads {
		if raw, err := s.SyscallConn(); err == nil {
			r.raw = raw
			r.try = r.tryRead
			r.unwrap, _ = nc.(deframer)
		}
	}
	return r
}

// next waits for bytes. They are valid until done is called.
func (r *reader) next() ([]byte, error) {
	if r.raw != nil {
		if r.err != nil {
			return nil, r.err
		}
		if err := r.raw.Read(r.try); err != nil {
			return nil, err
		}
		if r.buf == nil {
			return nil, r.err
		}
		if r.unwrap == nil {
			return r.buf[:r.n], nil
		}
		var p []byte
		// What came before an error is handled first.
		p, r.err = r.unwrap.Deframe(r.buf[:r.n])
		return p, nil
	}
	if r.err != nil {
		return nil, r.err
	}
	return r.nextByTwo()
}

// nextByTwo is next for a stream that can't tell when it has something, TLS for
// one: a read of one byte waits, and a second one takes what came with it. The
// second could wait too, so it is left out where that byte was the packet's last.
func (r *reader) nextByTwo() ([]byte, error) {
	rest := r.expects() - 1
	n, err := r.nc.Read(r.one[:])
	if n == 0 {
		return nil, err
	}
	r.take()
	r.buf[0] = r.one[0]
	r.n = 1
	if err == nil && rest > 0 {
		n, err = r.nc.Read(r.buf[1:])
		r.n += n
	}
	r.err = err // what came before an error is handled first
	return r.buf[:r.n], nil
}

func (r *reader) take() {
	if r.buf == nil {
		r.buf, _ = r.pool.Get().(*[readBuffer]byte)
		if r.buf == nil {
			r.buf = new([readBuffer]byte)
		}
	}
}

// done gives the buffer back.
func (r *reader) done() {
	if r.buf != nil {
		r.pool.Put(r.buf)
		r.buf = nil
	}
}
