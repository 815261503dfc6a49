package broker

import (
	"log/slog"

	"sallyport/audit"
	"sallyport/packet"
	"sallyport/security"
	"sallyport/session"
	"sallyport/store"
)

// PolicyChange says what becomes of a standing subscription that a change of
// rules does not allow any more.
type PolicyChange uint8

// The choices.
const (
	Revoke   PolicyChange = iota // it ends
	Withhold                     // it stays, and its messages are withheld while the rules refuse them
)

// Enforced is what Enforce did.
type Enforced struct {
	Disconnected int // connections of principals that may not connect any more
	Revoked      int // subscriptions that ended
	Lowered      int // subscriptions whose QoS was lowered
}

// Enforce makes the present rules those by which everything happens: it is
// called after the gate's rules were swapped, or accounts changed. When it
// returns, nothing that was decided under earlier rules happens any more, but
// that output which had been appended for a client may still leave.
//
// Connections of principals that may not connect any more are ended (0x87);
// they, and absent ones of that kind, leave no will, like a principal that is
// blocked. Standing subscriptions are judged with the connection's principal, or
// with the stored one while the client is away: what is refused ends or is
// withheld, as Options.OnPolicyChange says, and one whose QoS is above what is
// allowed is lowered to that. What waits in shared subscriptions is dealt again.
//
// It waits for the packets that are being handled, not for any client, socket
// or store. It must not be called while one is handled: by a policy, an
// authenticator's answer, or whatever else runs on a connection's behalf.
func (b *Broker) Enforce() Enforced {
	b.enforcing.Lock()
	defer b.enforcing.Unlock()
	b.barrier()
	var n Enforced
	b.reg.each(func(cl *client) { cl.enforce(&n) })
	for _, g := range b.groups.all() {
		t := turn{now: b.now()}
		b.guarded(func() { g.drain(&t) })
		t.flush()
	}
	return n
}

// barrier returns when whatever was decided before its call has happened:
// deliveries are decided under the lock of their receiver, all else within a
// turn or while outside is held.
func (b *Broker) barrier() {
	b.outside.Lock()
	conns := b.conns.all() // those that come later know the present rules only
	b.outside.Unlock()
	for _, c := range conns {
		if over := c.turnOver(); over != nil {
			<-over
		}
	}
}

// turnOver is closed when the turn ends that c is in, and the store has what is to
// be kept of it; nil if it is in none.
func (c *Conn) turnOver() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.inTurn && c.keeping == nil {
		return nil
	}
	s := c.rare()
	if s.over == nil {
		s.over = make(chan struct{})
	}
	return s.over
}

// enforce judges one client by the present rules.
func (cl *client) enforce(n *Enforced) {
	t := turn{now: cl.b.now()}
	defer t.flush()
	var after aftermath
	judged := false
	var refused *Conn
	var v security.Verdict
	cl.b.guarded(func() {
		refused, v = cl.rejudge(&after)
		judged = true
	})
	if !judged {
		// A policy panicked: that refuses, like an error.
		v = security.Verdict{Rule: "the policy failed"}
		refused = cl.silence(&after)
	}
	for _, s := range after.restood {
		if s.verdict.Allowed() {
			n.Lowered++
		} else {
			n.Revoked++
		}
	}
	cl.settle(&t, &after)
	if refused != nil {
		if !refused.ended.Load() {
			n.Disconnected++
		}
		refused.end(ending{code: packet.NotAuthorized, reason: "may not connect any more: " + v.Why(), notify: true, silence: true})
	}
}

// rejudge is enforce under the client's lock. It returns the connection that has
// to end, if there is one, and why.
func (cl *client) rejudge(after *aftermath) (refused *Conn, v security.Verdict) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if cl.session == nil || cl.principal == nil {
		return nil, v
	}
	if v = cl.b.gate.Keeps(cl.principal); !v.Allowed() {
		refused = cl.mute(after)
	}
	cl.restand(after)
	return refused, v
}

// mute takes the will away from a principal that may not act any more, and
// returns the connection to end, if there is one: a CONNECT that is under way is
// judged again before its CONNACK. The caller holds cl.mu.
func (cl *client) mute(after *aftermath) *Conn {
	cl.dropWill(&after.batch)
	if cl.conn != nil && cl.conn.accepted() {
		return cl.conn
	}
	return nil
}

func (cl *client) silence(after *aftermath) *Conn {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	return cl.mute(after)
}

// restood is a standing subscription that was judged again and did not stay as it was.
type restood struct {
	sub     *session.Subscription
	user    string
	qos     byte // as it was
	verdict security.Verdict
}

// restand judges the standing subscriptions. The caller holds cl.mu, and calls
// settle after releasing it.
func (cl *client) restand(after *aftermath) {
	b, s := cl.b, cl.session
	var changed []restood
	for sub := range s.Subs.All() { // all are judged before one is changed: a policy may panic
		v := b.gate.Standing(cl.principal, sub.Topic(), sub.Group(), sub.QoS)
		if v.Allowed() && v.QoS < sub.QoS || !v.Allowed() && b.opt.OnPolicyChange == Revoke {
			changed = append(changed, restood{sub: sub, user: cl.principal.Name, qos: sub.QoS, verdict: v})
		}
	}
	if len(changed) == 0 {
		return
	}
	for _, r := range changed {
		if !r.verdict.Allowed() {
			b.metrics.SubscriptionsRevoked.Add(1)
			s.Subs.Delete(r.sub.Filter)
			cl.revoke(r.sub, after)
			continue
		}
		b.metrics.SubscriptionsLowered.Add(1)
		r.sub.QoS = r.verdict.QoS
		if cl.stored() {
			after.batch.Add(store.Op{Kind: store.PutSubscription, Session: s.Number, Sub: r.sub})
		}
	}
	after.restood = append(after.restood, changed...)
	cl.account()
}

// revoke ends a subscription that its client may not have any more. The caller holds cl.mu.
func (cl *client) revoke(sub *session.Subscription, after *aftermath) {
	s := cl.session
	cl.drop(sub, after)
	if cl.stored() {
		after.batch.Add(store.Op{Kind: store.DeleteSubscription, Session: s.Number, Topic: sub.Filter})
	}
	if !sub.Shared() || cl.conn != nil {
		return
	}
	// Nobody is there to acknowledge what was sent: another member may have it.
	if g := cl.b.groups.find(sub); g != nil {
		cl.takeShared(g, after)
	}
}

// record writes down what became of a standing subscription. No lock is held.
func (r restood) record(cl *client) {
	event := audit.SubscriptionRevoked
	if r.verdict.Allowed() {
		event = audit.SubscriptionLowered
	}
	cl.b.audit.Record(event, verdictAttrs(r.verdict, slog.String("client", shown(cl.id)), slog.String("user", shown(r.user)),
		slog.String("filter", r.sub.Filter), slog.Int("qos", int(r.qos)))...)
}

// ClientPrincipal is who the client with an identifier is: its connection's
// principal while it is online, else the one that was stored with its session.
// ok is false if there is no such client.
func (b *Broker) ClientPrincipal(id string) (who *security.Principal, online, ok bool) {
	cl := b.reg.find(id)
	if cl == nil {
		return nil, false, false
	}
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if cl.session == nil || cl.principal == nil {
		return nil, false, false
	}
	return cl.principal, cl.live, true
}
