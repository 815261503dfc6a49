package packet

// DecodeDisconnect decodes the body of a DISCONNECT (MQTT 5.0, 3.14). Both
// sides use it: which codes and properties which side may send is the caller's
// to judge (a server sends no session expiry interval, MQTT-3.14.2-2).
func DecodeDisconnect(v Version, flags byte, body []byte, lim Limits) (*Disconnect, error) {
	if err := checkFlags(v, DISCONNECT, flags); err != nil { // MQTT-3.14.1-1
		return nil, err
	}
	r := reader{b: body, what: DISCONNECT, limit: lim.UserProperties}
	d := &Disconnect{}
	if v == V5 && len(r.b) > 0 {
		d.Code = Code(r.byte("reason code"))
		if !validCode(v, DISCONNECT, d.Code) { // MQTT-3.14.2-1
			r.fail(ProtocolError, "reason code", "is not defined for this packet")
		}
		if len(r.b) > 0 {
			r.properties(&d.Props, disconnectProps)
		}
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	return d, nil
}

// AppendDisconnect appends a DISCONNECT, in the shortest form that says it;
// before MQTT 5.0 it has no fields.
func AppendDisconnect(dst []byte, v Version, d *Disconnect) []byte {
	bare := d.Props.empty(disconnectProps)
	switch {
	case v != V5 || bare && d.Code == Success:
		return append(dst, byte(DISCONNECT)<<4, 0)
	case bare:
		return append(dst, byte(DISCONNECT)<<4, 1, byte(d.Code))
	}
	start := len(dst)
	dst = append(begin(dst, DISCONNECT, 0), byte(d.Code))
	return end(appendProperties(dst, &d.Props, disconnectProps), start)
}
