package client

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"sallyport/packet"
)

// ErrTooLarge refuses a message above the server's maximum packet size.
var ErrTooLarge = errors.New("the message exceeds the server's maximum packet size")

// Pending is a message on its way. At QoS 0 it is complete at once.
type Pending struct {
	// guarded by Client.mu until done is closed
	id       uint16
	m        Message
	props    []byte
	sent     bool // on the present connection
	resent   bool // it has been sent on some connection: DUP
	released bool // PUBREC has come; what is sent again is PUBREL

	ack  packet.Ack
	err  error
	done chan struct{}
}

// Done is closed when the exchange is complete or will never be.
func (p *Pending) Done() <-chan struct{} { return p.done }

// Wait returns the reason code of the last acknowledgement. A code of failure
// is a *ReasonError too. When ctx ends first the message stays under way.
func (p *Pending) Wait(ctx context.Context) (packet.Code, error) {
	select {
	case <-p.done:
		return p.ack.Code, p.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// Publish sends m and waits until it is acknowledged as its QoS demands. If the
// connection ends meanwhile it goes on waiting: the next Connect sends m again.
func (c *Client) Publish(ctx context.Context, m Message) (packet.Code, error) {
	p, err := c.Start(ctx, m)
	if err != nil {
		return 0, err
	}
	return p.Wait(ctx)
}

// Start sends m without waiting for its acknowledgement; it waits only for
// room: in the window for QoS 1 and 2, in the output buffer. m's slices must
// not change until the Pending is done.
func (c *Client) Start(ctx context.Context, m Message) (*Pending, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	p := &Pending{m: m, done: make(chan struct{})}
	if c.version == packet.V5 {
		p.props = m.appendProps(nil)
	}
	for {
		wait, cn, err := c.tryStart(p)
		if err != nil || wait == nil {
			return p, err
		}
		select {
		case <-wait:
			notify(wait) // others may wait for the same
		case <-cn.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// tryStart sends p, or returns the channel that tells when to try again.
func (c *Client) tryStart(p *Pending) (wait chan struct{}, cn *conn, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.liveLocked(); err != nil {
		return nil, nil, err
	}
	cn = c.conn
	if err := cn.accepts(p); err != nil {
		return nil, cn, err
	}
	if cn.out.full() {
		drain(cn.out.drained)
		if cn.out.full() {
			return cn.out.drained, cn, nil
		}
	}
	if p.m.QoS == 0 {
		if c.sendLocked(p) != nil {
			return nil, cn, ErrNotConnected
		}
		close(p.done)
		return nil, cn, nil
	}
	if len(c.inflight) >= cn.window {
		drain(c.room)
		return c.room, cn, nil
	}
	p.id = c.takeIDLocked()
	c.inflight = append(c.inflight, p)
	c.byID[p.id] = p
	c.unsent++
	c.pumpLocked()
	return nil, cn, nil
}

// drain takes a token that is older than what the caller has just seen.
func drain(c chan struct{}) {
	select {
	case <-c:
	default:
	}
}

// pumpLocked sends what is in flight and was not yet sent on this connection,
// in order, as far as the window allows (MQTT-4.6.0-1, MQTT-3.3.4-7).
func (c *Client) pumpLocked() {
	if c.unsent == 0 {
		return
	}
	room := c.conn.window - (len(c.inflight) - c.unsent)
	// What is unsent is a tail: sent messages are never behind it.
	for _, p := range c.inflight[len(c.inflight)-c.unsent:] {
		if room == 0 || c.sendLocked(p) != nil {
			return // an ending connection: the next one takes them up
		}
		p.sent = true
		c.unsent--
		room--
	}
}

// sendLocked queues p's PUBLISH, or its PUBREL once it was received.
func (c *Client) sendLocked(p *Pending) error {
	if p.released {
		return c.conn.sendAck(packet.PUBREL, p.id, packet.Success)
	}
	out := p.packet()
	out.Dup = p.resent // MQTT-3.3.1-1
	p.resent = true
	return c.conn.send(packet.PUBLISH, func(b []byte) []byte { return packet.AppendPublish(b, c.version, &out) })
}

func (p *Pending) packet() packet.PublishOut {
	return packet.PublishOut{QoS: p.m.QoS, Retain: p.m.Retain, Topic: p.m.Topic, Alias: p.m.Alias,
		PacketID: p.id, Props: p.props, ExpiryAt: -1, Payload: p.m.Payload}
}

// accepts checks p against what the server said it can take.
func (cn *conn) accepts(p *Pending) error {
	refuse := func(code packet.Code) error {
		return &ReasonError{Packet: packet.CONNACK, Version: cn.c.version, Code: code}
	}
	switch {
	case p.m.QoS > cn.maxQoS: // MQTT-3.2.2-11
		return refuse(packet.QoSNotSupported)
	case p.m.Retain && !cn.retain: // MQTT-3.2.2-14
		return refuse(packet.RetainNotSupported)
	case p.m.Alias > cn.sendAliasMax: // MQTT-3.3.2-9
		return refuse(packet.TopicAliasInvalid)
	}
	if cn.maxSend > 0 { // MQTT-3.2.2-15
		out := p.packet()
		if packet.PublishSize(cn.c.version, &out) > cn.maxSend {
			return ErrTooLarge
		}
	}
	return nil
}

// completeLocked ends p's exchange and makes room.
func (c *Client) completeLocked(p *Pending, t packet.Type, a packet.Ack) {
	p.ack = a
	if a.Code >= 0x80 {
		p.err = &ReasonError{Packet: t, Version: c.version, Code: a.Code, Reason: a.Reason}
	}
	if i := slices.Index(c.inflight, p); i == 0 {
		c.inflight[0] = nil
		c.inflight = c.inflight[1:] // the usual case, without moving the rest
	} else {
		c.inflight = slices.Delete(c.inflight, i, i+1)
	}
	delete(c.byID, p.id)
	close(p.done)
	c.pumpLocked()
	notify(c.room)
}

// failInflightLocked ends all exchanges with err.
func (c *Client) failInflightLocked(err error) {
	for _, p := range c.inflight {
		p.err = err
		close(p.done)
	}
	c.inflight, c.unsent = nil, 0
	clear(c.byID)
	notify(c.room)
}

func (cn *conn) sendAck(t packet.Type, id uint16, code packet.Code) error {
	a := packet.Ack{PacketID: id, Code: code}
	return cn.send(t, func(b []byte) []byte { return packet.AppendAck(b, cn.c.version, t, &a) })
}

// handleAck takes the four acknowledgements of QoS 1 and 2.
func (cn *conn) handleAck(h packet.Header, body []byte) error {
	a, err := packet.DecodeAck(cn.c.version, h.Type, h.Flags, body, limits)
	if err != nil {
		return err
	}
	c := cn.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if h.Type == packet.PUBREL {
		return cn.releasedLocked(a)
	}
	p, known := c.byID[a.PacketID]
	if known && !p.sent {
		known = false // of an exchange that ended with an earlier connection
	}
	switch {
	case !known && h.Type == packet.PUBREC && c.version == packet.V5:
		cn.sendAck(packet.PUBREL, a.PacketID, packet.PacketIDNotFound) // MQTT 5.0, 3.5.2.1; no use in an error: the connection is ending
	case !known && h.Type == packet.PUBREC:
		cn.sendAck(packet.PUBREL, a.PacketID, packet.Success)
	case !known: // late or twice: harmless
	case (p.m.QoS == 1) != (h.Type == packet.PUBACK):
		return malformed(packet.ProtocolError, fmt.Sprintf("%s for a message of QoS %d", h.Type, p.m.QoS))
	case h.Type == packet.PUBREC && a.Code < 0x80:
		p.released = true
		return ignoreEnding(cn.sendAck(packet.PUBREL, a.PacketID, packet.Success))
	case h.Type == packet.PUBCOMP && !p.released:
		return malformed(packet.ProtocolError, "PUBCOMP before PUBREC")
	default:
		c.completeLocked(p, h.Type, a)
	}
	return nil
}

// ignoreEnding drops the error of an output that is closed: the reader goes on
// until the connection has ended.
func ignoreEnding(err error) error {
	if errors.Is(err, errOutboxClosed) {
		return nil
	}
	return err
}

// releasedLocked ends the receiving side of a QoS 2 exchange.
func (cn *conn) releasedLocked(a packet.Ack) error {
	code := packet.Success
	if _, ok := cn.c.received[a.PacketID]; !ok && cn.c.version == packet.V5 {
		code = packet.PacketIDNotFound
	}
	delete(cn.c.received, a.PacketID)
	return ignoreEnding(cn.sendAck(packet.PUBCOMP, a.PacketID, code))
}

// handlePublish delivers a message once and acknowledges it.
func (cn *conn) handlePublish(h packet.Header, body []byte) error {
	c := cn.c
	var p packet.Publish
	if err := packet.DecodePublish(c.version, h.Flags, body, limits, &p); err != nil {
		return err
	}
	topic, err := cn.resolve(&p)
	if err != nil {
		return err
	}
	if p.QoS == 2 {
		if again, err := cn.record(p.PacketID); err != nil || again {
			return err
		}
	}
	if c.opts.OnMessage != nil {
		err = c.opts.OnMessage(received(&p, topic))
		if err != nil && !errors.Is(err, ErrStop) {
			c.forget(p.PacketID)
			return err
		}
	}
	switch p.QoS {
	case 1:
		cn.sendAck(packet.PUBACK, p.PacketID, packet.Success) // fails only when the connection is ending
	case 2:
		cn.sendAck(packet.PUBREC, p.PacketID, packet.Success) // the same
	}
	return err
}

// record notes a QoS 2 message as received and acknowledges one that was.
func (cn *conn) record(id uint16) (again bool, err error) {
	c := cn.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, again = c.received[id]; again { // MQTT-4.3.3-10
		return true, ignoreEnding(cn.sendAck(packet.PUBREC, id, packet.Success))
	}
	if len(c.received) >= cn.receiveMax { // MQTT 5.0, 3.3.4
		return false, malformed(packet.ReceiveMaximumExceeded, "more QoS 2 messages than the receive maximum")
	}
	c.received[id] = struct{}{}
	return false, nil
}

// forget drops the record of a QoS 2 message that was not taken: the server
// sends it again.
func (c *Client) forget(id uint16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.received, id)
}

// resolve returns the topic of p, by its alias if it has one (MQTT 5.0, 3.3.2.3.4).
func (cn *conn) resolve(p *packet.Publish) (string, error) {
	alias := p.Props.TopicAlias
	if alias == 0 {
		return string(p.Topic), nil
	}
	if alias > cn.aliasMax {
		return "", malformed(packet.TopicAliasInvalid, "topic alias above the maximum")
	}
	if len(p.Topic) > 0 {
		cn.aliases[alias] = string(p.Topic)
		return cn.aliases[alias], nil
	}
	topic, ok := cn.aliases[alias]
	if !ok {
		return "", malformed(packet.ProtocolError, "topic alias that was never set")
	}
	return topic, nil
}
