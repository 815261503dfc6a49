package client

import (
	"errors"
	"sync"
)

// outboxLimit is the number of bytes above which append waits for the writer.
const outboxLimit = 256 << 10

var errOutboxClosed = errors.New("the connection is ending")

// outbox collects encoded packets for the writer, which takes all of them at
// once: many small packets leave in one write.
type outbox struct {
	wake    chan struct{} // capacity 1: there is something to write
	drained chan struct{} // capacity 1: the writer has taken everything

	// mu guards the fields below. It is taken under Client.mu where the order
	// of packets must be that of the session, never the other way round.
	mu     sync.Mutex
	buf    []byte
	spare  []byte
	closed bool // nothing more is accepted
}

func newOutbox() *outbox {
	return &outbox{wake: make(chan struct{}, 1), drained: make(chan struct{}, 1)}
}

// append lets encode add to the output. It doesn't wait.
func (o *outbox) append(encode func([]byte) []byte) error { return o.add(encode, false) }

// last is append for a packet after which nothing may follow.
func (o *outbox) last(encode func([]byte) []byte) error { return o.add(encode, true) }

func (o *outbox) add(encode func([]byte) []byte, last bool) error {
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		return errOutboxClosed
	}
	o.buf = encode(o.buf)
	o.closed = last
	o.mu.Unlock()
	notify(o.wake)
	return nil
}

// full reports whether a caller that can wait should.
func (o *outbox) full() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.buf) > outboxLimit
}

// ending reports whether the last packet has been queued.
func (o *outbox) ending() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closed
}

// take returns what is to be written, valid until the next take, and whether
// it is the last.
func (o *outbox) take() (out []byte, last bool) {
	o.mu.Lock()
	out, last = o.buf, o.closed
	o.buf, o.spare = o.spare[:0], out
	o.mu.Unlock()
	notify(o.drained)
	return out, last
}

// notify leaves one token in a channel of capacity 1: whoever waits wakes, and
// a token that is there already says the same.
func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
