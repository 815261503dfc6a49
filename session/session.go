// Package session is the MQTT state of one client: its subscriptions, its
// queue, what is in flight both ways, and the windows. It does no I/O, takes no
// lock and has no clock: whoever owns a Session serialises calls and passes
// time in as nanoseconds.
//
// Outgoing messages wait in one queue until the receive maximum leaves room,
// then stay in the in-flight list, oldest first, until the client has
// acknowledged them. Next yields what may be sent now: first what a resumed
// connection has to send again, then the queue. Packet identifiers begin at 1
// and go up by one (MQTT-2.2.1-3).
package session

import (
	"net/netip"
	"sync/atomic"

	"sallyport/packet"
)

// NeverExpires is the session expiry interval of a session without end (MQTT 5.0, 3.1.2.11.2).
const NeverExpires = 0xFFFFFFFF

// Origin is who published a message, or owns a session, as plain data that a
// store can write down. It is immutable: all messages of a connection share one.
type Origin struct {
	Realm, Name, ClientID string
	Username              string // as placeholders see it
	Listener              string
	Method                string // of authentication
	Groups, Roles         []string
	Attrs                 map[string]string
	Claims                map[string]any // as encoding/json decodes them
	Cert                  []byte         // leaf certificate in DER; nil: none
	Addr                  netip.AddrPort
	Secure                bool
	Internal              bool // the broker itself
}

// Message is an application message that is kept: queued, in flight or
// retained. It is immutable and shared by all its holders.
type Message struct {
	Topic    string
	Payload  []byte
	Props    []byte // encoded MQTT 5 properties, without length
	ExpiryAt int    // offset in Props of the message expiry interval, -1: none
	Expires  int64  // nanoseconds since 1970, 0: never
	QoS      byte
	Retain   bool
	Will     bool // it was left as a will
	Origin   *Origin

	// Memo is where the engine notes whether Origin may still publish the message;
	// 0: nothing is noted. It is no part of the message, and no store keeps it.
	Memo atomic.Uint64
}

// Size is what the message counts against limits, in bytes.
func (m *Message) Size() int { return len(m.Topic) + len(m.Payload) + len(m.Props) + messageOverhead }

const messageOverhead = 128

// maxInFlight is how many packet identifiers there are (MQTT 5.0, 2.2.1).
const maxInFlight = 65535

// Expired reports whether the message is past its expiry at now.
func (m *Message) Expired(now int64) bool { return m.Expires != 0 && now >= m.Expires }

// Left is the message expiry interval to forward at now, in seconds, rounded up
// (MQTT-3.3.2-6).
func (m *Message) Left(now int64) uint32 {
	if m.Expires == 0 || now >= m.Expires {
		return 0
	}
	return uint32((m.Expires - now + 1e9 - 1) / 1e9)
}

// Entry is a message on its way to one client.
type Entry struct {
	Msg    *Message
	QoS    byte
	Retain bool // retain flag as it will be sent
	SubIDs []uint32
	Share  any          // the shared subscription it came by, nil: none
	Seq    uint64       // its place in the session, for the store
	Held   *atomic.Bool // while true the entry may not be sent: its commit is pending
}

// State says how far an outgoing message is.
type State uint8

// The states of an outgoing QoS 1 or 2 message.
const (
	AwaitAck  State = iota // PUBLISH sent, PUBACK or PUBREC awaited
	AwaitComp              // PUBREL sent, PUBCOMP awaited
)

// Outgoing is a QoS 1 or 2 message in flight to the client.
type Outgoing struct {
	Entry
	ID    uint16
	State State

	counted    bool // its PUBLISH left on this connection and takes one of the window
	dup        bool // its PUBLISH left on an earlier one
	prev, next *Outgoing
}

// Limits bounds a session's queue. Zero values bound to nothing kept.
type Limits struct {
	Messages int
	Bytes    int
}

// Session is one client's state.
type Session struct {
	ClientID string
	Version  packet.Version
	Expiry   uint32 // seconds
	Subs     Subs
	Limits   Limits

	queue      fifo
	queueBytes int

	inflight      map[uint16]*Outgoing
	first, last   *Outgoing
	resend        *Outgoing // next one to be sent again on this connection
	inflightBytes int
	lastID        uint16
	quota, window int // PUBLISH packets that may still be sent; their maximum
	lastSeq       uint64

	incoming IDs // QoS 2 ids received and not released
}

// New makes an empty session.
func New(clientID string, lim Limits) *Session {
	return &Session{ClientID: clientID, Limits: lim}
}

// Kept reports whether the session outlives its connection.
func (s *Session) Kept() bool { return s.Expiry > 0 }

// Attach begins a connection that may have window unacknowledged PUBLISH
// packets (the client's receive maximum, MQTT-3.3.4-9); what is in flight has to be sent again.
func (s *Session) Attach(v packet.Version, window int) {
	s.Version = v
	s.quota, s.window = window, window
	for o := s.first; o != nil; o = o.next {
		o.dup = o.dup || o.counted
		o.counted = false
	}
	s.resend = s.first
}

// NextSeq numbers an entry.
func (s *Session) NextSeq() uint64 { s.lastSeq++; return s.lastSeq }

// Queued is the number of messages waiting and their bytes.
func (s *Session) Queued() (messages, bytes int) { return s.queue.len(), s.queueBytes }

// InFlight is the number of unacknowledged outgoing messages and their bytes.
func (s *Session) InFlight() (messages, bytes int) { return len(s.inflight), s.inflightBytes }

// Room reports whether a QoS 1 or 2 message could be sent at once.
func (s *Session) Room() bool {
	return s.quota > 0 && s.resend == nil && s.queue.len() == 0 && len(s.inflight) < maxInFlight
}

// Idle reports whether Next has nothing to yield.
func (s *Session) Idle() bool { return s.resend == nil && s.queue.len() == 0 }

// Fits reports whether the queue's bounds leave room for a message of size bytes.
func (s *Session) Fits(size int) bool {
	return s.queue.len() < s.Limits.Messages && s.queueBytes+size <= s.Limits.Bytes
}

// Enqueue puts e at the end of the queue. It doesn't check bounds: see Fits.
func (s *Session) Enqueue(e Entry) {
	s.queue.push(e)
	s.queueBytes += e.Msg.Size()
}

// DropOldest removes and returns the oldest queued entry.
func (s *Session) DropOldest() (Entry, bool) {
	if s.queue.len() == 0 {
		return Entry{}, false
	}
	e := s.queue.pop()
	s.queueBytes -= e.Msg.Size()
	return e, true
}

// DropHeld removes the queued entries held by h and returns how many there were and their bytes.
func (s *Session) DropHeld(h *atomic.Bool) (n, bytes int) {
	n, bytes = s.queue.removeHeld(h)
	s.queueBytes -= bytes
	return n, bytes
}

// Send is a packet that may be sent now.
type Send struct {
	Entry
	ID      uint16
	Dup     bool
	Release bool // a PUBREL, not a PUBLISH
	Fresh   bool // sent for the first time: taken from the queue
}

// Next takes what may be sent now. When the entry was taken from the queue its
// identifier is assigned and the window shrinks; ok is false if nothing may be sent.
// Expired entries are taken out and given to drop.
func (s *Session) Next(now int64, drop func(Entry)) (snd Send, ok bool) {
	if o := s.resend; o != nil {
		if o.State == AwaitComp {
			s.resend = o.next
			return Send{Entry: o.Entry, ID: o.ID, Release: true}, true
		}
		if s.quota == 0 {
			return Send{}, false
		}
		s.resend = o.next
		s.quota--
		o.counted = true
		// MQTT-3.3.1-1: DUP is set when a client is sent a message again.
		return Send{Entry: o.Entry, ID: o.ID, Dup: o.dup}, true
	}
	for s.queue.len() > 0 {
		e := s.queue.peek()
		if e.Msg.Expired(now) {
			gone := s.queue.pop()
			s.queueBytes -= gone.Msg.Size()
			drop(gone)
			continue
		}
		if e.Held != nil && e.Held.Load() || e.QoS > 0 && s.quota == 0 {
			return Send{}, false
		}
		s.queueBytes -= e.Msg.Size()
		ent := s.queue.pop()
		ent.Held = nil
		if ent.QoS == 0 {
			return Send{Entry: ent, Fresh: true}, true
		}
		id, free := s.Track(ent)
		if !free {
			s.queue.unpop(ent)
			s.queueBytes += ent.Msg.Size()
			return Send{}, false
		}
		return Send{Entry: ent, ID: id, Fresh: true}, true
	}
	return Send{}, false
}

// Track puts e in flight and assigns its identifier. ok is false if every
// identifier is in use. The caller has checked the window.
func (s *Session) Track(e Entry) (id uint16, ok bool) {
	if len(s.inflight) >= maxInFlight {
		return 0, false
	}
	for {
		s.lastID++
		if s.lastID == 0 {
			s.lastID = 1
		}
		if _, used := s.inflight[s.lastID]; !used {
			break
		}
	}
	o := &Outgoing{Entry: e, ID: s.lastID, counted: true, prev: s.last}
	if s.inflight == nil {
		s.inflight = make(map[uint16]*Outgoing, 4)
	}
	s.inflight[o.ID] = o
	if s.last != nil {
		s.last.next = o
	} else {
		s.first = o
	}
	s.last = o
	s.quota--
	s.inflightBytes += e.Msg.Size()
	return o.ID, true
}

// SetLastID says which identifier was assigned last, when a session is restored: the next one is above it.
func (s *Session) SetLastID(id uint16) { s.lastID = id }

// Outgoing returns the message in flight under id.
func (s *Session) Outgoing(id uint16) (*Outgoing, bool) {
	o, ok := s.inflight[id]
	return o, ok
}

// Forget ends the exchange of id: it was acknowledged or may not be sent any more.
func (s *Session) Forget(id uint16) (Entry, bool) {
	o, ok := s.inflight[id]
	if !ok {
		return Entry{}, false
	}
	delete(s.inflight, id)
	if s.resend == o {
		s.resend = o.next
	}
	if o.prev != nil {
		o.prev.next = o.next
	} else {
		s.first = o.next
	}
	if o.next != nil {
		o.next.prev = o.prev
	} else {
		s.last = o.prev
	}
	s.inflightBytes -= o.Msg.Size()
	// 4.9: what was not counted on this connection gives nothing back.
	if o.counted && s.quota < s.window {
		s.quota++
	}
	return o.Entry, true
}

// Hollow gives up the message of the QoS 2 exchange of id, which has begun, and
// releases it: what is left is a PUBREL, which the caller sends, and its PUBCOMP.
func (s *Session) Hollow(id uint16) (Entry, bool) {
	o, ok := s.inflight[id]
	if !ok || o.QoS != 2 {
		return Entry{}, false
	}
	s.inflightBytes -= o.Msg.Size()
	o.Msg = &Message{ExpiryAt: -1, QoS: 2}
	o.SubIDs, o.State = nil, AwaitComp
	s.inflightBytes += o.Msg.Size()
	if o.counted {
		// No PUBLISH left on this connection, so none of its window is taken.
		o.counted = false
		s.quota = min(s.quota+1, s.window)
	}
	return o.Entry, true
}

// TakeShared removes what is in flight by the shared subscription of, or by any
// where of is nil, at QoS 1, for another member.
func (s *Session) TakeShared(of any) []Entry {
	var out []Entry
	for o := s.first; o != nil; {
		next := o.next
		if o.Share != nil && (of == nil || o.Share == of) && o.QoS == 1 {
			s.Forget(o.ID)
			out = append(out, o.Entry)
		}
		o = next
	}
	return out
}

// HasIncoming reports whether QoS 2 message id was received and not yet released.
func (s *Session) HasIncoming(id uint16) bool {
	return s.incoming.Has(id)
}

// AddIncoming records QoS 2 message id.
func (s *Session) AddIncoming(id uint16) {
	s.incoming.Add(id)
}

// Release forgets QoS 2 message id and reports whether it was known.
func (s *Session) Release(id uint16) bool {
	return s.incoming.Remove(id)
}

// Incoming is the number of QoS 2 messages received and not released.
func (s *Session) Incoming() int { return s.incoming.Len() }
