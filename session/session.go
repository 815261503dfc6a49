// Package session is the MQTT state of one client: its subscriptions, its
// queue, what is in flight both ways, and the windows. It does no I/O, takes no
// lock and has no clock: whoever owns a Session serialises calls and passes
// time in as nanoseconds.
//
// Outgoing messages wait in one queue until the receive maximum leaves room,
// then stay in flight until the client has acknowledged them. Next yields what
// may be sent now: first what a resumed connection has to send again, in the
// order in which it was sent, then the queue. Packet identifiers begin at 1 and
// go up by one (MQTT-2.2.1-3).
package session

import (
	"net/netip"

	"sallyport/packet"
)

// NeverExpires is the session expiry interval of a session without end (MQTT 5.0, 3.1.2.11.2).
const NeverExpires = 0xFFFFFFFF

// Origin is who published a message, or owns a session, as plain data that a
// store can write down. It is immutable: all messages of a connection share one.
type Origin struct {
	Realm, Name, ClientID string
	Listener              string
	Method                string // of authentication
	Groups, Roles         []string
	Attrs                 map[string]string
	Claims                map[string]any // as encoding/json decodes them
	Cert                  []byte         // leaf certificate in DER; nil: none
	Addr                  netip.AddrPort
	Secure                bool
	Internal              bool         // the broker itself
	Account               uint64       `json:",omitempty"` // version of the account that was asked about it
	Token                 *OriginToken `json:",omitempty"` // of a token that vouched for it; nil: none did
}

// OriginToken is what is kept of a token, which it is known by again.
type OriginToken struct {
	ID, Issuer string
	Key        []byte `json:",omitempty"` // thumbprint of the key that verified it; nil of a secret
	Secret     bool   `json:",omitempty"` // the key is a secret one: guesses at it could be held against a thumbprint
	KeyID      string `json:",omitempty"` // of a secret key, its kid
}

// maxInFlight is how many packet identifiers there are (MQTT 5.0, 2.2.1).
const maxInFlight = 65535

// Via is how a message comes to a client: the same for all that come by one
// subscription, which share it. It is immutable; nil says nothing of the kind.
type Via struct {
	SubIDs []uint32 // subscription identifiers to send
	Share  any      // the shared subscription, nil: none
}

// IDs is the subscription identifiers of v.
func (v *Via) IDs() []uint32 {
	if v == nil {
		return nil
	}
	return v.SubIDs
}

// Entry is a message on its way to one client. Where many wait some are without
// their Msg, which a store has.
type Entry struct {
	Msg    *Message
	Via    *Via
	Seq    uint64 // its place in the session, for the store; a later one's is higher
	size   uint32 // of Msg, where that is nil
	QoS    byte
	Retain bool // retain flag as it will be sent
	Free   bool // it waits for no commit, though others of its message may: see Message.Hold
}

// Size is what the entry counts against limits, in bytes.
func (e *Entry) Size() int {
	if e.Msg == nil {
		return int(e.size)
	}
	return e.Msg.Size()
}

// Stored is where the store has the message apart from the entry; 0 for nowhere.
// known is false for an entry without its Msg.
func (e *Entry) Stored() (ref uint64, known bool) {
	if e.Msg == nil {
		return 0, false
	}
	if ref = e.Msg.Ref.Load(); ref == Inline {
		ref = 0
	}
	return ref, true
}

// SetSize makes e an entry without its Msg, which has this size.
func (e *Entry) SetSize(size int) { e.Msg, e.size = nil, uint32(size) }

// Held reports whether the entry may not be sent yet: see Message.Hold.
func (e *Entry) Held() bool { return e.QoS == 2 && !e.Free && e.Msg != nil && e.Msg.held() }

// shared reports whether the entry came by the shared subscription of, or by any
// where of is nil.
func (v *Via) shared(of any) bool {
	return v != nil && v.Share != nil && (of == nil || v.Share == of)
}

// State says how far an outgoing message is.
type State uint8

// The states of an outgoing QoS 1 or 2 message.
const (
	AwaitAck  State = iota // PUBLISH sent, PUBACK or PUBREC awaited
	AwaitComp              // PUBREL sent, PUBCOMP awaited
)

// Outgoing is a QoS 1 or 2 message in flight to the client: an Entry with its
// identifier, laid out so that a table of them is small.
type Outgoing struct {
	Msg    *Message
	Via    *Via
	Seq    uint64
	ID     uint16
	QoS    byte
	Retain bool
	State  State

	marks outMark
}

// outMark is a set of marks.
type outMark uint8

const (
	outCounted outMark = 1 << iota // its PUBLISH takes one of this connection's window
	outDup                         // its PUBLISH left on an earlier one
	outAgain                       // it has to be sent, again or for the first time: see Prepare
	outHeld                        // not before Ready
	outFresh                       // its PUBLISH has never left
)

func (o *Outgoing) is(m outMark) bool { return o.marks&m != 0 }
func (o *Outgoing) set(m outMark)     { o.marks |= m }
func (o *Outgoing) clear(m outMark)   { o.marks &^= m }

// Fresh reports whether its PUBLISH has never left.
func (o *Outgoing) Fresh() bool { return o.is(outFresh) }

func (o *Outgoing) entry() Entry {
	return Entry{Msg: o.Msg, Via: o.Via, Seq: o.Seq, QoS: o.QoS, Retain: o.Retain}
}

// Session is one client's state. The zero Session is one that has just begun.
type Session struct {
	Number  uint64 // by which a store knows it; 0: by none
	Version packet.Version
	lastID  uint16
	Expiry  uint32 // seconds
	Subs    Subs

	quota, window int32 // PUBLISH packets that may still be sent; their maximum
	lastSeq       uint64

	*traffic // nil until there is some
}

// traffic is what a session needs for messages beyond QoS 0 and for those that
// wait. Most sessions have none.
type traffic struct {
	queue      fifo
	queueBytes int

	inflight      flights
	inflightBytes int
	resend        []uint16 // identifiers to be sent before the queue, as far as they still are
	again         int32    // how many that are

	counted      int32 // messages of the queue that Count has told of
	countedBytes int   // bytes of queue and flights that it has told of

	incoming *IDs // QoS 2 ids received and not released; nil: none yet

	paging *paging // nil: the whole queue is in queue
}

// moving is the session's traffic, which begins if it hasn't.
func (s *Session) moving() *traffic {
	if s.traffic == nil {
		s.traffic = &traffic{}
	}
	return s.traffic
}

// Kept reports whether the session outlives its connection.
func (s *Session) Kept() bool { return s.Expiry > 0 }

// Attach begins a connection that may have window unacknowledged PUBLISH
// packets (the client's receive maximum, MQTT-3.3.4-9); what is in flight has to be sent again.
func (s *Session) Attach(v packet.Version, window int) {
	s.Version = v
	s.quota, s.window = int32(window), int32(window)
	if s.traffic == nil {
		return
	}
	s.inflight.each(func(o *Outgoing) {
		if o.is(outCounted) && !o.is(outFresh) {
			o.set(outDup)
		}
		o.clear(outCounted)
		o.set(outAgain)
	})
	s.resend, s.again = s.inflight.sent(), int32(s.inflight.n)
	if s.paging != nil {
		s.paging.reading = false // what could not be read is asked for again
	}
}

// NextSeq numbers an entry.
func (s *Session) NextSeq() uint64 { s.lastSeq++; return s.lastSeq }

// Queued is the number of messages waiting and their bytes.
func (s *Session) Queued() (messages, bytes int) {
	if s.traffic == nil {
		return 0, 0
	}
	return s.waiting(), s.queueBytes
}

// InFlight is the number of unacknowledged outgoing messages and their bytes.
func (s *Session) InFlight() (messages, bytes int) {
	if s.traffic == nil {
		return 0, 0
	}
	return s.inflight.n, s.inflightBytes
}

// CountStep is how many bytes in flight Count need not tell of.
const CountStep = 2048

// Count is how many messages more the queue has than when Count was called last,
// and how many bytes more it has together with what is in flight. Bytes in flight
// alone are told of in steps, since they come and go with each message.
func (s *Session) Count() (messages, bytes int) {
	t := s.traffic
	if t == nil {
		return 0, 0
	}
	held := t.queueBytes + t.inflightBytes
	if t.paging != nil {
		held -= t.paging.bytes
	}
	messages, bytes = t.waiting()-int(t.counted), held-t.countedBytes
	if messages == 0 && held > 0 && bytes <= CountStep && bytes >= -CountStep {
		bytes = 0
	}
	t.counted += int32(messages)
	t.countedBytes += bytes
	return messages, bytes
}

// Counted is the sum of all that Count has told of.
func (s *Session) Counted() (messages, bytes int) {
	if s.traffic == nil {
		return 0, 0
	}
	return int(s.counted), s.countedBytes
}

// Room reports whether a QoS 1 or 2 message could be sent at once.
func (s *Session) Room() bool {
	return s.quota > 0 && s.Idle() && (s.traffic == nil || s.inflight.n < maxInFlight)
}

// Idle reports whether Next has nothing to yield.
func (s *Session) Idle() bool {
	return s.traffic == nil || s.again == 0 && s.waiting() == 0
}

// Fits reports whether a queue of at most so many messages and bytes has room for
// another message of size bytes.
func (s *Session) Fits(size, messages, bytes int) bool {
	n, waiting := s.Queued()
	return n < messages && waiting+size <= bytes
}

// Enqueue puts e at the end of the queue. It checks no bounds: see Fits.
func (s *Session) Enqueue(e Entry) {
	s.moving().push(&e)
}

// DropOldest removes and returns the oldest queued entry.
func (s *Session) DropOldest() (Entry, bool) {
	if n, _ := s.Queued(); n == 0 {
		return Entry{}, false
	}
	return s.traffic.pop(), true
}

// DropHeld removes the queued entries that m holds and returns how many there were and their bytes.
func (s *Session) DropHeld(m *Message) (n, bytes int) {
	if s.traffic == nil {
		return 0, 0
	}
	n, bytes = s.queue.removeHeld(m)
	if p := s.paging; p != nil {
		p.frontBytes -= bytes
		more, moreBytes := p.tail.removeHeld(m)
		n, bytes = n+more, bytes+moreBytes
	}
	s.queueBytes -= bytes
	for _, id := range s.prepared(m) {
		s.Forget(id)
		n, bytes = n+1, bytes+m.Size()
	}
	return n, bytes
}

// prepared is the flights of m that never left.
func (t *traffic) prepared(m *Message) (ids []uint16) {
	t.inflight.each(func(o *Outgoing) {
		if o.is(outFresh) && o.Msg == m {
			ids = append(ids, o.ID)
		}
	})
	return ids
}

// Send is a packet that may be sent now.
type Send struct {
	Entry
	ID      uint16
	Dup     bool
	Release bool // a PUBREL, not a PUBLISH
	Fresh   bool // sent for the first time
}

// Next takes what may be sent now. When the entry was taken from the queue its
// identifier is assigned and the window shrinks; ok is false if nothing may be sent.
// Expired entries are taken out and given to drop.
func (s *Session) Next(now int64, drop func(Entry)) (snd Send, ok bool) {
	if s.traffic == nil {
		return Send{}, false
	}
	if s.again > 0 {
		return s.nextAgain()
	}
	for s.queue.len() > 0 {
		e := s.queue.peek()
		if e.Msg.Expired(now) {
			drop(s.traffic.pop())
			continue
		}
		if e.Held() || e.QoS > 0 && s.quota == 0 {
			return Send{}, false
		}
		if e.QoS == 2 && s.Number != 0 {
			return Send{}, false // see Prepare
		}
		ent := s.traffic.pop()
		if ent.QoS == 0 {
			return Send{Entry: ent, Fresh: true}, true
		}
		id, free := s.Track(ent)
		if !free {
			s.unpop(&ent)
			return Send{}, false
		}
		return Send{Entry: ent, ID: id, Fresh: true}, true
	}
	return Send{}, false
}

// Prepare puts e in flight without sending it, since its identifier has to be kept
// first: Next yields it, in its turn, once Ready was called, or if held is false once
// its message is not held any more. ok is as with Track.
func (s *Session) Prepare(e Entry, held bool) (id uint16, ok bool) {
	id, ok = s.Track(e)
	if ok {
		o := s.inflight.find(id)
		o.set(outFresh | outAgain)
		if held {
			o.set(outHeld)
		}
		s.again++
		s.resend = append(s.resend, id)
	}
	return id, ok
}

// CanPrepare reports whether there is room for Prepare, with nothing in the queue before.
func (s *Session) CanPrepare() bool {
	return s.quota > 0 && (s.traffic == nil || s.waiting() == 0 && s.inflight.n < maxInFlight)
}

// PrepareNext is Prepare, held, for the entry at the head of the queue, if Next would
// yield it but for that.
func (s *Session) PrepareNext(now int64) (e Entry, id uint16, ok bool) {
	if s.traffic == nil || s.queue.len() == 0 || s.quota == 0 {
		return Entry{}, 0, false
	}
	if h := s.queue.peek(); h.QoS != 2 || h.Held() || h.Msg.Expired(now) {
		return Entry{}, 0, false
	}
	e = s.traffic.pop()
	if id, ok = s.Prepare(e, true); !ok {
		s.unpop(&e)
	}
	return e, id, ok
}

// Hold keeps the exchange of id, which is in flight, from going on before Ready.
func (s *Session) Hold(id uint16) {
	if o, known := s.Outgoing(id); known {
		o.set(outHeld)
	}
}

// Ready ends the wait of the exchange of id with the entry seq: what was to be kept
// of it is. It returns it, nil if it is over; again says that Next has it.
func (s *Session) Ready(id uint16, seq uint64) (o *Outgoing, again bool) {
	o, known := s.Outgoing(id)
	if !known || o.Seq != seq {
		return nil, false
	}
	o.clear(outHeld)
	return o, o.is(outAgain)
}

// nextAgain is Next while there is something to be sent again.
func (s *Session) nextAgain() (snd Send, ok bool) {
	o := s.inflight.find(s.resend[0])
	for o == nil || !o.is(outAgain) { // over meanwhile
		s.resend = s.resend[1:]
		o = s.inflight.find(s.resend[0])
	}
	if o.is(outHeld) || o.QoS == 2 && o.Msg.held() {
		return Send{}, false
	}
	if o.State != AwaitComp && !o.is(outCounted) {
		if s.quota == 0 {
			return Send{}, false
		}
		s.quota--
		o.set(outCounted)
	}
	fresh := o.is(outFresh)
	o.clear(outFresh)
	s.resend = s.resend[1:]
	s.sentAgain(o)
	if o.State == AwaitComp {
		return Send{Entry: o.entry(), ID: o.ID, Release: true}, true
	}
	// MQTT-3.3.1-1: DUP is set when a client is sent a message again.
	return Send{Entry: o.entry(), ID: o.ID, Dup: o.is(outDup), Fresh: fresh}, true
}

// sentAgain notes that o need not be sent again any more.
func (t *traffic) sentAgain(o *Outgoing) {
	if !o.is(outAgain) {
		return
	}
	o.clear(outAgain)
	if t.again--; t.again == 0 {
		t.resend = nil
	}
}

// Track puts e in flight and assigns its identifier. ok is false if every
// identifier is in use. The caller has checked the window.
func (s *Session) Track(e Entry) (id uint16, ok bool) {
	t := s.moving()
	if t.inflight.n >= maxInFlight {
		return 0, false
	}
	o := t.inflight.add(s.lastID)
	o.Msg, o.Via, o.Seq, o.QoS, o.Retain, o.marks = e.Msg, e.Via, e.Seq, e.QoS, e.Retain, outCounted
	s.lastID = o.ID
	s.quota--
	t.inflightBytes += e.Msg.Size()
	return o.ID, true
}

// Restore puts back what an earlier process had of the session: in flight under id,
// or with id 0 at the end of the queue, without its message. Entries come in the
// order of their Seq. One whose identifier a later one has was acknowledged, since it
// was used again: it is taken out, and returned as over.
func (s *Session) Restore(e Entry, id uint16, state State) (over Entry, some bool) {
	s.lastSeq = max(s.lastSeq, e.Seq)
	if id == 0 {
		e.SetSize(e.Size())
		s.Enqueue(e)
		return Entry{}, false
	}
	over, some = s.Forget(id)
	t := s.moving()
	o := t.inflight.add(id - 1)
	o.Msg, o.Via, o.Seq, o.QoS, o.Retain, o.State = e.Msg, e.Via, e.Seq, e.QoS, e.Retain, state
	o.set(outDup) // it may have been sent
	s.lastID = id
	t.inflightBytes += e.Msg.Size()
	return over, some
}

// SetLastSeq says that entries were numbered up to seq.
func (s *Session) SetLastSeq(seq uint64) { s.lastSeq = max(s.lastSeq, seq) }

// SetLastID says which identifier was assigned last: the next one is above it.
func (s *Session) SetLastID(id uint16) { s.lastID = id }

// Outgoing returns the message in flight under id. It is valid until the next
// Track or Forget.
func (s *Session) Outgoing(id uint16) (*Outgoing, bool) {
	if s.traffic == nil {
		return nil, false
	}
	o := s.inflight.find(id)
	return o, o != nil
}

// Forget ends the exchange of id: it was acknowledged or may not be sent any more.
func (s *Session) Forget(id uint16) (Entry, bool) {
	t := s.traffic
	if t == nil {
		return Entry{}, false
	}
	o := t.inflight.find(id)
	if o == nil {
		return Entry{}, false
	}
	e := o.entry()
	t.inflightBytes -= e.Msg.Size()
	// 4.9: what was not counted on this connection gives nothing back.
	if o.is(outCounted) && s.quota < s.window {
		s.quota++
	}
	t.sentAgain(o)
	t.inflight.remove(o)
	return e, true
}

// Trim gives back what the session keeps for messages to come, where there is
// none at present. Nothing is lost by it but the time to allocate it again.
func (s *Session) Trim() {
	t := s.traffic
	if t == nil {
		return
	}
	t.queue.trim()
	t.inflight.trim()
	if s.Incoming() == 0 {
		t.incoming = nil
	}
	if t.waiting() == 0 && t.inflight.n == 0 && t.incoming == nil && t.countedBytes == 0 && t.counted == 0 {
		s.traffic = nil
	}
}

// Hollow gives up the message of the QoS 2 exchange of id, which has begun, and
// releases it: what is left is a PUBREL, which the caller sends, and its PUBCOMP.
func (s *Session) Hollow(id uint16) (Entry, bool) {
	o, known := s.Outgoing(id)
	if !known || o.QoS != 2 {
		return Entry{}, false
	}
	s.inflightBytes -= o.Msg.Size()
	hollow := &Message{ExpiryAt: -1, QoS: 2}
	hollow.Ref.Store(o.Msg.Ref.Load())
	o.Msg = hollow
	o.Via, o.State = nil, AwaitComp
	s.inflightBytes += o.Msg.Size()
	if o.is(outCounted) {
		// No PUBLISH left on this connection, so none of its window is taken.
		o.clear(outCounted)
		s.quota = min(s.quota+1, s.window)
	}
	return o.entry(), true
}

// TakeShared removes what is in flight by the shared subscription of, or by any
// where of is nil, at QoS 1, for another member: in the order in which it was sent.
func (s *Session) TakeShared(of any) []Entry {
	if s.traffic == nil {
		return nil
	}
	var out []Entry
	some := false
	s.inflight.each(func(o *Outgoing) { some = some || o.QoS == 1 && o.Via.shared(of) })
	if !some {
		return nil
	}
	for _, id := range s.inflight.sent() {
		if o := s.inflight.find(id); o.QoS == 1 && o.Via.shared(of) {
			e, _ := s.Forget(id)
			out = append(out, e)
		}
	}
	return out
}

// HasIncoming reports whether QoS 2 message id was received and not yet released.
func (s *Session) HasIncoming(id uint16) bool {
	return s.Incoming() > 0 && s.incoming.Has(id)
}

// AddIncoming records QoS 2 message id.
func (s *Session) AddIncoming(id uint16) {
	t := s.moving()
	if t.incoming == nil {
		t.incoming = &IDs{}
	}
	t.incoming.Add(id)
}

// Release forgets QoS 2 message id and reports whether it was known.
func (s *Session) Release(id uint16) bool {
	return s.Incoming() > 0 && s.incoming.Remove(id)
}

// Incoming is the number of QoS 2 messages received and not released.
func (s *Session) Incoming() int {
	if s.traffic == nil || s.incoming == nil {
		return 0
	}
	return s.incoming.Len()
}
