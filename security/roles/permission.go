package roles

import (
	"errors"
	"fmt"
	"slices"

	"sallyport/config"
	"sallyport/security"
	"sallyport/security/rule"
	"sallyport/topic"
)

// The actions that retain, and that shared and group are about.
const (
	publishes  = rule.Publish | rule.Retain | rule.Will
	subscribes = rule.Subscribe | rule.Receive
)

// draft is one permission that is being compiled.
type draft struct {
	*compiler
	*permission
	key     string
	at      config.Pos
	effect  security.Effect
	words   []config.Located[verb]
	actions rule.Actions
}

// permission compiles one permission: a rule for each topic, and one for
// connecting, which has none. It is empty if something is wrong with it.
func (c *compiler) permission(key string, l config.Located[permission]) []rule.Rule {
	before := len(c.problems)
	d := &draft{compiler: c, permission: &l.Value, key: key, at: l.Pos}
	d.does()
	r := rule.Rule{Effect: d.effect, Actions: d.actions &^ rule.Connect, File: c.file, Line: l.Line}
	patterns := d.topics()
	r.QoS = d.qos()
	r.Retain = d.retained()
	r.Shared, r.Groups = d.shared()
	when := d.when()
	r.When = d.expression(when, r.Actions)
	var rules []rule.Rule
	for _, t := range patterns {
		r.Topic = t
		r.Text = d.describe(&r)
		rules = append(rules, r)
	}
	if d.actions&rule.Connect != 0 {
		r = rule.Rule{Effect: d.effect, Actions: rule.Connect, File: c.file, Line: l.Line}
		r.When = d.expression(when, rule.Connect)
		r.Text = d.describe(&r)
		rules = append(rules, r)
	}
	if len(c.problems) > before {
		return nil
	}
	return rules
}

// wrong complains about the value at pos of the permission's key.
func (d *draft) wrong(pos config.Pos, key, format string, args ...any) {
	d.complain(pos, d.key+"."+key, format, args...)
}

// does reads allow or deny.
func (d *draft) does() {
	d.effect, d.words = security.Allow, d.Allow
	if d.Deny != nil {
		d.effect, d.words = security.Deny, d.Deny
	}
	switch {
	case d.Allow != nil && d.Deny != nil:
		d.complain(d.at, d.key, "allow and deny can't stand in one permission")
	case d.words == nil:
		d.complain(d.at, d.key, "needs allow or deny")
	case len(d.words) == 0:
		d.complain(d.at, d.key, "names no action")
	}
	for _, w := range d.words {
		d.actions |= w.Value.actions
		if w.Value.actions == 0 { // could not be read: nothing follows from it
			d.actions = ^rule.Actions(0)
		}
	}
	if len(d.words) == 0 {
		d.actions = ^rule.Actions(0)
	}
}

// topics compiles the topics; there are none for connecting alone, and else at least one.
func (d *draft) topics() []topic.Pattern {
	if d.actions == rule.Connect {
		if d.Topic != nil {
			d.wrong(d.at, "topic", "is about messages, and this permission is not: a connection has no topic")
		}
		return nil
	}
	if len(d.Topic) == 0 {
		d.wrong(d.at, "topic", "%v", errNoTopic)
	}
	var out []topic.Pattern
	for i, t := range d.Topic {
		pattern, err := parseTopic(t.Value)
		if err != nil {
			d.wrong(t.Pos, nth("topic", i, len(d.Topic)), "%v", err)
			continue
		}
		out = append(out, pattern)
	}
	return out
}

var (
	errNoTopic  = errors.New("needs a topic filter; # is every topic that does not begin with $")
	errHasShare = errors.New("is written without $share; shared and group speak about shared subscriptions")
)

func parseTopic(text string) (topic.Pattern, error) {
	if text == "" {
		return topic.Pattern{}, errNoTopic
	}
	if _, _, isShared, err := topic.SplitShare(text); isShared || err != nil {
		return topic.Pattern{}, errHasShare
	}
	pattern, err := topic.ParsePattern(text, topic.Dollar)
	if err != nil {
		return topic.Pattern{}, err
	}
	for _, name := range pattern.Names() {
		if err := rule.Known(name); err != nil {
			return topic.Pattern{}, err
		}
	}
	return pattern, nil
}

// nth is the key of one value of several.
func nth(key string, i, of int) string {
	if of == 1 {
		return key
	}
	return fmt.Sprintf("%s[%d]", key, i)
}

// qos is the set of levels; 0 is all.
func (d *draft) qos() (set uint8) {
	switch {
	case d.QoS == nil:
		return 0
	case len(d.QoS) == 0:
		d.wrong(d.at, "qos", "names no QoS; leave it out for all")
	case d.actions == rule.Connect:
		d.wrong(d.at, "qos", "is about messages, and this permission is not")
	}
	for _, q := range d.QoS {
		set |= uint8(q)
	}
	if set == uint8(everyQoS) {
		return 0
	}
	return set
}

func (d *draft) retained() rule.Tristate {
	if d.Retain == nil {
		return rule.Either
	}
	is := d.Retain.Value.Tristate
	switch {
	case d.actions&publishes == 0:
		d.wrong(d.Retain.Pos, "retain", "is about published messages, and this permission is not")
	case d.actions&publishes == rule.Retain && is == rule.Forbidden:
		d.wrong(d.Retain.Pos, "retain", "can't be forbidden where the permission is about retained messages only")
	}
	return is
}

// shared is what shared, group and their default say about shared subscriptions.
func (d *draft) shared() (is rule.Tristate, groups []string) {
	if d.Shared != nil {
		is = d.Shared.Value.Tristate
		if d.actions&subscribes == 0 {
			d.wrong(d.Shared.Pos, "shared", "is about subscriptions, and this permission is not")
		}
	}
	if d.Group == nil {
		// A deny stays about shared subscriptions: the default must not open what is denied.
		if d.Shared == nil && d.doc.Defaults.Shared == "deny" && d.effect == security.Allow && d.actions&subscribes != 0 {
			is = rule.Forbidden
		}
		return is, nil
	}
	at := d.at
	for i, g := range d.Group {
		at = g.Pos
		if err := groupName(g.Value); err != nil {
			d.wrong(g.Pos, nth("group", i, len(d.Group)), "%v", err)
		}
		groups = append(groups, g.Value)
	}
	switch {
	case len(groups) == 0:
		d.wrong(at, "group", "names no group; # is any")
	case d.actions&subscribes == 0:
		d.wrong(at, "group", "is about subscriptions, and this permission is not")
	case is == rule.Forbidden:
		d.wrong(at, "group", "can't be named where shared is forbidden")
	case d.Shared == nil && !slices.Contains(groups, rule.AnyGroup):
		is = rule.Required
	}
	return is, groups
}

// when compiles the conditions but for the expression; nil if there are none.
func (d *draft) when() *rule.When {
	if d.From == nil && d.Listener == nil && d.TLS == nil && d.Time == nil {
		return nil
	}
	w := &rule.When{From: d.From}
	d.notEmpty("from", d.From != nil, len(d.From))
	d.notEmpty("listener", d.Listener != nil, len(d.Listener))
	d.notEmpty("time", d.Time != nil, len(d.Time))
	for i, l := range d.Listener {
		if l.Value == "" {
			d.wrong(l.Pos, nth("listener", i, len(d.Listener)), "must be the name of a listener")
		}
		w.Listeners = append(w.Listeners, l.Value)
	}
	if d.TLS != nil {
		w.TLS = d.TLS.Value.Tristate
	}
	for i, t := range d.Time {
		span, err := t.Value.compile()
		if err != nil {
			d.wrong(t.Pos, nth("time", i, len(d.Time)), "%v", err)
		}
		w.Windows = append(w.Windows, span)
	}
	return w
}

// notEmpty complains about an empty list, which could be taken for none or for all.
func (d *draft) notEmpty(key string, there bool, values int) {
	if there && values == 0 {
		d.wrong(d.at, key, "is empty; leave it out for any")
	}
}

// expression adds the expression, for a rule about actions, to the conditions in
// when; nil if there are no conditions at all.
func (d *draft) expression(when *rule.When, actions rule.Actions) *rule.When {
	if d.When == nil || actions == 0 {
		return when
	}
	known := fmt.Sprintf("%d %s", actions, d.When.Value)
	e, seen := d.conditions[known]
	if !seen {
		e.expr, e.err = d.language.Compile(d.When.Value, actions)
		d.conditions[known] = e
	}
	if e.err != nil {
		d.wrong(d.When.Pos, "when", "%v", e.err)
	}
	w := rule.When{Expr: e.expr}
	if when != nil {
		w = *when
		w.Expr = e.expr
	}
	return &w
}
