package broker

import (
	"log/slog"

	"sallyport/audit"
	"sallyport/security"
	"sallyport/session"
	"sallyport/store"
)

// dealAhead is how many waiting messages are looked at, past such as nobody can
// take now, for one that somebody can.
const dealAhead = 64

// offer hands a message to one member, or keeps it for the group.
func (g *group) offer(t *turn, in *inbound, batch *store.Batch) outcome {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over {
		return passed
	}
	if w := in.waits(); w != nil {
		// QoS 2: it may leave when the publisher's commit is complete.
		out := g.wait(t, session.Entry{Msg: in.hold(), QoS: in.qos}, batch)
		if out == taken {
			w.groups = append(w.groups, g)
		}
		return out
	}
	// QoS 0 needs no window: where it can't wait it has no place in a queue to keep.
	passes := in.qos == 0 && !g.b.opt.QueueQoS0
	tried := (passes || g.deals()) && (in.qos == 0 || !g.b.overBuffered(in))
	if tried {
		switch g.assign(t, in, passes, batch) {
		case taken:
			return taken
		case refused:
			g.nobody(t)
			return refused
		}
	}
	if passes {
		g.b.metrics.DroppedNoMember.Add(1)
		return full
	}
	seen := tried && (!g.unseen || len(g.waiting) == 0)
	before := len(g.waiting)
	out := g.wait(t, session.Entry{Msg: in.message(), QoS: in.qos}, batch)
	switch {
	case out != taken:
	case seen:
		g.unseen = false
		g.fallBehind()
	case len(g.waiting) <= before && !g.allBehind():
		g.dealAll(t) // others went, and what was beyond reach may not be any more
	}
	return out
}

// deals reports whether a message that comes now could go to a member past those
// that wait.
func (g *group) deals() bool {
	if len(g.waiting) == 0 {
		g.round++ // what they were behind of has expired
		return true
	}
	return !g.unseen && len(g.waiting) < dealAhead && !g.allBehind()
}

func (g *group) allBehind() bool {
	for i := range g.members {
		if g.members[i].behind != g.round {
			return false
		}
	}
	return true
}

// fallBehind notes who the last try has shown to be busy: that message waits now.
// The caller holds g.mu.
func (g *group) fallBehind() {
	for i := range g.members {
		if m := &g.members[i]; m.busy == g.tries {
			m.behind = g.round
		}
	}
}

// nobody counts a message that no member may have, and says so once a minute.
// The caller holds g.mu.
func (g *group) nobody(t *turn) {
	g.b.metrics.DroppedNoMember.Add(1)
	g.complain(t, "no member of the shared subscription may receive it")
}

// complain logs that messages are dropped. The caller holds g.mu.
func (g *group) complain(t *turn, reason string) {
	if g.b.dropped(&g.drops, t.now) {
		g.b.audit.Record(audit.MessagesDropped, slog.String("client", g.name), slog.String("user", ""),
			slog.String("reason", reason), slog.Int64("count", g.count))
	}
}

// assign tries the members in turn: full if none that may have the message can
// take it now, refused if none may have it. A member that is behind is passed
// over, unless the message passes whatever waits. The caller holds g.mu.
func (g *group) assign(t *turn, in *inbound, passes bool, batch *store.Batch) outcome {
	best := refused
	g.tries++
	for range g.members {
		m := &g.members[g.next%len(g.members)]
		g.next = (g.next + 1) % len(g.members)
		if m.behind == g.round && !passes {
			if best == refused && m.cl.mayShare(in, g, m.sub) {
				best = full
			}
			continue
		}
		switch m.cl.offerShared(t, in, m.sub, m.via, batch) {
		case taken:
			return taken
		case full:
			m.busy, best = g.tries, full
		}
	}
	return best
}

// mayShare reports whether the client may receive a shared message.
func (cl *client) mayShare(in *inbound, g *group, sub *session.Subscription) bool {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	return !sub.Removed && cl.session != nil && cl.receiveShared(in, g, sub).Granted()
}

// receiveShared asks for leave to hand the client a shared message. The caller holds cl.mu.
func (cl *client) receiveShared(in *inbound, g *group, sub *session.Subscription) security.Delivery {
	return cl.receives(in.topic, &in.hash, g.share, min(in.qos, sub.QoS), in.retain, in.payload)
}

// offerShared gives the client a shared message if it can send it at once:
// full if it can't now, refused if it may not.
func (cl *client) offerShared(t *turn, in *inbound, sub *session.Subscription, via *session.Via, batch *store.Batch) outcome {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if sub.Removed || cl.session == nil {
		return refused
	}
	d := cl.receiveShared(in, groupOf(via), sub)
	if !d.Granted() {
		return refused
	}
	qos := min(in.qos, sub.QoS)
	if !cl.live || !cl.conn.roomy() || qos > 0 && !cl.session.Room() {
		return full
	}
	out, _ := cl.b.deliver(d, t, cl, dispatch{in: in, qos: qos, retain: in.retain && sub.RetainAsPublished, via: via}, batch)
	return out
}

// wait keeps a message until a member can take it, within the bounds of a queue. The caller holds g.mu.
func (g *group) wait(t *turn, e session.Entry, batch *store.Batch) outcome {
	b, size := g.b, e.Msg.Size()
	for len(g.waiting) > 0 && g.waiting[0].Msg.Expired(t.now) {
		b.metrics.DroppedExpired.Add(1)
		g.forget(&g.waiting[0], batch)
		g.take(0)
	}
	over := b.opt.BufferBytes > 0 && b.metrics.BufferedBytes.Load()+int64(size) > b.opt.BufferBytes
	for over || len(g.waiting) >= g.limits.QueueMessages || g.bytes+size > g.limits.QueueBytes {
		b.metrics.DroppedQueueFull.Add(1)
		g.complain(t, "queue of the shared subscription full")
		if g.limits.QueueFull != DropOldest || over || len(g.waiting) == 0 {
			return full
		}
		g.forget(&g.waiting[0], batch)
		g.take(0)
	}
	g.store(&e, batch)
	g.waiting = append(g.waiting, e)
	g.unseen = true
	g.bytes += size
	b.metrics.BufferedBytes.Add(int64(size))
	b.metrics.Queued.Add(1)
	return taken
}

// store adds a message that waits to the batch. The caller holds g.mu.
func (g *group) store(e *session.Entry, batch *store.Batch) {
	b := g.b
	if !b.durable {
		return
	}
	if g.number == 0 {
		// At once: others may hand what waits to the store before this batch.
		g.number = b.sessions.Add(1)
		var first store.Batch
		first.Add(store.Op{Kind: store.PutSession, Session: g.number, Client: g.name, Group: true, Expiry: session.NeverExpires})
		b.commit(&first, func(error) {}) // a failure is logged, and nothing after it is kept either
	}
	g.lastSeq++
	e.Seq = g.lastSeq
	e.Msg.Leaves()
	batch.Add(store.Op{Kind: store.PutEntry, Session: g.number, Entry: *e})
}

// forget adds to the batch that a message waits no more. The caller holds g.mu.
func (g *group) forget(e *session.Entry, batch *store.Batch) {
	if g.number != 0 {
		batch.Add(store.Op{Kind: store.DeleteEntry, Session: g.number, Entry: *e})
	}
}

// dropHeld takes out the waiting entries of m: it could not be kept.
func (g *group) dropHeld(m *session.Message) {
	g.mu.Lock()
	defer g.mu.Unlock()
	rest := g.waiting[:0]
	for _, e := range g.waiting {
		if e.Msg != m {
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

// take takes waiting message i away, with at most i others moved. The caller holds g.mu.
func (g *group) take(i int) {
	m := g.waiting[i].Msg
	copy(g.waiting[1:i+1], g.waiting[:i])
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
	g.dealAll(t)
}

// dealAll is drain for who holds g.mu.
func (g *group) dealAll(t *turn) {
	g.round++
	g.unseen = true
	for i := 0; i < len(g.waiting); {
		if i == dealAhead {
			return
		}
		switch g.deal(t, &g.waiting[i]) {
		case passed:
			return
		case full:
			i++
		default:
			g.take(i)
		}
	}
	g.unseen = false
}

// deal gives one waiting message to a member: full if it has to wait on, passed
// if all that follows has to wait with it. The caller holds g.mu.
func (g *group) deal(t *turn, e *session.Entry) outcome {
	m := e.Msg
	if m.Expired(t.now) {
		g.b.metrics.DroppedExpired.Add(1)
		return refused
	}
	if e.Held() {
		return passed // its commit's completion goes on
	}
	in := inbound{
		topic: m.Topic, payload: m.Payload, props: m.Props, expiryAt: m.ExpiryAt, expires: m.Expires,
		qos: m.QoS, retain: m.Retain, will: m.Will, origin: m.Origin, kept: m,
	}
	if g.b.durable && m.QoS == 2 {
		in.flying = new([]flyer)
	}
	var batch store.Batch
	out := g.assign(t, &in, false, &batch)
	switch out {
	case full:
		if g.fallBehind(); g.allBehind() {
			return passed
		}
		return full
	case refused:
		g.nobody(t)
	}
	g.forget(e, &batch)
	// In one batch: what is lost of it is in the group's queue still.
	var done func(t *turn, err error)
	if in.flying != nil && len(*in.flying) > 0 {
		list := *in.flying
		done = func(t *turn, err error) {
			for _, f := range list {
				f.cl.landed(t, f.list, err)
			}
		}
	}
	g.b.keep(t, &batch, done)
	return out
}

// redeal makes messages that a member can't have any more wait for others, before
// anything that waits already: what has to be kept of it is added to batch. The groups
// are to be drained when that was handed on.
func redeal(list []session.Entry, batch *store.Batch) (groups []*group) {
	byGroup := make(map[*group][]session.Entry)
	for _, e := range list {
		if g := groupOf(e.Via); g != nil {
			byGroup[g] = append(byGroup[g], session.Entry{Msg: e.Msg, QoS: e.Msg.QoS})
		}
	}
	for g, es := range byGroup {
		g.putBack(es, batch)
		groups = append(groups, g)
	}
	return groups
}

// putBack makes messages wait before all others.
func (g *group) putBack(es []session.Entry, batch *store.Batch) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over {
		g.b.metrics.DroppedNoMember.Add(int64(len(es)))
		return
	}
	for i := range es {
		e := &es[i]
		g.store(e, batch)
		g.bytes += e.Msg.Size()
		g.b.metrics.BufferedBytes.Add(int64(e.Msg.Size()))
	}
	g.b.metrics.Queued.Add(int64(len(es)))
	g.waiting = append(append([]session.Entry(nil), es...), g.waiting...)
	g.unseen = true
}

// dues is what is owed to shared subscriptions when a client's lock is released:
// those that may go on, now that there is room, and messages that the client may
// not have, for other members.
type dues struct {
	groups []*group
	moved  []session.Entry
	number uint64 // of the session that had them, for the store; 0: for none
}

// owed is the client's dues; room says whether there may be room for more. The caller holds cl.mu.
func (cl *client) owed(room bool) dues {
	x := cl.extras
	if x == nil {
		return dues{}
	}
	d := dues{moved: x.moved}
	x.moved = nil
	if len(d.moved) > 0 && cl.stored() {
		d.number = cl.session.Number
	}
	if room {
		d.groups = x.shared
	}
	return d
}

// pay settles the dues. No lock is held.
func (d dues) pay(t *turn) {
	if len(d.moved) > 0 {
		var batch store.Batch
		if d.number != 0 {
			for _, e := range d.moved {
				batch.Add(store.Op{Kind: store.DeleteEntry, Session: d.number, Entry: e})
			}
		}
		more := redeal(d.moved, &batch)
		more[0].b.keep(t, &batch, nil)
		for _, g := range more {
			g.drain(t)
		}
	}
	for _, g := range d.groups {
		g.drain(t)
	}
}
