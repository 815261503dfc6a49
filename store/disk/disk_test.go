package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"sallyport/session"
	"sallyport/store"
	"sallyport/store/storetest"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

func open(t testing.TB, opt Options) *Store {
	t.Helper()
	if opt.FS == nil {
		opt.FS = vfs.NewMem()
	}
	opt.Dir = "store"
	s, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestContract(t *testing.T) {
	for _, d := range []Durability{Always, Interval, System} {
		t.Run(fmt.Sprint(d), func(t *testing.T) {
			storetest.Contract(t, func(t *testing.T) store.Store { return open(t, Options{Durability: d}) })
		})
	}
}

// commit commits ops and waits.
func commit(t testing.TB, s *Store, ops ...store.Op) {
	t.Helper()
	for i := range ops {
		if op := &ops[i]; op.Kind == store.PutRetained && op.Message != nil {
			s.Retain(op.Message)
			op.Topic = op.Message.Topic
		}
	}
	done := make(chan error, 1)
	s.Commit(&store.Batch{Ops: ops}, func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// restored is what s had kept of sessions.
func restored(s *Store) []*store.Restored {
	kept, _ := s.Restore()
	return kept
}

func closed(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// share is a shared subscription as the engine has one.
type share string

func (s share) ShareFilter() string { return string(s) }

// no is the number of the session of a client.
func no(client string) uint64 { return uint64(client[len(client)-1] - 'a' + 1) }

var owner = &session.Origin{
	Realm: "realm-of-a", Name: "user-of-a", ClientID: "client-a", Groups: []string{"g"}, Roles: []string{"r"},
	Attrs: map[string]string{"k": "v"}, Listener: "l", Method: "m", Secure: true, Cert: []byte{1, 2, 3},
}

func message(topic, payload string) *session.Message {
	m := session.NewMessage(topic, []byte(payload), nil)
	m.QoS, m.Origin = 1, owner
	return m
}

func TestEverythingIsThereAgain(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, Options{FS: fs})
	sub := session.NewSubscription("$share/grp/secret-topic/#", "grp", 77)
	sub.QoS, sub.NoLocal, sub.RetainAsPublished, sub.RetainHandling = 2, true, true, 2
	plain := session.NewSubscription("a/+", "", 0)
	expiring := session.NewMessage("secret-topic/x", []byte("secret-payload"), []byte{1, 0, 0, 0, 9, 7})
	expiring.QoS, expiring.Expires, expiring.ExpiryAt, expiring.Origin, expiring.Retain = 2, 12345, 1, owner, true
	many := message("secret-topic/many", "for several")
	will := message("secret-topic/will", "gone")
	will.Will = true
	kept := message("secret-topic/kept", "retained")
	kept.Retain = true
	over := message("secret-topic/over", "x")
	s.Retain(kept)
	s.Retain(over)
	commit(t, s,
		store.Op{Kind: store.PutSession, Session: no("client-a"), Client: "client-a", Owner: owner, Expiry: 3600},
		store.Op{Kind: store.PutSession, Session: no("client-b"), Client: "client-b", Owner: &session.Origin{Name: "b"}, Expiry: session.NeverExpires},
		store.Op{Kind: store.PutSession, Session: no("client-c"), Client: "client-c", Owner: owner, Expiry: 1},
		store.Op{Kind: store.PutSubscription, Session: no("client-a"), Sub: sub},
		store.Op{Kind: store.PutSubscription, Session: no("client-a"), Sub: plain},
		store.Op{Kind: store.PutSubscription, Session: no("client-b"), Sub: plain},
		store.Op{Kind: store.PutEntry, Session: no("client-a"), Entry: session.Entry{Msg: many, QoS: 1, Seq: 5}},
		store.Op{Kind: store.PutEntry, Session: no("client-b"), Entry: session.Entry{Msg: many, QoS: 1, Seq: 9, Via: &session.Via{SubIDs: []uint32{3, 268_435_455}}}},
		store.Op{Kind: store.PutEntry, Session: no("client-c"), Entry: session.Entry{Msg: many, QoS: 1, Seq: 1}},
		store.Op{Kind: store.PutEntry, Session: no("client-a"), Entry: session.Entry{Msg: expiring, QoS: 2, Seq: 6, Retain: true, Via: &session.Via{Share: share("$share/grp/secret-topic/#")}}},
	)
	commit(t, s,
		store.Op{Kind: store.SetFlight, Session: no("client-a"), Entry: session.Entry{Seq: 6}, PacketID: 700, State: session.AwaitComp},
		store.Op{Kind: store.AddIncoming, Session: no("client-a"), PacketID: 1},
		store.Op{Kind: store.AddIncoming, Session: no("client-a"), PacketID: 65535},
		store.Op{Kind: store.AddIncoming, Session: no("client-b"), PacketID: 2},
		store.Op{Kind: store.PutWill, Session: no("client-a"), Message: will, Expiry: 7, At: 99},
		store.Op{Kind: store.PutRetained, Topic: kept.Topic},
		store.Op{Kind: store.PutRetained, Topic: over.Topic},
		store.Op{Kind: store.DeleteIncoming, Session: no("client-b"), PacketID: 2},
		store.Op{Kind: store.DeleteSubscription, Session: no("client-b"), Topic: "a/+"},
		store.Op{Kind: store.DeleteSession, Session: no("client-c")},
	)
	s.Unretain(over.Topic)
	commit(t, s, store.Op{Kind: store.DeleteRetained, Topic: over.Topic})
	closed(t, s)

	for range 2 { // and what was only read is there the next time, too
		s = open(t, Options{FS: fs})
		got, last := s.Restore()
		if again, _ := s.Restore(); len(got) != 2 || again != nil || last != 2 {
			t.Fatalf("%d sessions, the last is %d", len(got), last)
		}
		a, b := got[0], got[1]
		if a.Client != "client-a" || a.Expiry != 3600 || !reflect.DeepEqual(a.Owner, owner) || b.Owner.Name != "b" || b.Expiry != session.NeverExpires {
			t.Errorf("%+v of %+v; %+v", a, a.Owner, b)
		}
		if len(a.Subs) != 2 || len(b.Subs) != 0 {
			t.Fatalf("%d and %d subscriptions", len(a.Subs), len(b.Subs))
		}
		for _, got := range a.Subs {
			if want := map[string]*session.Subscription{sub.Filter: sub, plain.Filter: plain}[got.Filter]; !reflect.DeepEqual(got, want) {
				t.Errorf("%+v, want %+v", got, want)
			}
		}
		if len(a.Entries) != 2 || len(b.Entries) != 1 || a.Entries[0].Size() != many.Size() || a.Entries[0].Msg != nil {
			t.Fatalf("%+v, %+v", a.Entries, b.Entries)
		}
		page, err := s.Page(a.Number, 0, 100, 100, 1<<20)
		if err != nil || len(page) != 2 || page[1].PacketID != 0 || page[1].Share != a.Entries[1].Share || page[0].Seq != 5 {
			t.Fatalf("%+v, %v", page, err)
		}
		alike(t, page[0].Msg, many)
		alike(t, page[1].Msg, expiring)
		several, _ := page[0].Entry.Stored()
		alone, _ := page[1].Entry.Stored()
		if _, known := a.Entries[0].Stored(); several == 0 || alone != 0 || known || !page[0].Msg.Kept() {
			t.Errorf("the message for several is apart as %d, the other as %d", several, alone)
		}
		alike(t, a.Entries[1].Msg, expiring)
		if e := a.Entries[0]; e.Seq != 5 || e.QoS != 1 || e.Via != nil || e.PacketID != 0 || e.Share != "" || e.Retain {
			t.Errorf("%+v", e)
		}
		if e := a.Entries[1]; e.Seq != 6 || e.QoS != 2 || !e.Retain || e.Share != "$share/grp/secret-topic/#" || e.PacketID != 700 || e.State != session.AwaitComp {
			t.Errorf("%+v", e)
		}
		if e := b.Entries[0]; e.Seq != 9 || !reflect.DeepEqual(e.Via.IDs(), []uint32{3, 268_435_455}) {
			t.Errorf("%+v", e)
		}
		if !reflect.DeepEqual(a.Incoming, []uint16{1, 65535}) || b.Incoming != nil || a.WillAt != 99 || a.WillExpiry != 7 || b.Will != nil {
			t.Errorf("%v, %v, %d, %v", a.Incoming, b.Incoming, a.WillAt, b.Will)
		}
		alike(t, a.Will, will)
		m, there := s.Retained("secret-topic/kept")
		if n, _ := s.RetainedCount(); n != 1 || !there {
			t.Fatalf("%d retained", n)
		}
		alike(t, m, kept)
		noNamesInKeys(t, s)
		closed(t, s)
	}
}

// alike compares what is kept of a message.
func alike(t *testing.T, got, want *session.Message) {
	t.Helper()
	if got.Topic != want.Topic || !bytes.Equal(got.Payload, want.Payload) || !bytes.Equal(got.Props, want.Props) || got.QoS != want.QoS ||
		got.Retain != want.Retain || got.Will != want.Will || got.Expires != want.Expires || got.ExpiryAt != want.ExpiryAt || !reflect.DeepEqual(got.Origin, want.Origin) {
		t.Errorf("%+v of %+v, want %+v", got, got.Origin, want)
	}
}

// noNamesInKeys looks at every key of the store.
func noNamesInKeys(t *testing.T, s *Store) {
	t.Helper()
	it, err := s.db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		n++
		for _, name := range []string{"client-", "secret", "grp", "user-of", "a/+"} {
			if strings.Contains(string(it.Key()), name) {
				t.Errorf("key %q holds %q", it.Key(), name)
			}
		}
	}
	if n < 8 {
		t.Errorf("%d records", n)
	}
}

// records counts the records of a kind.
func records(t *testing.T, s *Store, kind byte) (n int) {
	t.Helper()
	if err := s.each(kind, func(uint64, []byte, *reader) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAMessageForManyIsWrittenOnceAndGoesWithTheLast(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, Options{FS: fs})
	m := message("t", "many")
	for _, c := range []string{"a", "b", "c", "d"} {
		commit(t, s, store.Op{Kind: store.PutSession, Session: no(c), Client: c, Owner: owner, Expiry: 9})
	}
	put := func(c string, seq uint64) store.Op {
		return store.Op{Kind: store.PutEntry, Session: no(c), Entry: session.Entry{Msg: m, QoS: 1, Seq: seq}}
	}
	gone := func(c string, seq uint64) store.Op {
		return store.Op{Kind: store.DeleteEntry, Session: no(c), Entry: session.Entry{Msg: m, Seq: seq}}
	}
	commit(t, s, put("a", 1), put("b", 1), put("c", 1))
	commit(t, s, put("d", 1)) // later, as one of a group that had it from another member
	if n := records(t, s, kindMessage); n != 1 {
		t.Errorf("%d messages written apart, want 1", n)
	}
	commit(t, s, gone("a", 1), gone("a", 1)) // twice is once
	commit(t, s, store.Op{Kind: store.DeleteSession, Session: no("b")})
	closed(t, s)
	s = open(t, Options{FS: fs}) // the counts are made anew
	commit(t, s, gone("c", 1))
	if n := records(t, s, kindMessage); n != 1 {
		t.Errorf("%d messages while one client waits, want 1", n)
	}
	commit(t, s, store.Op{Kind: store.DeleteEntry, Session: no("d"), Entry: session.Entry{Seq: 1}}) // by who hasn't read it
	commit(t, s)
	if n, e := records(t, s, kindMessage), records(t, s, kindEntry); n != 0 || e != 0 || len(s.uses) != 0 {
		t.Errorf("%d messages, %d entries, %d counted, want none", n, e, len(s.uses))
	}
	// And it may be needed once more.
	commit(t, s, put("a", 2), put("c", 2))
	closed(t, s)
	s = open(t, Options{FS: fs})
	defer closed(t, s)
	kept, _ := s.Restore()
	for _, r := range kept {
		if want := r.Client != "d"; (len(r.Entries) == 1) != want {
			t.Errorf("%s: %d entries", r.Client, len(r.Entries))
		}
	}
}

func TestWhatIsUndoneInItsGroupIsNotWritten(t *testing.T) {
	s := open(t, Options{})
	defer closed(t, s)
	commit(t, s, store.Op{Kind: store.PutSession, Session: no("a"), Client: "a", Owner: owner, Expiry: 9})
	// One batch is in one group for certain.
	commit(t, s,
		store.Op{Kind: store.PutEntry, Session: no("a"), Entry: session.Entry{Msg: message("t", "1"), QoS: 1, Seq: 1}},
		store.Op{Kind: store.PutEntry, Session: no("a"), Entry: session.Entry{Msg: message("t", "2"), QoS: 1, Seq: 2}},
		store.Op{Kind: store.DeleteEntry, Session: no("a"), Entry: session.Entry{Seq: 1}})
	g := &group{}
	s.mu.Lock()
	was := s.next
	s.next = g
	s.gather(&store.Batch{Ops: []store.Op{
		{Kind: store.PutEntry, Session: no("a"), Entry: session.Entry{Msg: message("t", "3"), QoS: 1, Seq: 3}},
		{Kind: store.DeleteEntry, Session: no("a"), Entry: session.Entry{Seq: 3}},
	}})
	s.finish(g)
	s.next = was
	s.mu.Unlock()
	if len(g.recs) > 0 || len(g.parts) != 1 || len(g.parts[0].puts) > 0 {
		t.Errorf("%+v is written, and %+v", g.recs, g.parts)
	}
	if n := records(t, s, kindEntry); n != 1 {
		t.Errorf("%d entries, want 1", n)
	}
}

func TestASessionEndsWithAllThatIsItsOwn(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, Options{FS: fs})
	for _, c := range []string{"a", "b"} {
		commit(t, s,
			store.Op{Kind: store.PutSession, Session: no(c), Client: c, Owner: owner, Expiry: 9},
			store.Op{Kind: store.PutSubscription, Session: no(c), Sub: session.NewSubscription("x", "", 0)},
			store.Op{Kind: store.PutEntry, Session: no(c), Entry: session.Entry{Msg: message("t", "1"), QoS: 1, Seq: 1}},
			store.Op{Kind: store.SetFlight, Session: no(c), Entry: session.Entry{Seq: 1}, PacketID: 1},
			store.Op{Kind: store.AddIncoming, Session: no(c), PacketID: 1},
			store.Op{Kind: store.PutWill, Session: no(c), Message: message("w", "w"), At: 1})
	}
	commit(t, s, store.Op{Kind: store.DeleteSession, Session: no("a")},
		// What comes for a session that is over is nobody's.
		store.Op{Kind: store.PutEntry, Session: no("a"), Entry: session.Entry{Msg: message("t", "2"), QoS: 1, Seq: 2}})
	for _, kind := range []byte{kindSession, kindSubscription, kindEntry, kindRun, kindIncoming, kindWill} {
		if n := records(t, s, kind); n != 1 {
			t.Errorf("%d records of kind %c, want the other session's", n, kind)
		}
	}
	commit(t, s, store.Op{Kind: store.PutSession, Session: no("a"), Client: "a", Owner: owner, Expiry: 9})
	closed(t, s)
	s = open(t, Options{FS: fs})
	defer closed(t, s)
	got, _ := s.Restore()
	if len(got) != 2 || len(got[0].Entries)+len(got[0].Subs)+len(got[0].Incoming) != 0 || got[0].Will != nil || len(got[1].Entries) != 1 {
		t.Errorf("%+v", got[0])
	}
}

func TestAStoreThatCannotBeReadIsRefused(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(b *pebble.Batch)
		want  string
	}{
		{"of a newer version", func(b *pebble.Batch) { b.Set(formatKey, binary.BigEndian.AppendUint32(nil, 99), nil) }, "newer version of Sallyport"},
		{"with a broken format", func(b *pebble.Batch) { b.Set(formatKey, []byte("x"), nil) }, "malformed"},
		{"without the key of its hashes", func(b *pebble.Batch) { b.Delete(secretKey, nil) }, "malformed"},
		{"with a broken session", func(b *pebble.Batch) { b.Set(key(kindSession, 7), []byte{1, 0, 200}, nil) }, "malformed"},
		{"with a session of a newer form", func(b *pebble.Batch) { b.Set(key(kindSession, 7), []byte{2}, nil) }, "form 2"},
		{"with a broken key", func(b *pebble.Batch) { b.Set([]byte{kindEntry, 1}, []byte{1}, nil) }, "malformed"},
		{"whose message is missing", func(b *pebble.Batch) {
			b.Set(keyOf(kindEntry, 1, 1), appendPuts(nil, []put{{qos: 1, ref: 99}}), nil)
		}, "missing"},
		{"of somebody else's", func(b *pebble.Batch) { b.Delete(formatKey, nil) }, "no store of Sallyport's"},
	} {
		fs := vfs.NewMem()
		s := open(t, Options{FS: fs})
		commit(t, s, store.Op{Kind: store.PutSession, Session: no("a"), Client: "a", Owner: owner, Expiry: 9})
		b := s.db.NewBatch()
		c.spoil(b)
		if err := s.db.Apply(b, pebble.Sync); err != nil {
			t.Fatal(err)
		}
		closed(t, s)
		if _, err := Open(Options{Dir: "store", FS: fs}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("a store %s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestAFullDiskFailsEveryCommitAndLosesNone(t *testing.T) {
	for _, op := range []errorfs.OpKind{errorfs.OpFileWrite, errorfs.OpFileSync, errorfs.OpFileSyncData} {
		t.Run(fmt.Sprint(op), func(t *testing.T) {
			mem := vfs.NewCrashableMem()
			var full atomic.Bool
			fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(o errorfs.Op) error {
				if full.Load() && o.Kind == op {
					return errors.New("no space left on device")
				}
				return nil
			}))
			s, err := Open(Options{Dir: "store", FS: fs})
			if err != nil {
				t.Fatal(err)
			}
			commit(t, s, store.Op{Kind: store.PutSession, Session: no("a"), Client: "a", Owner: owner, Expiry: 9})
			var kept, lost atomic.Int64
			var wait sync.WaitGroup
			for i := range 2000 {
				if i == 1000 {
					full.Store(true)
				}
				wait.Add(1)
				s.Commit(&store.Batch{Ops: []store.Op{{Kind: store.PutEntry, Session: no("a"),
					Entry: session.Entry{Msg: message("t", strings.Repeat("x", 400)), QoS: 1, Seq: uint64(i + 1)}}}}, func(err error) {
					if err == nil {
						kept.Add(1)
					} else if errors.Is(err, ErrFailed) {
						lost.Add(1)
					}
					wait.Done()
				})
			}
			wait.Wait()
			if kept.Load()+lost.Load() != 2000 || lost.Load() == 0 {
				t.Fatalf("%d kept, %d refused", kept.Load(), lost.Load())
			}
			if err := s.Close(); !errors.Is(err, ErrFailed) {
				t.Errorf("Close: %v", err)
			}
			again := open(t, Options{FS: mem.CrashClone(vfs.CrashCloneCfg{})})
			defer closed(t, again)
			if n := len(restored(again)[0].Entries); int64(n) < kept.Load() {
				t.Errorf("%d messages are there, %d were acknowledged", n, kept.Load())
			}
		})
	}
}

func TestADiskThatIsFullAtTheEndIsToldOfByClose(t *testing.T) {
	for _, d := range []Durability{Always, System} {
		var full atomic.Bool
		fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(o errorfs.Op) error {
			if full.Load() && (o.Kind == errorfs.OpFileSync || o.Kind == errorfs.OpFileSyncData || o.Kind == errorfs.OpFileWrite) {
				return errors.New("no space left on device")
			}
			return nil
		}))
		s, err := Open(Options{Dir: "store", FS: fs, Durability: d})
		if err != nil {
			t.Fatal(err)
		}
		commit(t, s, store.Op{Kind: store.PutSession, Session: no("a"), Client: "a", Owner: owner, Expiry: 9})
		full.Store(true)
		if err := s.Close(); err == nil {
			t.Errorf("durability %d: nothing was said", d)
		}
	}
}

func TestAFolderThatCannotBeWrittenIsAnErrorOfOpen(t *testing.T) {
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(o errorfs.Op) error {
		if o.Kind == errorfs.OpCreate {
			return errors.New("read-only file system")
		}
		return nil
	}))
	if _, err := Open(Options{Dir: "store", FS: fs}); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("%v, want that it is read-only", err)
	}
}

func FuzzRecords(f *testing.F) {
	sub := session.NewSubscription("$share/g/t", "g", 5)
	f.Add(appendSubscription(nil, sub))
	m := message("t", "p")
	from := new([hashBytes]byte)
	one := put{qos: 1, via: &session.Via{SubIDs: []uint32{1}}, id: 9, msg: m, from: from}
	f.Add(appendPuts(nil, []put{one}))
	f.Add(appendPuts(nil, []put{{qos: 2, ref: 9}}))
	f.Add(appendPuts(nil, []put{one, {qos: 2, ref: 9}, one, {qos: 1, msg: message("other", ""), from: from}}))
	f.Add([]byte{recordVersion, 1, 2, 3})
	f.Fuzz(func(t *testing.T, rec []byte) {
		r := &reader{rest: bytes.Clone(rec)}
		if got := r.subscription(); got != nil {
			again := &reader{rest: appendSubscription(nil, got)}
			if second := again.subscription(); !reflect.DeepEqual(got, second) {
				t.Errorf("%+v, then %+v", got, second)
			}
		}
		if id, n := (&reader{rest: rec}).run(); n > spanMost || uint32(id)+uint32(n) > 65536 {
			t.Errorf("a run of %d from %d", n, id)
		}
		(&reader{rest: rec}).gone()
		in := &reader{rest: rec}
		if table, name, value := in.item(); in.err == nil && len(table)+len(name)+len(value) > len(rec) {
			t.Errorf("an item of %q, %q, %q", table, name, value)
		}
		o := publishers{read: func([]byte) ([]byte, error) { return []byte("\x01{}"), nil }}
		r = &reader{rest: bytes.Clone(rec)}
		var list []put
		skipped := &reader{rest: bytes.Clone(rec)}
		n := r.entries()
		for range skipped.entries() {
			e, id, share, apart := r.entry()
			if r.err == nil && apart == 0 {
				e.Msg = r.message(&o)
			}
			size := 0
			if _, _, _, ref := skipped.entry(); ref == 0 {
				size = skipped.skipMessage(&o)
			}
			if r.err != nil {
				return
			}
			if skipped.err != nil {
				t.Fatalf("%v of what can be read", skipped.err)
			}
			if e.QoS > 2 || len(share) > len(rec) || e.Via != nil && len(e.Via.SubIDs) > len(rec) {
				t.Errorf("%+v", e)
			}
			if e.Msg != nil && (e.Msg.Topic == "" || e.Msg.QoS > 2 || e.Msg.ExpiryAt+4 > len(e.Msg.Props) && e.Msg.ExpiryAt >= 0 || e.Msg.Size() != size) {
				t.Errorf("%+v", e.Msg)
			}
			p := put{ref: apart, msg: e.Msg, via: e.Via, id: id, qos: e.QoS, retain: e.Retain}
			if e.Msg != nil && e.Msg.Origin != nil {
				p.from = from
			}
			list = append(list, p)
		}
		if r.end() != nil || n != len(list) {
			return
		}
		again := &reader{rest: appendPuts(nil, list)}
		for range again.entries() {
			if _, _, _, ref := again.entry(); ref == 0 {
				again.message(&o)
			}
		}
		if err := again.end(); err != nil {
			t.Errorf("%+v: %v", list, err)
		}
	})
}

// BenchmarkQueue is a message put into a session's queue and taken out, 64
// publishers at a time.
func BenchmarkQueue(b *testing.B) { benchmarkQueue(b, nil) }

func benchmarkQueue(b *testing.B, key []byte) {
	for _, d := range []Durability{Always, Interval, System} {
		b.Run([]string{"always", "interval", "os"}[d], func(b *testing.B) {
			s, err := Open(Options{Dir: b.TempDir(), Durability: d, Key: key})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			for i := range 64 {
				commit(b, s, store.Op{Kind: store.PutSession, Session: uint64(i + 1), Client: fmt.Sprint(i), Owner: owner, Expiry: 9})
			}
			m := message("bench/topic/name", strings.Repeat("x", 64))
			var n atomic.Int64
			var seqs [64]atomic.Uint64
			b.SetParallelism(32)
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				sid, done := uint64(n.Add(1)-1)%64+1, make(chan error, 1)
				for pb.Next() {
					seq := seqs[sid-1].Add(1)
					s.Commit(&store.Batch{Ops: []store.Op{{Kind: store.PutEntry, Session: sid, Entry: session.Entry{Msg: m, QoS: 1, Seq: seq}}}}, func(err error) { done <- err })
					if err := <-done; err != nil {
						b.Error(err)
						return
					}
					s.Commit(&store.Batch{Ops: []store.Op{{Kind: store.DeleteEntry, Session: sid, Entry: session.Entry{Seq: seq}}}}, func(error) {})
				}
			})
		})
	}
}
