package sallyport

import (
	"maps"

	"sallyport/security"
	"sallyport/security/authn/accounts"
	"sallyport/security/roles"
	"sallyport/security/rule"
)

// accountPolicy is a policy of type accounts: it is made anew whenever roles change.
type accountPolicy interface {
	security.Policy
	anew(db *accounts.Database) security.Policy
}

// newAccountPolicy is the policy of the roles in db. Without a database, as in a check,
// nothing can be told.
func newAccountPolicy(name string, db *accounts.Database) security.Policy {
	if db == nil {
		return untoldRoles{name, "the roles are in the store of the running broker, which sallyport ctl explain asks"}
	}
	byRole := map[string][]rule.Rule{}
	for _, r := range db.Roles() {
		byRole[r.Name] = nil
		for _, p := range r.Permissions {
			compiled, err := p.Rule()
			if err != nil { // it was checked when it was made, perhaps by another version
				return untoldRoles{name, "role " + r.Name + " can't be read: " + err.Error()}
			}
			byRole[r.Name] = append(byRole[r.Name], compiled)
		}
	}
	byGroup := map[string][]string{}
	for _, g := range db.Groups() {
		byGroup[g.Name] = g.Roles
	}
	return accountRoles{roles.Compile(name, byRole, byGroup)}
}

// accountRoles is the roles of the account database as a policy.
type accountRoles struct{ *roles.Policy }

func (p accountRoles) anew(db *accounts.Database) security.Policy {
	return newAccountPolicy(p.Name(), db)
}

// untoldRoles denies everything: what the roles say is not known.
type untoldRoles struct{ name, why string }

// Name is the policy's name in the configuration.
func (p untoldRoles) Name() string { return p.name }

// Decide implements security.Policy.
func (p untoldRoles) Decide(*security.Request) security.Verdict {
	return security.Verdict{Effect: security.Deny, Policy: p.name, Rule: p.why}
}

func (p untoldRoles) anew(db *accounts.Database) security.Policy {
	return newAccountPolicy(p.name, db)
}

// reviewRoles puts the roles of now in force.
func (s *Server) reviewRoles() {
	s.ruling.Lock()
	defer s.ruling.Unlock()
	next, changed := s.withRoles(s.ruled)
	if !changed {
		return
	}
	s.swapRules(next)
	if len(next.Shadow) > 0 {
		s.gate.Shadow().Reset() // what was counted is about other rules
	}
}

// askAgain makes what was decided void, for whoever was not there to be renewed: those
// who published retained messages.
func (s *Server) askAgain() {
	s.ruling.Lock()
	defer s.ruling.Unlock()
	s.swapRules(&security.Ruleset{ByListener: s.ruled.ByListener, Shadow: s.ruled.Shadow, Downgrade: s.ruled.Downgrade})
}

// rule puts other rules in force, with the roles of now: those in rules may be older.
func (s *Server) rule(rules *security.Ruleset) {
	s.ruling.Lock()
	defer s.ruling.Unlock()
	next, _ := s.withRoles(rules)
	s.swapRules(next)
}

// swapRules is for who holds s.ruling.
func (s *Server) swapRules(rules *security.Ruleset) {
	s.gate.Swap(rules)
	s.ruled = rules
}

// withRoles is rules with their policies of type accounts made anew, each once; rules
// themselves if there are none.
func (s *Server) withRoles(rules *security.Ruleset) (next *security.Ruleset, changed bool) {
	made := map[string]security.Policy{}
	anew := func(lists map[string][]security.Policy) map[string][]security.Policy {
		out := maps.Clone(lists)
		for listener, list := range lists {
			copied := append([]security.Policy(nil), list...)
			for i, p := range list {
				old, is := p.(accountPolicy)
				if !is {
					continue
				}
				name := policyName(p)
				if made[name] == nil {
					made[name] = old.anew(s.accounts)
				}
				copied[i] = made[name]
			}
			out[listener] = copied
		}
		return out
	}
	next = &security.Ruleset{ByListener: anew(rules.ByListener), Shadow: anew(rules.Shadow), Downgrade: rules.Downgrade}
	if len(made) == 0 {
		return rules, false
	}
	return next, true
}

func policyName(p security.Policy) string {
	n, _ := p.(interface{ Name() string })
	if n == nil {
		return ""
	}
	return n.Name()
}
