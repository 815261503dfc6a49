package packet

import "encoding/binary"

// DecodeAck decodes the body of a PUBACK, PUBREC, PUBREL or PUBCOMP (MQTT 5.0,
// 3.4 to 3.7). Before MQTT 5.0 Code is Success.
func DecodeAck(v Version, t Type, flags byte, body []byte, lim Limits) (Ack, error) {
	if t < PUBACK || t > PUBCOMP {
		return Ack{}, &Error{Code: MalformedPacket, Text: t.String() + ": is not an acknowledgement of a PUBLISH"}
	}
	if err := checkFlags(v, t, flags); err != nil {
		return Ack{}, err
	}
	if len(body) == 2 { // Success without properties: by far the most common
		if id := binary.BigEndian.Uint16(body); id != 0 {
			return Ack{PacketID: id}, nil
		}
	}
	r := reader{b: body, what: t, limit: lim.UserProperties}
	a := Ack{PacketID: r.packetID()}
	if v == V5 && len(r.b) > 0 {
		a.Code = Code(r.byte("reason code"))
		if r.err == nil && !validCode(v, t, a.Code) { // MQTT-3.4.2-1 and its like
			r.fail(ProtocolError, "reason code", "is not defined for this packet")
		}
		if len(r.b) > 0 {
			a.Reason, a.User = r.reason(ackProps)
		}
	}
	if err := r.end(); err != nil {
		return Ack{}, err
	}
	return a, nil
}

// reason takes the properties of an acknowledgement, of which allowed may be there.
func (r *reader) reason(allowed set) (reason string, user []UserProperty) {
	var p Properties
	r.properties(&p, allowed)
	return p.ReasonString, p.User
}

// AppendBareAck is AppendAck for one that says Success and nothing else.
func AppendBareAck(dst []byte, t Type, id uint16) []byte {
	first := byte(t) << 4
	if t == PUBREL {
		first |= 2
	}
	return append(dst, first, 2, byte(id>>8), byte(id))
}

// AppendAck appends a PUBACK, PUBREC, PUBREL or PUBCOMP, in the shortest form
// that says it. Before MQTT 5.0 that is the packet identifier alone: a refusal
// can't be told.
func AppendAck(dst []byte, v Version, t Type, a *Ack) []byte {
	bare := a.Reason == "" && len(a.User) == 0
	switch {
	case v != V5 || bare && a.Code == Success:
		return AppendBareAck(dst, t, a.PacketID)
	}
	var flags byte
	if t == PUBREL {
		flags = 2
	}
	if bare {
		return append(dst, byte(t)<<4|flags, 3, byte(a.PacketID>>8), byte(a.PacketID), byte(a.Code))
	}
	start := len(dst)
	dst = begin(dst, t, flags)
	dst = append(dst, byte(a.PacketID>>8), byte(a.PacketID), byte(a.Code))
	return end(appendReason(dst, a.Reason, a.User), start)
}
