package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// callsPerMessage is the measure that traced rows add to the report.
const callsPerMessage = "broker_system_calls_per_message"

// trace counts the system calls of a broker until stop is called.
func (w *workbench) trace(ctx context.Context, v *server) (stop func() (calls uint64, err error), err error) {
	if _, err := exec.LookPath("strace"); err != nil {
		return nil, errors.New("needs strace: \"apt install strace\"")
	}
	w.serial++
	summary, complaint := w.path(fmt.Sprintf("%03d-calls", w.serial)), w.path(fmt.Sprintf("%03d-strace.log", w.serial))
	log, err := os.Create(complaint)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own
	ctx, cancel := context.WithCancel(ctx)
	cmd := child(ctx, []string{"strace", "-c", "-f", "-o", summary, "-p", strconv.Itoa(v.cmd.Process.Pid)})
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it lets go and writes what it counted
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, err
	}
	end := func() (uint64, error) {
		cancel()
		cmd.Wait() // its exit code tells of the signal
		text, err := os.ReadFile(summary)
		if err != nil {
			return 0, err
		}
		return totalCalls(string(text))
	}
	for range 500 {
		text, _ := os.ReadFile(complaint)
		if strings.Contains(string(text), "attached") {
			return end, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	end()
	return nil, fmt.Errorf("strace does not attach: %s", lastLine(complaint))
}

// totalCalls reads the summary of strace -c, whose last line is
// "100.00 SECONDS USECS/CALL CALLS [ERRORS] total".
func totalCalls(summary string) (uint64, error) {
	for line := range strings.Lines(summary) {
		words := strings.Fields(line)
		if len(words) >= 5 && words[len(words)-1] == "total" {
			return strconv.ParseUint(words[3], 10, 64)
		}
	}
	return 0, errors.New("strace wrote no summary")
}
