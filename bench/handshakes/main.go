// Handshakes measures what a flood of TLS handshakes costs those who are served:
//
//	go run ./bench/handshakes                   every flood, some two minutes
//	go run ./bench/handshakes hello full        these
//	go run ./bench/handshakes -duration 1s      shorter, to see that it works
//
//	silent  connections that say nothing, -connections of them
//	slow    the same, with a byte of a ClientHello every 100 ms
//	hello   a ClientHello and then nothing, as many as go: each costs the broker a
//	        key exchange and a signature, and the attacker nothing
//	abort   handshakes that end at the client's certificate, which no CA signed
//	full    handshakes that succeed, and leave
//
// It builds Sallyport, starts it, and has "sallyport bench" exchange QoS 1 messages
// over TLS at a given rate: quietly, and in each flood. It prints the 99th
// percentile of both and their ratio, which should be under 4. The broker has one
// core and everything else another, where the flood is the nicest process: else the
// generator would wait for the flood, and measure that. Linux only.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	load "sallyport/bench"
	"sallyport/certs"
)

// bench is what is measured, and with what.
type bench struct {
	dir         string // removed at the end
	duration    time.Duration
	rate, pairs int
	connections int // of silent and slow
	workers     int // of the others
	prefixes    int
	core, rest  string // of the broker, of everything else
	runs        int
	address     string
	attack      string // this process is the flood
}

func main() {
	b := &bench{}
	flag.DurationVar(&b.duration, "duration", 10*time.Second, "of each measurement")
	flag.IntVar(&b.rate, "rate", 500, "messages a second that are exchanged")
	flag.IntVar(&b.pairs, "pairs", 20, "pairs of clients that exchange them")
	flag.IntVar(&b.connections, "connections", 4000, "connections of silent and slow, kept open")
	flag.IntVar(&b.workers, "workers", 64, "connections at once of hello, abort and full")
	flag.IntVar(&b.prefixes, "prefixes", 16, "source addresses of the flood")
	flag.StringVar(&b.core, "core", "0", "`core` of the broker, as taskset names it; empty: any")
	flag.StringVar(&b.rest, "rest", "1", "`core` of everything else")
	flag.IntVar(&b.runs, "runs", 3, "runs of each flood; the medians are printed")
	flag.StringVar(&b.attack, "attack", "", "be this `flood` and nothing else, against -address, until stdin ends")
	flag.StringVar(&b.address, "address", "", "address of the broker that -attack attacks")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, b, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "handshakes:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, b *bench, names []string) (err error) {
	all := floods()
	if b.attack != "" {
		names = []string{b.attack}
	}
	if len(names) == 0 {
		for _, f := range all {
			names = append(names, f.name)
		}
	}
	var chosen []flood
	for _, name := range names {
		i := slices.IndexFunc(all, func(f flood) bool { return f.name == name })
		if i < 0 {
			return fmt.Errorf("there is no %q, only silent, slow, hello, abort and full", name)
		}
		chosen = append(chosen, all[i])
	}
	if b.duration <= 0 || b.rate < 1 || b.pairs < 1 || b.connections < 1 || b.workers < 1 || b.prefixes < 1 || b.prefixes > 200 || b.runs < 1 {
		return errors.New("every number is at least 1, -prefixes at most 200")
	}
	if b.attack != "" {
		return b.flood(ctx, chosen[0])
	}
	if b.dir, err = os.MkdirTemp("", "sallyport-handshakes-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	stop, err := b.serve(ctx)
	if err != nil {
		return err
	}
	defer stop()
	return b.compare(ctx, chosen)
}

// compare measures quietly before each flood, so that a machine that changes
// changes both.
func (b *bench) compare(ctx context.Context, chosen []flood) error {
	fmt.Printf("%-8s %12s %12s %12s %12s %7s %14s\n", "flood", "quiet p50", "quiet p99", "flooded p50", "flooded p99", "ratio", "connections/s")
	for _, f := range chosen {
		var q50, q99, f50, f99, ratio, opened []float64
		for range b.runs {
			quiet, err := b.measure(ctx)
			if err != nil {
				return err
			}
			end, err := b.start(ctx, f)
			if err != nil {
				return err
			}
			flooded, err := b.measure(ctx)
			count, endErr := end()
			if err := errors.Join(err, endErr); err != nil {
				return fmt.Errorf("in the flood %s: %w", f.name, err)
			}
			q50, q99, f50, f99 = append(q50, quiet.P50), append(q99, quiet.P99), append(f50, flooded.P50), append(f99, flooded.P99)
			ratio, opened = append(ratio, flooded.P99/quiet.P99), append(opened, count)
		}
		fmt.Printf("%-8s %9.0f us %9.0f us %9.0f us %9.0f us %7.2f %14.0f\n", f.name, median(q50), median(q99), median(f50), median(f99), median(ratio), median(opened))
	}
	return nil
}

func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2]
}

// start begins a flood in a process of its own. What it returns ends it, and says
// how many connections it opened in a second.
func (b *bench) start(ctx context.Context, f flood) (end func() (float64, error), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := b.child(ctx, b.rest, "nice", "-n", "19", self, "-attack", f.name, "-address", b.address, "-connections", fmt.Sprint(b.connections),
		"-workers", fmt.Sprint(b.workers), "-prefixes", fmt.Sprint(b.prefixes))
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() (count float64, err error) {
		_ = in.Close() // which ends it
		if err := cmd.Wait(); err != nil {
			return 0, fmt.Errorf("%w: %s", err, &out)
		}
		_, err = fmt.Sscan(out.String(), &count)
		return count, err
	}, nil
}

// flood is what the process does that start starts.
func (b *bench) flood(ctx context.Context, f flood) error {
	ctx, cancel := context.WithCancel(ctx)
	opened := b.begin(ctx, f)
	_, err := io.Copy(io.Discard, os.Stdin) // it ends when it is to end
	cancel()
	fmt.Println(opened())
	return err
}

// measure is the latency of messages between clients that are served.
func (b *bench) measure(ctx context.Context) (*load.Latency, error) {
	host, port, _ := strings.Cut(b.address, ":")
	cmd := b.child(ctx, b.rest, b.path("sallyport"), "bench", "p2p", "--json", "-h", host, "-p", port, "--server-name", "localhost", "--cafile", b.path("tls/ca.crt"),
		"-q", "1", "--pairs", fmt.Sprint(b.pairs), "--rate", fmt.Sprint(b.rate), "--duration", b.duration.String(), "--warmup", "1s")
	var out, complaint strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	report := new(load.Report)
	if json.Unmarshal([]byte(out.String()), report) != nil || report.Latency == nil {
		return nil, fmt.Errorf("sallyport bench: %w %s", err, complaint.String())
	}
	if !report.OK() {
		return nil, fmt.Errorf("messages were lost, doubled, refused or out of order: %+v", report)
	}
	return report.Latency, nil
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

// configuration lets everybody in, with a certificate of the CA or none.
const configuration = `listeners:
  - name: bench
    transport: tls
    address: "127.0.0.1:0"
    authenticators: [anonymous]
    policies: [all]
    tls: {certificate: tls/server.crt, key: tls/server.key, client_ca: tls/ca.crt, client_auth: optional}
authenticators: [{name: anonymous, type: anonymous}]
policies: [{name: all, type: allow_all}]
log: {connections: false}
`

// serve builds and starts the broker, and waits until it listens.
func (b *bench) serve(ctx context.Context) (stop func(), err error) {
	if _, err := os.Stat(filepath.Join("bench", "handshakes")); err != nil {
		return nil, errors.New("start it in the folder of the module: go run ./bench/handshakes")
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", b.path("sallyport"), "./cmd/sallyport")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build ./cmd/sallyport: %w\n%s", err, out)
	}
	if _, err := certs.Quickstart(b.path("tls"), []string{"localhost"}, time.Now()); err != nil {
		return nil, err
	}
	if b.address, err = freeAddress(); err != nil {
		return nil, err
	}
	text := strings.Replace(configuration, "127.0.0.1:0", b.address, 1)
	if err := os.WriteFile(b.path("sallyport.yaml"), []byte(text), 0o600); err != nil {
		return nil, err
	}
	log, err := os.Create(b.path("log"))
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own
	ctx, cancel := context.WithCancel(ctx)
	cmd := b.child(ctx, b.core, b.path("sallyport"), "serve", "-c", b.path("sallyport.yaml"))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, err
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	stop = func() { cancel(); <-ended }
	if err := b.await(ctx, ended); err != nil {
		stop()
		return nil, err
	}
	return stop, nil
}
