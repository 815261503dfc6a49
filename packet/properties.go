package packet

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// kind is the data type of a property's value.
type kind uint8

const (
	kindNone   kind = iota // no such property
	kindByte               // one byte; every property of this type is 0 or 1
	kindUint16             // two bytes
	kindUint32             // four bytes
	kindVarint             // a variable byte integer
	kindString             // a UTF-8 encoded string
	kindBinary             // binary data
	kindPair               // two UTF-8 encoded strings
)

// propertyTable is the standard's table 2-4: what the value of each property is.
var propertyTable = [...]struct {
	kind    kind
	nonzero bool // the value 0 is a protocol error
	name    string
}{
	PropPayloadFormat:        {kindByte, false, "payload format indicator"},
	PropMessageExpiry:        {kindUint32, false, "message expiry interval"},
	PropContentType:          {kindString, false, "content type"},
	PropResponseTopic:        {kindString, false, "response topic"},
	PropCorrelationData:      {kindBinary, false, "correlation data"},
	PropSubscriptionID:       {kindVarint, true, "subscription identifier"},
	PropSessionExpiry:        {kindUint32, false, "session expiry interval"},
	PropAssignedClientID:     {kindString, false, "assigned client identifier"},
	PropServerKeepAlive:      {kindUint16, false, "server keep alive"},
	PropAuthMethod:           {kindString, false, "authentication method"},
	PropAuthData:             {kindBinary, false, "authentication data"},
	PropRequestProblemInfo:   {kindByte, false, "request problem information"},
	PropWillDelay:            {kindUint32, false, "will delay interval"},
	PropRequestResponseInfo:  {kindByte, false, "request response information"},
	PropResponseInfo:         {kindString, false, "response information"},
	PropServerReference:      {kindString, false, "server reference"},
	PropReasonString:         {kindString, false, "reason string"},
	PropReceiveMaximum:       {kindUint16, true, "receive maximum"},
	PropTopicAliasMaximum:    {kindUint16, false, "topic alias maximum"},
	PropTopicAlias:           {kindUint16, false, "topic alias"}, // 0 has its own code
	PropMaximumQoS:           {kindByte, false, "maximum QoS"},
	PropRetainAvailable:      {kindByte, false, "retain available"},
	PropUser:                 {kindPair, false, "user property"},
	PropMaximumPacketSize:    {kindUint32, true, "maximum packet size"},
	PropWildcardSubAvailable: {kindByte, false, "wildcard subscription available"},
	PropSubIDAvailable:       {kindByte, false, "subscription identifier available"},
	PropSharedSubAvailable:   {kindByte, false, "shared subscription available"},
}

// kind is the type of the value of id, kindNone for an unknown property.
func (id PropertyID) kind() kind {
	if int(id) >= len(propertyTable) {
		return kindNone
	}
	return propertyTable[id].kind
}

// set is a set of properties, one bit each.
type set uint64

func (s set) has(id PropertyID) bool { return s&(1<<id) != 0 }

// The properties that each packet may hold (MQTT 5.0, table 2-4).
const (
	connectProps set = 1<<PropSessionExpiry | 1<<PropAuthMethod | 1<<PropAuthData |
		1<<PropRequestProblemInfo | 1<<PropRequestResponseInfo | 1<<PropReceiveMaximum |
		1<<PropTopicAliasMaximum | 1<<PropUser | 1<<PropMaximumPacketSize
	willProps set = 1<<PropPayloadFormat | 1<<PropMessageExpiry | 1<<PropContentType |
		1<<PropResponseTopic | 1<<PropCorrelationData | 1<<PropWillDelay | 1<<PropUser
	connackProps set = 1<<PropSessionExpiry | 1<<PropAssignedClientID | 1<<PropServerKeepAlive |
		1<<PropAuthMethod | 1<<PropAuthData | 1<<PropResponseInfo | 1<<PropServerReference |
		1<<PropReasonString | 1<<PropReceiveMaximum | 1<<PropTopicAliasMaximum |
		1<<PropMaximumQoS | 1<<PropRetainAvailable | 1<<PropUser | 1<<PropMaximumPacketSize |
		1<<PropWildcardSubAvailable | 1<<PropSubIDAvailable | 1<<PropSharedSubAvailable
	publishProps set = 1<<PropPayloadFormat | 1<<PropMessageExpiry | 1<<PropContentType |
		1<<PropResponseTopic | 1<<PropCorrelationData | 1<<PropSubscriptionID |
		1<<PropTopicAlias | 1<<PropUser
	ackProps         set = 1<<PropReasonString | 1<<PropUser // and SUBACK, UNSUBACK
	subscribeProps   set = 1<<PropSubscriptionID | 1<<PropUser
	unsubscribeProps set = 1 << PropUser
	disconnectProps  set = 1<<PropSessionExpiry | 1<<PropServerReference | 1<<PropReasonString | 1<<PropUser
	authProps        set = 1<<PropAuthMethod | 1<<PropAuthData | 1<<PropReasonString | 1<<PropUser
)

// property is one property as it stands in a packet. Only what its kind needs
// is set, the rest is left from the one before.
type property struct {
	id    PropertyID
	num   uint32 // value of the numeric kinds
	value []byte // value of the others, a view; the name of a pair
	pair  []byte // value of a pair, a view
}

// property takes one property into p and reports whether it is well-formed and
// in its place. allowed are those that the packet may hold; seen are those
// already taken, of which only the ones in repeats may come again.
func (r *reader) property(p *property, allowed, repeats set, seen *set) bool {
	p.id = PropertyID(r.byte("properties"))
	k := p.id.kind()
	// An unknown identifier, or one of another packet, is malformed (MQTT 5.0,
	// 2.2.2.2). Every known one is a variable byte integer of one byte.
	if k == kindNone || !allowed.has(p.id) {
		r.fail(MalformedPacket, "properties", "hold one that is not defined for this packet")
		return false
	}
	rule := &propertyTable[p.id]
	if seen.has(p.id) && !repeats.has(p.id) {
		r.fail(ProtocolError, rule.name, "is given twice")
		return false
	}
	*seen |= 1 << p.id
	switch k {
	case kindByte:
		if p.num = uint32(r.byte(rule.name)); p.num > 1 {
			r.fail(ProtocolError, rule.name, "is neither 0 nor 1")
		}
	case kindUint16:
		p.num = uint32(r.uint16(rule.name))
	case kindUint32:
		p.num = r.uint32(rule.name)
	case kindVarint:
		p.num = r.varint(rule.name)
	case kindString:
		p.value = r.utf8(rule.name)
	case kindBinary:
		p.value = r.binary(rule.name)
	case kindPair:
		p.value = r.utf8(rule.name)
		p.pair = r.utf8(rule.name)
		if r.users++; r.limit > 0 && r.users > r.limit {
			r.over("user_properties", QuotaExceeded, "user properties")
		}
	}
	switch {
	case rule.nonzero && p.num == 0:
		r.fail(ProtocolError, rule.name, "is 0")
	case p.id == PropResponseTopic && (len(p.value) == 0 || bytes.ContainsAny(p.value, "+#")):
		r.fail(ProtocolError, rule.name, "is not a topic name") // MQTT-3.3.2-14, 4.7.3-1
	}
	return r.err == nil
}

// propertyBlock takes the property length and returns the encoded properties
// that follow, a view; they stay in r.b.
func (r *reader) propertyBlock() []byte {
	n := int(r.varint("property length"))
	if n > len(r.b) {
		r.fail(MalformedPacket, "property length", "is beyond the end of the packet")
		return nil
	}
	return r.b[:n:n]
}

// properties takes a property length and the properties, of which allowed may
// be there, into p. It returns them as they stand in the packet, a view.
func (r *reader) properties(p *Properties, allowed set) (raw []byte) {
	raw = r.propertyBlock()
	rest := r.b[len(raw):]
	var seen set
	var v property
	for r.b = raw; len(r.b) > 0; {
		if r.property(&v, allowed, 1<<PropUser, &seen) {
			p.store(&v)
		}
	}
	if r.err != nil {
		return nil
	}
	if seen.has(PropAuthData) && !seen.has(PropAuthMethod) { // MQTT 5.0, 3.1.2.11.10
		r.fail(ProtocolError, "authentication data", "is there without a method")
		return nil
	}
	p.present = uint64(seen)
	r.b = rest
	return raw
}

// store copies the value of v into its field.
func (p *Properties) store(v *property) {
	if v.id == PropUser {
		p.User = append(p.User, UserProperty{string(v.value), string(v.pair)})
		return
	}
	switch f := p.field(v.id).(type) {
	case *byte:
		*f = byte(v.num)
	case *uint16:
		*f = uint16(v.num)
	case *uint32:
		*f = v.num
	case *string:
		*f = string(v.value)
	case *[]byte:
		*f = bytes.Clone(v.value)
	}
}

// field points to the field of property id: *byte, *uint16, *uint32, *string or
// *[]byte; nil for the two that have none, the topic alias and the user property.
func (p *Properties) field(id PropertyID) any {
	switch id {
	case PropPayloadFormat:
		return &p.PayloadFormat
	case PropMessageExpiry:
		return &p.MessageExpiry
	case PropContentType:
		return &p.ContentType
	case PropResponseTopic:
		return &p.ResponseTopic
	case PropCorrelationData:
		return &p.CorrelationData
	case PropSubscriptionID:
		return &p.SubscriptionID
	case PropSessionExpiry:
		return &p.SessionExpiry
	case PropAssignedClientID:
		return &p.AssignedClientID
	case PropServerKeepAlive:
		return &p.ServerKeepAlive
	case PropAuthMethod:
		return &p.AuthMethod
	case PropAuthData:
		return &p.AuthData
	case PropRequestProblemInfo:
		return &p.RequestProblemInfo
	case PropWillDelay:
		return &p.WillDelay
	case PropRequestResponseInfo:
		return &p.RequestResponseInfo
	case PropResponseInfo:
		return &p.ResponseInfo
	case PropServerReference:
		return &p.ServerReference
	case PropReasonString:
		return &p.ReasonString
	case PropReceiveMaximum:
		return &p.ReceiveMaximum
	case PropTopicAliasMaximum:
		return &p.TopicAliasMaximum
	case PropMaximumQoS:
		return &p.MaximumQoS
	case PropRetainAvailable:
		return &p.RetainAvailable
	case PropMaximumPacketSize:
		return &p.MaximumPacketSize
	case PropWildcardSubAvailable:
		return &p.WildcardSubAvailable
	case PropSubIDAvailable:
		return &p.SubIDAvailable
	case PropSharedSubAvailable:
		return &p.SharedSubAvailable
	}
	return nil
}

// appendProperties appends the property length and those of the marked
// properties that are in allowed, by identifier, then the user properties.
func appendProperties(dst []byte, p *Properties, allowed set) []byte {
	at := len(dst)
	dst = append(dst, 0)
	for m := p.present & uint64(allowed); m != 0; m &= m - 1 {
		id := PropertyID(bits.TrailingZeros64(m))
		switch f := p.field(id).(type) {
		case *byte:
			dst = append(dst, byte(id), *f)
		case *uint16:
			dst = binary.BigEndian.AppendUint16(append(dst, byte(id)), *f)
		case *uint32:
			dst = append(dst, byte(id))
			if id.kind() == kindVarint {
				dst = appendVarint(dst, min(*f, MaxRemainingLength))
			} else {
				dst = binary.BigEndian.AppendUint32(dst, *f)
			}
		case *string:
			dst = appendString(append(dst, byte(id)), *f)
		case *[]byte:
			dst = appendString(append(dst, byte(id)), *f)
		}
	}
	return endLength(appendUser(dst, p.User), at)
}

// appendUser appends user properties.
func appendUser(dst []byte, users []UserProperty) []byte {
	for _, u := range users {
		dst = append(dst, byte(PropUser))
		dst = appendString(appendString(dst, u.Key), u.Value)
	}
	return dst
}

// appendReason appends the properties of an acknowledgement: their length, the
// reason string if there is one, the user properties.
func appendReason(dst []byte, reason string, users []UserProperty) []byte {
	at := len(dst)
	dst = append(dst, 0)
	if reason != "" {
		dst = appendString(append(dst, byte(PropReasonString)), reason)
	}
	return endLength(appendUser(dst, users), at)
}

// appendWithout appends the encoded properties raw without those in drop, byte
// for byte, and returns the offset of the four bytes of the message expiry
// interval in what it appended, -1 if it is not there. It stops where raw is
// not well-formed.
func appendWithout(dst, raw []byte, drop set) (props []byte, expiryAt int) {
	base := len(dst)
	expiryAt = -1
	for len(raw) > 0 {
		id, n := PropertyID(raw[0]), propertySize(raw)
		if n == 0 {
			break
		}
		if !drop.has(id) {
			if id == PropMessageExpiry {
				expiryAt = len(dst) - base + 1
			}
			dst = append(dst, raw[:n]...)
		}
		raw = raw[n:]
	}
	return dst, expiryAt
}

// propertySize is the encoded length in bytes of the property at the start of
// b, with its identifier; 0 if it is not well-formed.
func propertySize(b []byte) int {
	n := 1
	switch PropertyID(b[0]).kind() {
	case kindNone:
		return 0
	case kindByte:
		n += 1
	case kindUint16:
		n += 2
	case kindUint32:
		n += 4
	case kindVarint:
		_, k, _ := readVarint(b[1:])
		if k == 0 {
			return 0
		}
		n += k
	case kindString, kindBinary:
		n += stringSize(b, n)
	case kindPair:
		n += stringSize(b, n)
		n += stringSize(b, n)
	}
	if n > len(b) {
		return 0
	}
	return n
}

// stringSize is the encoded length of the string at b[at:]; longer than b if
// that is cut short.
func stringSize(b []byte, at int) int {
	if at+2 > len(b) {
		return len(b) + 1
	}
	return 2 + int(binary.BigEndian.Uint16(b[at:]))
}

// empty reports whether p holds none of the properties in allowed.
func (p *Properties) empty(allowed set) bool {
	return p.present&uint64(allowed&^(1<<PropUser)) == 0 && len(p.User) == 0
}
