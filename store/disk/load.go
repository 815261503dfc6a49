package disk

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
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
	if err := errors.Join(s.db.Apply(b, pebble.Sync), b.Close()); err != nil {
		return err
	}
	return s.db.Flush() // the first log does not say how much of it was synced, the next one does
}

func (s *Store) get(key []byte) ([]byte, error) { return s.getOf(s.db, key) }

// getOf reads one record of the tree, or of a snapshot of it.
func (s *Store) getOf(db pebble.Reader, key []byte) ([]byte, error) {
	v, c, err := db.Get(key)
	if err != nil {
		return nil, err
	}
	v, err = s.opened(nil, key, v)
	return slices.Clone(v), errors.Join(err, c.Close())
}

// loading is what a store is read into.
type loading struct {
	s        *Store
	from     publishers
	sessions map[uint64]*loaded
	messages map[uint64]*apart
}

// loaded is one session.
type loaded struct {
	r       *store.Restored
	k       *kept
	flights map[uint64]flight // by Seq
	ids     map[uint64]uint16 // of runs, by the first Seq
	gone    map[uint64]*gone  // by the first Seq of a bundle
}

type flight struct {
	id    uint16
	state session.State
}

// apart is a message that is written once for several sessions.
type apart struct {
	size int
	msg  *session.Message // nil until somebody needs it
}

// load reads everything but messages that wait for sessions, whose place and size
// are enough. What belongs to nothing, which only a fault of the broker leaves
// behind, is passed over.
func (s *Store) load() error {
	l := &loading{s: s, from: publishers{read: s.get, used: make(map[[hashBytes]byte]struct{})}, sessions: make(map[uint64]*loaded), messages: make(map[uint64]*apart)}
	// Retained messages have nothing to do with the rest, and are read beside it.
	retained := &loading{s: s, from: publishers{read: s.get, used: make(map[[hashBytes]byte]struct{})}}
	done := make(chan error, 1)
	go func() { done <- s.each(kindRetained, retained.retained) }()
	err := l.sessionsAndQueues()
	if err = errors.Join(err, <-done); err != nil {
		return err
	}
	maps.Copy(l.from.used, retained.from.used)
	for _, in := range l.sessions {
		s.restored = append(s.restored, in.r)
	}
	slices.SortFunc(s.restored, func(a, b *store.Restored) int { return cmp.Compare(a.Number, b.Number) })
	return s.discard(l)
}

// sessionsAndQueues reads what is of sessions.
func (l *loading) sessionsAndQueues() error {
	for _, part := range []struct {
		kind byte
		read func(id uint64, rest []byte, r *reader) error
	}{
		{kindSession, l.session}, {kindSubscription, l.subscription}, {kindRun, l.run}, {kindFlight, l.flight}, {kindMessage, l.message},
		{kindGone, l.gone}, {kindEntry, l.entry}, {kindIncoming, l.incoming}, {kindWill, l.will},
	} {
		if err := l.s.each(part.kind, part.read); err != nil {
			return err
		}
	}
	return nil
}

// discard takes messages away that nobody waits for, publishers that have none, and
// flights and notes of what does not wait any more: another message may get the place.
func (s *Store) discard(l *loading) error {
	b := s.db.NewBatch()
	err := s.within([]byte{kindOrigin}, []byte{kindOrigin + 1}, func(k []byte, _ *reader) (bool, error) {
		var h [hashBytes]byte
		if copy(h[:], k[1:]); len(k) != 1+hashBytes {
			return false, errRecord
		}
		if _, used := l.from.used[h]; used {
			return true, nil
		}
		return true, b.Delete(k, nil)
	})
	if err != nil {
		return errors.Join(err, b.Close())
	}
	for sid, in := range l.sessions {
		drop := func(kind byte, seq uint64) { err = errors.Join(err, b.Delete(keyOf(kind, sid, seq), nil)) }
		in.settle(func(first uint64) { drop(kindRun, first) })
		for seq := range in.flights {
			drop(kindFlight, seq)
		}
		for first := range in.gone {
			drop(kindGone, first)
		}
		if err != nil {
			return errors.Join(err, b.Close())
		}
	}
	for id := range l.messages {
		if s.uses[id] == 0 {
			if err := b.Delete(key(kindMessage, id), nil); err != nil {
				return errors.Join(err, b.Close())
			}
		}
	}
	return errors.Join(s.db.Apply(b, pebble.NoSync), b.Close())
}

// within reads the records of a range of keys until read says that it is enough.
func (s *Store) within(from, to []byte, read func(k []byte, r *reader) (more bool, err error)) error {
	return s.withinOf(s.db, from, to, read)
}

// withinOf is within of the tree, or of a snapshot of it.
func (s *Store) withinOf(db pebble.Reader, from, to []byte, read func(k []byte, r *reader) (more bool, err error)) error {
	var buf []byte
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return err
	}
	for more := it.First(); more && err == nil; more = more && it.Next() {
		r := &reader{}
		if r.rest, err = s.opened(buf, it.Key(), it.Value()); err == nil {
			buf = r.rest
			more, err = read(it.Key(), r)
		}
		if err != nil {
			err = fmt.Errorf("record %x: %w", it.Key(), err)
		}
	}
	return errors.Join(err, it.Close())
}

// each reads all records of a kind. rest is what follows the first number in the
// key, or, where there is none, the key behind its kind.
func (s *Store) each(kind byte, read func(id uint64, rest []byte, r *reader) error) error {
	return s.within([]byte{kind}, []byte{kind + 1}, func(k []byte, r *reader) (bool, error) {
		switch {
		case kind == kindRetained:
			return true, read(0, k[1:], r)
		case len(k) < 9:
			return false, errRecord
		}
		id := binary.BigEndian.Uint64(k[1:])
		if kind != kindMessage {
			s.lastSession = max(s.lastSession, id) // of what belongs to nothing, too
		}
		return true, read(id, k[9:], r)
	})
}

func (l *loading) session(id uint64, rest []byte, r *reader) error {
	r.version()
	flags := r.byte()
	out := &store.Restored{Number: id, Group: flags&sessionGroup != 0, Client: string(r.text())}
	expiry := r.number()
	origin := r.text()
	if err := r.end(); err != nil || len(rest) > 0 || id == 0 || expiry > math.MaxUint32 {
		return cmp.Or(err, errRecord)
	}
	out.Expiry = uint32(expiry)
	if len(origin) > 0 {
		var err error
		if out.Owner, err = readOrigin(origin); err != nil {
			return err
		}
	}
	k := &kept{}
	l.s.sessions[id] = k
	l.sessions[id] = &loaded{r: out, k: k}
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
	m := &apart{size: r.skipMessage(&l.from)}
	if err := r.end(); err != nil || len(rest) > 0 || id == 0 {
		return cmp.Or(err, errRecord)
	}
	l.messages[id] = m
	l.s.lastMID = max(l.s.lastMID, id)
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
	in.k.queue = true
	seq := binary.BigEndian.Uint64(rest)
	if in.flights == nil {
		in.flights = make(map[uint64]flight)
	}
	in.flights[seq] = flight{binary.BigEndian.Uint16(r.rest), state}
	return nil
}

func (l *loading) run(sid uint64, rest []byte, r *reader) error {
	id, n := r.run()
	if err := r.end(); err != nil || len(rest) != 8 {
		return cmp.Or(err, errRecord)
	}
	in := l.sessions[sid]
	if in == nil {
		return nil
	}
	first := binary.BigEndian.Uint64(rest)
	if _, there := in.k.runs.find(first); there {
		return errPlace
	}
	in.k.runs.add(span{first: first, n: n})
	if in.ids == nil {
		in.ids = make(map[uint64]uint16)
	}
	in.ids[first] = id
	return nil
}

// settle is called when all entries were read: runs know what is left of them, and
// their places are taken. It calls over for those of which nothing is.
func (in *loaded) settle(over func(first uint64)) {
	in.k.runs = slices.DeleteFunc(in.k.runs, func(r span) bool {
		if r.left == 0 {
			over(r.first)
		}
		return r.left == 0
	})
	for i := range in.k.runs {
		r := &in.k.runs[i]
		there := r.gone
		if r.gone = nil; r.left < r.n {
			for i := range uint64(r.n) {
				if !there.has(i) {
					r.gone = r.gone.add(i)
				}
			}
		}
		in.k.last = max(in.k.last, r.first+uint64(r.n)-1)
		in.r.LastSeq = in.k.last
	}
}

func (l *loading) gone(sid uint64, rest []byte, r *reader) error {
	g := r.gone()
	if err := r.end(); err != nil || len(rest) != 8 {
		return cmp.Or(err, errRecord)
	}
	in := l.sessions[sid]
	if in == nil {
		return nil
	}
	in.k.noted = true
	if in.gone == nil {
		in.gone = make(map[uint64]*gone)
	}
	in.gone[binary.BigEndian.Uint64(rest)] = &g
	return nil
}

// entry reads one message or a bundle.
func (l *loading) entry(sid uint64, rest []byte, r *reader) error {
	in := l.sessions[sid]
	if len(rest) != 8 {
		return errRecord
	}
	if in == nil {
		return nil
	}
	in.k.queue = true
	first, n := binary.BigEndian.Uint64(rest), r.entries()
	if in.k.last > 0 && first <= in.k.last { // they come in order
		return errPlace
	}
	b := span{first: first, n: uint16(n)}
	if n > 1 {
		if b.gone = in.gone[first]; b.gone != nil {
			b.noted = true
			delete(in.gone, first)
		}
	}
	for i := range uint64(n) {
		waits := !b.gone.has(i)
		if err := l.one(in, first+i, waits, r); err != nil {
			return err
		}
		if waits {
			b.left++
		}
	}
	if n > 1 {
		in.k.bundles = append(in.k.bundles, b)
	}
	return r.end()
}

// one reads one message, which waits or has gone before others of its bundle.
func (l *loading) one(in *loaded, seq uint64, waits bool, r *reader) error {
	e, id, share, ref := r.entry()
	in.k.last = max(in.k.last, seq) // of what has gone, too: its place is taken
	in.r.LastSeq = in.k.last
	if !waits {
		if ref == 0 && r.err == nil {
			r.skipMessage(&l.from)
		}
		return r.err
	}
	out := store.RestoredEntry{Entry: e, Share: share, PacketID: id}
	out.Seq = seq
	f, later := in.flights[seq]
	if later {
		out.PacketID, out.State = f.id, f.state
		delete(in.flights, seq)
		mark(&in.k.flown, seq)
	}
	if i, flies := in.k.runs.find(seq); flies && r.err == nil {
		run := &in.k.runs[i]
		if run.left++; !later { // than the entry, and before a flight
			out.PacketID = in.ids[run.first] + uint16(seq-run.first)
		}
		run.gone = run.gone.add(seq - run.first) // for now: what is there
	}
	whole := out.PacketID != 0 || in.r.Group // it is needed at once
	var err error
	switch {
	case r.err != nil:
	case ref != 0:
		err = l.apart(&out, ref, whole)
	case whole:
		out.Msg = r.message(&l.from)
	default:
		out.SetSize(r.skipMessage(&l.from))
	}
	if err = cmp.Or(err, r.err); err != nil {
		return err
	}
	if ref != 0 {
		in.k.aparts++
	}
	in.r.Entries = append(in.r.Entries, out)
	return nil
}

// apart notes that an entry's message has a record of its own; whole says that it
// is to be read.
func (l *loading) apart(out *store.RestoredEntry, ref uint64, whole bool) (err error) {
	m := l.messages[ref]
	if m == nil {
		return fmt.Errorf("its message is missing: %w", errRecord)
	}
	l.s.uses[ref]++
	if !whole {
		out.SetSize(m.size)
		return nil
	}
	if m.msg == nil {
		if m.msg, err = l.s.message(l.s.db, ref, &l.from); err != nil {
			return err
		}
	}
	out.Msg = m.msg
	return nil
}

// message reads a message that has a record of its own.
func (s *Store) message(db pebble.Reader, ref uint64, from *publishers) (*session.Message, error) {
	k := key(kindMessage, ref)
	v, err := s.getOf(db, k)
	if err != nil {
		return nil, fmt.Errorf("record %x: %w", k, err)
	}
	r := &reader{rest: v}
	r.version()
	m := r.message(from)
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("record %x: %w", k, err)
	}
	m.Ref.Store(ref)
	m.SetKept()
	return m, nil
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
	at, expiry := r.number(), r.number()
	m := r.message(&l.from)
	if err := r.end(); err != nil || len(rest) > 0 || at > math.MaxInt64 || expiry > math.MaxUint32 {
		return cmp.Or(err, errRecord)
	}
	if in := l.sessions[id]; in != nil {
		in.k.will = true
		in.r.Will, in.r.WillAt, in.r.WillExpiry = m, int64(at), uint32(expiry)
	}
	return nil
}

func (l *loading) retained(_ uint64, hash []byte, r *reader) error {
	r.version()
	m := r.message(&l.from)
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

// Records counts the records of each kind: for tests, and who looks into a store.
func (s *Store) Records() map[byte]int {
	n := make(map[byte]int)
	it, err := s.db.NewIter(nil)
	if err != nil {
		return n
	}
	for ok := it.First(); ok; ok = it.Next() {
		n[it.Key()[0]]++
	}
	_ = it.Close() // an error of reading would show in the counts
	return n
}
