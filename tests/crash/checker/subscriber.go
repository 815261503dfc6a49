package main

import (
	"slices"
	"sync/atomic"
	"time"

	"sallyport/packet"
	"sallyport/tests/crash"
)

// subscriber has a kept session and takes what comes, each QoS 2 message once.
type subscriber struct {
	*client
	filters []*filter
	shared  bool

	renew   atomic.Bool // end the session and begin anew
	toggle  atomic.Bool // unsubscribe from, or subscribe to, the last filter
	settled atomic.Bool // all filters are as they shall be

	held   map[uint16]crash.ID // QoS 2 identifiers received and not released
	ending bool                // the CONNECT on its way ends the session
	brief  bool                // and the new one ends with the connection
	nextID uint16
}

// filter is a subscription as it shall be, and as the broker has said it is.
type filter struct {
	filter string
	qos    byte
	wanted bool
	known  bool   // acknowledged as wanted
	asked  uint16 // identifier of the request on its way, 0: none
}

// hello is a CONNECT for the session, or one that ends it.
func (s *subscriber) hello() *packet.Connect {
	p := s.connectPacket()
	if s.renew.Load() {
		p.CleanStart = true
		if s.v == packet.V5 && s.rng.IntN(2) == 0 {
			p.Props.SessionExpiry = 0
		}
	}
	s.ending, s.brief = p.CleanStart, !keeps(p)
	return p
}

func (s *subscriber) welcome(c *conn, ack *packet.Connack) (last bool, err error) {
	if s.ending {
		s.renew.Store(false)
	}
	if !ack.SessionPresent {
		s.held = map[uint16]crash.ID{}
	}
	for _, f := range s.filters {
		if f.asked = 0; !ack.SessionPresent {
			f.known = !f.wanted
		}
	}
	if s.brief { // no place to subscribe
		return true, c.goodbye(packet.Success)
	}
	return false, nil
}

// act asks for the filters that are not as they shall be.
func (s *subscriber) act(c *conn, _ time.Time) (time.Time, error) {
	if s.toggle.Swap(false) {
		f := s.filters[len(s.filters)-1]
		f.wanted, f.known = !f.wanted, false
	}
	all := true
	for _, f := range s.filters {
		if f.known {
			continue
		}
		all = false
		if f.asked != 0 {
			continue
		}
		s.nextID++
		f.asked = max(s.nextID, 1)
		if f.wanted {
			s.run.record(crash.Event{Kind: crash.Subscribing, Client: s.name, Topic: f.filter, QoS: f.qos})
			c.out = packet.AppendSubscribe(c.out, s.v, &packet.Subscribe{
				PacketID: f.asked, Filters: []packet.Subscription{{Filter: f.filter, QoS: f.qos}},
			})
		} else {
			s.run.record(crash.Event{Kind: crash.Unsubscribing, Client: s.name, Topic: f.filter})
			c.out = packet.AppendUnsubscribe(c.out, s.v, &packet.Unsubscribe{PacketID: f.asked, Filters: []string{f.filter}})
		}
	}
	s.settled.Store(all)
	return time.Time{}, nil
}

func (s *subscriber) take(c *conn, h packet.Header, body []byte) error {
	switch h.Type {
	case packet.PUBLISH:
		return s.takePublish(c, h, body)
	case packet.PUBREL:
		return s.takePubrel(c, h, body)
	case packet.SUBACK, packet.UNSUBACK:
		return s.takeSubAck(h, body)
	}
	return s.fault(crash.ID{}, "%v to a subscriber", h.Type)
}

func (s *subscriber) takePublish(c *conn, h packet.Header, body []byte) error {
	var m packet.Publish
	if err := packet.DecodePublish(s.v, h.Flags, body, packet.Limits{}, &m); err != nil {
		return s.fault(crash.ID{}, "%v", err)
	}
	e := crash.Event{
		Kind: crash.Delivered, Client: s.name, Topic: string(m.Topic), QoS: m.QoS,
		Retain: m.Retain, Dup: m.Dup, PacketID: m.PacketID,
	}
	if len(m.Payload) > 0 { // else it clears a retained one, and nobody can tell which message did
		var err error
		if e.Msg, err = readPayload(m.Payload); err != nil {
			return s.fault(e.Msg, "on %s: %v", m.Topic, err)
		}
	}
	switch m.QoS {
	case 0:
		return s.fault(e.Msg, "%v on %s comes at QoS 0", e.Msg, m.Topic)
	case 1:
		s.delivered(e)
		c.out = packet.AppendBareAck(c.out, packet.PUBACK, m.PacketID)
		return nil
	}
	// MQTT 5.0, 4.3.3, method B: the identifier is kept until PUBREL.
	was, holds := s.held[m.PacketID]
	if holds {
		if was != e.Msg {
			return s.fault(e.Msg, "packet %d is %v, and was %v, which is not released", m.PacketID, e.Msg, was)
		}
		e.Kind = crash.Again
	}
	s.held[m.PacketID] = e.Msg
	s.delivered(e)
	c.out = packet.AppendBareAck(c.out, packet.PUBREC, m.PacketID)
	return nil
}

func (s *subscriber) delivered(e crash.Event) {
	if e.Msg.N != 0 {
		s.run.record(e)
	}
}

func (s *subscriber) takePubrel(c *conn, h packet.Header, body []byte) error {
	a, err := packet.DecodeAck(s.v, h.Type, h.Flags, body, packet.Limits{})
	if err != nil {
		return s.fault(crash.ID{}, "%v", err)
	}
	id, holds := s.held[a.PacketID]
	delete(s.held, a.PacketID)
	answer := packet.Ack{PacketID: a.PacketID}
	if holds {
		s.run.record(crash.Event{Kind: crash.Released, Client: s.name, Msg: id, PacketID: a.PacketID})
	} else {
		answer.Code = packet.PacketIDNotFound // during recovery no error (MQTT 5.0, 3.7.2.1)
	}
	c.out = packet.AppendAck(c.out, s.v, packet.PUBCOMP, &answer)
	return nil
}

func (s *subscriber) takeSubAck(h packet.Header, body []byte) error {
	a, err := packet.DecodeSubAck(s.v, h.Type, h.Flags, body, packet.Limits{})
	if err != nil {
		return s.fault(crash.ID{}, "%v", err)
	}
	i := slices.IndexFunc(s.filters, func(f *filter) bool { return f.asked == a.PacketID })
	if i < 0 {
		return s.fault(crash.ID{}, "%v for packet %d, which is not on its way", h.Type, a.PacketID)
	}
	f := s.filters[i]
	f.asked, f.known = 0, true
	e := crash.Event{Kind: crash.Unsubscribed, Client: s.name, Topic: f.filter, QoS: f.qos}
	if h.Type == packet.SUBACK {
		e.Kind, e.Code = crash.Subscribed, byte(a.Codes[0])
		f.known = f.wanted
	} else {
		f.known = !f.wanted
	}
	s.run.record(e)
	return nil
}
