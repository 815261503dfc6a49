package disk

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"sallyport/session"
	"sallyport/store"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// several puts messages n to m, each as the entry with that Seq, in one batch.
func several(sid, n, m uint64) (ops []store.Op) {
	for seq := n; seq <= m; seq++ {
		ops = append(ops, store.Op{Kind: store.PutEntry, Session: sid, Entry: session.Entry{Msg: message("t", fmt.Sprint(seq)), QoS: 1, Seq: seq}})
	}
	return ops
}

func sent(sid, n, m uint64, id uint16) (ops []store.Op) {
	for seq := n; seq <= m; seq++ {
		ops = append(ops, store.Op{Kind: store.SetFlight, Session: sid, Entry: session.Entry{Seq: seq}, PacketID: id + uint16(seq-n)})
	}
	return ops
}

func over(sid uint64, seqs ...uint64) (ops []store.Op) {
	for _, seq := range seqs {
		ops = append(ops, store.Op{Kind: store.DeleteEntry, Session: sid, Entry: session.Entry{Seq: seq}})
	}
	return ops
}

func TestAGroupWritesOneRecordOfWhatFollowsEachOther(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, Options{FS: fs})
	commit(t, s, append([]store.Op{{Kind: store.PutSession, Session: 1, Client: "a", Owner: owner, Expiry: 9}}, several(1, 1, 10)...)...)
	commit(t, s, sent(1, 1, 6, 40)...)
	check := func(what string, want map[byte]int) {
		t.Helper()
		got := s.Records()
		for kind, n := range want {
			if got[kind] != n {
				t.Errorf("%s: %d records of kind %c, want %d", what, got[kind], kind, n)
			}
		}
	}
	check("put and sent", map[byte]int{kindEntry: 1, kindRun: 1, kindGone: 0})
	commit(t, s, over(1, 2, 3, 2)...)
	check("two are gone", map[byte]int{kindEntry: 1, kindRun: 1, kindGone: 1})
	closed(t, s)
	s = open(t, Options{FS: fs})
	var got []string
	for _, e := range restored(s)[0].Entries {
		got = append(got, fmt.Sprint(e.Seq, " ", e.PacketID, " ", string(payloadOf(s, 1, &e))))
	}
	if want := "1 40 1, 4 43 4, 5 44 5, 6 45 6, 7 0 7, 8 0 8, 9 0 9, 10 0 10"; strings.Join(got, ", ") != want {
		t.Errorf("%s, want %s", strings.Join(got, ", "), want)
	}
	page, err := s.Page(1, 2, 9, 100, 1<<20)
	if err != nil || len(page) != 6 || page[0].Seq != 4 || page[5].Seq != 9 {
		t.Errorf("%v, %v", page, err)
	}
	commit(t, s, over(1, 6, 5, 4, 1)...)
	check("none is on its way", map[byte]int{kindEntry: 1, kindRun: 0, kindGone: 1})
	commit(t, s, over(1, 7, 8, 9)...)
	commit(t, s, over(1, 10)...)
	check("all are gone", map[byte]int{kindEntry: 0, kindRun: 0, kindGone: 0})
	if k := s.sessions[1]; len(k.bundles)+len(k.runs) > 0 {
		t.Errorf("%+v", k)
	}
	closed(t, s)
}

func TestABundleIsBounded(t *testing.T) {
	s := open(t, Options{})
	defer closed(t, s)
	commit(t, s, append([]store.Op{{Kind: store.PutSession, Session: 1, Client: "a", Owner: owner, Expiry: 9}}, several(1, 1, 3*spanMost)...)...)
	if n := s.Records()[kindEntry]; n < 3 {
		t.Errorf("%d records of %d messages", n, 3*spanMost)
	}
	ops := several(1, 3*spanMost+1, 3*spanMost+8)
	for i := range ops {
		ops[i].Entry.Msg = message("t", strings.Repeat("x", bundleBytes))
	}
	before := s.Records()[kindEntry]
	commit(t, s, ops...)
	if n := s.Records()[kindEntry] - before; n != 8 {
		t.Errorf("%d records of 8 messages that are each as large as a bundle may be", n)
	}
	page, err := s.Page(1, 1, 3*spanMost+8, 10, 1<<30)
	if err != nil || len(page) < 10 || len(page) > 10+spanMost {
		t.Errorf("%d messages, %v", len(page), err)
	}
}

func TestWhatFollowsARestartTakesNoPlaceThatWasGiven(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, Options{FS: fs})
	commit(t, s, append([]store.Op{{Kind: store.PutSession, Session: 1, Client: "a", Owner: owner, Expiry: 9}}, several(1, 1, 8)...)...)
	commit(t, s, over(1, 6, 7, 8)...)
	closed(t, s)
	s = open(t, Options{FS: fs})
	defer closed(t, s)
	if r := restored(s)[0]; r.LastSeq != 8 || len(r.Entries) != 5 {
		t.Errorf("the next message would get the place %d, %d wait", r.LastSeq+1, len(r.Entries))
	}
}

// TestBundlesAreWhatTheyHold compares a store with a plain list of what it should
// hold, while queues fill and drain in runs, out of order and over restarts.
func TestBundlesAreWhatTheyHold(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 5))
		key := []([]byte){nil, testKey}[seed%2]
		fs := vfs.NewMem()
		s := open(t, Options{FS: fs, Key: key})
		type state struct {
			payload string
			id      uint16
		}
		const sessions = 3
		var want [sessions + 1]map[uint64]*state
		var next [sessions + 1]uint64
		for sid := uint64(1); sid <= sessions; sid++ {
			want[sid] = map[uint64]*state{}
			commit(t, s, store.Op{Kind: store.PutSession, Session: sid, Client: fmt.Sprint(sid), Owner: owner, Expiry: 9})
		}
		for range 60 {
			var ops []store.Op
			for range 1 + r.IntN(4) {
				sid := 1 + r.Uint64N(sessions)
				seqs := slices.Sorted(maps.Keys(want[sid]))
				switch r.IntN(6) {
				case 0, 1: // it fills, some of it in another order
					n := 1 + r.Uint64N(40)
					puts := several(sid, next[sid]+1, next[sid]+n)
					if r.IntN(3) == 0 {
						r.Shuffle(len(puts), func(i, j int) { puts[i], puts[j] = puts[j], puts[i] })
					}
					for i := range puts {
						seq := puts[i].Entry.Seq
						if r.IntN(8) == 0 { // and for another, too
							other := sid%sessions + 1
							next[other] = max(next[other], seq, next[sid]+n) + 1
							puts = append(puts, store.Op{Kind: store.PutEntry, Session: other, Entry: session.Entry{Msg: puts[i].Entry.Msg, QoS: 1, Seq: next[other]}})
							want[other][next[other]] = &state{payload: fmt.Sprint(seq)}
						}
						want[sid][seq] = &state{payload: fmt.Sprint(seq)}
					}
					next[sid] = max(next[sid], slices.Max(slices.Collect(maps.Keys(want[sid]))))
					ops = append(ops, puts...)
				case 2: // it is sent
					id := uint16(1 + r.IntN(60_000))
					for _, seq := range seqs[:r.IntN(len(seqs)+1)] {
						if st := want[sid][seq]; st.id == 0 {
							st.id = id
							ops = append(ops, sent(sid, seq, seq, id)...)
							id += uint16(1 + r.IntN(10)/9)
						}
					}
				case 3, 4: // it drains
					for _, seq := range seqs[:r.IntN(len(seqs)+1)] {
						delete(want[sid], seq)
						ops = append(ops, over(sid, seq)...)
					}
				case 5: // here and there
					for _, seq := range seqs {
						if r.IntN(3) == 0 {
							delete(want[sid], seq)
							ops = append(ops, over(sid, seq)...)
						}
					}
				}
			}
			commit(t, s, ops...)
			if r.IntN(6) > 0 {
				continue
			}
			closed(t, s)
			s = open(t, Options{FS: fs, Key: key})
			for _, kept := range restored(s) {
				sid := kept.Number
				for i := range kept.Entries {
					e := &kept.Entries[i]
					st := want[sid][e.Seq]
					if st == nil {
						t.Fatalf("seed %d: session %d has %d, which is gone", seed, sid, e.Seq)
					}
					if got := string(payloadOf(s, sid, e)); got != st.payload || e.PacketID != st.id {
						t.Fatalf("seed %d: session %d has %d as %q with identifier %d, want %q, %d", seed, sid, e.Seq, got, e.PacketID, st.payload, st.id)
					}
				}
				if len(kept.Entries) != len(want[sid]) {
					t.Fatalf("seed %d: session %d has %d messages, want %d", seed, sid, len(kept.Entries), len(want[sid]))
				}
			}
		}
		for sid := range uint64(sessions) {
			commit(t, s, over(sid+1, slices.Collect(maps.Keys(want[sid+1]))...)...)
		}
		commit(t, s) // what was found to be read nowhere else goes with the next group
		for kind, n := range s.Records() {
			if strings.ContainsRune("qgnfp", rune(kind)) {
				t.Errorf("seed %d: %d records of kind %c are left", seed, n, kind)
			}
		}
		closed(t, s)
	}
}

func TestAMessageIsKeptWhenAllItsEntriesAre(t *testing.T) {
	s := open(t, Options{})
	defer closed(t, s)
	for sid := range uint64(3) {
		commit(t, s, store.Op{Kind: store.PutSession, Session: sid + 1, Client: fmt.Sprint(sid), Owner: owner, Expiry: 9})
	}
	m := message("t", "for three, of whom one has left")
	put := func(sid uint64) store.Op {
		return store.Op{Kind: store.PutEntry, Session: sid, Entry: session.Entry{Msg: m, QoS: 1, Seq: 1}}
	}
	for range 4 {
		m.Leaves()
	}
	commit(t, s, put(1))
	commit(t, s) // what is told of a group is told before the next
	if m.Kept() {
		t.Error("it is kept, and three entries are on their way")
	}
	commit(t, s, append(over(2, 1), put(2))...) // acknowledged before it is put
	commit(t, s, append([]store.Op{put(3)}, over(3, 1)...)...)
	commit(t, s)
	if m.Kept() {
		t.Error("it is kept, and one entry is on its way")
	}
	commit(t, s, put(99)) // of nobody
	commit(t, s)
	if !m.Kept() {
		t.Error("it is not kept, and nothing is on its way")
	}
}

// sessionsOf puts sessions 1 to n.
func sessionsOf(n uint64) (ops []store.Op) {
	for sid := uint64(1); sid <= n; sid++ {
		ops = append(ops, store.Op{Kind: store.PutSession, Session: sid, Client: fmt.Sprint(sid), Owner: owner, Expiry: 9})
	}
	return ops
}

// forBoth puts messages of this size for sessions 1 and 2, which are written apart.
func forBoth(n, m uint64, size int) (ops []store.Op) {
	for seq := n; seq <= m; seq++ {
		msg := message("t", strings.Repeat("x", size))
		for sid := uint64(1); sid <= 2; sid++ {
			ops = append(ops, store.Op{Kind: store.PutEntry, Session: sid, Entry: session.Entry{Msg: msg, QoS: 1, Seq: seq}})
		}
	}
	return ops
}

func TestAMessageOfABundleThatIsDeletedTwiceGoesOnce(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, Options{FS: fs})
	commit(t, s, append(sessionsOf(2), forBoth(1, 3, 9)...)...)
	var msgs []*session.Message
	page, err := s.Page(1, 1, 3, 9, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range page {
		msgs = append(msgs, e.Msg)
	}
	ops := over(1, 1, 2, 3, 3, 2, 1)
	for i := range ops {
		if i != 1 && i != 4 { // one is not read
			ops[i].Entry.Msg = msgs[ops[i].Entry.Seq-1]
		}
	}
	commit(t, s, ops...)
	commit(t, s) // what was found to be read nowhere else goes with the next group
	closed(t, s)
	s = open(t, Options{FS: fs})
	defer closed(t, s)
	if r := restored(s); len(r[0].Entries) != 0 || len(r[1].Entries) != 3 {
		t.Errorf("%d and %d messages wait, want none and 3", len(r[0].Entries), len(r[1].Entries))
	}
}

func TestPageWhileMessagesGo(t *testing.T) {
	for _, bundle := range []uint64{1, 20} {
		s := open(t, Options{Durability: System})
		commit(t, s, sessionsOf(2)...)
		var stop atomic.Bool
		var low, high atomic.Uint64
		low.Store(1)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for !stop.Load() {
				h := high.Load()
				commit(t, s, forBoth(h+1, h+bundle, 9)...)
				high.Store(h + bundle)
				if h > 100 {
					l := low.Load()
					var seqs []uint64
					for i := range bundle {
						seqs = append(seqs, l+i)
					}
					low.Store(l + bundle)
					commit(t, s, append(over(1, seqs...), over(2, seqs...)...)...)
				}
			}
		}()
		for range 500 {
			l := low.Load()
			if _, err := s.Page(1, l, l+50, 1024, session.ReadBytes); err != nil {
				t.Errorf("bundles of %d: %v", bundle, err)
				break
			}
		}
		stop.Store(true)
		<-done
		closed(t, s)
	}
}

func TestAPageOfABundleIsNoLongerThanAskedFor(t *testing.T) {
	s := open(t, Options{})
	defer closed(t, s)
	const n, size = 200, 10_000
	commit(t, s, append(sessionsOf(2), forBoth(1, n, size)...)...)
	for first := uint64(1); first <= n; {
		page, err := s.Page(1, first, n, 1024, session.ReadBytes)
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		for _, e := range page {
			if e.Seq != first {
				t.Fatalf("%d, want %d", e.Seq, first)
			}
			first++
			got += e.Msg.Size()
		}
		if most := session.ReadBytes + size + 1000; got == 0 || got > most {
			t.Fatalf("a page has %d bytes, want up to %d", got, most)
		}
	}
}

func TestABundleIsAsLongAsItMayBe(t *testing.T) {
	s := open(t, Options{})
	defer closed(t, s)
	ops := several(1, 1, 2)
	ops[1].Entry.Msg = message("t", strings.Repeat("x", 1<<20))
	commit(t, s, append(sessionsOf(1), ops...)...)
	commit(t, s, over(1, 2)...)
	if n := s.Records(); n[kindGone] != 0 || n[kindEntry] != 1 {
		t.Errorf("%v: a large message stays as long as a small one waits", n)
	}
}

func TestTheIdentifierThatWasSetLastCounts(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, Options{FS: fs})
	ops := several(1, 1, 2)
	ops[0].PacketID = 5
	commit(t, s, append(sessionsOf(1), ops...)...)
	commit(t, s, sent(1, 1, 1, 7)...)
	closed(t, s)
	s = open(t, Options{FS: fs})
	defer closed(t, s)
	if id := restored(s)[0].Entries[0].PacketID; id != 7 {
		t.Errorf("identifier %d, want 7", id)
	}
}

func TestBundlesInEachOthersPlaceAreRefused(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, Options{FS: fs})
	commit(t, s, append(sessionsOf(1), several(1, 1, 4)...)...)
	b := s.db.NewBatch()
	b.Set(keyOf(kindEntry, 1, 3), appendPuts(nil, []put{{qos: 1, msg: message("t", "x"), from: s.published[owner]}}), nil)
	if err := s.db.Apply(b, pebble.Sync); err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	i, err := Inspect(Options{Dir: "store", FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	var problems []error
	if _, _, err := i.Check(func(err error) { problems = append(problems, err) }); err != nil || len(problems) != 1 || !errors.Is(problems[0], errPlace) {
		t.Errorf("%v, %v, want that one is in another's place", problems, err)
	}
	if err := i.Close(); err != nil {
		t.Error(err)
	}
	if s, err := Open(Options{Dir: "store", FS: fs}); err == nil {
		t.Errorf("%d messages in 4 places", len(restored(s)[0].Entries))
		closed(t, s)
	}
}
