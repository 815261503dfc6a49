package broker

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"time"
)

// Pipe is a connection in memory: the driver for tests, and for whoever embeds
// the broker and needs a client without a socket. Bytes written to it are
// handled before Write returns, unless the connection waits; what the broker
// answers is read with Read.
type Pipe struct {
	conn *Conn

	// feeding serialises calls into conn.
	feeding sync.Mutex

	mu      sync.Mutex // guards the fields below
	arrived *sync.Cond
	in      []byte // written while the connection waits
	out     bytes.Buffer
	waiting bool
	resume  bool
	flushes bool // somebody takes output
	again   bool // and has to look once more
	stalled bool // output is not taken: a client that doesn't read
	closed  bool // by the broker
	hungUp  bool // by the client
	limbo   bool
}

// Pipe opens a connection in memory.
func (b *Broker) Pipe(info Info) (*Pipe, error) {
	p := &Pipe{}
	p.arrived = sync.NewCond(&p.mu)
	p.mu.Lock() // a shutdown may reach the connection before it is known here
	defer p.mu.Unlock()
	c, err := b.Open(pipeWire{p}, info)
	if err != nil {
		return nil, err
	}
	p.conn = c
	return p, nil
}

// Write sends bytes to the broker.
func (p *Pipe) Write(data []byte) (int, error) {
	p.mu.Lock()
	if p.closed || p.hungUp {
		p.mu.Unlock()
		return 0, io.ErrClosedPipe
	}
	p.in = append(p.in, data...)
	p.mu.Unlock()
	p.run()
	return len(data), nil
}

// run feeds the connection until it waits or there is no input. Whoever finds
// the connection being fed leaves the rest to the feeder.
func (p *Pipe) run() {
	for {
		if !p.feeding.TryLock() {
			return
		}
		for p.step() {
		}
		p.feeding.Unlock()
		p.mu.Lock()
		more := p.resume || len(p.in) > 0 && !p.waiting
		p.mu.Unlock()
		if !more {
			return
		}
	}
}

// step does one piece of work and reports whether there may be more. The caller holds feeding.
func (p *Pipe) step() bool {
	p.mu.Lock()
	switch {
	case p.closed:
		p.in, p.resume = nil, false
		p.mu.Unlock()
		return false
	case p.resume:
		p.resume = false
		p.mu.Unlock()
		more := p.conn.Continue()
		p.mu.Lock()
		p.waiting = !more
		p.mu.Unlock()
		pipeWire{p}.Flush()
		return true
	case p.waiting || len(p.in) == 0:
		p.mu.Unlock()
		return false
	}
	in := p.in
	p.in = nil
	p.mu.Unlock()
	more := p.conn.Feed(in)
	p.mu.Lock()
	p.waiting = !more
	p.mu.Unlock()
	pipeWire{p}.Flush()
	return true
}

// Read reads what the broker sent; io.EOF after it has closed.
func (p *Pipe) Read(buf []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.out.Len() == 0 {
		if p.closed || p.hungUp {
			return 0, io.EOF
		}
		p.arrived.Wait()
	}
	return p.out.Read(buf)
}

// Close ends the connection from the client's side, without a DISCONNECT.
func (p *Pipe) Close() error {
	p.mu.Lock()
	if p.hungUp {
		p.mu.Unlock()
		return errors.New("closed already")
	}
	p.hungUp = true
	gone := p.closed
	p.arrived.Broadcast()
	p.mu.Unlock()
	if !gone {
		p.conn.Gone(nil)
	}
	return nil
}

// Stall makes the client stop reading, or read again.
func (p *Pipe) Stall(on bool) {
	p.mu.Lock()
	p.stalled = on
	p.mu.Unlock()
	if !on {
		pipeWire{p}.Flush()
	}
}

// pipeWire is the broker's side of a Pipe.
type pipeWire struct{ p *Pipe }

// Flush implements Wire.
func (w pipeWire) Flush() {
	p := w.p
	p.mu.Lock()
	if p.stalled || p.hungUp {
		if !p.limbo {
			p.conn.WriteBegins()
		}
		p.limbo = true
		p.mu.Unlock()
		return
	}
	p.limbo = false
	p.conn.WriteEnds()
	p.again = true
	busy := p.flushes
	p.flushes = true
	p.mu.Unlock()
	if busy {
		return
	}
	// Drained may cause more output, and a Flush within this one.
	for w.again() {
		p.take()
		p.conn.Drained()
	}
}

// again reports whether there may be more to take; if not, the flush is over.
func (w pipeWire) again() bool {
	p := w.p
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flushes, p.again = p.again, false
	return p.flushes
}

// Resume implements Wire.
func (w pipeWire) Resume() {
	w.p.mu.Lock()
	w.p.resume = true
	w.p.mu.Unlock()
	w.p.run()
}

// Close implements Wire.
func (w pipeWire) Close(time.Duration) {
	p := w.p
	p.take()
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.closed = true
	gone := p.hungUp
	p.arrived.Broadcast()
	p.mu.Unlock()
	if !gone {
		p.conn.Gone(nil)
	}
}

// take moves the connection's output to where Read finds it.
func (p *Pipe) take() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		out := p.conn.TakeOutput(nil)
		if out == nil {
			break
		}
		p.out.Write(out)
	}
	p.arrived.Broadcast()
}
