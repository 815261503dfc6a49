package broker

import (
	"log/slog"
	"slices"
	"time"

	"sallyport/audit"
	"sallyport/session"
	"sallyport/store"
)

// replay sends the retained messages of one new subscription, as fast as
// window and socket allow and outside the queue's bounds: it holds a cursor,
// not messages.
type replay struct {
	sub   *session.Subscription
	after string
}

// replayWork bounds the retained messages looked at while a client is locked.
const replayWork = 256

// replayLooks is after how many of these pieces others get their turn: what is
// looked at need not be for this client, and then no full socket ends it.
const replayLooks = 8

// keepRetained makes in the retained message of its topic, or removes it
// (MQTT-3.3.1-6), before the message is routed: so a replay never follows a
// newer live message with an older retained one. It is false at the bound of
// retained messages.
func (b *Broker) keepRetained(in *inbound, batch *store.Batch) bool {
	if len(in.payload) == 0 {
		name := in.message().Topic
		b.store.Unretain(name)
		if b.durable && !in.internal() {
			batch.Add(store.Op{Kind: store.DeleteRetained, Topic: name})
		}
		return true
	}
	if limit := b.beyondRetained(in); limit != "" {
		return b.overLimit(limit, in)
	}
	m := in.message()
	b.store.Retain(m)
	if b.durable && !in.internal() {
		batch.Add(store.Op{Kind: store.PutRetained, Topic: m.Topic})
	}
	return true
}

// internal reports whether the broker itself publishes the message: what it says of
// itself is of this process alone, and no store keeps it.
func (in *inbound) internal() bool { return in.origin != nil && in.origin.Internal }

// beyondRetained names the limit of retained messages that in would cross, empty
// if none. What it takes the place of is looked for only where that matters.
func (b *Broker) beyondRetained(in *inbound) (limit string) {
	n, bytes := b.store.RetainedCount()
	n, bytes = n+1, bytes+int64(in.size())
	crossed := func() string {
		switch {
		case b.opt.RetainedMessages > 0 && n > b.opt.RetainedMessages:
			return "retained_messages"
		case b.opt.RetainedBytes > 0 && bytes > b.opt.RetainedBytes:
			return "retained_bytes"
		}
		return ""
	}
	if crossed() == "" {
		return ""
	}
	if old, there := b.store.Retained(in.topic); there {
		n, bytes = n-1, bytes-int64(old.Size())
	}
	return crossed()
}

// overLimit counts and logs that a message crossed a limit of the broker; it is false.
func (b *Broker) overLimit(name string, in *inbound) bool {
	b.metrics.Limits.Reached(name)
	b.audit.Record(audit.LimitReached, slog.String("client", shown(in.origin.ClientID)), slog.String("user", shown(in.origin.Name)), slog.String("limit", name))
	return false
}

// subscribed sends what waits for new subscriptions of c: retained messages, and
// what shared subscriptions have kept. No lock is held.
func (cl *client) subscribed(c *Conn, list []replay) {
	t := turn{now: cl.b.now()}
	defer t.flush()
	cl.beginReplays(&t, c, list).pay(&t)
}

// beginReplays is subscribed under the client's lock.
func (cl *client) beginReplays(t *turn, c *Conn, list []replay) dues {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if cl.conn == c {
		// Who subscribes again and again and reads nothing has one replay for each
		// subscription, not for each SUBSCRIBE.
		if len(list) > 0 || cl.replaying() {
			x := cl.extra()
			x.replays = append(slices.DeleteFunc(x.replays, func(r replay) bool { return r.sub.Removed }), list...)
		}
		cl.pump(t)
	}
	return cl.owed(true)
}

// replay goes on with the first replay. What has to be kept is added to batch, and extras.flying waits for it. The caller holds cl.mu, and so no live
// message passes between reading a retained message and sending it.
func (cl *client) replay(t *turn, batch *store.Batch) {
	b, s, c := cl.b, cl.session, cl.conn
	for looks := 0; cl.replaying() && c.roomy(); looks++ {
		if looks == replayLooks {
			c.comeBack(t) // publishers to this client wait for its lock
			return
		}
		r := &cl.extras.replays[0]
		blocked := r.sub.Removed
		if blocked {
			cl.nextReplay()
			continue
		}
		last := r.after
		cursor, complete := b.store.ScanRetained(r.sub.Topic(), r.after, replayWork, func(m *session.Message) bool {
			if !cl.replayOne(t, r.sub, m, batch) {
				blocked = true
				return false
			}
			last = m.Topic
			return true
		})
		switch {
		case blocked:
			r.after = last
			if s.Room() && !c.roomy() {
				return // Drained goes on
			}
			if !s.Room() {
				return // an acknowledgement goes on
			}
		case complete:
			cl.nextReplay()
		default:
			r.after = cursor
		}
	}
}

// replaying reports whether retained messages are still to be sent. The caller holds cl.mu.
func (cl *client) replaying() bool { return cl.extras != nil && len(cl.extras.replays) > 0 }

func (cl *client) nextReplay() {
	x := cl.extras
	x.replays[0] = replay{}
	x.replays = x.replays[1:]
	if len(x.replays) == 0 {
		x.replays = nil
	}
}

// replayOne sends one retained message; it is false if there is no room now.
func (cl *client) replayOne(t *turn, sub *session.Subscription, m *session.Message, batch *store.Batch) bool {
	b, s, c := cl.b, cl.session, cl.conn
	if m.Expired(t.now) {
		b.metrics.DroppedExpired.Add(1)
		return true
	}
	if sub.NoLocal && m.Origin != nil && m.Origin.ClientID == cl.id {
		return true
	}
	qos := min(m.QoS, sub.QoS)
	if qos > 0 && !s.Room() || !c.roomy() {
		return false
	}
	if !b.stillAllowed(m) {
		b.metrics.DroppedSource.Add(1)
		return true
	}
	d := cl.receives(m.Topic, nil, "", qos, true, m.Payload)
	if !d.Granted() {
		b.metrics.DroppedDenied.Add(1)
		return true
	}
	in := inbound{
		topic: m.Topic, payload: m.Payload, props: m.Props, expiryAt: m.ExpiryAt, expires: m.Expires,
		qos: m.QoS, retain: true, will: m.Will, origin: m.Origin, kept: m,
	}
	// MQTT-3.3.1-8: sent because of a new subscription, the retain flag is set.
	if qos == 2 && cl.stored() {
		in.flying = new([]flyer)
	}
	b.deliver(d, t, cl, dispatch{in: &in, qos: qos, retain: true, via: sub.Via()}, batch)
	if in.flying != nil {
		for _, f := range *in.flying {
			cl.extras.flying = append(cl.extras.flying, f.list...)
		}
	}
	return true
}

// sweepRetained removes expired retained messages, a bounded piece at a time.
func (b *Broker) sweepRetained() {
	now, cursor := b.now(), ""
	for complete := false; !complete; {
		var old []string
		cursor, complete = b.store.EachRetained(cursor, replayWork, func(m *session.Message) bool {
			if m.Expired(now) {
				old = append(old, m.Topic)
			}
			return true
		})
		var batch store.Batch
		for _, name := range old {
			if b.store.UnretainIf(name, func(m *session.Message) bool { return m.Expired(now) }) {
				batch.Add(store.Op{Kind: store.DeleteRetained, Topic: name})
			}
		}
		b.commit(&batch, func(error) {}) // an expired message is never delivered, kept or not
	}
}

// PurgeRetained removes the retained messages for whose publisher match is true
// (nil, where it is not known, is never asked about), a bounded piece at a time.
// It returns how many there were, when their removal is kept; an error is the
// store's, and means that some may be back after a restart. match is called
// under a lock: it must not block.
func (b *Broker) PurgeRetained(match func(session.Origin) bool) (n int, err error) {
	of := func(m *session.Message) bool { return m.Origin != nil && match(*m.Origin) }
	cursor := ""
	for complete := false; !complete; {
		var names []string
		cursor, complete = b.store.EachRetained(cursor, replayWork, func(m *session.Message) bool {
			if of(m) {
				names = append(names, m.Topic)
			}
			return true
		})
		var batch store.Batch
		for _, name := range names {
			// Another publisher's message may have taken its place.
			if b.store.UnretainIf(name, of) {
				batch.Add(store.Op{Kind: store.DeleteRetained, Topic: name})
				n++
			}
		}
		kept := make(chan error, 1)
		b.commit(&batch, func(err error) { kept <- err })
		if failed := <-kept; err == nil {
			err = failed
		}
	}
	return n, err
}

// sweepInterval is how often expired retained messages are looked for.
const sweepInterval = time.Minute
