package listener

import (
	"errors"
	"net/netip"
	"strings"
)

var (
	errNotForwarded = errors.New("no X-Forwarded-For from a trusted proxy")
	errForwarded    = errors.New("malformed X-Forwarded-For")
)

// forwardedFor returns the client that the X-Forwarded-For fields of a trusted
// proxy name; [ForwardedForOptions] has the rule. The port is 0 if none is told.
func forwardedFor(fields []string, trusted []netip.Prefix) (netip.AddrPort, error) {
	if len(fields) == 0 {
		return netip.AddrPort{}, errNotForwarded
	}
	rest, entry := strings.Join(fields, ","), ""
	for more := true; more; {
		// From the right: what a client made up is never looked at.
		comma := strings.LastIndexByte(rest, ',')
		entry, more = rest[comma+1:], comma >= 0
		rest = rest[:max(comma, 0)]
		client, isClient := forwardedEntry(strings.Trim(entry, " \t"))
		if !isClient {
			return netip.AddrPort{}, errForwarded
		}
		if !more || !contains(trusted, client.Addr()) {
			return client, nil
		}
	}
	return netip.AddrPort{}, errForwarded
}

// forwardedEntry reads an address, with a port or without.
func forwardedEntry(s string) (netip.AddrPort, bool) {
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		inner, bracketed := strings.CutPrefix(s, "[")
		if bracketed {
			if inner, bracketed = strings.CutSuffix(inner, "]"); !bracketed {
				return netip.AddrPort{}, false
			}
		}
		ip, err := netip.ParseAddr(inner)
		if err != nil || s != inner && !ip.Is6() {
			return netip.AddrPort{}, false
		}
		a = netip.AddrPortFrom(ip, 0)
	}
	if a.Addr().Zone() != "" {
		return netip.AddrPort{}, false
	}
	return clientAddr(a)
}
