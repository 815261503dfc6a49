package main

import (
	"fmt"
	"io"
	"strings"

	"sallyport/security/expect"
)

// plain makes s one line that can't steer a terminal.
func plain(s string) string {
	return strings.NewReplacer("\n", `\n`, "\t", `\t`).Replace(sanitize(s))
}

// page is text that is written as a whole.
type page struct{ strings.Builder }

// line adds a line; what %s stands for is made plain.
func (p *page) line(format string, args ...any) {
	for i, a := range args {
		if s, ok := a.(string); ok {
			args[i] = plain(s)
		}
	}
	fmt.Fprintf(p, format+"\n", args...)
}

// several is a number of things in words.
func several(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// writeExplained prints an explanation for people.
func writeExplained(w io.Writer, x *expect.Explained) error {
	var p page
	answer := "refused"
	if x.Allowed {
		answer = "allowed"
	}
	p.line("%s: %s", answer, x.Request.Text)
	p.line("  by %s", clientText(&x.Client))
	p.line("  because %s", x.Why())
	if len(x.Door) > 0 {
		p.line("\nwho it is")
		var opposite []string
		for _, s := range x.Door {
			p.said(s)
			if s.Opposite != "" && x.Connect == nil {
				opposite = append(opposite, s.Opposite)
			}
		}
		p.opposite(opposite)
	}
	if x.Connect != nil {
		p.decision("may it connect", x.Connect)
		if x.Decision == nil { // else that it can connect is not the question
			p.opposite(x.Connect.Opposite)
		}
	}
	if x.Decision != nil {
		p.decision("may it "+x.Request.Text, x.Decision)
		p.opposite(x.Decision.Opposite)
	}
	_, err := io.WriteString(w, p.String())
	return err
}

// clientText is a client in words.
func clientText(c *expect.Client) string {
	s := "client " + c.ClientID
	if c.User != "" {
		s += ", user " + c.User
	} else {
		s += ", without a user name"
	}
	if c.Address != "" {
		s += ", from " + c.Address
	}
	if c.Listener != "" {
		s += ", listener " + c.Listener
	}
	if c.TLS {
		s += " (TLS or local)"
	}
	if len(c.Groups) > 0 {
		s += ", groups " + strings.Join(c.Groups, " ")
	}
	if len(c.Roles) > 0 {
		s += ", roles " + strings.Join(c.Roles, " ")
	}
	return s
}

// mark is how a line of a list begins: > has the last word, . was not reached.
func mark(decides, reached bool) string {
	switch {
	case decides:
		return "  > "
	case !reached:
		return "  . "
	}
	return "    "
}

func (p *page) said(s expect.Said) {
	answer := ""
	switch {
	case s.Refuses:
		answer = ": refused"
	case s.Accepts:
		answer = ": accepted"
	}
	p.line(mark(s.Accepts || s.Refuses, s.Reached)+"%s: %s%s", s.By, s.Says, answer)
}

func (p *page) decision(title string, d *expect.Decision) {
	p.line("\n%s: %s", title, verdictText(&d.Verdict))
	for _, pol := range d.Policies {
		reached := ""
		if !pol.Reached {
			reached = " (a policy before it had the last word)"
		}
		p.line("  policy %s: %s%s", pol.Policy, verdictText(&pol.Verdict), reached)
		for _, s := range pol.Steps {
			p.step(&s, pol.Reached)
		}
		if pol.Omitted > 0 {
			p.line("    (%s about something else)", several(pol.Omitted, "rule"))
		}
	}
}

func (p *page) opposite(list []string) {
	if len(list) == 0 {
		return
	}
	p.line("  for the opposite answer:")
	for _, s := range list {
		p.line("  - %s", s)
	}
}

// verdictText is a verdict in words.
func verdictText(v *expect.Verdict) string {
	effect := map[string]string{"allow": "allowed", "deny": "refused", "silent": "says nothing"}[v.Effect]
	s := effect + " (" + v.Why() + ")"
	if v.Until != "" {
		s += ", until " + v.Until
	}
	if v.DependsOnMessage {
		s += ", depending on the message"
	}
	if v.GrantedQoS != nil {
		s += fmt.Sprintf(", granted at QoS %d", *v.GrantedQoS)
	}
	return s
}

func (p *page) step(s *expect.Step, reached bool) {
	at := s.File
	if s.Line != 0 {
		at = fmt.Sprintf("%s:%d", s.File, s.Line)
	}
	says := s.Says
	switch {
	case says != "":
	case s.Matches:
		says = "matches"
	default:
		says = "does not match"
	}
	p.line("  "+mark(s.Decides, reached)+"%s: %s: %s", at, s.Rule, says)
	for _, v := range s.Values {
		if v.Missing {
			p.line("          ${%s} is missing", v.Name)
			continue
		}
		p.line("          ${%s} is %s", v.Name, v.Value)
	}
}
