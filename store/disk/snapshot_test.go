package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"sallyport/session"
	"sallyport/store"
	"sallyport/store/backup"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// taken is a snapshot as a backup, and restored into a file system of its own.
func taken(t *testing.T, snap *Snapshot) *vfs.MemFS {
	t.Helper()
	var b bytes.Buffer
	if err := errors.Join(backup.Write(&b, snap.Header, snap.Open), snap.Close()); err != nil {
		t.Fatal(err)
	}
	to := vfs.NewMem()
	if err := to.MkdirAll("store", 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := backup.Read(&b, backup.Visitor{File: func(f backup.File, r io.Reader) error {
		out, err := to.Create("store/"+f.Name, vfs.WriteCategoryUnspecified)
		if err != nil {
			return err
		}
		_, err = io.Copy(out, r)
		return errors.Join(err, out.Sync(), out.Close())
	}})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// snapshotIsGone reports whether nothing of a snapshot is left.
func snapshotIsGone(fsys vfs.FS) bool {
	_, err := fsys.Stat("store/" + snapshotDir)
	return errors.Is(err, fs.ErrNotExist)
}

func TestASnapshotHasAllThatWasAcknowledgedBefore(t *testing.T) {
	for _, d := range []Durability{Always, Interval, System} {
		for _, key := range [][]byte{nil, testKey} {
			t.Run(fmt.Sprintf("%d encrypted %t", d, key != nil), func(t *testing.T) {
				mem := vfs.NewMem()
				s := open(t, Options{FS: mem, Durability: d, Key: key})
				const writers = 4
				var acked [writers]atomic.Int64
				var stop atomic.Bool
				var wait sync.WaitGroup
				for i := range writers {
					sid := uint64(i + 1)
					commit(t, s, store.Op{Kind: store.PutSession, Session: sid, Client: fmt.Sprint(sid), Owner: owner, Expiry: 9})
					wait.Go(func() {
						for n := int64(1); !stop.Load(); n++ {
							m := message(fmt.Sprintf("t/%d/%d", sid, n%50), strings.Repeat("x", 1000))
							ops := []store.Op{{Kind: store.PutEntry, Session: sid, Entry: session.Entry{Seq: uint64(n), Msg: m, QoS: 1}}}
							if n%3 == 0 {
								ops = append(ops, store.Op{Kind: store.PutRetained, Message: m})
							}
							commit(t, s, ops...)
							acked[i].Store(n)
						}
					})
				}
				for acked[0].Load() < 50 {
					commit(t, s)
				}
				for range 3 {
					var before [writers]int64
					for i := range acked {
						before[i] = acked[i].Load()
					}
					snap, err := s.Snapshot()
					if err != nil {
						t.Fatal(err)
					}
					if _, err := s.Snapshot(); !errors.Is(err, ErrSnapshot) {
						t.Errorf("a second one at the same time: %v", err)
					}
					head := snap.Header
					to := taken(t, snap)
					if !snapshotIsGone(mem) {
						t.Error("it is still there after Close")
					}
					got, problems := inspected(t, Options{Dir: "store", FS: to, Key: key})
					if len(problems) > 0 {
						t.Errorf("problems: %q", problems)
					}
					have := map[uint64]int64{}
					for _, r := range got["queued"] {
						have[r.Session]++
						if int64(r.Seq) != have[r.Session] {
							t.Fatalf("session %d has message %d where %d should be", r.Session, r.Seq, have[r.Session])
						}
					}
					for i, n := range before {
						if have[uint64(i+1)] < n {
							t.Errorf("session %d has %d messages, %d were acknowledged", i+1, have[uint64(i+1)], n)
						}
					}
					if head.Encrypted != (key != nil) || head.Sessions != writers || head.Retained != int64(len(got["retained"])) || head.StoreFormat != formatVersion {
						t.Errorf("the header says %+v, and there are %d retained messages", head, len(got["retained"]))
					}
				}
				stop.Store(true)
				wait.Wait()
				closed(t, s)
				if _, err := s.Snapshot(); !errors.Is(err, store.ErrClosed) {
					t.Errorf("of a closed store: %v", err)
				}
			})
		}
	}
}

func TestWhatAnInterruptedSnapshotLeavesIsRemoved(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, secretChange(1)...)
	if _, err := s.Snapshot(); err != nil { // and nobody closes it
		t.Fatal(err)
	}
	closed(t, s)
	left := filepath.Join(dir, snapshotDir)
	if _, err := os.Stat(left); err != nil {
		t.Fatalf("nothing is left, and the test shows nothing: %v", err)
	}
	if i, err := Inspect(Options{Dir: dir}); err != nil { // which it does not disturb
		t.Error(err)
	} else if err := i.Close(); err != nil {
		t.Error(err)
	}
	if s, err = Open(Options{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	defer closed(t, s)
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the next start has left it there: %v", err)
	}
	if n := len(restored(s)); n != 2 {
		t.Errorf("%d sessions, want 2", n)
	}
}

func TestADiskThatIsFullFailsTheSnapshotAlone(t *testing.T) {
	for _, kind := range []errorfs.OpKind{errorfs.OpCreate, errorfs.OpLink, errorfs.OpFileWrite, errorfs.OpFileSync, errorfs.OpOpenDir} {
		mem := vfs.NewMem()
		var full atomic.Bool
		s := open(t, Options{FS: errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if full.Load() && op.Kind == kind && strings.Contains(op.Path, snapshotDir) {
				return syscall.ENOSPC
			}
			return nil
		}))})
		commit(t, s, secretChange(1)...)
		if err := s.db.Flush(); err != nil {
			t.Fatal(err)
		}
		full.Store(true)
		snap, err := s.Snapshot()
		needed := kind != errorfs.OpLink && kind != errorfs.OpFileSync // it copies where it can't link, and does without fsync
		if err == nil && needed {
			t.Errorf("%v: there is a snapshot", kind)
		}
		if err == nil {
			taken(t, snap)
		}
		if !snapshotIsGone(mem) {
			t.Errorf("%v: something is left", kind)
		}
		full.Store(false)
		commit(t, s, secretChange(2)...)
		if snap, err = s.Snapshot(); err != nil {
			t.Errorf("%v: afterwards: %v", kind, err)
		} else {
			taken(t, snap)
		}
		closed(t, s)
	}
}

// A backup of a store that has failed must not take away that of the one opened after it.
func TestASnapshotOfAFailedStoreLeavesThatOfTheNextAlone(t *testing.T) {
	dir := t.TempDir()
	var ill atomic.Bool
	opt := Options{Dir: dir, FS: errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if ill.Load() && op.Kind == errorfs.OpFileSyncData {
			return syscall.EIO
		}
		return nil
	}))}
	s, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, secretChange(1)...)
	old, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	ill.Store(true)
	s.Commit(&store.Batch{Ops: secretChange(2)}, func(error) {})
	<-s.Failed()
	ill.Store(false)
	if _, err := s.Snapshot(); err == nil {
		t.Error("a store that has failed makes a snapshot")
	}
	again, err := s.Reopen(opt)
	if err != nil {
		t.Fatal(err)
	}
	next, err := again.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if err := old.Close(); err != nil {
		t.Error(err)
	}
	taken(t, next)
	closed(t, again)
	_ = s.Close() // it has said why it failed
}

func TestAFrozenStoreIsReadWithoutItsKeyAndStaysAsItIs(t *testing.T) {
	for _, key := range [][]byte{nil, testKey} {
		mem := filled(t, key)
		for _, name := range []string{"notes.txt", "temporary.000009.dbtmp"} {
			f, err := mem.Create("store/"+name, vfs.WriteCategoryUnspecified)
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
		}
		before := content(t, mem, "store")
		snap, err := Freeze(Options{Dir: "store", FS: mem})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Options{Dir: "store", FS: mem, Key: key}); !errors.Is(err, ErrLocked) {
			t.Errorf("a frozen store is opened: %v", err)
		}
		head := snap.Header
		to := taken(t, snap)
		if after := content(t, mem, "store"); !maps.Equal(before, after) {
			t.Errorf("files have changed: %v, then %v", slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)))
		}
		got, problems := inspected(t, Options{Dir: "store", FS: to, Key: key})
		if len(problems) > 0 || len(got["queued"]) != 3 {
			t.Errorf("%d messages, problems %q", len(got["queued"]), problems)
		}
		if head.Encrypted != (key != nil) || head.Sessions != 2 || head.Retained != 1 {
			t.Errorf("the header says %+v", head)
		}
	}
	if _, err := Freeze(Options{Dir: "none", FS: vfs.NewMem()}); err == nil {
		t.Error("no folder is frozen")
	}
	s := open(t, Options{Dir: "store", FS: vfs.NewMem()})
	defer closed(t, s)
	if _, err := Freeze(s.opt); !errors.Is(err, ErrLocked) {
		t.Errorf("a store in use is frozen: %v", err)
	}
}

// described is what the records of a store say, without keys and numbers of their own.
func described(t *testing.T, opt Options) (all []string) {
	t.Helper()
	records, problems := inspected(t, opt)
	if len(problems) > 0 {
		t.Errorf("problems: %q", problems)
	}
	for _, list := range records {
		for _, r := range list {
			line := fmt.Sprintf("%s %d %q %d %d %d %d %v", r.Kind, r.Session, r.Client, r.Expiry, r.Seq, r.PacketID, r.At, r.SubIDs)
			if r.Message != nil {
				line += fmt.Sprintf(" %q %q", r.Message.Topic, r.Message.Payload)
			}
			if r.Owner != nil {
				line += fmt.Sprintf(" %+v", *r.Owner)
			}
			if r.Message != nil && r.Message.Origin != nil {
				line += fmt.Sprintf(" %+v", *r.Message.Origin)
			}
			if r.Sub != nil {
				line += " " + r.Sub.Filter
			}
			line += r.Item.Table + r.Item.Name
			all = append(all, line)
		}
	}
	slices.Sort(all)
	return all
}

// publisherKeys are the keys under which publishers are written.
func publisherKeys(t *testing.T, opt Options) map[string]bool {
	t.Helper()
	i, err := Inspect(opt)
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	err = i.walk(kindOrigin, func(key, _ []byte, err error) error {
		keys[string(key)] = true
		return err
	})
	if err := errors.Join(err, i.Close()); err != nil {
		t.Fatal(err)
	}
	return keys
}

// recordsOf is how many records a store has that no one has open.
func recordsOf(t *testing.T, opt Options) (n int64) {
	t.Helper()
	i, err := Inspect(opt)
	if err != nil {
		t.Fatal(err)
	}
	st, err := i.Stats()
	if err := errors.Join(err, i.Close()); err != nil {
		t.Fatal(err)
	}
	for _, k := range st.Kinds {
		n += k.Records
	}
	return n
}

func TestAStoreIsSealedAnew(t *testing.T) {
	for _, from := range [][]byte{nil, testKey} {
		for _, key := range [][]byte{nil, testKey, otherKey} {
			old := Options{Dir: "store", FS: filled(t, from), Key: from}
			to := Options{Dir: "store", FS: vfs.NewMem(), Key: key}
			n := int64(0)
			if err := Reseal(t.Context(), old, to, func(records int64) { n = records }); err != nil {
				t.Fatal(err)
			}
			want, got := described(t, old), described(t, to)
			if !slices.Equal(got, want) {
				t.Errorf("from key %x to %x, %d records:\n%s\nwant\n%s", from, key, n, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if key != nil {
				for name, text := range content(t, to.FS, "store") {
					for what, secret := range secrets {
						if strings.Contains(text, secret) {
							t.Errorf("%s holds the %s", name, what)
						}
					}
				}
			}
			if all := recordsOf(t, to); n != all || n == 0 {
				t.Errorf("told of %d records, there are %d", n, all)
			}
			oldKeys, newKeys := publisherKeys(t, old), publisherKeys(t, to)
			for key := range newKeys {
				if oldKeys[key] {
					t.Errorf("a publisher has the key %x in both stores", key)
				}
			}
			if len(newKeys) == 0 {
				t.Error("there is no publisher: the test shows nothing")
			}
			// The new store finds again under its own keys what it is asked to delete.
			s := open(t, to)
			n = 0
			err := s.Items(secrets["table"], func(i store.Item) error {
				if n++; i.Name != secrets["item's name"] || string(i.Value) != secrets["item"] {
					t.Errorf("item %+v", i)
				}
				return nil
			})
			if err != nil || n != 1 {
				t.Errorf("%d items, %v", n, err)
			}
			commit(t, s, store.Op{Kind: store.DeleteItem, Item: &store.Item{Table: secrets["table"], Name: secrets["item's name"]}})
			if n := records(t, s, kindItem); n != 0 {
				t.Errorf("%d items are left", n)
			}
			topic := ""
			s.Memory.EachRetained("", 10, func(m *session.Message) bool { topic = m.Topic; return true })
			s.Unretain(topic)
			commit(t, s, store.Op{Kind: store.DeleteRetained, Topic: topic}, store.Op{Kind: store.DeleteSubscription, Session: 1, Topic: secrets["filter"] + "/#"})
			if a, b := records(t, s, kindRetained), records(t, s, kindSubscription); a != 0 || b != 1 {
				t.Errorf("%d retained messages and %d subscriptions are left, want 0 and 1", a, b)
			}
			closed(t, s)
		}
	}
}

func TestADamagedStoreIsNotSealedAnew(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, Options{FS: mem})
	commit(t, s, secretChange(1)...)
	if err := s.db.Set(key(kindWill, 1), []byte{recordVersion}, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.db.Set(append(key(kindSubscription, 1), make([]byte, hashBytes)...), []byte{recordVersion}, nil); err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	to := Options{Dir: "store", FS: vfs.NewMem(), Key: testKey}
	if err := Reseal(t.Context(), Options{Dir: "store", FS: mem}, to, func(int64) {}); !errors.Is(err, errRecord) {
		t.Errorf("%v, want %v", err, errRecord)
	}
}
