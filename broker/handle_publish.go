package broker

import (
	"errors"
	"strings"
	"unsafe"

	"sallyport/packet"
	"sallyport/security"
	"sallyport/session"
	"sallyport/store"
	"sallyport/topic"
)

// handlePublish takes one PUBLISH from its bytes to its receivers: alias,
// form, receive window, duplicate, gate, routing, acknowledgement.
func (c *Conn) handlePublish(h packet.Header, body []byte) error {
	var p packet.Publish
	if err := packet.DecodePublish(c.version, h.Flags, body, packet.Limits{UserProperties: c.lis.Limits.UserProperties}, &p); err != nil {
		return err
	}
	c.turn.tally.publishes++
	c.current()
	if err := c.checkPublish(&p); err != nil {
		return err
	}
	var hash security.Hash // of the topic, for all that is looked up
	name, err := c.finalTopic(&p, &hash)
	if err != nil {
		return err
	}
	switch p.QoS {
	case 1:
		if err := c.window(); err != nil {
			return err
		}
	case 2:
		done, err := c.duplicate(p.PacketID)
		if done || err != nil {
			return err
		}
	}
	// The topic is final and judged as it will be routed.
	permit, v := c.sender().access.Publish(name, &hash, p.QoS, p.Retain, p.Payload)
	if !v.Allowed() {
		return c.denyPublish(&p, name, v)
	}
	if max := c.lis.Limits.MessageBytes; max > 0 && len(p.Payload) > max {
		c.limit("message_size")
		c.b.metrics.PublishDropped.Add(1)
		c.finishPublish(&p, packet.QuotaExceeded, "")
		return nil
	}
	if (p.QoS > 0 || p.Retain) && c.b.full() {
		return c.refuseFull(&p)
	}
	in := &c.turn.in
	*in = inbound{
		topic: name, payload: p.Payload, qos: p.QoS, retain: p.Retain, expiryAt: -1, origin: c.from(),
		trail: c.trailOf(name, &hash),
	}
	in.hash = hash
	if len(p.Props.Raw) > 0 {
		c.turn.scratch, in.expiryAt = p.Props.AppendForward(c.turn.scratch[:0])
		in.props = c.turn.scratch
		if p.Props.HasExpiry {
			in.expires = c.turn.now + int64(p.Props.Expiry)*1e9
		}
	}
	switch p.QoS {
	case 0:
		return c.publishAtMostOnce(permit, in, &p)
	case 1:
		return c.publishAtLeastOnce(permit, in, &p)
	}
	return c.publishExactlyOnce(permit, in, &p)
}

// full reports whether the store has no room for anything new.
func (b *Broker) full() bool { return b.bounded != nil && b.bounded.Full() }

// refuseFull refuses a message for which the store has no room: at QoS 0 without a
// word, before MQTT 5 with the end of the connection, so that it comes again.
func (c *Conn) refuseFull(p *packet.Publish) error {
	c.b.metrics.Limits.Reached("min_free") // the store has logged it, once
	c.b.metrics.PublishDropped.Add(1)
	if p.QoS > 0 && c.version < packet.V5 {
		return &leave{ending{code: packet.QuotaExceeded, reason: "the disk is nearly full"}}
	}
	c.finishPublish(p, packet.QuotaExceeded, "")
	return nil
}

// checkPublish judges what the CONNACK promised.
func (c *Conn) checkPublish(p *packet.Publish) error {
	lim := &c.lis.Limits
	if p.QoS > lim.MaxQoS {
		return &packet.Error{Code: packet.QoSNotSupported, Text: "QoS above the maximum", Limit: "qos"} // MQTT-3.2.2-11
	}
	if p.Retain && c.b.opt.NoRetain {
		return &packet.Error{Code: packet.RetainNotSupported, Text: "retained message"} // MQTT-3.2.2-14
	}
	if len(p.Props.SubIDs) > 0 {
		return &packet.Error{Code: packet.ProtocolError, Text: "subscription identifier from a client"} // MQTT-3.3.4-6
	}
	return nil
}

// finalTopic resolves the topic alias, before anything is judged, and checks
// the name's form. The result may view the read buffer.
func (c *Conn) finalTopic(p *packet.Publish, hash *security.Hash) (string, error) {
	name := unsafe.String(unsafe.SliceData(p.Topic), len(p.Topic))
	a := int(p.Props.TopicAlias)
	if a == 0 {
		if c.sender().access.Known(name, hash) {
			return name, nil
		}
		return name, c.checkName(name)
	}
	if a > int(c.lis.Limits.TopicAlias) {
		return "", &packet.Error{Code: packet.TopicAliasInvalid, Text: "topic alias above the maximum", Limit: "topic_alias"} // MQTT-3.3.2-9
	}
	s := c.sender()
	if name == "" {
		if a > len(s.aliases) || s.aliases[a-1] == "" {
			return "", &packet.Error{Code: packet.ProtocolError, Text: "unknown topic alias"}
		}
		return s.aliases[a-1], nil
	}
	if err := c.checkName(name); err != nil {
		return "", err
	}
	for len(s.aliases) < a {
		s.aliases = append(s.aliases, "")
	}
	s.aliases[a-1] = strings.Clone(name)
	return s.aliases[a-1], nil
}

// topicLimit is the limit that a topic or filter crossed, empty if it broke the standard.
func topicLimit(err error) string {
	switch {
	case errors.Is(err, topic.ErrTooLong):
		return "topic_bytes"
	case errors.Is(err, topic.ErrTooDeep):
		return "topic_levels"
	}
	return ""
}

func (c *Conn) checkName(name string) error {
	if err := topic.CheckName(name, c.lis.Limits.Topic); err != nil {
		return &packet.Error{Code: packet.TopicNameInvalid, Text: err.Error(), Limit: topicLimit(err)}
	}
	return nil
}

// window counts a QoS 1 or 2 message against the receive maximum (MQTT-3.3.4-7).
func (c *Conn) window() error {
	s, most := c.sender(), int32(c.lis.Limits.ReceiveMaximum)
	if s.open++; c.version < packet.V5 || s.open <= most {
		return nil
	}
	c.mu.Lock()
	s.open, c.returned = s.open-c.returned, 0
	c.mu.Unlock()
	if s.open > most {
		c.limit("receive_maximum")
		return &packet.Error{Code: packet.ReceiveMaximumExceeded, Text: "receive maximum exceeded"}
	}
	return nil
}

// duplicate answers a QoS 2 PUBLISH whose identifier is in use: it was taken
// before and is only acknowledged (MQTT-4.3.3-10). done says so.
func (c *Conn) duplicate(id uint16) (done bool, err error) {
	cl := c.client.Load()
	cl.mu.Lock()
	if cl.conn != c {
		cl.mu.Unlock()
		return true, errTaken
	}
	s := cl.session
	known, kept := s.HasIncoming(id), cl.stored()
	here := known && c.sender().incoming.Has(id)
	cl.mu.Unlock()
	if !known {
		return false, c.window()
	}
	if !here {
		// Received on an earlier connection: on this one it counts from now on.
		if err := c.window(); err != nil {
			return true, err
		}
		c.markIncoming(id)
	}
	// The commit of the first one may still be under way, begun by an earlier
	// connection: this one completes after it, and looks what became of it.
	var batch store.Batch
	if kept {
		batch.Add(store.Op{Kind: store.AddIncoming, Session: s.Number, PacketID: id})
	}
	ack := c.reserve(&pendingAck{typ: packet.PUBREC, ack: packet.Ack{PacketID: id}})
	c.keep(&batch, func(t *turn, err error) {
		if err == nil && kept && !cl.holds(s, id) {
			err = errLost
		}
		ack.complete(t, err)
	})
	return true, nil
}

// errLost says that a QoS 2 message which was received before could not be kept.
var errLost = errors.New("the message was not kept")

// holds reports whether the client still has session s, and in it the QoS 2 identifier.
func (cl *client) holds(s *session.Session, id uint16) bool {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	return cl.session == s && s.HasIncoming(id)
}

func (c *Conn) markIncoming(id uint16) {
	c.sender().incoming.Add(id)
}

// errTaken ends a connection that finds itself no longer the present one of its client.
var errTaken = &leave{ending{code: packet.SessionTakenOver, reason: "the session was taken over", notify: true, taken: true}}

// finishPublish acknowledges a message that was not routed; reason, which may be
// empty, is for an MQTT 5 client.
func (c *Conn) finishPublish(p *packet.Publish, code packet.Code, reason string) {
	ack := packet.Ack{PacketID: p.PacketID, Code: c.ackCode(code), Reason: reason}
	switch p.QoS {
	case 1:
		c.acknowledge(packet.PUBACK, ack, true)
	case 2:
		if c.version < packet.V5 {
			// The exchange goes on as if nothing had happened.
			cl := c.client.Load()
			cl.mu.Lock()
			if cl.conn == c {
				cl.session.AddIncoming(p.PacketID)
				c.markIncoming(p.PacketID)
			}
			cl.mu.Unlock()
			c.acknowledge(packet.PUBREC, ack, false)
			return
		}
		// A PUBREC with an error ends the exchange (MQTT 5.0, 4.3.3).
		c.acknowledge(packet.PUBREC, ack, code >= 0x80)
	}
}

func (c *Conn) ackCode(code packet.Code) packet.Code {
	if c.version < packet.V5 {
		return packet.Success
	}
	return code
}

func (c *Conn) publishAtMostOnce(permit security.Permit, in *inbound, p *packet.Publish) error {
	batch := c.scratchBatch()
	res, rest := c.b.spread(c.turn, permit, in, batch, true)
	if rest != nil {
		rest.done = func(t *turn, f *fan, res result, live bool) {
			if res.denied != nil && live {
				if err := c.denyPublish(&packet.Publish{Retain: f.in.retain}, f.in.topic, *res.denied); err != nil {
					c.fail(err)
				}
			}
			c.b.keep(t, &f.batch, nil)
		}
		c.fanOut(rest)
		return nil
	}
	if res.denied != nil {
		return c.denyPublish(p, in.topic, *res.denied)
	}
	c.keep(batch, nil) // QoS 0 promises nothing
	return nil
}

// publishAtLeastOnce routes a QoS 1 message; the acknowledgement leaves when what
// had to be kept is kept.
func (c *Conn) publishAtLeastOnce(permit security.Permit, in *inbound, p *packet.Publish) error {
	return c.publishAcked(permit, in, p, c.scratchBatch(), nil)
}

// publishExactlyOnce is publishAtLeastOnce for a QoS 2 message. Where there may be
// a commit, its copies wait for it.
func (c *Conn) publishExactlyOnce(permit security.Permit, in *inbound, p *packet.Publish) error {
	cl, batch := c.client.Load(), c.scratchBatch()
	s, err := cl.beginIncoming(c, p.PacketID, batch)
	if err != nil {
		return err
	}
	if c.b.durable {
		// A publisher whose session ends with its connection can't send the message again
		// as the same one: clients that keep none either may have it before the others.
		if in.passing = s.Number == 0; !in.passing {
			in.waiting = &waiting{}
		}
		defer func() {
			if w := in.waiting; w != nil { // a panic: nobody else lets the copies go
				cl.releaseIncoming(s, p.PacketID)
				w.release(c.turn, c.b, errLost)
			}
		}()
	}
	// Without a store a panic leaves the exchange open: some have the message, and
	// nobody may have it twice.
	return c.publishAcked(permit, in, p, batch, s)
}

// beginIncoming opens the exchange of a QoS 2 message that c received.
func (cl *client) beginIncoming(c *Conn, id uint16, batch *store.Batch) (*session.Session, error) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if cl.conn != c {
		return nil, errTaken
	}
	cl.session.AddIncoming(id)
	c.markIncoming(id)
	if cl.stored() {
		batch.Add(store.Op{Kind: store.AddIncoming, Session: cl.session.Number, PacketID: id})
	}
	return cl.session, nil
}

// publishAcked routes a QoS 1 or 2 message and acknowledges it. s is the session
// that holds its identifier, nil at QoS 1.
func (c *Conn) publishAcked(permit security.Permit, in *inbound, p *packet.Publish, batch *store.Batch, s *session.Session) error {
	res, rest := c.b.spread(c.turn, permit, in, batch, true)
	if rest == nil {
		return c.finishAcked(p, in, res, batch, s)
	}
	in.waiting = nil // the fan has it
	c.fanOutAcked(rest, packet.Publish{QoS: p.QoS, PacketID: p.PacketID, Retain: p.Retain}, s)
	return nil
}

// fanOutAcked is fanOut for a message that is acknowledged.
func (c *Conn) fanOutAcked(rest *fan, a packet.Publish, s *session.Session) {
	rest.done = func(t *turn, f *fan, res result, live bool) {
		if !live {
			c.abandoned(t, f, s, a.PacketID)
		} else if err := c.finishAcked(&a, &f.in, res, &f.batch, s); err != nil {
			c.fail(err)
		}
	}
	c.fanOut(rest)
}

// abandoned completes a message whose publisher has gone and is told nothing.
func (c *Conn) abandoned(t *turn, f *fan, s *session.Session, id uint16) {
	cl, b, waiting := c.client.Load(), c.b, f.in.waiting
	b.keep(t, &f.batch, func(t *turn, err error) {
		if err != nil && s != nil {
			cl.releaseIncoming(s, id)
		}
		waiting.release(t, b, err)
	})
}

// finishAcked acknowledges a QoS 1 or 2 message that was routed, when what had to
// be kept is kept. s is the session that holds its identifier, nil at QoS 1.
func (c *Conn) finishAcked(p *packet.Publish, in *inbound, res result, batch *store.Batch, s *session.Session) (err error) {
	ans := packet.Ack{PacketID: p.PacketID, Code: c.ackCode(res.code)}
	if res.denied != nil {
		if ans.Reason, err = c.refusePublish(p, in.topic, *res.denied); err != nil {
			w := in.waiting
			in.waiting = nil
			c.client.Load().giveUp(c.turn, s, p.PacketID, w, err)
			return err
		}
	}
	typ, counts := packet.PUBACK, true
	if p.QoS == 2 {
		// A PUBREC with an error ends the exchange (MQTT 5.0, 4.3.3).
		typ, counts = packet.PUBREC, ans.Code >= 0x80
		if counts {
			c.client.Load().releaseIncoming(s, p.PacketID)
			c.sender().incoming.Remove(p.PacketID)
			if !batch.Empty() && s.Number != 0 {
				batch.Add(store.Op{Kind: store.DeleteIncoming, Session: s.Number, PacketID: p.PacketID})
			}
		}
	}
	w := in.waiting
	in.waiting = nil
	if batch.Empty() {
		c.acknowledge(typ, ans, counts)
		w.release(c.turn, c.b, nil)
		return nil
	}
	c.acknowledgeKept(typ, ans, counts, batch, s, w)
	return nil
}

// acknowledgeKept acknowledges a message when batch is kept, and lets its copies go.
func (c *Conn) acknowledgeKept(typ packet.Type, ans packet.Ack, counts bool, batch *store.Batch, s *session.Session, w *waiting) {
	cl := c.client.Load()
	ack := c.reserve(&pendingAck{typ: typ, ack: ans, counts: counts})
	c.keep(batch, func(t *turn, err error) {
		if err == nil {
			ack.complete(t, nil)
			w.release(t, c.b, nil)
			return
		}
		cl.giveUp(t, s, ans.PacketID, w, err)
		ack.complete(t, err)
	})
}

// giveUp forgets a message that could not be taken, before the connection ends:
// it is a new one when it comes again.
func (cl *client) giveUp(t *turn, s *session.Session, id uint16, w *waiting, err error) {
	if s != nil {
		cl.releaseIncoming(s, id)
	}
	w.release(t, cl.b, err)
}

// scratchBatch is an empty batch for one packet; a store has no use for it when
// Commit has returned.
func (c *Conn) scratchBatch() *store.Batch {
	b := &c.turn.batch
	if cap(b.Ops) > 64 {
		b.Ops = nil // one wide fan-out is no reason to keep so much
	}
	b.Reset()
	return b
}

// releaseIncoming forgets a QoS 2 identifier whose message was not taken, so
// that it is new when it comes again.
func (cl *client) releaseIncoming(s *session.Session, id uint16) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	s.Release(id)
}
