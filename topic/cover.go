package topic

import "strings"

// Covering rests on one observation: levels are an unbounded alphabet. Take the
// names of one depth that a filter matches, and among them a typical one, with
// a level that occurs in no rule wherever the filter leaves the level open. A
// rule that matches the typical name has a wildcard at each open level, so it
// matches all the others of that depth; and if no rule matches the typical
// name, then that name is not covered. So at each depth a single rule has to
// cover the filter, but at different depths different rules may: {a, a/+, a/+/#}
// covers a/#, and no set of literal rules ever covers a +.
//
// The rule for $ fits in: a wildcard at the first level of the filter leaves
// that level open to all that doesn't begin with $, which is just what a
// wildcard at the first level of a rule takes.

// Covers reports whether every name that filter b matches is matched by filter
// a. It does not allocate.
func Covers(a, b string) bool {
	depth, open := Depths(b)
	if open {
		// b has no deepest name, so a must end in # too; then a takes every
		// depth from its own on, and the shallowest of b decides.
		if _, openA := shape(a); !openA {
			return false
		}
	}
	return CoversAt(a, b, depth)
}

// shape returns the number of levels before a trailing #, and whether there is
// one. "#" has the shape 0, true.
func shape(filter string) (depth int, open bool) {
	if filter == multi {
		return 0, true
	}
	if strings.HasSuffix(filter, "/#") {
		return levels(filter) - 1, true
	}
	return levels(filter), false
}

// Depths returns the number of levels of the shortest names that filter matches,
// and whether it matches deeper names too.
func Depths(filter string) (least int, open bool) {
	if filter == "/#" {
		return 2, true // its parent is the empty name, which is none: MQTT-4.7.3-1
	}
	least, open = shape(filter)
	return max(least, 1), open
}

// CoversAt reports whether rule matches every name of the given depth (a number
// of levels) that filter matches. depth is at least 1, and one that filter has
// names of. A filter is covered by several rules where each of its depths is
// covered by one of them; beyond the deepest of them, one depth stands for all.
// It does not allocate.
func CoversAt(rule, filter string, depth int) bool {
	for i := range depth {
		have, filterRest, filterMore := cutLevel(filter)
		tail := have == multi && !filterMore
		open := tail || have == single
		if !tail { // a trailing # stands for all the levels that follow
			filter = filterRest
		}
		want, ruleRest, ruleMore := cutLevel(rule)
		wild := want == single || want == multi && !ruleMore
		switch {
		case i == 0 && wild && !open && isDollar(have):
			return false // MQTT-4.7.2-1
		case wild && want == multi:
			return true
		case !wild && (open || want != have):
			return false
		case !ruleMore:
			return i == depth-1
		}
		rule = ruleRest
	}
	return rule == multi
}
