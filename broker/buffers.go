package broker

import (
	"sync"
	"unsafe"
)

// buffers shares byte buffers between connections, so that an idle one holds
// none, and a busy one makes none. They come in a few sizes. The zero buffers is
// ready for use.
type buffers struct {
	pools [len(bufferSizes)]sync.Pool // of *byte, the first of as many
}

// bufferSizes are far enough apart that a growing buffer is seldom copied, and
// near enough that one holds no more than four times what is in it.
var bufferSizes = [...]int{4 << 10, 16 << 10, 64 << 10, 256 << 10}

// take returns an empty buffer with room for n bytes.
func (bs *buffers) take(n int) []byte {
	for i, size := range bufferSizes {
		if n > size {
			continue
		}
		if p, ok := bs.pools[i].Get().(*byte); ok {
			return unsafe.Slice(p, size)[:0]
		}
		return make([]byte, 0, size)
	}
	return make([]byte, 0, n)
}

// give takes back a buffer that nobody uses any more. It may be one that take
// did not make, or nil.
func (bs *buffers) give(buf []byte) {
	for i, size := range bufferSizes {
		if cap(buf) == size {
			bs.pools[i].Put(unsafe.SliceData(buf))
			return
		}
	}
}

// grow makes room for n more bytes in buf, which is the caller's no more.
func (bs *buffers) grow(buf []byte, n int) []byte {
	if len(buf)+n <= cap(buf) {
		return buf
	}
	larger := append(bs.take(max(len(buf)+n, 2*cap(buf))), buf...)
	bs.give(buf)
	return larger
}

// keep appends p to buf. A few bytes, which may be kept for long, get no more
// room than they need.
func (bs *buffers) keep(buf, p []byte) []byte {
	const few = 1 << 10
	if len(buf)+len(p) > few {
		buf = bs.grow(buf, len(p))
	}
	return append(buf, p...)
}
