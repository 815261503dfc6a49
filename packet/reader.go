package packet

import (
	"encoding/binary"

	"sallyport/internal/text"
)

// reader takes fields from the front of a packet's body. The first mistake
// stays in err and empties b, so that loops over b end and a decoder looks at
// err once; until it does, the values it was given mean nothing.
type reader struct {
	b     []byte
	what  Type // for error texts
	users int  // user properties seen in the packet
	limit int  // user properties allowed in the packet, 0: any number
	err   error
}

// fail records a refusal; field and why are words of ours, never of the peer.
func (r *reader) fail(code Code, field, why string) {
	if r.err == nil {
		r.err = &Error{Code: code, Text: r.what.String() + ": " + field + " " + why}
	}
	r.b = nil
}

// over refuses what crosses a limit of ours.
func (r *reader) over(limit string, code Code, field string) {
	if r.err == nil {
		r.err = &Error{Code: code, Text: r.what.String() + ": " + field + " are more or longer than allowed", Limit: limit}
	}
	r.b = nil
}

// end refuses bytes after the last field.
func (r *reader) end() error {
	if len(r.b) > 0 {
		r.fail(MalformedPacket, "body", "has trailing bytes")
	}
	return r.err
}

// take takes n bytes, a view.
func (r *reader) take(n int, field string) []byte {
	if n > len(r.b) {
		r.fail(MalformedPacket, field, "is cut short")
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) byte(field string) byte {
	if v := r.take(1, field); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) uint16(field string) uint16 {
	if v := r.take(2, field); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (r *reader) uint32(field string) uint32 {
	if v := r.take(4, field); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (r *reader) varint(field string) uint32 {
	v, n, ok := readVarint(r.b)
	switch {
	case !ok:
		r.fail(MalformedPacket, field, "is a malformed variable byte integer")
	case n == 0:
		r.fail(MalformedPacket, field, "is cut short")
	default:
		r.b = r.b[n:]
	}
	return v
}

// binary takes binary data (MQTT 5.0, 1.5.6), a view.
func (r *reader) binary(field string) []byte {
	return r.take(int(r.uint16(field)), field)
}

// utf8 takes a UTF-8 encoded string (MQTT 5.0, 1.5.4), a view.
func (r *reader) utf8(field string) []byte {
	v := r.binary(field)
	if !text.ValidUTF8(v) {
		r.fail(MalformedPacket, field, "is not valid UTF-8") // MQTT-1.5.4-1, -2
		return nil
	}
	return v
}

// string takes a UTF-8 encoded string, a copy.
func (r *reader) string(field string) string { return string(r.utf8(field)) }

// packetID takes a packet identifier (MQTT 5.0, 2.2.1).
func (r *reader) packetID() uint16 {
	id := r.uint16("packet identifier")
	if id == 0 && r.err == nil {
		r.fail(ProtocolError, "packet identifier", "is 0") // MQTT-2.2.1-3
	}
	return id
}
