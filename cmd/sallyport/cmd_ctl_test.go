//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport"
	"sallyport/client"
	"sallyport/config"
	"sallyport/control"
	"sallyport/packet"
)

const ctlTestConfig = `listeners:
  - name: door
    address: "127.0.0.1:0"
    authenticators: [guests]
    policies: [permissions]
authenticators:
  - {name: guests, type: anonymous, believe_username: true}
policies:
  - {name: permissions, type: permissions, file: permissions.yaml}
  - {name: all, type: allow_all}
mqtt: {deny_reason: id}
reload: manual
control: {socket: control.sock}
`

const ctlTestPermissions = `everyone:
  - {allow: both, topic: "ok/#"}
`

// ctlBroker is a running broker with a connected client "phone" of alice.
type ctlBroker struct {
	folder, config string
	phone          *client.Client
	ctx            context.Context
}

func startCtlBroker(t *testing.T) *ctlBroker {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "d")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	b := &ctlBroker{folder: folder, ctx: newShell(t, "").env.ctx}
	file(t, folder, "permissions.yaml", ctlTestPermissions)
	b.config = file(t, folder, "sallyport.yaml", strings.Replace(ctlTestConfig, "[permissions]\n", "[permissions]\n    shadow: [all]\n", 1))
	read := func() (*config.Config, error) { return config.Load(b.config) }
	cfg, err := read()
	if err != nil {
		t.Fatal(err)
	}
	s, err := sallyport.New(cfg, sallyport.Options{Log: slog.New(slog.DiscardHandler), Version: "sallyport test", Read: read})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(errors.Join(err, s.Stop()))
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	b.phone = client.New(client.Options{
		Dial:    client.Target{Transport: client.TCP, Address: s.Addrs("door")[0].String()}.Dial,
		Connect: packet.Connect{Version: packet.V5, ClientID: "phone", CleanStart: true, HasUsername: true, Username: "alice"},
	})
	if _, err := b.phone.Connect(b.ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.phone.Close() }) // nothing is left to send
	return b
}

// refusedID publishes what no rule allows and returns the id of the refusal.
func (b *ctlBroker) refusedID(t *testing.T) string {
	t.Helper()
	p, err := b.phone.Start(b.ctx, client.Message{Topic: "other", QoS: 1})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Wait(b.ctx)
	refusal, ok := errors.AsType[*client.ReasonError](err)
	words := []string{}
	if ok {
		words = strings.Fields(refusal.Reason)
	}
	if len(words) == 0 {
		t.Fatalf("PUBLISH to what no rule allows: %v, want a reason string with an id", err)
	}
	return words[len(words)-1]
}

func TestCtl(t *testing.T) {
	b := startCtlBroker(t)
	if _, err := b.phone.Publish(b.ctx, client.Message{Topic: "ok/1", QoS: 1, Retain: true, Payload: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	id := b.refusedID(t)
	tests := []struct {
		name string
		args []string
		want int
		says []string
	}{
		{"status", []string{"status"}, exitOK, []string{"sallyport test", "1 connections", "listener door: tcp on 127.0.0.1:", "policies permissions", "shadow policies all"}},
		{"client", []string{"client", "phone"}, exitOK, []string{"client phone, user alice", "online, 0 subscriptions", "unchecked:door"}},
		{"unknown client", []string{"client", "watch"}, exitFailure, nil},
		{"explain what is allowed", []string{"explain", "phone", "publish", "ok/1", "--qos", "1", "--retain"}, exitOK, []string{"allowed: publish ok/1 at QoS 1, retained", "permissions.yaml:2"}},
		{"explain what is refused", []string{"explain", "phone", "publish", "other"}, exitRefused, []string{"refused: publish other"}},
		{"explain a shared subscription", []string{"explain", "phone", "subscribe", "ok/#", "--group", "g"}, exitOK, []string{"allowed: subscribe $share/g/ok/#"}},
		{"explain a connection", []string{"explain", "phone", "connect"}, exitOK, []string{"allowed: connect"}},
		{"explain a will", []string{"explain", "phone", "publish", "other", "--will"}, exitRefused, []string{"as a will"}},
		{"explain of an unknown client", []string{"explain", "watch", "connect"}, exitFailure, nil},
		{"explain without a topic", []string{"explain", "phone", "publish"}, exitUsage, nil},
		{"explain of an unknown action", []string{"explain", "phone", "frobnicate", "a"}, exitUsage, nil},
		{"explain a decision", []string{"explain", id}, exitRefused, []string{"decision " + id, "It still is"}},
		{"explain an unknown decision", []string{"explain", "AAAAAAAA"}, exitFailure, nil},
		{"explain a decision with a QoS", []string{"explain", id, "--qos", "1"}, exitUsage, nil},
		{"shadow", []string{"shadow"}, exitOK, []string{"1 request that", `publish of user "alice"`, "shadow: allowed"}},
		{"shadow show", []string{"shadow", "show"}, exitOK, []string{"1 request that"}},
		{"shadow reset", []string{"shadow", "reset"}, exitOK, []string{"forgot 1 difference"}},
		{"an end of nobody's", []string{"session", "end"}, exitUsage, nil},
		{"an end of a realm's", []string{"session", "end", "--realm", "x", "--forget"}, exitUsage, nil},
		{"an end of another's", []string{"session", "end", "--user", "alice", "--client", "other"}, exitOK, []string{"ended 0 connections"}},
		{"an end by what is no certificate", []string{"session", "end", "--cert", "xyz"}, exitUsage, nil},
		{"an end by another's certificate", []string{"session", "end", "--cert", "0a:0b"}, exitOK, []string{"ended 0 connections"}},
		{"an end by another token", []string{"session", "end", "--token-id", "j", "--forget"}, exitOK, []string{"ended 0 connections", "forgot 0 sessions"}},
		{"purge of nobody's", []string{"retained", "purge"}, exitUsage, nil},
		{"purge, counted", []string{"retained", "purge", "--published-by", "alice", "--dry-run"}, exitOK, []string{"would remove 1 retained message"}},
		{"purge of another realm", []string{"retained", "purge", "--published-by", "alice", "--realm", "other"}, exitOK, []string{"removed 0"}},
		{"purge of anonymous ones", []string{"retained", "purge", "--published-by", ""}, exitOK, []string{"removed 0"}},
		{"purge", []string{"retained", "purge", "--published-by", "alice"}, exitOK, []string{"removed 1 retained message"}},
		{"reload", []string{"reload"}, exitOK, []string{"in force"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newShell(t, "")
			got := s.run(append([]string{"ctl", "-c", b.config}, tt.args...)...)
			if got != tt.want || len(tt.says) > 0 && s.stdout.String() == "" {
				t.Errorf("exit code %d, want %d: %s%s", got, tt.want, s.stdout, s.stderr)
			}
			for _, text := range tt.says {
				if !strings.Contains(s.stdout.String(), text) {
					t.Errorf("it says\n%s\nwithout %q", s.stdout, text)
				}
			}
			if failed := tt.want == exitFailure || tt.want == exitUsage; failed != strings.Contains(s.stderr.String(), "sallyport: ") {
				t.Errorf("standard error: %q", s.stderr)
			}
		})
	}
	s := newShell(t, "")
	if s.run("ctl", "-c", b.config, "explain", "watch", "connect"); !strings.Contains(s.stderr.String(), `hint: "sallyport explain" tells`) {
		t.Errorf("of an unknown client it says %s", s.stderr)
	}
	for _, args := range [][]string{{"status"}, {"client", "phone"}, {"explain", "phone", "publish", "ok"}, {"explain", id}, {"shadow"}, {"retained", "purge", "--published-by", "x"}, {"reload"}} {
		s := newShell(t, "")
		s.run(append([]string{"ctl", "--json", "--socket", filepath.Join(b.folder, "control.sock")}, args...)...)
		if !json.Valid([]byte(s.stdout.String())) || s.stdout.String() == "" {
			t.Errorf("%q with --json prints %q; %s", args, s.stdout, s.stderr)
		}
	}
}

// Where help is wrapped, two single quotes become one that nobody can type.
func TestCtlHelpCanBeTyped(t *testing.T) {
	for _, args := range [][]string{{"user", "set"}, {"session", "end"}, {"retained", "purge"}} {
		s := newShell(t, "")
		if s.run(append(append([]string{"ctl"}, args...), "--help")...); strings.ContainsAny(s.stdout.String(), "\u201c\u201d") {
			t.Errorf("%q has a typographic quote:\n%s", args, s.stdout)
		}
	}
}

func TestCtlReloadTellsWhatIsWrongAndWhere(t *testing.T) {
	b := startCtlBroker(t)
	file(t, b.folder, "permissions.yaml", "everyone:\n  - {allow: nothing, topic: a}\n")
	s := newShell(t, "")
	if got := s.run("ctl", "-c", b.config, "reload"); got != exitFailure || !strings.Contains(s.stderr.String(), "permissions.yaml:2:") || !strings.Contains(s.stderr.String(), "changed nothing") {
		t.Errorf("exit code %d: %s", got, s.stderr)
	}
	// The configuration itself may be what is wrong: the socket is found all the same.
	text, err := os.ReadFile(b.config)
	if err != nil {
		t.Fatal(err)
	}
	file(t, b.folder, "sallyport.yaml", string(text)+"frobnicate: true\n")
	s = newShell(t, "")
	if got := s.run("ctl", "-c", b.config, "reload"); got != exitFailure || !strings.Contains(s.stderr.String(), "sallyport.yaml:") || !strings.Contains(s.stderr.String(), "frobnicate") {
		t.Errorf("exit code %d: %s", got, s.stderr)
	}
}

func TestCtlSaysWhyNobodyAnswers(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "d")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	stale := filepath.Join(folder, "stale")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	open := filepath.Join(t.TempDir(), "open")
	if err := errors.Join(os.Mkdir(open, 0o700), os.Chmod(open, 0o777)); err != nil {
		t.Fatal(err)
	}
	without := file(t, folder, "without.yaml", strings.Replace(ctlTestConfig, "control:", "# control:", 1))
	broken := file(t, folder, "broken.yaml", "listeners: [\n")
	foreign := file(t, folder, "mosquitto.conf", "listener 1883\nallow_anonymous true\n")
	tests := []struct {
		name string
		args []string
		want int
		says string
	}{
		{"no broker named", []string{"status"}, exitUsage, "-c names"},
		{"two brokers named", []string{"-c", without, "--socket", stale, "status"}, exitUsage, "both"},
		{"no command", []string{"--socket", stale}, exitUsage, "expected one of"},
		{"no such file", []string{"-c", filepath.Join(folder, "none"), "status"}, exitFailure, "no such file"},
		{"no socket in the configuration", []string{"-c", without, "status"}, exitFailure, "hint: add control: {socket: "},
		{"no configuration", []string{"-c", broken, "status"}, exitFailure, "hint: --socket PATH"},
		{"a mosquitto.conf", []string{"-c", foreign, "status"}, exitFailure, "names no control socket"},
		{"no socket", []string{"--socket", filepath.Join(folder, "none"), "status"}, exitFailure, "is the broker running"},
		{"nobody listens", []string{"--socket", stale, "status"}, exitFailure, "nobody answers"},
		{"a folder of everybody", []string{"--socket", filepath.Join(open, "s"), "status"}, exitFailure, "others can write to it"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newShell(t, "")
			if got := s.run(append([]string{"ctl"}, tt.args...)...); got != tt.want || !strings.Contains(s.stderr.String(), tt.says) {
				t.Errorf("exit code %d, want %d: %q, want %q in it", got, tt.want, s.stderr, tt.says)
			}
		})
	}
}

func TestCtlSaysWhoIsAdmittedWhereTheConnectionEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(path, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close() // as a broker does with strangers
		}
	}()
	s := newShell(t, "")
	if got := s.run("ctl", "--socket", path, "status"); got != exitFailure || !strings.Contains(s.stderr.String(), "own user and root") {
		t.Errorf("exit code %d: %s", got, s.stderr)
	}
}

func TestCtlPrintsNothingThatSteersATerminal(t *testing.T) {
	err := apiFailure("x", &control.Error{Status: 422, Message: "m", Problems: []control.Problem{{File: "a\x1b[2J", Line: 1, Text: "b\x1b]0;c\a"}}})
	s := newShell(t, "")
	report(s.stderr, err)
	if strings.ContainsAny(s.stderr.String(), "\x1b\a") {
		t.Errorf("%q", s.stderr)
	}
}
