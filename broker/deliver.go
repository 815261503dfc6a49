package broker

import (
	"log/slog"
	"slices"

	"sallyport/audit"
	"sallyport/packet"
	"sallyport/security"
	"sallyport/session"
	"sallyport/store"
)

// offer hands one copy to the client of these subscriptions, if it may have it.
func (cl *client) offer(t *turn, in *inbound, batch *store.Batch, subs ...*session.Subscription) outcome {
	out, c := cl.offerLocked(t, in, batch, subs)
	if out == kick {
		// Its end publishes its will, which may kick others: not on this stack.
		go c.end(ending{code: packet.QuotaExceeded, reason: "queue full", notify: true})
		return full
	}
	return out
}

// offerLocked is offer under the client's lock, which no policy's panic may leave locked.
func (cl *client) offerLocked(t *turn, in *inbound, batch *store.Batch, subs []*session.Subscription) (outcome, *Conn) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if cl.session == nil {
		return passed, nil
	}
	cp := dispatch{in: in}
	wanted := false
	for _, sub := range subs {
		if sub.Removed {
			// MQTT-3.8.4-3: if it was replaced since it was found, the one in its place has the message.
			if sub = cl.session.Subs.Get(sub.Filter); sub == nil {
				continue
			}
		}
		if sub.NoLocal && in.origin != nil && in.origin.ClientID == cl.id {
			continue // MQTT-3.8.3-3
		}
		wanted = true
		cp.add(sub)
	}
	if !wanted {
		return passed, nil
	}
	d := cl.receives(in.topic, &in.hash, "", cp.qos, in.retain, in.payload)
	if !d.Granted() {
		cl.b.metrics.DroppedDenied.Add(1)
		return refused, nil
	}
	if cp.qos > 0 && cl.b.overBuffered(in) {
		return cl.b.queue(t, cl, cp, batch) // which has no room either, and says so
	}
	return cl.b.deliver(d, t, cl, cp, batch)
}

// overBuffered reports whether one more copy of the message is beyond the
// broker's bound: what is in flight counts, since a client may never acknowledge.
func (b *Broker) overBuffered(in *inbound) bool {
	return b.opt.BufferBytes > 0 && b.metrics.BufferedBytes.Load()+int64(in.size()) > b.opt.BufferBytes
}

// dispatch is one copy of a message for one client.
type dispatch struct {
	in     *inbound
	qos    byte
	retain bool
	via    *session.Via
}

// add makes the copy one that serves sub too.
func (cp *dispatch) add(sub *session.Subscription) {
	cp.qos = max(cp.qos, min(cp.in.qos, sub.QoS))
	cp.retain = cp.retain || cp.in.retain && sub.RetainAsPublished
	switch via := sub.Via(); {
	case via == nil:
	case cp.via == nil:
		cp.via = via
	default:
		cp.via = &session.Via{SubIDs: append(slices.Clip(cp.via.SubIDs), via.SubIDs...)}
	}
}

// deliver is the only way of a message to a session: live, queued and shared
// messages all pass here, and it takes only a Delivery that the gate made. It
// is the single caller of session.Enqueue. The caller holds cl.mu.
func (b *Broker) deliver(d security.Delivery, t *turn, cl *client, cp dispatch, batch *store.Batch) (outcome, *Conn) {
	if !d.Granted() {
		return refused, nil
	}
	s := cl.session
	if in := cp.in; cp.qos == 2 && (in.flying != nil || in.waiting != nil || in.passing && cl.stored()) {
		in.waits()
		if cl.live && s.CanPrepare() && cl.prepare(&cp, batch) {
			return taken, nil
		}
	} else if cl.live && (cp.qos == 0 || s.Room()) {
		out := b.hand(t, cl, &cp, batch)
		switch {
		case out == full && cp.qos == 0:
			b.metrics.DroppedOutputFull.Add(1)
			cl.complain(t, "output full, QoS 0 message dropped")
			return full, nil
		case out != full:
			return out, nil
		}
	}
	if cp.qos == 0 && (!b.opt.QueueQoS0 || !s.Kept() && cl.conn == nil) {
		return passed, nil
	}
	return b.queue(t, cl, cp, batch)
}

// hand appends a copy to the output of cl's connection at once: full if there is
// no room, refused if the client takes no packet of its size. The caller holds
// cl.mu and knows that the window has room.
func (b *Broker) hand(t *turn, cl *client, cp *dispatch, batch *store.Batch) outcome {
	c := cl.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if out, ready := c.takes(cp, t.now); !ready {
		return out
	}
	id := uint16(0)
	if cp.qos > 0 {
		e := cp.entry(cl.session)
		var ok bool
		if id, ok = cl.session.Track(e); !ok {
			return full
		}
		cl.store(batch, e, id)
		cl.account()
	}
	if c.aliasMax == 0 && cp.in.again(cp.variant(c.version)) {
		c.writeAgain(t, cp, id)
		return taken
	}
	f := cp.frame(t.now)
	f.PacketID = id
	c.write(t, &f)
	return taken
}

// prepare puts a QoS 2 copy in flight, to be sent when what has to be kept of it is;
// false if it has no identifier. The caller holds cl.mu.
func (cl *client) prepare(cp *dispatch, batch *store.Batch) bool {
	s, w := cl.session, cp.in.waiting
	if w != nil {
		cp.in.hold()
	}
	e := cp.entry(s)
	id, ok := s.Prepare(e, w == nil)
	if !ok {
		return false
	}
	if w != nil {
		w.clients = append(w.clients, cl)
	} else {
		*cp.in.flying = append(*cp.in.flying, flyer{cl, []flying{{s, id, e.Seq}}})
	}
	cl.store(batch, e, id)
	cl.account()
	return true
}

// queue puts a copy in the session's queue, within its bounds. The caller holds cl.mu.
func (b *Broker) queue(t *turn, cl *client, cp dispatch, batch *store.Batch) (outcome, *Conn) {
	s, size, lim := cl.session, cp.in.size(), &cl.lis.Limits
	over := b.overBuffered(cp.in)
	for over || !s.Fits(size, lim.QueueMessages, lim.QueueBytes) {
		b.metrics.DroppedQueueFull.Add(1)
		if lim.QueueFull == Disconnect && cl.conn != nil {
			return kick, cl.conn
		}
		if lim.QueueFull != DropOldest || over {
			cl.complain(t, "queue full, newest message dropped")
			return full, nil
		}
		old, had := s.DropOldest()
		if !had {
			return full, nil
		}
		cl.forget(batch, old)
		cl.complain(t, "queue full, oldest message dropped")
	}
	e := cp.entry(s)
	if cp.qos == 2 {
		if in := cp.in; in.passing && in.waiting == nil && !cl.stored() {
			e.Free = true
		} else if w := in.waits(); w != nil {
			in.hold()
			w.clients = append(w.clients, cl)
		}
	}
	s.Enqueue(e)
	cl.store(batch, e, 0)
	if b.pages {
		s.PageOut()
	}
	cl.account()
	return taken, nil
}

// drops is how many messages one subscriber has lost, and when that was last said.
type drops struct {
	count int64
	said  int64
}

// dropped counts a loss and reports whether it is to be logged: once a minute.
func (b *Broker) dropped(d *drops, now int64) bool {
	d.count++
	if d.said != 0 && now-d.said < 60e9 {
		return false
	}
	d.said = now
	return true
}

// complain logs that messages are dropped. The caller holds cl.mu.
func (cl *client) complain(t *turn, reason string) {
	if x := cl.extra(); cl.b.dropped(&x.drops, t.now) {
		cl.b.audit.Record(audit.MessagesDropped, slog.String("client", cl.id), slog.String("user", cl.principal.Name),
			slog.String("reason", reason), slog.Int64("count", x.count))
	}
}

func (cp dispatch) entry(s *session.Session) session.Entry {
	return session.Entry{Msg: cp.in.message(), QoS: cp.qos, Retain: cp.retain, Via: cp.via, Seq: s.NextSeq()}
}

func (cp dispatch) frame(now int64) packet.PublishOut {
	f := packet.PublishOut{
		QoS: cp.qos, Retain: cp.retain, Topic: cp.in.topic, Props: cp.in.props, ExpiryAt: cp.in.expiryAt,
		SubIDs: cp.via.IDs(), Payload: cp.in.payload,
	}
	if cp.in.expiryAt >= 0 {
		f.Expiry = cp.in.left(now)
	}
	return f
}

// stored reports whether the store has to be told what becomes of the session's
// messages. The caller holds cl.mu.
func (cl *client) stored() bool { return cl.session != nil && cl.session.Number != 0 }

// store adds a stored session's entry to the batch; id is the identifier under which
// it is in flight, 0 for none.
func (cl *client) store(batch *store.Batch, e session.Entry, id uint16) {
	if cl.stored() {
		e.Msg.Leaves()
		batch.Add(store.Op{Kind: store.PutEntry, Session: cl.session.Number, Entry: e, PacketID: id})
	}
}

// forget adds the end of an entry to the batch.
func (cl *client) forget(batch *store.Batch, e session.Entry) {
	if cl.stored() {
		batch.Add(store.Op{Kind: store.DeleteEntry, Session: cl.session.Number, Entry: e})
	}
}

// pump sends what the session may send now: resumed flights, the queue, then
// retained messages of new subscriptions. The caller holds cl.mu.
func (cl *client) pump(t *turn) {
	if !cl.live {
		return
	}
	if s := cl.session; s.Idle() && !cl.replaying() {
		return
	}
	b, s, c := cl.b, cl.session, cl.conn
	var batch store.Batch
	var list []flying
	expired := func(e session.Entry) {
		b.metrics.DroppedExpired.Add(1)
		cl.forget(&batch, e)
	}
	for c.roomy() {
		snd, ok := s.Next(t.now, expired)
		switch {
		case ok && snd.Release:
			cl.sendPubrel(t, snd.ID)
			continue
		case ok:
			cl.transmit(t, snd, &batch)
			continue
		case cl.stored():
			// The identifier of a QoS 2 message is kept before it is sent.
			if e, id, ok := s.PrepareNext(t.now); ok {
				cl.setFlight(&batch, e.Seq, id, session.AwaitAck)
				list = append(list, flying{s, id, e.Seq})
				continue
			}
		}
		cl.replay(t, &batch)
		if x := cl.extras; x != nil && x.flying != nil {
			list, x.flying = append(list, x.flying...), nil
		}
		break
	}
	cl.account()
	cl.fly(t, &batch, list)
	if b.pages {
		cl.page()
	}
}

// transmit sends one entry that left the queue or is sent again, if the client
// still may have it. The caller holds cl.mu.
func (cl *client) transmit(t *turn, snd session.Send, batch *store.Batch) {
	b, c, m := cl.b, cl.conn, snd.Msg
	f := packet.PublishOut{
		Dup: snd.Dup, QoS: snd.QoS, Retain: snd.Retain, Topic: m.Topic, PacketID: snd.ID, Props: m.Props,
		ExpiryAt: m.ExpiryAt, Expiry: m.Left(t.now), SubIDs: snd.Via.IDs(), Payload: m.Payload,
	}
	d := cl.receives(m.Topic, nil, shareOf(snd.Entry), snd.QoS, m.Retain, m.Payload)
	switch {
	case !d.Granted():
		cl.withhold(t, snd, batch)
		return
	case !c.tryWrite(t, &f):
		b.metrics.DroppedTooLarge.Add(1)
	default:
		if snd.Fresh && snd.QoS == 1 && cl.stored() {
			cl.setFlight(batch, snd.Seq, snd.ID, session.AwaitAck)
		} else if snd.QoS == 0 {
			cl.forget(batch, snd.Entry)
		}
		return
	}
	if snd.QoS > 0 {
		cl.session.Forget(snd.ID)
	}
	cl.forget(batch, snd.Entry)
}

// withhold takes back an entry that the client may not have any more. A QoS 2
// exchange that has begun is completed without its payload, since the client may
// know the identifier already; what came by a shared subscription is for another
// member. The caller holds cl.mu.
func (cl *client) withhold(t *turn, snd session.Send, batch *store.Batch) {
	b, s := cl.b, cl.session
	if snd.QoS == 2 && !snd.Fresh {
		b.metrics.DroppedDenied.Add(1)
		s.Hollow(snd.ID)
		// Kept or not: the client has no more of it than an identifier.
		if cl.stored() {
			cl.setFlight(batch, snd.Seq, snd.ID, session.AwaitComp)
		}
		cl.sendPubrel(t, snd.ID)
		return
	}
	if snd.QoS > 0 {
		s.Forget(snd.ID)
	}
	if groupOf(snd.Via) != nil {
		x := cl.extra()
		x.moved = append(x.moved, snd.Entry) // and is forgotten with that: see dues
		return
	}
	cl.forget(batch, snd.Entry)
	b.metrics.DroppedDenied.Add(1)
}

// shareOf is the share name that an entry came by, empty for none.
func shareOf(e session.Entry) string {
	if g := groupOf(e.Via); g != nil {
		return g.share
	}
	return ""
}
