package broker

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func TestTheRegistryFindsWhoIsThereAndNobodyElse(t *testing.T) {
	var r registry
	r.init()
	rnd := rand.New(rand.NewPCG(5, 6))
	there := make(map[string]*client)
	for step := range 60_000 {
		id := fmt.Sprint("client-", rnd.IntN(4000))
		if step > 40_000 || rnd.IntN(3) == 0 { // at the end it only shrinks
			if cl := there[id]; cl != nil {
				r.remove(cl)
				r.remove(cl) // gone already
				delete(there, id)
			}
		} else {
			cl := r.findOrAdd(nil, id)
			if old := there[id]; old != nil && old != cl {
				t.Fatalf("%s is there twice", id)
			}
			there[id] = cl
		}
		if got := r.find(id); got != there[id] {
			t.Fatalf("step %d: find(%s) = %p, want %p", step, id, got, there[id])
		}
	}
	r.each(func(cl *client) {
		if there[cl.id] != cl {
			t.Errorf("%s is in the snapshot and was removed", cl.id)
		}
		delete(there, cl.id)
	})
	if len(there) > 0 {
		t.Errorf("%d are missing in the snapshot", len(there))
	}
}

func TestAClientOfBeforeIsNotRemovedForTheOneOfNow(t *testing.T) {
	var r registry
	r.init()
	old := r.findOrAdd(nil, "c")
	r.remove(old)
	now := r.findOrAdd(nil, "c")
	r.remove(old)
	if r.find("c") != now {
		t.Error("the client of now was removed")
	}
}

func TestTheConnectionsAreThoseAddedAndNotRemoved(t *testing.T) {
	var s connSet
	rnd := rand.New(rand.NewPCG(7, 8))
	there := make(map[*Conn]bool)
	var order []*Conn
	for range 5000 {
		c := &Conn{}
		s.add(c)
		there[c], order = true, append(order, c)
	}
	rnd.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
	for i, c := range order {
		if i%500 == 0 {
			all := s.all()
			if len(all) != len(there) {
				t.Fatalf("%d connections, want %d", len(all), len(there))
			}
			for _, c := range all {
				if !there[c] {
					t.Fatal("a removed connection is listed")
				}
			}
		}
		s.remove(c)
		s.remove(c) // removed already
		delete(there, c)
	}
	select {
	case <-s.empty():
	default:
		t.Error("connections are left")
	}
}
