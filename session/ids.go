package session

import "slices"

// IDs is a set of packet identifiers. A client before MQTT 5 may open 65,535
// QoS 2 exchanges and finish none, so the set is small while it is small and
// never more than 8 KiB. The zero IDs is empty.
type IDs struct {
	few  []uint16      // unordered, up to fewIDs
	bits *[1024]uint64 // from then on
	n    int
}

// fewIDs is how many identifiers are kept in a list.
const fewIDs = 64

// Len is the number of identifiers in the set.
func (s *IDs) Len() int { return s.n }

// Has reports whether id is in the set.
func (s *IDs) Has(id uint16) bool {
	if s.bits != nil {
		return s.bits[id>>6]&(1<<(id&63)) != 0
	}
	return slices.Contains(s.few, id)
}

// Add puts id into the set.
func (s *IDs) Add(id uint16) {
	if s.Has(id) {
		return
	}
	s.n++
	if s.bits == nil && len(s.few) < fewIDs {
		s.few = append(s.few, id)
		return
	}
	if s.bits == nil {
		s.bits = new([1024]uint64)
		for _, old := range s.few {
			s.bits[old>>6] |= 1 << (old & 63)
		}
		s.few = nil
	}
	s.bits[id>>6] |= 1 << (id & 63)
}

// Remove takes id out of the set and reports whether it was there.
func (s *IDs) Remove(id uint16) bool {
	if !s.Has(id) {
		return false
	}
	s.n--
	switch {
	case s.n == 0:
		*s = IDs{}
	case s.bits != nil:
		s.bits[id>>6] &^= 1 << (id & 63)
	default:
		i := slices.Index(s.few, id)
		s.few[i] = s.few[len(s.few)-1]
		s.few = s.few[:len(s.few)-1]
	}
	return true
}
