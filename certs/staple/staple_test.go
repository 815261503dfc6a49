package staple

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/certs/ocsp"
)

func bigInt(i int) *big.Int { return big.NewInt(int64(i)) }

func TestOptionsThatMakeNoSenseAreRefused(t *testing.T) {
	for name, o := range map[string]Options{
		"retry below a second":      {Retry: time.Millisecond},
		"negative retry":            {Retry: -time.Second},
		"interval below the retry":  {Interval: 10 * time.Second},
		"negative interval":         {Interval: -time.Hour},
		"dropped before a retry":    {DropAfter: time.Second},
		"a wait without end":        {Wait: time.Minute},
		"no place for a request":    {Parallel: -1},
		"override_url of a file":    {OverrideURL: "file:///etc/passwd"},
		"override_url without host": {OverrideURL: "http:///ocsp"},
		"override_url with secret":  {OverrideURL: "http://me:hush@ocsp.example/"},
	} {
		s, err := New(o)
		if err == nil {
			s.Close()
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPreconditionsThatAreNotMetAreErrors(t *testing.T) {
	ca, other := newCA(t, "p256"), newCA(t, "p256")
	alone := func(c *tls.Certificate) *tls.Certificate {
		c.Certificate = c.Certificate[:1]
		return c
	}
	without := func(c *x509.Certificate) { c.OCSPServer = nil }
	self := &tls.Certificate{Certificate: [][]byte{ca.cert.Raw}, PrivateKey: ca.key}
	for _, c := range []struct {
		name     string
		cert     *tls.Certificate
		issuer   *x509.Certificate
		override string
		want     error
		warns    string // in one of the warnings
	}{
		{"all is well", ca.leaf(t, "p256", 5, nil), nil, "", nil, ""},
		{"issuer given", alone(ca.leaf(t, "p256", 5, nil)), ca.cert, "", nil, ""},
		{"issuer behind another", func() *tls.Certificate {
			c := ca.leaf(t, "p256", 5, nil)
			c.Certificate = slices.Insert(c.Certificate, 1, other.cert.Raw)
			return c
		}(), nil, "", nil, ""},
		{"override instead of a responder", ca.leaf(t, "p256", 5, without), nil, responderURL, nil, ""},
		{"no responder", ca.leaf(t, "p256", 5, without), nil, "", ErrNoResponder, ""},
		{"responder in a directory", ca.leaf(t, "p256", 5, func(c *x509.Certificate) { c.OCSPServer = []string{"ldap://ca.example/"} }), nil, "", ErrNoResponder, `scheme "ldap"`},
		{"one of them in a directory", ca.leaf(t, "p256", 5, func(c *x509.Certificate) { c.OCSPServer = []string{"ldap://ca.example/", responderURL} }), nil, "", nil, `scheme "ldap"`},
		{"many responders", ca.leaf(t, "p256", 5, func(c *x509.Certificate) { c.OCSPServer = slices.Repeat([]string{responderURL}, 9) }), nil, "", nil, "names 9"},
		{"no issuer", alone(ca.leaf(t, "p256", 5, nil)), nil, "", ErrNoIssuer, ""},
		{"wrong issuer given", ca.leaf(t, "p256", 5, nil), other.cert, "", ErrWrongIssuer, ""},
		{"only another of its issuer's name", func() *tls.Certificate {
			c := ca.leaf(t, "p256", 5, nil)
			c.Certificate[1] = other.cert.Raw
			return c
		}(), nil, "", ErrNoIssuer, ""},
		{"self-signed", self, nil, responderURL, ErrSelfSigned, ""},
		{"self-signed, itself as issuer", self, ca.cert, responderURL, ErrSelfSigned, ""},
		{"expired", ca.leaf(t, "p256", 5, func(c *x509.Certificate) { c.NotAfter = time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC) }), nil, "", nil, "expired on 2001-01-01"},
		{"must-staple in vain", ca.leaf(t, "p256", 5, func(c *x509.Certificate) { without(c); mustHaveStaple(c) }), nil, "", ErrNoResponder, "RFC 7633"},
		{"must-staple without issuer", alone(ca.leaf(t, "p256", 5, mustHaveStaple)), nil, "", ErrNoIssuer, "RFC 7633"},
	} {
		s, err := New(Options{OverrideURL: c.override, Jitter: time.Hour, Client: &http.Client{Transport: &responder{t: t, ca: ca}}})
		if err != nil {
			t.Fatal(err)
		}
		staple, warnings, err := s.Add(c.cert, c.issuer)
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
		if (len(warnings) > 0) != (c.warns != "") || c.warns != "" && !slices.ContainsFunc(warnings, func(w Warning) bool { return strings.Contains(string(w), c.warns) }) {
			t.Errorf("%s: warnings %q, want one with %q", c.name, warnings, c.warns)
		}
		if err != nil {
			// It serves, and staples nothing.
			if staple.Certificate(&tls.ClientHelloInfo{Extensions: []uint16{5}}) != c.cert || staple.Response(true) != nil {
				t.Errorf("%s: no use", c.name)
			}
			if got := staple.Ask(t.Context()); !errors.Is(got, c.want) {
				t.Errorf("%s: Ask: %v", c.name, got)
			}
			if len(s.States()) != 0 || staple.State() != (State{}) {
				t.Errorf("%s: it has a state", c.name)
			}
		}
		staple.Close()
		s.Close()
	}
	s, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, c := range []*tls.Certificate{nil, {}, {Certificate: [][]byte{[]byte("x")}}} {
		if _, _, err := s.Add(c, nil); err == nil {
			t.Errorf("Add(%v) accepts it", c)
		}
	}
	var none *Staple
	none.Close()
	if none.Response(true) != nil || none.State() != (State{}) || none.Ask(t.Context()) == nil {
		t.Error("a nil Staple gives something")
	}
}

func TestCertificatesThatDemandAStaple(t *testing.T) {
	feature := asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}
	for _, c := range []struct {
		name  string
		value []byte
		want  bool
	}{
		{"status_request", []byte{0x30, 3, 2, 1, 5}, true},
		{"status_request among others", []byte{0x30, 6, 2, 1, 23, 2, 1, 5}, true},
		{"another feature", []byte{0x30, 3, 2, 1, 17}, false},
		{"what can't be read", []byte{0x30, 9}, true},
	} {
		if got := Demanded(&x509.Certificate{Extensions: []pkix.Extension{{Id: feature, Value: c.value}}}); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
	if Demanded(&x509.Certificate{}) {
		t.Error("without the extension: got true")
	}
}

// The bound is there so that the certificate message of TLS 1.3 can hold it.
func TestBoundOfAStapleIsBelowTheResponses(t *testing.T) {
	if maxStaple >= ocsp.MaxResponse || maxStaple >= 1<<16-64 {
		t.Error("too large")
	}
}
