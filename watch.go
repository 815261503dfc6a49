package sallyport

import (
	"context"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"sallyport/config"
)

// How often files are looked at, and how long they have to be unchanged before
// they are read: whoever writes one in pieces, or several of them, gets this long.
// A file that never rests keeps all others from being read, a revocation among
// them, so that after a while somebody has to know.
const (
	watchEvery = time.Second
	settled    = time.Second
	restless   = 30 * time.Second
	// A reload that was refused is tried again after retryFirst, then after twice as
	// long each time: what was wrong need not have been in a file.
	retryFirst = time.Minute
	retryMost  = time.Hour
)

// watch knows of which content the world in force was made, and finds out
// whether there is other content now. It asks the file system every second
// instead of having itself told: a mounted ConfigMap changes by a link that is
// swapped two folders up, a network file system tells nobody, and the files of a
// configuration are few. Files are compared by content, so that a touch is no change.
type watch struct {
	mu      sync.Mutex // guards the fields below
	inForce sums       // what the world in force was made of
	refused sums       // what the last reload was refused with; nil if none was since
	unsure  bool       // a file changed while the world was made of it
	seen    map[string]stamp
	changed time.Time // the last look that saw another stamp
	suspect bool      // since something changed, no content has been compared
	unrest  time.Time // the first look after which nothing has rested; zero: all rests
	mover   string    // a file that the last look saw changed
	told    bool      // restlessFile has named one since
	tries   int       // reloads that were refused one after the other
	again   time.Time // when the next is due, zero if that is not settled
}

// sums is the content of files by path; zero for one that can't be read.
type sums map[string]config.Sum

// stamp is what tells cheaply that a file may have changed; nil if it isn't there.
type stamp struct{ info fs.FileInfo }

func stampOf(path string) stamp {
	info, err := os.Stat(path) // follows links: what counts is what would be read
	if err != nil {
		return stamp{}
	}
	return stamp{info}
}

func (a stamp) same(b stamp) bool {
	if a.info == nil || b.info == nil {
		return a.info == nil && b.info == nil
	}
	return a.info.ModTime().Equal(b.info.ModTime()) && a.info.Size() == b.info.Size() &&
		a.info.Mode() == b.info.Mode() && os.SameFile(a.info, b.info)
}

// stamps are those of paths.
func stamps(paths []string) map[string]stamp {
	out := make(map[string]stamp, len(paths))
	for _, p := range paths {
		out[p] = stampOf(p)
	}
	return out
}

func sameStamps(a, b map[string]stamp) bool { return maps.EqualFunc(a, b, stamp.same) }

// add sums what stands at paths and is not in s yet.
func (s sums) add(paths []string) {
	for _, p := range paths {
		if _, known := s[p]; !known {
			s[p], _ = config.ReadSum(p) // what can't be read has the zero sum
		}
	}
}

func (s sums) paths() []string { return slices.Collect(maps.Keys(s)) }

// reading is the files of a configuration at the moment before they are used.
type reading struct {
	sums   sums
	stamps map[string]stamp
}

// readingOf looks at the files of cfg; what it was itself made of is known from
// when it was read.
func readingOf(cfg *config.Config) reading {
	files := cfg.Files()
	r := reading{sums: sums{}, stamps: stamps(files)}
	for _, s := range cfg.Sources {
		r.sums[s.Path] = s.Sum
	}
	r.sums.add(files)
	return r
}

// loaded records that the world in force was made of r.
func (w *watch) loaded(r reading) {
	now := stamps(r.sums.paths())
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inForce, w.refused = r.sums, nil
	w.tries, w.again = 0, time.Time{}
	// Between r and the use of a file it may have been another one; and it may
	// have changed since, within the same tick of the file system's clock.
	w.unsure = !sameStamps(r.stamps, now)
	w.suspect = true
}

// refuse records that a reload with this content was refused.
func (w *watch) refuse(s sums) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refused, w.suspect = s, true
	w.tries, w.again = w.tries+1, time.Time{}
}

// retry reports whether it is time to try again what was refused.
func (w *watch) retry(now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.refused == nil:
		w.tries, w.again = 0, time.Time{}
		return false
	case w.again.IsZero():
		w.again = now.Add(min(retryMost, retryFirst<<min(w.tries-1, 10)))
		return false
	case now.Before(w.again):
		return false
	}
	w.again = time.Time{}
	return true
}

// present sums the files of the world in force as they are now.
func (w *watch) present() sums {
	w.mu.Lock()
	paths := w.inForce.paths()
	w.mu.Unlock()
	s := sums{}
	s.add(paths)
	return s
}

// pathsLocked is every file of interest: those of the world in force, and those
// that a refused configuration has or lacks.
func (w *watch) pathsLocked() []string {
	paths := w.inForce.paths()
	for p := range w.refused {
		if _, known := w.inForce[p]; !known {
			paths = append(paths, p)
		}
	}
	return paths
}

// look reports whether there is content, unchanged for a second, that is
// neither in force nor was refused.
func (w *watch) look(now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	paths := w.pathsLocked()
	if s := stamps(paths); !sameStamps(s, w.seen) {
		w.moved(s, now)
		w.suspect = true
		return false
	}
	if now.Sub(w.changed) < settled {
		return false
	}
	w.unrest, w.told = time.Time{}, false
	if !w.suspect {
		return false
	}
	s := sums{}
	s.add(paths)
	if again := stamps(paths); !sameStamps(again, w.seen) {
		w.moved(again, now)
		return false
	}
	w.suspect = false
	if !w.unsure && contains(s, w.inForce) {
		w.refused = nil
		return false
	}
	return w.refused == nil || !maps.Equal(s, w.refused)
}

// moved notes that a look at now saw other stamps. The caller holds w.mu.
func (w *watch) moved(to map[string]stamp, now time.Time) {
	for path, s := range to {
		if !s.same(w.seen[path]) {
			w.mover = path
		}
	}
	w.seen, w.changed = to, now
	if w.unrest.IsZero() {
		w.unrest = now
	}
}

// restlessFile names, once, a file whose changes have kept all files from being
// read for a while; empty if there is none.
func (w *watch) restlessFile(now time.Time) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.told || w.unrest.IsZero() || now.Sub(w.unrest) < restless {
		return ""
	}
	w.told = true
	return w.mover
}

// contains reports whether all of part is in s.
func contains(s, part sums) bool {
	for p, sum := range part {
		if s[p] != sum {
			return false
		}
	}
	return true
}

// watchFiles reloads when files have changed, as long as the configuration in
// force says reload: auto; it ends with ctx. Run owns it.
func (s *Server) watchFiles(ctx context.Context) {
	ticks := s.ticks
	if ticks == nil {
		t := time.NewTicker(watchEvery)
		defer t.Stop()
		ticks = t.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case now, ticking := <-ticks:
			if !ticking {
				return
			}
			if s.ticks == nil {
				now = time.Now() // the tick may have waited until a reload was over
			}
			if s.config().Reload != config.ReloadAuto {
				continue
			}
			if (s.watch.look(now) || s.watch.retry(now)) && ctx.Err() == nil {
				_ = s.ReloadFiles() // it has said why not
			}
			if path := s.watch.restlessFile(now); path != "" {
				s.log.Warn("a file keeps changing: until it rests no changed file is read; sallyport ctl reload reads them now", "file", path)
			}
		}
	}
}

func (s *Server) config() *config.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg
}
