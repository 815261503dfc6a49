package main

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/certs"
	"sallyport/client/clienttest"
	"sallyport/config"
	"sallyport/packet"
)

func TestPasswdKeepsVerifiers(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "verifiers")
	secret := file(t, dir, "secret", "correct horse\n")
	passwords := file(t, dir, "passwd", "alice:$6$c2FsdA==$x\n")
	const alice, bob = "alice\tSCRAM-SHA-256\t4096\nalice\tSCRAM-SHA-512\t4096\n", "bob\tSCRAM-SHA-256\t5000\nbob\tSCRAM-SHA-512\t5000\n"
	for _, step := range []struct {
		name   string
		args   []string
		want   int
		says   string // on standard error
		listed string // by --list afterwards
	}{
		{"a missing file is not made by accident", []string{"--password-file", secret, path, "alice"}, exitFailure, "-c makes a new", ""},
		{"-c makes it", []string{"-c", "-I", "4096", "--password-file", secret, path, "alice"}, exitOK, "", alice},
		{"a second user", []string{"-I", "5000", "-b", path, "bob", "pw"}, exitOK, "", alice + bob},
		{"a user again", []string{"-I", "4096", "-b", path, "alice", "other"}, exitOK, "", bob + alice},
		{"a secret", []string{"-I", "4096", "--generate", path, "meter"}, exitOK, "", bob + alice + strings.ReplaceAll(alice, "alice", "meter")},
		{"-D deletes both lines", []string{"-D", path, "meter"}, exitOK, "", bob + alice},
		{"-D of nobody", []string{"-D", path, "meter"}, exitFailure, "no such user", bob + alice},
		{"too few iterations", []string{"-I", "4095", "-b", path, "x", "y"}, exitUsage, "from 4096 to 10000000", bob + alice},
		{"a colon in a name", []string{"-I", "4096", "-b", path, "a:b", "y"}, exitUsage, "colon", bob + alice},
		{"a name that SASLprep changes", []string{"-I", "4096", "-b", path, "\u2168", "y"}, exitUsage, `SASLprep makes it "IX"`, bob + alice},
		{"a password that SASLprep refuses", []string{"-I", "4096", "-b", path, "x", "y\x07"}, exitFailure, "SASLprep", bob + alice},
		{"another hash", []string{"-H", "sha512", "-b", path, "x", "y"}, exitUsage, "neither -H nor -U", bob + alice},
		{"-c over users is refused", []string{"-c", "-b", path, "x", "y"}, exitFailure, "--force", bob + alice},
		{"no user", []string{path}, exitUsage, "needs a user", bob + alice},
		{"a password file", []string{"-I", "4096", "-b", passwords, "x", "y"}, exitFailure, "is no SCRAM verifier", ""},
	} {
		s := newShell(t, "")
		if got := s.run(append([]string{"passwd", "--scram"}, step.args...)...); got != step.want || !strings.Contains(s.stderr.String(), step.says) {
			t.Errorf("%s: exit %d, want %d; stderr %q, want %q in it", step.name, got, step.want, s.stderr, step.says)
		}
		if step.name == "a secret" && len(strings.TrimSpace(s.stdout.String())) < 20 {
			t.Errorf("the secret is %q", s.stdout)
		}
		if step.listed == "" {
			continue
		}
		s = newShell(t, "")
		if s.run("passwd", "--scram", "--list", path); s.stdout.String() != step.listed {
			t.Errorf("%s: listed %q, want %q", step.name, s.stdout, step.listed)
		}
	}
	if data, err := os.ReadFile(path); err != nil || strings.Contains(string(data), "correct horse") || strings.Contains(string(data), ":other") {
		t.Errorf("%q, %v", data, err)
	}
}

// scramBroker starts a broker where alice logs in by SCRAM with "wonderland", and returns
// the flags for its doors and the path of its authority.
func scramBroker(t *testing.T) (plain, secure []string, dir string) {
	t.Helper()
	dir = t.TempDir()
	if got := newShell(t, "").run("passwd", "-c", "--scram", "-I", "4096", "-b", filepath.Join(dir, "verifiers"), "alice", "wonderland"); got != exitOK {
		t.Fatalf("passwd: exit %d", got)
	}
	if _, err := certs.Quickstart(filepath.Join(dir, "tls"), []string{"localhost"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse([]byte(`
listeners:
  - {name: tcp, transport: tcp, address: "127.0.0.1:0", authenticators: [scram], policies: [all]}
  - {name: wss, transport: wss, address: "127.0.0.1:0", authenticators: [scram], policies: [all], tls: {certificate: tls/server.crt, key: tls/server.key}}
authenticators:
  - {name: scram, type: scram, file: verifiers, scram: {iterations: 4096, methods: [SCRAM-SHA-256, SCRAM-SHA-256-PLUS, SCRAM-SHA-512-PLUS]}}
policies:
  - {name: all, type: allow_all}
sys_interval: 0
`), filepath.Join(dir, "sallyport.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	srv, err := sallyport.New(cfg, sallyport.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	to := func(door string) []string {
		host, port, err := net.SplitHostPort(srv.Addrs(door)[0].String())
		if err != nil {
			t.Fatal(err)
		}
		return []string{"-h", host, "-p", port}
	}
	return to("tcp"), append(to("wss"), "--ws", "--cafile", filepath.Join(dir, "tls", "ca.crt"), "--server-name", "localhost"), dir
}

func TestPubLogsInBySCRAM(t *testing.T) {
	plain, secure, _ := scramBroker(t)
	for _, tt := range []struct {
		name string
		door []string
		args []string
		want int
		says string
	}{
		{"SHA-256 by itself", plain, []string{"--scram", "-u", "alice", "-P", "wonderland"}, exitOK, ""},
		{"over TLS", secure, []string{"--scram", "-u", "alice", "-P", "wonderland"}, exitOK, ""},
		{"bound to TLS", secure, []string{"--scram=SCRAM-SHA-256-PLUS", "-u", "alice", "-P", "wonderland"}, exitOK, ""},
		{"bound to TLS, by SHA-512", secure, []string{"--scram=SCRAM-SHA-512-PLUS", "-V", "5", "-u", "alice", "-P", "wonderland"}, exitOK, ""},
		{"a wrong password", plain, []string{"--scram", "-u", "alice", "-P", "Wonderland"}, exitFailure, "check user name and password"},
		{"nobody", plain, []string{"--scram", "-u", "bob", "-P", "wonderland"}, exitFailure, "check user name and password"},
		{"a method that is not there", plain, []string{"--scram=SCRAM-SHA-512", "-u", "alice", "-P", "wonderland"}, exitFailure, "the server does not have this method here"},
		{"bound to nothing", plain, []string{"--scram=SCRAM-SHA-256-PLUS", "-u", "alice", "-P", "wonderland"}, exitUsage, "is bound to a TLS connection"},
		{"an unknown method", plain, []string{"--scram=SCRAM-SHA-1", "-u", "alice", "-P", "wonderland"}, exitUsage, "must be SCRAM-SHA-256"},
		{"before MQTT 5", plain, []string{"--scram", "-V", "mqttv311", "-u", "alice", "-P", "wonderland"}, exitUsage, "--scram needs MQTT 5"},
		{"no user", plain, []string{"--scram", "-P", "wonderland"}, exitUsage, "--scram needs a user name"},
		{"no password", plain, []string{"--scram", "-u", "alice"}, exitUsage, "--scram needs a password"},
		{"a password that can't be", plain, []string{"--scram", "-u", "alice", "-P", "a\x07"}, exitUsage, "SASLprep"},
		{"the password itself", plain, []string{"-V", "5", "-u", "alice", "-P", "wonderland"}, exitFailure, "check user name"},
	} {
		s := newShell(t, "")
		args := append(append([]string{"pub"}, tt.door...), tt.args...)
		if got := s.run(append(args, "-t", "a", "-m", "x", "-q", "1")...); got != tt.want || !strings.Contains(s.stderr.String(), tt.says) {
			t.Errorf("%s: exit %d, want %d; stderr %q, want %q in it", tt.name, got, tt.want, s.stderr, tt.says)
		}
		if strings.Contains(s.stderr.String(), "onderland") {
			t.Errorf("%s: the password is printed: %s", tt.name, s.stderr)
		}
	}
}

func TestSubLogsInBySCRAM(t *testing.T) {
	plain, _, _ := scramBroker(t)
	user := []string{"--scram", "-u", "alice", "-P", "wonderland", "-t", "a", "-q", "1"}
	if got := newShell(t, "").run(append(append([]string{"pub"}, plain...), append(user, "-m", "kept", "-r")...)...); got != exitOK {
		t.Fatalf("pub: exit %d", got)
	}
	s := newShell(t, "")
	if got := s.run(append(append([]string{"sub"}, plain...), append(user, "-C", "1")...)...); got != exitOK || s.stdout.String() != "kept\n" {
		t.Errorf("sub: exit %d, %q, %q", got, s.stdout, s.stderr)
	}
}

// TestAServerThatSkipsSCRAMIsNotBelieved: it says yes to everybody, and gets no message.
func TestAServerThatSkipsSCRAMIsNotBelieved(t *testing.T) {
	b := clienttest.Start(t)
	b.Connack = func(c *packet.Connect) packet.Connack {
		if c.HasPassword || c.HasUsername || strings.Contains(string(c.Props.AuthData), "wonderland") {
			t.Errorf("the CONNECT has a credential: %+v", c)
		}
		return packet.Connack{}
	}
	s := newShell(t, "")
	args := append(append([]string{"pub"}, at(b)...), "--scram", "-u", "alice", "-P", "wonderland", "-t", "a", "-m", "x", "-r")
	if got := s.run(args...); got != exitFailure || !strings.Contains(s.stderr.String(), "may not be the server that you think") {
		t.Errorf("exit %d, %q", got, s.stderr)
	}
	if n := b.Retained(); n != 0 {
		t.Errorf("the server has %d messages", n)
	}
}
