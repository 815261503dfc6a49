package sallyport

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"sallyport/config"
	"sallyport/internal/folder"
	"sallyport/internal/owner"
	"sallyport/store"
	"sallyport/store/disk"
)

// ErrStoreInUse says that another broker, or another Server of this process, has
// the store open.
var ErrStoreInUse = errors.New("another broker uses this store")

// storeOptions translates the storage section of a configuration for a disk, and
// reads the key.
func storeOptions(c *config.Storage) (disk.Options, error) {
	o := disk.Options{Dir: c.Dir, Interval: c.Interval, MinFree: int64(c.MinFree)}
	switch c.Durability {
	case config.DurabilityInterval:
		o.Durability = disk.Interval
	case config.DurabilityOS:
		o.Durability = disk.System
	default:
		o.Durability = disk.Always
	}
	if c.Encryption == nil {
		return o, nil
	}
	key, err := c.Encryption.ReadKey(context.Background()) // bounded by itself
	if err != nil {
		return o, fmt.Errorf("storage.encryption.key: %w", err)
	}
	o.Key = key
	return o, nil
}

// prepareStore reads what the store will be opened with and makes its folder, or
// judges the one that is there. It is called while the broker is still who
// started it: what is made belongs to the user whom run_as names.
func (s *Server) prepareStore() (err error) {
	c := &s.cfg.Storage
	if c.Type != config.StorageDisk {
		return nil
	}
	if s.storeOptions, err = storeOptions(c); err != nil {
		return err
	}
	s.storeOptions.Log = s.log
	u, err := nextUser(s.cfg.RunAs)
	if err != nil {
		return fmt.Errorf("run_as: %w", err)
	}
	info, err := os.Lstat(c.Dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return makeStoreDir(c.Dir, u)
	case err != nil:
		return fmt.Errorf("storage: %w", err)
	}
	if err := judgeStoreDir(c.Dir, info, u); err != nil {
		return err
	}
	_, owned := owner.Of(info) // where nobody owns, a mode says nothing
	if others := info.Mode().Perm() & 0o077; others != 0 && owned {
		s.log.Warn("others than the broker's user can look into the store", "dir", c.Dir, "mode", fmt.Sprintf("%04o", info.Mode().Perm()))
	}
	return nil
}

// makeStoreDir makes the folder of a store, for good: what is in it would go with it.
func makeStoreDir(dir string, u ids) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	if err := giveDir(dir, u); err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	return folder.Sync(filepath.Dir(dir))
}

// judgeStoreDir refuses a folder that is not the broker's own: whoever may write
// there could put links to other files in the places of the store's, and messages
// of his own into it.
func judgeStoreDir(dir string, info fs.FileInfo, u ids) error {
	mode := info.Mode()
	uid, known := owner.Of(info)
	switch {
	case mode&fs.ModeSymlink != 0:
		return fmt.Errorf("storage: %s is a symbolic link", dir)
	case !mode.IsDir():
		return fmt.Errorf("storage: %s is no folder", dir)
	case !known:
		return nil
	case uid != u.uid:
		return fmt.Errorf("storage: %s belongs to user %d, and the broker is user %d: run it as that user, or give it the folder with chown -R %d", dir, uid, u.uid, u.uid)
	case mode.Perm()&0o022 != 0:
		return fmt.Errorf("storage: others can write to %s, which has mode %04o; chmod 700 keeps them out", dir, mode.Perm())
	case mode.Perm()&0o700 != 0o700:
		return fmt.Errorf("storage: %s has mode %04o, which keeps its owner out; chmod 700 lets it in", dir, mode.Perm())
	}
	return nil
}

// checkStore judges what prepareStore and openStore would find, and changes nothing.
func checkStore(cfg *config.Config) error {
	c := &cfg.Storage
	if c.Type != config.StorageDisk {
		return nil
	}
	_, err := storeOptions(c)
	return errors.Join(err, checkStoreDir(c.Dir, cfg.RunAs))
}

func checkStoreDir(dir, runAs string) error {
	u, err := nextUser(runAs)
	if err != nil {
		return fmt.Errorf("run_as: %w", err)
	}
	info, err := os.Lstat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := writable(filepath.Dir(dir)); err != nil {
			return fmt.Errorf("storage: %s can't be made: %w", dir, err)
		}
		return nil
	case err != nil:
		return fmt.Errorf("storage: %w", err)
	}
	if err := judgeStoreDir(dir, info, u); err != nil {
		return err
	}
	if err := writable(dir); err != nil {
		return fmt.Errorf("storage: %s can't be written to: %w", dir, err)
	}
	return nil
}

// openStore opens what the broker keeps its state in.
func (s *Server) openStore() (store.Store, error) {
	if s.cfg.Storage.Type != config.StorageDisk {
		return store.NewMemory(), nil
	}
	st, err := disk.Open(s.storeOptions)
	if err != nil && held(err) {
		return nil, fmt.Errorf("storage: %s: %w", s.storeOptions.Dir, ErrStoreInUse)
	}
	if err != nil {
		return nil, fmt.Errorf("storage: %w", err)
	}
	s.disk.Store(st)
	return store.NewSwap(st), nil
}

// Between two attempts to open a store again that has failed.
const (
	reopenFirst = time.Second
	reopenLast  = 30 * time.Second
)

// tendStore opens the store again whenever it has failed, until stop is closed.
func (s *Server) tendStore(swap *store.Swap, stop <-chan struct{}) {
	for {
		st := s.disk.Load()
		select {
		case <-stop:
			return
		case <-st.Failed():
		}
		s.log.Error("what has to be kept is refused until the store can be opened again", "dir", s.storeOptions.Dir)
		for wait := reopenFirst; ; wait = min(2*wait, reopenLast) {
			select {
			case <-stop:
				return
			case <-time.After(wait):
			}
			again, err := s.reopen(st)
			if err != nil {
				s.log.Error("the store can't be opened again yet", "error", err)
				continue
			}
			begin := time.Now()
			s.disk.Store(again)
			s.broker.Reopen(func() { swap.Put(again) })
			s.restoreAccounts()
			_ = st.Close() // it has said why it failed
			s.sayStore(again, begin)
			break
		}
	}
}

// reopen opens a store again that has failed. It may have done so while its key was
// changed: then nobody knows which one it is.
func (s *Server) reopen(st *disk.Store) (again *disk.Store, err error) {
	opt := s.storeOptions
	for _, opt.Key = range s.storeKeys.all(opt.Key) {
		if again, err = st.Reopen(opt); !errors.Is(err, disk.ErrWrongKey) {
			break
		}
	}
	return again, err
}

// storeKeys are the last keys that the store was to change to since the start.
type storeKeys struct {
	mu   sync.Mutex // guards the field below
	keys [][]byte   // the later first
}

const storeKeysKept = 8

func (k *storeKeys) add(key []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys = append([][]byte{key}, k.keys[:min(storeKeysKept-1, len(k.keys))]...)
}

// all are the keys to try, the likeliest first; first is that of the start.
func (k *storeKeys) all(first []byte) [][]byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append(slices.Clone(k.keys), first)
}

// storeState says how the store is, for the status.
func (s *Server) storeState() string {
	st := s.disk.Load()
	if st == nil {
		return "memory"
	}
	select {
	case <-st.Failed():
		return "failed"
	default:
	}
	if st.Full() {
		return "full"
	}
	return "disk"
}

// held reports whether err comes from the lock of a store's folder.
func held(err error) bool {
	return errors.Is(err, syscall.EAGAIN) || strings.Contains(err.Error(), "lock held by current process")
}

// sayStore logs what was found in the store, which was opened at begin.
func (s *Server) sayStore(st store.Store, begin time.Time) {
	c := &s.cfg.Storage
	if c.Type != config.StorageDisk {
		return
	}
	retained, _ := st.RetainedCount()
	s.log.Info("store opened", "dir", c.Dir, "durability", string(c.Durability), "encrypted", c.Encryption != nil,
		"sessions", s.broker.Metrics().Sessions.Load(), "retained", retained, "took", time.Since(begin).Round(time.Millisecond))
}
