package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sallyport/security"
	"sallyport/security/rule"
	"sallyport/topic"
)

// maxPermissions bounds the rules that a claim makes.
const maxPermissions = 128

// compile reads a claim of permissions. Its errors hold no value.
func compile(v any) ([]step, error) {
	switch v := v.(type) {
	case []any:
		return compileList(v)
	case map[string]any:
		return compileLists(v)
	}
	return nil, errors.New("permissions are neither a list nor an object")
}

// draft is a permission that was read.
type draft struct {
	rule.Rule
	exact string
}

// compileList reads a list, whose first element says in which of the two forms it is.
func compileList(list []any) ([]step, error) {
	if len(list) > maxPermissions {
		return nil, fmt.Errorf("more than %d permissions", maxPermissions)
	}
	ordered := false
	if len(list) > 0 {
		first, _ := list[0].(map[string]any)
		_, ordered = first["permission"]
	}
	var all []draft
	for i, e := range list {
		o, ok := e.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("permission %d is no object", i+1)
		}
		some, err := readPermission(o, ordered)
		if err != nil {
			return nil, fmt.Errorf("permission %d: %w", i+1, err)
		}
		if all = append(all, some...); len(all) > maxPermissions {
			return nil, fmt.Errorf("more than %d permissions", maxPermissions)
		}
	}
	if !ordered {
		slices.SortStableFunc(all, func(a, b draft) int { return int(b.Effect) - int(a.Effect) }) // denies first
	}
	return steps(all), nil
}

// steps puts neighbours of one effect together.
func steps(all []draft) (out []step) {
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[0].exact == "" && all[n].exact == "" && all[n].Effect == all[0].Effect {
			n++
		}
		rules := make([]rule.Rule, n)
		for i := range rules {
			rules[i] = all[i].Rule
		}
		out = append(out, step{effect: all[0].Effect, set: rule.NewSet(rules), exact: all[0].exact})
		all = all[n:]
	}
	return out
}

// compileLists reads {"pub": [...], "sub": [...], "all": [...]}.
func compileLists(o map[string]any) ([]step, error) {
	for name := range o {
		if name != "pub" && name != "sub" && name != "all" {
			return nil, errors.New("of lists there are pub, sub and all")
		}
	}
	var all []draft
	for _, name := range []string{"pub", "sub", "all"} {
		filters, err := texts(o[name])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		for _, f := range filters {
			d, err := newDraft(security.Allow, actions[name], f, true)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			if all = append(all, d); len(all) > maxPermissions {
				return nil, fmt.Errorf("more than %d permissions", maxPermissions)
			}
			all[len(all)-1].describe(name)
		}
	}
	return steps(all), nil
}

// actions is what actions are called. To publish includes retained messages and wills,
// to subscribe includes to receive.
var actions = map[string]rule.Actions{
	"publish": rule.Publish, "subscribe": rule.Subscribe, "all": rule.Publish | rule.Subscribe,
	"pub": rule.Publish, "sub": rule.Subscribe,
}

// readPermission reads one element of a list. A key that is not known refuses: it may
// be a condition.
func readPermission(o map[string]any, ordered bool) ([]draft, error) {
	effectKey := "effect"
	if ordered {
		effectKey = "permission"
	}
	for k := range o {
		if !slices.Contains([]string{effectKey, "action", "topic", "qos", "retain"}, k) {
			return nil, fmt.Errorf("there are the keys %s, action, topic, qos and retain", effectKey)
		}
	}
	var effect security.Effect
	switch o[effectKey] {
	case "allow":
		effect = security.Allow
	case "deny":
		effect = security.Deny
	default:
		return nil, fmt.Errorf("%s is neither allow nor deny", effectKey)
	}
	action, _ := o["action"].(string)
	if action != "publish" && action != "subscribe" && action != "all" {
		return nil, errors.New("action is none of publish, subscribe and all")
	}
	filters, err := texts(o["topic"])
	if err != nil || len(filters) == 0 {
		return nil, errors.New("topic is neither a text nor a list of some")
	}
	levels, err := readQoS(o["qos"])
	if err != nil {
		return nil, err
	}
	retain, err := readRetain(o["retain"])
	if err != nil {
		return nil, err
	}
	var out []draft
	for _, f := range filters {
		d, err := newDraft(effect, actions[action], f, ordered)
		if err != nil {
			return nil, err
		}
		d.QoS, d.Retain = levels, retain
		d.describe(action)
		if d.exact != "" && d.Actions&rule.Subscribe == 0 {
			continue // nothing is published to a filter with wildcards
		}
		out = append(out, d)
	}
	return out, nil
}

// newDraft makes a rule for one topic; foreign says that it is spelled as EMQX does.
func newDraft(effect security.Effect, acts rule.Actions, filter string, foreign bool) (draft, error) {
	d := draft{Rule: rule.Rule{Effect: effect, Actions: acts}}
	syntax := topic.Dollar
	if literal, ok := strings.CutPrefix(filter, "eq "); ok && foreign {
		if strings.Contains(literal, "${") || strings.Contains(literal, "%") {
			return d, errors.New("topic: a literal one has no placeholders")
		}
		if filter = literal; strings.ContainsAny(filter, "+#") {
			d.exact = filter
		}
	} else if foreign && strings.Contains(filter, "%") {
		syntax = topic.Percent
		if strings.Contains(filter, "${") { // one of them would be taken by the letter
			return d, errors.New("topic: has placeholders of both spellings")
		}
	}
	if _, _, shared, err := topic.SplitShare(filter); shared || err != nil {
		return d, errors.New("topic: is written without $share")
	}
	p, err := topic.ParsePattern(filter, syntax)
	if err != nil {
		return d, errors.New("topic: is no filter, or has a placeholder of no form that there is")
	}
	for _, name := range p.Names() {
		if rule.Known(name) != nil {
			return d, errors.New("topic: has a placeholder that there is not")
		}
	}
	d.Topic = p
	return d, nil
}

// describe writes the rule as verdicts show it.
func (d *draft) describe(action string) {
	d.Text = "token: " + d.Effect.String() + " " + action + " " + d.Topic.Text()
	if d.exact != "" {
		d.Text = "token: " + d.Effect.String() + " " + action + " eq " + d.exact
	}
	if d.QoS != 0 {
		d.Text += " qos"
		for q := range 3 {
			if d.QoS>>q&1 != 0 {
				d.Text += fmt.Sprintf(" %d", q)
			}
		}
	}
	switch d.Retain {
	case rule.Required:
		d.Text += " retain required"
	case rule.Forbidden:
		d.Text += " retain forbidden"
	}
}

// texts is a text, or a list of them; nil for nothing.
func texts(v any) ([]string, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		if len(v) > maxPermissions {
			return nil, fmt.Errorf("more than %d", maxPermissions)
		}
		all := make([]string, len(v))
		for i, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, errors.New("no list of texts")
			}
			all[i] = s
		}
		return all, nil
	}
	return nil, errors.New("neither a text nor a list of texts")
}

// readQoS is the set of levels; 0 is all.
func readQoS(v any) (set uint8, err error) {
	list, isList := v.([]any)
	switch {
	case v == nil:
		return 0, nil
	case !isList:
		list = []any{v}
	}
	for _, e := range list {
		q := -1
		switch e := e.(type) {
		case json.Number:
			q = slices.Index([]string{"0", "1", "2"}, e.String())
		case float64: // of claims that were stored
			if e == 0 || e == 1 || e == 2 {
				q = int(e)
			}
		}
		if q < 0 {
			return 0, errors.New("qos is none of 0, 1 and 2, and no list of some")
		}
		set |= 1 << q
	}
	if set == 0 {
		return 0, errors.New("qos is none of 0, 1 and 2, and no list of some")
	}
	if set == 0b111 {
		return 0, nil
	}
	return set, nil
}

// readRetain is whether a published message is a retained one, in the words of EMQX and
// of permission files.
func readRetain(v any) (rule.Tristate, error) {
	switch v {
	case nil, "all", "allowed":
		return rule.Either, nil
	case true, "required":
		return rule.Required, nil
	case false, "forbidden":
		return rule.Forbidden, nil
	}
	return rule.Either, errors.New("retain is neither a bool nor required, forbidden or all")
}
