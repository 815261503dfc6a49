package disk

import (
	"cmp"
	"encoding/binary"
	"slices"

	"sallyport/session"
)

// What one group changes for one session shares records where the numbers follow each
// other: a bundle holds messages, under the Seq of the first, and a run says that
// messages were sent under identifiers that follow each other. So a queue that fills or
// drains quickly costs the tree one key for many messages, when they come and when the
// last of them goes. What goes before that is noted beside a bundle, in a record of
// kindGone; of a run it need not be, since it says nothing of what is no more.

const (
	spanMost    = 256      // messages in a bundle or run,
	bundleBytes = 16 << 10 // and bytes of what is in a bundle: it is read at once, and stays until the last has gone
)

// part is what the present group changes for one session, by Seq.
type part struct {
	sid   uint64
	k     *kept
	puts  []put
	sends []send
}

// put is a message that is to be written.
type put struct {
	seq    uint64
	ref    uint64           // of a message that is written apart
	msg    *session.Message // nil: it was undone
	via    *session.Via
	from   *[hashBytes]byte // who published it
	id     uint16
	qos    byte
	retain bool
}

func (p put) at() uint64 { return p.seq }

// send is a message that was sent, or is about to be.
type send struct {
	seq uint64
	id  uint16 // 0: it was undone
}

func (s send) at() uint64 { return s.seq }

// span is messages that follow each other and have a record in common as long as one
// of them waits.
type span struct {
	first   uint64
	gone    *gone // nil: none
	n, left uint16
	marked  bool // of a bundle: the present group changes gone,
	noted   bool // and there is a record of it
}

// gone says which messages of a span wait no more.
type gone [spanMost / 8]byte

func (g *gone) has(i uint64) bool { return g != nil && g[i/8]&(1<<(i%8)) != 0 }

// add adds message i; g may be nil.
func (g *gone) add(i uint64) *gone {
	if g == nil {
		g = new(gone)
	}
	g[i/8] |= 1 << (i % 8)
	return g
}

func (s *span) holds(seq uint64) bool { return seq >= s.first && seq-s.first < uint64(s.n) }

// drop notes that a message waits no more; false: that was known.
func (s *span) drop(seq uint64) bool {
	i := seq - s.first
	if s.gone.has(i) {
		return false
	}
	s.gone = s.gone.add(i)
	s.left--
	return true
}

// spans are in the order of their messages.
type spans []span

// find is where the span is that a message is in. Most often it is the first.
func (l spans) find(seq uint64) (i int, there bool) {
	if len(l) == 0 || seq < l[0].first {
		return 0, false
	}
	if !l[0].holds(seq) {
		i, there = slices.BinarySearchFunc(l, seq, func(s span, seq uint64) int { return cmp.Compare(s.first, seq) })
		if !there {
			i-- // i > 0: it is not before the first
		}
	}
	return i, l[i].holds(seq)
}

// add adds a span, which most often is the last.
func (l *spans) add(s span) {
	i := len(*l)
	for i > 0 && (*l)[i-1].first > s.first {
		i--
	}
	*l = slices.Insert(*l, i, s)
}

// remove takes the span at i away, which most often is the first.
func (l *spans) remove(i int) {
	switch {
	case len(*l) == 1:
		*l = nil
	case i == 0:
		(*l)[0] = span{}
		*l = (*l)[1:]
	default:
		*l = slices.Delete(*l, i, i+1)
	}
}

// partOf is what the present group changes for a session.
func (g *group) partOf(sid uint64, k *kept) *part {
	if k.part != nil {
		return k.part
	}
	n := len(g.parts)
	if n < cap(g.parts) {
		g.parts = g.parts[:n+1]
	} else {
		g.parts = append(g.parts, nil)
	}
	if g.parts[n] == nil {
		g.parts[n] = &part{}
	}
	p := g.parts[n]
	p.sid, p.k, k.part = sid, k, p
	return p
}

// located is a put or a send.
type located interface{ at() uint64 }

// locate is where the change of a message is, or would be. Most come in their order.
func locate[T located](l []T, seq uint64) (i int, there bool) {
	if n := len(l); n == 0 || l[n-1].at() < seq {
		return n, false
	}
	return slices.BinarySearchFunc(l, seq, func(c T, seq uint64) int { return cmp.Compare(c.at(), seq) })
}

func (p *part) put(m put) {
	if i, there := locate(p.puts, m.seq); !there {
		p.puts = slices.Insert(p.puts, i, m)
	}
}

func (p *part) send(m send) {
	i, there := locate(p.sends, m.seq)
	if !there {
		p.sends = slices.Insert(p.sends, i, m)
	}
	p.sends[i] = m
}

// undo takes the put of a message away again, and reports whether there was one, and
// under which number its message is written apart.
func (p *part) undo(seq uint64) (ref uint64, there bool) {
	if p == nil {
		return 0, false
	}
	i, there := locate(p.puts, seq)
	if !there {
		return 0, false
	}
	m := &p.puts[i]
	ref, m.ref, m.msg, m.via = m.ref, 0, nil, nil
	return ref, true
}

// unsend is undo for a send.
func (p *part) unsend(seq uint64) bool {
	if p == nil {
		return false
	}
	i, there := locate(p.sends, seq)
	if there {
		p.sends[i].id = 0
	}
	return there
}

// bundleAt is where the record ends that begins with the put at i.
func (p *part) bundleAt(i int) (end int) {
	bytes := 0
	for end = i; end < len(p.puts) && end-i < spanMost; end++ {
		if p.puts[end].ref == 0 {
			bytes += p.puts[end].msg.Size()
		}
		if end > i && (bytes > bundleBytes || p.puts[end].seq != p.puts[end-1].seq+1) {
			break
		}
	}
	return end
}

// runAt is likewise for the send at i.
func (p *part) runAt(i int) (end int) {
	for end = i + 1; end < len(p.sends) && end-i < spanMost; end++ {
		if a, b := p.sends[end-1], p.sends[end]; b.seq != a.seq+1 || b.id != a.id+1 {
			break
		}
	}
	return end
}

// finish makes records of what the group has for sessions, but for the messages
// themselves, which writePuts encodes when nobody waits for s.mu.
func (s *Store) finish(g *group) {
	for _, m := range g.marks {
		if s.sessions[m.sid] == m.k { // it has not ended
			s.note(g, m)
		}
	}
	for _, p := range g.parts {
		p.k.part = nil
		p.puts = slices.DeleteFunc(p.puts, func(m put) bool { return m.msg == nil })
		for i := 0; i < len(p.puts); {
			end := p.bundleAt(i)
			if n := end - i; n > 1 {
				p.k.bundles.add(span{first: p.puts[i].seq, n: uint16(n), left: uint16(n)})
			}
			i = end
		}
		p.sends = slices.DeleteFunc(p.sends, func(m send) bool { return m.id == 0 })
		for i := 0; i < len(p.sends); {
			end := p.runAt(i)
			p.k.runs.add(span{first: p.sends[i].seq, n: uint16(end - i), left: uint16(end - i)})
			b, begin := g.open()
			b = appendKeyOf(b, kindRun, p.sid, p.sends[i].seq)
			v := len(b)
			b = binary.BigEndian.AppendUint16(append(b, recordVersion), p.sends[i].id)
			g.set(binary.AppendUvarint(b, uint64(end-i)), begin, v)
			i = end
		}
	}
}

// marked is a bundle of which something goes with a group.
type marked struct {
	sid, first uint64
	k          *kept
}

// note writes what is gone of a bundle.
func (s *Store) note(g *group, m marked) {
	i, there := m.k.bundles.find(m.first)
	if !there || m.k.bundles[i].first != m.first {
		return // all of it has gone
	}
	b := &m.k.bundles[i]
	b.marked, b.noted, m.k.noted = false, true, true
	buf, begin := g.open()
	buf = appendKeyOf(buf, kindGone, m.sid, b.first)
	v := len(buf)
	g.set(append(append(buf, recordVersion), b.gone[:(b.n+7)/8]...), begin, v)
}

// deleteBundled takes a message out of the bundle at i. Its record goes with the last.
func (s *Store) deleteBundled(sid uint64, k *kept, i int, e *session.Entry) {
	b := &k.bundles[i]
	if !b.drop(e.Seq) {
		return
	}
	ref, known := e.Stored()
	switch {
	case !known && k.aparts > 0:
		s.next.add(rec{kind: recUnuse, sid: sid, seq: e.Seq, first: b.first})
		s.next.goes(place{sid, e.Seq}) // the bundle that knows it may go with this group
	case ref != 0:
		k.aparts--
		s.next.goes(place{sid, e.Seq})
		s.unuse(ref)
	}
	if b.left > 0 {
		if !b.marked {
			b.marked = true
			s.next.marks = append(s.next.marks, marked{sid, b.first, k})
		}
		return
	}
	s.deleteAt(kindEntry, sid, b.first)
	if b.noted {
		s.deleteAt(kindGone, sid, b.first)
	}
	k.bundles.remove(i)
}

// landed notes that a message is on its way no more.
func (s *Store) landed(sid uint64, k *kept, seq uint64) {
	if _, flown := k.flown[seq]; flown {
		if delete(k.flown, seq); len(k.flown) == 0 {
			k.flown = nil
		}
		s.deleteAt(kindFlight, sid, seq)
	}
	if k.part.unsend(seq) {
		return
	}
	i, there := k.runs.find(seq)
	if !there || !k.runs[i].drop(seq) || k.runs[i].left > 0 {
		return
	}
	s.deleteAt(kindRun, sid, k.runs[i].first)
	k.runs.remove(i)
}

// over is what is gone of the bundle that begins with first. There may be none any
// more, and then all of it is.
func (k *kept) over(first uint64) (g gone, all bool) {
	i, there := k.bundles.find(first)
	if !there || k.bundles[i].first != first {
		return g, true
	}
	if b := &k.bundles[i]; b.gone != nil {
		g = *b.gone
	}
	return g, false
}

// appendPuts encodes messages, several as a bundle.
func appendPuts(b []byte, list []put) []byte {
	b = append(b, recordVersion)
	if len(list) > 1 {
		b = binary.AppendUvarint(append(b, entryBundle), uint64(len(list)))
	}
	var last *put // whose message is the last that was written here
	for i := range list {
		m := &list[i]
		e := session.Entry{Via: m.via, QoS: m.qos, Retain: m.retain}
		b = appendEntry(b, &e, m.id, m.ref)
		if m.ref != 0 {
			continue
		}
		same := byte(0)
		if last != nil && last.msg.Topic == m.msg.Topic {
			same |= msgSameTopic
		}
		if last != nil && last.from != nil && m.from != nil && *last.from == *m.from {
			same |= msgSameOrigin
		}
		b = appendMessageLike(b, m.msg, m.from, same)
		last = m
	}
	return b
}
