package authn

import (
	"bytes"
	"context"
	"errors"
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
	asked   []Asked
}

// spoken is what a step came to where that is not what the lane counts: as is what it
// counts instead, and nil that the member has answered, as each step on the way does.
type spoken struct{ err, as error }

func (s *spoken) Error() string { return "authn: a step of an exchange" }

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
		n.askHosts(data, done)
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
		n.askHosts(data, done)
	})
}

// askHosts has name servers asked, where the first step needs that, and goes on: on a
// goroutine of its own, as [Service.askHosts] does.
func (n *Negotiation) askHosts(data []byte, done func([]byte, *security.Principal, error)) {
	if n.x != nil || !n.chain.certs.asksHosts(&n.creds) {
		n.submit(data, done)
		return
	}
	s, network := n.service, SourcePrefix(n.creds.Addr.Addr())
	if !s.enter(network) {
		done(nil, nil, ErrBusy)
		return
	}
	go func() {
		err := n.chain.askHosts(s.ctx, &n.creds)
		s.leave(network)
		if err != nil {
			n.failed(err)
			done(nil, nil, err)
			return
		}
		n.submit(data, done)
	}()
}

// submit has the step done on the member's lane.
func (n *Negotiation) submit(data []byte, done func([]byte, *security.Principal, error)) {
	m := &n.node.all[n.sub]
	lane := n.service.laneOf(m)
	if err := lane.open(); err != nil {
		n.say(m, err, 0)
		n.failed(err)
		done(nil, nil, err)
		return
	}
	var reply []byte
	var p *security.Principal
	counted := n.counted
	lane.run(n.service.ctx, SourcePrefix(n.creds.Addr.Addr()), func(ctx context.Context) (err error) {
		reply, p, err = n.next(ctx, data)
		return n.verdict(m, p, err, counted)
	}, func(err error, took time.Duration) {
		var failure error // that the client was told of, while the exchange goes on
		s, otherwise := err.(*spoken)
		if otherwise {
			if err = s.err; err == nil {
				failure = s.as
			}
		}
		if errors.Is(err, ErrClosed) {
			err = ErrBusy // a reload has put another lane in its place: the client may come again
		}
		switch {
		case err != nil:
			if !otherwise { // else it was not asked, or has said so before
				n.say(m, err, took)
			}
			n.failed(err)
			done(nil, nil, err) // what the step wrote may still be written
		case failure != nil:
			n.say(m, failure, took)
			n.failed(failure)
			done(reply, nil, nil)
		case p == nil:
			done(reply, nil, nil)
		default:
			n.complete(p, took, func(p *security.Principal, err error) {
				if err != nil {
					n.failed(err)
					done(nil, nil, err)
					return
				}
				n.report(nil)
				done(reply, p, nil)
			})
		}
	})
}

// verdict is what a step of m's came to, for the lane, where an exchange counts once:
// counted says that it has.
func (n *Negotiation) verdict(m *Member, p *security.Principal, err error, counted bool) error {
	if s, ok := err.(*spoken); ok {
		return s
	}
	err = verdictOf(m.Name(), err)
	f, ok := n.x.(Failing)
	switch {
	case err != nil && counted:
		return &spoken{err: err}
	case err != nil || p != nil:
		return err
	case ok && f.Failed() != nil && !counted:
		return &spoken{as: verdictOf(m.Name(), f.Failed())}
	}
	return &spoken{}
}

// say notes what m said.
func (n *Negotiation) say(m *Member, err error, took time.Duration) {
	if !n.counted {
		n.asked = append(n.asked, Asked{m.Name(), resultOf(err), took})
	}
}

// failed counts and records a failure, once.
func (n *Negotiation) failed(err error) {
	if n.counted {
		return
	}
	n.counted = true
	n.service.count(n.creds.Addr.Addr(), err)
	n.report(err)
}

func (n *Negotiation) report(err error) {
	n.service.report(&n.creds, err, n.node.name, n.asked)
	n.asked = nil
}

// next is one step of the member's, on a goroutine that may wait.
func (n *Negotiation) next(ctx context.Context, data []byte) ([]byte, *security.Principal, error) {
	if n.x == nil {
		if err := n.begin(&n.node.all[n.sub], data); err != nil {
			return nil, nil, err
		}
	}
	reply, p, err := n.x.Next(ctx, data)
	if err != nil {
		return nil, nil, err
	}
	return reply, p, nil
}

// begin starts the exchange; data is what the CONNECT brought.
func (n *Negotiation) begin(m *Member, data []byte) (err error) {
	if r := n.chain.condition(&n.creds); r != nil {
		return &spoken{err: r} // the member was not asked
	}
	if n.own, err = m.Prepare.apply(&n.creds); err != nil {
		return &spoken{err: &Refused{Method: m.Name(), Reason: err.Error()}}
	}
	began := *n.own
	began.AuthData = data
	n.x, err = m.Authenticator.(EnhancedAuthenticator).Start(&began)
	return err
}

// complete turns whom the exchange found into whom the chain accepts, and calls end
// once. It has left the member's lane: others are asked on theirs, and hold up nobody
// who asks this one.
func (n *Negotiation) complete(p *security.Principal, took time.Duration, end func(*security.Principal, error)) {
	m := &n.node.all[n.sub]
	p, err := m.refine(p, n.own)
	n.say(m, err, took)
	if err != nil {
		end(nil, err)
		return
	}
	accept := func(p *security.Principal, err error) {
		if err == nil {
			// The conditions once more: a reload may have brought others.
			if r := n.chain.condition(&n.creds); r != nil {
				err = r
			} else {
				p, err = n.chain.accept(n.node, p, &n.creds)
			}
		}
		if err != nil {
			p = nil
		}
		end(p, err)
	}
	if !n.node.several() {
		accept(p, nil)
		return
	}
	o := &others{n: n, plain: n.creds, got: make([]*security.Principal, len(n.node.all)), end: accept}
	o.plain.AuthMethod = "" // theirs is what else the client presents
	o.got[n.sub] = p
	o.ask()
}

// others asks the other members of an all_of, whom the exchange alone does not do, one
// after the other.
type others struct {
	n     *Negotiation
	plain Credentials
	got   []*security.Principal // nil for who did not know the client
	at    int
	end   func(*security.Principal, error)
}

// ask asks from where it stands until one has to be waited for.
func (o *others) ask() {
	for all := o.n.node.all; o.at < len(all); {
		if o.at == o.n.sub {
			o.at++
			continue
		}
		m := &all[o.at]
		own, err := m.Prepare.apply(&o.plain)
		if err != nil {
			o.end(nil, &Refused{Method: m.Name(), Reason: err.Error()})
			return
		}
		lane := o.n.service.laneOf(m)
		if q, ok := m.Authenticator.(Quick); ok {
			if p, err, known := q.Quick(own); known {
				err = verdictOf(m.Name(), err)
				lane.answered(err, 0)
				if !o.take(m, own, p, err, 0) {
					return
				}
				continue
			}
		}
		if err := lane.open(); err != nil {
			o.take(m, own, nil, err, 0)
			return
		}
		var p *security.Principal
		lane.run(o.n.service.ctx, SourcePrefix(own.Addr.Addr()), func(ctx context.Context) (err error) {
			p, err = m.ask(ctx, own)
			return err
		}, func(err error, took time.Duration) {
			if errors.Is(err, ErrClosed) {
				err = ErrBusy
			}
			var who *security.Principal // after an error p may still be written
			if err == nil {
				who = p
			}
			if o.take(m, own, who, err, took) {
				o.ask()
			}
		})
		return
	}
	o.end(o.n.node.together(o.got, &o.plain))
}

// take notes what m said, and reports whether the next one is to be asked; if not, it
// has ended.
func (o *others) take(m *Member, own *Credentials, p *security.Principal, err error, took time.Duration) bool {
	if err == nil {
		p, err = m.refine(p, own)
	}
	o.n.say(m, err, took)
	switch {
	case errors.Is(err, ErrNotMine): // together refuses
	case err != nil:
		o.end(nil, err)
		return false
	default:
		o.got[o.at] = p
	}
	o.at++
	return true
}
