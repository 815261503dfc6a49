package tickets

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"testing"
	"time"
)

// pki is a CA with the certificates of a server and a client.
type pki struct {
	ca, other      *x509.Certificate // other signs nobody
	server, client tls.Certificate
}

func newPKI(t *testing.T, now time.Time) *pki {
	t.Helper()
	issue := func(name string, ca *tls.Certificate) tls.Certificate {
		t.Helper()
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"},
			NotBefore: now.Add(-time.Hour), NotAfter: now.Add(100 * Life), KeyUsage: x509.KeyUsageDigitalSignature,
		}
		parent, signer := template, key
		if ca != nil {
			parent, signer = ca.Leaf, ca.PrivateKey.(*ecdsa.PrivateKey)
		} else {
			template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	}
	ca, other := issue("CA", nil), issue("other CA", nil)
	return &pki{ca.Leaf, other.Leaf, issue("server", &ca), issue("client", &ca)}
}

// door is a TLS listener's configuration, made as a listener should make it.
type door struct {
	w       *watch
	ring    *Ring
	scope   Scope
	anchors []*x509.Certificate
	cert    tls.Certificate
	max     uint16
}

// config returns the configuration for tls.Server.
func (d *door) config() *tls.Config {
	d.scope.Trust = TrustOf(d.anchors)
	serves := &tls.Config{Certificates: []tls.Certificate{d.cert}, ClientAuth: d.scope.ClientAuth, Time: d.w.time, MaxVersion: d.max, ClientCAs: x509.NewCertPool()}
	for _, a := range d.anchors {
		serves.ClientCAs.AddCert(a)
	}
	binding := d.ring.Bind(d.scope, serves)
	return &tls.Config{
		SessionTicketsDisabled: true, // nothing to inherit
		Time:                   d.w.time,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			binding.Refresh()
			return serves, nil
		},
	}
}

// shake connects once and reports whether the server resumed a session.
func shake(t *testing.T, server, client *tls.Config) (resumed bool, err error) {
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
			resumed = c.ConnectionState().DidResume
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
	_, err = io.ReadFull(c, make([]byte, 1)) // a ticket of TLS 1.3 comes before it
	return resumed, errors.Join(<-ended, err)
}

// visit is shake for a connection that has to come about.
func visit(t *testing.T, server, client *tls.Config) (resumed bool) {
	t.Helper()
	resumed, err := shake(t, server, client)
	if err != nil {
		t.Fatal(err)
	}
	return resumed
}

func (p *pki) visitor(w *watch, withCert bool) *tls.Config {
	c := &tls.Config{ServerName: "localhost", RootCAs: x509.NewCertPool(), Time: w.time, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	c.RootCAs.AddCert(p.ca)
	if withCert {
		// Also where the server names other CAs.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &p.client, nil }
	}
	return c
}

var versions = map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13}

func TestASessionIsResumedInItsScopeOnly(t *testing.T) {
	w := newWatch()
	p := newPKI(t, w.time())
	for version, most := range versions {
		for _, tt := range []struct {
			name    string
			change  func(*door)
			resumes bool
		}{
			{"the same listener", func(*door) {}, true},
			{"the same listener, made anew", func(d *door) { *d = door{d.w, d.ring, d.scope, d.anchors, d.cert, d.max} }, true},
			{"its trust store in another order", func(d *door) { d.anchors = []*x509.Certificate{p.other, p.ca} }, true},
			{"another broker with the same file", func(d *door) { d.ring = fixed(7, 3) }, true},
			{"another broker that has rotated it", func(d *door) { d.ring = fixed(9, 7, 3) }, true},
			{"another broker with another file", func(d *door) { d.ring = fixed(8) }, false},
			{"a broker with keys of its own", func(d *door) { d.ring = New(nil) }, false},
			{"another listener", func(d *door) { d.scope.Listener = "gate" }, false},
			{"a listener without a name", func(d *door) { d.scope.Listener = "" }, false},
			{"another certificate of the listener", func(d *door) { d.scope.Server = "b" }, false},
			{"a smaller trust store", func(d *door) { d.anchors = []*x509.Certificate{p.ca} }, false},
			{"a trust store without the client's CA", func(d *door) { d.anchors = []*x509.Certificate{p.other} }, false},
			{"a listener that asks for no certificate", func(d *door) { d.scope.ClientAuth = tls.NoClientCert }, false},
			{"other rules", func(d *door) { d.scope.Rules = "b" }, false},
		} {
			d := &door{w, fixed(7), Scope{Listener: "door", ClientAuth: tls.VerifyClientCertIfGiven}, []*x509.Certificate{p.ca, p.other}, p.server, most}
			// Where the client shows a certificate crypto/tls has a say as well; so
			// both with and without.
			for _, withCert := range []bool{false, true} {
				client := p.visitor(w, withCert)
				first := d.config()
				if visit(t, first, client) {
					t.Fatal("the first connection resumed")
				}
				second := *d
				tt.change(&second)
				resumed, err := shake(t, second.config(), client)
				if refused := second.anchors[0] == p.other && len(second.anchors) == 1 && withCert; refused {
					if err == nil || resumed {
						t.Errorf("%s, %s: not refused", version, tt.name)
					}
					continue
				}
				if err != nil || resumed != tt.resumes {
					t.Errorf("%s, %s, with a certificate %t: resumed = %t, %v; want %t", version, tt.name, withCert, resumed, err, tt.resumes)
				}
			}
		}
	}
}

func TestATicketOfYesterdayIsAcceptedAndRenewed(t *testing.T) {
	for version, most := range versions {
		w := newWatch()
		p := newPKI(t, w.time())
		d := &door{w: w, ring: New(w.time), scope: Scope{Listener: "door"}, cert: p.server, max: most}
		server, client := d.config(), p.visitor(w, false)
		visit(t, server, client)
		first := d.ring.IDs()[0]
		w.add(25 * time.Hour)
		if !visit(t, server, client) {
			t.Errorf("%s: not resumed after a day", version)
		}
		if d.ring.IDs()[0] == first {
			t.Errorf("%s: the handshake did not rotate the keys", version)
		}
		// What it has now must be of the second day: the first day's keys are gone.
		w.add(Life - 25*time.Hour)
		d.ring.Rotate()
		if len(d.ring.IDs()) != 2 {
			t.Fatalf("%v", d.ring.IDs())
		}
		if !visit(t, server, client) {
			t.Errorf("%s: the ticket was not renewed", version)
		}
		w.add(Life + time.Second)
		if visit(t, server, client) {
			t.Errorf("%s: resumed after more than 7 days", version)
		}
	}
}

// TestAnOldTicketIsNoneOnceItsKeyIsGone has a client that holds on to its ticket.
func TestAnOldTicketIsNoneOnceItsKeyIsGone(t *testing.T) {
	w := newWatch()
	p := newPKI(t, w.time())
	d := &door{w: w, ring: New(w.time), scope: Scope{Listener: "door"}, cert: p.server}
	server, client := d.config(), p.visitor(w, false)
	w.add(Period - time.Second)
	client.ClientSessionCache = &keepsFirst{}
	visit(t, server, client)
	w.add(Life - Period)
	if !visit(t, server, client) {
		t.Error("not resumed at the end of the key's life")
	}
	w.add(2 * time.Second) // the ticket itself would last for another day
	if visit(t, server, client) {
		t.Error("resumed after the end of the key")
	}
}

// keepsFirst is a cache that never takes a newer ticket.
type keepsFirst struct{ state *tls.ClientSessionState }

func (k *keepsFirst) Get(string) (*tls.ClientSessionState, bool) { return k.state, k.state != nil }

func (k *keepsFirst) Put(_ string, s *tls.ClientSessionState) {
	if k.state == nil {
		k.state = s
	}
}

// TestWhatIsNotBoundServesNobody: a configuration that was forgotten can't take
// keys from elsewhere.
func TestWhatIsNotBoundServesNobody(t *testing.T) {
	w := newWatch()
	p := newPKI(t, w.time())
	for version, most := range versions {
		d := &door{w: w, ring: fixed(7), scope: Scope{Listener: "door"}, cert: p.server, max: most}
		server, client := d.config(), p.visitor(w, false)
		visit(t, server, client)
		forgotten := &tls.Config{Certificates: []tls.Certificate{p.server}, MaxVersion: most, Time: w.time}
		server.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return forgotten, nil }
		if resumed, err := shake(t, server, client); err == nil || resumed {
			t.Errorf("%s: served, resumed = %t", version, resumed)
		}
	}
}

// TestTwoDoorsOfOneRing: one process, one ring, and a ticket of one listener is
// none at the other, in either direction.
func TestTwoDoorsOfOneRing(t *testing.T) {
	w := newWatch()
	p := newPKI(t, w.time())
	for _, names := range [][2]string{{"one", "two"}, {"one", ""}, {"", ""}} {
		ring := New(w.time)
		var doors []*tls.Config
		for _, name := range names {
			doors = append(doors, (&door{w: w, ring: ring, scope: Scope{Listener: name}, cert: p.server}).config())
		}
		client := p.visitor(w, false)
		for i, want := range []bool{false, true, false, true} {
			if got := visit(t, doors[i/2], client); got != want {
				t.Errorf("listeners %q, connection %d: resumed = %t, want %t", names, i+1, got, want)
			}
		}
	}
}

func BenchmarkResumed(b *testing.B) {
	keys, _ := fixed(1, 2, 3, 4, 5, 6, 7, 8).keys(Scope{Listener: "door"})
	c := &tls.Config{}
	c.SetSessionTicketKeys(keys[7:])
	state := []byte{3, 4, 1, 0x13, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	ss, err := tls.ParseSessionState(state)
	if err != nil {
		b.Fatal(err)
	}
	ticket, err := c.EncryptTicket(tls.ConnectionState{}, ss)
	if err != nil {
		b.Fatal(err)
	}
	c.SetSessionTicketKeys(keys) // the eighth of eight decrypts
	for b.Loop() {
		if ss, err := c.DecryptTicket(ticket, tls.ConnectionState{}); err != nil || ss == nil {
			b.Fatal(err)
		}
	}
}
