package sallyport

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"hash/maphash"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/config"
	"sallyport/security"
)

// lines is a log that a test reads.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// tended is a broker with mutual TLS, whose certificates a test makes.
type tended struct {
	t    *testing.T
	dir  string
	key  *ecdsa.PrivateKey // everybody's
	ca   *x509.Certificate
	s    *Server
	log  lines
	last int64
}

func (x *tended) write(name, kind string, der []byte) {
	x.t.Helper()
	if err := os.WriteFile(filepath.Join(x.dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		x.t.Fatal(err)
	}
}

func (x *tended) certificate(name string, ends time.Time) *x509.Certificate {
	x.t.Helper()
	x.last++
	c := &x509.Certificate{
		SerialNumber: big.NewInt(x.last), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: ends, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	above := x.ca
	if above == nil {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage, above = true, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign, c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, above, &x.key.PublicKey, x.key)
	if err != nil {
		x.t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		x.t.Fatal(err)
	}
	return c
}

func (x *tended) revoke(next time.Duration, list ...*x509.Certificate) {
	x.t.Helper()
	x.last++
	l := &x509.RevocationList{Number: big.NewInt(x.last), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(next)}
	for _, c := range list {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, l, x.ca, x.key)
	if err != nil {
		x.t.Fatal(err)
	}
	x.write("clients.crl", "X509 CRL", der)
}

func startTended(t *testing.T, serverEnds time.Time, list time.Duration) *tended {
	t.Helper()
	x := &tended{t: t, dir: t.TempDir()}
	var err error
	if x.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	x.ca = x.certificate("ca", time.Now().Add(1000*24*time.Hour))
	x.write("ca.crt", "CERTIFICATE", x.ca.Raw)
	x.write("server.crt", "CERTIFICATE", x.certificate("broker.example", serverEnds).Raw)
	der, err := x509.MarshalECPrivateKey(x.key)
	if err != nil {
		t.Fatal(err)
	}
	x.write("server.key", "EC PRIVATE KEY", der)
	x.revoke(list)
	text := `listeners:
  - name: door
    transport: tls
    address: "127.0.0.1:0"
    identity: common_name
    tls: {certificate: server.crt, key: server.key, client_ca: ca.crt, client_auth: require, crl: clients.crl, on_trust_change: keep}
    policies: [all]
policies:
  - {name: all, type: allow_all}
`
	path := filepath.Join(x.dir, "sallyport.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	x.s, err = New(cfg, Options{Log: slog.New(slog.NewTextHandler(&x.log, nil)), Read: func() (*config.Config, error) { return config.Load(path) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := x.s.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := x.s.Start(); err != nil {
		t.Fatal(err)
	}
	return x
}

// connect is a client that was let in.
func (x *tended) connect(c *x509.Certificate) *tls.Conn {
	x.t.Helper()
	conn, err := tls.Dial("tcp", x.s.Addrs("door")[0].String(), &tls.Config{
		InsecureSkipVerify: true, Certificates: []tls.Certificate{{Certificate: [][]byte{c.Raw}, PrivateKey: x.key}},
	})
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second)) // it is open
	if _, err := conn.Write([]byte("\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a")); err != nil {
		x.t.Fatal(err)
	}
	ack := make([]byte, 4)
	if _, err := conn.Read(ack); err != nil || ack[3] != 0 {
		x.t.Fatalf("CONNACK %x, %v", ack, err)
	}
	return conn
}

func newTender() *tlsTender {
	return &tlsTender{told: map[string]time.Time{}, due: map[string]*recheck{}, seed: maphash.MakeSeed()}
}

// TestARecheckEndsWhoWasRevoked: within one recheck_interval, whoever it is.
func TestARecheckEndsWhoWasRevoked(t *testing.T) {
	x := startTended(t, time.Now().Add(90*24*time.Hour), time.Hour)
	device := x.certificate("device", time.Now().Add(time.Hour))
	conn := x.connect(device)
	tender, now := newTender(), time.Now()
	hour := func() {
		for end := now.Add(time.Hour + time.Minute); now.Before(end); now = now.Add(time.Minute) {
			x.s.recheckClients(tender, now)
		}
	}
	hour()
	alive := func() error {
		if _, err := conn.Write([]byte{0xC0, 0}); err != nil {
			return err
		}
		_, err := conn.Read(make([]byte, 2))
		return err
	}
	if err := alive(); err != nil {
		t.Fatalf("a good certificate: %v", err)
	}
	x.revoke(time.Hour, device)
	if err := x.s.ReloadFiles(); err != nil {
		t.Fatal(err)
	}
	if err := alive(); err != nil {
		t.Fatalf("on_trust_change is keep: %v", err)
	}
	hour()
	if err := alive(); err == nil {
		t.Error("it was revoked, and is there after an hour")
	}
	if !strings.Contains(x.log.String(), "their certificates were revoked") {
		t.Errorf("the log:\n%s", &x.log)
	}
}

// TestLooksAreSpreadEvenly: nobody is left out, whatever the number and however late
// the clock, and the second look comes one walk after the first.
func TestLooksAreSpreadEvenly(t *testing.T) {
	begin := time.Now()
	for _, n := range []int{0, 1, 7, 1000} {
		r := &recheck{walked: begin}
		for range n {
			r.first = append(r.first, &security.Principal{})
		}
		looks := make(map[*security.Principal][]time.Duration)
		for walk := range 2 {
			for second := time.Second; second <= recheckWalk; second += time.Second {
				before := len(looks)
				out := r.look(r.walked.Add(second), func(p *security.Principal) bool {
					looks[p] = append(looks[p], time.Duration(walk)*recheckWalk+second)
					return false
				})
				if most := n/int(recheckWalk/time.Second) + 1; len(out) > most || walk == 0 && len(looks)-before > most {
					t.Errorf("of %d, %d in one second", n, len(out))
				}
			}
			r.walked, r.looked, r.first, r.second = r.walked.Add(recheckWalk), 0, nil, r.first
		}
		for _, at := range looks {
			if len(at) != 2 || at[1]-at[0] != recheckWalk {
				t.Fatalf("of %d, one was looked at %v", n, at)
			}
		}
		if len(looks) != n {
			t.Errorf("of %d, %d were looked at", n, len(looks))
		}
	}
	late := &recheck{walked: begin, first: make([]*security.Principal, 5)}
	looked := 0
	late.look(begin.Add(time.Hour), func(*security.Principal) bool { looked++; return true })
	if looked != 5 {
		t.Errorf("an hour late, %d of 5", looked)
	}
}

// TestWhatEndsSoonIsToldOnceADay: a certificate from 30 days on, a list when a tenth is left.
func TestWhatEndsSoonIsToldOnceADay(t *testing.T) {
	x := startTended(t, time.Now().Add(31*24*time.Hour), 100*time.Hour)
	tender, begin := newTender(), time.Now()
	told := func() int { return strings.Count(x.log.String(), "msg=certificate_alarm") }
	for _, c := range []struct {
		after time.Duration
		want  int
		about string
	}{
		{0, 0, ""},
		{25 * time.Hour, 1, "what=server certificate=\"CN=broker.example serial 2\" text=\"expires in 29 days"},
		{26 * time.Hour, 1, ""},
		{49*time.Hour + time.Second, 2, "expires in 28 days"},
		{32 * 24 * time.Hour, 3, "expired on"},
	} {
		x.s.tellEnds(tender, begin.Add(c.after))
		if got := told(); got != c.want || !strings.Contains(x.log.String(), c.about) {
			t.Errorf("after %s: told %d times, want %d and %q\n%s", c.after, got, c.want, c.about, &x.log)
		}
	}
	if got, want := x.s.Metrics().Certificates.All()["door/server"], begin.Add(31*24*time.Hour).Unix(); got < want-5 || got > want+5 {
		t.Errorf("the metric says %d, want %d", got, want)
	}
	if l := x.s.status(begin).Listeners[0]; len(l.Certificates) != 2 || l.Certificates[0].Serial != "2" || len(l.Lists) != 1 || l.Lists[0].Entries != 0 {
		t.Errorf("the status says %+v", l)
	}
	short := startTended(t, time.Now().Add(90*24*time.Hour), time.Minute)
	short.s.tellEnds(newTender(), time.Now())
	if log := short.log.String(); !strings.Contains(log, "msg=certificate_alarm listener=door what=crl") {
		t.Errorf("a list that ends soon:\n%s", log)
	}
}

// TestASlowPasswordCommandHoldsUpNobody: neither who asks for the status nor a stop.
func TestASlowPasswordCommandHoldsUpNobody(t *testing.T) {
	x := startTended(t, time.Now().Add(90*24*time.Hour), time.Hour)
	path := filepath.Join(x.dir, "sallyport.yaml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte("key: server.key,"), []byte("key: server.key, password: {command: [/bin/sleep, \"9\"]},"), 1)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- x.s.ReloadFiles() }()
	for x.s.changing.TryLock() { // it has not begun
		x.s.changing.Unlock()
		runtime.Gosched()
	}
	if len(x.s.status(time.Now()).Listeners) != 1 {
		t.Error("no status")
	}
	select {
	case err := <-done:
		t.Fatalf("the status waited for the command, or there was none: %v", err)
	default:
	}
	if err := x.s.Stop(); err != nil {
		t.Error(err)
	}
	if err := <-done; err == nil || !strings.Contains(err.Error(), "tls.password") {
		t.Errorf("the reload that was stopped: %v", err)
	}
}
