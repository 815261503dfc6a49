package broker

import (
	"sallyport/session"
	"sallyport/store"
)

// keeping is what a turn has to have kept, which is handed to the store in one batch
// when the turn ends.
type keeping struct {
	b     *Broker // nil: nothing is to be kept
	batch store.Batch
	done  []func(t *turn, err error)
	conns []*Conn // in whose part of the turn it came up
}

// keep has batch kept, and calls done when it is, in a turn of that moment; with
// nothing to keep at once. batch is the caller's again when keep has returned.
func (b *Broker) keep(t *turn, batch *store.Batch, done func(t *turn, err error)) {
	if batch.Empty() {
		if done != nil {
			done(t, nil)
		}
		return
	}
	if !b.durable {
		b.commit(batch, func(err error) {
			if done != nil {
				done(t, err)
			}
		})
		return
	}
	k := &t.keeping
	k.b = b
	k.batch.Ops = append(k.batch.Ops, batch.Ops...)
	if done != nil {
		k.done = append(k.done, done)
	}
}

// keep is Broker.keep for what comes up in c's part of its turn: until the store has
// it, no other connection gets c's session.
func (c *Conn) keep(batch *store.Batch, done func(t *turn, err error)) {
	if t := c.turn; c.b.durable && !batch.Empty() && c.keeping == nil {
		c.mu.Lock()
		c.keeping = t
		c.mu.Unlock()
		t.keeping.conns = append(t.keeping.conns, c)
	}
	c.b.keep(c.turn, batch, done)
}

// handOver gives what is to be kept to the store.
func (k *keeping) handOver() {
	b := k.b
	if b == nil {
		return
	}
	done, conns := k.done, k.conns
	if len(done) == 0 {
		b.store.Commit(&k.batch, nil) // a store that fails says so itself
	} else {
		b.commit(&k.batch, func(err error) { b.kept(done, err) })
	}
	ops := k.batch
	ops.Reset()
	*k = keeping{}
	if cap(ops.Ops) <= keptOps {
		k.batch = ops
	}
	for _, c := range conns {
		c.handedOver()
	}
}

// kept tells all who wait for a batch what became of it, in one turn.
func (b *Broker) kept(done []func(t *turn, err error), err error) {
	t := b.takeTurn()
	defer b.endTurn(t)
	for _, f := range done {
		b.guardedIn(t, func() { f(t, err) })
	}
}

// keepsIn reports whether what c has left to be kept came up in t.
func (c *Conn) keepsIn(t *turn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.keeping == t
}

// keptOps bounds the operations for which a turn keeps room: 128 KiB.
const keptOps = 1024

// handedOver notes that the store has what c's part of a turn has left to be kept.
func (c *Conn) handedOver() {
	c.mu.Lock()
	c.keeping = nil
	over := c.closeOver()
	c.mu.Unlock()
	if over != nil {
		close(over)
	}
}

// closeOver is the channel that is to be closed if c's turn is over by now, nil for
// none. The caller holds c.mu.
func (c *Conn) closeOver() (over chan struct{}) {
	if s := c.seldom; s != nil && s.over != nil && !c.inTurn && c.keeping == nil {
		over, s.over = s.over, nil
		c.relax()
	}
	return over
}

// flying is an outgoing exchange that waits until its state is kept.
type flying struct {
	s   *session.Session
	id  uint16
	seq uint64
}

// flyer is a client with exchanges that wait.
type flyer struct {
	cl   *client
	list []flying
}

// fly has batch kept, and lets the exchanges go on whose state it holds.
func (cl *client) fly(t *turn, batch *store.Batch, list []flying) {
	if len(list) == 0 {
		cl.b.keep(t, batch, nil) // what is lost of it is sent or dropped once more
		return
	}
	cl.b.keep(t, batch, func(t *turn, err error) { cl.landed(t, list, err) })
}

// landed is called when the state of exchanges is kept.
func (cl *client) landed(t *turn, list []flying, err error) {
	if err == nil {
		cl.flown(t, list).pay(t)
	}
}

// flown lets exchanges go on: what has to be kept of them is.
func (cl *client) flown(t *turn, list []flying) dues {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if cl.session == nil {
		return dues{}
	}
	next := false
	for _, f := range list {
		if cl.session != f.s {
			return dues{}
		}
		o, again := f.s.Ready(f.id, f.seq)
		switch {
		case o == nil:
		case again:
			next = true
		case o.State == session.AwaitComp && cl.live:
			cl.sendPubrel(t, f.id)
		}
	}
	if next {
		cl.pump(t)
	}
	return cl.owed(cl.live && cl.session.Room())
}

// page reads messages that the session needs next, and goes on with them. The
// caller holds cl.mu.
func (cl *client) page() {
	p, ok := cl.b.store.(store.Pager)
	if !ok || !cl.live {
		return
	}
	s := cl.session
	first, last, hungry := s.Hungry()
	if !hungry {
		return
	}
	go func() {
		// The store gives what it has in one piece, half a piece too much on average.
		const most, enough = 1024, session.ReadBytes * 3 / 4
		read, err := p.Page(s.Number, first, last, most, enough)
		if err != nil {
			cl.b.log.Error("messages that wait can't be read from the store", "client", cl.id, "error", err)
			return // Hungry asks no more: what can't be read stays where it is
		}
		entries := make([]session.Entry, len(read))
		bytes := 0
		for i := range read {
			entries[i] = cl.entryOf(&read[i])
			bytes += entries[i].Size()
		}
		if len(read) >= most || bytes >= enough {
			last = read[len(read)-1].Seq
		}
		t := cl.b.takeTurn()
		defer cl.b.endTurn(t)
		cl.b.guardedIn(t, func() { cl.paged(t, s, last, entries).pay(t) })
	}()
}

// paged takes messages that were read from the store.
func (cl *client) paged(t *turn, s *session.Session, last uint64, read []session.Entry) dues {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if cl.session != s {
		return dues{}
	}
	if n := s.PageIn(last, read); n > 0 {
		cl.b.log.Error("messages that wait are not in the store", "client", shown(cl.id), "count", n)
	}
	cl.account()
	cl.pump(t)
	return cl.owed(cl.live && s.Room())
}

// entryOf is an entry as the engine has it.
func (cl *client) entryOf(kept *store.RestoredEntry) session.Entry {
	e := kept.Entry
	if kept.Share == "" {
		return e
	}
	if g := cl.b.groups.named(kept.Share); g != nil {
		e.Via = &session.Via{SubIDs: e.Via.IDs(), Share: g}
	}
	return e
}
