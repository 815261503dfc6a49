package listener

import (
	"net"
	"net/url"
	"strings"
)

// originAllowed judges the Origin header of an upgrade (RFC 6455, 10.2).
func (o *WebSocketOptions) originAllowed(origin, host string, secure bool) bool {
	for _, accepted := range o.Origins {
		if strings.EqualFold(accepted, origin) {
			return true
		}
	}
	if o.RequireSameOrigin {
		return sameOrigin(origin, host, secure)
	}
	return len(o.Origins) == 0
}

// sameOrigin reports whether origin names the server that host names: scheme,
// host and port. "null" and whatever doesn't parse is another origin.
func sameOrigin(origin, host string, secure bool) bool {
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return false
	}
	scheme, port := "http", "80"
	if secure {
		scheme, port = "https", "443"
	}
	// A proxy that ends TLS in front of a plain door shows https here.
	if u.Scheme != scheme && (secure || u.Scheme != "https") {
		return false
	}
	if u.Scheme == "https" {
		port = "443"
	}
	return strings.EqualFold(withPort(u.Host, port), withPort(host, port))
}

// withPort gives hostport its default port.
func withPort(hostport, port string) string {
	if h, p, err := net.SplitHostPort(hostport); err == nil {
		if p == "" {
			p = port
		}
		return net.JoinHostPort(h, p)
	}
	return net.JoinHostPort(strings.Trim(hostport, "[]"), port)
}
