package session

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// The subscriptions behave like a map, whatever is done to them.
func TestSubscriptionsAreLikeAMap(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 11))
		var s Subs
		want := map[string]*Subscription{}
		span := []int{3, 12, 40, 3000}[seed%4]
		for step := range 6000 {
			f := fmt.Sprint("a/", rnd.IntN(span))
			if step/1000%3 < 2 && rnd.IntN(3) > 0 {
				sub := NewSubscription(f, "", 0)
				if old := s.Set(sub); old != want[f] {
					t.Fatalf("seed %d step %d: Set replaced %v, want %v", seed, step, old, want[f])
				}
				want[f] = sub
			} else {
				if old := s.Delete(f); old != want[f] {
					t.Fatalf("seed %d step %d: Delete returned %v, want %v", seed, step, old, want[f])
				}
				delete(want, f)
			}
			if f = fmt.Sprint("a/", rnd.IntN(span)); s.Get(f) != want[f] || s.Len() != len(want) {
				t.Fatalf("seed %d step %d: Get(%q) = %v of %d, want %v of %d", seed, step, f, s.Get(f), s.Len(), want[f], len(want))
			}
		}
		n := 0
		for sub := range s.All() {
			if n++; want[sub.Filter] != sub {
				t.Errorf("seed %d: All yields %q, which is not there", seed, sub.Filter)
			}
		}
		if n != len(want) {
			t.Errorf("seed %d: All yields %d, want %d", seed, n, len(want))
		}
		for f := range want {
			s.Delete(f)
		}
		if s != (Subs{}) {
			t.Errorf("seed %d: without subscriptions a table is kept", seed)
		}
	}
}

func TestASubscriptionsPartsAreThoseOfItsFilter(t *testing.T) {
	for _, tt := range []struct{ filter, group, topic string }{
		{"a/+", "", "a/+"},
		{"$share/g/a/+", "g", "a/+"},
		{"$share/long name//a", "long name", "/a"},
		{"$share/g/$share/h/x", "g", "$share/h/x"},
	} {
		s := NewSubscription(tt.filter, tt.group, 7)
		if s.Topic() != tt.topic || s.Group() != tt.group || s.Shared() != (tt.group != "") {
			t.Errorf("%q: topic %q, group %q, shared %v", tt.filter, s.Topic(), s.Group(), s.Shared())
		}
		if ids := s.Via().IDs(); len(ids) != 1 || ids[0] != 7 {
			t.Errorf("identifiers %v, want 7", ids)
		}
	}
	if ids := NewSubscription("a", "", 0).Via().IDs(); ids != nil {
		t.Errorf("identifiers %v, want none", ids)
	}
}

func TestSubscriptionsOfOneClientTakeLittle(t *testing.T) {
	filters := make([]string, 1000)
	for i := range filters {
		filters[i] = fmt.Sprint("device/", i)
	}
	for n, ceiling := range map[int]float64{1: 3, 1000: 1020} {
		if got := testing.AllocsPerRun(10, func() {
			var s Subs
			for _, f := range filters[:n] {
				s.Set(NewSubscription(f, "", 0))
			}
		}); got > ceiling {
			t.Errorf("%d subscriptions: %.0f allocations, want at most %.0f", n, got, ceiling)
		}
	}
}
