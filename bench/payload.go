package bench

import (
	"encoding/binary"
	"fmt"

	"sallyport/packet"
)

// headerSize is the number of bytes at the start of each payload that verify it.
const headerSize = 28

// stamp is the header of a payload.
type stamp struct {
	run       uint64
	publisher uint32
	sequence  uint64
	at        int64 // nanoseconds since the run's start: sent, or due
}

func (s *stamp) put(b []byte) {
	_ = b[headerSize-1]
	binary.BigEndian.PutUint64(b, s.run)
	binary.BigEndian.PutUint32(b[8:], s.publisher)
	binary.BigEndian.PutUint64(b[12:], s.sequence)
	binary.BigEndian.PutUint64(b[20:], uint64(s.at))
}

// readStamp returns the header of payload; ok is false for one that is no
// message of a run.
func readStamp(payload []byte) (s stamp, ok bool) {
	if len(payload) < headerSize {
		return s, false
	}
	return stamp{
		run:       binary.BigEndian.Uint64(payload),
		publisher: binary.BigEndian.Uint32(payload[8:]),
		sequence:  binary.BigEndian.Uint64(payload[12:]),
		at:        int64(binary.BigEndian.Uint64(payload[20:])),
	}, true
}

// pattern is what a payload of size bytes holds behind its header: something
// that no other offset of it repeats soon, so that cut or moved bytes show.
func pattern(size int) []byte {
	b := make([]byte, max(0, size-headerSize))
	for i := range b {
		b[i] = byte(i*167 + i>>8)
	}
	return b
}

// topicDigits is the width of the number at the end of a numbered topic.
const topicDigits = 9

// topicNumbers is how many numbers there are of that width.
const topicNumbers = 1_000_000_000

// template is a PUBLISH of fixed size whose varying bytes are patched.
type template struct {
	frame    []byte
	topic    string // without the number
	digitsAt int    // of the topic's number; -1: the topic is the same for all
	idAt     int    // of the packet identifier; -1 at QoS 0
	stampAt  int
}

// newTemplate encodes once. For a numbered topic the sequence number, modulo
// count, is appended to topic in topicDigits decimal digits.
func newTemplate(v packet.Version, topic string, numbered bool, qos byte, retain bool, payload int) template {
	t := template{topic: topic, digitsAt: -1, idAt: -1}
	if numbered {
		topic += fmt.Sprintf("%0*d", topicDigits, 0)
	}
	out := packet.PublishOut{QoS: qos, Retain: retain, Topic: topic, ExpiryAt: -1, Payload: make([]byte, payload)}
	copy(out.Payload[headerSize:], pattern(payload))
	if qos > 0 {
		out.PacketID = 1
	}
	t.frame = packet.AppendPublish(nil, v, &out)
	_, n, _ := packet.ReadHeader(t.frame) // our own encoding
	topicEnd := n + 2 + len(topic)
	if numbered {
		t.digitsAt = topicEnd - topicDigits
	}
	if qos > 0 {
		t.idAt = topicEnd
	}
	t.stampAt = len(t.frame) - payload
	return t
}

// names reports whether topic is the template's with this number.
func (t *template) names(topic []byte, number uint64) bool {
	n := len(t.topic)
	if len(topic) < n || string(topic[:n]) != t.topic {
		return false
	}
	if t.digitsAt < 0 {
		return len(topic) == n
	}
	if len(topic) != n+topicDigits {
		return false
	}
	var read uint64
	for _, c := range topic[n:] {
		if c -= '0'; c > 9 {
			return false
		}
		read = read*10 + uint64(c)
	}
	return read == number%topicNumbers
}

// append adds the message s to dst under packet identifier id.
func (t *template) append(dst []byte, s *stamp, id uint16, number uint64) []byte {
	start := len(dst)
	dst = append(dst, t.frame...)
	frame := dst[start:]
	if t.digitsAt >= 0 {
		for i := t.digitsAt + topicDigits - 1; i >= t.digitsAt; i-- {
			frame[i] = byte('0' + number%10)
			number /= 10
		}
	}
	if t.idAt >= 0 {
		binary.BigEndian.PutUint16(frame[t.idAt:], id)
	}
	s.put(frame[t.stampAt:])
	return dst
}
