package revocation

import (
	"bytes"
	"crypto"
	"crypto/fips140"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"errors"

	"golang.org/x/crypto/cryptobyte"
	ber "golang.org/x/crypto/cryptobyte/asn1"
	"golang.org/x/crypto/ocsp"
)

const nonceSize = 32 // RFC 9654, 2.1

var oidNonce = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 2}

// NewRequest returns an OCSP request for the status of c in DER (RFC 6960, 4.1),
// and the nonce in it (RFC 8954), which [ParseAnswer] wants to see.
func NewRequest(c, issuer *x509.Certificate) (der, nonce []byte, err error) {
	var plain []byte
	// Most responders know SHA-1 alone (RFC 5019, 2.1.1).
	naming(func() { plain, err = ocsp.CreateRequest(c, issuer, &ocsp.RequestOptions{Hash: crypto.SHA1}) })
	if err != nil {
		return nil, nil, err
	}
	nonce = make([]byte, nonceSize)
	if _, err := rand.Read(nonce); err != nil {
		return nil, nil, err
	}
	der, err = withNonce(plain, nonce)
	return der, nonce, err
}

// withNonce adds requestExtensions to a request that has none.
func withNonce(plain, nonce []byte) ([]byte, error) {
	in := cryptobyte.String(plain)
	var request, tbs cryptobyte.String
	if !in.ReadASN1(&request, ber.SEQUENCE) || !in.Empty() || !request.ReadASN1(&tbs, ber.SEQUENCE) || !request.Empty() {
		return nil, errors.New("unexpected form of an OCSP request")
	}
	var b cryptobyte.Builder
	b.AddASN1(ber.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(ber.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddBytes(tbs)
			b.AddASN1(constructed(2), func(b *cryptobyte.Builder) {
				b.AddASN1(ber.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1(ber.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddASN1ObjectIdentifier(oidNonce)
						b.AddASN1(ber.OCTET_STRING, func(b *cryptobyte.Builder) { b.AddASN1OctetString(nonce) })
					})
				})
			})
		})
	})
	return b.Bytes()
}

// names reports whether a CertID (RFC 6960, 4.1.1) is of issuer, and the serial
// number that it has.
func (id *certID) names(issuer *x509.Certificate) bool {
	hash := crypto.Hash(0)
	for _, h := range []struct {
		oid  asn1.ObjectIdentifier
		hash crypto.Hash
	}{
		{asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}, crypto.SHA1},
		{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}, crypto.SHA256},
		{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}, crypto.SHA384},
		{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}, crypto.SHA512},
	} {
		if h.oid.Equal(id.hash) {
			hash = h.hash
		}
	}
	if hash == 0 {
		return false
	}
	key, ok := publicKey(issuer)
	return ok && bytes.Equal(sum(hash, issuer.RawSubject), id.name) && bytes.Equal(sum(hash, key), id.key)
}

// sum is the short name of a name or a key.
func sum(hash crypto.Hash, data []byte) (out []byte) {
	naming(func() {
		h := hash.New()
		h.Write(data)
		out = h.Sum(nil)
	})
	return out
}

// naming runs f, which may use SHA-1 as OCSP has it: for a short name of an issuer,
// on which nothing rests, since signatures are checked with the issuer's own key. So
// FIPS 140-3 does not rule it out.
func naming(f func()) { fips140.WithoutEnforcement(f) }

// publicKey is the BIT STRING of c's key, without what says which kind it is.
func publicKey(c *x509.Certificate) ([]byte, bool) {
	in := cryptobyte.String(c.RawSubjectPublicKeyInfo)
	var info, algorithm cryptobyte.String
	var key asn1.BitString
	ok := in.ReadASN1(&info, ber.SEQUENCE) && info.ReadASN1(&algorithm, ber.SEQUENCE) && info.ReadASN1BitString(&key)
	return key.RightAlign(), ok
}
