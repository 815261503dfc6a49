package authn

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"maps"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/audit"
	"sallyport/security"
)

// ServiceOptions configures a Service.
type ServiceOptions struct {
	Pool   *Pool // not owned: whoever made it closes it, before the Service
	Chains map[string]*Chain
	Delay  DelayOptions
	// FailureFloor is how long after its CONNECT, or the last AUTH of it, a failed
	// attempt is answered at the earliest; 0 is one and a half times the measured cost
	// of the slowest hash, and leastFloor at least. A smaller value than that cost
	// counts as that cost.
	FailureFloor time.Duration
	// WaitingPerNetwork bounds the attempts of one source (/32, /64) that sit
	// out a delay at a time; default 64. A /24 shares delays but not these
	// places, else one of its addresses could lock the others out. WaitingInAll
	// does so for all; default 4096.
	WaitingPerNetwork, WaitingInAll int
	// Audit records what the members of a chain said of each client.
	Audit audit.Log
	// After calls f on its own goroutine, or the timer's, once d has passed;
	// nil is time.AfterFunc.
	After func(d time.Duration, f func())
}

// Service authenticates for all listeners. It is safe for concurrent use.
type Service struct {
	opts   ServiceOptions
	delays *delays
	world  atomic.Pointer[world]
	lane   *Lane           // of members that have none: the pool, without a time
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
	var err error
	// Without a breaker: one member that is down must not stand for the others.
	if s.lane, err = NewLane(LaneOptions{Name: "members", Pool: o.Pool, Failures: math.MaxInt}); err != nil {
		return nil, err
	}
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

// Stands reports whether the account that p was judged by is still as it was then.
// Whoever holds an accepted principal before its CONNACK asks it when the principal is
// where changes of accounts find it, and authenticates again if it does not.
func (s *Service) Stands(p *security.Principal) bool {
	if p == nil {
		return false
	}
	c := s.world.Load().chains[p.Listener]
	return c != nil && c.Stands(p)
}

// leastFloor is the floor that is measured where no hash is slow: what SCRAM, tokens and
// generated secrets compute differs by less than a millisecond from reason to reason.
const leastFloor = 10 * time.Millisecond

// FailureFloor is how long after its last packet a failed attempt is to be answered
// at the earliest, whatever the reason; the broker's timers hold it.
func (s *Service) FailureFloor() time.Duration {
	var cost time.Duration
	for _, c := range s.world.Load().chains {
		if d := c.dearest(); d != nil {
			cost = max(cost, d.Cost())
		}
	}
	if s.opts.FailureFloor == 0 {
		return max(cost+cost/2, leastFloor)
	}
	return max(s.opts.FailureFloor, cost)
}

var errNoChain error = &Refused{Method: "chain", Reason: "listener has no authenticators"}

// Begin finds out who creds are. done is called exactly once: before Begin
// returns when the answer costs nothing (no credential, unknown format, a
// generated secret, a remembered password), else on a worker, and then it must
// not block. The error is a *Refused, an *Unavailable, ErrBusy, ErrCanceled or
// ErrClosed; each refuses. creds may be reused when Begin returns, its header and
// certificates excepted. cancel gives the attempt up.
func (s *Service) Begin(creds *Credentials, done func(*security.Principal, error)) (cancel func()) {
	w := s.world.Load()
	chain := w.chains[creds.Listener]
	if chain == nil {
		done(nil, errNoChain)
		return func() {}
	}
	counted := 0
	asks := chain.certs.asksHosts(creds) && chain.firstCondition(creds) == nil
	if !asks {
		at := progress{traced: s.opts.Audit.Writes(audit.Authentication)}
		r := chain.walk(&at, creds)
		if r.decided && !chain.owes(&r) {
			s.count(creds.Addr.Addr(), r.err)
			s.report(creds, r.err, methodOf(r), at.asked)
			done(r.p, r.err)
			return func() {}
		}
		counted = at.quick
	}
	a := &attempt{service: s, creds: *creds, done: done, counted: counted}
	a.creds.Password = bytes.Clone(creds.Password)
	a.creds.AuthData = bytes.Clone(creds.AuthData)
	if asks {
		s.askHosts(a, chain)
	} else {
		a.begin()
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
		a.begin()
	}()
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

// laneOf is the way to m.
func (s *Service) laneOf(m *Member) *Lane {
	if m.Lane != nil {
		return m.Lane
	}
	return s.lane
}

// report records what the members said. The user name of an attempt that failed
// stands in no log before it is known what it is.
func (s *Service) report(cr *Credentials, err error, method string, asked []Asked) {
	if !s.opts.Audit.Writes(audit.Authentication) {
		return
	}
	addr := "local"
	if cr.Addr.IsValid() {
		addr = cr.Addr.String()
	}
	s.opts.Audit.Record(audit.Authentication, slog.String("client", cr.ClientID), slog.String("addr", addr),
		slog.String("listener", cr.Listener), slog.String("result", resultOf(err)), slog.String("method", method),
		slog.String("asked", askedText(asked)))
}

// methodOf is the member that decided.
func methodOf(r result) string {
	if r.p != nil {
		return r.p.Method
	}
	var refused *Refused
	if errors.As(r.err, &refused) {
		return refused.Method
	}
	if u, ok := errors.AsType[*Unavailable](r.err); ok {
		return u.Member
	}
	return ""
}
