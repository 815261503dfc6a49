package roles

import (
	"slices"

	"sallyport/security"
	"sallyport/security/rule"
)

// ShareNames returns the groups of shared subscriptions that the file's rules
// name for a principal, each once.
func (p *Policy) ShareNames(pr *security.Principal) []string {
	var out []string
	for _, s := range p.sets(pr, nil) {
		rules := s.Rules()
		for i := range rules {
			for _, g := range rules[i].Groups {
				if g != rule.AnyGroup && !slices.Contains(out, g) {
					out = append(out, g)
				}
			}
		}
	}
	return out
}

// ReadsRequests reports whether a rule for the principal has a condition in CEL,
// which may read the topic itself.
func (p *Policy) ReadsRequests(pr *security.Principal) bool {
	for _, s := range p.sets(pr, nil) {
		rules := s.Rules()
		for i := range rules {
			if rules[i].When != nil && rules[i].When.Expr != nil {
				return true
			}
		}
	}
	return false
}
