package security

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// scoped is a policy whose answers hold for all topics with the same first level,
// which has to be "open" to be allowed.
func scoped(asked *int) Policy {
	return policyOf(func(q *Request) Verdict {
		*asked++
		if strings.HasPrefix(q.Topic, "open/") {
			return Verdict{Effect: Allow, Scope: 1}
		}
		return Verdict{Effect: Deny, Scope: 1}
	})
}

func TestManyTopicsAreAskedAboutOnce(t *testing.T) {
	asked := 0
	a := NewAccess(gateOf(scoped(&asked)), somebody)
	for i := range 10_000 {
		if _, v := a.Publish(fmt.Sprint("open/", i), nil, 1, false, nil); !v.Allowed() {
			t.Fatal(v)
		}
	}
	// One by one until there are many, then once, and once for another QoS.
	if most := 1<<(wideSize+1) + 1; asked > most {
		t.Errorf("asked %d times, want at most %d", asked, most)
	}
	asked = 0
	a.Publish("open/again", nil, 2, false, nil)
	a.Publish("open/and/again", nil, 2, false, nil)
	if asked != 1 {
		t.Errorf("asked %d times about another QoS, want once", asked)
	}
	if n := len(a.slots()); n != 1 {
		t.Errorf("%d slots beside the scopes, want one", n)
	}
	// A scope is of topics that go on behind its levels.
	for _, name := range []string{"open", "opening/a", "ope/n"} {
		if _, v := a.Publish(name, nil, 1, false, nil); v.Allowed() {
			t.Errorf("%s is allowed", name)
		}
	}
}

func TestARefusalIsExplainedEachTime(t *testing.T) {
	asked := 0
	a := NewAccess(gateOf(scoped(&asked)), somebody)
	for i := range 100 {
		a.Receive(fmt.Sprint("shut/", i), nil, "", 0, false, nil)
	}
	asked = 0
	if a.Receive("shut/x", nil, "", 0, false, nil).Granted() || asked != 0 {
		t.Errorf("granted, or asked %d times", asked)
	}
	p := NewAccess(gateOf(scoped(&asked)), somebody)
	for i := range 100 {
		if _, v := p.Publish(fmt.Sprint("shut/", i), nil, 0, false, nil); v.Effect != Deny {
			t.Fatal(v)
		}
	}
	if asked != 100 {
		t.Errorf("asked %d times for 100 refusals", asked)
	}
}

func TestTheReasonOfARefusalIsNotForMany(t *testing.T) {
	// All of t is closed until a moment that comes while the reason is worked out; then
	// only one topic is open. The clock is put back after that.
	closed := true
	a := NewAccess(gateOf(policyOf(func(q *Request) Verdict {
		switch {
		case closed:
			return Verdict{Effect: Deny, Scope: 1}
		case q.Topic == "t/open":
			return Verdict{Effect: Allow}
		}
		return Verdict{Effect: Deny}
	})), somebody)
	for i := range 100 {
		a.Publish(fmt.Sprint("t/", i), nil, 0, false, nil)
	}
	closed = false
	a.Publish("t/open", nil, 0, false, nil)
	if _, v := a.Publish("t/shut", nil, 0, false, nil); v.Allowed() {
		t.Error("what was said of one topic is said of another")
	}
}

func TestScopesEndWithTheirRulesAndTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		until := time.Now().Add(time.Minute)
		effect := Allow
		policy := policyOf(func(*Request) Verdict { return Verdict{Effect: effect, Scope: 1, Until: until.UnixNano()} })
		g := gateOf(policy)
		a := NewAccess(g, somebody)
		use := func() (allowed bool) {
			for i := range 100 {
				_, v := a.Publish(fmt.Sprint("t/", i), nil, 0, false, nil)
				allowed = v.Allowed()
			}
			return allowed
		}
		if !use() {
			t.Fatal("refused")
		}
		effect = Deny
		if !use() {
			t.Error("nothing was remembered")
		}
		time.Sleep(61 * time.Second)
		if use() {
			t.Error("allowed after its time")
		}
		effect, until = Allow, time.Now().Add(time.Hour)
		g.Swap(&Ruleset{ByListener: map[string][]Policy{"door": {policy}}})
		if !use() {
			t.Error("refused under new rules")
		}
		effect = Deny
		g.Swap(&Ruleset{ByListener: map[string][]Policy{"door": {policy}}})
		for range 3 { // the first look is what finds that the rules are others
			if _, v := a.Publish("t/new", nil, 0, false, nil); v.Allowed() {
				t.Error("allowed by rules that are in force no more")
			}
		}
	})
}

func TestWhatAScopeDoesNotHoldFor(t *testing.T) {
	// Share names are asked about one by one, and what depends on the message each time.
	asked := 0
	a := NewAccess(gateOf(policyOf(func(q *Request) Verdict {
		asked++
		return Verdict{Effect: Allow, Scope: 1, Volatile: strings.HasPrefix(q.Topic, "m/")}
	})), somebody)
	for i := range 200 {
		a.Receive(fmt.Sprint("t/", i), nil, "", 0, false, nil)
	}
	asked = 0
	for i := range 10 {
		a.Receive(fmt.Sprint("t/", i), nil, "g", 0, false, nil)
		a.Receive(fmt.Sprint("m/", i), nil, "", 0, false, nil)
	}
	if asked != 20 {
		t.Errorf("asked %d times, want 20", asked)
	}
}

func TestScopesAreFew(t *testing.T) {
	asked := 0
	long := strings.Repeat("l", accessKey)
	a := NewAccess(gateOf(policyOf(func(q *Request) Verdict {
		asked++
		return Verdict{Effect: Allow, Scope: 1}
	})), somebody)
	for i := range 20_000 {
		a.Publish(fmt.Sprintf("%d/t", i%100), nil, 0, false, nil)
		a.Publish(long+"/t", nil, 0, false, nil)
	}
	held := 0
	for _, s := range a.scopes() {
		if held += len(s.key); len(s.key) > accessKey {
			t.Errorf("a scope of %d bytes", len(s.key))
		}
	}
	if held == 0 || len(a.slots()) > MaxPlaces {
		t.Errorf("%d bytes of scopes, %d slots", held, len(a.slots()))
	}
	// What finds no scope is remembered one by one, so that a hundred beginnings are.
	if asked > 20_000+6000 {
		t.Errorf("asked %d times for 40,000 messages", asked)
	}
}

func TestEveryPolicysScopeCounts(t *testing.T) {
	answer := func(effect Effect, scope int) Policy {
		return policyOf(func(*Request) Verdict { return Verdict{Effect: effect, Scope: scope} })
	}
	for _, c := range []struct {
		policies []Policy
		want     int
	}{
		{[]Policy{answer(Allow, 1)}, 1},
		{[]Policy{answer(Allow, 0)}, 0},
		{[]Policy{answer(Allow, 1), answer(Silent, 3)}, 3},
		{[]Policy{answer(Allow, 1), answer(Silent, 0)}, 0},
		{[]Policy{answer(Silent, 0), answer(Deny, 2)}, 2}, // whatever the others say
		{nil, 1},
	} {
		if v := gateOf(c.policies...).Decide(&Request{Principal: somebody, Action: Publish, Topic: "a/b"}); v.Scope != c.want {
			t.Errorf("%d policies: scope %d, want %d", len(c.policies), v.Scope, c.want)
		}
	}
	shadowed := &Ruleset{ByListener: map[string][]Policy{"door": {answer(Allow, 1)}}, Shadow: map[string][]Policy{"door": {answer(Allow, 2)}}}
	if v, _ := NewGate(shadowed).answer(shadowed, &Request{Principal: somebody, Action: Publish, Topic: "a/b"}); v.Scope != 2 {
		t.Errorf("beside a shadow: scope %d, want 2", v.Scope)
	}
	if v := gateOf(answer(Allow, 1)).Decide(&Request{Principal: somebody, Action: Publish, Topic: "$SYS/a"}); v.Scope != 0 {
		t.Error("what the broker keeps for itself has a scope")
	}
}
