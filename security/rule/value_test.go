package rule

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"

	"sallyport/security"
)

// issued is a certificate as a verified one arrives: parsed.
func issued(t testing.TB, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0x0abcdef),
		Subject: pkix.Name{
			CommonName: "cam-1", Organization: []string{"Acme, Inc."}, OrganizationalUnit: []string{"line 2", "line 3"},
			Country: []string{"AT"}, Locality: []string{"Graz"}, Province: []string{"Styria"},
		},
		DNSNames: []string{"cam-1.example", "cam.example"}, EmailAddresses: []string{"cam@example.org"},
		URIs: []*url.URL{{Scheme: "urn", Opaque: "dev:cam-1"}}, IPAddresses: []net.IP{net.IPv4(10, 0, 0, 9)},
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestValuesOfAPrincipal(t *testing.T) {
	cert := issued(t, nil)
	sum := sha256.Sum256(cert.Raw)
	p := &security.Principal{
		ClientID: "c/1", Name: "alice", Groups: []string{"ops", "night"}, Roles: []string{"meter"},
		Addr: netip.MustParseAddrPort("[::ffff:10.0.0.9]:1234"), Listener: "tls", Method: "certs", Realm: "ca",
		Attrs: map[string]string{"site": "graz", "a.b": "dotted", "empty": ""},
		Claims: map[string]any{
			"sub": "alice", "n": float64(17), "neg": float64(-3), "zero": float64(0), "half": 0.5, "huge": float64(1 << 53),
			"exact": json.Number("9007199254740993"), "exp": json.Number("1e3"), "over": json.Number("9223372036854775808"), "not": json.Number("x"),
			"yes": true, "null": nil, "empty": "", "list": []any{"a", float64(2), true}, "none": []any{}, "mixed": []any{"a", map[string]any{}},
			"deep": []any{[]any{"a"}}, "lost": []any{"a", nil},
			"org": map[string]any{"unit": "x", "sub.unit": "y", "inner": map[string]any{"z": "z"}},
			"a.b": "whole", "a": map[string]any{"b": "apart", "c": "c"},
			"long": make([]any, listLimit+1), "https://example.org/site": "graz",
		},
		Cert: cert,
	}
	for _, c := range []struct {
		name string
		want []string // nil: absent
		list bool
	}{
		{"clientid", []string{"c/1"}, false},
		{"username", []string{"alice"}, false},
		{"group", []string{"ops", "night"}, true},
		{"groups", []string{"ops", "night"}, true},
		{"role", []string{"meter"}, true},
		{"roles", []string{"meter"}, true},
		{"listener", []string{"tls"}, false},
		{"method", []string{"certs"}, false},
		{"realm", []string{"ca"}, false},
		{"address", []string{"10.0.0.9"}, false},
		{"attr.site", []string{"graz"}, false},
		{"attr.a.b", []string{"dotted"}, false},
		{"attr.empty", []string{""}, false},
		{"attr.room", nil, false},
		{"claim.sub", []string{"alice"}, false},
		{"claim.n", []string{"17"}, false},
		{"claim.neg", []string{"-3"}, false},
		{"claim.zero", []string{"0"}, false},
		{"claim.half", []string{"0.5"}, false},
		{"claim.huge", nil, false}, // two integers have this float64
		{"claim.exact", []string{"9007199254740993"}, false},
		{"claim.exp", []string{"1000"}, false},
		{"claim.over", nil, false},
		{"claim.not", nil, false},
		{"claim.yes", []string{"true"}, false},
		{"claim.null", nil, false},
		{"claim.empty", []string{""}, false},
		{"claim.list", []string{"a", "2", "true"}, true},
		{"claim.none", []string{}, true},
		{"claim.mixed", nil, false},
		{"claim.deep", nil, false},
		{"claim.lost", nil, false},
		{"claim.long", nil, false},
		{"claim.org", nil, false},
		{"claim.org.unit", []string{"x"}, false},
		{"claim.org.sub.unit", []string{"y"}, false},
		{"claim.org.inner.z", []string{"z"}, false},
		{"claim.org.unit.x", nil, false},
		{"claim.a.b", []string{"whole"}, false},
		{"claim.a.c", []string{"c"}, false},
		{"claim.https://example.org/site", []string{"graz"}, false},
		{"claim.absent", nil, false},
		{"claim.absent.x", nil, false},
		{"cert.cn", []string{"cam-1"}, false},
		{"cert.issuer.cn", []string{"cam-1"}, false},
		{"cert.o", []string{"Acme, Inc."}, true},
		{"cert.ou", []string{"line 2", "line 3"}, true},
		{"cert.c", []string{"AT"}, true},
		{"cert.l", []string{"Graz"}, true},
		{"cert.st", []string{"Styria"}, true},
		{"cert.subject", []string{`CN=cam-1,OU=line 2+OU=line 3,O=Acme\, Inc.,L=Graz,ST=Styria,C=AT`}, false},
		{"cert.serial", []string{"abcdef"}, false},
		{"cert.fingerprint", []string{hex.EncodeToString(sum[:])}, false},
		{"cert.dns", []string{"cam-1.example", "cam.example"}, true},
		{"cert.uri", []string{"urn:dev:cam-1"}, true},
		{"cert.email", []string{"cam@example.org"}, true},
		{"cert.san.dns", []string{"cam-1.example", "cam.example"}, true},
		{"cert.san.uri", []string{"urn:dev:cam-1"}, true},
		{"cert.san.email", []string{"cam@example.org"}, true},
		{"cert.san.ip", []string{"10.0.0.9"}, true},
		{"cert.san.upn", []string{}, true},
		{"cert.san.other.1.2.3", []string{}, true},
		{"cert.issuer", []string{`CN=cam-1,OU=line 2+OU=line 3,O=Acme\, Inc.,L=Graz,ST=Styria,C=AT`}, false},
		{"cert.serial_number", nil, false},
		{"cert.uid", nil, false},
		{"cert.hw_serial", nil, false},
		{"cert.spiffe", nil, false},
		{"cert.spiffe.path", nil, false},
		{"cert.ip", []string{"10.0.0.9"}, true},
	} {
		if err := Known(c.name); err != nil {
			t.Errorf("Known(%q): %v", c.name, err)
		}
		one, several, ok := Lookup(p, c.name)
		got := several
		if several == nil && ok {
			got = []string{one}
		}
		if ok != (c.want != nil) || !slices.Equal(got, c.want) || (several != nil) != c.list {
			t.Errorf("Lookup(%q) = %q, %q, %v; want %q (list: %v)", c.name, one, several, ok, c.want, c.list)
		}
	}
}

func TestValuesThatAreNotThere(t *testing.T) {
	nobody := &security.Principal{}
	for _, name := range []string{
		"username", "listener", "method", "realm", "address", "attr.x", "claim.x", "claim.x.y",
		"cert.cn", "cert.dns", "cert.ou", "cert.fingerprint", "cert.serial",
	} {
		if one, several, ok := Lookup(nobody, name); ok {
			t.Errorf("Lookup(%q) of nobody = %q, %q", name, one, several)
		}
	}
	for _, name := range []string{"groups", "roles"} {
		if _, several, ok := Lookup(nobody, name); !ok || several == nil || len(several) != 0 {
			t.Errorf("Lookup(%q) of nobody = %q, %v; want an empty list", name, several, ok)
		}
	}
	crowd := &security.Principal{Groups: make([]string, listLimit+1)}
	if _, several, ok := Lookup(crowd, "groups"); ok || several != nil {
		t.Errorf("of too many groups %d are there", len(several))
	}
	bare := &security.Principal{Cert: &x509.Certificate{}}
	for _, name := range []string{"cert.cn", "cert.o", "cert.ou", "cert.subject", "cert.serial", "cert.issuer.cn"} {
		if one, several, ok := Lookup(bare, name); ok {
			t.Errorf("Lookup(%q) of a certificate without it = %q, %q", name, one, several)
		}
	}
	if _, several, ok := Lookup(bare, "cert.dns"); !ok || several == nil || len(several) != 0 {
		t.Errorf("cert.dns of a certificate without names = %q, %v", several, ok)
	}
}

// Which of several common names counts differs between libraries, so that one
// could get a name past those who look at the other.
func TestOfSeveralCommonNamesNoneCounts(t *testing.T) {
	cert := issued(t, func(c *x509.Certificate) {
		c.Subject.ExtraNames = []pkix.AttributeTypeAndValue{{Type: []int{2, 5, 4, 3}, Value: "admin"}, {Type: []int{2, 5, 4, 3}, Value: "cam-1"}}
	})
	if one, _, ok := Lookup(&security.Principal{Cert: cert}, "cert.cn"); ok {
		t.Errorf("cert.cn of two is %q", one)
	}
}

func TestUnknownPlaceholders(t *testing.T) {
	for _, c := range []struct{ name, want string }{
		{"", "without a name"},
		{"user", "unknown"},
		{"Username", "unknown"},
		{"cert.nc", "of a certificate there are cn, o"},
		{"cert.", "of a certificate there are"},
		{"attr", "unknown"},
		{"attr.", "names nothing"},
		{"claim.", "names nothing"},
		{"claim.a.", "names nothing"},
		{"claim.a\x00b", "control characters"},
		{"claim." + strings.Repeat("x", nameBytes), "longer than"},
	} {
		err := Known(c.name)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Known(%q) = %v, want an error with %q", c.name, err, c.want)
		}
	}
}

func TestCommonValuesAllocateNothing(t *testing.T) {
	p := &security.Principal{ClientID: "c", Name: "u", Groups: []string{"g"}, Roles: []string{"r"}, Attrs: map[string]string{"a": "b"}}
	for _, name := range []string{"clientid", "username", "groups", "roles", "attr.a"} {
		if n := testing.AllocsPerRun(100, func() { Lookup(p, name) }); n != 0 {
			t.Errorf("Lookup(%q) allocates %v times", name, n)
		}
	}
}

func FuzzClaim(f *testing.F) {
	f.Add(`{"a":{"b.c":[1,"x",true]}}`, "a.b.c")
	f.Add(`{"a.b":1e300,"a":{"b":null}}`, "a.b")
	f.Add(`[]`, "..")
	f.Fuzz(func(t *testing.T, object, path string) {
		var claims map[string]any
		if json.Unmarshal([]byte(object), &claims) != nil {
			return
		}
		one, several, ok := Lookup(&security.Principal{Claims: claims}, "claim."+path)
		if !ok && (one != "" || several != nil) {
			t.Errorf("absent and yet %q, %q", one, several)
		}
		if len(several) > listLimit {
			t.Errorf("%d values", len(several))
		}
	})
}

// What can't be told with certainty is not there: an allow that asks for it does
// not match, and a deny refuses.
func TestAFieldThatCantBeToldIsNotThere(t *testing.T) {
	for _, ou := range []string{"line\x002", "line\n2", "line\u00852", strings.Repeat("x", 5000)} {
		p := &security.Principal{Cert: issued(t, func(c *x509.Certificate) { c.Subject.OrganizationalUnit = []string{"line 1", ou} })}
		for _, name := range []string{"cert.ou", "cert.subject"} {
			if one, several, ok := Lookup(p, name); ok {
				t.Errorf("%s with ou %.10q is %.20q, %.20q", name, ou, one, several)
			}
		}
		if one, _, ok := Lookup(p, "cert.cn"); !ok || one != "cam-1" {
			t.Errorf("the name beside it is %q", one)
		}
	}
}

func BenchmarkLookupOfACertificate(b *testing.B) {
	p := &security.Principal{Cert: issued(b, nil)}
	for _, name := range []string{"cert.cn", "cert.san.dns"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Lookup(p, name)
			}
		})
	}
}
