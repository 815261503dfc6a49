package roles

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sallyport/security"
	"sallyport/security/rule"
	"sallyport/topic"
)

// Each sentence of allowances and refusals is a change that suffices.

// allowances says what would have q allowed: a request that a rule waits for, or
// what to change in the file.
func (e *explainer) allowances() []string {
	denies := append(e.matching(security.Deny), e.untellable...)
	if len(denies) > 0 {
		change := e.remove(denies)
		if !e.silenceAdmits() && rule.Allow(e.q, e.sets...).Rule == nil {
			add := e.add(security.Allow)
			if add == "" {
				return nil
			}
			change += ", and " + add
		}
		return []string{change}
	}
	out := e.nearMisses()
	if add := e.add(security.Allow); add != "" {
		out = append(out, add)
	}
	return out
}

// refusals says what would have q refused.
func (e *explainer) refusals() []string {
	var out []string
	if add := e.add(security.Deny); add != "" {
		out = append(out, add)
	}
	if !e.silenceAdmits() {
		out = append(out, e.remove(e.allowing()))
	}
	return out
}

// shownRules bounds how many rules a sentence names.
const shownRules = 20

// remove names rules that all have to go, each place once.
func (e *explainer) remove(rules []*rule.Rule) string {
	var places []string
	seen := map[string]bool{}
	for _, r := range rules {
		if at := place(r); !seen[at] {
			seen[at] = true
			places = append(places, fmt.Sprintf("%s (%s)", at, r.Text))
		}
	}
	if n := len(places); n > shownRules {
		places = append(places[:shownRules], fmt.Sprintf("%d more", n-shownRules))
	}
	return "remove or narrow " + strings.Join(places, " and ")
}

// place is where a rule stands.
func place(r *rule.Rule) string {
	if r.Line == 0 {
		return r.File
	}
	return r.File + ":" + strconv.Itoa(r.Line)
}

// add is the permission to add and where, as it stands in a file; empty if no
// permission can say it.
func (e *explainer) add(effect security.Effect) string {
	text, ok := e.permissionFor(effect)
	if !ok {
		return ""
	}
	pr := e.q.Principal
	switch {
	case e.unfiled:
		return e.addToRole(text)
	case pr.Name == "":
		return fmt.Sprintf("add under everyone in %s: - %s", e.file, text)
	case e.user(pr) != nil:
		return fmt.Sprintf("add under users.%s.permissions in %s: - %s", pr.Name, e.file, text)
	}
	return fmt.Sprintf("add under users in %s: %s: {permissions: [%s]}", e.file, strconv.Quote(pr.Name), text)
}

// addToRole is where the permission goes that stands in no file: to the last role
// that the principal has, which is most its own.
func (e *explainer) addToRole(text string) string {
	if e.q.Action == security.Connect {
		return "" // no role is about connections
	}
	for _, name := range slices.Backward(e.q.Principal.Roles) {
		if _, known := e.roles[name]; known {
			return fmt.Sprintf("add to role %s: %s", name, text)
		}
	}
	return "give it a role that has " + text
}

// permissionFor writes the smallest permission that decides q, and reads it
// again: ok is false if it does not say what is wanted.
func (e *explainer) permissionFor(effect security.Effect) (text string, ok bool) {
	q := e.q
	word := q.Action.String()
	if effect == security.Deny && q.Action == security.Publish {
		switch {
		case q.Will:
			word = "will"
		case q.Retain:
			word = "retain"
		}
	}
	text = fmt.Sprintf("{%s: %s", effect, word)
	if q.Action == security.Connect {
		text += e.whose()
	} else {
		text += ", topic: " + strconv.Quote(writable(q.Topic))
	}
	if q.Shared && (q.Action == security.Subscribe || q.Action == security.Receive) {
		text += ", group: " + strconv.Quote(q.Group)
	}
	text += "}"
	p, err := Parse(Options{Path: e.file}, []byte("everyone:\n  - "+text+"\n"))
	if err != nil {
		return "", false
	}
	return text, p.Decide(q).Effect == effect
}

// whose narrows a permission for connecting to an anonymous client, which
// otherwise would be everyone's.
func (e *explainer) whose() (text string) {
	pr := e.q.Principal
	if pr.Name != "" {
		return ""
	}
	if pr.Addr.IsValid() {
		text = ", from: " + strconv.Quote(pr.Addr.Addr().Unmap().WithZone("").String())
	}
	if pr.Listener != "" {
		text += ", listener: " + strconv.Quote(pr.Listener)
	}
	return text
}

// writable is a topic as the file can hold it: a level that would be read as a
// placeholder becomes +.
func writable(name string) string {
	if p, err := topic.ParsePattern(name, topic.Dollar); err == nil {
		if filter, literal := p.Literal(); literal && filter == name {
			return name
		}
	}
	parts := strings.Split(name, "/")
	for i, level := range parts {
		if strings.Contains(level, "${") {
			parts[i] = "+"
		}
	}
	return strings.Join(parts, "/")
}
