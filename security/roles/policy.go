package roles

import (
	"fmt"
	"slices"

	"sallyport/security"
	"sallyport/security/rule"
)

// Policy is a compiled permission file: immutable and safe for concurrent use.
type Policy struct {
	name         string
	file         string
	unfiled      bool        // it stands in no file: see Compile
	needsConnect bool        // defaults.connect is deny
	everyone     []*rule.Set // one, or none where the section is empty
	users        map[string]*userRules
	groups       map[string]*groupRules
	roles        map[string]*rule.Set // nil where a role has no permission
	count        int
	warnings     []Warning
}

// userRules is what the file gives to one user name.
type userRules struct {
	line   int
	own    *rule.Set // nil: no permission of its own
	groups []*groupRules
	roles  []*rule.Set
	// sets is all of that, everyone's first: complete for a principal that brings
	// neither groups nor roles.
	sets []*rule.Set
}

type groupRules struct {
	own   *rule.Set
	roles []*rule.Set
}

// The reasons of a silent verdict.
const (
	saysNoMatch   = "no permission matches"
	saysNoCover   = "no permission covers the filter"
	saysNoConnect = "no permission allows the connection"
	saysConnect   = "no permission is about the connection"
)

// Decide judges q by the file.
func (p *Policy) Decide(q *security.Request) security.Verdict {
	if q.Principal == nil {
		return security.Verdict{Effect: security.Deny, Policy: p.name, File: p.file, Rule: "nobody asked"}
	}
	var buf [16]*rule.Set
	return p.decide(q, p.sets(q.Principal, buf[:0]))
}

// decide judges q by the sets of its principal.
func (p *Policy) decide(q *security.Request, sets []*rule.Set) security.Verdict {
	denied := rule.Deny(q, sets...)
	if denied.Rule != nil {
		return p.verdict(denied)
	}
	allowed := rule.Allow(q, sets...)
	v := p.silence(q)
	if allowed.Rule != nil {
		v = p.verdict(allowed)
	}
	v.Until = security.Sooner(denied.Until, allowed.Until)
	v.Volatile = denied.Volatile || allowed.Volatile
	v.Scope = security.Narrower(denied.Scope(), allowed.Scope())
	return v
}

// verdict is what the rule of an answer says.
func (p *Policy) verdict(a rule.Answer) security.Verdict {
	v := security.Verdict{
		Effect: a.Rule.Effect, Policy: p.name, File: a.Rule.File, Line: a.Rule.Line, Rule: a.Rule.Text,
		Until: a.Until, Volatile: a.Volatile, Scope: a.Scope(),
	}
	if a.More > 0 {
		v.Rule += fmt.Sprintf(" (and %d more together)", a.More)
	}
	if a.Err != nil {
		v.Rule += ": " + a.Err.Error()
	}
	return v
}

// silence says why nothing matched. Its line is where the user stands in the
// file, 0 if it doesn't.
func (p *Policy) silence(q *security.Request) security.Verdict {
	v := security.Verdict{Policy: p.name, File: p.file, Rule: saysNoMatch}
	switch {
	case q.Action == security.Connect && p.needsConnect:
		v.Rule = saysNoConnect
	case q.Action == security.Connect:
		v.Rule = saysConnect
	case q.Action == security.Subscribe:
		v.Rule = saysNoCover
	}
	if u := p.user(q.Principal); u != nil {
		v.Line = u.line
	}
	return v
}

// user is a principal's entry in the file, nil if it has none. Anonymous is no user.
func (p *Policy) user(pr *security.Principal) *userRules {
	if pr.Name == "" {
		return nil
	}
	return p.users[pr.Name]
}

// sets gathers the rules of a principal, in the order everyone, user, groups,
// roles, each once. The result is in buf or must not be changed.
func (p *Policy) sets(pr *security.Principal, buf []*rule.Set) []*rule.Set {
	u := p.user(pr)
	if len(pr.Groups) == 0 && len(pr.Roles) == 0 {
		if u == nil {
			return p.everyone
		}
		return u.sets
	}
	if u == nil {
		u = &userRules{}
	}
	buf = append(buf, p.everyone...)
	buf = with(buf, u.own)
	for _, g := range u.groups {
		buf = with(buf, g.own)
	}
	for _, name := range pr.Groups {
		if g, known := p.groups[name]; known {
			buf = with(buf, g.own)
		}
	}
	buf = with(buf, u.roles...)
	for _, g := range u.groups {
		buf = with(buf, g.roles...)
	}
	for _, name := range pr.Groups {
		if g, known := p.groups[name]; known {
			buf = with(buf, g.roles...)
		}
	}
	for _, name := range pr.Roles {
		buf = with(buf, p.roles[name])
	}
	return buf
}

// with appends the sets that hold something and are not there yet.
func with(sets []*rule.Set, more ...*rule.Set) []*rule.Set {
	for _, s := range more {
		if s != nil && !slices.Contains(sets, s) {
			sets = append(sets, s)
		}
	}
	return sets
}

// Admit refuses a principal for whom a deny rule of its can't be expanded: what
// the rule was to deny could not be told. The error names rule and value.
func (p *Policy) Admit(pr *security.Principal) error { return rule.Admit(pr, p.sets(pr, nil)...) }

// NeedsConnect reports whether a client connects only where a rule says so.
func (p *Policy) NeedsConnect() bool { return p.needsConnect }

// Filters returns the topic filters that the file's rules have for a principal,
// each once.
func (p *Policy) Filters(pr *security.Principal) []string {
	var out []string
	seen := map[string]bool{}
	for _, s := range p.sets(pr, nil) {
		for _, r := range s.Rules() {
			for _, filter := range r.Filters(pr) {
				if !seen[filter] {
					seen[filter] = true
					out = append(out, filter)
				}
			}
		}
	}
	return out
}

// Name is the policy's name in the configuration.
func (p *Policy) Name() string { return p.name }

// Rules is the number of permissions in the file.
func (p *Policy) Rules() int { return p.count }

// Warnings is what the caller should log.
func (p *Policy) Warnings() []Warning { return p.warnings }
