package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	load "sallyport/bench"
)

const warmup = time.Second // of each measurement of those who are served

// remote is the fleet, in a process of its own.
type remote struct {
	in      io.WriteCloser
	out     *bufio.Reader
	wait    func() error
	saidBad *strings.Builder
}

// startFleet starts the fleet, which ends with ctx or its own end.
func (b *bench) startFleet(ctx context.Context, v *broker, proof string) (*remote, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := child(ctx, b.rest, "nice", "-n", "19", self, "-fleet", v.fleet, "-clients", fmt.Sprint(b.clients),
		"-networks", fmt.Sprint(b.networks), "-patience", b.patience.String())
	f := &remote{wait: cmd.Wait, saidBad: new(strings.Builder)}
	cmd.Stderr = f.saidBad
	if f.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	f.out = bufio.NewReader(out)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if _, err := f.order("prove " + proof); err != nil {
		return nil, errors.Join(err, f.end())
	}
	return f, nil
}

// order has the fleet obey one line.
func (f *remote) order(line string) (a arrival, err error) {
	if _, err := fmt.Fprintln(f.in, line); err != nil {
		return a, fmt.Errorf("the fleet is gone: %w", err)
	}
	answer, err := f.out.ReadBytes('\n')
	if err != nil {
		return a, fmt.Errorf("the fleet is gone: %w", err)
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		return a, err
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

func (f *remote) end() error {
	_ = f.in.Close() // which ends it
	if err := f.wait(); err != nil {
		return fmt.Errorf("the fleet: %w %s", err, f.saidBad)
	}
	return nil
}

// served is how messages fare between clients that are served.
func (b *bench) served(ctx context.Context, v *broker) (*load.Latency, error) {
	host, port, err := net.SplitHostPort(v.traffic)
	if err != nil {
		return nil, err
	}
	cmd := child(ctx, b.rest, b.path("sallyport"), "bench", "p2p", "--json", "-h", host, "-p", port, "-q", "1",
		"--pairs", fmt.Sprint(b.pairs), "--rate", fmt.Sprint(b.rate), "--duration", b.duration.String(), "--warmup", warmup.String())
	var out, complaint strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err = cmd.Run()
	report := new(load.Report)
	if json.Unmarshal([]byte(out.String()), report) != nil || report.Latency == nil {
		return nil, fmt.Errorf("sallyport bench: %w %s", err, complaint.String())
	}
	if !report.OK() {
		return nil, fmt.Errorf("messages were lost, doubled, refused or out of order: %+v", report)
	}
	return report.Latency, nil
}

// phase is what was measured while a fleet came, and just before.
type phase struct {
	quiet, during load.Latency
	arrivals      []arrival
	cpu           time.Duration // of each login, beyond what the messages cost
	seconds       float64       // until all were connected; of several times the median
	perSecond     float64       // logins while they came
	busy, late    int           // attempts for each time that the fleet came
}

// measure has the fleet come, once, or with again after a cut and again and again for as
// long as those who are served are looked at.
func (b *bench) measure(ctx context.Context, v *broker, f *remote, again bool) (*phase, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	began, from, err := time.Now(), time.Duration(0), error(nil)
	if from, err = load.CPU(v.pid); err != nil {
		return nil, err
	}
	quiet, err := b.served(ctx, v)
	if err != nil {
		return nil, err
	}
	to, err := load.CPU(v.pid)
	if err != nil {
		return nil, err
	}
	share := (to - from).Seconds() / time.Since(began).Seconds() // of a core, for the messages

	w := b.watch(ctx, v)
	p, err := b.arrive(ctx, v, f, again, share, w.first)
	during, watchErr := w.end()
	if err := errors.Join(err, watchErr); err != nil {
		return nil, err
	}
	p.quiet, p.during = *quiet, *during
	return p, nil
}

// arrive has the fleet come. share is what the broker needs of a core without it; with
// again it comes until first is closed.
func (b *bench) arrive(ctx context.Context, v *broker, f *remote, again bool, share float64, first <-chan struct{}) (*phase, error) {
	select { // so that those who are served are connected, and warm
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(warmup + warmup/2):
	}
	from, err := load.CPU(v.pid)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	p := &phase{}
	for over := false; !over; {
		if again {
			if _, err := f.order("cut"); err != nil {
				return nil, err
			}
		}
		a, err := f.order("come")
		if err != nil {
			return nil, err
		}
		p.arrivals = append(p.arrivals, a)
		over = !again || closed(first) || ctx.Err() != nil
	}
	elapsed := time.Since(began)
	to, err := load.CPU(v.pid)
	if err != nil {
		return nil, err
	}
	p.sum(to-from-time.Duration(share*float64(elapsed)), elapsed)
	return p, ctx.Err()
}

// sum fills in what follows from the arrivals.
func (p *phase) sum(cpu, elapsed time.Duration) {
	var logins int
	var seconds []float64
	for _, a := range p.arrivals {
		logins += a.Accepted
		p.busy, p.late = p.busy+a.Busy, p.late+a.Late
		seconds = append(seconds, a.Seconds)
	}
	n := len(p.arrivals)
	p.busy, p.late, p.seconds = p.busy/n, p.late/n, median(seconds)
	p.cpu, p.perSecond = cpu/time.Duration(max(1, logins)), float64(logins)/elapsed.Seconds()
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// watched is measurements of those who are served, one after the other.
type watched struct {
	first chan struct{} // closed after the first one, however it ends
	over  chan struct{} // closed by end: the one under way counts only if it is the first
	all   sync.WaitGroup

	// owned by the goroutine until all is done
	seen []load.Latency
	err  error
}

func (b *bench) watch(ctx context.Context, v *broker) *watched {
	w := &watched{first: make(chan struct{}), over: make(chan struct{})}
	w.all.Go(func() {
		for i := 0; !closed(w.over); i++ {
			l, err := b.served(ctx, v)
			if err != nil {
				w.err = err
			} else if i == 0 || !closed(w.over) {
				w.seen = append(w.seen, *l)
			}
			if i == 0 {
				close(w.first)
			}
			if err != nil {
				return
			}
		}
	})
	return w
}

// end is the median of what was measured.
func (w *watched) end() (*load.Latency, error) {
	close(w.over)
	w.all.Wait()
	if w.err != nil {
		return nil, w.err
	}
	var p50, p99 []float64
	for _, l := range w.seen {
		p50, p99 = append(p50, l.P50), append(p99, l.P99)
	}
	return &load.Latency{P50: median(p50), P99: median(p99)}, nil
}

func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2]
}
