package disk

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"sallyport/session"
	"sallyport/store"
	"sallyport/store/storetest"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

var (
	testKey  = []byte("the key of 32 bytes for the tests")[:KeySize]
	otherKey = []byte("another key of 32 bytes for tests")[:KeySize]
)

func TestContractOfAnEncryptedStore(t *testing.T) {
	storetest.Contract(t, func(t *testing.T) store.Store { return open(t, Options{Key: testKey}) })
}

// content is every file of a folder.
func content(t *testing.T, fs vfs.FS, dir string) map[string]string {
	t.Helper()
	names, err := fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, name := range names {
		f, err := fs.Open(fs.PathJoin(dir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue // Pebble has removed it meanwhile
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(f)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(data)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

// secrets are texts that a store is given, none of which anything else holds.
var secrets = func() map[string]string {
	r := rand.New(rand.NewPCG(5, 5))
	m := map[string]string{}
	for _, what := range []string{
		"topic", "payload", "payload for several", "properties", "client id", "user", "realm", "group", "role",
		"attribute", "value of an attribute", "claim", "listener", "method", "certificate", "will topic", "will payload", "filter",
		"shared filter", "share group", "retained topic", "retained payload", "publisher's client id", "publisher's user",
		"table", "item's name", "item",
	} {
		b := make([]byte, 24)
		for i := range b {
			b[i] = "abcdefghijklmnopqrstuvwxyz0123456789"[r.IntN(36)]
		}
		m[what] = string(b)
	}
	return m
}()

func secretOwner() *session.Origin {
	return &session.Origin{
		Realm: secrets["realm"], Name: secrets["user"], ClientID: secrets["client id"],
		Groups: []string{secrets["group"]}, Roles: []string{secrets["role"]}, Attrs: map[string]string{secrets["attribute"]: secrets["value of an attribute"]},
		Claims: map[string]any{secrets["claim"]: true}, Listener: secrets["listener"], Method: secrets["method"], Cert: []byte(secrets["certificate"]),
	}
}

// secretChange fills a store with all of them; n tells rounds apart.
func secretChange(n int) []store.Op {
	client := secrets["client id"]
	publisher := &session.Origin{Name: secrets["publisher's user"], ClientID: secrets["publisher's client id"]}
	m := func(topic, payload string) *session.Message {
		m := session.NewMessage(secrets[topic]+"/"+fmt.Sprint(n), []byte(secrets[payload]), []byte(secrets["properties"]))
		m.QoS, m.Origin = 1, publisher
		return m
	}
	many := m("topic", "payload for several")
	seq := uint64(4 * n)
	shared := "$share/" + secrets["share group"] + "/" + secrets["shared filter"]
	return []store.Op{
		{Kind: store.PutSession, Session: 1, Client: client, Owner: secretOwner(), Expiry: 9},
		{Kind: store.PutSession, Session: 2, Client: client + "-2", Owner: secretOwner(), Expiry: 9},
		{Kind: store.PutSubscription, Session: 1, Sub: session.NewSubscription(secrets["filter"]+"/#", "", 0)},
		{Kind: store.PutSubscription, Session: 1, Sub: session.NewSubscription(shared, secrets["share group"], 0)},
		{Kind: store.PutEntry, Session: 1, Entry: session.Entry{Seq: seq, Msg: many, QoS: 1}},
		{Kind: store.PutEntry, Session: 2, Entry: session.Entry{Seq: seq, Msg: many, QoS: 1}},
		{Kind: store.PutEntry, Session: 1, Entry: session.Entry{Seq: seq + 1, Msg: m("topic", "payload"), QoS: 1, Via: &session.Via{Share: share(shared)}}},
		{Kind: store.SetFlight, Session: 1, Entry: session.Entry{Seq: seq}, PacketID: 1},
		{Kind: store.AddIncoming, Session: 1, PacketID: 2},
		{Kind: store.PutWill, Session: 1, Message: m("will topic", "will payload"), At: 1},
		{Kind: store.PutRetained, Message: m("retained topic", "retained payload")},
		{Kind: store.PutItem, Item: &store.Item{Table: secrets["table"], Name: secrets["item's name"], Value: []byte(secrets["item"])}},
	}
}

// TestNothingIsReadOnTheDisk searches every file for everything that a store was
// given, and a store that is not encrypted for the same: there it is found.
func TestNothingIsReadOnTheDisk(t *testing.T) {
	for _, encrypted := range []bool{false, true} {
		t.Run(fmt.Sprintf("encrypted %v", encrypted), func(t *testing.T) {
			fs := vfs.NewCrashableMem()
			opt := Options{FS: fs, Dir: "store"}
			if encrypted {
				opt.Key = testKey
			}
			hidden := maps.Clone(secrets)
			hidden["certificate"] = base64.StdEncoding.EncodeToString([]byte(secrets["certificate"])) // as a record holds it
			hidden["certificate in DER"] = secrets["certificate"]
			found, kinds := map[string]bool{}, map[string]bool{}
			look := func(fs vfs.FS) {
				for name, text := range content(t, fs, "store") {
					kinds[strings.TrimRight(name, "0123456789")] = true
					kinds[name[strings.LastIndexAny(name, ".")+1:]] = true
					for what, secret := range hidden {
						if strings.Contains(text, secret) {
							found[what] = true
							if encrypted {
								t.Errorf("%s holds the %s", name, what)
							}
						}
					}
				}
			}
			r := rand.New(rand.NewPCG(1, 1))
			for round := range 12 {
				s, err := Open(opt)
				if err != nil {
					t.Fatal(err)
				}
				if encrypted {
					hidden["user's key"], hidden["data key"], hidden["secret of hashes"] = string(testKey), string(s.seal.dataKey[:]), string(s.hashKey[:])
					hidden["next user's key"] = string(otherKey)
				}
				commit(t, s, secretChange(round)...)
				look(fs)
				if round%3 == 1 {
					if err := s.db.Flush(); err != nil {
						t.Fatal(err)
					}
				}
				if round%3 == 2 {
					if err := s.db.Compact(context.Background(), []byte{0}, []byte{255}, true); err != nil {
						t.Fatal(err)
					}
				}
				if encrypted {
					keys := [][]byte{testKey, otherKey}
					if err := s.RotateKey(keys[(round+1)%2]); err != nil {
						t.Fatal(err)
					}
					opt.Key = keys[(round+1)%2]
				}
				look(fs)
				commit(t, s, store.Op{Kind: store.DeleteSession, Session: 2})
				crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(101), RNG: r})
				look(crashed)
				closed(t, s)
				look(fs)
				if round%4 == 3 { // and the next round finds what the crash has left
					fs = crashed
					opt.FS = fs
				}
			}
			if !encrypted {
				for what := range secrets {
					if !found[what] {
						t.Errorf("the search finds no %s in a store that is not encrypted: it shows nothing", what)
					}
				}
			}
			for _, kind := range []string{"sst", "log", "MANIFEST-", "OPTIONS-"} {
				if !kinds[kind] {
					t.Errorf("no %s file was searched, of %v", kind, slices.Sorted(maps.Keys(kinds)))
				}
			}
		})
	}
}

// filled is a store with one round of secrets, closed.
func filled(t testing.TB, key []byte) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewCrashableMem()
	s := open(t, Options{FS: fs, Key: key})
	commit(t, s, secretChange(1)...)
	closed(t, s)
	return fs
}

func TestAStoreOpensWithItsOwnKeyAlone(t *testing.T) {
	for _, c := range []struct {
		name      string
		made, key []byte
		want      error
	}{
		{"another key", testKey, otherKey, ErrWrongKey},
		{"no key", testKey, nil, ErrEncrypted},
		{"a key where none was", nil, testKey, ErrNotEncrypted},
		{"a short key", testKey, testKey[:16], ErrKeySize},
		{"an empty key", nil, []byte{}, ErrKeySize},
		{"an empty key for an encrypted store", testKey, []byte{}, ErrKeySize},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs := filled(t, c.made)
			before := content(t, fs, "store")
			opt := Options{FS: fs, Dir: "store", Key: c.key}
			if _, err := Open(opt); !errors.Is(err, c.want) {
				t.Errorf("Open: %v, want %v", err, c.want)
			} else if len(c.key) > 0 && strings.Contains(err.Error(), string(c.key)) {
				t.Errorf("Open: %v holds the key", err)
			}
			if c.key != nil {
				if err := Rekey(opt, otherKey); !errors.Is(err, c.want) {
					t.Errorf("Rekey: %v, want %v", err, c.want)
				}
			}
			if after := content(t, fs, "store"); !maps.Equal(before, after) {
				t.Errorf("the refused attempts have changed files: %v, then %v", slices.Sorted(maps.Keys(before)), slices.Sorted(maps.Keys(after)))
			}
			s := open(t, Options{FS: fs, Key: c.made})
			if n := len(restored(s)); n != 2 {
				t.Errorf("%d sessions, want 2", n)
			}
			closed(t, s)
		})
	}
}

func TestAStoreInUseIsRefused(t *testing.T) {
	s, err := Open(Options{Dir: t.TempDir(), Key: testKey})
	if err != nil {
		t.Fatal(err)
	}
	opt := Options{Dir: s.opt.Dir, Key: testKey}
	if _, err := Open(opt); !errors.Is(err, ErrLocked) {
		t.Errorf("Open: %v, want ErrLocked", err)
	}
	if err := Rekey(opt, otherKey); !errors.Is(err, ErrLocked) {
		t.Errorf("Rekey: %v, want ErrLocked", err)
	}
	closed(t, s)
	if s, err = Open(opt); err != nil {
		t.Fatalf("after Close: %v", err)
	}
	closed(t, s)
}

func TestTheKeyIsRotated(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := open(t, Options{FS: fs, Key: testKey})
	commit(t, s, secretChange(1)...)
	if err := s.RotateKey(otherKey[:5]); !errors.Is(err, ErrKeySize) {
		t.Errorf("RotateKey with 5 bytes: %v", err)
	}
	var all sync.WaitGroup // while the store works
	for i := range 4 {
		all.Go(func() {
			for n := range 50 {
				commit(t, s, store.Op{Kind: store.AddIncoming, Session: 1, PacketID: uint16(10 + 50*i + n)})
			}
		})
	}
	for range 20 {
		all.Go(func() {
			if err := s.RotateKey(otherKey); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	crashed := fs.CrashClone(vfs.CrashCloneCfg{}) // what is not synced is lost
	closed(t, s)
	if err := s.RotateKey(testKey); !errors.Is(err, store.ErrClosed) {
		t.Errorf("RotateKey after Close: %v", err)
	}
	for _, fs := range []vfs.FS{fs, crashed} {
		if _, err := Open(Options{FS: fs, Dir: "store", Key: testKey}); !errors.Is(err, ErrWrongKey) {
			t.Errorf("with the old key: %v, want ErrWrongKey", err)
		}
		if err := Rekey(Options{FS: fs, Dir: "store", Key: otherKey}, testKey); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Options{FS: fs, Dir: "store", Key: otherKey}); !errors.Is(err, ErrWrongKey) {
			t.Errorf("with the key before Rekey: %v, want ErrWrongKey", err)
		}
		s := open(t, Options{FS: fs, Key: testKey})
		if got := restored(s); len(got) != 2 || len(got[0].Incoming) != 201 {
			t.Errorf("%d sessions, %d identifiers", len(got), len(got[0].Incoming))
		}
		closed(t, s)
	}
	plain := open(t, Options{})
	defer closed(t, plain)
	if err := plain.RotateKey(testKey); !errors.Is(err, ErrNotEncrypted) {
		t.Errorf("RotateKey of a store that is not encrypted: %v", err)
	}
	if err := Rekey(Options{FS: vfs.NewMem(), Dir: "nowhere", Key: testKey}, otherKey); err == nil {
		t.Error("Rekey makes a store")
	}
}

func TestALossOfPowerWhileTheKeyIsRotatedLeavesOneThatOpens(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for range 20 {
		fs := vfs.NewCrashableMem()
		s := open(t, Options{FS: fs, Key: testKey})
		commit(t, s, secretChange(1)...)
		done := make(chan error, 1)
		go func() { done <- s.RotateKey(otherKey) }()
		crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(101), RNG: r})
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		closed(t, s)
		opened := 0
		for _, key := range [][]byte{testKey, otherKey} {
			again, err := Open(Options{FS: crashed, Dir: "store", Key: key})
			if err != nil && !errors.Is(err, ErrWrongKey) {
				t.Fatal(err)
			}
			if err == nil {
				opened++
				closed(t, again)
			}
		}
		if opened != 1 {
			t.Fatalf("%d of the two keys open the store", opened)
		}
	}
}

// raw is one sealed record as it lies on the disk.
type raw struct{ key, value []byte }

func rawRecords(t testing.TB, s *Store) (all []raw) {
	t.Helper()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{kindMeta + 1}})
	if err != nil {
		t.Fatal(err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		all = append(all, raw{bytes.Clone(it.Key()), bytes.Clone(it.Value())})
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	if len(all) < 8 {
		t.Fatalf("%d records", len(all))
	}
	return all
}

func TestAChangedRecordIsRefused(t *testing.T) {
	s := open(t, Options{FS: filled(t, testKey), Key: testKey})
	defer closed(t, s)
	for _, r := range rawRecords(t, s) {
		if _, err := s.opened(nil, r.key, r.value); err != nil {
			t.Fatalf("record %x: %v", r.key, err)
		}
		for i := range r.value {
			for bit := range 8 {
				r.value[i] ^= 1 << bit
				if out, err := s.opened(nil, r.key, r.value); !errors.Is(err, errSealed) || out != nil {
					t.Fatalf("record %x with bit %d of byte %d changed: %q, %v", r.key, bit, i, out, err)
				}
				r.value[i] ^= 1 << bit
			}
			if _, err := s.opened(nil, r.key, r.value[:i]); !errors.Is(err, errSealed) {
				t.Fatalf("record %x cut to %d bytes: %v", r.key, i, err)
			}
		}
		if _, err := s.opened(nil, r.key, append(r.value, 0)); !errors.Is(err, errSealed) {
			t.Fatalf("record %x with a byte more: %v", r.key, err)
		}
	}
}

func TestARecordOfAnotherKeyIsRefused(t *testing.T) {
	fs := filled(t, testKey)
	s := open(t, Options{FS: fs, Key: testKey})
	all := rawRecords(t, s)
	closed(t, s)
	foreign := open(t, Options{FS: filled(t, testKey), Key: testKey}) // another store of one user's key
	others := rawRecords(t, foreign)
	closed(t, foreign)
	refused := 0
	for i, r := range all {
		for _, value := range [][]byte{all[(i+1)%len(all)].value, others[i].value, []byte{recordVersion}, nil} {
			spoiled := fs.CrashClone(vfs.CrashCloneCfg{})
			db, err := pebble.Open("store", &pebble.Options{FS: spoiled, FormatMajorVersion: pebble.FormatNewest, Logger: mute{}})
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(db.Set(r.key, value, pebble.Sync), db.Close()); err != nil {
				t.Fatal(err)
			}
			again, err := Open(Options{FS: spoiled, Dir: "store", Key: testKey})
			if err == nil {
				closed(t, again)
			}
			if !errors.Is(err, errSealed) {
				t.Errorf("record %x with the value of another: %v", r.key, err)
			}
			refused++
		}
	}
	if refused < 32 {
		t.Errorf("%d records were tried", refused)
	}
}

func TestKeysOfTheStoreThatWereChangedAreRefused(t *testing.T) {
	fs := filled(t, testKey)
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, b *pebble.Batch, db *pebble.DB)
		want  error
	}{
		{"a bit of the wrapped key", func(t *testing.T, b *pebble.Batch, db *pebble.DB) {
			v, err := getterOf(db)(wrappedKey)
			if err != nil || len(v) != wrapSize {
				t.Fatal(v, err)
			}
			v[len(v)/3] ^= 1
			b.Set(wrappedKey, v, nil)
		}, ErrWrongKey},
		{"a wrapped key that is cut", func(t *testing.T, b *pebble.Batch, db *pebble.DB) {
			b.Set(wrappedKey, []byte{wrapVersion, 1}, nil)
		}, errRecord},
		{"a wrapped key of a newer form", func(t *testing.T, b *pebble.Batch, db *pebble.DB) {
			b.Set(wrappedKey, bytes.Repeat([]byte{wrapVersion + 1}, wrapSize), nil)
		}, errRecord},
		{"an older format", func(t *testing.T, b *pebble.Batch, db *pebble.DB) {
			b.Set(formatKey, []byte{0, 0, 0, formatVersion - 1}, nil)
		}, ErrWrongKey},
		{"no wrapped key", func(t *testing.T, b *pebble.Batch, db *pebble.DB) { b.Delete(wrappedKey, nil) }, ErrNotEncrypted},
		{"another salt", func(t *testing.T, b *pebble.Batch, db *pebble.DB) {
			b.Set(epochKey(1), make([]byte, saltSize), nil)
		}, errSealed},
		{"no salt", func(t *testing.T, b *pebble.Batch, db *pebble.DB) { b.Delete(epochKey(1), nil) }, errSealed},
		{"an epoch without a number", func(t *testing.T, b *pebble.Batch, db *pebble.DB) {
			b.Set(append(epochKey(9), 0), make([]byte, saltSize), nil)
		}, errRecord},
	} {
		spoiled := fs.CrashClone(vfs.CrashCloneCfg{})
		db, err := pebble.Open("store", &pebble.Options{FS: spoiled, FormatMajorVersion: pebble.FormatNewest, Logger: mute{}})
		if err != nil {
			t.Fatal(err)
		}
		b := db.NewBatch()
		c.spoil(t, b, db)
		if err := errors.Join(db.Apply(b, pebble.Sync), b.Close(), db.Close()); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Options{FS: spoiled, Dir: "store", Key: testKey}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestNumbersThatAreUsedUpRefuse(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, Options{FS: fs, Key: testKey})
	s.seal.counter.Store(math.MaxUint64 - 1)
	commit(t, s, store.Op{Kind: store.PutSession, Session: 1, Client: "a", Owner: owner, Expiry: 9}) // the last nonce
	for range 2 {
		err := make(chan error, 1)
		s.Commit(&store.Batch{Ops: []store.Op{{Kind: store.PutSession, Session: 2, Client: "b", Owner: owner, Expiry: 9}}}, func(e error) { err <- e })
		if e := <-err; !errors.Is(e, ErrFailed) {
			t.Errorf("a commit without a nonce: %v", e)
		}
	}
	if err := s.Close(); !errors.Is(err, ErrFailed) {
		t.Errorf("Close: %v", err)
	}
	if err := (&sealer{}).seal(make([]byte, sealSize), []byte("k"), nil); err == nil {
		t.Error("a sealer without an epoch seals")
	}

	fs = filled(t, testKey)
	s = open(t, Options{FS: fs, Key: testKey})
	if err := s.db.Set(epochKey(math.MaxUint32), make([]byte, saltSize), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	closed(t, s)
	if _, err := Open(Options{FS: fs, Dir: "store", Key: testKey}); err == nil || !strings.Contains(err.Error(), "too often") {
		t.Errorf("after the last epoch: %v", err)
	}
}

// TestAStoreThatWasSetBackUsesNoNonceTwice opens one snapshot twice: both starts
// count the same epoch, and whoever has seen both disks may not learn from that.
func TestAStoreThatWasSetBackUsesNoNonceTwice(t *testing.T) {
	snapshot := filled(t, testKey)
	var records [2]raw
	for i, topic := range []string{"one", "two"} {
		s := open(t, Options{FS: snapshot.CrashClone(vfs.CrashCloneCfg{}), Key: testKey})
		commit(t, s, store.Op{Kind: store.PutRetained, Message: message(topic, "the same text")})
		k := s.retainedKey(topic)
		v, err := getterOf(s.db)(k)
		if err != nil {
			t.Fatal(err)
		}
		records[i] = raw{k, v}
		closed(t, s)
	}
	a, b := records[0].value, records[1].value
	if !bytes.Equal(a[:nonceSize], b[:nonceSize]) {
		t.Fatalf("nonces %x and %x: the test shows nothing", a[:nonceSize], b[:nonceSize])
	}
	same := 0
	for i := nonceSize; i < len(a)-tagSize; i++ {
		if a[i] == b[i] {
			same++
		}
	}
	if same > (len(a)-sealSize)/4 {
		t.Errorf("%d of %d bytes are alike: the key is the same", same, len(a)-sealSize)
	}
}

func TestManyEpochsAreReadAndFewRemembered(t *testing.T) {
	fs := vfs.NewMem()
	const starts = olderKept + 10
	for n := range starts {
		s := open(t, Options{FS: fs, Key: testKey, Durability: System})
		if s.seal.epoch != uint32(n+1) {
			t.Fatalf("start %d has epoch %d", n+1, s.seal.epoch)
		}
		commit(t, s, store.Op{Kind: store.PutRetained, Message: message(fmt.Sprint(n), "x")})
		closed(t, s)
	}
	s := open(t, Options{FS: fs, Key: testKey})
	defer closed(t, s)
	if n, _ := s.RetainedCount(); n != starts {
		t.Errorf("%d messages, want %d", n, starts)
	}
	if n := len(s.seal.older); n == 0 || n > olderKept {
		t.Errorf("%d keys are remembered", n)
	}
}

// FuzzOpen holds that nothing opens but what was sealed, under its own key.
func FuzzOpen(f *testing.F) {
	// Nothing is random: whoever searches has several processes.
	salts := map[string][]byte{string(epochKey(1)): make([]byte, saltSize), string(epochKey(2)): make([]byte, saltSize)}
	c := &sealer{format: formatVersion, epoch: 2, get: func(key []byte) ([]byte, error) {
		if salt := salts[string(key)]; salt != nil {
			return salt, nil
		}
		return nil, pebble.ErrNotFound
	}}
	var err error
	if c.present, err = c.cipherOf(2, make([]byte, saltSize)); err != nil {
		f.Fatal(err)
	}
	key, text := []byte("qkey"), []byte("the text of a record")
	value := make([]byte, len(text)+sealSize)
	if err := c.seal(value, key, text); err != nil {
		f.Fatal(err)
	}
	wrapped, err := c.wrap(testKey)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(key, value)
	f.Add([]byte("qkez"), value)
	f.Add(key, value[:sealSize])
	f.Add(key, append([]byte{0, 0, 0, 1}, value[4:]...))
	f.Add(key, append([]byte{0, 0, 0, 9}, value[4:]...))
	f.Add(testKey, wrapped)
	f.Add(otherKey, wrapped)
	f.Fuzz(func(t *testing.T, k, v []byte) {
		out, err := c.open(nil, k, v)
		if genuine := bytes.Equal(k, key) && bytes.Equal(v, value); (err == nil) != genuine || genuine && !bytes.Equal(out, text) {
			t.Errorf("open(%x, %x) = %q, %v", k, v, out, err)
		}
		got, err := unwrap(v, k, formatVersion)
		if bytes.Equal(k, testKey) && bytes.Equal(v, wrapped) && err != nil || err == nil && (got.dataKey != c.dataKey || got.id != c.id || !bytes.Equal(k, testKey)) {
			t.Errorf("unwrap(%x, %x): %v", v, k, err)
		}
	})
}

// BenchmarkSeal is a record of 100 bytes put into a batch.
func BenchmarkSeal(b *testing.B) {
	for _, c := range []struct {
		name string
		key  []byte
	}{{"plain", nil}, {"sealed", testKey}} {
		b.Run(c.name, func(b *testing.B) {
			s := open(b, Options{Key: c.key})
			defer closed(b, s)
			k, v := keyOf(kindEntry, 1, 1), make([]byte, 100)
			batch := s.db.NewBatchWithSize(1 << 20)
			b.SetBytes(int64(len(v)))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%4096 == 0 {
					batch.Reset()
				}
				if err := s.put(batch, k, v); err != nil {
					b.Fatal(err)
				}
			}
			if err := batch.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
	b.Run("open", func(b *testing.B) {
		s := open(b, Options{Key: testKey})
		defer closed(b, s)
		k, v, buf := keyOf(kindEntry, 1, 1), make([]byte, 100+sealSize), make([]byte, 0, 100)
		if err := s.seal.seal(v, k, make([]byte, 100)); err != nil {
			b.Fatal(err)
		}
		b.SetBytes(100)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.opened(buf, k, v); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkQueueEncrypted is BenchmarkQueue with a key.
func BenchmarkQueueEncrypted(b *testing.B) { benchmarkQueue(b, testKey) }
