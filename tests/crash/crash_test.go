package crash_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"
)

// patience bounds a run: far beyond what a busy machine needs.
const patience = 4 * time.Minute

// The programs under test. Set by TestMain only.
var brokerPath, checkerPath, selfPath string

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "liar" {
		os.Exit(runLiar(os.Args[2:]))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "crash-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if selfPath, err = os.Executable(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	brokerPath, checkerPath = filepath.Join(dir, "sallyport.exe"), filepath.Join(dir, "checker.exe")
	for path, pkg := range map[string]string{brokerPath: "sallyport/cmd/sallyport", checkerPath: "sallyport/tests/crash/checker"} {
		if out, err := exec.Command("go", "build", "-o", path, pkg).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build of %s: %v\n%s", pkg, err, out)
			return 1
		}
	}
	return m.Run()
}

// checker is a checker over the broker of this checkout.
func checker(ctx context.Context, args ...string) *exec.Cmd {
	args = append([]string{"-broker", brokerPath + " serve -c {config}"}, args...)
	cmd := exec.CommandContext(ctx, checkerPath, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	return cmd
}

// check runs a checker to its end.
func check(t *testing.T, args ...string) (code int, output string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := checker(ctx, args...)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// need fails unless the run was one: counts of the summary that must not be 0.
func need(t *testing.T, output string, counts ...string) {
	t.Helper()
	for _, c := range counts {
		if m := regexp.MustCompile(`\b` + c + `:(\d+)`).FindStringSubmatch(output); m == nil || m[1] == "0" {
			t.Errorf("the run shows nothing of %s:\n%s", c, output)
		}
	}
}

// seen is what a run has to have seen to be one.
func seen() []string {
	return []string{"Resumed", "Acknowledged", "Owed", "OwedShared", "AgainQoS1", "RetainedRead", "Settled"}
}

func TestCutConnectionsLoseNothing(t *testing.T) {
	code, out := check(t, "-storage", "memory", "-kill=false", "-rounds", "10")
	if code != 0 {
		t.Fatalf("exit code %d:\n%s", code, out)
	}
	need(t, out, seen()...)
}

func TestAKilledBrokerLosesNothingAcknowledged(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
	}{
		{"always", []string{"-durability", "always", "-rounds", "30"}},
		{"always, encrypted", []string{"-durability", "always", "-rounds", "10", "-encrypt"}},
		// What is killed leaves the system's caches alone: these have to keep all, too.
		{"interval", []string{"-durability", "interval", "-rounds", "10"}},
		{"os", []string{"-durability", "os", "-rounds", "10"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, out := check(t, append(c.args, "-storage", "disk")...)
			if code != 0 {
				t.Fatalf("exit code %d:\n%s", code, out)
			}
			need(t, out, append(seen(), "Kills", "Resent", "AgainQoS2", "Wills", "Unsubscribed")...)
		})
	}
}

func TestWhatMemoryLosesIsFound(t *testing.T) {
	code, out := check(t, "-storage", "memory", "-rounds", "3", "-load-min", "200ms", "-quiet", "2s")
	if code != 1 {
		t.Fatalf("a broker that keeps nothing was killed, and the checker ends with %d:\n%s", code, out)
	}
	for _, rule := range []string{"session", "retained"} {
		if !strings.Contains(out, "broken: "+rule+",") {
			t.Errorf("the checker does not find that %s is broken:\n%s", rule, out)
		}
	}
	if m := regexp.MustCompile(`are kept in (\S+)`).FindStringSubmatch(out); m == nil {
		t.Errorf("no folder is kept:\n%s", out)
	} else if err := os.RemoveAll(m[1]); err != nil {
		t.Error(err)
	}
}

func TestAnInterruptedCheckerLeavesNoBroker(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // a child can't be interrupted there
	}
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := checker(ctx, "-storage", "memory", "-kill=false", "-rounds", "1000", "-settle", "1", "-dir", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	awaitText(t, out, "round 1:")
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, out) // until the checker has closed it
	_ = cmd.Wait()                  // that it failed is wanted
	if code := cmd.ProcessState.ExitCode(); code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	config, err := os.ReadFile(filepath.Join(dir, "broker.conf"))
	if err != nil {
		t.Fatal(err)
	}
	addr := regexp.MustCompile(`127\.0\.0\.1:\d+`).Find(config)
	if nc, err := net.Dial("tcp", string(addr)); err == nil {
		_ = nc.Close()
		t.Errorf("the broker still listens at %s", addr)
	}
}

// awaitText reads until text has come.
func awaitText(t *testing.T, r io.Reader, text string) {
	t.Helper()
	var all []byte
	buf := make([]byte, 4096)
	for !bytes.Contains(all, []byte(text)) {
		n, err := r.Read(buf)
		all = append(all, buf[:n]...)
		if err != nil {
			t.Fatalf("no %q before %v:\n%s", text, err, all)
		}
	}
}
