//go:build unix

package broker

import (
	"io"
	"syscall"
)

// rawReads says that a socket can be read by its descriptor.
const rawReads = true

// tryRead reads once; false waits for readiness, and holds no buffer meanwhile.
func (r *reader) tryRead(fd uintptr) bool {
	r.take()
	for {
		n, err := syscall.Read(int(fd), r.buf[:])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			r.done()
			return false
		case err != nil:
			r.err = err
		case n == 0:
			r.err = io.EOF
		}
		if r.err != nil {
			r.done()
			return true
		}
		r.n = n
		return true
	}
}
