package authn

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"sallyport/security"
)

// ClientIDRule binds client identifiers to user names.
type ClientIDRule uint8

// The rules. Only EqualsUsername is proof against a user whose name is the
// beginning of another's.
const (
	AnyClientID        ClientIDRule = iota
	EqualsUsername                  // the client id is the user name
	StartsWithUsername              // the client id begins with the user name
)

// Member is an authenticator at its place in a chain.
type Member struct {
	Authenticator
	// OnErrorNext asks the next member when this one could not tell (its
	// source failed), instead of refusing. A refusal stays final.
	OnErrorNext bool
}

// ChainOptions is how one listener decides who a client is.
type ChainOptions struct {
	Members          []Member         // in order; none refuses everyone
	ClientIDPrefixes []string         // not empty: the client id must begin with one of them
	ClientID         ClientIDRule     // what the client id must have to do with the user name
	Certificates     CertRules        // what is demanded of client certificates
	Now              func() time.Time // nil is time.Now
}

// Chain is the authenticators of one listener, in order. It is immutable.
type Chain struct {
	members  []Member
	prefixes []string
	clientID ClientIDRule
	certs    CertRules
	now      func() time.Time
}

// NewChain makes a chain; its end refuses.
func NewChain(o ChainOptions) (*Chain, error) {
	for i, m := range o.Members {
		if m.Authenticator == nil {
			return nil, fmt.Errorf("authn: member %d of the chain is missing", i)
		}
	}
	if err := checkUnchecked(o.Members); err != nil {
		return nil, err
	}
	if o.ClientID > StartsWithUsername {
		return nil, fmt.Errorf("authn: unknown client id rule %d", o.ClientID)
	}
	if o.Certificates.Host == HostDNS && o.Certificates.Hosts == nil {
		return nil, errors.New("authn: host names of certificates can't be looked up")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Chain{
		certs:    o.Certificates,
		now:      o.Now,
		members:  append([]Member(nil), o.Members...),
		prefixes: append([]string(nil), o.ClientIDPrefixes...),
		clientID: o.ClientID,
	}, nil
}

// checkUnchecked refuses a chain in which what one member doesn't know another
// accepts without a check. Certificates are no obstacle: a client that has one
// never comes past the identity member.
func checkUnchecked(members []Member) error {
	unchecked := false
	var checking Authenticator
	for _, m := range members {
		switch a := m.Authenticator.(type) {
		case Anonymous:
			unchecked = unchecked || a.BelieveUsername
		case Identity:
		default:
			checking = a
		}
	}
	if unchecked && checking != nil {
		return fmt.Errorf("authn: credentials that %s does not know would be accepted unchecked", checking.Name())
	}
	return nil
}

// decoy is a member that can spend what a check of its slowest account costs.
type decoy interface {
	Cost() time.Duration // of its slowest account's hash; 0 if there is none
	Decoy(password []byte)
}

// Authenticate asks the members in order, and name servers before them where the
// listener demands it of certificates. The error is a *Refused, ErrBusy, or
// a member's own; each refuses.
func (c *Chain) Authenticate(ctx context.Context, cr *Credentials) (*security.Principal, error) {
	if err := c.askHosts(ctx, cr); err != nil {
		return nil, err
	}
	return c.authenticate(ctx, cr)
}

// askHosts has the host names of a certificate looked up, unless it is refused anyway.
func (c *Chain) askHosts(ctx context.Context, cr *Credentials) error {
	if !c.certs.asksHosts(cr) || c.firstCondition(cr) != nil {
		return nil
	}
	return c.certs.askHosts(ctx, cr)
}

// authenticate is Authenticate after askHosts.
func (c *Chain) authenticate(ctx context.Context, cr *Credentials) (*security.Principal, error) {
	r := c.quick(cr)
	if !r.decided {
		r = c.resume(ctx, r.next, cr)
	}
	c.pay(r, cr)
	return r.p, r.err
}

// result is how far a chain came: decided, or to be resumed at member next.
type result struct {
	p       *security.Principal
	err     error
	next    int
	decided bool
}

// quick goes through the chain as far as answers cost nothing.
func (c *Chain) quick(cr *Credentials) result {
	if cr.AuthMethod != "" {
		// Only an exchange can serve it; other credentials beside it don't count (MQTT 5.0, 4.12).
		return result{err: &Refused{Method: "chain", Reason: "authentication method needs an exchange"}, decided: true}
	}
	if r := c.condition(cr); r != nil {
		return result{err: r, decided: true}
	}
	for i, m := range c.members {
		q, ok := m.Authenticator.(Quick)
		if !ok {
			return result{next: i}
		}
		p, err, known := q.Quick(cr)
		if !known {
			return result{next: i}
		}
		if r := c.conclude(m, p, err, cr); r.decided {
			return r
		}
	}
	return result{err: c.end(cr), decided: true}
}

// resume asks the members from index at on.
func (c *Chain) resume(ctx context.Context, at int, cr *Credentials) result {
	for _, m := range c.members[at:] {
		p, err := m.Authenticate(ctx, cr)
		if r := c.conclude(m, p, err, cr); r.decided {
			return r
		}
	}
	return result{err: c.end(cr), decided: true}
}

// conclude turns a member's answer into the chain's, undecided if the next one is to be asked.
func (c *Chain) conclude(m Member, p *security.Principal, err error, cr *Credentials) result {
	if err == nil {
		p, err = c.accept(m.Name(), p, cr)
		return result{p: p, err: err, decided: true}
	}
	var refused *Refused
	switch {
	case errors.Is(err, ErrNotMine):
		return result{}
	case errors.As(err, &refused), errors.Is(err, ErrBusy):
		return result{err: err, decided: true}
	case m.OnErrorNext:
		return result{}
	}
	return result{err: fmt.Errorf("authn: %s: %w", m.Name(), err), decided: true}
}

// condition is what refuses before any member is asked. It never accepts.
func (c *Chain) condition(cr *Credentials) *Refused {
	if r := c.firstCondition(cr); r != nil {
		return r
	}
	if c.certs.asksHosts(cr) {
		return &Refused{Method: "chain", Reason: "host names of the certificate were not looked up"}
	}
	return nil
}

// firstCondition is condition but for what name servers have to tell.
func (c *Chain) firstCondition(cr *Credentials) *Refused {
	if r := c.prefixed(cr); r != nil {
		return r
	}
	return c.certs.judge(cr)
}

func (c *Chain) prefixed(cr *Credentials) *Refused {
	if len(c.prefixes) == 0 {
		return nil
	}
	for _, prefix := range c.prefixes {
		if strings.HasPrefix(cr.ClientID, prefix) {
			return nil
		}
	}
	return &Refused{Method: "chain", Reason: "client id has none of the required prefixes"}
}

// accept completes a principal with the connection's side and applies the client id rule.
func (c *Chain) accept(method string, p *security.Principal, cr *Credentials) (*security.Principal, error) {
	if p == nil {
		return nil, &Refused{Method: method, Reason: "accepted without a principal"}
	}
	switch {
	case c.clientID == EqualsUsername && (p.Name == "" || cr.ClientID != p.Name):
		return nil, &Refused{Method: method, Reason: "client id is not the user name"}
	case c.clientID == StartsWithUsername && (p.Name == "" || !strings.HasPrefix(cr.ClientID, p.Name)):
		return nil, &Refused{Method: method, Reason: "client id does not begin with the user name"}
	}
	q := *p
	q.ClientID = cr.ClientID
	q.Addr = cr.Addr
	q.Listener = cr.Listener
	q.Secure = cr.Secure
	q.Method = method
	q.Internal = false // no client is the broker
	if cr.CertVerified {
		q.Cert = cr.Cert
		if cr.Chain != nil {
			chain := security.CertChain(cr.Chain)
			q.Chain = &chain
		}
		if !c.certs.KeepExpired && cr.CertExpires != 0 && (q.Expires == 0 || cr.CertExpires < q.Expires) {
			q.Expires = cr.CertExpires
		}
	}
	if q.Expires != 0 && c.now().Unix() >= int64(q.Expires) {
		// Between handshake and CONNECT, or of a handshake that was resumed.
		return nil, &Refused{Method: method, Reason: "credential has expired"}
	}
	return &q, nil
}

// end is the refusal at the end of the chain.
func (c *Chain) end(cr *Credentials) error {
	return &Refused{
		Method: "chain",
		Reason: "no authenticator knows these credentials",
		Unpaid: cr.HasUsername,
	}
}

// dearest is the member whose slowest hash takes longest, nil if none has a cost.
func (c *Chain) dearest() decoy {
	var best decoy
	var cost time.Duration
	for _, m := range c.members {
		if d, ok := m.Authenticator.(decoy); ok && d.Cost() > cost {
			best, cost = d, d.Cost()
		}
	}
	return best
}

// owes reports whether r still has to pay for a slow hash.
func (c *Chain) owes(r result) bool {
	if r.err == nil {
		return false
	}
	var refused *Refused
	return errors.As(r.err, &refused) && refused.Unpaid && c.dearest() != nil
}

// pay spends the slow hash that r owes.
func (c *Chain) pay(r result, cr *Credentials) {
	if c.owes(r) {
		if d := c.dearest(); d != nil {
			d.Decoy(cr.Password)
		}
	}
}

// generation grows when an account of any member may have changed.
func (c *Chain) generation() uint64 {
	var sum uint64
	for _, m := range c.members {
		if g, ok := m.Authenticator.(Generational); ok {
			sum += g.Generation()
		}
	}
	return sum
}
