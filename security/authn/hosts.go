package authn

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// HostsOptions bounds a Hosts. Zeros are the defaults named beside them.
type HostsOptions struct {
	// Lookup is the addresses of a host name; nil is the system's resolver.
	Lookup   func(ctx context.Context, network, host string) ([]netip.Addr, error)
	Timeout  time.Duration    // for all names of a certificate; 2 s
	TTL      time.Duration    // how long an answer is remembered; 60 s
	Failed   time.Duration    // and how long that there was none; 5 s
	Entries  int              // remembered names; 4096
	Parallel int              // lookups at the same time; 32
	Now      func() time.Time // nil is time.Now
	// Offline says that nobody is asked: what depends on it refuses, and
	// explanations leave it open.
	Offline bool
}

// Hosts tells whether host names belong to an address: it looks the names up, since
// whoever has an address decides what it is called backwards. It is safe for
// concurrent use.
type Hosts struct {
	opts   HostsOptions
	places chan struct{}

	mu      sync.Mutex // guards the fields below
	entries map[string]*list.Element
	order   *list.List // of *hostEntry, the one remembered first at the front
}

type hostEntry struct {
	name      string
	addresses []netip.Addr
	err       error
	expires   time.Time
}

const (
	hostNames     = 8  // bounds the names of a certificate that are looked up
	hostAddresses = 64 // bounds what is remembered of a name
)

// NewHosts makes a Hosts that remembers nothing yet.
func NewHosts(o HostsOptions) *Hosts {
	if o.Lookup == nil {
		o.Lookup = net.DefaultResolver.LookupNetIP
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	setDefault(&o.Timeout, 2*time.Second)
	setDefault(&o.TTL, time.Minute)
	setDefault(&o.Failed, 5*time.Second)
	setDefault(&o.Entries, 4096)
	setDefault(&o.Parallel, 32)
	return &Hosts{opts: o, places: make(chan struct{}, o.Parallel), entries: map[string]*list.Element{}, order: list.New()}
}

// Match reports, as an error, that none of the names is known to have the address.
// Names with a wildcard count for nothing. It may take as long as the timeout.
func (h *Hosts) Match(ctx context.Context, names []string, addr netip.Addr) error {
	if h == nil || !addr.IsValid() {
		return errors.New("address of the client can't be compared with the host names of its certificate")
	}
	var asked []string
	for _, name := range names {
		if hostName(name) {
			asked = append(asked, strings.ToLower(name))
		}
	}
	switch {
	case len(asked) == 0:
		return errors.New("certificate has no host name to look up")
	case len(asked) > hostNames:
		return fmt.Errorf("certificate has more than %d host names to look up", hostNames)
	}
	if h.opts.Offline {
		return errors.New("host names of certificates are not looked up here")
	}
	addr = plain(addr)
	ctx, cancel := context.WithTimeout(ctx, h.opts.Timeout)
	defer cancel()
	var failed error
	for _, name := range asked {
		addresses, err := h.addresses(ctx, name)
		if err != nil {
			failed = err
		} else if slices.Contains(addresses, addr) {
			return nil
		}
	}
	if failed != nil {
		return fmt.Errorf("host name of the certificate: %w", failed)
	}
	return errors.New("certificate has no host name with the address of the client")
}

// addresses is what a name resolves to, remembered or asked for.
func (h *Hosts) addresses(ctx context.Context, name string) ([]netip.Addr, error) {
	h.mu.Lock()
	if e, ok := h.entries[name]; ok {
		if x := e.Value.(*hostEntry); h.opts.Now().Before(x.expires) {
			h.mu.Unlock()
			return x.addresses, x.err
		}
	}
	h.mu.Unlock()
	select {
	case h.places <- struct{}{}:
		defer func() { <-h.places }()
	case <-ctx.Done():
		return nil, errors.New("too many host names are looked up at the same time")
	}
	asked := name
	if strings.Contains(name, ".") {
		asked += "." // no search list of the system makes another name of it
	}
	found, err := h.opts.Lookup(ctx, "ip", asked)
	x := &hostEntry{name: name, err: err, expires: h.opts.Now().Add(h.opts.Failed)}
	if err == nil {
		x.expires = h.opts.Now().Add(h.opts.TTL)
		for _, a := range found[:min(len(found), hostAddresses)] {
			x.addresses = append(x.addresses, plain(a))
		}
	}
	h.remember(x)
	return x.addresses, x.err
}

func (h *Hosts) remember(x *hostEntry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e, ok := h.entries[x.name]; ok {
		h.order.Remove(e)
	} else if h.order.Len() >= h.opts.Entries {
		first := h.order.Front()
		delete(h.entries, first.Value.(*hostEntry).name)
		h.order.Remove(first)
	}
	h.entries[x.name] = h.order.PushBack(x)
}

// hostName reports whether name is one that can be looked up: no wildcard, no
// address, letters, digits, hyphens and underscores between dots (RFC 1123, 2.1).
func hostName(name string) bool {
	if len(name) > 253 || strings.Trim(name, "0123456789.") == "" {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for _, c := range []byte(label) {
			letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
			if !letter && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}
