// Package ocsp asks a responder for the status of one certificate and judges
// what it answers (RFC 6960, and RFC 5019 for the way over HTTP).
//
// Words: a request names a certificate by its issuer's name and key, hashed,
// and its serial number; a [Response] is a verified statement about that
// certificate; its signer is the issuer itself, or a responder that the issuer
// delegated by a certificate.
//
// Invariants: nothing is believed before its signer is known to be the issuer
// or its delegate; a statement about another certificate, of another time, or
// with a critical extension that we don't know is refused; every answer is
// bounded before it is read, and parsed once.
//
// The parser is our own, over encoding/asn1: golang.org/x/crypto/ocsp compares
// serial numbers alone and hides the issuer's hashes, looks at the first
// certificate only, knows neither Ed25519 nor nonces, and says nothing about
// delegation and times. The tests hold the two against each other.
package ocsp

import (
	"crypto/fips140"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"time"
)

const (
	// MaxResponse bounds an answer, in bytes.
	MaxResponse = 64 << 10
	// Skew is how far the responder's clock and ours may differ.
	Skew = 5 * time.Minute
	// MaxNonce bounds a nonce, in bytes (RFC 9654, 2.1).
	MaxNonce = 128
	// maxCertificates and maxStatements bound what is in an answer.
	maxCertificates = 8
	maxStatements   = 64
)

// Status is what a responder says of a certificate; the zero value is that it
// said nothing.
type Status int

const (
	None Status = iota
	Good
	Revoked
	Unknown // the responder doesn't know the certificate
)

// String returns "none", "good", "revoked" or "unknown".
func (s Status) String() string {
	switch s {
	case Good:
		return "good"
	case Revoked:
		return "revoked"
	case Unknown:
		return "unknown"
	}
	return "none"
}

// Response is a verified statement about one certificate.
type Response struct {
	Raw    []byte // DER, as it can be stapled
	Status Status

	ProducedAt, ThisUpdate time.Time
	// NextUpdate is zero when the responder names no end: newer information may
	// then be had at any time.
	NextUpdate time.Time

	RevokedAt time.Time // with Revoked
	// Reason is the CRLReason of RFC 5280, 5.3.1; 0 where none is given.
	Reason int

	// Delegate is the responder's certificate, nil when the issuer itself signed.
	// Whether it was revoked is not judged; see NoCheck.
	Delegate *x509.Certificate
	// NoCheck tells that the issuer vouches for the delegate for as long as its
	// certificate is valid (id-pkix-ocsp-nocheck, RFC 6960, 4.2.2.2.1).
	NoCheck bool
	// Nonced tells that the answer repeats the nonce of the request.
	Nonced bool
}

// Error statuses of a responder (RFC 6960, 4.2.1).
const (
	MalformedRequest  RefusedError = 1
	InternalError     RefusedError = 2
	TryLater          RefusedError = 3
	SignatureRequired RefusedError = 5
	Unauthorized      RefusedError = 6
)

// RefusedError is the status of a responder that gave no statement.
type RefusedError int

func (e RefusedError) Error() string {
	text := "status " + strconv.Itoa(int(e))
	switch e {
	case MalformedRequest:
		text = "malformed request"
	case InternalError:
		text = "internal error"
	case TryLater:
		text = "try later"
	case SignatureRequired:
		text = "signature required"
	case Unauthorized:
		text = "unauthorized"
	}
	return "responder refuses: " + text
}

var (
	oidBasic   = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 1}
	oidNonce   = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 2}
	oidNoCheck = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}
	oidSHA1    = asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}
	oidSHA256  = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidSHA384  = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}
	oidSHA512  = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}
)

// What follows is the ASN.1 of RFC 6960, 4.1.1 and 4.2.1.

type certID struct {
	Hash     pkix.AlgorithmIdentifier
	NameHash []byte
	KeyHash  []byte
	Serial   *big.Int
	Behind   asn1.RawValue `asn1:"optional"` // of an answer; see parse.go
}

type request struct {
	TBS tbsRequest
}

type tbsRequest struct {
	List       []singleRequest
	Extensions []pkix.Extension `asn1:"explicit,tag:2,optional,omitempty"`
}

type singleRequest struct {
	ID certID
}

// NewRequest returns the DER of a request about a certificate. With a nonce, of
// 1 to MaxNonce random bytes, the answer can't be an old one; responders that
// sign in advance leave it out of their answer, so that none is nil.
func NewRequest(cert, issuer *x509.Certificate, nonce []byte) ([]byte, error) {
	key, err := publicKeyBits(issuer)
	if err != nil {
		return nil, err
	}
	// RFC 5019, 2.1.1: SHA-1, which every responder knows.
	r := request{TBS: tbsRequest{List: []singleRequest{{certID{
		Hash:     pkix.AlgorithmIdentifier{Algorithm: oidSHA1, Parameters: asn1.NullRawValue},
		NameHash: identify(issuer.RawSubject), KeyHash: identify(key), Serial: cert.SerialNumber,
	}}}}}
	if nonce != nil {
		if len(nonce) == 0 || len(nonce) > MaxNonce {
			return nil, fmt.Errorf("nonce of %d bytes: 1 to %d are meant", len(nonce), MaxNonce)
		}
		value, err := asn1.Marshal(nonce)
		if err != nil {
			return nil, err
		}
		r.TBS.Extensions = []pkix.Extension{{Id: oidNonce, Value: value}}
	}
	return asn1.Marshal(r)
}

// identify is SHA-1 where OCSP demands it as the short name of a key: nothing
// rests on it, since the signature is checked with the key itself. So it is
// no use that FIPS 140-3 rules out.
func identify(data []byte) []byte {
	var sum [sha1.Size]byte
	fips140.WithoutEnforcement(func() { sum = sha1.Sum(data) })
	return sum[:]
}

// publicKeyBits is the public key of a certificate without its algorithm.
func publicKeyBits(c *x509.Certificate) ([]byte, error) {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if rest, err := asn1.Unmarshal(c.RawSubjectPublicKeyInfo, &info); err != nil || len(rest) != 0 {
		return nil, errors.New("public key of the certificate can't be read")
	}
	return info.Key.RightAlign(), nil
}
