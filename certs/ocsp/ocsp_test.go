package ocsp

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/fips140"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	xocsp "golang.org/x/crypto/ocsp"
)

var testNow = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// party is somebody with a certificate and its key.
type party struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newKey(t testing.TB, kind string) crypto.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	switch kind {
	case "rsa":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case "p384":
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case "fixed 1", "fixed 2":
		key, err = ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte(kind[6:]), 32))
	default:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue makes a certificate, self-signed without an issuer.
func issue(t testing.TB, kind string, template *x509.Certificate, issuer *party) *party {
	t.Helper()
	key := newKey(t, kind)
	template.NotBefore, template.NotAfter = orElse(template.NotBefore, testNow.Add(-time.Hour)), orElse(template.NotAfter, testNow.Add(1000*time.Hour))
	parent, signer := template, key
	if issuer != nil {
		parent, signer = issuer.cert, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &party{c, key}
}

func orElse(t, other time.Time) time.Time {
	if t.IsZero() {
		return other
	}
	return t
}

func newCA(t testing.TB, kind, name string) *party {
	return issue(t, kind, &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature, BasicConstraintsValid: true, IsCA: true,
	}, nil)
}

func newLeaf(t testing.TB, serial int64, issuer *party) *x509.Certificate {
	return issue(t, "p256", &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "broker"}}, issuer).cert
}

// responder is a template of a delegate.
func responder() *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(77), Subject: pkix.Name{CommonName: "responder"},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning},
	}
}

// answer is what a test wants to be told.
type answer struct {
	data      responseData
	with      []*x509.Certificate
	byKey     bool
	algorithm asn1.ObjectIdentifier // nil: the one for the key
	status    asn1.Enumerated
	kind      asn1.ObjectIdentifier
	spoil     bool   // the signature
	named     *party // who is said to have signed; nil: who did
}

func idOf(t testing.TB, cert, issuer *x509.Certificate) certID {
	t.Helper()
	key, err := publicKeyBits(issuer)
	if err != nil {
		t.Fatal(err)
	}
	return certID{
		Hash:     pkix.AlgorithmIdentifier{Algorithm: oidSHA1, Parameters: asn1.NullRawValue},
		NameHash: identify(issuer.RawSubject), KeyHash: identify(key), Serial: cert.SerialNumber,
	}
}

// good is a statement on cert for a day around testNow.
func good(t testing.TB, cert, issuer *x509.Certificate) *answer {
	return &answer{kind: oidBasic, data: responseData{ProducedAt: testNow.Add(-time.Hour), Responses: []singleResponse{{
		ID: idOf(t, cert, issuer), Good: true, ThisUpdate: testNow.Add(-time.Hour), NextUpdate: testNow.Add(23 * time.Hour),
	}}}}
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	der, err := asn1.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// signDigest signs even with what FIPS 140-3 forbids, for Verify to refuse it.
func signDigest(t testing.TB, key crypto.Signer, data []byte, hash crypto.Hash) (signature []byte) {
	t.Helper()
	var err error
	fips140.WithoutEnforcement(func() {
		if hash != 0 {
			h := hash.New()
			h.Write(data)
			data = h.Sum(nil)
		}
		signature, err = key.Sign(rand.Reader, data, hash)
	})
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

// sign makes the response of signer.
func (a *answer) sign(t testing.TB, signer *party) []byte {
	t.Helper()
	named := signer
	if a.named != nil {
		named = a.named
	}
	a.data.Responder = asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 1, IsCompound: true, Bytes: named.cert.RawSubject}
	if a.byKey {
		bits, err := publicKeyBits(named.cert)
		if err != nil {
			t.Fatal(err)
		}
		a.data.Responder = asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, IsCompound: true, Bytes: marshal(t, identify(bits))}
	}
	tbs := marshal(t, a.data)
	oid, hash := asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}, crypto.SHA256
	switch k := signer.key.(type) {
	case *rsa.PrivateKey:
		oid = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}
	case *ecdsa.PrivateKey:
		if k.Curve == elliptic.P384() {
			oid, hash = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}, crypto.SHA384
		}
	case ed25519.PrivateKey:
		oid, hash = asn1.ObjectIdentifier{1, 3, 101, 112}, 0
	}
	if a.algorithm != nil {
		oid = a.algorithm
		if oid[len(oid)-1] == 5 || oid[len(oid)-1] == 1 { // RSA or ECDSA with SHA-1
			hash = crypto.SHA1
		}
	}
	signature := signDigest(t, signer.key, tbs, hash)
	if a.spoil {
		signature[len(signature)-1] ^= 1
	}
	basic := basicResponse{
		TBS: responseData{Raw: tbs}, Algorithm: pkix.AlgorithmIdentifier{Algorithm: oid},
		Signature: asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)},
	}
	for _, c := range a.with {
		basic.Certificates = append(basic.Certificates, asn1.RawValue{FullBytes: c.Raw})
	}
	return marshal(t, responseOuter{Status: a.status, Bytes: responseBytes{Type: a.kind, Body: marshal(t, basic)}})
}

func TestStatementsOfTheIssuerAreTaken(t *testing.T) {
	for _, kind := range []string{"rsa", "p256", "p384", "ed25519"} {
		for _, byKey := range []bool{false, true} {
			ca := newCA(t, kind, "CA")
			leaf := newLeaf(t, 5, ca)
			a := good(t, leaf, ca.cert)
			a.byKey = byKey
			r, err := Verify(a.sign(t, ca), leaf, ca.cert, Options{Now: testNow})
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			if r.Status != Good || r.Delegate != nil || !r.NextUpdate.Equal(testNow.Add(23*time.Hour)) || !r.ThisUpdate.Equal(testNow.Add(-time.Hour)) {
				t.Errorf("%s: got %+v", kind, r)
			}
		}
	}
}

func TestStatementsOfADelegateAreTaken(t *testing.T) {
	ca := newCA(t, "p256", "CA")
	leaf := newLeaf(t, 5, ca)
	template := responder()
	template.ExtraExtensions = []pkix.Extension{{Id: oidNoCheck, Value: asn1.NullBytes}}
	delegate := issue(t, "rsa", template, ca)
	plain := issue(t, "ed25519", responder(), ca)

	a := good(t, leaf, ca.cert)
	a.with = []*x509.Certificate{ca.cert, delegate.cert} // not the first one
	r, err := Verify(a.sign(t, delegate), leaf, ca.cert, Options{Now: testNow})
	if err != nil || r.Delegate == nil || !r.Delegate.Equal(delegate.cert) || !r.NoCheck {
		t.Errorf("delegate with nocheck: got %+v, %v", r, err)
	}
	a = good(t, leaf, ca.cert)
	a.with, a.byKey = []*x509.Certificate{plain.cert}, true
	r, err = Verify(a.sign(t, plain), leaf, ca.cert, Options{Now: testNow})
	if err != nil || r.Delegate == nil || r.NoCheck {
		t.Errorf("delegate without nocheck: got %+v, %v", r, err)
	}
}

func TestStatementsAreReadAsTheyAre(t *testing.T) {
	ca := newCA(t, "p256", "CA")
	leaf := newLeaf(t, 5, ca)

	a := good(t, leaf, ca.cert)
	a.data.Responses[0].Good = false
	a.data.Responses[0].Revoked = revokedInfo{At: testNow.Add(-2 * time.Hour), Reason: 4}
	r, err := Verify(a.sign(t, ca), leaf, ca.cert, Options{Now: testNow})
	if err != nil || r.Status != Revoked || r.Reason != 4 || !r.RevokedAt.Equal(testNow.Add(-2*time.Hour)) {
		t.Errorf("revoked: got %+v, %v", r, err)
	}

	a = good(t, leaf, ca.cert)
	a.data.Responses[0].Good, a.data.Responses[0].Unknown = false, true
	if r, err = Verify(a.sign(t, ca), leaf, ca.cert, Options{Now: testNow}); err != nil || r.Status != Unknown {
		t.Errorf("unknown: got %+v, %v", r, err)
	}

	// One of several, by SHA-256; the first is of another issuer.
	other := newCA(t, "p256", "another CA")
	a = good(t, leaf, ca.cert)
	mine := a.data.Responses[0]
	key, _ := publicKeyBits(ca.cert)
	name, keyHash := sha256.Sum256(ca.cert.RawSubject), sha256.Sum256(key)
	mine.ID.Hash.Algorithm, mine.ID.NameHash, mine.ID.KeyHash = oidSHA256, name[:], keyHash[:]
	revoked := good(t, newLeaf(t, 6, other), other.cert).data.Responses[0]
	revoked.Good, revoked.Revoked.At = false, testNow
	a.data.Responses = []singleResponse{revoked, mine}
	if r, err = Verify(a.sign(t, ca), leaf, ca.cert, Options{Now: testNow}); err != nil || r.Status != Good {
		t.Errorf("one of several: got %+v, %v", r, err)
	}

	a = good(t, leaf, ca.cert)
	a.data.Responses[0].NextUpdate = time.Time{}
	if r, err = Verify(a.sign(t, ca), leaf, ca.cert, Options{Now: testNow, Endless: time.Hour}); err != nil || !r.NextUpdate.IsZero() {
		t.Errorf("no next update: got %+v, %v", r, err)
	}

	nonce := []byte("0123456789abcdef")
	a = good(t, leaf, ca.cert)
	if r, err = Verify(a.sign(t, ca), leaf, ca.cert, Options{Now: testNow, Nonce: nonce}); err != nil || r.Nonced {
		t.Errorf("nonce not repeated: got %+v, %v", r, err)
	}
	a.data.Extensions = []pkix.Extension{{Id: oidNonce, Critical: true, Value: marshal(t, nonce)}}
	if r, err = Verify(a.sign(t, ca), leaf, ca.cert, Options{Now: testNow, Nonce: nonce}); err != nil || !r.Nonced {
		t.Errorf("nonce: got %+v, %v", r, err)
	}

	for _, late := range []time.Duration{-Skew + time.Second, 0, 24*time.Hour + Skew - time.Second} {
		now := testNow.Add(-time.Hour + late)
		if _, err = Verify(good(t, leaf, ca.cert).sign(t, ca), leaf, ca.cert, Options{Now: now}); err != nil {
			t.Errorf("%v after this update: %v", late, err)
		}
	}
}

func TestEverythingElseIsRefused(t *testing.T) {
	ca, other := newCA(t, "p256", "CA"), newCA(t, "p256", "CA") // the same name, another key
	rsaCA := newCA(t, "rsa", "RSA CA")
	leaf := newLeaf(t, 5, ca)
	critical := pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: asn1.NullBytes}
	behind := asn1.RawValue{FullBytes: []byte{2, 1, 0}}

	// delegated is good, signed by a delegate whose certificate differs.
	delegated := func(by *party, change func(*x509.Certificate)) []byte {
		template := responder()
		change(template)
		d := issue(t, "p256", template, by)
		a := good(t, leaf, ca.cert)
		a.with = []*x509.Certificate{d.cert}
		return a.sign(t, d)
	}
	changed := func(change func(a *answer, s *singleResponse)) []byte {
		a := good(t, leaf, ca.cert)
		change(a, &a.data.Responses[0])
		return a.sign(t, ca)
	}
	whole := changed(func(*answer, *singleResponse) {})
	if _, err := Verify(whole, leaf, ca.cert, Options{Now: testNow}); err != nil {
		t.Fatalf("the response that the others differ from: %v", err)
	}
	intermediate := issue(t, "p256", &x509.Certificate{
		SerialNumber: big.NewInt(9), Subject: pkix.Name{CommonName: "intermediate"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}, ca)

	for _, c := range []struct {
		name string
		der  []byte
		want string
	}{
		{"nothing", nil, "not an OCSP response"},
		{"a web page", []byte("<html>404</html>"), "not an OCSP response"},
		{"half of a response", whole[:len(whole)/2], "not an OCSP response"},
		{"data behind it", append(bytes.Clone(whole), 0), "data after the response"},
		{"too large", make([]byte, MaxResponse+1), "at most 65536"},
		{"another type", changed(func(a *answer, _ *singleResponse) { a.kind = oidNonce }), "not a basic"},
		{"another version", changed(func(a *answer, _ *singleResponse) { a.data.Version = 1 }), "version 2"},
		{"too many certificates", changed(func(a *answer, _ *singleResponse) {
			for range maxCertificates + 1 {
				a.with = append(a.with, ca.cert)
			}
		}), "9 certificates"},
		{"signed by another CA of the name", good(t, leaf, ca.cert).sign(t, other), "not signed by"},
		{"a wrong signature", changed(func(a *answer, _ *singleResponse) { a.spoil = true }), "not signed by"},
		{"SHA-1 with ECDSA", changed(func(a *answer, _ *singleResponse) { a.algorithm = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1} }), "is signed with 1.2.840.10045.4.1"},
		{"another serial number", changed(func(_ *answer, s *singleResponse) { s.ID.Serial = big.NewInt(6) }), "not about this certificate"},
		{"another issuer's name", changed(func(_ *answer, s *singleResponse) { s.ID.NameHash = identify([]byte("x")) }), "certificate of another issuer"},
		{"another issuer's key", changed(func(_ *answer, s *singleResponse) { s.ID.KeyHash = identify([]byte("x")) }), "certificate of another issuer"},
		{"an unknown hash", changed(func(_ *answer, s *singleResponse) { s.ID.Hash.Algorithm = oidNonce }), "certificate of another issuer"},
		{"no statement", changed(func(a *answer, _ *singleResponse) { a.data.Responses = nil }), "not about this certificate"},
		{"twice", changed(func(a *answer, s *singleResponse) { a.data.Responses = []singleResponse{*s, *s} }), "twice"},
		{"twice, by another issuer", changed(func(a *answer, s *singleResponse) {
			foreign := *s
			foreign.ID = idOf(t, leaf, rsaCA.cert)
			a.data.Responses = append(a.data.Responses, foreign)
		}), "another issuer"},
		{"too many statements", changed(func(a *answer, s *singleResponse) {
			for n := range int64(maxStatements) {
				more := *s
				more.ID.Serial = big.NewInt(1000 + n)
				a.data.Responses = append(a.data.Responses, more)
			}
		}), "65 statements"},
		{"no status", changed(func(_ *answer, s *singleResponse) { s.Good = false }), "no status"},
		{"good and revoked", changed(func(_ *answer, s *singleResponse) { s.Revoked = revokedInfo{At: testNow, Reason: 1} }), "several at once"},
		{"good and revoked at no time", changed(func(_ *answer, s *singleResponse) {
			s.Revoked.Raw = append([]byte{0xa1, 17, 0x18, 15}, "00010101000000Z"...)
		}), ""},
		{"good and unknown", changed(func(_ *answer, s *singleResponse) { s.Unknown = true }), "several at once"},
		{"more behind the data", changed(func(a *answer, _ *singleResponse) { a.data.Behind = behind }), "parts that the standard"},
		{"more behind the statement", changed(func(_ *answer, s *singleResponse) { s.Behind = behind }), "parts that the standard"},
		{"more behind the number", changed(func(_ *answer, s *singleResponse) { s.ID.Behind = behind }), "parts that the standard"},
		{"more behind the reason", changed(func(_ *answer, s *singleResponse) {
			s.Good, s.Revoked = false, revokedInfo{At: testNow, Behind: behind}
		}), "parts that the standard"},
		{"more behind the type", marshal(t, responseOuter{Bytes: responseBytes{Type: oidBasic, Body: []byte{0x30, 0}, Behind: behind}}), "parts that the standard"},
		{"more behind the bytes", marshal(t, responseOuter{Bytes: responseBytes{Type: oidBasic, Body: []byte{0x30, 0}}, Behind: behind}), "parts that the standard"},
		{"a critical extension of the statement", changed(func(_ *answer, s *singleResponse) { s.Extensions = []pkix.Extension{critical} }), "1.2.3.4 of the statement"},
		{"a critical extension", changed(func(a *answer, _ *singleResponse) { a.data.Extensions = []pkix.Extension{critical} }), "1.2.3.4 of the response"},
		{"a nonce that is none", changed(func(a *answer, _ *singleResponse) {
			a.data.Extensions = []pkix.Extension{{Id: oidNonce, Value: []byte("x")}}
		}), "nonce of the response"},
		{"another nonce", changed(func(a *answer, _ *singleResponse) {
			a.data.Extensions = []pkix.Extension{{Id: oidNonce, Value: marshal(t, []byte("another"))}}
		}), "nonce differs"},
		{"two nonces", changed(func(a *answer, _ *singleResponse) {
			e := pkix.Extension{Id: oidNonce, Value: marshal(t, []byte("mine"))}
			a.data.Extensions = []pkix.Extension{e, e}
		}), "two nonces"},
		{"a part of the nonce", changed(func(a *answer, _ *singleResponse) {
			a.data.Extensions = []pkix.Extension{{Id: oidNonce, Value: marshal(t, []byte("min"))}}
		}), "nonce differs"},
		{"an empty nonce", changed(func(a *answer, _ *singleResponse) {
			a.data.Extensions = []pkix.Extension{{Id: oidNonce, Value: marshal(t, []byte{})}}
		}), "nonce differs"},
		{"a long nonce", changed(func(a *answer, _ *singleResponse) {
			a.data.Extensions = []pkix.Extension{{Id: oidNonce, Value: marshal(t, make([]byte, MaxNonce+1))}}
		}), "longer than 128"},
		{"not valid yet", changed(func(_ *answer, s *singleResponse) { s.ThisUpdate = testNow.Add(Skew + time.Second) }), "not valid before"},
		{"made in the future", changed(func(a *answer, _ *singleResponse) { a.data.ProducedAt = testNow.Add(Skew + time.Second) }), "in the future"},
		{"expired", changed(func(_ *answer, s *singleResponse) { s.NextUpdate = testNow.Add(-Skew - time.Second) }), "expired at"},
		{"no next update", changed(func(_ *answer, s *singleResponse) { s.NextUpdate = time.Time{} }), "no next update"},
		{"an end before its beginning", changed(func(_ *answer, s *singleResponse) { s.NextUpdate = s.ThisUpdate.Add(-time.Second) }), "ends before"},
		{"a delegate of another CA of the name", delegated(other, func(*x509.Certificate) {}), "not issued by"},
		{"a delegate of an intermediate", delegated(intermediate, func(*x509.Certificate) {}), "not issued by"},
		{"a delegate for servers", delegated(ca, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), "not meant for signing OCSP"},
		{"a delegate for any purpose", delegated(ca, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }), "not meant for signing OCSP"},
		{"a delegate for no purpose", delegated(ca, func(c *x509.Certificate) { c.ExtKeyUsage = nil }), "not meant for signing OCSP"},
		{"a delegate for encryption", delegated(ca, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), "not meant for signatures"},
		{"a delegate that expired", delegated(ca, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = testNow.Add(-2*time.Hour), testNow.Add(-time.Hour)
		}), "has expired"},
		{"a delegate to come", delegated(ca, func(c *x509.Certificate) { c.NotBefore = testNow.Add(time.Hour) }), "not valid yet"},
		{"a delegate with an unknown critical extension", delegated(ca, func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{critical} }), "1.2.3.4 of its certificate"},
		{"a sibling of the certificate", delegated(ca, func(c *x509.Certificate) { *c = x509.Certificate{SerialNumber: big.NewInt(6)} }), "not meant for signing OCSP"},
		{"try later", marshal(t, struct{ S asn1.Enumerated }{3}), "try later"},
		{"an unknown refusal", marshal(t, struct{ S asn1.Enumerated }{4}), "status 4"},
	} {
		r, err := Verify(c.der, leaf, ca.cert, Options{Now: testNow, Nonce: []byte("mine")})
		if err == nil || r != nil {
			t.Errorf("%s is taken: %+v", c.name, r)
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %q, want one with %q", c.name, err, c.want)
		}
	}

	// Signed by somebody who may, in the name of somebody else.
	one, two := newCA(t, "p256", "one"), issue(t, "p256", responder(), ca)
	for _, signer := range []*party{ca, two} {
		for _, byKey := range []bool{false, true} {
			a := good(t, leaf, ca.cert)
			a.named, a.byKey, a.with = one, byKey, []*x509.Certificate{two.cert}
			if _, err := Verify(a.sign(t, signer), leaf, ca.cert, Options{Now: testNow}); err == nil {
				t.Errorf("a response of %s in the name of another is taken", signer.cert.Subject)
			}
		}
	}

	// A delegate's certificate that is good, beside a signature of somebody else.
	d, thief := issue(t, "p256", responder(), ca), issue(t, "p256", responder(), other)
	a := good(t, leaf, ca.cert)
	a.with = []*x509.Certificate{d.cert}
	if _, err := Verify(a.sign(t, thief), leaf, ca.cert, Options{Now: testNow}); err == nil {
		t.Error("a signature by another key than the delegate's is taken")
	}
	sha1RSA := good(t, newLeaf(t, 5, rsaCA), rsaCA.cert)
	sha1RSA.algorithm = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 5}
	if _, err := Verify(sha1RSA.sign(t, rsaCA), newLeaf(t, 5, rsaCA), rsaCA.cert, Options{Now: testNow}); err == nil {
		t.Error("SHA-1 with RSA is taken")
	}
	old := good(t, leaf, ca.cert)
	old.data.Responses[0].NextUpdate = time.Time{}
	if _, err := Verify(old.sign(t, ca), leaf, ca.cert, Options{Now: testNow, Endless: 54 * time.Minute}); err == nil {
		t.Error("a response without next update is taken for longer than Endless")
	}
	unasked := good(t, leaf, ca.cert)
	unasked.data.Extensions = []pkix.Extension{{Id: oidNonce, Value: marshal(t, []byte("another's"))}}
	if _, err := Verify(unasked.sign(t, ca), leaf, ca.cert, Options{Now: testNow}); err == nil {
		t.Error("a nonce that was not sent is taken")
	}
	var refused RefusedError
	if _, err := Verify(good(t, leaf, other.cert).sign(t, ca), leaf, ca.cert, Options{Now: testNow}); err == nil {
		t.Error("a statement about another issuer's certificate is taken")
	}
	if _, err := Verify(xocsp.UnauthorizedErrorResponse, leaf, ca.cert, Options{Now: testNow}); !errors.As(err, &refused) || refused != Unauthorized {
		t.Errorf("unauthorized: got %v", err)
	}
}

func TestRequestsAreThoseOfTheLibrary(t *testing.T) {
	ca := newCA(t, "rsa", "CA")
	leaf := newLeaf(t, 1<<40, ca)
	got, err := NewRequest(leaf, ca.cert, nil)
	if err != nil {
		t.Fatal(err)
	}
	want, err := xocsp.CreateRequest(leaf, ca.cert, nil)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x (%v)", got, want, err)
	}
	for _, n := range []int{0, MaxNonce + 1} {
		if _, err := NewRequest(leaf, ca.cert, make([]byte, n)); err == nil {
			t.Errorf("a nonce of %d bytes is accepted", n)
		}
	}
}

// Any response of the library is one for us, and the other way round.
func TestResponsesOfTheLibraryAreTaken(t *testing.T) {
	now := time.Now() // by which the library dates what it makes
	ca := newCA(t, "p384", "CA")
	leaf := newLeaf(t, 5, ca)
	template := responder()
	template.NotBefore, template.NotAfter = now.Add(-time.Hour), now.Add(time.Hour)
	delegate := issue(t, "rsa", template, ca)
	for _, by := range []*party{ca, delegate} {
		der, err := xocsp.CreateResponse(ca.cert, by.cert, xocsp.Response{
			Status: xocsp.Revoked, SerialNumber: leaf.SerialNumber, RevokedAt: now, RevocationReason: 1,
			ThisUpdate: now, NextUpdate: now.Add(time.Hour), Certificate: by.cert,
		}, by.key)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Verify(der, leaf, ca.cert, Options{Now: now})
		if err != nil || r.Status != Revoked || r.Reason != 1 || (r.Delegate != nil) != (by == delegate) {
			t.Errorf("%s: got %+v, %v", by.cert.Subject, r, err)
		}
	}
	theirs, err := xocsp.ParseResponseForCert(good(t, leaf, ca.cert).sign(t, ca), leaf, ca.cert)
	if err != nil || theirs.Status != xocsp.Good {
		t.Errorf("ours, read by the library: %+v, %v", theirs, err)
	}
}

// FuzzVerify has fixed keys, so that all processes of a run agree on what is signed.
func FuzzVerify(f *testing.F) {
	ca := newCA(f, "fixed 1", "CA")
	leaf := newLeaf(f, 5, ca)
	delegate := issue(f, "fixed 2", responder(), ca)
	var signed [][]byte // what the CA and its delegate have said
	seed := func(a *answer, signer *party) {
		der := a.sign(f, signer)
		p, err := parse(der)
		if err != nil {
			f.Fatal(err)
		}
		signed = append(signed, p.Raw)
		f.Add(der)
	}
	a := good(f, leaf, ca.cert)
	seed(a, ca)
	a.byKey, a.with = true, []*x509.Certificate{delegate.cert}
	a.data.Extensions = []pkix.Extension{{Id: oidNonce, Value: marshal(f, []byte("nonce"))}}
	seed(a, delegate)
	a.data.Responses[0].Good, a.data.Responses[0].Revoked = false, revokedInfo{At: testNow, Reason: 1}
	seed(a, delegate)
	a.data.Responses[0].Revoked, a.data.Responses[0].Unknown = revokedInfo{}, true
	seed(a, delegate)
	seed(good(f, newLeaf(f, 6, ca), ca.cert), ca) // about another certificate
	f.Add(xocsp.TryLaterErrorResponse)
	f.Fuzz(func(t *testing.T, der []byte) {
		p, err := parse(der)
		r, refused := Verify(der, leaf, ca.cert, Options{Now: testNow, Nonce: []byte("nonce")})
		if err != nil {
			if refused == nil {
				t.Fatalf("a response that can't be read is taken: %v", err)
			}
			return
		}
		// What both can read, both read alike.
		if theirs, err := xocsp.ParseResponse(der, nil); err == nil && len(p.Responses) == 1 {
			s := p.Responses[0]
			status := map[int]Status{xocsp.Good: Good, xocsp.Revoked: Revoked, xocsp.Unknown: Unknown}[theirs.Status]
			// Where more than one is chosen, or none, it takes one.
			if got := s.status(); got != None && got != status {
				t.Fatalf("status: got %v, the library %v", got, status)
			}
			if s.ID.Serial.Cmp(theirs.SerialNumber) != 0 || !s.ThisUpdate.Equal(theirs.ThisUpdate) || !s.NextUpdate.Equal(theirs.NextUpdate) {
				t.Fatalf("got %+v, the library %+v", s, theirs)
			}
		}
		if refused == nil && (r.Status == None || r.ThisUpdate.After(testNow.Add(Skew)) || r.NextUpdate.Before(testNow.Add(-Skew))) {
			t.Fatalf("out of date: %+v", r)
		}
		if refused == nil && !slices.ContainsFunc(signed, func(tbs []byte) bool { return bytes.Equal(tbs, p.Raw) }) {
			t.Fatalf("forged: %+v", r)
		}
	})
}
