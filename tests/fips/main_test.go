package fips

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/certs"
)

// patience bounds what a busy machine needs; nothing waits for it.
const patience = 2 * time.Minute

// The two builds: with the frozen module, and without. Set by TestMain only.
var frozen, plain string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "fips-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	frozen, plain = filepath.Join(dir, "frozen.exe"), filepath.Join(dir, "plain.exe")
	for path, version := range map[string]string{frozen: "v1.0.0", plain: "off"} {
		build := exec.Command("go", "build", "-o", path, "./cmd/sallyport")
		build.Dir = "../.."
		// The module comes with Go: nothing is fetched for it.
		build.Env = append(os.Environ(), "GOFIPS140="+version, "CGO_ENABLED=0", "GOPROXY=off")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build with GOFIPS140=%s: %v\n%s", version, err, out)
			return 1
		}
	}
	return m.Run()
}

// command is a command of a build, whose environment has that GODEBUG.
func command(ctx context.Context, binary, godebug string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(os.Environ(), "GODEBUG="+godebug)
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// output runs a command to its end.
func output(t *testing.T, binary, godebug string, args ...string) (code int, out string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := command(ctx, binary, godebug, args...)
	text, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, text)
	}
	return cmd.ProcessState.ExitCode(), string(text)
}

// folder is a broker's files.
type folder struct {
	dir string
	certs.Files
}

const listeners = `fips: true
listeners:
  - {name: mqtts, transport: tls, address: "127.0.0.1:0", authenticators: [users], policies: [all], tls: {certificate: server.crt, key: server.key%s}}
  - {name: web, transport: wss, address: "127.0.0.1:0", authenticators: [users], policies: [all], tls: {certificate: server.crt, key: server.key}}
  - {name: mutual, transport: tls, address: "127.0.0.1:0", identity: common_name, policies: [all], tls: {certificate: server.crt, key: server.key, client_ca: clients.crt, client_auth: require}}
authenticators: [{name: users, type: password_file, file: passwd}]
policies: [{name: all, type: allow_all}]
log: {connections: false}
`

const password = "correct horse battery"

// newFolder makes files whose configuration has more in tls of its first listener; the
// password file is the frozen build's.
func newFolder(t *testing.T, more string) folder {
	t.Helper()
	f := folder{dir: t.TempDir()}
	var err error
	if f.Files, err = certs.Quickstart(f.dir, nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	f.write(t, "clients.crt", authority(t).pem())
	f.write(t, "sallyport.yaml", fmt.Sprintf(listeners, more))
	if code, out := output(t, frozen, "", "passwd", "-c", "-b", f.path("passwd"), "alice", password); code != 0 {
		t.Fatalf("passwd: exit %d: %s", code, out)
	}
	return f
}

func (f folder) path(name string) string { return filepath.Join(f.dir, name) }

func (f folder) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(f.path(name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// broker is one that serves.
type broker struct {
	addr    map[string]string // by listener
	log     string            // until it listened
	process *os.Process
	lines   <-chan string // of the log, from then on
}

// logs waits for a line with text.
func (b broker) logs(t *testing.T, text string) {
	t.Helper()
	for line := range b.lines {
		if strings.Contains(line, text) {
			return
		}
	}
	t.Fatalf("the log ends without %q", text)
}

var listening = regexp.MustCompile(`msg=listening listener=(\w+) .*addr=(\S+)`)

// serve starts a broker and waits until it listens everywhere.
func (f folder) serve(t *testing.T, binary, godebug string) broker {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience) // it stops in Cleanup
	cmd := command(ctx, binary, godebug, "serve", "-c", f.path("sallyport.yaml"))
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	rest := make(chan string)
	t.Cleanup(func() {
		defer cancel()
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended, which Wait tells
		for range rest {
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the broker ended with %v", err)
		}
	})
	b := broker{addr: map[string]string{}, process: cmd.Process, lines: rest}
	lines := bufio.NewScanner(out)
	for len(b.addr) < 3 && lines.Scan() {
		b.log += lines.Text() + "\n"
		if m := listening.FindStringSubmatch(lines.Text()); m != nil {
			b.addr[m[1]] = m[2]
		}
	}
	go func() {
		defer close(rest)
		for lines.Scan() {
			rest <- lines.Text()
		}
	}()
	if len(b.addr) < 3 {
		t.Fatalf("the broker doesn't listen:\n%s", b.log)
	}
	return b
}

// refused runs serve, which is to end before it listens, and says why.
func (f folder) refused(t *testing.T, binary, godebug string, says ...string) {
	t.Helper()
	code, out := output(t, binary, godebug, "serve", "-c", f.path("sallyport.yaml"))
	if code == 0 || strings.Contains(out, "msg=listening") {
		t.Errorf("it serves:\n%s", out)
	}
	for _, want := range says {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
}
