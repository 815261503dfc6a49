package security

import (
	"errors"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
)

// Gate is the one place where requests are judged. Its rules are swapped as a
// whole; a generation tells decisions of before and after apart.
type Gate struct {
	rules  atomic.Pointer[Ruleset]
	seed   maphash.Seed
	shadow Shadow

	questions sync.Pool // *question, for Access
}

// Ruleset is the policies of every listener, by its name. It is immutable once
// given to a Gate.
type Ruleset struct {
	ByListener map[string][]Policy
	// Shadow is policies that are asked beside those in force and never enforced.
	Shadow map[string][]Policy
	// Downgrade says of which listeners a subscription is granted at a lower QoS
	// where the requested one is refused.
	Downgrade map[string]bool

	generation uint64 // set by Swap
}

// NewGate makes a gate over rules; nil refuses everything.
func NewGate(rules *Ruleset) *Gate {
	g := &Gate{seed: maphash.MakeSeed()}
	g.Swap(rules)
	return g
}

// Swap replaces the rules, which no other gate may hold. What was decided before
// is not valid any more when it returns; the engine's Enforce then waits for what
// is under way.
func (g *Gate) Swap(rules *Ruleset) {
	if rules == nil {
		rules = &Ruleset{}
	}
	rules.generation = 1
	if old := g.rules.Load(); old != nil {
		rules.generation = old.generation + 1
	}
	g.rules.Store(rules)
}

// Generation counts the swaps: what was decided under another one is not valid.
func (g *Gate) Generation() uint64 { return g.rules.Load().generation }

// Shadow is the record of what the shadow policies would have answered otherwise.
func (g *Gate) Shadow() *Shadow { return &g.shadow }

// Permit is leave to publish one message. The zero Permit is refused; only a Gate makes others.
type Permit struct {
	by     *Principal
	topic  string
	qos    byte
	retain bool
	will   bool
	rules  *Ruleset
}

// By is who may publish.
func (p Permit) By() *Principal { return p.by }

// Topic is the topic that was judged. It may view a read buffer: it is valid as long as that.
func (p Permit) Topic() string { return p.topic }

// QoS and Retain are the message's, as judged.
func (p Permit) QoS() byte { return p.qos }

// Retain reports whether the message was judged as a retained one.
func (p Permit) Retain() bool { return p.retain }

// Will reports whether the message was judged as a will.
func (p Permit) Will() bool { return p.will }

// Valid reports whether the permit was made under the gate's present rules.
func (g *Gate) Valid(p Permit) bool { return p.rules != nil && p.rules == g.rules.Load() }

// Delivery is leave to hand one message to one receiver. The zero Delivery is refused.
type Delivery struct{ rules *Ruleset }

// Delivers reports whether the delivery was made under the gate's present rules.
func (g *Gate) Delivers(d Delivery) bool { return d.rules != nil && d.rules == g.rules.Load() }

// Granted reports whether the delivery is one.
func (d Delivery) Granted() bool { return d.rules != nil }

// Decide judges q. One explicit deny is final, else one allow suffices, else the
// answer is deny. A connection that no policy judges is allowed: who may connect
// at all was found by authentication.
func (g *Gate) Decide(q *Request) Verdict { return g.rules.Load().decide(q) }

func (rs *Ruleset) decide(q *Request) Verdict {
	if v, decided := outside(q); decided {
		return v
	}
	return judge(rs.ByListener[q.Principal.Listener], q)
}

// outside is what is decided before any policy is asked.
func outside(q *Request) (v Verdict, decided bool) {
	switch {
	case q.Principal == nil:
		return Verdict{Effect: Deny, Rule: "nobody asked"}, true
	case q.Principal.Internal:
		return Verdict{Effect: Allow, Rule: "the broker itself", QoS: q.QoS}, true
	case q.Action == Publish && brokersOwn(q.Topic):
		return Verdict{Effect: Deny, Rule: "$SYS belongs to the broker"}, true
	}
	return Verdict{}, false
}

func brokersOwn(name string) bool { return name == "$SYS" || strings.HasPrefix(name, "$SYS/") }

// judge asks policies about q.
func judge(policies []Policy, q *Request) Verdict {
	out := Verdict{Effect: Deny, Rule: "no rule allows it"}
	if len(policies) == 0 {
		out.Rule = "the listener has no policy"
	}
	held := Verdict{Scope: 1}
	needed := q.Action != Connect
	for _, pol := range policies {
		v := pol.Decide(q)
		if q.Action == Connect && v.Effect != Deny {
			if refusal, refuses := unadmitted(pol, q.Principal); refuses {
				v = refusal
			}
			needed = needed || needsConnect(pol)
		}
		held.holds(v)
		switch {
		case v.Effect == Deny:
			return v // whatever the others say, as long as it holds
		case out.Effect == Allow:
			// The first one that allows is the reason.
		case v.Effect == Allow:
			out = v
		case v.Rule != "":
			// The reason of a silence is the best answer there is to "why not?".
			out = v
			out.Effect = Deny
		}
	}
	if out.Effect != Allow && !needed {
		out = Verdict{Effect: Allow, Rule: "no rule refuses the connection"}
	}
	out.Until, out.Volatile, out.Scope, out.QoS = held.Until, held.Volatile, held.Scope, q.QoS
	return out
}

// unadmitted is the verdict on a principal that pol can't serve.
func unadmitted(pol Policy, p *Principal) (refusal Verdict, refuses bool) {
	a, ok := pol.(AdmitPolicy)
	if !ok {
		return Verdict{}, false
	}
	err := a.Admit(p)
	if err == nil {
		return Verdict{}, false
	}
	refusal = Verdict{Effect: Deny, Policy: name(pol), Rule: err.Error()}
	var untold *Untold
	if errors.As(err, &untold) {
		refusal.File, refusal.Line, refusal.Rule = untold.File, untold.Line, untold.Rule
	}
	return refusal, true
}

func needsConnect(pol Policy) bool {
	c, ok := pol.(ConnectPolicy)
	return ok && c.NeedsConnect()
}

// name is a policy's name in the configuration, empty if it has none.
func name(pol Policy) string {
	if n, ok := pol.(interface{ Name() string }); ok {
		return n.Name()
	}
	return ""
}

// answer is Granted for a request that is really made: the shadow policies are asked too.
func (g *Gate) answer(rs *Ruleset, q *Request) (v Verdict, differs bool) {
	v = rs.granted(q)
	if len(rs.Shadow) == 0 || q.Principal == nil {
		return v, false
	}
	policies, shadowed := rs.Shadow[q.Principal.Listener]
	if !shadowed {
		return v, false
	}
	if _, decided := outside(q); decided {
		return v, false
	}
	other := rs.lowered(policies, judge(policies, q), q)
	v.holds(other)
	if differs = other.Allowed() != v.Allowed() || v.Allowed() && other.QoS != v.QoS; differs {
		g.shadow.differ(q, v, other)
	}
	return v, differs
}

// Admit judges a principal that connects: an explicit deny, a policy that can't
// serve this principal, or the lack of an allow where one is needed, refuses.
func (g *Gate) Admit(p *Principal) Verdict {
	v, _ := g.answer(g.rules.Load(), &Request{Principal: p, Action: Connect})
	return v
}

// Keeps is Admit for a principal that is connected already.
func (g *Gate) Keeps(p *Principal) Verdict {
	return g.Decide(&Request{Principal: p, Action: Connect})
}

// Publish judges a message: q.Principal, Topic, QoS, Retain, Will and Message.
func (g *Gate) Publish(q Request) (Permit, Verdict) {
	q.Action = Publish
	rules := g.rules.Load()
	v, _ := g.answer(rules, &q)
	if !v.Allowed() {
		return Permit{}, v
	}
	return Permit{by: q.Principal, topic: q.Topic, qos: q.QoS, retain: q.Retain, will: q.Will, rules: rules}, v
}

// Receive judges the delivery of a message: q.Principal, Topic, QoS, Retain,
// Shared, Group and Message.
func (g *Gate) Receive(q Request) (Delivery, Verdict) {
	q.Action = Receive
	rules := g.rules.Load()
	v, _ := g.answer(rules, &q)
	if !v.Allowed() {
		return Delivery{}, v
	}
	return Delivery{rules: rules}, v
}

// Subscribe judges a subscription of p to filter, without its $share prefix. An
// allowing verdict says at which QoS: the requested one, or where the listener
// downgrades, the highest that is allowed.
func (g *Gate) Subscribe(p *Principal, filter, group string, qos byte) Verdict {
	rules := g.rules.Load()
	q := Request{Principal: p, Action: Subscribe, Topic: filter, QoS: qos, Shared: group != "", Group: group}
	v, _ := g.answer(rules, &q)
	return v
}

// Standing is Subscribe for a subscription that was granted before.
func (g *Gate) Standing(p *Principal, filter, group string, qos byte) Verdict {
	return g.Granted(&Request{Principal: p, Action: Subscribe, Topic: filter, QoS: qos, Shared: group != "", Group: group})
}

// Granted is Decide, and for a subscription also at which QoS it would stand:
// where its listener downgrades, perhaps a lower one than was asked for.
func (g *Gate) Granted(q *Request) Verdict { return g.rules.Load().granted(q) }

func (rs *Ruleset) granted(q *Request) Verdict {
	v := rs.decide(q)
	if q.Principal == nil {
		return v
	}
	return rs.lowered(rs.ByListener[q.Principal.Listener], v, q)
}

// lowered is v, which policies answered to q, or if they refuse a subscription to
// a listener that downgrades, their answer at the highest QoS that they allow.
func (rs *Ruleset) lowered(policies []Policy, v Verdict, q *Request) Verdict {
	if v.Allowed() || q.Action != Subscribe || !rs.Downgrade[q.Principal.Listener] {
		return v
	}
	lower := *q
	for lower.QoS > 0 {
		lower.QoS--
		if at := judge(policies, &lower); at.Allowed() {
			return at
		}
	}
	return v
}

// Redirect is an authenticator's answer that another server serves this client
// (MQTT 5.0, 4.13).
type Redirect struct {
	Server    string // the server reference, as the client shall read it
	Permanent bool   // server moved (0x9D), else use another server (0x9C)
}

func (r *Redirect) Error() string { return "sent to another server" }
