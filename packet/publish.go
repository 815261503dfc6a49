package packet

import (
	"encoding/binary"
	"slices"

	"sallyport/internal/text"
)

// DecodePublish decodes the body of a PUBLISH (MQTT 5.0, 3.3) into p, whose
// slices view body; after an error p means nothing. It allocates only for
// subscription identifiers.
//
// Both sides use it, so these are the caller's: whether there may be
// subscription identifiers (from a client: a protocol error, MQTT-3.3.4-6),
// whether the topic is a topic name, whether the alias is within the maximum,
// and whether a payload that says it is UTF-8 is.
func DecodePublish(v Version, flags byte, body []byte, lim Limits, p *Publish) error {
	*p = Publish{Dup: flags&8 != 0, QoS: flags >> 1 & 3, Retain: flags&1 != 0}
	switch {
	case p.QoS == 3: // MQTT-3.3.1-4
		return &Error{Code: MalformedPacket, Text: "PUBLISH: QoS is 3"}
	case p.Dup && p.QoS == 0: // MQTT-3.3.1-2
		return &Error{Code: MalformedPacket, Text: "PUBLISH: DUP is set at QoS 0"}
	case len(body) < 2:
		return &Error{Code: MalformedPacket, Text: "PUBLISH: topic name is cut short"}
	}
	n := 2 + int(binary.BigEndian.Uint16(body))
	if n > len(body) {
		return &Error{Code: MalformedPacket, Text: "PUBLISH: topic name is cut short"}
	}
	p.Topic = body[2:n:n]
	if !text.ValidUTF8(p.Topic) { // MQTT-3.3.2-1
		return &Error{Code: MalformedPacket, Text: "PUBLISH: topic name is not valid UTF-8"}
	}
	if p.QoS > 0 {
		if n+2 > len(body) {
			return &Error{Code: MalformedPacket, Text: "PUBLISH: packet identifier is cut short"}
		}
		p.PacketID = binary.BigEndian.Uint16(body[n:])
		if p.PacketID == 0 { // MQTT-2.2.1-3
			return &Error{Code: ProtocolError, Text: "PUBLISH: packet identifier is 0"}
		}
		n += 2
	}
	if v == V5 {
		k, err := p.Props.decode(body[n:], lim)
		if err != nil {
			return err
		}
		n += k
	}
	if len(p.Topic) == 0 && p.Props.TopicAlias == 0 { // MQTT 5.0, 3.3.2.1
		return &Error{Code: ProtocolError, Text: "PUBLISH: topic name is empty"}
	}
	p.Payload = body[n:len(body):len(body)]
	return nil
}

// decode decodes the properties at the start of b into p, which is empty, and
// returns their encoded length with its prefix.
func (p *PublishProps) decode(b []byte, lim Limits) (n int, err error) {
	if len(b) > 0 && b[0] == 0 { // none: by far the most common
		p.Raw = b[1:1:1]
		return 1, nil
	}
	r := reader{b: b, what: PUBLISH, limit: lim.UserProperties}
	p.Raw = r.propertyBlock()
	n = len(b) - len(r.b) + len(p.Raw)
	var v property
	var seen set
	for r.b = p.Raw; len(r.b) > 0; {
		if !r.property(&v, publishProps, 1<<PropUser|1<<PropSubscriptionID, &seen) {
			break
		}
		switch v.id {
		case PropPayloadFormat:
			p.PayloadUTF8 = v.num == 1
		case PropMessageExpiry:
			p.HasExpiry, p.Expiry = true, v.num
		case PropContentType:
			p.ContentType = v.value
		case PropResponseTopic:
			p.ResponseTopic = v.value
		case PropCorrelationData:
			p.CorrelationData = v.value
		case PropTopicAlias:
			if p.TopicAlias = uint16(v.num); v.num == 0 { // MQTT-3.3.2-8
				r.fail(TopicAliasInvalid, "topic alias", "is 0")
			}
		case PropSubscriptionID:
			p.SubIDs = append(p.SubIDs, v.num)
		case PropUser:
			p.UserCount = r.users
		}
	}
	return n, r.err
}

// AppendForward appends the properties that travel with the message (without
// the topic alias and subscription identifiers), byte for byte as they arrived,
// and returns the offset of the four expiry bytes in what it appended, -1 if
// there are none. With room in dst it allocates nothing.
func (p *PublishProps) AppendForward(dst []byte) (props []byte, expiryAt int) {
	if !p.HasExpiry && p.TopicAlias == 0 && len(p.SubIDs) == 0 {
		return append(dst, p.Raw...), -1
	}
	return appendWithout(dst, p.Raw, 1<<PropTopicAlias|1<<PropSubscriptionID)
}

// EachUser calls f with the name and value of each user property, in order, as
// views of the buffer, until f returns false.
func (p *PublishProps) EachUser(f func(key, value []byte) bool) {
	for raw := p.Raw; len(raw) > 0; {
		n := propertySize(raw)
		if n == 0 {
			return
		}
		if PropertyID(raw[0]) == PropUser {
			k := 1 + stringSize(raw, 1)
			if !f(raw[3:k:k], raw[k+2:n:n]) {
				return
			}
		}
		raw = raw[n:]
	}
}

// PublishSize is the length in bytes of the packet that AppendPublish appends,
// with its fixed header.
func PublishSize(v Version, p *PublishOut) int {
	n := publishBody(v, p)
	return 1 + varintSize(n) + n
}

// publishBody is the remaining length of p.
func publishBody(v Version, p *PublishOut) int {
	n := 2 + encodable(p.Topic) + len(p.Payload)
	if p.QoS > 0 {
		n += 2
	}
	if v == V5 {
		k := publishPropsSize(p)
		n += varintSize(k) + k
	}
	return n
}

// publishPropsSize is the encoded length of the properties of p, without their
// length prefix.
func publishPropsSize(p *PublishOut) int {
	n := len(p.Props)
	if p.Alias != 0 {
		n += 3
	}
	for _, id := range p.SubIDs {
		n += 1 + varintSize(int(id))
	}
	return n
}

// AppendPublish appends a PUBLISH; with PublishSize bytes of room in dst it
// allocates nothing. Before MQTT 5.0 the alias and all properties are left out;
// at QoS 0 so are DUP (MQTT-3.3.1-2) and the packet identifier. ExpiryAt counts
// only where it lies within Props, never at 0, so the zero PublishOut has no
// expiry. A packet above MaxRemainingLength is not appended at all; a longer
// Topic than 65,535 bytes is cut.
func AppendPublish(dst []byte, v Version, p *PublishOut) []byte {
	n := publishBody(v, p)
	if n > MaxRemainingLength {
		return dst
	}
	first := byte(PUBLISH)<<4 | p.QoS&3<<1
	if p.Dup && p.QoS > 0 {
		first |= 8
	}
	if p.Retain {
		first |= 1
	}
	dst = slices.Grow(dst, 1+varintSize(n)+n)
	dst = appendVarint(append(dst, first), uint32(n))
	dst = appendString(dst, p.Topic)
	if p.QoS > 0 {
		dst = binary.BigEndian.AppendUint16(dst, p.PacketID)
	}
	if v == V5 {
		dst = appendPublishProps(dst, p)
	}
	return append(dst, p.Payload...)
}

// appendPublishProps appends the property length and the properties of p.
func appendPublishProps(dst []byte, p *PublishOut) []byte {
	dst = appendVarint(dst, uint32(publishPropsSize(p)))
	if p.Alias != 0 {
		dst = binary.BigEndian.AppendUint16(append(dst, byte(PropTopicAlias)), p.Alias)
	}
	for _, id := range p.SubIDs {
		dst = appendVarint(append(dst, byte(PropSubscriptionID)), id)
	}
	at := len(dst)
	dst = append(dst, p.Props...)
	if p.ExpiryAt > 0 && p.ExpiryAt <= len(p.Props)-4 {
		binary.BigEndian.PutUint32(dst[at+p.ExpiryAt:], p.Expiry)
	}
	return dst
}
