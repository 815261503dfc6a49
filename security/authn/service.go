package authn

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/security"
)

// ServiceOptions configures a Service.
type ServiceOptions struct {
	Pool   *Pool // not owned: whoever made it closes it, before the Service
	Chains map[string]*Chain
	Delay  DelayOptions
	// FailureFloor is how long after its CONNECT a failed attempt is answered
	// at the earliest; 0 is one and a half times the measured cost of the
	// slowest hash. A smaller value than that cost counts as that cost.
	FailureFloor time.Duration
	// WaitingPerNetwork bounds the attempts of one source (/32, /64) that sit
	// out a delay at a time; default 64. A /24 shares delays but not these
	// places, else one of its addresses could lock the others out. WaitingInAll
	// does so for all; default 4096.
	WaitingPerNetwork, WaitingInAll int
	// After calls f on its own goroutine, or the timer's, once d has passed;
	// nil is time.AfterFunc.
	After func(d time.Duration, f func())
}

// Service authenticates for all listeners. It is safe for concurrent use.
type Service struct {
	opts   ServiceOptions
	delays *delays
	world  atomic.Pointer[world]
	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	replacing sync.Mutex // one Replace at a time

	mu      sync.Mutex // guards the fields below
	waiting map[netip.Prefix]int
	inAll   int
}

// world is the chains by listener, with the number that grows with each Replace.
type world struct {
	number uint64
	chains map[string]*Chain
}

// Epoch is the state of chains and accounts that an attempt was decided under.
// Two epochs are compared with ==.
type Epoch struct{ world, accounts uint64 }

// NewService makes a service.
func NewService(o ServiceOptions) (*Service, error) {
	if o.Pool == nil {
		return nil, errors.New("authn: a service needs a pool")
	}
	setDefault(&o.WaitingPerNetwork, 64)
	setDefault(&o.WaitingInAll, 4096)
	if o.After == nil {
		o.After = func(d time.Duration, f func()) { time.AfterFunc(d, f) }
	}
	s := &Service{opts: o, delays: newDelays(o.Delay), waiting: map[netip.Prefix]int{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.world.Store(&world{number: 1, chains: maps.Clone(o.Chains)})
	return s, nil
}

// Close tells members that work is pointless now.
func (s *Service) Close() { s.cancel() }

// Replace puts other chains to use. Attempts under way are decided again by them.
func (s *Service) Replace(chains map[string]*Chain) {
	s.replacing.Lock()
	defer s.replacing.Unlock()
	s.world.Store(&world{number: s.world.Load().number + 1, chains: maps.Clone(chains)})
}

// Epoch is the present state of a listener's chain and accounts. Whoever holds
// an accepted principal before its CONNACK compares the epoch of before Begin
// with the one of now, and begins again if they differ.
func (s *Service) Epoch(listener string) Epoch { return s.world.Load().epoch(listener) }

func (w *world) epoch(listener string) Epoch {
	e := Epoch{world: w.number}
	if c := w.chains[listener]; c != nil {
		e.accounts = c.generation()
	}
	return e
}

// Stands reports whether the account by which p was judged is still of the version
// that p.Account names. Whoever holds an accepted principal before its CONNACK asks
// beside comparing epochs.
func (s *Service) Stands(p *security.Principal) bool { return true }

// Enhanced is the listener's authenticator for a method of enhanced
// authentication; the broker answers bad authentication method (0x8C) without one.
func (s *Service) Enhanced(listener, method string) (EnhancedAuthenticator, *Chain, bool) {
	c := s.world.Load().chains[listener]
	if c == nil {
		return nil, nil, false
	}
	e, ok := c.Enhanced(method)
	return e, c, ok
}

// FailureFloor is how long after its CONNECT a failed attempt is to be answered
// at the earliest, whatever the reason; the broker's timers hold it.
func (s *Service) FailureFloor() time.Duration {
	var cost time.Duration
	for _, c := range s.world.Load().chains {
		if d := c.dearest(); d != nil {
			cost = max(cost, d.Cost())
		}
	}
	if s.opts.FailureFloor == 0 {
		return cost + cost/2
	}
	return max(s.opts.FailureFloor, cost)
}

var errNoChain error = &Refused{Method: "chain", Reason: "listener has no authenticators"}

// attempt is one Begin on its way through the pool.
type attempt struct {
	service *Service
	creds   Credentials // own copies of what is secret
	done    func(*security.Principal, error)
	taken   atomic.Bool // by whoever calls done
}

// Begin finds out who creds are. done is called exactly once: before Begin
// returns when the answer costs nothing (no credential, unknown format, a
// generated secret, a remembered password), else on a worker, and then it must
// not block. The error is a *Refused, ErrBusy, ErrCanceled, ErrClosed or a member's
// own; each refuses. creds may be reused when Begin returns, its header and
// certificates excepted. cancel gives the attempt up if it was not begun.
func (s *Service) Begin(creds *Credentials, done func(*security.Principal, error)) (cancel func()) {
	chain := s.world.Load().chains[creds.Listener]
	if chain == nil {
		done(nil, errNoChain)
		return func() {}
	}
	asks := chain.certs.asksHosts(creds) && chain.firstCondition(creds) == nil
	if !asks {
		r := chain.quick(creds)
		if r.decided && !chain.owes(r) {
			s.count(creds.Addr.Addr(), r.err)
			done(r.p, r.err)
			return func() {}
		}
	}
	a := &attempt{service: s, creds: *creds, done: done}
	a.creds.Password = bytes.Clone(creds.Password)
	a.creds.AuthData = bytes.Clone(creds.AuthData)
	if asks {
		s.askHosts(a, chain)
	} else {
		s.schedule(a)
	}
	return func() { a.finish(nil, ErrCanceled) }
}

// askHosts has name servers asked on a goroutine of its own, which ends with the
// timeout of the lookup or with Close, and goes on with a then: the pool is for
// hashes, and name servers must not hold its workers.
func (s *Service) askHosts(a *attempt, chain *Chain) {
	network := SourcePrefix(a.creds.Addr.Addr())
	if !s.enter(network) {
		a.finish(nil, ErrBusy)
		return
	}
	go func() {
		err := chain.certs.askHosts(s.ctx, &a.creds)
		s.leave(network)
		if err != nil {
			a.finish(nil, err)
			return
		}
		s.proceed(a)
	}()
}

// proceed is Begin once name servers have answered.
func (s *Service) proceed(a *attempt) {
	if !a.taken.CompareAndSwap(false, true) {
		return // canceled while it waited
	}
	chain := s.world.Load().chains[a.creds.Listener]
	if chain == nil {
		a.conclude(nil, errNoChain)
		return
	}
	if r := chain.quick(&a.creds); r.decided && !chain.owes(r) {
		a.conclude(r.p, r.err)
		return
	}
	a.taken.Store(false) // a cancel that came meanwhile is lost, and the work done for nobody
	s.schedule(a)
}

// schedule submits a, after the delay that its source has earned.
func (s *Service) schedule(a *attempt) {
	addr := a.creds.Addr.Addr()
	wait := s.delays.wait(addr)
	if wait <= 0 {
		s.submit(a)
		return
	}
	network := SourcePrefix(addr)
	if !s.enter(network) {
		a.finish(nil, ErrBusy)
		return
	}
	s.opts.After(wait, func() {
		s.leave(network)
		s.submit(a)
	})
}

func (s *Service) submit(a *attempt) {
	if a.taken.Load() {
		return // canceled while it waited
	}
	job := &Job{Run: a.run, Drop: func(err error) { a.finish(nil, err) }}
	if err := s.opts.Pool.Submit(SourcePrefix(a.creds.Addr.Addr()), job); err != nil {
		a.finish(nil, err)
	}
}

// enter counts one more waiting attempt of a source, if there is room.
func (s *Service) enter(network netip.Prefix) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inAll >= s.opts.WaitingInAll || s.waiting[network] >= s.opts.WaitingPerNetwork {
		return false
	}
	s.inAll++
	s.waiting[network]++
	return true
}

func (s *Service) leave(network netip.Prefix) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inAll--
	if s.waiting[network]--; s.waiting[network] == 0 {
		delete(s.waiting, network)
	}
}

// run decides the attempt on a worker. What was decided under chains or
// accounts that are no more is decided once again.
func (a *attempt) run() {
	if !a.taken.CompareAndSwap(false, true) {
		return
	}
	s := a.service
	var p *security.Principal
	err := error(ErrBusy)
	for range 2 {
		w := s.world.Load()
		chain := w.chains[a.creds.Listener]
		if chain == nil {
			err = errNoChain
			break
		}
		before := w.epoch(a.creds.Listener)
		p, err = chain.authenticate(s.ctx, &a.creds)
		if s.Epoch(a.creds.Listener) == before {
			break
		}
		p, err = nil, ErrBusy
	}
	a.conclude(p, err)
}

// finish ends an attempt that was not begun.
func (a *attempt) finish(p *security.Principal, err error) {
	if a.taken.CompareAndSwap(false, true) {
		a.conclude(p, err)
	}
}

// conclude wipes the secrets and reports; the attempt was taken by the caller.
func (a *attempt) conclude(p *security.Principal, err error) {
	clear(a.creds.Password)
	clear(a.creds.AuthData)
	a.service.count(a.creds.Addr.Addr(), err)
	a.done(p, err)
}

// count remembers where refusals come from.
func (s *Service) count(addr netip.Addr, err error) {
	if err == nil {
		return
	}
	var refused *Refused
	if errors.As(err, &refused) {
		s.delays.failed(addr)
	}
}
