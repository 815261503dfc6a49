package disk

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"net/netip"

	"sallyport/session"
	"sallyport/store"
)

// gather adds a batch to the next group. The caller holds s.mu.
func (s *Store) gather(b *store.Batch) {
	if b == nil {
		return
	}
	uses := uses(b)
	for i := range b.Ops {
		op := &b.Ops[i]
		switch op.Kind {
		case store.PutRetained, store.DeleteRetained:
			s.retained(op.Topic)
			continue
		case store.PutItem:
			v := appendText(appendText([]byte{recordVersion}, op.Item.Table), op.Item.Name)
			s.set(s.itemKey(op.Item.Table, op.Item.Name), append(v, op.Item.Value...))
			continue
		case store.DeleteItem:
			s.delete(s.itemKey(op.Item.Table, op.Item.Name))
			continue
		}
		if op.Kind == store.PutEntry {
			s.next.msgs = append(s.next.msgs, op.Entry.Msg)
		}
		k := s.sessions[op.Session]
		if k == nil {
			if op.Kind != store.PutSession {
				continue // of a session that is over, or was never kept
			}
			k = &kept{}
			s.sessions[op.Session] = k
		}
		s.change(k, op, uses)
	}
}

// retained writes what is retained of a topic at present: who changes it does so
// before, and comes after.
func (s *Store) retained(topic string) {
	if m, there := s.Memory.Retained(topic); there {
		from := s.publisher(m.Origin)
		b, k := s.next.open()
		b = s.hash(append(b, kindRetained), topic)
		v := len(b)
		s.next.set(appendMessage(append(b, recordVersion), m, from), k, v)
	} else {
		s.delete(s.retainedKey(topic))
	}
}

// uses counts in how many sessions a batch puts each message; nil is once.
func uses(b *store.Batch) map[*session.Message]int {
	if len(b.Ops) < 2 {
		return nil
	}
	var n map[*session.Message]int
	for i := range b.Ops {
		if op := &b.Ops[i]; op.Kind == store.PutEntry {
			if n == nil {
				n = make(map[*session.Message]int)
			}
			n[op.Entry.Msg]++
		}
	}
	return n
}

// change adds one change of a session.
func (s *Store) change(k *kept, op *store.Op, uses map[*session.Message]int) {
	sid := op.Session
	switch op.Kind {
	case store.PutSession:
		flags := byte(0)
		if op.Group {
			flags |= sessionGroup
		}
		v := appendText([]byte{recordVersion, flags}, op.Client)
		v = binary.AppendUvarint(v, uint64(op.Expiry))
		s.set(key(kindSession, sid), appendText(v, s.origin(op.Owner)))
	case store.DeleteSession:
		s.deleteSession(sid, k)
	case store.PutSubscription:
		k.subs = true
		s.set(s.subscriptionKey(sid, op.Sub.Filter), appendSubscription(nil, op.Sub))
	case store.DeleteSubscription:
		s.delete(s.subscriptionKey(sid, op.Topic))
	case store.PutEntry:
		s.putEntry(k, op, uses[op.Entry.Msg])
	case store.SetFlight:
		_, again := k.flown[op.Entry.Seq]
		if _, sent := k.runs.find(op.Entry.Seq); op.State == session.AwaitAck && !again && !sent {
			s.next.partOf(sid, k).send(send{op.Entry.Seq, op.PacketID})
			return
		}
		mark(&k.flown, op.Entry.Seq)
		b, k := s.next.open()
		b = appendKeyOf(b, kindFlight, sid, op.Entry.Seq)
		v := len(b)
		s.next.set(binary.BigEndian.AppendUint16(append(b, recordVersion, byte(op.State)), op.PacketID), k, v)
	case store.DeleteEntry:
		s.deleteEntry(sid, k, &op.Entry)
	case store.AddIncoming:
		k.ids = true
		b, k := s.next.open()
		b = appendIncomingKey(b, sid, op.PacketID)
		v := len(b)
		s.next.set(append(b, recordVersion), k, v)
	case store.DeleteIncoming:
		b, k := s.next.open()
		s.next.delete(appendIncomingKey(b, sid, op.PacketID), k)
	case store.PutWill:
		k.will = true
		v := binary.AppendUvarint([]byte{recordVersion}, uint64(op.At))
		v = binary.AppendUvarint(v, uint64(op.Expiry))
		s.set(key(kindWill, sid), appendMessage(v, op.Message, s.publisher(op.Message.Origin)))
	case store.DeleteWill:
		s.delete(key(kindWill, sid))
	}
}

func mark(set *map[uint64]struct{}, n uint64) {
	if *set == nil {
		*set = make(map[uint64]struct{})
	}
	(*set)[n] = struct{}{}
}

// putEntry adds a message for a session; n is in how many the batch puts it.
func (s *Store) putEntry(k *kept, op *store.Op, n int) {
	e := &op.Entry
	if k.came(e.Seq) {
		return // and gone already
	}
	k.queue = true
	ref := e.Msg.Ref.Load()
	if ref != 0 && s.uses[ref] == 0 {
		ref = session.Inline // nobody waits for it any more, and so it is gone
	}
	from := s.publisher(e.Msg.Origin)
	if ref == 0 && n > 1 {
		s.lastMID++
		ref = s.lastMID
		e.Msg.Ref.Store(ref)
		b, k := s.next.open()
		b = appendKey(b, kindMessage, ref)
		v := len(b)
		s.next.set(appendMessage(append(b, recordVersion), e.Msg, from), k, v)
	}
	if ref == 0 || ref == session.Inline {
		ref = 0
		e.Msg.Ref.Store(session.Inline)
	} else {
		k.aparts++
		s.uses[ref]++
	}
	s.next.partOf(op.Session, k).put(put{seq: e.Seq, ref: ref, msg: e.Msg, via: e.Via, from: from, id: op.PacketID, qos: e.QoS, retain: e.Retain})
}

// missingMost bounds what is remembered of entries that come late. More than so
// many are under way for one session only where something else is wrong.
const missingMost = 4096

// came notes that an entry is put; over says that it was deleted before.
func (k *kept) came(seq uint64) (over bool) {
	if seq > k.last {
		for n := max(k.last+1, seq-min(seq, missingMost)); n < seq; n++ {
			if len(k.missing) < missingMost {
				mark(&k.missing, n)
			}
		}
		k.last = seq
	} else if delete(k.missing, seq); len(k.missing) == 0 {
		k.missing = nil
	}
	if _, over = k.early[seq]; over {
		if delete(k.early, seq); len(k.early) == 0 {
			k.early = nil
		}
	}
	return over
}

// goes notes that an entry is deleted; early says that it was not put yet.
func (k *kept) goes(seq uint64) (early bool) {
	_, missing := k.missing[seq]
	if early = missing || seq > k.last; early && len(k.early) < missingMost {
		mark(&k.early, seq)
	}
	return early
}

// deleteEntry takes a message away; from the present group, if it was put there.
func (s *Store) deleteEntry(sid uint64, k *kept, e *session.Entry) {
	at := place{sid, e.Seq}
	if _, gone := s.next.gone[at]; gone {
		return
	}
	s.landed(sid, k, e.Seq)
	if k.goes(e.Seq) {
		return
	}
	if ref, there := k.part.undo(e.Seq); there {
		if ref != 0 {
			k.aparts--
			s.unuse(ref)
		}
		return
	}
	if i, there := k.bundles.find(e.Seq); there {
		s.deleteBundled(sid, k, i, e)
		return
	}
	ref, known := e.Stored()
	if !known && k.aparts > 0 {
		s.next.add(rec{kind: recUnuse, sid: sid, seq: e.Seq}) // before it is deleted
		s.next.goes(at)
	}
	s.deleteAt(kindEntry, sid, e.Seq)
	if ref != 0 {
		k.aparts--
		s.next.goes(at)
		s.unuse(ref)
	}
}

// goes notes that what is at a place, and may be written apart, is counted no more.
func (g *group) goes(at place) {
	if g.gone == nil {
		g.gone = make(map[place]struct{})
	}
	g.gone[at] = struct{}{}
}

// unuse takes one session off those that wait for a message that is written apart.
func (s *Store) unuse(ref uint64) {
	if s.uses[ref]--; s.uses[ref] <= 0 {
		delete(s.uses, ref)
		s.delete(key(kindMessage, ref))
	}
}

// deleteSession takes a session away with all that is its own.
func (s *Store) deleteSession(sid uint64, k *kept) {
	delete(s.sessions, sid)
	if p := k.part; p != nil {
		for i := range p.puts {
			if ref := p.puts[i].ref; ref != 0 {
				s.unuse(ref)
			}
		}
		clear(p.puts)
		p.puts, p.sends = p.puts[:0], p.sends[:0]
	}
	if k.aparts > 0 {
		s.next.add(rec{kind: recUnuse, sid: sid, of: k}) // before the range: it reads what is there
	}
	s.delete(key(kindSession, sid))
	for _, r := range []struct {
		kind byte
		had  bool
	}{{kindSubscription, k.subs}, {kindEntry, k.queue}, {kindGone, k.noted}, {kindRun, len(k.runs) > 0}, {kindFlight, len(k.flown) > 0}, {kindIncoming, k.ids}} {
		if r.had {
			b, k := s.next.open()
			b = appendKey(b, r.kind, sid)
			v := len(b)
			b = appendKey(b, r.kind, sid+1)
			s.next.add(rec{kind: recRange, key: k, value: v, end: len(b)})
			s.next.buf = b
		}
	}
	if k.will {
		s.delete(key(kindWill, sid))
	}
}

// unuseAll is unuse for all that a session waited for when the group before this
// one was written, or for one message of it. The caller is the committer, and holds no lock.
func (s *Store) unuseAll(g *group, u *rec) error {
	var refs []uint64
	from, to := key(kindEntry, u.sid), key(kindEntry, u.sid+1)
	if u.seq != 0 {
		first := cmp.Or(u.first, u.seq)
		from, to = keyOf(kindEntry, u.sid, first), keyOf(kindEntry, u.sid, first+1)
	}
	err := s.within(from, to, func(k []byte, r *reader) (bool, error) {
		if len(k) != 17 {
			return false, errRecord
		}
		seq, n := binary.BigEndian.Uint64(k[9:]), r.entries()
		var over gone
		if u.seq == 0 && n > 1 {
			var all bool
			if over, all = u.of.over(seq); all { // nothing changes a session that has ended
				return true, nil
			}
		}
		for i := range uint64(n) {
			_, _, _, ref := r.entry()
			if ref == 0 {
				r.head()
			}
			if r.err != nil {
				return false, r.err
			}
			_, once := g.gone[place{u.sid, seq + i}]
			switch {
			case ref == 0:
			case u.seq == 0 && !over.has(i) && !once, u.seq == seq+i:
				refs = append(refs, ref)
			}
		}
		return true, r.end()
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// With the next group, in which another session may have ended its wait.
	for _, ref := range refs {
		if k := s.sessions[u.sid]; k != nil {
			k.aparts--
		}
		s.unuse(ref)
	}
	return nil
}

// open is where the next record of the group begins, to be built in place.
func (g *group) open() (b []byte, begin int) { return g.buf, len(g.buf) }

// set closes a record of b, whose key begins at key and ends where its value begins.
func (g *group) set(b []byte, key, value int) {
	g.buf = b
	g.add(rec{kind: recSet, key: key, value: value, end: len(b)})
}

// delete closes a record that is but a key.
func (g *group) delete(b []byte, key int) {
	g.buf = b
	g.add(rec{kind: recDelete, key: key, value: len(b), end: len(b)})
}

func (g *group) add(r rec) { g.recs = append(g.recs, r) }

func (s *Store) set(key, value []byte) {
	b, begin := s.next.open()
	b = append(b, key...)
	v := len(b)
	s.next.set(append(b, value...), begin, v)
}

func (s *Store) deleteAt(kind byte, sid, seq uint64) {
	b, begin := s.next.open()
	s.next.delete(appendKeyOf(b, kind, sid, seq), begin)
}

func (s *Store) delete(key []byte) {
	b, begin := s.next.open()
	s.next.delete(append(b, key...), begin)
}

// origin is who owns a session as it is written. One that can't be encoded is nobody,
// to whom nothing is allowed.
func (s *Store) origin(o *session.Origin) []byte {
	if o == nil {
		return nil
	}
	text, err := json.Marshal(o)
	if err != nil {
		s.opt.Log.Error("a client can't be kept", "client", o.ClientID, "error", err)
		text, _ = json.Marshal(&session.Origin{ClientID: o.ClientID}) // which can
	}
	return text
}

// publishersKept bounds how many publishers are known to be written. One that is not
// known is written again, which changes nothing.
const publishersKept = 1 << 16

// publisher is the hash of who published a message, under which it is written: once,
// however many messages and connections it has. The port of its address is left out,
// since it makes another publisher of each connection, and says nothing.
func (s *Store) publisher(o *session.Origin) *[hashBytes]byte {
	if o == nil {
		return nil
	}
	if h, known := s.published[o]; known {
		return h
	}
	plain := *o
	plain.Addr = netip.AddrPortFrom(o.Addr.Addr(), 0)
	text := s.origin(&plain)
	h := new([hashBytes]byte)
	copy(h[:], s.hash(nil, string(text)))
	s.set(append([]byte{kindOrigin}, h[:]...), append([]byte{recordVersion}, text...))
	if len(s.published) >= publishersKept {
		clear(s.published)
	}
	s.published[o] = h
	return h
}

// The bits of a subscription's options.
const (
	subNoLocal = 1 << iota
	subRetainAsPublished
)

func appendSubscription(b []byte, sub *session.Subscription) []byte {
	flags := byte(0)
	if sub.NoLocal {
		flags |= subNoLocal
	}
	if sub.RetainAsPublished {
		flags |= subRetainAsPublished
	}
	id := uint32(0)
	if via := sub.Via(); via != nil {
		id = via.SubIDs[0]
	}
	b = append(b, recordVersion, flags, sub.QoS, sub.RetainHandling)
	b = binary.AppendUvarint(b, uint64(id))
	b = appendText(b, sub.Group())
	return appendText(b, sub.Filter)
}

// subscription reads what appendSubscription wrote.
func (r *reader) subscription() *session.Subscription {
	r.version()
	flags, qos, handling := r.byte(), r.byte(), r.byte()
	id := r.number()
	group, filter := string(r.text()), string(r.text())
	if qos > 2 || handling > 2 || filter == "" || id > 268_435_455 || len(group) > 65535 {
		r.fail()
	}
	if group != "" && !sharedBy(filter, group) {
		r.fail()
	}
	if r.end() != nil {
		return nil
	}
	sub := session.NewSubscription(filter, group, uint32(id))
	sub.QoS, sub.RetainHandling = qos, handling
	sub.NoLocal, sub.RetainAsPublished = flags&subNoLocal != 0, flags&subRetainAsPublished != 0
	return sub
}
