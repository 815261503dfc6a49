package revocation

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	ber "golang.org/x/crypto/cryptobyte/asn1"
	xocsp "golang.org/x/crypto/ocsp"

	"sallyport/certs/ocsp"
)

// answerOf is an answer that a test makes; the zero value is "good".
type answerOf struct {
	about, issuer  *x509.Certificate
	signer         *ca
	status         []byte // CertStatus in DER
	this, next     time.Duration
	noNext         bool
	nonce          []byte
	byKey          bool
	hash           crypto.Hash
	certificates   []*x509.Certificate
	extension      []byte // a further one
	algorithm      asn1.ObjectIdentifier
	options        crypto.SignerOpts
	twice          bool
	spoilSignature bool
}

var (
	isGood    = []byte{0x80, 0}
	isUnknown = []byte{0x82, 0}
)

func isRevoked(reason byte) []byte {
	return tlv(0xa1, generalized(testNow.Add(-time.Hour)), tlv(0xa0, []byte{0x0a, 1, reason}))
}

func generalized(t time.Time) []byte {
	return tlv(0x18, []byte(t.UTC().Format("20060102150405Z")))
}

func (a answerOf) der(t testing.TB) []byte {
	t.Helper()
	if a.status == nil {
		a.status = isGood
	}
	if a.hash == 0 {
		a.hash = crypto.SHA1
	}
	if a.algorithm == nil {
		a.algorithm, a.options = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}, crypto.SHA256
	}
	if a.this == 0 {
		a.this = -time.Minute
	}
	if a.next == 0 {
		a.next = time.Hour
	}
	key, _ := publicKey(a.issuer)
	hashes := map[crypto.Hash]asn1.ObjectIdentifier{crypto.SHA1: {1, 3, 14, 3, 2, 26}, crypto.SHA256: {2, 16, 840, 1, 101, 3, 4, 2, 1}}
	var data cryptobyte.Builder
	data.AddASN1(ber.SEQUENCE, func(b *cryptobyte.Builder) {
		if a.byKey {
			signerKey, _ := publicKey(a.signer.cert)
			id := sha1.Sum(signerKey)
			b.AddASN1(constructed(2), func(b *cryptobyte.Builder) { b.AddASN1OctetString(id[:]) })
		} else {
			b.AddASN1(constructed(1), func(b *cryptobyte.Builder) { b.AddBytes(a.signer.cert.RawSubject) })
		}
		b.AddBytes(generalized(testNow.Add(a.this)))
		b.AddASN1(ber.SEQUENCE, func(b *cryptobyte.Builder) {
			single := func(b *cryptobyte.Builder) {
				b.AddASN1(ber.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1(ber.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(hashes[a.hash]) })
					b.AddASN1OctetString(sum(a.hash, a.issuer.RawSubject))
					b.AddASN1OctetString(sum(a.hash, key))
					b.AddASN1BigInt(a.about.SerialNumber)
				})
				b.AddBytes(a.status)
				b.AddBytes(generalized(testNow.Add(a.this)))
				if !a.noNext {
					b.AddBytes(tlv(0xa0, generalized(testNow.Add(a.next))))
				}
			}
			b.AddASN1(ber.SEQUENCE, single)
			if a.twice {
				b.AddASN1(ber.SEQUENCE, single)
			}
		})
		if a.nonce != nil || a.extension != nil {
			b.AddASN1(constructed(1), func(b *cryptobyte.Builder) {
				b.AddASN1(ber.SEQUENCE, func(b *cryptobyte.Builder) {
					if a.nonce != nil {
						b.AddASN1(ber.SEQUENCE, func(b *cryptobyte.Builder) {
							b.AddASN1ObjectIdentifier(oidNonce)
							b.AddASN1(ber.OCTET_STRING, func(b *cryptobyte.Builder) { b.AddASN1OctetString(a.nonce) })
						})
					}
					b.AddBytes(a.extension)
				})
			})
		}
	})
	tbs, err := data.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	digest := tbs
	if h := a.options.HashFunc(); h != 0 {
		digest = sum(h, tbs)
	}
	signature, err := a.signer.key.Sign(rand.Reader, digest, a.options)
	if err != nil {
		t.Fatal(err)
	}
	if a.spoilSignature {
		tbs = bytes.Replace(tbs, isRevoked(1), isRevoked(2), 1)
	}
	var b cryptobyte.Builder
	b.AddASN1(ber.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Enum(0)
		b.AddASN1(constructed(0), func(b *cryptobyte.Builder) {
			b.AddASN1(ber.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(oidBasic)
				b.AddASN1(ber.OCTET_STRING, func(b *cryptobyte.Builder) {
					b.AddASN1(ber.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddBytes(tbs)
						b.AddASN1(ber.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(a.algorithm) })
						b.AddASN1BitString(signature)
						if len(a.certificates) > 0 {
							b.AddASN1(constructed(0), func(b *cryptobyte.Builder) {
								b.AddASN1(ber.SEQUENCE, func(b *cryptobyte.Builder) {
									for _, c := range a.certificates {
										b.AddBytes(c.Raw)
									}
								})
							})
						}
					})
				})
			})
		})
	})
	der, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// publicKey is the BIT STRING of c's key, without what says which kind it is.
func publicKey(c *x509.Certificate) ([]byte, bool) {
	in := cryptobyte.String(c.RawSubjectPublicKeyInfo)
	var info, algorithm cryptobyte.String
	var key asn1.BitString
	ok := in.ReadASN1(&info, ber.SEQUENCE) && info.ReadASN1(&algorithm, ber.SEQUENCE) && info.ReadASN1BitString(&key)
	return key.RightAlign(), ok
}

func sum(hash crypto.Hash, data []byte) []byte {
	h := hash.New()
	h.Write(data)
	return h.Sum(nil)
}

var (
	oidBasic = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 1}
	oidNonce = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 2}
)

// responderCert issues a certificate for a delegated responder.
func (a *ca) responder(t testing.TB, change ...func(*x509.Certificate)) *ca {
	t.Helper()
	key := newKey(t)
	all := append([]func(*x509.Certificate){func(c *x509.Certificate) {
		c.Subject, c.ExtKeyUsage = pkix.Name{CommonName: "responder"}, []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}
	}}, change...)
	return &ca{a.issue(t, key, all...), key}
}

func TestAnswers(t *testing.T) {
	root := newCA(t, "root", nil)
	sub := newCA(t, "sub", root)
	twin := newCA(t, "sub", root) // the name, not the key
	leaf, other := sub.leaf(t), sub.leaf(t)
	delegate := sub.responder(t)
	usage := func(u ...x509.ExtKeyUsage) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.ExtKeyUsage = u }
	}
	dates := func(from, to time.Duration) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = testNow.Add(from), testNow.Add(to) }
	}
	nonce := bytes.Repeat([]byte{7}, nonceSize)
	private := tlv(0x30, []byte{6, 3, 0x2a, 3, 4}, []byte{1, 1, 0xff}, tlv(4))
	nonceTwice := tlv(0x30, []byte{6, 9, 0x2b, 6, 1, 5, 5, 7, 48, 1, 2}, tlv(4, tlv(4, nonce)))
	good := answerOf{about: leaf, issuer: sub.cert, signer: sub}
	by := func(signer *ca, certificates ...*x509.Certificate) answerOf {
		a := good
		a.signer, a.certificates = signer, certificates
		return a
	}
	but := func(change func(*answerOf)) answerOf {
		a := good
		change(&a)
		return a
	}
	with := func(a *ca) answerOf { return by(a, a.cert) }
	const fine = ""
	for _, c := range []struct {
		name   string
		answer answerOf
		want   string // of the error
	}{
		{"the issuer itself", good, fine},
		{"the issuer, by its key", but(func(a *answerOf) { a.byKey = true }), fine},
		{"the issuer, who sends its certificate", by(sub, sub.cert), fine},
		{"hashes with SHA-256", but(func(a *answerOf) { a.hash = crypto.SHA256 }), fine},
		{"the nonce", but(func(a *answerOf) { a.nonce = nonce }), fine},
		{"a delegated responder", with(delegate), fine},
		{"a delegated responder, not the first certificate", by(delegate, root.cert, delegate.cert), fine},
		{"no next update, fresh", but(func(a *answerOf) { a.noNext = true }), fine},
		{"a clock that is four minutes ahead", but(func(a *answerOf) { a.this = 4 * time.Minute }), fine},
		{"a next update four minutes ago", but(func(a *answerOf) { a.this, a.next = -time.Hour, -4*time.Minute }), fine},

		{"another issuer of that name", by(twin), "not signed"},
		{"another issuer of that name, with certificate", by(twin, twin.cert), "not issued by"},
		{"the root above", by(root, root.cert), "not issued by"},
		{"a stranger who says to be the issuer", by(&ca{sub.cert, newKey(t)}), "not signed"},
		{"a delegate of the root", with(root.responder(t)), "not issued by"},
		{"a delegate of the twin", with(twin.responder(t)), "not issued by"},
		{"without the usage", with(sub.responder(t, usage(x509.ExtKeyUsageServerAuth))), "not meant for signing OCSP"},
		{"any usage", with(sub.responder(t, usage(x509.ExtKeyUsageAny))), "not meant for signing OCSP"},
		{"no usage", with(sub.responder(t, usage())), "not meant for signing OCSP"},
		{"a client's certificate of the issuer", with(&ca{leaf, newKey(t)}), "not meant for signing OCSP"},
		{"an expired delegate", with(sub.responder(t, dates(-time.Hour, -time.Second))), "expired"},
		{"a delegate of tomorrow", with(sub.responder(t, dates(time.Second, time.Hour))), "not valid yet"},
		{"a delegate that may only encipher", with(sub.responder(t, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment })), "not meant for signatures"},
		{"a delegate with a critical extension", with(sub.responder(t, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
		})), "critical extension"},
		{"a delegate that does not come along", by(delegate), "not signed"},
		{"a delegate's name with another key", by(&ca{delegate.cert, newKey(t)}, delegate.cert), "signature of the response is wrong"},

		{"another serial number", but(func(a *answerOf) { a.about = other }), "not about this certificate"},
		{"another issuer's certificate of that number", but(func(a *answerOf) { a.issuer = twin.cert }), "another issuer"},
		{"two statuses", but(func(a *answerOf) { a.twice = true }), "twice"},
		{"no status", but(func(a *answerOf) { a.status = []byte{} }), "no status"},
		{"good and revoked", but(func(a *answerOf) { a.status = append(bytes.Clone(isGood), isRevoked(1)...) }), "several at once"},
		{"another nonce", but(func(a *answerOf) { a.nonce = bytes.Repeat([]byte{8}, nonceSize) }), "nonce differs"},
		{"a part of the nonce", but(func(a *answerOf) { a.nonce = nonce[:8] }), "nonce differs"},
		{"an empty nonce", but(func(a *answerOf) { a.nonce = []byte{} }), "nonce differs"},
		{"the nonce twice", but(func(a *answerOf) { a.nonce, a.extension = nonce, nonceTwice }), "nonce"},
		{"an unknown critical extension", but(func(a *answerOf) { a.extension = private }), "critical extension"},
		{"expired", but(func(a *answerOf) { a.this, a.next = -time.Hour, -6*time.Minute }), "expired"},
		{"from the future", but(func(a *answerOf) { a.this = 6 * time.Minute }), "not valid before"},
		{"no next update, an hour old", but(func(a *answerOf) { a.noNext, a.this = true, -time.Hour }), "no next update"},
		{"next before this", but(func(a *answerOf) { a.this, a.next = 4*time.Minute, time.Minute }), "ends before"},
		{"signed with SHA-1", but(func(a *answerOf) {
			a.algorithm, a.options = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 1}, crypto.SHA1
		}), "are accepted"},
	} {
		a, err := readAnswer(c.answer.der(t), leaf, sub.cert, nonce, testNow)
		switch {
		case c.want == fine && (err != nil || a.Status != ocsp.Good):
			t.Errorf("%s: %v, want it good", c.name, err)
		case c.want != fine && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := readAnswer(but(func(a *answerOf) { a.nonce = nonce }).der(t), leaf, sub.cert, nil, testNow); err == nil {
		t.Error("a nonce that was not sent: accepted")
	}
}

func TestAnswersThatAreNotGood(t *testing.T) {
	root := newCA(t, "root", nil)
	leaf := root.leaf(t)
	a, err := readAnswer(answerOf{about: leaf, issuer: root.cert, signer: root, status: isRevoked(1)}.der(t), leaf, root.cert, nil, testNow)
	if err != nil || a.Status != ocsp.Revoked || a.Reason != 1 || !a.RevokedAt.Equal(testNow.Add(-time.Hour)) {
		t.Errorf("revoked: %+v, %v", a, err)
	}
	a, err = readAnswer(answerOf{about: leaf, issuer: root.cert, signer: root, status: isUnknown}.der(t), leaf, root.cert, nil, testNow)
	if err != nil || a.Status != ocsp.Unknown {
		t.Errorf("unknown: %+v, %v", a, err)
	}
	if _, err = readAnswer(answerOf{about: leaf, issuer: root.cert, signer: root, status: isRevoked(1), spoilSignature: true}.der(t), leaf, root.cert, nil, testNow); err == nil {
		t.Error("changed after it was signed: accepted")
	}
	for name, der := range map[string][]byte{
		"malformed request": xocsp.MalformedRequestErrorResponse, "internal error": xocsp.InternalErrorErrorResponse,
		"try later": xocsp.TryLaterErrorResponse, "unauthorized": xocsp.UnauthorizedErrorResponse,
		"success without a body": {0x30, 3, 0x0a, 1, 0}, "nothing": nil, "a web page": []byte("<html>"),
	} {
		if _, err := readAnswer(der, leaf, root.cert, nil, testNow); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestAnswersByKindOfKey(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name      string
		key       crypto.Signer
		algorithm asn1.ObjectIdentifier
		options   crypto.SignerOpts
	}{
		{"RSA", rsaKey, asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}, crypto.SHA256},
		{"Ed25519", edKey, asn1.ObjectIdentifier{1, 3, 101, 112}, crypto.Hash(0)},
	} {
		root := newCAWith(t, "root", nil, c.key)
		leaf := root.leaf(t)
		a := answerOf{about: leaf, issuer: root.cert, signer: root, algorithm: c.algorithm, options: c.options, certificates: []*x509.Certificate{root.cert}}
		if got, err := readAnswer(a.der(t), leaf, root.cert, nil, testNow); err != nil || got.Status != ocsp.Good {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// The library is the other half of the conversation.
func TestRequestAndAnswerOfTheLibrary(t *testing.T) {
	root := newCA(t, "root", nil)
	leaf := root.leaf(t)
	nonce := bytes.Repeat([]byte{7}, nonceSize)
	der, err := ocsp.NewRequest(leaf, root.cert, nonce)
	if err != nil {
		t.Fatal(err)
	}
	r, err := xocsp.ParseRequest(der)
	if err != nil || r.SerialNumber.Cmp(leaf.SerialNumber) != 0 || !bytes.Equal(nonceOf(der), nonce) {
		t.Fatalf("%v, %+v", err, r)
	}
	for _, hash := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		answer, err := xocsp.CreateResponse(root.cert, root.cert, xocsp.Response{
			Status: xocsp.Revoked, SerialNumber: leaf.SerialNumber, RevokedAt: testNow, RevocationReason: 4, IssuerHash: hash,
			ThisUpdate: testNow.Add(-time.Minute), NextUpdate: testNow.Add(time.Hour),
		}, root.key)
		if err != nil {
			t.Fatal(err)
		}
		a, err := readAnswer(answer, leaf, root.cert, nonce, testNow.Add(time.Minute))
		if err != nil || a.Status != ocsp.Revoked || a.Reason != 4 {
			t.Errorf("%v: %+v, %v", hash, a, err)
		}
	}
}
