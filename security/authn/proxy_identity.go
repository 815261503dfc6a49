package authn

import (
	"context"
	"errors"
	"unicode"
	"unicode/utf8"

	"sallyport/security"
)

// ProxyCertificate is what a trusted proxy says about the certificate of a client
// whose TLS it ended (the SSL part of a PROXY header, version 2).
type ProxyCertificate struct {
	CommonName string
	Verified   bool // by the proxy
}

// ProxyIdentity takes the user name from the common name of a certificate that a
// trusted proxy verified (proxy_protocol.proxy_identity). User name and password of
// the CONNECT are then not looked at. A client of which the proxy tells of no
// certificate is left to the next member, one with a bad certificate is refused.
type ProxyIdentity struct{}

// proxyRealm is whose names the proxies vouch for.
const proxyRealm = "proxy_certificate"

// Name is "proxy_certificate".
func (ProxyIdentity) Name() string { return proxyRealm }

// Authenticate is Quick.
func (id ProxyIdentity) Authenticate(_ context.Context, c *Credentials) (*security.Principal, error) {
	p, err, _ := id.Quick(c)
	return p, err
}

// Quick answers at once, always.
func (id ProxyIdentity) Quick(c *Credentials) (*security.Principal, error, bool) {
	if c.Proxied == nil {
		return nil, ErrNotMine, true
	}
	if err := c.Proxied.check(); err != nil {
		return nil, &Refused{Method: id.Name(), Reason: err.Error()}, true
	}
	name := c.Proxied.CommonName
	return &security.Principal{Realm: proxyRealm, Name: name}, nil, true
}

// maxProxyName bounds a name, in bytes.
const maxProxyName = 255

func (p *ProxyCertificate) check() error {
	switch name := p.CommonName; {
	case !p.Verified:
		return errors.New("the proxy did not verify the client's certificate")
	case name == "":
		return errors.New("the proxy told no common name of the client's certificate")
	case len(name) > maxProxyName:
		return errors.New("the common name that the proxy told is longer than 255 bytes")
	case !utf8.ValidString(name):
		return errors.New("the common name that the proxy told is not UTF-8")
	}
	for _, r := range p.CommonName {
		if unicode.IsControl(r) {
			return errors.New("the common name that the proxy told has a control character")
		}
	}
	return nil
}
