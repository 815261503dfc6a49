package revocation

import (
	"bytes"
	"crypto"
	"crypto/subtle"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	ber "golang.org/x/crypto/cryptobyte/asn1"
	"golang.org/x/crypto/ocsp"
)

// Status is a certificate's status in an OCSP answer.
type Status int

// The statuses. The zero value is not good.
const (
	StatusUnknown Status = iota
	StatusGood
	StatusRevoked
)

// Bounds of an answer.
const (
	skew           = 5 * time.Minute // between the responder's clock and ours
	unboundedAge   = 5 * time.Minute // of an answer without a next update
	maxSingles     = 64              // certificates in one answer
	maxSigners     = 8               // certificates that come with an answer
	maxNonceAnswer = 128             // bytes; RFC 9654, 2.1
)

// Answer is an OCSP response for one certificate that was verified.
type Answer struct {
	Status     Status
	Reason     Reason    // of StatusRevoked
	RevokedAt  time.Time // of StatusRevoked
	ProducedAt time.Time
	ThisUpdate time.Time
	NextUpdate time.Time // zero if there is newer information at any time
	// Responder is the delegated responder's certificate, nil if the issuer signed.
	Responder *x509.Certificate
	// NoCheck says that the issuer asks not to check the responder's own
	// revocation (RFC 6960, 4.2.2.2.1).
	NoCheck bool

	until time.Time // to be used so long
}

// counts reports whether the answer may be used still. A revocation stays one
// until another answer says otherwise.
func (a *Answer) counts(now time.Time) bool {
	return a.Status == StatusRevoked || !now.After(a.until)
}

// ParseAnswer reads an OCSP response in DER and verifies it (RFC 6960, 3.2): it
// is about c and no other certificate, signed by issuer or by a responder to
// which issuer itself delegated that and which is valid now, in force within five
// minutes, and its nonce, if it has one, is the one that was sent (nil for none).
// A status that is not good is no error.
func ParseAnswer(der []byte, c, issuer *x509.Certificate, nonce []byte, now time.Time) (*Answer, error) {
	r, err := readResponse(der)
	if err != nil {
		return nil, err
	}
	if err := r.checkSubject(c, issuer); err != nil {
		return nil, err
	}
	if err := r.checkNonce(nonce); err != nil {
		return nil, err
	}
	responder, err := r.verify(issuer, now)
	if err != nil {
		return nil, err
	}
	// The signature was verified: the library is given the answer without
	// certificates, since it would take the first for the signer, knows neither
	// Ed25519 nor what makes a delegated responder, and would fail on an issuer
	// that sends its own.
	bare, err := r.bare()
	if err != nil {
		return nil, err
	}
	parsed, err := ocsp.ParseResponseForCert(bare, c, nil)
	if err != nil {
		return nil, fmt.Errorf("malformed answer: %w", err)
	}
	a := &Answer{ProducedAt: parsed.ProducedAt, ThisUpdate: parsed.ThisUpdate, NextUpdate: parsed.NextUpdate, Responder: responder}
	if responder != nil {
		a.NoCheck = slices.ContainsFunc(responder.Extensions, func(e extension) bool { return e.Id.Equal(oidNoCheck) })
	}
	switch parsed.Status {
	case ocsp.Good:
		a.Status = StatusGood
	case ocsp.Revoked:
		a.Status, a.RevokedAt, a.Reason = StatusRevoked, parsed.RevokedAt, 255
		if n := parsed.RevocationReason; n >= 0 && n < 255 {
			a.Reason = Reason(n)
		}
	}
	return a, a.checkTimes(now)
}

func (a *Answer) checkTimes(now time.Time) error {
	switch {
	case a.ThisUpdate.After(now.Add(skew)) || a.ProducedAt.After(now.Add(skew)):
		return errors.New("the answer is not valid yet")
	case a.NextUpdate.IsZero() && now.Sub(a.ThisUpdate) > skew+unboundedAge:
		return errors.New("the answer is old, and has no next update")
	case a.NextUpdate.IsZero():
		a.until = now.Add(unboundedAge)
	case a.NextUpdate.Before(a.ThisUpdate):
		return errors.New("the answer's next update comes before this update")
	case now.After(a.NextUpdate.Add(skew)):
		return errors.New("the answer has expired")
	case now.After(a.NextUpdate):
		a.until = a.NextUpdate.Add(skew)
	default:
		a.until = a.NextUpdate
	}
	if a.Responder != nil && a.Responder.NotAfter.Before(a.until) {
		a.until = a.Responder.NotAfter
	}
	return nil
}

var (
	oidBasic   = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 1}
	oidNoCheck = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}
)

// response is a BasicOCSPResponse (RFC 6960, 4.2.1), as far as the library does
// not tell what is in it.
type response struct {
	tbs, algorithmDER cryptobyte.String // elements
	algorithm         asn1.ObjectIdentifier
	signature         asn1.BitString
	certificates      []cryptobyte.String // elements
	signerName        []byte              // of responderID, or
	signerKey         []byte              // SHA-1
	singles           []certID
	extensions        cryptobyte.String
	extended          bool
}

// certID says which certificate a single response is about.
type certID struct {
	hash      asn1.ObjectIdentifier
	name, key []byte
	serial    *big.Int
}

var errMalformed = errors.New("malformed answer")

func readResponse(der []byte) (*response, error) {
	in := cryptobyte.String(der)
	var whole, wrapped, body, octets, basic cryptobyte.String
	var status int
	var kind asn1.ObjectIdentifier
	if !in.ReadASN1(&whole, ber.SEQUENCE) || !in.Empty() || !whole.ReadASN1Enum(&status) {
		return nil, errMalformed
	}
	if s := ocsp.ResponseStatus(status); s != ocsp.Success {
		return nil, ocsp.ResponseError{Status: s}
	}
	if !whole.ReadASN1(&wrapped, constructed(0)) || !whole.Empty() ||
		!wrapped.ReadASN1(&body, ber.SEQUENCE) || !wrapped.Empty() ||
		!body.ReadASN1ObjectIdentifier(&kind) || !kind.Equal(oidBasic) ||
		!body.ReadASN1(&octets, ber.OCTET_STRING) || !body.Empty() ||
		!octets.ReadASN1(&basic, ber.SEQUENCE) || !octets.Empty() {
		return nil, errMalformed
	}
	r := &response{}
	var certificates, list cryptobyte.String
	var some bool
	if !basic.ReadASN1Element(&r.tbs, ber.SEQUENCE) || !basic.ReadASN1Element(&r.algorithmDER, ber.SEQUENCE) ||
		!basic.ReadASN1BitString(&r.signature) || !basic.ReadOptionalASN1(&certificates, &some, constructed(0)) || !basic.Empty() {
		return nil, errMalformed
	}
	algorithm := r.algorithmDER
	var inner cryptobyte.String
	if !algorithm.ReadASN1(&inner, ber.SEQUENCE) || !inner.ReadASN1ObjectIdentifier(&r.algorithm) {
		return nil, errMalformed
	}
	if some && (!certificates.ReadASN1(&list, ber.SEQUENCE) || !certificates.Empty()) {
		return nil, errMalformed
	}
	for !list.Empty() {
		var one cryptobyte.String
		if !list.ReadASN1Element(&one, ber.SEQUENCE) || len(r.certificates) == maxSigners {
			return nil, errMalformed
		}
		r.certificates = append(r.certificates, one)
	}
	if !r.readData() {
		return nil, errMalformed
	}
	return r, nil
}

// readData reads the ResponseData.
func (r *response) readData() bool {
	element := r.tbs
	var data, id, key, at, singles, version cryptobyte.String
	if !element.ReadASN1(&data, ber.SEQUENCE) || !data.ReadOptionalASN1(&version, nil, constructed(0)) {
		return false
	}
	switch {
	case data.PeekASN1Tag(constructed(1)):
		if !data.ReadASN1(&id, constructed(1)) {
			return false
		}
		r.signerName = id
	case data.ReadASN1(&id, constructed(2)) && id.ReadASN1(&key, ber.OCTET_STRING) && id.Empty() && len(key) > 0:
		r.signerKey = key
	default:
		return false
	}
	if !data.ReadASN1(&at, ber.GeneralizedTime) || !data.ReadASN1(&singles, ber.SEQUENCE) {
		return false
	}
	for !singles.Empty() {
		id, ok := readSingle(&singles)
		if !ok || len(r.singles) == maxSingles {
			return false
		}
		r.singles = append(r.singles, id)
	}
	var wrapped cryptobyte.String
	if !data.ReadOptionalASN1(&wrapped, &r.extended, constructed(1)) || !data.Empty() {
		return false
	}
	return !r.extended || wrapped.ReadASN1(&r.extensions, ber.SEQUENCE) && wrapped.Empty()
}

// readSingle reads a SingleResponse, and of it the CertID.
func readSingle(in *cryptobyte.String) (certID, bool) {
	id := certID{serial: new(big.Int)}
	var single, body, algorithm, name, key, status cryptobyte.String
	var tag ber.Tag
	ok := in.ReadASN1(&single, ber.SEQUENCE) && single.ReadASN1(&body, ber.SEQUENCE) &&
		body.ReadASN1(&algorithm, ber.SEQUENCE) && algorithm.ReadASN1ObjectIdentifier(&id.hash) &&
		body.ReadASN1(&name, ber.OCTET_STRING) && body.ReadASN1(&key, ber.OCTET_STRING) &&
		body.ReadASN1Integer(id.serial) && body.Empty() &&
		// Exactly one status: of several the library would take good before revoked.
		single.ReadAnyASN1(&status, &tag) && (tag == primitive(0) || tag == constructed(1) || tag == primitive(2)) &&
		single.PeekASN1Tag(ber.GeneralizedTime)
	id.name, id.key = name, key
	return id, ok
}

// checkSubject wants one single response about c, and none about another
// certificate with that number.
func (r *response) checkSubject(c, issuer *x509.Certificate) error {
	about := 0
	for _, id := range r.singles {
		if id.serial.Cmp(c.SerialNumber) != 0 {
			continue
		}
		if !id.names(issuer) {
			return errors.New("the answer is about a certificate of another issuer")
		}
		about++
	}
	switch about {
	case 0:
		return errors.New("the answer is about another certificate")
	case 1:
		return nil
	}
	return errors.New("the answer has several statuses for the certificate")
}

// checkNonce compares the nonce, and refuses critical extensions that are not known.
func (r *response) checkNonce(sent []byte) error {
	seen := false
	for !r.extensions.Empty() {
		var one, value, nonce cryptobyte.String
		var oid asn1.ObjectIdentifier
		critical := false
		if !r.extensions.ReadASN1(&one, ber.SEQUENCE) || !one.ReadASN1ObjectIdentifier(&oid) ||
			one.PeekASN1Tag(ber.BOOLEAN) && !one.ReadASN1Boolean(&critical) ||
			!one.ReadASN1(&value, ber.OCTET_STRING) || !one.Empty() {
			return errMalformed
		}
		switch {
		case !oid.Equal(oidNonce) && critical:
			return fmt.Errorf("critical extension %s of the answer is not supported", oid)
		case !oid.Equal(oidNonce):
		case seen || sent == nil:
			return errors.New("the answer has a nonce that was not sent")
		default:
			seen = true
			if len(value) > maxNonceAnswer+8 || !value.ReadASN1(&nonce, ber.OCTET_STRING) || !value.Empty() ||
				subtle.ConstantTimeCompare(nonce, sent) != 1 {
				return errors.New("the answer has another nonce than was sent")
			}
		}
	}
	return nil
}

// verify checks the signature: by issuer, for which it returns nil, or by a
// delegated responder (RFC 6960, 4.2.2.2).
func (r *response) verify(issuer *x509.Certificate, now time.Time) (responder *x509.Certificate, err error) {
	algorithm := signatureAlgorithm(r.algorithm)
	if algorithm == x509.UnknownSignatureAlgorithm {
		return nil, fmt.Errorf("signature algorithm %s of the answer is not supported", r.algorithm)
	}
	signed := func(c *x509.Certificate) bool {
		return c.CheckSignature(algorithm, r.tbs, r.signature.RightAlign()) == nil
	}
	if r.identifies(issuer) && signed(issuer) {
		return nil, nil
	}
	err = errors.New("the answer is not signed by the certificate's issuer, nor does it bring its responder's certificate")
	for _, der := range r.certificates {
		c, parseErr := x509.ParseCertificate(der)
		if parseErr != nil {
			return nil, fmt.Errorf("responder's certificate: %w", parseErr)
		}
		if !r.identifies(c) {
			continue
		}
		if err = delegated(c, issuer, now); err != nil {
			err = fmt.Errorf("responder's certificate: %w", err)
			continue
		}
		if signed(c) {
			return c, nil
		}
		err = errors.New("the answer's signature is wrong")
	}
	return nil, err
}

// identifies reports whether the answer says that c signed it.
func (r *response) identifies(c *x509.Certificate) bool {
	if r.signerName != nil {
		return bytes.Equal(r.signerName, c.RawSubject)
	}
	key, ok := publicKey(c)
	return ok && bytes.Equal(sum(crypto.SHA1, key), r.signerKey)
}

// delegated refuses a responder that issuer has not made one.
func delegated(c, issuer *x509.Certificate, now time.Time) error {
	switch {
	case !bytes.Equal(c.RawIssuer, issuer.RawSubject) || c.CheckSignatureFrom(issuer) != nil:
		return errors.New("not issued by the certificate's issuer")
	case !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning):
		return errors.New("without the extended key usage OCSPSigning")
	case now.Before(c.NotBefore) || now.After(c.NotAfter):
		return errors.New("expired or not yet valid")
	case c.KeyUsage != 0 && c.KeyUsage&(x509.KeyUsageDigitalSignature|x509.KeyUsageContentCommitment) == 0:
		return errors.New("without the key usage digitalSignature")
	case len(c.UnhandledCriticalExtensions) > 0:
		return fmt.Errorf("critical extension %s is not supported", c.UnhandledCriticalExtensions[0])
	}
	return nil
}

// bare is the response without certificates.
func (r *response) bare() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(ber.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Enum(int64(ocsp.Success))
		b.AddASN1(constructed(0), func(b *cryptobyte.Builder) {
			b.AddASN1(ber.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(oidBasic)
				b.AddASN1(ber.OCTET_STRING, func(b *cryptobyte.Builder) {
					b.AddASN1(ber.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddBytes(r.tbs)
						b.AddBytes(r.algorithmDER)
						b.AddASN1BitString(r.signature.RightAlign())
					})
				})
			})
		})
	})
	return b.Bytes()
}

// signatureAlgorithm is without SHA-1 and what is older, and without RSA-PSS,
// whose parameters crypto/x509 doesn't read for others.
func signatureAlgorithm(oid asn1.ObjectIdentifier) x509.SignatureAlgorithm {
	for _, a := range []struct {
		oid       asn1.ObjectIdentifier
		algorithm x509.SignatureAlgorithm
	}{
		{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}, x509.SHA256WithRSA},
		{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 12}, x509.SHA384WithRSA},
		{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 13}, x509.SHA512WithRSA},
		{asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}, x509.ECDSAWithSHA256},
		{asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}, x509.ECDSAWithSHA384},
		{asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 4}, x509.ECDSAWithSHA512},
		{asn1.ObjectIdentifier{1, 3, 101, 112}, x509.PureEd25519},
	} {
		if a.oid.Equal(oid) {
			return a.algorithm
		}
	}
	return x509.UnknownSignatureAlgorithm
}
