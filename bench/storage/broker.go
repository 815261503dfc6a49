package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	load "sallyport/bench"
)

var durabilities = []string{"always", "interval", "os"}

// configuration lets everybody in, and no limit count.
const configuration = `listeners: [{name: bench, address: "127.0.0.1:%d", authenticators: [anonymous], policies: [all]}]
authenticators: [{name: anonymous, type: anonymous}]
policies: [{name: all, type: allow_all}]
log: {connections: false}
limits:
  sessions: 2000000
  retained_messages: 20000000
  retained_bytes: 16GiB
  queue_messages: 20000000
  queue_bytes: 16GiB
  buffer_bytes: 64GiB
storage: {type: disk, dir: %q, durability: %s}
`

// build compiles Sallyport.
func (b *bench) build(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join("bench", "storage")); err != nil {
		return errors.New("start it in the folder of the module: go run ./bench/storage")
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
	port  int
	cmd   *exec.Cmd
	log   string
	ended chan struct{}
	stop  func()
	took  time.Duration // from the start of the process until it listened
}

// serve starts a broker on a store and waits until it listens; core is where it is
// pinned, "" nowhere. stop ends it, as does the end of ctx.
func (b *bench) serve(ctx context.Context, store, core string) (*broker, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	b.serial++
	config, logged := b.path(fmt.Sprintf("%d.yaml", b.serial)), b.path(fmt.Sprintf("%d.log", b.serial))
	if err := os.WriteFile(config, fmt.Appendf(nil, configuration, port, store, b.durability), 0o600); err != nil {
		return nil, err
	}
	log, err := os.Create(logged)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own
	ctx, cancel := context.WithCancel(ctx)
	v := &broker{port: port, cmd: child(ctx, core, b.path("sallyport"), "serve", "-c", config), log: logged, ended: make(chan struct{})}
	v.cmd.Stdout, v.cmd.Stderr = log, log
	begin := time.Now()
	if err := v.cmd.Start(); err != nil {
		cancel()
		return nil, err
	}
	go func() { v.cmd.Wait(); close(v.ended) }()
	v.stop = func() { cancel(); <-v.ended }
	if err := v.await(ctx); err != nil {
		v.stop()
		return nil, err
	}
	v.took = time.Since(begin)
	return v, nil
}

// child is a process that is asked to end with ctx, and by force after a while.
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

func (v *broker) await(ctx context.Context) error {
	for range 60_000 {
		c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", v.port), time.Second)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-v.ended:
			text, _ := os.ReadFile(v.log)
			return fmt.Errorf("the broker ended at once: %s", text)
		case <-time.After(2 * time.Millisecond):
		}
	}
	return errors.New("the broker does not listen")
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// memory is what the process has resident now, and has had at most, in bytes.
func (v *broker) memory() (now, most int64) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", v.cmd.Process.Pid))
	return kib(string(text), "VmRSS"), kib(string(text), "VmHWM")
}

// kib reads a line of proc_pid_status(5), in bytes; 0 if there is none.
func kib(status, name string) int64 {
	for line := range strings.Lines(status) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return n << 10
		}
	}
	return 0
}

// opened is what the broker's log says it has found in its store.
func (v *broker) opened() (sessions, retained int, err error) {
	text, err := os.ReadFile(v.log)
	if err != nil {
		return 0, 0, err
	}
	return opened(string(text))
}

func opened(log string) (sessions, retained int, err error) {
	m := regexp.MustCompile(`msg="store opened".* sessions=(\d+) retained=(\d+) `).FindStringSubmatch(log)
	if m == nil {
		return 0, 0, fmt.Errorf("the broker's log does not say what is in the store: %s", log)
	}
	sessions, _ = strconv.Atoi(m[1]) // digits
	retained, _ = strconv.Atoi(m[2])
	return sessions, retained, nil
}

// load runs sallyport bench on the core that the broker is not pinned to.
func (b *bench) load(ctx context.Context, v *broker, core string, args ...string) (*load.Report, error) {
	args = append([]string{b.path("sallyport"), "bench"}, args...)
	args = append(args, "--json", "-V", "mqttv311", "-h", "127.0.0.1", "-p", fmt.Sprint(v.port), "--pid", fmt.Sprint(v.cmd.Process.Pid))
	cmd := child(ctx, core, args...)
	var out, complaint strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	report := new(load.Report)
	if json.Unmarshal([]byte(out.String()), report) != nil || report.Scenario == "" {
		return nil, fmt.Errorf("sallyport bench: %w %s", err, complaint.String())
	}
	if !report.OK() {
		return nil, fmt.Errorf("messages were lost, doubled, refused or out of order: %+v", report)
	}
	return report, nil
}
