package disk

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"unsafe"

	"sallyport/session"
)

// errRecord says that a record can't be read.
var errRecord = errors.New("malformed record")

// errPlace says that a record is about messages that another is about.
var errPlace = fmt.Errorf("it is in another's place: %w", errRecord)

// Every record begins with the version of its form.
const recordVersion = 1

// The bits of the first byte of a message.
const (
	msgRetain = 1 << iota
	msgWill
	msgExpires
	msgOrigin
	msgSameTopic  // in a bundle: as the message before it,
	msgSameOrigin // likewise

	msgFlags = 1<<iota - 1
)

// The bits of the first byte of an entry.
const (
	entryRetain = 1 << iota
	entryShared // by a shared subscription
	entryApart  // the message has a record of its own
	entryFlown  // it has a packet identifier

	entryFlags  = 1<<iota - 1
	entryBundle = 1 << 7 // instead: several entries follow, and before them their number
)

// The bits of a session's flags.
const sessionGroup = 1 // it is of a shared subscription

func appendText[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// appendMessage encodes m with the hash of its publisher.
func appendMessage(b []byte, m *session.Message, origin *[hashBytes]byte) []byte {
	return appendMessageLike(b, m, origin, 0)
}

// appendMessageLike is appendMessage for a message that has something in common
// with the one before it: the flags same.
func appendMessageLike(b []byte, m *session.Message, origin *[hashBytes]byte, same byte) []byte {
	flags := same
	if m.Retain {
		flags |= msgRetain
	}
	if m.Will {
		flags |= msgWill
	}
	if m.Expires != 0 {
		flags |= msgExpires
	}
	if m.Origin != nil {
		flags |= msgOrigin
	}
	b = append(b, flags, m.QoS)
	if same&msgSameTopic == 0 {
		b = appendText(b, m.Topic)
	}
	b = appendText(b, m.Payload)
	b = appendText(b, m.Props)
	if flags&msgExpires != 0 {
		b = binary.AppendUvarint(b, uint64(m.Expires))
		b = binary.AppendUvarint(b, uint64(m.ExpiryAt+1))
	}
	if flags&msgOrigin != 0 && same&msgSameOrigin == 0 {
		b = appendText(b, origin[:])
	}
	return b
}

// appendEntry encodes what an entry says beside its message, which follows it, or
// its number. id is its packet identifier, 0 for none yet.
func appendEntry(b []byte, e *session.Entry, id uint16, apart uint64) []byte {
	flags := byte(0)
	if e.Retain {
		flags |= entryRetain
	}
	share := shareFilter(e.Via)
	if share != "" {
		flags |= entryShared
	}
	if apart != 0 {
		flags |= entryApart
	}
	if id != 0 {
		flags |= entryFlown
	}
	b = append(b, flags, e.QoS)
	if id != 0 {
		b = binary.BigEndian.AppendUint16(b, id)
	}
	ids := e.Via.IDs()
	b = binary.AppendUvarint(b, uint64(len(ids)))
	for _, id := range ids {
		b = binary.AppendUvarint(b, uint64(id))
	}
	if share != "" {
		b = appendText(b, share)
	}
	if apart != 0 {
		b = binary.AppendUvarint(b, apart)
	}
	return b
}

// shareFilter is the shared subscription that an entry comes by, as its filter;
// empty if by none.
func shareFilter(v *session.Via) string {
	if v == nil {
		return ""
	}
	if f, ok := v.Share.(interface{ ShareFilter() string }); ok {
		return f.ShareFilter()
	}
	return ""
}

// reader takes a record apart. What it returns views the record. After an error
// everything is empty, and err says so.
type reader struct {
	rest []byte
	err  error

	// Of the message that was read last, which the next in a bundle may share.
	topic, hash []byte
	origin      *session.Origin
}

func (r *reader) fail() {
	if r.err == nil {
		r.err = errRecord
	}
	r.rest = nil
}

func (r *reader) byte() byte {
	if len(r.rest) == 0 {
		r.fail()
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

func (r *reader) number() uint64 {
	n, k := binary.Uvarint(r.rest)
	if k <= 0 {
		r.fail()
		return 0
	}
	r.rest = r.rest[k:]
	return n
}

func (r *reader) text() []byte {
	n := r.number()
	if n > uint64(len(r.rest)) {
		r.fail()
		return nil
	}
	t := r.rest[:n]
	r.rest = r.rest[n:]
	return t
}

func (r *reader) version() {
	switch v := r.byte(); {
	case r.err != nil:
	case v > recordVersion:
		r.err = fmt.Errorf("a record of form %d: this version of Sallyport knows forms up to %d", v, recordVersion)
		r.rest = nil
	case v == 0:
		r.fail()
	}
}

// end reports an error, or that something is left.
func (r *reader) end() error {
	if r.err == nil && len(r.rest) > 0 {
		r.fail()
	}
	return r.err
}

// message reads what appendMessage wrote, as a message of its own.
func (r *reader) message(from *publishers) *session.Message {
	h := r.head()
	if h.flags&msgOrigin == 0 {
		r.origin = nil
	} else if r.err == nil && (h.flags&msgSameOrigin == 0 || r.origin == nil) {
		r.origin, r.err = from.find(r.hash)
	}
	if r.err != nil {
		return nil
	}
	m := session.NewMessage(unsafe.String(unsafe.SliceData(h.topic), len(h.topic)), h.payload, h.props) // which copies
	m.QoS, m.Retain, m.Will = h.qos, h.flags&msgRetain != 0, h.flags&msgWill != 0
	m.Expires, m.ExpiryAt, m.Origin = h.expires, h.expiryAt, r.origin
	return m
}

// skipMessage passes over a message, and is what its Message.Size would be.
func (r *reader) skipMessage(from *publishers) int {
	h := r.head()
	if h.flags&msgOrigin != 0 && h.flags&msgSameOrigin == 0 && r.err == nil {
		_, r.err = from.use(r.hash)
	}
	r.origin = nil
	return session.SizeOf(len(h.topic), len(h.payload), len(h.props))
}

// head is a message without who published it, of whom r.hash is. It views the record.
type head struct {
	flags, qos            byte
	topic, payload, props []byte
	expires               int64
	expiryAt              int
}

func (r *reader) head() (h head) {
	h.flags, h.qos = r.byte(), r.byte()
	if h.flags&msgSameTopic == 0 {
		r.topic = r.text()
	}
	h.topic, h.payload, h.props = r.topic, r.text(), r.text()
	var expires, at uint64
	if h.flags&msgExpires != 0 {
		expires, at = r.number(), r.number()
	}
	switch {
	case h.flags&msgOrigin == 0:
		r.hash = nil
	case h.flags&msgSameOrigin == 0:
		r.hash = r.text()
	}
	// The offset is that of four bytes within the properties.
	if h.flags&^msgFlags != 0 || len(h.topic) == 0 || h.qos > 2 || h.flags&msgOrigin != 0 && len(r.hash) != hashBytes ||
		expires > math.MaxInt64 || at > uint64(len(h.props)) || at > 0 && at-1+4 > uint64(len(h.props)) {
		r.fail()
	}
	h.expires, h.expiryAt = int64(expires), int(at)-1
	return h
}

// entries begins a record of one entry or of a bundle: it is how many follow.
func (r *reader) entries() int {
	r.version()
	if len(r.rest) == 0 || r.rest[0] != entryBundle {
		return 1
	}
	r.byte()
	n := r.number()
	if n < 2 || n > spanMost {
		r.fail()
		return 0
	}
	return int(n)
}

// entry reads what appendEntry wrote; apart is the number of its message, 0 if
// that follows.
func (r *reader) entry() (e session.Entry, id uint16, share string, apart uint64) {
	flags := r.byte()
	e.QoS, e.Retain = r.byte(), flags&entryRetain != 0
	if flags&entryFlown != 0 {
		id = uint16(r.byte())<<8 | uint16(r.byte())
	}
	n := r.number()
	if flags&^entryFlags != 0 || e.QoS > 2 || n > uint64(len(r.rest)) {
		r.fail()
		return e, 0, "", 0
	}
	if n > 0 {
		v := &session.Via{SubIDs: make([]uint32, n)}
		for i := range v.SubIDs {
			v.SubIDs[i] = uint32(r.number())
		}
		e.Via = v
	}
	if flags&entryShared != 0 {
		share = string(r.text())
	}
	if flags&entryApart != 0 {
		if apart = r.number(); apart == 0 {
			r.fail()
		}
	}
	return e, id, share, apart
}

// item reads a piece of the broker's own state, which views the record.
func (r *reader) item() (table, name, value []byte) {
	r.version()
	table, name, value = r.text(), r.text(), r.rest
	r.rest = nil
	return table, name, value
}

// run reads of messages on their way the identifier of the first, and how many they are.
func (r *reader) run() (id, n uint16) {
	r.version()
	id = uint16(r.byte())<<8 | uint16(r.byte())
	many := r.number()
	if id == 0 || many == 0 || many > spanMost || uint64(id)+many-1 > math.MaxUint16 {
		r.fail()
		return 0, 0
	}
	return id, uint16(many)
}

// gone reads which messages of a bundle wait no more.
func (r *reader) gone() (g gone) {
	r.version()
	if len(r.rest) == 0 || len(r.rest) > len(g) {
		r.fail()
	}
	copy(g[:], r.rest)
	r.rest = nil
	return g
}

// publishers reads who published messages; those of one publisher share it.
type publishers struct {
	of   map[[hashBytes]byte]*session.Origin
	read func(key []byte) ([]byte, error) // reads a record
	used map[[hashBytes]byte]struct{}     // those that were asked for; nil: that is not noted
}

// publishersRead bounds how many are remembered where not all are.
const publishersRead = 1 << 14

// use notes that a message is of the publisher with a hash.
func (p *publishers) use(hash []byte) (h [hashBytes]byte, err error) {
	if copy(h[:], hash); len(hash) != hashBytes {
		return h, errRecord
	}
	if p.used != nil {
		p.used[h] = struct{}{}
	}
	return h, nil
}

// find is the publisher with a hash.
func (p *publishers) find(hash []byte) (*session.Origin, error) {
	h, err := p.use(hash)
	if err != nil {
		return nil, err
	}
	if o, known := p.of[h]; known {
		return o, nil
	}
	rec, err := p.read(append([]byte{kindOrigin}, h[:]...))
	if err != nil {
		return nil, fmt.Errorf("its publisher is missing: %w", err)
	}
	r := &reader{rest: rec}
	r.version()
	if r.err != nil {
		return nil, r.err
	}
	o, err := readOrigin(r.rest)
	if err != nil {
		return nil, err
	}
	if p.of == nil || p.used == nil && len(p.of) >= publishersRead {
		p.of = make(map[[hashBytes]byte]*session.Origin)
	}
	p.of[h] = o
	return o, nil
}

func readOrigin(text []byte) (*session.Origin, error) {
	o := new(session.Origin)
	if err := json.Unmarshal(text, o); err != nil {
		return nil, errRecord // whose text may hold what nobody is to read in a log
	}
	return o, nil
}
