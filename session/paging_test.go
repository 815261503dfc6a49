package session

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// A queue of which a store has a part behaves like a slice, whatever is done to it.
func TestAPagedQueueIsLikeASlice(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		s := &Session{Number: 1}
		s.Attach(0, 65535)
		stored := map[uint64]Entry{} // what the store has
		var want []uint64            // the queue
		var asked []uint64
		var askedLast uint64
		paged := false
		size := func() (n int) {
			for _, seq := range want {
				e := stored[seq]
				n += e.Size()
			}
			return n
		}
		answer := func() {
			var read []Entry
			for _, seq := range asked {
				if e, there := stored[seq]; there {
					read = append(read, e)
				}
			}
			s.PageIn(askedLast, read)
			asked = nil
		}
		for step := range 4000 {
			switch n := rnd.IntN(100); {
			case n < 55:
				m := NewMessage("t", []byte(strings.Repeat("x", rnd.IntN(600))), nil)
				if rnd.IntN(10) > 0 {
					m.SetKept()
				}
				seq := s.NextSeq()
				if rnd.IntN(20) == 0 {
					seq = s.NextSeq() // the one before went another way
				}
				e := Entry{Msg: m, Seq: seq, QoS: 1}
				stored[seq] = e
				want = append(want, seq)
				s.Enqueue(e)
				s.PageOut()
				paged = paged || s.paging != nil
			case n < 80:
				snd, ok := s.Next(0, func(e Entry) { t.Errorf("%d is dropped", e.Seq) })
				if ok {
					if snd.Seq != want[0] || snd.Msg != stored[want[0]].Msg {
						t.Fatalf("seed %d step %d: %d, want %d", seed, step, snd.Seq, want[0])
					}
					s.Forget(snd.ID)
					delete(stored, snd.Seq)
					want = want[1:]
				} else if len(want) > 0 && len(asked) == 0 {
					if _, _, hungry := s.Hungry(); !hungry {
						t.Fatalf("seed %d step %d: nothing is to be sent of %d", seed, step, len(want))
					}
					s.paging.reading = false
				}
			case n < 85:
				if e, ok := s.DropOldest(); ok != (len(want) > 0) || ok && e.Seq != want[0] {
					t.Fatalf("seed %d step %d: dropped %d, %v", seed, step, e.Seq, ok)
				} else if ok {
					delete(stored, e.Seq)
					want = want[1:]
				}
			case n < 95:
				if len(asked) > 0 {
					answer()
				} else if first, last, hungry := s.Hungry(); hungry {
					askedLast = last
					for seq := first; seq <= last && len(asked) < 1+rnd.IntN(30); seq++ {
						asked = append(asked, seq)
						askedLast = seq
					}
				}
			}
			if n, bytes := s.Queued(); n != len(want) || bytes < 0 || (s.traffic == nil || s.paging == nil) && bytes != size() {
				t.Fatalf("seed %d step %d: %d entries of %d bytes, want %d of %d", seed, step, n, bytes, len(want), size())
			}
		}
		if len(asked) > 0 {
			answer()
		}
		for len(want) > 0 {
			if snd, ok := s.Next(0, nil); ok {
				if snd.Seq != want[0] {
					t.Fatalf("seed %d: %d, want %d", seed, snd.Seq, want[0])
				}
				s.Forget(snd.ID)
				want = want[1:]
				continue
			}
			first, last, hungry := s.Hungry()
			if !hungry {
				t.Fatalf("seed %d: nothing is read, and %d wait", seed, len(want))
			}
			askedLast, asked = last, nil
			for seq := first; seq <= last; seq++ {
				asked = append(asked, seq)
			}
			answer()
		}
		if n, bytes := s.Queued(); n != 0 || bytes != 0 || s.traffic.paging != nil {
			t.Errorf("seed %d: %d entries of %d bytes are left", seed, n, bytes)
		}
		if messages, bytes := s.Count(); messages != 0 && bytes != 0 {
			t.Errorf("seed %d: counted %d, %d", seed, messages, bytes)
		}
		if !paged {
			t.Errorf("seed %d: the store never had a part", seed)
		}
	}
}

// What is missing in the store when it is read is over.
func TestAMissingPageIsOver(t *testing.T) {
	s := &Session{Number: 1}
	s.Attach(0, 10)
	for seq := uint64(1); seq <= 5; seq++ {
		e := Entry{Seq: seq, QoS: 1}
		e.SetSize(200)
		s.Restore(e, 0, 0)
	}
	m := NewMessage("t", nil, nil)
	if _, last, ok := s.Hungry(); !ok || last != 5 {
		t.Fatal(last, ok)
	}
	s.PageIn(4, []Entry{{Msg: m, Seq: 2, QoS: 1}})
	if n, bytes := s.Queued(); n != 2 || bytes != m.Size()+200 {
		t.Errorf("%d entries of %d bytes", n, bytes)
	}
	if snd, ok := s.Next(0, nil); !ok || snd.Seq != 2 {
		t.Errorf("%+v", snd)
	}
	if first, last, ok := s.Hungry(); !ok || first != 5 || last != 5 {
		t.Error(first, last, ok)
	}
	s.PageIn(5, nil)
	if n, bytes := s.Queued(); n != 0 || bytes != 0 || !slices.Equal(s.inflight.sent(), []uint16{1}) {
		t.Errorf("%d entries of %d bytes", n, bytes)
	}
}

// The entries of one message get to the store in different batches: that one session's
// is there does not say that another's is.
func TestAMessageIsLetGoOfWhenAllItsEntriesAreKept(t *testing.T) {
	long := NewMessage("t", make([]byte, 5*PageBytes), nil)
	short := NewMessage("t", make([]byte, 2*PageBytes), nil)
	short.SetKept()
	var both [2]*Session
	for i := range both {
		s := &Session{Number: uint64(i + 1)}
		for range 3 {
			s.Enqueue(Entry{Msg: short, Seq: s.NextSeq(), QoS: 1})
		}
		long.Leaves()
		s.Enqueue(Entry{Msg: long, Seq: s.NextSeq(), QoS: 1})
		s.Enqueue(Entry{Msg: short, Seq: s.NextSeq(), QoS: 1})
		both[i] = s
	}
	check := func(what string, want bool) {
		t.Helper()
		if long.Kept() != want {
			t.Errorf("%s: kept is %v", what, !want)
		}
		for i, s := range both {
			s.PageOut()
			last := s.paging.runs[len(s.paging.runs)-1]
			if out := last.first+uint64(last.n) > 4; out != want {
				t.Errorf("%s: session %d has let go of it: %v", what, i, out)
			}
		}
	}
	check("none is there", false)
	long.Lands()
	check("one is there", false)
	long.Lands()
	check("both are there", true)
	long.Lands() // of who never said that it leaves
	check("another was put", true)
}
