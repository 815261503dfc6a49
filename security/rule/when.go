package rule

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sallyport/security"
)

// When is the conditions of a rule, all of which must hold. A nil When holds
// always. It is immutable and safe for concurrent use.
type When struct {
	From      []netip.Prefix // source addresses, as Source makes them; empty: all
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
	Topical  bool // it depends on more of the topic than that the rule matches it
}

// Source reads a source address, or a network in CIDR notation, for When.From. An
// IPv4 address that is mapped into IPv6 is one of IPv4.
func Source(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		addr, err := netip.ParseAddr(s)
		if err != nil || addr.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("%.60q is neither an address nor a network such as 10.0.0.0/8", s)
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%.60q is neither an address nor a network such as 10.0.0.0/8", s)
	}
	if addr := p.Addr(); addr.Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, fmt.Errorf("network %s lies in IPv4 and in IPv6", s)
		}
		p = netip.PrefixFrom(addr.Unmap(), p.Bits()-96)
	}
	if p != p.Masked() {
		return netip.Prefix{}, fmt.Errorf("%s is an address within a network: the network is %s", s, p.Masked())
	}
	return p, nil
}

// Fits judges the conditions for q. What costs least is asked first: once one
// does not hold, the others are not asked.
func (w *When) Fits(q *security.Request) Fit {
	if w == nil {
		return Fit{Holds: true}
	}
	p := q.Principal
	if !w.TLS.Fits(p.Secure) || !w.listens(p) || !w.comesFrom(p) {
		return Fit{}
	}
	fit := Fit{Holds: true}
	if len(w.Windows) > 0 {
		if fit = w.timed(q.Now()); !fit.Holds {
			return fit
		}
	}
	if w.Expr == nil {
		return fit
	}
	said := w.Expr.fits(q)
	said.Until = security.Sooner(said.Until, fit.Until)
	return said
}

func (w *When) listens(p *security.Principal) bool {
	return len(w.Listeners) == 0 || slices.Contains(w.Listeners, p.Listener)
}

// comesFrom is false for a principal without an address (a local socket) where
// addresses are asked for.
func (w *When) comesFrom(p *security.Principal) bool {
	if len(w.From) == 0 {
		return true
	}
	addr := p.Addr.Addr().Unmap().WithZone("")
	for _, prefix := range w.From {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// timed judges the windows.
func (w *When) timed(now time.Time) Fit {
	var opens, closes int64
	open, forever := false, false
	for i := range w.Windows {
		o, until := w.Windows[i].Open(now)
		if !o {
			opens = security.Sooner(opens, until)
			continue
		}
		// One may close while another is still open.
		open = true
		forever = forever || until == 0
		closes = max(closes, until)
	}
	switch {
	case !open:
		return Fit{Until: opens}
	case forever:
		return Fit{Holds: true}
	}
	return Fit{Holds: true, Until: closes}
}

// Why says in words why the conditions don't hold for q; empty if they do. It
// names all that don't.
func (w *When) Why(q *security.Request) string {
	if w == nil {
		return ""
	}
	var why []string
	p := q.Principal
	if !w.TLS.Fits(p.Secure) {
		why = append(why, map[bool]string{true: "over TLS", false: "not over TLS"}[p.Secure])
	}
	if !w.listens(p) {
		why = append(why, fmt.Sprintf("the listener %q is not %s", p.Listener, anyOf(w.Listeners)))
	}
	if !w.comesFrom(p) {
		why = append(why, w.elsewhere(p))
	}
	if now := q.Now(); len(w.Windows) > 0 {
		if fit := w.timed(now); !fit.Holds {
			why = append(why, w.closed(now, fit.Until))
		}
	}
	if w.Expr != nil {
		switch fit := w.Expr.fits(q); {
		case errors.Is(fit.Err, errNoMessage):
			why = append(why, "the condition reads the message, and there is none: "+w.Expr.text)
		case fit.Err != nil:
			why = append(why, "the condition fails: "+fit.Err.Error()+": "+w.Expr.text)
		case !fit.Holds:
			why = append(why, "the condition is false: "+w.Expr.text)
		}
	}
	return strings.Join(why, "; ")
}

// listed bounds how many of a list a sentence names.
const listed = 4

func anyOf(list []string) string {
	if len(list) <= listed {
		return strings.Join(list, " or ")
	}
	return fmt.Sprintf("%s or %d others", strings.Join(list[:listed], ", "), len(list)-listed)
}

func (w *When) elsewhere(p *security.Principal) string {
	networks := make([]string, len(w.From))
	for i, prefix := range w.From {
		networks[i] = prefix.String()
		if prefix.IsSingleIP() {
			networks[i] = prefix.Addr().String()
		}
	}
	if !p.Addr.IsValid() {
		return "a local socket has no address in " + anyOf(networks)
	}
	return fmt.Sprintf("the address %s is not in %s", p.Addr.Addr().Unmap(), anyOf(networks))
}

func (w *When) closed(now time.Time, opens int64) string {
	texts := make([]string, len(w.Windows))
	next := "never opens again"
	for i, window := range w.Windows {
		texts[i] = window.text
		if _, until := window.Open(now); until != 0 && until == opens {
			next = window.opens(until)
		}
	}
	return fmt.Sprintf("outside %s (%s)", anyOf(texts), next)
}
