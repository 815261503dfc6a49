package main

import (
	"sync/atomic"
	"time"

	"sallyport/packet"
	"sallyport/tests/crash"
)

// publisher sends numbered messages, a bounded number of them unacknowledged.
type publisher struct {
	*client
	rate    int          // messages per second, about
	idle    atomic.Int32 // the pause of the run in which nothing was on its way any more
	waiting atomic.Int32 // how many messages are, for others

	flights []*flight // in the order of their first transmission
	window  int
	lastID  uint16
	reuse   bool // takes the lowest free identifier, not the next one
	n       int
	next    time.Time // when to send again
}

// flight is a message that is not acknowledged to its end.
type flight struct {
	id       crash.ID
	out      packet.PublishOut
	received bool // PUBREC has come: PUBREL is due, and PUBLISH no more
}

func (p *publisher) hello() *packet.Connect { return p.connectPacket() }

// welcome sends again what is not acknowledged, in the original order: MQTT-4.4.0-1, MQTT-4.6.0-1.
func (p *publisher) welcome(c *conn, ack *packet.Connack) (bool, error) {
	p.window = p.run.opt.window
	if ack.Props.Has(packet.PropReceiveMaximum) {
		p.window = min(p.window, int(ack.Props.ReceiveMaximum))
	}
	if !ack.SessionPresent {
		for _, f := range p.flights {
			p.run.record(crash.Event{Kind: crash.Abandoned, Client: p.name, Msg: f.id})
		}
		p.flights = nil
	}
	for _, f := range p.flights {
		if f.received {
			c.out = packet.AppendAck(c.out, p.v, packet.PUBREL, &packet.Ack{PacketID: f.out.PacketID})
			continue
		}
		f.out.Dup = true
		p.transmit(c, f)
	}
	return false, nil
}

func (p *publisher) transmit(c *conn, f *flight) {
	p.run.record(crash.Event{
		Kind: crash.Sent, Client: p.name, Msg: f.id, Topic: f.out.Topic, QoS: f.out.QoS, PacketID: f.out.PacketID,
		Retain: f.out.Retain, Clear: f.out.Retain && len(f.out.Payload) == 0, Dup: f.out.Dup,
	})
	c.out = packet.AppendPublish(c.out, p.v, &f.out)
}

// act sends a burst when it is time.
func (p *publisher) act(c *conn, now time.Time) (time.Time, error) {
	defer func() { p.waiting.Store(int32(len(p.flights))) }()
	if pause := p.run.pause.Load(); pause%2 == 1 {
		if len(p.flights) == 0 {
			p.idle.Store(pause)
		}
		return time.Time{}, nil
	}
	if now.Before(p.next) {
		return p.next, nil
	}
	burst := 1 + p.rng.IntN(p.window)
	sent := 0
	for ; sent < burst && len(p.flights) < p.window; sent++ {
		f := p.compose()
		p.flights = append(p.flights, f)
		p.transmit(c, f)
	}
	gap := time.Duration(max(sent, 1)) * time.Second / time.Duration(p.rate)
	p.next = now.Add(time.Duration(float64(gap) * 2 * p.rng.Float64()))
	return p.next, nil
}

// compose makes the next message.
func (p *publisher) compose() *flight {
	p.n++
	f := &flight{id: crash.ID{Publisher: p.name, N: p.n}}
	size := 8 + p.rng.IntN(120)
	if p.rng.IntN(100) == 0 {
		size = p.rng.IntN(p.run.opt.large)
	}
	f.out = packet.PublishOut{QoS: byte(1 + p.rng.IntN(2)), PacketID: p.packetID(), ExpiryAt: -1, Payload: makePayload(f.id, size)}
	switch p.rng.IntN(10) {
	case 0, 1: // of many publishers
		f.out.Retain, f.out.Topic = true, keepTopic(p.rng.IntN(keepTopics))
	case 2: // of this one only
		f.out.Retain, f.out.Topic = true, ownTopic(p.name, p.rng.IntN(ownTopics))
	case 3:
		f.out.Topic = extraTopic(p.rng.IntN(extraTopics))
	default:
		f.out.Topic = plainTopic(p.rng.IntN(plainTopics))
	}
	if f.out.Retain && p.rng.IntN(4) == 0 {
		f.out.Payload = nil // clears it
	}
	return f
}

// packetID is a free identifier: the lowest, or the next one.
func (p *publisher) packetID() uint16 {
	if p.reuse {
		p.lastID = 0
	}
	for {
		if p.lastID++; p.lastID != 0 && p.flight(p.lastID) < 0 {
			return p.lastID
		}
	}
}

// flight is the place of the message with a packet identifier, -1 for none.
func (p *publisher) flight(id uint16) int {
	for i, f := range p.flights {
		if f.out.PacketID == id {
			return i
		}
	}
	return -1
}

func (p *publisher) take(c *conn, h packet.Header, body []byte) error {
	if h.Type < packet.PUBACK || h.Type > packet.PUBCOMP || h.Type == packet.PUBREL {
		return p.fault(crash.ID{}, "%v to a publisher", h.Type)
	}
	a, err := packet.DecodeAck(p.v, h.Type, h.Flags, body, packet.Limits{})
	if err != nil {
		return p.fault(crash.ID{}, "%v", err)
	}
	i := p.flight(a.PacketID)
	if i < 0 {
		return p.fault(crash.ID{}, "%v for packet %d, which is not on its way", h.Type, a.PacketID)
	}
	f := p.flights[i]
	e := crash.Event{Client: p.name, Msg: f.id, PacketID: a.PacketID, Code: byte(a.Code)}
	switch {
	case h.Type == packet.PUBACK && f.out.QoS == 1:
		e.Kind = crash.Acked
	case h.Type == packet.PUBREC && f.out.QoS == 2:
		e.Kind = crash.Received
	case h.Type == packet.PUBCOMP && f.received:
		e.Kind = crash.Completed
	default:
		return p.fault(f.id, "%v for packet %d, which does not wait for it", h.Type, a.PacketID)
	}
	if a.Code >= 0x80 && h.Type != packet.PUBCOMP {
		e.Kind = crash.Refused
	}
	p.run.record(e)
	if e.Kind == crash.Received {
		f.received = true
		c.out = packet.AppendAck(c.out, p.v, packet.PUBREL, &packet.Ack{PacketID: a.PacketID})
		return nil
	}
	p.flights = append(p.flights[:i], p.flights[i+1:]...)
	return nil
}
