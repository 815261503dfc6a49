package broker

import (
	"sallyport/packet"
	"sallyport/security"
	"sallyport/session"
	"sallyport/store"
)

// inbound is a message on its way in. Its topic, payload and properties may
// view a read buffer; message copies them, once, when somebody keeps it.
type inbound struct {
	topic    string
	payload  []byte
	props    []byte
	expiryAt int
	expires  int64
	qos      byte
	retain   bool
	will     bool
	variant  uint8 // of the copy that was written last; 0: none yet
	encoding encoding
	origin   *session.Origin
	hash     security.Hash // of the topic, once somebody has needed it
	trail    *trail        // what is remembered of the topic; nil: nothing
	kept     *session.Message
	waiting  *waiting // of a QoS 2 message: its copies wait for the commit
	passing  bool     // of a QoS 2 message whose publisher keeps no session: they do from the first on of which something is kept
	flying   *[]flyer // likewise, where it was kept before and only its copies are new; nil: they need not
}

// waiting is where the copies of a QoS 2 message wait until its commit is
// complete: when it fails the publisher sends the message again, as a new one,
// and nobody may have it twice.
type waiting struct {
	msg     *session.Message // what it holds, nil while nobody has a copy
	clients []*client
	groups  []*group
}

// waits reports where the copies of a QoS 2 message wait; nil: they need not.
func (in *inbound) waits() *waiting {
	if in.passing && in.waiting == nil {
		in.waiting = &waiting{}
	}
	return in.waiting
}

// hold is message for a copy that may leave when the publisher's commit is complete.
func (in *inbound) hold() *session.Message {
	m := in.message()
	if in.waiting.msg == nil {
		m.Hold()
		in.waiting.msg = m
	}
	return m
}

// message is the message as one immutable allocation, shared by all holders.
func (in *inbound) message() *session.Message {
	if in.kept == nil {
		m := session.NewMessage(in.topic, in.payload, in.props)
		m.ExpiryAt, m.Expires, m.Origin = in.expiryAt, in.expires, in.origin
		m.QoS, m.Retain, m.Will = in.qos, in.retain, in.will
		in.kept = m
	}
	return in.kept
}

// request asks for leave to publish the message.
func (in *inbound) request(by *security.Principal) security.Request {
	return security.Request{
		Principal: by, Topic: in.topic, QoS: in.qos, Retain: in.retain, Will: in.will,
		Message: &security.Message{Payload: in.payload},
	}
}

// size is what a copy of the message would count against limits.
func (in *inbound) size() int {
	return session.Size(in.topic, in.payload, in.props)
}

// left is the message expiry interval to forward now, in seconds.
func (in *inbound) left(now int64) uint32 {
	return session.Left(in.expires, now)
}

// release ends the wait: the copies may leave, or after a failed commit are
// forgotten. It runs once, when publish has returned; w is nil but for QoS 2.
func (w *waiting) release(t *turn, b *Broker, err error) {
	if w == nil {
		return
	}
	if w.msg == nil {
		return
	}
	if err == nil {
		w.msg.Unhold()
	}
	for _, cl := range w.clients {
		cl.unhold(t, w, err).pay(t)
	}
	for _, g := range w.groups {
		if err != nil {
			g.dropHeld(w.msg)
		}
		g.drain(t)
	}
}

// unhold lets the copies that wait in w go, or forgets them after a failed commit.
func (cl *client) unhold(t *turn, w *waiting, err error) dues {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	if cl.session == nil {
		return dues{}
	}
	if err != nil {
		cl.session.DropHeld(w.msg)
	}
	cl.pump(t)
	cl.account()
	return cl.owed(cl.live && cl.session.Room())
}

// result is what became of a published message.
type result struct {
	code   packet.Code       // Success, NoMatchingSubscribers, QuotaExceeded, NotAuthorized
	denied *security.Verdict // why not, where rules that came in between refuse it
}

// outcome is what became of one copy.
type outcome uint8

const (
	passed  outcome = iota // not for this receiver: no-local, subscription over
	taken                  // sent or queued
	full                   // its limits left no room
	refused                // it may not have it, or can't take it
	kick                   // no room, and its listener says that it has to go
)

// publish routes a message that has a permit: retained, then fan-out. The zero
// Permit is refused, and one from before a change of rules is judged again.
// What has to be kept is added to batch.
func (b *Broker) publish(t *turn, permit security.Permit, in *inbound, batch *store.Batch) result {
	res, _ := b.spread(t, permit, in, batch, false)
	return res
}

// spread is publish that, if it may, leaves receivers for later turns where
// there are too many; the result is then the fan's to find.
func (b *Broker) spread(t *turn, permit security.Permit, in *inbound, batch *store.Batch, may bool) (result, *fan) {
	if !b.gate.Valid(permit) {
		var denied *security.Verdict
		if permit, denied = b.valid(permit, in); denied != nil || permit.By() == nil {
			return result{code: packet.NotAuthorized, denied: denied}, nil
		}
	}
	if in.retain && !b.keepRetained(in, batch) {
		return result{code: packet.QuotaExceeded}, nil
	}
	r := t.router
	if r == nil {
		r = newRouter(b)
		t.router = r
	}
	r.t, r.in, r.batch, r.may = t, in, batch, may && t.bounded
	r.follow()
	for !r.serve() {
		if f, ok := r.suspend(permit); ok {
			t.router = nil // it is the fan's
			return result{}, f
		}
		r.may = false
	}
	res := r.result()
	r.reset()
	return res, nil
}

// valid is the permit, made anew if the rules were swapped since; denied says why
// they do not allow the message any more.
func (b *Broker) valid(permit security.Permit, in *inbound) (_ security.Permit, denied *security.Verdict) {
	for !b.gate.Valid(permit) { // again only if the rules were swapped once more meanwhile
		by := permit.By()
		if by == nil {
			return security.Permit{}, nil
		}
		if permit, denied = b.permit(by, in); denied != nil {
			return security.Permit{}, denied
		}
	}
	return permit, nil
}

// permit asks for leave for by to publish the message; denied says why there is none.
func (b *Broker) permit(by *security.Principal, in *inbound) (_ security.Permit, denied *security.Verdict) {
	permit, v := b.gate.Publish(in.request(by))
	if !v.Allowed() {
		return security.Permit{}, &v
	}
	return permit, nil
}

// router carries one message to its receivers. A turn has one, so that a message
// costs no closure.
type router struct {
	b       *Broker
	t       *turn
	in      *inbound
	batch   *store.Batch
	yield   func(target, *session.Subscription) bool // route
	collect func(target, *session.Subscription) bool // gather
	hops    []hop
	left    []hop // still to be served
	given   int   // of merged, served
	may     bool  // what is left may wait for a later turn
	matched int
	taken   int
	full    int
	merged  []mergedCopy
	index   map[*client]int // where in merged
}

// mergedCopy is a client with its subscriptions that match one message.
type mergedCopy struct {
	cl   *client
	subs []*session.Subscription
}

func newRouter(b *Broker) *router {
	r := &router{b: b}
	r.yield, r.collect = r.route, r.gather
	return r
}

// reset makes r ready for another message. It keeps room, and nobody's pointers
// but those of the message.
func (r *router) reset() {
	r.left, r.given, r.matched, r.taken, r.full = nil, 0, 0, 0, 0
	if len(r.merged) > 0 {
		clear(r.merged)
		clear(r.index)
		r.merged = r.merged[:0]
	}
	if len(r.hops) > 0 {
		clear(r.hops)
		if r.hops = r.hops[:0]; cap(r.hops) > fanKept {
			r.hops = nil // one wide fan-out is no reason to keep so much
		}
	}
}

// serve serves what is left, and reports whether all is served.
func (r *router) serve() (complete bool) {
	for len(r.left) > 0 {
		if r.suspends() {
			return false
		}
		h := r.left[0]
		r.left = r.left[1:]
		r.route(h.to, h.sub)
	}
	for ; r.given < len(r.merged); r.given++ {
		if r.suspends() {
			return false
		}
		m := &r.merged[r.given]
		r.t.rest--
		r.count(m.cl.offer(r.t, r.in, r.batch, m.subs...))
	}
	return true
}

// result is what became of the message, when all is served.
func (r *router) result() result {
	res := result{code: packet.Success}
	switch {
	case r.matched == 0 && r.b.opt.TellNoSubscribers:
		res.code = packet.NoMatchingSubscribers
	case r.taken == 0 && r.full > 0:
		// No receiver could take it.
		res.code = packet.QuotaExceeded
	}
	return res
}

func (r *router) route(to target, sub *session.Subscription) bool {
	r.t.rest--
	if to.group != nil {
		r.count(to.group.offer(r.t, r.in, r.batch))
		return true
	}
	if r.b.opt.MergeOverlapping {
		r.merge(to.client, sub)
		return true
	}
	r.count(to.client.offer(r.t, r.in, r.batch, sub))
	return true
}

func (r *router) count(o outcome) {
	switch o {
	case passed:
		return
	case taken:
		r.taken++
	case full:
		r.full++
	}
	r.matched++
}

// merge collects a client's overlapping subscriptions into one copy (MQTT 5.0, 3.3.4).
func (r *router) merge(cl *client, sub *session.Subscription) {
	i, there := r.index[cl]
	if there {
		r.merged[i].subs = append(r.merged[i].subs, sub)
		return
	}
	if r.index == nil {
		r.index = make(map[*client]int)
	}
	r.index[cl] = len(r.merged)
	r.merged = append(r.merged, mergedCopy{cl, []*session.Subscription{sub}})
}
