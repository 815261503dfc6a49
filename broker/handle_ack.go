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
	list, owed, err := c.client.Load().advance(c, h.Type, a, batch)
	c.fly(batch, list)
	owed.pay(c.turn)
	return err
}

// advance takes one acknowledgement of c and sends what it made room for.
func (cl *client) advance(c *Conn, typ packet.Type, a packet.Ack, batch *store.Batch) (list []flying, owed dues, err error) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if cl.conn != c {
		return nil, dues{}, errTaken
	}
	if err = cl.progress(batch, &list, typ, a.PacketID, a.Code); err != nil {
		return list, dues{}, err
	}
	return list, cl.advanced(c.turn), nil
}

// fly is client.fly in c's part of its turn.
func (c *Conn) fly(batch *store.Batch, list []flying) {
	var done func(t *turn, err error)
	if len(list) > 0 {
		cl := c.client.Load()
		done = func(t *turn, err error) { cl.landed(t, list, err) }
	}
	c.keep(batch, done)
}

// acked ends an exchange. An identifier that is not in flight is ignored: the
// client may acknowledge twice. The caller holds cl.mu, and accounts for it.
func (cl *client) acked(batch *store.Batch, id uint16, qos byte, state session.State) error {
	o, ok := cl.session.Outgoing(id)
	if !ok || o.Fresh() {
		return nil
	}
	if o.QoS != qos || o.State != state {
		if qos == 2 && o.QoS == 2 {
			return &packet.Error{Code: packet.ProtocolError, Text: "PUBCOMP before PUBREC"}
		}
		return &packet.Error{Code: packet.ProtocolError, Text: "acknowledgement of another quality of service"}
	}
	cl.over(batch, id)
	return nil
}

// over ends the exchange of id, which is in flight. The caller holds cl.mu.
func (cl *client) over(batch *store.Batch, id uint16) {
	e, _ := cl.session.Forget(id)
	cl.forget(batch, e)
}

// received answers a PUBREC with a PUBREL, in the turn of cl's own connection, or
// adds to list that it waits for batch. The caller holds cl.mu, and accounts for it.
func (cl *client) received(batch *store.Batch, list *[]flying, id uint16, code packet.Code) error {
	c := cl.conn
	o, ok := cl.session.Outgoing(id)
	if !ok || o.Fresh() { // what was never sent the client can't mean
		if c.version < packet.V5 {
			c.gather(packet.PUBREL, id)
			return nil
		}
		// MQTT 5.0, 4.3.3: PUBREL tells that the identifier is not known.
		c.sendTouch(c.turn, func(dst []byte) []byte {
			return packet.AppendAck(dst, c.version, packet.PUBREL, &packet.Ack{PacketID: id, Code: packet.PacketIDNotFound})
		})
		return nil
	}
	if o.QoS != 2 {
		return &packet.Error{Code: packet.ProtocolError, Text: "PUBREC for a QoS 1 message"}
	}
	if code >= 0x80 {
		// MQTT-4.3.3-4: the receiver refused it; the exchange is over.
		cl.over(batch, id)
		return nil
	}
	o.State = session.AwaitComp
	if cl.stored() {
		cl.session.Hold(id)
		cl.setFlight(batch, o.Seq, id, session.AwaitComp)
		*list = append(*list, flying{cl.session, id, o.Seq})
		return nil
	}
	c.gather(packet.PUBREL, id)
	return nil
}

// setFlight adds how far an outgoing message is to the batch. The caller holds cl.mu.
func (cl *client) setFlight(batch *store.Batch, seq uint64, id uint16, state session.State) {
	batch.Add(store.Op{Kind: store.SetFlight, Session: cl.session.Number, Entry: session.Entry{Seq: seq}, PacketID: id, State: state})
}

// sendPubrel releases an identifier of the client. The caller holds cl.mu, and the client is live.
func (cl *client) sendPubrel(t *turn, id uint16) {
	c := cl.conn
	c.sendTouch(t, func(dst []byte) []byte {
		return packet.AppendAck(dst, c.version, packet.PUBREL, &packet.Ack{PacketID: id})
	})
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
	kept, number := cl.stored(), cl.session.Number
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
	batch.Add(store.Op{Kind: store.DeleteIncoming, Session: number, PacketID: a.PacketID})
	c.keep(&batch, ack.complete)
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
	c.letGo()
	c.end(ending{code: d.Code, reason: "the client disconnected", normal: d.Code == packet.Success, bye: true})
	return nil
}

// setExpiry changes the session expiry interval. The caller holds cl.mu.
func (cl *client) setExpiry(seconds uint32) {
	if cl.session.Expiry == seconds {
		return
	}
	cl.session.Expiry = seconds
	var batch store.Batch
	cl.put(&batch)
	cl.b.commit(&batch, func(error) {}) // a failure is logged; the interval in force is the new one
}
