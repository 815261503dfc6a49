package script

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// errShort says that a packet is not complete yet.
var errShort = errors.New("incomplete packet")

// reader takes a packet body apart; after the first error it returns zeros.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(format string, a ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, a...)
	}
}

func (r *reader) bytes(n int) []byte {
	if n > len(r.b) {
		r.fail("packet ends %d bytes early", n-len(r.b))
		r.b = nil
		return make([]byte, min(n, 4))
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) u8() byte     { return r.bytes(1)[0] }
func (r *reader) u16() uint16  { return binary.BigEndian.Uint16(r.bytes(2)) }
func (r *reader) u32() uint32  { return binary.BigEndian.Uint32(r.bytes(4)) }
func (r *reader) data() string { return string(r.bytes(int(r.u16()))) }

func (r *reader) text() string {
	s := r.data()
	// MQTT-1.5.4-1, MQTT-1.5.4-2; utf8 refuses surrogates and overlong forms.
	if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
		r.fail("string %q is not allowed in MQTT", s)
	}
	return s
}

func (r *reader) varint() int {
	n, size, err := readVarint(r.b)
	if err != nil {
		r.fail("%w", err)
		r.b = nil
		return 0
	}
	r.b = r.b[size:]
	return n
}

func readVarint(b []byte) (n, size int, err error) {
	for i := 0; i < 4; i++ {
		if i >= len(b) {
			return 0, 0, errShort
		}
		n |= int(b[i]&0x7f) << (7 * i)
		if b[i]&0x80 == 0 {
			if i > 0 && b[i] == 0 {
				return 0, 0, errors.New("variable byte integer longer than necessary") // MQTT-1.5.5-1
			}
			return n, i + 1, nil
		}
	}
	return 0, 0, errors.New("variable byte integer of more than four bytes")
}

// decode takes the first packet that a server sent off b; n is its size.
// It returns errShort if b holds only a part of it.
func decode(v int, b []byte) (p Packet, n int, err error) {
	if len(b) < 2 {
		return Packet{}, 0, errShort
	}
	length, size, err := readVarint(b[1:])
	if err != nil {
		return Packet{}, 0, err
	}
	n = 1 + size + length
	if len(b) < n {
		return Packet{}, 0, errShort
	}
	t, ok := packetWithCode(b[0] >> 4)
	if !ok {
		return Packet{}, 0, fmt.Errorf("packet type %d", b[0]>>4)
	}
	r := &reader{b: b[1+size : n]}
	p = Packet{Type: t.name}
	if flags := b[0] & 15; t.name != "PUBLISH" && flags != t.flags {
		r.fail("%s with flags %04b", t.name, flags) // MQTT-2.1.3-1
	}
	decodeBody(v, b[0]&15, t.name, r, &p)
	if r.err == nil && len(r.b) > 0 {
		r.fail("%d bytes behind the end", len(r.b))
	}
	if r.err != nil {
		return Packet{}, 0, fmt.Errorf("%s % x: %w", t.name, b[:min(n, 64)], r.err)
	}
	return p, n, nil
}

// add records a field unless it has its default, so that packets that mean the
// same are equal.
func (p *Packet) add(key string, n uint64) {
	if n != 0 {
		p.Fields = append(p.Fields, Field{key, strconv.FormatUint(n, 10)})
	}
}

func decodeBody(v int, flags byte, name string, r *reader, p *Packet) {
	switch name {
	case "CONNACK":
		ack := r.u8()
		if ack > 1 {
			r.fail("reserved acknowledge flags in %#x", ack) // MQTT-3.2.2-1
		}
		p.add("session", uint64(ack))
		p.add("code", uint64(r.u8()))
		readProps(v, r, p)
	case "PUBLISH":
		decodePublish(v, flags, r, p)
	case "PUBACK", "PUBREC", "PUBREL", "PUBCOMP":
		p.add("id", uint64(r.u16()))
		readCodeAndProps(v, r, p)
	case "SUBACK", "UNSUBACK":
		p.add("id", uint64(r.u16()))
		readProps(v, r, p)
		var codes []string
		for _, c := range r.bytes(len(r.b)) {
			codes = append(codes, strconv.Itoa(int(c)))
		}
		if codes != nil {
			p.Fields = append(p.Fields, Field{"codes", strings.Join(codes, ",")})
		}
	case "PINGRESP":
	case "DISCONNECT", "AUTH":
		if v < 5 {
			r.fail("a server sends no %s before version 5", name)
		}
		readCodeAndProps(v, r, p)
	default:
		r.fail("a server sends no %s", name)
	}
}

func decodePublish(v int, flags byte, r *reader, p *Packet) {
	qos := flags >> 1 & 3
	if qos == 3 {
		r.fail("QoS 3") // MQTT-3.3.1-4
	}
	if qos == 0 && flags&8 != 0 {
		r.fail("DUP at QoS 0") // MQTT-3.3.1-2
	}
	topic := r.text()
	if strings.ContainsAny(topic, "+#") {
		r.fail("wildcard in topic name %q", topic) // MQTT-3.3.2-2
	}
	if topic != "" { // empty behind a topic alias
		p.Fields = append(p.Fields, Field{"topic", topic})
	}
	p.add("qos", uint64(qos))
	p.add("dup", uint64(flags>>3&1))
	p.add("retain", uint64(flags&1))
	if qos > 0 {
		id := r.u16()
		if id == 0 {
			r.fail("packet identifier 0") // MQTT-2.2.1-4
		}
		p.add("id", uint64(id))
	}
	readProps(v, r, p)
	if len(r.b) > 0 {
		p.Fields = append(p.Fields, Field{"payload", string(r.bytes(len(r.b)))})
	}
}

func readCodeAndProps(v int, r *reader, p *Packet) {
	if v < 5 || len(r.b) == 0 {
		return
	}
	p.add("code", uint64(r.u8()))
	if len(r.b) > 0 {
		readProps(v, r, p)
	}
}

// readProps reads the properties, each at most once except user properties and
// subscription identifiers (MQTT 5.0, 2.2.2).
func readProps(v int, r *reader, p *Packet) {
	if v < 5 {
		return
	}
	in := &reader{b: r.bytes(r.varint())}
	seen := map[string]bool{}
	for len(in.b) > 0 && in.err == nil {
		id := in.u8()
		prop, ok := propertyWithID(id)
		if !ok {
			in.fail("unknown property %#02x", id)
			break
		}
		if seen[prop.name] && prop.name != "user-prop" && prop.name != "sub-id" {
			in.fail("property %s twice", prop.name)
		}
		seen[prop.name] = true
		p.Fields = append(p.Fields, Field{prop.name, readValue(in, prop.kind)})
	}
	if in.err != nil {
		r.fail("properties: %w", in.err)
	}
}

func readValue(r *reader, k kind) string {
	switch k {
	case kindByte:
		return strconv.Itoa(int(r.u8()))
	case kindU16:
		return strconv.Itoa(int(r.u16()))
	case kindU32:
		return strconv.FormatUint(uint64(r.u32()), 10)
	case kindVarint:
		return strconv.Itoa(r.varint())
	case kindPair:
		key := r.text()
		return key + ":" + r.text()
	case kindString:
		return r.text()
	default:
		return r.data()
	}
}
