package expect

import (
	"slices"
	"strings"

	"sallyport/topic"
)

// meet is the filter of the names that both a and b match, as levels; ok is
// false if there are none.
func meet(a, b []string) (out []string, ok bool) {
	for i := 0; ; i++ {
		tailA, tailB := tailAt(a, i), tailAt(b, i)
		switch {
		case tailA && tailB:
			return append(out, "#"), true
		case tailA:
			return join(out, b[i:], i == 0)
		case tailB:
			return join(out, a[i:], i == 0)
		case i == len(a) && i == len(b):
			return out, true
		case i == len(a) || i == len(b):
			return nil, false
		}
		level := a[i]
		switch {
		case a[i] == b[i]:
		case a[i] == "+" && !(i == 0 && strings.HasPrefix(b[i], "$")):
			level = b[i]
		case b[i] == "+" && !(i == 0 && strings.HasPrefix(a[i], "$")):
		default:
			return nil, false
		}
		out = append(out, level)
	}
}

func tailAt(levels []string, i int) bool { return i == len(levels)-1 && levels[i] == "#" }

// join is out and what follows where the other filter takes everything; first
// says that it does so from the first level on, and so takes no $.
func join(out, rest []string, first bool) ([]string, bool) {
	if first && strings.HasPrefix(rest[0], "$") {
		return nil, false
	}
	return append(out, rest...), true
}

// meetOf is meet of filters as text.
func meetOf(a, b string) (string, bool) {
	if !topic.Overlaps(a, b) {
		return "", false
	}
	levels, ok := meet(strings.Split(a, "/"), strings.Split(b, "/"))
	return strings.Join(levels, "/"), ok && (len(levels) > 1 || levels[0] != "")
}

// class is the names of a filter that have one number of levels, or at least
// that many, as the generic one stands for them.
type class struct {
	filter  string // of all of them
	generic string
}

// cut takes a filter apart into classes: by levels up to deepest, from where on
// one class is for all that are deeper.
func cut(filter, fresh string, deepest int) []class {
	base, open := strings.CutSuffix(filter, "#")
	if !open {
		return []class{{filter, fill(filter, fresh)}}
	}
	base = strings.TrimSuffix(base, "/")
	levels := 0
	if filter != "#" {
		levels = strings.Count(base, "/") + 1
	}
	var out []class
	at := base // with as many levels as we are at
	for ; levels <= deepest; levels++ {
		if levels > 0 && at != "" {
			c := class{at, fill(at, fresh)}
			if levels == deepest {
				c.filter += "/#"
			}
			out = append(out, c)
		}
		if levels == 0 {
			at = "+"
		} else {
			at += "/+"
		}
	}
	return out
}

// fill puts the fresh level wherever a filter without # leaves one open.
func fill(filter, fresh string) string {
	levels := strings.Split(filter, "/")
	for i, l := range levels {
		if l == "+" {
			levels[i] = fresh
		}
	}
	return strings.Join(levels, "/")
}

// freshLevel is a level that stands in none of the filters, alone or behind $.
func freshLevel(filters []string) string {
	used := map[string]bool{}
	for _, f := range filters {
		for l := range strings.SplitSeq(f, "/") {
			used[strings.TrimPrefix(l, "$")] = true
		}
	}
	fresh := "any"
	for used[fresh] || used["SYS"+fresh] {
		fresh += "x"
	}
	return fresh
}

// depth is the number of levels that a filter names, # not counted.
func depth(filter string) int {
	if filter == "#" {
		return 0
	}
	return strings.Count(strings.TrimSuffix(filter, "/#"), "/") + 1
}

// world is the topics that two policies tell apart for one client.
type world struct {
	names     []class // of messages
	open      []string
	dollar    string // the first level that stands for each one with $
	exhausted bool   // there were more than it may have
}

// maxTopics bounds the topics of one client, maxMeets the work to find them.
const (
	maxTopics = 200_000
	maxMeets  = 20_000_000
)

// newWorld finds what has to be asked about. See the package comment.
func newWorld(before, after []string) *world {
	all := append(slices.Clone(before), after...)
	fresh := freshLevel(all)
	// What is not written as a filter: $SYS, names that begin with it or with $share, any other $, allow_all.
	extra := []string{"#", "$" + fresh + "/#", "$SYS/#", "$SYS" + fresh + "/#", "$share/#"}
	all = append(all, extra...)
	deepest := 0
	for _, f := range all {
		deepest = max(deepest, depth(f)+1)
	}
	w := &world{dollar: "$" + fresh}
	w.nameClasses(all, before, after, fresh, deepest)
	w.openFilters(all)
	return w
}

func (w *world) nameClasses(all, before, after []string, fresh string, deepest int) {
	seen := map[string]bool{}
	add := func(filter string) {
		for _, c := range cut(filter, fresh, deepest) {
			if !seen[c.generic] {
				seen[c.generic] = true
				w.names = append(w.names, c)
			}
		}
	}
	for _, f := range all {
		add(f)
	}
	if len(before) > maxMeets/max(len(after), 1) {
		w.exhausted = true
		return
	}
	met := map[string]bool{}
	for _, a := range before {
		for _, b := range after {
			if m, ok := meetOf(a, b); ok && !met[m] {
				met[m] = true
				add(m)
			}
			if len(w.names) > maxTopics {
				w.exhausted = true
				return
			}
		}
	}
}

// openFilters is the beginnings of all filters with a # behind them, and all
// meets of those.
func (w *world) openFilters(all []string) {
	seen := map[string]bool{}
	add := func(f string) {
		if !seen[f] {
			seen[f] = true
			w.open = append(w.open, f)
		}
	}
	add("#")
	for _, f := range all {
		levels := strings.Split(f, "/")
		for n := 1; n <= depth(f); n++ {
			add(strings.Join(levels[:n], "/") + "/#")
		}
	}
	roots := slices.Clone(w.open)
	if len(roots) > maxMeets/len(roots) { // each is met with each at least
		w.exhausted = true
		return
	}
	for i := 0; i < len(w.open); i++ {
		if len(w.open) > maxTopics || i > maxMeets/len(roots) {
			w.exhausted = true
			return
		}
		for _, r := range roots {
			if m, ok := meetOf(w.open[i], r); ok {
				add(m)
			}
		}
	}
}
