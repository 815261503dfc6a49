package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sallyport/session"
	"sallyport/store"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// inspected is all records of a store, by kind, and what was wrong with it.
func inspected(t *testing.T, opt Options) (records map[string][]*Record, problems []string) {
	t.Helper()
	i, err := Inspect(opt)
	if err != nil {
		t.Fatal(err)
	}
	records = map[string][]*Record{}
	err = i.Each(func(r *Record) error {
		records[r.Kind] = append(records[r.Kind], r)
		return nil
	}, func(err error) { problems = append(problems, err.Error()) })
	if err := errors.Join(err, i.Close()); err != nil {
		t.Fatal(err)
	}
	return records, problems
}

func TestInspectionSeesEverything(t *testing.T) {
	for _, key := range [][]byte{nil, testKey} {
		for _, flushed := range []bool{false, true} {
			fs := vfs.NewCrashableMem()
			opt := Options{Dir: "store", FS: fs, Key: key}
			s := open(t, opt)
			commit(t, s, secretChange(1)...)
			if flushed {
				if err := s.db.Flush(); err != nil {
					t.Fatal(err)
				}
			}
			opt.FS = fs.CrashClone(vfs.CrashCloneCfg{}) // a store that was not closed
			closed(t, s)
			got, problems := inspected(t, opt)
			for kind, want := range map[string]int{"session": 2, "subscription": 2, "queued": 3, "message": 1, "incoming": 1, "will": 1, "retained": 1} {
				if len(got[kind]) != want {
					t.Errorf("%d %s records, want %d", len(got[kind]), kind, want)
				}
			}
			if len(problems) > 0 {
				t.Errorf("problems: %v", problems)
			}
			client := secrets["client id"]
			if r := got["session"][0]; r.Client != client || r.Expiry != 9 || r.Owner.Name != secrets["user"] {
				t.Errorf("session: %+v", r)
			}
			if a, b := got["subscription"][0], got["subscription"][1]; a.Client != client || b.Client != client || a.Sub.Filter == b.Sub.Filter {
				t.Errorf("subscriptions: %+v, %+v", a, b)
			}
			first, second := got["queued"][0], got["queued"][1]
			if first.Client != client || first.Seq != 4 || string(first.Message.Payload) != secrets["payload for several"] || first.PacketID != 1 || first.State != session.AwaitAck || first.QoS != 1 {
				t.Errorf("first message: %+v", first)
			}
			if second.Seq != 5 || string(second.Message.Payload) != secrets["payload"] || second.PacketID != 0 || !strings.HasPrefix(second.Share, "$share/") {
				t.Errorf("second message: %+v", second)
			}
			if r := got["will"][0]; r.At != 1 || string(r.Message.Payload) != secrets["will payload"] || r.Client != client {
				t.Errorf("will: %+v", r)
			}
			if r := got["incoming"][0]; r.PacketID != 2 || r.Client != client {
				t.Errorf("incoming: %+v", r)
			}
			if r := got["retained"][0]; r.Message.Origin.ClientID != secrets["publisher's client id"] || r.Session != 0 {
				t.Errorf("retained: %+v", r)
			}
		}
	}
}

func TestInspectionEndsWithAnErrorOfWhoeverVisits(t *testing.T) {
	i, err := Inspect(Options{FS: filled(t, nil), Dir: "store"})
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	want, visits := errors.New("enough"), 0
	err = i.Each(func(*Record) error { visits++; return want }, func(err error) { t.Error(err) })
	if !errors.Is(err, want) || visits != 1 {
		t.Errorf("%v after %d visits", err, visits)
	}
}

func TestStatsCount(t *testing.T) {
	for _, key := range [][]byte{nil, testKey} {
		fs := vfs.NewMem()
		opt := Options{Dir: "store", FS: fs, Key: key}
		for n := range 3 {
			s := open(t, opt)
			commit(t, s, secretChange(n)...)
			closed(t, s)
		}
		i, err := Inspect(opt)
		if err != nil {
			t.Fatal(err)
		}
		st, err := i.Stats()
		if err := errors.Join(err, i.Close()); err != nil {
			t.Fatal(err)
		}
		if st.Format != formatVersion || st.Encrypted != (key != nil) || len(st.Kinds) != len(kindNames) {
			t.Errorf("%+v", st)
		}
		if want := map[bool]int{false: 0, true: 3}[key != nil]; st.Epochs != want || st.Epoch != uint32(want) {
			t.Errorf("%d epochs, the last is %d, want %d", st.Epochs, st.Epoch, want)
		}
		for _, k := range st.Kinds {
			if k.Kind == "queued" && (k.Records != 6 || k.Messages != 9 || k.Bytes < 9*17 || k.OnDisk == 0) {
				t.Errorf("%+v", k)
			}
		}
		if st.LogBytes == 0 || st.TableBytes == 0 || st.OtherBytes == 0 {
			t.Errorf("%+v", st)
		}
	}
}

// writes counts attempts to write anything but the lock.
func writes(fs vfs.FS, n *int) vfs.FS {
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpFileClose && filepath.Base(op.Path) != "LOCK" {
			*n++
			return fmt.Errorf("written to: %v %s", op.Kind, op.Path)
		}
		return nil
	}))
}

func TestInspectionWritesNothing(t *testing.T) {
	fs := vfs.NewCrashableMem()
	opt := Options{Dir: "store", FS: fs, Key: testKey}
	s := open(t, opt)
	for n := range 5 {
		commit(t, s, secretChange(n)...)
		if n == 2 {
			if err := s.db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	crashed := fs.CrashClone(vfs.CrashCloneCfg{})
	closed(t, s)
	for name, fs := range map[string]*vfs.MemFS{"closed": fs, "crashed": crashed} {
		n := 0
		before := content(t, fs, "store")
		i, err := Inspect(Options{Dir: "store", FS: writes(fs, &n), Key: testKey})
		if err != nil {
			t.Fatal(err)
		}
		_, records, err := i.Check(func(err error) { t.Error(err) })
		_, statErr := i.Stats()
		if err := errors.Join(err, statErr, i.Close()); err != nil || records["session"] != 2 {
			t.Errorf("%s: %v, %v", name, records, err)
		}
		if n > 0 || !maps.Equal(before, content(t, fs, "store")) {
			t.Errorf("%s: %d attempts to write", name, n)
		}
	}
}

// stamps is when each file of a folder was changed. What is locked is opened anew.
func stamps(t *testing.T, dir string) map[string]string {
	t.Helper()
	m := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if e.Name() != "LOCK" {
			m[e.Name()] = fmt.Sprint(info.ModTime(), info.Size(), info.Mode())
		}
	}
	return m
}

func TestInspectionOfARealFolderChangesNoFile(t *testing.T) {
	dir := t.TempDir()
	opt := Options{Dir: dir, Key: testKey}
	s, err := Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, secretChange(1)...)
	if _, err := Inspect(opt); !errors.Is(err, ErrLocked) {
		t.Errorf("of a store in use: %v, want ErrLocked", err)
	}
	closed(t, s)
	before := stamps(t, dir)
	if _, problems := inspected(t, opt); len(problems) > 0 {
		t.Error(problems)
	}
	if after := stamps(t, dir); !maps.Equal(before, after) {
		t.Errorf("%v, then %v", before, after)
	}
	// A copy has nobody who uses it, and is given no file to say so.
	if err := os.Remove(filepath.Join(dir, "LOCK")); err != nil {
		t.Fatal(err)
	}
	inspected(t, opt)
	if _, err := os.Stat(filepath.Join(dir, "LOCK")); err == nil {
		t.Error("a file was made")
	}
}

// mountedReadOnly is a disk that can't be written.
type mountedReadOnly struct{ vfs.FS }

func (mountedReadOnly) Lock(name string) (io.Closer, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EROFS}
}

func TestADiskThatIsMountedReadOnlyIsInspected(t *testing.T) {
	got, problems := inspected(t, Options{Dir: "store", FS: mountedReadOnly{filled(t, testKey)}, Key: testKey})
	if len(got["session"]) != 2 || len(problems) > 0 {
		t.Errorf("%d sessions, %v", len(got["session"]), problems)
	}
	if _, err := Open(Options{Dir: "store", FS: mountedReadOnly{filled(t, testKey)}, Key: testKey}); !errors.Is(err, syscall.EROFS) || errors.Is(err, ErrLocked) {
		t.Errorf("Open: %v, want that it is read-only", err)
	}
}

func TestInspectionRefuses(t *testing.T) {
	foreign := vfs.NewMem()
	db, err := pebble.Open("store", &pebble.Options{FS: foreign, Logger: mute{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Set([]byte("x"), nil, pebble.Sync), db.Close()); err != nil {
		t.Fatal(err)
	}
	empty := vfs.NewMem()
	if err := empty.MkdirAll("store", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		fs   vfs.FS
		key  []byte
		want error
	}{
		{"another key", filled(t, testKey), otherKey, ErrWrongKey},
		{"no key", filled(t, testKey), nil, ErrEncrypted},
		{"a key where none was", filled(t, nil), testKey, ErrNotEncrypted},
		{"a short key", filled(t, testKey), testKey[:9], ErrKeySize},
		{"somebody else's tree", foreign, nil, errNoStore},
		{"an empty folder", empty, nil, errNoStore},
		{"no folder", vfs.NewMem(), nil, nil},
	} {
		i, err := Inspect(Options{Dir: "store", FS: c.fs, Key: c.key})
		if err == nil {
			i.Close()
		}
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestCheckFindsWhatIsWrong(t *testing.T) {
	for _, secret := range [][]byte{nil, testKey} {
		for _, c := range []struct {
			name  string
			spoil func(t *testing.T, s *Store, b *pebble.Batch)
			want  string
		}{
			{"a record that is cut", func(t *testing.T, s *Store, b *pebble.Batch) {
				b.Set(key(kindSession, 1), []byte{1}, nil)
			}, "session record 7300"},
			{"a key that is cut", func(t *testing.T, s *Store, b *pebble.Batch) {
				if err := s.put(b, []byte{kindEntry, 1}, []byte{1}); err != nil {
					t.Fatal(err)
				}
			}, "queued record 7101: malformed"},
			{"an entry without a session", func(t *testing.T, s *Store, b *pebble.Batch) {
				if err := s.put(b, keyOf(kindIncoming, 99, 1)[:11], []byte{recordVersion}); err != nil {
					t.Fatal(err)
				}
			}, "belongs to no session"},
			{"a message that is missing", func(t *testing.T, s *Store, b *pebble.Batch) {
				b.Delete(key(kindMessage, 1), nil)
			}, "its message is missing"},
		} {
			fs := vfs.NewMem()
			s := open(t, Options{FS: fs, Key: secret})
			commit(t, s, secretChange(1)...)
			b := s.db.NewBatch()
			c.spoil(t, s, b)
			if err := s.db.Apply(b, pebble.Sync); err != nil {
				t.Fatal(err)
			}
			closed(t, s)
			i, err := Inspect(Options{Dir: "store", FS: fs, Key: secret})
			if err != nil {
				t.Fatal(err)
			}
			var problems []string
			_, records, err := i.Check(func(err error) { problems = append(problems, err.Error()) })
			if err := errors.Join(err, i.Close()); err != nil {
				t.Fatal(err)
			}
			if text := strings.Join(problems, "\n"); !strings.Contains(text, c.want) {
				t.Errorf("%s: %q, want %q", c.name, text, c.want)
			} else if strings.Contains(text, secrets["client id"]) || strings.Contains(text, secrets["user"]) {
				t.Errorf("%s: %q names what is in the store", c.name, text)
			}
			if records["retained"] != 1 {
				t.Errorf("%s: the check ended before the retained messages", c.name)
			}
		}
	}
}

func TestABitOfATableThatIsChangedIsFoundAndNeverHangs(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, store.Op{Kind: store.PutSession, Session: 1, Client: "a", Owner: owner, Expiry: 9})
	for n := range uint64(200) {
		commit(t, s, store.Op{Kind: store.PutEntry, Session: 1, Entry: session.Entry{Seq: n + 1, Msg: message("t", strings.Repeat("x", 500)), QoS: 1}})
	}
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatal(tables, err)
	}
	table := tables[len(tables)-1]
	data, err := os.ReadFile(table)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/4] ^= 4
	if err := os.WriteFile(table, data, 0o600); err != nil {
		t.Fatal(err)
	}
	i, err := Inspect(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	var problems []string
	n, _, err := i.Check(func(err error) { problems = append(problems, err.Error()) })
	if err := errors.Join(err, i.Close()); err != nil {
		t.Fatal(err)
	}
	if n == 0 || len(problems) == 0 || !strings.Contains(problems[0], filepath.Base(table)) || !strings.Contains(problems[0], "checksum") {
		t.Errorf("%d tables, %q", n, problems)
	}
	if s, err := Open(Options{Dir: dir}); err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("Open: %v, want that a checksum differs", err)
		if err == nil {
			s.Close()
		}
	}
}
