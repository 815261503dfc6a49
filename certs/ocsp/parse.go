package ocsp

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"time"
)

// Every sequence ends with whatever comes behind what the standard has there:
// encoding/asn1 would pass over it.

type responseOuter struct {
	Status asn1.Enumerated
	Bytes  responseBytes `asn1:"explicit,tag:0,optional"`
	Behind asn1.RawValue `asn1:"optional"`
}

type responseBytes struct {
	Type   asn1.ObjectIdentifier
	Body   []byte
	Behind asn1.RawValue `asn1:"optional"`
}

type basicResponse struct {
	TBS          responseData
	Algorithm    pkix.AlgorithmIdentifier
	Signature    asn1.BitString
	Certificates []asn1.RawValue `asn1:"explicit,tag:0,optional,omitempty"`
	Behind       asn1.RawValue   `asn1:"optional"`
}

type responseData struct {
	Raw        asn1.RawContent
	Version    int `asn1:"optional,default:0,explicit,tag:0"`
	Responder  asn1.RawValue
	ProducedAt time.Time `asn1:"generalized"`
	Responses  []singleResponse
	Extensions []pkix.Extension `asn1:"explicit,tag:1,optional,omitempty"`
	Behind     asn1.RawValue    `asn1:"optional"`
}

// singleResponse has the choice CertStatus as three that are optional.
type singleResponse struct {
	ID         certID
	Good       asn1.Flag        `asn1:"tag:0,optional"`
	Revoked    revokedInfo      `asn1:"tag:1,optional"`
	Unknown    asn1.Flag        `asn1:"tag:2,optional"`
	ThisUpdate time.Time        `asn1:"generalized"`
	NextUpdate time.Time        `asn1:"generalized,explicit,tag:0,optional"`
	Extensions []pkix.Extension `asn1:"explicit,tag:1,optional,omitempty"`
	Behind     asn1.RawValue    `asn1:"optional"`
}

type revokedInfo struct {
	Raw    asn1.RawContent // tells that it is there, whatever its time
	At     time.Time       `asn1:"generalized"`
	Reason asn1.Enumerated `asn1:"explicit,tag:0,optional"`
	Behind asn1.RawValue   `asn1:"optional"`
}

// status is the choice made; none, or more than one, is None.
func (s *singleResponse) status() Status {
	made, status := 0, None
	if s.Good {
		made, status = made+1, Good
	}
	if len(s.Revoked.Raw) > 0 {
		made, status = made+1, Revoked
	}
	if s.Unknown {
		made, status = made+1, Unknown
	}
	if made != 1 {
		return None
	}
	return status
}

// ends tells whether nothing comes behind the statement and its parts.
func (s *singleResponse) ends() bool {
	return nothing(s.Behind) && nothing(s.ID.Behind) && nothing(s.Revoked.Behind)
}

func nothing(v asn1.RawValue) bool { return len(v.FullBytes) == 0 }

// parsed is a response whose signature nobody has checked.
type parsed struct {
	responseData
	algorithm    x509.SignatureAlgorithm
	signature    []byte
	certificates []*x509.Certificate
	byName       []byte // the responder's name, DER; or
	byKey        []byte // the SHA-1 of its key
	nonce        []byte
}

var (
	errTrailing = errors.New("data after the response")
	errBehind   = errors.New("response has parts that the standard doesn't")
)

// parse reads a response of at most MaxResponse bytes.
func parse(der []byte) (*parsed, error) {
	if len(der) > MaxResponse {
		return nil, fmt.Errorf("response of %d bytes: at most %d are read", len(der), MaxResponse)
	}
	var outer responseOuter
	if rest, err := asn1.Unmarshal(der, &outer); err != nil {
		return nil, fmt.Errorf("not an OCSP response: %w", err)
	} else if len(rest) != 0 {
		return nil, errTrailing
	}
	if outer.Status != 0 {
		return nil, RefusedError(outer.Status)
	}
	if !nothing(outer.Behind) || !nothing(outer.Bytes.Behind) {
		return nil, errBehind
	}
	if !outer.Bytes.Type.Equal(oidBasic) {
		return nil, errors.New("not a basic OCSP response")
	}
	var basic basicResponse
	if rest, err := asn1.Unmarshal(outer.Bytes.Body, &basic); err != nil {
		return nil, fmt.Errorf("basic OCSP response: %w", err)
	} else if len(rest) != 0 {
		return nil, errTrailing
	}
	if !nothing(basic.Behind) || !nothing(basic.TBS.Behind) {
		return nil, errBehind
	}
	if basic.TBS.Version != 0 {
		return nil, fmt.Errorf("OCSP response of version %d: only 1 is known", basic.TBS.Version+1)
	}
	if len(basic.TBS.Responses) > maxStatements {
		return nil, fmt.Errorf("%d statements in the response: at most %d are read", len(basic.TBS.Responses), maxStatements)
	}
	p := &parsed{responseData: basic.TBS, signature: basic.Signature.RightAlign()}
	var err error
	if p.algorithm, err = signatureAlgorithm(basic.Algorithm.Algorithm); err != nil {
		return nil, err
	}
	if err = p.responder(); err != nil {
		return nil, err
	}
	if err = p.extensions(); err != nil {
		return nil, err
	}
	if len(basic.Certificates) > maxCertificates {
		return nil, fmt.Errorf("%d certificates in the response: at most %d are read", len(basic.Certificates), maxCertificates)
	}
	for _, raw := range basic.Certificates {
		c, err := x509.ParseCertificate(raw.FullBytes)
		if err != nil {
			return nil, fmt.Errorf("certificate in the response: %w", err)
		}
		p.certificates = append(p.certificates, c)
	}
	return p, nil
}

// responder reads ResponderID: how the signer is named.
func (p *parsed) responder() error {
	id := p.Responder
	if id.Class == asn1.ClassContextSpecific && id.IsCompound {
		switch id.Tag {
		case 1:
			p.byName = id.Bytes
			return nil
		case 2:
			if rest, err := asn1.Unmarshal(id.Bytes, &p.byKey); err == nil && len(rest) == 0 && len(p.byKey) > 0 {
				return nil
			}
		}
	}
	return errors.New("responder is named neither by its name nor by its key")
}

// extensions reads those of the response as a whole.
func (p *parsed) extensions() error {
	for _, e := range p.Extensions {
		switch {
		case e.Id.Equal(oidNonce) && p.nonce != nil:
			return errors.New("response has two nonces")
		case e.Id.Equal(oidNonce):
			if len(e.Value) > MaxNonce+3 { // with its tag and length
				return fmt.Errorf("nonce of the response is longer than %d bytes", MaxNonce)
			}
			if rest, err := asn1.Unmarshal(e.Value, &p.nonce); err != nil || len(rest) != 0 || p.nonce == nil {
				return errors.New("nonce of the response can't be read")
			}
		case e.Critical:
			return fmt.Errorf("critical extension %s of the response is not known", e.Id)
		}
	}
	return nil
}

// signatureAlgorithm names what a response may be signed with. SHA-1 and MD5
// are refused: who can make collisions could make two statements of one; RSA-PSS,
// because crypto/x509 reads its parameters for nobody else.
func signatureAlgorithm(oid asn1.ObjectIdentifier) (x509.SignatureAlgorithm, error) {
	switch oid.String() {
	case "1.2.840.113549.1.1.11":
		return x509.SHA256WithRSA, nil
	case "1.2.840.113549.1.1.12":
		return x509.SHA384WithRSA, nil
	case "1.2.840.113549.1.1.13":
		return x509.SHA512WithRSA, nil
	case "1.2.840.10045.4.3.2":
		return x509.ECDSAWithSHA256, nil
	case "1.2.840.10045.4.3.3":
		return x509.ECDSAWithSHA384, nil
	case "1.2.840.10045.4.3.4":
		return x509.ECDSAWithSHA512, nil
	case "1.3.101.112":
		return x509.PureEd25519, nil
	}
	return 0, fmt.Errorf("response is signed with %s: RSA (PKCS #1 v1.5) and ECDSA with SHA-2, and Ed25519 are accepted", oid)
}
