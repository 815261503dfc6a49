package broker

import (
	"log/slog"
	"math"
	"time"

	"sallyport/audit"
	"sallyport/packet"
)

// bound is what ends a connection on time.
type bound uint8

const (
	noBound    bound = iota
	credential       // Principal.Expires: of a certificate, a token, an account
	authAge          // Listener.MaxAuthAge
	lifetime         // Listener.MaxConnectionLifetime
)

func (w bound) String() string {
	switch w {
	case credential:
		return "credential"
	case authAge:
		return "max_auth_age"
	case lifetime:
		return "max_connection_lifetime"
	}
	return "none"
}

// mostEarly bounds how much earlier than its bound a connection ends by chance: a
// tenth of the time from its start to the bound, and at most this.
const mostEarly = 5 * time.Minute

// deadline is when the connection has to end, in the broker's time, and for what;
// 0: never. end is the bound itself, which chance makes it no later than. It is computed
// whenever it is asked for, which timers do: so it costs a connection nothing but its
// start and its share of chance.
func (c *Conn) deadline() (at, end int64, why bound) {
	p := c.principal.Load()
	if p == nil {
		return 0, 0, noBound
	}
	began, proved := c.ticks(c.began.Load()), c.ticks(c.began.Load())
	if a := c.enhanced.Load(); a != nil {
		proved = c.ticks(a.proved.Load())
	}
	until := func(from, to int64, what bound) {
		// Never later than the bound, and by chance earlier: who connected at once does
		// not come back at once.
		early := min(max(0, to-from)/10, int64(mostEarly))
		by := to - int64(float64(early)*float64(c.early)/(math.MaxUint16+1))
		if at == 0 || by < at {
			at, end, why = by, to, what
		}
	}
	if p.Expires != 0 {
		// It ends by the wall clock, which said that it was good.
		until(proved, int64(p.Expires)*1e9-c.b.ahead(), credential)
	}
	l := c.presently()
	if d := int64(l.MaxAuthAge); d > 0 {
		until(proved, proved+d, authAge)
	}
	if d := int64(l.MaxConnectionLifetime); d > 0 {
		until(began, began+d, lifetime)
	}
	return at, end, why
}

// presently is the connection's listener as the last reload left it: its bounds of
// time are those of now.
func (c *Conn) presently() *Listener {
	if l := c.b.listener(c.lis.Name); l != nil {
		return l
	}
	return c.lis
}

// ticks is a time in ticks since the broker's start as one in nanoseconds since 1970.
func (c *Conn) ticks(n uint32) int64 { return c.b.started.UnixNano() + int64(n)*int64(tick) }

// tickOf is the reverse, rounded down: a bound is reached early rather than late.
func (b *Broker) tickOf(at int64) uint32 {
	return uint32(max(0, at-b.started.UnixNano()) / int64(tick))
}

// countFrom notes when the CONNECT came, and what chance gives the connection.
func (c *Conn) countFrom(now int64) {
	c.began.Store(c.b.tickOf(now))
	c.early = uint16(min(max(0, c.b.opt.Jitter()), 1) * math.MaxUint16)
}

// hasten makes the connection's timer no later than its deadline.
func (c *Conn) hasten() {
	if at, _, _ := c.deadline(); at != 0 && c.accepted() && sooner(c.b.lives.when(c), at) == at {
		c.arm(at)
	}
}

// minStep is how far the wall clock has to be set for timers to follow it.
const minStep = time.Second

// followClock makes the timers of credentials follow the wall clock, which was ahead by
// was when that was last looked at; it returns what it has followed.
func (b *Broker) followClock(was int64) int64 {
	is := b.ahead()
	if max(is-was, was-is) < int64(minStep) {
		return was
	}
	for _, c := range b.conns.all() {
		c.hasten() // who has time left now finds out by its timer
	}
	return is
}

// lapse ends a connection whose time is over. Its will is published: who the client
// was is not in doubt.
func (c *Conn) lapse(expires int64, why bound) {
	end := ending{code: packet.NotAuthorized, reason: "the credential has expired", notify: true}
	event := audit.CredentialExpired
	switch why {
	case authAge:
		event, end.reason = audit.ConnectionExpired, "authenticated too long ago: max_auth_age"
	case lifetime:
		event, end.reason = audit.ConnectionExpired, "connected for too long: max_connection_lifetime"
		end.code = packet.MaximumConnectTime
	}
	if !c.ended.Load() {
		if why == credential {
			c.b.metrics.CredentialsExpired.Add(1)
		} else {
			c.b.metrics.ConnectionsExpired.Add(1)
		}
		c.b.audit.Record(event, c.who(slog.String("bound", why.String()), slog.Time("expired", time.Unix(0, expires+c.b.ahead()).UTC()))...)
	}
	c.end(end)
}
