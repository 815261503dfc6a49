package revocation

import (
	"crypto/x509"
	"fmt"
	"time"
)

// Missing is what becomes of a certificate whose issuer has no list that covers
// it. Lists under another key than the issuer's are none; lists that are not valid
// yet are there, and refuse.
type Missing int

// The policies. The zero value refuses.
const (
	// RejectMissing refuses.
	RejectMissing Missing = iota
	// AcceptMissingCA accepts a CA, and refuses a client's certificate: the
	// meaning of crlfile in mosquitto.conf.
	AcceptMissingCA
	// AcceptMissing accepts.
	AcceptMissing
)

func (m Missing) accepts(depth int) bool {
	return m == AcceptMissing || m == AcceptMissingCA && depth > 0
}

// Expired is what becomes of a list whose next update has passed.
type Expired int

// The policies. The zero value refuses.
const (
	// RejectExpired refuses the certificates of its issuer.
	RejectExpired Expired = iota
	// AcceptExpired judges by the newest list, expired as it is.
	AcceptExpired
)

// clock says how lists are held against the time.
type clock struct {
	now     time.Time
	expired bool // lists that have expired count, too
	future  bool // as do lists that are not valid yet
}

// finding is what lists say about one certificate. The zero value says nothing.
type finding struct {
	good    bool
	cause   Cause // of a finding that is not good
	reason  Reason
	at      time.Time
	source  string
	covered reasons
}

// group is the lists of one scope: newer ones replace older ones.
type group struct {
	complete, delta *List // the newest in force; the delta fits the complete list
	ahead           *List // the newest delta of which the base is missing
	stale, early    *List // the newest complete list that has expired, or is not valid yet
	reasons         reasons
}

// judge holds a certificate against the lists of its issuer.
//
// Lists of one scope replace each other, the newest first; lists of different
// scopes add up. A certificate is revoked if one scope says so, and good if no
// scope does and together they cover every reason (RFC 5280, 6.3.3).
func judge(c, issuer *x509.Certificate, lists []*List, at clock) finding {
	groups, impostor, outside := sortOut(c, issuer, lists, at)
	f := finding{cause: NoList}
	switch {
	case impostor != nil:
		f = finding{cause: WrongSigner, source: impostor.source}
	case outside != nil:
		f = finding{cause: NotCovered, source: outside.source}
	}
	var revoked *finding
	for _, g := range groups {
		found := g.judge(c, at)
		switch {
		case found.cause == Revoked:
			// A hold can be lifted: what can't counts first.
			if revoked == nil || revoked.reason == Hold {
				revoked = &found
			}
		case found.covered != 0:
			f.covered |= found.covered
			if f.source == "" {
				f.source = found.source
			}
		case f.cause != ExpiredList && found.cause != 0:
			f.cause, f.source = found.cause, found.source
		}
	}
	if revoked != nil {
		return *revoked
	}
	if f.covered == allReasons {
		return finding{good: true, covered: allReasons, source: f.source}
	}
	if f.covered != 0 && f.cause == NoList {
		f.cause = NotCovered
	}
	return f
}

// sortOut groups the lists that count; impostor and outside are examples of
// lists under another key and of lists that don't cover the certificate.
func sortOut(c, issuer *x509.Certificate, lists []*List, at clock) (groups map[string]*group, impostor, outside *List) {
	groups = make(map[string]*group)
	for _, l := range lists {
		covered := l.scope.covers(c)
		switch {
		case !l.signedBy(issuer):
			impostor = l
			continue
		case covered == 0:
			outside = l
			continue
		}
		g := groups[l.group]
		if g == nil {
			g = &group{reasons: covered}
			groups[l.group] = g
		}
		if l.base != nil {
			continue // below, when the complete list is known
		}
		switch {
		case l.future(at.now) && !at.future:
			g.early = newest(g.early, l)
		case l.expired(at.now) || l.future(at.now):
			g.stale = newest(g.stale, l)
		default:
			g.complete = newest(g.complete, l)
		}
	}
	for _, g := range groups {
		if g.complete == nil && (at.expired || at.future) {
			g.complete = g.stale
		}
	}
	for _, l := range lists {
		g := groups[l.group]
		if l.base == nil || g == nil || g.complete == nil || l.future(at.now) && !at.future ||
			!l.signedBy(issuer) || l.scope.covers(c) == 0 {
			continue
		}
		switch {
		case l.fits(g.complete) && (g.delta == nil || l.head.Number.Cmp(g.delta.head.Number) > 0):
			g.delta = l
		case !l.fits(g.complete) && newer(l, g.complete) > 0:
			g.ahead = newest(g.ahead, l)
		}
	}
	return groups, impostor, outside
}

func newest(a, b *List) *List {
	if a == nil || newer(b, a) > 0 {
		return b
	}
	return a
}

func (g *group) judge(c *x509.Certificate, at clock) finding {
	switch {
	case g.complete == nil && g.stale != nil:
		return finding{cause: ExpiredList, source: g.stale.source}
	case g.complete == nil && g.early != nil:
		return finding{cause: FutureList, source: g.early.source}
	case g.complete == nil: // deltas alone
		return finding{}
	}
	source := g.complete
	e, listed := g.complete.lookup(c)
	if g.delta != nil {
		if d, changed := g.delta.lookup(c); changed {
			e, listed, source = d, d.reason != removeFromCRL, g.delta
		}
	}
	// Without its base a delta tells not all, and lifts nothing; but what it revokes
	// is revoked.
	if g.ahead != nil && !listed {
		if d, changed := g.ahead.lookup(c); changed && d.reason != removeFromCRL {
			e, listed, source = d, true, g.ahead
		}
	}
	if listed {
		return finding{cause: Revoked, reason: e.reason, at: time.Unix(e.at, 0), source: source.source}
	}
	// A delta that has expired still revokes, but there must be a newer one: what
	// that may say is not known.
	if g.delta != nil && g.delta.expired(at.now) && !at.expired {
		return finding{cause: ExpiredList, source: g.delta.source}
	}
	return finding{covered: g.reasons, source: source.source}
}

// err is the error for a certificate that is refused.
func (f *finding) err(c *x509.Certificate, depth int, behind error) *Error {
	return &Error{Certificate: c, Depth: depth, Cause: f.cause, Reason: f.reason, At: f.at, Source: f.source, Err: behind}
}

// State is a list for metrics and alarms.
type State struct {
	Source     string // file or URL
	Issuer     string // as RFC 2253 writes it
	Delta      bool
	Entries    int
	ThisUpdate time.Time
	NextUpdate time.Time // zero: it never expires
	Left       float64   // share of its validity left: 1 at ThisUpdate, 0 at NextUpdate or without one before it
	Fetched    time.Time // when it was fetched; zero for a file
	Err        string    // of the last fetch, "" when it succeeded
}

// Alarm reports whether a newer list is due: a tenth of the validity or less is
// left, or there is no list although one was fetched for.
func (s *State) Alarm() bool {
	return s.Left <= 0.1
}

// String returns "source: issuer: n % of validity left".
func (s *State) String() string {
	return fmt.Sprintf("%s: %s: %.0f %% of validity left", s.Source, s.Issuer, s.Left*100)
}

func (l *List) state(now time.Time) State {
	h := l.head
	s := State{
		Source: l.source, Issuer: h.Issuer.String(), Delta: l.base != nil, Entries: len(l.entries),
		ThisUpdate: h.ThisUpdate, NextUpdate: h.NextUpdate, Left: 1,
	}
	switch whole := h.NextUpdate.Sub(h.ThisUpdate); {
	case h.NextUpdate.IsZero():
	case whole <= 0:
		s.Left = 0
	default:
		s.Left = min(1, max(0, float64(h.NextUpdate.Sub(now))/float64(whole)))
	}
	return s
}

// States returns the state of every list.
func (l *Lists) States(now time.Time) []State {
	all := make([]State, 0, len(l.all))
	for _, list := range l.all {
		all = append(all, list.state(now))
	}
	return all
}

// of returns the lists that bear the name of c's issuer.
func (l *Lists) of(c *x509.Certificate) []*List {
	if l == nil {
		return nil
	}
	// An issuer mostly writes its name the same way each time, and to read it takes
	// longer than all else that a handshake asks of lists.
	name, known := l.names[string(c.RawIssuer)]
	if !known {
		name = canonical(c.RawIssuer)
	}
	return l.byIssuer[name]
}
