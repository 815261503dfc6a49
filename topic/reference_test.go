package topic

import (
	"math/rand/v2"
	"strings"
)

// The plain implementations that the real ones are held against: they split,
// recurse and enumerate, and are meant to be read rather than run fast.

func refMatch(filter, name string) bool {
	if name == "" {
		return false
	}
	f, n := strings.Split(filter, "/"), strings.Split(name, "/")
	if strings.HasPrefix(name, "$") && (f[0] == "+" || filter == "#") {
		return false
	}
	return refMatchLevels(f, n)
}

func refMatchLevels(f, n []string) bool {
	switch {
	case len(f) == 1 && f[0] == "#":
		return true
	case len(f) == 0 || len(n) == 0:
		return len(f) == len(n)
	case f[0] != "+" && f[0] != n[0]:
		return false
	}
	return refMatchLevels(f[1:], n[1:])
}

// sequences returns all strings of one to depth levels from alphabet, where
// last may stand at the end only.
func sequences(depth int, alphabet, last []string) []string {
	all := append(append([]string{}, alphabet...), last...)
	if depth > 1 {
		for _, rest := range sequences(depth-1, alphabet, last) {
			for _, l := range alphabet {
				all = append(all, l+"/"+rest)
			}
		}
	}
	return all
}

// universe is names enough to tell apart all filters of up to three levels over
// a, b, $s and the empty level: "x" stands for the levels that no filter names.
func universe() []string {
	all := sequences(5, []string{"a", "x", "$s"}, nil)
	all = append(all, sequences(3, []string{"a", "b", "", "x", "$s", "$x"}, nil)...)
	return deleteEmpty(all)
}

func deleteEmpty(all []string) []string {
	kept := all[:0]
	for _, s := range all {
		if s != "" {
			kept = append(kept, s)
		}
	}
	return kept
}

func refCoveredBy(filter string, rules, names []string) bool {
	for _, n := range names {
		if refMatch(filter, n) && !refAny(rules, n) {
			return false
		}
	}
	return true
}

func refAny(rules []string, name string) bool {
	for _, r := range rules {
		if refMatch(r, name) {
			return true
		}
	}
	return false
}

func refOverlaps(a, b string, names []string) bool {
	for _, n := range names {
		if refMatch(a, n) && refMatch(b, n) {
			return true
		}
	}
	return false
}

// pick joins one to depth levels chosen at random from alphabet; open is the
// chance in a hundred that # follows.
func pick(r *rand.Rand, depth, open int, alphabet ...string) string {
	levels := make([]string, 1+r.IntN(depth))
	for i := range levels {
		levels[i] = alphabet[r.IntN(len(alphabet))]
	}
	if r.IntN(100) < open {
		levels[len(levels)-1] = "#"
	}
	if s := strings.Join(levels, "/"); s != "" {
		return s
	}
	return "a"
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, seed)) }
