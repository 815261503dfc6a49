package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"sallyport/store/backup"

	"github.com/cockroachdb/pebble/v2"
)

// snapshotDir is where, in the folder of a store, a snapshot lies while it is read. A
// process that ends meanwhile leaves it behind, and the next start removes it.
const snapshotDir = "snapshot"

// ErrSnapshot says that a snapshot of the store is being read already.
var ErrSnapshot = errors.New("a backup of the store is under way")

// Snapshot is the files of a store as they were at one moment.
type Snapshot struct {
	backup.Header // but Created and Version

	opt Options // Dir and FS
	end func() error
}

// Open opens one of the files.
func (s *Snapshot) Open(name string) (io.ReadCloser, error) {
	return s.opt.FS.Open(s.opt.FS.PathJoin(s.opt.Dir, name))
}

// Close gives the snapshot up.
func (s *Snapshot) Close() error { return s.end() }

// Snapshot makes a snapshot that has everything of which the completion was called
// before. There is one at a time. Its tables are links, so that it takes no room but
// that of what the store would have removed meanwhile; where the file system has no
// links they are copies. A disk that is full fails the snapshot alone.
func (s *Store) Snapshot() (*Snapshot, error) {
	if !s.snapshot.CompareAndSwap(false, true) {
		return nil, ErrSnapshot
	}
	opt := Options{Dir: s.opt.FS.PathJoin(s.opt.Dir, snapshotDir), FS: s.opt.FS, CacheBytes: 1 << 20, Log: s.opt.Log}
	out := &Snapshot{opt: opt, end: func() error {
		defer s.snapshot.Store(false)
		if s.files.dead.Load() {
			return nil // the folder may be another store's by now, which has removed it
		}
		return s.removeSnapshot()
	}}
	err := s.removeSnapshot()
	if err == nil {
		err = s.aside(func() error { return s.db.Checkpoint(opt.Dir, pebble.WithFlushedWAL()) })
	}
	if err == nil {
		err = out.fill()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("snapshot of the store: %w", oneLine{err}), out.end())
	}
	return out, nil
}

// fill looks into a snapshot, which opens, and lists its files.
func (s *Snapshot) fill() error {
	db, err := openReadOnly(&s.opt, nil)
	if err != nil {
		return err
	}
	if err := errors.Join(s.describe(db), db.Close()); err != nil {
		return err
	}
	strange, err := s.list()
	if err == nil && len(strange) > 0 {
		err = fmt.Errorf("there is a file of a kind that no backup may have: %s", strange[0])
	}
	return err
}

// describe fills in what the header says of the records.
func (s *Snapshot) describe(db *pebble.DB) error {
	get := getterOf(db)
	format, err := get(formatKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return errNoStore
	}
	if err != nil {
		return err
	}
	if s.StoreFormat, err = readFormat(format); err != nil {
		return err
	}
	_, err = get(wrappedKey)
	if s.Encrypted = err == nil; err != nil && !errors.Is(err, pebble.ErrNotFound) {
		return err
	}
	if s.Sessions, err = count(db, kindSession); err != nil {
		return err
	}
	s.Retained, err = count(db, kindRetained)
	return err
}

// count counts the records of a kind without reading what they hold.
func count(db *pebble.DB, kind byte) (n int64, err error) {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte{kind}, UpperBound: []byte{kind + 1}})
	if err != nil {
		return 0, err
	}
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	return n, it.Close()
}

// list fills in the files, and tells which others there are.
func (s *Snapshot) list() (others []string, err error) {
	all, err := s.opt.FS.List(s.opt.Dir)
	if err != nil {
		return nil, err
	}
	for _, name := range all {
		if !backup.ValidName(name) {
			others = append(others, name)
			continue
		}
		info, err := s.opt.FS.Stat(s.opt.FS.PathJoin(s.opt.Dir, name))
		switch {
		case err != nil:
			return nil, err
		case !info.Mode().IsRegular():
			return nil, fmt.Errorf("%s is no file", name)
		}
		s.Files = append(s.Files, backup.File{Name: name, Bytes: info.Size()})
	}
	return others, nil
}

// removeSnapshot removes what is left of one.
func (s *Store) removeSnapshot() error {
	dir := s.opt.FS.PathJoin(s.opt.Dir, snapshotDir)
	if _, err := s.opt.FS.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return s.opt.FS.RemoveAll(dir)
}

// Freeze is a snapshot of a store that nobody has open, and keeps everybody out until
// it is given up. It changes nothing, and needs no key: Dir and FS of opt count.
func Freeze(opt Options) (*Snapshot, error) {
	opt.defaults()
	s := &Snapshot{opt: opt}
	if err := s.freeze(); err != nil {
		return nil, fmt.Errorf("open store %s: %w", opt.Dir, oneLine{err})
	}
	return s, nil
}

func (s *Snapshot) freeze() error {
	db, err := openForReading(&s.opt)
	if err != nil {
		return err
	}
	s.end = db.Close // until then it is locked
	err = s.describe(db)
	if err == nil {
		_, err = s.list() // the others are the lock, what was never finished, and nobody's
	}
	if err != nil {
		return errors.Join(err, db.Close())
	}
	return nil
}
