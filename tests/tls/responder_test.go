package tls_test

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// responder answers OCSP requests and gives out revocation lists for one authority,
// on the loopback address. The answers are made by "openssl ocsp".
type responder struct {
	t    *testing.T
	ca   *authority
	dir  string
	http *httptest.Server

	asked atomic.Int64
	down  atomic.Bool

	mu   sync.Mutex
	of   map[string]byte // 'V' or 'R' by serial; others are unknown
	list []byte          // DER or PEM of GET /list
}

func newResponder(t *testing.T, ca *authority) *responder {
	t.Helper()
	r := &responder{t: t, ca: ca, dir: t.TempDir(), of: make(map[string]byte)}
	for name, data := range map[string][]byte{"ca.pem": pemOf(ca.cert), "ca.key": keyPEM(t, ca.key)} {
		if err := os.WriteFile(filepath.Join(r.dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.http = httptest.NewServer(r)
	t.Cleanup(r.http.Close)
	return r
}

func (r *responder) url() string { return r.http.URL }

func (r *responder) set(c *x509.Certificate, status byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.of[c.SerialNumber.Text(16)] = status
}

func (r *responder) publish(list []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = list
}

// ServeHTTP implements http.Handler.
func (r *responder) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.asked.Add(1)
	if r.down.Load() {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if q.URL.Path == "/list" {
		_, _ = w.Write(r.list) // the client sees what is missing
		return
	}
	body, err := io.ReadAll(io.LimitReader(q.Body, 1<<16))
	if q.Method == http.MethodGet { // RFC 6960, A.1
		body, err = base64.StdEncoding.DecodeString(strings.TrimPrefix(q.URL.Path, "/"))
	}
	if err != nil {
		r.t.Errorf("%s %s: %v", q.Method, q.URL, err)
		return
	}
	var index bytes.Buffer
	for serial, status := range r.of {
		revoked := ""
		if status == 'R' {
			revoked = time.Now().Add(-time.Minute).UTC().Format("060102150405Z") + ",keyCompromise"
		}
		if len(serial)%2 == 1 {
			serial = "0" + serial
		}
		fmt.Fprintf(&index, "%c\t%s\t%s\t%s\tunknown\t/CN=%s\n", status, time.Now().Add(24*time.Hour).UTC().Format("060102150405Z"), revoked, strings.ToUpper(serial), serial)
	}
	for name, data := range map[string][]byte{"index.txt": index.Bytes(), "request": body} {
		if err := os.WriteFile(filepath.Join(r.dir, name), data, 0o600); err != nil {
			r.t.Error(err)
			return
		}
	}
	cmd := exec.CommandContext(q.Context(), "openssl", "ocsp", "-index", "index.txt", "-CA", "ca.pem", "-rsigner", "ca.pem", "-rkey", "ca.key",
		"-reqin", "request", "-respout", "response", "-ndays", "1")
	cmd.Dir = r.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		if q.Context().Err() == nil {
			r.t.Errorf("openssl ocsp: %v\n%s", err, out)
		}
		return
	}
	answer, err := os.ReadFile(filepath.Join(r.dir, "response"))
	if err != nil {
		r.t.Error(err)
		return
	}
	w.Header().Set("Content-Type", "application/ocsp-response")
	_, _ = w.Write(answer) // the client sees what is missing
}
