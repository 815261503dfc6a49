package rule

import (
	"math"
	"strconv"
	"strings"

	"sallyport/security"
)

// Set is rules indexed by topic: immutable and safe for concurrent use.
type Set struct {
	rules          []Rule
	denies, allows *index // nil: there are none
}

// NewSet indexes rules, whose order counts: of several that match the first one
// is the reason. The caller does not change them any more.
func NewSet(rules []Rule) *Set {
	return &Set{
		rules:  rules,
		denies: newIndex(rules, security.Deny),
		allows: newIndex(rules, security.Allow),
	}
}

// Rules is the set's rules. The caller does not change them.
func (s *Set) Rules() []Rule { return s.rules }

// Answer is what sets said about a request.
type Answer struct {
	Rule *Rule // that decided; nil: none matched
	More int   // rules beside it that cover the rest of a subscription
	Err  error // a deny that could not be told: its placeholder or condition failed
	// How long the answer holds, as in security.Verdict. What is said here of
	// rules that didn't match counts too: a window that is closed may open.
	Until    int64
	Volatile bool
	levels   int // how many of the topic's first levels counted; exactly: all
}

// exactly is the levels of an answer for which all of the topic counted.
const exactly = math.MaxInt

// Scope is for which topics the answer holds, as in security.Verdict.
func (a *Answer) Scope() int {
	if a.levels == exactly {
		return 0
	}
	return max(a.levels, 1)
}

// stackHits is how many candidates are found without allocating.
const stackHits = 64

// Deny finds the first deny rule that matches q: for a subscription one that
// covers all of its filter. A deny whose placeholder or condition can't be told
// matches; where a placeholder can't be told, whatever the topic.
func Deny(q *security.Request, sets ...*Set) Answer {
	var a Answer
	asked := aspects(q)
	for _, s := range sets {
		if s != nil && s.denies != nil && s.first(s.denies, q, asked, &a) {
			return a
		}
	}
	return a
}

// Allow finds the first allow rule that matches q; for a subscription one that
// covers its filter, or the rules of all sets that do so together.
func Allow(q *security.Request, sets ...*Set) Answer {
	if q.Action == security.Subscribe {
		return cover(q, sets)
	}
	var a Answer
	asked := aspects(q)
	for _, s := range sets {
		if s != nil && s.allows != nil && s.first(s.allows, q, asked, &a) {
			return a
		}
	}
	return a
}

// first looks for the first rule of x that holds for q.
func (s *Set) first(x *index, q *security.Request, asked Actions, a *Answer) bool {
	var buf [stackHits]uint32
	hits, levels := x.candidates(q, s.rules, buf[:0])
	a.levels = max(a.levels, levels)
	for _, i := range hits {
		r := &s.rules[i]
		if holds, err := r.judge(q, asked, a); holds {
			a.Rule, a.Err = r, err
			return true
		}
	}
	return false
}

// Admit refuses a principal for whom a deny rule can't be expanded: what the
// rule was to deny could not be told. The error names rule, placeholder and value.
func Admit(p *security.Principal, sets ...*Set) error {
	for _, s := range sets {
		if s == nil || s.denies == nil || !s.denies.doubts(p) {
			continue
		}
		for _, i := range s.denies.open {
			r := &s.rules[i]
			if err := r.told(p); err != nil {
				return &security.Untold{File: r.File, Line: r.Line, Rule: r.Text + ": " + err.Error() + r.shown(p)}
			}
		}
	}
	return nil
}

// Untold is what a deny rule for which Admit refuses p has to say.
func (r *Rule) Untold(p *security.Principal) (step security.Step, untold bool) {
	if r.Effect != security.Deny || r.Topic.Text() == "" {
		return step, false
	}
	err := r.told(p)
	if err == nil {
		return step, false
	}
	return security.Step{
		File: r.File, Line: r.Line, Rule: r.Text, Effect: r.Effect, Matches: true,
		Says: saysUntold + err.Error(), Values: r.values(p),
	}, true
}

// told is why one of the rule's filters can't be told for p.
func (r *Rule) told(p *security.Principal) error {
	var (
		f   filters
		buf [filterBytes]byte
	)
	f.start(r, p)
	for {
		if _, ok := f.next(buf[:0]); !ok {
			return f.err
		}
	}
}

// shown is what the rule's placeholders stand for, in words.
func (r *Rule) shown(p *security.Principal) string {
	values := r.values(p)
	if len(values) == 0 {
		return ""
	}
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = v.Name + " " + strconv.Quote(v.Value)
		if v.Missing {
			words[i] = v.Name + " absent"
		}
	}
	return " (" + strings.Join(words, ", ") + ")"
}
