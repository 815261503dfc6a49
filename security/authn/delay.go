package authn

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

// DelayOptions says how failures slow down where they come from. Zero fields
// are the defaults.
type DelayOptions struct {
	// Free failures of one address cost nothing; default 5. Of its network (/24
	// for IPv4, /64 for IPv6) eight times as many.
	Free int
	// First is the delay of the attempt after those; each further failure
	// doubles it. Default 250 ms.
	First time.Duration
	// Longest caps it. Default 5 s.
	Longest time.Duration
	// Forget halves the count of failures each time it passes. Default 1 min.
	Forget time.Duration
	// Entries bounds the table; the one that failed longest ago gives way. Default 16384.
	Entries int
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// delays counts failures by address and by network, never by account: nobody
// can slow down another who sits elsewhere.
type delays struct {
	opts DelayOptions

	mu      sync.Mutex // guards the fields below
	sources map[netip.Prefix]*list.Element
	order   *list.List // of *source; the one that failed longest ago first
}

type source struct {
	prefix   netip.Prefix
	failures int
	last     time.Time // of the failure, or of the last halving
}

func newDelays(o DelayOptions) *delays {
	setDefault(&o.Free, 5)
	setDefault(&o.First, 250*time.Millisecond)
	setDefault(&o.Longest, 5*time.Second)
	setDefault(&o.Forget, time.Minute)
	setDefault(&o.Entries, 16384)
	o.Entries = max(o.Entries, 2) // one failure is counted under two
	if o.Now == nil {
		o.Now = time.Now
	}
	return &delays{opts: o, sources: map[netip.Prefix]*list.Element{}, order: list.New()}
}

// networkFactor is how many times an address's free failures its network has.
const networkFactor = 8

// sourcesOf is what a failure from addr is counted under.
func sourcesOf(addr netip.Addr) [2]netip.Prefix {
	addr = addr.Unmap().WithZone("")
	host, wide := 128, 64
	if addr.Is4() {
		host, wide = 32, 24
	}
	h, _ := addr.Prefix(host) // the zero Addr gives the zero Prefix: all local transports are one source
	w, _ := addr.Prefix(wide)
	return [2]netip.Prefix{h, w}
}

// wait is how long an attempt from addr has to wait before it is worked on.
func (d *delays) wait(addr netip.Addr) time.Duration {
	now := d.opts.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	var longest time.Duration
	for i, prefix := range sourcesOf(addr) {
		e, ok := d.sources[prefix]
		if !ok || i == 1 && !prefix.IsValid() {
			continue
		}
		s := e.Value.(*source)
		d.decay(s, now)
		free := d.opts.Free
		if i == 1 {
			free *= networkFactor
		}
		longest = max(longest, d.delay(s.failures-free))
	}
	return longest
}

// delay is First doubled for each failure beyond the first, at most Longest.
func (d *delays) delay(beyond int) time.Duration {
	if beyond <= 0 {
		return 0
	}
	out := d.opts.First
	for ; beyond > 1 && out < d.opts.Longest; beyond-- {
		out *= 2
	}
	return min(out, d.opts.Longest)
}

// decay halves the failures for each Forget that has passed; mu is held.
func (d *delays) decay(s *source, now time.Time) {
	for s.failures > 0 && now.Sub(s.last) >= d.opts.Forget {
		s.failures /= 2
		s.last = s.last.Add(d.opts.Forget)
	}
}

// maxFailures bounds the count, and with it the time until a source is forgotten.
const maxFailures = 1 << 10

// failed counts a failure from addr.
func (d *delays) failed(addr netip.Addr) {
	now := d.opts.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, prefix := range sourcesOf(addr) {
		if i == 1 && !prefix.IsValid() {
			continue
		}
		e, ok := d.sources[prefix]
		if !ok {
			for len(d.sources) >= d.opts.Entries {
				d.forget(d.order.Front())
			}
			e = d.order.PushBack(&source{prefix: prefix, last: now})
			d.sources[prefix] = e
		}
		s := e.Value.(*source)
		d.decay(s, now)
		s.failures = min(s.failures+1, maxFailures)
		s.last = now
		d.order.MoveToBack(e)
	}
	// Whoever failed longest ago is at the front: forget those whose count has gone.
	for e := d.order.Front(); e != nil; e = d.order.Front() {
		s := e.Value.(*source)
		if d.decay(s, now); s.failures > 0 {
			break
		}
		d.forget(e)
	}
}

// forget drops a source; mu is held.
func (d *delays) forget(e *list.Element) {
	delete(d.sources, e.Value.(*source).prefix)
	d.order.Remove(e)
}
