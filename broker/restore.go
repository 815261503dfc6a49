package broker

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"

	"sallyport/session"
	"sallyport/store"
)

// restore makes the sessions anew that the store has kept, each as if its client had
// just gone: how long it was away before is not known, so that none ends too soon.
// Nobody connects yet.
func (b *Broker) restore() {
	r, ok := b.store.(store.Restorer)
	if !ok {
		return
	}
	kept, last := r.Restore()
	b.sessions.Store(max(b.sessions.Load(), last))
	t := turn{now: b.now()}
	var over store.Batch
	for _, k := range slices.Backward(kept) { // of two sessions of a client the later one counts
		if !k.Group && !b.restoreSession(&t, k, &over) {
			over.Add(store.Op{Kind: store.DeleteSession, Session: k.Number})
		}
	}
	for _, k := range kept {
		if k.Group && !b.restoreGroup(k) {
			over.Add(store.Op{Kind: store.DeleteSession, Session: k.Number})
		}
	}
	b.keep(&t, &over, nil) // a failure is logged, and it is tried again at the next start
	t.flush()
}

// restoreSession makes one session; false if it is over, since it was to end with its
// connection or there is nobody whom it may belong to. What of it is over is added to over.
func (b *Broker) restoreSession(t *turn, kept *store.Restored, over *store.Batch) bool {
	if kept.Expiry == 0 {
		return false
	}
	who := principalOf(kept.Owner)
	if who == nil {
		b.log.Error("a session is given up: who owns it can't be read", "client", shown(kept.Client))
		return false
	}
	lis := b.listenerOr(who.Listener)
	cl := b.reg.findOrAdd(b, kept.Client)
	if cl.session != nil {
		b.log.Error("a session is given up: its client has another", "client", shown(kept.Client))
		return false
	}
	b.reg.admit(ownerOf(who), 0, 0) // within its bounds once; others than these count for new ones
	b.metrics.Sessions.Add(1)
	s := &session.Session{Number: kept.Number, Expiry: kept.Expiry}
	cl.mu.Lock()
	cl.session, cl.principal, cl.lis = s, who, lis
	var shared []*session.Subscription
	for _, sub := range kept.Subs {
		s.Subs.Set(sub)
		b.metrics.Subscriptions.Add(1)
		if sub.Shared() {
			b.metrics.Shared.Add(1)
			shared = append(shared, sub)
			continue
		}
		b.tree.Set(sub.Topic(), target{client: cl}, sub)
	}
	cl.mu.Unlock()
	for _, sub := range shared {
		cl.join(&lis.Limits, sub) // group.mu comes before client.mu
	}
	cl.mu.Lock()
	defer cl.mu.Unlock()
	for i := range kept.Entries {
		k := &kept.Entries[i]
		if e, some := s.Restore(cl.entryOf(k), k.PacketID, k.State); some {
			cl.forget(over, e)
		}
	}
	s.SetLastSeq(kept.LastSeq)
	// A store that puts its syncs off may not know what was sent last, and a client takes
	// a QoS 2 message for one that it has if it comes under an identifier that is open
	// there: those that were just in use are avoided.
	s.SetLastID(uint16(rand.Uint32()))
	for _, id := range kept.Incoming {
		s.AddIncoming(id)
	}
	cl.account()
	a := cl.away()
	if kept.Expiry != session.NeverExpires {
		a.expiresAt = t.now + int64(kept.Expiry)*1e9
	}
	if kept.Will != nil {
		cl.will = &will{msg: kept.Will, expiry: kept.WillExpiry, principal: cmp.Or(principalOf(kept.Will.Origin), who)}
		a.willAt = kept.WillAt
	}
	a.arm()
	return true
}

// restoreGroup gives a shared subscription back what waited for its members; false
// if it has none any more.
func (b *Broker) restoreGroup(kept *store.Restored) bool {
	g := b.groups.named(kept.Client)
	if g == nil || g.number != 0 {
		return false
	}
	g.number, g.lastSeq = kept.Number, kept.LastSeq
	for i := range kept.Entries {
		e := kept.Entries[i].Entry
		g.waiting = append(g.waiting, e)
		g.bytes += e.Size()
		b.metrics.BufferedBytes.Add(int64(e.Size()))
		b.metrics.Queued.Add(1)
	}
	g.unseen = true
	return true
}

// listenerOr is the listener of a name, or if it is gone any other, whose limits then
// count: nothing is allowed there to who came by one that no policy is about.
func (b *Broker) listenerOr(name string) *Listener {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if l := b.listeners[name]; l != nil {
		return l
	}
	if len(b.listeners) == 0 {
		return &Listener{Name: name}
	}
	return b.listeners[slices.Min(slices.Collect(maps.Keys(b.listeners)))]
}
