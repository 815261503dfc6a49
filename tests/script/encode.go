package script

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// encode writes p for protocol version v (3, 4 or 5). It writes what the
// script says, also where the standard forbids it.
func encode(v int, p Packet) ([]byte, error) {
	t, ok := packetNamed(p.Type)
	if !ok {
		return nil, fmt.Errorf("unknown packet type %q", p.Type)
	}
	var body []byte
	var err error
	flags := t.flags
	switch p.Type {
	case "CONNECT":
		body, err = encodeConnect(v, p)
	case "PUBLISH":
		flags, body, err = encodePublish(v, p)
	case "SUBSCRIBE":
		body, err = encodeSubscribe(v, p)
	case "UNSUBSCRIBE":
		body, err = encodeUnsubscribe(v, p)
	case "PINGREQ", "PINGRESP":
	case "PUBACK", "PUBREC", "PUBREL", "PUBCOMP":
		body = binary.BigEndian.AppendUint16(nil, uint16(number(p, "id")))
		body, err = appendCodeAndProps(body, v, p)
	case "DISCONNECT", "AUTH":
		body, err = appendCodeAndProps(nil, v, p)
	default:
		return nil, fmt.Errorf("a client does not send %s; use frame", p.Type)
	}
	if err != nil {
		return nil, err
	}
	return frame(t.code<<4|flags, body), nil
}

// frame puts the fixed header in front of body.
func frame(first byte, body []byte) []byte {
	return append(appendVarint([]byte{first}, len(body)), body...)
}

func encodeConnect(v int, p Packet) ([]byte, error) {
	name := "MQTT"
	if v == 3 {
		name = "MQIsdp"
	}
	b := append(appendString(nil, name), byte(v))
	var flags byte
	set := func(key string, bit byte) {
		if number(p, key) != 0 {
			flags |= bit
		}
	}
	set("reserved", 1)
	set("clean", 2)
	set("will.retain", 0x20)
	flags |= byte(number(p, "will.qos")&3) << 3
	if p.has("will.topic") {
		flags |= 4
	}
	if p.has("pass") {
		flags |= 0x40
	}
	if p.has("user") {
		flags |= 0x80
	}
	b = append(b, flags)
	b = binary.BigEndian.AppendUint16(b, uint16(number(p, "keepalive")))
	var will, own []Field
	for _, f := range p.Fields {
		if _, isProperty, _ := kindOf(packetTypes()[0], f.Key); !isProperty {
			continue
		}
		if rest, ok := strings.CutPrefix(f.Key, "will."); ok {
			will = append(will, Field{rest, f.Value})
		} else {
			own = append(own, f)
		}
	}
	b, err := appendProps(b, v, own)
	if err != nil {
		return nil, err
	}
	client, _ := p.get("client")
	b = appendString(b, client)
	if topic, ok := p.get("will.topic"); ok {
		if b, err = appendProps(b, v, will); err != nil {
			return nil, err
		}
		payload, _ := p.get("will.payload")
		b = appendString(appendString(b, topic), payload)
	}
	for _, key := range []string{"user", "pass"} {
		if s, ok := p.get(key); ok {
			b = appendString(b, s)
		}
	}
	return b, nil
}

func encodePublish(v int, p Packet) (flags byte, body []byte, err error) {
	qos := number(p, "qos")
	flags = byte(number(p, "dup")&1)<<3 | byte(qos&3)<<1 | byte(number(p, "retain")&1)
	topic, _ := p.get("topic")
	body = appendString(nil, topic)
	if qos > 0 {
		body = binary.BigEndian.AppendUint16(body, uint16(number(p, "id")))
	}
	if body, err = appendProps(body, v, propsOf(p)); err != nil {
		return 0, nil, err
	}
	payload, _ := p.get("payload")
	return flags, append(body, payload...), nil
}

func encodeSubscribe(v int, p Packet) ([]byte, error) {
	b := binary.BigEndian.AppendUint16(nil, uint16(number(p, "id")))
	b, err := appendProps(b, v, propsOf(p))
	if err != nil {
		return nil, err
	}
	shift := map[string]uint{"qos": 0, "nl": 2, "rap": 3, "rh": 4}
	for _, f := range p.Fields {
		if f.Key == "filter" {
			b = append(appendString(b, f.Value), 0)
			continue
		}
		if s, ok := shift[f.Key]; ok {
			n, _ := strconv.ParseUint(f.Value, 10, 8)
			b[len(b)-1] |= byte(n) << s
		}
	}
	return b, nil
}

func encodeUnsubscribe(v int, p Packet) ([]byte, error) {
	b := binary.BigEndian.AppendUint16(nil, uint16(number(p, "id")))
	b, err := appendProps(b, v, propsOf(p))
	if err != nil {
		return nil, err
	}
	for _, f := range p.Fields {
		if f.Key == "filter" {
			b = appendString(b, f.Value)
		}
	}
	return b, nil
}

// appendCodeAndProps writes the short form where the standard allows it
// (MQTT 5.0, 3.4.2.1, 3.14.2.1).
func appendCodeAndProps(b []byte, v int, p Packet) ([]byte, error) {
	props := propsOf(p)
	code := number(p, "code")
	if v < 5 {
		if code != 0 || len(props) > 0 {
			return nil, fmt.Errorf("%s has no reason code and no properties before version 5", p.Type)
		}
		return b, nil
	}
	if len(props) == 0 && code == 0 {
		return b, nil
	}
	b = append(b, byte(code))
	if len(props) == 0 && p.Type != "AUTH" {
		return b, nil
	}
	return appendProps(b, v, props)
}

func propsOf(p Packet) []Field {
	t, _ := packetNamed(p.Type)
	var props []Field
	for _, f := range p.Fields {
		if _, isProperty, _ := kindOf(t, f.Key); isProperty {
			props = append(props, f)
		}
	}
	return props
}

func appendProps(b []byte, v int, fields []Field) ([]byte, error) {
	if v < 5 {
		if len(fields) > 0 {
			return nil, fmt.Errorf("property %s before version 5", fields[0].Key)
		}
		return b, nil
	}
	var props []byte
	for _, f := range fields {
		p, ok := propertyNamed(f.Key)
		if !ok {
			return nil, fmt.Errorf("unknown property %q", f.Key)
		}
		props = append(props, p.id)
		n, _ := strconv.ParseUint(f.Value, 10, 32)
		switch p.kind {
		case kindByte:
			props = append(props, byte(n))
		case kindU16:
			props = binary.BigEndian.AppendUint16(props, uint16(n))
		case kindU32:
			props = binary.BigEndian.AppendUint32(props, uint32(n))
		case kindVarint:
			props = appendVarint(props, int(n))
		case kindPair:
			k, val, _ := strings.Cut(f.Value, ":")
			props = appendString(appendString(props, k), val)
		default:
			props = appendString(props, f.Value)
		}
	}
	return append(appendVarint(b, len(props)), props...), nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

func appendVarint(b []byte, n int) []byte {
	for n > 0x7f {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

// number returns a numeric field, 0 if it is absent.
func number(p Packet, key string) uint64 {
	s, _ := p.get(key)
	n, _ := strconv.ParseUint(s, 10, 32) // the parser has checked it
	return n
}
