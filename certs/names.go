package certs

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
)

// ParseVersion returns the version that s names: "1.2", "TLSv1.2", "tlsv1.3" and
// the like. Versions below 1.2 are refused.
func ParseVersion(s string) (uint16, error) {
	switch strings.TrimPrefix(strings.TrimPrefix(strings.ToLower(s), "tls"), "v") {
	case "1.2":
		return tls.VersionTLS12, nil
	case "1.3":
		return tls.VersionTLS13, nil
	}
	return 0, fmt.Errorf("TLS version %q is not accepted: 1.2 and 1.3 are", s)
}

// ParseCipherSuites returns the TLS 1.2 suites that names list, by their IANA
// names or OpenSSL's. Unknown and insecure ones, and OpenSSL's classes such as
// HIGH, are refused.
func ParseCipherSuites(names []string) ([]uint16, error) {
	var ids []uint16
	for _, name := range names {
		id, found := uint16(0), false
		for _, s := range tls.CipherSuites() {
			if !slices.Contains(s.SupportedVersions, tls.VersionTLS12) {
				continue
			}
			if strings.EqualFold(name, s.Name) || strings.EqualFold(name, openSSLName(s.Name)) {
				id, found = s.ID, true
			}
		}
		if !found {
			return nil, fmt.Errorf("cipher suite %q is unknown or not accepted", name)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// openSSLName turns TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 into
// ECDHE-RSA-AES128-GCM-SHA256.
func openSSLName(iana string) string {
	return strings.NewReplacer("TLS_", "", "_WITH_", "-", "AES_", "AES", "CBC_", "",
		"POLY1305_SHA256", "POLY1305", "_", "-").Replace(iana)
}
