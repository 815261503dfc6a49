package roles

import (
	"sallyport/security"
	"sallyport/security/rule"
)

// shownSteps bounds the steps of an explanation.
const shownSteps = 200

// Explain tells how the file comes to its answer on q.
func (p *Policy) Explain(q *security.Request) security.Explanation {
	if q.Principal == nil {
		return security.Explanation{Verdict: p.Decide(q)}
	}
	asked := *q
	asked.At = q.Now().UnixNano() // all that follows is about one moment
	e := explainer{Policy: p, q: &asked, sets: p.sets(q.Principal, nil)}
	x := security.Explanation{Verdict: p.decide(&asked, e.sets)}
	for _, s := range e.sets {
		steps, omitted := s.Near(&asked, shownSteps-len(x.Steps))
		x.Steps = append(x.Steps, steps...)
		x.Omitted += omitted
	}
	e.untold(&x)
	if len(e.untellable) == 0 || x.Verdict.Effect == security.Deny {
		e.markDeciding(&x)
	}
	if len(e.untellable) == 0 && (x.Verdict.Allowed() || x.Verdict.Effect == security.Silent && e.silenceAdmits()) {
		x.Opposite = e.refusals()
	} else {
		x.Opposite = e.allowances()
	}
	return x
}

// explainer looks for what would change an answer.
type explainer struct {
	*Policy
	q    *security.Request
	sets []*rule.Set
	// untellable is the rules for which Admit refuses the connection that is asked for.
	untellable []*rule.Rule
}

// untold finds the rules for which a connection is refused whatever others say.
func (e *explainer) untold(x *security.Explanation) {
	if e.q.Action != security.Connect {
		return
	}
	for _, s := range e.sets {
		rules := s.Rules()
		for i := range rules {
			step, untold := rules[i].Untold(e.q.Principal)
			if !untold {
				continue
			}
			e.untellable = append(e.untellable, &rules[i])
			if len(x.Steps) < shownSteps {
				step.Decides = len(e.untellable) == 1 && x.Verdict.Effect != security.Deny
				x.Steps, x.Omitted = append(x.Steps, step), x.Omitted-1
			}
		}
	}
}

// silenceAdmits reports whether the request is to connect, and what no rule denies
// is allowed.
func (e *explainer) silenceAdmits() bool {
	return e.q.Action == security.Connect && !e.needsConnect
}

// markDeciding marks the step of the rule that the answer rests on; where rules
// cover a subscription only together, all of those.
func (e *explainer) markDeciding(x *security.Explanation) {
	var a rule.Answer
	switch x.Verdict.Effect {
	case security.Deny:
		a = rule.Deny(e.q, e.sets...)
	case security.Allow:
		a = rule.Allow(e.q, e.sets...)
	}
	if a.Rule == nil {
		return
	}
	found := false
	for i := range x.Steps {
		s := &x.Steps[i]
		switch {
		case !found && s.File == a.Rule.File && s.Line == a.Rule.Line && s.Rule == a.Rule.Text && s.Matches == (a.More == 0):
			s.Decides, found = true, true
		case a.More > 0 && s.Effect == security.Allow && s.Says == rule.SaysPart:
			s.Decides = true
		}
	}
	if !found { // it was one too many to be shown
		s := a.Rule.Says(e.q)
		s.Decides = true
		x.Steps = append(x.Steps, s)
		x.Omitted--
	}
}

// alone reports whether the rule by itself decides q.
func alone(q *security.Request, r *rule.Rule) bool {
	set := rule.NewSet([]rule.Rule{*r})
	if r.Effect == security.Deny {
		return rule.Deny(q, set).Rule != nil
	}
	return rule.Allow(q, set).Rule != nil
}

// matching is every rule for an effect that decides q by itself.
func (e *explainer) matching(effect security.Effect) (out []*rule.Rule) {
	for _, s := range e.sets {
		rules := s.Rules()
		for i := range rules {
			if rules[i].Effect == effect && alone(e.q, &rules[i]) {
				out = append(out, &rules[i])
			}
		}
	}
	return out
}

// allowing is the allow rules without which q would not be allowed: those that
// allow it alone, and, until no others do so together, the first of those.
func (e *explainer) allowing() []*rule.Rule {
	out := e.matching(security.Allow)
	if e.q.Action != security.Subscribe {
		return out
	}
	gone := map[*rule.Rule]bool{}
	for _, r := range out {
		gone[r] = true
	}
	for {
		var rest []rule.Rule
		var from []*rule.Rule
		for _, s := range e.sets {
			rules := s.Rules()
			for i := range rules {
				if r := &rules[i]; r.Effect == security.Allow && r.Actions&rule.Subscribe != 0 && !gone[r] {
					rest, from = append(rest, *r), append(from, r)
				}
			}
		}
		set := rule.NewSet(rest)
		a := rule.Allow(e.q, set)
		if a.Rule == nil {
			return out
		}
		for i := range set.Rules() {
			if &set.Rules()[i] == a.Rule {
				out = append(out, from[i])
				gone[from[i]] = true
			}
		}
	}
}
