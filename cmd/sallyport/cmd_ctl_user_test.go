//go:build unix

package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sallyport"
	"sallyport/client"
	"sallyport/config"
	"sallyport/packet"
)

const tourPage = "../../docs/accounts.md"

// tourBlock is the fenced block of the page with a kind.
func tourBlock(t *testing.T, page, kind string) string {
	t.Helper()
	_, rest, found := strings.Cut(page, "```"+kind+"\n")
	text, _, ended := strings.Cut(rest, "```")
	if !found || !ended {
		t.Fatalf("%s has no block of %s", tourPage, kind)
	}
	return text
}

// accountsBroker is a running broker with the configuration of the page.
type accountsBroker struct {
	folder, config string
	server         *sallyport.Server
	page           string
}

func startAccountsBroker(t *testing.T) *accountsBroker {
	t.Helper()
	text, err := os.ReadFile(tourPage)
	if err != nil {
		t.Fatal(err)
	}
	b := &accountsBroker{folder: filepath.Join(t.TempDir(), "d"), page: string(text)}
	if err := os.Mkdir(b.folder, 0o700); err != nil {
		t.Fatal(err)
	}
	b.config = file(t, b.folder, "sallyport.yaml", strings.Replace(tourBlock(t, b.page, "yaml"), ":1883", ":0", 1))
	file(t, b.folder, "fleet.csv", tourBlock(t, b.page, "csv"))
	file(t, b.folder, "mosquitto.passwd", "carol:$7$1000$V5ZWh3n7ivDq3jqH$itd3FRd964pNR6RR72SSCTvneD+5nx6OtlpEbxAaUTsJhBmcx5amCiaCUK9A7DpOkieYSpB8C+pn3AkTuft3eQ==\n")
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
	t.Cleanup(func() {
		if err := b.server.Stop(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// ctl runs a command at a terminal at which passwords are typed.
func (b *accountsBroker) ctl(t *testing.T, args ...string) (*shell, int) {
	t.Helper()
	s := newShell(t, "")
	s.env.askPassword = func(string) ([]byte, error) { return []byte("correct horse"), nil }
	return s, s.run(append([]string{"ctl", "-c", b.config}, args...)...)
}

// connect is a client of the broker.
func (b *accountsBroker) connect(t *testing.T, name, password string) (*client.Client, error) {
	t.Helper()
	c := client.New(client.Options{
		Dial:    client.Target{Transport: client.TCP, Address: b.server.Addrs("door")[0].String()}.Dial,
		Connect: packet.Connect{Version: packet.V5, ClientID: name, CleanStart: true, HasUsername: true, Username: name, HasPassword: true, Password: []byte(password)},
	})
	_, err := c.Connect(newShell(t, "").env.ctx)
	if err == nil {
		t.Cleanup(func() { _ = c.Close() }) // nothing is left to send
	}
	return c, err
}

// words splits a command line of the page as a shell does.
var words = regexp.MustCompile(`'[^']*'|[^ ]+`)

func TestTheTourOfAccounts(t *testing.T) {
	b := startAccountsBroker(t)
	var meter *client.Client
	ran := 0
	for _, line := range strings.Split(b.page, "\n") {
		command, is := strings.CutPrefix(line, "    sallyport ctl -c sallyport.yaml ")
		if !is {
			continue
		}
		ran++
		args := words.FindAllString(command, -1)
		for i, a := range args {
			args[i] = strings.Trim(a, "'")
			if _, err := os.Stat(filepath.Join(b.folder, args[i])); err == nil || strings.HasPrefix(args[i], "accounts.") {
				args[i] = filepath.Join(b.folder, args[i])
			}
		}
		want := exitOK
		switch command {
		case "explain meter-17 publish plant/north/meter-17/kwh --qos 1":
			var err error
			if meter, err = b.connect(t, "meter-17", "cb1Q5pDyG3vTqvq8wUsB4w"); err != nil {
				t.Fatal(err)
			}
		case "user enable meter-17":
			select {
			case <-meter.Done(): // it has gone before disable returned, or is about to be told
			case <-newShell(t, "").env.ctx.Done():
				t.Error("the disabled meter is still connected")
			}
			if _, err := b.connect(t, "meter-17", "cb1Q5pDyG3vTqvq8wUsB4w"); err == nil {
				t.Error("the disabled meter is let in")
			}
		}
		s, got := b.ctl(t, args...)
		if got != want || s.stdout.String() == "" && !strings.Contains(command, "export") {
			t.Errorf("%s: exit code %d: %s%s", command, got, s.stdout, s.stderr)
		}
	}
	if ran < 25 {
		t.Errorf("%d commands of the page were run", ran)
	}
	if _, err := b.connect(t, "alice", "correct horse"); err != nil {
		t.Errorf("alice can't connect: %v", err)
	}
	for name, hashes := range map[string]bool{"accounts.csv": false, "accounts.json": true} {
		path := filepath.Join(b.folder, name)
		info, err := os.Stat(path)
		if err != nil || info.Mode() != fs.FileMode(0o600) {
			t.Errorf("%s: %v, %v", name, info, err)
		}
		if data, err := os.ReadFile(path); err != nil || strings.Contains(string(data), "$argon2id$") != hashes || !strings.Contains(string(data), "meter-17") {
			t.Errorf("%s holds %s, %v", name, data, err)
		}
	}
}

func TestCtlUser(t *testing.T) {
	b := startAccountsBroker(t)
	secret := file(t, b.folder, "secret", "from a file\nsecond line\n")
	bad := file(t, b.folder, "bad.csv", "name\nok\na+b\n")
	for _, tt := range []struct {
		name string
		args []string
		want int
		says []string // on standard output, or where it fails on standard error
	}{
		{"an empty list", []string{"user", "list"}, exitOK, nil},
		{"a role", []string{"role", "add", "r", "--comment", "what it is for"}, exitOK, []string{"added r"}},
		{"the same again", []string{"role", "add", "r"}, exitFailure, []string{"taken"}},
		{"a permission", []string{"role", "allow", "r", "subscribe", "jobs/#", "--share-name", "w", "--qos", "1"}, exitOK, []string{"allow subscribe jobs/#"}},
		{"a permission of no action", []string{"role", "allow", "r", "frobnicate", "a"}, exitUsage, nil},
		{"a permission about nothing", []string{"role", "deny", "r", "all", "a/#/b"}, exitFailure, []string{"topic"}},
		{"its permissions", []string{"role", "show", "r"}, exitOK, []string{"what it is for", "1  allow subscribe jobs/#"}},
		{"a permission that there is none of", []string{"role", "remove-permission", "r", "2"}, exitUsage, []string{"1 permissions"}},
		{"another note", []string{"role", "set", "r", "--comment", "new"}, exitOK, []string{"changed r"}},
		{"roles", []string{"role", "list"}, exitOK, []string{"r\tallow subscribe jobs/#", "\tnew"}},
		{"a group of an unknown role", []string{"group", "add", "g", "--role", "x"}, exitFailure, []string{`no role "x"`}},
		{"a group", []string{"group", "add", "g", "--role", "r", "--comment", "people"}, exitOK, []string{"added g"}},
		{"groups", []string{"group", "list"}, exitOK, []string{"g\tr\tpeople"}},
		{"a user with a typed password", []string{"user", "add", "alice", "--group", "g", "--attribute", "site=north=1", "--address", "127.0.0.1", "--address", "192.0.2.0/24", "--client-id", "a*", "--comment", "c,d"}, exitOK, []string{"added alice"}},
		{"the same user again", []string{"user", "add", "alice", "--no-password"}, exitFailure, []string{"taken"}},
		{"a user with a password of a file", []string{"user", "add", "bob", "--password-file", secret, "--valid-until", "2099-01-01T00:00:00Z"}, exitOK, []string{"added bob"}},
		{"a password on the command line", []string{"user", "add", "eve", "pw"}, exitUsage, nil},
		{"two ways to a password", []string{"user", "add", "eve", "--generate", "--no-password"}, exitUsage, nil},
		{"an empty variable", []string{"user", "add", "eve", "--password-env", "NOTHING"}, exitFailure, []string{"empty"}},
		{"a user without a password", []string{"user", "add", "carol", "--no-password", "--device", "--disabled"}, exitOK, []string{"added carol"}},
		{"a user of an unknown group", []string{"user", "add", "eve", "--no-password", "--group", "x"}, exitFailure, []string{`no group "x"`}},
		{"what is known of alice", []string{"user", "show", "alice"}, exitOK, []string{"user alice, active", "password argon2id", "groups g", "attribute site: north=1", "comes from 127.0.0.1/32 192.0.2.0/24", "client identifiers a*", "c,d"}},
		{"as JSON", []string{"--json", "user", "show", "bob"}, exitOK, []string{`"name": "bob"`, `"valid_until": "2099-01-01T00:00:00Z"`}},
		{"of nobody", []string{"user", "show", "eve"}, exitFailure, []string{"there is no user"}},
		{"users", []string{"user", "list"}, exitOK, []string{"alice\tuser\tactive\targon2id\tg\t-", "carol\tdevice\tdisabled\tnone\t-\t-"}},
		{"disabled ones", []string{"--json", "user", "list", "--state", "disabled"}, exitOK, []string{`"users": [`, "carol"}},
		{"in an unknown state", []string{"user", "list", "--state", "sleepy"}, exitUsage, nil},
		{"who is in the group", []string{"group", "show", "g"}, exitOK, []string{"members alice"}},
		{"everywhere and here", []string{"user", "set", "alice", "--any-address", "--address", "::1"}, exitUsage, nil},
		{"a change", []string{"user", "set", "alice", "--any-address", "--remove-attribute", "site", "--add-role", "r"}, exitOK, []string{"changed alice"}},
		{"a group in use", []string{"group", "delete", "g"}, exitFailure, []string{"has it", "--force"}},
		{"a lock of the past", []string{"user", "lock", "alice", "--for", "-1m"}, exitUsage, nil},
		{"a lock", []string{"user", "lock", "alice", "--until", "2099-01-01T00:00:00Z"}, exitOK, []string{"locked until 2099"}},
		{"seen", []string{"user", "show", "alice"}, exitOK, []string{"locked until 2099-01-01T00:00:00Z"}},
		{"an import with mistakes", []string{"user", "import", bad}, exitFailure, []string{"bad.csv:3: "}},
		{"an import of what is not there", []string{"user", "import", bad + "x", "--format", "csv"}, exitFailure, nil},
		{"an import of an unknown format", []string{"user", "import", secret}, exitUsage, []string{"--format"}},
		{"an export that would replace a file", []string{"user", "export", bad, "--format", "csv"}, exitFailure, []string{"already", "--force"}},
		{"a password file without secrets", []string{"user", "export", "--format", "mosquitto"}, exitUsage, []string{"--secrets"}},
		{"an export", []string{"user", "export"}, exitOK, []string{`"name":"alice"`}},
		{"deleted", []string{"user", "delete", "alice"}, exitOK, []string{"deleted alice, and its connections have ended"}},
		{"deleted again", []string{"user", "delete", "alice"}, exitFailure, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, got := b.ctl(t, tt.args...)
			out := s.stdout.String()
			if tt.want != exitOK {
				out = s.stderr.String()
			}
			if got != tt.want {
				t.Errorf("exit code %d, want %d: %s%s", got, tt.want, s.stdout, s.stderr)
			}
			for _, text := range tt.says {
				if !strings.Contains(out, text) {
					t.Errorf("it says\n%s\nwithout %q", out, text)
				}
			}
		})
	}
}

func TestCtlUserGeneratesASecret(t *testing.T) {
	b := startAccountsBroker(t)
	s, code := b.ctl(t, "user", "add", "meter", "--generate")
	first := s.stdout.String()
	if code != exitOK || len(first) != 23 || strings.TrimSpace(first) != first[:22] {
		t.Fatalf("exit code %d: %q %s", code, first, s.stderr)
	}
	c, err := b.connect(t, "meter", strings.TrimSpace(first))
	if err != nil {
		t.Fatal(err)
	}
	s, code = b.ctl(t, "user", "passwd", "meter", "--generate")
	if code != exitOK || s.stdout.String() == first {
		t.Errorf("exit code %d: %s", code, s.stderr)
	}
	<-c.Done()
	if _, err := b.connect(t, "meter", strings.TrimSpace(first)); err == nil {
		t.Error("the old secret is still right")
	}
	if _, err := b.connect(t, "meter", strings.TrimSpace(s.stdout.String())); err != nil {
		t.Errorf("the new secret is wrong: %v", err)
	}
}

func TestCtlUserAsksTwice(t *testing.T) {
	b := startAccountsBroker(t)
	s := newShell(t, "")
	typed := []string{"one", "two"}
	s.env.askPassword = func(string) ([]byte, error) {
		next := typed[0]
		typed = typed[1:]
		return []byte(next), nil
	}
	if code := s.run("ctl", "-c", b.config, "user", "add", "alice"); code != exitFailure || !strings.Contains(s.stderr.String(), "differ") {
		t.Errorf("exit code %d: %s", code, s.stderr)
	}
	s = newShell(t, "")
	if code := s.run("ctl", "-c", b.config, "user", "passwd", "alice"); code != exitUsage {
		t.Errorf("without a terminal: exit code %d: %s", code, s.stderr)
	}
	if s, _ := b.ctl(t, "user", "list"); s.stdout.String() != "" {
		t.Errorf("there is %s", s.stdout)
	}
}

func TestCtlUserPrintsNothingThatSteersATerminal(t *testing.T) {
	b := startAccountsBroker(t)
	if s, code := b.ctl(t, "user", "add", "\u202eecila", "--no-password"); code != exitOK {
		t.Fatal(s.stderr)
	}
	for _, args := range [][]string{{"user", "list"}, {"user", "show", "\u202eecila"}, {"--json", "user", "list"}, {"user", "lock", "\u202eecila"}} {
		if s, code := b.ctl(t, args...); code != exitOK || strings.Contains(s.stdout.String(), "\u202e") {
			t.Errorf("%v: exit code %d: %q", args, code, s.stdout)
		}
	}
}
