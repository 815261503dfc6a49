// Timing asks whether the time of a refusal tells why a CONNECT was refused:
//
//	go run ./tests/auth/timing            some ten minutes
//	go run ./tests/auth/timing -n 20      to see that it works
//
// It builds Sallyport, starts it with an account database, and measures, in random
// order and each from a network of its own, how long a refusal takes: by a password
// for an unknown user, a wrong password, the right password of an account that is
// disabled or not valid any more, and any password of an account that has none; by
// SCRAM for an unknown user, a wrong password and a disabled account, the first
// answer and the second.
//
// Every two of these are compared by the test of Kolmogorov and Smirnov. It fails where
// two differ with a probability under a thousandth by chance: 16 pairs are compared, so
// that where there is no difference at all at most 1.6 % of the runs fail. That the
// test sees differences is shown with logins that succeed, which it has to tell from
// every refusal.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

func main() {
	n := flag.Int("n", 400, "measurements of each kind")
	seed := flag.Uint64("seed", 1, "of the order")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, *n, *seed); err != nil {
		fmt.Fprintln(os.Stderr, "timing:", err)
		os.Exit(1)
	}
}

// alpha is the probability under which two kinds count as different.
const alpha = 0.001

func run(ctx context.Context, out io.Writer, n int, seed uint64) (err error) {
	if n < 10 || n > 4000 {
		return errors.New("-n is from 10 to 4000")
	}
	dir, err := os.MkdirTemp("", "sallyport-timing-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	b, err := start(ctx, dir, 0)
	if err != nil {
		return err
	}
	defer b.stop()
	rnd := rand.New(rand.NewPCG(seed, 0))
	var order []int
	for i := range kinds {
		for range n {
			order = append(order, i)
		}
	}
	rnd.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	took := map[string][]time.Duration{}
	for i, k := range order {
		if err := ctx.Err(); err != nil {
			return err
		}
		parts, err := kinds[k].ask(b.address, source(i), kinds[k])
		if err != nil {
			return fmt.Errorf("%s: %w", kinds[k].name, err)
		}
		for part, d := range parts {
			took[label(kinds[k], part)] = append(took[label(kinds[k], part)], d)
		}
	}
	return compare(out, took)
}

func label(k kind, part int) string {
	if len(k.group) == 1 {
		return k.name
	}
	return fmt.Sprintf("%s, answer %d", k.name, part+1)
}

// compare holds every two kinds of a group against each other.
func compare(out io.Writer, took map[string][]time.Duration) error {
	names := make([]string, 0, len(took))
	for name, list := range took {
		slices.Sort(list)
		names = append(names, name)
	}
	slices.Sort(names)
	fmt.Fprintf(out, "%-44s %6s %9s %9s %9s\n", "", "n", "p5", "median", "p95")
	for _, name := range names {
		l := took[name]
		at := func(q float64) time.Duration { return l[int(q*float64(len(l)-1))].Round(10 * time.Microsecond) }
		fmt.Fprintf(out, "%-44s %6d %9s %9s %9s\n", name, len(l), at(0.05), at(0.5), at(0.95))
	}
	var failed []error
	for _, g := range groups() {
		for i, a := range g {
			for _, b := range g[i+1:] {
				d, p := smirnov(took[a], took[b])
				verdict := ""
				if p < alpha {
					verdict = "DIFFERENT"
					failed = append(failed, fmt.Errorf("%s and %s can be told apart", a, b))
				}
				fmt.Fprintf(out, "%-40s | %-40s D %.3f p %.3f %s\n", a, b, d, p, verdict)
			}
		}
	}
	for _, a := range groups()[0] {
		if _, p := smirnov(took[a], took[accepted]); p >= alpha {
			failed = append(failed, fmt.Errorf("the test can't tell %s from a login that succeeds: it sees nothing", a))
		}
	}
	return errors.Join(failed...)
}

// command is a child that ends with ctx.
func command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	return cmd
}

// broker is the one that is measured.
type broker struct {
	address string
	stop    func()
}

const configuration = `listeners:
  - name: door
    address: "%s"
    authenticators: [accounts, scram]
    policies: [all]
authenticators:
  - {name: accounts, type: accounts, accounts: {scram: [SCRAM-SHA-256]}}
  - {name: scram, type: scram}
policies: [{name: all, type: allow_all}]
storage: {type: disk, dir: store, min_free: 0}
control: {socket: control.sock}
hashing: {auth_failure_floor: %s}
log: {connections: false}
`

const table = `name,password,disabled,valid_until
alice,correct horse,,
bob,correct horse,,
disabled,correct horse,true,
ended,correct horse,,2020-01-01T00:00:00Z
passwordless,,,
`

// start builds and starts a broker with the accounts of the table, whose refusals take
// at least as long as floor; 0 is what the broker measures.
func start(ctx context.Context, dir string, floor time.Duration) (*broker, error) {
	if _, err := os.Stat(filepath.Join("tests", "auth")); err != nil {
		return nil, errors.New("start it in the folder of the module: go run ./tests/auth/timing")
	}
	binary := filepath.Join(dir, "sallyport")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/sallyport")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build ./cmd/sallyport: %w\n%s", err, out)
	}
	b := &broker{}
	var err error
	if b.address, err = freeAddress(); err != nil {
		return nil, err
	}
	file, users := filepath.Join(dir, "sallyport.yaml"), filepath.Join(dir, "users.csv")
	for name, text := range map[string]string{file: fmt.Sprintf(configuration, b.address, floor), users: table} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	cmd := command(ctx, binary, "serve", "-c", file)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		cancel()
		return nil, err
	}
	defer log.Close() // the child has its own
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, err
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	b.stop = func() { cancel(); <-ended }
	if err := await(ctx, b.address, ended); err != nil {
		b.stop()
		text, _ := os.ReadFile(filepath.Join(dir, "log"))
		return nil, fmt.Errorf("the broker does not start: %w: %s", err, text)
	}
	if out, err := command(ctx, binary, "ctl", "-c", file, "user", "import", users).CombinedOutput(); err != nil {
		b.stop()
		return nil, fmt.Errorf("import of the accounts: %w: %s", err, out)
	}
	return b, nil
}
