package revocation

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"sallyport/certs/ocsp"
)

// OCSP says whether responders are asked, and what becomes of a certificate
// about which none gives an answer.
type OCSP int

// The policies.
const (
	// NoOCSP asks none.
	NoOCSP OCSP = iota
	// HardFail refuses. A certificate that names no responder passes only when
	// lists show that it is good.
	HardFail
	// SoftFail accepts. "Unknown", which is an answer, is refused all the same.
	SoftFail
)

// Options is the policy of a [Checker]. Lists and OCSP are asked independently, and
// both must be content: a certificate that a list shows to be good is refused when
// its responder fails and OCSP is HardFail, and one with a good answer when its list
// is missing and Missing rejects.
type Options struct {
	// Lists are the lists of files, nil for none.
	Lists *Lists
	// Points asks the distribution points that certificates name. Needs Online.
	Points bool
	// Missing and Expired apply to lists of files and of distribution points.
	Missing Missing
	Expired Expired
	// OCSP asks the responders that certificates name. Needs Online.
	OCSP   OCSP
	Online *Online
	// Wait is how long a Check waits for the network, for a whole handshake.
	// Default 2 s, at most 10 s (ocsp_timeout).
	Wait time.Duration
	// Outside runs what waits for the network in a Check; nil just runs it.
	Outside func(wait func())
	// Anchors are the certificates that chains may end in. crypto/x509 ends a chain
	// at the first anchor, so that without them an intermediate that is listed as
	// one could not be revoked. Each is checked by its own issuer, as far as that
	// is an anchor, too.
	Anchors []*x509.Certificate
	// Now is the clock, time.Now if nil.
	Now func() time.Time
}

// maxChain bounds the certificates of one chain that are judged.
const maxChain = 16

// Checker judges chains. It never changes and is safe for concurrent use; a
// reload replaces it.
type Checker struct {
	o     Options
	lists bool // lists count
	// above holds, for a trust anchor (DER) that is not a root, the anchors
	// that issued it.
	above map[string][]*x509.Certificate
}

// New refuses a policy that would check nothing, or that lacks what it needs.
func New(o Options) (*Checker, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Outside == nil {
		o.Outside = func(wait func()) { wait() }
	}
	if o.Wait == 0 {
		o.Wait = 2 * time.Second
	}
	c := &Checker{o: o, lists: o.Lists != nil || o.Points, above: make(map[string][]*x509.Certificate)}
	switch {
	case !c.lists && o.OCSP == NoOCSP:
		return nil, errors.New("neither revocation lists nor OCSP: nothing would be checked")
	case (o.Points || o.OCSP != NoOCSP) && o.Online == nil:
		return nil, errors.New("distribution points and OCSP need Online")
	case o.OCSP < NoOCSP || o.OCSP > SoftFail || o.Missing < RejectMissing || o.Missing > AcceptMissing ||
		o.Expired < RejectExpired || o.Expired > AcceptExpired:
		return nil, errors.New("unknown policy")
	case o.Wait < 0 || o.Wait > fetchLimit:
		return nil, fmt.Errorf("the wait must be between 0 and %s", fetchLimit)
	}
	for _, a := range o.Anchors {
		c.above[string(a.Raw)] = issuersOf(a, o.Anchors)
	}
	return c, nil
}

// At is the same checker under another clock: would this certificate pass then?
func (c *Checker) At(now func() time.Time) *Checker {
	other := *c
	other.o.Now = now
	return &other
}

// issuersOf returns the anchors above a, its issuer first.
func issuersOf(a *x509.Certificate, anchors []*x509.Certificate) []*x509.Certificate {
	var above []*x509.Certificate
	// Two CAs that certified each other would go on for ever.
	for len(above) < min(len(anchors), maxChain) && !bytes.Equal(a.RawIssuer, a.RawSubject) {
		i := slices.IndexFunc(anchors, func(issuer *x509.Certificate) bool {
			return bytes.Equal(a.RawIssuer, issuer.RawSubject) && a.CheckSignatureFrom(issuer) == nil
		})
		if i < 0 {
			break
		}
		a = anchors[i]
		above = append(above, a)
	}
	return above
}

// Check refuses a client whose chains, leaf first as crypto/tls has them in
// ConnectionState.VerifiedChains, are all revoked or not to be judged, with an
// [*Error]. One good chain suffices: with cross-signed CAs the others are detours.
// They must have been verified: their URLs are asked. It waits for the network
// for Options.Wait at most, and only for what is not remembered.
func (c *Checker) Check(ctx context.Context, chains [][]*x509.Certificate) error {
	ctx, cancel := context.WithTimeout(ctx, c.o.Wait)
	defer cancel()
	now := c.o.Now()
	return c.check(chains, &round{Checker: c, ctx: ctx, at: clock{now: now, expired: c.o.Expired == AcceptExpired}})
}

// Recheck is Check for a session that stands: it waits for nothing, and the mere
// passing of time ends nothing. Of lists that are out of date the newest counts,
// what is being fetched or can't be is no reason, and answers that have expired
// are asked for in the background, for the next time.
func (c *Checker) Recheck(chains [][]*x509.Certificate) error {
	return c.check(chains, &round{Checker: c, at: clock{now: c.o.Now(), expired: true, future: true}})
}

func (c *Checker) check(chains [][]*x509.Certificate, r *round) error {
	var best *Error
	for _, chain := range chains {
		err := r.chain(chain)
		if err == nil {
			return nil
		}
		// With several, the one that could yet become good says more.
		if best == nil || best.Final() && !err.Final() {
			best = err
		}
	}
	if best == nil {
		best = &Error{Cause: NotVerified}
	}
	return best
}

// round is one check of one client.
type round struct {
	*Checker
	ctx context.Context // nil: wait for nothing
	at  clock
}

// link is a certificate with its issuer, and what was started for it.
type link struct {
	c, issuer *x509.Certificate
	depth     int
	points    []pending[*fetchedList]
	answers   []pending[*answer]
	good      bool // lists say so
}

func (r *round) chain(chain []*x509.Certificate) *Error {
	if len(chain) == 0 || len(chain) > maxChain {
		return &Error{Cause: NotVerified}
	}
	chain = slices.Concat(chain, r.above[string(chain[len(chain)-1].Raw)])
	links := make([]*link, 0, len(chain))
	if len(chain) == 1 {
		// The certificate is itself the trust anchor, and no other issued it: only
		// its own list could name it.
		links = append(links, &link{c: chain[0], issuer: chain[0]})
	}
	for i := range len(chain) - 1 {
		links = append(links, &link{c: chain[i], issuer: chain[i+1], depth: i})
	}
	// All is asked for before anything is waited for.
	for _, l := range links {
		r.ask(l)
	}
	// What lists say comes first, from the top: of a revoked CA no list and no
	// answer counts.
	for _, l := range slices.Backward(links) {
		if err := r.byLists(l); err != nil {
			return err
		}
		if err := r.byOCSP(l); err != nil {
			return err
		}
	}
	return nil
}

// ask looks for what the network knows, and starts to fetch what is due.
func (r *round) ask(l *link) {
	if r.o.Points {
		l.points = r.o.Online.fetchLists(l.c, l.issuer)
	}
	if r.o.OCSP != NoOCSP {
		for _, url := range responders(l.c) {
			// The next is asked only when those before it gave no answer.
			p := r.o.Online.askResponder(l.c, l.issuer, url)
			l.answers = append(l.answers, p)
			if p.fresh || p.flight != nil {
				break
			}
		}
	}
}

// byLists judges by the lists of files and of distribution points.
func (r *round) byLists(l *link) *Error {
	if !r.lists {
		return nil
	}
	lists := r.o.Lists.of(l.c)
	f := judge(l.c, l.issuer, lists, r.at)
	if len(l.points) > 0 {
		var behind error
		var coming bool
		lists = slices.Clone(lists)
		for i, p := range l.points {
			if r.ctx != nil && !f.good {
				p = p.wait(r.ctx, r.o.Outside)
				l.points[i] = p
			}
			if p.have {
				lists = append(lists, p.value.list)
			} else {
				coming = true
			}
			if p.err != nil {
				behind = fmt.Errorf("distribution point %s: %w", p.source, p.err)
			}
		}
		f = judge(l.c, l.issuer, lists, r.at)
		if !f.good && f.cause != Revoked {
			if r.ctx == nil && coming {
				return nil
			}
			return r.missing(l, f, behind)
		}
	}
	l.good = f.good
	if f.good {
		return nil
	}
	return r.missing(l, f, nil)
}

// missing applies the policy for what lists don't tell.
func (r *round) missing(l *link, f finding, behind error) *Error {
	switch f.cause {
	case NoList, NotCovered, WrongSigner:
		if r.o.Missing.accepts(l.depth) {
			return nil
		}
	}
	if f.cause == Revoked {
		behind = nil
	}
	return f.err(l.c, l.depth, behind)
}

// byOCSP judges by the answers of responders.
func (r *round) byOCSP(l *link) *Error {
	if r.o.OCSP == NoOCSP {
		return nil
	}
	if len(l.answers) == 0 {
		if l.good || r.o.OCSP == SoftFail {
			return nil
		}
		return &Error{Certificate: l.c, Depth: l.depth, Cause: NoResponder}
	}
	var failed *Error
	for {
		p := l.answers[len(l.answers)-1]
		if r.ctx != nil {
			p = p.wait(r.ctx, r.o.Outside)
		}
		// An answer that has expired still counts for a session that stands.
		if p.have && (p.fresh || r.ctx == nil) {
			return r.byAnswer(l, p)
		}
		if r.ctx == nil {
			return nil
		}
		failed = &Error{Certificate: l.c, Depth: l.depth, Cause: ResponderFailed, Source: p.source, Err: p.err}
		urls := responders(l.c)
		if r.ctx.Err() != nil || len(l.answers) >= len(urls) {
			break
		}
		l.answers = append(l.answers, r.o.Online.askResponder(l.c, l.issuer, urls[len(l.answers)]))
	}
	if r.o.OCSP == SoftFail {
		return nil
	}
	return failed
}

func (r *round) byAnswer(l *link, p pending[*answer]) *Error {
	a := p.value
	e := &Error{Certificate: l.c, Depth: l.depth, Source: p.source}
	// A responder that was revoked itself says nothing.
	if a.Delegate != nil && !a.NoCheck {
		if f := judge(a.Delegate, l.issuer, r.o.Lists.of(a.Delegate), clock{now: r.at.now, expired: true}); f.cause == Revoked {
			e.Cause, e.Err = ResponderFailed, errors.New("the responder's certificate is revoked")
			return e
		}
	}
	switch a.Status {
	case ocsp.Good:
		return nil
	case ocsp.Revoked:
		e.Cause, e.Reason, e.At = Revoked, a.reason(), a.RevokedAt
	default:
		e.Cause = UnknownStatus
	}
	return e
}

// States returns the state of every list that counts, of files and of
// distribution points.
func (c *Checker) States() []State {
	var all []State
	if c.o.Lists != nil {
		all = c.o.Lists.States(c.o.Now())
	}
	if c.o.Points {
		all = append(all, c.o.Online.States()...)
	}
	return all
}
