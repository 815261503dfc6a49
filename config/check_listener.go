package config

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// leastStay and mostStay bound how long connections may be allowed to stay.
const (
	leastStay = 10 * time.Second
	mostStay  = 365 * 24 * time.Hour
)

func (k *checker) listener(i int) {
	l, key := &k.c.Listeners[i], fmt.Sprintf("listeners[%d]", i)
	k.address(key, l)
	k.tls(key, l)
	k.identity(key, l)
	k.tokenMethods(key, l)
	k.scramMethodsOf(key, l)
	k.web(key, l)
	k.proxies(key, l)
	for j, p := range l.ClientIDPrefixes {
		if p == "" {
			k.wrong(fmt.Sprintf("%s.client_id_prefixes[%d]", key, j), "must not be empty")
		}
	}
	if len(l.GeneratedClientIDPrefix) > 64 {
		k.wrong(key+".generated_client_id_prefix", "must have at most 64 bytes")
	}
	if !l.AllowEmptyClientID && k.set(key+".generated_client_id_prefix") {
		k.wrong(key+".generated_client_id_prefix", "has no use while allow_empty_client_id is false")
	}
	if l.V3RefusalCode != 4 && l.V3RefusalCode != 5 {
		k.wrong(key+".v3_refusal_code", "must be 4 or 5, not %d", l.V3RefusalCode)
	}
	if l.MaxAuthAge != 0 {
		between(k, key+".max_auth_age", l.MaxAuthAge, leastStay, mostStay)
	}
	if l.MaxConnectionLifetime != 0 {
		between(k, key+".max_connection_lifetime", l.MaxConnectionLifetime, leastStay, mostStay)
	}
	for j, r := range l.AcceptRisk {
		if slices.Contains(l.AcceptRisk[:j], r) {
			k.wrong(fmt.Sprintf("%s.accept_risk[%d]", key, j), "%s is already in this list", r)
		}
	}
	// What the listener doesn't override is judged once, under limits.
	own := *k
	own.problems = nil
	own.limits(key+".limits", k.c.EffectiveLimits(i).ListenerLimits)
	for _, p := range own.problems {
		if l.Limits.overrides(p.Key[len(key+".limits."):]) {
			k.problems = append(k.problems, p)
		}
	}
}

func (k *checker) address(key string, l *Listener) {
	if l.Transport == Unix {
		k.socket(key, l)
		return
	}
	if k.set(key + ".socket_mode") {
		k.wrong(key+".socket_mode", "is only for transport unix")
	}
	if l.Address == "" {
		k.wrong(key+".address", "is needed, such as :8883 or 127.0.0.1:1883")
		return
	}
	host, port, err := net.SplitHostPort(l.Address)
	if err != nil {
		k.wrong(key+".address", "must be host:port such as :8883, 127.0.0.1:1883 or [::1]:1883, not %s", excerpt(l.Address))
		return
	}
	if !validPort(port) {
		k.wrong(key+".address", "the port must be a number from 0 (any free one) to 65535, not %s", excerpt(port))
	}
	if !validHost(host) {
		k.wrong(key+".address", "%s is no address or host name", excerpt(host))
	}
}

// socket checks the address of a unix listener.
func (k *checker) socket(key string, l *Listener) {
	if l.Address == "" {
		k.wrong(key+".address", "is needed: the path of the socket")
	} else {
		k.socketPath(key+".address", l.Address)
	}
	if l.SocketMode == 0 {
		k.wrong(key+".socket_mode", "must let someone connect")
	}
	for _, name := range []string{"allow", "deny", "tcp_nodelay"} {
		if k.set(key+"."+name) && (name == "tcp_nodelay" || l.ProxyProtocol == nil) {
			k.wrong(key+"."+name, "has no meaning for transport unix")
		}
	}
}

func validHost(host string) bool {
	if host == "" {
		return true
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	if len(host) > 253 || strings.Trim(host, "0123456789.") == "" {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			return false
		}
	}
	return true
}

func (k *checker) web(key string, l *Listener) {
	if !l.Transport.Web() {
		if k.set(key + ".websocket") {
			k.wrong(key+".websocket", "is only for transport ws and wss")
		}
		return
	}
	if p := l.WebSocket.Path; p != "*" && !strings.HasPrefix(p, "/") || strings.ContainsAny(p, "?# ") || printable(p) != p {
		k.wrong(key+".websocket.path", "must be the path of a URL such as /mqtt, or * for every path")
	}
	for i, o := range l.WebSocket.Origins {
		if o != "*" && !validOrigin(o) {
			k.wrong(fmt.Sprintf("%s.websocket.origins[%d]", key, i), "must be * or an origin such as https://app.example.org, not %s", excerpt(o))
		}
	}
}

// validOrigin reports whether o is scheme://host[:port] (RFC 6454, 6.2).
func validOrigin(o string) bool {
	scheme, host, ok := strings.Cut(o, "://")
	return ok && scheme != "" && host != "" && !strings.ContainsAny(host, "/?#@ ") && printable(o) == o
}

// clashes complains about listeners that want the same port or socket.
func (k *checker) clashes() {
	for i := range k.c.Listeners {
		for j := range i {
			if a, b := &k.c.Listeners[i], &k.c.Listeners[j]; sameDoor(a, b) {
				k.wrong(fmt.Sprintf("listeners[%d].address", i), "clashes with listener %s, which has %s", b.Name, b.Address)
				break
			}
		}
	}
}

// sameDoor reports whether a and b can't listen at the same time.
func sameDoor(a, b *Listener) bool {
	if (a.Transport == Unix) != (b.Transport == Unix) {
		return false
	}
	if a.Transport == Unix {
		return a.Address == b.Address
	}
	hostA, portA, errA := net.SplitHostPort(a.Address)
	hostB, portB, errB := net.SplitHostPort(b.Address)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false
	}
	if strings.EqualFold(hostA, hostB) {
		return true
	}
	for _, x := range addresses(hostA) {
		for _, y := range addresses(hostB) {
			if x.Is4() == y.Is4() && (x == y || x.IsUnspecified() || y.IsUnspecified()) {
				return true
			}
		}
	}
	return false
}

// addresses is what a listener with that host binds, as far as it is known
// without asking a name server.
func addresses(host string) []netip.Addr {
	switch {
	case host == "":
		return []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	case strings.EqualFold(host, "localhost"):
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}
	}
	return nil
}
