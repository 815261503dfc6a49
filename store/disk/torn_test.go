package disk

import (
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"sallyport/session"
	"sallyport/store"

	"errors"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// logged is a store of which so much stands in its log alone, in groups of their own.
func logged(t *testing.T, d Durability, groups int) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewCrashableMem()
	s := open(t, Options{FS: fs, Durability: d})
	commit(t, s, store.Op{Kind: store.PutSession, Session: 1, Client: "a", Owner: owner, Expiry: 9})
	for i := range groups {
		commit(t, s, store.Op{Kind: store.PutEntry, Session: 1, Entry: session.Entry{Msg: message("t", strings.Repeat("x", 2000)), QoS: 1, Seq: uint64(i + 1)}})
	}
	left := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	closed(t, s)
	return left
}

// lastLog is the name of the log that was written last.
func lastLog(t *testing.T, fs vfs.FS) string {
	t.Helper()
	names, err := fs.List("store")
	if err != nil {
		t.Fatal(err)
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, ".log") })
	return fs.PathJoin("store", slices.Max(names))
}

// spoil changes a byte of a file.
func spoil(t *testing.T, fs vfs.FS, name string, at int64) {
	t.Helper()
	f, err := fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	b := []byte{0}
	_, err = f.ReadAt(b, at)
	b[0] ^= 0x10
	if _, again := f.WriteAt(b, at); errors.Join(err, again, f.Close()) != nil {
		t.Fatal(err, again)
	}
}

// A piece is missing of a log whose end is there: with Always that is damage, since
// all of it was synced; else it is what a loss of power leaves, and all before it counts.
func TestAPieceThatIsMissingInTheLog(t *testing.T) {
	for _, c := range []struct {
		name    string
		d, then Durability
		refused bool
	}{
		{"of a store that syncs", Always, Always, true},
		{"of one that did", Always, System, true},
		{"of one that does not", System, System, false},
		{"of one that did not", Interval, Always, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs := logged(t, c.d, 60)
			spoil(t, fs, lastLog(t, fs), 70_000)
			var log strings.Builder
			opt := Options{Dir: "store", FS: fs, Durability: c.then, Log: slog.New(slog.NewTextHandler(&log, nil))}
			i, err := Inspect(opt)
			if c.refused != (err != nil) {
				t.Fatalf("inspected: %v", err)
			}
			if err == nil {
				if _, records, err := i.Check(func(err error) { t.Error(err) }); err != nil || records["queued"] == 0 {
					t.Errorf("%v, %v", records, err)
				}
				if err := i.Close(); err != nil {
					t.Fatal(err)
				}
			}
			s, err := Open(opt)
			if c.refused {
				if !errors.Is(err, record.ErrInvalidChunk) {
					t.Fatalf("%v, want a refusal of the log", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := restored(s)[0].Entries
			if len(got) < 30 || len(got) >= 60 || got[len(got)-1].Seq != uint64(len(got)) {
				t.Errorf("%d messages, the last is %d, want the first 34 or so", len(got), got[len(got)-1].Seq)
			}
			if !strings.Contains(log.String(), "the log ends where a loss of power tore it") {
				t.Errorf("the log says %q", log.String())
			}
			commit(t, s, several(1, 100, 101)...)
			closed(t, s)
			if _, err := fs.Stat("store/" + unsyncedMark); (err == nil) != (c.then != Always) {
				t.Errorf("the mark of what is not synced: %v", err)
			}
			again := open(t, Options{FS: fs, Durability: c.then})
			defer closed(t, again)
			if n := len(restored(again)[0].Entries); n != len(got)+2 {
				t.Errorf("%d messages, want %d", n, len(got)+2)
			}
		})
	}
}

// Damage of a log that is not the last is damage, however the store was written.
func TestWhatIsCutIsTheLastLogAlone(t *testing.T) {
	fs := logged(t, System, 5)
	r, rest, err := wholeRecords(fs, lastLog(t, fs), 1<<40) // of another number
	if err != nil || r != 0 || rest == 0 {
		t.Errorf("%d, %d, %v of a log with another number, want nothing to read", r, rest, err)
	}
	opt := &Options{Dir: "store", FS: fs}
	opt.defaults()
	if _, torn := opt.torn(io.ErrUnexpectedEOF); torn {
		t.Error("an error that is not of the log is taken for a torn log")
	}
}
