package roles

import (
	"fmt"
	"maps"
	"slices"

	"sallyport/config"
	"sallyport/security/rule"
)

// compiler turns a document into a Policy and collects what is wrong with it.
type compiler struct {
	file     string
	doc      *document
	problems config.Problems
	count    int
	// conditions remembers expressions that were compiled, since many permissions
	// have the same one.
	conditions map[string]compiled
	language   rule.Language
}

type compiled struct {
	expr *rule.Expr
	err  error
}

func (c *compiler) complain(at config.Pos, key, format string, args ...any) {
	if c.problems.Full() {
		return
	}
	c.problems = append(c.problems, config.Problem{
		File: c.file, Line: at.Line, Column: at.Column, Key: key, Text: fmt.Sprintf(format, args...),
	})
}

// compile compiles roles, then the groups and users that name them.
func (c *compiler) compile() *Policy {
	p := &Policy{
		file: c.file, needsConnect: c.doc.Defaults.Connect == "deny",
		users: map[string]*userRules{}, groups: map[string]*groupRules{}, roles: map[string]*rule.Set{},
	}
	p.everyone = with(nil, c.set("everyone", c.doc.Everyone))
	for _, name := range slices.Sorted(maps.Keys(c.doc.Roles)) {
		r := c.doc.Roles[name]
		if name == "" {
			c.complain(r.Pos, "roles", "a role needs a name")
		}
		p.roles[name] = c.set("roles."+name+".permissions", r.Value.Permissions)
	}
	for _, name := range slices.Sorted(maps.Keys(c.doc.Groups)) {
		g := c.doc.Groups[name]
		if name == "" {
			c.complain(g.Pos, "groups", "a group needs a name")
		}
		key := "groups." + name
		p.groups[name] = &groupRules{
			own:   c.set(key+".permissions", g.Value.Permissions),
			roles: named(c, key+".roles", "role", g.Value.Roles, p.roles),
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.doc.Users)) {
		if name == "" {
			c.complain(c.doc.Users[name].Pos, "users", "a user needs a name; what anonymous clients may do stands under everyone")
		}
		p.users[name] = c.user(p, name, c.doc.Users[name])
	}
	p.count = c.count
	return p
}

func (c *compiler) user(p *Policy, name string, l config.Named[userEntry]) *userRules {
	key := "users." + name
	u := &userRules{
		line:   l.Line,
		own:    c.set(key+".permissions", l.Value.Permissions),
		groups: named(c, key+".groups", "group", l.Value.Groups, p.groups),
		roles:  named(c, key+".roles", "role", l.Value.Roles, p.roles),
	}
	u.sets = with(slices.Clone(p.everyone), u.own)
	for _, g := range u.groups {
		u.sets = with(u.sets, g.own)
	}
	u.sets = with(u.sets, u.roles...)
	for _, g := range u.groups {
		u.sets = with(u.sets, g.roles...)
	}
	u.sets = slices.Clip(u.sets)
	return u
}

// named looks up the roles or groups that stand under key.
func named[T any](c *compiler, key, kind string, names []located, known map[string]T) []T {
	var out []T
	seen := map[string]bool{}
	for i, n := range names {
		it, ok := known[n.Value]
		switch {
		case !ok:
			c.complain(n.Pos, nth(key, i, len(names)), "there is no %s %q", kind, n.Value)
		case seen[n.Value]:
			c.complain(n.Pos, nth(key, i, len(names)), "%s %q is already there", kind, n.Value)
		default:
			out = append(out, it)
		}
		seen[n.Value] = true
	}
	return out
}

// set compiles the list of permissions that stands under key; nil if it is empty.
func (c *compiler) set(key string, list []config.Located[permission]) *rule.Set {
	var rules []rule.Rule
	for i, l := range list {
		rules = append(rules, c.permission(fmt.Sprintf("%s[%d]", key, i), l)...)
	}
	c.count += len(list)
	if len(rules) == 0 {
		return nil
	}
	return rule.NewSet(slices.Clip(rules))
}
