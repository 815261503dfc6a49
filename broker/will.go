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
	w := c.connect.Will
	if w == nil {
		return nil
	}
	return &will{
		delay: w.Props.WillDelay, expiry: w.Props.MessageExpiry, principal: c.principal,
		msg: &session.Message{
			Topic: w.Topic, Payload: w.Payload, Props: w.Forward, ExpiryAt: w.ExpiryAt, QoS: w.QoS, Retain: w.Retain,
			Origin: &session.Origin{Realm: c.principal.Realm, Name: c.principal.Name, ClientID: c.clientID},
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
	cl.willAt = cl.b.now() + int64(min(w.delay, cl.session.Expiry))*1e9
	cl.b.wheel.arm(&cl.willTimer, cl.willAt)
}

// flushWill publishes the will once the lock is released. The caller holds cl.mu.
func (cl *client) flushWill(after *aftermath) {
	cl.b.wheel.disarm(&cl.willTimer)
	if cl.will != nil {
		after.wills = append(after.wills, cl.will)
		cl.will = nil
	}
}

// willDue publishes a will whose delay is over.
func (cl *client) willDue() {
	t := turn{now: cl.b.now()}
	var after aftermath
	cl.mu.Lock()
	if cl.conn == nil && t.now >= cl.willAt {
		cl.flushWill(&after)
	}
	cl.mu.Unlock()
	cl.settle(&t, &after)
	t.flush()
}

// publishWill judges a will again and publishes it.
func (b *Broker) publishWill(t *turn, w *will) {
	permit, v := b.gate.Publish(willRequest(w.principal, w.msg.Topic, w.msg.QoS, w.msg.Retain, w.msg.Payload))
	if !v.Allowed() {
		b.metrics.PublishDenied.Add(1)
		b.audit.Record(audit.WillDenied, verdictAttrs(v, slog.String("client", w.msg.Origin.ClientID),
			slog.String("user", w.principal.Name), slog.String("topic", w.msg.Topic))...)
		return
	}
	msg := *w.msg
	if msg.ExpiryAt >= 0 {
		msg.Expires = t.now + int64(w.expiry)*1e9
	}
	in := inbound{
		topic: msg.Topic, payload: msg.Payload, qos: msg.QoS, retain: msg.Retain,
		props: msg.Props, expiryAt: msg.ExpiryAt, expires: msg.Expires, origin: msg.Origin, kept: &msg,
	}
	var batch store.Batch
	b.publish(t, permit, &in, &batch)
	b.commit(&batch, func(error) {}) // nobody waits for an acknowledgement of a will
}

// willRequest asks for leave to publish a will.
func willRequest(p *security.Principal, topic string, qos byte, retain bool, payload []byte) security.Request {
	return security.Request{
		Principal: p, Topic: topic, QoS: qos, Retain: retain, Will: true, Message: &security.Message{Payload: payload},
	}
}
