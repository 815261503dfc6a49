package broker

import (
	"errors"
	"log/slog"
	"strings"

	"sallyport/audit"
	"sallyport/packet"
	"sallyport/security"
	"sallyport/session"
	"sallyport/store"
	"sallyport/topic"
)

// handleSubscribe judges each filter of a SUBSCRIBE, enters what is granted
// into the routes, and sends retained messages once the SUBACK has left.
func (c *Conn) handleSubscribe(h packet.Header, body []byte) error {
	lim := c.lis.Limits
	p, err := packet.DecodeSubscribe(c.version, h.Flags, body, packet.Limits{UserProperties: lim.UserProperties, Filters: lim.FiltersPerPacket})
	if err != nil {
		return err
	}
	if p.SubID != 0 && c.b.opt.NoSubscriptionIDs {
		return &packet.Error{Code: packet.SubIDsNotSupported, Text: "subscription identifier"}
	}
	var into subscribing
	codes := make([]packet.Code, len(p.Filters))
	subs := make([]*session.Subscription, len(p.Filters))
	// All filters are judged by their form before one is entered: a SUBSCRIBE that
	// ends the connection leaves nothing behind.
	for i := range p.Filters {
		if subs[i], codes[i], err = c.newSubscription(&p.Filters[i], p.SubID); err != nil {
			return err
		}
	}
	for i, sub := range subs {
		if sub == nil {
			continue
		}
		if codes[i], err = c.subscribe(&p.Filters[i], sub, &into); err != nil {
			return err
		}
	}
	cl := c.client.Load()
	ack := c.reserve(&pendingAck{typ: packet.SUBACK, sub: &packet.SubAck{PacketID: p.PacketID, Codes: codes, Reason: c.tell(into.refused...)}})
	ack.after = func() { cl.subscribed(c, into.replays) }
	c.keep(&into.batch, ack.complete)
	return nil
}

// subscribing is what a SUBSCRIBE has led to so far.
type subscribing struct {
	batch   store.Batch
	replays []replay
	refused []refusal
}

// subscribe enters one subscription. The code is for the SUBACK; an error ends the connection.
func (c *Conn) subscribe(f *packet.Subscription, sub *session.Subscription, into *subscribing) (packet.Code, error) {
	v := c.b.gate.Subscribe(c.principal.Load(), sub.Topic(), sub.Group(), sub.QoS)
	if !v.Allowed() {
		c.b.metrics.SubscribeDenied.Add(1)
		r := c.refusal(security.Request{Action: security.Subscribe, Topic: sub.Topic(), QoS: sub.QoS, Shared: sub.Shared(), Group: sub.Group()}, v)
		into.refused = append(into.refused, r)
		c.b.audit.Record(audit.SubscribeDenied, c.who(r.attrs(v, slog.String("filter", f.Filter), slog.Int("qos", int(sub.QoS)))...)...)
		return c.subackCode(f, packet.NotAuthorized), nil
	}
	sub.QoS = min(sub.QoS, v.QoS) // a listener may grant less than was asked for, rather than nothing
	granted := packet.Code(sub.QoS)
	cl := c.client.Load()
	cl.mu.Lock()
	if cl.conn != c {
		cl.mu.Unlock()
		return 0, errTaken
	}
	s := cl.session
	if s.Subs.Get(sub.Filter) == nil && s.Subs.Len() >= c.lis.Limits.Subscriptions {
		cl.mu.Unlock()
		c.limit("subscriptions")
		return c.subackCode(f, packet.QuotaExceeded), nil
	}
	if cl.stored() && c.b.full() {
		cl.mu.Unlock()
		c.b.metrics.Limits.Reached("min_free")
		return c.subackCode(f, packet.QuotaExceeded), nil
	}
	old := s.Subs.Set(sub)
	if old != nil {
		old.Removed = true
	} else {
		c.b.metrics.Subscriptions.Add(1)
	}
	if cl.stored() {
		into.batch.Add(store.Op{Kind: store.PutSubscription, Session: s.Number, Sub: sub})
	}
	if !sub.Shared() {
		c.b.tree.Set(sub.Topic(), target{client: cl}, sub)
	} else if old == nil {
		c.b.metrics.Shared.Add(1)
	}
	cl.mu.Unlock()
	if sub.Shared() {
		// group.mu comes before client.mu, so the group is joined with no lock held.
		cl.join(&c.lis.Limits, sub)
		return granted, nil
	}
	if sub.RetainHandling == 2 || sub.RetainHandling == 1 && old != nil {
		return granted, nil
	}
	into.replays = append(into.replays, replay{sub: sub})
	return granted, nil
}

// newSubscription judges a filter's form; it is nil where the code or the error refuses.
func (c *Conn) newSubscription(f *packet.Subscription, id uint32) (*session.Subscription, packet.Code, error) {
	group, rest, shared, err := topic.SplitShare(f.Filter)
	if err == nil {
		err = topic.CheckFilter(rest, c.lis.Limits.Topic)
	}
	switch {
	case errors.Is(err, topic.ErrTooLong), errors.Is(err, topic.ErrTooDeep):
		c.limit(topicLimit(err))
		return nil, c.subackCode(f, packet.TopicFilterInvalid), nil
	case errors.Is(err, topic.ErrShare):
		// A well-formed filter, but none that is served.
		return nil, c.subackCode(f, packet.TopicFilterInvalid), nil
	case err != nil:
		// MQTT-4.7.1-1, MQTT-4.7.3-1: not a topic filter at all.
		return nil, 0, &packet.Error{Code: packet.TopicFilterInvalid, Text: err.Error()}
	}
	switch {
	case shared && f.NoLocal:
		// MQTT-3.8.3-4
		return nil, 0, &packet.Error{Code: packet.ProtocolError, Text: "no local on a shared subscription"}
	case shared && c.b.opt.NoShared:
		return nil, c.subackCode(f, packet.SharedSubsNotSupported), nil
	case c.b.opt.NoWildcards && strings.ContainsAny(rest, "+#"):
		return nil, c.subackCode(f, packet.WildcardSubsNotSupported), nil
	}
	sub := session.NewSubscription(f.Filter, group, id)
	sub.QoS = min(f.QoS, c.lis.Limits.MaxQoS)
	sub.NoLocal, sub.RetainAsPublished, sub.RetainHandling = f.NoLocal, f.RetainAsPublished, f.RetainHandling
	return sub, packet.Success, nil
}

// subackCode is a refusal of f as the client's version spells it: 3.1.1 knows
// one. The SUBACK of 3.1 knows none (3.9): the answer is positive, and nothing is delivered.
func (c *Conn) subackCode(f *packet.Subscription, code packet.Code) packet.Code {
	switch c.version {
	case packet.V31:
		return packet.Code(min(f.QoS, c.lis.Limits.MaxQoS))
	case packet.V311:
		return packet.V3SubackFailure
	}
	return code
}

// handleUnsubscribe takes subscriptions away (MQTT 5.0, 3.10).
func (c *Conn) handleUnsubscribe(h packet.Header, body []byte) error {
	lim := c.lis.Limits
	p, err := packet.DecodeUnsubscribe(c.version, h.Flags, body, packet.Limits{UserProperties: lim.UserProperties, Filters: lim.FiltersPerPacket})
	if err != nil {
		return err
	}
	cl := c.client.Load()
	var batch store.Batch
	var after aftermath
	codes := make([]packet.Code, len(p.Filters))
	cl.mu.Lock()
	if cl.conn != c {
		cl.mu.Unlock()
		return errTaken
	}
	for i, f := range p.Filters {
		sub := cl.session.Subs.Delete(f)
		if sub == nil {
			codes[i] = packet.NoSubscriptionExisted
			continue
		}
		cl.drop(sub, &after)
		if cl.stored() {
			batch.Add(store.Op{Kind: store.DeleteSubscription, Session: cl.session.Number, Topic: f})
		}
	}
	cl.mu.Unlock()
	cl.settle(c.turn, &after)
	ack := c.reserve(&pendingAck{typ: packet.UNSUBACK, sub: &packet.SubAck{PacketID: p.PacketID, Codes: codes}})
	c.keep(&batch, ack.complete)
	return nil
}
