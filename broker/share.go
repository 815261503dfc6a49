package broker

import (
	"log/slog"
	"sync"
	"sync/atomic"

	"sallyport/audit"
	"sallyport/session"
	"sallyport/store"
)

// group is one shared subscription: a share name with a filter (MQTT 5.0,
// 4.8.2). A message goes to a member only when that member can send it at
// once; else it waits here, so nothing unsent is lost with a member.
type group struct {
	b      *Broker
	name   string // $share/name/filter
	filter string
	share  string // the share name

	mu      sync.Mutex // guards the fields below; taken before any client.mu
	members []member
	next    int
	waiting []session.Entry
	bytes   int
	limits  Limits
	over    bool // no member is left
	drops
}

type member struct {
	cl  *client
	sub *session.Subscription
}

// groups finds groups by the filter that made them.
type groups struct {
	mu       sync.Mutex
	byFilter map[string]*group
}

func (gs *groups) find(sub *session.Subscription) *group {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	return gs.byFilter[sub.Filter]
}

// join makes the client a member. No lock is held.
func (cl *client) join(c *Conn, sub *session.Subscription) {
	b := cl.b
	for {
		b.groups.mu.Lock()
		g := b.groups.byFilter[sub.Filter]
		if g == nil {
			g = &group{b: b, name: sub.Filter, filter: sub.Topic, share: sub.Group, limits: c.lis.Limits}
			b.groups.byFilter[sub.Filter] = g
		}
		b.groups.mu.Unlock()
		if g.add(cl, sub) {
			return
		}
	}
}

func (cl *client) isMember(g *group) bool {
	for _, x := range cl.shared {
		if x == g {
			return true
		}
	}
	return false
}

// add enters a member, or its changed subscription; false if the group is over.
// A subscription that has ended meanwhile is not entered: its client may be a
// member with a newer one.
func (g *group) add(cl *client, sub *session.Subscription) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over {
		return false
	}
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if sub.Removed {
		g.endIfEmpty()
		return true
	}
	if !cl.isMember(g) {
		// A new slice: others iterate over the old one without the lock.
		cl.shared = append(append([]*group(nil), cl.shared...), g)
	}
	for i := range g.members {
		if g.members[i].cl == cl {
			g.members[i].sub = sub
			return true
		}
	}
	g.members = append(g.members, member{cl, sub})
	if len(g.members) == 1 {
		g.b.tree.Set(g.filter, target{group: g}, sub)
	}
	return true
}

// leave takes a member away; the last one takes the group with it. No lock is held.
func (g *group) leave(cl *client, sub *session.Subscription) {
	g.mu.Lock()
	defer g.mu.Unlock()
	// Where it is not found the client has come back with another subscription.
	for i := range g.members {
		if g.members[i].cl == cl && g.members[i].sub == sub {
			g.members = append(g.members[:i:i], g.members[i+1:]...)
			cl.forgetGroup(g)
			break
		}
	}
	g.endIfEmpty()
}

// forgetGroup is called with g.mu held, so that no join comes between.
func (cl *client) forgetGroup(g *group) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	var rest []*group // a new slice, as in add
	for _, x := range cl.shared {
		if x != g {
			rest = append(rest, x)
		}
	}
	cl.shared = rest
}

// endIfEmpty ends a group without members. The caller holds g.mu.
func (g *group) endIfEmpty() {
	if len(g.members) > 0 || g.over {
		return
	}
	g.over = true
	g.b.tree.Remove(g.filter, target{group: g})
	g.b.metrics.BufferedBytes.Add(-int64(g.bytes))
	g.b.metrics.Queued.Add(-int64(len(g.waiting)))
	g.waiting, g.bytes = nil, 0
	g.b.groups.mu.Lock()
	if g.b.groups.byFilter[g.name] == g {
		delete(g.b.groups.byFilter, g.name)
	}
	g.b.groups.mu.Unlock()
}

// offer hands a message to one member, or keeps it for the group.
func (g *group) offer(t *turn, in *inbound, batch *store.Batch) outcome {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over {
		return passed
	}
	if w := in.waiting; w != nil {
		// QoS 2: it may leave when the publisher's commit is complete.
		out := g.wait(t, session.Entry{Msg: in.message(), QoS: in.qos, Held: &w.held})
		if out == taken {
			w.groups = append(w.groups, g)
		}
		return out
	}
	// QoS 0 needs no window: where it can't wait it has no place in a queue to keep.
	passes := in.qos == 0 && !g.b.opt.QueueQoS0
	if (passes || len(g.waiting) == 0) && (in.qos == 0 || !g.b.overBuffered(in)) {
		switch g.assign(t, in, batch) {
		case taken:
			return taken
		case refused:
			g.b.metrics.DroppedNoMember.Add(1)
			return refused
		}
	}
	if in.qos == 0 && !g.b.opt.QueueQoS0 {
		g.b.metrics.DroppedNoMember.Add(1)
		return full
	}
	return g.wait(t, session.Entry{Msg: in.message(), QoS: in.qos})
}

// assign tries the members in turn; refused if no member may have the message.
// The caller holds g.mu.
func (g *group) assign(t *turn, in *inbound, batch *store.Batch) outcome {
	best := refused
	for range g.members {
		m := g.members[g.next%len(g.members)]
		g.next = (g.next + 1) % len(g.members)
		switch m.cl.offerShared(t, in, g, m.sub, batch) {
		case taken:
			return taken
		case full:
			best = full
		}
	}
	return best
}

// offerShared gives the client a shared message if it can send it at once:
// full if it can't now, refused if it may not.
func (cl *client) offerShared(t *turn, in *inbound, g *group, sub *session.Subscription, batch *store.Batch) outcome {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if sub.Removed || cl.session == nil {
		return refused
	}
	qos := min(in.qos, sub.QoS)
	d := cl.access.Receive(in.topic, g.share, qos, in.retain, in.payload)
	if !d.Granted() {
		return refused
	}
	if !cl.live || !cl.conn.roomy() || qos > 0 && !cl.session.Room() {
		return full
	}
	out, _ := cl.b.deliver(d, t, cl, dispatch{in: in, qos: qos, retain: in.retain && sub.RetainAsPublished, ids: sub.IDs, share: g}, batch)
	return out
}

// wait keeps a message until a member can take it, within the bounds of a queue. The caller holds g.mu.
func (g *group) wait(t *turn, e session.Entry) outcome {
	b, size := g.b, e.Msg.Size()
	for len(g.waiting) > 0 && g.waiting[0].Msg.Expired(t.now) {
		b.metrics.DroppedExpired.Add(1)
		g.shift()
	}
	over := b.opt.BufferBytes > 0 && b.metrics.BufferedBytes.Load()+int64(size) > b.opt.BufferBytes
	for over || len(g.waiting) >= g.limits.QueueMessages || g.bytes+size > g.limits.QueueBytes {
		b.metrics.DroppedQueueFull.Add(1)
		if b.dropped(&g.drops, t.now) {
			b.audit.Record(audit.MessagesDropped, slog.String("client", g.name),
				slog.String("reason", "queue of the shared subscription full"), slog.Int64("count", g.count))
		}
		if g.limits.QueueFull != DropOldest || over || len(g.waiting) == 0 {
			return full
		}
		g.shift()
	}
	g.waiting = append(g.waiting, e)
	g.bytes += size
	b.metrics.BufferedBytes.Add(int64(size))
	b.metrics.Queued.Add(1)
	return taken
}

// dropHeld takes out the waiting messages whose hold is h: they could not be kept.
func (g *group) dropHeld(h *atomic.Bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	rest := g.waiting[:0]
	for _, e := range g.waiting {
		if e.Held != h {
			rest = append(rest, e)
			continue
		}
		g.bytes -= e.Msg.Size()
		g.b.metrics.BufferedBytes.Add(-int64(e.Msg.Size()))
		g.b.metrics.Queued.Add(-1)
	}
	clear(g.waiting[len(rest):])
	g.waiting = rest
}

// shift takes the oldest waiting message away. The caller holds g.mu.
func (g *group) shift() {
	m := g.waiting[0].Msg
	g.waiting[0] = session.Entry{}
	if g.waiting = g.waiting[1:]; len(g.waiting) == 0 {
		g.waiting = nil // a group that has caught up keeps no queue
	}
	g.bytes -= m.Size()
	g.b.metrics.BufferedBytes.Add(-int64(m.Size()))
	g.b.metrics.Queued.Add(-1)
}

// drain gives waiting messages to members that have room. No lock is held.
func (g *group) drain(t *turn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.waiting) > 0 {
		m := g.waiting[0].Msg
		if m.Expired(t.now) {
			g.b.metrics.DroppedExpired.Add(1)
			g.shift()
			continue
		}
		if h := g.waiting[0].Held; h != nil && h.Load() {
			return // its commit's completion goes on
		}
		in := inbound{
			topic: m.Topic, payload: m.Payload, props: m.Props, expiryAt: m.ExpiryAt, expires: m.Expires,
			qos: m.QoS, retain: m.Retain, origin: m.Origin, kept: m,
		}
		var batch store.Batch
		switch g.assign(t, &in, &batch) {
		case full:
			return
		case refused:
			g.b.metrics.DroppedNoMember.Add(1)
		}
		g.b.commit(&batch, func(error) {}) // lost, it is in the group's queue or its member's flight
		g.shift()
	}
}

// redeal gives the unacknowledged messages of a member that is gone to others,
// before anything that waits.
func redeal(t *turn, list []session.Entry) {
	byGroup := make(map[*group][]session.Entry)
	for _, e := range list {
		if g, ok := e.Share.(*group); ok {
			byGroup[g] = append(byGroup[g], session.Entry{Msg: e.Msg, QoS: e.Msg.QoS})
		}
	}
	for g, es := range byGroup {
		g.mu.Lock()
		if !g.over {
			for _, e := range es {
				g.bytes += e.Msg.Size()
				g.b.metrics.BufferedBytes.Add(int64(e.Msg.Size()))
			}
			g.b.metrics.Queued.Add(int64(len(es)))
			g.waiting = append(append([]session.Entry(nil), es...), g.waiting...)
		}
		g.mu.Unlock()
		g.drain(t)
	}
}
