package script_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/audit"
	"sallyport/broker"
	"sallyport/store"
	"sallyport/tests/script"
)

// socketWorld is a whole broker behind a real socket, with a clock that only
// Sleep moves.
//
// It is settled when all that was sent to the broker was read, all that the
// broker wrote has arrived, every connection that one side ended is over on the
// other too, and no goroutine of the process has anything to do. So the worlds of
// a process play one after the other.
type socketWorld struct {
	t       *testing.T
	broker  *broker.Broker
	loops   *broker.Loops // nil with the goroutine driver
	door    *door
	clock   *clock
	tick    chan time.Time
	still   *stillness
	ends    *ends
	dialled atomic.Uint32
	arrived chan netip.AddrPort
	read    atomic.Int64 // bytes that peers got from the broker

	// Owned by the script.
	peers  []*socketPeer
	sent   int64 // bytes given to the broker and not yet known to be read
	readAt int64 // the broker's count of bytes read when sent was 0
}

func newSocketWorld(t *testing.T, d driver, at *door, still *stillness, settings map[string]string) *socketWorld {
	t.Helper()
	w := &socketWorld{
		t: t, door: at, still: still, clock: &clock{start: time.Now()}, tick: make(chan time.Time),
		ends: &ends{of: map[string]bool{}}, arrived: make(chan netip.AddrPort, 1),
	}
	w.broker = startBroker(t, settings, broker.Options{Store: store.NewMemory(), Now: w.clock.Now, Tick: w.tick, Log: slog.New(w.ends)})
	if d.loops > 0 {
		var err error
		if w.loops, err = w.broker.NewLoops(d.loops); err != nil {
			t.Fatal(err)
		}
	}
	at.world.Store(w)
	t.Cleanup(w.close)
	return w
}

// close ends what the case has left, before the broker is closed.
func (w *socketWorld) close() {
	for _, p := range w.peers {
		p.Drop()
		<-p.done
	}
	w.broker.Shutdown(patience)
	if w.loops != nil {
		if w.loops.Calls().Controls == 0 {
			w.t.Error("the loops were given nothing: another driver served the case")
		}
		if err := w.loops.Close(); err != nil {
			w.t.Error(err)
		}
	}
	w.door.world.Store(nil)
}

// Dial implements script.World.
func (w *socketWorld) Dial(name string) (script.Peer, error) {
	if name != "" && name != "main" {
		return nil, fmt.Errorf("no listener %q", name)
	}
	nc, err := w.door.dial()
	if err != nil {
		return nil, err
	}
	p := &socketPeer{world: w, nc: nc, socket: nc, done: make(chan struct{})}
	if secure, ok := nc.(*tls.Conn); ok {
		p.socket = secure.NetConn()
	}
	select {
	case addr := <-w.arrived:
		p.addr = addr.String()
	case <-time.After(patience):
		_ = nc.Close() // it is of no use
		return nil, fmt.Errorf("the connection was not accepted within %v", patience)
	}
	w.peers = append(w.peers, p)
	go p.pump()
	return p, nil
}

// Sleep implements script.World.
func (w *socketWorld) Sleep(d time.Duration) {
	w.t.Helper()
	w.Settle()
	from := time.Duration(w.clock.moved.Load())
	for _, at := range turns(from, from+d) {
		w.clock.moved.Store(int64(at))
		asked := w.clock.asked.Load()
		// The second turn begins when the first one is over.
		w.turn()
		w.turn()
		if w.clock.asked.Load() != asked+2 {
			w.Settle() // something happened, which may go on by itself
		}
	}
	w.clock.moved.Store(int64(from + d))
}

func (w *socketWorld) turn() {
	w.t.Helper()
	select {
	case w.tick <- time.Time{}:
	case <-time.After(patience):
		w.t.Fatalf("the timers did not turn within %v", patience)
	}
}

// socketPeer collects what the broker sends to one connection.
type socketPeer struct {
	world  *socketWorld
	nc     net.Conn      // carries MQTT
	socket net.Conn      // the same without TLS
	addr   string        // as the broker's log has it
	done   chan struct{} // closed when over
	owed   bool          // it has sent what may not have been read; owned by the script

	mu   sync.Mutex // guards the fields below
	got  []byte
	over bool // ended by either side, and closed
}

// pump ends with the connection, and closes this end of it.
func (p *socketPeer) pump() {
	defer close(p.done)
	buf := make([]byte, 4096)
	for {
		n, err := p.nc.Read(buf)
		p.mu.Lock()
		p.got = append(p.got, buf[:n]...)
		if err != nil {
			_ = p.socket.Close() // Drop may have been first
			p.over = true
		}
		p.mu.Unlock()
		p.world.read.Add(int64(n))
		if err != nil {
			return
		}
	}
}

// Send implements script.Peer.
func (p *socketPeer) Send(b []byte) error {
	p.world.sent, p.owed = p.world.sent+int64(len(b)), true
	// A broker that doesn't read fails the test and doesn't hang it.
	if err := p.nc.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := p.nc.Write(b)
	return err
}

// Recv implements script.Peer.
func (p *socketPeer) Recv() ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.got
	p.got = nil
	if len(b) == 0 && p.over {
		return nil, io.EOF
	}
	return b, nil
}

// Drop implements script.Peer.
func (p *socketPeer) Drop() {
	_ = p.socket.Close() // the broker may have been first
}

func (p *socketPeer) isOver() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.over
}

// ends reads from the broker's log which connections it has ended.
type ends struct {
	mu sync.Mutex // guards of
	of map[string]bool
}

// has reports whether the broker has ended the connection from addr.
func (e *ends) has(addr string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.of[addr]
}

// Handle implements slog.Handler.
func (e *ends) Handle(_ context.Context, r slog.Record) error {
	switch r.Message {
	case string(audit.Disconnected), string(audit.ProtocolViolation), "connection closed before CONNECT was accepted":
		r.Attrs(func(a slog.Attr) bool {
			if a.Key == "addr" {
				e.mu.Lock()
				e.of[a.Value.String()] = true
				e.mu.Unlock()
			}
			return a.Key != "addr"
		})
	}
	return nil
}

// Enabled implements slog.Handler.
func (*ends) Enabled(context.Context, slog.Level) bool { return true }

// WithAttrs implements slog.Handler.
func (e *ends) WithAttrs([]slog.Attr) slog.Handler { return e }

// WithGroup implements slog.Handler.
func (e *ends) WithGroup(string) slog.Handler { return e }
