package rule

import (
	"net/netip"

	"sallyport/security"
)

// When is the conditions of a rule, all of which must hold. A nil When holds always.
type When struct {
	From      []netip.Prefix // source addresses; empty: all
	Listeners []string       // names; empty: all
	TLS       Tristate
	Windows   []Window // of time, one of which must be open; empty: always
	Expr      *Expr
}

// Fit is whether conditions hold, and how long that is known.
type Fit struct {
	Holds    bool
	Err      error // the expression failed; Holds is false
	Until    int64 // as in security.Verdict
	Volatile bool
}

// Fits judges the conditions for q.
func (w *When) Fits(q *security.Request) Fit { return Fit{Holds: true} }

// Why says in words why the conditions don't hold for q; empty if they do.
func (w *When) Why(q *security.Request) string { return "" }

// Window is a span of time that comes again each week, or once.
type Window struct{}

// Expr is a compiled condition in CEL.
type Expr struct{}

// NewExpr compiles an expression, whose cost is bounded. actions is what the rule
// that it stands in is about: payload can only be read where there is one.
func NewExpr(text string, actions Actions) (*Expr, error) { return &Expr{}, nil }
