package disk

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"sallyport/session"
	"sallyport/store"

	"github.com/cockroachdb/pebble/v2"
)

// formatVersion is of the store as a whole.
const formatVersion = 1

var (
	formatKey = []byte{kindMeta, 'f'}
	secretKey = []byte{kindMeta, 'h'} // of the hashes in keys
)

// begin reads the store, or makes a new one of an empty folder.
func (s *Store) begin() error {
	format, err := s.get(formatKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return s.create()
	}
	if err != nil {
		return err
	}
	if _, err := readFormat(format); err != nil {
		return err
	}
	if err := s.secrets(); err != nil {
		return err
	}
	return s.load()
}

// create makes the records that every store has.
func (s *Store) create() error {
	it, err := s.db.NewIter(nil)
	if err != nil {
		return err
	}
	foreign := it.First()
	if err := it.Close(); err != nil {
		return err
	}
	if foreign {
		return errors.New("the folder holds something, but no store of Sallyport's")
	}
	b := s.db.NewBatch()
	if err := errors.Join(b.Set(formatKey, binary.BigEndian.AppendUint32(nil, formatVersion), nil), s.makeSecrets(b)); err != nil {
		return errors.Join(err, b.Close())
	}
	return errors.Join(s.db.Apply(b, pebble.Sync), b.Close())
}

func (s *Store) get(key []byte) ([]byte, error) {
	v, c, err := s.db.Get(key)
	if err != nil {
		return nil, err
	}
	v, err = s.opened(nil, key, v)
	return slices.Clone(v), errors.Join(err, c.Close())
}

// loading is what a store is read into.
type loading struct {
	s        *Store
	sessions map[uint64]*loaded
	messages map[uint64]*apart
}

// loaded is one session.
type loaded struct {
	r *store.Restored
	k *kept
}

// load reads everything. What belongs to nothing, which only a fault of the
// broker leaves behind, is passed over.
func (s *Store) load() error {
	l := &loading{s: s, sessions: make(map[uint64]*loaded), messages: make(map[uint64]*apart)}
	for _, part := range []struct {
		kind byte
		read func(id uint64, rest []byte, r *reader) error
	}{
		{kindSession, l.session}, {kindSubscription, l.subscription}, {kindMessage, l.message}, {kindEntry, l.entry},
		{kindFlight, l.flight}, {kindIncoming, l.incoming}, {kindWill, l.will}, {kindRetained, l.retained},
	} {
		if err := s.each(part.kind, part.read); err != nil {
			return err
		}
	}
	for _, in := range l.sessions {
		s.restored = append(s.restored, in.r)
	}
	slices.SortFunc(s.restored, func(a, b *store.Restored) int { return strings.Compare(a.Client, b.Client) })
	return s.discard(l)
}

// discard takes messages away that nobody waits for.
func (s *Store) discard(l *loading) error {
	b := s.db.NewBatch()
	for id, m := range l.messages {
		if m.uses == 0 {
			delete(s.apart, m.msg)
			if err := b.Delete(key(kindMessage, id), nil); err != nil {
				return errors.Join(err, b.Close())
			}
		}
	}
	return errors.Join(s.db.Apply(b, pebble.NoSync), b.Close())
}

// each reads all records of a kind. rest is what follows the first number in the
// key, or, where there is none, the key behind its kind.
func (s *Store) each(kind byte, read func(id uint64, rest []byte, r *reader) error) error {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{kind}, UpperBound: []byte{kind + 1}})
	if err != nil {
		return err
	}
	var buf []byte
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		k := it.Key()
		r := &reader{}
		r.rest, err = s.opened(buf, k, it.Value())
		buf = r.rest
		switch {
		case err != nil:
		case kind == kindRetained:
			err = read(0, k[1:], r)
		case len(k) < 9:
			err = errRecord
		default:
			if kind != kindMessage {
				s.lastSID = max(s.lastSID, binary.BigEndian.Uint64(k[1:])) // of what belongs to nothing, too
			}
			err = read(binary.BigEndian.Uint64(k[1:]), k[9:], r)
		}
		if err != nil {
			err = fmt.Errorf("record %x: %w", k, err)
		}
	}
	return errors.Join(err, it.Close())
}

func (l *loading) session(id uint64, rest []byte, r *reader) error {
	r.version()
	out := &store.Restored{Client: string(r.text())}
	expiry := r.number()
	origin := r.text()
	if err := r.end(); err != nil || len(rest) > 0 || expiry == 0 || expiry > math.MaxUint32 {
		return cmp.Or(err, errRecord)
	}
	out.Expiry = uint32(expiry)
	var err error
	if out.Owner, err = l.s.origins.read(origin); err != nil {
		return err
	}
	if l.s.sessions[out.Client] != nil {
		return fmt.Errorf("two sessions of one client: %w", errRecord)
	}
	k := &kept{sid: id}
	l.s.sessions[out.Client] = k
	l.sessions[id] = &loaded{out, k}
	return nil
}

func (l *loading) subscription(id uint64, _ []byte, r *reader) error {
	sub := r.subscription()
	if r.err != nil {
		return r.err
	}
	if in := l.sessions[id]; in != nil {
		in.k.subs = true
		in.r.Subs = append(in.r.Subs, sub)
	}
	return nil
}

func (l *loading) message(id uint64, rest []byte, r *reader) error {
	r.version()
	m := r.message(&l.s.origins)
	if err := r.end(); err != nil || len(rest) > 0 || id == 0 {
		return cmp.Or(err, errRecord)
	}
	l.messages[id] = &apart{id: id, msg: m}
	l.s.apart[m] = l.messages[id]
	l.s.lastMID = max(l.s.lastMID, id)
	return nil
}

func (l *loading) entry(id uint64, rest []byte, r *reader) error {
	e, share, apart := r.entry()
	if r.err == nil && apart == 0 {
		e.Msg = r.message(&l.s.origins)
	}
	if err := r.end(); err != nil || len(rest) != 8 {
		return cmp.Or(err, errRecord)
	}
	in := l.sessions[id]
	if in == nil {
		return nil
	}
	e.Seq = binary.BigEndian.Uint64(rest)
	if apart != 0 {
		m := l.messages[apart]
		if m == nil {
			return fmt.Errorf("its message is missing: %w", errRecord)
		}
		e.Msg = m.msg
		in.k.share(e.Seq, m)
	}
	in.k.queue = true
	in.r.Entries = append(in.r.Entries, store.RestoredEntry{Entry: e, Share: share})
	return nil
}

func (l *loading) flight(id uint64, rest []byte, r *reader) error {
	r.version()
	state := session.State(r.byte())
	if len(rest) != 8 || r.err != nil || len(r.rest) != 2 || state > session.AwaitComp {
		return errRecord
	}
	in := l.sessions[id]
	if in == nil {
		return nil
	}
	seq := binary.BigEndian.Uint64(rest)
	at, there := slices.BinarySearchFunc(in.r.Entries, seq, func(e store.RestoredEntry, seq uint64) int { return cmp.Compare(e.Seq, seq) })
	if !there {
		return nil
	}
	if in.k.flown == nil {
		in.k.flown = make(map[uint64]struct{})
	}
	in.k.flown[seq] = struct{}{}
	in.r.Entries[at].PacketID, in.r.Entries[at].State = binary.BigEndian.Uint16(r.rest), state
	return nil
}

func (l *loading) incoming(id uint64, rest []byte, r *reader) error {
	r.version()
	if err := r.end(); err != nil || len(rest) != 2 {
		return cmp.Or(err, errRecord)
	}
	if in := l.sessions[id]; in != nil {
		in.k.ids = true
		in.r.Incoming = append(in.r.Incoming, binary.BigEndian.Uint16(rest))
	}
	return nil
}

func (l *loading) will(id uint64, rest []byte, r *reader) error {
	r.version()
	at := r.number()
	m := r.message(&l.s.origins)
	if err := r.end(); err != nil || len(rest) > 0 || at > math.MaxInt64 {
		return cmp.Or(err, errRecord)
	}
	if in := l.sessions[id]; in != nil {
		in.k.will = true
		in.r.Will, in.r.WillAt = m, int64(at)
	}
	return nil
}

func (l *loading) retained(_ uint64, hash []byte, r *reader) error {
	r.version()
	m := r.message(&l.s.origins)
	if err := r.end(); err != nil || len(hash) != hashBytes {
		return cmp.Or(err, errRecord)
	}
	l.s.Memory.Retain(m)
	return nil
}

// sharedBy reports whether filter is a shared subscription of group.
func sharedBy(filter, group string) bool {
	rest, ok := strings.CutPrefix(filter, "$share/"+group+"/")
	return ok && rest != ""
}
