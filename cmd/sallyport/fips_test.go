package main

import (
	"crypto/fips140"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/certs"
)

// fipsConfig is a configuration with fips: true, a TLS listener and a password file.
func fipsConfig(t *testing.T, dir, passwords, more string) string {
	t.Helper()
	files, err := certs.Quickstart(dir, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	file(t, dir, "passwd", passwords)
	text := strings.ReplaceAll(tlsConfig(files, "client_auth: none"), "{name: a, type: anonymous}", "{name: a, type: password_file, file: passwd}")
	return file(t, dir, "sallyport.yaml", "fips: true\n"+text+more)
}

func TestPasswdWithFIPS(t *testing.T) {
	dir := t.TempDir()
	path, conf := filepath.Join(dir, "passwd"), filepath.Join(dir, "sallyport.yaml")
	without := file(t, dir, "without.yaml", "listeners: [{address: \":1883\"}]\n")
	foreign := file(t, dir, "mosquitto.conf", "listener 1883\nallow_anonymous false\n")
	file(t, dir, "sallyport.yaml", "fips: true\nauthenticators: [{name: a, type: password_file, file: passwd}]\n") // which is made now
	broken := file(t, dir, "broken.yaml", "fips: perhaps\n")
	for _, step := range []struct {
		name string
		args []string
		want int
		says string // on standard error
		line string // how the user's line begins afterwards
	}{
		{"what the configuration accepts", []string{"-c", "--config", conf, "-b", path, "alice", "pw"}, exitOK, "", "alice:$7$210000$"},
		{"argon2id by name", []string{"--config", conf, "-H", "argon2id", "-b", path, "bob", "pw"}, exitFailure, "argon2id is outside FIPS 140-3", ""},
		{"one SHA-512 by name", []string{"--config", conf, "-H", "sha512", "-b", path, "bob", "pw"}, exitFailure, "sha512 ($6$, one round) is outside", ""},
		{"few iterations", []string{"--config", conf, "-I", "999", "-b", path, "bob", "pw"}, exitFailure, "999 iterations is outside", ""},
		{"enough", []string{"--config", conf, "-I", "1000", "-b", path, "bob", "pw"}, exitOK, "", "bob:$7$1000$"},
		{"a configuration without", []string{"--config", without, "-b", path, "carol", "pw"}, exitOK, "", "carol:$argon2id$"},
		{"a mosquitto.conf, which has no such option", []string{"--config", foreign, "-b", path, "dave", "pw"}, exitOK, "", "dave:$argon2id$"},
		{"a broken configuration", []string{"--config", broken, "-b", path, "eve", "pw"}, exitFailure, "broken.yaml:1:7", ""},
		{"a missing configuration", []string{"--config", filepath.Join(dir, "none"), "-b", path, "eve", "pw"}, exitFailure, "read configuration", ""},
	} {
		s := newShell(t, "")
		if got := s.run(append([]string{"passwd"}, step.args...)...); got != step.want || !strings.Contains(s.stderr.String(), step.says) {
			t.Errorf("%s: exit %d, want %d; stderr %q, want %q in it", step.name, got, step.want, s.stderr, step.says)
		}
		data, err := os.ReadFile(path)
		if err != nil || !strings.Contains("\n"+string(data), "\n"+step.line) {
			t.Errorf("%s: %v, want a line %q", step.name, err, step.line)
		}
	}
	plain := file(t, dir, "plain", "alice:in the clear\n")
	s := newShell(t, "")
	if got := s.run("passwd", "-U", "--config", conf, plain); got != exitOK {
		t.Errorf("-U: exit %d: %s", got, s.stderr)
	}
	if data, err := os.ReadFile(plain); err != nil || !strings.HasPrefix(string(data), "alice:$7$") {
		t.Errorf("-U: %v, want PBKDF2", err)
	}
}

// TestCheckWithFIPS holds what check says in a process that is not in FIPS 140-3 mode.
func TestCheckWithFIPS(t *testing.T) {
	if fips140.Enabled() {
		t.Fatal("this test is about a process that is not in FIPS 140-3 mode")
	}
	dir := t.TempDir()
	s := newShell(t, "")
	if got := s.run("passwd", "-c", "-H", "sha512-pbkdf2", "-I", "1000", "-b", filepath.Join(dir, "old"), "carol", "pw"); got != exitOK {
		t.Fatalf("exit %d: %s", got, s.stderr)
	}
	old, err := os.ReadFile(filepath.Join(dir, "old"))
	if err != nil {
		t.Fatal(err)
	}
	conf := fipsConfig(t, dir, "# nobody yet\nalice:$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OWFiY2RlZg\nbob:$2b$10$0123456789012345678901\n"+string(old), "")
	passwd := filepath.Join(dir, "passwd")
	s = newShell(t, "")
	if got := s.run("check", "-c", conf); got != exitFailure {
		t.Errorf("exit %d", got)
	}
	for _, want := range []string{
		passwd + `:2: user "alice": argon2id is outside FIPS 140-3`, passwd + `:3: user "bob": bcrypt is outside FIPS 140-3`,
		passwd + `:4: user "carol": sha512-pbkdf2 with a salt of 12 bytes is outside FIPS 140-3`,
		"GODEBUG=fips140=on", "GOFIPS140=v1.0.0 CGO_ENABLED=0 go build ./cmd/sallyport",
	} {
		if !strings.Contains(s.stderr.String(), want) {
			t.Errorf("%q is not in %s", want, s.stderr)
		}
	}

	// Nothing but the process: what would be in force is said, and that it can't be.
	s = newShell(t, "")
	if got := s.run("check", "-c", fipsConfig(t, dir, "", "")); got != exitFailure {
		t.Errorf("exit %d", got)
	}
	for _, want := range []string{"a start would be refused", "GODEBUG=fips140=on"} {
		if !strings.Contains(s.stderr.String(), want) {
			t.Errorf("%q is not in %s", want, s.stderr)
		}
	}
	for _, want := range []string{
		"key TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384\n",
		"groups X25519MLKEM768, SecP256r1MLKEM768, SecP384r1MLKEM1024, secp256r1, secp384r1, secp521r1\n",
	} {
		if !strings.Contains(s.stdout.String(), want) {
			t.Errorf("%q is not in %s", want, s.stdout)
		}
	}
	if text := s.stdout.String(); strings.Contains(text, "is valid") || strings.Contains(text, "must not offer") {
		t.Errorf("check says %s", text)
	}

	// A start is refused before anything is opened.
	s = newShell(t, "")
	if got := s.run("serve", "-c", conf); got != exitFailure || !strings.Contains(s.stderr.String(), "GODEBUG=fips140=on") {
		t.Errorf("serve: exit %d: %s", got, s.stderr)
	}
}

func TestCheckWarnsOfTheStoreWithFIPS(t *testing.T) {
	dir := t.TempDir()
	key := file(t, dir, "store.key", strings.Repeat("ab", 32))
	conf := fipsConfig(t, dir, "", "storage: {type: disk, dir: store, encryption: {key: {file: "+key+"}}}\n")
	s := newShell(t, "")
	s.run("check", "-c", conf)
	if !strings.Contains(s.stderr.String(), "warning: ") || !strings.Contains(s.stderr.String(), "storage.encryption: with fips: true the store is encrypted all the same, but not by an approved service") {
		t.Errorf("check says %s", s.stderr)
	}
}

func TestVersionTellsOfFIPS(t *testing.T) {
	s := newShell(t, "")
	if got := s.run("version", "--json"); got != exitOK {
		t.Fatalf("exit %d: %s", got, s.stderr)
	}
	var v buildVersion
	if err := json.Unmarshal([]byte(s.stdout.String()), &v); err != nil {
		t.Fatal(err)
	}
	if want := (fipsModule{Module: fips140.Version(), Build: v.FIPS.Build, Active: fips140.Enabled()}); v.FIPS != want || v.FIPS.Build == "" {
		t.Errorf("%+v, want %+v", v.FIPS, want)
	}
	for m, want := range map[fipsModule]string{
		{Module: "latest", Build: "off"}:                                    "FIPS 140-3 module latest not active",
		{Module: "latest", Build: "off", Active: true}:                      "FIPS 140-3 module latest active (GODEBUG; the build has no frozen module)",
		{Module: "v1.0.0", Build: "v1.0.0-x", Active: true}:                 "FIPS 140-3 module v1.0.0 active (GOFIPS140=v1.0.0-x)",
		{Module: "v1.0.0", Build: "v1.0.0-x", Active: true, Enforced: true}: "FIPS 140-3 module v1.0.0 active and enforced (GOFIPS140=v1.0.0-x)",
	} {
		if got := m.String(); got != want {
			t.Errorf("%+v is %q, want %q", m, got, want)
		}
	}
	s = newShell(t, "")
	if s.run("version"); !strings.Contains(s.stdout.String(), v.FIPS.String()+"\n") {
		t.Errorf("version says %s", s.stdout)
	}
	s = newShell(t, "")
	s.run("tls", "suites")
	for _, want := range []string{"TLS_CHACHA20_POLY1305_SHA256; outside FIPS 140-3", "X25519; outside FIPS 140-3", "  1.1  legacy: broken (RFC 8996); outside FIPS 140-3"} {
		if !strings.Contains(s.stdout.String(), want) {
			t.Errorf("tls suites lacks %q", want)
		}
	}
	if strings.Contains(s.stdout.String(), "X25519MLKEM768      hybrid, TLS 1.3 only; outside") {
		t.Error("X25519MLKEM768 is outside")
	}
}
