// Storage measures what a store on a disk costs where there is much in it:
//
//	go run ./bench/storage                 all of it, some ten minutes
//	go run ./bench/storage start memory    these
//	go run ./bench/storage -scale 0.01     with a hundredth of everything, to see that it works
//
//	start      how long a start takes with 1,000,000 retained messages and 100,000
//	           sessions that hold 10 messages each, and the memory afterwards
//	memory     the broker's memory before, with 1 GiB queued over 1,000 sessions, and
//	           while all of them drain at once
//	neighbour  1,000 short queues beside a session with 1,000,000 messages, and without
//	turnover   1,000 queues held at 10 messages for 10,000,000 messages: the folder's
//	           size, and how long the head of a queue takes to be read
//
// It builds Sallyport, starts it, and loads it with "sallyport bench"; stores are
// made with store/disk and removed. -dir says on which disk they lie. Linux only.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// scenario is one measurement.
type scenario struct {
	name string
	run  func(ctx context.Context, b *bench) error
}

func scenarios() []scenario {
	return []scenario{{"start", start}, {"memory", memory}, {"neighbour", neighbour}, {"turnover", turnover}}
}

// bench is what the measurements share.
type bench struct {
	dir        string // removed at the end
	scale      float64
	durability string
	runs       int
	serial     int
}

// scaled is n of everything, one at least.
func (b *bench) scaled(n int) int { return max(1, int(float64(n)*b.scale)) }

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

// say prints one line of the report.
func (b *bench) say(format string, a ...any) { fmt.Printf(format+"\n", a...) }

func main() {
	b := &bench{}
	flag.StringVar(&b.dir, "dir", os.TempDir(), "make stores in this `folder`: not in memory, or an fsync is none")
	flag.Float64Var(&b.scale, "scale", 1, "this part of every number")
	flag.StringVar(&b.durability, "durability", "always", "always, interval or os")
	flag.IntVar(&b.runs, "runs", 3, "runs of start and neighbour")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if err := run(ctx, b, flag.Args()); err != nil {
		if ctx.Err() != nil {
			err = errors.New("interrupted; every broker has ended")
		}
		fmt.Fprintln(os.Stderr, "storage:", err)
		os.Exit(1)
	}
}

// choose finds scenarios by their names; none is all.
func choose(names []string) ([]scenario, error) {
	all := scenarios()
	if len(names) == 0 {
		return all, nil
	}
	var chosen []scenario
	for _, name := range names {
		i := slices.IndexFunc(all, func(s scenario) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no %q, only start, memory, neighbour and turnover", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

func run(ctx context.Context, b *bench, names []string) (err error) {
	chosen, err := choose(names)
	if err != nil {
		return err
	}
	if !(b.scale > 0 && b.scale <= 10) || b.runs < 1 || !slices.Contains(durabilities, b.durability) {
		return fmt.Errorf("-scale is above 0 and at most 10, -runs 1 at least, -durability one of %s", strings.Join(durabilities, ", "))
	}
	if b.dir, err = os.MkdirTemp(b.dir, "sallyport-storage-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if err := b.build(ctx); err != nil {
		return err
	}
	for _, s := range chosen {
		if err := s.run(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}
