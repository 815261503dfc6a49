package authn

import (
	"errors"
	"strings"
	"testing"
)

func TestProxyIdentity(t *testing.T) {
	for _, c := range []struct {
		name    string
		proxied *ProxyCertificate
		want    string // "" refuses
	}{
		{"a verified name", &ProxyCertificate{"dev-1", true}, "dev-1"},
		{"another alphabet", &ProxyCertificate{"Gerät", true}, "Gerät"},
		{"255 bytes", &ProxyCertificate{strings.Repeat("a", 255), true}, strings.Repeat("a", 255)},
		{"a certificate that was not verified", &ProxyCertificate{"dev-1", false}, ""},
		{"no name", &ProxyCertificate{"", true}, ""},
		{"256 bytes", &ProxyCertificate{strings.Repeat("a", 256), true}, ""},
		{"NUL", &ProxyCertificate{"a\x00b", true}, ""},
		{"a control character", &ProxyCertificate{"a\u0085b", true}, ""},
		{"bytes that are no text", &ProxyCertificate{"a\xff", true}, ""},
	} {
		p, err, done := ProxyIdentity{}.Quick(&Credentials{Proxied: c.proxied, HasUsername: true, Username: "admin"})
		if !done {
			t.Fatalf("%s: not answered at once", c.name)
		}
		if c.want == "" {
			if refused := new(Refused); p != nil || !errors.As(err, &refused) {
				t.Errorf("%s: %v, %v, want a refusal", c.name, p, err)
			}
			continue
		}
		if err != nil || p.Name != c.want || p.Realm != "proxy_certificate" {
			t.Errorf("%s: %+v, %v", c.name, p, err)
		}
	}
	if _, err, _ := (ProxyIdentity{}).Quick(&Credentials{HasUsername: true, Username: "admin"}); !errors.Is(err, ErrNotMine) {
		t.Errorf("without a word of the proxy: %v, want it left to the next", err)
	}
}
