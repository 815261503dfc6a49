package topic

import (
	"slices"
	"strings"
	"testing"
)

func TestCovers(t *testing.T) {
	for _, tt := range []struct {
		claim, a, b string
		want        bool
	}{
		{"a filter covers itself", "a/+/#", "a/+/#", true},
		{"plus covers a literal", "a/+", "a/b", true},
		{"a literal doesn't cover plus", "a/b", "a/+", false},
		{"hash covers what is below", "a/#", "a/+/b", true},
		{"hash covers its parent", "a/#", "a", true},
		{"hash covers a deeper hash", "a/#", "a/b/#", true},
		{"a deeper hash doesn't cover hash", "a/+/#", "a/#", false},
		{"plus doesn't cover hash", "a/+", "a/#", false},
		{"plus doesn't cover a missing level", "a/+", "a", false},
		{"hash covers plus", "#", "+/+", true},
		{"plus hash is all that hash is", "+/#", "#", true},
		{"hash is all that plus hash is", "#", "+/#", true},
		{"plus plus hash misses single levels", "+/+/#", "#", false},
		{"hash doesn't cover dollar", "#", "$SYS/#", false},
		{"hash doesn't cover a dollar name", "#", "$SYS", false},
		{"plus doesn't cover dollar", "+/x", "$SYS/x", false},
		{"dollar covers dollar", "$SYS/#", "$SYS/+/x", true},
		{"dollar covers its parent", "$SYS/#", "$SYS", true},
		{"a dollar at a later level is ordinary", "a/#", "a/$b", true},
		{"the empty name needs no covering", "/+/#", "/#", true},
	} {
		if got := Covers(tt.a, tt.b); got != tt.want {
			t.Errorf("%s: Covers(%q, %q) = %v, want %v", tt.claim, tt.a, tt.b, got, tt.want)
		}
	}
}

func TestRulesCoverAFilterByDepths(t *testing.T) {
	for _, tt := range []struct {
		claim, filter string
		rules         []string
		want          bool
	}{
		{"no rule covers nothing", "a", nil, false},
		{"one rule suffices", "a/b", []string{"x", "a/+"}, true},
		{"each depth has its rule", "a/#", []string{"a", "a/+", "a/+/#"}, true},
		{"two rules share the depths", "a/#", []string{"a", "a/+/#"}, true},
		{"the parent is missing", "a/#", []string{"a/+", "a/+/#"}, false},
		{"the second depth is missing", "a/#", []string{"a", "a/+/+/#"}, false},
		{"the unbounded depths are missing", "a/#", []string{"a", "a/+", "a/+/+"}, false},
		{"literals never add up to a plus", "a/+", []string{"a/b", "a/c", "a/"}, false},
		{"literals never add up to a hash", "#", []string{"+", "a/#", "b/#"}, false},
		{"hash by depth", "#", []string{"+", "+/+/#"}, true},
		{"dollar is no part of hash", "#", []string{"+/#"}, true},
		{"hash is no part of dollar", "$SYS/#", []string{"#", "+/#", "$SYS"}, false},
		{"dollar by depth", "$SYS/#", []string{"#", "$SYS", "$SYS/+/#"}, true},
		{"rules shallower than the filter", "a/b/c/#", []string{"a/#"}, true},
		{"rules deeper than the filter", "a", []string{"a/b/c/#"}, false},
	} {
		if got := coveredBy(tt.filter, tt.rules); got != tt.want {
			t.Errorf("%s: coveredBy(%q, %q) = %v, want %v", tt.claim, tt.filter, tt.rules, got, tt.want)
		}
	}
}

// Every pair of filters of up to three levels, against all names that could
// tell them apart.
func TestCoversAndOverlapsAgreeWithEnumeration(t *testing.T) {
	names := universe()
	filters := sequences(2, []string{"a", "b", "", "+", "$s"}, []string{"#"})
	filters = append(filters, sequences(3, []string{"a", "+", "$s"}, []string{"#"})...)
	filters = deleteEmpty(filters)
	for _, a := range filters {
		for _, b := range filters {
			if got, want := Covers(a, b), refCoveredBy(b, []string{a}, names); got != want {
				t.Fatalf("Covers(%q, %q) = %v, want %v", a, b, got, want)
			}
			if got, want := Overlaps(a, b), refOverlaps(a, b, names); got != want {
				t.Fatalf("Overlaps(%q, %q) = %v, want %v", a, b, got, want)
			}
		}
	}
}

// Sets of rules at random, against enumeration: the rules of a set differ in
// depth, so that coverage by several of them at once occurs.
func TestCoveredByAgreesWithEnumeration(t *testing.T) {
	names := universe()
	r := newRand(1)
	covered := 0
	for range 3000 {
		filter := pick(r, 3, 70, "a", "a", "+", "+", "$s")
		rules := make([]string, r.IntN(9))
		for i := range rules {
			rules[i] = pick(r, 4, 35, "a", "a", "+", "+", "+", "$s")
		}
		want := refCoveredBy(filter, rules, names)
		if got := coveredBy(filter, rules); got != want {
			t.Fatalf("coveredBy(%q, %q) = %v, want %v", filter, rules, got, want)
		}
		if want && !slices.ContainsFunc(rules, func(r string) bool { return Covers(r, filter) }) {
			covered++
		}
	}
	if covered < 20 {
		t.Errorf("only %d cases were covered by several rules together; the test has lost its point", covered)
	}
}

func TestDepths(t *testing.T) {
	for filter, want := range map[string]struct {
		least int
		open  bool
	}{
		"a": {1, false}, "a/+": {2, false}, "/": {2, false}, "#": {1, true}, "a/#": {1, true}, "+/b/#": {2, true},
		"/#": {2, true}, // the empty name is none
	} {
		if least, open := Depths(filter); least != want.least || open != want.open {
			t.Errorf("Depths(%q) = %d, %v, want %d, %v", filter, least, open, want.least, want.open)
		}
	}
}

// coveredBy reports whether rules cover a filter together: each depth of it by one
// of them, where one below the deepest rule stands for all that follow.
func coveredBy(filter string, rules []string) bool {
	least, open := Depths(filter)
	deepest := least
	for _, r := range rules {
		if depth, _ := shape(r); open {
			deepest = max(deepest, depth+1)
		}
	}
	for depth := least; depth <= deepest; depth++ {
		if !slices.ContainsFunc(rules, func(r string) bool { return CoversAt(r, filter, depth) }) {
			return false
		}
	}
	return true
}

func FuzzCovers(f *testing.F) {
	f.Add("a/#", "a\na/+\na/+/#")
	f.Add("#", "+/#")
	f.Add("$s/#", "#\n$s")
	f.Add("+/a", "a/a\nb/a")
	names := universe()
	f.Fuzz(func(t *testing.T, filter, joined string) {
		rules := strings.Split(joined, "\n")
		for _, s := range append([]string{filter}, rules...) {
			if CheckFilter(s, Limits{Bytes: 16, Levels: 4}) != nil || !smallWords(s) {
				t.Skip()
			}
		}
		if got, want := coveredBy(filter, rules), refCoveredBy(filter, rules, names); got != want {
			t.Fatalf("coveredBy(%q, %q) = %v, want %v", filter, rules, got, want)
		}
		for _, r := range rules {
			if got, want := Covers(r, filter), refCoveredBy(filter, []string{r}, names); got != want {
				t.Fatalf("Covers(%q, %q) = %v, want %v", r, filter, got, want)
			}
			if got, want := Overlaps(r, filter), refOverlaps(r, filter, names); got != want {
				t.Fatalf("Overlaps(%q, %q) = %v, want %v", r, filter, got, want)
			}
		}
	})
}

// smallWords reports whether s uses only levels that universe can tell apart at
// its depth.
func smallWords(s string) bool {
	parts := strings.Split(s, "/")
	for _, p := range parts {
		switch p {
		case "a", "$s", "+", "#":
		case "b", "":
			if len(parts) > 3 {
				return false
			}
		default:
			return false
		}
	}
	return true
}
