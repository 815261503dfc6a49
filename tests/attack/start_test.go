package attack_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/certs"
	"sallyport/config"
	"sallyport/packet"
	"sallyport/security/authn"
)

// refusedStart is the error of New, which must not be nil.
func (s *site) refusedStart(text string) error {
	s.t.Helper()
	cfg, err := config.Parse([]byte(text), s.path("sallyport.yaml"))
	if err != nil {
		return err
	}
	srv, err := sallyport.New(cfg, sallyport.Options{Log: s.log.logger()})
	if err == nil {
		_ = srv.Stop() // it should not be there at all
		s.t.Errorf("it starts:\n%s", text)
	}
	return err
}

func TestAnInsecureStartIsRefusedByName(t *testing.T) {
	anonymous := strings.Replace(strings.Replace(withAnonymous(), "[pw, anon]", "[anon]", 1),
		"  - {name: pw, type: password_file, file: passwd}\n", "", 1)
	everything := strings.Replace(plain("", ""), "type: permissions, file: permissions.yaml", "type: allow_all", 1)
	for _, x := range []struct{ risk, text string }{
		{"anonymous", anonymous},
		{"cleartext_passwords", plain("", "")},
		{"allow_all", everything},
	} {
		for _, address := range []string{"0.0.0.0:0", ":0", "[::]:0", "broker.example:0"} {
			s := prepare(t, "", freely)
			text := strings.Replace(x.text, "127.0.0.1:0", address, 1)
			err := s.refusedStart(text)
			if !errors.Is(err, sallyport.ErrRisk) || !strings.Contains(err.Error(), "listener tcp") || !strings.Contains(err.Error(), "accept_risk: [") || !strings.Contains(err.Error(), x.risk) {
				t.Errorf("%s on %s: %v, want a refusal with listener, line to add and name", x.risk, address, err)
			}
		}
		for _, address := range []string{"127.0.0.1:0", "[::1]:0", "localhost:0", "127.3.4.5:0"} {
			s := prepare(t, "", freely)
			if r := config.Risks(s.config(strings.Replace(x.text, "127.0.0.1:0", address, 1))); len(r) != 0 {
				t.Errorf("%s on %s counts as a risk: %v", x.risk, address, r)
			}
		}
		s := prepare(t, "", freely)
		unix := strings.Replace(strings.Replace(x.text, "127.0.0.1:0", "/tmp/x.sock", 1), "transport: tcp", "transport: unix", 1)
		if r := config.Risks(s.config(unix)); len(r) != 0 {
			t.Errorf("%s on a Unix socket counts as a risk: %v", x.risk, r)
		}
	}
	s := prepare(t, "", freely)
	plain8883 := strings.Replace(plain("", ""), "127.0.0.1:0", "0.0.0.0:8883", 1)
	if err := s.refusedStart(plain8883); !errors.Is(err, sallyport.ErrRisk) {
		t.Errorf("8883 without TLS: %v", err)
	}
	accepted := strings.Replace(plain("accept_risk: [cleartext_passwords]", ""), "127.0.0.1:0", "0.0.0.0:0", 1)
	srv, err := sallyport.New(s.config(accepted), sallyport.Options{Log: s.log.logger()})
	if err != nil {
		t.Fatalf("an accepted risk: %v", err)
	}
	_ = srv.Stop() // it never started
	if !strings.Contains(s.log.String(), "msg=risk_accepted") {
		t.Error("an accepted risk is no warning at start")
	}
}

func TestFilesAreMadeForTheOwnerAlone(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes")
	}
	dir := filepath.Join(t.TempDir(), "data")
	q, err := sallyport.PrepareQuickstart(dir)
	if err != nil {
		t.Fatal(err)
	}
	secret, encoded, err := authn.Generate()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := authn.SetPassword(filepath.Join(dir, "own"), "device", encoded); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		} else if text, err := os.ReadFile(path); err != nil {
			return err
		} else if strings.Contains(string(text), q.Password) || strings.Contains(string(text), secret) {
			t.Errorf("%s holds a password in clear", path)
		}
		if st.Mode().Perm() != want {
			t.Errorf("%s has mode %04o, want %04o", path, st.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestLooseFilesAreWarnedOfOrRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes")
	}
	for _, file := range []string{"passwd", "tls/server.key"} {
		text := strings.Replace(plain("", ""), "\nauthenticators:\n", `
  - name: tls
    transport: tls
    address: "127.0.0.1:0"
    authenticators: [pw]
    policies: [perm]
    tls: {certificate: tls/server.crt, key: tls/server.key}

authenticators:
`, 1)
		s := prepare(t, text, freely)
		if _, err := certs.Quickstart(s.path("tls"), []string{"localhost"}, time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(s.path(file), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := s.refusedStart(text + "strict_files: true\n"); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("strict_files with a loose %s: %v", file, err)
		}
		s.begin()
		if log := s.log.String(); !strings.Contains(log, "level=WARN") || !strings.Contains(log, file) {
			t.Errorf("no warning of a loose %s:\n%s", file, log)
		}
		if cfg, err := config.Parse([]byte(text+"strict_files: true\n"), s.path("sallyport.yaml")); err == nil && s.srv.Reload(cfg) == nil {
			t.Errorf("a reload with strict_files took a loose %s", file)
		}
	}
}

func TestABrokenFileStopsTheStart(t *testing.T) {
	for file, content := range map[string]string{"passwd": "alice\n", "permissions.yaml": "everyone: 3\n"} {
		s := prepare(t, "", freely)
		s.write(file, content)
		if err := s.refusedStart(plain("", "")); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("a broken %s: %v", file, err)
		}
		if err := os.Remove(s.path(file)); err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Parse([]byte(plain("", "")), s.path("sallyport.yaml"))
		if err == nil {
			_, err = sallyport.New(cfg, sallyport.Options{Log: s.log.logger()})
		}
		if err == nil {
			t.Errorf("it starts without %s", file)
		}
	}
	s := siege(t, plain("", ""), freely)
	if p := s.stranger(); p.connect(login(packet.V5, "nobody")).Code < 0x80 {
		t.Error("a stranger got in")
	}
}
