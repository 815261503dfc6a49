package certs

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"sallyport/certs/revocation"
	"strings"
	"testing"
	"time"
)

// CRL is lists with the rules of mosquitto.conf.
type CRL struct {
	lists   *revocation.Lists
	checker *revocation.Checker
}

func parseCRL(data []byte, anchors []*x509.Certificate) (*CRL, error) {
	lists, err := revocation.Parse(data, "")
	if err != nil {
		return nil, err
	}
	checker, err := revocation.New(revocation.Options{Lists: lists, Missing: revocation.AcceptMissingCA, Anchors: anchors})
	return &CRL{lists, checker}, err
}

func (c *CRL) Check(chains [][]*x509.Certificate, now time.Time) error {
	return c.checker.At(func() time.Time { return now }).Check(context.Background(), chains)
}

func TestCRL(t *testing.T) {
	root := newAuthority(t, "root", nil)
	sub := newAuthority(t, "sub", root)
	impostor := newAuthority(t, "sub", nil) // the name, not the key
	good, _ := sub.leaf(t, nil)
	bad, _ := sub.leaf(t, nil)
	direct, _ := root.leaf(t, nil)
	viaSub := func(c *x509.Certificate) []*x509.Certificate { return []*x509.Certificate{c, sub.cert, root.cert} }
	subList, rootList := sub.crl(t, nil, bad), root.crl(t, nil)
	at := func(this, next time.Duration) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) { l.ThisUpdate, l.NextUpdate = testNow.Add(this), testNow.Add(next) }
	}
	for _, c := range []struct {
		name  string
		lists [][]byte
		chain []*x509.Certificate
		want  string // of the error; empty accepts
	}{
		{"a certificate on no list", [][]byte{subList, rootList}, viaSub(good), ""},
		{"a revoked certificate", [][]byte{subList, rootList}, viaSub(bad), "is revoked"},
		{"a list of the issuer suffices", [][]byte{subList}, viaSub(good), ""},
		{"no list of the issuer", [][]byte{rootList}, viaSub(good), "no revocation list"},
		{"a revoked intermediate", [][]byte{subList, root.crl(t, nil, sub.cert)}, viaSub(good), "is revoked"},
		{"a chain of two", [][]byte{rootList}, []*x509.Certificate{direct, root.cert}, ""},
		{"a chain of two, revoked", [][]byte{root.crl(t, nil, direct)}, []*x509.Certificate{direct, root.cert}, "is revoked"},
		{"an expired list", [][]byte{sub.crl(t, at(-48*time.Hour, -time.Second))}, viaSub(good), "expired"},
		{"an expired list that names it", [][]byte{sub.crl(t, at(-48*time.Hour, -time.Second), bad)}, viaSub(bad), "expired"},
		{"a list from the future", [][]byte{sub.crl(t, at(time.Second, time.Hour))}, viaSub(good), "not valid yet"},
		{"a list of an impostor", [][]byte{impostor.crl(t, nil)}, viaSub(good), "not signed"},
		{"an impostor beside the right one", [][]byte{impostor.crl(t, nil, good), subList}, viaSub(good), ""},
		{"an expired list beside the right one", [][]byte{subList, sub.crl(t, at(-48*time.Hour, -time.Second))}, viaSub(bad), "is revoked"},
		{"the newest list counts, revoking", [][]byte{sub.crl(t, at(-2*time.Hour, time.Hour)), subList}, viaSub(bad), "is revoked"},
		{"the newest list counts, lifting a hold", [][]byte{subList, sub.crl(t, at(-time.Minute, time.Hour))}, viaSub(bad), ""},
		{"a trust anchor as the client", [][]byte{rootList}, []*x509.Certificate{root.cert}, ""},
	} {
		crl, err := parseCRL(bytes.Join(c.lists, nil), nil)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		for range 2 { // the second time with remembered signatures
			err = crl.Check([][]*x509.Certificate{c.chain}, testNow)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s: %v, want %q", c.name, err, c.want)
			}
		}
	}
}

func TestCRLOfSeveralChains(t *testing.T) {
	root := newAuthority(t, "root", nil)
	leaf, _ := root.leaf(t, nil)
	crl, err := parseCRL(root.crl(t, nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	other := newAuthority(t, "root", nil)
	chains := [][]*x509.Certificate{{leaf, other.cert}, {leaf, root.cert}}
	if err := crl.Check(chains, testNow); err != nil {
		t.Errorf("one good chain: %v", err)
	}
	if err := crl.Check(chains[:1], testNow); err == nil {
		t.Error("no good chain: accepted")
	}
	if err := crl.Check(nil, testNow); err == nil {
		t.Error("no chain: accepted")
	}
}

func TestIntermediateThatIsAnAnchorCanBeRevoked(t *testing.T) {
	root := newAuthority(t, "root", nil)
	sub := newAuthority(t, "sub", root)
	leaf, _ := sub.leaf(t, nil)
	anchors := []*x509.Certificate{sub.cert, root.cert}
	short := [][]*x509.Certificate{{leaf, sub.cert}} // as crypto/x509 builds it
	for name, revoked := range map[string][]*x509.Certificate{"good": nil, "revoked": {sub.cert}} {
		crl, err := parseCRL(append(sub.crl(t, nil), root.crl(t, nil, revoked...)...), anchors)
		if err != nil {
			t.Fatal(err)
		}
		if err := crl.Check(short, testNow); (err != nil) != (revoked != nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A leaf that is an anchor is judged by its issuer's list.
	crl, err := parseCRL(sub.crl(t, nil, leaf), append(anchors, leaf))
	if err != nil {
		t.Fatal(err)
	}
	if err := crl.Check([][]*x509.Certificate{{leaf}}, testNow); err == nil || !strings.Contains(err.Error(), "is revoked") {
		t.Errorf("a revoked leaf among the anchors: %v", err)
	}
}

func TestPartialCRLsAreRefused(t *testing.T) {
	root := newAuthority(t, "root", nil)
	critical := pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: []byte{0x30, 0}}
	list := root.crl(t, func(l *x509.RevocationList) { l.ExtraExtensions = []pkix.Extension{critical} })
	if _, err := parseCRL(list, nil); err == nil || !strings.Contains(err.Error(), "2.5.29.28") {
		t.Errorf("a critical extension: %v", err)
	}
	leaf, _ := root.leaf(t, nil)
	critical.Id = asn1.ObjectIdentifier{2, 5, 29, 29}
	list = root.crl(t, func(l *x509.RevocationList) {
		l.RevokedCertificateEntries[0].ExtraExtensions = []pkix.Extension{critical}
	}, leaf)
	if _, err := parseCRL(list, nil); err == nil || !strings.Contains(err.Error(), "2.5.29.29") {
		t.Errorf("a critical extension of an entry: %v", err)
	}
}

func TestCRLWarnings(t *testing.T) {
	root := newAuthority(t, "root", nil)
	crl, err := parseCRL(root.crl(t, nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		now  time.Time
		want string
	}{
		{"good", testNow, ""},
		{"expired", testNow.Add(48 * time.Hour), "has expired"},
		{"from the future", testNow.Add(-2 * time.Hour), "not valid yet"},
	} {
		got := inspectLists(crl.lists, &ServerOptions{Now: func() time.Time { return c.now }})
		if (c.want == "") != (len(got) == 0) || len(got) > 0 && !strings.Contains(got[0].Text, c.want) {
			t.Errorf("%s: %v, want %q", c.name, got, c.want)
		}
	}
}

func TestRevokedClientIsRefusedAlsoOnResumption(t *testing.T) {
	w := newWorld(t)
	device, key := w.root.leaf(t, nil)
	w.options.Revocation.CRLFiles = []string{w.write("ca.crl", w.root.crl(t, nil))}
	s, client := w.load(), w.client(key, device)
	if _, serverErr, clientErr := connect(t, s.Config(), client); serverErr != nil || clientErr != nil {
		t.Fatal(serverErr, clientErr)
	}
	if state, _, _ := connect(t, s.Config(), client); !state.DidResume {
		t.Fatal("the second connection did not resume")
	}
	w.write("ca.crl", w.root.crl(t, nil, device))
	w.reload(s)
	if _, serverErr, _ := connect(t, s.Config(), client); serverErr == nil || !strings.Contains(serverErr.Error(), "is revoked") {
		t.Errorf("resumed after revocation: %v", serverErr)
	}
}

func TestOptionalClientCertificateWithCRL(t *testing.T) {
	w := newWorld(t)
	w.options.Revocation.CRLFiles = []string{w.write("ca.crl", w.root.crl(t, nil))}
	w.options.ClientAuth = 3 // tls.VerifyClientCertIfGiven
	if _, serverErr, clientErr := connect(t, w.load().Config(), w.client(nil)); serverErr != nil || clientErr != nil {
		t.Errorf("no certificate: %v, %v", serverErr, clientErr)
	}
}

func FuzzCRL(f *testing.F) {
	f.Add([]byte("-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n"))
	f.Add([]byte("no PEM at all"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := parseCRL(b, nil); err == nil {
			if err := c.Check(nil, testNow); err == nil {
				t.Error("accepted without a chain")
			}
		}
		if all, err := parseCertificates(b); err == nil && len(all) == 0 {
			t.Error("no certificate and no error")
		}
		_ = checkKey(b) // must not panic
	})
}
