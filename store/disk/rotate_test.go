package disk

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A store whose commits are not synced has its new key for good all the same.
func TestTheKeyIsChangedForGoodWhateverDurabilityIsPromised(t *testing.T) {
	for _, d := range []Durability{Always, Interval, System} {
		t.Run(fmt.Sprint(d), func(t *testing.T) {
			fs := vfs.NewCrashableMem()
			s := open(t, Options{FS: fs, Key: testKey, Durability: d})
			if yes, err := s.Opens(testKey); err != nil || !yes {
				t.Errorf("Opens, of its key: %t, %v", yes, err)
			}
			if err := s.RotateKey(otherKey); err != nil {
				t.Fatal(err)
			}
			crashed := fs.CrashClone(vfs.CrashCloneCfg{}) // what is not synced is lost
			for key, want := range map[string]bool{string(testKey): false, string(otherKey): true} {
				if yes, err := s.Opens([]byte(key)); err != nil || yes != want {
					t.Errorf("Opens(%x) = %t, %v, want %t", key, yes, err, want)
				}
			}
			if _, err := s.Opens(testKey[1:]); !errors.Is(err, ErrKeySize) {
				t.Errorf("Opens, of a short key: %v", err)
			}
			closed(t, s)
			if _, err := Open(Options{FS: crashed, Dir: "store", Key: testKey}); !errors.Is(err, ErrWrongKey) {
				t.Errorf("after a loss of power, with the old key: %v, want %v", err, ErrWrongKey)
			}
			closed(t, open(t, Options{FS: crashed, Key: otherKey}))
		})
	}
	plain := open(t, Options{})
	defer closed(t, plain)
	if _, err := plain.Opens(testKey); !errors.Is(err, ErrNotEncrypted) {
		t.Errorf("Opens of a store without a key: %v", err)
	}
}
