// Timing asks whether the time of a refusal tells why a CONNECT was refused:
//
//	go run ./tests/auth/timing            some nine minutes
//	go run ./tests/auth/timing -n 20      to see that it works
//
// It builds Sallyport and starts it twice with an account database, once with password
// hashes and once without any, and measures, in random order and each from a network of
// its own, how long a refusal takes. kinds.go lists what is tried: passwords, SCRAM and
// tokens, of nobody, of accounts that are disabled or over or have no such credential,
// wrong, and by a method that the listener does not take.
//
// What belongs to a group, which is a listener, a way of logging in and an answer of it,
// is compared by the test of Kolmogorov and Smirnov, every two. It fails where two differ
// with a probability by chance of less than 1.6 % divided by the number of pairs, 55, so
// that where there is no difference at all at most 1.6 % of the runs fail. That the test
// sees differences is shown with logins that succeed, by a password and by a token, which
// it has to tell from every refusal by them.
//
// Each broker is asked by one client, one attempt after the other. The eleven kinds that
// the broker with hashes does not answer at once take as long as one and a half hashes, up
// to the next tenth of a second: the broker's timers go by these. The twelve of the other
// broker take 0.1 s. So each of -n costs 1.3 s where a hash takes less than 66 ms, and else
// 2.3 s: some nine minutes for 400, or fifteen.
package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"sallyport/internal/scram"
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

// level is how probable it is at most that a run fails where there is no difference.
const level = 0.016

// alpha is the probability under which two kinds count as different.
func alpha() float64 { return level / float64(pairs()) }

func run(ctx context.Context, out io.Writer, n int, seed uint64) (err error) {
	if n < 10 || n > 4000 {
		return errors.New("-n is from 10 to 4000")
	}
	dir, err := os.MkdirTemp("", "sallyport-timing-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	w, err := start(ctx, dir, 0)
	if err != nil {
		return err
	}
	defer w.stop()
	took := map[string][]time.Duration{}
	var mu sync.Mutex // guards took
	rnd := rand.New(rand.NewPCG(seed, 0))
	// A client for each broker. A second one for the hashes would have them take longer
	// than the floor now and then, and whose password is remembered would be seen.
	parts := [][]kind{shuffled(n, rnd, people), shuffled(n, rnd, proofs, tokens)}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error)
	from := 0
	for _, part := range parts {
		go func(from int) {
			ended <- w.measure(ctx, from, part, func(label string, d time.Duration) {
				mu.Lock()
				defer mu.Unlock()
				took[label] = append(took[label], d)
			})
		}(from)
		from += len(part)
	}
	for range parts {
		if e := <-ended; e != nil && err == nil {
			err = e
			cancel() // the others needn't go on
		}
	}
	if err != nil {
		return err
	}
	return compare(out, took)
}

// shuffled is every kind of some listeners n times, in random order.
func shuffled(n int, rnd *rand.Rand, doors ...string) (order []kind) {
	for _, k := range kinds {
		if slices.Contains(doors, k.door) {
			order = append(order, slices.Repeat([]kind{k}, n)...)
		}
	}
	rnd.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	return order
}

// measure asks one after the other, from the sources from from on.
func (w *world) measure(ctx context.Context, from int, order []kind, tell func(label string, d time.Duration)) error {
	for i, k := range order {
		if err := ctx.Err(); err != nil {
			return err
		}
		parts, err := k.ask(w.doors[k.door], source(from+i), k)
		if err != nil {
			return fmt.Errorf("%s: %w", k.label(0), err)
		}
		for part, d := range parts {
			tell(k.label(part), d)
		}
	}
	return nil
}

// compare holds every two kinds of a group against each other.
func compare(out io.Writer, took map[string][]time.Duration) error {
	names := slices.Sorted(maps.Keys(took))
	fmt.Fprintf(out, "%-52s %6s %9s %9s %9s\n", "", "n", "p5", "median", "p95")
	for _, name := range names {
		l := took[name]
		slices.Sort(l)
		at := func(q float64) time.Duration { return l[int(q*float64(len(l)-1))].Round(10 * time.Microsecond) }
		fmt.Fprintf(out, "%-52s %6d %9s %9s %9s\n", name, len(l), at(0.05), at(0.5), at(0.95))
	}
	var failed []error
	for _, g := range groups() {
		for i, a := range g.labels {
			for _, b := range g.labels[i+1:] {
				d, p := smirnov(took[a], took[b])
				verdict := ""
				if p < alpha() {
					verdict = "DIFFERENT"
					failed = append(failed, fmt.Errorf("%s and %s can be told apart", a, b))
				}
				fmt.Fprintf(out, "%-52s | %-52s D %.3f p %.4f %s\n", a, b, d, p, verdict)
			}
			if s := successes[g.name]; s != "" {
				if _, p := smirnov(took[a], took[s]); p >= alpha() {
					failed = append(failed, fmt.Errorf("the test can't tell %s from a login that succeeds: it sees nothing", a))
				}
			}
		}
	}
	fmt.Fprintf(out, "%d pairs, different under p %.5f\n", pairs(), alpha())
	return errors.Join(failed...)
}

// command is a child that ends with ctx.
func command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	return cmd
}

// world is the brokers that are measured.
type world struct {
	doors map[string]string // the address of each listener
	stop  func()
}

const (
	hashing = `listeners:
  - {name: people, address: "%s", authenticators: [accounts, scram], policies: [all]}
authenticators:
  - {name: accounts, type: accounts, accounts: {scram: []}}
  - {name: scram, type: scram, scram: {methods: [SCRAM-SHA-256], iterations: 4096}}
hashing: {auth_failure_floor: %s}
` + common

	hashless = `listeners:
  - {name: proofs, address: "%s", authenticators: [scram], policies: [all]}
  - {name: tokens, address: "%s", authenticators: [tokens], policies: [all]}
authenticators:
  - {name: scram, type: scram, scram: {methods: [SCRAM-SHA-256], iterations: 4096}}
  - name: tokens
    type: jwt
    jwt: {issuers: [{issuer: id, audiences: mqtt, keys: [{file: id.pem, id: old}]}]}
` + common

	common = `policies: [{name: all, type: allow_all}]
storage: {type: disk, dir: store, min_free: 0}
control: {socket: control.sock}
log: {connections: false}
`
	// Of the accounts; %[1]s is a verifier.
	hashingTable = `name,password,scram,disabled,valid_until
alice,correct horse,"%[1]s",,
bob,correct horse,,,
plain,correct horse,,,
prover,,"%[1]s",,
disabled,correct horse,"%[1]s",true,
ended,correct horse,"%[1]s",,2020-01-01T00:00:00Z
nothing,,,,
`
	hashlessTable = `name,scram,disabled
alice,"%[1]s",
disabled,"%[1]s",true
`
)

// start builds Sallyport and starts the brokers. The refusals of the one with hashes take
// at least as long as floor; 0, and for the other one always, is what a broker measures.
func start(ctx context.Context, dir string, floor time.Duration) (*world, error) {
	if _, err := os.Stat(filepath.Join("tests", "auth")); err != nil {
		return nil, errors.New("start it in the folder of the module: go run ./tests/auth/timing")
	}
	binary := filepath.Join(dir, "sallyport")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/sallyport")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build ./cmd/sallyport: %w\n%s", err, out)
	}
	at, err := freeAddresses(3)
	if err != nil {
		return nil, err
	}
	verifier, err := scram.NewVerifier(scram.SHA256, right, []byte("salt of sixteen."), 4096)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(ours.Public())
	if err != nil {
		return nil, err
	}
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	first, err := serve(ctx, binary, filepath.Join(dir, "hashing"), at[0], map[string]string{
		config: fmt.Sprintf(hashing, at[0], floor), users: fmt.Sprintf(hashingTable, verifier.Encode()),
	})
	if err != nil {
		return nil, err
	}
	second, err := serve(ctx, binary, filepath.Join(dir, "hashless"), at[2], map[string]string{
		config: fmt.Sprintf(hashless, at[1], at[2]), users: fmt.Sprintf(hashlessTable, verifier.Encode()), "id.pem": key,
	})
	if err != nil {
		first()
		return nil, err
	}
	return &world{
		doors: map[string]string{people: at[0], proofs: at[1], tokens: at[2]},
		stop:  func() { second(); first() },
	}, nil
}

// Files of a broker.
const (
	config = "sallyport.yaml"
	users  = "users.csv"
)

// serve starts a broker with files in a folder, and fills its accounts.
func serve(ctx context.Context, binary, dir, address string, files map[string]string) (stop func(), err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	file := filepath.Join(dir, config)
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
	stop = func() { cancel(); <-ended }
	if err := await(ctx, address, ended); err != nil {
		stop()
		text, _ := os.ReadFile(filepath.Join(dir, "log"))
		return nil, fmt.Errorf("the broker does not start: %w: %s", err, text)
	}
	if out, err := command(ctx, binary, "ctl", "-c", file, "user", "import", filepath.Join(dir, users)).CombinedOutput(); err != nil {
		stop()
		return nil, fmt.Errorf("import of the accounts: %w: %s", err, out)
	}
	return stop, nil
}
