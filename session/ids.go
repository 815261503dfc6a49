package session

import "slices"

// IDs is a set of packet identifiers. A client before MQTT 5 may open 65,535
// QoS 2 exchanges and finish none, so the set is small while it is small and
// never more than 8 KiB. The zero IDs is empty.
type IDs struct {
	few  []uint16      // ascending, up to fewIDs
	bits *[1024]uint64 // from then on
	n    int
}

const (
	// fewIDs is how many identifiers are kept in a list.
	fewIDs = 256
	// spareIDs is the longest list that an empty set keeps until it is trimmed.
	spareIDs = 128
)

// Len is the number of identifiers in the set.
func (s *IDs) Len() int { return s.n }

// search is where id is in the list, or would be. Clients go up by one and
// release the oldest first: both are found without a search.
func (s *IDs) search(id uint16) (at int, found bool) {
	switch last := len(s.few) - 1; {
	case last < 0 || id > s.few[last]:
		return last + 1, false
	case id == s.few[0]:
		return 0, true
	}
	return slices.BinarySearch(s.few, id)
}

// Has reports whether id is in the set.
func (s *IDs) Has(id uint16) bool {
	if s.bits != nil {
		return s.bits[id>>6]&(1<<(id&63)) != 0
	}
	_, found := s.search(id)
	return found
}

// Add puts id into the set and reports whether it is new there.
func (s *IDs) Add(id uint16) bool {
	if s.bits == nil {
		at, found := s.search(id)
		if found {
			return false
		}
		if len(s.few) < fewIDs {
			s.few = slices.Insert(s.few, at, id)
			s.n++
			return true
		}
		s.bits = new([1024]uint64)
		for _, old := range s.few {
			s.bits[old>>6] |= 1 << (old & 63)
		}
		s.few = nil
	}
	if s.Has(id) {
		return false
	}
	s.bits[id>>6] |= 1 << (id & 63)
	s.n++
	return true
}

// Remove takes id out of the set and reports whether it was there.
func (s *IDs) Remove(id uint16) bool {
	if s.bits != nil {
		if !s.Has(id) {
			return false
		}
		s.bits[id>>6] &^= 1 << (id & 63)
		if s.n--; s.n == 0 {
			s.bits = nil
		}
		return true
	}
	at, found := s.search(id)
	if !found {
		return false
	}
	s.few = slices.Delete(s.few, at, at+1)
	if s.n--; s.n == 0 && cap(s.few) > spareIDs {
		s.few = nil
	}
	return true
}

// Trim gives back what an empty set keeps for the next identifiers.
func (s *IDs) Trim() {
	if s.n == 0 {
		*s = IDs{}
	}
}
