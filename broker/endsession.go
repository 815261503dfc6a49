package broker

import (
	"sallyport/packet"
	"sallyport/security"
	"sallyport/store"
)

// EndSessions ends the connections of clients whose principal match picks (0x98 in
// MQTT 5), and drops the wills that they leave, also those of clients that are away.
// With forget their sessions end as well, for good. match is called under a lock: it
// must not block. connected is how many were connected, or about to be, away how many
// were not. Nothing keeps anybody from coming back.
func (b *Broker) EndSessions(match func(*security.Principal) bool, forget bool) (connected, away int) {
	defer b.errands.silence(match)
	b.reg.each(func(cl *client) {
		c, hit := cl.cut(match, forget)
		switch {
		case c != nil:
			connected++
			c.end(ending{code: packet.AdministrativeAction, reason: "the session was ended by an administrator", notify: true, silence: true})
		case hit:
			away++
		}
	})
	return connected, away
}

// cut is EndSessions for one client. c is the connection to end, if there is one.
func (cl *client) cut(match func(*security.Principal) bool, forget bool) (c *Conn, hit bool) {
	var after aftermath
	cl.mu.Lock()
	if cl.session == nil || cl.principal == nil || !match(cl.principal) {
		cl.mu.Unlock()
		return nil, false
	}
	c = cl.conn
	var batch store.Batch
	cl.dropWill(&batch) // now, since the connection may be ending by itself at this moment
	switch {
	case forget && c != nil:
		cl.setExpiry(0) // its end is the session's
	case forget:
		cl.clear(&after)
		cl.finish(&after)
	}
	cl.mu.Unlock()
	after.batch.Ops = append(batch.Ops, after.batch.Ops...)
	t := turn{now: cl.b.now()}
	cl.b.guardedIn(&t, func() { cl.settle(&t, &after) })
	t.flush()
	return c, true
}
