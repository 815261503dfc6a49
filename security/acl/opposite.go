package acl

import (
	"fmt"
	"strings"

	"sallyport/internal/text"
	"sallyport/security"
	"sallyport/security/rule"
)

// opposite says what to write into the file, or to take out of it, so that the
// answer to q becomes the other one: the smallest change first, each complete in
// itself. There is none where no line can change the answer.
func (p *Policy) opposite(q *security.Request, v security.Verdict) []string {
	switch {
	case q.Action == security.Connect:
		return p.unadmitted(q.Principal)
	case q.Action == security.Subscribe && !p.strict:
		return p.stricter(q)
	case !p.listed(q):
		return nil
	case v.Allowed():
		return p.towardsDeny(q)
	}
	return p.towardsAllow(q)
}

// towardsDeny: a deny of the own list is asked before all else.
func (p *Policy) towardsDeny(q *security.Request) (out []string) {
	if line, can := p.line(q, "deny"); can {
		out = append(out, line)
	}
	if q.Action == security.Subscribe {
		return out // grants may cover it together in many ways
	}
	grants := matching(q, p.own(q.Principal), security.Allow)
	if !dangerous(q.Principal) && rule.Deny(q, p.patterns).Rule == nil {
		grants = append(grants, matching(q, p.patterns, security.Allow)...)
	}
	if advice, can := p.without(grants); can {
		out = append(out, advice)
	}
	return out
}

// towardsAllow: an own grant beats all but an own deny.
func (p *Policy) towardsAllow(q *security.Request) (out []string) {
	own := p.own(q.Principal)
	denies := matching(q, own, security.Deny)
	patternDenies := matching(q, p.patterns, security.Deny)
	byPattern := !dangerous(q.Principal) && rule.Allow(q, own, p.patterns).Rule != nil
	line, can := p.line(q, "read")
	if q.Action == security.Publish {
		line, can = p.line(q, "write")
	}
	removed, few := "", true
	if len(denies) > 0 {
		removed, few = p.without(denies)
	}
	granted := rule.Allow(q, own).Rule != nil || byPattern && len(patternDenies) == 0
	switch {
	case !few:
	case granted:
		out = append(out, removed)
	case can && removed != "":
		out = append(out, removed+", and "+line)
	case can:
		out = append(out, line)
	}
	if byPattern && len(patternDenies) > 0 && !granted {
		if advice, few := p.without(append(denies, patternDenies...)); few {
			out = append(out, advice)
		}
	}
	return out
}

// stricter is for a subscription, which acl_file allows as such.
func (p *Policy) stricter(q *security.Request) []string {
	const judge = "set strict: true for this policy, in a native configuration"
	judged := *p
	judged.strict = true
	if !judged.judge(q).Allowed() {
		return []string{judge}
	}
	if line, can := p.line(q, "deny"); can {
		return []string{judge + ", and " + line}
	}
	return nil
}

// unadmitted is for a connection, which only a deny pattern that can't be told refuses.
func (p *Policy) unadmitted(pr *security.Principal) []string {
	untold, _ := p.untold(pr)
	if advice, few := p.without(untold); few {
		return []string{advice}
	}
	return nil
}

// untold is the deny patterns for which Admit refuses a principal, and what each says.
func (p *Policy) untold(pr *security.Principal) (untold []*rule.Rule, steps []security.Step) {
	if dangerous(pr) {
		return nil, nil
	}
	rules := p.patterns.Rules()
	for i := range rules {
		if step, is := rules[i].Untold(pr); is {
			step.Decides = len(untold) == 0
			untold, steps = append(untold, &rules[i]), append(steps, step)
		}
	}
	return untold, steps
}

// matching is the rules of a set with an effect that match q, each by itself.
func matching(q *security.Request, set *rule.Set, effect security.Effect) (out []*rule.Rule) {
	rules := set.Rules()
	for i := range rules {
		r := &rules[i]
		if r.Effect == effect && r.Says(q).Matches {
			out = append(out, r)
		}
	}
	return out
}

// without is the advice to take lines out. few is false where they are too many
// to be told, or none.
func (p *Policy) without(rules []*rule.Rule) (advice string, few bool) {
	if len(rules) == 0 || len(rules) > maxLines {
		return "", false
	}
	var b strings.Builder
	for i, r := range rules {
		switch {
		case i == 0:
			b.WriteString("take out ")
		case i == len(rules)-1:
			b.WriteString(" and ")
		default:
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s:%d (%s)", r.File, r.Line, r.Text)
	}
	return b.String(), true
}

// line is the advice to add a line about the topic of q to the own list. can is
// false where an acl_file can't say it: its lines lose blanks at their end.
func (p *Policy) line(q *security.Request, access string) (advice string, can bool) {
	user := q.Principal.Name
	if !writable(q.Topic) || user != "" && !writable(user) {
		return "", false
	}
	under := `before the first "user" line of ` + p.file
	switch {
	case user == "":
	case p.users[user] == nil:
		under = fmt.Sprintf(`at the end of %s under a new line "user %s"`, p.file, user)
	default:
		under = fmt.Sprintf(`in %s under "user %s"`, p.file, user)
	}
	return fmt.Sprintf("%s add: topic %s %s", under, access, q.Topic), true
}

// writable reports whether s stands in a line as it is, and can be shown.
func writable(s string) bool {
	return s != "" && len(s) <= maxLine-64 && strings.Trim(s, space) == s && text.Clean(s)
}
