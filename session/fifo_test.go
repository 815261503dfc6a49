package session

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// The queue behaves like a slice, whatever is done to it.
func TestQueueIsLikeASlice(t *testing.T) {
	for seed := range uint64(50) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		var q fifo
		var want []uint64
		var seq uint64
		messages := []*Message{{}, {}, {}}
		held := make(map[uint64]*Message)
		for step := range 3000 {
			switch n := rnd.IntN(100); {
			case n < 50+int(seed%10):
				seq++
				m := messages[rnd.IntN(3)]
				held[seq] = m
				q.push(&Entry{Seq: seq, Msg: m, QoS: 2})
				want = append(want, seq)
			case n < 96 && len(want) > 0:
				if e := q.pop(); e.Seq != want[0] {
					t.Fatalf("seed %d step %d: popped %d, want %d", seed, step, e.Seq, want[0])
				}
				want = want[1:]
			case n < 98:
				seq++
				q.unpop(&Entry{Seq: seq, Msg: messages[1], QoS: 1})
				want = append([]uint64{seq}, want...)
			case n < 99:
				m := messages[1+rnd.IntN(2)]
				before := len(want)
				want = slices.DeleteFunc(slices.Clone(want), func(s uint64) bool { return held[s] == m })
				if n, _ := q.removeHeld(m); n != before-len(want) {
					t.Fatalf("seed %d step %d: %d removed, want %d", seed, step, n, before-len(want))
				}
			}
			if q.len() != len(want) || len(want) > 0 && q.peek().Seq != want[0] {
				t.Fatalf("seed %d step %d: %d entries, want %d", seed, step, q.len(), len(want))
			}
			if q.n == 0 && len(q.ring) > spareRing {
				t.Fatalf("an empty queue keeps room for %d", len(q.ring))
			}
		}
		for _, s := range want {
			if e := q.pop(); e.Seq != s {
				t.Fatalf("seed %d at the end: %d, want %d", seed, e.Seq, s)
			}
		}
		if q.trim(); q.ring != nil {
			t.Errorf("an empty queue keeps its ring")
		}
	}
}

func TestQueueKeepsNoMessageAlive(t *testing.T) {
	var q fifo
	m := new(Message)
	for i := range 10 {
		q.push(&Entry{Seq: uint64(i), Msg: m, QoS: 2})
	}
	q.pop()
	q.removeHeld(m)
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
		m := new(Message)
		for _, op := range ops {
			switch op % 4 {
			case 0:
				q.push(&Entry{Msg: &Message{}})
				n++
			case 1:
				if n > 0 {
					q.pop()
					n--
				}
			case 2:
				q.unpop(&Entry{Msg: m, QoS: 2})
				n++
			case 3:
				k, _ := q.removeHeld(m)
				n -= k
			}
			if q.len() != n {
				t.Fatalf("%d entries, want %d", q.len(), n)
			}
		}
	})
}
