package security

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// fixed is a policy with one answer.
type fixed struct {
	effect Effect
	rule   string
	admit  error
	asked  *int
}

func (f fixed) Decide(r *Request) Verdict {
	if f.asked != nil {
		*f.asked++
	}
	if r.Action == Connect && f.effect != Deny {
		return Verdict{}
	}
	return Verdict{Effect: f.effect, Policy: "p", Rule: f.rule}
}

func (f fixed) Admit(*Principal) error { return f.admit }

func gateOf(policies ...Policy) *Gate {
	return NewGate(&Ruleset{ByListener: map[string][]Policy{"door": policies}})
}

var somebody = &Principal{Realm: "r", Name: "n", Listener: "door"}

func TestPoliciesAreCombined(t *testing.T) {
	allow, deny, silent := fixed{effect: Allow, rule: "allowed"}, fixed{effect: Deny, rule: "denied"}, fixed{rule: "nothing covers it"}
	for _, tt := range []struct {
		name     string
		policies []Policy
		allowed  bool
		rule     string
	}{
		{"no policy denies", nil, false, "the listener has no policy"},
		{"silence denies, with its reason", []Policy{silent}, false, "nothing covers it"},
		{"one allow suffices", []Policy{silent, allow}, true, "allowed"},
		{"silence after an allow changes nothing", []Policy{allow, silent}, true, "allowed"},
		{"a deny is final before an allow", []Policy{deny, allow}, false, "denied"},
		{"a deny is final after an allow", []Policy{allow, deny}, false, "denied"},
	} {
		g := gateOf(tt.policies...)
		for what, v := range map[string]Verdict{
			"publish":   second(g.Publish(Request{Principal: somebody, Topic: "a", QoS: 1})),
			"receive":   second(g.Receive(Request{Principal: somebody, Topic: "a", QoS: 1})),
			"subscribe": g.Subscribe(somebody, "a/#", "", 1),
		} {
			if v.Allowed() != tt.allowed || v.Rule != tt.rule {
				t.Errorf("%s, %s: %v %q, want allowed %v, %q", tt.name, what, v.Effect, v.Rule, tt.allowed, tt.rule)
			}
		}
	}
}

func second[A any](_ A, v Verdict) Verdict { return v }

func TestTheZeroValueRefuses(t *testing.T) {
	g := gateOf(fixed{effect: Allow})
	if g.Valid(Permit{}) || g.Delivers(Delivery{}) || (Delivery{}).Granted() {
		t.Error("a zero Permit or Delivery is good for something")
	}
	if v := g.Decide(&Request{Action: Publish, Topic: "a"}); v.Allowed() {
		t.Error("nobody may publish")
	}
	if v := NewGate(nil).Decide(&Request{Principal: somebody, Action: Publish, Topic: "a"}); v.Allowed() {
		t.Error("a gate without rules allows")
	}
	elsewhere := *somebody
	elsewhere.Listener = "another"
	if v := g.Decide(&Request{Principal: &elsewhere, Action: Publish, Topic: "a"}); v.Allowed() {
		t.Error("the policies of one listener serve another")
	}
	if (Verdict{}).Allowed() || !(Verdict{Effect: Allow}).Allowed() {
		t.Error("the zero Verdict allows, or an allow does not")
	}
}

func TestOnlyTheBrokerPublishesItsTopics(t *testing.T) {
	g := gateOf(fixed{effect: Allow})
	for topic, want := range map[string]bool{"$SYS": false, "$SYS/broker": false, "$SYSTEM": true, "a/$SYS": true, "$share": true} {
		if _, v := g.Publish(Request{Principal: somebody, Topic: topic}); v.Allowed() != want {
			t.Errorf("publish to %s: %v, want allowed %v", topic, v, want)
		}
	}
	if _, v := g.Publish(Request{Principal: &Principal{Internal: true}, Topic: "$SYS/broker", Retain: true}); !v.Allowed() {
		t.Errorf("the broker itself: %v", v)
	}
}

func TestASwapEndsWhatWasPermitted(t *testing.T) {
	g := gateOf(fixed{effect: Allow})
	p, _ := g.Publish(Request{Principal: somebody, Topic: "a"})
	d, _ := g.Receive(Request{Principal: somebody, Topic: "a"})
	a := NewAccess(g, somebody)
	if _, v := a.Publish("a", nil, 0, false, nil); !v.Allowed() || !g.Valid(p) || !g.Delivers(d) {
		t.Fatal("not permitted before the swap")
	}
	g.Swap(nil)
	if g.Valid(p) || g.Delivers(d) || a.Known("a", nil) {
		t.Error("a permit, delivery or remembered answer outlives its rules")
	}
	if _, v := a.Publish("a", nil, 0, false, nil); v.Allowed() {
		t.Error("a remembered answer is given under other rules")
	}
}

func TestAdmit(t *testing.T) {
	if v := gateOf(fixed{effect: Allow}, fixed{effect: Deny, rule: "no"}).Admit(somebody); v.Allowed() || v.Rule != "no" {
		t.Errorf("an explicit deny: %+v", v)
	}
	if v := gateOf(fixed{admit: errors.New("no value for ${clientid}")}).Admit(somebody); v.Allowed() || !strings.Contains(v.Rule, "${clientid}") {
		t.Errorf("a policy that can't serve the principal: %+v", v)
	}
	untold := &Untold{File: "f", Line: 3, Rule: "deny a/${clientid}: no value"}
	g := gateOf(fixed{admit: fmt.Errorf("more: %w", untold)})
	for what, v := range map[string]Verdict{"judged": g.Admit(somebody), "explained": g.Explain(&Request{Principal: somebody, Action: Connect}).Policies[0].Verdict} {
		if v.Effect != Deny || v.File != "f" || v.Line != 3 || v.Rule != untold.Rule {
			t.Errorf("%s: %+v, want a deny with the place of the rule that can't be told", what, v)
		}
	}
	if v := gateOf(fixed{}).Admit(somebody); !v.Allowed() {
		t.Errorf("silence about connecting: %+v", v)
	}
}

func TestAReasonNamesItsPlace(t *testing.T) {
	for want, v := range map[string]Verdict{
		"p: f:3: deny a": {Policy: "p", File: "f", Line: 3, Rule: "deny a"},
		"p: f: none":     {Policy: "p", File: "f", Rule: "none"},
		"all: allow_all": {Policy: "all", Rule: "allow_all"},
		"nobody asked":   {Rule: "nobody asked"},
	} {
		if got := v.Why(); got != want {
			t.Errorf("Why of %+v = %q, want %q", v, got, want)
		}
	}
}

func TestPrincipalsAreEqualByRealmAndName(t *testing.T) {
	other := &Principal{Realm: "r", Name: "n", ClientID: "x", Method: "m"}
	if !somebody.Same(other) || somebody.Same(&Principal{Realm: "R", Name: "n"}) || somebody.Same(nil) || (*Principal)(nil).Same(somebody) {
		t.Error("equality is by realm and name, bytewise, and nobody equals nobody")
	}
}
