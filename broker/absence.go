package broker

import "sallyport/session"

// absence is what a client needs only while it has no connection: when its
// session ends, and when the will that it left is published.
type absence struct {
	cl    *client
	timer timer[absence] // of the earlier of the two
	// expiresAt and willAt are guarded by client.mu; 0: never. A timer that has
	// fired may find that its work was called off, or is not due yet.
	expiresAt, willAt int64
	handing           <-chan struct{} // see client.handing
}

// away is the client's absence, which begins if it hasn't. The caller holds cl.mu.
func (cl *client) away() *absence {
	if cl.absent == nil {
		cl.absent = &absence{cl: cl}
	}
	return cl.absent
}

// back ends the client's absence. The caller holds cl.mu.
func (cl *client) back() {
	if cl.absent != nil {
		cl.b.absences.disarm(cl.absent)
		cl.absent = nil
	}
}

// arm sets the timer to what comes next. The caller holds the client's lock.
func (a *absence) arm() {
	at := a.expiresAt
	if at == 0 || a.willAt != 0 && a.willAt < at {
		at = a.willAt
	}
	if at == 0 {
		a.cl.b.absences.disarm(a)
		return
	}
	a.cl.b.absences.arm(a, at)
}

// due publishes a will whose delay is over, and ends a session whose time is over.
func (a *absence) due() {
	cl := a.cl
	t := turn{now: cl.b.now()}
	var after aftermath
	cl.mu.Lock()
	if cl.absent != a {
		cl.mu.Unlock()
		return // it is back, or gone
	}
	if a.willAt != 0 && t.now >= a.willAt {
		cl.flushWill(&after)
	}
	over := a.expiresAt != 0 && t.now >= a.expiresAt && cl.session.Expiry != session.NeverExpires
	if over {
		cl.flushWill(&after)
		cl.clear(&after)
		cl.finish(&after)
		cl.b.metrics.SessionsExpired.Add(1)
	} else {
		a.arm()
	}
	cl.mu.Unlock()
	cl.settle(&t, &after)
	t.flush()
}
