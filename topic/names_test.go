package topic

import (
	"maps"
	"slices"
	"sync"
	"testing"
)

// scan runs a whole scan in calls of the given work.
func scan(t *testing.T, n *Names[int], filter string, work int) []string {
	t.Helper()
	var (
		all    []string
		cursor string
	)
	for calls := 0; ; calls++ {
		next, complete := n.Scan(filter, cursor, work, func(name string, _ int) bool {
			all = append(all, name)
			return true
		})
		if complete {
			return all
		}
		if next <= cursor {
			t.Fatalf("Scan(%q) moves its cursor from %q to %q", filter, cursor, next)
		}
		cursor = next
	}
}

func namesOf(names ...string) *Names[int] {
	n := NewNames[int]()
	for i, name := range names {
		n.Set(name, i)
	}
	return n
}

func TestNamesKeepsValues(t *testing.T) {
	n := NewNames[string]()
	if old, replaced := n.Set("a", "1"); replaced || old != "" {
		t.Errorf("first Set = %q, %v", old, replaced)
	}
	if old, replaced := n.Set("a", "2"); !replaced || old != "1" {
		t.Errorf("second Set = %q, %v", old, replaced)
	}
	if v, ok := n.Get("a"); !ok || v != "2" || n.Len() != 1 {
		t.Errorf("Get = %q, %v, Len %d", v, ok, n.Len())
	}
	if old, had := n.Delete("a"); !had || old != "2" {
		t.Errorf("Delete = %q, %v", old, had)
	}
	if old, had := n.Delete("a"); had || old != "" {
		t.Errorf("second Delete = %q, %v", old, had)
	}
	if v, ok := n.Get("a"); ok || v != "" || n.Len() != 0 {
		t.Errorf("Get of what is gone = %q, %v, Len %d", v, ok, n.Len())
	}
}

func TestNamesScan(t *testing.T) {
	n := namesOf("a", "a/b", "a!/b", "a/b/c", "a/b!", "a0", "a/", "/", "/a", "$SYS", "$SYS/a", "b/b", "a/x/c", "!/b", "a//c", "a/b0/c")
	for _, tt := range []struct {
		claim, filter string
		want          []string
	}{
		{"a literal finds itself", "a/b", []string{"a/b"}},
		{"an absent literal finds nothing", "a/c", nil},
		{"hash finds all but dollar", "#", []string{"!/b", "/", "/a", "a", "a!/b", "a/", "a//c", "a/b", "a/b!", "a/b/c", "a/b0/c", "a/x/c", "a0", "b/b"}},
		{"hash finds the parent, though others lie between", "a/#", []string{"a", "a/", "a//c", "a/b", "a/b!", "a/b/c", "a/b0/c", "a/x/c"}},
		{"a deeper hash likewise", "a/b/#", []string{"a/b", "a/b/c"}},
		{"plus at the end", "a/+", []string{"a/", "a/b", "a/b!"}},
		{"plus in the middle", "a/+/c", []string{"a//c", "a/b/c", "a/b0/c", "a/x/c"}},
		{"plus at the beginning", "+/b", []string{"!/b", "a!/b", "a/b", "b/b"}},
		{"plus alone", "+", []string{"a", "a0"}},
		{"two pluses", "+/+", []string{"!/b", "/", "/a", "a!/b", "a/", "a/b", "a/b!", "b/b"}},
		{"dollar by name", "$SYS/#", []string{"$SYS", "$SYS/a"}},
		{"an empty level", "/#", []string{"/", "/a"}},
	} {
		for _, work := range []int{1, 3, 1000} {
			if got := scan(t, n, tt.filter, work); !slices.Equal(got, tt.want) {
				t.Errorf("%s: Scan(%q) with work %d = %q, want %q", tt.claim, tt.filter, work, got, tt.want)
			}
		}
	}
}

func TestNamesScanStopsBehindTheRefusedName(t *testing.T) {
	n := namesOf("a/1", "a/2", "a/3")
	var got []string
	stop := func(name string, _ int) bool { got = append(got, name); return len(got) != 2 }
	cursor, complete := n.Scan("a/#", "", 100, stop)
	if cursor != "a/2" || complete {
		t.Errorf("Scan = %q, %v, want a/2, false", cursor, complete)
	}
	if _, complete = n.Scan("a/#", cursor, 100, stop); !complete || !slices.Equal(got, []string{"a/1", "a/2", "a/3"}) {
		t.Errorf("the scan goes on to %q, complete %v", got, complete)
	}
}

func TestNamesScanIsBoundedByWork(t *testing.T) {
	n := NewNames[int]()
	for _, name := range sequences(5, []string{"a", "b", "c", "d"}, nil) {
		n.Set(name, 0)
	}
	for _, work := range []int{-1, 0, 1, 10} {
		yielded := 0
		_, complete := n.Scan("#", "", work, func(string, int) bool { yielded++; return true })
		if want := max(work, 1); yielded != want || complete {
			t.Errorf("work %d yields %d names, complete %v, want %d", work, yielded, complete, want)
		}
	}
}

// Where a literal level allows, the scan leaps: few entries are looked at.
func TestNamesScanLeaps(t *testing.T) {
	n := NewNames[int]()
	for _, a := range sequences(1, []string{"a", "b", "c", "d", "$SYS", "e"}, nil) {
		for i := range 10000 {
			n.Set(a+"/"+string(rune('A'+i%50))+"/"+string(rune('A'+i/50)), i)
		}
	}
	for _, tt := range []struct {
		filter       string
		found, looks int
	}{
		{"c/X/Y", 1, 1},
		{"c/X/#", 200, 201},
		{"c/+/Z", 50, 110},
		{"+/X/Y", 5, 30},
		{"nothing/#", 0, 1},
		{"$SYS/X/#", 200, 201},
		{"+", 0, 10},
	} {
		found := 0
		_, complete := n.Scan(tt.filter, "", tt.looks, func(string, int) bool { found++; return true })
		if found != tt.found || !complete {
			t.Errorf("Scan(%q) finds %d, complete %v after %d looks, want %d, complete", tt.filter, found, complete, tt.looks, tt.found)
		}
	}
}

// Names come and go between the calls of a scan, at random: what is there all
// the time is seen exactly once, in order, and nothing that doesn't match.
func TestNamesScanAgreesWithReference(t *testing.T) {
	r := newRand(3)
	words := []string{"a", "b", "", "!", "0", "a!", "a0", "$s"}
	for range 600 {
		n, plain := NewNames[int](), map[string]bool{}
		for range r.IntN(300) {
			name := pick(r, 4, 0, words...)
			n.Set(name, len(name))
			plain[name] = true
		}
		filter := pick(r, 4, 30, "a", "b", "", "+", "+", "a!", "$s")
		stayed := maps.Clone(plain)
		seen := map[string]int{}
		var cursor, last string
		for complete := false; !complete; {
			stop := r.IntN(8)
			cursor, complete = n.Scan(filter, cursor, 1+r.IntN(20), func(name string, v int) bool {
				if seen[name]++; v != len(name) || name <= last || !plain[name] || !refMatch(filter, name) {
					t.Fatalf("Scan(%q) yields %q, %d after %q", filter, name, v, last)
				}
				last = name
				stop--
				return stop != 0
			})
			for range r.IntN(5) {
				name := pick(r, 4, 0, words...)
				if r.IntN(2) == 0 {
					n.Set(name, len(name))
					plain[name] = true
				} else {
					n.Delete(name)
					delete(plain, name)
					delete(stayed, name)
				}
			}
		}
		for name := range stayed {
			if want := refMatch(filter, name); (seen[name] == 1) != want || seen[name] > 1 {
				t.Fatalf("Scan(%q) yields %q %d times, match %v", filter, name, seen[name], want)
			}
		}
	}
}

func TestNamesReadersAndWriters(t *testing.T) {
	n := NewNames[int]()
	stay := sequences(3, []string{"a", "b", "c"}, nil)
	for _, name := range stay {
		n.Set(name, 1)
	}
	var group sync.WaitGroup
	for w := range 2 {
		group.Go(func() {
			r := newRand(uint64(w))
			for range 3000 {
				name := pick(r, 3, 0, "a", "b", "x", "y") + "/x"
				n.Set(name, 2)
				n.Get(name)
				n.Delete(name)
			}
		})
		group.Go(func() {
			for range 50 {
				seen := 0
				cursor, complete := "", false
				for !complete {
					cursor, complete = n.Scan("#", cursor, 7, func(_ string, v int) bool { seen += v % 2; return true })
				}
				if seen != len(stay) {
					t.Errorf("a scan saw %d of %d names", seen, len(stay))
				}
			}
		})
	}
	group.Wait()
	if n.Len() != len(stay) {
		t.Errorf("Len = %d, want %d", n.Len(), len(stay))
	}
}

// nextMatch against all names: it never leaps over one that matches.
func TestNextMatchNeverLeapsOverAMatch(t *testing.T) {
	names := deleteEmpty(sequences(3, []string{"a", "b", "", "!", "a!", "a0", "$s"}, nil))
	slices.Sort(names)
	for _, filter := range deleteEmpty(sequences(3, []string{"a", "", "+", "a!", "$s"}, []string{"#"})) {
		next := "" // the first match after the name that is looked at
		for _, name := range slices.Backward(names) {
			got, ok := nextMatch(filter, name)
			switch {
			case !ok && next != "":
				t.Fatalf("nextMatch(%q, %q) ends before %q", filter, name, next)
			case ok && next != "" && got > next:
				t.Fatalf("nextMatch(%q, %q) = %q leaps over %q", filter, name, got, next)
			case ok && got < name:
				t.Fatalf("nextMatch(%q, %q) = %q goes back", filter, name, got)
			}
			if refMatch(filter, name) {
				next = name
			}
		}
		if first := firstMatch(filter); next != "" && first > next {
			t.Fatalf("firstMatch(%q) = %q leaps over %q", filter, first, next)
		}
	}
}

func FuzzNamesScan(f *testing.F) {
	f.Add("a/+/c", "a/b/c", "a/b", "a/c/c", "")
	f.Add("#", "$s", "a", "/", "a")
	f.Add("a/#", "a!", "a/b", "a", "a!")
	f.Fuzz(func(t *testing.T, filter, x, y, z, after string) {
		n := NewNames[int]()
		want := []string{}
		for _, name := range []string{x, y, z} {
			if name == "" {
				continue
			}
			if _, replaced := n.Set(name, 0); !replaced && name > after && refMatch(filter, name) {
				want = append(want, name)
			}
		}
		slices.Sort(want)
		got := []string{}
		for complete := false; !complete; {
			after, complete = n.Scan(filter, after, 1, func(name string, _ int) bool { got = append(got, name); return true })
		}
		if !slices.Equal(got, want) {
			t.Fatalf("Scan(%q) of %q, %q, %q = %q, want %q", filter, x, y, z, got, want)
		}
	})
}

func TestEachYieldsEveryNameOnce(t *testing.T) {
	n := NewNames[int]()
	if _, complete := n.Each("", 10, func(string, int) bool { return true }); !complete {
		t.Error("an empty map has more")
	}
	want := []string{"$SYS/x", "$other", "/", "a", "a/b", "b"}
	for i, name := range want {
		n.Set(name, i)
	}
	for work := range 8 {
		var got []string
		cursor, complete := "", false
		for !complete {
			cursor, complete = n.Each(cursor, work, func(name string, _ int) bool {
				got = append(got, name)
				return name != "/"
			})
		}
		if !slices.Equal(got, want) {
			t.Errorf("work %d: %v, want %v", work, got, want)
		}
	}
	if cursor, complete := n.Each("a", 1, func(string, int) bool { return true }); cursor != "a/b" || complete {
		t.Errorf("%q %v, want to go on after a/b", cursor, complete)
	}
}
