package listener

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"

	"sallyport/internal/proxyproto"
)

// ProxyProtocolOptions let proxies name the client of each connection with a
// PROXY header (versions 1 and 2 of HAProxy's doc/proxy-protocol.txt), before
// TLS and everything else.
//
// The header is required. Peers that are not trusted are closed unread, trusted
// ones that send something else, too little in time, or no client's address
// (UNKNOWN, UNSPEC, datagrams, Unix addresses) are closed too: a client that
// can't be told from others can't be limited.
//
// The client that the header names is what everything goes by from then on:
// Allow and Deny, the shares of the handshakes, [Info].Remote. Trusted alone
// judges the proxy; Allow and Deny don't look at its address, so that a proxy
// needs no entry among the clients. MaxConnections counts connections, from the
// moment they are accepted.
//
// A LOCAL header, version 2's for health checks, names no client: the proxy
// itself is the client, and Allow and Deny do judge its address then. A health
// check of version 1 names the proxy's own address as the client's, or is
// UNKNOWN and refused, which a check that only connects doesn't notice.
type ProxyProtocolOptions struct {
	// Trusted are the proxies' addresses (proxy_protocol.trusted): at least one,
	// and no prefix of length 0. It must hold no client: who is trusted may claim
	// any address. For Unix it must be empty: whoever SocketMode lets in is trusted.
	Trusted []netip.Prefix
	// Version is the one that is accepted, 1 or 2; 0 is both
	// (proxy_protocol.versions: v1, v2, any).
	Version int
}

// ForwardedForOptions let HTTP proxies name the client in the header field
// X-Forwarded-For of a WebSocket upgrade. Forwarded (RFC 7239) is not looked at.
//
// Each proxy appends the address that it was connected from, so the client is
// the rightmost address that is not a trusted proxy's; what stands left of it
// the client may have written itself. Where all of them are trusted, it is the
// leftmost. An entry may have a port, and IPv6 brackets.
//
// From a trusted peer the field is required, and the upgrade refused if it is
// absent or malformed as far as it has to be read. From others it is ignored.
// Allow and Deny judge the client that was named, and not the proxy. The client
// is known only once the upgrade's request is read, so until then a proxy has
// one share of the handshakes.
//
// With ProxyProtocol the peer is whom the PROXY header named.
type ForwardedForOptions struct {
	// Trusted are the proxies' addresses (forwarded_for.trusted), as in
	// [ProxyProtocolOptions].
	Trusted []netip.Prefix
}

// Proxy is what stands between a client and the listener.
type Proxy struct {
	Remote netip.AddrPort // the socket's peer, unmapped, without zone; invalid for Unix
	// Header is the PROXY header, with its TLVs; nil where only X-Forwarded-For
	// named the client. What it says of the client's TLS is the proxy's word.
	Header *proxyproto.Header
}

// complete checks o and returns a copy with its prefixes as they compare.
func (o *ProxyProtocolOptions) complete(t Transport) (*ProxyProtocolOptions, error) {
	if o.Version < 0 || o.Version > 2 {
		return nil, fmt.Errorf("listener: no version %d of the PROXY protocol", o.Version)
	}
	c := &ProxyProtocolOptions{Version: o.Version}
	if t == Unix {
		if len(o.Trusted) > 0 {
			return nil, errors.New("listener: the peers of a Unix socket have no addresses to trust")
		}
		return c, nil
	}
	var err error
	c.Trusted, err = proxies(o.Trusted)
	return c, err
}

func (o *ForwardedForOptions) complete(t Transport) (*ForwardedForOptions, error) {
	if !t.WebSocket() {
		return nil, errors.New("listener: X-Forwarded-For needs WebSocket")
	}
	trusted, err := proxies(o.Trusted)
	return &ForwardedForOptions{Trusted: trusted}, err
}

// proxies returns prefixes of trusted proxies as they compare.
func proxies(trusted []netip.Prefix) ([]netip.Prefix, error) {
	all, err := unmapPrefixes(trusted)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, errors.New("listener: no trusted proxies")
	}
	for _, p := range all {
		if p.Bits() == 0 {
			return nil, fmt.Errorf("listener: trusted proxies %s are everybody", p)
		}
	}
	return all, nil
}

// fromProxy reports whether a peer may send a PROXY header.
func (l *Listener) fromProxy(i *Info) bool {
	return i.Transport == Unix || contains(l.options.ProxyProtocol.Trusted, i.Remote.Addr())
}

// forwards reports whether a peer names its client in X-Forwarded-For.
func (l *Listener) forwards(a netip.Addr) bool {
	return l.options.ForwardedFor != nil && contains(l.options.ForwardedFor.Trusted, a)
}

// welcome applies Deny and Allow to a client, and lets those pass who will yet
// say whose connection it is.
func (l *Listener) welcome(a netip.Addr) bool { return l.forwards(a) || l.allowed(a) }

// introduce reads the PROXY header. What g is judged and counted by is the
// client from then on. It reports whether g may go on, and ends it if not.
func (l *Listener) introduce(g *guest) bool {
	err := l.readHeader(g)
	switch {
	case err != nil:
		l.counts.HeaderFailed.Add(1)
		l.fail(g, "PROXY header refused", err)
		return false
	case !l.welcome(g.Remote.Addr()):
		l.counts.RefusedAddress.Add(1)
		l.turnAway(g)
		l.complain(&g.Info, "connection refused", notAllowed)
		return false
	}
	return l.plain() || l.moveIn(g)
}

// moveIn gives g, who has waited among the proxies, a place among the clients.
func (l *Listener) moveIn(g *guest) bool {
	l.mu.Lock()
	held := g.place.release() && !l.closed
	var got, displaced *place
	if held {
		got, displaced = l.places.take(g.raw, g.Remote.Addr())
	}
	if got != nil {
		g.place = got
	}
	l.mu.Unlock()
	l.displace(displaced)
	switch {
	case !held:
		l.turnAway(g) // displaced or closed at the last moment
	case got == nil:
		l.crowded(g)
	}
	return got != nil
}

// readHeader reads the PROXY header of g, and not a byte more: the rest is TLS's
// or the driver's to read from the socket.
func (l *Listener) readHeader(g *guest) error {
	b := make([]byte, 0, 64)
	for {
		h, _, more, err := proxyproto.Parse(b)
		if err != nil {
			return err
		}
		if h != nil {
			return l.name(&g.Info, h)
		}
		b = slices.Grow(b, more) // at most proxyproto.MaxV2 in all
		n, err := g.raw.Read(b[len(b) : len(b)+more])
		b = b[:len(b)+n]
		switch {
		case n > 0: // an error comes again
		case errors.Is(err, io.EOF):
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		}
	}
}

// name makes i about the client that h names.
func (l *Listener) name(i *Info, h *proxyproto.Header) error {
	if want := l.options.ProxyProtocol.Version; want != 0 && h.Version != want {
		return fmt.Errorf("version %d of the PROXY protocol is not accepted", h.Version)
	}
	proxy := &Proxy{Remote: i.Remote, Header: h}
	if !h.Local {
		client, isClient := clientAddr(h.Source)
		if !isClient {
			return errors.New("no address of a client in the PROXY header")
		}
		i.Remote = client
	}
	i.Proxy = proxy
	return nil
}

// clientAddr returns an address that a proxy told as [Info] has it, unmapped
// and without zone. It reports whether a client can have it.
func clientAddr(a netip.AddrPort) (netip.AddrPort, bool) {
	ip := a.Addr().Unmap().WithZone("")
	isClient := ip.IsValid() && !ip.IsUnspecified() && !ip.IsMulticast()
	return netip.AddrPortFrom(ip, a.Port()), isClient
}

// nameForwarded makes the guest about the client that a trusted HTTP proxy
// names in header. An error is for the operator.
func (l *Listener) nameForwarded(g *guest, header map[string][]string) error {
	if !l.forwards(g.Remote.Addr()) {
		return nil
	}
	client, err := forwardedFor(header["X-Forwarded-For"], l.options.ForwardedFor.Trusted)
	if err != nil {
		return err
	}
	if g.Proxy == nil {
		g.Proxy = &Proxy{Remote: g.Remote}
	}
	g.Remote = client
	if !l.allowed(client.Addr()) {
		l.counts.RefusedAddress.Add(1)
		return errors.New(notAllowed)
	}
	return nil
}
