package listener

import (
	"container/heap"
	"container/list"
	"net"
	"net/netip"
	"sync/atomic"
)

// place is a handshake in progress.
type place struct {
	raw    net.Conn // closed to end the handshake
	begun  uint64   // order of arrival
	pool   *places
	source *source
	item   *list.Element // in source.places; nil when released
	gone   atomic.Bool   // raw is closed: what was read of it is not worth a turn
}

// source is the places that one source prefix holds, at least one.
type source struct {
	prefix netip.Prefix
	places *list.List // of *place, oldest first
	index  int        // in the heap
}

func (s *source) oldest() uint64 { return s.places.Front().Value.(*place).begun }

// places shares a bounded number of handshakes evenly between source prefixes;
// the package comment has the rule. It is guarded by Listener.mu.
type places struct {
	limit   int
	taken   int
	begun   uint64 // places ever taken
	sources map[netip.Prefix]*source
	busiest sourceHeap
}

// take returns a place for raw, nil if there is none for its prefix, and the
// place that had to be given up for it, which is no longer held.
func (p *places) take(raw net.Conn, from netip.Addr) (got, displaced *place) {
	prefix := sourcePrefix(from)
	s := p.sources[prefix]
	if p.taken >= p.limit {
		held := 0
		if s != nil {
			held = s.places.Len()
		}
		// A prefix that holds something may only catch up, or two of them would
		// displace each other in turns. One that holds nothing always gets in.
		if len(p.busiest) == 0 || held > 0 && held+1 >= p.busiest[0].places.Len() {
			return nil, nil
		}
		displaced = p.busiest[0].places.Front().Value.(*place)
		p.release(displaced)
	}
	p.taken++
	p.begun++
	got = &place{raw: raw, begun: p.begun, pool: p}
	if s = p.sources[prefix]; s != nil {
		got.source, got.item = s, s.places.PushBack(got)
		heap.Fix(&p.busiest, s.index)
		return got, displaced
	}
	s = &source{prefix: prefix, places: list.New()}
	got.source, got.item = s, s.places.PushBack(got)
	if p.sources == nil {
		p.sources = make(map[netip.Prefix]*source)
	}
	p.sources[prefix] = s
	heap.Push(&p.busiest, s)
	return got, displaced
}

// end makes the handshake fail.
func (g *place) end() {
	g.gone.Store(true)
	_ = g.raw.Close() // its handshake fails on this, which is the point
}

// release gives the place up, as [places.release] does.
func (g *place) release() bool { return g.pool.release(g) }

// release gives a place up; doing so again changes nothing. It reports whether
// the place was held.
func (p *places) release(g *place) bool {
	if g.item == nil {
		return false
	}
	s := g.source
	s.places.Remove(g.item)
	g.item = nil
	p.taken--
	if s.places.Len() > 0 {
		heap.Fix(&p.busiest, s.index)
		return true
	}
	heap.Remove(&p.busiest, s.index)
	delete(p.sources, s.prefix)
	return true
}

// endAll closes every connection that is in a handshake.
func (p *places) endAll() {
	for _, s := range p.busiest {
		for e := s.places.Front(); e != nil; e = e.Next() {
			e.Value.(*place).end()
		}
	}
}

// sourcePrefix is what counts as one source: an IPv4 address, an IPv6 /64.
// Unix sockets, without an address, are one source.
func sourcePrefix(a netip.Addr) netip.Prefix {
	bits := 32
	if a.Is6() {
		bits = 64
	}
	prefix, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}

// sourceHeap is a heap with the source that holds the most places on top; of
// equals, the one with the oldest handshake. An honest handshake takes a round
// trip or two, so under attack from many prefixes the oldest is hardly ever one.
type sourceHeap []*source

func (h sourceHeap) Len() int { return len(h) }
func (h sourceHeap) Less(i, j int) bool {
	if a, b := h[i].places.Len(), h[j].places.Len(); a != b {
		return a > b
	}
	return h[i].oldest() < h[j].oldest()
}
func (h sourceHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements [heap.Interface].
func (h *sourceHeap) Push(x any) {
	s := x.(*source)
	s.index = len(*h)
	*h = append(*h, s)
}

// Pop implements [heap.Interface].
func (h *sourceHeap) Pop() any {
	old := *h
	s := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return s
}
