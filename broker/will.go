package broker

import (
	"log/slog"

	"sallyport/audit"
	"sallyport/security"
	"sallyport/session"
	"sallyport/store"
)

// will is a will message with who left it.
type will struct {
	msg       *session.Message
	delay     uint32 // seconds
	expiry    uint32 // message expiry interval in seconds, counted from publication
	principal *security.Principal
}

func newWill(c *Conn, now int64) *will {
	w := c.opening.Load().connect.Load().Will
	if w == nil {
		return nil
	}
	return &will{
		delay: w.Props.WillDelay, expiry: w.Props.MessageExpiry, principal: c.principal.Load(),
		msg: &session.Message{
			Topic: w.Topic, Payload: w.Payload, Props: w.Forward, ExpiryAt: w.ExpiryAt, QoS: w.QoS, Retain: w.Retain,
			Will: true, Origin: c.from(),
		},
	}
}

// of is the will as one that who left, who is equal to the one that did. The message
// names its publisher, so it is another one.
func (w *will) of(who *security.Principal) *will {
	m := session.NewMessage(w.msg.Topic, w.msg.Payload, w.msg.Props)
	m.ExpiryAt, m.Expires, m.Origin = w.msg.ExpiryAt, w.msg.Expires, originOf(who)
	m.QoS, m.Retain, m.Will = w.msg.QoS, w.msg.Retain, true
	return &will{msg: m, delay: w.delay, expiry: w.expiry, principal: who}
}

// leaveWill decides what becomes of the will when a connection ends. The
// caller holds cl.mu. sessionEnds says that the session ends with it.
func (cl *client) leaveWill(why ending, after *aftermath, sessionEnds bool) {
	w := cl.will
	if w == nil {
		return
	}
	if why.normal || why.silence || why.shutdown && !cl.b.opt.WillsOnShutdown {
		// MQTT-3.14.4-3: a normal DISCONNECT discards the will.
		cl.will = nil
		return
	}
	if w.delay == 0 || sessionEnds || why.shutdown {
		cl.flushWill(after)
		return
	}
	if why.taken {
		// MQTT-3.1.3-9: the session goes on before the delay is over.
		cl.will = nil
		return
	}
	a := cl.away()
	a.willAt = cl.b.now() + int64(min(w.delay, cl.session.Expiry))*1e9
	a.arm()
	if cl.stored() {
		after.batch.Add(store.Op{Kind: store.PutWill, Session: cl.session.Number, Message: w.msg, Expiry: w.expiry, At: a.willAt})
	}
}

// flushWill publishes the will once the lock is released. The caller holds cl.mu.
func (cl *client) flushWill(after *aftermath) {
	if w := cl.will; w != nil {
		after.wills = append(after.wills, w)
		cl.b.errands.add(w, w.principal)
	}
	cl.dropWill(&after.batch)
}

// dropWill takes the will away. The caller holds cl.mu.
func (cl *client) dropWill(batch *store.Batch) {
	cl.will = nil
	if a := cl.absent; a != nil && a.willAt != 0 {
		a.willAt = 0
		a.arm()
		if cl.stored() {
			batch.Add(store.Op{Kind: store.DeleteWill, Session: cl.session.Number})
		}
	}
}

// publishWill judges a will again and publishes it. What has to be kept is added to
// after, beside the end of the will.
func (b *Broker) publishWill(t *turn, w *will, after *aftermath) {
	b.outside.RLock()
	defer b.outside.RUnlock()
	switch who := b.errands.take(w); {
	case who == nil:
		return // who left it may not act any more, since a moment
	case who != w.principal:
		w = w.of(who)
	}
	m := w.msg
	in := inbound{
		topic: m.Topic, payload: m.Payload, qos: m.QoS, retain: m.Retain, will: true,
		props: m.Props, expiryAt: m.ExpiryAt, origin: m.Origin,
	}
	if m.ExpiryAt >= 0 {
		in.expires = t.now + int64(w.expiry)*1e9
	} else {
		in.kept = m // nothing is added to it
	}
	if b.durable && in.qos == 2 {
		in.waiting = &waiting{}
		after.held = append(after.held, in.waiting)
	}
	var batch store.Batch
	defer func() { after.batch.Ops = append(after.batch.Ops, batch.Ops...) }()
	if v := b.publishFor(t, w.principal, &in, &batch); !v.Allowed() {
		b.metrics.PublishDenied.Add(1)
		b.audit.Record(audit.WillDenied, verdictAttrs(v, slog.String("client", m.Origin.ClientID),
			slog.String("user", w.principal.Name), slog.String("topic", m.Topic))...)
	}
}

// publishFor judges what is published outside of any turn, and publishes it if that
// is allowed. The caller holds b.outside.
func (b *Broker) publishFor(t *turn, by *security.Principal, in *inbound, batch *store.Batch) security.Verdict {
	permit, v := b.gate.Publish(in.request(by))
	if v.Allowed() {
		if res := b.publish(t, permit, in, batch); res.denied != nil {
			return *res.denied
		}
	}
	return v
}
