package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// child is a process on a core that is asked to end with ctx, and killed with this one.
func (b *bench) child(ctx context.Context, core string, args ...string) *exec.Cmd {
	if _, err := exec.LookPath("taskset"); err == nil && core != "" {
		args = append([]string{"taskset", "-c", core}, args...)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	dieWithParent(cmd)
	return cmd
}

func (b *bench) await(ctx context.Context, ended <-chan struct{}) error {
	for {
		c, err := net.DialTimeout("tcp", b.address, time.Second)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ended:
			text, _ := os.ReadFile(b.path("log"))
			return fmt.Errorf("the broker ended at once: %s", strings.TrimSpace(string(text)))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
