package authn

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"sallyport/security"
)

// EnhancedAuthenticator is a method of MQTT 5.0's enhanced authentication
// (4.12): it begins exchanges. A Member that also implements it is offered to
// clients by the chain.
type EnhancedAuthenticator interface {
	// Serves reports whether it knows an authentication method, by its name as clients
	// send it, such as SCRAM-SHA-256; compared bytewise.
	Serves(method string) bool
	// Start begins an exchange for a CONNECT, or a re-authentication, that names such
	// a method in c.AuthMethod. It keeps no part of c.AuthData.
	Start(c *Credentials) (Exchange, error)
}

// Offering is an EnhancedAuthenticator some of whose methods can't be had on every
// connection: what is bound to a TLS channel needs one. A method that it serves and
// does not offer counts as one that it does not serve.
type Offering interface {
	Offers(c *Credentials) bool
}

// Exchange is one run of challenges and answers. It belongs to one connection
// and is not safe for concurrent use.
type Exchange interface {
	// Next takes the client's authentication data (of CONNECT first, then of
	// each AUTH). With a nil principal and error, reply goes out in an AUTH and
	// the exchange goes on; with a principal it has succeeded and reply goes
	// into CONNACK; an error ends it.
	Next(ctx context.Context, data []byte) (reply []byte, p *security.Principal, err error)
}

// Failing is an Exchange whose method tells the client of a failure before the exchange
// ends (RFC 7628 3.2.2): Failed is why, nil before. It counts from then on, or who
// hangs up in between would try undelayed and unseen.
type Failing interface {
	Failed() error
}

// Negotiation is an enhanced authentication on its way: of a CONNECT, or of a
// connection that authenticates again. It belongs to one connection, and is not safe
// for concurrent use.
type Negotiation struct {
	service *Service
	chain   *Chain
	node    *node
	sub     int
	creds   Credentials
	own     *Credentials // as the member sees them
	x       Exchange
	delayed bool
	counted bool // that it failed

	mu    sync.Mutex // guards asked, which a step that nobody waits for any more may still write
	asked []Asked    // once the exchange has found somebody: its member, then the others of an all_of
}

// Negotiate begins an exchange for a CONNECT, or a re-authentication, that names a
// method; ok is false if no member of the listener's chain serves it: the broker
// answers bad authentication method (0x8C). cr may be reused, its header and
// certificates excepted.
func (s *Service) Negotiate(cr *Credentials) (n *Negotiation, ok bool) {
	chain := s.world.Load().chains[cr.Listener]
	if chain == nil {
		return nil, false
	}
	at, sub := chain.serving(cr)
	if at == nil {
		return nil, false
	}
	n = &Negotiation{service: s, chain: chain, node: at, sub: sub, creds: *cr}
	n.creds.Password = bytes.Clone(cr.Password)
	n.creds.AuthData = nil // each step brings its own
	return n, true
}

// serving is the node, and the index in it, of the member for cr's method.
func (c *Chain) serving(cr *Credentials) (*node, int) {
	for i := range c.nodes {
		for j, m := range c.nodes[i].all {
			if e, ok := m.Authenticator.(EnhancedAuthenticator); ok && e.Serves(cr.AuthMethod) && offers(e, cr) {
				return &c.nodes[i], j
			}
		}
	}
	return nil, 0
}

func offers(e EnhancedAuthenticator, cr *Credentials) bool {
	o, ok := e.(Offering)
	return !ok || o.Offers(cr)
}

// Step takes the client's authentication data and calls done once, with what
// Exchange.Next says of it and the chain's verdict on whom it found: from a goroutine
// of its own, or at once. data may be reused when Step returns.
func (n *Negotiation) Step(data []byte, done func(reply []byte, p *security.Principal, err error)) {
	data = bytes.Clone(data)
	s, addr := n.service, n.creds.Addr.Addr()
	wait := s.delays.wait(addr)
	if n.delayed || wait <= 0 {
		n.delayed = true
		n.submit(data, done)
		return
	}
	n.delayed = true
	network := SourcePrefix(addr)
	if !s.enter(network) {
		done(nil, nil, ErrBusy)
		return
	}
	s.opts.After(wait, func() {
		s.leave(network)
		n.submit(data, done)
	})
}

// submit has the step done on the member's lane.
func (n *Negotiation) submit(data []byte, done func([]byte, *security.Principal, error)) {
	m := &n.node.all[n.sub]
	lane := n.service.laneOf(m)
	if err := lane.open(); err != nil {
		done(nil, nil, err)
		return
	}
	var reply []byte
	var p *security.Principal
	lane.run(n.service.ctx, SourcePrefix(n.creds.Addr.Addr()), func(ctx context.Context) (err error) {
		reply, p, err = n.next(ctx, data)
		return verdictOf(m.Name(), err)
	}, func(err error, took time.Duration) {
		if errors.Is(err, ErrClosed) {
			err = ErrBusy // a reload has put another lane in its place: the client may come again
		}
		if err != nil {
			n.failed(err, took)
			done(nil, nil, err) // what the step wrote may still be written
			return
		}
		if p != nil {
			n.report(nil, took)
		} else if f, ok := n.x.(Failing); ok && f.Failed() != nil {
			n.failed(f.Failed(), took)
		}
		done(reply, p, nil)
	})
}

// failed counts and records a failure, once.
func (n *Negotiation) failed(err error, took time.Duration) {
	if n.counted {
		return
	}
	n.counted = true
	n.service.count(n.creds.Addr.Addr(), err)
	n.report(err, took)
}

// report records what the members said. took is that of the step, the others included.
func (n *Negotiation) report(err error, took time.Duration) {
	n.mu.Lock()
	asked := slices.Clone(n.asked)
	n.mu.Unlock()
	if len(asked) == 0 {
		asked = []Asked{{Member: n.node.all[n.sub].Name(), Result: resultOf(err)}}
	}
	for _, other := range asked[1:] {
		took -= other.Took
	}
	asked[0].Took = took
	n.service.report(&n.creds, err, n.node.name, asked)
}

// said notes what a member said.
func (n *Negotiation) said(m *Member, err error, took time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = append(n.asked, Asked{m.Name(), resultOf(err), took})
}

// next is one step, on a goroutine that may wait.
func (n *Negotiation) next(ctx context.Context, data []byte) ([]byte, *security.Principal, error) {
	m := &n.node.all[n.sub]
	if n.x == nil {
		if err := n.begin(ctx, m, data); err != nil {
			return nil, nil, err
		}
	}
	reply, p, err := n.x.Next(ctx, data)
	if err != nil || p == nil {
		return reply, nil, err
	}
	p, err = m.refine(p, n.own)
	n.said(m, err, 0)
	if err != nil {
		return nil, nil, err
	}
	if p, err = n.others(ctx, p); err != nil {
		return nil, nil, err
	}
	// The conditions once more: a reload may have brought others.
	if r := n.chain.condition(&n.creds); r != nil {
		return nil, nil, r
	}
	if p, err = n.chain.accept(n.node, p, &n.creds); err != nil {
		return nil, nil, err
	}
	return reply, p, nil
}

// begin starts the exchange; data is what the CONNECT brought.
func (n *Negotiation) begin(ctx context.Context, m *Member, data []byte) (err error) {
	if err := n.chain.askHosts(ctx, &n.creds); err != nil {
		return err
	}
	if r := n.chain.condition(&n.creds); r != nil {
		return r
	}
	if n.own, err = m.Prepare.apply(&n.creds); err != nil {
		return &Refused{Method: m.Name(), Reason: err.Error()}
	}
	began := *n.own
	began.AuthData = data
	n.x, err = m.Authenticator.(EnhancedAuthenticator).Start(&began)
	return err
}

// others asks the other members of an all_of, whom the exchange alone does not do.
func (n *Negotiation) others(ctx context.Context, p *security.Principal) (*security.Principal, error) {
	if !n.node.several() {
		return p, nil
	}
	plain := n.creds
	plain.AuthMethod = "" // theirs is what else the client presents
	got := make([]*security.Principal, len(n.node.all))
	for i := range n.node.all {
		m := &n.node.all[i]
		if i == n.sub {
			got[i] = p
			continue
		}
		own, err := m.Prepare.apply(&plain)
		if err != nil {
			err = &Refused{Method: m.Name(), Reason: err.Error()}
			n.said(m, err, 0)
			return nil, err
		}
		q, took, err := n.askOther(ctx, m, own)
		if err == nil {
			q, err = m.refine(q, own)
		}
		n.said(m, err, took)
		switch {
		case errors.Is(err, ErrNotMine):
			continue // together refuses
		case err != nil:
			return nil, err
		}
		got[i] = q
	}
	return n.node.together(got, &plain)
}

// askOther asks m on its own lane, whose bounds hold here as well: what hashes passwords
// has the memory for so many at a time.
func (n *Negotiation) askOther(ctx context.Context, m *Member, own *Credentials) (p *security.Principal, took time.Duration, err error) {
	lane, here := n.service.laneOf(m), n.service.laneOf(&n.node.all[n.sub])
	if lane.pool == here.pool {
		began := here.opts.Now()
		p, err = m.ask(ctx, own) // a worker of its is at it
		return p, here.opts.Now().Sub(began), err
	}
	if q, ok := m.Authenticator.(Quick); ok {
		if p, err, known := q.Quick(own); known {
			return p, 0, verdictOf(m.Name(), err)
		}
	}
	if err := lane.open(); err != nil {
		return nil, 0, err
	}
	var found *security.Principal
	answered := make(chan error, 1)
	lane.run(ctx, SourcePrefix(own.Addr.Addr()), func(ctx context.Context) (err error) {
		found, err = m.ask(ctx, own)
		return err
	}, func(err error, t time.Duration) {
		took = t
		answered <- err
	})
	here.outside(func() { err = <-answered })
	if err != nil {
		return nil, took, err // what the member found may still be written
	}
	return found, took, nil
}
