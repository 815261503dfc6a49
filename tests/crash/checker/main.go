// Command checker kills a broker again and again while clients publish and
// receive, and finds what the broker has lost, doubled, put in the wrong order
// or brought back. Package crash says what is judged; its tests run this.
//
//	go run ./tests/crash/checker -rounds 500
//
// It ends with 0 if nothing was broken, 1 if something was, and 2 if the run
// could not be made.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"sort"
	"syscall"
	"time"
)

type options struct {
	broker, config      string
	storage, durability string
	rounds, settle      int
	seed                uint64
	kill, term, keep    bool
	atRelease, encrypt  bool
	publishers          int
	subscribers         int
	groups, members     int
	wills               int
	window, rate, large int
	loadMin, loadMax    time.Duration
	duration            time.Duration
	quiet, startLimit   time.Duration
	dir                 string
}

func main() { os.Exit(command(os.Args[1:], os.Stdout, os.Stderr)) }

func parse(args []string, stderr io.Writer) (o options, err error) {
	f := flag.NewFlagSet("checker", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.broker, "broker", "", "command of the broker; {config}, {dir} and {port} are filled in (default: this module's, built first)")
	f.StringVar(&o.config, "config", "", "file with the broker's configuration, in which they are filled in too, and {storage} and {durability}")
	f.StringVar(&o.storage, "storage", "disk", "storage type in the configuration")
	f.StringVar(&o.durability, "durability", "always", "durability in the configuration")
	f.BoolVar(&o.encrypt, "encrypt", false, "encrypt what is stored")
	f.IntVar(&o.rounds, "rounds", 30, "how often the broker is killed")
	f.IntVar(&o.settle, "settle", 10, "rounds after which everyone comes online and what is missing is judged")
	f.Uint64Var(&o.seed, "seed", 0, "seed of all that is random (default: a random one)")
	f.BoolVar(&o.kill, "kill", true, "kill the broker; else only connections are cut")
	f.BoolVar(&o.term, "term", false, "end the broker with SIGTERM instead of SIGKILL")
	f.BoolVar(&o.keep, "keep", false, "keep the folder of the run even if nothing was broken")
	f.BoolVar(&o.atRelease, "at-release", false, "the broker acts on a QoS 2 message at PUBREL, not at PUBLISH (Mosquitto does)")
	f.IntVar(&o.publishers, "publishers", 4, "publishers")
	f.IntVar(&o.subscribers, "subscribers", 6, "subscribers of their own")
	f.IntVar(&o.groups, "groups", 2, "shared subscriptions")
	f.IntVar(&o.members, "members", 3, "subscribers of each")
	f.IntVar(&o.wills, "wills", 2, "clients that leave wills behind")
	f.IntVar(&o.window, "window", 20, "messages of a publisher that are not acknowledged, at most")
	f.IntVar(&o.rate, "rate", 400, "messages per second of a publisher, about")
	f.IntVar(&o.large, "large", 40_000, "bytes of the largest payloads, one in a hundred")
	f.DurationVar(&o.loadMin, "load-min", 5*time.Millisecond, "shortest time from start to kill")
	f.DurationVar(&o.loadMax, "load-max", 600*time.Millisecond, "longest time from start to kill")
	f.DurationVar(&o.duration, "duration", time.Hour, "no round begins after this")
	f.DurationVar(&o.quiet, "quiet", 15*time.Second, "what has not come after nothing came for this long is lost")
	f.DurationVar(&o.startLimit, "start", 30*time.Second, "longest time from the start of the broker to its first connection")
	f.StringVar(&o.dir, "dir", "", "folder of the run (default: a temporary one)")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if o.seed == 0 {
		o.seed = rand.Uint64()
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("what is %q", f.Arg(0))
	case o.rounds < 1 || o.settle < 1 || o.publishers < 1 || o.subscribers < 1 || o.window < 1 || o.rate < 1 || o.large < 1:
		return o, errors.New("rounds, settle, publishers, subscribers, window, rate and large are at least 1")
	case o.groups < 0 || o.members < 0 || o.wills < 0 || o.loadMin < 0 || o.loadMax < o.loadMin:
		return o, errors.New("groups, members and wills are not negative, and load-max is not below load-min")
	}
	return o, nil
}

func command(args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	var broken bool
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		broken, err = check(ctx, o, stdout)
	}
	switch {
	case err != nil:
		fmt.Fprintf(stderr, "checker: %v\n", err)
		return 2
	case broken:
		return 1
	}
	return 0
}

// check makes the run and reports whether the broker broke anything.
func check(ctx context.Context, o options, out io.Writer) (broken bool, err error) {
	fmt.Fprintf(out, "seed %d\n", o.seed)
	dir := o.dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "crash-"); err != nil {
			return false, err
		}
	} else if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, err
	}
	keep := o.keep || o.dir != ""
	defer func() {
		if keep || broken || err != nil {
			fmt.Fprintf(out, "configuration, data and broker.log are kept in %s\n", dir)
			return
		}
		_ = os.RemoveAll(dir) // a temporary folder
	}()
	port, err := freePort(int(rand.Uint32() % 12000))
	if err != nil {
		return false, err
	}
	argv, err := o.prepare(ctx, dir, port)
	if err != nil {
		return false, err
	}
	log, err := logFile(dir)
	if err != nil {
		return false, err
	}
	defer func() { _ = log.Close() }()
	r := newRun(o, dir, port, out)
	r.child = &child{argv: argv, log: log}
	r.judge.AtRelease = o.atRelease
	err = r.all(ctx)
	return r.sum() > 0, err
}

// The most that is printed of what was broken.
const (
	shownViolations = 12
	shownHistories  = 4
	shownEvents     = 200
)

// sum prints what has been, and what was broken with its history.
func (r *run) sum() (violations int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.out, "%+v\n", r.judge.Counts)
	var others []string
	for what, n := range r.counts {
		others = append(others, fmt.Sprintf("%s: %d", what, n))
	}
	sort.Strings(others)
	for _, s := range others {
		fmt.Fprintln(r.out, s)
	}
	all := r.judge.Violations()
	rules := map[string]int{}
	for i, v := range all {
		if rules[v.Rule]++; i < shownViolations || rules[v.Rule] <= 2 {
			fmt.Fprintf(r.out, "VIOLATION %v\n", v)
		}
		if rules[v.Rule] > shownHistories/2 {
			continue
		}
		events := r.judge.History(v)
		for i, e := range events {
			if i == shownEvents/2 && len(events) > shownEvents {
				fmt.Fprintf(r.out, "    ... %d events ...\n", len(events)-shownEvents)
			}
			if i < shownEvents/2 || i >= len(events)-shownEvents/2 {
				fmt.Fprintf(r.out, "    %v\n", &e)
			}
		}
	}
	for rule, n := range rules {
		fmt.Fprintf(r.out, "broken: %s, %d times\n", rule, n)
	}
	if n := r.judge.Counts.Violations; n == 0 {
		fmt.Fprintf(r.out, "nothing was broken\n")
	}
	return r.judge.Counts.Violations
}
