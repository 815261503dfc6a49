package broker

import (
	"time"

	"sallyport/packet"
)

// WriteBegins and WriteEnds bracket each write of the driver, so that output
// without progress is noticed.
func (c *Conn) WriteBegins() {
	now := c.b.now()
	c.writing.Store(now)
	if wt := int64(c.lis.Limits.WriteTimeout); wt > 0 && c.client.Load() != nil {
		if at := c.b.lives.when(c); (at == 0 || at > now+wt) && !c.ended.Load() {
			c.arm(now + wt)
		}
	}
}

// WriteEnds: see WriteBegins.
func (c *Conn) WriteEnds() { c.writing.Store(0) }

// mayRest is how long nothing may come, in nanoseconds: one and a half times the
// keep alive; 0: for ever.
func (c *Conn) mayRest() int64 { return int64(c.keepAlive.Load()) * int64(time.Millisecond) }

// arm makes checkLife run at a time, unless the connection has ended, which disarms it.
func (c *Conn) arm(at int64) {
	c.b.lives.arm(c, at)
	if c.ended.Load() {
		c.b.lives.disarm(c)
	}
}

// checkOpening is checkLife before the client is known: a refusal that waits for
// its time, and the connect timeout.
func (c *Conn) checkOpening(o *opening, now int64) {
	deadline := o.deadline.Load()
	c.mu.Lock()
	refuse := o.refuse
	if refuse != nil && now >= o.refuseAt {
		o.refuse = nil
	} else {
		refuse = nil
	}
	c.mu.Unlock()
	switch {
	case deadline != 0 && now >= deadline:
		c.limit("connect_timeout")
		c.end(ending{code: packet.KeepAliveTimeout, reason: "not connected in time"})
		return
	case refuse != nil:
		refuse()
	}
	if deadline != 0 {
		c.arm(deadline)
	}
}

// sooner is the earlier of two times, where 0 is never.
func sooner(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// checkLife is the connection's timer: connect timeout, keep alive, output without
// progress, and the deadlines of its identity and of a re-authentication.
func (c *Conn) checkLife() {
	if c.ended.Load() {
		return
	}
	now := c.b.now()
	if o := c.opening.Load(); o != nil && c.client.Load() == nil {
		c.checkOpening(o, now)
		return
	}
	lapses, expires, why := c.deadline()
	if lapses != 0 && now >= lapses {
		c.lapse(expires, why)
		return
	}
	exchange := c.exchangeLapses()
	if exchange != 0 && now >= exchange {
		c.exchangeLapsed()
		return
	}
	since, wt := c.writing.Load(), int64(c.lis.Limits.WriteTimeout)
	if wt > 0 && since != 0 && now-since >= wt {
		c.limit("write_timeout")
		c.end(ending{code: packet.ServerBusy, reason: "output makes no progress"})
		return
	}
	at := int64(0)
	if ka := c.mayRest(); ka > 0 {
		last := c.lastRead.Load()
		// While output is stuck input isn't read: the write timeout decides then. Nor
		// is it read while the connection waits for the broker.
		if since == 0 && !c.waiting.Load() && now-last >= ka {
			// MQTT-3.1.2-22: one and a half times the keep alive without a packet.
			c.end(ending{code: packet.KeepAliveTimeout, reason: "keep alive ran out", notify: true})
			return
		}
		at = max(last+ka, now+int64(tick))
	}
	if since != 0 && wt > 0 {
		at = sooner(at, since+wt)
	}
	if at = sooner(sooner(at, lapses), exchange); at != 0 {
		c.arm(at)
	}
	if s := c.writing.Load(); s != since && s != 0 && wt > 0 && (at == 0 || s+wt < at) {
		// A write has begun meanwhile, and may have armed what was armed over.
		c.arm(s + wt)
	}
	if l, _, _ := c.deadline(); l != lapses && sooner(at, l) != at {
		c.arm(l) // the client has authenticated again meanwhile, for less long, or a reload came
	}
	if x := c.exchangeLapses(); x != exchange && sooner(at, x) != at {
		c.arm(x) // it has begun to
	}
}
