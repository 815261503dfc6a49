package authn

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

// ChainOptions is how one listener decides who a client is.
type ChainOptions struct {
	Members          []Member         // in order; none refuses everyone
	ClientIDPrefixes []string         // not empty: the client id must begin with one of them
	ClientID         ClientIDRule     // what the client id must have to do with the user name
	Certificates     CertRules        // what is demanded of client certificates
	Accounts         AccountStates    // what is known of accounts; nil knows none
	Right, Wrong     *Cache           // of right and of wrong credentials; nil remembers none
	Now              func() time.Time // nil is time.Now
}

// Chain is the authenticators of one listener, in order. It is immutable.
type Chain struct {
	nodes        []node
	prefixes     []string
	clientID     ClientIDRule
	certs        CertRules
	accounts     AccountStates
	right, wrong *Cache
	now          func() time.Time
}

// NewChain makes a chain; its end refuses.
func NewChain(o ChainOptions) (*Chain, error) {
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
	c := &Chain{
		certs: o.Certificates, now: o.Now, prefixes: append([]string(nil), o.ClientIDPrefixes...),
		clientID: o.ClientID, accounts: o.Accounts, right: o.Right, wrong: o.Wrong,
	}
	for i, m := range o.Members {
		n, err := makeNode(i, m)
		if err != nil {
			return nil, err
		}
		if n.name != "" && slices.ContainsFunc(c.nodes, func(o node) bool { return o.name == n.name }) {
			// Who a principal's member was is told by the name.
			return nil, fmt.Errorf("authn: two members are called %s (certificate, proxy_certificate and anonymous are names of the broker's own)", n.name)
		}
		c.nodes = append(c.nodes, n)
	}
	return c, nil
}

// checkUnchecked refuses a chain in which what one member doesn't know another
// accepts without a check. Certificates are no obstacle: a client that has one
// never comes past the identity member.
func checkUnchecked(members []Member) error {
	unchecked, checks, checking := false, false, ""
	for _, m := range members {
		switch a := m.Authenticator.(type) {
		case nil:
			checks, checking = true, m.Label
		case Anonymous:
			unchecked = unchecked || a.BelieveUsername
		case Identity:
		default:
			checks, checking = true, a.Name()
		}
	}
	if unchecked && checks {
		return fmt.Errorf("authn: credentials that %s does not know would be accepted unchecked", checking)
	}
	return nil
}

// decoy is a member that can spend what a check of its slowest account costs.
type decoy interface {
	Cost() time.Duration // of its slowest account's hash; 0 if there is none
	Decoy(password []byte)
}

// Authenticate asks the members in order, and name servers before them where the
// listener demands it of certificates. The error is a *Refused, an *Unavailable or
// ErrBusy; each refuses. Whoever calls it waits for the members: a Service does not.
func (c *Chain) Authenticate(ctx context.Context, cr *Credentials) (*security.Principal, error) {
	if err := c.askHosts(ctx, cr); err != nil {
		return nil, err
	}
	var at progress
	for {
		r := c.walk(&at, cr)
		if !r.decided {
			r = c.askHere(ctx, &at, cr)
		}
		if r.decided {
			c.settle(&at, &r, cr)
			return r.p, r.err
		}
	}
}

// askHere asks the member that at stands at, on the caller's goroutine.
func (c *Chain) askHere(ctx context.Context, at *progress, cr *Credentials) result {
	m, own := c.member(at), at.creds(cr)
	began := c.now()
	if m.Lane != nil {
		if err := m.Lane.open(); err != nil {
			return c.take(at, nil, err, cr, 0)
		}
	}
	key, remembers := c.rightKey(m, own)
	at.paid = true
	p, err := m.ask(ctx, own)
	took := max(c.now().Sub(began), 1)
	if m.Lane != nil {
		m.Lane.answered(err, took)
	}
	if remembers && err == nil {
		c.remember(key, p)
	}
	return c.take(at, p, err, cr, took)
}

// askHosts has the host names of a certificate looked up, unless it is refused anyway.
func (c *Chain) askHosts(ctx context.Context, cr *Credentials) error {
	if !c.certs.asksHosts(cr) || c.firstCondition(cr) != nil {
		return nil
	}
	return c.certs.askHosts(ctx, cr)
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
	if prefixed(c.prefixes, cr.ClientID) {
		return nil
	}
	return &Refused{Method: "chain", Reason: "client id has none of the required prefixes"}
}

// accept completes a principal of a node with the connection's side, and holds it
// against what the listener, the node and the account demand.
func (c *Chain) accept(n *node, p *security.Principal, cr *Credentials) (*security.Principal, error) {
	if r := c.clientID.judge(n.name, p, cr); r != nil {
		return nil, r
	}
	q := *p
	q.ClientID = cr.ClientID
	q.Addr = cr.Addr
	q.Listener = cr.Listener
	q.Secure = cr.Secure
	q.Method = n.name
	q.Internal = false // no client is the broker
	if cr.CertVerified {
		q.Cert = cr.Cert
		if cr.Chain != nil {
			chain := security.CertChain(cr.Chain)
			q.Chain = &chain
		}
		if !c.certs.KeepExpired {
			q.Expires = earliest(q.Expires, cr.CertExpires)
		}
	}
	if n.several() {
		if r := n.Require.judge(n.name, &q, cr); r != nil {
			return nil, r
		}
	}
	if r := c.account(n, &q, cr); r != nil {
		return nil, r
	}
	if q.Expires != 0 && c.now().Unix() >= int64(q.Expires) {
		// Between handshake and CONNECT, or of a handshake that was resumed.
		return nil, &Refused{Method: n.name, Reason: "credential has expired"}
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
	if m := c.payer(); m != nil {
		return m.Authenticator.(decoy)
	}
	return nil
}

// payer is dearest as the member that it is.
func (c *Chain) payer() *Member {
	var best *Member
	var cost time.Duration
	for i := range c.nodes {
		for j := range c.nodes[i].all {
			m := &c.nodes[i].all[j]
			if d, ok := m.Authenticator.(decoy); ok && d.Cost() > cost {
				best, cost = m, d.Cost()
			}
		}
	}
	return best
}

// owes reports whether r still has to pay for a slow hash.
func (c *Chain) owes(r *result) bool {
	if r.err == nil {
		return false
	}
	var refused *Refused
	return errors.As(r.err, &refused) && refused.Unpaid && c.dearest() != nil
}

// settle spends the slow hash that r owes, and remembers a refusal that was paid.
func (c *Chain) settle(at *progress, r *result, cr *Credentials) {
	if c.owes(r) {
		if d := c.dearest(); d != nil {
			d.Decoy(cr.Password)
		}
		at.paid = true
	}
	c.rememberWrong(at, r.err)
}

// generation grows when the accounts of any member may have changed as a whole.
func (c *Chain) generation() uint64 {
	var sum uint64
	for i := range c.nodes {
		for _, m := range c.nodes[i].all {
			if g, ok := m.Authenticator.(Generational); ok {
				sum += g.Generation()
			}
		}
	}
	return sum
}
