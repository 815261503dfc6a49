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
// subscription that the file does not grant as a whole.
//
// Where Mosquitto's versions differ or are insecure by accident, the safer
// reading holds: %c and %u are placeholders as a whole level only (2.1), and a
// value that is not exactly one level matches no grant; a deny pattern that
// can't be told for a client refuses its connection; a file without entries
// allows nothing.
package acl

import (
	"fmt"
	"strconv"
	"strings"

	"sallyport/security"
	"sallyport/topic"
)

// Policy is a compiled acl_file: immutable and safe for concurrent use.
type Policy struct {
	name      string
	file      string
	strict    bool
	anonymous entries
	users     map[string]*entries
	patterns  entries
	count     int
	warnings  []Warning
}

// entries is a list, denies apart from grants; each in the order of the file.
type entries struct {
	denies, grants []entry
}

func (e *entries) add(x entry) {
	if x.access == 0 {
		e.denies = append(e.denies, x)
	} else {
		e.grants = append(e.grants, x)
	}
}

// access is what an entry grants; 0 is deny.
type access uint8

const (
	read access = 1 << iota
	write
)

// entry is one topic or pattern line.
type entry struct {
	access   access
	filter   string        // of a topic line
	pattern  topic.Pattern // of a pattern line
	username bool          // the pattern holds %u
	line     int
	text     string
}

// expand is the entry's filter for a principal.
func (e *entry) expand(p *security.Principal) (string, error) {
	if e.filter != "" {
		return e.filter, nil
	}
	return e.pattern.Expand(func(name string) (string, bool) { return value(p, name) })
}

func value(p *security.Principal, name string) (string, bool) {
	if name == topic.Username {
		return p.Username, p.Username != ""
	}
	return p.ClientID, true
}

// Decide judges q by the file. Connections are not its matter: see Admit.
func (p *Policy) Decide(q *security.Request) security.Verdict {
	switch {
	case q.Principal == nil:
		return p.answer(security.Deny, "nobody asked")
	case q.Action == security.Publish && forbiddenWrite(q.Topic):
		return p.answer(security.Deny, "$SYS and $share are not written to")
	case q.Action == security.Publish:
		return p.judge(q, write)
	case q.Action == security.Receive:
		return p.judge(q, read)
	case q.Action == security.Subscribe && !p.strict:
		return p.answer(security.Allow, "acl_file allows every SUBSCRIBE and judges reading at delivery")
	case q.Action == security.Subscribe:
		return p.judge(q, read)
	}
	return p.answer(security.Silent, "connections are not judged by acl_file")
}

// forbiddenWrite is Mosquitto's rule before all lists: of what begins with
// $SYS only a bridge's state may be written, and nothing that begins with $share.
func forbiddenWrite(name string) bool {
	if strings.HasPrefix(name, "$SYS") {
		return !topic.Match("$SYS/broker/connection/+/state", name)
	}
	return strings.HasPrefix(name, "$share")
}

// judge asks the lists in Mosquitto's order.
func (p *Policy) judge(q *security.Request, need access) security.Verdict {
	own := &p.anonymous
	if q.Principal.Username != "" {
		if own = p.users[q.Principal.Username]; own == nil {
			own = &entries{}
		}
	}
	granted := grants{need: need}
	if v, decided := p.list(q, own, &granted); decided {
		return v
	}
	if p.hasPatterns() && dangerous(q.Principal) {
		return p.answer(security.Deny, "user name or client id holds + or #, and there are patterns")
	}
	if v, decided := p.list(q, &p.patterns, &granted); decided {
		return v
	}
	if q.Action == security.Subscribe && topic.CoveredBy(q.Topic, granted.filters) {
		v := p.verdict(security.Allow, granted.first)
		v.Rule += fmt.Sprintf(" (and %d more together)", len(granted.filters)-1)
		return v
	}
	return p.answer(security.Silent, "no entry grants it")
}

// grants is what a subscription was granted in parts.
type grants struct {
	need    access
	filters []string
	first   *entry
}

// list asks one list, denies first. A subscription is denied or granted by an
// entry that covers all of it; grants of parts are gathered.
func (p *Policy) list(q *security.Request, list *entries, g *grants) (security.Verdict, bool) {
	matches := topic.Match
	if q.Action == security.Subscribe {
		matches = topic.Covers
	}
	for i := range list.denies {
		e := &list.denies[i]
		if e.skipped(q.Principal) {
			continue
		}
		filter, err := e.expand(q.Principal)
		if err != nil {
			v := p.verdict(security.Deny, e)
			v.Rule += ": " + err.Error()
			return v, true
		}
		if matches(filter, q.Topic) {
			return p.verdict(security.Deny, e), true
		}
	}
	for i := range list.grants {
		e := &list.grants[i]
		if e.access&g.need == 0 || e.skipped(q.Principal) {
			continue
		}
		filter, err := e.expand(q.Principal)
		if err != nil {
			continue
		}
		if matches(filter, q.Topic) {
			return p.verdict(security.Allow, e), true
		}
		if q.Action == security.Subscribe {
			g.filters = append(g.filters, filter)
			if g.first == nil {
				g.first = e
			}
		}
	}
	return security.Verdict{}, false
}

// skipped reports whether the entry says nothing about p: a pattern with %u
// about a client without a user name.
func (e *entry) skipped(p *security.Principal) bool { return e.username && p.Username == "" }

func (p *Policy) hasPatterns() bool { return len(p.patterns.denies)+len(p.patterns.grants) > 0 }

// dangerous reports whether a name would widen a pattern (CVE-2017-7650).
func dangerous(p *security.Principal) bool {
	return strings.ContainsAny(p.Username, "+#") || strings.ContainsAny(p.ClientID, "+#")
}

// Admit refuses a principal for whom a deny pattern can't be expanded: what it
// was to deny could not be told. Names with + or # are left to Decide, which
// refuses them as Mosquitto does.
func (p *Policy) Admit(pr *security.Principal) error {
	if dangerous(pr) {
		return nil
	}
	for i := range p.patterns.denies {
		e := &p.patterns.denies[i]
		if e.skipped(pr) {
			continue
		}
		if _, err := e.expand(pr); err != nil {
			return fmt.Errorf("%s:%d: %s: %w (client id %s, user name %s)", p.file, e.line, e.text, err,
				quote(pr.ClientID), quote(pr.Username))
		}
	}
	return nil
}

// quote shows the first 64 bytes of s.
func quote(s string) string {
	if len(s) > 64 {
		s = s[:64]
	}
	return strconv.Quote(s)
}

func (p *Policy) verdict(effect security.Effect, e *entry) security.Verdict {
	return security.Verdict{Effect: effect, Policy: p.name, File: p.file, Line: e.line, Rule: e.text}
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
