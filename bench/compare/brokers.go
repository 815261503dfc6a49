package main

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"text/template"
)

// broker is one column of the comparison.
type broker struct {
	id, title string
	config    string // its template in bench/peers; "" for none
	guarded   bool   // clients present a name and a password
	driver    string // of Sallyport; "" is the default
	extra     bool   // only if it is asked for
	storage   string // its durability on a disk; "" keeps nothing. Only with -disk
	rows      kind   // it takes part in
	// command is what to start, given the rendered configuration.
	command func(w *workbench, s settings, config string) []string
	// prepare sees to it that the program is there and says its version.
	prepare func(ctx context.Context, w *workbench) (version string, err error)
}

// kind says which rows a broker takes part in.
type kind int

const (
	volatile kind = iota // those where nothing is kept
	both
	durable // those about what is kept
)

// takes reports whether b takes part in r.
func (b broker) takes(r row) bool {
	return r.without[b.id] == "" && (b.rows == both || r.kept == (b.rows == durable))
}

// settings is what a configuration is filled in with.
type settings struct {
	Port      int
	TLS, Deep bool
	Driver    string
	Users     string // password file
	Cert, Key string
	ClientCA  string // of the certificates that clients have to show; "": none
	CRL       string // of ClientCA; "": none
	Dir       string // for its own files, in memory if possible
	Store     string // for what it keeps on a disk; "" if nothing

	Durability string
}

// errMissing leaves a broker out of the comparison; the text says what to do.
var errMissing = errors.New("not here")

func brokers() []broker {
	return []broker{
		{id: "guarded", title: "Sallyport", config: "sallyport-guarded.yaml", guarded: true, rows: both, command: serve, prepare: sallyportVersion},
		{id: "disk", title: "Sallyport, disk", config: "sallyport-guarded.yaml", guarded: true, storage: "always", rows: both, command: serve, prepare: sallyportVersion},
		{id: "interval", title: "Sallyport, disk, interval", config: "sallyport-guarded.yaml", guarded: true, storage: "interval", rows: durable, command: serve, prepare: sallyportVersion},
		{id: "os", title: "Sallyport, disk, os", config: "sallyport-guarded.yaml", guarded: true, storage: "os", rows: durable, command: serve, prepare: sallyportVersion},
		{id: "goroutine", title: "Sallyport, driver goroutine", config: "sallyport-guarded.yaml", guarded: true, driver: "goroutine", extra: true,
			command: serve, prepare: sallyportVersion},
		{id: "open", title: "Sallyport, open", config: "sallyport-open.yaml", command: serve, prepare: sallyportVersion},
		{id: "mosquitto", title: "Mosquitto", config: "mosquitto.conf", prepare: mosquittoVersion, command: mosquitto},
		{id: "persistence", title: "Mosquitto, persistence", config: "mosquitto.conf", storage: "autosave", rows: durable, prepare: mosquittoVersion, command: mosquitto},
		{id: "mochi", title: "mochi-mqtt", prepare: buildPeer("mochi", "./mochi", "github.com/mochi-mqtt/server/v2"),
			command: func(w *workbench, s settings, _ string) []string {
				args := []string{w.path("mochi"), "-address", fmt.Sprintf("127.0.0.1:%d", s.Port), fmt.Sprintf("-deep=%t", s.Deep)}
				if s.TLS {
					args = append(args, "-cert", s.Cert, "-key", s.Key, "-client-ca", s.ClientCA)
				}
				return args
			}},
		{id: "nats", title: "nats-server", config: "nats.conf", prepare: buildPeer("nats-server", "github.com/nats-io/nats-server/v2", ""),
			command: func(w *workbench, _ settings, config string) []string {
				return []string{w.path("nats-server"), "-c", config}
			}},
	}
}

func serve(w *workbench, _ settings, config string) []string {
	return []string{w.path("sallyport"), "serve", "-c", config}
}

func mosquitto(w *workbench, _ settings, config string) []string {
	return []string{w.mosquitto, "-c", config}
}

func brokerIDs() (ids []string) {
	for _, b := range brokers() {
		ids = append(ids, b.id)
	}
	return ids
}

// prepare builds or finds the brokers that were asked for, and tells of those
// that can't be had.
func (w *workbench) prepare(ctx context.Context, ids string) ([]broker, error) {
	all := brokers()
	for id := range strings.SplitSeq(ids, ",") {
		if ids != "" && !slices.Contains(brokerIDs(), id) {
			return nil, fmt.Errorf("there is no broker %q, only %s", id, strings.Join(brokerIDs(), ", "))
		}
	}
	var ready []broker
	w.versions, w.missing, w.templates = make(map[string]string), make(map[string]string), make(map[string]*template.Template)
	for _, b := range all {
		if ids == "" && (b.extra || b.storage != "" && w.disk == "") || ids != "" && !slices.Contains(strings.Split(ids, ","), b.id) {
			continue
		}
		if b.storage != "" && w.disk == "" {
			return nil, fmt.Errorf("%s needs -disk, which says where", b.id)
		}
		version, err := b.prepare(ctx, w)
		if err == nil {
			// Read once: who edits it meanwhile changes the next comparison.
			w.templates[b.id], err = b.template()
		}
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, errMissing):
			w.missing[b.id] = err.Error()
			w.say("%s is left out: %v", b.title, err)
			continue
		case err != nil:
			return nil, fmt.Errorf("%s: %w", b.title, err)
		}
		w.versions[b.id] = version
		ready = append(ready, b)
	}
	if len(ready) == 0 {
		return nil, errors.New("no broker to measure")
	}
	return ready, nil
}

func sallyportVersion(ctx context.Context, w *workbench) (string, error) {
	out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--exclude", "*").Output()
	if err != nil {
		return "", nil // no checkout: the date has to do
	}
	return strings.TrimSpace(string(out)), nil
}

// mosquittoVersion finds Debian's package, which is not on everybody's PATH.
func mosquittoVersion(ctx context.Context, w *workbench) (string, error) {
	for _, name := range []string{"mosquitto", "/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		w.mosquitto = path
		out, _ := exec.CommandContext(ctx, path, "-h").CombinedOutput() // its exit code is not 0
		if m := regexp.MustCompile(`mosquitto version (\S+)`).FindSubmatch(out); m != nil {
			return string(m[1]), nil
		}
		return "", fmt.Errorf("%s -h says no version", path)
	}
	return "", fmt.Errorf("%w: install it with \"apt install mosquitto\"", errMissing)
}

// buildPeer builds a package of the module bench/peers; its version is that of
// the main module of the program, or of the dependency that is named.
func buildPeer(name, pkg, dependency string) func(context.Context, *workbench) (string, error) {
	return func(ctx context.Context, w *workbench) (string, error) {
		w.say("building %s", name)
		if err := w.build(ctx, filepath.Join("bench", "peers"), pkg, name); err != nil {
			return "", fmt.Errorf("%w: %v", errMissing, err)
		}
		info, err := buildinfo.ReadFile(w.path(name))
		if err != nil {
			return "", err
		}
		for _, m := range info.Deps {
			if m.Path == dependency {
				return m.Version, nil
			}
		}
		return info.Main.Version, nil
	}
}

// build compiles pkg of the module in dir to a program of the workbench.
func (w *workbench) build(ctx context.Context, dir, pkg, name string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", w.path(name), pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// template reads the configuration of b.
func (b broker) template() (*template.Template, error) {
	if b.config == "" {
		return nil, nil
	}
	return template.ParseFiles(filepath.Join("bench", "peers", b.config))
}

// render fills in a configuration.
func render(t *template.Template, s settings, to string) error {
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(t.Execute(f, s), f.Close())
}
