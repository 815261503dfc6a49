package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Pebble writes into its log how much of it was synced, and takes damage before that
// point for what it is. Where syncs are put off (failStop.lazy) that is more than was:
// after a loss of power pieces of what came last may be missing before others that are
// there. A store that was open like that has a mark, and its last log ends where the
// first piece is missing.

// unsyncedMark is the file that says so.
const unsyncedMark = "UNSYNCED"

// mark makes the mark, or takes it away.
func (opt *Options) mark(lazy bool) error {
	name := opt.FS.PathJoin(opt.Dir, unsyncedMark)
	_, err := opt.FS.Stat(name)
	switch {
	case lazy && errors.Is(err, fs.ErrNotExist):
		var f vfs.File
		if f, err = opt.FS.Create(name, vfs.WriteCategoryUnspecified); err != nil {
			return err
		}
		err = errors.Join(f.Sync(), f.Close())
	case !lazy && err == nil:
		err = opt.FS.Remove(name)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	default:
		return err
	}
	if err != nil {
		return err
	}
	dir, err := opt.FS.OpenDir(opt.Dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// torn is called when a store could not be opened. If its last log may end early, it
// is the file system in which that log does.
func (opt *Options) torn(why error) (vfs.FS, bool) {
	if !errors.Is(why, record.ErrInvalidChunk) && !errors.Is(why, record.ErrZeroedChunk) {
		return nil, false
	}
	if _, err := opt.FS.Stat(opt.FS.PathJoin(opt.Dir, unsyncedMark)); err != nil {
		return nil, false
	}
	names, err := opt.FS.List(opt.Dir)
	if err != nil {
		return nil, false
	}
	last, number := "", uint64(0)
	for _, name := range names {
		n, err := strconv.ParseUint(strings.TrimSuffix(name, ".log"), 10, 64)
		if err == nil && strings.HasSuffix(name, ".log") && n >= number {
			last, number = name, n
		}
	}
	if last == "" {
		return nil, false
	}
	last = opt.FS.PathJoin(opt.Dir, last)
	whole, rest, err := wholeRecords(opt.FS, last, number)
	if err != nil || rest == 0 {
		return nil, false
	}
	opt.Log.Warn("the log ends where a loss of power tore it", "path", last, "read", whole, "left_out", rest)
	return cut{opt.FS, last, whole}, true
}

// wholeRecords is how many bytes of a log hold records that can be read, and how many
// follow them.
func wholeRecords(in vfs.FS, name string, number uint64) (whole, rest int64, err error) {
	f, err := in.Open(name, vfs.SequentialReadsOption)
	if err != nil {
		return 0, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return 0, 0, errors.Join(err, f.Close())
	}
	r := numbered(record.NewReader, f, number)
	for err == nil {
		whole = r.Offset()
		var one io.Reader
		if one, err = r.Next(); err == nil {
			_, err = io.Copy(io.Discard, one)
		}
	}
	return whole, info.Size() - whole, f.Close()
}

// numbered calls f with a number of a type that Pebble does not export.
func numbered[N ~uint64](f func(io.Reader, N) *record.Reader, from io.Reader, n uint64) *record.Reader {
	return f(from, N(n))
}

// cut is a file system one of whose files ends early for who reads it.
type cut struct {
	vfs.FS
	name string
	size int64
}

func (c cut) Unwrap() vfs.FS { return c.FS }

func (c cut) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := c.FS.Open(name, opts...)
	if err != nil || name != c.name {
		return f, err
	}
	return &cutFile{f, io.NewSectionReader(f, 0, c.size)}, nil
}

type cutFile struct {
	vfs.File
	in *io.SectionReader
}

func (f *cutFile) Read(p []byte) (int, error)             { return f.in.Read(p) }
func (f *cutFile) ReadAt(p []byte, at int64) (int, error) { return f.in.ReadAt(p, at) }

// tree opens a tree with open, on opt's disk or, if its log is torn, on one where it ends.
func (opt *Options) tree(open func(on vfs.FS) (*pebble.DB, error)) (*pebble.DB, error) {
	db, err := open(opt.FS)
	if err == nil {
		return db, nil
	}
	on, torn := opt.torn(err)
	if !torn {
		return nil, err
	}
	db, again := open(on)
	if again != nil {
		return nil, fmt.Errorf("%w; without the end of its log: %w", err, again)
	}
	return db, nil
}
