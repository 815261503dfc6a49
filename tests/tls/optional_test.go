package tls_test

import (
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"
)

// TestABadCertificateIsNoCertificate: never. Where certificates are optional, whoever
// shows one that is not good is refused in the handshake, and asked for nothing else.
func TestABadCertificateIsNoCertificate(t *testing.T) {
	ca := newAuthority(t, "clients", nil)
	limited := newLimited(t, ca, func(c *x509.Certificate) {
		c.PermittedDNSDomains, c.PermittedDNSDomainsCritical = []string{"inside.example"}, true
	})
	lapsed := newLimited(t, ca, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	leafless := newLimited(t, ca, func(c *x509.Certificate) { c.MaxPathLen, c.MaxPathLenZero = 0, true })
	below := newLimited(t, leafless, nil)
	other := newAuthority(t, "clients", nil)
	itself := newAuthority(t, "clients", nil)
	for name, c := range map[string]struct {
		device *tls.Certificate
		good   bool
	}{
		"none":                       {nil, true},
		"good":                       {ca.device("device.example", nil), true},
		"good, below a limited CA":   {limited.device("device.inside.example", nil, limited), true},
		"expired":                    {ca.device("d", func(x *x509.Certificate) { x.NotAfter = time.Now().Add(-time.Second) }), false},
		"not yet valid":              {ca.device("d", func(x *x509.Certificate) { x.NotBefore = time.Now().Add(time.Hour) }), false},
		"for servers":                {ca.device("d", func(x *x509.Certificate) { x.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), false},
		"another CA of the name":     {other.device("d", nil), false},
		"self-signed":                {&tls.Certificate{Certificate: [][]byte{itself.cert.Raw}, PrivateKey: itself.key, Leaf: itself.cert}, false},
		"a name that is not allowed": {limited.device("device.outside.example", nil, limited), false},
		"an expired intermediate":    {lapsed.device("d", nil, lapsed), false},
		"its intermediate missing":   {limited.device("device.inside.example", nil), false},
		"a path that is too long":    {below.device("d", nil, below, leafless), false},
	} {
		t.Run(name, func(t *testing.T) {
			s := mutual(t, ca, "")
			s.rewrite("client_auth: require", "client_auth: optional")
			s.rewrite("identity: common_name", "authenticators: [anyone]")
			s.rewrite("policies:\n  - {name", "authenticators:\n  - {name: anyone, type: anonymous, believe_username: true}\npolicies:\n  - {name")
			s.start()
			for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				client := ca.trusts("broker.example", c.device)
				client.InsecureSkipVerify, client.MinVersion, client.MaxVersion = true, version, version
				if _, _, err := s.greet(client, "device"); (err == nil) != c.good {
					t.Errorf("%s: %v, want accepted %t", tls.VersionName(version), err, c.good)
				}
			}
		})
	}
}

// newLimited is an authority below parent, with a certificate as change says.
func newLimited(t *testing.T, parent *authority, change func(*x509.Certificate)) *authority {
	t.Helper()
	a := newAuthority(t, "limited", parent)
	template := *a.cert
	template.Raw, template.SerialNumber = nil, serial()
	if change != nil {
		change(&template)
	}
	a.cert = sign(t, &template, parent.cert, a.key.Public(), parent.key)
	return a
}
