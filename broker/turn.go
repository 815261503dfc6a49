package broker

import "sallyport/store"

// feedWork is how many packets the input of one connection may have, and how many
// deliveries it may cause, together, in a turn before the rest of it waits.
const feedWork = 16384

// turn is what one call of a driver, timer or callback causes. A loop makes one
// of many calls: each receiver is then flushed once, however many publishers it
// heard.
type turn struct {
	now     int64
	touched []*Conn
	tally   tally
	// rest is how much more one connection's input may cause in this turn before
	// what is left of it waits; see pace.
	rest    int
	bounded bool              // rest is not without end
	paced   func(next func()) // resumes the connection at hand, whose rest is used up

	// What the packet at hand needs while it is handled.
	in      inbound
	router  *router     // nil until there is a PUBLISH
	scratch []byte      // its properties
	batch   store.Batch // what has to be kept of it

	frame     []byte // the message as several of its receivers get it: see writeAgain
	frameID   int    // where in it the packet identifier is
	encodings uint64 // how often frame was made

	// acks is acknowledgements of the input at hand: see Conn.gather.
	acks []byte

	keeping
}

// tally counts locally what a turn does.
type tally struct{ packets, bytes, publishes int64 }

func (b *Broker) takeTurn() *turn {
	t := b.turns.Get().(*turn)
	t.now, t.rest = b.now(), feedWork
	return t
}

// forget lets go of the packet that was handled: nothing of it stays with the turn.
func (t *turn) forget() {
	if t.in.topic != "" {
		t.in = inbound{}
	}
	if cap(t.scratch) > readBuffer/2 {
		t.scratch = nil
	}
	if cap(t.acks) > readBuffer/2 {
		t.acks = nil
	}
}

// endTurn flushes what the turn touched.
func (b *Broker) endTurn(t *turn) {
	b.settle(t)
	t.flush()
	b.turns.Put(t)
}

// settle adds up what was counted.
func (b *Broker) settle(t *turn) {
	m, n := &b.metrics, &t.tally
	if n.packets > 0 {
		m.PacketsReceived.Add(n.packets)
	}
	if n.publishes > 0 {
		m.PublishReceived.Add(n.publishes)
	}
	if n.bytes > 0 {
		m.BytesReceived.Add(n.bytes)
	}
	*n = tally{}
}

// touch notes that c has output. The caller holds c.mu.
func (t *turn) touch(c *Conn) {
	if !c.dirty && !c.ended.Load() {
		c.dirty = true
		t.touched = append(t.touched, c)
	}
}

// flush hands what is to be kept to the store, and flushes each touched connection once.
func (t *turn) flush() {
	t.handOver()
	for i, c := range t.touched {
		t.touched[i] = nil
		c.mu.Lock()
		c.dirty = false
		c.mu.Unlock()
		c.wire.Flush()
	}
	t.touched = t.touched[:0]
	if cap(t.touched) > 4096 {
		t.touched = nil // one wide fan-out is no reason to keep so much
	}
}
