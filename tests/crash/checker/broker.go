package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// maxLog bounds the broker's log, in bytes: a longer one is emptied at the next start.
const maxLog = 64 << 20

// child is the broker: a process that this one starts and ends.
type child struct {
	argv   []string
	log    *os.File
	cmd    *exec.Cmd
	exited chan struct{}
}

// start starts the broker; it takes connections some time later.
func (b *child) start() error {
	if info, err := b.log.Stat(); err == nil && info.Size() > maxLog {
		if err := b.log.Truncate(0); err != nil {
			return err
		}
	}
	cmd := exec.Command(b.argv[0], b.argv[1:]...)
	cmd.Stdout, cmd.Stderr = b.log, b.log
	cmd.SysProcAttr = bound()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the broker: %w", err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended stands in ProcessState
		close(exited)
	}()
	b.cmd, b.exited = cmd, exited
	return nil
}

// running reports whether it has not ended.
func (b *child) running() bool {
	select {
	case <-b.exited:
		return false
	default:
		return b.cmd != nil
	}
}

// kill is SIGKILL, and returns when nothing is left of the process.
func (b *child) kill() {
	if b.cmd == nil {
		return
	}
	_ = b.cmd.Process.Kill() // it may have ended already
	<-b.exited
}

// stop is SIGTERM, and SIGKILL for a broker that takes too long.
func (b *child) stop(limit time.Duration) {
	if b.cmd == nil {
		return
	}
	if b.cmd.Process.Signal(syscall.SIGTERM) == nil {
		select {
		case <-b.exited:
			return
		case <-time.After(limit):
		}
	}
	b.kill()
}

// await waits until the broker takes connections at addr.
func (b *child) await(ctx context.Context, addr string, limit time.Duration) error {
	for end := time.Now().Add(limit); ; {
		nc, err := net.DialTimeout("tcp", addr, dialTimeout)
		if err == nil {
			return nc.Close()
		}
		switch {
		case !b.running():
			return fmt.Errorf("the broker has ended: %v", b.cmd.ProcessState)
		case ctx.Err() != nil:
			return ctx.Err()
		case time.Now().After(end):
			return fmt.Errorf("the broker takes no connection within %v: %w", limit, err)
		}
		pause(ctx, 2*time.Millisecond)
	}
}

// freePort is a port of the loopback interface outside of the range from which
// the kernel takes ports for clients: it stays free while the broker is down.
func freePort(from int) (int, error) {
	for i := range 2000 {
		port := 20000 + (from+i)%12000
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return port, l.Close()
		}
	}
	return 0, errors.New("no free port from 20000 to 31999")
}

// sallyportConfig lets everyone do everything, and has room for whatever queues
// up while subscribers are away: nothing may be lost for want of room.
const sallyportConfig = `listeners:
  - name: tcp
    transport: tcp
    address: "127.0.0.1:{port}"
    authenticators: [anyone]
    policies: [everything]
    accept_risk: [anonymous, allow_all]
authenticators:
  - {name: anyone, type: anonymous}
policies:
  - {name: everything, type: allow_all}
limits:
  queue_messages: 10000000
  queue_bytes: 4GiB
  buffer_bytes: 8GiB
  session_expiry: 7d
sys_interval: 0
reload: manual
log: {level: info, format: text}
storage: {storage}
`

// keyName is the file with the key of an encrypted store.
const keyName = "store.key"

// storageSection is the section of the configuration.
func (o *options) storageSection(dir string) string {
	if o.storage == "memory" {
		return "{type: memory}"
	}
	more := ""
	if o.encrypt {
		more = fmt.Sprintf(", encryption: {key: {file: %q}}", filepath.Join(dir, keyName))
	}
	return fmt.Sprintf("{type: %s, dir: %q, durability: %s%s}", o.storage, filepath.Join(dir, "data"), o.durability, more)
}

// prepare writes the configuration and returns the command of the broker.
func (o *options) prepare(ctx context.Context, dir string, port int) (argv []string, err error) {
	text := sallyportConfig
	if o.config != "" {
		b, err := os.ReadFile(o.config)
		if err != nil {
			return nil, err
		}
		text = string(b)
	}
	config := filepath.Join(dir, "broker.conf")
	replace := strings.NewReplacer("{port}", fmt.Sprint(port), "{dir}", dir, "{config}", config,
		"{storage}", o.storageSection(dir), "{durability}", o.durability)
	if o.encrypt {
		key := fmt.Sprintf("%064x\n", o.seed) // the test's own
		if err := os.WriteFile(filepath.Join(dir, keyName), []byte(key), 0o600); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(config, []byte(replace.Replace(text)), 0o600); err != nil {
		return nil, err
	}
	if o.broker == "" {
		binary := filepath.Join(dir, "sallyport")
		build := exec.CommandContext(ctx, "go", "build", "-o", binary, "sallyport/cmd/sallyport")
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("build of the broker: %w\n%s", err, out)
		}
		return []string{binary, "serve", "-c", config}, nil
	}
	for _, arg := range strings.Fields(o.broker) {
		argv = append(argv, replace.Replace(arg))
	}
	if len(argv) == 0 {
		return nil, errors.New("-broker is blank")
	}
	return argv, nil
}
