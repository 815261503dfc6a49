package main

import (
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"sallyport"
	"sallyport/config"
)

// file writes a file below a test's folder and returns its path.
func file(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPasswdKeepsTheFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "passwd")
	secret := file(t, dir, "secret", "correct horse\n")
	for _, step := range []struct {
		name   string
		args   []string
		stdin  string
		want   int
		says   string // on standard error
		listed string // by --list afterwards
	}{
		{"a missing file is not made by accident", []string{"--password-file", secret, path, "alice"}, "", exitFailure, "-c makes a new", ""},
		{"-c makes it", []string{"-c", "--password-file", secret, path, "alice"}, "", exitOK, "", "alice\targon2id\n"},
		{"a second user in Mosquitto's format", []string{"-H", "sha512-pbkdf2", "-I", "1000", "-b", path, "bob", "pw"}, "", exitOK, "", "alice\targon2id\nbob\tsha512-pbkdf2\n"},
		{"a password on the command line needs -b", []string{path, "eve", "pw"}, "", exitUsage, "can be seen", "alice\targon2id\nbob\tsha512-pbkdf2\n"},
		{"standard input", []string{"--password-file", "-", path, "carol"}, "line one\nline two\n", exitOK, "", "alice\targon2id\nbob\tsha512-pbkdf2\ncarol\targon2id\n"},
		{"an empty password", []string{"--password-file", "-", path, "dave"}, "\n", exitFailure, "empty", "alice\targon2id\nbob\tsha512-pbkdf2\ncarol\targon2id\n"},
		{"no terminal to ask at", []string{path, "dave"}, "", exitUsage, "no terminal", "alice\targon2id\nbob\tsha512-pbkdf2\ncarol\targon2id\n"},
		{"-D deletes", []string{"-D", path, "carol"}, "", exitOK, "", "alice\targon2id\nbob\tsha512-pbkdf2\n"},
		{"-D of nobody", []string{"-D", path, "carol"}, "", exitFailure, "no such user", "alice\targon2id\nbob\tsha512-pbkdf2\n"},
		{"-c over users is refused", []string{"-c", "-b", path, "x", "y"}, "", exitFailure, "--force", "alice\targon2id\nbob\tsha512-pbkdf2\n"},
		{"a colon in a name", []string{"-b", path, "a:b", "y"}, "", exitUsage, "colon", "alice\targon2id\nbob\tsha512-pbkdf2\n"},
		{"an unknown algorithm", []string{"-H", "md5", "-b", path, "x", "y"}, "", exitUsage, "md5", "alice\targon2id\nbob\tsha512-pbkdf2\n"},
	} {
		s := newShell(t, step.stdin)
		if got := s.run(append([]string{"passwd"}, step.args...)...); got != step.want || !strings.Contains(s.stderr.String(), step.says) {
			t.Errorf("%s: exit %d, want %d; stderr %q, want %q in it", step.name, got, step.want, s.stderr, step.says)
		}
		if step.listed == "" {
			continue
		}
		s = newShell(t, "")
		if s.run("passwd", "--list", path); s.stdout.String() != step.listed {
			t.Errorf("%s: listed %q, want %q", step.name, s.stdout, step.listed)
		}
	}
	if st, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && st.Mode().Perm() != 0o600 {
		t.Errorf("password file: %v, %v; want mode 0600", st, err)
	}
}

func TestPasswdGeneratesASecretOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "passwd")
	s := newShell(t, "")
	if got := s.run("passwd", "-c", "--generate", path, "meter"); got != exitOK {
		t.Fatalf("exit %d: %s", got, s.stderr)
	}
	secret := strings.TrimSpace(s.stdout.String())
	data, err := os.ReadFile(path)
	if err != nil || len(secret) < 20 || strings.Contains(string(data), secret) || !strings.HasPrefix(string(data), "meter:$s256$") {
		t.Errorf("secret of %d characters, file %q, error %v", len(secret), data, err)
	}
}

func TestPasswdUpgradesPlainText(t *testing.T) {
	const hivemq = "carol:TUh5SWZlWmRNNzJQeXU0UkF2QmVKZXBBWFl6VU1Jc28=:gDR4bZ8kABBEL0WBflf09IMJahRlb1KGL2wJydlyWElfIu1F65SSU+RZZpjzy+vT4dDPJxiBSHM07wr56+bKsA==\n"
	path := file(t, t.TempDir(), "passwd", "alice:plain one\nbob:$6$c2FsdA==$x\n"+hivemq)
	s := newShell(t, "")
	if got := s.run("passwd", "-U", path); got != exitOK {
		t.Fatalf("exit %d: %s", got, s.stderr)
	}
	data, err := os.ReadFile(path)
	if err != nil || strings.Contains(string(data), "plain one") || !strings.Contains(string(data), "bob:$6$c2FsdA==$x\n"+hivemq) {
		t.Errorf("file %q, error %v", data, err)
	}
}

func TestPasswdListsHowOthersStorePasswords(t *testing.T) {
	path := file(t, t.TempDir(), "passwd", "a:$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e\n"+
		"b:$scrypt$ln=10,r=8,p=1$c2FsdHNhbHRzYWx0c2FsdA$A9lBa6RTbfBovWqamVIqXKovIl4Vk6OZyVojLJmYmSI\n"+
		"c:TUh5SWZlWmRNNzJQeXU0UkF2QmVKZXBBWFl6VU1Jc28=:gDR4bZ8kABBEL0WBflf09IMJahRlb1KGL2wJydlyWElfIu1F65SSU+RZZpjzy+vT4dDPJxiBSHM07wr56+bKsA==\n"+
		"d:$ese-sha512$100$Nv6NU9XY7tvHdSGaKmNTOw==$wtUo2dri+ttHGHRpngg9uG21piWLiKSX7IaNSnU/BfN9pt+ZOLQByG/3JlPPQ7t/pl8S3tjR2+Um/DPBdAQULg==\n")
	s := newShell(t, "")
	if got := s.run("passwd", "--list", path); got != exitOK || s.stdout.String() != "a\tbcrypt\nb\tscrypt\nc\tsha512-pbkdf2\nd\tese-sha512\n" {
		t.Errorf("exit %d: %s%s", got, s.stdout.String(), s.stderr)
	}
}

func TestCheckSaysTheRisksOfAMosquittoConfOnce(t *testing.T) {
	s := newShell(t, "")
	if got := s.run("check", "-c", file(t, t.TempDir(), "mosquitto.conf", "listener 18830\nallow_anonymous true\n")); got != exitOK {
		t.Fatalf("exit %d: %s", got, s.stderr)
	}
	said := s.stderr.String()
	if strings.Count(said, "without credentials") != 1 || strings.Contains(said, "accept_risk") {
		t.Errorf("a file that knows no accept_risk gets\n%s", said)
	}
}

func TestAMosquittoConfIsPointedToItsPage(t *testing.T) {
	dir := t.TempDir()
	acl := file(t, dir, "acl", "topic everything a\n")
	s := newShell(t, "")
	if got := s.run("check", "-c", file(t, dir, "mosquitto.conf", "listener 18830 127.0.0.1\nallow_anonymous true\nacl_file "+acl+"\n")); got != exitFailure {
		t.Errorf("exit %d", got)
	}
	if said := s.stderr.String(); !strings.Contains(said, "acl:1") || !strings.Contains(said, "docs/mosquitto.md") {
		t.Errorf("said\n%s", said)
	}
}

func TestServeSaysThatAPortIsTaken(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // its error is another one, and has no hint
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // nobody connects
	s := newShell(t, "")
	if got := s.run("serve", "-c", file(t, t.TempDir(), "c.yaml", strings.ReplaceAll(safeConfig, "127.0.0.1:0", l.Addr().String()))); got != exitFailure {
		t.Errorf("exit %d", got)
	}
	if said := s.stderr.String(); !strings.Contains(said, l.Addr().String()) || !strings.Contains(said, "hint: another program") {
		t.Errorf("said\n%s", said)
	}
}

func TestServeSaysThatTheStoreIsTaken(t *testing.T) {
	dir := t.TempDir()
	path := file(t, dir, "c.yaml", safeConfig+"storage: {type: disk, dir: store}\n")
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	first, err := sallyport.New(cfg, sallyport.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := first.Stop(); err != nil {
			t.Error(err)
		}
	}()
	s := newShell(t, "")
	if got := s.run("serve", "-c", path); got != exitFailure {
		t.Errorf("exit %d", got)
	}
	if said := s.stderr.String(); !strings.Contains(said, filepath.Join(dir, "store")+": another broker uses this store") || !strings.Contains(said, "hint: stop the other broker") {
		t.Errorf("said\n%s", said)
	}
}

const safeConfig = `listeners:
  - {name: local, address: "127.0.0.1:0", authenticators: [anonymous], policies: [all]}
authenticators: [{name: anonymous, type: anonymous}]
policies: [{name: all, type: allow_all}]
`

func TestCheck(t *testing.T) {
	dir := t.TempDir()
	loose := file(t, dir, "q.yaml", "everyone: [{allow: both, topic: a}]\n")
	if err := os.Chmod(loose, 0o662); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, text string
		want       int
		says       []string // on either output
	}{
		{"a good file", safeConfig, exitOK, []string{"listener local: tcp on 127.0.0.1:0", "is valid"}},
		{"all mistakes at once", strings.ReplaceAll(safeConfig, "[all]", "[none]") + "nonsense: 1\nsys_interval: soon\n", exitFailure,
			[]string{"listeners[0].policies", "nonsense", "sys_interval", ":5:1"}},
		{"a risk that is not accepted", strings.ReplaceAll(safeConfig, "127.0.0.1:0", ":0"), exitFailure, []string{"refused:", "accept_risk", "anonymous"}},
		{"a permission file that doesn't compile", strings.Replace(safeConfig, "{name: all, type: allow_all}", "{name: all, type: permissions, file: "+file(t, dir, "p.yaml", "everyone: [{allow: everything, topic: a}]\n")+"}", 1), exitFailure,
			[]string{"p.yaml:1"}},
		{"a file that others may change", strings.Replace(safeConfig, "{name: all, type: allow_all}", "{name: all, type: permissions, file: "+loose+"}", 1), exitOK,
			[]string{"warning:", "q.yaml", "0662"}},
		{"a store", safeConfig + "storage: {type: disk, dir: store, durability: os}\n", exitOK, []string{"storage: disk in " + filepath.Join(dir, "store") + ", durability os, encrypted false\n"}},
		{"a store whose key is not there", safeConfig + "storage: {type: disk, dir: store, encryption: {key: {env: NO_SUCH_KEY}}}\n", exitFailure, []string{"storage.encryption.key: environment variable NO_SUCH_KEY: is not set"}},
		{"what is open", safeConfig, exitOK, []string{"open: listener local: authenticator anonymous lets clients in without credentials\n", "open: listener local: policy all allows every topic to everyone who is let in\n"}},
		{"a file that allows everything", strings.Replace(safeConfig, "{name: all, type: allow_all}", "{name: all, type: permissions, file: "+file(t, dir, "open.yaml", "everyone: [{allow: publish, topic: '#'}]\n")+"}", 1), exitOK,
			[]string{"open: listener local: everyone who is let in may publish to any topic (all:", "open.yaml:1"}},
		{"a policy in the shadow", strings.Replace(strings.Replace(safeConfig, "policies: [all]}", "policies: [all], shadow: [next]}", 1), "type: allow_all}]", "type: allow_all}, {name: next, type: permissions, file: "+file(t, dir, "next.yaml", "everyone: [{allow: both, topic: a}]\n")+"}]", 1), exitOK,
			[]string{"shadow: listener local: next would be asked beside the policies in force, and not obeyed\n"}},
		{"a broken policy in the shadow", strings.Replace(strings.Replace(safeConfig, "policies: [all]}", "policies: [all], shadow: [next]}", 1), "type: allow_all}]", "type: allow_all}, {name: next, type: permissions, file: "+file(t, dir, "broken.yaml", "everyone: [{allow: both}]\n")+"}]", 1), exitFailure,
			[]string{"broken.yaml:1"}},
		{"a mosquitto.conf of which all is open", "listener 0 127.0.0.1\nallow_anonymous true\n", exitOK, []string{"lets everyone in, under any user name", "allows every topic"}},
		{"a mosquitto.conf", "listener 0 127.0.0.1\nallow_anonymous true\n", exitOK, []string{"is valid"}},
		{"a mosquitto.conf with an option that is not served", "listener 0 127.0.0.1\nbridge_cafile x\n", exitFailure, []string{"bridge_cafile", ":2"}},
	} {
		s := newShell(t, "")
		got := s.run("check", "-c", file(t, dir, "c", tt.text))
		all := s.stdout.String() + s.stderr.String()
		if got != tt.want {
			t.Errorf("%s: exit %d, want %d: %s", tt.name, got, tt.want, all)
		}
		for _, want := range tt.says {
			if !strings.Contains(all, want) {
				t.Errorf("%s: %q is not in %s", tt.name, want, all)
			}
		}
	}
	s := newShell(t, "")
	if got := s.run("check", "-c", filepath.Join(dir, "missing")); got != exitFailure {
		t.Errorf("a missing file: exit %d, want %d", got, exitFailure)
	}
}

func TestServeRefusesPortForYAML(t *testing.T) {
	s := newShell(t, "")
	if got := s.run("serve", "-c", file(t, t.TempDir(), "c", safeConfig), "-p", "1"); got != exitUsage {
		t.Errorf("exit %d, want %d: %s", got, exitUsage, s.stderr)
	}
}

func TestSelfBrokerServes(t *testing.T) {
	s := newShell(t, "")
	s.env.selfBroker = newSelfBroker()
	if got := s.run("bench", "--self", "p2p", "--duration", "100ms", "--pairs", "2"); got != exitOK || !strings.Contains(s.stdout.String(), "0 lost") {
		t.Errorf("exit %d: %s %s", got, s.stdout, s.stderr)
	}
}

// The product is built without cgo; this says so where it would be noticed.
func TestBinaryHasNoDynamicDependency(t *testing.T) {
	if runtime.GOOS != "linux" {
		return
	}
	bin := filepath.Join(t.TempDir(), "sallyport")
	cmd := exec.Command("go", "build", "-o", bin, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	st, err := os.Stat(bin)
	if err != nil || st.Mode()&fs.ModeType != 0 {
		t.Fatalf("binary: %v, %v", st, err)
	}
	if out, err := exec.Command("go", "version", "-m", bin).CombinedOutput(); err != nil || !strings.Contains(string(out), "CGO_ENABLED=0") {
		t.Errorf("go version -m: %v\n%s", err, out)
	}
}
