package acme

import (
	"crypto/x509"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"time"
)

// The pauses between attempts.
const (
	firstPause = 2 * time.Minute
	mostPause  = time.Hour
	// restartPause bounds what is left of our own pause after a restart, which
	// may be there because the operator has mended something. Five attempts in an
	// hour are what Let's Encrypt bears for one name; a crash that repeats itself
	// makes six at most.
	restartPause = 10 * time.Minute
	// leastLife is how long a certificate is used before the next is ordered,
	// whatever it says of its end: a server that issues what is due at once must
	// not be asked without end.
	leastLife = 10 * time.Second
	// maxFailures is what a stored count may be: a century of them.
	maxFailures = 1_000_000

	// shortLife is what is renewed at half of its life, as Let's Encrypt advises.
	shortLife = 10 * 24 * time.Hour
)

// plan says when the next attempt is due. The zero value says now.
type plan struct {
	renewal  time.Time // when the present certificate is due; zero for now
	ask      time.Time // when the server is asked whether it is due earlier; zero for now
	failures int       // since the last success
	last     time.Time // the last failure
	pause    time.Time // the end of our own pause
	silence  time.Time // what the server asked for
}

// next is when the next attempt begins.
func (p *plan) next(now time.Time) time.Time {
	next := now
	for _, t := range []time.Time{p.renewal, p.pause, p.silence} {
		if t.After(next) {
			next = t
		}
	}
	return next
}

// holds plans the renewal of a certificate.
func (p *plan) holds(leaf *x509.Certificate, before time.Duration) {
	p.renewal = renewal(leaf.NotBefore, leaf.NotAfter, before)
	// Whoever started at the same time doesn't come at the same time.
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	if spread := life / 50; spread > 0 {
		p.renewal = p.renewal.Add(-rand.N(spread))
	}
}

// renewal is when a certificate is to be renewed: before its end by the time
// that is asked for if its life has room for it, else by a third of its life,
// and half of one that is short.
func renewal(notBefore, notAfter time.Time, before time.Duration) time.Time {
	life := notAfter.Sub(notBefore)
	switch {
	case before > 0 && before < life-life/10:
		return notAfter.Add(-before)
	case life < shortLife:
		return notAfter.Add(-life / 2)
	}
	return notAfter.Add(-life / 3)
}

// issued plans after a success.
func (p *plan) issued(leaf *x509.Certificate, before time.Duration, now time.Time) {
	*p = plan{ask: now.Add(usualAsk)}
	p.holds(leaf, before)
	if least := now.Add(leastLife); p.renewal.Before(least) {
		p.renewal = least
	}
}

// failed plans after a failure: twice the pause each time, and a quarter more
// by chance.
func (p *plan) failed(now time.Time, asked time.Duration) {
	p.failures++
	pause := pauseAfter(p.failures)
	p.last = now
	p.pause = now.Add(pause + rand.N(pause/4))
	p.silence = time.Time{}
	if asked > 0 {
		p.silence = now.Add(asked)
	}
}

// pauseAfter is the pause after so many failures, one at least.
func pauseAfter(failures int) time.Duration {
	if failures > 5 {
		return mostPause
	}
	return min(firstPause<<(failures-1), mostPause)
}

// attempts is what is stored of p.
func (p *plan) attempts(domains []string) attempts {
	return attempts{Domains: domains, Failures: p.failures, Last: p.last, Silence: p.silence}
}

// restore reads what was stored of a plan. What failed for other domains says
// nothing of these, but the server's word holds. Nothing in the file can make
// us wait for longer than it could have made us when it was written.
func (p *plan) restore(data []byte, domains []string, now time.Time) {
	var a attempts
	if json.Unmarshal(data, &a) != nil || a.Last.After(now) {
		return
	}
	if !a.Silence.After(now.Add(maxRetryAfter)) {
		p.silence = a.Silence
	}
	if a.Failures <= 0 || a.Failures > maxFailures || !slices.Equal(a.Domains, domains) {
		return
	}
	p.failures, p.last = a.Failures, a.Last
	p.pause = a.Last.Add(min(pauseAfter(a.Failures), restartPause))
}
