package security

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// connecting is a policy that judges connections.
type connecting struct {
	policyOf
	needs bool
}

func (c connecting) NeedsConnect() bool { return c.needs }

func TestAuthenticationAloneAdmitsUnlessAPolicySaysOtherwise(t *testing.T) {
	silent := policyOf(func(*Request) Verdict { return Verdict{Rule: "nothing"} })
	allow := policyOf(allowing)
	for _, tt := range []struct {
		name     string
		policies []Policy
		want     bool
	}{
		{"no policy", nil, true},
		{"silence", []Policy{silent}, true},
		{"silence where an allow is needed", []Policy{connecting{silent, true}}, false},
		{"silence of a policy that could need an allow", []Policy{connecting{silent, false}}, true},
		{"an allow of another policy", []Policy{connecting{silent, true}, allow}, true},
		{"an allow before the policy that needs one", []Policy{allow, connecting{silent, true}}, true},
		{"an allow, and a policy that can't serve the principal", []Policy{allow, fixed{admit: errors.New("no")}}, false},
	} {
		g := gateOf(tt.policies...)
		if v := g.Admit(somebody); v.Allowed() != tt.want {
			t.Errorf("%s: %+v, want %v", tt.name, v, tt.want)
		}
		if v := g.Keeps(somebody); v.Allowed() != tt.want {
			t.Errorf("%s, when connected: %+v, want %v", tt.name, v, tt.want)
		}
		if d := g.Explain(&Request{Principal: somebody, Action: Connect}); d.Verdict.Allowed() != tt.want {
			t.Errorf("%s, explained: %+v, want %v", tt.name, d.Verdict, tt.want)
		}
	}
}

// upTo allows up to a QoS.
func upTo(max byte) Policy {
	return policyOf(func(q *Request) Verdict {
		if q.QoS <= max {
			return Verdict{Effect: Allow}
		}
		return Verdict{Rule: "QoS"}
	})
}

func TestASubscriptionIsGrantedALowerQoSOnlyWhereTheListenerDowngrades(t *testing.T) {
	for _, tt := range []struct {
		policy    Policy
		downgrade bool
		asked     byte
		allowed   bool
		granted   byte
	}{
		{upTo(1), false, 2, false, 0},
		{upTo(1), true, 2, true, 1},
		{upTo(0), true, 2, true, 0},
		{upTo(2), true, 1, true, 1},
		{policyOf(func(*Request) Verdict { return Verdict{} }), true, 2, false, 0},
	} {
		g := NewGate(&Ruleset{ByListener: map[string][]Policy{"door": {tt.policy}}, Downgrade: map[string]bool{"door": tt.downgrade}})
		for what, v := range map[string]Verdict{
			"new": g.Subscribe(somebody, "a", "", tt.asked), "standing": g.Standing(somebody, "a", "", tt.asked),
			"explained": g.Explain(&Request{Principal: somebody, Action: Subscribe, Topic: "a", QoS: tt.asked}).Verdict,
		} {
			if v.Allowed() != tt.allowed || tt.allowed && v.QoS != tt.granted {
				t.Errorf("%s, asked %d, downgrade %v: %+v, want %v at %d", what, tt.asked, tt.downgrade, v, tt.allowed, tt.granted)
			}
		}
	}
}

// shadowed is a gate that allows everything beside a shadow that denies secret topics.
func shadowed() *Gate {
	return NewGate(&Ruleset{
		ByListener: map[string][]Policy{"door": {policyOf(func(*Request) Verdict { return Verdict{Effect: Allow, File: "live", Line: 1} })}},
		Shadow: map[string][]Policy{"door": {policyOf(func(q *Request) Verdict {
			if strings.HasPrefix(q.Topic, "secret") {
				return Verdict{Effect: Deny, File: "shadow", Line: 2}
			}
			return Verdict{Effect: Allow}
		})}},
	})
}

func TestAShadowPolicyIsNeverEnforcedAndEveryDifferenceCounts(t *testing.T) {
	g := shadowed()
	var told []Difference
	g.Shadow().Tell(func(d Difference) { told = append(told, d) })
	a, r := NewAccess(g, somebody), NewAccess(g, somebody)
	for range 10 {
		if _, v := a.Publish("secret/a", nil, 1, false, nil); !v.Allowed() {
			t.Fatal("the shadow is enforced")
		}
		a.Publish("open", nil, 1, false, nil)
		if !r.Receive("secret/b", nil, "", 0, false, nil).Granted() {
			t.Fatal("the shadow is enforced")
		}
	}
	if v := g.Subscribe(somebody, "secret/#", "", 0); !v.Allowed() {
		t.Fatal("the shadow is enforced")
	}
	if n := g.Shadow().Total(); n != 21 {
		t.Errorf("%d differences counted, want 21", n)
	}
	ds := g.Shadow().Differences()
	if len(ds) != 3 || len(told) != 3 {
		t.Fatalf("%d kinds, %d told, want 3 of each: %+v", len(ds), len(told), ds)
	}
	for _, d := range told {
		if !d.Live.Allowed() || d.Live.File != "live" || d.Shadow.Allowed() || d.Shadow.File != "shadow" || d.Shadow.Line != 2 || d.User != "n" {
			t.Errorf("told %+v", d)
		}
	}
	g.Shadow().Reset()
	if g.Shadow().Total() != 0 || len(g.Shadow().Differences()) != 0 {
		t.Error("differences are left after a reset")
	}
}

// Both sides are asked what they would grant, not only what was requested.
func TestAShadowDiffersInTheQoSThatItWouldGrant(t *testing.T) {
	for _, tt := range []struct {
		claim        string
		live, shadow byte
		downgrade    bool
		want         int64
	}{
		{"both grant less, and the same", 1, 1, true, 0},
		{"the shadow grants more", 1, 2, true, 1},
		{"the shadow grants less", 2, 0, true, 1},
		{"both refuse", 1, 0, false, 0},
		{"the shadow refuses", 2, 1, false, 1},
	} {
		g := NewGate(&Ruleset{
			ByListener: map[string][]Policy{"door": {upTo(tt.live)}}, Shadow: map[string][]Policy{"door": {upTo(tt.shadow)}},
			Downgrade: map[string]bool{"door": tt.downgrade},
		})
		v := g.Subscribe(somebody, "a", "", 2)
		if want := tt.downgrade || tt.live == 2; v.Allowed() != want || want && v.QoS != tt.live {
			t.Errorf("%s: %+v, which is not what the policies in force say", tt.claim, v)
		}
		if got := g.Shadow().Total(); got != tt.want {
			t.Errorf("%s: %d differences, want %d", tt.claim, got, tt.want)
		}
		for _, d := range g.Shadow().Differences() {
			if tt.downgrade && (d.Live.QoS != tt.live || d.Shadow.QoS != tt.shadow) {
				t.Errorf("%s: told of QoS %d and %d, want %d and %d", tt.claim, d.Live.QoS, d.Shadow.QoS, tt.live, tt.shadow)
			}
		}
	}
}

func TestTheKindsOfDifferencesAreBounded(t *testing.T) {
	g := NewGate(&Ruleset{
		ByListener: map[string][]Policy{"door": {policyOf(allowing)}},
		Shadow:     map[string][]Policy{"door": {policyOf(func(*Request) Verdict { return Verdict{} })}},
	})
	for i := range 3 * shadowKinds {
		g.Publish(Request{Principal: &Principal{Name: fmt.Sprint(i), Listener: "door"}, Topic: "a"})
	}
	if n := len(g.Shadow().Differences()); n != shadowKinds || g.Shadow().Total() != 3*shadowKinds {
		t.Errorf("%d kinds, %d in all", n, g.Shadow().Total())
	}
}

func TestAShadowOfOneListenerDoesNotSeeAnother(t *testing.T) {
	g := shadowed()
	elsewhere := *somebody
	elsewhere.Listener = "another"
	g.Publish(Request{Principal: &elsewhere, Topic: "secret/a"})
	if g.Shadow().Total() != 0 {
		t.Error("a difference on a listener without a shadow")
	}
}

func TestARefusalIsFoundByItsIdentifierUntilManyMoreFollow(t *testing.T) {
	var d Decisions
	payload := &Message{Payload: []byte("secret")}
	id := d.Keep(Request{Principal: somebody, Action: Publish, Topic: "a", Message: payload}, Verdict{Effect: Deny, Line: 7})
	if len(id) != refusalChars {
		t.Errorf("identifier %q", id)
	}
	r, ok := d.Find(strings.ToLower(id))
	if !ok || r.ID != id || r.Verdict.Line != 7 || r.Request.Topic != "a" || r.Request.Message != nil || r.Request.At == 0 {
		t.Errorf("found %+v, %v", r, ok)
	}
	seen := map[string]bool{id: true}
	for range refusalsKept - 1 {
		seen[d.Keep(Request{Topic: "b"}, Verdict{})] = true
	}
	if _, ok := d.Find(id); !ok || len(seen) != refusalsKept {
		t.Errorf("found %v, %d different identifiers", ok, len(seen))
	}
	d.Keep(Request{Topic: "b"}, Verdict{})
	if _, ok := d.Find(id); ok || len(d.byID) != refusalsKept || len(d.ring) != refusalsKept {
		t.Errorf("the oldest is still kept, or more than %d are", refusalsKept)
	}
	if _, ok := d.Find(""); ok {
		t.Error("no identifier finds something")
	}
}

func TestRefusalsOfLongTopicsTakeBoundedRoom(t *testing.T) {
	var d Decisions
	long := strings.Repeat("t", 65535)
	var ids []string
	for range 2 * refusalBytes / len(long) {
		ids = append(ids, d.Keep(Request{Topic: long, Group: "g"}, Verdict{}))
	}
	found := 0
	for i, id := range ids {
		if _, ok := d.Find(id); ok {
			found += len(long)
		} else if i > len(ids)*3/4 {
			t.Errorf("one of the last, %d of %d, is forgotten", i, len(ids))
		}
	}
	if found > refusalBytes || found < refusalBytes/2 {
		t.Errorf("%d bytes are kept, want at most %d", found, refusalBytes)
	}
	id := d.Keep(Request{Topic: strings.Repeat("t", 2*refusalBytes)}, Verdict{})
	if _, ok := d.Find(id); !ok || len(d.byID) != 1 {
		t.Errorf("the last refusal is kept: %v, among %d", ok, len(d.byID))
	}
}

func TestShadowKeepsTheBeginningOfALongTopic(t *testing.T) {
	g := shadowed()
	topic := "secret/" + strings.Repeat("\u00fc", 30000)
	g.Publish(Request{Principal: somebody, Topic: topic})
	list := g.Shadow().Differences()
	if len(list) != 1 || len(list[0].Topic) > shadowTopic+3 || !strings.HasPrefix(topic, strings.TrimSuffix(list[0].Topic, "...")) {
		t.Errorf("%d differences, kept with more of the topic than its beginning", len(list))
	}
}

func TestDecisionsAreSafeForConcurrentUse(t *testing.T) {
	var d Decisions
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 2000 {
				d.Find(d.Keep(Request{Topic: "a"}, Verdict{}))
			}
		})
	}
	wg.Wait()
}

// explaining is a policy with an explanation.
type explaining struct {
	policyOf
	opposite string
}

func (e explaining) Explain(q *Request) Explanation {
	return Explanation{Verdict: e.Decide(q), Opposite: []string{e.opposite}}
}

// explainedStrict explains itself and wants an allow for each connection.
type explainedStrict struct{ explaining }

func (explainedStrict) NeedsConnect() bool { return true }

func TestAnExplainedConnectionSaysWhatWouldTurnIt(t *testing.T) {
	say := func(v Verdict) policyOf { return func(*Request) Verdict { return v } }
	silent := explaining{say(Verdict{Rule: "nothing"}), "change silent"}
	allow := explaining{say(Verdict{Effect: Allow}), "change allow"}
	deny := explaining{say(Verdict{Effect: Deny, Rule: "no"}), "change deny"}
	strict := explainedStrict{explaining{say(Verdict{Rule: "no allow"}), "change strict"}}
	for _, tt := range []struct {
		name     string
		policies []Policy
		allowed  bool
		opposite string
	}{
		{"silence admits, and any policy could deny", []Policy{silent, silent}, true, "change silent, change silent"},
		{"an allow beside silence", []Policy{silent, allow}, true, "change allow"},
		{"a deny would have to go", []Policy{silent, deny}, false, "change deny"},
		{"only who wants an allow can be satisfied", []Policy{silent, strict}, false, "change strict"},
	} {
		d := gateOf(tt.policies...).Explain(&Request{Principal: somebody, Action: Connect})
		if d.Verdict.Allowed() != tt.allowed || strings.Join(d.Opposite, ", ") != tt.opposite {
			t.Errorf("%s: allowed %v, opposite %q; want %v, %q", tt.name, d.Verdict.Allowed(), d.Opposite, tt.allowed, tt.opposite)
		}
	}
}

func TestAnExplanationNamesWhatEachPolicySaidAndWhoseWordCounted(t *testing.T) {
	say := func(v Verdict) policyOf { return func(*Request) Verdict { return v } }
	silent := explaining{say(Verdict{Rule: "nothing"}), "change silent"}
	allow := explaining{say(Verdict{Effect: Allow}), "change allow"}
	deny := explaining{say(Verdict{Effect: Deny, Rule: "no"}), "change deny"}
	for _, tt := range []struct {
		name     string
		policies []Policy
		reached  []bool
		opposite string
	}{
		{"an allow would have to go", []Policy{silent, allow}, []bool{true, true}, "change allow"},
		{"each allow would have to go", []Policy{allow, allow}, []bool{true, true}, "change allow, change allow"},
		{"a deny would have to go", []Policy{allow, deny, silent}, []bool{true, true, false}, "change deny"},
		{"a silent policy would have to allow", []Policy{silent}, []bool{true}, "change silent"},
		{"no policy", nil, nil, "name a policy under policies of listener door"},
	} {
		g := gateOf(tt.policies...)
		q := &Request{Principal: somebody, Action: Publish, Topic: "a"}
		d := g.Explain(q)
		if d.Verdict != g.Decide(q) {
			t.Errorf("%s: explained %+v, decided %+v", tt.name, d.Verdict, g.Decide(q))
		}
		var reached []bool
		for _, p := range d.Policies {
			reached = append(reached, p.Reached)
		}
		if fmt.Sprint(reached) != fmt.Sprint(tt.reached) || strings.Join(d.Opposite, ", ") != tt.opposite {
			t.Errorf("%s: reached %v, opposite %q; want %v, %q", tt.name, reached, d.Opposite, tt.reached, tt.opposite)
		}
	}
	if d := gateOf(allow).Explain(&Request{Principal: somebody, Action: Publish, Topic: "$SYS/x"}); d.Verdict.Allowed() || len(d.Policies) != 0 {
		t.Errorf("a topic of the broker: %+v", d)
	}
}
