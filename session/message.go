package session

import (
	"sync/atomic"
	"unsafe"
)

// Message is an application message that is kept: queued, in flight or
// retained. It is immutable and shared by all its holders.
type Message struct {
	Topic    string
	Payload  []byte
	Props    []byte // encoded MQTT 5 properties, without length
	ExpiryAt int    // offset in Props of the message expiry interval, -1: none
	Expires  int64  // nanoseconds since 1970, 0: never
	Origin   *Origin

	// Memo is where the engine notes whether Origin may still publish the message;
	// 0: nothing is noted. It is no part of the message, and no store keeps it.
	Memo atomic.Uint64

	// Ref is where a store has the message, for entries to come: a number of its own,
	// Inline, or 0 for nowhere yet. It is the store's.
	Ref atomic.Uint64

	QoS    byte
	Retain bool
	Will   bool          // it was left as a will
	marks  atomic.Uint32 // held, kept; above them how many entries are on their way to the store
}

// The bits of Message.marks.
const (
	msgHeld = 1 << iota
	msgKept
	msgOnItsWay = 1 << 8 // one entry
)

// Inline as Message.Ref says that the message is written with each of its entries.
const Inline = ^uint64(0)

// Kept reports whether a store has the message for all whose entries were handed to
// it, and can give it back.
func (m *Message) Kept() bool {
	v := m.marks.Load()
	return v&msgKept != 0 && v < msgOnItsWay
}

// SetKept is called by a store for a message that it gives back.
func (m *Message) SetKept() { m.marks.Or(msgKept) }

// Leaves notes that one more entry is to be handed to the store, before anybody asks
// whether it is there. Entries of one message may get there in different batches: it
// is not enough that the first has.
func (m *Message) Leaves() { m.marks.Add(msgOnItsWay) }

// Lands is called by the store for each entry that was handed to it, when it has that
// or will never have it.
func (m *Message) Lands() {
	for {
		v := m.marks.Load()
		n := v | msgKept
		if n >= msgOnItsWay {
			n -= msgOnItsWay
		}
		if m.marks.CompareAndSwap(v, n) {
			return
		}
	}
}

// NewMessage makes a message with copies of what it is given, which may view a
// buffer: one allocation, or two where it is large. It does not expire.
func NewMessage(topic string, payload, props []byte) *Message {
	m, buf := block(len(topic) + len(payload) + len(props))
	buf = append(buf, topic...)
	buf = append(buf, payload...)
	buf = append(buf, props...)
	t, p := len(topic), len(topic)+len(payload)
	m.Topic = unsafe.String(unsafe.SliceData(buf), t)
	m.Payload, m.Props = buf[t:p:p], buf[p:len(buf):len(buf)]
	m.ExpiryAt = -1
	return m
}

// block is a message and room for n bytes. Up to a size they are one allocation,
// each step of which fills one of the runtime's size classes; beyond it zeroing
// so many bytes would cost more than a second allocation, which needs none.
func block(n int) (*Message, []byte) {
	switch {
	case n <= 16:
		b := new(struct {
			Message
			data [16]byte
		})
		return &b.Message, b.data[:0]
	case n <= 48:
		b := new(struct {
			Message
			data [48]byte
		})
		return &b.Message, b.data[:0]
	case n <= 96:
		b := new(struct {
			Message
			data [96]byte
		})
		return &b.Message, b.data[:0]
	case n <= 144:
		b := new(struct {
			Message
			data [144]byte
		})
		return &b.Message, b.data[:0]
	case n <= 272:
		b := new(struct {
			Message
			data [272]byte
		})
		return &b.Message, b.data[:0]
	case n <= 400:
		b := new(struct {
			Message
			data [400]byte
		})
		return &b.Message, b.data[:0]
	case n <= 648:
		b := new(struct {
			Message
			data [648]byte
		})
		return &b.Message, b.data[:0]
	case n <= 904:
		b := new(struct {
			Message
			data [904]byte
		})
		return &b.Message, b.data[:0]
	}
	return new(Message), make([]byte, 0, n)
}

// Size is what the message counts against limits, in bytes.
func (m *Message) Size() int { return Size(m.Topic, m.Payload, m.Props) }

// Size is Message.Size of a message with these parts.
func Size(topic string, payload, props []byte) int {
	return SizeOf(len(topic), len(payload), len(props))
}

// SizeOf is Size of parts with these lengths.
func SizeOf(topic, payload, props int) int { return topic + payload + props + messageOverhead }

const messageOverhead = 128

// Hold keeps the message's QoS 2 entries from being sent, but those that are Free:
// its commit is pending.
func (m *Message) Hold() { m.marks.Or(msgHeld) }

func (m *Message) held() bool { return m.marks.Load()&msgHeld != 0 }

// Unhold lets them go.
func (m *Message) Unhold() { m.marks.And(^uint32(msgHeld)) }

// Expired reports whether the message is past its expiry at now.
func (m *Message) Expired(now int64) bool { return m.Expires != 0 && now >= m.Expires }

// Left is the message expiry interval to forward at now, in seconds, rounded up
// (MQTT-3.3.2-6).
func (m *Message) Left(now int64) uint32 { return Left(m.Expires, now) }

// Left is Message.Left of a message that expires at the given time.
func Left(expires, now int64) uint32 {
	if expires == 0 || now >= expires {
		return 0
	}
	return uint32((expires - now + 1e9 - 1) / 1e9)
}
