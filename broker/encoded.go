package broker

import (
	"encoding/binary"

	"sallyport/packet"
)

// A message for many is encoded once for all who get the same bytes but for the
// packet identifier. For the first of them it is encoded in place, since most
// messages have one receiver; for the second into the turn, from where it is
// copied to all others.

// maxEncoded bounds the payload of a message of which a turn keeps a copy, in
// bytes: with a larger one, encoding costs little beside copying.
const maxEncoded = 16 << 10

// encoding is where an inbound message is encoded. The zero encoding is nowhere.
type encoding struct {
	by *turn
	n  uint64 // as turn.encodings was then
}

// variant is equal for copies that have the same bytes but for the packet
// identifier; 0 for one that is like no other.
func (cp *dispatch) variant(v packet.Version) uint8 {
	if cp.via != nil {
		return 0
	}
	n := 1 | cp.qos<<1
	if cp.retain {
		n |= 1 << 3
	}
	if v == packet.V5 {
		n |= 1 << 4
	}
	return n
}

// again reports whether the copy before this one was of the variant v, so that
// others may be as well.
func (in *inbound) again(v uint8) bool {
	if v == in.variant && v != 0 && len(in.payload) <= maxEncoded {
		return true
	}
	in.variant, in.encoding = v, encoding{}
	return false
}

// writeAgain is write for a copy of a variant that was written before. The caller holds c.mu.
func (c *Conn) writeAgain(t *turn, cp *dispatch, id uint16) {
	if cp.in.encoding != (encoding{t, t.encodings}) {
		f := cp.frame(t.now)
		t.frame = packet.AppendPublish(t.frame[:0], c.version, &f)
		_, n, _ := packet.ReadHeader(t.frame)
		t.frameID = n + 2 + len(f.Topic)
		t.encodings++
		cp.in.encoding = encoding{t, t.encodings}
	}
	c.room(len(t.frame))
	at := len(c.out) + t.frameID
	c.out = append(c.out, t.frame...)
	if cp.qos > 0 {
		binary.BigEndian.PutUint16(c.out[at:], id)
	}
	c.wrote(t)
}
