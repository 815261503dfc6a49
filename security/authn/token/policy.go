package token

import (
	"errors"
	"slices"

	"sallyport/security"
	"sallyport/security/rule"
)

// Policy asks the permissions that the principal's own token brought along. A deny
// among them is final, and where the token has none it is silent.
//
// Of a principal that was stored, as of a client that is away since before the broker
// was started or of a publisher of retained messages, the claims are read again.
type Policy struct {
	name string
	by   []*Authenticator
}

// NewPolicy makes a policy for the tokens of authenticators.
func NewPolicy(name string, by ...*Authenticator) *Policy { return &Policy{name, slices.Clone(by)} }

// Name is the policy's name in the configuration.
func (p *Policy) Name() string { return p.name }

var errUnread = errors.New("the permissions of the token can't be read")

// of is what a principal was granted; nil: nothing.
func (p *Policy) of(who *security.Principal) (security.Policy, error) {
	if who.Token != nil && who.Token.Granted != nil {
		return who.Token.Granted, nil
	}
	if who.Claims == nil {
		return nil, nil
	}
	for _, a := range p.readers(who) {
		switch g, err := a.granted(who.Claims); {
		case err != nil:
			return nil, errUnread
		case g != nil:
			return g, nil
		}
	}
	return nil, nil
}

// readers are the authenticators that may say what who's claims mean: the one that
// accepted the token. Where several are needed together the principal names none of
// them, and it is one whose key vouched for the token. What is a permission for one
// issuer may be anything, and anybody's word, for another.
func (p *Policy) readers(who *security.Principal) []*Authenticator {
	for _, a := range p.by {
		if a.o.Name == who.Method {
			return []*Authenticator{a}
		}
	}
	return slices.DeleteFunc(slices.Clone(p.by), func(a *Authenticator) bool { return !a.Keeps(who) })
}

// Decide implements security.Policy.
func (p *Policy) Decide(q *security.Request) security.Verdict {
	if q.Principal == nil {
		return security.Verdict{Effect: security.Deny, Policy: p.name, Rule: "nobody asked"}
	}
	granted, err := p.of(q.Principal)
	switch {
	case err != nil:
		return security.Verdict{Effect: security.Deny, Policy: p.name, Rule: err.Error()}
	case granted == nil:
		return security.Verdict{Policy: p.name, Rule: "the client has no token with permissions", Scope: 1}
	}
	v := granted.Decide(q)
	v.Policy = p.name
	return v
}

// Admit refuses a principal for whom a deny of its token can't be told.
func (p *Policy) Admit(who *security.Principal) error {
	granted, err := p.of(who)
	if err != nil {
		return err
	}
	if g, ok := granted.(*Grants); ok {
		return rule.Admit(who, g.sets()...)
	}
	return nil
}

// Filters is the topic filters of a principal's permissions.
func (p *Policy) Filters(who *security.Principal) []string {
	granted, err := p.of(who)
	g, ok := granted.(*Grants)
	if err != nil || !ok {
		return nil
	}
	var out []string
	for _, s := range g.sets() {
		for _, r := range s.Rules() {
			out = append(out, r.Filters(who)...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// shownSteps bounds the steps of an explanation.
const shownSteps = 200

// Explain implements security.ExplainPolicy.
func (p *Policy) Explain(q *security.Request) security.Explanation {
	asked := *q
	asked.At = q.Now().UnixNano() // all that follows is about one moment
	x := security.Explanation{Verdict: p.Decide(&asked)}
	if q.Principal == nil {
		return x
	}
	granted, _ := p.of(q.Principal) // the verdict tells of an error
	g, ok := granted.(*Grants)
	if !ok {
		return x
	}
	decided := false
	for _, s := range g.steps {
		if s.passes(&asked) {
			x.Omitted += len(s.set.Rules())
			continue
		}
		steps, omitted := s.set.Near(&asked, shownSteps-len(x.Steps))
		for i := range steps {
			if !decided && steps[i].Matches && steps[i].Rule == x.Verdict.Rule {
				steps[i].Decides, decided = true, true
			}
		}
		x.Steps, x.Omitted = append(x.Steps, steps...), x.Omitted+omitted
	}
	return x
}
