package broker

import (
	"slices"

	"sallyport/packet"
	"sallyport/security"
	"sallyport/store"
)

const (
	// fanSlack is how many receivers a message may have beyond what its turn has
	// left before the rest of them waits for the next: to keep it costs a copy.
	fanSlack = 4096
	// fansKept bounds the fan-outs that wait at a time, since each holds its
	// receivers; more are not interrupted.
	fansKept = 16
	// fanKept bounds the receivers for which a router keeps room: 3 MiB.
	fanKept = 1 << 17
)

// fan is a fan-out that goes on in later turns, so that one message for very many
// does not hold up everybody else. Its publisher's next packets wait, and it is
// completed though the publisher may have gone.
type fan struct {
	r      *router
	permit security.Permit
	batch  store.Batch
	in     inbound // with bytes of its own
	// done is called when it is complete; live says that the publisher is there, and
	// in a turn of its own.
	done func(t *turn, f *fan, res result, live bool)
}

// suspends reports whether the message has to go on in a later turn.
func (r *router) suspends() bool { return r.may && r.t.rest <= -fanSlack }

// suspend makes what r has still to do a fan-out for later turns; false if it has
// to be done at once.
func (r *router) suspend(permit security.Permit) (*fan, bool) {
	if r.b.fans.Add(1) > fansKept {
		r.b.fans.Add(-1)
		return nil, false
	}
	m := r.in.message()
	f := &fan{r: r, permit: permit, in: *r.in, batch: store.Batch{Ops: slices.Clone(r.batch.Ops)}}
	f.in.topic, f.in.payload, f.in.props, f.in.trail = m.Topic, m.Payload, m.Props, nil
	r.in, r.batch, r.t = &f.in, &f.batch, nil
	return f, true
}

// goOn serves more receivers in turn t for by, who may have taken the place of who
// published, and reports whether it is complete. It counts no more then, nor when a
// policy panics.
func (f *fan) goOn(t *turn, by *security.Principal) (res result, complete bool) {
	r, over := f.r, true
	defer func() {
		if over {
			r.b.fans.Add(-1)
		}
	}()
	var v *security.Verdict
	if f.permit.By() != by {
		f.permit, v = r.b.permit(by, &f.in)
	}
	if v == nil {
		f.permit, v = r.b.valid(f.permit, &f.in)
	}
	if v != nil {
		return result{code: packet.NotAuthorized, denied: v}, true
	}
	r.t = t
	f.in.encoding = encoding{} // time has passed
	if !r.serve() {
		r.t, over = nil, false
		return result{}, false
	}
	return r.result(), true
}

// fanOut lets the connection's input wait until f is complete.
func (c *Conn) fanOut(f *fan) {
	resume := c.await()
	c.mu.Lock()
	c.rare().fan = f
	c.mu.Unlock()
	if c.ended.Load() {
		c.abandon()
		return
	}
	resume(c.fanOn)
}

// fanOn goes on with the fan-out that waits.
func (c *Conn) fanOn() {
	f := c.takeFan()
	if f == nil {
		return // the connection ended, and gave it away
	}
	res, complete := f.goOn(c.turn, c.principal.Load())
	if !complete {
		c.fanOut(f)
		return
	}
	f.done(c.turn, f, res, true)
}

// abandon completes the fan-out that waits, if there is one: what its publisher
// was told to publish is published.
func (c *Conn) abandon() {
	if f := c.takeFan(); f != nil {
		c.b.errands.add(f, f.permit.By())
		go c.b.complete(f) // it may be long, and the caller may hold others up
	}
}

// takeFan is the fan-out that waits, which is the caller's then; nil for none.
func (c *Conn) takeFan() (f *fan) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.seldom; s != nil {
		f, s.fan = s.fan, nil
	}
	return f
}

// complete completes a fan-out whose publisher has gone.
func (b *Broker) complete(f *fan) {
	b.outside.RLock()
	defer b.outside.RUnlock()
	b.guarded(func() {
		t := b.takeTurn()
		defer b.endTurn(t)
		res, _ := f.goOn(t, b.errands.take(f)) // no turn of this kind has an end
		f.done(t, f, res, false)
	})
}
