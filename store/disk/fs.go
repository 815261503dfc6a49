package disk

import (
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// failStop is a file system whose first failure to write is the end of the store:
// who wrote is told nothing, and never goes on. Pebble answers such an error by
// ending the process, in some places by a panic that nobody can recover from; and
// what a file holds after an fsync that failed is known to nobody.
//
// Until it is armed, while the store is opened, errors are returned; and always those
// of a snapshot's files, which the store can do without.
type failStop struct {
	vfs.FS
	armed    atomic.Bool
	fail     func(error)
	snapshot string // its folder
}

// end is what err means; it returns only where that may be told.
func (f *failStop) end(what string, err error) error {
	if err == nil || !f.armed.Load() {
		return err
	}
	f.fail(fmt.Errorf("%s: %w", what, err))
	select {} // with all that is locked; nobody waits for it
}

func (f *failStop) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if f.within(name) {
		return brief(f.FS.Create(name, c))
	}
	file, err := f.FS.Create(name, c)
	return f.watch(file), f.end("create", err)
}

func (f *failStop) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	if f.within(name) {
		return brief(f.FS.OpenReadWrite(name, c, opts...))
	}
	file, err := f.FS.OpenReadWrite(name, c, opts...)
	return f.watch(file), f.end("open for writing", err)
}

func (f *failStop) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if f.within(to) {
		return brief(f.FS.ReuseForWrite(from, to, c))
	}
	file, err := f.FS.ReuseForWrite(from, to, c)
	return f.watch(file), f.end("use again", err)
}

func (f *failStop) OpenDir(name string) (vfs.File, error) {
	if f.within(name) {
		return brief(f.FS.OpenDir(name))
	}
	file, err := f.FS.OpenDir(name)
	return f.watch(file), f.end("open folder", err)
}

func (f *failStop) Link(from, to string) error {
	if f.within(to) {
		return f.FS.Link(from, to)
	}
	return f.end("link", f.FS.Link(from, to))
}

func (f *failStop) Rename(from, to string) error {
	if f.within(to) {
		return f.FS.Rename(from, to)
	}
	return f.end("rename", f.FS.Rename(from, to))
}

// within reports whether a name is a snapshot's folder, or of a file in it.
func (f *failStop) within(name string) bool {
	return f.snapshot != "" && (name == f.snapshot || f.FS.PathDir(name) == f.snapshot)
}

func (f *failStop) watch(file vfs.File) vfs.File {
	if file == nil {
		return nil
	}
	return &watched{file, f}
}

// brief makes a file one of a snapshot, which needs no fsync: nobody reads it after a
// loss of power. Pebble would panic where one of a folder fails.
func brief(file vfs.File, err error) (vfs.File, error) {
	if file == nil {
		return nil, err
	}
	return unsynced{file}, err
}

type unsynced struct{ vfs.File }

func (unsynced) Sync() error                { return nil }
func (unsynced) SyncData() error            { return nil }
func (unsynced) SyncTo(int64) (bool, error) { return true, nil }

// watched is a file that is written.
type watched struct {
	vfs.File
	fs *failStop
}

func (w *watched) Write(p []byte) (int, error) {
	n, err := w.File.Write(p)
	return n, w.fs.end("write", err)
}

func (w *watched) WriteAt(p []byte, at int64) (int, error) {
	n, err := w.File.WriteAt(p, at)
	return n, w.fs.end("write", err)
}

func (w *watched) Preallocate(at, n int64) error {
	return w.fs.end("reserve room", w.File.Preallocate(at, n))
}

func (w *watched) Sync() error     { return w.fs.end("fsync", w.File.Sync()) }
func (w *watched) SyncData() error { return w.fs.end("fsync", w.File.SyncData()) }

func (w *watched) SyncTo(n int64) (bool, error) {
	full, err := w.File.SyncTo(n)
	return full, w.fs.end("fsync", err)
}
