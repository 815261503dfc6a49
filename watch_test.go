package sallyport

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/audit"
	"sallyport/config"
)

// watched is a watch over real files, with seconds that pass when the test says so.
type watched struct {
	*testing.T
	watch
	dir string
	now time.Time
}

// watching begins with files of which the world was made, and looks at them
// until all is known.
func watching(t *testing.T, files map[string]string) *watched {
	t.Helper()
	w := &watched{T: t, dir: t.TempDir(), now: time.Unix(1_000_000, 0)}
	for name, text := range files {
		w.write(name, text)
	}
	w.reload()
	for range 3 {
		if w.second() {
			t.Fatal("a reload is due before anything changed")
		}
	}
	return w
}

func (w *watched) path(name string) string { return filepath.Join(w.dir, name) }

func (w *watched) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// write replaces a file in place.
func (w *watched) write(name, text string) {
	w.Helper()
	w.must(os.WriteFile(w.path(name), []byte(text), 0o600))
}

// config names every file of the folder that is there.
func (w *watched) config() *config.Config {
	entries, err := os.ReadDir(w.dir)
	w.must(err)
	c := &config.Config{}
	for _, e := range entries {
		if e.Type().IsRegular() {
			c.Policies = append(c.Policies, config.Policy{File: w.path(e.Name())})
		}
	}
	return c
}

// reload makes a world of what is there.
func (w *watched) reload() { w.loaded(readingOf(w.config())) }

// refusal is a reload that refuses what is there.
func (w *watched) refusal() {
	s := w.present()
	w.refuse(s)
}

// second passes, and whether a reload is due.
func (w *watched) second() bool {
	w.now = w.now.Add(time.Second)
	return w.look(w.now)
}

// due wants a reload at one of the next looks, or at none.
func (w *watched) due(want bool, what string) {
	w.Helper()
	got := false
	for range 4 {
		got = got || w.second()
	}
	if got != want {
		w.Errorf("%s: a reload is due: %v, want %v", what, got, want)
	}
}

func TestAChangeIsReadWhenAllHasBeenUnchangedForASecond(t *testing.T) {
	w := watching(t, map[string]string{"a": "1", "b": "1"})
	w.write("a", "longer")
	if w.second() {
		t.Error("read in the second in which it changed")
	}
	w.write("b", "longer")
	if w.second() {
		t.Error("read while another file was changing")
	}
	w.write("a", "longer still")
	if w.second() {
		t.Error("read while it was changing")
	}
	if !w.second() {
		t.Error("not read after a second without a change")
	}
}

func TestLooksThatComeTooSoonReadNothing(t *testing.T) {
	w := watching(t, map[string]string{"a": "1"})
	w.write("a", "longer")
	if w.second() {
		t.Error("read in the second in which it changed")
	}
	if w.look(w.now.Add(settled - time.Nanosecond)) {
		t.Error("read before it was unchanged for a second")
	}
	if !w.look(w.now.Add(settled)) {
		t.Error("not read after a second")
	}
}

func TestWhatIsNoChangeOfContentIsNotRead(t *testing.T) {
	w := watching(t, map[string]string{"a": "1", "b": "1"})
	later := time.Now().Add(time.Hour)
	w.must(os.Chtimes(w.path("a"), later, later))
	w.due(false, "a touch")
	w.must(os.Chmod(w.path("a"), 0o640))
	w.due(false, "another mode")
	w.write("c", "1")
	w.must(os.Rename(w.path("c"), w.path("a")))
	w.due(false, "another file of the same content")
	w.must(os.Remove(w.path("a")))
	w.second()
	w.write("a", "1")
	w.due(false, "a file that went and came back")
	w.write("a", "2")
	w.second()
	w.write("a", "1")
	w.due(false, "a change that was taken back")
}

func TestEveryWayToChangeAFileIsSeen(t *testing.T) {
	for name, change := range map[string]func(w *watched){
		"written in place":  func(w *watched) { w.write("a", "22") },
		"replaced":          func(w *watched) { w.write("new", "22"); w.must(os.Rename(w.path("new"), w.path("a"))) },
		"gone":              func(w *watched) { w.must(os.Remove(w.path("a"))) },
		"a folder":          func(w *watched) { w.must(os.Remove(w.path("a"))); w.must(os.Mkdir(w.path("a"), 0o700)) },
		"the same size":     func(w *watched) { w.must(os.Remove(w.path("a"))); w.write("a", "2") },
		"a link to another": func(w *watched) { w.must(os.Remove(w.path("a"))); w.must(os.Symlink(w.path("b"), w.path("a"))) },
		"a link to nothing": func(w *watched) { w.must(os.Remove(w.path("a"))); w.must(os.Symlink(w.path("x"), w.path("a"))) },
		"replaced, with the size and time of the old": func(w *watched) {
			info, err := os.Stat(w.path("a"))
			w.must(err)
			w.write("new", "2")
			w.must(os.Chtimes(w.path("new"), info.ModTime(), info.ModTime()))
			w.must(os.Rename(w.path("new"), w.path("a")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := watching(t, map[string]string{"a": "1", "b": "other"})
			change(w)
			w.due(true, name)
		})
	}
}

// A ConfigMap in a pod: the files are links into ..data, which is itself a link
// that is swapped by a rename.
func TestTheSwappedLinkOfAMountedConfigMapIsSeen(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no such mounts")
	}
	w := &watched{T: t, dir: t.TempDir(), now: time.Unix(1_000_000, 0)}
	for dir, text := range map[string]string{"one": "1", "two": "2", "three": "2"} {
		w.must(os.Mkdir(w.path(dir), 0o700))
		w.write(filepath.Join(dir, "acl"), text)
	}
	swap := func(to string) {
		w.must(os.Symlink(to, w.path("new")))
		w.must(os.Rename(w.path("new"), w.path("..data")))
	}
	swap("one")
	w.must(os.Symlink("..data/acl", w.path("acl")))
	cfg := &config.Config{Policies: []config.Policy{{File: w.path("acl")}}}
	w.loaded(readingOf(cfg))
	w.due(false, "at the start")
	swap("two")
	w.due(true, "other content behind the link")
	w.loaded(readingOf(cfg))
	swap("three")
	w.due(false, "the same content behind the link")
}

func TestRefusedContentIsNotTriedAgain(t *testing.T) {
	w := watching(t, map[string]string{"a": "good"})
	w.write("a", "broken")
	w.due(true, "broken content")
	w.refusal()
	w.due(false, "the same broken content")
	later := time.Now().Add(time.Hour)
	w.must(os.Chtimes(w.path("a"), later, later))
	w.due(false, "the broken content, touched")
	w.write("a", "broken in another way")
	w.due(true, "other broken content")
	w.refusal()
	w.write("a", "good")
	w.due(false, "what is in force anyway")
	w.write("a", "broken in another way")
	w.due(true, "the broken content once more")
}

func TestContentThatCameWhileTheFilesWereReadIsReadAgain(t *testing.T) {
	w := watching(t, map[string]string{"a": "1"})
	w.write("a", "two")
	r := readingOf(w.config())
	w.write("a", "three") // perhaps this was read
	w.write("a", "two")
	info, err := os.Stat(w.path("a"))
	w.must(err)
	w.must(os.Chtimes(w.path("a"), info.ModTime(), info.ModTime().Add(time.Nanosecond)))
	w.loaded(r)
	w.due(true, "content that changed while it was used")
	w.reload()
	w.due(false, "after that")
}

func TestAFileThatARefusedConfigurationLacksIsWaitedFor(t *testing.T) {
	w := watching(t, map[string]string{"a": "1"})
	w.write("a", "names b")
	w.due(true, "the new configuration")
	s := w.present()
	s[w.path("b")] = config.Sum{}
	w.refuse(s)
	w.due(false, "as long as b is not there")
	w.write("b", "")
	w.due(true, "now that b is there")
	w.reload()
	w.write("b", "more")
	w.due(true, "a change of b, which is in force now")
}

func TestAnUnreadableFileIsReadWhenItCanBe(t *testing.T) {
	w := watching(t, map[string]string{"a": "1"})
	w.must(os.Remove(w.path("a")))
	w.must(os.Mkdir(w.path("a"), 0o700)) // which not even root can read as a file
	w.due(true, "a file that can't be read")
	w.refusal()
	w.due(false, "as long as it can't")
	w.must(os.Remove(w.path("a")))
	w.write("a", "two")
	w.due(true, "when it can")
}

func TestNoFilesIsNoChange(t *testing.T) {
	w := &watched{T: t, now: time.Unix(1_000_000, 0)}
	w.loaded(readingOf(&config.Config{}))
	w.due(false, "without files")
}

func TestAFileThatIsAddedToAnIncludedFolderIsSeen(t *testing.T) {
	w := &watched{T: t, dir: t.TempDir(), now: time.Unix(1_000_000, 0)}
	w.must(os.Mkdir(w.path("conf.d"), 0o700))
	folder := w.path("conf.d") + string(filepath.Separator)
	sum, err := config.ReadSum(folder)
	w.must(err)
	w.loaded(readingOf(&config.Config{Sources: []config.Source{{Path: folder, Sum: sum}}}))
	w.due(false, "at the start")
	w.write(filepath.Join("conf.d", "more.conf"), "")
	w.due(true, "with one more file")
}

func TestAFileThatNeverRestsIsTold(t *testing.T) {
	w := watching(t, map[string]string{"a": "1", "b": "1"})
	w.write("a", "revoked")
	told := 0
	for i := range 3 * int(restless/time.Second) {
		w.write("b", strings.Repeat("1", 2+i))
		if w.second() {
			t.Fatal("read while a file was changing")
		}
		if path := w.restlessFile(w.now); path != "" {
			if path != w.path("b") || time.Duration(i)*time.Second < restless {
				t.Errorf("after %d seconds %s is named", i, path)
			}
			told++
		}
	}
	if told != 1 {
		t.Errorf("told %d times, want once", told)
	}
	w.due(true, "when it rests")
	w.reload()
	for range 3 {
		w.second()
	}
	if path := w.restlessFile(w.now); path != "" || !w.unrest.IsZero() {
		t.Errorf("%q is named when all rests", path)
	}
}

// TestATickThatWaitedIsNotTakenForItsTime: a reload takes so long that the next
// tick waits for it. What is written then has to be left alone for a second, too.
func TestATickThatWaitedIsNotTakenForItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &watched{T: t, dir: t.TempDir()}
		w.write("a", "1")
		cfg := w.config()
		cfg.Reload = config.ReloadAuto
		s := &Server{cfg: cfg, audit: audit.New(slog.New(slog.DiscardHandler))}
		s.watch.loaded(readingOf(cfg))
		w.write("a", "22")
		var wrote time.Time
		var again []time.Duration
		s.read = func() (*config.Config, error) {
			if wrote.IsZero() {
				time.Sleep(watchEvery*2 - watchEvery/10)
				w.write("a", "333")
				wrote = time.Now()
			} else {
				again = append(again, time.Since(wrote))
			}
			return nil, errors.New("refused")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*watchEvery)
		defer cancel()
		s.watchFiles(ctx)
		if len(again) != 1 || again[0] < settled {
			t.Errorf("read again after %v, want once, after %v at the earliest", again, settled)
		}
	})
}

func TestWhatWasRefusedIsTriedAgain(t *testing.T) {
	w := watching(t, map[string]string{"passwd": "a"})
	begin := w.now
	at := func(d time.Duration) bool { return w.retry(begin.Add(d)) }
	if at(0) || at(100*time.Hour) {
		t.Error("nothing was refused, and it is tried again")
	}
	w.write("passwd", "b")
	w.refusal()
	for _, x := range []struct {
		after time.Duration
		want  bool
	}{
		{0, false}, {59 * time.Second, false}, {60 * time.Second, true},
	} {
		if got := at(x.after); got != x.want {
			t.Errorf("after %s: %t", x.after, got)
		}
	}
	w.refusal()
	if at(time.Hour) || at(time.Hour+119*time.Second) || !at(time.Hour+120*time.Second) {
		t.Error("the second pause is not two minutes")
	}
	for range 20 {
		w.refusal()
	}
	if at(10*time.Hour) || at(11*time.Hour-time.Second) || !at(11*time.Hour) {
		t.Error("the longest pause is not an hour")
	}
	w.reload()
	if at(100*time.Hour) || at(200*time.Hour) {
		t.Error("a reload has succeeded since, and it is tried again")
	}
}
