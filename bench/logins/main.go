// Logins measures what a fleet that connects at once costs, and what it costs those
// who are served:
//
//	go run ./bench/logins                               every row three times, some 25 minutes
//	go run ./bench/logins -runs 1                       once, some 8; more than half of it password, cold
//	go run ./bench/logins password                      this one
//	go run ./bench/logins -clients 50 -duration 1s      to see that it works
//
//	password  a password file with argon2id of the default cost. Cold: each client is
//	          there for the first time, and costs a hash. Warm: the network is cut, and
//	          all come back, remembered, again and again
//	secret    a password file with generated device secrets, which cost no hash
//	scram     SCRAM-SHA-256 with a file of verifiers; the clients keep their keys
//	token     a JSON Web Token for each client, signed with Ed25519 before the run
//
// It builds Sallyport, starts it anew for each run, and has "sallyport bench" exchange
// QoS 1 messages at a given rate between clients of another listener: quietly, and while
// the fleet connects. It prints both 99th percentiles and their ratio, which should be
// under 4, the broker's CPU for each login beyond what the messages cost, and by how much
// its memory grew. A client that is answered 0x89, or not at all, comes again as a device
// should, after a random time that doubles. The broker has one core and everything else
// another, where the fleet is the nicest process. Linux only.
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
	"syscall"
	"time"
)

// bench is what is measured, and with what.
type bench struct {
	dir         string // removed at the end
	clients     int
	networks    int // that the fleet is behind
	patience    time.Duration
	duration    time.Duration
	rate, pairs int
	workers     int
	core, rest  string // of the broker, of everything else
	runs        int
	fleet       string // address; this process is the fleet
}

func main() {
	b := &bench{}
	flag.IntVar(&b.clients, "clients", 5000, "clients that connect at once")
	flag.IntVar(&b.networks, "networks", 50, "source addresses of the fleet, each a /24 of its own")
	flag.DurationVar(&b.patience, "patience", 30*time.Second, "how long a client of the fleet waits for an answer")
	flag.DurationVar(&b.duration, "duration", 10*time.Second, "of each measurement of those who are served")
	flag.IntVar(&b.rate, "rate", 500, "messages a second that are exchanged")
	flag.IntVar(&b.pairs, "pairs", 20, "pairs of clients that exchange them")
	flag.IntVar(&b.workers, "workers", 1, "hashing.workers of the broker; the default is its own on one core")
	flag.StringVar(&b.core, "core", "0", "`core` of the broker, as taskset names it; empty: any")
	flag.StringVar(&b.rest, "rest", "1", "`core` of everything else")
	flag.IntVar(&b.runs, "runs", 3, "runs of each row; the medians are printed")
	flag.StringVar(&b.fleet, "fleet", "", "be the fleet of the broker at this `address` and nothing else, as stdin says, until that ends")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, b, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "logins:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, b *bench, names []string) (err error) {
	chosen, err := choose(names)
	if err != nil {
		return err
	}
	if b.duration < time.Second || b.patience <= 0 || b.rate < 1 || b.pairs < 1 || b.runs < 1 || b.workers < 1 {
		return errors.New("every number is at least 1, -duration at least 1s")
	}
	if b.clients < 1 || b.clients > mostClients || b.networks < 1 || b.networks > 200 {
		return fmt.Errorf("-clients is from 1 to %d, -networks from 1 to 200", mostClients)
	}
	if err := enoughFiles(b.clients); err != nil {
		return err
	}
	if b.fleet != "" {
		return newFleet(b).obey(ctx, os.Stdin, os.Stdout)
	}
	if b.dir, err = os.MkdirTemp("", "sallyport-logins-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if err := b.build(ctx); err != nil {
		return err
	}
	for _, r := range chosen {
		if err := b.compare(ctx, r); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	return nil
}

// choose finds rows by name; none is all.
func choose(names []string) ([]row, error) {
	all := rows()
	if len(names) == 0 {
		return all, nil
	}
	var chosen []row
	for _, name := range names {
		i := slices.IndexFunc(all, func(r row) bool { return r.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no %q, only password, secret, scram and token", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }
