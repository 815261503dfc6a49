package revocation

import (
	"fmt"
	"net/netip"
)

// forbidden are the networks that a URL in a certificate must not lead to unless
// they are allowed: what is not the public Internet (RFC 6890 and its registry),
// and what hides such an address (6to4, Teredo, local NAT64).
func forbidden() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8"),
		netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("127.0.0.0/8"),
		netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("172.16.0.0/12"),
		netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("192.0.2.0/24"),
		netip.MustParsePrefix("192.88.99.0/24"), netip.MustParsePrefix("192.168.0.0/16"),
		netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("198.51.100.0/24"),
		netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("224.0.0.0/3"),
		netip.MustParsePrefix("2001::/23"), netip.MustParsePrefix("2001:db8::/32"),
		netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("3fff::/20"),
	}
}

// reach says which addresses may be dialled.
type reach struct{ allowed, forbidden []netip.Prefix }

func newReach(allowed []netip.Prefix) *reach { return &reach{allowed, forbidden()} }

// check refuses an address that is neither public nor allowed.
func (r *reach) check(a netip.Addr) error {
	if a.Zone() != "" {
		return fmt.Errorf("address %s has a zone", a)
	}
	a = a.Unmap()
	if contains(r.allowed, a) {
		return nil
	}
	// NAT64 leads to an IPv4 address (RFC 6052, 2.1), and that one counts.
	if netip.MustParsePrefix("64:ff9b::/96").Contains(a) {
		b := a.As16()
		return r.check(netip.AddrFrom4([4]byte(b[12:])))
	}
	// Of IPv6 only 2000::/3 is public: loopback, link-local, unique local,
	// multicast, unspecified and IPv4-compatible addresses are all outside.
	if a.Is6() && !netip.MustParsePrefix("2000::/3").Contains(a) || !a.IsValid() || contains(r.forbidden, a) {
		return fmt.Errorf("address %s is not public, and not allowed", a)
	}
	return nil
}

func contains(all []netip.Prefix, a netip.Addr) bool {
	for _, p := range all {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
