package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/certs"
	"sallyport/certs/tickets"
)

func TestTLSSuites(t *testing.T) {
	s := newShell(t, "")
	if got := s.run("tls", "suites"); got != exitOK {
		t.Fatalf("exit %d: %s", got, s.stderr)
	}
	text := s.stdout.String()
	s = newShell(t, "")
	if got := s.run("tls", "suites", "--json"); got != exitOK {
		t.Fatalf("exit %d: %s", got, s.stderr)
	}
	var b builtTLS
	if err := json.Unmarshal([]byte(s.stdout.String()), &b); err != nil {
		t.Fatal(err)
	}
	if len(b.Versions) != 4 || len(b.Suites) != 25 || len(b.Groups) != 7 {
		t.Errorf("%d versions, %d suites, %d groups", len(b.Versions), len(b.Suites), len(b.Groups))
	}
	dir := t.TempDir()
	files, err := certs.Quickstart(dir, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var names, groups []string
	for _, x := range b.Suites {
		names = append(names, x.Name)
		if !strings.Contains(text, x.Name) || !strings.Contains(text, x.OpenSSL) || !strings.Contains(text, x.Legacy) {
			t.Errorf("the text lacks something of %+v", x)
		}
	}
	for _, g := range b.Groups {
		groups = append(groups, g.Name)
		if !strings.Contains(text, g.Name) {
			t.Errorf("the text lacks %s", g.Name)
		}
	}
	// What is listed is what a configuration may name.
	s = newShell(t, "")
	conf := file(t, dir, "all.yaml", tlsConfig(files, fmt.Sprintf(`min_version: "1.0", legacy: true, cipher_suites: [%s], groups: [%s]`, strings.Join(names, ", "), strings.Join(groups, ", "))))
	if got := s.run("check", "-c", conf); got != exitOK {
		t.Errorf("exit %d of a configuration with every name: %s", got, s.stderr)
	}
}

func tlsConfig(files certs.Files, rules string) string {
	return fmt.Sprintf("listeners:\n  - {name: door, transport: tls, address: \"127.0.0.1:0\", authenticators: [a], policies: [all], tls: {certificate: %q, key: %q, %s}}\n"+
		"authenticators: [{name: a, type: anonymous}]\npolicies: [{name: all, type: allow_all}]\n", files.CertFile, files.KeyFile, rules)
}

func TestCheckOfTLS(t *testing.T) {
	dir := t.TempDir()
	files, err := certs.Quickstart(dir, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	const ec12 = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
	for _, tt := range []struct {
		name, rules string
		want        int
		says        []string // on either output
		silent      string   // what neither says
	}{
		{"the defaults", `client_auth: none`, exitOK, []string{
			"tls: listener door: versions 1.2, 1.3\n",
			"tls: listener door: cipher suites with this certificate's ECDSA key TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384, TLS_CHACHA20_POLY1305_SHA256, TLS_ECDHE_ECDSA_",
			"tls: listener door: groups X25519MLKEM768, SecP256r1MLKEM768, SecP384r1MLKEM1024, x25519, secp256r1, secp384r1, secp521r1\n",
		}, "warning"},
		{"some suites of TLS 1.3", `cipher_suites: [TLS_AES_256_GCM_SHA384, ` + ec12 + `]`, exitOK, []string{
			"key TLS_AES_256_GCM_SHA384, " + ec12 + "\n", "clients must not offer TLS_AES_128_GCM_SHA256, TLS_CHACHA20_POLY1305_SHA256",
		}, "warning"},
		{"post-quantum", `min_version: "1.3", require_post_quantum: true`, exitOK, []string{
			"versions 1.3\n", "groups X25519MLKEM768, SecP256r1MLKEM768, SecP384r1MLKEM1024\n",
		}, "must not offer"},
		{"legacy", `min_version: "1.1", legacy: true, cipher_suites: [TLS_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, ECDHE-ECDSA-RC4-SHA]`, exitOK, []string{
			"warning: ", "legacy: accepted for old clients, and insecure: TLS 1.1 (RFC 8996), TLS_ECDHE_ECDSA_WITH_RC4_128_SHA (RC4 is broken",
		}, "TLS 1.0"},
		{"legacy without use", `legacy: true`, exitOK, []string{"warning: ", "nothing in this section needs it"}, "insecure"},
		{"legacy that is not said", `min_version: "1.1"`, exitFailure, []string{"listeners[0].tls.min_version: TLS 1.1 is broken"}, ""},
		{"nothing for the key", `cipher_suites: [TLS_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]`, exitFailure, []string{"no suite of TLS 1.2 that a certificate with an ECDSA key can serve"}, ""},
		{"an unknown name", `cipher_suites: [TLS_RSA_WITH_IDEA_CBC_SHA]`, exitFailure, []string{"no cipher suite of this build; there are TLS_AES_128_GCM_SHA256"}, ""},
	} {
		s := newShell(t, "")
		got := s.run("check", "-c", file(t, dir, "c.yaml", tlsConfig(files, tt.rules)))
		all := s.stdout.String() + s.stderr.String()
		if got != tt.want {
			t.Errorf("%s: exit %d, want %d: %s", tt.name, got, tt.want, all)
		}
		for _, want := range tt.says {
			if !strings.Contains(all, want) {
				t.Errorf("%s: %q is not in %s", tt.name, want, all)
			}
		}
		if tt.silent != "" && strings.Contains(all, tt.silent) {
			t.Errorf("%s: %q is in %s", tt.name, tt.silent, all)
		}
	}
}

// TestCheckOfTLSWithRSA: what serves is what the certificate's key allows.
func TestCheckOfTLSWithRSA(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("no openssl to make an RSA key with")
	}
	dir := t.TempDir()
	files := certs.Files{CertFile: filepath.Join(dir, "rsa.crt"), KeyFile: filepath.Join(dir, "rsa.key")}
	if out, err := exec.Command("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-addext", "subjectAltName=DNS:localhost",
		"-keyout", files.KeyFile, "-out", files.CertFile).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s := newShell(t, "")
	if got := s.run("check", "-c", file(t, dir, "c.yaml", tlsConfig(files, `max_version: "1.2"`))); got != exitOK {
		t.Fatalf("exit %d: %s", got, s.stderr)
	}
	if text := s.stdout.String(); !strings.Contains(text, "RSA key TLS_ECDHE_RSA_") || strings.Contains(text, "ECDSA") || strings.Contains(text, "TLS_AES") || strings.Contains(text, "MLKEM") {
		t.Errorf("with an RSA key and TLS 1.2: %s", text)
	}
}

func TestTicketKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tickets.key")
	turn := func() (encrypts, waits string) {
		t.Helper()
		s := newShell(t, "")
		if got := s.run("tls", "ticket-key", path); got != exitOK {
			t.Fatalf("exit %d: %s", got, s.stderr)
		}
		_, rest, _ := strings.Cut(s.stdout.String(), " keys; ")
		encrypts, rest, _ = strings.Cut(rest, " encrypts, ")
		waits, _, _ = strings.Cut(rest, " waits\n")
		if len(encrypts) != 8 || len(waits) != 8 {
			t.Fatalf("it says %q", s.stdout)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if line[0] != '#' && strings.Contains(s.stdout.String()+s.stderr.String(), line[:16]) {
				t.Errorf("it prints a key: %s", s.stdout)
			}
		}
		return encrypts, waits
	}
	_, waits := turn()
	if encrypts, _ := turn(); encrypts != waits {
		t.Errorf("%s encrypts, but %s has waited", encrypts, waits)
	}
	if r, warnings, err := tickets.Load(path, time.Now()); err != nil || len(warnings) > 0 || len(r.IDs()) != 3 {
		t.Errorf("what it wrote: %v, %v", warnings, err)
	}
}

func TestTicketKeyRefusals(t *testing.T) {
	dir := t.TempDir()
	bad := file(t, dir, "bad.key", "secret\n")
	for _, tt := range []struct {
		name string
		args []string
		want int
		says string
	}{
		{"no file", nil, exitUsage, "FILE"},
		{"a file that is none of keys", []string{bad}, exitFailure, "sallyport: rotate session ticket keys: " + bad + ": line 1: the key must be 32 bytes"},
		{"a folder", []string{dir}, exitFailure, "is not a regular file"},
		{"a folder that isn't there", []string{filepath.Join(dir, "none", "x.key")}, exitFailure, "no such file"},
	} {
		s := newShell(t, "")
		if got := s.run(append([]string{"tls", "ticket-key"}, tt.args...)...); got != tt.want || !strings.Contains(strings.ToLower(s.stderr.String()), strings.ToLower(tt.says)) {
			t.Errorf("%s: exit %d, %s", tt.name, got, s.stderr)
		}
		if strings.Contains(s.stderr.String(), "secret") {
			t.Errorf("%s: it prints what the file holds: %s", tt.name, s.stderr)
		}
	}
}
