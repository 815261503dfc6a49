// Package roles is Sallyport's own policy language: the permission file. It
// hides the file's form, roles, placeholders, and how rules add up.
//
// Words: a permission is one allow or deny for a topic pattern with conditions.
// A role is a named list of them. The permissions of a principal are those of
// everyone, of its user, of the user's roles, and of the roles that its
// authenticator gave it.
//
// Invariants, whatever the order in the file:
//   - A matching deny beats every allow. Nothing matching is silence, which the
//     Gate takes as deny.
//   - A subscription is allowed only if allow rules cover all of it: every name
//     that its filter matches.
//   - To deny subscribing is to deny receiving. A deny that covers a filter
//     refuses the subscription; one that merely overlaps withholds messages at
//     delivery.
//   - An allow rule whose placeholder has no usable value does not match; a
//     deny rule in that case refuses the connection (Admit), and everything
//     that it could have denied.
package roles

import (
	"fmt"
	"strconv"
	"strings"

	"sallyport/security"
	"sallyport/topic"
)

// Policy is a compiled permission file: immutable and safe for concurrent use.
type Policy struct {
	name     string
	file     string
	everyone *ruleSet
	users    map[string][]*ruleSet // a user's own rules, and those of its roles
	roles    map[string]*ruleSet
	count    int
	warnings []Warning
}

// ruleSet is rules by effect; within one, their order is without meaning.
type ruleSet struct {
	denies, allows []*rule
}

func (s *ruleSet) add(r *rule) {
	if r.effect == security.Deny {
		s.denies = append(s.denies, r)
	} else {
		s.allows = append(s.allows, r)
	}
}

// actions is a set of what a rule speaks about.
type actions uint8

const (
	publishing actions = 1 << iota
	subscribing
)

// condition is what a rule asks of a yes-or-no property.
type condition uint8

const (
	either condition = iota
	required
	forbidden
)

func (c condition) fits(is bool) bool { return c == either || (c == required) == is }

// anyGroup as a rule's group fits every shared subscription.
const anyGroup = "#"

// rule is one compiled permission.
type rule struct {
	effect  security.Effect
	actions actions
	pattern topic.Pattern
	literal string // the filter, if the pattern has no placeholder
	qos     uint8  // a bit for each QoS
	retain  condition
	shared  condition
	group   string
	line    int
	text    string
}

// filter is the rule's topic filter for a principal.
func (r *rule) filter(p *security.Principal) (string, error) {
	if r.literal != "" {
		return r.literal, nil
	}
	return r.pattern.Expand(func(name string) (string, bool) { return value(p, name) })
}

// value is what a placeholder stands for.
func value(p *security.Principal, name string) (string, bool) {
	switch name {
	case topic.ClientID:
		return p.ClientID, true
	case topic.Username:
		return p.Username, p.Username != ""
	}
	return "", false
}

// fits reports whether the rule speaks about q, its topic aside.
func (r *rule) fits(q *security.Request) bool {
	switch q.Action {
	case security.Publish:
		return r.actions&publishing != 0 && r.hasQoS(q.QoS) && r.retain.fits(q.Retain)
	case security.Subscribe:
		return r.actions&subscribing != 0 && r.hasQoS(q.QoS) && r.shared.fits(q.Shared) && r.fitsGroup(q)
	case security.Receive:
		if r.actions&subscribing == 0 {
			return false
		}
		if r.effect == security.Deny {
			// How the subscription came about is not known at delivery: a deny that
			// asks for it has refused every subscription that it overlaps.
			return r.hasQoS(q.QoS) && !r.aboutSharing()
		}
		// A subscription at QoS 2 brings messages of a lower QoS too (MQTT 5.0, 3.8.4).
		return q.QoS <= 2 && r.qos>>q.QoS != 0
	}
	return false
}

func (r *rule) hasQoS(qos byte) bool { return qos <= 2 && r.qos&(1<<qos) != 0 }

func (r *rule) fitsGroup(q *security.Request) bool {
	return !q.Shared || r.group == "" || r.group == anyGroup || r.group == q.Group
}

// aboutSharing reports whether the rule asks how a topic is subscribed to.
func (r *rule) aboutSharing() bool {
	return r.shared != either || r.group != "" && r.group != anyGroup
}

// Decide judges q by the file. Connections are not its matter: see Admit.
func (p *Policy) Decide(q *security.Request) security.Verdict {
	if q.Principal == nil {
		return security.Verdict{Effect: security.Deny, Policy: p.name, File: p.file, Rule: "nobody asked"}
	}
	if q.Action == security.Connect {
		return p.silent("connections are not judged by permissions")
	}
	var buf [8]*ruleSet
	sets := p.sets(q.Principal, buf[:0])
	if v := p.denied(q, sets); v.Effect == security.Deny {
		return v
	}
	if q.Action == security.Subscribe {
		return p.covered(q, sets)
	}
	for _, s := range sets {
		for _, r := range s.allows {
			if !r.fits(q) {
				continue
			}
			if filter, err := r.filter(q.Principal); err == nil && topic.Match(filter, q.Topic) {
				return p.verdict(r)
			}
		}
	}
	return p.silent("no permission matches")
}

// denied is the verdict of the first deny rule that matches, else silence.
func (p *Policy) denied(q *security.Request, sets []*ruleSet) security.Verdict {
	for _, s := range sets {
		for _, r := range s.denies {
			if !r.fits(q) {
				continue
			}
			filter, err := r.filter(q.Principal)
			if err != nil {
				v := p.verdict(r)
				v.Rule += ": " + err.Error()
				return v
			}
			if r.hits(filter, q) {
				return p.verdict(r)
			}
		}
	}
	return security.Verdict{}
}

// hits reports whether a deny rule, whose filter is given, refuses q.
func (r *rule) hits(filter string, q *security.Request) bool {
	if q.Action != security.Subscribe {
		return topic.Match(filter, q.Topic)
	}
	if r.aboutSharing() {
		return topic.Overlaps(filter, q.Topic)
	}
	return topic.Covers(filter, q.Topic)
}

// covered judges a subscription by the allow rules: one that covers it, or all
// that fit together.
func (p *Policy) covered(q *security.Request, sets []*ruleSet) security.Verdict {
	var filters []string
	var first *rule
	for _, s := range sets {
		for _, r := range s.allows {
			if !r.fits(q) {
				continue
			}
			filter, err := r.filter(q.Principal)
			if err != nil {
				continue
			}
			if topic.Covers(filter, q.Topic) {
				return p.verdict(r)
			}
			if topic.Overlaps(filter, q.Topic) {
				filters = append(filters, filter)
				if first == nil {
					first = r
				}
			}
		}
	}
	if len(filters) > 1 && topic.CoveredBy(q.Topic, filters) {
		v := p.verdict(first)
		v.Rule += fmt.Sprintf(" (and %d more together)", len(filters)-1)
		return v
	}
	return p.silent("no permission covers the filter")
}

// sets gathers the rules of a principal.
func (p *Policy) sets(pr *security.Principal, buf []*ruleSet) []*ruleSet {
	buf = append(buf, p.everyone)
	if pr.Name != "" { // anonymous is no user
		buf = append(buf, p.users[pr.Name]...)
	}
	for _, name := range pr.Roles {
		if s, ok := p.roles[name]; ok {
			buf = append(buf, s)
		}
	}
	return buf
}

// Admit refuses a principal for whom a deny rule of its can't be expanded: what
// the rule was to deny could not be told. The error names rule and value.
func (p *Policy) Admit(pr *security.Principal) error {
	for _, s := range p.sets(pr, nil) {
		for _, r := range s.denies {
			if _, err := r.filter(pr); err != nil {
				return fmt.Errorf("%s:%d: %s: %w (%s)", p.file, r.line, r.text, err, placeholderValues(r, pr))
			}
		}
	}
	return nil
}

// placeholderValues shows what a rule's placeholders stand for, bounded and quoted.
func placeholderValues(r *rule, pr *security.Principal) string {
	var shown []string
	for _, name := range r.pattern.Names() {
		v, ok := value(pr, name)
		if !ok {
			shown = append(shown, name+" absent")
			continue
		}
		if len(v) > 64 {
			v = v[:64]
		}
		shown = append(shown, name+" "+strconv.Quote(v))
	}
	return strings.Join(shown, ", ")
}

func (p *Policy) verdict(r *rule) security.Verdict {
	return security.Verdict{Effect: r.effect, Policy: p.name, File: p.file, Line: r.line, Rule: r.text}
}

func (p *Policy) silent(why string) security.Verdict {
	return security.Verdict{Effect: security.Silent, Policy: p.name, File: p.file, Rule: why}
}

// Name is the policy's name in the configuration.
func (p *Policy) Name() string { return p.name }

// Rules is the number of permissions in the file.
func (p *Policy) Rules() int { return p.count }

// Warnings is what the caller should log.
func (p *Policy) Warnings() []Warning { return p.warnings }
