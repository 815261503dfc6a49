package session

import (
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
)

// The queue behaves like a slice, whatever is done to it.
func TestQueueIsLikeASlice(t *testing.T) {
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		var q fifo
		var want []uint64
		var seq uint64
		holds := []*atomic.Bool{nil, new(atomic.Bool), new(atomic.Bool)}
		held := make(map[uint64]*atomic.Bool)
		for step := range 3000 {
			switch n := rnd.IntN(100); {
			case n < 50+int(seed%10):
				seq++
				h := holds[rnd.IntN(3)]
				held[seq] = h
				q.push(Entry{Seq: seq, Msg: &Message{}, Held: h})
				want = append(want, seq)
			case n < 96 && len(want) > 0:
				if e := q.pop(); e.Seq != want[0] {
					t.Fatalf("seed %d step %d: popped %d, want %d", seed, step, e.Seq, want[0])
				}
				want = want[1:]
			case n < 98:
				seq++
				q.unpop(Entry{Seq: seq, Msg: &Message{}})
				want = append([]uint64{seq}, want...)
			case n < 99:
				h := holds[1+rnd.IntN(2)]
				before := len(want)
				want = slices.DeleteFunc(slices.Clone(want), func(s uint64) bool { return held[s] == h })
				if n, _ := q.removeHeld(h); n != before-len(want) {
					t.Fatalf("seed %d step %d: %d removed, want %d", seed, step, n, before-len(want))
				}
			}
			if q.len() != len(want) || len(want) > 0 && q.peek().Seq != want[0] {
				t.Fatalf("seed %d step %d: %d entries, want %d", seed, step, q.len(), len(want))
			}
			if q.n == 0 && len(want) == 0 && q.ring != nil && len(q.ring) > 4096 {
				t.Fatalf("an empty queue keeps room for %d", len(q.ring))
			}
		}
		for _, s := range want {
			if e := q.pop(); e.Seq != s {
				t.Fatalf("seed %d at the end: %d, want %d", seed, e.Seq, s)
			}
		}
		if q.ring != nil {
			t.Errorf("an empty queue keeps its ring")
		}
	}
}

func TestQueueKeepsNoMessageAlive(t *testing.T) {
	var q fifo
	h := new(atomic.Bool)
	for i := range 10 {
		q.push(Entry{Seq: uint64(i), Msg: &Message{}, Held: h})
	}
	q.pop()
	q.removeHeld(h)
	for i := range q.ring {
		if q.ring[i].Msg != nil {
			t.Fatalf("slot %d still holds a message", i)
		}
	}
}

func FuzzQueue(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 2, 1, 3, 1})
	f.Fuzz(func(t *testing.T, ops []byte) {
		var q fifo
		n := 0
		h := new(atomic.Bool)
		for _, op := range ops {
			switch op % 4 {
			case 0:
				q.push(Entry{Msg: &Message{}})
				n++
			case 1:
				if n > 0 {
					q.pop()
					n--
				}
			case 2:
				q.unpop(Entry{Msg: &Message{}, Held: h})
				n++
			case 3:
				k, _ := q.removeHeld(h)
				n -= k
			}
			if q.len() != n {
				t.Fatalf("%d entries, want %d", q.len(), n)
			}
		}
	})
}
