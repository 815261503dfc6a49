package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// memory is what a process has resident now, and has had at most, in bytes.
func memory(pid int) (now, most int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	now, most = kib(string(text), "VmRSS"), kib(string(text), "VmHWM")
	if now == 0 || most == 0 {
		return 0, 0, fmt.Errorf("/proc/%d/status does not tell its memory", pid)
	}
	return now, most, nil
}

// kib reads a line of proc_pid_status(5), in bytes; 0 if there is none.
func kib(status, name string) int64 {
	for line := range strings.Lines(status) {
		if rest, ok := strings.CutPrefix(line, name+":"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			if err != nil {
				return 0
			}
			return n << 10
		}
	}
	return 0
}

// forget begins VmHWM anew (proc_pid_clear_refs(5)).
func forget(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

// settled is the memory of a broker that nobody asks anything: it collects and gives
// back what it does not need when it has been quiet for some seconds.
func settled(ctx context.Context, pid int) (int64, error) {
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(8 * time.Second):
	}
	now, _, err := memory(pid)
	return now, err
}
