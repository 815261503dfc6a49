package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/certs/acme"
)

// keeper is one without a certificate, and without a server; store gives it one.
func keeper(t *testing.T) *acme.Keeper {
	t.Helper()
	k, err := acme.New(acme.Options{
		Directory: "https://127.0.0.1:1/dir", Domains: []string{"mqtt.example.org"}, Storage: filepath.Join(t.TempDir(), "acme"), AcceptTerms: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k
}

// store writes what a keeper reads when it is started.
func (w *testWorld) store(k *acme.Keeper) {
	w.t.Helper()
	c, key := w.root.leaf(w.t, func(c *x509.Certificate) { c.DNSNames = []string{"localhost", "mqtt.example.org"} })
	read := func(path string) string {
		data, err := os.ReadFile(path)
		if err != nil {
			w.t.Fatal(err)
		}
		return string(data)
	}
	block, _ := pem.Decode([]byte(read(w.key("acme.key", key))))
	if block.Type != "PRIVATE KEY" {
		w.t.Fatalf("key in a block %s", block.Type)
	}
	data, err := json.Marshal(map[string]any{
		"domains": []string{"mqtt.example.org"}, "key": read(w.key("acme.key", key)), "chain": read(w.certs("acme.crt", c)),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(k.File()), 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(k.File(), data, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func TestACertificateThatIsObtainedIsServedWhenItIsThere(t *testing.T) {
	w, k := newWorld(t), keeper(t)
	w.options.CertFile, w.options.KeyFile, w.options.ACME, w.options.ALPN = "", "", k, []string{"mqtt"}
	s := w.load()
	defer s.Close()
	device, key := w.root.leaf(t, nil)
	client := w.client(key, device)
	client.NextProtos = []string{"mqtt"}
	if _, _, err := connect(t, s.Config(), client); err == nil || !strings.Contains(err.Error(), "unrecognized name") {
		t.Errorf("before there is a certificate: %v", err)
	}
	w.store(k)
	if err := k.Start(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := connect(t, s.Config(), client); err == nil {
		t.Error("served before it was taken over")
	}
	if _, err := s.Renew(); err != nil {
		t.Fatal(err)
	}
	state, _, err := connect(t, s.Config(), client)
	if err != nil || state.NegotiatedProtocol != "mqtt" || !state.PeerCertificates[0].Equal(k.Leaf().Leaf) {
		t.Errorf("after it: protocol %q, %v", state.NegotiatedProtocol, err)
	}
	if _, _, err := connect(t, s.Config(), w.client(nil)); err == nil {
		t.Error("after it a client needs no certificate any more")
	}
	if used := s.InUse(); len(used) == 0 || used[0].File != k.File() || used[0].Use != "server" {
		t.Errorf("in use: %+v", used)
	}
	w.reload(s)
	if _, _, err := connect(t, s.Config(), client); err != nil {
		t.Errorf("after a reload: %v", err)
	}
}

func TestAChallengeIsNoWayIn(t *testing.T) {
	w, k := newWorld(t), keeper(t)
	w.options.CertFile, w.options.KeyFile, w.options.ACME = "", "", k
	w.store(k)
	if err := k.Start(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	s := w.load()
	defer s.Close()
	client := w.client(nil)
	client.NextProtos = []string{acme.Protocol}
	asked := false
	client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		asked = true
		return &tls.Certificate{}, nil
	}
	// No challenge is under way: the certificate for clients must not be shown instead.
	if _, _, err := connect(t, s.Config(), client); err == nil || !strings.Contains(err.Error(), "unrecognized name") || asked {
		t.Errorf("%v, asked for a certificate: %v", err, asked)
	}
}
