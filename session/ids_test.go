package session

import (
	"math/rand/v2"
	"testing"
)

func TestIDsAgreeWithAMap(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, span := range []int{8, 200, 65536} {
		var s IDs
		want := map[uint16]bool{}
		for step := range 20000 {
			id := uint16(rnd.IntN(span))
			if rnd.IntN(3) == 0 {
				if got := s.Remove(id); got != want[id] {
					t.Fatalf("span %d, step %d: Remove(%d) = %v, want %v", span, step, id, got, want[id])
				}
				delete(want, id)
			} else {
				s.Add(id)
				want[id] = true
			}
			if s.Len() != len(want) || s.Has(id) != want[id] {
				t.Fatalf("span %d, step %d: Len %d, Has(%d) %v; want %d, %v", span, step, s.Len(), id, s.Has(id), len(want), want[id])
			}
		}
	}
}

func TestIDsHoldEveryIdentifier(t *testing.T) {
	var s IDs
	for id := range 65536 {
		s.Add(uint16(id))
	}
	if s.Len() != 65536 || !s.Has(0) || !s.Has(65535) {
		t.Errorf("Len %d, Has(0) %v, Has(65535) %v", s.Len(), s.Has(0), s.Has(65535))
	}
	for id := range 65536 {
		s.Remove(uint16(id))
	}
	if s.Len() != 0 || s.bits != nil {
		t.Errorf("an emptied set has %d identifiers and keeps its bits: %v", s.Len(), s.bits != nil)
	}
}
