package acme

import (
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/acme"
)

// Bounds of what is kept of a server's words.
const (
	maxText     = 300
	maxLine     = 1000
	maxProblems = 5
)

// maxRetryAfter bounds how long a server can silence us.
const maxRetryAfter = 24 * time.Hour

// clean makes of foreign text what can stand in a log: one line of at most 300
// bytes, without what hides or forges.
func clean(s string) string { return clip(s, maxText) }

func clip(s string, limit int) string {
	cut := len(s) > limit
	if cut {
		s = s[:limit]
	}
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	if cut {
		s += "..."
	}
	return s
}

// problem is what went wrong in an attempt, as an operator should read it.
type problem struct {
	kind  string        // the type of RFC 8555, 6.7, without urn:ietf:params:acme:error:; "" if the server named none
	text  string        // clean
	after time.Duration // what the server asks us to wait; 0 if it doesn't
}

// describe takes an error of the library apart; everything in it may be foreign.
func describe(err error, now time.Time) problem {
	p := problem{text: clean(err.Error())}
	var order *acme.OrderError
	var authorization *acme.AuthorizationError
	var one *acme.Error
	var network net.Error
	switch {
	case errors.As(err, &authorization):
		texts := []string{}
		for i, e := range authorization.Errors {
			if errors.As(e, &one) && i < maxProblems {
				p.add(one, now)
				texts = append(texts, tell(one))
			}
		}
		if len(texts) == 0 {
			texts = append(texts, "the server gives no reason")
		}
		p.text = clean(authorization.Identifier) + " was not shown to be ours: " + strings.Join(texts, "; ")
	case errors.As(err, &order):
		p.text = "the order is " + clean(order.Status)
		if order.Problem != nil {
			p.add(order.Problem, now)
			p.text += ": " + tell(order.Problem)
		}
	case errors.As(err, &one):
		p.add(one, now)
		p.text = tell(one)
		if ours := before(err, one); ours != "" {
			p.text = ours + ": " + p.text
		}
	case errors.As(err, &network) && network.Timeout() && !errors.Is(err, errSlow):
		p.text = "the server does not answer in time: " + p.text
	}
	p.text = clip(p.text, maxLine)
	return p
}

// before is what we said before the server's error, which is told anew.
func before(err error, inner error) string {
	ours, _, found := strings.Cut(err.Error(), ": "+inner.Error())
	if !found {
		return ""
	}
	return clean(ours)
}

// tell is an error of the server in a line.
func tell(e *acme.Error) string {
	parts := []string{clean(e.Detail)}
	for i, s := range e.Subproblems {
		if i == maxProblems {
			break
		}
		text := clean(s.Detail)
		if s.Identifier != nil {
			text = clean(s.Identifier.Value) + ": " + text
		}
		parts = append(parts, text)
	}
	if e.Instance != "" {
		parts = append(parts, "see "+clean(e.Instance))
	}
	return strings.Join(parts, "; ")
}

// add takes over the type of an error, and how long it asks us to wait.
func (p *problem) add(e *acme.Error, now time.Time) {
	if p.kind == "" {
		p.kind = clean(strings.TrimPrefix(e.ProblemType, "urn:ietf:params:acme:error:"))
	}
	if d := retryAfter(e.Header, now); d > p.after {
		p.after = d
	}
}

// retryAfter is what a Retry-After header asks for (RFC 9110, 10.2.3), a day at most.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if v == "" {
		return 0
	}
	if strings.Trim(v, "0123456789") == "" {
		if seconds, err := strconv.Atoi(v); err == nil && seconds < int(maxRetryAfter/time.Second) {
			return time.Duration(seconds) * time.Second
		}
		return maxRetryAfter // also for a number that has no room
	}
	t, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	return min(max(t.Sub(now), 0), maxRetryAfter)
}

// isProblem tells whether err is an answer of the server of that type.
func isProblem(err error, kind string) bool {
	var e *acme.Error
	return errors.As(err, &e) && strings.EqualFold(strings.TrimPrefix(e.ProblemType, "urn:ietf:params:acme:error:"), kind)
}
