package attack_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"sallyport/certs"
	"sallyport/packet"
)

// authority signs client certificates.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	next int64
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	a := &authority{t: t, next: 2}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	a.key = a.newKey()
	a.cert = a.sign(template, template, a.key)
	return a
}

func (a *authority) newKey() *ecdsa.PrivateKey {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	return key
}

func (a *authority) sign(template, parent *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert
}

// device is a client certificate with that common name.
func (a *authority) device(name string) tls.Certificate {
	a.t.Helper()
	key := a.newKey()
	a.next++
	cert := a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(a.next), Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		KeyUsage: x509.KeyUsageDigitalSignature, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}, a.cert, key)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

// list is the revocation list as PEM. It has no issuing distribution point.
func (a *authority) list(revoked ...tls.Certificate) string {
	a.t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(a.next), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour)}
	for _, c := range revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: c.Leaf.SerialNumber, RevocationTime: time.Now().Add(-time.Minute)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.cert, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
}

func (a *authority) text() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
}

// byCertificate is a broker with a TLS and a secure WebSocket listener whose
// users are the common names of client certificates.
func byCertificate(t *testing.T, a *authority, permissions string, revoked ...tls.Certificate) *site {
	t.Helper()
	return forCertificates(t, a, permissions, revoked...).begin()
}

// forCertificates is byCertificate before its start.
func forCertificates(t *testing.T, a *authority, permissions string, revoked ...tls.Certificate) *site {
	t.Helper()
	var doors strings.Builder
	for _, transport := range []string{"tls", "wss"} {
		fmt.Fprintf(&doors, `
  - name: %s
    transport: %s
    address: "127.0.0.1:0"
    tls: {certificate: tls/server.crt, key: tls/server.key, client_auth: require, client_ca: clients.crt, crl: clients.crl}
    identity: common_name
    policies: [perm]
`, transport, transport)
	}
	s := prepare(t, strings.Replace(plain("", ""), "\nauthenticators:\n", doors.String()+"\nauthenticators:\n", 1), permissions)
	if _, err := certs.Quickstart(s.path("tls"), []string{"localhost"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	s.write("clients.crt", a.text())
	s.write("clients.crl", a.list(revoked...))
	return s
}

// enter connects with a certificate and says what became of it: the code of the
// CONNACK, or an error of the handshake or of the first reading behind it.
func (s *site) enter(door string, device tls.Certificate, sessions tls.ClientSessionCache, change ...func(*packet.Connect)) (*peer, packet.Code, error) {
	s.t.Helper()
	p, err := s.knock(door, device, sessions)
	if err != nil {
		return nil, 0, err
	}
	ack, err := p.tryConnect(login(packet.V5, "another", change...))
	if err != nil {
		return nil, 0, err
	}
	return p, ack.Code, nil
}

// knock is what comes before the CONNECT of enter.
func (s *site) knock(door string, device tls.Certificate, sessions tls.ClientSessionCache) (*peer, error) {
	s.t.Helper()
	c := tls.Client(s.socket(door), &tls.Config{
		InsecureSkipVerify: true, //nolint:gosec // the attacker doesn't care who it is
		ServerName:         "localhost", Certificates: []tls.Certificate{device}, ClientSessionCache: sessions,
	})
	if err := c.Handshake(); err != nil {
		return nil, err
	}
	if door != "wss" {
		return newPeer(s.t, c), nil
	}
	w := &webConn{Conn: c}
	if status := w.upgrade(request("/mqtt", nil)); status != 101 {
		return nil, fmt.Errorf("upgrade: %d", status) // TLS 1.3 tells of a refused certificate here
	}
	return newPeer(s.t, w), nil
}

const ownTree = "everyone:\n  - {allow: both, topic: \"${username}/#\"}\n"

func TestARevokedCertificateIsRefusedAtEveryDoor(t *testing.T) {
	a := newAuthority(t, "clients")
	good, bad := a.device("good"), a.device("bad")
	s := byCertificate(t, a, ownTree)
	for _, door := range []string{"tls", "wss"} {
		sessions := tls.NewLRUClientSessionCache(4) // with the ticket of the bad one
		var stays *peer
		for d, kept := range map[*tls.Certificate]tls.ClientSessionCache{&good: nil, &bad: sessions} {
			p, code, err := s.enter(door, *d, kept, id(d.Leaf.Subject.CommonName+door))
			if err != nil || code != 0 {
				t.Fatalf("%s: before the revocation: 0x%02x, %v", door, byte(code), err)
			}
			if code := p.publish(d.Leaf.Subject.CommonName+"/x", "x", 1, false); code != 0 {
				t.Errorf("%s: publish: 0x%02x", door, byte(code))
			}
			if d == &good {
				stays = p
			}
		}
		s.write("clients.crl", a.list(bad))
		s.reload()
		if _, code, err := s.enter(door, bad, sessions, id("again")); err == nil {
			t.Errorf("%s: a revoked certificate got CONNACK 0x%02x", door, byte(code))
		}
		if _, code, err := s.enter(door, bad, nil, id("afresh")); err == nil {
			t.Errorf("%s: a revoked certificate without a ticket got CONNACK 0x%02x", door, byte(code))
		}
		if _, code, err := s.enter(door, good, nil, id("other"+door)); err != nil || code != 0 {
			t.Errorf("%s: the other certificate: 0x%02x, %v", door, byte(code), err)
		}
		if code := stays.publish("good/x", "x", 1, false); code != 0 {
			t.Errorf("%s: its connection from before: 0x%02x", door, byte(code))
		}
		s.write("clients.crl", a.list())
		s.reload()
	}
}

func TestAnAuthorityThatWasTakenOutIsTrustedNoMore(t *testing.T) {
	before, after := newAuthority(t, "before"), newAuthority(t, "after")
	old, fresh := before.device("pump"), after.device("pump")
	s := byCertificate(t, before, ownTree)
	sessions := tls.NewLRUClientSessionCache(4)
	if _, code, err := s.enter("tls", old, sessions); err != nil || code != 0 {
		t.Fatalf("before: 0x%02x, %v", byte(code), err)
	}
	s.write("clients.crt", after.text())
	s.write("clients.crl", after.list())
	s.reload()
	for _, door := range []string{"tls", "wss"} {
		if _, code, err := s.enter(door, old, sessions, id("old")); err == nil {
			t.Errorf("%s: a certificate of the old authority got CONNACK 0x%02x", door, byte(code))
		}
		if _, code, err := s.enter(door, fresh, nil, id("fresh "+door)); err != nil || code != 0 {
			t.Errorf("%s: a certificate of the new authority: 0x%02x, %v", door, byte(code), err)
		}
	}
}

func TestACertificateIsItsOwnNameAndGrantsNothing(t *testing.T) {
	a := newAuthority(t, "clients")
	s := byCertificate(t, a, "users:\n  another:\n    permissions: [{allow: both, topic: \"#\"}]\n  pump:\n    permissions: [{allow: both, topic: \"pump/#\"}]\n")
	for name, topics := range map[string]map[string]bool{
		"pump":    {"pump/x": true, "another/x": false, "x": false},
		"unknown": {"pump/x": false, "another/x": false, "unknown/x": false},
	} {
		// enter says in its CONNECT that it is "another", with a password.
		p, code, err := s.enter("tls", a.device(name), nil, id(name))
		if err != nil || code != 0 {
			t.Fatalf("%s: 0x%02x, %v", name, byte(code), err)
		}
		for topic, may := range topics {
			if code := p.publish(topic, "x", 1, false); may != (code == 0) {
				t.Errorf("the certificate of %s publishes to %s: 0x%02x", name, topic, byte(code))
			}
			if code := p.subscribe(0, topic)[0]; may != (code < 0x80) {
				t.Errorf("the certificate of %s subscribes to %s: 0x%02x", name, topic, byte(code))
			}
		}
	}
}

func TestACertificateOfAnUnknownUserIsKeptOut(t *testing.T) {
	a := newAuthority(t, "clients")
	const known = `
defaults: {connect: deny}
users:
  pump:
    permissions: [{allow: connect}, {allow: both, topic: "pump/#"}]
`
	s := byCertificate(t, a, known)
	pump := a.device("pump")
	for _, door := range []string{"tls", "wss"} {
		p, code, err := s.enter(door, pump, nil, id(door))
		if err != nil || code != 0 {
			t.Fatalf("%s: the known user: 0x%02x, %v", door, byte(code), err)
		}
		if _, code, err := s.enter(door, a.device("stranger"), nil, id("stranger"+door)); err != nil || code != packet.NotAuthorized {
			t.Errorf("%s: an unknown user: 0x%02x, %v, want 0x87", door, byte(code), err)
		}
		s.write("permissions.yaml", strings.Replace(known, "[{allow: connect}, ", "[{allow: connect}, {deny: connect}, ", 1))
		s.reload()
		if code := p.ended(); code != packet.NotAuthorized {
			t.Errorf("%s: the disabled user's connection got 0x%02x, want 0x87", door, byte(code))
		}
		if _, code, err := s.enter(door, pump, nil, id(door)); err != nil || code != packet.NotAuthorized {
			t.Errorf("%s: the disabled user: 0x%02x, %v, want 0x87", door, byte(code), err)
		}
		s.write("permissions.yaml", known)
		s.reload()
	}
}

func TestAProxyHeaderFromAnyoneIsRefused(t *testing.T) {
	s := everyDoor(t, "", "")
	connect := packet.AppendConnect(nil, login(packet.V5, "alice"))
	for claim, header := range map[string]string{
		"version 1": "PROXY TCP4 10.0.0.1 127.0.0.1 4711 1883\r\n",
		"version 2": "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x0a\x00\x00\x01\x7f\x00\x00\x01\x12\x67\x07\x5b",
	} {
		for _, door := range []string{"tcp", "unix"} {
			p := newPeer(t, s.socket(door))
			_ = p.trySend(append([]byte(header), connect...)) // the broker may be gone already
			p.silentEnd()
		}
		if strings.Contains(s.log.String(), "10.0.0.1") {
			t.Errorf("%s: the forged address is in the log", claim)
		}
	}
}

func TestAForwardedForFieldIsNotBelieved(t *testing.T) {
	text := strings.Replace(plain("", ""), "\nauthenticators:\n", `
  - name: ws
    transport: ws
    address: "127.0.0.1:0"
    authenticators: [pw]
    policies: [perm]

authenticators:
`, 1)
	s := siege(t, text, `
everyone:
  - {allow: both, topic: "inside/#", from: 10.0.0.0/8}
  - {allow: both, topic: "here/#", from: 127.0.0.0/8}
`)
	w := &webConn{Conn: s.socket("ws")}
	if status := w.upgrade(request("/mqtt", map[string]string{
		"X-Forwarded-For": "10.0.0.1", "X-Real-IP": "10.0.0.1", "Forwarded": "for=10.0.0.1", "X-Client-IP": "10.0.0.1",
	})); status != 101 {
		t.Fatalf("upgrade: %d", status)
	}
	p := newPeer(t, w)
	if ack := p.connect(login(packet.V5, "alice")); ack.Code != 0 {
		t.Fatalf("CONNACK 0x%02x", byte(ack.Code))
	}
	if code := p.publish("inside/x", "x", 1, false); code != packet.NotAuthorized {
		t.Errorf("publish by a forged address: 0x%02x, want 0x87", byte(code))
	}
	if code := p.publish("here/x", "x", 1, false); code != 0 {
		t.Errorf("publish by the true address: 0x%02x", byte(code))
	}
	if strings.Contains(s.log.String(), "10.0.0.1") {
		t.Error("the forged address is in the log")
	}
}
