package bench

import (
	"context"
	"fmt"
	"sync"
	"time"

	"sallyport/packet"
)

// churners is how many connections share the churn, so that its rate holds while
// the broker takes a while to answer.
const churners = 32

// churn is subscriptions that come and go beside a scenario.
type churn struct {
	r       *run
	ctx     context.Context // of the run and of stop
	stop    context.CancelFunc
	begin   int64
	wait    sync.WaitGroup
	latency histogram // its mu guards it
}

// startChurn subscribes and unsubscribes Churn times a second on connections of
// its own, whose clients have the numbers from firstUser on. nil: there is none.
func (r *run) startChurn(ctx context.Context, firstUser int) (*churn, error) {
	if r.Churn == 0 {
		return nil, nil
	}
	conns := make([]*rawConn, churners)
	for i := range conns {
		var err error
		if conns[i], err = r.open(ctx, r.hello(firstUser+i, "x", i, true)); err != nil {
			return nil, fmt.Errorf("connect for the churn: %w", err)
		}
	}
	x := &churn{r: r, begin: r.now()}
	x.ctx, x.stop = context.WithCancel(ctx)
	for i, c := range conns {
		x.wait.Add(1)
		r.goroutine("churn", func() error { defer x.wait.Done(); return x.run(c, i) })
	}
	return x, nil
}

// run makes every churners-th turn from first on when it is due. Every fourth
// filter has a wildcard at the level where the scenario's topics differ.
func (x *churn) run(c *rawConn, first int) error {
	for n := first; ; n += churners {
		due := x.begin + int64(float64(n)/x.r.Churn*float64(time.Second))
		if sleep(x.ctx, time.Duration(max(0, due-x.r.now()))) != nil {
			return nil // it is over
		}
		filter := fmt.Sprintf("%s/churn/%d", x.r.prefix, n)
		if n%4 == 3 {
			filter = fmt.Sprintf("%s/+/churn/%d", x.r.prefix, n)
		}
		from := x.r.now()
		if err := c.turnOver(filter, x.r.QoS); err != nil {
			return err
		}
		took := x.r.now() - from
		x.latency.mu.Lock()
		x.latency.record(took)
		x.latency.mu.Unlock()
	}
}

// end stops the churn and reports it.
func (x *churn) end() {
	if x == nil {
		return
	}
	seconds := time.Duration(x.r.now() - x.begin).Seconds()
	x.stop()
	x.wait.Wait()
	rep, rate := x.r.report, float64(x.latency.total)/seconds
	rep.set("churn_per_second", rate)
	rep.set("churn_p50_us", float64(x.latency.quantile(.5))/1e3)
	rep.set("churn_p99_us", float64(x.latency.quantile(.99))/1e3)
	if rate < .9*x.r.Churn {
		rep.Warnings = append(rep.Warnings, fmt.Sprintf("the churn was %.0f/s in place of %.0f/s: the broker answered too slowly", rate, x.r.Churn))
	}
}

// turnOver subscribes to filter and gives it up again.
func (c *rawConn) turnOver(filter string, qos byte) error {
	// Not bound to the run's context: an exchange that has begun is finished.
	err := c.subscribe(context.Background(), qos, []string{filter}, func(h packet.Header, body []byte) error {
		return unexpected(c.version, h, body)
	})
	if err != nil {
		return err
	}
	stop := c.interrupt(context.Background())
	defer stop()
	u := packet.Unsubscribe{PacketID: 1, Filters: []string{filter}}
	if _, err := c.Write(packet.AppendUnsubscribe(nil, c.version, &u)); err != nil {
		return err
	}
	h, body, err := c.read()
	if err != nil {
		return fmt.Errorf("no UNSUBACK: %w", err)
	}
	if h.Type != packet.UNSUBACK {
		return unexpected(c.version, h, body)
	}
	ack, err := packet.DecodeSubAck(c.version, h.Type, h.Flags, body, packet.Limits{})
	if err != nil {
		return err
	}
	for _, code := range ack.Codes {
		if code >= 0x80 {
			return fmt.Errorf("unsubscription from %s answered with 0x%02x", filter, byte(code))
		}
	}
	return nil
}
