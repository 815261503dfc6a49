package disk

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"sallyport/store"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// narrow is a file system with as much room as it says.
type narrow struct {
	vfs.FS
	free atomic.Int64
}

func (n *narrow) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: uint64(n.free.Load())}, nil
}

func TestAStoreIsFullBeforeTheDiskIs(t *testing.T) {
	fs := &narrow{FS: vfs.NewMem()}
	fs.free.Store(1 << 20)
	s := open(t, Options{FS: fs, MinFree: 1 << 19})
	defer closed(t, s)
	if s.Full() {
		t.Fatal("full at the start")
	}
	commit(t, s, store.Op{Kind: store.PutSession, Session: 1, Client: "a", Owner: owner, Expiry: 9})
	commit(t, s, store.Op{Kind: store.PutWill, Session: 1, Message: message("t", strings.Repeat("x", 1<<18)), At: 1})
	if !s.Full() {
		t.Error("not full after as much was written as there was room for, though nobody has looked yet")
	}
	commit(t, s, store.Op{Kind: store.DeleteSession, Session: 1}) // what makes room is taken
	s.look()
	if s.Full() {
		t.Error("full though there is room")
	}
	fs.free.Store(1<<19 - 1)
	if s.look(); !s.Full() {
		t.Error("not full below min_free")
	}
	fs.free.Store(0)
	if s.look(); !s.Full() {
		t.Error("not full without any room")
	}
	off := open(t, Options{FS: &narrow{FS: vfs.NewMem()}})
	defer closed(t, off)
	if off.look(); off.Full() {
		t.Error("full with min_free 0")
	}
}

func TestAStoreIsOpenedAgainOnceItsDiskIsWellAgain(t *testing.T) {
	for _, kind := range []errorfs.OpKind{errorfs.OpFileWrite, errorfs.OpFileSyncData} {
		dir := filepath.Join(t.TempDir(), "store")
		var ill atomic.Bool
		opt := Options{Dir: dir, FS: errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if ill.Load() && op.Kind == kind {
				return errors.New("input/output error")
			}
			return nil
		}))}
		s, err := Open(opt)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Reopen(opt); err == nil {
			t.Error("a store was opened again that has not failed")
		}
		session := func(n uint64) store.Op {
			return store.Op{Kind: store.PutSession, Session: n, Client: string(rune('a' + n)), Owner: owner, Expiry: 9}
		}
		commit(t, s, session(1))
		ill.Store(true)
		done := make(chan error, 1)
		s.Commit(&store.Batch{Ops: []store.Op{session(2)}}, func(err error) { done <- err })
		if err := <-done; !errors.Is(err, ErrFailed) {
			t.Fatalf("%v, want ErrFailed", err)
		}
		<-s.Failed()
		if _, err := s.Reopen(opt); err == nil {
			t.Error("a store was opened again on a disk that fails")
		}
		ill.Store(false)
		again, err := s.Reopen(opt)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); !errors.Is(err, ErrFailed) {
			t.Errorf("Close: %v", err)
		}
		commit(t, again, session(3))
		closed(t, again)
		last, err := Open(opt) // nobody holds its lock
		if err != nil {
			t.Fatal(err)
		}
		// The second may have reached the disk before its fsync failed.
		if got := restored(last); len(got) < 2 || got[0].Number != 1 || got[len(got)-1].Number != 3 {
			t.Errorf("%d sessions, want what was acknowledged", len(got))
		}
		closed(t, last)
		if _, err := os.Stat(filepath.Join(dir, "probe")); err == nil {
			t.Error("the probe is left")
		}
	}
}
