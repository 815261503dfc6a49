package disk

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// space is how much room the disk has.
type space struct {
	known atomic.Bool
	free  atomic.Int64 // as it was last looked at
	taken atomic.Int64 // since then
	full  atomic.Bool
}

// takes is how often a byte may be written: to the log, to a table of the first
// level, and to one below while those that it is made of are still there.
const takes = 3

// spaceEvery is how often the disk is looked at.
const spaceEvery = time.Second

// Full reports whether free space has come close to Options.MinFree, or below: then
// nothing new should be kept. What makes room is always taken.
func (s *Store) Full() bool { return s.space.full.Load() }

// took notes that a batch of n bytes is being written.
func (s *Store) took(n int) {
	s.space.taken.Add(int64(n) * takes)
	s.judgeSpace()
}

// look asks the system for the free space. One that can't tell is never full.
func (s *Store) look() {
	if u, err := s.opt.FS.GetDiskUsage(s.opt.Dir); err == nil {
		s.space.taken.Store(0)
		s.space.free.Store(int64(min(u.AvailBytes, 1<<62)))
		s.space.known.Store(true)
		s.judgeSpace()
	}
}

func (s *Store) judgeSpace() {
	free := s.space.free.Load()
	if s.opt.MinFree <= 0 || !s.space.known.Load() {
		return
	}
	full := free-s.space.taken.Load() < s.opt.MinFree
	if s.space.full.Swap(full) == full {
		return
	}
	if full {
		s.opt.Log.Error("the disk is nearly full: nothing new is kept", "dir", s.opt.Dir, "free", free, "min_free", s.opt.MinFree)
	} else {
		s.opt.Log.Info("the disk has room again", "dir", s.opt.Dir, "free", free)
	}
}

func (s *Store) watchSpace() {
	tick := time.NewTicker(spaceEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-s.broke:
			return
		case <-tick.C:
			s.look()
		}
	}
}

// Failed is closed when the store has failed.
func (s *Store) Failed() <-chan struct{} { return s.broke }

// Reopen opens a store again that has failed, once its disk takes a file and gives
// it back; opt is what it was opened with. The old one is never used again, and its
// files are not touched by it. It can be tried again after an error.
func (s *Store) Reopen(opt Options) (*Store, error) {
	s.mu.Lock()
	failed, lock := s.failed, s.lock
	s.mu.Unlock()
	if failed == nil {
		return nil, fmt.Errorf("open store %s again: it has not failed", opt.Dir)
	}
	opt.defaults()
	if err := probe(opt.FS, opt.FS.PathJoin(opt.Dir, "probe")); err != nil {
		return nil, fmt.Errorf("open store %s again: %w", opt.Dir, err)
	}
	if lock != nil {
		// What Pebble holds of it is given up as well: it never closes.
		if err := lock.Close(); err != nil {
			return nil, fmt.Errorf("open store %s again: %w", opt.Dir, err)
		}
		s.mu.Lock()
		s.lock = nil
		s.mu.Unlock()
	}
	return Open(opt)
}

// probe writes a file, and takes it away again.
func probe(fs vfs.FS, name string) error {
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 1<<20))
	if err == nil {
		err = f.SyncData() // as the log does
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if e := fs.Remove(name); err == nil {
		err = e
	}
	return err
}
