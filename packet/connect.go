package packet

import (
	"bytes"
	"encoding/binary"
)

// The connect flags (MQTT 5.0, 3.1.2.3).
const (
	flagReserved   = 1 << 0
	flagCleanStart = 1 << 1
	flagWill       = 1 << 2
	flagWillRetain = 1 << 5
	flagPassword   = 1 << 6
	flagUsername   = 1 << 7
)

// DecodeConnect decodes the body of a CONNECT (MQTT 5.0, 3.1). The Connect is
// never nil: after an error it holds the Version alone, as far as it was read
// and even if it is none of ours (0 if it was not), so that the caller knows in
// which form to refuse. A protocol name or level that is not served is
// UnsupportedProtocolVersion.
//
// Where MQTT 3.1 differs it is followed: reserved bits are ignored, and a user
// name or password whose flag is set but which is missing at the end of the
// packet counts as not sent. Bounds on the length of the client identifier in
// MQTT 3.1, and the characters in names, are the caller's business.
func DecodeConnect(body []byte, lim Limits) (*Connect, error) {
	r := reader{b: body, what: CONNECT, limit: lim.UserProperties}
	c := &Connect{}
	c.Version = r.version()
	if r.err != nil {
		return &Connect{Version: c.Version}, r.err
	}
	flags := r.connectFlags(c.Version)
	c.CleanStart = flags&flagCleanStart != 0
	c.KeepAlive = r.uint16("keep alive")
	if c.Version == V5 {
		r.properties(&c.Props, connectProps)
	}
	r.clientID(c, lim)
	if flags&flagWill != 0 {
		c.Will = r.will(c.Version, flags)
	}
	// MQTT 3.1, 3.1: the remaining length takes precedence over the two flags.
	sent := func() bool { return c.Version != V31 || len(r.b) > 0 }
	if flags&flagUsername != 0 && sent() {
		c.HasUsername = true
		if name := r.utf8("user name"); string(name) == c.ClientID {
			c.Username = c.ClientID // as often: both are kept while the client is connected
		} else {
			c.Username = string(name)
		}
	}
	if flags&flagPassword != 0 && sent() {
		c.HasPassword = true
		c.Password = bytes.Clone(r.binary("password"))
	}
	if err := r.end(); err != nil {
		return &Connect{Version: c.Version}, err
	}
	return c, nil
}

// version takes the protocol name and level (MQTT 5.0, 3.1.2.1 and 3.1.2.2) and
// returns the level, also when it refuses it.
func (r *reader) version() Version {
	name := string(r.utf8("protocol name"))
	if r.err == nil && name != "MQTT" && name != "MQIsdp" { // MQTT-3.1.2-1
		r.fail(UnsupportedProtocolVersion, "protocol name", "is unknown")
	}
	v := Version(r.byte("protocol level"))
	switch {
	case r.err != nil:
	case v == V31 && name == "MQIsdp":
	case (v == V311 || v == V5) && name == "MQTT":
	default: // MQTT-3.1.2-2
		// 0 would say that no level was read; 1 is answered as 0 has to be.
		v = max(v, 1)
		r.fail(UnsupportedProtocolVersion, "protocol level", "is not served under this name")
	}
	return v
}

// connectFlags takes the connect flags and judges them.
func (r *reader) connectFlags(v Version) byte {
	flags := r.byte("connect flags")
	willQoS := flags >> 3 & 3
	switch {
	case v != V31 && flags&flagReserved != 0: // MQTT-3.1.2-3
		r.fail(MalformedPacket, "connect flags", "have the reserved bit set")
	case flags&flagWill != 0 && willQoS == 3: // MQTT-3.1.2-12
		r.fail(MalformedPacket, "will QoS", "is 3")
	case v != V31 && flags&flagWill == 0 && (willQoS != 0 || flags&flagWillRetain != 0):
		// MQTT-3.1.2-11, -13; in 3.1.1 -13, -15.
		r.fail(MalformedPacket, "connect flags", "have will QoS or will retain without a will")
	case v != V5 && flags&flagPassword != 0 && flags&flagUsername == 0: // 3.1.1: MQTT-3.1.2-22
		r.fail(MalformedPacket, "connect flags", "have a password without a user name")
	}
	return flags
}

// clientID takes the client identifier (MQTT 5.0, 3.1.3.1).
func (r *reader) clientID(c *Connect, lim Limits) {
	id := r.utf8("client identifier")
	switch {
	case r.err != nil:
	case lim.ClientID > 0 && len(id) > lim.ClientID:
		r.over("client_id_bytes", ClientIDNotValid, "bytes of the client identifier")
	case len(id) == 0 && !c.CleanStart && c.Version != V5: // 3.1.1: MQTT-3.1.3-8
		r.fail(ClientIDNotValid, "client identifier", "is empty without clean session")
	}
	c.ClientID = string(id)
}

// will takes the will's fields (MQTT 5.0, 3.1.3.2 to 3.1.3.4).
func (r *reader) will(v Version, flags byte) *Will {
	w := &Will{QoS: flags >> 3 & 3, Retain: flags&flagWillRetain != 0, ExpiryAt: -1}
	if v == V5 {
		raw := r.properties(&w.Props, willProps)
		w.Forward, w.ExpiryAt = appendWithout(nil, raw, 1<<PropWillDelay)
	}
	w.Topic = r.string("will topic")
	w.Payload = bytes.Clone(r.binary("will payload"))
	return w
}

// AppendConnect appends a CONNECT. Of the will it writes Props, not Forward. It
// does not judge: whether the version allows the combination is up to the caller.
func AppendConnect(dst []byte, c *Connect) []byte {
	start := len(dst)
	dst = begin(dst, CONNECT, 0)
	name := "MQTT"
	if c.Version == V31 {
		name = "MQIsdp"
	}
	dst = append(appendString(dst, name), byte(c.Version), c.flags())
	dst = binary.BigEndian.AppendUint16(dst, c.KeepAlive)
	if c.Version == V5 {
		dst = appendProperties(dst, &c.Props, connectProps)
	}
	dst = appendString(dst, c.ClientID)
	if w := c.Will; w != nil {
		if c.Version == V5 {
			dst = appendProperties(dst, &w.Props, willProps)
		}
		dst = appendString(appendString(dst, w.Topic), w.Payload)
	}
	if c.HasUsername {
		dst = appendString(dst, c.Username)
	}
	if c.HasPassword {
		dst = appendString(dst, c.Password)
	}
	return end(dst, start)
}

// flags are the connect flags of c.
func (c *Connect) flags() (f byte) {
	if c.CleanStart {
		f |= flagCleanStart
	}
	if c.Will != nil {
		f |= flagWill | c.Will.QoS&3<<3
		if c.Will.Retain {
			f |= flagWillRetain
		}
	}
	if c.HasUsername {
		f |= flagUsername
	}
	if c.HasPassword {
		f |= flagPassword
	}
	return f
}
