package rule

import "sallyport/security"

// Set is rules indexed by topic: immutable and safe for concurrent use.
type Set struct {
	rules []Rule
}

// NewSet indexes rules, whose order counts: of several that match the first one
// is the reason.
func NewSet(rules []Rule) *Set { return &Set{rules: rules} }

// Rules is the set's rules. The caller does not change them.
func (s *Set) Rules() []Rule { return s.rules }

// Answer is what sets said about a request.
type Answer struct {
	Rule *Rule // that decided; nil: none matched
	More int   // rules beside it that were needed to cover a subscription
	Err  error // a deny that could not be told: its placeholder or condition failed
	// How long the answer holds, as in security.Verdict.
	Until    int64
	Volatile bool
}

// Deny finds the first deny rule that matches q: for a subscription one that
// covers all of its filter. A deny whose placeholder or condition can't be told matches.
func Deny(q *security.Request, sets ...*Set) Answer { return Answer{} }

// Allow finds the first allow rule that matches q; for a subscription one that
// covers its filter, or the rules of all sets that do so together.
func Allow(q *security.Request, sets ...*Set) Answer { return Answer{} }

// Admit refuses a principal for whom a deny rule can't be expanded: what the
// rule was to deny could not be told. The error names rule, placeholder and value.
func Admit(p *security.Principal, sets ...*Set) error { return nil }

// Says is what the rule has to say about q, whatever other rules say.
func (r *Rule) Says(q *security.Request) security.Step { return security.Step{} }
