package listener

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/internal/turns"
)

// gated is a TLS listener whose handshakes stop in their midst until gate is
// closed; inside counts those that are there.
func gated(t *testing.T, o Options, wait func(func())) (l *Listener, client *tls.Config, gate chan struct{}, inside *atomic.Int64) {
	server, client := tlsPair(t)
	gate, inside = make(chan struct{}), new(atomic.Int64)
	configFor := server.GetConfigForClient
	server = server.Clone()
	server.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		wait(func() { inside.Add(1); <-gate; inside.Add(-1) })
		return configFor(hello)
	}
	o.Transport, o.TLS, o.HandshakeTimeout = TLS, server, time.Minute
	return start(t, o, echo), client, gate, inside
}

func TestHandshakesComputeInTurns(t *testing.T) {
	deal := turns.New(2)
	l, client, gate, inside := gated(t, Options{Turns: deal}, func(work func()) { work() })
	for range 30 {
		dial(t, l) // says nothing, and takes no turn
	}
	var all sync.WaitGroup
	for range 20 {
		c := dial(t, l)
		all.Go(func() { checkEcho(t, tls.Client(c, client), "hello") })
	}
	eventually(t, "who waits for a turn", func() int64 { _, waiting := deal.State(); return int64(waiting) }, 18)
	if got := inside.Load(); got != 2 {
		t.Errorf("%d handshakes compute at once, want 2", got)
	}
	close(gate)
	all.Wait()
	eventually(t, "who has a turn", func() int64 { running, _ := deal.State(); return int64(running) }, 0)
	eventually(t, "Handshaking", l.counts.Handshaking.Load, 30)
}

func TestWhatWaitsElsewhereHasNoTurn(t *testing.T) {
	deal := turns.New(1)
	l, client, gate, inside := gated(t, Options{Turns: deal}, deal.Outside)
	var all sync.WaitGroup
	for range 10 {
		c := dial(t, l)
		all.Go(func() { checkEcho(t, tls.Client(c, client), "hello") })
	}
	eventually(t, "who waits elsewhere", inside.Load, 10)
	close(gate)
	all.Wait()
	eventually(t, "who has a turn", func() int64 { running, _ := deal.State(); return int64(running) }, 0)
}

// What was displaced while it waited for its turn does no work with it.
func TestWhoHasGoneWorksNoMore(t *testing.T) {
	deal := turns.New(1)
	failed := make(chan error, 10)
	var entered atomic.Int64
	l, client, gate, inside := gated(t, Options{Turns: deal, MaxHandshakes: 3, Failed: func(_ *Info, err error) { failed <- err }}, func(work func()) { entered.Add(1); work() })
	var worked atomic.Int64
	begin := func() {
		c := tls.Client(dial(t, l), client)
		go func() {
			if c.Handshake() == nil {
				worked.Add(1)
			}
		}()
	}
	begin()
	eventually(t, "who computes", inside.Load, 1)
	begin()
	begin()
	eventually(t, "who waits for a turn", func() int64 { _, waiting := deal.State(); return int64(waiting) }, 2)
	l.mu.Lock()
	var last *place
	for _, s := range l.places.busiest {
		last = s.places.Back().Value.(*place)
	}
	l.places.release(last)
	l.mu.Unlock()
	l.displace(last)
	close(gate)
	if err := <-failed; !errors.Is(err, ErrDisplaced) {
		t.Errorf("%v, want %v", err, ErrDisplaced)
	}
	eventually(t, "who was served", worked.Load, 2)
	if got := entered.Load(); got != 2 {
		t.Errorf("%d handshakes computed, want 2", got)
	}
}

func TestFailedIsToldOfEveryHandshake(t *testing.T) {
	failed := make(chan error, 10)
	server, _ := tlsPair(t)
	l := start(t, Options{Transport: TLS, TLS: server, MaxHandshakes: 1, HandshakeTimeout: time.Minute,
		Failed: func(i *Info, err error) {
			if !i.Remote.IsValid() {
				t.Errorf("no address: %+v", i)
			}
			failed <- err
		}}, unexpected(t))
	first := dial(t, l)
	eventually(t, "Handshaking", l.counts.Handshaking.Load, 1)
	dial(t, l)
	if err := <-failed; !errors.Is(err, ErrCrowded) {
		t.Errorf("%v, want %v", err, ErrCrowded)
	}
	_, _ = first.Write([]byte("GET / HTTP/1.1\r\n\r\n"))
	if _, is := errors.AsType[tls.RecordHeaderError](<-failed); !is {
		t.Error("no TLS: another error")
	}
	last := dial(t, l)
	eventually(t, "Handshaking", l.counts.Handshaking.Load, 1)
	_ = last.(*net.TCPConn).SetLinger(0)
	_ = last.Close()
	<-failed
}

// A turn that comes too late is not used, whatever was read.
func TestALateTurnIsNotUsed(t *testing.T) {
	for want, c := range map[error]struct {
		gone     bool
		deadline time.Time
	}{
		net.ErrClosed:          {true, time.Now().Add(time.Hour)},
		os.ErrDeadlineExceeded: {false, time.Now().Add(-time.Second)},
		error(nil):             {false, time.Now().Add(time.Hour)},
	} {
		deal := turns.New(1)
		deal.Enter(netip.Prefix{})
		near, far := net.Pipe()
		var gone atomic.Bool
		p := &paced{Conn: near, turns: deal, deadline: c.deadline, gone: &gone}
		got := make(chan error, 1)
		go func() {
			_, err := p.Read(make([]byte, 1))
			got <- err
		}()
		if _, err := far.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		eventually(t, "who waits for a turn", func() int64 { _, waiting := deal.State(); return int64(waiting) }, 1)
		gone.Store(c.gone)
		deal.Leave()
		if err := <-got; err != want {
			t.Errorf("%v, want %v", err, want)
		}
		p.finish()
		if running, _ := deal.State(); running != 0 {
			t.Errorf("%d turns are left", running)
		}
		_ = far.Close()
	}
}
