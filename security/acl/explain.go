package acl

import (
	"cmp"
	"slices"
	"strings"

	"sallyport/security"
	"sallyport/security/rule"
)

const (
	maxSteps = 200 // of one list in an explanation
	maxLines = 10  // to take out in one suggestion
)

// Explain tells what each line that has to do with q says, in the order of
// evaluation: own denies, own grants, the check of the names, deny patterns,
// granting patterns. Lines behind the one that decides are told too.
func (p *Policy) Explain(q *security.Request) security.Explanation {
	x := security.Explanation{Verdict: p.Decide(q)}
	if q.Principal == nil {
		return x
	}
	if q.Action == security.Connect {
		_, steps := p.untold(q.Principal)
		x.Steps = steps[:min(len(steps), maxSteps)]
	}
	if !p.listed(q) {
		if x.Verdict.Effect != security.Silent {
			x.Steps = []security.Step{{File: p.file, Rule: x.Verdict.Rule, Effect: x.Verdict.Effect, Matches: true, Decides: true}}
		}
		x.Opposite = p.opposite(q, x.Verdict)
		return x
	}
	denies, grants := p.steps(&x, q, p.own(q.Principal))
	x.Steps = append(x.Steps, denies...)
	x.Steps = append(x.Steps, grants...)
	own := len(x.Steps)
	if p.hasPatterns() {
		x.Steps = append(x.Steps, p.names(q, x.Verdict))
		denies, grants = p.steps(&x, q, p.patterns)
		x.Steps = append(x.Steps, denies...)
		x.Steps = append(x.Steps, grants...)
	}
	p.markTogether(x.Steps, own, q)
	x.Opposite = p.opposite(q, x.Verdict)
	return x
}

// markTogether marks the lines that grant a subscription only together, if that is
// how it is granted. The first own of the steps are those of the own list.
func (p *Policy) markTogether(steps []security.Step, own int, q *security.Request) {
	if q.Action != security.Subscribe || !p.judge(q).Allowed() {
		return
	}
	list := p.own(q.Principal)
	a := rule.Allow(q, list)
	if a.Rule != nil {
		steps = steps[:own]
	} else {
		a = p.granted(q, list)
	}
	for i := range steps {
		if a.More > 0 && steps[i].Effect == security.Allow && steps[i].Says == rule.SaysPart {
			steps[i].Decides = true
		}
	}
}

// listed reports whether the lists are asked about q at all.
func (p *Policy) listed(q *security.Request) bool {
	switch q.Action {
	case security.Publish:
		return !forbiddenWrite(q.Topic)
	case security.Receive:
		return true
	case security.Subscribe:
		return p.strict
	}
	return false
}

// steps is what the lines of one list say, denies and grants apart. The line
// that decides is always among them.
func (p *Policy) steps(x *security.Explanation, q *security.Request, set *rule.Set) (denies, grants []security.Step) {
	near, omitted := set.Near(q, maxSteps)
	x.Omitted += omitted
	told := false
	for i := range near {
		if near[i].Line == x.Verdict.Line {
			near[i].Decides, told = true, true
		}
	}
	other := otherAccess(q, set)
	near, x.Omitted = append(near, other...), x.Omitted-len(other)
	if r := lineOf(set, x.Verdict.Line); r != nil && !told {
		step := r.Says(q)
		step.Decides = true
		near, x.Omitted = append(near, step), x.Omitted-1
	}
	slices.SortStableFunc(near, func(a, b security.Step) int { return cmp.Compare(a.Line, b.Line) })
	for _, s := range near {
		if s.Effect == security.Deny {
			denies = append(denies, s)
		} else {
			grants = append(grants, s)
		}
	}
	return denies, grants
}

// otherAccess is the grants that would match if they were not for reading or for
// writing only: the mistake that is made most.
func otherAccess(q *security.Request, set *rule.Set) (out []security.Step) {
	needed, says := reads, "grants writing only"
	if q.Action == security.Publish {
		needed, says = writes, "grants reading only"
	}
	rules := set.Rules()
	for i := range rules {
		r := &rules[i]
		if r.Effect != security.Allow || r.Actions&needed != 0 || len(out) == maxSteps {
			continue
		}
		if misses := r.Misses(q); len(misses) == 1 && misses[0].Kind == rule.MissAction {
			step := r.Says(q)
			step.Says = says
			out = append(out, step)
		}
	}
	return out
}

// lineOf finds the rule of a line; nil if the set has none of it.
func lineOf(set *rule.Set, line int) *rule.Rule {
	rules := set.Rules()
	for i := range rules {
		if rules[i].Line == line {
			return &rules[i]
		}
	}
	return nil
}

// names is the step between the own list and the patterns.
func (p *Policy) names(q *security.Request, v security.Verdict) security.Step {
	s := security.Step{
		File: p.file, Rule: "names with + or # are refused where there are patterns", Effect: security.Deny,
		Says:   "neither user name nor client id holds + or #",
		Values: []security.Value{value("clientid", q.Principal.ClientID), value("username", q.Principal.Name)},
	}
	switch {
	case strings.ContainsAny(q.Principal.Name, "+#"):
		s.Says = "the user name holds + or #"
	case dangerous(q.Principal):
		s.Says = "the client id holds + or #"
	default:
		return s
	}
	s.Matches, s.Decides = true, v.Effect == security.Deny && v.Rule == saysDangerous
	return s
}

// value shows at most 64 bytes of a name.
func value(name, v string) security.Value {
	shown := v
	if len(shown) > 64 {
		shown = strings.ToValidUTF8(shown[:64], "") + "..."
	}
	return security.Value{Name: name, Value: shown, Missing: v == ""}
}
