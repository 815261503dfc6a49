package certfield

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The sizes of a SPIFFE ID (SPIFFE-ID, 2.3 and 2.1), in bytes.
const (
	spiffeBytes      = 2048
	trustDomainBytes = 255
)

const spiffeScheme = "spiffe://"

// SPIFFE is the SPIFFE ID of a workload.
type SPIFFE struct {
	TrustDomain string
	Path        string // begins with a slash
}

// String is the ID as the certificate has it.
func (s SPIFFE) String() string { return spiffeScheme + s.TrustDomain + s.Path }

func (s SPIFFE) part(name string) string {
	switch name {
	case "spiffe.trust_domain":
		return s.TrustDomain
	case "spiffe.path":
		return s.Path
	}
	return s.String()
}

// ErrNoSPIFFE says that a certificate has no URI that begins as SPIFFE IDs do.
var ErrNoSPIFFE = errors.New("certificate has no SPIFFE ID")

// SPIFFEOf is the SPIFFE ID of a certificate that is an X.509-SVID of a workload:
// no CA, and its only URI is the ID (X509-SVID, 2, 4 and 5).
func SPIFFEOf(c *x509.Certificate) (SPIFFE, error) {
	uris, err := alternatives(c, tagURI)
	switch {
	case err != nil:
		return SPIFFE{}, err
	case !slices.ContainsFunc(uris, func(u string) bool {
		return len(u) >= len(spiffeScheme) && strings.EqualFold(u[:len(spiffeScheme)], spiffeScheme)
	}):
		return SPIFFE{}, ErrNoSPIFFE
	case len(uris) != 1:
		return SPIFFE{}, fmt.Errorf("certificate has %d URIs: one with a SPIFFE ID has no other", len(uris))
	case c.IsCA, c.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0:
		return SPIFFE{}, errors.New("certificate may sign others: it is none of a workload")
	}
	return ParseSPIFFE(uris[0])
}

// ParseSPIFFE reads the SPIFFE ID of a workload (SPIFFE-ID, 2). It has a path: an
// ID without one is that of a whole trust domain.
func ParseSPIFFE(uri string) (SPIFFE, error) {
	if len(uri) > spiffeBytes {
		return SPIFFE{}, fmt.Errorf("SPIFFE ID is longer than %d bytes", spiffeBytes)
	}
	rest, ok := strings.CutPrefix(uri, spiffeScheme)
	if !ok {
		return SPIFFE{}, errors.New("URI of the certificate is no SPIFFE ID: it does not begin with " + spiffeScheme)
	}
	domain, path, _ := strings.Cut(rest, "/")
	if err := CheckTrustDomain(domain); err != nil {
		return SPIFFE{}, fmt.Errorf("SPIFFE ID: %w", err)
	}
	if path == "" {
		return SPIFFE{}, errors.New("SPIFFE ID has no path: it is that of a trust domain")
	}
	for segment := range strings.SplitSeq(path, "/") {
		switch {
		case segment == "" || segment == "." || segment == "..":
			return SPIFFE{}, errors.New("SPIFFE ID has a path with an empty or relative segment")
		case !allowedIn(segment, true):
			return SPIFFE{}, errors.New("SPIFFE ID has a character in its path that is none of a-z A-Z 0-9 . - _")
		}
	}
	return SPIFFE{TrustDomain: domain, Path: "/" + path}, nil
}

// CheckTrustDomain reports whether name can be a trust domain (SPIFFE-ID, 2.1).
func CheckTrustDomain(name string) error {
	switch {
	case name == "":
		return errors.New("trust domain is empty")
	case len(name) > trustDomainBytes:
		return fmt.Errorf("trust domain is longer than %d bytes", trustDomainBytes)
	case !allowedIn(name, false):
		return errors.New("trust domain has a character that is none of a-z 0-9 . - _")
	}
	return nil
}

func allowedIn(s string, upper bool) bool {
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == '_' || upper && c >= 'A' && c <= 'Z' {
			continue
		}
		return false
	}
	return true
}
