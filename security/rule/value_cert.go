package rule

import (
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
)

// certNames are the fields of a certificate, without their prefix.
var certNames = [...]string{
	"cn", "o", "ou", "c", "l", "st", "subject", "issuer.cn", "serial", "fingerprint", "dns", "uri", "email", "ip",
}

func certField(c *x509.Certificate, field string) (one string, several []string, ok bool) {
	switch field {
	case "cn":
		one, ok = commonName(c.Subject)
	case "issuer.cn":
		one, ok = commonName(c.Issuer)
	case "o":
		return attribute(c.Subject.Organization)
	case "ou":
		return attribute(c.Subject.OrganizationalUnit)
	case "c":
		return attribute(c.Subject.Country)
	case "l":
		return attribute(c.Subject.Locality)
	case "st":
		return attribute(c.Subject.Province)
	case "subject":
		one, ok = subject(c)
	case "serial":
		one, ok = serial(c)
	case "fingerprint":
		one, ok = fingerprint(c), true
	case "dns":
		return list(c.DNSNames)
	case "email":
		return list(c.EmailAddresses)
	case "uri":
		return list(uris(c))
	case "ip":
		return list(addresses(c))
	}
	return one, nil, ok
}

// oidCommonName is id-at-commonName (RFC 5280, A.1).
var oidCommonName = asn1.ObjectIdentifier{2, 5, 4, 3}

// commonName is the only common name. With several, which one counts differs
// between libraries, so that none does.
func commonName(n pkix.Name) (string, bool) {
	count := 0
	for _, a := range n.Names {
		if a.Type.Equal(oidCommonName) {
			count++
		}
	}
	return n.CommonName, count == 1 && n.CommonName != ""
}

// attribute is a part of the subject, which may have it more than once. Without
// it there is no value, rather than an empty list: a rule that speaks of an
// organization is not about a subject that has none.
func attribute(values []string) (string, []string, bool) {
	if len(values) == 0 {
		return "", nil, false
	}
	return list(values)
}

// subject is written as RFC 2253 does, in the order of the certificate, which
// x509.Certificate.Subject does not keep.
func subject(c *x509.Certificate) (string, bool) {
	var rdns pkix.RDNSequence
	if rest, err := asn1.Unmarshal(c.RawSubject, &rdns); err != nil || len(rest) > 0 || len(rdns) == 0 {
		return "", false
	}
	return rdns.String(), true
}

func serial(c *x509.Certificate) (string, bool) {
	if c.SerialNumber == nil {
		return "", false
	}
	return c.SerialNumber.Text(16), true
}

func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

func uris(c *x509.Certificate) []string {
	out := make([]string, len(c.URIs))
	for i, u := range c.URIs {
		out[i] = u.String()
	}
	return out
}

func addresses(c *x509.Certificate) []string {
	out := make([]string, len(c.IPAddresses))
	for i, ip := range c.IPAddresses {
		out[i] = ip.String()
	}
	return out
}
