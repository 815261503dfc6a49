package certs

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

var testNow = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// authority is a CA of a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

func newTestKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// newAuthority makes a root, or an intermediate of parent.
func newAuthority(t *testing.T, name string, parent *authority) *authority {
	t.Helper()
	a := &authority{key: newTestKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: testNow.Add(-time.Hour), NotAfter: testNow.Add(1000 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true,
	}
	issuer, signer := template, a.key
	if parent != nil {
		parent.next++
		template.SerialNumber = big.NewInt(100 + parent.next)
		issuer, signer = parent.cert, parent.key
	}
	var err error
	if a.cert, err = sign(template, issuer, &a.key.PublicKey, signer); err != nil {
		t.Fatal(err)
	}
	return a
}

// leaf issues a certificate with its key, for 1,000 hours of testNow or as change says.
func (a *authority) leaf(t *testing.T, change func(*x509.Certificate)) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	a.next++
	key := newTestKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(100 + a.next), Subject: pkix.Name{CommonName: "device"},
		NotBefore: testNow.Add(-time.Hour), NotAfter: testNow.Add(1000 * time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"localhost"},
	}
	if change != nil {
		change(template)
	}
	c, err := sign(template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return c, key
}

// crl signs a PEM list of revoked certificates, good for a day or as change says.
func (a *authority) crl(t *testing.T, change func(*x509.RevocationList), revoked ...*x509.Certificate) []byte {
	t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: testNow.Add(-time.Hour), NextUpdate: testNow.Add(24 * time.Hour)}
	for _, c := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: testNow.Add(-time.Hour)})
	}
	if change != nil {
		change(list)
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

// place is where a test keeps its files.
type place struct {
	t   *testing.T
	dir string
}

func newFolder(t *testing.T) place { return place{t, t.TempDir()} }

func (f place) write(name string, data []byte) string {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		f.t.Fatal(err)
	}
	return path
}

func (f place) certs(name string, all ...*x509.Certificate) string {
	f.t.Helper()
	var data []byte
	for _, c := range all {
		data = append(data, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return f.write(name, data)
}

func (f place) key(name string, key *ecdsa.PrivateKey) string {
	f.t.Helper()
	path := filepath.Join(f.dir, name)
	if err := writeKey(path, key); err != nil {
		f.t.Fatal(err)
	}
	return path
}

func clock() time.Time { return testNow }

// connect runs a handshake and one byte each way, and returns both ends' errors.
func connect(t *testing.T, server, client *tls.Config) (state tls.ConnectionState, serverErr, clientErr error) {
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
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		if err = c.Handshake(); err == nil {
			_, err = c.Write([]byte("x"))
		}
		ended <- err
	}()
	raw, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(raw, client)
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	n, clientErr := c.Read(make([]byte, 1))
	if n == 1 {
		clientErr = nil // the end may come with the byte
	}
	return c.ConnectionState(), <-ended, clientErr
}

// world is a server with mutual TLS and what a client of it needs.
type testWorld struct {
	place
	root    *authority
	options ServerOptions
}

func newWorld(t *testing.T) *testWorld {
	t.Helper()
	f, root := newFolder(t), newAuthority(t, "root", nil)
	c, key := root.leaf(t, nil)
	return &testWorld{f, root, ServerOptions{
		Name: "door", CertFile: f.certs("server.crt", c), KeyFile: f.key("server.key", key),
		ClientCAFile: f.certs("ca.crt", root.cert), ClientAuth: tls.RequireAndVerifyClientCert, Now: clock,
	}}
}

// reload is what a reload does with the files as they are now.
func (w *testWorld) reload(s *Server) {
	w.t.Helper()
	if err := reload(s, w.options); err != nil {
		w.t.Fatal(err)
	}
}

func reload(s *Server, o ServerOptions) error {
	fresh, _, err := LoadServer(o, s)
	if err == nil {
		s.Adopt(fresh)
	}
	return err
}

func (w *testWorld) load() *Server {
	w.t.Helper()
	s, warnings, err := LoadServer(w.options, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if len(warnings) > 0 {
		w.t.Logf("warnings: %v", warnings)
	}
	return s
}

// client returns a client's configuration; chain may be empty.
func (w *testWorld) client(key *ecdsa.PrivateKey, chain ...*x509.Certificate) *tls.Config {
	w.t.Helper()
	o := ClientOptions{CAFile: w.certs("trust.crt", w.root.cert), ServerName: "localhost"}
	if len(chain) > 0 {
		o.CertFile, o.KeyFile = w.certs("client.crt", chain...), w.key("client.key", key)
	}
	config, _, err := Client(o)
	if err != nil {
		w.t.Fatal(err)
	}
	config.Time = clock
	return config
}

func TestMutualTLS(t *testing.T) {
	w := newWorld(t)
	c, key := w.root.leaf(t, nil)
	server := w.load().Config()
	if _, serverErr, clientErr := connect(t, server, w.client(key, c)); serverErr != nil || clientErr != nil {
		t.Errorf("a good certificate: %v, %v", serverErr, clientErr)
	}
	if _, serverErr, _ := connect(t, server, w.client(nil)); serverErr == nil {
		t.Error("no certificate: accepted")
	}
	stranger := newAuthority(t, "root", nil)
	c, key = stranger.leaf(t, nil)
	if _, serverErr, _ := connect(t, server, w.client(key, c)); serverErr == nil {
		t.Error("a certificate of another CA of that name: accepted")
	}
	c, key = w.root.leaf(t, func(c *x509.Certificate) { c.NotAfter = testNow.Add(-time.Minute) })
	if _, serverErr, _ := connect(t, server, w.client(key, c)); serverErr == nil {
		t.Error("an expired certificate: accepted")
	}
	c, key = w.root.leaf(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	if _, serverErr, _ := connect(t, server, w.client(key, c)); serverErr == nil {
		t.Error("a certificate for servers only: accepted")
	}
}

func TestVersions(t *testing.T) {
	w := newWorld(t)
	w.options.ClientAuth = tls.NoClientCert
	for _, c := range []struct {
		name                   string
		min, max               uint16
		clientMin, clientMax   uint16
		accepted               bool
		suites                 []uint16
		clientSuites           []uint16
		wantVersion, wantSuite uint16
	}{
		{name: "TLS 1.3 by default", accepted: true, wantVersion: tls.VersionTLS13},
		{name: "TLS 1.2 is spoken", clientMax: tls.VersionTLS12, accepted: true, wantVersion: tls.VersionTLS12},
		{name: "TLS 1.1 is refused", clientMin: tls.VersionTLS10, clientMax: tls.VersionTLS11},
		{name: "a minimum of 1.3 refuses 1.2", min: tls.VersionTLS13, clientMax: tls.VersionTLS12},
		{name: "a maximum of 1.2 holds", max: tls.VersionTLS12, accepted: true, wantVersion: tls.VersionTLS12},
		{name: "a configured suite is used", clientMax: tls.VersionTLS12, accepted: true, wantVersion: tls.VersionTLS12,
			max: tls.VersionTLS12, suites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384}, wantSuite: tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384},
		{name: "other suites are refused", max: tls.VersionTLS12,
			suites:       []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384},
			clientSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}},
	} {
		w.options.MinVersion, w.options.MaxVersion, w.options.CipherSuites = c.min, c.max, c.suites
		client := w.client(nil)
		client.MinVersion, client.MaxVersion, client.CipherSuites = c.clientMin, c.clientMax, c.clientSuites
		state, serverErr, clientErr := connect(t, w.load().Config(), client)
		if (serverErr == nil && clientErr == nil) != c.accepted {
			t.Errorf("%s: %v, %v, want accepted = %v", c.name, serverErr, clientErr, c.accepted)
		}
		if c.accepted && (state.Version != c.wantVersion || c.wantSuite != 0 && state.CipherSuite != c.wantSuite) {
			t.Errorf("%s: %s %s", c.name, tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite))
		}
	}
}

func TestALPNIsConfirmedNotDemanded(t *testing.T) {
	w := newWorld(t)
	w.options.ClientAuth, w.options.ALPN = tls.NoClientCert, []string{"mqtt"}
	server := w.load().Config()
	for _, c := range []struct {
		name   string
		offers []string
		want   string
	}{
		{"nothing offered", nil, ""},
		{"mqtt offered", []string{"x-amzn-mqtt-ca", "mqtt"}, "mqtt"},
		{"only others offered", []string{"h2"}, ""},
	} {
		client := w.client(nil)
		client.NextProtos = c.offers
		state, serverErr, clientErr := connect(t, server, client)
		if serverErr != nil || clientErr != nil || state.NegotiatedProtocol != c.want {
			t.Errorf("%s: %q, %v, %v, want %q", c.name, state.NegotiatedProtocol, serverErr, clientErr, c.want)
		}
	}
}

func TestReload(t *testing.T) {
	w := newWorld(t)
	s := w.load()
	device, deviceKey := w.root.leaf(t, nil)
	client := w.client(deviceKey, device)
	if _, serverErr, clientErr := connect(t, s.Config(), client); serverErr != nil || clientErr != nil {
		t.Fatal(serverErr, clientErr)
	}
	state, _, _ := connect(t, s.Config(), client)
	if !state.DidResume {
		t.Error("the second connection did not resume")
	}

	before := s.Leaves()[0].SerialNumber
	c, key := w.root.leaf(t, nil)
	w.certs("server.crt", c)
	if err := reload(s, w.options); err == nil {
		t.Error("a certificate of another key: reloaded")
	}
	if s.Leaves()[0].SerialNumber.Cmp(before) != 0 {
		t.Error("a failed reload changed the certificate")
	}
	w.key("server.key", key)
	if err := reload(s, w.options); err != nil || s.Leaves()[0].SerialNumber.Cmp(c.SerialNumber) != 0 {
		t.Errorf("Reload = %v, serial %v, want %v", err, s.Leaves()[0].SerialNumber, c.SerialNumber)
	}
	if state, _, _ := connect(t, s.Config(), client); !state.DidResume {
		t.Error("a reload ended the session tickets")
	}

	other := newAuthority(t, "other", nil)
	w.certs("ca.crt", other.cert)
	if err := reload(s, w.options); err != nil {
		t.Fatal(err)
	}
	if _, serverErr, _ := connect(t, s.Config(), client); serverErr == nil {
		t.Error("a ticket from before outlived its CA")
	}
}

func TestLoadServerRefuses(t *testing.T) {
	w := newWorld(t)
	_, otherKey := w.root.leaf(t, nil)
	encrypted := w.write("encrypted.key", pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("secret")}))
	old := w.write("old.key", pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: []byte("secret"),
		Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,00"}}))
	broken := w.write("broken.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("secret")}))
	empty := w.write("empty", nil)
	missing := filepath.Join(w.dir, "missing")
	for _, c := range []struct {
		name   string
		change func(*ServerOptions)
		want   string
	}{
		{"no certificate", func(o *ServerOptions) { o.CertFile = "" }, "needs a certificate file"},
		{"no key", func(o *ServerOptions) { o.KeyFile = "" }, "no private key"},
		{"a missing certificate", func(o *ServerOptions) { o.CertFile = missing }, missing},
		{"a missing key", func(o *ServerOptions) { o.KeyFile = missing }, missing},
		{"a folder for a certificate", func(o *ServerOptions) { o.CertFile = w.dir }, w.dir},
		{"a certificate file without one", func(o *ServerOptions) { o.CertFile = o.KeyFile }, "no certificate in it"},
		{"a key file without one", func(o *ServerOptions) { o.KeyFile = o.CertFile }, "no private key"},
		{"a key of another certificate", func(o *ServerOptions) { o.KeyFile = w.key("other.key", otherKey) }, "belongs to none"},
		{"an encrypted key", func(o *ServerOptions) { o.KeyFile = encrypted }, "encrypted"},
		{"an encrypted key of the old form", func(o *ServerOptions) { o.KeyFile = old }, "encrypted"},
		{"a broken key", func(o *ServerOptions) { o.KeyFile = broken }, broken},
		{"no CA to verify with", func(o *ServerOptions) { o.ClientCAFile = "" }, "without a CA file"},
		{"an empty CA file", func(o *ServerOptions) { o.ClientCAFile = empty }, "file is empty"},
		{"a missing CA file", func(o *ServerOptions) { o.ClientCAFile = missing }, missing},
		{"asking without verifying", func(o *ServerOptions) { o.ClientAuth = tls.RequireAnyClientCert }, "must be verified"},
		{"a CRL without a CA", func(o *ServerOptions) { o.ClientAuth, o.ClientCAFile, o.Revocation.CRLFiles = 0, "", []string{empty} }, "needs the CA file"},
		{"an empty CRL file", func(o *ServerOptions) { o.Revocation.CRLFiles = []string{empty} }, "no PEM revocation list"},
		{"a missing CRL file", func(o *ServerOptions) { o.Revocation.CRLFiles = []string{missing} }, missing},
		{"TLS 1.1", func(o *ServerOptions) { o.MinVersion = tls.VersionTLS11 }, "legacy: true"},
		{"a maximum below the minimum", func(o *ServerOptions) { o.MinVersion, o.MaxVersion = tls.VersionTLS13, tls.VersionTLS12 }, "above max_version"},
		{"an insecure suite", func(o *ServerOptions) { o.CipherSuites = []uint16{tls.TLS_RSA_WITH_RC4_128_SHA} }, "RC4"},
		{"no suite for the certificate's key", func(o *ServerOptions) {
			o.MaxVersion, o.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
		}, "an ECDSA key can serve"},
		{"post-quantum groups with TLS 1.2", func(o *ServerOptions) { o.RequirePostQuantum = true }, "min_version"},
		{"a suite of TLS 1.3", func(o *ServerOptions) { o.CipherSuites = []uint16{tls.TLS_AES_128_GCM_SHA256} }, "no suite of TLS 1.2"},
	} {
		o := w.options
		c.change(&o)
		_, _, err := LoadServer(o, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error shows the key: %v", c.name, err)
		}
	}
}

func TestFileOverItsBoundIsRefused(t *testing.T) {
	path := newFolder(t).write("big", make([]byte, 1<<20+1))
	if _, err := readFile(path, 1<<20); err == nil {
		t.Error("read a file over its bound")
	}
	if got, err := readFile(path, 1<<20+1); err != nil || len(got) != 1<<20+1 {
		t.Errorf("a file of its bound: %d bytes, %v", len(got), err)
	}
}

func TestWarnings(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*x509.Certificate)
		want   string
	}{
		{"expired", func(c *x509.Certificate) { c.NotAfter = testNow.Add(-time.Second) }, "expired on 2026-06-01"},
		{"not yet valid", func(c *x509.Certificate) { c.NotBefore = testNow.Add(time.Hour) }, "not valid before 2026-06-01"},
		{"expiring soon", func(c *x509.Certificate) { c.NotAfter = testNow.Add(24 * time.Hour) }, "expires on 2026-06-02"},
		{"no names", func(c *x509.Certificate) { c.DNSNames = nil }, "names no host"},
		{"for clients only", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, "not meant for servers"},
		{"nothing odd", nil, ""},
	} {
		w := newWorld(t)
		leaf, key := w.root.leaf(t, c.change)
		w.certs("server.crt", leaf)
		w.key("server.key", key)
		_, warnings, err := LoadServer(w.options, nil)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if c.want == "" && len(warnings) > 0 || c.want != "" && (len(warnings) != 1 || !strings.Contains(warnings[0].String(), c.want)) {
			t.Errorf("%s: warnings %v, want %q", c.name, warnings, c.want)
		}
	}
}

func TestLooseKeyModeIsAWarning(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes there say nothing about access")
	}
	w := newWorld(t)
	if err := os.Chmod(w.options.KeyFile, 0o640); err != nil {
		t.Fatal(err)
	}
	_, warnings, err := LoadServer(w.options, nil)
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0].Text, "0640") {
		t.Errorf("warnings %v, error %v, want one about 0640", warnings, err)
	}
}

func TestClientRefuses(t *testing.T) {
	w := newWorld(t)
	for name, o := range map[string]ClientOptions{
		"a certificate without its key": {CertFile: w.options.CertFile},
		"a key without its certificate": {KeyFile: w.options.KeyFile},
		"an empty CA file":              {CAFile: w.write("empty", nil)},
		"TLS 1.0":                       {MinVersion: tls.VersionTLS10},
		"a missing certificate":         {CertFile: "missing", KeyFile: w.options.KeyFile},
	} {
		if _, _, err := Client(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestInsecureClientSkipsTheNameOnly(t *testing.T) {
	w := newWorld(t)
	w.options.ClientAuth, w.options.Now = tls.NoClientCert, nil
	files, err := Quickstart(filepath.Join(w.dir, "q"), nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	w.options.CertFile, w.options.KeyFile = files.CertFile, files.KeyFile
	server := w.load().Config()
	for _, c := range []struct {
		name     string
		o        ClientOptions
		accepted bool
	}{
		{"the right name", ClientOptions{CAFile: files.CAFile, ServerName: "localhost"}, true},
		{"another name", ClientOptions{CAFile: files.CAFile, ServerName: "other.example"}, false},
		{"another name, insecure", ClientOptions{CAFile: files.CAFile, ServerName: "other.example", Insecure: true}, true},
		{"another CA, insecure", ClientOptions{CAFile: w.options.ClientCAFile, ServerName: "localhost", Insecure: true}, false},
	} {
		client, warnings, err := Client(c.o)
		if err != nil {
			t.Fatal(err)
		}
		if c.o.Insecure != (len(warnings) == 1) {
			t.Errorf("%s: warnings %v", c.name, warnings)
		}
		if _, _, clientErr := connect(t, server, client); (clientErr == nil) != c.accepted {
			t.Errorf("%s: %v, want accepted = %v", c.name, clientErr, c.accepted)
		}
	}
}
