package tls_test

import (
	"crypto/tls"
	"strings"
	"testing"
)

// TestATicketIsGoodWhereItWasMade: at another broker only with the same keys, and
// nowhere for another set of client CAs.
func TestATicketIsGoodWhereItWasMade(t *testing.T) {
	ca := newAuthority(t, "ca", nil)
	clients := newAuthority(t, "clients", nil)
	key := newKey(t, "p256")
	cert := ca.issue("broker.example", key, nil)
	one := strings.Repeat("0123456789abcdef", 4)
	other := strings.Repeat("fedcba9876543210", 4)
	open := func(more, keys string) *site {
		s := newSite(t)
		s.write("server.crt", pemOf(cert))
		s.write("server.key", keyPEM(t, key))
		s.write("clients.crt", pemOf(clients.cert))
		s.write("tickets.key", []byte(keys+"\n"))
		s.configure("transport: tls\ntls:\n  certificate: server.crt\n  key: server.key\n" + indent(more, "  ") + "\nauthenticators: [anyone]\npolicies: [all]\n")
		s.start()
		return s
	}
	const fleet = "ticket_keys: tickets.key"
	for _, c := range []struct {
		name    string
		a, b    func() *site
		resumed bool
	}{
		{"the same broker", func() *site { return open("", "") }, nil, true},
		{"resumption off", func() *site { return open("resumption: false", "") }, nil, false},
		{"another broker", func() *site { return open("", "") }, func() *site { return open("", "") }, false},
		{"a fleet", func() *site { return open(fleet, one) }, func() *site { return open(fleet, other+"\n"+one) }, true},
		{"another fleet", func() *site { return open(fleet, one) }, func() *site { return open(fleet, other) }, false},
		{"other client CAs", func() *site { return open(fleet, one) },
			func() *site { return open(fleet+"\nclient_auth: optional\nclient_ca: clients.crt", one) }, false},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			a := c.a()
			b := a
			if c.b != nil {
				b = c.b()
			}
			client := ca.trusts("broker.example", nil)
			client.MinVersion, client.MaxVersion, client.ClientSessionCache = version, version, tls.NewLRUClientSessionCache(1)
			if _, _, err := a.greet(client, "a"); err != nil {
				t.Fatal(err)
			}
			_, state, err := b.greet(client, "b")
			if err != nil || state.DidResume != c.resumed {
				t.Errorf("%s, %x: resumed %t, want %t: %v", c.name, version, state.DidResume, c.resumed, err)
			}
			if log := a.log.String() + b.log.String(); strings.Contains(log, one) || strings.Contains(log, other) {
				t.Errorf("%s: a key is in the log", c.name)
			}
		}
	}
}
