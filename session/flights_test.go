package session

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"sallyport/packet"
)

func TestFlightsAgreeWithAMap(t *testing.T) {
	for _, most := range []int{1, 5, 200, 5000, maxInFlight} {
		rnd := rand.New(rand.NewPCG(uint64(most), 3))
		var f flights
		want := map[uint16]uint64{}
		var ids []uint16 // of want, in no order
		var last uint16
		grow := true
		for step := range uint64(150_000) {
			if len(want) == most || len(want) == 0 {
				grow = len(want) == 0
			}
			if len(want) < most && (rnd.IntN(10) < 3) != grow {
				o := f.add(last)
				last, o.Seq = o.ID, step
				if _, used := want[o.ID]; used || o.ID == 0 {
					t.Fatalf("at most %d, step %d: identifier %d is in use or 0", most, step, o.ID)
				}
				want[o.ID] = step
				ids = append(ids, o.ID)
			} else if len(ids) > 0 {
				i := rnd.IntN(len(ids))
				o := f.find(ids[i])
				if o == nil || o.Seq != want[ids[i]] {
					t.Fatalf("at most %d, step %d: flight %d is lost", most, step, ids[i])
				}
				f.remove(o)
				delete(want, ids[i])
				ids[i] = ids[len(ids)-1]
				ids = ids[:len(ids)-1]
			}
			id := uint16(rnd.IntN(65536))
			if _, there := want[id]; (f.find(id) != nil) != there {
				t.Fatalf("at most %d, step %d: flight %d is found or not, and is there: %v", most, step, id, there)
			}
			if f.n != len(want) {
				t.Fatalf("at most %d, step %d: %d flights, want %d", most, step, f.n, len(want))
			}
		}
		sent := f.sent()
		if !slices.IsSortedFunc(sent, func(a, b uint16) int { return int(int64(want[a]) - int64(want[b])) }) || len(sent) != len(want) {
			t.Errorf("at most %d: %d flights are not in the order in which they were sent", most, len(sent))
		}
		if got := slices.Sorted(slices.Values(sent)); !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
			t.Errorf("at most %d: other flights than were added", most)
		}
	}
}

// A client chooses which of the identifiers it acknowledges. Whatever it
// chooses, the table is small when little is in flight, and nothing is slow.
func TestNoOrderOfAcknowledgementsMakesFlightsLarge(t *testing.T) {
	const window = 20_000
	for name, keeps := range map[string]func(id uint16) bool{
		"all are acknowledged":            func(uint16) bool { return false },
		"the first ones never are":        func(id uint16) bool { return id <= 50 },
		"those that share a place are":    func(id uint16) bool { return id%4096 == 7 || id%4096 == 8 },
		"one in a thousand never is":      func(id uint16) bool { return id%1000 == 0 },
		"the last ones never are":         func(id uint16) bool { return id > window-50 },
		"of two that collide one each is": func(id uint16) bool { return id == 3 || id == 3+16384 },
	} {
		t.Run(name, func(t *testing.T) {
			s := attached(window)
			m := message("x")
			for range window {
				s.Track(Entry{Msg: m, QoS: 1, Seq: s.NextSeq()})
			}
			kept := 0
			for id := range uint16(window + 1) {
				if keeps(id) && id != 0 {
					kept++
				} else {
					s.Forget(id)
				}
			}
			if n, _ := s.InFlight(); n != kept {
				t.Fatalf("%d in flight, want %d", n, kept)
			}
			if size := len(s.inflight.slots); size > max(spareSlots, shrinkSlots*kept) {
				t.Errorf("a table of %d for %d flights", size, kept)
			}
			if kept == 0 && s.inflight.aside != nil {
				t.Error("something is set aside, and nothing in flight")
			}
			// And the rest of the window goes round and round as before.
			allocs := testing.AllocsPerRun(1, func() {
				for range 150_000 {
					id, ok := s.Track(Entry{Msg: m, QoS: 1, Seq: s.NextSeq()})
					if !ok || keeps(id) && id <= window && kept > 0 && s.inflight.find(id).Seq <= window {
						t.Fatalf("identifier %d %v is in use", id, ok)
					}
					s.Forget(id)
				}
			})
			if allocs > 10 { // the runtime's own are counted too, one now and then
				t.Errorf("%.0f allocations for 150,000 messages that are acknowledged at once", allocs)
			}
			var last uint64
			s.Attach(packet.V5, window)
			for range kept {
				snd, ok := s.Next(0, nil)
				if !ok || !snd.Dup || snd.Seq <= last {
					t.Fatalf("%+v %v after %d, want the next one again", snd, ok, last)
				}
				last = snd.Seq
			}
			if _, ok := s.Next(0, nil); ok || s.resend != nil || !s.Room() {
				t.Error("more than what was left was sent again")
			}
		})
	}
}

func TestAnIdleSessionKeepsNothingAllocated(t *testing.T) {
	s := attached(1000)
	for _, n := range []int{3, 100, 1000} {
		var ids []uint16
		for i := range n {
			enqueue(s, "x", 2)
			s.AddIncoming(uint16(i + 1))
		}
		for range n {
			snd, _ := s.Next(0, nil)
			ids = append(ids, snd.ID)
		}
		for i, id := range ids {
			s.Forget(id)
			s.Release(uint16(i + 1))
		}
		kept := cap(s.inflight.slots)*int(unsafe.Sizeof(Outgoing{})) + cap(s.queue.ring)*int(unsafe.Sizeof(Entry{})) + 2*cap(s.incoming.few)
		if kept > 5<<10 || s.incoming.bits != nil {
			t.Errorf("%d bytes are kept after %d messages", kept, n)
		}
		s.Trim()
		if s.traffic != nil {
			t.Errorf("a trimmed session keeps room after %d messages", n)
		}
	}
	enqueue(s, "1", 1)
	enqueue(s, "2", 1)
	expect(t, s, "1", "2")
	enqueue(s, "3", 1)
	s.AddIncoming(9)
	s.Trim()
	if n, _ := s.InFlight(); n != 2 || !s.HasIncoming(9) {
		t.Error("Trim has taken what is in use")
	}
	expect(t, s, "3")
}

func TestAMessageIsOneAllocation(t *testing.T) {
	for n := range 1200 {
		payload := make([]byte, n)
		payload = append(payload, "end"...)
		props := []byte{1, 2}
		var m *Message
		most := 1.0
		if n > 892 {
			most = 2
		}
		if got := testing.AllocsPerRun(20, func() { m = NewMessage("topic", payload, props) }); got > most {
			t.Errorf("%d bytes: %.0f allocations, want %.0f", n, got, most)
		}
		if m.Topic != "topic" || string(m.Payload) != string(payload) || string(m.Props) != string(props) || m.ExpiryAt != -1 {
			t.Fatalf("%d bytes: %+v", n, m)
		}
		if cap(m.Payload) != len(m.Payload) || cap(m.Props) != len(m.Props) {
			t.Fatalf("%d bytes: an append would write into the message", n)
		}
	}
}

func BenchmarkFlights(b *testing.B) {
	m := message("x")
	for _, window := range []int{1, 64, 1000} {
		b.Run(fmt.Sprintf("window%d", window), func(b *testing.B) {
			s := attached(window)
			id := uint16(1)
			b.ReportAllocs()
			for i := range b.N {
				s.Track(Entry{Msg: m, QoS: 1, Seq: uint64(i)})
				if i >= window-1 {
					s.Forget(id)
					if id++; id == 0 {
						id = 1
					}
				}
			}
		})
	}
}
