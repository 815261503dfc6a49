package certfield

import (
	"crypto/x509"
	"net/url"
	"strings"
	"testing"
)

func TestSPIFFEIDs(t *testing.T) {
	for uri, want := range map[string]SPIFFE{
		"spiffe://example.org/device/7":               {"example.org", "/device/7"},
		"spiffe://a-b_c.1/X.y_Z-0":                    {"a-b_c.1", "/X.y_Z-0"},
		"spiffe://x/...":                              {"x", "/..."}, // neither . nor ..
		"spiffe://" + strings.Repeat("a", 255) + "/x": {strings.Repeat("a", 255), "/x"},
	} {
		if got, err := ParseSPIFFE(uri); err != nil || got != want || got.String() != uri {
			t.Errorf("%.60q is %q, %v", uri, got, err)
		}
	}
	for _, uri := range []string{
		"", "spiffe://", "spiffe:///x", "spiffe://example.org", "spiffe://example.org/", "spiffe://example.org//x", "spiffe://example.org/x/",
		"spiffe://example.org/./x", "spiffe://example.org/..", "spiffe://example.org/x%2fy", "spiffe://example.org/ä", "spiffe://example.org/x?y",
		"spiffe://example.org/x#y", "spiffe://Example.org/x", "spiffe://example.org:8443/x", "spiffe://user@example.org/x", "SPIFFE://example.org/x",
		"https://example.org/x", "spiffe:/example.org/x", " spiffe://example.org/x", "spiffe://example.org/+", "spiffe://exa mple.org/x",
		"spiffe://" + strings.Repeat("a", 256) + "/x", "spiffe://a/" + strings.Repeat("x", 2048),
	} {
		if got, err := ParseSPIFFE(uri); err == nil {
			t.Errorf("%.60q is %q", uri, got)
		}
	}
}

func TestSPIFFEOfCertificates(t *testing.T) {
	id := &url.URL{Scheme: "spiffe", Host: "example.org", Path: "/cam"}
	for _, tt := range []struct {
		name   string
		change func(*x509.Certificate)
		want   string // in the error; empty: the ID
	}{
		{"a workload's", func(c *x509.Certificate) { c.URIs = []*url.URL{id} }, ""},
		{"beside DNS names", func(c *x509.Certificate) { c.URIs, c.DNSNames = []*url.URL{id}, []string{"x"} }, ""},
		{"none", nil, "no SPIFFE ID"},
		{"another URI", func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "urn", Opaque: "x"}} }, "no SPIFFE ID"},
		{"two URIs", func(c *x509.Certificate) { c.URIs = []*url.URL{id, {Scheme: "urn", Opaque: "x"}} }, "2 URIs"},
		{"the ID twice", func(c *x509.Certificate) { c.URIs = []*url.URL{id, id} }, "2 URIs"},
		{"of a CA", func(c *x509.Certificate) { c.URIs, c.IsCA, c.BasicConstraintsValid = []*url.URL{id}, true, true }, "may sign"},
		{"that signs", func(c *x509.Certificate) { c.URIs, c.KeyUsage = []*url.URL{id}, x509.KeyUsageCertSign }, "may sign"},
		{"that signs lists", func(c *x509.Certificate) { c.URIs, c.KeyUsage = []*url.URL{id}, x509.KeyUsageCRLSign }, "may sign"},
	} {
		c := issued(t, tt.change)
		got, err := One(c, "spiffe")
		switch {
		case tt.want == "" && (err != nil || got != "spiffe://example.org/cam"):
			t.Errorf("%s: %q, %v", tt.name, got, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: %q, %v; want an error with %q", tt.name, got, err, tt.want)
		}
	}
	c := issued(t, func(c *x509.Certificate) { c.URIs = []*url.URL{id} })
	for field, want := range map[string]string{"spiffe.trust_domain": "example.org", "spiffe.path": "/cam"} {
		if got, err := One(c, field); err != nil || got != want {
			t.Errorf("%s is %q, %v", field, got, err)
		}
	}
}
