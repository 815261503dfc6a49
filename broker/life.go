package broker

import (
	"sallyport/packet"
)

// WriteBegins and WriteEnds bracket each write of the driver, so that output
// without progress is noticed.
func (c *Conn) WriteBegins() {
	now := c.b.now()
	c.writing.Store(now)
	if wt := int64(c.lis.Limits.WriteTimeout); wt > 0 && c.client.Load() != nil {
		if at := c.lifeAt.Load(); (at == 0 || at > now+wt) && !c.ended.Load() {
			c.armLife(now + wt)
		}
	}
}

// WriteEnds: see WriteBegins.
func (c *Conn) WriteEnds() { c.writing.Store(0) }

// armLife makes checkLife run at a time.
func (c *Conn) armLife(at int64) {
	c.lifeAt.Store(at)
	c.arm(&c.life, at)
}

// arm arms a timer of the connection, unless that has ended, which disarms them.
func (c *Conn) arm(t *timer, at int64) {
	c.b.wheel.arm(t, at)
	if c.ended.Load() {
		c.b.wheel.disarm(t)
	}
}

// checkLife is the connection's timer: connect timeout, keep alive, and output
// without progress.
func (c *Conn) checkLife() {
	c.lifeAt.Store(0)
	if c.ended.Load() {
		return
	}
	now := c.b.now()
	if c.client.Load() == nil {
		c.limit("connect_timeout")
		c.end(ending{code: packet.KeepAliveTimeout, reason: "no CONNECT in time"})
		return
	}
	since, wt := c.writing.Load(), int64(c.lis.Limits.WriteTimeout)
	if wt > 0 && since != 0 && now-since >= wt {
		c.limit("write_timeout")
		c.end(ending{code: packet.ServerBusy, reason: "output makes no progress"})
		return
	}
	at := int64(0)
	if ka := c.keepAlive.Load(); ka > 0 {
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
	if since != 0 && wt > 0 && (at == 0 || since+wt < at) {
		at = since + wt
	}
	if at != 0 {
		c.armLife(at)
	}
	if s := c.writing.Load(); s != since && s != 0 && wt > 0 && (at == 0 || s+wt < at) {
		// A write has begun meanwhile, and may have armed what was armed over.
		c.armLife(s + wt)
	}
}
