package packet

import "encoding/binary"

// DecodeSubscribe decodes the body of a SUBSCRIBE (MQTT 5.0, 3.8). The filters
// are valid UTF-8; whether each is a topic filter, and whether no-local stands
// with a shared one, is the caller's to judge.
func DecodeSubscribe(v Version, flags byte, body []byte, lim Limits) (*Subscribe, error) {
	if err := checkFlags(v, SUBSCRIBE, flags); err != nil {
		return nil, err
	}
	r := reader{b: body, what: SUBSCRIBE, limit: lim.UserProperties}
	s := &Subscribe{PacketID: r.packetID()}
	if v == V5 {
		var p Properties
		r.properties(&p, subscribeProps)
		s.SubID, s.User = p.SubscriptionID, p.User
	}
	for len(r.b) > 0 {
		if lim.Filters > 0 && len(s.Filters) == lim.Filters {
			r.over("filters_per_subscribe", QuotaExceeded, "topic filters")
			break
		}
		s.Filters = append(s.Filters, r.subscription(v))
	}
	if r.err == nil && len(s.Filters) == 0 { // MQTT-3.8.3-2
		r.fail(ProtocolError, "topic filters", "are missing")
	}
	if r.err != nil {
		return nil, r.err
	}
	return s, nil
}

// subscription takes a topic filter and its options (MQTT 5.0, 3.8.3.1).
func (r *reader) subscription(v Version) Subscription {
	s := Subscription{Filter: r.string("topic filter")}
	o := r.byte("subscription options")
	s.QoS = o & 3
	if s.QoS == 3 {
		r.fail(ProtocolError, "subscription options", "have QoS 3")
	}
	switch v {
	case V31: // the other bits are not used
	case V311:
		if o > 3 { // 3.1.1: MQTT-3.8.3-4
			r.fail(MalformedPacket, "requested QoS", "has reserved bits set")
		}
	default:
		s.NoLocal, s.RetainAsPublished, s.RetainHandling = o&4 != 0, o&8 != 0, o>>4&3
		switch {
		case o>>6 != 0: // MQTT-3.8.3-5
			r.fail(MalformedPacket, "subscription options", "have reserved bits set")
		case s.RetainHandling == 3:
			r.fail(ProtocolError, "subscription options", "have retain handling 3")
		}
	}
	return s
}

// AppendSubscribe appends a SUBSCRIBE; before MQTT 5.0 only the QoS of the
// options is written.
func AppendSubscribe(dst []byte, v Version, s *Subscribe) []byte {
	start := len(dst)
	dst = begin(dst, SUBSCRIBE, 2)
	dst = binary.BigEndian.AppendUint16(dst, s.PacketID)
	if v == V5 {
		p := Properties{SubscriptionID: s.SubID, User: s.User}
		if s.SubID != 0 {
			p.Mark(PropSubscriptionID)
		}
		dst = appendProperties(dst, &p, subscribeProps)
	}
	for i := range s.Filters {
		f := &s.Filters[i]
		dst = append(appendString(dst, f.Filter), f.options(v))
	}
	return end(dst, start)
}

// options is the byte of subscription options.
func (s *Subscription) options(v Version) byte {
	o := s.QoS & 3
	if v != V5 {
		return o
	}
	if s.NoLocal {
		o |= 4
	}
	if s.RetainAsPublished {
		o |= 8
	}
	return o | s.RetainHandling&3<<4
}
