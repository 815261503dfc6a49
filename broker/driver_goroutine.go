package broker

import (
	"io"
	"net"
	"sync"
	"time"
)

// readBuffer is the size of a read buffer, in bytes.
const readBuffer = 16 << 10

// writeChunk is how much one write takes at most, so that progress shows.
const writeChunk = 64 << 10

// Serve runs a connection on the calling goroutine until it is over: the
// driver for all platforms. It closes nc.
func (b *Broker) Serve(nc net.Conn, info Info) {
	w := &netWire{nc: nc, resume: make(chan struct{}, 1), closed: make(chan struct{})}
	w.idle = sync.NewCond(&w.mu)
	c, err := b.Open(w, info)
	if err != nil {
		_ = nc.Close() // nobody is there to be told
		return
	}
	w.conn = c
	err = w.read(newReader(nc, &b.readBuffers, c.expects))
	w.linger(err)
	_ = nc.Close() // it is over, whatever the close says
	if err == io.EOF {
		err = nil
	}
	c.Gone(err)
}

// netWire drives a Conn from a net.Conn: one goroutine reads, and whoever has
// output to write becomes its writer for as long as there is some.
type netWire struct {
	nc     net.Conn
	conn   *Conn
	resume chan struct{}
	closed chan struct{}

	mu       sync.Mutex // guards the fields below
	idle     *sync.Cond // no writer is at work
	flushing bool
	again    bool // output came while a writer was at work
	broken   bool // a write has failed: nothing more is written
	closing  bool
	hurry    bool // the peer waits for nothing
	grace    time.Duration
}

// read feeds the connection until it is over.
func (w *netWire) read(r *reader) error {
	for {
		buf, err := r.next()
		if err != nil {
			return err
		}
		more := w.conn.Feed(buf)
		r.done()
		w.flushNow()
		for !more {
			select {
			case <-w.closed:
				return nil
			case <-w.resume:
			}
			more = w.conn.Continue()
			w.flushNow()
		}
	}
}

// Flush implements Wire.
func (w *netWire) Flush() {
	if w.begin() {
		go w.write()
	}
}

// flushNow writes on the reader's own goroutine: while it can't, input has to wait anyway.
func (w *netWire) flushNow() {
	if w.begin() {
		w.write()
	}
}

// begin makes the caller the writer, unless there is one.
func (w *netWire) begin() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.flushing || w.broken {
		w.again = true
		return false
	}
	w.flushing = true
	return true
}

// write writes until no output is left.
func (w *netWire) write() {
	failed := false
	for {
		var out []byte
		for out = w.conn.TakeOutput(nil); len(out) > 0 && !failed; out = w.conn.TakeOutput(out) {
			failed = !w.writeAll(out)
		}
		if failed {
			break
		}
		w.mu.Lock()
		if !w.again {
			w.flushing = false
			w.idle.Broadcast()
			w.mu.Unlock()
			w.conn.Drained()
			return
		}
		w.again = false
		w.mu.Unlock()
	}
	w.mu.Lock()
	w.flushing, w.broken = false, true
	w.idle.Broadcast()
	w.mu.Unlock()
	// The peer has gone. What it had sent is still read, which finds its end.
	time.AfterFunc(closeGrace, func() { w.conn.end(ending{reason: "write failed"}) })
}

func (w *netWire) writeAll(out []byte) bool {
	for len(out) > 0 {
		w.conn.WriteBegins()
		n, err := w.nc.Write(out[:min(len(out), writeChunk)])
		w.conn.WriteEnds()
		if err != nil {
			return false
		}
		out = out[n:]
	}
	return true
}

// Resume implements Wire.
func (w *netWire) Resume() {
	select {
	case w.resume <- struct{}{}:
	default: // one signal is enough: Continue takes all that is ready
	}
}

// Close implements Wire.
func (w *netWire) Close(grace time.Duration) {
	w.mu.Lock()
	if w.closing {
		w.mu.Unlock()
		return
	}
	if grace == 0 {
		w.hurry, grace = true, closeGrace // output is written if it can be
	}
	w.closing, w.grace = true, grace
	w.mu.Unlock()
	now := time.Now()
	// The writer has until grace; the reader is woken at once. A connection that
	// can't take a deadline is closed hard.
	if w.nc.SetWriteDeadline(now.Add(grace)) != nil || w.nc.SetReadDeadline(now) != nil {
		_ = w.nc.Close() // nothing more can be done for it
	}
	close(w.closed)
}

// linger lets a last packet leave and be read: output is written, the sending
// side ended, and what still arrives thrown away, for a bounded time.
func (w *netWire) linger(err error) {
	w.mu.Lock()
	closing, grace, hurry := w.closing, w.grace, w.hurry
	if !closing && w.flushing {
		// The peer may have ended only its own sending side: what is on its way may arrive.
		_ = w.nc.SetWriteDeadline(time.Now().Add(closeGrace)) // else the write timeout bounds it
	}
	for w.flushing {
		w.idle.Wait()
	}
	w.mu.Unlock()
	if !closing || err == io.EOF {
		return
	}
	for out := w.conn.TakeOutput(nil); out != nil; out = w.conn.TakeOutput(out) {
		if !w.writeAll(out) {
			return
		}
	}
	cw, ok := w.nc.(interface{ CloseWrite() error })
	if hurry || !ok || cw.CloseWrite() != nil || w.nc.SetReadDeadline(time.Now().Add(grace)) != nil {
		return
	}
	// What is thrown away is bounded by time and by size; the error is the end.
	_, _ = io.CopyN(io.Discard, w.nc, 1<<20)
}
