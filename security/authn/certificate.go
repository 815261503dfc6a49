package authn

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"sallyport/internal/certfield"
)

// HostMatch is what a client certificate has to do with the client's address.
type HostMatch uint8

// The demands.
const (
	AnyHost HostMatch = iota
	HostIP            // the address is one of its alternative names
	HostDNS           // one of its DNS names resolves to the address
)

// CertRules is what a listener demands of a client certificate wherever one is
// shown, whichever member accepts the client.
type CertRules struct {
	// TrustDomains, where there are any: it is the X.509-SVID of a workload in one of them.
	TrustDomains []string
	// ClientID, where it is not zero, yields the client identifier.
	ClientID certfield.Template
	Host     HostMatch
	Hosts    *Hosts // for HostDNS
	// KeepExpired says that a session may outlast the certificate that began it.
	KeepExpired bool
}

// judge is what can be told at once, without name servers.
func (r *CertRules) judge(c *Credentials) *Refused {
	if c.Cert == nil {
		return nil
	}
	refuse := func(format string, args ...any) *Refused {
		return &Refused{Method: Identity{}.Name(), Reason: fmt.Sprintf(format, args...)}
	}
	if !c.CertVerified && (len(r.TrustDomains) > 0 || !r.ClientID.IsZero() || r.Host != AnyHost) {
		return refuse("%v", errUnverified)
	}
	if len(r.TrustDomains) > 0 {
		id, err := certfield.SPIFFEOf(c.Cert)
		if err != nil {
			return refuse("%v", err)
		}
		if !slices.Contains(r.TrustDomains, id.TrustDomain) {
			return refuse("SPIFFE ID of the certificate is of another trust domain")
		}
	}
	if !r.ClientID.IsZero() {
		want, err := r.ClientID.Expand(c.Cert)
		if err != nil {
			return refuse("client id: %v", err)
		}
		if c.ClientID != want {
			return refuse("client id is not the one of the certificate, %s", r.ClientID)
		}
	}
	if r.Host == HostIP {
		addr := c.Addr.Addr()
		addresses, err := certfield.Values(c.Cert, "san.ip")
		switch {
		case err != nil:
			return refuse("%v", err)
		case !addr.IsValid() || !slices.Contains(addresses, plain(addr).String()):
			return refuse("certificate is not for the address of the client")
		}
	}
	return nil
}

// plain is an address as certificates have it.
func plain(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }

// asksHosts reports whether name servers have to be asked about c.
func (r *CertRules) asksHosts(c *Credentials) bool {
	return r.Host == HostDNS && c.Cert != nil && !c.hostMatches
}

// askHosts asks them. Whoever calls it may wait for HostsOptions.Timeout.
func (r *CertRules) askHosts(ctx context.Context, c *Credentials) error {
	names, err := certfield.Values(c.Cert, "san.dns")
	if err == nil {
		err = r.Hosts.Match(ctx, names, c.Addr.Addr())
	}
	if err != nil {
		return &Refused{Method: Identity{}.Name(), Reason: err.Error()}
	}
	c.hostMatches = true
	return nil
}

// never is the date of a certificate that does not expire (RFC 5280, 4.1.2.5).
var never = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// Expiry is when, in seconds since 1970, a client's verified chain stops to hold:
// as soon as one certificate of it does, its anchor included, since no handshake
// would accept it afterwards. A renewed anchor counts for the old one: of all that
// differ from chain in nothing but the anchor's certificate, with the same key, the
// one that lasts longest decides. 0 is never.
func Expiry(chain []*x509.Certificate, all [][]*x509.Certificate) uint32 {
	last := end(chain)
	for _, other := range all {
		if renewed(chain, other) {
			if at := end(other); at.After(last) {
				last = at
			}
		}
	}
	if !last.Before(never) {
		return 0
	}
	return uint32(min(max(last.Unix(), 1), math.MaxUint32)) // early rather than late in 2106
}

func end(chain []*x509.Certificate) time.Time {
	end := never
	for _, c := range chain {
		if c.NotAfter.Before(end) {
			end = c.NotAfter
		}
	}
	return end
}

// renewed reports whether two chains differ in nothing but the certificate of
// their anchors, which have one key.
func renewed(a, b []*x509.Certificate) bool {
	n := len(a) - 1
	return n >= 0 && len(b) == n+1 && slices.EqualFunc(a[:n], b[:n], (*x509.Certificate).Equal) &&
		bytes.Equal(a[n].RawSubjectPublicKeyInfo, b[n].RawSubjectPublicKeyInfo)
}
