package listener

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"sallyport/certs"
)

// handshakeCase is one kind of handshake.
type handshakeCase struct {
	name    string
	version uint16
	group   tls.CurveID
	rsa     bool // the server's key; else ECDSA P-256
	resume  bool
	mutual  bool // with a client certificate, ECDSA P-256
	crl     bool // held against a list of 1,000 others
}

func handshakeCases() []handshakeCase {
	return []handshakeCase{
		{name: "1.3/full/ECDSA", version: tls.VersionTLS13, group: tls.X25519},
		{name: "1.3/full/RSA", version: tls.VersionTLS13, group: tls.X25519, rsa: true},
		{name: "1.3/full/hybrid", version: tls.VersionTLS13, group: tls.X25519MLKEM768},
		{name: "1.3/full/mutual", version: tls.VersionTLS13, group: tls.X25519, mutual: true},
		{name: "1.3/full/mutual+CRL", version: tls.VersionTLS13, group: tls.X25519, mutual: true, crl: true},
		{name: "1.3/resumed", version: tls.VersionTLS13, group: tls.X25519, resume: true},
		{name: "1.3/resumed/mutual+CRL", version: tls.VersionTLS13, group: tls.X25519, resume: true, mutual: true, crl: true},
		{name: "1.2/full/ECDSA", version: tls.VersionTLS12, group: tls.X25519},
		{name: "1.2/full/RSA", version: tls.VersionTLS12, group: tls.X25519, rsa: true},
		{name: "1.2/full/mutual+CRL", version: tls.VersionTLS12, group: tls.X25519, mutual: true, crl: true},
		{name: "1.2/resumed", version: tls.VersionTLS12, group: tls.X25519, resume: true},
		{name: "1.2/resumed/mutual+CRL", version: tls.VersionTLS12, group: tls.X25519, resume: true, mutual: true, crl: true},
	}
}

// BenchmarkServerHandshake is the server's side of a handshake, from the accepted
// connection to its delivery, without the system calls: ns/op and allocs/op have
// nothing of the client, which runs while the timer stands. cpu-ns/op is the
// same in CPU time, the collector's included: the figure to compare on a machine
// that others use too, with -cpu 1.
func BenchmarkServerHandshake(b *testing.B) {
	for _, c := range handshakeCases() {
		b.Run(c.name, func(b *testing.B) {
			h := newHandshakes(b, c)
			b.ReportAllocs()
			b.ResetTimer()
			b.StopTimer()
			const batch = 50
			for left := b.N; left > 0; left -= batch {
				h.run(b, min(left, batch), b)
			}
			b.ReportMetric(float64(h.cpu)/float64(b.N), "cpu-ns/op")
		})
	}
}

// TestHandshakesInMemory holds that the benchmark measures what it says.
func TestHandshakesInMemory(t *testing.T) {
	for _, c := range handshakeCases() {
		h := newHandshakes(t, c)
		h.run(t, 3, untimed{})
		if got := h.listener.counts.Handshaking.Load(); got != 0 {
			t.Errorf("%s: %d handshakes are left", c.name, got)
		}
	}
}

// timer is the part of [testing.B] that runs while a server works.
type timer interface {
	StartTimer()
	StopTimer()
}

type untimed struct{}

func (untimed) StartTimer() {}
func (untimed) StopTimer()  {}

// handshakes runs those of one case.
type handshakes struct {
	handshakeCase
	listener *Listener
	client   *tls.Config
	cpu      time.Duration // of this process while servers worked
}

func newHandshakes(tb testing.TB, c handshakeCase) *handshakes {
	tb.Helper()
	server, client := handshakeConfigs(tb, c)
	l, err := newListener(Options{Transport: TLS, TLS: server})
	if err != nil {
		tb.Fatal(err)
	}
	h := &handshakes{handshakeCase: c, listener: l, client: client}
	if c.resume {
		h.resume = false
		h.run(tb, 1, untimed{}) // brings the first ticket
		h.resume = true
	}
	h.cpu = 0
	return h
}

// run does n handshakes side by side: all servers' parts, all clients' parts, and
// again, so that the timer starts and stops seldom.
func (h *handshakes) run(tb testing.TB, n int, t timer) {
	tb.Helper()
	clients, servers := make([]*duct, n), make([]*duct, n)
	guests := make([]*guest, n)
	for i := range n {
		clients[i], servers[i] = newDuct(), newDuct()
		go clients[i].call(h.client)
		clients[i].await(tb)
	}
	h.timed(t, func() {
		for i, d := range servers {
			d.in = clients[i].take()
			g := &guest{raw: d, stream: newStream(h.listener.lender)}
			g.Remote = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(i+1))
			g.deliver = func(g *guest) { g.stream.settle(); d.stopped <- nil }
			guests[i] = g
			h.listener.beginHandshake(g)
			d.await(tb)
		}
	})
	for i, d := range clients {
		d.feed(tb, servers[i].take())
	}
	h.timed(t, func() {
		for i, d := range servers {
			d.feed(tb, clients[i].take())
		}
	})
	for i, d := range clients {
		// A ticket is in the stream's output, as for the driver that gets it.
		d.feed(tb, append(servers[i].take(), guests[i].stream.Take(nil)...))
		close(d.more)
		if err := <-d.stopped; err != io.EOF {
			tb.Fatalf("the client: %v", err)
		}
		if state := guests[i].TLS; state == nil || state.Version != h.version || state.CurveID != h.group || state.DidResume != h.resume || (len(state.VerifiedChains) > 0) != h.mutual {
			tb.Fatalf("%s: the server has %+v", h.name, state)
		}
	}
	h.listener.group.Wait()
}

// timed runs what servers do.
func (h *handshakes) timed(t timer, f func()) {
	from := processTime()
	t.StartTimer()
	f()
	t.StopTimer()
	h.cpu += processTime() - from
}

func processTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// duct is one side's socket, in memory: a Read without input says so and waits
// to be fed.
type duct struct {
	net.Conn
	in, out []byte
	more    chan []byte // closed: the end
	stopped chan error  // nil: it waits, or was delivered
}

func newDuct() *duct { return &duct{more: make(chan []byte), stopped: make(chan error, 1)} }

// Read implements [net.Conn].
func (d *duct) Read(p []byte) (int, error) {
	for len(d.in) == 0 {
		d.stopped <- nil
		more, open := <-d.more
		if !open {
			return 0, io.EOF
		}
		d.in = more
	}
	n := copy(p, d.in)
	d.in = d.in[n:]
	return n, nil
}

// Write implements [net.Conn].
func (d *duct) Write(p []byte) (int, error) {
	d.out = append(d.out, p...)
	return len(p), nil
}

// SetDeadline implements [net.Conn].
func (d *duct) SetDeadline(time.Time) error { return nil }

// Close implements [net.Conn]: a handshake that failed.
func (d *duct) Close() error {
	d.stopped <- errors.New("closed before its time")
	return nil
}

// call is a client: it reads until the end, so that it gets its ticket.
func (d *duct) call(config *tls.Config) {
	_, err := tls.Client(d, config).Read(make([]byte, 1))
	d.stopped <- err
}

// await returns when the side waits for input, or was delivered.
func (d *duct) await(tb testing.TB) {
	if err := <-d.stopped; err != nil {
		tb.Fatal(err)
	}
}

func (d *duct) feed(tb testing.TB, wire []byte) {
	d.more <- wire
	d.await(tb)
}

func (d *duct) take() []byte {
	out := d.out
	d.out = nil
	return out
}

// handshakeConfigs makes keys and certificates, and the configurations of both sides.
func handshakeConfigs(tb testing.TB, c handshakeCase) (server, client *tls.Config) {
	tb.Helper()
	p256 := func() crypto.Signer {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(tb, err)
		return key
	}
	root := &x509.Certificate{Subject: pkix.Name{CommonName: "root"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	rootKey := p256()
	leaf := &x509.Certificate{Subject: pkix.Name{CommonName: "leaf"}, DNSNames: []string{"localhost"}, KeyUsage: x509.KeyUsageDigitalSignature}
	dir := tb.TempDir()
	rootCert := issue(tb, root, root, rootKey, rootKey)
	files := certs.ServerOptions{CertFile: filepath.Join(dir, "server.crt"), KeyFile: filepath.Join(dir, "server.key")}
	key := p256()
	if c.rsa {
		var err error
		key, err = rsa.GenerateKey(rand.Reader, 2048)
		must(tb, err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	must(tb, err)
	writeBlock(tb, files.CertFile, "CERTIFICATE", issue(tb, leaf, rootCert, key, rootKey).Raw)
	writeBlock(tb, files.KeyFile, "PRIVATE KEY", secret)
	client = &tls.Config{ServerName: "localhost", RootCAs: x509.NewCertPool(), MinVersion: c.version, MaxVersion: c.version,
		CurvePreferences: []tls.CurveID{c.group, tls.CurveP256}, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	client.RootCAs.AddCert(rootCert)
	if !c.resume {
		client.ClientSessionCache = forgetful{}
	}
	if c.mutual {
		files.ClientAuth, files.ClientCAFile = tls.RequireAndVerifyClientCert, filepath.Join(dir, "root.crt")
		writeBlock(tb, files.ClientCAFile, "CERTIFICATE", rootCert.Raw)
		key := p256()
		client.Certificates = []tls.Certificate{{Certificate: [][]byte{issue(tb, leaf, rootCert, key, rootKey).Raw}, PrivateKey: key}}
	}
	if c.crl {
		list := filepath.Join(dir, "root.crl")
		writeBlock(tb, list, "X509 CRL", revoke(tb, 1000, rootCert, rootKey))
		files.Revocation.CRLFiles = []string{list}
	}
	s, _, err := certs.LoadServer(files, nil)
	must(tb, err)
	tb.Cleanup(s.Close)
	return s.Config(), client
}

// forgetful takes tickets and keeps none.
type forgetful struct{}

func (forgetful) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (forgetful) Put(string, *tls.ClientSessionState)        {}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

func writeBlock(tb testing.TB, path, kind string, der []byte) {
	tb.Helper()
	must(tb, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

func issue(tb testing.TB, template, parent *x509.Certificate, key, signer crypto.Signer) *x509.Certificate {
	tb.Helper()
	own := *template
	own.SerialNumber, own.NotBefore, own.NotAfter = big.NewInt(1), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, &own, parent, key.Public(), signer)
	must(tb, err)
	cert, err := x509.ParseCertificate(der)
	must(tb, err)
	return cert
}

// revoke is a list of n serial numbers from 1,000 on.
func revoke(tb testing.TB, n int, by *x509.Certificate, key crypto.Signer) []byte {
	tb.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour)}
	for i := range n {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: big.NewInt(int64(1000 + i)), RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, by, key)
	must(tb, err)
	return der
}
