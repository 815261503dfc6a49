package attack_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"sallyport/packet"
)

// named is a client certificate that change has the last word on.
func (a *authority) named(change func(*x509.Certificate)) tls.Certificate {
	a.t.Helper()
	key := a.newKey()
	a.next++
	c := &x509.Certificate{
		SerialNumber: big.NewInt(a.next), Subject: pkix.Name{CommonName: "device"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		KeyUsage: x509.KeyUsageDigitalSignature, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	change(c)
	cert := a.sign(c, a.cert, key)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

// with is a site whose listeners have these settings in tls and this identity.
func with(t *testing.T, a *authority, permissions, settings, identity string) *site {
	t.Helper()
	s := forCertificates(t, a, permissions)
	s.text = strings.ReplaceAll(s.text, "crl: clients.crl}", "crl: clients.crl"+settings+"}")
	s.text = strings.ReplaceAll(s.text, "identity: common_name", "identity: "+identity)
	return s.begin()
}

func spiffeID(domain, path string) *url.URL {
	return &url.URL{Scheme: "spiffe", Host: domain, Path: path}
}

// TestACertificateNamesItsUserOnceOrNobody: each that doesn't is refused like a
// wrong password.
func TestACertificateNamesItsUserOnceOrNobody(t *testing.T) {
	dns := func(names ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.DNSNames = names }
	}
	uris := func(list ...*url.URL) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.URIs = list }
	}
	ip := func(addr string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.ParseIP(addr)} }
	}
	cn := func(name string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.Subject.CommonName = name }
	}
	const trusting = ", trust_domains: [example.org]"
	for _, tt := range []struct {
		name, settings, identity string
		cert                     func(*x509.Certificate)
		clientID                 string
		user                     string // empty: refused
	}{
		{"one DNS name", "", `"${cert.san.dns}"`, dns("pump-7"), "c", "pump-7"},
		{"two DNS names", "", `"${cert.san.dns}"`, dns("pump-7", "pump-8"), "c", ""},
		{"no DNS name", "", `"${cert.san.dns}"`, dns(), "c", ""},
		{"a serial number in the subject", "", `"device-${cert.serial_number}"`, func(c *x509.Certificate) { c.Subject.SerialNumber = "4711" }, "c", "device-4711"},
		{"a device that never expires", "", `"device-${cert.serial_number}"`, func(c *x509.Certificate) {
			c.Subject.SerialNumber, c.NotAfter = "4711", time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
		}, "c", "device-4711"},
		{"a line feed in the name", "", "common_name", cn("root\nadmin"), "c", ""},
		{"a NUL in the name", "", "common_name", cn("admin\x00x"), "c", ""},
		{"a name of 256 bytes", "", "common_name", cn(strings.Repeat("x", 256)), "c", ""},
		{"a SPIFFE ID", trusting, `"${cert.spiffe}"`, uris(spiffeID("example.org", "/pump/7")), "c", "spiffe://example.org/pump/7"},
		{"a SPIFFE ID of another trust domain", trusting, `"${cert.spiffe}"`, uris(spiffeID("example.com", "/pump/7")), "c", ""},
		{"a SPIFFE ID of another trust domain, where the name is another's", trusting, "common_name", uris(spiffeID("example.com", "/pump/7")), "c", ""},
		{"two SPIFFE IDs", trusting, `"${cert.spiffe}"`, uris(spiffeID("example.org", "/pump/7"), spiffeID("example.org", "/root")), "c", ""},
		{"the client id of the certificate", `, client_id_must_match: "${cert.cn}"`, "common_name", cn("pump-7"), "pump-7", "pump-7"},
		{"another client id", `, client_id_must_match: "${cert.cn}"`, "common_name", cn("pump-7"), "pump-8", ""},
		{"its address", ", host_match: ip", "common_name", ip("127.0.0.1"), "c", "device"},
		{"another address", ", host_match: ip", "common_name", ip("127.0.0.2"), "c", ""},
		{"a name of its address", ", host_match: dns", "common_name", dns("localhost"), "c", "device"},
		{"an address for a name", ", host_match: dns", "common_name", dns("127.0.0.1"), "c", ""},
		{"a wildcard", ", host_match: dns", "common_name", dns("*.localhost"), "c", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newAuthority(t, "clients")
			s := with(t, a, everything, tt.settings, tt.identity)
			for _, door := range []string{"tls", "wss"} {
				_, code, err := s.enter(door, a.named(tt.cert), nil, id(tt.clientID))
				log := s.log.String()
				switch {
				case err != nil:
					t.Errorf("%s: %v\n%s", door, err, log)
				case tt.user == "" && code != packet.BadUserNameOrPassword:
					t.Errorf("%s: CONNACK 0x%02x, want 0x86\n%s", door, byte(code), log)
				case tt.user == "" && strings.Count(log, "msg=connect_refused") == 0:
					t.Errorf("%s: no event says why:\n%s", door, log)
				case tt.user != "" && (code != 0 || !strings.Contains(log, "msg=connected client="+tt.clientID+" user="+tt.user+" ")):
					t.Errorf("%s: CONNACK 0x%02x, want user %s\n%s", door, byte(code), tt.user, log)
				}
			}
		})
	}
}

// TestAFieldOfACertificateWidensNoRule: what would is no value at all.
func TestAFieldOfACertificateWidensNoRule(t *testing.T) {
	a := newAuthority(t, "clients")
	s := with(t, a, "everyone:\n  - {allow: both, topic: \"own/${cert.san.uri}/#\"}\n  - {allow: both, topic: \"unit/${cert.ou}/#\"}\n", "", "common_name")
	unit := func(cn string, ou ...string) tls.Certificate {
		return a.named(func(c *x509.Certificate) { c.Subject.CommonName, c.Subject.OrganizationalUnit = cn, ou })
	}
	honest := s.mustEnter("tls", unit("honest", "line-2", "line-3"))
	for topic, want := range map[string]packet.Code{
		"unit/line-2/x": 0, "unit/line-3/x": 0, "unit/line-4/x": packet.NotAuthorized, "own/x/y": packet.NotAuthorized,
	} {
		if code := honest.publish(topic, "x", 1, false); code != want && !(want == 0 && code == packet.NoMatchingSubscribers) {
			t.Errorf("%s: 0x%02x, want 0x%02x", topic, byte(code), byte(want))
		}
	}
	for i, ou := range []string{"+", "#", "line-2/#", "line-2/x", "line-2\x00", "${clientid}", "$SYS"} {
		p := s.mustEnter("tls", unit("evil"+string(rune('a'+i)), ou))
		for _, filter := range []string{"unit/#", "unit/+/x", "unit/line-2/#", "unit/line-2/x"} {
			if codes := p.subscribe(1, filter); codes[0] < 0x80 {
				t.Errorf("ou %q reads %s", ou, filter)
			}
		}
	}
}

// TestASessionEndsWithItsCertificate: by itself, at its time, whatever let the
// client in, over each transport. The will is published.
func TestASessionEndsWithItsCertificate(t *testing.T) {
	a := newAuthority(t, "clients")
	for _, driver := range []string{"auto", "goroutine"} {
		t.Run(driver, func(t *testing.T) {
			s := forCertificates(t, a, everything)
			s.text = "driver: " + driver + "\n" + s.text
			s.begin()
			reader := s.mustEnter("tls", a.device("reader"))
			reader.allowed(1, "will/#")
			// Long enough for a handshake on a machine that is busy: a second at least.
			lasts := time.Now().Add(4 * time.Second)
			short := a.named(func(c *x509.Certificate) { c.NotAfter = lasts })
			var ends []*peer
			for _, door := range []string{"tls", "wss"} {
				ends = append(ends, s.mustEnter(door, short, willTo("will/x", "gone", false)))
			}
			for _, p := range ends {
				p.putOut("expired")
				reader.only("will/x", "gone")
			}
			if log := s.log.String(); strings.Count(log, "msg=credential_expired") != 2 || !strings.Contains(log, "user=device") {
				t.Errorf("the log does not say why:\n%s", log)
			}
			reader.stays("will/y")
			<-time.After(time.Until(lasts.Add(time.Second))) // a connection ends a little earlier
			if _, code, err := s.enter("tls", short, nil); err == nil {
				t.Errorf("the expired certificate got CONNACK 0x%02x", byte(code))
			}
		})
	}
}

// TestASessionMayOutlastItsCertificate: where the configuration says so.
func TestASessionMayOutlastItsCertificate(t *testing.T) {
	a := newAuthority(t, "clients")
	s := with(t, a, everything, ", disconnect_on_expiry: false", "common_name")
	s2 := byCertificate(t, a, everything)
	// Long enough for two handshakes on a machine that is busy.
	soon := a.named(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(4 * time.Second) })
	lasts := s.mustEnter("tls", soon)
	// Of the same end, on a listener where it counts.
	ends := s2.mustEnter("tls", soon)
	ends.putOut("expired")
	lasts.stays("t")
}

// TestHostNamesAreNotTakenFromTheAddress: a name is looked up, an address never.
func TestHostNamesAreNotTakenFromTheAddress(t *testing.T) {
	a := newAuthority(t, "clients")
	s := with(t, a, everything, ", host_match: dns", "common_name")
	device := a.named(func(c *x509.Certificate) { c.DNSNames = []string{"localhost"} })
	nc, err := dialTCP(s.addr("tls"), "127.0.0.2")
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(nc, &tls.Config{InsecureSkipVerify: true, ServerName: "localhost", Certificates: []tls.Certificate{device}}) //nolint:gosec // as knock
	p := newPeer(t, c)
	if ack := p.connect(login(packet.V5, "another", id("c"))); ack.Code != packet.BadUserNameOrPassword {
		t.Errorf("from an address that localhost has not: CONNACK 0x%02x, want 0x86", byte(ack.Code))
	}
	if log := s.log.String(); !strings.Contains(log, "no host name with the address") {
		t.Errorf("the log does not say why:\n%s", log)
	}
}
