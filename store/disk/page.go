package disk

import (
	"encoding/binary"

	"sallyport/store"
)

// Page implements store.Pager.
func (s *Store) Page(sid, first, last uint64, entries, bytes int) (page []store.RestoredEntry, err error) {
	s.mu.Lock()
	if s.closed || s.failed != nil {
		s.mu.Unlock()
		return nil, store.ErrClosed
	}
	s.running++ // Close waits
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.running--
		s.mu.Unlock()
		s.wake.Broadcast()
	}()
	// One publisher is one Origin, for all messages that are read: s.readers.
	s.reading.Lock()
	defer s.reading.Unlock()
	s.readers.read = s.get
	err = s.within(keyOf(kindEntry, sid, first), keyOf(kindEntry, sid, last+1), func(k []byte, r *reader) (bool, error) {
		if len(k) != 17 {
			return false, errRecord
		}
		e, id, share, ref := r.entry()
		out := store.RestoredEntry{Entry: e, Share: share, PacketID: id}
		out.Seq = binary.BigEndian.Uint64(k[9:])
		switch {
		case r.err != nil:
			return false, r.err
		case ref != 0:
			if out.Msg, err = s.message(ref, &s.readers); err != nil {
				return false, err
			}
		default:
			out.Msg = r.message(&s.readers)
		}
		if err := r.end(); err != nil {
			return false, err
		}
		out.Msg.SetKept()
		page = append(page, out)
		entries--
		bytes -= out.Msg.Size()
		return entries > 0 && bytes > 0, nil
	})
	return page, err
}
