package packet

import "encoding/binary"

// MaxRemainingLength is the largest remaining length, in bytes, that a fixed
// header can hold (MQTT 5.0, 2.1.4).
const MaxRemainingLength = 268_435_455

// maxString is the largest length in bytes of a string or binary field.
const maxString = 65_535

// ReadHeader decodes the fixed header at the start of b. n is its length in
// bytes; n 0 with a nil error means that more bytes are needed. It refuses, as
// malformed and as early as the bytes tell, the reserved type 0, a CONNECT with
// flags, and a remaining length that is longer than four bytes or than it needs
// to be (MQTT-1.5.5-1). The flags of the other types are judged by their
// decoders, and whether Length is too large by the caller, before it buffers
// anything.
func ReadHeader(b []byte) (h Header, n int, err error) {
	if len(b) == 0 {
		return Header{}, 0, nil
	}
	h.Type, h.Flags = Type(b[0]>>4), b[0]&0x0F
	switch {
	case h.Type == 0:
		return Header{}, 0, &Error{Code: MalformedPacket, Text: "packet type 0 is reserved"}
	case h.Type == CONNECT && h.Flags != 0: // MQTT-2.1.3-1
		return Header{}, 0, &Error{Code: MalformedPacket, Text: "CONNECT: reserved flags are set"}
	}
	length, k, ok := readVarint(b[1:])
	switch {
	case !ok:
		return Header{}, 0, &Error{Code: MalformedPacket, Text: h.Type.String() + ": remaining length is malformed"}
	case k == 0:
		return Header{}, 0, nil
	}
	h.Length = int(length)
	return h, 1 + k, nil
}

// readVarint decodes the variable byte integer at the start of b (MQTT 5.0,
// 1.5.5) and its length n. n 0 means that bytes are missing; ok is false when
// no further byte could make it well-formed.
func readVarint(b []byte) (v uint32, n int, ok bool) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint32(b[0]), 1, true
	}
	for i, c := range b[:min(len(b), 4)] {
		v |= uint32(c&0x7F) << (7 * i)
		switch {
		case c == 0 && i > 0: // the byte before would have sufficed: MQTT-1.5.5-1
			return 0, 0, false
		case c < 0x80:
			return v, i + 1, true
		}
	}
	return 0, 0, len(b) < 4
}

// appendVarint appends v, at most MaxRemainingLength, as a variable byte integer.
func appendVarint(dst []byte, v uint32) []byte {
	for v >= 0x80 {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v))
}

// varintSize is the encoded length of v in bytes.
func varintSize(v int) int {
	switch {
	case v < 1<<7:
		return 1
	case v < 1<<14:
		return 2
	case v < 1<<21:
		return 3
	}
	return 4
}

// begin appends the first byte of a packet and room for a remaining length of
// one byte; end completes it with the offset at which begin was called.
func begin(dst []byte, t Type, flags byte) []byte {
	return append(dst, byte(t)<<4|flags, 0)
}

// end writes the remaining length of the packet that starts at dst[start]. A
// packet too long for any remaining length is taken back.
func end(dst []byte, start int) []byte {
	if len(dst)-start-2 > MaxRemainingLength {
		return dst[:start]
	}
	return endLength(dst, start+1)
}

// endLength turns the one byte of room at dst[at] into the variable byte
// integer that holds the length of all that follows it.
func endLength(dst []byte, at int) []byte {
	n := len(dst) - at - 1
	if n < 0x80 {
		dst[at] = byte(n)
		return dst
	}
	k := varintSize(n)
	dst = append(dst, make([]byte, k-1)...)
	copy(dst[at+k:], dst[at+1:at+1+n])
	appendVarint(dst[:at], uint32(n))
	return dst
}

// checkFlags refuses reserved flags that differ from the value the standard
// gives them (MQTT-2.1.3-1): 2 for PUBREL, SUBSCRIBE and UNSUBSCRIBE, else 0.
// In MQTT 3.1 the three are ordinary QoS 1 messages and may carry DUP when they
// are sent again (MQTT 3.1, 2.1).
func checkFlags(v Version, t Type, flags byte) error {
	var want byte
	if t == PUBREL || t == SUBSCRIBE || t == UNSUBSCRIBE {
		want = 2
		if v == V31 {
			flags &^= 8
		}
	}
	if flags != want {
		return &Error{Code: MalformedPacket, Text: t.String() + ": reserved flags have the wrong value"}
	}
	return nil
}

// appendString appends s with its length in two bytes. A longer string than
// the format can hold is cut, since a length that lies would let its rest be
// read as another field; callers that care check before.
func appendString[T ~string | ~[]byte](dst []byte, s T) []byte {
	n := encodable(s)
	dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	return append(dst, s[:n]...)
}

// encodable is how many bytes of s a field can hold: all of them, or as many up
// to 65,535 as do not end within a character if s is UTF-8.
func encodable[T ~string | ~[]byte](s T) int {
	if len(s) <= maxString {
		return len(s)
	}
	for i := maxString; i > maxString-4; i-- {
		if s[i]&0xC0 != 0x80 { // s[i] begins a character
			return i
		}
	}
	return maxString
}
