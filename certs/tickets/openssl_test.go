package tickets

import (
	"crypto/tls"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// openssl connects with OpenSSL's own client and reports whether it resumed. It
// begins with the session in the file from, unless that is "", and keeps the one
// that it ends with in the file to.
func openssl(t *testing.T, server *tls.Config, ca, from, to string) (resumed bool) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ended := make(chan error, 1)
	go func() {
		raw, err := ln.Accept()
		if err != nil {
			ended <- err
			return
		}
		c := tls.Server(raw, server)
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if err = c.Handshake(); err == nil {
			resumed = c.ConnectionState().DidResume
		}
		ended <- errors.Join(err, c.Close()) // OpenSSL reads to the end, the ticket on the way
	}()
	args := []string{"s_client", "-connect", ln.Addr().String(), "-servername", "localhost", "-CAfile", ca, "-verify_return_error", "-ign_eof", "-sess_out", to}
	if from != "" {
		args = append(args, "-sess_in", from)
	}
	out, err := exec.CommandContext(t.Context(), "openssl", args...).CombinedOutput()
	_ = ln.Close() // an OpenSSL that never came leaves nobody waiting
	if err := errors.Join(err, <-ended); err != nil {
		t.Fatalf("openssl: %v\n%s", err, out)
	}
	if says := strings.Contains(string(out), "\nReused, TLSv1."); says != resumed {
		t.Errorf("OpenSSL says resumed = %t, the server %t\n%s", says, resumed, out)
	}
	return resumed
}

func TestOpenSSLResumesInTheScopeOnly(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Fatal("openssl is missing: install the Debian package openssl")
	}
	w := &watch{now: time.Now()} // OpenSSL has no other clock
	p := newPKI(t, w.time())
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.crt")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.ca.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for version, most := range versions {
		at := func(ring *Ring, listener string) *tls.Config {
			d := door{w: w, ring: ring, scope: Scope{Listener: listener}, cert: p.server, max: most}
			return d.config()
		}
		// OpenSSL keeps the renewed ticket of TLS 1.3, and of TLS 1.2 the first.
		kept, spare := filepath.Join(dir, version+" kept"), filepath.Join(dir, version+" spare")
		for _, c := range []struct {
			name     string
			server   *tls.Config
			from, to string
			resumes  bool
		}{
			{"first", at(fixed(7), "door"), "", kept, false},
			{"again", at(fixed(7), "door"), kept, kept, true},
			{"with the renewed ticket", at(fixed(7), "door"), kept, kept, true},
			{"another broker of the fleet, one turn further", at(fixed(8, 7), "door"), kept, spare, true},
			{"another listener", at(fixed(7), "gate"), kept, spare, false},
			{"another fleet", at(fixed(9), "door"), kept, spare, false},
		} {
			if got := openssl(t, c.server, ca, c.from, c.to); got != c.resumes {
				t.Errorf("%s, %s: resumed = %t, want %t", version, c.name, got, c.resumes)
			}
		}
	}
}
