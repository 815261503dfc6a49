package rule

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sallyport/security"
)

func TestWhatARuleSays(t *testing.T) {
	const (
		allow, deny    = security.Allow, security.Deny
		pub, sub, recv = security.Publish, security.Subscribe, security.Receive
	)
	for _, tt := range []struct {
		topic string
		rule  Rule
		q     *security.Request
		says  string
	}{
		{"a", Rule{Effect: allow, Actions: Publish}, on(pub, "a"), "matches"},
		{"a/#", Rule{Effect: deny, Actions: Subscribe}, on(sub, "a/+"), "covers the filter"},
		{"", Rule{Effect: allow, Actions: Connect}, on(security.Connect, ""), "matches"},
		{"a", Rule{Effect: allow, Actions: Publish}, on(recv, "a"), "it is not about subscribe or receive"},
		{"a", Rule{Effect: allow, Actions: Publish}, on(pub, "b"), "topic does not match"},
		{"a/b", Rule{Effect: allow, Actions: Subscribe}, on(sub, "a/#"), "covers a part of the filter"},
		{"a/b", Rule{Effect: deny, Actions: Subscribe}, on(sub, "a/#"), "overlaps: withheld at delivery"},
		{"a/b", Rule{Effect: deny, Actions: Subscribe}, on(sub, "b/#"), "topic does not match"},
		{"a", Rule{Effect: allow, Actions: Publish, QoS: 3}, on(pub, "a", qos(2)), "QoS 2 is not among 0 1"},
		{"a", Rule{Effect: allow, Actions: Publish, Retain: Required}, on(pub, "a"), "the message is not retained"},
		{"a", Rule{Effect: allow, Actions: Publish, Retain: Forbidden}, on(pub, "a", retained), "the message is retained"},
		{"a", Rule{Effect: allow, Actions: Subscribe, Shared: Required}, on(sub, "a"), "the subscription is not shared"},
		{"a", Rule{Effect: allow, Actions: Subscribe, Shared: Forbidden}, on(sub, "a", share("g")), "the subscription is shared"},
		{"a", Rule{Effect: allow, Actions: Subscribe, Groups: []string{"f", "g"}}, on(sub, "a", share("h")), `group "h" is not among f g`},
		{"a", Rule{Effect: allow, Actions: Publish, When: &When{TLS: Required}}, on(pub, "a"), "not over TLS"},
		{"d/${username}", Rule{Effect: allow, Actions: Publish}, on(pub, "d/x", nameless), "value of placeholder username is absent"},
		{"d/${username}", Rule{Effect: deny, Actions: Publish, Optional: true}, on(pub, "d/x", nameless), "a placeholder has no value, so it is about nothing"},
		{"d/${group}", Rule{Effect: deny, Actions: Publish}, on(pub, "d/x", groups()), "a placeholder has no value, so it is about nothing"},
		{"d/${group}", Rule{Effect: deny, Actions: Publish}, on(pub, "d/x", groups("+")), "it can't be told, so it denies: value of placeholder group holds a wildcard"},
		{"b", Rule{Effect: allow, Actions: Publish, QoS: 1, Retain: Required}, on(pub, "a", qos(1)), "topic does not match; QoS 1 is not among 0; the message is not retained"},
	} {
		r := tt.rule
		r.File, r.Line, r.Text = "p.yaml", 3, "text"
		if tt.topic != "" {
			r.Topic = pattern(t, tt.topic)
		}
		step := r.Says(tt.q)
		if step.Says != tt.says || step.File != "p.yaml" || step.Line != 3 || step.Rule != "text" || step.Effect != tt.rule.Effect {
			t.Errorf("%v of %q for %v %q says %+v, want %q", tt.rule.Effect, tt.topic, tt.q.Action, tt.q.Topic, step, tt.says)
		}
	}
}

func TestMissesAreEachReasonOnce(t *testing.T) {
	r := Rule{Effect: security.Allow, Actions: Subscribe, Topic: pattern(t, "b"), QoS: 1, Shared: Required, Groups: []string{"g"}, When: &When{TLS: Required}}
	kinds := func(q *security.Request) (out []MissKind) {
		for _, m := range r.Misses(q) {
			out = append(out, m.Kind)
		}
		return out
	}
	if got, want := kinds(on(security.Subscribe, "a", qos(1))), []MissKind{MissTopic, MissQoS, MissShared, MissWhen}; !slices.Equal(got, want) {
		t.Errorf("misses %v, want %v", got, want)
	}
	if got, want := kinds(on(security.Subscribe, "b", share("h"))), []MissKind{MissGroup, MissWhen}; !slices.Equal(got, want) {
		t.Errorf("misses %v, want %v", got, want)
	}
	secure := func(q *security.Request) { q.Principal.Secure = true }
	if got, want := kinds(on(security.Publish, "b", secure)), []MissKind{MissAction}; !slices.Equal(got, want) {
		t.Errorf("misses %v, want %v", got, want)
	}
	if got := kinds(on(security.Subscribe, "b", share("g"), secure)); got != nil {
		t.Errorf("a rule that holds misses %v", got)
	}
}

// What a rule says agrees with what the sets answer.
func TestSaysAgreesWithTheAnswer(t *testing.T) {
	ref := newPlainWorld()
	d := newDraw(t, 11)
	for range 4000 {
		r, q := d.rule(t), d.request(ref)
		set := NewSet([]Rule{r})
		holds := Deny(q, set).Rule != nil || Allow(q, set).Rule != nil
		step := set.Rules()[0].Says(q)
		if step.Matches != holds || (len(r.Misses(q)) == 0) != holds || step.Says == "" {
			t.Fatalf("%+v for %+v of %+v says %+v, the set says %v", r, *q, *q.Principal, step, holds)
		}
		// A rule that holds is never left out as having nothing to do with it.
		if steps, omitted := set.Near(q, 1); holds && (len(steps) != 1 || omitted != 0) || len(steps)+omitted != 1 {
			t.Fatalf("Near of %+v for %+v is %v, %d omitted", r, *q, steps, omitted)
		}
	}
}

func TestValuesAreShownBounded(t *testing.T) {
	r := Rule{Effect: security.Allow, Actions: Publish, Topic: pattern(t, "${clientid}/${group}/${username}/${role}")}
	long := strings.Repeat("ü", 100)
	many := make([]string, 40)
	for i := range many {
		many[i] = fmt.Sprint("g", i)
	}
	values := r.Says(on(security.Publish, "x", nameless, client(long), groups(many...))).Values
	if len(values) != 1+valuesShown+1+2 {
		t.Fatalf("%d values are shown: %v", len(values), values)
	}
	if v := values[0]; v.Name != "clientid" || v.Value != strings.Repeat("ü", 32) {
		t.Errorf("a long value is shown as %+v", v)
	}
	if v := values[1+valuesShown]; v.Name != "group" || v.Value != "(24 more)" {
		t.Errorf("the rest of a list is shown as %+v", v)
	}
	if u, role := values[2+valuesShown], values[3+valuesShown]; !u.Missing || u.Name != "username" || !role.Missing || role.Name != "role" {
		t.Errorf("what is missing is shown as %+v, %+v", u, role)
	}
}

func TestNearLeavesOutWhatIsAboutOtherTopics(t *testing.T) {
	var rules []Rule
	for i, text := range []string{"x", "a/b", "a/+/#", "a/${clientid}", "b/${clientid}", "#", "a/b/c", "$a/b", "a/${username}/#"} {
		rules = append(rules, Rule{Effect: security.Allow, Actions: Publish | Subscribe, Topic: pattern(t, text), Line: i})
	}
	rules = append(rules, Rule{Effect: security.Deny, Actions: Receive, Topic: pattern(t, "a/b"), Line: len(rules)})
	set := NewSet(rules)
	for _, tt := range []struct {
		claim   string
		q       *security.Request
		most    int
		lines   []int
		omitted int
	}{
		{"a name: what may match it", on(security.Publish, "a/b"), 100, []int{1, 2, 3, 5, 8}, 5},
		{"a filter: what overlaps it", on(security.Subscribe, "a/#"), 100, []int{1, 2, 3, 5, 6, 8}, 4},
		{"a delivery: what speaks of receiving", on(security.Receive, "a/b"), 100, []int{1, 2, 3, 5, 8, 9}, 4},
		{"no more than wanted", on(security.Receive, "a/b"), 2, []int{1, 2}, 8},
		{"none wanted", on(security.Receive, "a/b"), 0, nil, 10},
	} {
		steps, omitted := set.Near(tt.q, tt.most)
		var lines []int
		for _, s := range steps {
			lines = append(lines, s.Line)
		}
		if !slices.Equal(lines, tt.lines) || omitted != tt.omitted {
			t.Errorf("%s: lines %v, %d left out, want %v, %d", tt.claim, lines, omitted, tt.lines, tt.omitted)
		}
	}
}
