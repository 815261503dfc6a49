package expect

import (
	"slices"
	"strings"

	"sallyport/security"
	"sallyport/topic"
)

// Difference is what two policies answer differently to one client, for all
// topics of a filter that no narrower rule treats otherwise.
type Difference struct {
	Identity string `json:"identity"`
	Action   string `json:"action"`
	// Topic is the filter of the names, or for subscribe the filter that is asked
	// for. Its first level may be $any: any one that begins with $.
	Topic string `json:"topic,omitempty"`
	QoS   []byte `json:"qos,omitempty"`
	// Retain and Will say that only such messages, or only others, are meant.
	Retain *bool `json:"retain,omitempty"`
	Will   *bool `json:"will,omitempty"`
	// By says that only some subscriptions are meant: Ordinary, "$share/GROUP",
	// or OtherGroups.
	By  []string `json:"by,omitempty"`
	Old Answer   `json:"old"`
	New Answer   `json:"new"`
}

// How a subscription stands, in Difference.By.
const (
	Ordinary    = "ordinary" // not shared
	OtherGroups = "$share/+" // shared, in any group that no rule names
)

// variant is one way to ask about a topic.
type variant struct {
	qos          byte
	retain, will bool
	group        string // share name; empty: not shared
	other        bool   // group stands for all that no rule names
}

// survey collects the differences of one action.
type survey struct {
	action   security.Action
	variants []variant
	found    map[string]map[reasons]*finding // by filter
	dollar   string                          // as in world
}

// reasons is why two answers differ, to tell findings apart.
type reasons struct{ old, new reason }

type reason struct {
	allowed    bool
	qos        byte // granted
	file, rule string
	line       int
}

type finding struct {
	variants []bool
	old, new Answer
}

func newSurvey(action security.Action, groups []string) *survey {
	s := &survey{action: action, found: map[string]map[reasons]*finding{}}
	shares := []variant{{}}
	if action != security.Publish {
		other := "any"
		for slices.Contains(groups, other) {
			other += "x"
		}
		for _, g := range groups {
			shares = append(shares, variant{group: g})
		}
		shares = append(shares, variant{group: other, other: true})
	}
	for _, share := range shares {
		for _, will := range []bool{false, true} {
			for _, retain := range []bool{false, true} {
				if will && action != security.Publish || retain && action == security.Subscribe {
					continue
				}
				for qos := range byte(3) {
					v := share
					v.qos, v.retain, v.will = qos, retain, will
					s.variants = append(s.variants, v)
				}
			}
		}
	}
	return s
}

func answer(v security.Verdict, asked byte) Answer {
	a := Answer{Allowed: v.Allowed(), Verdict: NewVerdict(v)}
	if a.Allowed && v.QoS != asked {
		a.QoS = &v.QoS
	}
	return a
}

func (s *survey) note(filter string, i int, x, y security.Verdict) {
	because := func(v security.Verdict) reason {
		r := reason{allowed: v.Allowed(), file: v.File, line: v.Line, rule: v.Policy + v.Rule}
		if s.action == security.Subscribe && r.allowed && v.QoS != s.variants[i].qos {
			r.qos = v.QoS + 1
		}
		return r
	}
	byReason := s.found[filter]
	if byReason == nil {
		byReason = map[reasons]*finding{}
		s.found[filter] = byReason
	}
	key := reasons{because(x), because(y)}
	f := byReason[key]
	if f == nil {
		f = &finding{variants: make([]bool, len(s.variants)), old: answer(x, s.variants[i].qos), new: answer(y, s.variants[i].qos)}
		byReason[key] = f
	}
	f.variants[i] = true
}

// differences groups what was found: of filters with the same answers, for the
// same reasons, only those stay that no other one covers.
func (s *survey) differences() []Difference {
	type alike struct {
		reasons
		variants string
	}
	groups := map[alike][]string{}
	example := map[alike]*finding{}
	for filter, byReason := range s.found {
		for r, f := range byReason {
			var b strings.Builder
			for _, is := range f.variants {
				b.WriteByte("01"[toInt(is)])
			}
			key := alike{r, b.String()}
			groups[key] = append(groups[key], filter)
			example[key] = f
		}
	}
	var out []Difference
	for key, filters := range groups {
		if s.action != security.Subscribe {
			filters = rollUp(filters)
		}
		for _, filter := range s.widest(filters) {
			for _, d := range s.spell(example[key]) {
				d.Topic = filter
				out = append(out, d)
			}
		}
	}
	slices.SortFunc(out, func(a, b Difference) int {
		if n := strings.Compare(a.Topic, b.Topic); n != 0 {
			return n
		}
		return strings.Compare(DifferenceText(&a), DifferenceText(&b))
	})
	return out
}

func toInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// rollUp adds the filter with # for those of each number of levels: a, a/+ and
// a/+/# are a/#.
func rollUp(filters []string) []string {
	have := map[string]bool{}
	for _, f := range filters {
		have[f] = true
	}
	// From the deepest up: a/+/+/# and a/+ make a/+/#, which with a makes a/#.
	for _, f := range slices.Clone(filters) {
		for {
			base, open := strings.CutSuffix(f, "/+/#")
			if !open {
				break
			}
			if !have[base] || have[base+"/#"] {
				break
			}
			f = base + "/#"
			have[f] = true
			filters = append(filters, f)
		}
		if f == "+/#" && !have["#"] { // they match the same names
			have["#"] = true
			filters = append(filters, "#")
		}
	}
	return filters
}

// widest leaves out the filters that another one covers.
func (s *survey) widest(filters []string) []string {
	slices.SortFunc(filters, func(a, b string) int {
		if n := depth(a) - depth(b); n != 0 {
			return n
		}
		return strings.Compare(a, b)
	})
	var out []string
	for i, f := range filters {
		covered := slices.ContainsFunc(out, func(g string) bool { return s.covers(g, f) }) ||
			slices.ContainsFunc(filters[i+1:], func(g string) bool { return s.covers(g, f) && !s.covers(f, g) })
		if !covered {
			out = append(out, f)
		}
	}
	return out
}

// covers is topic.Covers, where the fresh level with $ stands for each with $.
func (s *survey) covers(wide, narrow string) bool {
	if topic.Covers(wide, narrow) {
		return true
	}
	first, _, _ := strings.Cut(wide, "/")
	other, _, _ := strings.Cut(narrow, "/")
	return first == s.dollar && strings.HasPrefix(other, "$") && topic.Covers(wide, s.dollar+narrow[len(other):])
}
