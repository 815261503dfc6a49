package tls_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport"
	"sallyport/config"
)

// site is a broker in this process, with its files.
type site struct {
	t   *testing.T
	dir string
	srv *sallyport.Server
	log *buffer
}

// buffer takes the log.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func newSite(t *testing.T) *site {
	t.Helper()
	return &site{t: t, dir: t.TempDir(), log: &buffer{}}
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

func (s *site) write(name string, data []byte) string {
	s.t.Helper()
	if err := os.MkdirAll(filepath.Dir(s.path(name)), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(s.path(name), data, 0o600); err != nil {
		s.t.Fatal(err)
	}
	return s.path(name)
}

// configure writes a configuration with one listener, called door, whose keys are
// given beside transport and address; anonymous clients may do everything.
func (s *site) configure(listener string) {
	s.t.Helper()
	text := `
listeners:
  - name: door
    address: "127.0.0.1:0"
` + indent(listener, "    ") + `
policies:
  - {name: all, type: allow_all}
sys_interval: 0
`
	if strings.Contains(listener, "[anyone]") {
		text += "authenticators:\n  - {name: anyone, type: anonymous, believe_username: true}\n"
	}
	s.write("sallyport.yaml", []byte(text))
}

func indent(text, by string) string {
	var b strings.Builder
	for line := range strings.SplitSeq(strings.Trim(text, "\n"), "\n") {
		b.WriteString(by + line + "\n")
	}
	return b.String()
}

func (s *site) read() (*config.Config, error) { return config.Load(s.path("sallyport.yaml")) }

// open makes the broker without serving anybody.
func (s *site) open() error {
	cfg, err := s.read()
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	s.srv, err = sallyport.New(cfg, sallyport.Options{Log: log, Read: s.read})
	return err
}

// start runs the broker until the test ends.
func (s *site) start() {
	s.t.Helper()
	if err := s.open(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := s.srv.Stop(); err != nil {
			s.t.Error(err)
		}
		if n := s.srv.Metrics().Panics.Load(); n != 0 {
			s.t.Errorf("%d panics:\n%s", n, s.log)
		}
	})
	if err := s.srv.Start(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) reload() {
	s.t.Helper()
	if err := s.srv.ReloadFiles(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) addr() string { return s.srv.Addrs("door")[0].String() }

// greet makes a handshake and an MQTT 3.1.1 CONNECT, and returns what the TLS
// handshake came to; the connection stays open until the test ends.
func (s *site) greet(c *tls.Config, id string) (*tls.Conn, tls.ConnectionState, error) {
	s.t.Helper()
	raw, err := net.DialTimeout("tcp", s.addr(), 10*time.Second)
	if err != nil {
		return nil, tls.ConnectionState{}, err
	}
	s.t.Cleanup(func() { _ = raw.Close() })
	return greetOver(raw, c, id)
}

func greetOver(raw net.Conn, c *tls.Config, id string) (*tls.Conn, tls.ConnectionState, error) {
	_ = raw.SetDeadline(time.Now().Add(20 * time.Second)) // a socket that was just opened
	conn := tls.Client(raw, c)
	if err := conn.HandshakeContext(context.Background()); err != nil {
		return nil, tls.ConnectionState{}, err
	}
	state := conn.ConnectionState()
	connect := []byte{0x10, byte(12 + len(id)), 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, byte(len(id))}
	if _, err := conn.Write(append(connect, id...)); err != nil {
		return nil, state, err
	}
	ack := make([]byte, 4)
	if n, err := conn.Read(ack); err != nil {
		return nil, state, err
	} else if n != 4 || ack[3] != 0 {
		return nil, state, fmt.Errorf("CONNACK %x", ack[:n])
	}
	return conn, state, nil
}

// authority is a CA that a test made.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  crypto.Signer
}

var serials struct {
	sync.Mutex
	last int64
}

func serial() *big.Int {
	serials.Lock()
	defer serials.Unlock()
	serials.last++
	return big.NewInt(serials.last + 0x1000)
}

func newKey(t testing.TB, kind string) crypto.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	switch kind {
	case "rsa2048":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case "rsa4096":
		key, err = rsa.GenerateKey(rand.Reader, 4096)
	case "p256":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "p384":
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		t.Fatalf("no kind of key: %s", kind)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newAuthority(t *testing.T, name string, parent *authority) *authority {
	t.Helper()
	a := &authority{t: t, key: newKey(t, "p256")}
	tmpl := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(365 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}
	above, signer := tmpl, a.key
	if parent != nil {
		above, signer = parent.cert, parent.key
	}
	a.cert = sign(t, tmpl, above, a.key.Public(), signer)
	return a
}

func sign(t *testing.T, tmpl, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, public, signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// issue makes a certificate for servers and clients alike.
func (a *authority) issue(name string, key crypto.Signer, change func(*x509.Certificate)) *x509.Certificate {
	a.t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(tmpl)
	}
	return sign(a.t, tmpl, a.cert, key.Public(), a.key)
}

// device is a client's certificate with its key.
func (a *authority) device(name string, change func(*x509.Certificate), above ...*authority) *tls.Certificate {
	key := newKey(a.t, "p256")
	leaf := a.issue(name, key, change)
	c := &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	for _, x := range above {
		c.Certificate = append(c.Certificate, x.cert.Raw)
	}
	return c
}

// list is a revocation list in PEM.
func (a *authority) list(next time.Duration, revoked ...*x509.Certificate) []byte {
	a.t.Helper()
	tmpl := &x509.RevocationList{Number: serial(), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(next)}
	for _, c := range revoked {
		tmpl.RevokedCertificateEntries = append(tmpl.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: time.Now().Add(-time.Minute)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, tmpl, a.cert, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

// trusts is a client's configuration; name is the server's.
func (a *authority) trusts(name string, device *tls.Certificate) *tls.Config {
	c := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: name}
	c.RootCAs.AddCert(a.cert)
	if device != nil {
		// The server's hint is left aside: what is shown is for the server to judge.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return device, nil }
	}
	return c
}

func pemOf(certs ...*x509.Certificate) []byte {
	var b []byte
	for _, c := range certs {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return b
}

func keyPEM(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// tool runs a program in the site's folder.
func (s *site) tool(name string, args ...string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = s.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// sClient is what openssl s_client says of a handshake with the door.
func (s *site) sClient(args ...string) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "openssl", append([]string{"s_client", "-connect", s.addr()}, args...)...)
	cmd.Dir, cmd.Stdin = s.dir, strings.NewReader("")
	out, _ := cmd.CombinedOutput() // what it says is what counts
	return string(out)
}
