package disk

import (
	"encoding/binary"
	"errors"

	"sallyport/session"
	"sallyport/store"
)

// Page implements store.Pager.
func (s *Store) Page(sid, first, last uint64, entries, bytes int) (page []store.RestoredEntry, err error) {
	if !s.enter() {
		return nil, store.ErrClosed
	}
	defer s.leave()
	s.mu.Lock()
	from := first
	if k := s.sessions[sid]; k != nil {
		if i, there := k.bundles.find(first); there {
			from = k.bundles[i].first
		}
	}
	s.mu.Unlock()
	// One publisher is one Origin, for all messages that are read: s.readers.
	s.reading.Lock()
	defer s.reading.Unlock()
	s.readers.read = s.get
	// What is written apart goes while it is read: in the snapshot it is there as long as
	// what refers to it.
	snap := s.db.NewSnapshot()
	defer func() { err = errors.Join(err, snap.Close()) }()
	page = make([]store.RestoredEntry, 0, min(entries, bytes/session.SizeOf(0, 0, 0)+1, pageRoom))
	err = s.withinOf(snap, keyOf(kindEntry, sid, from), keyOf(kindEntry, sid, last+1), func(k []byte, r *reader) (bool, error) {
		if len(k) != 17 {
			return false, errRecord
		}
		seq, n := binary.BigEndian.Uint64(k[9:]), r.entries()
		var over gone
		if n > 1 {
			var all bool
			if over, all = s.goneOf(sid, seq); all {
				return true, nil
			}
		}
		for i := range uint64(n) {
			e, id, share, ref := r.entry()
			wanted := seq+i >= first && seq+i <= last && !over.has(i)
			switch {
			case r.err != nil:
				return false, r.err
			case ref != 0 && wanted:
				if e.Msg, err = s.message(snap, ref, &s.readers); err != nil {
					return false, err
				}
			case ref != 0:
			case wanted:
				e.Msg = r.message(&s.readers)
			default:
				r.skipMessage(&s.readers)
			}
			if r.err != nil {
				return false, r.err
			}
			if !wanted {
				continue
			}
			e.Seq = seq + i
			e.Msg.SetKept()
			page = append(page, store.RestoredEntry{Entry: e, Share: share, PacketID: id})
			entries--
			bytes -= e.Msg.Size()
			if ref != 0 && (entries <= 0 || bytes <= 0) {
				return false, nil // a bundle does not bound what is written apart
			}
		}
		return entries > 0 && bytes > 0, r.end()
	})
	return page, err
}

// pageRoom is for how many messages a page has room at first, at most.
const pageRoom = 128

// goneOf is kept.over of a session.
func (s *Store) goneOf(sid, first uint64) (g gone, all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.sessions[sid]; k != nil {
		return k.over(first)
	}
	return g, true
}

// enter lets a reader in, for whom Close waits until it leaves; false if the store is
// closed or has failed.
func (s *Store) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.failed != nil {
		return false
	}
	s.running++
	return true
}

func (s *Store) leave() {
	s.mu.Lock()
	s.running--
	s.mu.Unlock()
	s.wake.Broadcast()
}
