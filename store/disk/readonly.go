package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrLocked says that a process has the store open, which excludes all others.
var ErrLocked = errors.New("the store is in use by a running process")

// admit locks the store of opt and holds its key against it, before anything is
// written: a store that is refused stays as it is, byte for byte. Both are nil for a
// store that is still to be made; a store that is not encrypted has no sealer. Who
// opens the store gives up the lock when Pebble has it.
func admit(opt *Options) (*pebble.Lock, *sealer, error) {
	if opt.Key != nil && len(opt.Key) != KeySize {
		return nil, nil, ErrKeySize
	}
	if _, err := opt.FS.Stat(opt.Dir); errors.Is(err, fs.ErrNotExist) {
		if err := opt.FS.MkdirAll(opt.Dir, 0o700); err != nil {
			return nil, nil, err
		}
	}
	lock, err := pebble.LockDirectory(opt.Dir, opt.FS)
	if err != nil {
		return nil, nil, locked(err)
	}
	db, err := openReadOnly(opt, lock)
	if errors.Is(err, pebble.ErrDBDoesNotExist) {
		return lock, nil, nil
	}
	if err != nil {
		return nil, nil, errors.Join(err, unlocked(lock))
	}
	c, err := unlock(getterOf(db), opt.Key)
	if err = errors.Join(err, db.Close()); err != nil {
		return nil, nil, errors.Join(err, unlocked(lock))
	}
	return lock, c, nil
}

func unlocked(lock *pebble.Lock) error {
	if lock == nil {
		return nil
	}
	return lock.Close()
}

// locked is what it means that the store can't be locked. An error of the file that
// is locked has a path, an error of the lock has none.
func locked(err error) error {
	if _, file := errors.AsType[*fs.PathError](err); err == nil || file || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return err
	}
	return fmt.Errorf("%w (%w)", ErrLocked, err)
}

// openReadOnly opens the tree of a store without changing a byte of it. A nil lock
// is taken here.
func openReadOnly(opt *Options, lock *pebble.Lock) (*pebble.DB, error) {
	cache := pebble.NewCache(opt.CacheBytes)
	defer cache.Unref() // Pebble has its own
	return opt.tree(func(on vfs.FS) (*pebble.DB, error) { return readTree(opt.Dir, on, cache, lock) })
}

func readTree(dir string, on vfs.FS, cache *pebble.Cache, lock *pebble.Lock) (*pebble.DB, error) {
	return pebble.Open(dir, &pebble.Options{
		FS: readOnly{on}, Cache: cache, Lock: lock, Logger: mute{}, ReadOnly: true,
		EventListener: &pebble.EventListener{DataCorruption: func(pebble.DataCorruptionInfo) {}}, // who reads is told
	})
}

// getterOf reads the records of a tree.
func getterOf(db pebble.Reader) getter {
	return func(key []byte) ([]byte, error) {
		v, c, err := db.Get(key)
		if err != nil {
			return nil, err
		}
		return append([]byte(nil), v...), c.Close()
	}
}

// readOnly is a file system that can't be written. Pebble's read-only mode has
// written before now; here it can't.
type readOnly struct{ vfs.FS }

// errReadOnly is what whoever writes is told.
var errReadOnly = errors.New("the store is open for reading alone")

func (readOnly) Create(string, vfs.DiskWriteCategory) (vfs.File, error) { return nil, errReadOnly }

func (readOnly) OpenReadWrite(string, vfs.DiskWriteCategory, ...vfs.OpenOption) (vfs.File, error) {
	return nil, errReadOnly
}

func (readOnly) ReuseForWrite(string, string, vfs.DiskWriteCategory) (vfs.File, error) {
	return nil, errReadOnly
}

func (readOnly) Link(string, string) error          { return errReadOnly }
func (readOnly) Remove(string) error                { return errReadOnly }
func (readOnly) RemoveAll(string) error             { return errReadOnly }
func (readOnly) Rename(string, string) error        { return errReadOnly }
func (readOnly) MkdirAll(string, fs.FileMode) error { return errReadOnly }
func (r readOnly) Unwrap() vfs.FS                   { return r.FS }

// Lock locks a store. One without a file to lock, or on a disk that can't be written,
// is in nobody's use.
func (r readOnly) Lock(name string) (io.Closer, error) {
	if _, err := r.FS.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return io.NopCloser(nil), nil
	}
	c, err := r.FS.Lock(name)
	if errors.Is(err, syscall.EROFS) {
		return io.NopCloser(nil), nil
	}
	return c, locked(err)
}

// mute is Pebble's log where every error is returned.
type mute struct{}

func (mute) Infof(string, ...any)  {}
func (mute) Errorf(string, ...any) {}

// Fatalf must not return. What it is for, a failure to write, can't happen here.
func (mute) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
