package roles

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"sallyport/security"
	"sallyport/security/rule"
)

// shownMisses bounds how many rules are told that nearly allow a request.
const shownMisses = 5

// nearMisses tells which allow rules fail by exactly one condition, and by which.
func (e *explainer) nearMisses() (out []string) {
	for _, s := range e.sets {
		rules := s.Rules()
		for i := range rules {
			r := &rules[i]
			if r.Effect != security.Allow || !alone(e.q, relaxed(r)) {
				continue
			}
			for _, needs := range e.misses(r) {
				out = append(out, fmt.Sprintf("%s would allow it %s", place(r), needs))
			}
			if len(out) >= shownMisses {
				return out[:shownMisses]
			}
		}
	}
	return out
}

// relaxed is a rule without its conditions.
func relaxed(r *rule.Rule) *rule.Rule {
	actions := r.Actions
	if actions&publishes != 0 {
		actions |= rule.Publish
	}
	return &rule.Rule{Effect: r.Effect, Actions: actions, Topic: r.Topic, File: r.File, Line: r.Line, Text: r.Text}
}

// misses says which other requests the rule, and so the file, would allow.
func (e *explainer) misses(r *rule.Rule) (out []string) {
	try := func(words string, change func(q *security.Request)) {
		q := *e.q
		pr := *e.q.Principal
		q.Principal = &pr
		change(&q)
		if alone(&q, r) && e.decide(&q, e.sets).Allowed() {
			out = append(out, words)
		}
	}
	if q := e.q; q.Action != security.Connect {
		e.missesQoS(r, &out)
		if q.Action == security.Publish {
			try(map[bool]string{true: "if it were not retained", false: "if it were retained"}[q.Retain],
				func(q *security.Request) { q.Retain = !q.Retain })
			try(map[bool]string{true: "if it were no will", false: "as a will"}[q.Will],
				func(q *security.Request) { q.Will = !q.Will })
		} else {
			e.missesSharing(r, try)
		}
	}
	if r.When != nil {
		e.missesWhen(r, try)
		e.missesExpression(r, &out)
	}
	return out
}

// attempt tries a changed request, and notes the words if it is allowed.
type attempt = func(words string, change func(q *security.Request))

func (e *explainer) missesQoS(r *rule.Rule, out *[]string) {
	var fits []string
	for level := range byte(3) {
		q := *e.q
		q.QoS = level
		if level != e.q.QoS && alone(&q, r) && e.decide(&q, e.sets).Allowed() {
			fits = append(fits, strconv.Itoa(int(level)))
		}
	}
	if len(fits) > 0 {
		*out = append(*out, "at QoS "+strings.Join(fits, " or "))
	}
}

func (e *explainer) missesSharing(r *rule.Rule, try attempt) {
	for _, g := range r.Groups[:min(len(r.Groups), shownMisses)] {
		if g != rule.AnyGroup {
			try("in the group "+g, func(q *security.Request) { q.Shared, q.Group = true, g })
		}
	}
	if e.q.Shared {
		try("without a shared subscription", func(q *security.Request) { q.Shared, q.Group = false, "" })
	} else if len(r.Groups) == 0 {
		try("by a shared subscription", func(q *security.Request) { q.Shared, q.Group = true, "group" })
	}
}

func (e *explainer) missesWhen(r *rule.Rule, try attempt) {
	w, pr := r.When, e.q.Principal
	try(map[bool]string{true: "without TLS", false: "over TLS"}[pr.Secure],
		func(q *security.Request) { q.Principal.Secure = !q.Principal.Secure })
	for _, from := range w.From[:min(len(w.From), shownMisses)] {
		try("from "+from.String(), func(q *security.Request) {
			q.Principal.Addr = netip.AddrPortFrom(from.Addr(), pr.Addr.Port())
		})
	}
	for _, name := range w.Listeners[:min(len(w.Listeners), shownMisses)] {
		try("on the listener "+name, func(q *security.Request) { q.Principal.Listener = name })
	}
	if len(w.Windows) == 0 {
		return
	}
	times := rule.When{Windows: w.Windows}
	if fit := times.Fits(e.q); !fit.Holds && fit.Until != 0 {
		try("at another time: it is "+times.Why(e.q), func(q *security.Request) { q.At = fit.Until })
	}
}

// missesExpression tells of a rule whose expression alone does not hold.
func (e *explainer) missesExpression(r *rule.Rule, out *[]string) {
	if r.When.Expr == nil {
		return
	}
	without := *r
	when := *r.When
	when.Expr = nil
	without.When = &when
	if alone(e.q, &without) {
		*out = append(*out, "but "+(&rule.When{Expr: r.When.Expr}).Why(e.q))
	}
}
