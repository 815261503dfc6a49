package bench

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync/atomic"
	"time"

	"sallyport/packet"
)

// connectStorm opens Connections connections, each closed after its CONNACK.
// With a rate, the time of each runs from when it was due.
func (r *run) connectStorm(ctx context.Context) error {
	r.Progress(fmt.Sprintf("opening %d connections, %d at a time", r.Connections, r.Concurrency))
	h := new(histogram)
	var resumed, encrypted atomic.Int64
	usage, begin := r.proc.sample(), r.now()
	err := r.each(ctx, r.Connections, func(i int) error {
		from, err := r.await(ctx, begin, i)
		if err != nil {
			return err
		}
		c, err := r.openOnce(ctx, i)
		if err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
		took := r.now() - from
		h.mu.Lock()
		h.record(took)
		h.mu.Unlock()
		if t, ok := c.Conn.(*tls.Conn); ok {
			encrypted.Add(1)
			if t.ConnectionState().DidResume {
				resumed.Add(1)
			}
		}
		c.bye()
		return nil
	})
	if err != nil {
		return err
	}
	rep := r.report
	rep.Payload, rep.Window, rep.Connections, rep.Concurrency = 0, 0, r.Connections, r.Concurrency
	rep.Seconds = time.Duration(r.now() - begin).Seconds()
	rep.PerSecond = float64(r.Connections) / rep.Seconds
	rep.Latency = h.latency()
	rep.addCPU("connection", usage, r.proc.sample(), uint64(r.Connections))
	if encrypted.Load() > 0 {
		rep.set("tls_resumed_share", float64(resumed.Load())/float64(encrypted.Load()))
	}
	return nil
}

// await returns when connection i is due, and since when it is.
func (r *run) await(ctx context.Context, begin int64, i int) (from int64, err error) {
	if r.Rate == 0 {
		return r.now(), nil
	}
	from = begin + int64(float64(i)/r.Rate*float64(time.Second))
	for wait := from - r.now(); wait > 0; wait = from - r.now() {
		if err := sleep(ctx, time.Duration(wait)); err != nil {
			return 0, err
		}
	}
	return from, nil
}

// openOnce connects without keeping the connection for the end of the run.
func (r *run) openOnce(ctx context.Context, i int) (*rawConn, error) {
	nc, err := r.Dial(ctx)
	if err != nil {
		return nil, err
	}
	c := &rawConn{Conn: nc, version: r.Version, limit: 64 << 10}
	if err := c.handshake(ctx, r.hello(fmt.Sprintf("b%08x-c%d", uint32(r.id), i), true)); err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

// idle holds Connections connections for Duration and asks at the end whether
// they are alive. The memory of one is the slope over the last three quarters,
// so that what the broker makes once doesn't count.
func (r *run) idle(ctx context.Context) error {
	r.Progress(fmt.Sprintf("opening %d connections", r.Connections))
	conns := make([]*rawConn, r.Connections)
	open := func(from, to int) error {
		return r.each(ctx, to-from, func(i int) (err error) {
			conns[from+i], err = r.open(ctx, r.hello(fmt.Sprintf("b%08x-i%d", uint32(r.id), from+i), true))
			if err != nil {
				return fmt.Errorf("connection %d: %w", from+i, err)
			}
			// Nothing more is read but a PINGRESP: the buffers are better spent.
			conns[from+i].release()
			return nil
		})
	}
	begin, quarter := r.now(), r.Connections/4
	if err := open(0, quarter); err != nil {
		return err
	}
	first := r.proc.sample()
	if err := open(quarter, r.Connections); err != nil {
		return err
	}
	rep := r.report
	rep.Payload, rep.Window, rep.Connections, rep.Concurrency = 0, 0, r.Connections, r.Concurrency
	rep.Seconds = time.Duration(r.now() - begin).Seconds()
	rep.PerSecond = float64(r.Connections) / rep.Seconds
	full := r.proc.sample()
	rep.addMemory("rss_bytes_per_connection", first, full, r.Connections-quarter)
	r.Progress(fmt.Sprintf("holding them for %v", r.Duration))
	if err := sleep(ctx, r.Duration); err != nil {
		return err
	}
	if idle := r.proc.sample(); full.known && idle.known && r.Duration > 0 {
		rep.set("broker_idle_cpu_cores", (idle.cpu-full.cpu).Seconds()/r.Duration.Seconds())
	}
	return r.roll(ctx, conns)
}

// roll calls every connection; what doesn't answer is lost.
func (r *run) roll(ctx context.Context, conns []*rawConn) error {
	var alive atomic.Uint64
	h := new(histogram)
	err := r.each(ctx, len(conns), func(i int) error {
		from := r.now()
		if conns[i].ping(ctx) != nil {
			return nil // counted below
		}
		alive.Add(1)
		h.mu.Lock()
		h.record(r.now() - from)
		h.mu.Unlock()
		return nil
	})
	r.report.Latency = h.latency()
	r.report.Sent, r.report.Expected, r.report.Delivered = uint64(len(conns)), uint64(len(conns)), alive.Load()
	r.report.Lost = r.report.Expected - r.report.Delivered
	return err
}

func (c *rawConn) ping(ctx context.Context) error {
	stop := c.interrupt(ctx)
	defer stop()
	if _, err := c.Write(packet.AppendPing(nil, packet.PINGREQ)); err != nil {
		return err
	}
	h, body, err := c.read()
	if err == nil && h.Type != packet.PINGRESP {
		err = unexpected(c.version, h, body)
	}
	c.release()
	return err
}
