package packet

// DecodePing judges a PINGREQ or PINGRESP, which have no body (MQTT 5.0, 3.12
// and 3.13).
func DecodePing(t Type, flags byte, body []byte) error {
	switch {
	case t != PINGREQ && t != PINGRESP:
		return &Error{Code: MalformedPacket, Text: t.String() + ": is neither PINGREQ nor PINGRESP"}
	case len(body) > 0:
		return &Error{Code: MalformedPacket, Text: t.String() + ": body has trailing bytes"}
	}
	return checkFlags(V5, t, flags)
}

// AppendPing appends a PINGREQ or PINGRESP.
func AppendPing(dst []byte, t Type) []byte { return append(dst, byte(t)<<4, 0) }
