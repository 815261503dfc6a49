package authn

import (
	"bytes"
	"context"
	"errors"
	"sync/atomic"
	"time"

	"sallyport/security"
)

// attempt is one Begin that could not be answered at once. At any moment one
// goroutine has it: whoever got the last answer, and goes on.
type attempt struct {
	service *Service
	creds   Credentials // own copies of what is secret
	done    func(*security.Principal, error)
	ended   atomic.Bool // by whoever calls done

	chain   *Chain
	before  Epoch // of chain and accounts, when it was begun
	at      progress
	counted int  // answers that cost nothing, of walks that came to nothing
	again   bool // it was begun once more, since accounts or chains had changed
	delayed bool
}

// begin goes through the chain of now.
func (a *attempt) begin() {
	w := a.service.world.Load()
	a.chain = w.chains[a.creds.Listener]
	if a.chain == nil {
		a.finish(nil, errNoChain)
		return
	}
	a.before, a.at = w.epoch(a.creds.Listener), progress{traced: true, counted: a.counted}
	a.advance()
}

// advance asks members until one has to be waited for.
func (a *attempt) advance() {
	if a.ended.Load() {
		a.wipe() // canceled meanwhile
		return
	}
	r := a.chain.walk(&a.at, &a.creds)
	if r.decided && !a.chain.owes(&r) {
		a.settle(r)
		return
	}
	a.delay(func() {
		if r.decided {
			a.pay(r)
		} else {
			a.ask()
		}
	})
}

// delay goes on after the delay that the source has earned, once an attempt.
func (a *attempt) delay(next func()) {
	s, addr := a.service, a.creds.Addr.Addr()
	wait := s.delays.wait(addr)
	if a.delayed || wait <= 0 {
		a.delayed = true
		next()
		return
	}
	a.delayed = true
	network := SourcePrefix(addr)
	if !s.enter(network) {
		a.finish(nil, ErrBusy)
		return
	}
	s.opts.After(wait, func() {
		s.leave(network)
		if a.ended.Load() {
			a.wipe() // canceled meanwhile
			return
		}
		next()
	})
}

// ask asks the member that the attempt stands at, on its lane. The member sees copies
// of what is secret, since it may still look at them when nobody waits any more.
func (a *attempt) ask() {
	m, cr := a.chain.member(&a.at), a.at.creds(&a.creds)
	lane := a.service.laneOf(m)
	if err := lane.open(); err != nil {
		a.took(nil, err, 0)
		return
	}
	own := *cr
	own.Password = bytes.Clone(cr.Password)
	key, remembers := a.chain.rightKey(m, &own)
	a.at.paid = true
	var p *security.Principal
	lane.run(a.service.ctx, SourcePrefix(own.Addr.Addr()), func(ctx context.Context) error {
		defer clear(own.Password)
		if a.ended.Load() {
			return ErrCanceled
		}
		who, err := m.ask(ctx, &own)
		if a.ended.Load() {
			// Nobody waits, and yet it counts: else who hangs up at once guesses undelayed.
			a.service.count(own.Addr.Addr(), err)
		}
		p = who
		return err
	}, func(err error, took time.Duration) {
		if err != nil {
			a.took(nil, err, took)
			return
		}
		if remembers {
			a.chain.remember(key, p)
		}
		a.took(p, nil, took)
	})
}

// took goes on with a member's answer.
func (a *attempt) took(p *security.Principal, err error, took time.Duration) {
	if a.ended.Load() {
		a.wipe()
		return
	}
	r := a.chain.take(&a.at, p, err, &a.creds, took)
	switch {
	case !r.decided:
		a.advance()
	case a.chain.owes(&r):
		a.pay(r)
	default:
		a.settle(r)
	}
}

// pay has the slow hash computed that a refusal owes, within the time that a check of
// it has: where the pool has much to do, who is known and who is not are both told to
// come again.
func (a *attempt) pay(r result) {
	s := a.service
	password := bytes.Clone(a.creds.Password)
	payer := a.chain.payer()
	var within time.Duration
	if payer != nil {
		within = s.laneOf(payer).opts.Timeout
	}
	s.lane.runWithin(s.ctx, within, SourcePrefix(a.creds.Addr.Addr()), func(context.Context) error {
		defer clear(password)
		if payer != nil {
			payer.Authenticator.(decoy).Decoy(password)
		}
		return r.err
	}, func(err error, _ time.Duration) {
		a.at.paid = true
		a.settle(refusal(err))
	})
}

// settle ends the attempt, or begins it once more where it was decided under chains or
// accounts that are no more.
func (a *attempt) settle(r result) {
	if a.service.Epoch(a.creds.Listener) != a.before {
		if !a.again {
			a.again, a.counted = true, a.at.quick
			a.begin()
			return
		}
		r = refusal(ErrBusy)
	}
	a.chain.rememberWrong(&a.at, r.err)
	a.finish(r.p, r.err)
	a.wipe()
}

// wipe clears what is secret. Who calls it has the attempt.
func (a *attempt) wipe() {
	clear(a.creds.Password)
	clear(a.creds.AuthData)
}

// finish ends the attempt and reports; a cancel comes here from anywhere.
func (a *attempt) finish(p *security.Principal, err error) {
	if !a.ended.CompareAndSwap(false, true) {
		return
	}
	a.service.count(a.creds.Addr.Addr(), err)
	if !errors.Is(err, ErrCanceled) { // else who has the attempt may be writing to asked
		a.service.report(&a.creds, err, methodOf(result{p: p, err: err}), a.at.asked)
	}
	a.done(p, err)
}
