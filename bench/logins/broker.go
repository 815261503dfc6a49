package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// configuration has a listener for the fleet, and one for those who are served.
const configuration = `listeners:
  - {name: fleet, address: %q, authenticators: [fleet], policies: [all]}
  - {name: traffic, address: %q, authenticators: [anonymous], policies: [all]}
authenticators:
  - %s
  - {name: anonymous, type: anonymous}
policies: [{name: all, type: allow_all}]
hashing: {workers: %d, cache_ttl: 10m, cache_entries: %d}
log: {connections: false}
`

// build compiles Sallyport.
func (b *bench) build(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join("bench", "logins")); err != nil {
		return errors.New("start it in the folder of the module: go run ./bench/logins")
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", b.path("sallyport"), "./cmd/sallyport")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build ./cmd/sallyport: %w\n%s", err, out)
	}
	return nil
}

// broker is one that runs.
type broker struct {
	fleet, traffic string // addresses
	pid            int
	log            string
	ended          chan struct{}
	stop           func()
}

func (b *bench) configure(r row, fleet, traffic string) string {
	return fmt.Sprintf(configuration, fleet, traffic, r.authenticator, b.workers, max(10_000, b.clients))
}

// serve starts a broker for a row, with the files that it has prepared, and waits until
// it listens. stop ends it, as does the end of ctx.
func (b *bench) serve(ctx context.Context, r row) (*broker, error) {
	v := &broker{log: b.path("log"), ended: make(chan struct{})}
	var err error
	if v.fleet, v.traffic, err = freeAddresses(); err != nil {
		return nil, err
	}
	if err := os.WriteFile(b.path("sallyport.yaml"), []byte(b.configure(r, v.fleet, v.traffic)), 0o600); err != nil {
		return nil, err
	}
	log, err := os.Create(v.log)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own
	ctx, cancel := context.WithCancel(ctx)
	cmd := child(ctx, b.core, b.path("sallyport"), "serve", "-c", b.path("sallyport.yaml"))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, err
	}
	v.pid = cmd.Process.Pid // taskset becomes what it starts
	go func() { _ = cmd.Wait(); close(v.ended) }()
	v.stop = func() { cancel(); <-v.ended }
	if err := v.await(ctx); err != nil {
		v.stop()
		return nil, err
	}
	return v, nil
}

func (v *broker) await(ctx context.Context) error {
	for {
		c, err := net.DialTimeout("tcp", v.traffic, time.Second)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-v.ended:
			text, _ := os.ReadFile(v.log)
			return fmt.Errorf("the broker ended at once: %s", strings.TrimSpace(string(text)))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// explain adds what the broker logged last to an error.
func (v *broker) explain(err error) error {
	text, readErr := os.ReadFile(v.log)
	if err == nil || readErr != nil {
		return err
	}
	lines := slices.Collect(strings.Lines(string(text)))
	return fmt.Errorf("%w\nthe broker's log ends with\n%s", err, strings.Join(lines[max(0, len(lines)-5):], ""))
}

// freeAddresses are two that nobody listens on.
func freeAddresses() (one, other string, err error) {
	for _, to := range []*string{&one, &other} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", "", err
		}
		defer l.Close() // after the other one has its own
		*to = l.Addr().String()
	}
	return one, other, nil
}

// child is a process on a core that is asked to end with ctx, and killed with this one.
func child(ctx context.Context, core string, args ...string) *exec.Cmd {
	if _, err := exec.LookPath("taskset"); err == nil && core != "" {
		args = append([]string{"taskset", "-c", core}, args...)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	dieWithParent(cmd)
	return cmd
}
