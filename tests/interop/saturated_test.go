package interop

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// echoer is a client that sends itself messages.
type echoer struct {
	conn  net.Conn
	frame []byte // the PUBLISH, as it is sent and as it comes back
}

// newEchoer connects to a listener as the fixture's user; a connection that
// doesn't serve within patience is an error.
func newEchoer(p place, topic string) (*echoer, error) {
	conn, err := dialPlace(p)
	if err != nil {
		return nil, err
	}
	e := &echoer{conn: conn}
	_ = conn.SetDeadline(time.Now().Add(6 * patience)) // a socket has one
	name := append([]byte{0, byte(len(topic))}, topic...)
	subscribe := append([]byte{0x82, byte(len(name) + 3), 0, 1}, append(name, 0)...)
	e.frame = append([]byte{0x30, byte(len(name) + 1)}, append(name, 'x')...)
	if err := e.exchange(connect311(), []byte{0x20, 2, 0, 0}); err != nil {
		return nil, err
	}
	return e, e.exchange(subscribe, []byte{0x90, 3, 0, 1, 0})
}

func (e *echoer) exchange(send, want []byte) error {
	if _, err := e.conn.Write(send); err != nil {
		return err
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(e.conn, got); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("got % x, want % x", got, want)
	}
	return nil
}

func (e *echoer) echo() error { return e.exchange(e.frame, e.frame) }

// errands are what is timed: a message over a plain connection, and what the
// loops don't do themselves.
func errands(t *testing.T, b *broker) map[string]func() error {
	t.Helper()
	plain, err := newEchoer(b.places["tcp"], "it/echo/plain")
	if err != nil {
		t.Fatal(err)
	}
	secure, err := newEchoer(b.places["tls"], "it/echo/tls")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = plain.conn.Close(); _ = secure.conn.Close() }) // the test is over
	control := &http.Client{Timeout: patience, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", b.file("control.sock"))
		},
	}}
	t.Cleanup(control.CloseIdleConnections)
	return map[string]func() error{
		"plain":                  plain.echo,
		"a TLS client's message": secure.echo,
		"a question to the control socket": func() error {
			r, err := control.Get("http://broker/api/v1/status")
			if err != nil {
				return err
			}
			defer r.Body.Close()
			if _, err := io.Copy(io.Discard, r.Body); err != nil || r.StatusCode != http.StatusOK {
				return fmt.Errorf("status %d, %v", r.StatusCode, err)
			}
			return nil
		},
		"a new connection": func() error {
			e, err := newEchoer(b.places["tcp"], "it/echo/new")
			if err != nil {
				return err
			}
			return e.conn.Close()
		},
		"a new TLS connection": func() error {
			e, err := newEchoer(b.places["tls"], "it/echo/new")
			if err != nil {
				return err
			}
			return e.conn.Close()
		},
	}
}

// timed does every errand n times, in turns, and returns the times of each in order.
func timed(t *testing.T, all map[string]func() error, n int) map[string][]time.Duration {
	t.Helper()
	took := map[string][]time.Duration{}
	for range n {
		for name, errand := range all {
			begin := time.Now()
			if err := errand(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			took[name] = append(took[name], time.Since(begin))
		}
	}
	for _, list := range took {
		slices.Sort(list)
	}
	return took
}

// flood publishes on n plain connections as fast as the broker reads, to topics
// that nobody hears: so it costs the broker far more than this process. stop ends
// it and returns how many megabytes the broker took.
func flood(t *testing.T, b *broker, n int) (stop func() int64) {
	t.Helper()
	var group sync.WaitGroup
	var taken atomic.Int64
	var conns []net.Conn
	for i := range n {
		e, err := newEchoer(b.places["tcp"], fmt.Sprintf("it/flood/%d", i))
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, e.conn)
		block := bytes.Repeat(bytes.Replace(e.frame, []byte("flood"), []byte("empty"), 1), 4096)
		group.Go(func() {
			for {
				k, err := e.conn.Write(block)
				taken.Add(int64(k))
				if err != nil {
					return // stopped
				}
			}
		})
	}
	return func() int64 {
		for _, c := range conns {
			_ = c.Close() // which ends the writers
		}
		group.Wait()
		return taken.Load() >> 20
	}
}

// TestASaturatedBrokerServesTheOthersToo loads the plain connections as far as
// they go. What others want then is measured against what a plain connection
// gets from the same loops at the same time, so that a busy machine does not
// decide. It is a coarse guard: a loop that gives others no turn at all fails it,
// one that gives them few turns may not.
func TestASaturatedBrokerServesTheOthersToo(t *testing.T) {
	t.Setenv("GOMAXPROCS", "1") // the broker's: one loop, and no processor beside it
	b := newBroker(t)
	all := errands(t, b)
	idle := timed(t, all, 50)
	stop := flood(t, b, 2)
	loaded := timed(t, all, 50)
	if mb := stop(); mb < 16 {
		t.Errorf("the broker took %d MB meanwhile: it was not saturated", mb)
	}
	for name := range all {
		for _, share := range []int{50, 90} {
			at := func(list []time.Duration) time.Duration { return list[len(list)*share/100] }
			took, plain, alone := at(loaded[name]), at(loaded["plain"]), at(idle[name])
			t.Logf("%s, p%d: %v beside the load, %v alone; a plain message %v beside it", name, share, took, alone, plain)
			if took > 10*(plain+alone) {
				t.Errorf("%s waits %v at p%d, more than ten times as long as alone (%v) and as a plain message (%v) together", name, took, share, alone, plain)
			}
		}
	}
	b.stop(t)
}
