package security

// Decision is an answer of the gate with the whole path to it.
type Decision struct {
	Verdict  Verdict
	Policies []PolicyAnswer // of the listener, in the order in which they were asked
	// Opposite says what would have to change for the opposite answer, smallest change first.
	Opposite []string
}

// PolicyAnswer is what one policy said.
type PolicyAnswer struct {
	Policy string
	Explanation
	Reached bool // false: a policy before it had the last word
}

// Explain judges q by the present rules and tells how. The verdict is the one
// that Granted gives, by the same code.
func (g *Gate) Explain(q *Request) Decision {
	rules := g.rules.Load()
	d := Decision{Verdict: rules.granted(q)}
	if q.Action == Subscribe && d.Verdict.Allowed() { // what is explained is what was granted
		lower := *q
		lower.QoS = d.Verdict.QoS
		q = &lower
	}
	if _, decided := outside(q); decided {
		return d
	}
	reached := true
	for _, pol := range rules.ByListener[q.Principal.Listener] {
		a := PolicyAnswer{Policy: name(pol), Reached: reached}
		if x, ok := pol.(ExplainPolicy); ok {
			a.Explanation = x.Explain(q)
		} else {
			a.Verdict = pol.Decide(q)
		}
		if q.Action == Connect && a.Verdict.Effect != Deny {
			if refusal, refuses := unadmitted(pol, q.Principal); refuses {
				a.Verdict = refusal
			}
		}
		if a.Verdict.Effect == Deny {
			reached = false
		}
		if q.Action == Connect && a.Verdict.Effect == Silent && !d.Verdict.Allowed() && !needsConnect(pol) {
			a.Explanation.Opposite = nil // its silence refuses nobody
		}
		d.Policies = append(d.Policies, a)
	}
	d.Opposite = opposite(d)
	if len(d.Policies) == 0 {
		d.Opposite = append(d.Opposite, "name a policy under policies of listener "+q.Principal.Listener)
	}
	return d
}

// opposite gathers what would have to change: of an allowed request each policy
// that allows, of a refused one each that denies, else any that is silent, as all
// are where no rule refuses a connection.
func opposite(d Decision) []string {
	decisive := Allow
	if !d.Verdict.Allowed() {
		decisive = Deny
	}
	whose := Silent
	for _, a := range d.Policies {
		if a.Verdict.Effect == decisive {
			whose = decisive
		}
	}
	var out []string
	for _, a := range d.Policies {
		if a.Verdict.Effect == whose {
			out = append(out, a.Explanation.Opposite...)
		}
	}
	return out
}
