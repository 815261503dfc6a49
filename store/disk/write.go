package disk

import (
	"encoding/binary"

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
		case store.PutRetained:
			s.set(s.retainedKey(op.Message.Topic), s.appendMessage([]byte{recordVersion}, op.Message))
			continue
		case store.DeleteRetained:
			s.delete(s.retainedKey(op.Topic))
			continue
		}
		k := s.sessions[op.Client]
		if k == nil {
			if op.Kind != store.PutSession {
				continue // of a session that is over, or was never kept
			}
			s.lastSID++
			k = &kept{sid: s.lastSID}
			s.sessions[op.Client] = k
		}
		s.change(k, op, uses)
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
	switch op.Kind {
	case store.PutSession:
		v := appendText([]byte{recordVersion}, op.Client)
		v = binary.AppendUvarint(v, uint64(op.Expiry))
		s.set(key(kindSession, k.sid), appendText(v, s.origin(op.Owner)))
	case store.DeleteSession:
		s.deleteSession(op.Client, k)
	case store.PutSubscription:
		k.subs = true
		s.set(s.subscriptionKey(k.sid, op.Sub.Filter), appendSubscription(nil, op.Sub))
	case store.DeleteSubscription:
		s.delete(s.subscriptionKey(k.sid, op.Topic))
	case store.PutEntry:
		s.putEntry(k, op, uses[op.Entry.Msg])
	case store.SetFlight:
		k.queue = true
		if k.flown == nil {
			k.flown = make(map[uint64]struct{})
		}
		k.flown[op.Seq] = struct{}{}
		v := binary.BigEndian.AppendUint16([]byte{recordVersion, byte(op.State)}, op.PacketID)
		s.set(keyOf(kindFlight, k.sid, op.Seq), v)
	case store.DeleteEntry:
		s.deleteEntry(k, op.Seq)
	case store.AddIncoming:
		k.ids = true
		s.set(incomingKey(k.sid, op.PacketID), []byte{recordVersion})
	case store.DeleteIncoming:
		s.delete(incomingKey(k.sid, op.PacketID))
	case store.PutWill:
		k.will = true
		v := binary.AppendUvarint([]byte{recordVersion}, uint64(op.At))
		s.set(key(kindWill, k.sid), s.appendMessage(v, op.Message))
	case store.DeleteWill:
		s.delete(key(kindWill, k.sid))
	}
}

// putEntry adds a message for a session; n is in how many the batch puts it.
func (s *Store) putEntry(k *kept, op *store.Op, n int) {
	e := &op.Entry
	k.queue = true
	m := s.apart[e.Msg]
	if m == nil && n > 1 {
		s.lastMID++
		m = &apart{id: s.lastMID, msg: e.Msg}
		s.apart[e.Msg] = m
		s.set(key(kindMessage, m.id), s.appendMessage([]byte{recordVersion}, e.Msg))
	}
	at := len(s.next.recs)
	if m == nil {
		s.set(keyOf(kindEntry, k.sid, op.Seq), s.appendMessage(appendEntry(nil, e, 0), e.Msg))
	} else {
		k.share(op.Seq, m)
		s.set(keyOf(kindEntry, k.sid, op.Seq), appendEntry(nil, e, m.id))
	}
	if s.next.puts == nil {
		s.next.puts = make(map[place]int)
	}
	s.next.puts[place{k.sid, op.Seq}] = at
}

// share notes that a session waits for a message that is written apart.
func (k *kept) share(seq uint64, m *apart) {
	m.uses++
	if k.shared == nil {
		k.shared = make(map[uint64]*apart)
	}
	k.shared[seq] = m
}

// deleteEntry takes a message away; from the present group, if it was put there.
func (s *Store) deleteEntry(k *kept, seq uint64) {
	if m := k.shared[seq]; m != nil {
		delete(k.shared, seq)
		s.unuse(m)
	}
	at := place{k.sid, seq}
	if i, there := s.next.puts[at]; there {
		delete(s.next.puts, at)
		s.next.recs[i] = rec{kind: recVoid}
	} else {
		s.delete(keyOf(kindEntry, k.sid, seq))
	}
	if _, flown := k.flown[seq]; flown {
		delete(k.flown, seq)
		s.delete(keyOf(kindFlight, k.sid, seq))
	}
}

// unuse takes one session off those that wait for a message that is written apart.
func (s *Store) unuse(m *apart) {
	if m.uses--; m.uses == 0 {
		delete(s.apart, m.msg)
		s.delete(key(kindMessage, m.id))
	}
}

// deleteSession takes a session away with all that is its own.
func (s *Store) deleteSession(client string, k *kept) {
	delete(s.sessions, client)
	for _, m := range k.shared {
		s.unuse(m)
	}
	s.delete(key(kindSession, k.sid))
	for _, r := range []struct {
		kind byte
		had  bool
	}{{kindSubscription, k.subs}, {kindEntry, k.queue}, {kindFlight, k.queue}, {kindIncoming, k.ids}} {
		if r.had {
			s.record(rec{kind: recRange, key: key(r.kind, k.sid), value: key(r.kind, k.sid+1)})
		}
	}
	if k.will {
		s.delete(key(kindWill, k.sid))
	}
}

func (s *Store) set(key, value []byte) { s.record(rec{kind: recSet, key: key, value: value}) }
func (s *Store) delete(key []byte)     { s.record(rec{kind: recDelete, key: key}) }

func (s *Store) record(r rec) {
	s.next.recs = append(s.next.recs, r)
	s.next.bytes += len(r.key) + len(r.value)
}

func (s *Store) appendMessage(b []byte, m *session.Message) []byte {
	return appendMessage(b, m, s.origin(m.Origin))
}

// origin is a publisher as it is written. One that can't be encoded is nobody, to
// whom nothing is allowed.
func (s *Store) origin(o *session.Origin) []byte {
	text, err := s.origins.text(o)
	if err != nil {
		s.opt.Log.Error("a publisher can't be kept", "client", o.ClientID, "error", err)
		text, _ = s.origins.text(&session.Origin{ClientID: o.ClientID})
	}
	return text
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
