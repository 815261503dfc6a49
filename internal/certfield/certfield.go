// Package certfield reads what a certificate says of its holder, by the names
// that identities, rules and conditions have for it. It hides ASN.1, the
// encodings of text in names, and where several values must not count as one.
//
// Names and alternative names are read from the DER itself: crypto/x509 gives a
// subject without its order, parses URIs and writes them anew, and drops other
// names. What can't be told with certainty is an error, and an error refuses.
//
// The certificate counts as verified: nothing here says whether it may be trusted.
package certfield

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	valueBytes = 4096 // bounds one value
	valueLimit = 1024 // bounds the values of one field
)

// otherPrefix begins the fields that are other names (RFC 5280, 4.2.1.6), by
// their type: san.other.1.3.6.1.4.1.311.20.2.3.
const otherPrefix = "san.other."

// names are the fields without a parameter; several are those that stand for a
// list, also where it has one value or none.
var names = [...]struct {
	name    string
	several bool
}{
	{"cn", false}, {"o", true}, {"ou", true}, {"c", true}, {"l", true}, {"st", true}, {"uid", false}, {"serial_number", false},
	{"subject", false}, {"subject.rfc2253", false}, {"issuer", false}, {"issuer.cn", false}, {"serial", false}, {"fingerprint", false},
	{"san.dns", true}, {"san.uri", true}, {"san.email", true}, {"san.ip", true}, {"san.upn", true},
	{"hw_type", false}, {"hw_serial", false}, {"hw_serial_text", false},
	{"spiffe", false}, {"spiffe.trust_domain", false}, {"spiffe.path", false},
}

// Names is the fields that there are, in the order in which they are documented.
func Names() []string {
	out := make([]string, 0, len(names)+1)
	for _, n := range names {
		out = append(out, n.name)
	}
	return append(out, otherPrefix+"OID")
}

// Known reports, as an error for whoever wrote the name, that there is no such
// field. several says that the field stands for a list.
func Known(name string) (several bool, err error) {
	for _, n := range names {
		if n.name == name {
			return n.several, nil
		}
	}
	if oid, ok := strings.CutPrefix(name, otherPrefix); ok {
		if err := checkOID(oid); err != nil {
			return false, err
		}
		return true, nil
	}
	return false, fmt.Errorf("%q is no field of a certificate: there are %s", shorten(name), strings.Join(Names(), ", "))
}

// OfSubject reports whether a field that stands for a list is of the subject's
// name, and not of its alternative names.
func OfSubject(name string) bool { return !strings.HasPrefix(name, "san.") }

// Values is every value of a field in the order of the certificate, none where it
// has none. It is an error where a value is no text, has a control character, or
// where there is more than this package takes.
func Values(c *x509.Certificate, name string) ([]string, error) {
	values, err := read(c, name)
	if err != nil {
		return nil, err
	}
	if len(values) > valueLimit {
		return nil, fmt.Errorf("certificate has more than %d values of %s", valueLimit, name)
	}
	for _, v := range values {
		if err := checkText(v); err != nil {
			return nil, fmt.Errorf("%s of the certificate %w", name, err)
		}
	}
	return values, nil
}

// All is every field that has a value, at most most of each, and why others can't
// be told.
func All(c *x509.Certificate, most int) (values map[string][]string, unreadable map[string]string) {
	values, unreadable = make(map[string][]string), make(map[string]string)
	for _, n := range names {
		got, err := Values(c, n.name)
		switch {
		case errors.Is(err, ErrNoSPIFFE):
		case err != nil:
			unreadable[n.name] = err.Error()
		case len(got) > 0:
			values[n.name] = got[:min(len(got), most)]
		}
	}
	return values, unreadable
}

// One is the only value of a field. None, several and an empty one are errors:
// which of several counts would be an accident of the implementation.
func One(c *x509.Certificate, name string) (string, error) {
	values, err := Values(c, name)
	switch {
	case err != nil:
		return "", err
	case len(values) == 0:
		return "", fmt.Errorf("certificate has no %s", name)
	case len(values) > 1:
		return "", fmt.Errorf("certificate has %d values of %s: which one counts can't be told", len(values), name)
	case values[0] == "":
		return "", fmt.Errorf("%s of the certificate is empty", name)
	}
	return values[0], nil
}

func read(c *x509.Certificate, name string) ([]string, error) {
	switch name {
	case "cn":
		return attribute(c.RawSubject, oidCommonName)
	case "o":
		return attribute(c.RawSubject, "\x55\x04\x0a")
	case "ou":
		return attribute(c.RawSubject, "\x55\x04\x0b")
	case "c":
		return attribute(c.RawSubject, "\x55\x04\x06")
	case "l":
		return attribute(c.RawSubject, "\x55\x04\x07")
	case "st":
		return attribute(c.RawSubject, "\x55\x04\x08")
	case "uid":
		return attribute(c.RawSubject, "\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x01")
	case "serial_number":
		return attribute(c.RawSubject, "\x55\x04\x05")
	case "subject":
		return distinguished(c.RawSubject, rfc4514)
	case "subject.rfc2253":
		return distinguished(c.RawSubject, openSSL)
	case "issuer":
		return distinguished(c.RawIssuer, rfc4514)
	case "issuer.cn":
		return attribute(c.RawIssuer, oidCommonName)
	case "serial":
		if c.SerialNumber == nil {
			return nil, nil
		}
		return []string{c.SerialNumber.Text(16)}, nil
	case "fingerprint":
		sum := sha256.Sum256(c.Raw)
		return []string{hex.EncodeToString(sum[:])}, nil
	}
	return readAlternative(c, name)
}

func readAlternative(c *x509.Certificate, name string) ([]string, error) {
	switch name {
	case "san.dns":
		return alternatives(c, tagDNS)
	case "san.uri":
		return alternatives(c, tagURI)
	case "san.email":
		return alternatives(c, tagEmail)
	case "san.ip":
		return alternatives(c, tagIP)
	case "san.upn":
		return others(c, oidUPN)
	case "hw_type", "hw_serial", "hw_serial_text":
		return hardware(c, name)
	case "spiffe", "spiffe.trust_domain", "spiffe.path":
		id, err := SPIFFEOf(c)
		if err != nil {
			return nil, err
		}
		return []string{id.part(name)}, nil
	}
	if _, err := Known(name); err != nil {
		return nil, err
	}
	oid, ok := strings.CutPrefix(name, otherPrefix)
	if !ok {
		return nil, fmt.Errorf("%q is not read", name) // the table above and these switches differ
	}
	return others(c, oid)
}

// checkText is what a value must be whatever it is used for.
func checkText(v string) error {
	switch {
	case len(v) > valueBytes:
		return fmt.Errorf("is longer than %d bytes", valueBytes)
	case !utf8.ValidString(v):
		return errors.New("is not text")
	}
	for _, r := range v {
		switch {
		case r < 0x20, r >= 0x7f && r < 0xa0:
			return errors.New("has a control character")
		case r >= 0xfdd0 && r <= 0xfdef, r&0xfffe == 0xfffe:
			return errors.New("has a noncharacter") // nor does a CONNECT's user name
		}
	}
	return nil
}

// shorten cuts s to what an error shows of it.
func shorten(s string) string {
	if len(s) > 64 {
		s = s[:64]
	}
	return strings.ToValidUTF8(s, "")
}
