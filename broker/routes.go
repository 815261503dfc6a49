package broker

import (
	"strings"
	"sync/atomic"
	"time"

	"sallyport/security"
	"sallyport/session"
	"sallyport/topic"
)

// routes remembers where messages go: for a topic the subscriptions that match it.
// It is a hash table of small sets without a lock, shared by all connections.
//
// A topic enters at its second use within a short time, in the place of one that
// was not used since the last sweep: who publishes to ever new topics displaces
// nothing that is in use. What is remembered is bounded in topics and in
// subscriptions. What the tree has changed meanwhile is looked up again when it is
// used, and let go by the sweep when it is not, so that nothing keeps a session
// alive that is over.
type routes struct {
	sets [routeSets]routeSet
	// door holds the hashes of topics that were not remembered when they were used.
	door [routeDoor]atomic.Uint32
	hops atomic.Int64 // subscriptions remembered
}

// routeSet is where topics are whose hashes have the same place. What is not in it
// is found out by tags alone, which lie beside one another. A tag that was stored
// late may be of a trail that is gone: then a topic is not found, and nothing else.
type routeSet struct {
	tags   [routeWays]atomic.Uint32 // of the hashes
	trails [routeWays]atomic.Pointer[trail]
	_      [64 - routeWays*12]byte // one line of the processor's cache
}

const (
	routeSets = 1 << 14
	routeWays = 4
	routeDoor = 1 << 15
	// routeHops bounds the subscriptions of one topic that are remembered: beyond,
	// finding them in the tree costs little beside serving them.
	routeHops = 1024
	// allRouteHops bounds those of all topics: 24 MiB.
	allRouteHops = 1 << 20
	// routeSweep is how often what is not used or not true any more is let go.
	routeSweep = 10 * time.Second
)

// trail is what is remembered of one topic. Connections point to it; what it
// holds is in state, where the sweep can take it away.
type trail struct {
	topic string
	hash  security.Hash
	state atomic.Pointer[routed]
	used  atomic.Bool   // since the last sweep
	gone  atomic.Bool   // it is not in the table any more, and remembers nothing
	idle  atomic.Uint32 // uses since state was not worth finding out anew
}

// routed is the subscriptions of a topic at one moment. It is immutable but for
// what its mark and served note.
type routed struct {
	mark   topic.Mark
	served atomic.Bool // it was used after it had been made
	wide   bool        // there are too many to remember, until the mark says that they have changed
	hops   []hop
	one    [1]hop // what hops is where it is one
}

// hop is one subscription on a topic's trail.
type hop struct {
	to  target
	sub *session.Subscription
}

// find returns what is remembered of topic, or a place for it; nil if the topic
// was not used lately or there is no room. name may view a buffer.
func (rs *routes) find(hash security.Hash, name string) *trail {
	set, tag := &rs.sets[hash%routeSets], uint32(hash>>32)|1
	for i := range set.tags {
		if set.tags[i].Load() != tag {
			continue
		}
		if r := set.trails[i].Load(); r != nil && r.hash == hash && r.topic == name {
			return r
		}
	}
	if door := &rs.door[hash/routeSets%routeDoor]; door.Load() != tag {
		door.Store(tag)
		return nil
	}
	for i := range set.trails {
		old := set.trails[i].Load()
		if old != nil && old.used.Load() {
			continue
		}
		r := &trail{topic: strings.Clone(name), hash: hash}
		if set.trails[i].CompareAndSwap(old, r) {
			set.tags[i].Store(tag)
			rs.forget(old)
			return r
		}
	}
	return nil
}

// keep makes s what r remembers, or nothing where that would be too much.
func (rs *routes) keep(r *trail, s *routed) {
	if rs.hops.Load()+int64(len(s.hops)) > allRouteHops {
		s = nil
	}
	rs.swap(r, s)
	if r.gone.Load() {
		rs.swap(r, nil)
	}
}

func (rs *routes) swap(r *trail, s *routed) {
	old := r.state.Swap(s)
	n := 0
	if s != nil {
		n = len(s.hops)
	}
	if old != nil {
		n -= len(old.hops)
	}
	rs.hops.Add(int64(n))
}

// forget empties a trail that was taken out of the table.
func (rs *routes) forget(r *trail) {
	if r != nil {
		r.gone.Store(true) // first, see keep
		rs.swap(r, nil)
	}
}

// sweep lets go what was not used since the last one, and what is stale by now.
func (rs *routes) sweep(changed func(*topic.Mark) bool) {
	for i := range rs.sets {
		for k := range rs.sets[i].trails {
			at := &rs.sets[i].trails[k]
			r := at.Load()
			switch {
			case r == nil:
			case !r.used.Swap(false):
				if at.CompareAndSwap(r, nil) {
					rs.forget(r)
				}
			default:
				if s := r.state.Load(); s != nil && changed(&s.mark) {
					rs.swap(r, nil)
				}
			}
		}
	}
}

func (b *Broker) sweepRoutes() { b.routes.sweep(b.tree.Changed) }

// worth reports whether w's subscriptions, which are not known or not true any
// more, are worth finding out to be kept: not where they change before they serve.
func (w *trail) worth(s *routed) bool {
	return s == nil || s.served.Load() || w.idle.Add(1)%16 == 0
}

// trailOf is the trail of the PUBLISH at hand, nil if none is remembered. h is the hash
// of its topic. The connection remembers it in the place where its topic is.
func (c *Conn) trailOf(name string, h *security.Hash) *trail {
	from := c.sender()
	place := from.access.Place()
	if place < len(from.trails) {
		if r := from.trails[place]; r != nil && r.topic == name && !r.gone.Load() {
			return r
		}
	}
	r := c.b.routes.find(c.b.gate.Hash(name, h), name)
	if r == nil {
		return nil
	}
	if n := place + 1; n > len(from.trails) {
		from.trails = append(from.trails, make([]*trail, n-len(from.trails))...)
	}
	from.trails[place] = r
	return r
}

// follow routes the message to its receivers, by what is remembered of its topic
// where that is true.
func (r *router) follow() {
	w := r.in.trail
	if w == nil {
		r.search()
		return
	}
	if !w.used.Load() {
		w.used.Store(true)
	}
	s := w.state.Load()
	switch {
	case s == nil || r.b.tree.Changed(&s.mark):
		if w.worth(s) {
			r.learn(w)
			return
		}
		fallthrough
	case s.wide:
		r.search()
		return
	}
	if !s.served.Load() {
		s.served.Store(true)
	}
	r.left = s.hops
}

// search finds the receivers in the tree.
func (r *router) search() {
	if !r.may {
		r.b.tree.Match(r.in.topic, r.yield)
		return
	}
	r.hops = r.hops[:0]
	r.b.tree.Match(r.in.topic, r.collect)
	r.left = r.hops
}

// learn finds the receivers in the tree, remembers them and routes the message.
func (r *router) learn(w *trail) {
	s := &routed{}
	if !r.b.tree.Mark(r.in.topic, &s.mark) {
		s.wide = true
	}
	r.hops = r.hops[:0]
	r.b.tree.Match(r.in.topic, r.collect)
	switch n := len(r.hops); {
	case s.wide || n > routeHops:
		s.wide = true // what is beyond r.hops was routed by gather
	case n == 1:
		s.one[0] = r.hops[0]
		s.hops = s.one[:]
	case n > 0:
		s.hops = append([]hop(nil), r.hops...)
	}
	r.b.routes.keep(w, s)
	r.left = r.hops
}

// gather collects subscriptions. Those beyond what is remembered are routed at
// once if the message may not wait.
func (r *router) gather(to target, sub *session.Subscription) bool {
	if !r.may && len(r.hops) > routeHops {
		return r.route(to, sub)
	}
	r.hops = append(r.hops, hop{to, sub})
	return true
}
