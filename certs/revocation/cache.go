package revocation

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"
)

// cache remembers what was fetched, and fetches it in the background: one fetch
// per key at a time, and one per lane.
type cache[V any] struct {
	now     func() time.Time
	ctx     context.Context // ends fetches
	max     int             // entries
	flights int             // at most, at once
	perLane int             // of these, for one issuer: a slow one must leave room
	limit   time.Duration   // of a fetch with all its waiting
	backoff [2]time.Duration
	// sweeps says that refresh is called, and not only look.
	sweeps bool
	// keep says that a value must not make room for others, as long as there are any.
	keep func(V) bool

	// mu guards the fields below, and those of slots.
	mu     sync.Mutex
	closed bool
	flying int
	slots  map[string]*slot[V]
	lanes  map[string]*lane   // by issuer
	silent map[string]silence // by issuer and server
	done   sync.WaitGroup     // of fetches
}

// slot is what is remembered under one key.
type slot[V any] struct {
	value    V
	have     bool
	err      error     // of the last fetch
	failures int       // in a row
	due      time.Time // of the next fetch
	used     time.Time
	flight   chan struct{} // closed when the fetch ends; nil while there is none
	load     load[V]
	issuer   string
	server   string
}

// load fetches a value; have says that old is one. due is when to ask again.
type load[V any] func(ctx context.Context, old V, have bool) (value V, due time.Time, err error)

// lane lets one fetch at a time go out for an issuer.
type lane struct {
	turn  chan struct{} // holds one token while a fetch runs
	users int
}

// silence is a server that does not answer: nobody asks it for a while, so that
// not every certificate of its issuer waits for it in turn.
type silence struct {
	failures int
	until    time.Time
}

var (
	errBusy   = errors.New("too many requests at once")
	errEnded  = errors.New("shut down")
	errNotYet = errors.New("not fetched yet")
	errSilent = errors.New("its server gave no answer a moment ago")
)

// serverError is a failure to get an answer at all, which another question to the
// same server would meet as well.
type serverError struct{ error }

func (e serverError) Unwrap() error { return e.error }

// look returns what is remembered. It never waits, but starts a fetch that is
// due; flight is closed when the fetch that runs ends, and nil if none does.
func (c *cache[V]) look(key, issuer, server string, fetch load[V]) (value V, have bool, flight <-chan struct{}, err error) {
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.slots[key]
	if s == nil {
		if c.closed {
			return value, false, nil, errEnded
		}
		if len(c.slots) >= c.max && !c.evict() {
			return value, false, nil, errBusy
		}
		s = &slot[V]{issuer: issuer, server: issuer + " " + server, err: errNotYet}
		c.slots[key] = s
	}
	s.used, s.load = now, fetch
	err = c.start(s, now)
	if s.flight != nil {
		return s.value, s.have, s.flight, s.err
	}
	c.forgetLoad(s)
	if err == nil || s.have {
		err = s.err
	}
	return s.value, s.have, nil, err
}

// forgetLoad lets go of what holds a certificate, of which there are many, where
// only look starts fetches.
func (c *cache[V]) forgetLoad(s *slot[V]) {
	if !c.sweeps {
		s.load = nil
	}
}

// start fetches what is due. c.mu is held.
func (c *cache[V]) start(s *slot[V], now time.Time) error {
	switch {
	case s.flight != nil || now.Before(s.due):
		return nil
	case c.closed:
		return errEnded
	case c.flying >= c.flights:
		return errBusy
	}
	if now.Before(c.silent[s.server].until) {
		return errSilent
	}
	l := c.lanes[s.issuer]
	if l == nil {
		l = &lane{turn: make(chan struct{}, 1)}
		c.lanes[s.issuer] = l
	}
	if l.users >= c.perLane {
		return errBusy
	}
	l.users++
	c.flying++
	s.flight = make(chan struct{})
	c.done.Add(1)
	go c.fly(s, l, s.load) // ends with the fetch, whose time is bounded, or with c.ctx
	return nil
}

func (c *cache[V]) fly(s *slot[V], l *lane, fetch load[V]) {
	defer c.done.Done()
	ctx, cancel := context.WithTimeout(c.ctx, c.limit)
	defer cancel()
	var value V
	var due time.Time
	err := context.DeadlineExceeded
	select {
	case l.turn <- struct{}{}:
		c.mu.Lock()
		old, have, silent := s.value, s.have, c.now().Before(c.silent[s.server].until)
		c.mu.Unlock()
		if err = errSilent; !silent { // it may have become so while we waited
			value, due, err = fetch(ctx, old, have)
		}
		<-l.turn
	case <-ctx.Done():
	}
	c.land(s, l, value, due, err)
}

func (c *cache[V]) land(s *slot[V], l *lane, value V, due time.Time, err error) {
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	s.err = err
	var server serverError
	switch {
	case err == nil:
		s.value, s.have, s.due, s.failures = value, true, due, 0
		delete(c.silent, s.server)
	default:
		s.due = now.Add(c.pause(s.failures))
		s.failures++
		if errors.As(err, &server) && c.ctx.Err() == nil {
			failures := c.silent[s.server].failures
			c.silent[s.server] = silence{failures + 1, now.Add(c.pause(failures))}
		}
	}
	close(s.flight)
	s.flight = nil
	c.forgetLoad(s)
	c.flying--
	if l.users--; l.users == 0 {
		delete(c.lanes, s.issuer)
	}
}

// pause is how long to wait after so many failures, spread by a quarter.
func (c *cache[V]) pause(failures int) time.Duration {
	p := c.backoff[1]
	if failures < 16 {
		p = min(p, c.backoff[0]<<failures)
	}
	return p - time.Duration(rand.Int64N(int64(p)/4+1))
}

// evict makes room: of a few entries that nobody fetches, the one that was used
// longest ago goes. c.mu is held.
func (c *cache[V]) evict() bool {
	var key string
	var oldest *slot[V]
	seen := 0
	for k, s := range c.slots { // a map gives them in no order, so these are a sample
		if s.flight != nil || s.have && c.keep(s.value) {
			if seen++; seen > 64 {
				break
			}
			continue
		}
		if oldest == nil || s.used.Before(oldest.used) {
			key, oldest = k, s
		}
		if seen += 8; seen > 64 {
			break
		}
	}
	if oldest == nil {
		return false
	}
	delete(c.slots, key)
	return true
}

// refresh starts what is due of what was used since, and forgets the rest unless
// it is to be kept.
func (c *cache[V]) refresh(since time.Time) {
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, s := range c.slots {
		switch {
		case s.flight != nil:
		case s.used.After(since):
			_ = c.start(s, now) // busy, or no answer a moment ago: the next round tries again
		case !s.have || !c.keep(s.value):
			delete(c.slots, key)
		}
	}
	c.dropSilent(now)
}

// each calls yield with every entry.
func (c *cache[V]) each(yield func(key string, value V, have bool, err error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, s := range c.slots {
		yield(key, s.value, s.have, s.err)
	}
}

// close lets no further fetch begin. Those that run end with c.ctx.
func (c *cache[V]) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.done.Wait()
}

// forget forgets what was not used since, unless it is to be kept.
func (c *cache[V]) forget(since time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, s := range c.slots {
		if s.flight == nil && s.used.Before(since) && !(s.have && c.keep(s.value)) {
			delete(c.slots, key)
		}
	}
	c.dropSilent(c.now())
}

// dropSilent forgets servers that failed long ago. c.mu is held.
func (c *cache[V]) dropSilent(now time.Time) {
	for key, s := range c.silent {
		if now.After(s.until.Add(c.backoff[1])) {
			delete(c.silent, key)
		}
	}
}
