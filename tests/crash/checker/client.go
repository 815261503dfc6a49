package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/packet"
	"sallyport/tests/crash"
)

// role is what a client does with its connection. Its methods are called by
// the client's goroutine only.
type role interface {
	// hello is the next CONNECT.
	hello() *packet.Connect
	// welcome is called after CONNACK; last says that the connection has done its work.
	welcome(c *conn, ack *packet.Connack) (last bool, err error)
	// take handles a packet.
	take(c *conn, h packet.Header, body []byte) error
	// act does what is due and says when to call it again at the latest.
	act(c *conn, now time.Time) (next time.Time, err error)
}

// client is one MQTT client over all its connections. What it has to remember
// lives here and outlives them, and the broker.
type client struct {
	name string
	v    packet.Version
	run  *run
	rng  *rand.Rand // owned by the client's goroutine
	role role

	away atomic.Bool // it stays offline
	lazy bool        // its output waits for a while
	held time.Time   // until when

	mu sync.Mutex // guards the field below
	nc net.Conn   // nil when offline
}

// live connects again and again until ctx ends.
func (c *client) live(ctx context.Context) {
	for ctx.Err() == nil {
		if c.away.Load() || !c.run.up.Load() {
			pause(ctx, 2*time.Millisecond)
			continue
		}
		if err := c.once(ctx); err != nil {
			c.run.record(crash.Event{Kind: crash.Lost, Client: c.name, Note: err.Error()})
		}
		pause(ctx, time.Duration(c.rng.IntN(4000))*time.Microsecond)
	}
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// once is one connection from CONNECT to its end.
func (c *client) once(ctx context.Context) error {
	p, err := dial(c.run.addr, c.v)
	if err != nil {
		c.run.count("dial failed")
		return nil
	}
	c.held = time.Time{}
	c.mu.Lock()
	c.nc = p.nc
	c.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { _ = p.nc.Close() }) // so that every read ends
	defer func() {
		stop()
		c.mu.Lock()
		c.nc = nil
		c.mu.Unlock()
		_ = p.nc.Close()
	}()
	last, err := c.open(p)
	if err != nil || last {
		return err
	}
	return c.serve(p)
}

// open is CONNECT and what follows CONNACK.
func (c *client) open(p *conn) (last bool, err error) {
	hello := c.role.hello()
	c.run.record(crash.Event{Kind: crash.Connecting, Client: c.name, Clean: hello.CleanStart, Keep: keeps(hello)})
	ack, err := p.connect(hello)
	if err != nil {
		return false, fmt.Errorf("connect: %w", err)
	}
	if ack.Code != packet.Success {
		c.run.count("CONNECT refused")
		return false, fmt.Errorf("CONNECT refused with 0x%02x", byte(ack.Code))
	}
	c.run.record(crash.Event{Kind: crash.Connected, Client: c.name, Present: ack.SessionPresent})
	if last, err = c.role.welcome(p, ack); err != nil {
		return last, err
	}
	return last, p.flush()
}

// keeps reports whether the session outlives the connection.
func keeps(p *packet.Connect) bool {
	if p.Version == packet.V5 {
		return p.Props.SessionExpiry > 0
	}
	return !p.CleanStart
}

// serve reads and acts until the connection ends.
func (c *client) serve(p *conn) error {
	for {
		now := time.Now()
		next, err := c.role.act(p, now)
		if err != nil {
			return err
		}
		if c.lazy && len(p.out) > 0 {
			if c.held.IsZero() {
				c.held = now.Add(time.Duration(c.rng.IntN(40)) * time.Millisecond)
			}
			next = earlier(next, c.held)
		}
		if !c.lazy || !now.Before(c.held) {
			c.held = time.Time{}
			if err := p.flush(); err != nil {
				return err
			}
		}
		if err := p.fill(earlier(next, now.Add(100*time.Millisecond))); err != nil {
			return err
		}
		for {
			h, body, found, err := p.frame()
			if err != nil {
				return c.fault(crash.ID{}, "a packet from the broker: %v", err)
			}
			if !found {
				break
			}
			if h.Type == packet.DISCONNECT {
				return c.dismissed(h, body)
			}
			if err := c.role.take(p, h, body); err != nil {
				return err
			}
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// dismissed judges a DISCONNECT of the broker: these clients do nothing wrong.
func (c *client) dismissed(h packet.Header, body []byte) error {
	d, err := packet.DecodeDisconnect(c.v, h.Flags, body, packet.Limits{})
	if err != nil {
		return c.fault(crash.ID{}, "DISCONNECT: %v", err)
	}
	if d.Code == packet.SessionTakenOver || d.Code == packet.ServerShuttingDown {
		return fmt.Errorf("DISCONNECT 0x%02x", byte(d.Code))
	}
	return c.fault(crash.ID{}, "it is sent away with 0x%02x %s", byte(d.Code), d.Props.ReasonString)
}

var errFault = errors.New("fault of the broker")

// fault records what no broker may do, and returns the error that ends the connection.
func (c *client) fault(id crash.ID, format string, args ...any) error {
	c.run.record(crash.Event{Kind: crash.Fault, Client: c.name, Msg: id, Note: fmt.Sprintf(format, args...)})
	return errFault
}

// cut ends the present connection abruptly.
func (c *client) cut(reset bool) {
	c.mu.Lock()
	nc := c.nc
	c.mu.Unlock()
	if nc != nil {
		cut(nc, reset)
	}
}

// connectPacket is the CONNECT of a kept session.
func (c *client) connectPacket() *packet.Connect {
	p := &packet.Connect{Version: c.v, ClientID: c.name}
	if c.v == packet.V5 {
		p.Props.SessionExpiry = 24 * 3600
		p.Props.Mark(packet.PropSessionExpiry)
	}
	return p
}
