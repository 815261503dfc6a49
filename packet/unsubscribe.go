package packet

import "encoding/binary"

// DecodeUnsubscribe decodes the body of an UNSUBSCRIBE (MQTT 5.0, 3.10). The
// filters are valid UTF-8; whether each is a topic filter is the caller's to judge.
func DecodeUnsubscribe(v Version, flags byte, body []byte, lim Limits) (*Unsubscribe, error) {
	if err := checkFlags(v, UNSUBSCRIBE, flags); err != nil {
		return nil, err
	}
	r := reader{b: body, what: UNSUBSCRIBE, limit: lim.UserProperties}
	u := &Unsubscribe{PacketID: r.packetID()}
	if v == V5 {
		_, u.User = r.reason(unsubscribeProps)
	}
	for len(r.b) > 0 {
		if lim.Filters > 0 && len(u.Filters) == lim.Filters {
			r.over("filters_per_subscribe", QuotaExceeded, "topic filters")
			break
		}
		u.Filters = append(u.Filters, r.string("topic filter"))
	}
	if r.err == nil && len(u.Filters) == 0 { // MQTT-3.10.3-2
		r.fail(ProtocolError, "topic filters", "are missing")
	}
	if r.err != nil {
		return nil, r.err
	}
	return u, nil
}

// AppendUnsubscribe appends an UNSUBSCRIBE.
func AppendUnsubscribe(dst []byte, v Version, u *Unsubscribe) []byte {
	start := len(dst)
	dst = begin(dst, UNSUBSCRIBE, 2)
	dst = binary.BigEndian.AppendUint16(dst, u.PacketID)
	if v == V5 {
		dst = appendReason(dst, "", u.User)
	}
	for _, f := range u.Filters {
		dst = appendString(dst, f)
	}
	return end(dst, start)
}
