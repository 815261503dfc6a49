package disk

import (
	"errors"
	"fmt"
	"strings"
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
	armed atomic.Bool
	dead  atomic.Bool // the store has failed: nobody changes a file any more
	fail  func(error)

	// lazy says that a sync of the log only hands it to the system: Pebble, which
	// would keep in memory what need not be synced, is told to sync it always. due makes
	// the next one a true one.
	lazy bool
	due  atomic.Bool

	snapshot string // its folder
}

// end is what err means; it returns only where that may be told.
func (f *failStop) end(what string, err error) error {
	if err != nil && f.armed.Load() {
		f.fail(fmt.Errorf("%s: %w", what, err))
		f.alive()
	}
	return err
}

// alive does not return once the store has failed, since another may have been
// opened in its place: who called stays, with all that is locked, and nobody waits
// for it.
func (f *failStop) alive() {
	if f.dead.Load() {
		select {}
	}
}

func (f *failStop) Remove(name string) error    { f.alive(); return f.FS.Remove(name) }
func (f *failStop) RemoveAll(name string) error { f.alive(); return f.FS.RemoveAll(name) }

func (f *failStop) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f.alive()
	if f.within(name) {
		return brief(f.FS.Create(name, c))
	}
	file, err := f.FS.Create(name, c)
	return f.watch(name, file), f.end("create", err)
}

func (f *failStop) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f.alive()
	if f.within(name) {
		return brief(f.FS.OpenReadWrite(name, c, opts...))
	}
	file, err := f.FS.OpenReadWrite(name, c, opts...)
	return f.watch(name, file), f.end("open for writing", err)
}

func (f *failStop) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f.alive()
	if f.within(to) {
		return brief(f.FS.ReuseForWrite(from, to, c))
	}
	file, err := f.FS.ReuseForWrite(from, to, c)
	return f.watch(to, file), f.end("use again", err)
}

func (f *failStop) OpenDir(name string) (vfs.File, error) {
	if f.within(name) {
		return brief(f.FS.OpenDir(name))
	}
	file, err := f.FS.OpenDir(name)
	return f.watch(name, file), f.end("open folder", err)
}

func (f *failStop) Link(from, to string) error {
	f.alive()
	if f.within(to) {
		return f.FS.Link(from, to)
	}
	return f.end("link", f.FS.Link(from, to))
}

func (f *failStop) Rename(from, to string) error {
	f.alive()
	if f.within(to) {
		return f.FS.Rename(from, to)
	}
	return f.end("rename", f.FS.Rename(from, to))
}

// within reports whether a name is a snapshot's folder, or of a file in it.
func (f *failStop) within(name string) bool {
	return f.snapshot != "" && (name == f.snapshot || f.FS.PathDir(name) == f.snapshot)
}

func (f *failStop) watch(name string, file vfs.File) vfs.File {
	if file == nil {
		return nil
	}
	return &watched{File: file, fs: f, lazy: f.lazy && strings.HasSuffix(name, ".log")}
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
	fs   *failStop
	lazy bool // a log whose syncs are put off
}

// spared reports whether a sync is put off.
func (w *watched) spared() bool { return w.lazy && !w.fs.due.Swap(false) }

// Close syncs a log, whatever was put off: its successor's syncs are not about it.
func (w *watched) Close() error {
	if w.lazy {
		if err := w.fs.end("fsync", w.File.Sync()); err != nil {
			return errors.Join(err, w.File.Close())
		}
	}
	return w.File.Close()
}

func (w *watched) Write(p []byte) (int, error) {
	w.fs.alive()
	n, err := w.File.Write(p)
	return n, w.fs.end("write", err)
}

func (w *watched) WriteAt(p []byte, at int64) (int, error) {
	w.fs.alive()
	n, err := w.File.WriteAt(p, at)
	return n, w.fs.end("write", err)
}

func (w *watched) Preallocate(at, n int64) error {
	return w.fs.end("reserve room", w.File.Preallocate(at, n))
}

func (w *watched) Sync() error {
	if w.spared() {
		return nil
	}
	return w.fs.end("fsync", w.File.Sync())
}

func (w *watched) SyncData() error {
	if w.spared() {
		return nil
	}
	return w.fs.end("fsync", w.File.SyncData())
}

func (w *watched) SyncTo(n int64) (bool, error) {
	if w.spared() {
		return false, nil
	}
	full, err := w.File.SyncTo(n)
	return full, w.fs.end("fsync", err)
}
