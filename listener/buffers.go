package listener

import "sync"

// bufferSizes are the capacities that buffers keeps: a message alone, a usual
// flush, one TLS record, several, a full flush.
var bufferSizes = [...]int{512, 4 << 10, 20 << 10, 80 << 10, 320 << 10}

// buffers lends byte slices, so that an idle connection holds none. The zero
// value is ready. It is safe for use by several goroutines.
type buffers struct {
	full  [len(bufferSizes)]sync.Pool // of *[]byte
	empty sync.Pool                   // of *[]byte without a slice, so that put allocates none
}

// get returns an empty slice with room for n bytes.
func (b *buffers) get(n int) []byte {
	for class, size := range bufferSizes {
		if n > size {
			continue
		}
		holder, had := b.full[class].Get().(*[]byte)
		if !had {
			return make([]byte, 0, size)
		}
		p := *holder
		*holder = nil
		b.empty.Put(holder)
		return p
	}
	return make([]byte, 0, n+n/4)
}

// put takes a slice back that nobody uses any more; nil and slices of other
// capacities are left to the garbage collector.
func (b *buffers) put(p []byte) {
	for class, size := range bufferSizes {
		if cap(p) != size {
			continue
		}
		holder, had := b.empty.Get().(*[]byte)
		if !had {
			holder = new([]byte)
		}
		*holder = p[:0]
		b.full[class].Put(holder)
		return
	}
}

// append is the built-in append with lent memory: dst is given back when it
// had too little room.
func (b *buffers) append(dst, p []byte) []byte {
	if cap(dst)-len(dst) < len(p) {
		old := dst
		dst = append(b.get(len(old)+len(p)), old...)
		b.put(old)
	}
	return append(dst, p...)
}
