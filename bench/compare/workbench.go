package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"text/template"
	"time"
)

// workbench is the folder with programs, keys and configurations of one
// comparison. Nothing outlives it but what it was told to keep.
type workbench struct {
	dir       string
	store     string // for what brokers keep, in memory if possible
	disk      string // for what they keep on a disk; "" for nothing
	keep      bool
	pin       bool   // there is taskset, and a second core
	mosquitto string // its program
	keys      keys
	serial    int

	versions, missing map[string]string // by broker
	templates         map[string]*template.Template
}

// Where each side runs.
const (
	brokerCore    = "0"
	generatorCore = "1"
)

func newWorkbench(ctx context.Context, keep bool, disk string) (*workbench, error) {
	if runtime.GOOS != "linux" {
		return nil, errors.New("needs Linux: what a broker uses is read from /proc")
	}
	if _, err := os.Stat(filepath.Join("bench", "peers", "go.mod")); err != nil {
		return nil, errors.New("start it in the folder of the module: go run ./bench/compare")
	}
	raiseDescriptorLimit()
	w := &workbench{keep: keep}
	var err error
	if w.dir, err = os.MkdirTemp("", "sallyport-compare-"); err != nil {
		return nil, err
	}
	if w.store, err = os.MkdirTemp("/dev/shm", "sallyport-compare-"); err != nil {
		w.store = filepath.Join(w.dir, "store")
		w.say("no /dev/shm: nats-server keeps its streams in %s", w.store)
	}
	if disk != "" {
		if w.disk, err = os.MkdirTemp(disk, "sallyport-compare-"); err != nil {
			w.close()
			return nil, err
		}
	}
	_, err = exec.LookPath("taskset")
	w.pin = err == nil && runtime.NumCPU() >= 2
	if err := w.furnish(ctx); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

// furnish builds Sallyport and makes certificates, users and permissions.
func (w *workbench) furnish(ctx context.Context) error {
	w.say("building Sallyport")
	if err := w.build(ctx, ".", "./cmd/sallyport", "sallyport"); err != nil {
		return err
	}
	if err := w.makeKeys(time.Now()); err != nil {
		return err
	}
	if err := os.WriteFile(w.path("permissions.yaml"), permissions(), 0o600); err != nil {
		return err
	}
	return w.makeUsers(ctx)
}

// How many users the password file has.
const (
	peopleCount = 1000   // load-0 and so on, in the file people, with the default hash, argon2id
	deviceCount = 20_000 // device-0 and so on, in the file devices, with a device secret
)

// makeUsers writes the password files. Everybody has the same password, the text of a device
// secret: sallyport bench knows one. Users of a kind share one hash, since a salt
// each would take a hash each to make, and the check costs the same.
func (w *workbench) makeUsers(ctx context.Context) error {
	one := w.path("passwd.one")
	secret, err := exec.CommandContext(ctx, w.path("sallyport"), "passwd", "-c", "--generate", one, "device").Output()
	if err != nil {
		return fmt.Errorf("make a device secret: %w", err)
	}
	if err := os.WriteFile(w.path("secret"), secret, 0o600); err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, w.path("sallyport"), "passwd", "--password-file", w.path("secret"), one, "load").CombinedOutput(); err != nil {
		return fmt.Errorf("make a password: %w\n%s", err, out)
	}
	text, err := os.ReadFile(one)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		name, hash, found := strings.Cut(strings.TrimSpace(line), ":")
		if !found {
			continue
		}
		file, count := "people", peopleCount
		if name == "device" {
			file, count = "devices", deviceCount
		}
		var b strings.Builder
		for i := range count {
			fmt.Fprintf(&b, "%s-%d:%s\n", name, i, hash)
		}
		if err := os.WriteFile(w.path(file), []byte(b.String()), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// users is the password file of a row's guarded brokers.
func (r row) users() string {
	if r.devices {
		return "devices"
	}
	return "people"
}

// permissions is a permission file of 1,000 rules about every message: 999 with
// placeholders, of which 99 deny, and the one that grants what is measured.
func permissions() []byte {
	var b strings.Builder
	b.WriteString("everyone:\n")
	for i := range 900 {
		fmt.Fprintf(&b, "  - {allow: both, topic: \"plant/%d/+/${clientid}/#\"}\n", i)
	}
	for i := range 99 {
		fmt.Fprintf(&b, "  - {deny: both, topic: \"plant/%d/secret/${username}/#\"}\n", i)
	}
	b.WriteString("  - {allow: both, topic: \"demo/#\"}\n")
	return []byte(b.String())
}

func (w *workbench) path(name string) string { return filepath.Join(w.dir, name) }

// say tells whoever watches.
func (w *workbench) say(format string, a ...any) { fmt.Fprintf(os.Stderr, format+"\n", a...) }

// close removes what the workbench made.
func (w *workbench) close() {
	if w.keep {
		w.say("left behind: %s %s %s", w.dir, w.store, w.disk)
		return
	}
	if w.disk != "" {
		os.RemoveAll(w.disk)
	}
	os.RemoveAll(w.store)
	os.RemoveAll(w.dir)
}

// server is a broker that runs.
type server struct {
	broker broker
	port   int
	tls    bool
	cmd    *exec.Cmd
	log    string
	stop   func()
}

// settings are those of b for a row, but for where it listens and keeps things.
func (w *workbench) settings(b broker, r row) settings {
	shown := w.keys.server(r)
	set := settings{TLS: r.tls, Deep: r.deep, Driver: b.driver, Users: r.users(), Cert: shown.cert, Key: shown.key}
	if r.mutual {
		set.ClientCA = w.keys.clientCA
	}
	if r.crl {
		set.CRL = w.keys.crl
	}
	return set
}

// start runs b for one row and waits until it accepts connections. stop ends it,
// as does the end of ctx; in the worst case by force after some seconds.
func (w *workbench) start(ctx context.Context, b broker, r row, pinned bool) (*server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	w.serial++
	name := fmt.Sprintf("%03d-%s-%s", w.serial, r.id, b.id)
	set := w.settings(b, r)
	set.Port, set.Dir = port, filepath.Join(w.store, name)
	if err := os.MkdirAll(set.Dir, 0o700); err != nil {
		return nil, err
	}
	if b.storage != "" {
		set.Store, set.Durability = filepath.Join(w.disk, name), b.storage
		if err := os.Mkdir(set.Store, 0o700); err != nil {
			return nil, err
		}
	}
	config := w.path(name + filepath.Ext(b.config))
	if t := w.templates[b.id]; t != nil {
		if err := render(t, set, config); err != nil {
			return nil, err
		}
	}
	log, err := os.Create(w.path(name + ".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own
	args := b.command(w, set, config)
	if pinned {
		args = append([]string{"taskset", "-c", brokerCore}, args...)
	}
	ctx, cancel := context.WithCancel(ctx)
	cmd := child(ctx, args)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, err
	}
	s := &server{broker: b, port: port, tls: r.tls, cmd: cmd, log: log.Name()}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	s.stop = func() {
		cancel()
		<-ended
		os.RemoveAll(set.Dir)
		if set.Store != "" && !w.keep {
			os.RemoveAll(set.Store)
		}
	}
	if err := s.await(ctx, ended); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// child is a process that is asked to end with ctx, and ends by force if it does
// not, or if this process is killed.
func child(ctx context.Context, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	dieWithParent(cmd)
	return cmd
}

// await returns when the broker accepts connections.
func (s *server) await(ctx context.Context, ended <-chan struct{}) error {
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", s.port), time.Second)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ended:
			return fmt.Errorf("%s ended at once: %s", s.broker.title, lastLine(s.log))
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s does not listen: %s", s.broker.title, lastLine(s.log))
}

// lastLine returns the end of a log.
func lastLine(path string) string {
	text, _ := os.ReadFile(path)
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
