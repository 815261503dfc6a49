package bench

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/packet"
)

// introductions is how many clients connect for the first time at once: a broker
// that hashes passwords may turn a crowd of them away.
const introductions = 8

// connectStorm opens Connections connections, each closed after its CONNACK.
// With a rate, the time of each runs from when it was due.
func (r *run) connectStorm(ctx context.Context) error {
	if r.Clients > 0 {
		r.Progress(fmt.Sprintf("connecting %d clients once", r.Clients))
		err := abreast(ctx, r.Clients, min(r.Concurrency, introductions), func(i int) error {
			c, err := r.openOnce(ctx, i)
			if err != nil {
				return fmt.Errorf("client %d: %w", i, err)
			}
			c.awaitBye() // so that a reconnection doesn't find it connected
			return nil
		})
		if err != nil {
			return err
		}
	}
	r.Progress(fmt.Sprintf("opening %d connections, %d at a time", r.Connections, r.Concurrency))
	r.settle(ctx)
	h := new(histogram)
	usage, begin := r.sample(), r.now()
	peak := r.watchMemory(usage)
	looping, err := r.stormLoops(ctx, begin, h)
	if err == nil && !looping {
		err = r.stormGoroutines(ctx, begin, h)
	}
	grown := peak()
	if err != nil {
		return err
	}
	rep := r.report
	rep.Payload, rep.Window, rep.Connections, rep.Concurrency = 0, 0, r.Connections, r.Concurrency
	rep.Seconds = time.Duration(r.now() - begin).Seconds()
	rep.PerSecond = float64(r.Connections) / rep.Seconds
	rep.Latency = h.latency()
	rep.addCPU("connection", usage, r.sample(), uint64(r.Connections))
	if usage.broker.known {
		rep.set("broker_rss_bytes_peak_growth", float64(grown))
	}
	return nil
}

// stormGoroutines opens the connections with Concurrency goroutines.
func (r *run) stormGoroutines(ctx context.Context, begin int64, h *histogram) error {
	r.report.Generator = "goroutines"
	return r.each(ctx, r.Connections, func(i int) error {
		from, err := r.await(ctx, begin, i)
		if err != nil {
			return err
		}
		c, err := r.openOnce(ctx, r.clientOf(i))
		if err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
		took := r.now() - from
		h.mu.Lock()
		h.record(took)
		h.mu.Unlock()
		r.secured.see(c)
		c.bye()
		return nil
	})
}

// clientOf is the number of the client that makes connection i.
func (r *run) clientOf(i int) int {
	if r.Clients > 0 {
		return i % r.Clients
	}
	return i
}

// dueAt is when connection i is due.
func (r *run) dueAt(begin int64, i int) int64 {
	return begin + int64(float64(i)/r.Rate*float64(time.Second))
}

// watchMemory samples the broker's memory until the returned function is called,
// which says by how many bytes it was above from at most.
func (r *run) watchMemory(from cost) (peak func() int64) {
	if r.proc == nil {
		return func() int64 { return 0 }
	}
	var most int64
	look := func() { most = max(most, r.proc.sample().rss-from.broker.rss) }
	stop := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				look()
			}
		}
	})
	return func() int64 {
		close(stop)
		wait.Wait()
		look()
		return most
	}
}

// settle leaves the broker alone for a while, if its memory is to be read.
func (r *run) settle(ctx context.Context) {
	if r.proc != nil {
		_ = sleep(ctx, r.Settle) // the next step fails if ctx has ended
	}
}

// await returns when connection i is due, and since when it is.
func (r *run) await(ctx context.Context, begin int64, i int) (from int64, err error) {
	if r.Rate == 0 {
		return r.now(), nil
	}
	from = r.dueAt(begin, i)
	for wait := from - r.now(); wait > 0; wait = from - r.now() {
		if err := sleep(ctx, time.Duration(wait)); err != nil {
			return 0, err
		}
	}
	return from, nil
}

// openOnce connects client n without keeping the connection for the end of the run.
func (r *run) openOnce(ctx context.Context, n int) (*rawConn, error) {
	nc, err := r.Dial(ctx)
	if err != nil {
		return nil, err
	}
	c := &rawConn{Conn: nc, version: r.Version, limit: 64 << 10}
	if err := c.handshake(ctx, r.hello(n, "c", n, true)); err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

// idle holds Connections connections for Duration and asks at the end whether
// they are alive. The memory of one is the slope from SlopeFrom connections on,
// so that what the broker makes once doesn't count.
func (r *run) idle(ctx context.Context) error {
	conns := make([]*rawConn, r.Connections)
	open := func(from, to int) error {
		r.Progress(fmt.Sprintf("opening connections %d to %d", from+1, to))
		return r.each(ctx, to-from, func(i int) (err error) {
			n := from + i
			conns[n], err = r.open(ctx, r.hello(n, "i", n, true))
			if err != nil {
				return fmt.Errorf("connection %d: %w", n, err)
			}
			// Nothing more is read but a PINGRESP: the buffers are better spent.
			conns[n].release()
			return nil
		})
	}
	first := r.SlopeFrom
	if first == 0 {
		first = r.Connections / 4
	}
	begin := r.now()
	if err := open(0, first); err != nil {
		return err
	}
	took := r.now() - begin
	r.settle(ctx)
	low := r.sample()
	begin = r.now()
	if err := open(first, r.Connections); err != nil {
		return err
	}
	took += r.now() - begin
	rep := r.report
	rep.Payload, rep.Window, rep.Connections, rep.Concurrency = 0, 0, r.Connections, r.Concurrency
	rep.Seconds = time.Duration(took).Seconds()
	rep.PerSecond = float64(r.Connections) / rep.Seconds
	r.settle(ctx)
	full := r.sample()
	rep.addMemory("rss_bytes_per_connection", low, full, r.Connections-first)
	rep.set("slope_from_connections", float64(first))
	if full.broker.known {
		rep.set("broker_rss_bytes", float64(full.broker.rss))
	}
	r.Progress(fmt.Sprintf("holding them for %v", r.Duration))
	if err := sleep(ctx, r.Duration); err != nil {
		return err
	}
	if total, _, _, known := r.sample().broker.since(full.broker); known && r.Duration > 0 {
		rep.set("broker_idle_cpu_cores", total.Seconds()/r.Duration.Seconds())
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
