package packet

import "encoding/binary"

// DecodeSubAck decodes the body of a SUBACK or UNSUBACK (MQTT 5.0, 3.9 and
// 3.11). Before MQTT 5.0 an UNSUBACK has no codes. That there is one code per
// filter is the caller's to check.
func DecodeSubAck(v Version, t Type, flags byte, body []byte, lim Limits) (*SubAck, error) {
	if t != SUBACK && t != UNSUBACK {
		return nil, &Error{Code: MalformedPacket, Text: t.String() + ": is neither SUBACK nor UNSUBACK"}
	}
	if err := checkFlags(v, t, flags); err != nil {
		return nil, err
	}
	r := reader{b: body, what: t, limit: lim.UserProperties}
	s := &SubAck{PacketID: r.packetID()}
	if v == V5 {
		s.Reason, s.User = r.reason(ackProps)
	}
	if t == UNSUBACK && v != V5 {
		if err := r.end(); err != nil {
			return nil, err
		}
		return s, nil
	}
	codes := r.b
	for _, c := range codes {
		if !validCode(v, t, Code(c)) { // MQTT-3.9.3-2, -3.11.3-2
			r.fail(ProtocolError, "reason code", "is not defined for this packet")
			break
		}
	}
	if r.err == nil && len(codes) == 0 {
		r.fail(ProtocolError, "reason codes", "are missing")
	}
	if r.err != nil {
		return nil, r.err
	}
	s.Codes = make([]Code, len(codes))
	for i, c := range codes {
		s.Codes[i] = Code(c)
	}
	return s, nil
}

// AppendSubAck appends a SUBACK or UNSUBACK. Before MQTT 5.0 every refusal in a
// SUBACK is V3SubackFailure, and an UNSUBACK has no codes.
func AppendSubAck(dst []byte, v Version, t Type, s *SubAck) []byte {
	start := len(dst)
	dst = begin(dst, t, 0)
	dst = binary.BigEndian.AppendUint16(dst, s.PacketID)
	if v == V5 {
		dst = appendReason(dst, s.Reason, s.User)
	} else if t == UNSUBACK {
		return end(dst, start)
	}
	for _, c := range s.Codes {
		if v != V5 && c >= V3SubackFailure {
			c = V3SubackFailure
		}
		dst = append(dst, byte(c))
	}
	return end(dst, start)
}
