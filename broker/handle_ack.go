package broker

import (
	"sallyport/packet"
	"sallyport/session"
	"sallyport/store"
)

// handleAck goes on with a QoS 1 or 2 exchange.
func (c *Conn) handleAck(h packet.Header, body []byte) error {
	a, err := packet.DecodeAck(c.version, h.Type, h.Flags, body, packet.Limits{UserProperties: c.lis.Limits.UserProperties})
	if err != nil {
		return err
	}
	if h.Type == packet.PUBREL {
		return c.handlePubrel(a)
	}
	batch := c.scratchBatch()
	owed, err := c.client.Load().advance(c, h.Type, a, batch)
	c.b.commit(batch, func(error) {}) // lost, it is only sent once more
	owed.pay(c.turn)
	return err
}

// advance takes one acknowledgement of c and sends what it made room for.
func (cl *client) advance(c *Conn, typ packet.Type, a packet.Ack, batch *store.Batch) (owed dues, err error) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if cl.conn != c {
		return dues{}, errTaken
	}
	switch typ {
	case packet.PUBACK:
		err = cl.acked(batch, a, 1, session.AwaitAck)
	case packet.PUBREC:
		err = cl.received(c.turn, batch, a)
	case packet.PUBCOMP:
		err = cl.acked(batch, a, 2, session.AwaitComp)
	}
	if err != nil {
		return dues{}, err
	}
	cl.pump(c.turn)
	return cl.owed(cl.session.Room()), nil
}

// acked ends an exchange. An identifier that is not in flight is ignored: the
// client may acknowledge twice. The caller holds cl.mu.
func (cl *client) acked(batch *store.Batch, a packet.Ack, qos byte, state session.State) error {
	o, ok := cl.session.Outgoing(a.PacketID)
	if !ok {
		return nil
	}
	if o.QoS != qos || o.State != state {
		if qos == 2 && o.QoS == 2 {
			return &packet.Error{Code: packet.ProtocolError, Text: "PUBCOMP before PUBREC"}
		}
		return &packet.Error{Code: packet.ProtocolError, Text: "acknowledgement of another quality of service"}
	}
	e, _ := cl.session.Forget(a.PacketID)
	cl.forget(batch, e)
	cl.account()
	return nil
}

// received answers a PUBREC with a PUBREL. The caller holds cl.mu.
func (cl *client) received(t *turn, batch *store.Batch, a packet.Ack) error {
	c := cl.conn
	o, ok := cl.session.Outgoing(a.PacketID)
	if !ok {
		// MQTT 5.0, 4.3.3: PUBREL tells that the identifier is not known.
		code := packet.Success
		if c.version == packet.V5 {
			code = packet.PacketIDNotFound
		}
		c.sendTouch(t, func(dst []byte) []byte {
			return packet.AppendAck(dst, c.version, packet.PUBREL, &packet.Ack{PacketID: a.PacketID, Code: code})
		})
		return nil
	}
	if o.QoS != 2 {
		return &packet.Error{Code: packet.ProtocolError, Text: "PUBREC for a QoS 1 message"}
	}
	if a.Code >= 0x80 {
		// MQTT-4.3.3-4: the receiver refused it; the exchange is over.
		e, _ := cl.session.Forget(a.PacketID)
		cl.forget(batch, e)
		cl.account()
		return nil
	}
	o.State = session.AwaitComp
	if cl.session.Kept() {
		batch.Add(store.Op{Kind: store.SetFlight, Client: cl.id, Seq: o.Seq, PacketID: o.ID, State: session.AwaitComp})
	}
	c.sendTouch(t, func(dst []byte) []byte {
		return packet.AppendAck(dst, c.version, packet.PUBREL, &packet.Ack{PacketID: a.PacketID})
	})
	return nil
}

// handlePubrel releases a QoS 2 identifier of the client.
func (c *Conn) handlePubrel(a packet.Ack) error {
	cl := c.client.Load()
	cl.mu.Lock()
	if cl.conn != c {
		cl.mu.Unlock()
		return errTaken
	}
	known := cl.session.Release(a.PacketID)
	kept := cl.session.Kept()
	cl.mu.Unlock()
	counts := c.sender().incoming.Remove(a.PacketID)
	code := packet.Success
	if !known && c.version == packet.V5 {
		code = packet.PacketIDNotFound
	}
	if !known || !kept {
		c.acknowledge(packet.PUBCOMP, packet.Ack{PacketID: a.PacketID, Code: code}, counts)
		return nil
	}
	ack := c.reserve(&pendingAck{typ: packet.PUBCOMP, ack: packet.Ack{PacketID: a.PacketID, Code: code}, counts: counts})
	var batch store.Batch
	batch.Add(store.Op{Kind: store.DeleteIncoming, Client: cl.id, PacketID: a.PacketID})
	c.b.commit(&batch, ack.complete)
	return nil
}

// handlePing answers a client that has nothing to say, which is when its session
// gives back what it has no use for.
func (c *Conn) handlePing(h packet.Header, body []byte) error {
	if err := packet.DecodePing(h.Type, h.Flags, body); err != nil {
		return err
	}
	c.client.Load().trim(c)
	c.send(func(dst []byte) []byte { return packet.AppendPing(dst, packet.PINGRESP) }) // MQTT-3.12.4-1
	return nil
}

// trim gives back the memory that c's session keeps for messages and has none for.
func (cl *client) trim(c *Conn) {
	if c.sending != nil {
		c.sending.incoming.Trim()
	}
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if cl.conn == c {
		cl.session.Trim()
	}
}

// handleDisconnect ends the connection as the client wishes (MQTT 5.0, 3.14).
func (c *Conn) handleDisconnect(h packet.Header, body []byte) error {
	d, err := packet.DecodeDisconnect(c.version, h.Flags, body, packet.Limits{UserProperties: c.lis.Limits.UserProperties})
	if err != nil {
		return err
	}
	if d.Props.Has(packet.PropSessionExpiry) {
		cl := c.client.Load()
		cl.mu.Lock()
		if cl.conn == c {
			if cl.session.Expiry == 0 && d.Props.SessionExpiry != 0 {
				cl.mu.Unlock()
				// MQTT-3.14.2-2: a session that was to end can't be kept now.
				return &packet.Error{Code: packet.ProtocolError, Text: "session expiry raised from zero"}
			}
			cl.setExpiry(min(d.Props.SessionExpiry, c.lis.Limits.SessionExpiry))
		}
		cl.mu.Unlock()
	}
	c.end(ending{code: d.Code, reason: "the client disconnected", normal: d.Code == packet.Success, bye: true})
	return nil
}

// setExpiry changes the session expiry interval. The caller holds cl.mu.
func (cl *client) setExpiry(seconds uint32) {
	if cl.session.Expiry == seconds {
		return
	}
	var batch store.Batch
	if seconds == 0 {
		batch.Add(store.Op{Kind: store.DeleteSession, Client: cl.id})
	} else {
		batch.Add(store.Op{Kind: store.PutSession, Client: cl.id, Owner: originOf(cl.principal), Expiry: seconds})
	}
	cl.session.Expiry = seconds
	cl.b.commit(&batch, func(error) {}) // a failure is logged; the interval in force is the new one
}
