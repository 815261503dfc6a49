package broker

import "sallyport/packet"

// Reopen goes on with a store that was opened again after it had failed: put puts it
// in the old one's place. What is in it is what was acknowledged; so the sessions that
// it keeps are those of the new one, and their connections end, which finds every
// client and broker of one mind again. All others stay.
func (b *Broker) Reopen(put func()) {
	b.reopening.Store(true)
	defer b.reopening.Store(false)
	b.enforcing.Lock() // nobody judges sessions meanwhile
	defer b.enforcing.Unlock()
	b.barrier()
	b.reg.each((*client).forsake)
	for _, g := range b.groups.all() {
		g.forsake()
	}
	put()
	b.restore()
}

// forsake ends a stored session without a word to the store, with its connection.
func (cl *client) forsake() {
	t := turn{now: cl.b.now()}
	defer t.flush()
	var after aftermath
	cl.mu.Lock()
	if !cl.stored() {
		cl.mu.Unlock()
		return
	}
	c := cl.conn
	cl.conn, cl.live = nil, false // it can't touch the session from here on
	cl.session.Number = 0
	cl.will = nil // it is in the store, or its client comes back
	cl.clear(&after)
	cl.finish(&after)
	cl.mu.Unlock()
	after.redeal = nil // they are in the store as well
	cl.settle(&t, &after)
	if c != nil {
		c.end(ending{code: packet.ServerBusy, reason: "the store was opened again", notify: true, taken: true})
	}
}

// forsake lets go of what waits for the members of a shared subscription, which the
// store has.
func (g *group) forsake() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.number, g.lastSeq = 0, 0
	for len(g.waiting) > 0 {
		g.take(0)
	}
	g.unseen = true
}
