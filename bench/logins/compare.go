package main

import (
	"context"
	"errors"
	"fmt"
)

// course is what the runs of a row gave: values by their name, one a run.
type course map[string][]float64

func (c course) add(name string, value float64) { c[name] = append(c[name], value) }

func (c course) median(name string) float64 { return median(c[name]) }

const header = "%-9s %-5s %12s %12s %12s %12s %7s %10s %10s %11s %10s %10s\n"

// compare runs one row and prints its medians.
func (b *bench) compare(ctx context.Context, r row) error {
	cold, warm, bytes := course{}, course{}, course{}
	for range b.runs {
		if err := b.once(ctx, r, cold, warm, bytes); err != nil {
			return err
		}
	}
	fmt.Printf(header, "row", "fleet", "quiet p50", "quiet p99", "beside p50", "beside p99", "ratio", "all in", "logins/s", "CPU/login", "busy", "no answer")
	if r.cold {
		cold.print(r.name, "cold")
	}
	again := "warm"
	if !r.cold {
		again = "any" // nothing is remembered
	}
	warm.print(r.name, again)
	mib := func(name string) float64 { return bytes.median(name) / (1 << 20) }
	hashes := ""
	if r.hash > 0 {
		hashes = fmt.Sprintf(", and with %d hashes of %d MiB that makes %.0f MiB", b.workers, r.hash>>20, mib("bound"))
	}
	fmt.Printf("%s: %d connections hold %.0f MiB%s; the broker's memory grew by %.0f MiB at most\n",
		r.name, b.clients, mib("held"), hashes, mib("peak"))
	return nil
}

func (c course) print(name, fleet string) {
	us := func(name string) string { return fmt.Sprintf("%.0f us", c.median(name)) }
	fmt.Printf(header, name, fleet, us("quiet p50"), us("quiet p99"), us("beside p50"), us("beside p99"), fmt.Sprintf("%.2f", c.median("ratio")),
		fmt.Sprintf("%.1f s", c.median("seconds")), fmt.Sprintf("%.0f", c.median("logins/s")), us("cpu"),
		fmt.Sprintf("%.0f", c.median("busy")), fmt.Sprintf("%.0f", c.median("late")))
}

// once is one run, with a broker and a fleet of its own.
func (b *bench) once(ctx context.Context, r row, cold, warm, bytes course) (err error) {
	proof, err := r.prepare(b)
	if err != nil {
		return err
	}
	v, err := b.serve(ctx, r)
	if err != nil {
		return err
	}
	defer v.stop()
	defer func() { err = v.explain(err) }()
	before, err := settled(ctx, v.pid)
	if err != nil {
		return err
	}
	if err := forget(v.pid); err != nil {
		return err
	}
	f, err := b.startFleet(ctx, v, proof)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.end()) }()
	if err := b.first(ctx, r, v, f, cold); err != nil {
		return err
	}
	_, most, err := memory(v.pid)
	if err != nil {
		return err
	}
	now, err := settled(ctx, v.pid)
	if err != nil {
		return err
	}
	bytes.add("peak", float64(most-before))
	bytes.add("held", float64(now-before))
	bytes.add("bound", float64(now-before+int64(b.workers)*r.hash))
	p, err := b.measure(ctx, v, f, true)
	if err != nil {
		return err
	}
	warm.take(p)
	return nil
}

// first is the first time that the fleet comes; measured where that is another matter
// than the next times.
func (b *bench) first(ctx context.Context, r row, v *broker, f *remote, cold course) error {
	if !r.cold {
		_, err := f.order("come")
		return err
	}
	p, err := b.measure(ctx, v, f, false)
	if err != nil {
		return err
	}
	cold.take(p)
	return nil
}

func (c course) take(p *phase) {
	c.add("quiet p50", p.quiet.P50)
	c.add("quiet p99", p.quiet.P99)
	c.add("beside p50", p.during.P50)
	c.add("beside p99", p.during.P99)
	c.add("ratio", p.during.P99/p.quiet.P99)
	c.add("seconds", p.seconds)
	c.add("logins/s", p.perSecond)
	c.add("cpu", float64(p.cpu.Nanoseconds())/1000)
	c.add("busy", float64(p.busy))
	c.add("late", float64(p.late))
}
