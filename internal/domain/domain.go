// Package domain judges names that certificates are ordered for.
package domain

import (
	"net"
	"strings"
)

// Check says why d is no domain that a certificate can be ordered for by a
// challenge that a server answers itself,
// "" if it is one: two labels at least, in ASCII, no wildcard and no address.
func Check(d string) string {
	switch {
	case strings.HasPrefix(d, "*."):
		return "is a wildcard, which needs the challenge dns-01, which Sallyport does not answer"
	case net.ParseIP(strings.Trim(d, "[]")) != nil:
		return "is an address; certificates are ordered for names"
	case len(d) > 253 || strings.HasSuffix(d, "."):
		return "must have at most 253 bytes, and no dot at its end"
	case !strings.Contains(d, "."):
		return "must be a whole name, such as mqtt.example.org"
	}
	for label := range strings.SplitSeq(d, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" {
			return "must be letters, digits and hyphens between dots; a name in another script is written as xn--..."
		}
	}
	if last := d[strings.LastIndexByte(d, '.')+1:]; strings.Trim(last, "0123456789") == "" {
		return "ends in a number, as addresses do"
	}
	return ""
}
