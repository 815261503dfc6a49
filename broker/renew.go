package broker

import (
	"sallyport/packet"
	"sallyport/security"
	"sallyport/store"
)

// Renew puts other principals in the place of those that renew maps to one, of
// clients that are connected and of those that are away: after an account changed,
// for one. The principal itself says that it stays as it is; nil, or one with another
// realm or name, ends the connection, as Revoke does. renew is called under a
// lock: it must not block, and it changes no principal, since they are shared.
// Renew returns how many clients it concerned, and what that ended.
//
// The new one counts with its groups, roles, attributes, claims, expiry, account
// version, token and what it was granted; the client identifier, the listener and the
// address stay those of the connection. When Renew returns, nothing that was decided
// about the old one happens any more, but that output which had been appended for a
// client may still leave: answers that were remembered are void, standing
// subscriptions and the right to be connected were judged anew, as by Enforce, a will
// is judged for the new one, and the session's owner is what the store has of it.
//
// Whose authentication is under way is not there to be renewed: that is what
// Authenticator.Stands is for.
//
// It waits for the packets that are being handled, as Enforce does, and must not be
// called while one is.
func (b *Broker) Renew(renew func(*security.Principal) *security.Principal) (int, Enforced) {
	b.enforcing.Lock()
	defer b.enforcing.Unlock()
	var renewed []*client
	var n Enforced
	foreigners := 0
	b.reg.each(func(cl *client) {
		next, foreign, c := cl.replace(renew)
		switch {
		case foreign:
			foreigners++
			if c != nil {
				n.Disconnected++
				c.end(ending{code: packet.NotAuthorized, reason: "the account changed, or is another one now", notify: true, silence: true})
			}
		case next != nil:
			renewed = append(renewed, cl)
		}
	})
	b.errands.renew(renew) // after the clients: what they left before is there, what they leave now is renewed
	if len(renewed)+foreigners == 0 {
		return 0, n
	}
	b.barrier()
	groups := make(map[*group]bool)
	for _, cl := range renewed {
		for _, g := range cl.renewed(&n) {
			groups[g] = true
		}
	}
	t := turn{now: b.now()}
	for g := range groups { // what waits there may be for a member who could not have it
		b.guarded(func() { g.drain(&t) })
	}
	t.flush()
	return len(renewed) + foreigners, n
}

// inPlaceOf is next, for the connection that old is for.
func inPlaceOf(old, next *security.Principal) *security.Principal {
	named := *next
	named.ClientID, named.Listener, named.Addr, named.Secure, named.Internal = old.ClientID, old.Listener, old.Addr, old.Secure, old.Internal
	return &named
}

// replace puts what renew maps the client's principal to in its place. foreign says
// that it is no equal one, and c, if there is one, the connection to end for that.
func (cl *client) replace(renew func(*security.Principal) *security.Principal) (who *security.Principal, foreign bool, c *Conn) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	old := cl.principal
	if cl.session == nil || old == nil {
		return nil, false, nil
	}
	next := renew(old)
	if next == old {
		return nil, false, nil
	}
	if !next.Same(old) {
		var batch store.Batch
		cl.dropWill(&batch)
		cl.b.commit(&batch, func(error) {}) // a failure is logged; it is judged again before it is published
		return nil, true, cl.conn
	}
	who = inPlaceOf(old, next)
	cl.assume(who)
	return who, false, nil
}

// assume makes who the client's principal, and its connection's. The caller holds
// cl.mu, and has what stands judged anew.
func (cl *client) assume(who *security.Principal) {
	cl.principal = who
	cl.rights = nil
	if w := cl.will; w != nil {
		cl.will = w.of(who)
	}
	if c := cl.conn; c != nil {
		c.principal.Store(who) // it sees by itself that what it remembers is of another: see Conn.sender
		c.hasten()
	}
}

// renewed judges a client whose principal was replaced, and has it kept. It returns
// the shared subscriptions that it is a member of.
func (cl *client) renewed(n *Enforced) []*group {
	t := turn{now: cl.b.now()}
	var after aftermath
	cl.mu.Lock()
	if cl.session == nil {
		cl.mu.Unlock()
		return nil // it has ended meanwhile
	}
	cl.keepOwner(&after.batch)
	groups := cl.groups()
	cl.mu.Unlock()
	cl.settle(&t, &after)
	t.flush()
	cl.enforce(n)
	return groups
}

// keepOwnerOf is keepOwner for a connection; false if it is not the present one.
func (cl *client) keepOwnerOf(c *Conn, batch *store.Batch) bool {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if cl.conn != c {
		return false
	}
	cl.keepOwner(batch)
	return true
}

// keepOwner adds to the batch who the session belongs to now, and the will that it
// left. The caller holds cl.mu.
func (cl *client) keepOwner(batch *store.Batch) {
	cl.put(batch)
	if a := cl.absent; a != nil && a.willAt != 0 && cl.will != nil && cl.stored() {
		batch.Add(store.Op{Kind: store.PutWill, Session: cl.session.Number, Message: cl.will.msg, Expiry: cl.will.expiry, At: a.willAt})
	}
}
