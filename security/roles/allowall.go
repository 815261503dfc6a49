package roles

import "sallyport/security"

// AllowAll is a policy that allows everything, named so that logs, checks and
// metrics show that it is there. What the broker keeps for itself ($SYS) the
// Gate refuses before any policy is asked.
func AllowAll(name string) security.Policy { return allowAll{name} }

type allowAll struct{ name string }

// Decide allows q.
func (a allowAll) Decide(q *security.Request) security.Verdict {
	if q.Principal == nil {
		return security.Verdict{Effect: security.Deny, Policy: a.name, Rule: "nobody asked"}
	}
	return security.Verdict{Effect: security.Allow, Policy: a.name, Rule: "allow_all", Scope: 1}
}

// Filters is every topic.
func (a allowAll) Filters(*security.Principal) []string { return []string{"#"} }
