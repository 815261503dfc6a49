package interop

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait: far beyond what a busy machine needs.
const patience = 20 * time.Second

// process is a child whose output is read line by line.
type process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	exited chan struct{} // closed when it has ended and its output is complete

	mu    sync.Mutex // guards the fields below
	lines []output
	grown chan struct{} // closed and replaced at each line
}

// output is one line of a process.
type output struct {
	fromStderr bool
	text       string
}

// lineWriter cuts what is written into lines of p.
type lineWriter struct {
	p          *process
	fromStderr bool
	rest       []byte
}

func (w *lineWriter) Write(b []byte) (int, error) {
	w.rest = append(w.rest, b...)
	for {
		line, rest, found := bytes.Cut(w.rest, []byte("\n"))
		if !found {
			return len(b), nil
		}
		w.p.add(output{w.fromStderr, string(line)})
		w.rest = rest
	}
}

func (p *process) add(o output) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines = append(p.lines, o)
	close(p.grown)
	p.grown = make(chan struct{})
}

// start runs a child that is killed at the end of the test if it still runs.
func start(t *testing.T, name string, args ...string) *process {
	t.Helper()
	return startCmd(t, exec.Command(name, args...))
}

func startCmd(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, exited: make(chan struct{}), grown: make(chan struct{})}
	stdout, stderr := &lineWriter{p: p}, &lineWriter{p: p, fromStderr: true}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.WaitDelay = 5 * time.Second // a grandchild must not keep the pipes open for ever
	// A test binary that dies must not leave brokers behind.
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	var err error
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", cmd.Path, err)
	}
	go func() {
		_ = cmd.Wait() // the exit code is in ProcessState
		for _, w := range []*lineWriter{stdout, stderr} {
			if len(w.rest) > 0 {
				p.add(output{w.fromStderr, string(w.rest)})
			}
		}
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() && os.Getenv("IT_OUTPUT") != "" {
			t.Logf("output of %s:\n%s", strings.Join(cmd.Args, " "), p.text())
		}
	})
	return p
}

// kill ends the child without letting it say goodbye.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended already
	<-p.exited
}

// signal sends s.
func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatalf("signal %v: %v", s, err)
	}
}

// wait waits for the end of the child and returns its exit code.
func (p *process) wait(t *testing.T, limit time.Duration) int {
	t.Helper()
	select {
	case <-p.exited:
	case <-time.After(limit):
		t.Fatalf("%s did not end within %v; output:\n%s", strings.Join(p.cmd.Args, " "), limit, p.text())
	}
	return p.cmd.ProcessState.ExitCode()
}

// stop asks a broker to end and requires the orderly end that users rely on.
func (p *process) stop(t *testing.T) {
	t.Helper()
	p.signal(t, syscall.SIGTERM)
	if code := p.wait(t, 10*time.Second); code != 0 {
		t.Errorf("exit code after SIGTERM = %d, want 0; output:\n%s", code, p.text())
	}
}

// text is all output so far.
func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	for _, l := range p.lines {
		b.WriteString(l.text)
		b.WriteByte('\n')
	}
	return b.String()
}

// stderr is what the child wrote there so far.
func (p *process) stderr() string { return p.stream(true) }

// stdout is what the child wrote there so far.
func (p *process) stdout() string { return p.stream(false) }

func (p *process) stream(fromStderr bool) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	for _, l := range p.lines {
		if l.fromStderr == fromStderr {
			b.WriteString(l.text)
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// mark is a place in the output, for waits that must not see what was before.
func (p *process) mark() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.lines)
}

// next returns the first line at or after *from for which match holds, and
// moves *from behind it; ok is false if the child ended or ctx did.
func (p *process) next(ctx context.Context, from *int, match func(string) bool) (line string, ok bool) {
	for ended := false; ; {
		p.mu.Lock()
		for ; *from < len(p.lines); *from++ {
			if text := p.lines[*from].text; match(text) {
				*from++
				p.mu.Unlock()
				return text, true
			}
		}
		grown := p.grown
		p.mu.Unlock()
		if ended {
			return "", false
		}
		select {
		case <-grown:
		case <-p.exited:
			ended = true
		case <-ctx.Done():
			return "", false
		}
	}
}

// await returns the first line after mark that holds all of parts.
func (p *process) await(t *testing.T, mark int, parts ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	line, ok := p.next(ctx, &mark, func(s string) bool { return holdsAll(s, parts) })
	if !ok {
		t.Fatalf("no line with %q from %s; output:\n%s", parts, p.cmd.Path, p.text())
	}
	return line
}

// count is how many lines hold all of parts.
func (p *process) count(parts ...string) (n int) {
	for line := range strings.Lines(p.text()) {
		if holdsAll(line, parts) {
			n++
		}
	}
	return n
}

func holdsAll(s string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(s, part) {
			return false
		}
	}
	return true
}

// result is what a command that ended left.
type result struct {
	code           int
	stdout, stderr string
}

// runCmd runs a command to its end with input as standard input.
func runCmd(t *testing.T, input string, name string, args ...string) result {
	t.Helper()
	return runEnv(t, nil, input, name, args...)
}

// runEnv is runCmd with more environment variables.
func runEnv(t *testing.T, env []string, input string, name string, args ...string) result {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	p := startCmd(t, cmd)
	_, _ = io.WriteString(p.stdin, input) // a command that reads nothing may be gone already
	_ = p.stdin.Close()
	code := p.wait(t, patience)
	return result{code, p.stdout(), p.stderr()}
}

// mustRun is runCmd for a command that has to succeed.
func mustRun(t *testing.T, input string, name string, args ...string) result {
	t.Helper()
	r := runCmd(t, input, name, args...)
	if r.code != 0 {
		t.Fatalf("%s %s: exit code %d\n%s%s", name, strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r
}
