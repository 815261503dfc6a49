//go:build unix

package main

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sallyport"
	"sallyport/config"
)

const (
	oneKey     = "1111111111111111111111111111111111111111111111111111111111111111"
	anotherKey = "2222222222222222222222222222222222222222222222222222222222222222"
)

// restart stops the broker and starts it with another configuration.
func (b *accountsBroker) restart(t *testing.T, text string) {
	t.Helper()
	if err := b.server.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(b.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(b.config)
	if err != nil {
		t.Fatal(err)
	}
	if b.server, err = sallyport.New(cfg, sallyport.Options{Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	if err := b.server.Start(); err != nil {
		t.Fatal(errors.Join(err, b.server.Stop()))
	}
}

// Accounts survive whatever can be done to a store, and nothing shows their secrets.
func TestAccountsAreInTheStoreAndItsBackups(t *testing.T) {
	b := startAccountsBroker(t)
	key := file(t, b.folder, "store.key", oneKey)
	plain := strings.Replace(tourBlock(t, b.page, "yaml"), ":1883", ":0", 1)
	sealed := strings.Replace(plain, "dir: store}", "dir: sealed, encryption: {key: {file: store.key}}}", 1)
	secret := map[string]string{}
	fill := func() {
		t.Helper()
		for _, args := range [][]string{{"role", "add", "reader"}, {"role", "allow", "reader", "subscribe", "a/#"}, {"group", "add", "readers", "--role", "reader"}} {
			if s, code := b.ctl(t, args...); code != exitOK {
				t.Fatal(s.stderr)
			}
		}
		s, code := b.ctl(t, "user", "add", "alice", "--generate", "--group", "readers", "--comment", "precious note")
		if code != exitOK {
			t.Fatal(s.stderr)
		}
		secret["alice"] = strings.TrimSpace(s.stdout.String())
	}
	there := func(when string) {
		t.Helper()
		if _, err := b.connect(t, "alice", secret["alice"]); err != nil {
			t.Errorf("%s alice can't connect: %v", when, err)
		}
		if s, _ := b.ctl(t, "user", "show", "alice"); !strings.Contains(s.stdout.String(), "groups readers") || !strings.Contains(s.stdout.String(), "precious note") {
			t.Errorf("%s alice is %s%s", when, s.stdout, s.stderr)
		}
		if s, _ := b.ctl(t, "role", "show", "reader"); !strings.Contains(s.stdout.String(), "allow subscribe a/#") {
			t.Errorf("%s the role is %s%s", when, s.stdout, s.stderr)
		}
	}
	run := func(args ...string) string {
		t.Helper()
		s := newShell(t, "")
		if code := s.run(args...); code != exitOK {
			t.Fatalf("%v: exit code %d: %s%s", args, code, s.stdout, s.stderr)
		}
		return s.stdout.String()
	}
	in := func(name string) string { return filepath.Join(b.folder, name) }

	fill()
	run("backup", "-c", b.config, in("one.backup"))
	b.restart(t, plain)
	there("after a restart")
	if err := b.server.Stop(); err != nil {
		t.Fatal(err)
	}
	dump := run("store", "dump", in("store"))
	if !strings.Contains(dump, `"kind":"item"`) && !strings.Contains(dump, `"kind": "item"`) {
		t.Errorf("the dump shows no account: %s", dump)
	}
	for _, hidden := range []string{secret["alice"], "$s256$", "precious note"} {
		if strings.Contains(dump, hidden) {
			t.Errorf("the dump shows %q", hidden)
		}
	}
	run("store", "check", in("store"))
	run("store", "stats", in("store"))
	run("restore", in("one.backup"), in("restored"))
	b.restart(t, strings.Replace(plain, "dir: store}", "dir: restored}", 1))
	there("after a backup was restored")

	b.restart(t, sealed)
	fill()
	if err := os.Rename(key, in("old.key")); err != nil {
		t.Fatal(err)
	}
	file(t, b.folder, "store.key", anotherKey)
	run("ctl", "-c", b.config, "store", "rotate-key")
	there("after another key")
	run("backup", "-c", b.config, in("sealed.backup"))
	b.restart(t, sealed)
	there("after another key and a restart")
	run("restore", "--store-key-file", in("store.key"), "--unencrypted", in("sealed.backup"), in("opened"))
	if bytes.Contains(content(t, in("sealed")), []byte("precious note")) {
		t.Error("an encrypted store holds an account in clear text")
	}
	b.restart(t, strings.Replace(plain, "dir: store}", "dir: opened}", 1))
	there("after an encrypted store was restored without its encryption")
}

// content is everything in the files of a folder.
func content(t *testing.T, dir string) (all []byte) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		t.Fatalf("%d files, %v", len(entries), err)
	}
	for _, e := range entries {
		if e.Type().IsRegular() {
			data, err := os.ReadFile(filepath.Join(dir, e.Name()))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, data...)
		}
	}
	return all
}

// crashConfig names the configuration of the broker that a test kills.
const crashConfig = "SALLYPORT_TEST_ACCOUNTS"

// TestABrokerToKill is the process that TestWhatCtlReportedIsKept kills.
func TestABrokerToKill(t *testing.T) {
	path := os.Getenv(crashConfig)
	if path == "" {
		return
	}
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := sallyport.New(cfg, sallyport.Options{Log: slog.New(slog.NewTextHandler(os.Stdout, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	os.Stdout.WriteString("started\n")
	select {}
}

func TestWhatCtlReportedIsKept(t *testing.T) {
	b := startAccountsBroker(t)
	if err := b.server.Stop(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestABrokerToKill$")
	cmd.Env = append(os.Environ(), crashConfig+"="+b.config)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // with the signal as its error
	}
	defer kill()
	var said bytes.Buffer
	for buf := make([]byte, 4096); !strings.Contains(said.String(), "started\n"); {
		n, err := out.Read(buf)
		said.Write(buf[:n])
		if err != nil {
			t.Fatalf("%v: %s", err, said.String())
		}
	}
	for _, args := range [][]string{
		{"role", "add", "r"}, {"group", "add", "g", "--role", "r"}, {"user", "add", "alice", "--no-password", "--group", "g"},
		{"user", "add", "bob", "--no-password"}, {"user", "delete", "bob"}, {"user", "disable", "alice"},
	} {
		if s, code := b.ctl(t, args...); code != exitOK {
			t.Fatalf("%v: %s", args, s.stderr)
		}
	}
	kill()
	b.restart(t, strings.Replace(tourBlock(t, b.page, "yaml"), ":1883", ":0", 1))
	s, _ := b.ctl(t, "user", "list")
	if got, want := s.stdout.String(), "alice\tuser\tdisabled\tnone\tg\t-\n"; got != want {
		t.Errorf("after the crash there is %q, want %q", got, want)
	}
}
