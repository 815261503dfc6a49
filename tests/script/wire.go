package script

import "fmt"

// kind is the encoding of a field or property (MQTT 5.0, 1.5).
type kind uint8

const (
	kindByte kind = iota
	kindU16
	kindU32
	kindVarint
	kindString
	kindBinary
	kindPair
	kindCodes // a list of reason codes
	kindFlag
)

func (k kind) number() bool { return k <= kindVarint || k == kindFlag }

// property is one row of MQTT 5.0, table 2-4.
type property struct {
	name string
	id   byte
	kind kind
}

func properties() []property {
	return []property{
		{"format", 0x01, kindByte},
		{"expiry", 0x02, kindU32},
		{"content-type", 0x03, kindString},
		{"response-topic", 0x08, kindString},
		{"correlation", 0x09, kindBinary},
		{"sub-id", 0x0B, kindVarint},
		{"session-expiry", 0x11, kindU32},
		{"assigned", 0x12, kindString},
		{"server-keepalive", 0x13, kindU16},
		{"auth-method", 0x15, kindString},
		{"auth-data", 0x16, kindBinary},
		{"request-problem", 0x17, kindByte},
		{"delay", 0x18, kindU32},
		{"request-response", 0x19, kindByte},
		{"response-info", 0x1A, kindString},
		{"server-ref", 0x1C, kindString},
		{"reason", 0x1F, kindString},
		{"receive-max", 0x21, kindU16},
		{"alias-max", 0x22, kindU16},
		{"alias", 0x23, kindU16},
		{"max-qos", 0x24, kindByte},
		{"retain-available", 0x25, kindByte},
		{"user-prop", 0x26, kindPair},
		{"max-packet", 0x27, kindU32},
		{"wildcard-available", 0x28, kindByte},
		{"sub-id-available", 0x29, kindByte},
		{"shared-available", 0x2A, kindByte},
	}
}

func propertyNamed(name string) (property, bool) {
	for _, p := range properties() {
		if p.name == name {
			return p, true
		}
	}
	return property{}, false
}

func propertyWithID(id byte) (property, bool) {
	for _, p := range properties() {
		if p.id == id {
			return p, true
		}
	}
	return property{}, false
}

// packetType is one row of MQTT 5.0, table 2-1 and 2-2, with the fields a
// script may name beside the properties.
type packetType struct {
	name   string
	code   byte
	flags  byte
	fields map[string]kind
}

func packetTypes() []packetType {
	ack := map[string]kind{"id": kindU16, "code": kindByte}
	subAck := map[string]kind{"id": kindU16, "codes": kindCodes}
	return []packetType{
		{"CONNECT", 1, 0, map[string]kind{
			"v3": kindFlag, "v4": kindFlag, "v5": kindFlag, "client": kindString, "clean": kindFlag,
			"keepalive": kindU16, "user": kindString, "pass": kindString, "reserved": kindFlag,
			"will.topic": kindString, "will.payload": kindBinary, "will.qos": kindByte, "will.retain": kindFlag,
		}},
		{"CONNACK", 2, 0, map[string]kind{"session": kindFlag, "code": kindByte}},
		{"PUBLISH", 3, 0, map[string]kind{
			"topic": kindString, "payload": kindBinary, "qos": kindByte, "id": kindU16, "dup": kindFlag, "retain": kindFlag,
		}},
		{"PUBACK", 4, 0, ack},
		{"PUBREC", 5, 0, ack},
		{"PUBREL", 6, 2, ack},
		{"PUBCOMP", 7, 0, ack},
		{"SUBSCRIBE", 8, 2, map[string]kind{
			"id": kindU16, "filter": kindString, "qos": kindByte, "nl": kindFlag, "rap": kindFlag, "rh": kindByte,
		}},
		{"SUBACK", 9, 0, subAck},
		{"UNSUBSCRIBE", 10, 2, map[string]kind{"id": kindU16, "filter": kindString}},
		{"UNSUBACK", 11, 0, subAck},
		{"PINGREQ", 12, 0, nil},
		{"PINGRESP", 13, 0, nil},
		{"DISCONNECT", 14, 0, map[string]kind{"code": kindByte}},
		{"AUTH", 15, 0, map[string]kind{"code": kindByte}},
	}
}

func packetNamed(name string) (packetType, bool) {
	for _, t := range packetTypes() {
		if t.name == name {
			return t, true
		}
	}
	return packetType{}, false
}

func packetWithCode(code byte) (packetType, bool) {
	for _, t := range packetTypes() {
		if t.code == code {
			return t, true
		}
	}
	return packetType{}, false
}

// kindOf returns the kind of a field of packet type t.
func kindOf(t packetType, key string) (k kind, isProperty, known bool) {
	if k, ok := t.fields[key]; ok {
		return k, false, true
	}
	name := key
	if t.name == "CONNECT" && len(key) > 5 && key[:5] == "will." {
		name = key[5:]
	}
	if p, ok := propertyNamed(name); ok {
		return p.kind, true, true
	}
	return 0, false, false
}

// Field is one value of a packet. Numbers are decimal; text and bytes are
// themselves; a pair is key:value; codes are decimal with commas.
type Field struct{ Key, Value string }

// Packet is a control packet as a script sees it.
type Packet struct {
	Type   string
	Fields []Field
}

func (p Packet) get(key string) (string, bool) {
	for _, f := range p.Fields {
		if f.Key == key {
			return f.Value, true
		}
	}
	return "", false
}

func (p Packet) has(key string) bool { _, ok := p.get(key); return ok }

// String renders p in the syntax of scripts.
func (p Packet) String() string {
	s := p.Type
	for _, f := range p.Fields {
		s += " " + f.Key + "=" + showValue(f.Key, f.Value)
	}
	return s
}

func showValue(key, value string) string {
	if key == "code" {
		var n int
		if _, err := fmt.Sscanf(value, "%d", &n); err == nil {
			return fmt.Sprintf("0x%02x", n)
		}
	}
	if len(value) > 80 {
		return fmt.Sprintf("%q...(%d bytes)", value[:80], len(value))
	}
	for i := 0; i < len(value); i++ {
		if c := value[i]; c <= ' ' || c >= 0x7f || c == '"' {
			return fmt.Sprintf("%q", value)
		}
	}
	if value == "" {
		return `""`
	}
	return value
}
