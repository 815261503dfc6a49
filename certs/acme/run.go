package acme

import (
	"context"
	"fmt"
	"time"
)

// attemptTimeout is for one attempt: an order, its challenges, the certificate.
const attemptTimeout = 10 * time.Minute

var errSlow = fmt.Errorf("the server did not come to an end within %v", attemptTimeout)

// recheck is how often the wall clock is looked at, which certificates go by: it
// may jump, and a timer may stand still while the machine sleeps.
const recheck = time.Hour

// run makes the attempts until ctx ends.
func (k *Keeper) run(ctx context.Context) {
	k.warn()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		next := k.plan.next(time.Now())
		k.note(func(s *State) { s.Next = next })
		asks := k.cert.Load() != nil && k.plan.renewal.After(time.Now())
		if asks && k.plan.ask.Before(next) {
			next = k.plan.ask
		}
		timer.Reset(min(time.Until(next), recheck))
		select {
		case <-ctx.Done():
			return
		case <-k.renew:
		case <-timer.C:
			now := time.Now()
			if k.plan.next(now).After(now) {
				if asks && !k.plan.ask.After(now) {
					k.ask(ctx)
				}
				continue
			}
		}
		k.attempt(ctx)
		if ctx.Err() != nil {
			return
		}
	}
}

// warn tells at the start what a stored certificate lacks.
func (k *Keeper) warn() {
	cert := k.cert.Load()
	switch {
	case cert == nil:
		k.log.Warn("no certificate yet: handshakes are refused until one is issued", "directory", k.options.Directory, "domains", k.options.Domains)
	case time.Now().After(cert.Leaf.NotAfter):
		k.log.Error("certificate has expired", "directory", k.options.Directory, "domains", k.options.Domains, "expired", stamp(cert.Leaf.NotAfter))
	}
}

// attempt makes one, and plans the next.
func (k *Keeper) attempt(ctx context.Context) {
	k.note(func(s *State) { s.Ordering = true })
	defer k.note(func(s *State) { s.Ordering = false })
	within, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	cert, err := k.obtain(within)
	if ctx.Err() != nil {
		return // the broker stops: nobody failed
	}
	select {
	case <-k.renew: // It was wanted while it was done. Who knows of its end wants another.
	default:
	}
	if err != nil && within.Err() != nil {
		err = fmt.Errorf("%w: %w", errSlow, err)
	}
	if err == nil {
		err = k.keep(cert)
	}
	now := time.Now()
	if err != nil {
		k.failed(err, now)
		return
	}
	k.plan.issued(cert.Leaf, k.options.RenewBefore, now)
	k.remember()
	k.mu.Lock()
	k.use(cert)
	k.state.Failures, k.state.LastError, k.state.LastSuccess = 0, "", now
	serial, next := k.state.Serial, k.state.Next
	k.mu.Unlock()
	k.options.Changed(cert)
	k.log.Info("certificate issued", "directory", k.options.Directory, "domains", k.options.Domains,
		"serial", serial, "expires", stamp(cert.Leaf.NotAfter), "next", stamp(next))
	life := cert.Leaf.NotAfter.Sub(cert.Leaf.NotBefore)
	if before := k.options.RenewBefore; before > 0 && before >= life-life/10 {
		k.log.Warn("renew_before leaves a certificate of this life no time: the default is used", "renew_before", before, "life", life)
	}
}

// failed logs a failure once, and plans the next attempt.
func (k *Keeper) failed(err error, now time.Time) {
	p := describe(err, now)
	k.plan.failed(now, p.after)
	k.remember()
	next := k.plan.next(now)
	k.note(func(s *State) {
		s.Failures, s.LastFailure, s.LastError, s.Next = k.plan.failures, now, p.text, next
		if p.kind != "" {
			s.LastError = p.kind + ": " + p.text
		}
	})
	with := []any{"directory", k.options.Directory, "domains", k.options.Domains, "problem", p.kind, "reason", p.text,
		"failures", k.plan.failures, "next", stamp(next)}
	cert := k.cert.Load()
	switch {
	case cert == nil:
		k.log.Error("no certificate was issued, and there is none", with...)
	case now.After(cert.Leaf.NotAfter):
		k.log.Error("no certificate was issued, and the present one has expired", with...)
	default:
		k.log.Warn("no certificate was issued", append(with, "expires", stamp(cert.Leaf.NotAfter))...)
	}
}

// remember stores what a restart must not forget. That it can't be written is
// no reason to stop: the next attempt will fail for it, and say so.
func (k *Keeper) remember() {
	if err := k.store.write(attemptsFile, k.plan.attempts(k.options.Domains)); err != nil {
		k.log.Error("storage can't be written", "file", k.store.path(attemptsFile), "reason", err.Error())
	}
}
