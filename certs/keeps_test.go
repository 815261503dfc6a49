package certs

import (
	"crypto/tls"
	"crypto/x509"
	"sallyport/certs/revocation"
	"strings"
	"testing"
	"time"
)

// standingWorld is what Keeps is asked about: chains that a handshake verified.
type standingWorld struct {
	*testWorld
	sub                           *authority // below root
	direct, good, bad, old, other *x509.Certificate
}

func newStandingWorld(t *testing.T) *standingWorld {
	t.Helper()
	w := &standingWorld{testWorld: newWorld(t)}
	w.options.Revocation.Missing = revocation.AcceptMissingCA
	w.sub = newAuthority(t, "sub", w.root)
	w.direct, _ = w.root.leaf(t, nil)
	w.good, _ = w.sub.leaf(t, nil)
	w.bad, _ = w.sub.leaf(t, nil)
	w.old, _ = w.sub.leaf(t, func(c *x509.Certificate) { c.NotAfter = testNow.Add(-time.Second) })
	w.other, _ = newAuthority(t, "other", nil).leaf(t, nil)
	return w
}

// renewed is a's authority with its key and name in another certificate.
func (a *authority) renewed(t *testing.T, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	template := *a.cert
	template.Raw, template.SerialNumber = nil, a.cert.SerialNumber.Lsh(a.cert.SerialNumber, 8)
	change(&template)
	c, err := sign(&template, &template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestKeepsWhoWouldBeLetInAgain(t *testing.T) {
	w := newStandingWorld(t)
	stranger := newAuthority(t, "root", nil) // the name, not the key
	lapsed := func(l *x509.RevocationList) {
		l.ThisUpdate, l.NextUpdate = testNow.Add(-48*time.Hour), testNow.Add(-time.Second)
	}
	chain := func(all ...*x509.Certificate) []*x509.Certificate { return all }
	viaSub := func(c *x509.Certificate) []*x509.Certificate { return chain(c, w.sub.cert, w.root.cert) }
	roots := chain(w.root.cert)
	for _, c := range []struct {
		name    string
		auth    tls.ClientAuthType
		anchors []*x509.Certificate // of the file now
		crl     []byte              // nil: none is configured now
		chain   []*x509.Certificate
		want    string // of the error; empty keeps
	}{
		{"nothing changed", tls.RequireAndVerifyClientCert, roots, nil, viaSub(w.good), ""},
		{"another CA came in front", tls.RequireAndVerifyClientCert, chain(stranger.cert, w.root.cert), nil, viaSub(w.good), ""},
		{"the CA was taken out", tls.RequireAndVerifyClientCert, chain(stranger.cert), nil, viaSub(w.good), "not trusted any more"},
		{"the CA was taken out where certificates are optional", tls.VerifyClientCertIfGiven, chain(stranger.cert), nil, chain(w.direct, w.root.cert), "not trusted any more"},
		{"the intermediate became the anchor", tls.RequireAndVerifyClientCert, chain(w.sub.cert), nil, viaSub(w.good), ""},
		{"the anchor was an intermediate whose root stays", tls.RequireAndVerifyClientCert, roots, nil, chain(w.good, w.sub.cert), "not trusted any more"},
		{"the CA was renewed", tls.RequireAndVerifyClientCert, chain(w.root.renewed(t, func(*x509.Certificate) {})), nil, viaSub(w.good), ""},
		{"the CA was renewed for servers only", tls.RequireAndVerifyClientCert,
			chain(w.root.renewed(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })), nil, viaSub(w.good), "not trusted any more"},
		{"the certificate is itself an anchor", tls.RequireAndVerifyClientCert, chain(w.direct), nil, chain(w.direct, w.root.cert), ""},
		{"certificates are not asked for any more", tls.NoClientCert, chain(stranger.cert), nil, viaSub(w.good), ""},
		{"without a certificate where it is optional", tls.VerifyClientCertIfGiven, roots, nil, nil, ""},
		{"without a certificate where one is required now", tls.RequireAndVerifyClientCert, roots, nil, nil, "required"},

		{"the list names it", tls.RequireAndVerifyClientCert, roots, w.sub.crl(t, nil, w.bad), viaSub(w.bad), "is revoked"},
		{"the list names another", tls.RequireAndVerifyClientCert, roots, w.sub.crl(t, nil, w.bad), viaSub(w.good), ""},
		{"the list names its intermediate", tls.RequireAndVerifyClientCert, roots,
			append(w.sub.crl(t, nil), w.root.crl(t, nil, w.sub.cert)...), viaSub(w.good), "is revoked"},
		{"no list of its issuer", tls.RequireAndVerifyClientCert, roots, w.root.crl(t, nil), viaSub(w.good), "no revocation list"},
		{"a list that an impostor signed", tls.RequireAndVerifyClientCert, roots, stranger.crl(t, nil), chain(w.direct, w.root.cert), "not signed"},
		{"the list names it, and the CA was renewed", tls.RequireAndVerifyClientCert,
			chain(w.root.renewed(t, func(*x509.Certificate) {})), w.sub.crl(t, nil, w.bad), viaSub(w.bad), "is revoked"},

		{"its certificate expired", tls.RequireAndVerifyClientCert, roots, nil, viaSub(w.old), ""},
		{"its certificate expired, and the CA was renewed after that", tls.RequireAndVerifyClientCert,
			chain(w.root.renewed(t, func(c *x509.Certificate) { c.NotBefore = testNow })), nil, viaSub(w.old), ""},
		{"its certificate expired, and is revoked", tls.RequireAndVerifyClientCert, roots, w.sub.crl(t, nil, w.old), viaSub(w.old), "is revoked"},
		{"its certificate expired, and the CA was taken out", tls.RequireAndVerifyClientCert, chain(stranger.cert), nil, viaSub(w.old), "not trusted any more"},
		{"its CA expired", tls.RequireAndVerifyClientCert,
			chain(w.root.renewed(t, func(c *x509.Certificate) { c.NotAfter = testNow.Add(-time.Second) })), nil, viaSub(w.good), ""},
		{"the list expired", tls.RequireAndVerifyClientCert, roots, w.sub.crl(t, lapsed, w.bad), viaSub(w.good), ""},
		{"the list expired, and names it", tls.RequireAndVerifyClientCert, roots, w.sub.crl(t, lapsed, w.bad), viaSub(w.bad), "is revoked"},
		{"an expired list names it, and the present one does not", tls.RequireAndVerifyClientCert, roots,
			append(w.sub.crl(t, lapsed, w.bad), w.sub.crl(t, nil)...), viaSub(w.bad), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.options.ClientAuth, w.options.ClientCAFile = c.auth, w.certs("ca.crt", c.anchors...)
			w.options.Revocation = Revocation{Missing: revocation.AcceptMissingCA}
			if c.crl != nil {
				w.options.Revocation.CRLFiles = []string{w.write("revoked.crl", c.crl)}
			}
			err := w.load().Keeps(c.chain)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("Keeps = %v, want %q", err, c.want)
			}
		})
	}
}

func TestKeepsFollowsWhatIsAdopted(t *testing.T) {
	w := newStandingWorld(t)
	s := w.load()
	chain := []*x509.Certificate{w.direct, w.root.cert}
	if err := s.Keeps(chain); err != nil {
		t.Fatalf("before: %v", err)
	}
	w.certs("ca.crt", newAuthority(t, "another", nil).cert)
	fresh := w.load()
	if err := s.Keeps(chain); err != nil {
		t.Errorf("files were read elsewhere: %v", err)
	}
	s.Adopt(fresh)
	if err := s.Keeps(chain); err == nil {
		t.Error("the CA was taken out: kept")
	}
}

// TestKeepsAnswersLikeAHandshake compares both where no date is at odds.
func TestKeepsAnswersLikeAHandshake(t *testing.T) {
	w := newStandingWorld(t)
	leaf, key := w.sub.leaf(t, nil)
	client := w.client(key, leaf, w.sub.cert)
	chain := []*x509.Certificate{leaf, w.sub.cert, w.root.cert}
	for name, change := range map[string]func(){
		"nothing":       func() {},
		"list":          func() { w.options.Revocation.CRLFiles = []string{w.write("revoked.crl", w.sub.crl(t, nil))} },
		"revoked":       func() { w.options.Revocation.CRLFiles = []string{w.write("revoked.crl", w.sub.crl(t, nil, leaf))} },
		"list missing":  func() { w.options.Revocation.CRLFiles = []string{w.write("revoked.crl", w.root.crl(t, nil))} },
		"sub as anchor": func() { w.options.ClientCAFile = w.certs("ca.crt", w.sub.cert) },
		"both anchors":  func() { w.options.ClientCAFile = w.certs("ca.crt", w.sub.cert, w.root.cert) },
		"another CA":    func() { w.options.ClientCAFile = w.certs("ca.crt", newAuthority(t, "root", nil).cert) },
		"not asked":     func() { w.options.ClientAuth = tls.NoClientCert },
	} {
		before := w.options
		change()
		s := w.load()
		_, refused, _ := connect(t, s.Config(), client)
		if err := s.Keeps(chain); (err == nil) != (refused == nil) {
			t.Errorf("%s: Keeps = %v, a handshake %v", name, err, refused)
		}
		w.options = before
		w.certs("ca.crt", w.root.cert)
	}
}

// BenchmarkKeeps is what each connection with a certificate costs a reload, and
// each CONNECT.
func BenchmarkKeeps(b *testing.B) {
	t := &testing.T{}
	root := newAuthority(t, "root", nil)
	sub := newAuthority(t, "sub", root)
	leaf, _ := sub.leaf(t, nil)
	revoked, err := parseCRL(sub.crl(t, nil), nil)
	if err != nil {
		b.Fatal(err)
	}
	o := &ServerOptions{ClientAuth: tls.RequireAndVerifyClientCert, Now: clock}
	chain := []*x509.Certificate{leaf, sub.cert, root.cert}
	for name, anchor := range map[string]*x509.Certificate{
		"same": root.cert, "renewed": root.renewed(t, func(*x509.Certificate) {}),
		"renewed with other extensions": root.renewed(t, func(c *x509.Certificate) { c.MaxPathLen = 3 }),
	} {
		s := newTrust(o, []*x509.Certificate{anchor})
		s.checker = revoked.checker.At(clock)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := s.keeps(chain); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
