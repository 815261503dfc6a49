package topic

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// matches collects what the tree yields for name, as "key:value", sorted.
func matches(t *Tree[string, int], name string) []string {
	var got []string
	t.Match(name, func(k string, v int) bool {
		got = append(got, fmt.Sprintf("%s:%d", k, v))
		return true
	})
	slices.Sort(got)
	return got
}

func TestTreeMatches(t *testing.T) {
	tree := NewTree[string, int]()
	for i, f := range []string{"a/b", "a/+", "a/#", "#", "+", "+/b", "+/+", "/+", "$SYS/#", "$SYS/+", "a/b/#", "a//b"} {
		if tree.Set(f, f, i) {
			t.Errorf("Set(%q) of a new key says that it replaced one", f)
		}
	}
	for _, tt := range []struct {
		claim, name string
		want        []string
	}{
		{"all that match, each once", "a/b", []string{"#:3", "+/+:6", "+/b:5", "a/#:2", "a/+:1", "a/b/#:10", "a/b:0"}},
		{"hash matches its parent", "a", []string{"#:3", "+:4", "a/#:2"}},
		{"empty levels", "/", []string{"#:3", "+/+:6", "/+:7"}},
		{"an empty level in the middle", "a//b", []string{"#:3", "a/#:2", "a//b:11"}},
		{"wildcards keep off dollar", "$SYS/x", []string{"$SYS/#:8", "$SYS/+:9"}},
		{"hash matches its dollar parent", "$SYS", []string{"$SYS/#:8"}},
		{"nothing but hash", "x/y/z", []string{"#:3"}},
		{"the empty name matches nothing", "", nil},
	} {
		if got := matches(tree, tt.name); !slices.Equal(got, tt.want) {
			t.Errorf("%s: Match(%q) = %q, want %q", tt.claim, tt.name, got, tt.want)
		}
	}
}

func TestTreeYieldsAKeyOncePerFilter(t *testing.T) {
	tree := NewTree[string, int]()
	tree.Set("a/+", "k", 1)
	tree.Set("a/b", "k", 2)
	if got, want := matches(tree, "a/b"), []string{"k:1", "k:2"}; !slices.Equal(got, want) {
		t.Errorf("Match = %q, want %q", got, want)
	}
	if !tree.Set("a/b", "k", 3) {
		t.Error("Set of a known key doesn't say that it replaced a value")
	}
	if got, want := matches(tree, "a/b"), []string{"k:1", "k:3"}; !slices.Equal(got, want) {
		t.Errorf("Match after replacing = %q, want %q", got, want)
	}
	if tree.Len() != 2 {
		t.Errorf("Len = %d, want 2", tree.Len())
	}
}

func TestTreeMatchStopsWhenToldTo(t *testing.T) {
	tree := NewTree[int, int]()
	for i, f := range []string{"a/b", "a/+", "a/#", "+/b", "#"} {
		for k := range 40 {
			tree.Set(f, k, i)
		}
	}
	for stop := range 200 {
		n := 0
		tree.Match("a/b", func(int, int) bool { n++; return n <= stop })
		if n != stop+1 {
			t.Fatalf("Match called yield %d times after it returned false at %d", n, stop+1)
		}
	}
}

func TestTreeIsEmptyAfterTheLastRemoval(t *testing.T) {
	tree := NewTree[string, int]()
	filters := sequences(3, []string{"a", "", "+", "$s"}, []string{"#"})
	for round := range 2 {
		for _, f := range filters {
			for k := range 3 {
				tree.Set(f, fmt.Sprint(k), k)
			}
		}
		if tree.Len() != 3*len(filters) {
			t.Fatalf("round %d: Len = %d, want %d", round, tree.Len(), 3*len(filters))
		}
		for _, f := range filters {
			for k := range 3 {
				if !tree.Remove(f, fmt.Sprint(k)) {
					t.Fatalf("Remove(%q, %d) finds nothing", f, k)
				}
			}
			if tree.Remove(f, "0") {
				t.Fatalf("Remove(%q) finds what is gone", f)
			}
		}
		if tree.Len() != 0 || !tree.root.empty() {
			t.Fatalf("round %d: Len = %d, root empty %v after all is removed", round, tree.Len(), tree.root.empty())
		}
	}
}

func TestTreeRemoveOfTheUnknownChangesNothing(t *testing.T) {
	tree := NewTree[string, int]()
	tree.Set("a/b", "k", 1)
	for _, f := range []string{"a", "a/b/c", "a/+", "a/b/#", "a/#", "x", "#", "+", "a/b/", ""} {
		if tree.Remove(f, "k") {
			t.Errorf("Remove(%q) removed something", f)
		}
	}
	if tree.Remove("a/b", "other") {
		t.Error("Remove of another key removed something")
	}
	if got := matches(tree, "a/b"); len(got) != 1 || tree.Len() != 1 {
		t.Errorf("after removing the unknown: %q, Len %d", got, tree.Len())
	}
}

// Changes at random, against a plain map and the plain matcher.
func TestTreeAgreesWithReference(t *testing.T) {
	type sub struct {
		filter string
		key    int
	}
	tree, plain := NewTree[int, int](), map[sub]int{}
	r := newRand(2)
	names := deleteEmpty(sequences(4, []string{"a", "b", "", "$s"}, nil))
	for step := range 30000 {
		s := sub{pick(r, 4, 20, "a", "b", "", "+", "$s"), r.IntN(60)}
		_, had := plain[s]
		// Grow and shrink in turns, so that forks come and go.
		if grow := step/5000%2 == 0; r.IntN(10) < 7 == grow {
			plain[s] = step
			if got := tree.Set(s.filter, s.key, step); got != had {
				t.Fatalf("Set(%q, %d) = %v, want %v", s.filter, s.key, got, had)
			}
		} else {
			delete(plain, s)
			if got := tree.Remove(s.filter, s.key); got != had {
				t.Fatalf("Remove(%q, %d) = %v, want %v", s.filter, s.key, got, had)
			}
		}
		if tree.Len() != len(plain) {
			t.Fatalf("Len = %d, want %d", tree.Len(), len(plain))
		}
		if step%500 != 0 {
			continue
		}
		name := names[r.IntN(len(names))]
		want := 0
		for s := range plain {
			if refMatch(s.filter, name) {
				want++
			}
		}
		got := map[[2]int]bool{}
		tree.Match(name, func(k, v int) bool {
			if got[[2]int{k, v}] {
				t.Fatalf("Match(%q) yields %d, %d twice", name, k, v)
			}
			got[[2]int{k, v}] = true
			return true
		})
		if len(got) != want {
			t.Fatalf("Match(%q) yields %d subscribers, want %d", name, len(got), want)
		}
	}
}

// Many keys under one filter: lists become forks, and all of them go away.
func TestTreeManySubscribersOfOneFilter(t *testing.T) {
	const n = 20000
	tree := NewTree[int, int]()
	for k := range n {
		tree.Set("a/b", k, k)
	}
	seen := make([]int, n)
	tree.Match("a/b", func(k, v int) bool { seen[k]++; return k == v })
	if i := slices.IndexFunc(seen, func(n int) bool { return n != 1 }); i >= 0 {
		t.Fatalf("key %d was yielded %d times, want once", i, seen[i])
	}
	for k := range n {
		if !tree.Remove("a/b", (k*7919)%n) {
			t.Fatalf("Remove of key %d finds nothing", (k*7919)%n)
		}
	}
	if !tree.root.empty() {
		t.Error("the tree is not empty after the last removal")
	}
}

// Hashes that collide in part and in whole still keep keys apart.
func TestTrieKeepsCollidingKeysApart(t *testing.T) {
	for _, tt := range []struct {
		claim string
		hash  func(k int) uint64
	}{
		{"all hashes equal", func(int) uint64 { return 42 }},
		{"only the highest bits differ", func(k int) uint64 { return uint64(k) << 56 }},
		{"two groups", func(k int) uint64 { return uint64(k % 2) }},
	} {
		var m trie[int, int]
		for k := range 100 {
			m.set(tt.hash(k), tt.hash, k, k)
		}
		n := 0
		m.each(func(k, v int) bool { n++; return k == v })
		if n != 100 {
			t.Errorf("%s: %d keys of 100 are yielded", tt.claim, n)
		}
		for k := range 100 {
			if v, ok := m.get(tt.hash(k), k); !ok || v != k {
				t.Errorf("%s: get(%d) = %d, %v", tt.claim, k, v, ok)
			}
			if !m.remove(tt.hash(k), k) || m.remove(tt.hash(k), k) {
				t.Errorf("%s: remove(%d) is not once", tt.claim, k)
			}
		}
		if !m.empty() {
			t.Errorf("%s: not empty after the last removal", tt.claim)
		}
	}
}

func TestTreeMatchDoesNotAllocate(t *testing.T) {
	tree := NewTree[int, int]()
	for k := range 100 {
		for _, f := range []string{"a/b/c", "a/+/c", "a/#", "+/b/+", "#"} {
			tree.Set(f, k, k)
		}
	}
	n := 0
	yield := func(int, int) bool { n++; return true }
	name := []byte("a/b/c")
	if allocs := testing.AllocsPerRun(100, func() { tree.Match("a/b/c", yield) }); allocs != 0 {
		t.Errorf("Match allocates %v times, want 0", allocs)
	}
	if allocs := testing.AllocsPerRun(100, func() { tree.Match(string(name), yield) }); allocs != 0 {
		t.Errorf("Match of converted bytes allocates %v times, want 0", allocs)
	}
	if n == 0 {
		t.Error("nothing matched")
	}
}

// A write copies a bounded number of entries, however many there are.
func TestTreeWritesCopyLittle(t *testing.T) {
	const changes = 2000
	cost := func(siblings int, filter func(i int) string) float64 {
		tree := NewTree[int, *int]()
		for i := range siblings {
			tree.Set(filter(i), i, nil)
		}
		filters := make([]string, changes)
		for i := range filters {
			filters[i] = filter(siblings + i)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for i, f := range filters {
			tree.Set(f, siblings+i, nil)
		}
		for i, f := range filters {
			tree.Remove(f, siblings+i)
		}
		runtime.ReadMemStats(&after)
		return float64(after.TotalAlloc-before.TotalAlloc) / changes
	}
	for claim, filter := range map[string]func(int) string{
		"siblings":    func(i int) string { return fmt.Sprintf("dev/%d", i) },
		"subscribers": func(int) string { return "alarm" },
	} {
		few, many := cost(1000, filter), cost(100_000, filter)
		if many > 2*few || many > 1024 {
			t.Errorf("%s: a change among 100,000 allocates %.0f bytes, among 1,000 %.0f", claim, many, few)
		}
	}
}

// Readers run while writers fork and prune around what they look at:
// what is there all the time is seen exactly once by each Match, what is never
// there is never seen.
func TestTreeReadersSeeWhatStaysExactlyOnce(t *testing.T) {
	const (
		stay    = 64  // keys that stay under each filter
		passing = 400 // keys that come and go
		rounds  = 30
	)
	filters := []string{"a/b/c", "a/+/c", "a/#", "a/b/#"}
	tree := NewTree[int, int]()
	for _, f := range filters {
		for k := range stay {
			tree.Set(f, k, k)
		}
	}
	var (
		writers, readers sync.WaitGroup
		done             atomic.Bool
	)
	for w := range 2 {
		writers.Go(func() {
			for range rounds {
				for k := range passing {
					key := stay + w*passing + k
					tree.Set(filters[k%len(filters)], key, key)
					tree.Set(fmt.Sprintf("a/%d/c", key), key, key) // siblings of b
					tree.Set(filters[k%len(filters)], k%stay, k%stay)
				}
				for k := range passing {
					key := stay + w*passing + k
					if !tree.Remove(filters[k%len(filters)], key) || !tree.Remove(fmt.Sprintf("a/%d/c", key), key) {
						t.Error("a writer's own key is gone")
					}
				}
			}
		})
	}
	for range 2 {
		readers.Go(func() {
			var seen [stay]int
			for !done.Load() {
				clear(seen[:])
				tree.Match("a/b/c", func(k, v int) bool {
					if k != v || k >= stay+2*passing {
						t.Errorf("Match yields %d, %d", k, v)
					}
					if k < stay {
						seen[k]++
					}
					return true
				})
				for k, n := range seen {
					if n != len(filters) {
						t.Errorf("key %d was yielded %d times, want %d", k, n, len(filters))
						return
					}
				}
			}
		})
	}
	writers.Wait()
	done.Store(true)
	readers.Wait()
	if tree.Len() != stay*len(filters) {
		t.Errorf("Len = %d, want %d", tree.Len(), stay*len(filters))
	}
}
