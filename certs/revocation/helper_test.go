package revocation

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"
)

// testNow is in whole seconds, as certificates have it.
var testNow = time.Now().Truncate(time.Second)

func clockNow() time.Time { return testNow }

// ca is a CA of a test.
type ca struct {
	cert *x509.Certificate
	key  crypto.Signer
}

var serials atomic.Int64

func sign(t testing.TB, template *x509.Certificate, parent *ca, key crypto.Signer) *x509.Certificate {
	t.Helper()
	if template.SerialNumber == nil {
		template.SerialNumber = big.NewInt(1000 + serials.Add(1))
	}
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = testNow.Add(-24*time.Hour), testNow.Add(365*24*time.Hour)
	}
	signer, issuer := key, template
	if parent != nil {
		signer, issuer = parent.key, parent.cert
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// newCA makes a CA; without a parent it signs itself.
func newCA(t testing.TB, name string, parent *ca, change ...func(*x509.Certificate)) *ca {
	t.Helper()
	return newCAWith(t, name, parent, newKey(t), change...)
}

func newCAWith(t testing.TB, name string, parent *ca, key crypto.Signer, change ...func(*x509.Certificate)) *ca {
	t.Helper()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	}
	for _, f := range change {
		f(template)
	}
	return &ca{sign(t, template, parent, key), key}
}

// leaf issues a client's certificate.
func (a *ca) leaf(t testing.TB, change ...func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	return a.issue(t, newKey(t), change...)
}

func (a *ca) issue(t testing.TB, key crypto.Signer, change ...func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "device"}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	}
	for _, f := range change {
		f(template)
	}
	return sign(t, template, a, key)
}

// chain is leaf, then the CAs.
func chain(leaf *x509.Certificate, cas ...*ca) []*x509.Certificate {
	all := []*x509.Certificate{leaf}
	for _, a := range cas {
		all = append(all, a.cert)
	}
	return all
}

type listChange = func(*x509.RevocationList)

// crl issues a list in DER.
func (a *ca) crl(t testing.TB, changes ...listChange) []byte {
	t.Helper()
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: testNow.Add(-time.Hour), NextUpdate: testNow.Add(time.Hour)}
	for _, f := range changes {
		f(template)
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, a.cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// revoking adds certificates to a list.
func revoking(reason Reason, all ...*x509.Certificate) listChange {
	return func(l *x509.RevocationList) {
		for _, c := range all {
			l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{
				SerialNumber: c.SerialNumber, RevocationTime: testNow.Add(-30 * time.Minute), ReasonCode: int(reason),
			})
		}
	}
}

func number(n int64) listChange {
	return func(l *x509.RevocationList) { l.Number = big.NewInt(n) }
}

func from(this, next time.Duration) listChange {
	return func(l *x509.RevocationList) { l.ThisUpdate, l.NextUpdate = testNow.Add(this), testNow.Add(next) }
}

// with adds an extension to a list.
func with(oid []int, critical bool, value []byte) listChange {
	return func(l *x509.RevocationList) {
		l.ExtraExtensions = append(l.ExtraExtensions, pkix.Extension{Id: oid, Critical: critical, Value: value})
	}
}

// delta makes a list a delta of the list with that number.
func delta(base byte) listChange { return with(oidDeltaIndicator, true, []byte{2, 1, base}) }

// tlv is an element of DER, shorter than 128 bytes.
func tlv(tag byte, contents ...[]byte) []byte {
	body := bytes.Join(contents, nil)
	return append([]byte{tag, byte(len(body))}, body...)
}

// scoped gives a list an issuing distribution point.
func scoped(parts ...[]byte) listChange { return with(oidIssuingPoint, true, tlv(0x30, parts...)) }

// pointNames is a DistributionPointName of URIs.
func pointNames(urls ...string) []byte {
	var all []byte
	for _, u := range urls {
		all = append(all, tlv(0x86, []byte(u))...)
	}
	return tlv(0xa0, tlv(0xa0, all))
}

var (
	onlyUsers      = tlv(0x81, []byte{0xff})
	onlyCAs        = tlv(0x82, []byte{0xff})
	indirect       = tlv(0x84, []byte{0xff})
	onlyAttributes = tlv(0x85, []byte{0xff})
)

// someReasons is onlySomeReasons with two bytes of flags.
func someReasons(a, b byte) []byte { return tlv(0x83, []byte{7, a, b}) }

func at(urls ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.CRLDistributionPoints = urls }
}

func responderAt(urls ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.OCSPServer = urls }
}

func toPEM(kind string, ders ...[]byte) []byte {
	var all []byte
	for _, der := range ders {
		all = append(all, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})...)
	}
	return all
}

func mustParse(t testing.TB, ders ...[]byte) *Lists {
	t.Helper()
	l, err := Parse(toPEM(blockType, ders...), "test.crl")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// wantCause checks the error of a check; cause -1 wants none.
func wantCause(t *testing.T, what string, err error, cause Cause) *Error {
	t.Helper()
	if cause == none {
		if err != nil {
			t.Errorf("%s: %v, want it accepted", what, err)
		}
		return nil
	}
	var e *Error
	if !errors.As(err, &e) {
		t.Errorf("%s: %v, want a certificate that %v", what, err, cause)
		return nil
	}
	if e.Cause != cause {
		t.Errorf("%s: %v, want a certificate that %v", what, err, cause)
	}
	return e
}

const none Cause = -1

// loopback may be asked in tests.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

func newOnline(t testing.TB, o OnlineOptions) *Online {
	t.Helper()
	if o.Allow == nil {
		o.Allow = loopback
	}
	n, err := NewOnline(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

// serve is an HTTP server on loopback; the URL has no slash at its end.
func serve(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// freePort is a port on which nobody listens.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
