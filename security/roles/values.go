package roles

import (
	"fmt"
	"slices"

	"sallyport/security/rule"
)

// Compile makes the policy of roles that stand in no file: their rules by name, and
// the names of the roles that each group has. A role or group that is not there grants
// nothing. File and line of the rules are not looked at: reasons name the role, as in
// "role operators, permission 3".
func Compile(name string, roles map[string][]rule.Rule, groups map[string][]string) *Policy {
	p := &Policy{name: name, unfiled: true, groups: make(map[string]*groupRules, len(groups)), roles: make(map[string]*rule.Set, len(roles))}
	for role, rules := range roles {
		p.count += len(rules)
		p.roles[role] = unfiled(role, rules)
	}
	for group, names := range groups {
		g := &groupRules{}
		for _, n := range names {
			g.roles = with(g.roles, p.roles[n])
		}
		p.groups[group] = g
	}
	return p
}

// unfiled is the rules of one role, each with its place; nil if there are none.
func unfiled(role string, rules []rule.Rule) *rule.Set {
	if len(rules) == 0 {
		return nil
	}
	rules = slices.Clone(rules)
	for i := range rules {
		rules[i].File, rules[i].Line = fmt.Sprintf("role %s, permission %d", role, i+1), 0
	}
	return rule.NewSet(rules)
}
