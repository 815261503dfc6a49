package topic

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func TestAChangeOfAFilterIsSeenByTheNamesItMatches(t *testing.T) {
	tree := NewTree[int, int]()
	filters := sequences(3, []string{"a", "b", "", "+", "$s"}, []string{"#"})
	names := universe()
	marks := make([]Mark, len(names))
	for i, name := range names {
		if !tree.Mark(name, &marks[i]) {
			t.Fatalf("%q is not marked", name)
		}
	}
	seen := func(what, filter string, key int) {
		for i, name := range names {
			if Match(filter, name) && !tree.Changed(&marks[i]) {
				t.Fatalf("%s(%q, %d) leaves %q unchanged", what, filter, key, name)
			}
			if tree.Changed(&marks[i]) {
				tree.Mark(name, &marks[i])
			}
		}
	}
	for _, f := range filters {
		for key := range 2 {
			tree.Set(f, key, 1)
			seen("Set", f, key)
		}
		tree.Set(f, 0, 2)
		seen("Set again", f, 0)
		for key := range 2 {
			tree.Remove(f, key)
			seen("Remove", f, key)
		}
	}
}

func TestAChangeElsewhereIsRarelySeen(t *testing.T) {
	tree := NewTree[int, int]()
	const n = 2000
	marks := make([]Mark, n)
	for i := range marks {
		tree.Mark(fmt.Sprintf("site/%d/dev/%d/state", i%7, i), &marks[i])
	}
	for i := range 10 {
		tree.Set(fmt.Sprintf("other/%d/cmd", i), 1, 1)
		tree.Set(fmt.Sprintf("site/x%d/+", i), 1, 1)
		tree.Remove("site/none", 1) // no change at all
	}
	wrong := 0
	for i := range marks {
		if tree.Changed(&marks[i]) {
			wrong++
		}
	}
	if wrong > n/20 { // 20 changes, 6 counters of 16,384 each: 0.7 % are expected
		t.Errorf("%d of %d names have changed, and none should", wrong, n)
	}
}

func TestDeepNamesAreNotMarked(t *testing.T) {
	tree := NewTree[int, int]()
	var m Mark
	if name := strings.Repeat("a/", markLevels-1) + "a"; !tree.Mark(name, &m) {
		t.Errorf("%d levels are not marked", markLevels)
	} else if tree.Set(name, 1, 1); !tree.Changed(&m) {
		t.Error("a change of the deepest name is not seen")
	}
	if tree.Mark(strings.Repeat("a/", markLevels)+"a", &m) {
		t.Errorf("%d levels are marked", markLevels+1)
	}
}

// Whoever keeps what Match found for as long as nothing has changed misses
// nothing that was set before it looked, and finds nothing that was removed.
func TestWhatIsKeptWhileUnchangedIsNeverStale(t *testing.T) {
	tree := NewTree[int, int]()
	var begun, done atomic.Int64 // changes; an odd one sets
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 3 {
		readers.Add(1)
		go func() {
			defer readers.Done()
			var m *Mark
			kept := false
			for {
				select {
				case <-stop:
					return
				default:
				}
				before := done.Load()
				if m == nil || tree.Changed(m) {
					m, kept = &Mark{}, false
					tree.Mark("a/b", m)
					tree.Match("a/b", func(int, int) bool { kept = true; return true })
				}
				if begun.Load() == before && kept != (before%2 == 1) {
					t.Errorf("after change %d: found %v", before, kept)
					return
				}
			}
		}()
	}
	for i := int64(1); i <= 50_000; i++ {
		begun.Store(i)
		if i%2 == 1 {
			tree.Set([]string{"a/b", "a/+", "#"}[i/2%3], 1, 1)
		} else {
			tree.Remove([]string{"a/b", "a/+", "#"}[(i-1)/2%3], 1)
		}
		done.Store(i)
	}
	close(stop)
	readers.Wait()
}
