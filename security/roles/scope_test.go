package roles

import (
	"math/rand/v2"
	"strings"
	"testing"

	"sallyport/security"
)

func TestTheScopeOfAnAnswer(t *testing.T) {
	file := `everyone:
  - {allow: publish, topic: "plant/${clientid}/#"}
  - {allow: publish, topic: "site/+/state"}
  - {allow: publish, topic: "read/#", when: 'levels.size() < 3'}
  - {allow: publish, topic: "named/#", when: 'topic != "named/a"'}
  - {allow: publish, topic: "known/#", when: 'client_id == "c"'}
  - {deny: publish, topic: "plant/c/deep/er/#"}
`
	for _, c := range []struct {
		topic string
		want  int
	}{
		{"plant/c/x/y", 3}, // x is not deep
		{"plant/c/deep/x", 0},
		{"plant/c/deep/er/x", 4},
		{"plant/other/x/y", 2},
		{"site/1/state", 0},
		{"site/1/state/x", 3},
		{"read/a", 0},
		{"named/a", 0},
		{"known/a/b", 1},
		{"nothing/a/b", 1},
	} {
		for _, spread := range []string{"", strings.Repeat("  - {allow: publish, topic: other/x}\n", 20)} {
			v := parse(t, file+spread).Decide(&security.Request{
				Principal: &security.Principal{ClientID: "c", Listener: "l"}, Action: security.Publish, Topic: c.topic,
			})
			got := v.Scope
			if got >= len(strings.Split(c.topic, "/")) {
				got = 0 // for no other topic
			}
			if got != c.want {
				t.Errorf("%q: scope %d of %+v, want %d", c.topic, v.Scope, v, c.want)
			}
		}
	}
	if v := AllowAll("x").Decide(&security.Request{Principal: &security.Principal{}, Action: security.Publish, Topic: "a/b"}); v.Scope != 1 {
		t.Errorf("allow_all: scope %d, want 1", v.Scope)
	}
}

// TestManyTopicsAreAnsweredAsByTheGate goes through more topics than an Access
// remembers one by one, so that it answers by what holds for many.
func TestManyTopicsAreAnsweredAsByTheGate(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	words := []string{"a", "b", "q", "", "x1", "x2", "x3", "x4", "x5", "x6"}
	allowed, refused := 0, 0
	for range 150 {
		f := randomFile(r)
		if r.IntN(3) == 0 { // a file like those that people have
			f.rules["everyone"] = append(f.rules["everyone"],
				plainRule{does: []string{"both"}, topics: []string{pick(r, "a/#", "${clientid}/#", "#", "a/${clientid}/#")}})
		}
		p := parse(t, f.yaml())
		who := randomRequest(r).Principal
		g := security.NewGate(&security.Ruleset{ByListener: map[string][]security.Policy{who.Listener: {p}}})
		from, to := security.NewAccess(g, who), security.NewAccess(g, who)
		for range 400 {
			levels := make([]string, 1+r.IntN(5))
			for i := range levels {
				levels[i] = words[r.IntN(len(words))]
			}
			name := strings.Join(levels, "/")
			qos, retain := byte(r.IntN(3)), r.IntN(4) == 0
			_, got := from.Publish(name, nil, qos, retain, nil)
			if _, want := g.Publish(security.Request{Principal: who, Topic: name, QoS: qos, Retain: retain}); got.Allowed() != want.Allowed() {
				t.Fatalf("publish %q at %d, retain %t by %+v: %v, want %+v, with\n%s", name, qos, retain, who, got.Effect, want, f.yaml())
			}
			d := to.Receive(name, nil, "", qos, retain, nil)
			if _, want := g.Receive(security.Request{Principal: who, Topic: name, QoS: qos, Retain: retain}); d.Granted() != want.Allowed() {
				t.Fatalf("receive %q at %d, retain %t by %+v: %t, want %+v, with\n%s", name, qos, retain, who, d.Granted(), want, f.yaml())
			}
			if d.Granted() {
				allowed++
			} else {
				refused++
			}
		}
	}
	if allowed < 5000 || refused < 5000 {
		t.Errorf("%d allowed, %d refused: the comparison shows little", allowed, refused)
	}
}
