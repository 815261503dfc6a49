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
	if cl.will != nil {
		after.wills = append(after.wills, cl.will)
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
	if v := b.publishOutside(t, w.principal, &in, &batch); !v.Allowed() {
		b.metrics.PublishDenied.Add(1)
		b.audit.Record(audit.WillDenied, verdictAttrs(v, slog.String("client", m.Origin.ClientID),
			slog.String("user", w.principal.Name), slog.String("topic", m.Topic))...)
	}
}

// publishOutside judges what is published outside of any turn, and publishes it
// if that is allowed.
func (b *Broker) publishOutside(t *turn, by *security.Principal, in *inbound, batch *store.Batch) security.Verdict {
	b.outside.RLock()
	defer b.outside.RUnlock()
	permit, v := b.gate.Publish(in.request(by))
	if v.Allowed() {
		if res := b.publish(t, permit, in, batch); res.denied != nil {
			return *res.denied
		}
	}
	return v
}
