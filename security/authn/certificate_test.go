package authn

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/certfield"
	"sallyport/security"
)

// issued is a certificate as a handshake has it.
func issued(t testing.TB, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "pump-7"}, NotAfter: never,
		IPAddresses: []net.IP{net.IPv4(192, 0, 2, 7), net.ParseIP("2001:db8::7")}, DNSNames: []string{"pump-7.example.org", "*.example.org"},
		URIs: []*url.URL{{Scheme: "spiffe", Host: "example.org", Path: "/pump/7"}},
	}
	if change != nil {
		change(c)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func template(t testing.TB, text string) certfield.Template {
	t.Helper()
	out, err := certfield.ParseTemplate(text)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// withRules is a chain that accepts everyone but whom the rules for certificates
// refuse.
func withRules(t testing.TB, r CertRules) *Chain {
	t.Helper()
	return chainOf(t, ChainOptions{Certificates: r}, Anonymous{BelieveUsername: true})
}

func showing(cert *x509.Certificate, change func(*Credentials)) *Credentials {
	c := &Credentials{ClientID: "pump-7", Listener: "l", Addr: netip.MustParseAddrPort("192.0.2.7:4711"), Cert: cert, CertVerified: cert != nil, Secure: true}
	if change != nil {
		change(c)
	}
	return c
}

func TestWhatIsDemandedOfCertificates(t *testing.T) {
	cert := issued(t, nil)
	at := func(addr string) func(*Credentials) {
		return func(c *Credentials) { c.Addr = netip.AddrPortFrom(netip.MustParseAddr(addr), 1) }
	}
	as := func(id string) func(*Credentials) { return func(c *Credentials) { c.ClientID = id } }
	bound := CertRules{ClientID: template(t, "${cert.cn}")}
	byIP := CertRules{Host: HostIP}
	domains := CertRules{TrustDomains: []string{"other.org", "example.org"}}
	tests := []struct {
		name  string
		rules CertRules
		creds *Credentials
		want  string // in the refusal; empty: accepted
	}{
		{"nothing", CertRules{}, showing(cert, as("x")), ""},
		{"the client id of the certificate", bound, showing(cert, nil), ""},
		{"another client id", bound, showing(cert, as("pump-70")), "client id is not the one"},
		{"an empty client id", bound, showing(cert, as("")), "client id is not the one"},
		{"another case", bound, showing(cert, as("Pump-7")), "client id is not the one"},
		{"a certificate without what names the client id", CertRules{ClientID: template(t, "${cert.ou}")}, showing(cert, nil), "no ou"},
		{"of two values none names the client id", CertRules{ClientID: template(t, "${cert.san.dns}")}, showing(cert, as("pump-7.example.org")), "2 values"},
		{"no certificate, any client id", bound, showing(nil, as("x")), ""},
		{"an unverified certificate names no client id", bound, showing(cert, func(c *Credentials) { c.CertVerified = false }), "not verified"},
		{"the address", byIP, showing(cert, nil), ""},
		{"the other address", byIP, showing(cert, at("2001:db8::7")), ""},
		{"the address, mapped", byIP, showing(cert, at("::ffff:192.0.2.7")), ""},
		{"the address, with a zone", byIP, showing(cert, at("2001:db8::7%eth0")), ""},
		{"another address", byIP, showing(cert, at("192.0.2.8")), "not for the address"},
		{"no address", byIP, showing(cert, func(c *Credentials) { c.Addr = netip.AddrPort{} }), "not for the address"},
		{"a certificate without addresses", byIP, showing(issued(t, func(c *x509.Certificate) { c.IPAddresses = nil }), nil), "not for the address"},
		{"an address that is only a DNS name", byIP, showing(issued(t, func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"192.0.2.7"} }), nil), "not for the address"},
		{"of a trust domain", domains, showing(cert, nil), ""},
		{"of another trust domain", CertRules{TrustDomains: []string{"example.com"}}, showing(cert, nil), "another trust domain"},
		{"of a trust domain with a longer name", CertRules{TrustDomains: []string{"example.or"}}, showing(cert, nil), "another trust domain"},
		{"of no trust domain", domains, showing(issued(t, func(c *x509.Certificate) { c.URIs = nil }), nil), "no SPIFFE ID"},
		{"of two SPIFFE IDs", domains, showing(issued(t, func(c *x509.Certificate) {
			c.URIs = append(c.URIs, &url.URL{Scheme: "spiffe", Host: "example.org", Path: "/b"})
		}), nil), "2 URIs"},
	}
	for _, tt := range tests {
		p, err := withRules(t, tt.rules).Authenticate(t.Context(), tt.creds)
		var refused *Refused
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.want != "" && (p != nil || !errors.As(err, &refused) || !strings.Contains(refused.Reason, tt.want)):
			t.Errorf("%s: %v, %v; want a refusal with %q", tt.name, p, err, tt.want)
		}
	}
}

// An enhanced authentication is judged by the same conditions.
func TestAnExchangeIsHeldToTheCertificate(t *testing.T) {
	m := &talker{fake: fake{name: "scram", p: &security.Principal{Realm: "r", Name: "alice"}}, rounds: 1}
	rules := CertRules{ClientID: template(t, "${cert.cn}")}
	s := newService(t, ServiceOptions{Chains: map[string]*Chain{"l": chainOf(t, ChainOptions{Certificates: rules}, m)}})
	cert := issued(t, nil)
	talk := func(c *Credentials) { c.Listener, c.AuthMethod = "l", "TALK" }
	if p, err := converse(t, s, showing(cert, talk), ""); err != nil || p.Method != "scram" {
		t.Errorf("%v, %v", p, err)
	}
	other := func(c *Credentials) { talk(c); c.ClientID = "other" }
	if p, err := converse(t, s, showing(cert, other), ""); err == nil {
		t.Errorf("another client id is accepted as %+v", p)
	}
}

func TestReloadedRulesAreAskedOfWhoIsThere(t *testing.T) {
	cert := issued(t, nil)
	before := withRules(t, CertRules{})
	p, err := before.Authenticate(t.Context(), showing(cert, func(c *Credentials) { c.CertExpires = uint32(time.Now().Add(time.Hour).Unix()) }))
	if err != nil {
		t.Fatal(err)
	}
	stored := *p
	stored.Addr, stored.Chain = netip.AddrPort{}, nil
	past := *p
	past.Expires = 1
	for _, tt := range []struct {
		name  string
		rules CertRules
		who   *security.Principal
		keeps bool
	}{
		{"nothing changed", CertRules{}, p, true},
		{"its client id", CertRules{ClientID: template(t, "${cert.cn}")}, p, true},
		{"another client id", CertRules{ClientID: template(t, "x${cert.cn}")}, p, false},
		{"its address", CertRules{Host: HostIP}, p, true},
		{"host names were looked up when it came", CertRules{Host: HostDNS, Hosts: NewHosts(HostsOptions{})}, p, true},
		{"another trust domain", CertRules{TrustDomains: []string{"x"}}, p, false},
		{"a stored one has no address", CertRules{Host: HostIP}, &stored, true},
		{"a stored one has another client id", CertRules{ClientID: template(t, "x${cert.cn}")}, &stored, false},
		{"time alone ends nothing that stands", CertRules{}, &past, true},
	} {
		if err := withRules(t, tt.rules).Keeps(tt.who); (err == nil) != tt.keeps {
			t.Errorf("%s: %v, want kept %t", tt.name, err, tt.keeps)
		}
	}
	moved := *p
	moved.Addr = netip.MustParseAddrPort("192.0.2.99:1")
	if err := withRules(t, CertRules{Host: HostIP}).Keeps(&moved); err == nil {
		t.Error("who comes from another address is kept")
	}
}

func TestExpiryIsOfTheWholeChain(t *testing.T) {
	at := func(year int, key string) *x509.Certificate {
		end := never
		if year < 9999 {
			end = time.Date(year, 6, 1, 0, 0, 0, 0, time.UTC)
		}
		return &x509.Certificate{NotAfter: end, Raw: []byte(fmt.Sprint(year, key)), RawSubjectPublicKeyInfo: []byte(key)}
	}
	unix := func(year int) uint32 { return uint32(time.Date(year, 6, 1, 0, 0, 0, 0, time.UTC).Unix()) }
	type chain = []*x509.Certificate
	leaf := at(2032, "leaf")
	for name, tt := range map[string]struct {
		chain  chain
		others []chain
		want   uint32
	}{
		"the leaf is first":                      {chain{at(2030, "l"), at(2031, "i"), at(2032, "a")}, nil, unix(2030)},
		"an intermediate is first":               {chain{at(2032, "l"), at(2030, "i"), at(2033, "a")}, nil, unix(2030)},
		"the anchor is first":                    {chain{at(2032, "l"), at(2031, "i"), at(2030, "a")}, nil, unix(2030)},
		"a renewed anchor counts":                {chain{leaf, at(2030, "a")}, []chain{{leaf, at(2029, "a")}, {leaf, at(2031, "a")}, {leaf, at(2030, "a")}}, unix(2031)},
		"another anchor does not":                {chain{leaf, at(2030, "a")}, []chain{{leaf, at(2031, "b")}}, unix(2030)},
		"another way to the anchor does not":     {chain{leaf, at(2030, "i"), at(2033, "a")}, []chain{{leaf, at(2031, "i"), at(2033, "a")}}, unix(2030)},
		"a longer way does not":                  {chain{leaf, at(2030, "a")}, []chain{{leaf, at(2031, "i"), at(2031, "a")}}, unix(2030)},
		"a device that does not expire":          {chain{at(9999, "l"), at(9999, "a")}, nil, 0},
		"a device whose CA does":                 {chain{at(9999, "l"), at(2030, "a")}, nil, unix(2030)},
		"what can't be told in 32 bits is early": {chain{at(2200, "a")}, nil, 1<<32 - 1},
		"before 1970":                            {chain{at(1950, "a")}, nil, 1},
	} {
		if got := Expiry(tt.chain, append(tt.others, tt.chain)); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}

func TestACertificateEndsWhatItBegan(t *testing.T) {
	cert := issued(t, nil)
	now := time.Unix(1_000_000, 0)
	token := &fake{p: &security.Principal{Realm: "r", Name: "alice", Expires: 1_000_050}}
	for _, tt := range []struct {
		name   string
		member Authenticator
		keep   bool
		cert   uint32
		want   uint32 // 1: refused
	}{
		{"by identity", byTemplate("${cert.cn}"), false, 1_000_100, 1_000_100},
		{"by another method", Anonymous{BelieveUsername: true}, false, 1_000_100, 1_000_100},
		{"that never ends", Anonymous{BelieveUsername: true}, false, 0, 0},
		{"not where a session may outlast it", Anonymous{BelieveUsername: true}, true, 1_000_100, 0},
		{"a token that ends sooner", token, false, 1_000_100, 1_000_050},
		{"a token that ends later", token, false, 1_000_010, 1_000_010},
		{"a token alone", token, true, 1_000_010, 1_000_050},
		{"between handshake and CONNECT", byTemplate("${cert.cn}"), false, 1_000_000, 1},
		{"long ago", byTemplate("${cert.cn}"), false, 999_999, 1},
		{"long ago, and a session may outlast it", byTemplate("${cert.cn}"), true, 999_999, 0},
	} {
		c := chainOf(t, ChainOptions{Certificates: CertRules{KeepExpired: tt.keep}, Now: func() time.Time { return now }}, tt.member)
		p, err := c.Authenticate(t.Context(), showing(cert, func(c *Credentials) {
			c.CertExpires, c.Anchor = tt.cert, &x509.Certificate{RawSubjectPublicKeyInfo: []byte("key")}
		}))
		switch {
		case tt.want == 1 && err == nil:
			t.Errorf("%s: accepted until %d", tt.name, p.Expires)
		case tt.want != 1 && (err != nil || p.Expires != tt.want):
			t.Errorf("%s: %+v, %v; want until %d", tt.name, p, err, tt.want)
		}
	}
	unverified := showing(cert, func(c *Credentials) { c.CertVerified, c.CertExpires = false, 1_000_100 })
	c := chainOf(t, ChainOptions{}, Anonymous{BelieveUsername: true})
	if p, err := c.Authenticate(t.Context(), unverified); err != nil || p.Expires != 0 {
		t.Errorf("an unverified certificate: %+v, %v", p, err)
	}
}

// resolver answers from a table, once release lets it.
type resolver struct {
	table   map[string][]string
	release chan struct{} // nil: at once
	asked   chan string
}

func (r *resolver) lookup(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if network != "ip" {
		return nil, fmt.Errorf("network %s", network)
	}
	r.asked <- host
	if r.release != nil {
		select {
		case <-r.release:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	list, ok := r.table[host]
	if !ok {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	var out []netip.Addr
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out, nil
}

func newResolver(table map[string][]string) *resolver {
	return &resolver{table: table, asked: make(chan string, 100)}
}

func TestHostNamesAreLookedUp(t *testing.T) {
	r := newResolver(map[string][]string{
		"pump-7.example.org.": {"192.0.2.6", "::ffff:192.0.2.7"}, "six.example.org.": {"2001:db8::7"}, "*.example.org.": {"192.0.2.9"}, "192.0.2.10.": {"192.0.2.10"}, "localhost": {"127.0.0.1"},
	})
	many := strings.Split(strings.Repeat("x.example.org ", hostNames+1), " ")[:hostNames+1]
	for _, tt := range []struct {
		names []string
		addr  string
		want  string // in the error
	}{
		{[]string{"pump-7.example.org"}, "192.0.2.7", ""},
		{[]string{"PUMP-7.example.ORG"}, "192.0.2.7", ""},
		{[]string{"absent.example.org", "pump-7.example.org"}, "::ffff:192.0.2.6", ""},
		{[]string{"six.example.org"}, "2001:db8::7%eth0", ""},
		{[]string{"localhost"}, "127.0.0.1", ""}, // as a hosts file has it
		{[]string{"pump-7.example.org"}, "192.0.2.8", "no host name with the address"},
		{[]string{"absent.example.org"}, "192.0.2.7", "no such host"},
		{[]string{"*.example.org"}, "192.0.2.9", "no host name to look up"},
		{[]string{"192.0.2.10"}, "192.0.2.10", "no host name to look up"},
		{[]string{"a..b", "-", "a b.example", "x/y", ""}, "192.0.2.10", ""},
		{nil, "192.0.2.7", "no host name to look up"},
		{many, "192.0.2.7", "more than 8"},
		{many[1:], "192.0.2.7", "no such host"},
		{[]string{"pump-7.example.org"}, "", "can't be compared"},
	} {
		var addr netip.Addr
		if tt.addr != "" {
			addr = netip.MustParseAddr(tt.addr)
		}
		h := NewHosts(HostsOptions{Lookup: r.lookup})
		err := h.Match(t.Context(), tt.names, addr)
		if len(tt.names) == 5 { // only "-" is looked up
			tt.want = "no such host"
		}
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q from %s: %v, want %q", tt.names, tt.addr, err, tt.want)
		}
	}
	if err := (*Hosts)(nil).Match(t.Context(), []string{"a"}, netip.MustParseAddr("192.0.2.7")); err == nil {
		t.Error("nobody looks names up, and that is accepted")
	}
}

func TestHostsRememberWithinBounds(t *testing.T) {
	r := newResolver(map[string][]string{"a": {"192.0.2.7"}, "b": {"192.0.2.7"}, "c": {"192.0.2.7"}})
	now := time.Unix(1000, 0)
	h := NewHosts(HostsOptions{Lookup: r.lookup, Entries: 2, Now: func() time.Time { return now }})
	ask := func(name string, lookups int) {
		t.Helper()
		_ = h.Match(t.Context(), []string{name}, netip.MustParseAddr("192.0.2.7")) // what it says is another test's
		if got := len(r.asked); got != lookups {
			t.Errorf("%s at %v: %d lookups, want %d", name, now, got, lookups)
		}
		for range len(r.asked) {
			<-r.asked
		}
	}
	ask("a", 1)
	ask("a", 0)
	ask("nobody", 1)
	ask("nobody", 0)
	now = now.Add(6 * time.Second)
	ask("nobody", 1) // that there is none is remembered for less long
	ask("a", 0)
	now = now.Add(time.Minute)
	ask("a", 1)
	ask("b", 1) // nobody goes
	ask("c", 1) // a goes
	ask("b", 0)
	ask("a", 1)
	if n := len(h.entries); n != 2 || h.order.Len() != 2 {
		t.Errorf("%d names are remembered, want 2", n)
	}
}

func TestALookupThatHangsRefusesInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newResolver(nil)
		r.release = make(chan struct{})
		h := NewHosts(HostsOptions{Lookup: r.lookup, Parallel: 1})
		began := time.Now()
		failed := make(chan error, 2)
		for _, name := range []string{"a", "b"} { // the second waits for a place
			go func() { failed <- h.Match(context.Background(), []string{name}, netip.MustParseAddr("192.0.2.7")) }()
		}
		for range 2 {
			if err := <-failed; err == nil {
				t.Error("accepted")
			}
		}
		if d := time.Since(began); d > 2*time.Second {
			t.Errorf("it took %v", d)
		}
	})
}

// Name servers hold up the client that they are asked about, and no other.
func TestBeginWaitsForNameServersElsewhere(t *testing.T) {
	r := newResolver(map[string][]string{"pump-7.example.org.": {"192.0.2.7"}})
	r.release = make(chan struct{})
	rules := CertRules{Host: HostDNS, Hosts: NewHosts(HostsOptions{Lookup: r.lookup, Timeout: time.Minute}), ClientID: template(t, "${cert.cn}")}
	pool := newPool(t, 1, 1)
	s := newService(t, ServiceOptions{Pool: pool, Chains: map[string]*Chain{"l": withRules(t, rules)}, WaitingPerNetwork: 2})
	cert := issued(t, nil)
	release := hold(t, pool) // no worker is free, and none is needed
	defer release()
	good, _ := begin(s, showing(cert, nil))
	canceled, cancel := begin(s, showing(cert, nil))
	<-r.asked
	<-r.asked
	if a := <-first(begin(s, showing(cert, nil))); !errors.Is(a.err, ErrBusy) {
		t.Errorf("beyond its network's places: %v, %v", a.p, a.err)
	}
	if a := <-first(begin(s, showing(cert, func(c *Credentials) { c.ClientID = "x" }))); a.err == nil || len(r.asked) != 0 {
		t.Errorf("who is refused anyway is looked up, or accepted: %v", a.err)
	}
	if a := <-first(begin(s, showing(nil, nil))); a.err != nil {
		t.Errorf("a client without a certificate waits or is refused: %v", a.err)
	}
	cancel()
	if a := <-canceled; !errors.Is(a.err, ErrCanceled) {
		t.Errorf("canceled: %v", a.err)
	}
	close(r.release)
	if a := <-good; a.err != nil || a.p.Cert != cert {
		t.Errorf("whose name has its address: %+v, %v", a.p, a.err)
	}
	bad, _ := begin(s, from(showing(cert, nil), "192.0.2.8"))
	if a := <-bad; a.err == nil {
		t.Errorf("whose name has another address: %+v", a.p)
	}
}

func TestAChainThatCantLookNamesUpIsRefused(t *testing.T) {
	if _, err := NewChain(ChainOptions{Certificates: CertRules{Host: HostDNS}}); err == nil {
		t.Error("accepted")
	}
	if err := NewHosts(HostsOptions{Offline: true}).Match(t.Context(), []string{"localhost"}, netip.MustParseAddr("127.0.0.1")); err == nil {
		t.Error("nobody is asked, and that is accepted")
	}
	// And what was not looked up refuses, whatever way it comes.
	c := withRules(t, CertRules{Host: HostDNS, Hosts: NewHosts(HostsOptions{})})
	var at progress
	if r := c.walk(&at, showing(issued(t, nil), nil)); !r.decided || r.err == nil {
		t.Errorf("accepted: %+v", r)
	}
}

func TestExplainTellsWhatIsDemandedOfCertificates(t *testing.T) {
	cert := issued(t, nil)
	r := newResolver(map[string][]string{"pump-7.example.org.": {"192.0.2.7"}})
	dns := CertRules{Host: HostDNS, Hosts: NewHosts(HostsOptions{Lookup: r.lookup})}
	for _, tt := range []struct {
		name   string
		rules  CertRules
		creds  *Credentials
		want   string
		accept bool
	}{
		{"its address", dns, showing(cert, nil), "is as the listener demands", true},
		{"another address", dns, from(showing(cert, nil), "192.0.2.8"), "no host name with the address", false},
		{"no address", dns, showing(cert, func(c *Credentials) { c.Addr = netip.AddrPort{} }), "host_match is not judged", true},
		{"another client id", CertRules{ClientID: template(t, "${cert.cn}")}, showing(cert, func(c *Credentials) { c.ClientID = "x" }), "client id is not the one", false},
		{"nobody is asked", CertRules{Host: HostDNS, Hosts: NewHosts(HostsOptions{Offline: true})}, showing(cert, nil), "not looked up here", true},
	} {
		p, said := withRules(t, tt.rules).Explain(t.Context(), tt.creds)
		if (p != nil) != tt.accept || len(said) != 2 || said[0].By != "certificate" || !strings.Contains(said[0].Text, tt.want) || said[0].Refuses == tt.accept {
			t.Errorf("%s: %+v, %+v", tt.name, p, said)
		}
	}
}
