package sallyport

import (
	"bytes"
	"errors"
	"sync/atomic"
	"syscall"
	"testing"

	"sallyport/store"
	"sallyport/store/disk"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

func TestAStoreThatHasFailedIsOpenedAgainWithTheKeyThatItHasNow(t *testing.T) {
	key := func(b byte) []byte { return bytes.Repeat([]byte{b}, disk.KeySize) }
	var ill atomic.Bool
	s := &Server{storeOptions: disk.Options{Dir: t.TempDir(), Key: key(1), FS: errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if ill.Load() && op.Kind == errorfs.OpFileSyncData {
			return syscall.EIO
		}
		return nil
	}))}}
	st, err := disk.Open(s.storeOptions)
	if err != nil {
		t.Fatal(err)
	}
	for n, change := range []func(*disk.Store){
		func(*disk.Store) {},
		func(st *disk.Store) {
			s.storeKeys.add(key(2))
			if err := st.RotateKey(key(2)); err != nil {
				t.Fatal(err)
			}
		},
		func(*disk.Store) { s.storeKeys.add(key(3)) }, // which did not come about
	} {
		change(st)
		ill.Store(true)
		failed := make(chan error, 1)
		st.Commit(&store.Batch{Ops: []store.Op{{Kind: store.PutSession, Session: uint64(n) + 1, Client: "c"}}}, func(err error) { failed <- err })
		if err := <-failed; !errors.Is(err, disk.ErrFailed) {
			t.Fatalf("%v, want %v", err, disk.ErrFailed)
		}
		ill.Store(false)
		again, err := s.reopen(st)
		if err != nil {
			t.Fatalf("attempt %d: %v", n, err)
		}
		_ = st.Close() // it has said why it failed
		st = again
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
}
