package security

import (
	"fmt"
	"strings"
	"sync/atomic"
)

// Gate is the one place where requests are judged. Its rules are swapped as a
// whole; a generation tells decisions of before and after apart.
type Gate struct {
	rules atomic.Pointer[Ruleset]
}

// Ruleset is the policies of every listener, by its name. It is immutable once
// given to a Gate.
type Ruleset struct {
	ByListener map[string][]Policy
}

// NewGate makes a gate over rules; nil refuses everything.
func NewGate(rules *Ruleset) *Gate {
	g := &Gate{}
	g.Swap(rules)
	return g
}

// Swap replaces the rules. What was decided before is not valid any more when it returns.
func (g *Gate) Swap(rules *Ruleset) {
	if rules == nil {
		rules = &Ruleset{}
	}
	g.rules.Store(rules)
}

// Permit is leave to publish one message. The zero Permit is refused; only a Gate makes others.
type Permit struct {
	by     *Principal
	topic  string
	qos    byte
	retain bool
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

// Valid reports whether the permit was made under the gate's present rules.
func (g *Gate) Valid(p Permit) bool { return p.rules != nil && p.rules == g.rules.Load() }

// Delivery is leave to hand one message to one receiver. The zero Delivery is refused.
type Delivery struct{ rules *Ruleset }

// Valid reports whether the delivery was made under the gate's present rules.
func (g *Gate) Delivers(d Delivery) bool { return d.rules != nil && d.rules == g.rules.Load() }

// Granted reports whether the delivery is one.
func (d Delivery) Granted() bool { return d.rules != nil }

// Admit judges a principal that connects: an explicit deny, or a policy that
// can't serve this principal, refuses.
func (g *Gate) Admit(p *Principal) Verdict {
	rules := g.rules.Load()
	req := Request{Principal: p, Action: Connect}
	for _, pol := range rules.ByListener[p.Listener] {
		if v := pol.Decide(&req); v.Effect == Deny {
			return v
		}
		if a, ok := pol.(AdmitPolicy); ok {
			if err := a.Admit(p); err != nil {
				v := Verdict{Effect: Deny, Rule: err.Error()}
				if named, ok := pol.(interface{ Name() string }); ok {
					v.Policy = named.Name()
				}
				return v
			}
		}
	}
	return Verdict{Effect: Allow, Rule: "no rule refuses the connection"}
}

// Decide judges r: one explicit deny is final, else one allow suffices, else
// the answer is deny.
func (g *Gate) Decide(r *Request) Verdict { return g.rules.Load().decide(r) }

func (rs *Ruleset) decide(r *Request) Verdict {
	if r.Principal == nil {
		return Verdict{Effect: Deny, Rule: "nobody asked"}
	}
	if r.Principal.Internal {
		return Verdict{Effect: Allow, Rule: "the broker itself"}
	}
	if r.Action == Publish && brokersOwn(r.Topic) {
		return Verdict{Effect: Deny, Rule: "$SYS belongs to the broker"}
	}
	out := Verdict{Effect: Deny, Rule: "no rule allows it"}
	for _, pol := range rs.ByListener[r.Principal.Listener] {
		switch v := pol.Decide(r); v.Effect {
		case Deny:
			return v
		case Allow:
			if out.Effect == Deny {
				out = v
			}
		case Silent:
			// Its reason is the best answer there is to "why not?".
			if out.Effect == Deny && v.Rule != "" {
				v.Effect = Deny
				out = v
			}
		}
	}
	return out
}

func brokersOwn(name string) bool { return name == "$SYS" || strings.HasPrefix(name, "$SYS/") }

// Publish judges a message of p to topic; will says that it is a will.
func (g *Gate) Publish(p *Principal, topic string, qos byte, retain, will bool) (Permit, Verdict) {
	rules := g.rules.Load()
	v := rules.decide(&Request{Principal: p, Action: Publish, Topic: topic, QoS: qos, Retain: retain, Will: will})
	if !v.Allowed() {
		return Permit{}, v
	}
	return Permit{by: p, topic: topic, qos: qos, retain: retain, rules: rules}, v
}

// Receive judges the delivery of a message on topic to p.
func (g *Gate) Receive(p *Principal, topic string, qos byte, retain bool) (Delivery, Verdict) {
	rules := g.rules.Load()
	v := rules.decide(&Request{Principal: p, Action: Receive, Topic: topic, QoS: qos, Retain: retain})
	if !v.Allowed() {
		return Delivery{}, v
	}
	return Delivery{rules: rules}, v
}

// Subscribe judges a subscription of p to filter, without its $share prefix.
func (g *Gate) Subscribe(p *Principal, filter, group string, qos byte) Verdict {
	return g.Decide(&Request{Principal: p, Action: Subscribe, Topic: filter, QoS: qos, Shared: group != "", Group: group})
}

// Access answers for one principal and remembers answers, so that a topic in
// steady use costs one map look-up. It belongs to one goroutine, or to the
// lock of whoever holds it, and to one direction of flow.
type Access struct {
	gate      *Gate
	principal *Principal
	rules     *Ruleset
	answers   map[string]answers
}

// answers holds a known and an allowed bit for each QoS and retain flag.
type answers struct{ known, allowed uint8 }

// accessTopics bounds what an Access remembers.
const accessTopics = 64

// NewAccess makes an Access for p.
func NewAccess(g *Gate, p *Principal) Access { return Access{gate: g, principal: p} }

// Principal is who is asked for.
func (a *Access) Principal() *Principal { return a.principal }

// Publish is Gate.Publish. topic may view a buffer: it is copied if it is remembered.
// known reports that the topic was judged before, so that its form needs no second check.
func (a *Access) Publish(topic string, qos byte, retain bool) (Permit, Verdict) {
	rules, bit, ans := a.recall(topic, qos, retain)
	if ans.known&bit == 0 {
		v := rules.decide(&Request{Principal: a.principal, Action: Publish, Topic: topic, QoS: qos, Retain: retain})
		a.remember(topic, bit, ans, v.Allowed())
		if !v.Allowed() {
			return Permit{}, v
		}
	} else if ans.allowed&bit == 0 {
		// Refusals are rare: their reason is worked out again rather than kept.
		return Permit{}, rules.decide(&Request{Principal: a.principal, Action: Publish, Topic: topic, QoS: qos, Retain: retain})
	}
	return Permit{by: a.principal, topic: topic, qos: qos, retain: retain, rules: rules}, Verdict{Effect: Allow}
}

// Known reports whether topic was judged under the present rules, so that its
// form was checked then.
func (a *Access) Known(topic string) bool {
	if a.gate.rules.Load() != a.rules {
		return false
	}
	_, ok := a.answers[topic]
	return ok
}

// Receive is Gate.Receive.
func (a *Access) Receive(topic string, qos byte, retain bool) Delivery {
	if a.principal == nil {
		return Delivery{}
	}
	rules, bit, ans := a.recall(topic, qos, retain)
	if ans.known&bit == 0 {
		v := rules.decide(&Request{Principal: a.principal, Action: Receive, Topic: topic, QoS: qos, Retain: retain})
		a.remember(topic, bit, ans, v.Allowed())
		if !v.Allowed() {
			return Delivery{}
		}
	} else if ans.allowed&bit == 0 {
		return Delivery{}
	}
	return Delivery{rules: rules}
}

func (a *Access) recall(topic string, qos byte, retain bool) (*Ruleset, uint8, answers) {
	rules := a.gate.rules.Load()
	if rules != a.rules {
		a.rules = rules
		a.answers = nil
	}
	bit := uint8(1) << qos
	if retain {
		bit <<= 3
	}
	return rules, bit, a.answers[topic]
}

func (a *Access) remember(topic string, bit uint8, ans answers, allowed bool) {
	ans.known |= bit
	if allowed {
		ans.allowed |= bit
	}
	if a.answers == nil {
		a.answers = make(map[string]answers, 1)
	} else if len(a.answers) >= accessTopics {
		if _, there := a.answers[topic]; !there {
			clear(a.answers)
		}
	}
	a.answers[strings.Clone(topic)] = ans
}

// Denied is a refusal: Code is for the peer, the verdict for log and audit.
type Denied struct {
	Code    byte
	Verdict Verdict
}

func (d *Denied) Error() string {
	return fmt.Sprintf("refused: %s %s", d.Verdict.Policy, d.Verdict.Rule)
}

// Redirect is an authenticator's answer that another server serves this client
// (MQTT 5.0, 4.13).
type Redirect struct {
	Server    string // the server reference, as the client shall read it
	Permanent bool   // server moved (0x9D), else use another server (0x9C)
}

func (r *Redirect) Error() string { return "sent to another server" }
