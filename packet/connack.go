package packet

// DecodeConnack decodes the body of a CONNACK (MQTT 5.0, 3.2).
func DecodeConnack(v Version, flags byte, body []byte, lim Limits) (*Connack, error) {
	if err := checkFlags(v, CONNACK, flags); err != nil {
		return nil, err
	}
	r := reader{b: body, what: CONNACK, limit: lim.UserProperties}
	c := &Connack{}
	ack := r.byte("acknowledge flags")
	if v != V31 { // in 3.1 the byte means nothing
		c.SessionPresent = ack&1 != 0
		if ack > 1 { // MQTT-3.2.2-1
			r.fail(MalformedPacket, "acknowledge flags", "have reserved bits set")
		}
	}
	c.Code = Code(r.byte("reason code"))
	switch {
	case r.err != nil:
	case !validCode(v, CONNACK, c.Code): // MQTT-3.2.2-8
		r.fail(ProtocolError, "reason code", "is not defined for this packet")
	case c.SessionPresent && c.Code != Success: // MQTT-3.2.2-6
		r.fail(ProtocolError, "session present", "is set in a refusal")
	}
	if v == V5 {
		r.properties(&c.Props, connackProps)
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	return c, nil
}

// AppendConnack appends a CONNACK. Before MQTT 5.0 a Code that is no return
// code is written as Code.V3 has it; session present is written only where the
// standard allows it: with Success (MQTT-3.2.2-6) and not in MQTT 3.1.
func AppendConnack(dst []byte, v Version, c *Connack) []byte {
	start := len(dst)
	dst = begin(dst, CONNACK, 0)
	code := c.Code
	if v != V5 {
		code = code.V3()
	}
	var flags byte
	if c.SessionPresent && code == Success && v != V31 {
		flags = 1
	}
	dst = append(dst, flags, byte(code))
	if v == V5 {
		dst = appendProperties(dst, &c.Props, connackProps)
	}
	return end(dst, start)
}
