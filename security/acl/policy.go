// Package acl is Mosquitto's acl_file. It hides the file's form and its order
// of evaluation, which is not the one that Sallyport's own permissions have.
//
// A client has the list of its user, or, without a user name, the list that
// stands before the first user line. A message is judged by:
//
//  1. the deny entries of that list,
//  2. its grants that have the needed access (so that a grant of the user beats
//     a pattern's deny),
//  3. refused, if there are patterns and the user name or client id holds + or #,
//  4. the deny patterns,
//  5. the granting patterns.
//
// Nothing matching is silence, which the Gate takes as deny. SUBSCRIBE is
// always allowed, since acl_file judges reading at delivery; Strict refuses a
// subscription that the file does not grant as a whole: the same stages, where a
// deny counts if it covers all of the filter, and grants may cover it together.
//
// Explain tells what each line says in that order, and what to write for the
// opposite answer: an own grant or an own deny, since those come first.
//
// Where Mosquitto's versions differ or are insecure by accident, the safer
// reading holds: %c and %u are placeholders as a whole level only (2.1), and a
// value that is not exactly one level matches no grant; a deny pattern that
// can't be told for a client refuses its connection; a file without entries
// allows nothing.
package acl

import (
	"strconv"
	"strings"

	"sallyport/security"
	"sallyport/security/rule"
	"sallyport/topic"
)

// Policy is a compiled acl_file: immutable and safe for concurrent use. Each
// list is one Set, in the order of the file.
type Policy struct {
	name      string
	file      string
	strict    bool
	anonymous *rule.Set
	users     map[string]*rule.Set // every name that has a user line
	nobody    *rule.Set            // the list of a user without a user line: empty
	patterns  *rule.Set
	count     int
	warnings  []Warning
}

// The answers that no line of the file gives.
const (
	saysDangerous  = "user name or client id holds + or #, and there are patterns"
	saysNotWritten = "$SYS and $share are not written to"
	saysSubscribe  = "acl_file allows every SUBSCRIBE and judges reading at delivery"
	saysConnect    = "connections are not judged by acl_file"
)

// bridgeState is the only part of $SYS that Mosquitto lets clients write to.
const bridgeState = "$SYS/broker/connection/+/state"

// What the two kinds of access are to a Set: reading is judged at delivery and,
// if strict, at SUBSCRIBE.
const (
	reads  = rule.Subscribe | rule.Receive
	writes = rule.Publish
)

// Decide judges q by the file. Connections are not its matter: see Admit.
func (p *Policy) Decide(q *security.Request) security.Verdict {
	switch {
	case q.Principal == nil:
		return p.answer(security.Deny, "nobody asked")
	case q.Action == security.Publish && forbiddenWrite(q.Topic):
		return p.answer(security.Deny, saysNotWritten)
	case q.Action == security.Subscribe && !p.strict:
		return p.answer(security.Allow, saysSubscribe)
	case q.Action == security.Publish, q.Action == security.Receive, q.Action == security.Subscribe:
		v := p.judge(q)
		if strings.HasPrefix(q.Topic, "$") {
			v.Scope = 0 // of what forbiddenWrite lets pass, its neighbours are forbidden
		}
		return v
	}
	return p.answer(security.Silent, saysConnect)
}

// forbiddenWrite is Mosquitto's rule before all lists: of what begins with
// $SYS only a bridge's state may be written, and nothing that begins with $share.
func forbiddenWrite(name string) bool {
	if strings.HasPrefix(name, "$SYS") {
		return !topic.Match(bridgeState, name)
	}
	return strings.HasPrefix(name, "$share")
}

// judge asks the lists in Mosquitto's order.
func (p *Policy) judge(q *security.Request) security.Verdict {
	own := p.own(q.Principal)
	held := security.Verdict{Scope: 1} // how long the answers so far hold, and for what
	if v, decided := p.decided(&held, security.Deny, rule.Deny(q, own)); decided {
		return v
	}
	if v, decided := p.decided(&held, security.Allow, rule.Allow(q, own)); decided {
		return v
	}
	if p.hasPatterns() {
		if dangerous(q.Principal) {
			return p.answer(security.Deny, saysDangerous)
		}
		if v, decided := p.decided(&held, security.Deny, rule.Deny(q, p.patterns)); decided {
			return v
		}
		if v, decided := p.decided(&held, security.Allow, p.granted(q, own)); decided {
			return v
		}
	}
	v := p.answer(security.Silent, p.silence(q))
	v.Until, v.Volatile, v.Scope = held.Until, held.Volatile, held.Scope
	return v
}

// granted asks the granting patterns. What the own list, which grants no whole,
// grants of a subscription counts too.
func (p *Policy) granted(q *security.Request, own *rule.Set) rule.Answer {
	if q.Action == security.Subscribe {
		return rule.Allow(q, own, p.patterns)
	}
	return rule.Allow(q, p.patterns)
}

// own is the list of a principal.
func (p *Policy) own(pr *security.Principal) *rule.Set {
	if pr.Name == "" {
		return p.anonymous
	}
	if set := p.users[pr.Name]; set != nil {
		return set
	}
	return p.nobody
}

// decided is the verdict of an answer that has one. held gathers how long the
// answers hold, since an earlier one that changes changes what follows.
func (p *Policy) decided(held *security.Verdict, effect security.Effect, a rule.Answer) (v security.Verdict, decided bool) {
	held.Until = security.Sooner(held.Until, a.Until)
	held.Volatile = held.Volatile || a.Volatile
	held.Scope = security.Narrower(held.Scope, a.Scope())
	if a.Rule == nil {
		return v, false
	}
	v = security.Verdict{
		Effect: effect, Policy: p.name, File: a.Rule.File, Line: a.Rule.Line, Rule: a.Rule.Text,
		Until: held.Until, Volatile: held.Volatile, Scope: held.Scope,
	}
	switch {
	case a.Err != nil:
		v.Rule += ": " + a.Err.Error()
	case a.More > 0:
		v.Rule += " (and " + strconv.Itoa(a.More) + " more together)"
	}
	return v, true
}

// silence says why nothing matched q.
func (p *Policy) silence(q *security.Request) string {
	grants := "grants reading it"
	switch q.Action {
	case security.Publish:
		grants = "grants writing it"
	case security.Subscribe:
		grants = "grants reading all of it"
	}
	patterns := ""
	if p.hasPatterns() {
		patterns = " and no pattern"
	}
	switch {
	case q.Principal.Name == "":
		return "no line before the first user" + patterns + " " + grants
	case p.users[q.Principal.Name] == nil && patterns == "":
		return "the user has no line"
	case p.users[q.Principal.Name] == nil:
		return "the user has no line and no pattern " + grants
	}
	return "no line of the user" + patterns + " " + grants
}

func (p *Policy) hasPatterns() bool { return len(p.patterns.Rules()) > 0 }

// dangerous reports whether a name would widen a pattern (CVE-2017-7650).
func dangerous(p *security.Principal) bool {
	return strings.ContainsAny(p.Name, "+#") || strings.ContainsAny(p.ClientID, "+#")
}

// Admit refuses a principal for whom a deny pattern can't be expanded: what it
// was to deny could not be told. Names with + or # are left to Decide, which
// refuses them as Mosquitto does.
func (p *Policy) Admit(pr *security.Principal) error {
	if dangerous(pr) {
		return nil
	}
	return rule.Admit(pr, p.patterns)
}

func (p *Policy) answer(effect security.Effect, why string) security.Verdict {
	return security.Verdict{Effect: effect, Policy: p.name, File: p.file, Rule: why}
}

// Name is the policy's name in the configuration.
func (p *Policy) Name() string { return p.name }

// Entries is the number of topic and pattern lines.
func (p *Policy) Entries() int { return p.count }

// Warnings is what the caller should log.
func (p *Policy) Warnings() []Warning { return p.warnings }

// Filters is the topic filters of all lines that are about pr, denying ones too,
// each once, in the order in which they are asked. Patterns whose placeholders
// have no usable value for pr have none.
func (p *Policy) Filters(pr *security.Principal) []string {
	var out []string
	seen := map[string]bool{}
	for _, set := range []*rule.Set{p.own(pr), p.patterns} {
		rules := set.Rules()
		for i := range rules {
			for _, f := range rules[i].Filters(pr) {
				if !seen[f] {
					seen[f] = true
					out = append(out, f)
				}
			}
		}
	}
	return out
}
