package authn

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"sallyport/security"
)

// IdentitySource is where in a client certificate the user name stands.
type IdentitySource uint8

// The sources, as Mosquitto's use_identity_as_username and use_subject_as_username.
const (
	CommonName IdentitySource = iota // the one common name of the subject
	Subject                          // the whole subject: CN=..,OU=..,O=..
)

// Identity takes the user name from a verified client certificate; user name
// and password of the CONNECT are then not looked at. Where a listener has it,
// it is the first member. A client without a certificate is left to the next.
type Identity struct {
	Source IdentitySource
	// Realm of the principals; empty is "certificate".
	Realm string
	// JoinAnchors says that one name is one principal whichever trust anchor
	// vouches for it. Without it the realm holds the anchor's key, so that the
	// same name from another authority is someone else.
	JoinAnchors bool
}

// Name is "certificate".
func (Identity) Name() string { return "certificate" }

// Authenticate is Quick.
func (id Identity) Authenticate(_ context.Context, c *Credentials) (*security.Principal, error) {
	p, err, _ := id.Quick(c)
	return p, err
}

// Quick answers at once, always.
func (id Identity) Quick(c *Credentials) (*security.Principal, error, bool) {
	if c.Cert == nil {
		return nil, ErrNotMine, true
	}
	p, err := id.identify(c)
	if err != nil {
		return nil, &Refused{Method: id.Name(), Reason: err.Error()}, true
	}
	return p, nil, true
}

func (id Identity) identify(c *Credentials) (*security.Principal, error) {
	if !c.CertVerified {
		return nil, errors.New("certificate was not verified")
	}
	realm := id.Realm
	if realm == "" {
		realm = id.Name()
	}
	if !id.JoinAnchors {
		if c.Anchor == nil {
			return nil, errors.New("trust anchor of the certificate is not known")
		}
		// The anchor's key, not its name or serial: its renewal keeps every session.
		sum := sha256.Sum256(c.Anchor.RawSubjectPublicKeyInfo)
		realm += ":" + hex.EncodeToString(sum[:16])
	}
	name, err := id.name(c.Cert)
	if err != nil {
		return nil, err
	}
	return &security.Principal{Realm: realm, Name: name, Username: name}, nil
}

func (id Identity) name(cert *x509.Certificate) (string, error) {
	var rdns pkix.RDNSequence
	rest, err := asn1.Unmarshal(cert.RawSubject, &rdns)
	if err != nil || len(rest) != 0 {
		return "", errors.New("certificate subject can't be read")
	}
	var name string
	switch id.Source {
	case CommonName:
		name, err = commonName(rdns)
	case Subject:
		name, err = formatSubject(rdns)
	default:
		err = errors.New("unknown identity source")
	}
	if err == nil && name == "" {
		err = errors.New("certificate subject is empty")
	}
	return name, err
}

var oidCommonName = asn1.ObjectIdentifier{2, 5, 4, 3}

// commonName is the subject's only common name. With several, which one counts
// would be an accident of the implementation, so that is refused.
func commonName(rdns pkix.RDNSequence) (string, error) {
	name, found := "", false
	for _, rdn := range rdns {
		for _, attr := range rdn {
			if !attr.Type.Equal(oidCommonName) {
				continue
			}
			if found {
				return "", errors.New("certificate has more than one common name")
			}
			value, err := attributeText(attr)
			if err != nil {
				return "", err
			}
			name, found = value, true
		}
	}
	if name == "" {
		return "", errors.New("certificate has no common name")
	}
	return name, nil
}

// attributeText is an attribute's value, if it can be part of a user name.
func attributeText(attr pkix.AttributeTypeAndValue) (string, error) {
	value, ok := attr.Value.(string)
	if !ok || !utf8.ValidString(value) || len(value) > 4096 {
		return "", fmt.Errorf("attribute %v of the certificate subject is not text", attr.Type)
	}
	for _, r := range value {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return "", fmt.Errorf("attribute %v of the certificate subject has a control character", attr.Type)
		}
	}
	return value, nil
}

// formatSubject writes a subject as RFC 2253 does and as OpenSSL's
// XN_FLAG_RFC2253 (Mosquitto's choice) spells it: last attribute first,
// OpenSSL's short names, bytes from 0x80 on as \XX.
func formatSubject(rdns pkix.RDNSequence) (string, error) {
	var b strings.Builder
	for i := len(rdns) - 1; i >= 0; i-- {
		for j := len(rdns[i]) - 1; j >= 0; j-- {
			attr := rdns[i][j]
			value, err := attributeText(attr)
			if err != nil {
				return "", err
			}
			short := shortName(attr.Type.String())
			if short == "" {
				// Their value would be written as DER, whose form is not ours to guess.
				return "", fmt.Errorf("attribute %v of the certificate subject has no short name", attr.Type)
			}
			b.WriteString(short)
			b.WriteByte('=')
			escapeValue(&b, value)
			if j > 0 {
				b.WriteByte('+')
			}
		}
		if i > 0 {
			b.WriteByte(',')
		}
	}
	return b.String(), nil
}

// escapeValue writes v as RFC 2253, 2.4 asks, with OpenSSL's ESC_MSB.
func escapeValue(b *strings.Builder, v string) {
	for i := range len(v) {
		switch c := v[i]; {
		case c >= 0x80:
			fmt.Fprintf(b, "\\%02X", c)
		case strings.IndexByte(`,+"\<>;`, c) >= 0, i == 0 && (c == '#' || c == ' '), i == len(v)-1 && c == ' ':
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
}

// shortName is OpenSSL's name of an attribute type, empty if it is none that subjects carry.
func shortName(oid string) string {
	switch oid {
	case "2.5.4.3":
		return "CN"
	case "2.5.4.4":
		return "SN"
	case "2.5.4.5":
		return "serialNumber"
	case "2.5.4.6":
		return "C"
	case "2.5.4.7":
		return "L"
	case "2.5.4.8":
		return "ST"
	case "2.5.4.9":
		return "street"
	case "2.5.4.10":
		return "O"
	case "2.5.4.11":
		return "OU"
	case "2.5.4.12":
		return "title"
	case "2.5.4.13":
		return "description"
	case "2.5.4.17":
		return "postalCode"
	case "2.5.4.41":
		return "name"
	case "2.5.4.42":
		return "GN"
	case "2.5.4.43":
		return "initials"
	case "2.5.4.44":
		return "generationQualifier"
	case "2.5.4.46":
		return "dnQualifier"
	case "2.5.4.65":
		return "pseudonym"
	case "0.9.2342.19200300.100.1.1":
		return "UID"
	case "0.9.2342.19200300.100.1.25":
		return "DC"
	case "1.2.840.113549.1.9.1":
		return "emailAddress"
	}
	return ""
}
