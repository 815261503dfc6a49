package packet

// DecodeAuth decodes the body of an AUTH (MQTT 5.0, 3.15); no version before
// 5.0 has one. An empty body is Success without properties (3.15.2.1); any
// other has an authentication method (3.15.2.2.2).
func DecodeAuth(v Version, flags byte, body []byte, lim Limits) (*Auth, error) {
	if v != V5 {
		return nil, &Error{Code: MalformedPacket, Text: "AUTH: is not defined before MQTT 5.0"}
	}
	if err := checkFlags(v, AUTH, flags); err != nil { // MQTT-3.15.1-1
		return nil, err
	}
	r := reader{b: body, what: AUTH, limit: lim.UserProperties}
	a := &Auth{}
	if len(r.b) > 0 {
		a.Code = Code(r.byte("reason code"))
		if !validCode(v, AUTH, a.Code) { // MQTT-3.15.2-1
			r.fail(ProtocolError, "reason code", "is not defined for this packet")
		}
		r.properties(&a.Props, authProps)
		if r.err == nil && !a.Props.Has(PropAuthMethod) {
			r.fail(ProtocolError, "authentication method", "is missing")
		}
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	return a, nil
}

// AppendAuth appends an AUTH.
func AppendAuth(dst []byte, a *Auth) []byte {
	if a.Code == Success && a.Props.empty(authProps) {
		return append(dst, byte(AUTH)<<4, 0)
	}
	start := len(dst)
	dst = append(begin(dst, AUTH, 0), byte(a.Code))
	return end(appendProperties(dst, &a.Props, authProps), start)
}
