package staple

import (
	"crypto/x509"
	"encoding/asn1"
	"slices"
)

// statusRequest is the TLS extension by which a client asks (RFC 6066, 8).
const statusRequest = 5

var oidFeatures = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}

// Demanded tells whether a certificate demands a staple (RFC 7633, 4). One
// whose demands can't be read is taken to demand it.
func Demanded(c *x509.Certificate) bool {
	for _, e := range c.Extensions {
		if e.Id.Equal(oidFeatures) {
			var features []int
			rest, err := asn1.Unmarshal(e.Value, &features)
			return err != nil || len(rest) != 0 || slices.Contains(features, statusRequest)
		}
	}
	return false
}
