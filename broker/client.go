package broker

import (
	"log/slog"
	"sync"

	"sallyport/audit"
	"sallyport/packet"
	"sallyport/security"
	"sallyport/session"
	"sallyport/store"
)

// client is what a client identifier names: a session, who owns it, and the
// connection that may use it now.
type client struct {
	b     *Broker
	id    string
	chain *client // the registry's: the next client of this one's bucket

	mu sync.Mutex // guards the fields below
	// gone says that the session has ended and the registry forgets this
	// client: who finds it here looks again.
	gone      bool
	live      bool             // conn has its CONNACK: output may be appended
	session   *session.Session // nil until the first attach
	principal *security.Principal
	lis       *Listener
	conn      *Conn            // the present connection, nil while offline
	rights    *security.Access // to receive; nil until a message is for it
	will      *will
	absent    *absence // nil while it has a connection
	extras    *extras  // nil until one of them is needed
}

// extras is what few clients need.
type extras struct {
	replays []replay
	shared  []*group
	moved   []session.Entry // shared messages that the client may not have: see dues
	flying  []flying        // see replay
	drops
}

// extra makes the client's extras, once. The caller holds cl.mu.
func (cl *client) extra() *extras {
	if cl.extras == nil {
		cl.extras = &extras{}
	}
	return cl.extras
}

// groups is the shared subscriptions of which the client is a member. The caller holds cl.mu.
func (cl *client) groups() []*group {
	if cl.extras == nil {
		return nil
	}
	return cl.extras.shared
}

// receives asks for leave to hand the client a message; share is the share name
// that it comes by, empty for none, h the hash of topic, or nil. The caller holds cl.mu.
func (cl *client) receives(topic string, h *security.Hash, share string, qos byte, retain bool, payload []byte) security.Delivery {
	if cl.rights == nil {
		a := security.NewAccess(cl.b.gate, cl.principal)
		cl.rights = &a
	}
	return cl.rights.Receive(topic, h, share, qos, retain, payload)
}

// aftermath is what has to happen once client.mu is released.
type aftermath struct {
	wills  []*will
	old    *Conn
	batch  store.Batch // what has to be kept of it all
	held   []*waiting  // what waits for that
	leave  []leaving
	gone   bool
	redeal []session.Entry // shared messages for other members
	// restood is the standing subscriptions that ended or changed by the rules.
	restood []restood
}

type leaving struct {
	g   *group
	sub *session.Subscription
}

// settle does what after asks for. No lock is held.
func (cl *client) settle(t *turn, after *aftermath) {
	b := cl.b
	if after.gone {
		b.reg.remove(cl)
	}
	for _, s := range after.restood {
		s.record(cl)
	}
	for _, l := range after.leave {
		l.g.leave(cl, l.sub)
	}
	putBack := redeal(after.redeal, &after.batch)
	if after.old != nil {
		after.old.end(ending{code: packet.SessionTakenOver, reason: "the session was taken over", notify: true, taken: true})
	}
	for _, w := range after.wills {
		b.guardedIn(t, func() { b.publishWill(t, w, after) })
	}
	if !after.batch.Empty() || len(after.held) > 0 {
		batch, held := after.batch, after.held
		b.keep(t, &batch, func(t *turn, err error) {
			for _, w := range held {
				w.release(t, b, err)
			}
		})
	}
	for _, g := range putBack {
		g.drain(t)
	}
}

// put adds the session as it is now to the batch, if it is a stored one. One that
// ends with its connection is put too: its messages are read from the store until then,
// and it ends for the store, if the broker ends first, at the next start. The caller holds cl.mu.
func (cl *client) put(batch *store.Batch) {
	if cl.stored() {
		batch.Add(store.Op{Kind: store.PutSession, Session: cl.session.Number, Client: cl.id, Owner: originOf(cl.principal), Expiry: cl.session.Expiry})
	}
}

// handing is what a later connection of the client has to wait for: that the store
// has what old, which was the last, or the one that is nil now, has left to be kept. c
// is the later one, in its own turn, if it is there already; nil: nothing. The caller
// holds cl.mu.
func (cl *client) handing(c, old *Conn) <-chan struct{} {
	if !cl.stored() {
		return nil
	}
	if old == nil {
		if cl.absent == nil {
			return nil
		}
		return cl.absent.handing
	}
	if c != nil && old.keepsIn(c.turn) {
		return nil // what comes later in a turn comes later to the store
	}
	return old.turnOver()
}

// takeShared takes away what is in flight by a shared subscription, or by any where
// of is nil, for other members. The caller holds cl.mu.
func (cl *client) takeShared(of any, after *aftermath) {
	for _, e := range cl.session.TakeShared(of) {
		cl.forget(&after.batch, e)
		after.redeal = append(after.redeal, e)
	}
}

// attach makes c the present connection of the client it names.
func (b *Broker) attach(c *Conn) (*attached, error) {
	for {
		cl := b.reg.findOrAdd(b, c.principal.Load().ClientID)
		var after aftermath
		a, err, again := cl.take(c, &after)
		if again {
			b.reg.remove(cl)
			continue
		}
		if err != nil && cl.unused() {
			b.reg.remove(cl)
		}
		if a != nil {
			// An earlier session ends for good with what begins this one.
			a.batch.Ops = append(after.batch.Ops, a.batch.Ops...)
			after.batch = store.Batch{}
		}
		cl.settle(c.turn, &after)
		return a, err
	}
}

// unused marks a client that has never had a session as gone.
func (cl *client) unused() bool {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if cl.session == nil {
		cl.gone = true
	}
	return cl.gone
}

// take is attach for one client, under its lock.
func (cl *client) take(c *Conn, after *aftermath) (a *attached, err error, again bool) {
	b, p, who := cl.b, c.opening.Load().connect.Load(), c.principal.Load()
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if cl.gone {
		return nil, nil, true
	}
	owner := ownerOf(who)
	if expiry := min(sessionExpiryAsked(p), c.lis.Limits.SessionExpiry); expiry > 0 && b.durable {
		switch {
		case b.reopening.Load():
			return nil, &packet.Error{Code: packet.ServerUnavailable, Text: "the store is being opened again"}, false
		case b.full() && (cl.session == nil || p.CleanStart):
			b.metrics.Limits.Reached("min_free")
			return nil, &packet.Error{Code: packet.QuotaExceeded, Text: "the disk is nearly full"}, false
		}
	}
	if cl.session != nil && !cl.principal.Same(who) && !b.opt.OwnedByClientID {
		b.audit.Record(audit.SessionForeign, c.who(slog.String("owner", cl.principal.Name), slog.String("owner_realm", cl.principal.Realm))...)
		return nil, &packet.Error{Code: packet.NotAuthorized, Text: "the session belongs to another principal; session_owner: client_id allows this"}, false
	}
	if old := cl.conn; old != nil {
		// From here on old can't touch the session: it is not the present connection.
		after.old = old
		cl.conn, cl.live = nil, false
		b.audit.Record(audit.SessionTakenOver, c.who(slog.String("old_addr", old.remote()))...)
		if !old.accepted() {
			cl.will = nil // MQTT-3.1.2-8: only a CONNECT that was accepted leaves a will
		}
		cl.leaveWill(ending{taken: true}, after, p.CleanStart || !cl.session.Kept())
		if !cl.session.Kept() || p.CleanStart {
			cl.clear(after)
		}
	} else if cl.session != nil && p.CleanStart {
		cl.flushWill(after)
		cl.clear(after)
	}
	a = &attached{present: cl.session != nil, handing: cl.handing(c, after.old), expiry: min(sessionExpiryAsked(p), c.lis.Limits.SessionExpiry)}
	if cl.session == nil {
		if !b.reg.admit(owner, b.opt.Sessions, b.opt.SessionsPerPrincipal) {
			c.limit("sessions")
			return nil, &packet.Error{Code: packet.QuotaExceeded, Text: "too many sessions"}, false
		}
		b.metrics.Sessions.Add(1)
		cl.session = &session.Session{}
		if b.durable && a.expiry > 0 {
			cl.session.Number = b.sessions.Add(1)
		}
	} else if !cl.principal.Same(who) { // with session_owner: client_id
		b.reg.release(ownerOf(cl.principal))
		b.reg.admit(owner, 0, 0)
	}
	cl.dropWill(&a.batch) // MQTT-3.1.3-9: reconnection within the will delay cancels the will
	cl.back()
	cl.session.Expiry = a.expiry
	cl.principal, cl.lis, cl.conn, cl.live = who, c.lis, c, false
	cl.rights = nil
	cl.put(&a.batch)
	cl.will = newWill(c, b.now())
	c.client.Store(cl)
	return a, nil, false
}

// goLive lets messages flow to c, which has sent its CONNACK; receiveMax is what
// its client takes without acknowledging it.
func (cl *client) goLive(t *turn, c *Conn, receiveMax int) {
	var after aftermath
	d := cl.begin(t, c, receiveMax, &after)
	cl.settle(t, &after)
	d.pay(t)
}

// begin is goLive under the client's lock. What the session holds was judged for
// the principal of an earlier connection: subscriptions are judged again here,
// messages when they are sent.
func (cl *client) begin(t *turn, c *Conn, receiveMax int, after *aftermath) dues {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if cl.conn != c {
		return dues{}
	}
	cl.restand(after)
	cl.session.Attach(c.version, min(c.lis.Limits.Inflight, receiveMax)) // MQTT-3.3.4-9
	cl.live = true
	cl.pump(t)
	return cl.owed(true)
}

// detach ends c's hold on the session.
func (cl *client) detach(c *Conn, why ending) {
	t := cl.b.takeTurn()
	defer cl.b.endTurn(t)
	var after aftermath
	cl.mu.Lock()
	if cl.conn != c {
		cl.mu.Unlock()
		return
	}
	cl.conn, cl.live = nil, false
	ends := !cl.session.Kept()
	if !c.accepted() {
		// MQTT-3.1.2-8: only a CONNECT that was accepted leaves a will.
		cl.will = nil
	}
	handing := cl.handing(nil, c)
	cl.leaveWill(why, &after, ends)
	switch {
	case ends:
		cl.clear(&after)
		cl.finish(&after)
	default:
		cl.session.Trim()
		if handing != nil {
			cl.away().handing = handing
		}
		if cl.session.Expiry != session.NeverExpires {
			a := cl.away()
			a.expiresAt = t.now + int64(cl.session.Expiry)*1e9
			a.arm()
		}
		if cl.b.opt.RedeliverOnDisconnect {
			cl.takeShared(nil, &after)
			cl.account()
		}
	}
	groups := cl.groups()
	cl.mu.Unlock()
	// On a driver's goroutine nobody else would recover.
	cl.b.guardedIn(t, func() {
		cl.settle(t, &after)
		for _, g := range groups {
			g.drain(t)
		}
	})
}

// clear ends the session's content: subscriptions, queue, flights. The caller
// holds cl.mu and calls settle after releasing it.
func (cl *client) clear(after *aftermath) {
	s := cl.session
	for sub := range s.Subs.All() {
		cl.drop(sub, after)
	}
	if cl.extras != nil {
		after.redeal = append(after.redeal, cl.extras.moved...)
	}
	cl.takeShared(nil, after)
	if cl.stored() {
		after.batch.Add(store.Op{Kind: store.DeleteSession, Session: s.Number})
	}
	cl.session, cl.extras = nil, nil
	queued, held := s.Counted()
	cl.b.metrics.BufferedBytes.Add(-int64(held))
	cl.b.metrics.Queued.Add(-int64(queued))
	// A new session of this client is counted anew.
	cl.b.reg.release(ownerOf(cl.principal))
	cl.b.metrics.Sessions.Add(-1)
}

// finish marks the client as gone. The caller holds cl.mu.
func (cl *client) finish(after *aftermath) {
	cl.gone = true
	cl.principal = nil
	after.gone = true
	cl.back()
}

// drop takes one subscription out of the routes. The caller holds cl.mu.
func (cl *client) drop(sub *session.Subscription, after *aftermath) {
	sub.Removed = true
	cl.b.metrics.Subscriptions.Add(-1)
	if !sub.Shared() {
		cl.b.tree.Remove(sub.Topic(), target{client: cl})
		return
	}
	cl.b.metrics.Shared.Add(-1)
	g := cl.b.groups.find(sub)
	if g != nil {
		after.leave = append(after.leave, leaving{g, sub})
	}
}

// account counts the queue and the flights against the broker's bound. The caller holds cl.mu.
func (cl *client) account() {
	if cl.session == nil {
		return
	}
	queued, held := cl.session.Count()
	if held != 0 {
		cl.b.metrics.BufferedBytes.Add(int64(held))
	}
	if queued != 0 {
		cl.b.metrics.Queued.Add(int64(queued))
	}
}

// refill goes on where output had become too much: c has written it all.
func (cl *client) refill(t *turn, c *Conn) { cl.goOn(t, c).pay(t) }

// goOn is refill under the client's lock.
func (cl *client) goOn(t *turn, c *Conn) dues {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if cl.conn != c || !cl.live {
		return dues{}
	}
	cl.pump(t)
	return cl.owed(true)
}
