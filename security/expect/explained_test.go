package expect_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"sallyport/security"
	"sallyport/security/expect"
)

// randomRich is a permission file with everything that a rule may ask for.
func randomRich(r *rand.Rand) string {
	var b strings.Builder
	if r.IntN(4) == 0 {
		fmt.Fprintf(&b, "defaults: {connect: %s, shared: %s}\n", choose(r, "allow", "deny"), choose(r, "allow", "deny"))
	}
	rule := func(indent string) {
		effect := choose(r, "allow", "allow", "deny")
		if r.IntN(6) == 0 {
			fmt.Fprintf(&b, "%s- {%s: connect", indent, effect)
		} else {
			fmt.Fprintf(&b, "%s- {%s: %s, topic: '%s'", indent, effect, choose(r, "publish", "subscribe", "receive", "both", "[publish, receive]", "will", "retain"),
				randomFilter(r, "a", "b", "+", "${username}", "${clientid}", "${attr.site}"))
			if r.IntN(3) == 0 {
				fmt.Fprintf(&b, ", qos: %s", choose(r, "0", "1", "[0, 2]"))
			}
		}
		switch r.IntN(8) {
		case 0:
			b.WriteString(", from: 192.0.2.0/24")
		case 1:
			b.WriteString(", tls: required")
		case 2:
			b.WriteString(", listener: " + choose(r, "l", "m"))
		case 3:
			b.WriteString(`, when: 'username == "dev-1"'`)
		}
		b.WriteString("}\n")
	}
	b.WriteString("everyone:\n")
	rule("  ")
	for range r.IntN(3) {
		rule("  ")
	}
	b.WriteString("users:\n  dev-1:\n    roles: [r1]\n    permissions:\n")
	rule("      ")
	b.WriteString("roles:\n  r1:\n    permissions:\n")
	rule("      ")
	rule("      ")
	b.WriteString("  r2:\n    permissions:\n")
	rule("      ")
	return b.String()
}

func randomPrincipal(r *rand.Rand) *security.Principal {
	p := &security.Principal{Realm: "r", Name: choose(r, "dev-1", "", "a", "x+y"), ClientID: choose(r, "c1", "a", "b/c", "#"), Listener: "l", Secure: r.IntN(2) == 0}
	if r.IntN(2) == 0 {
		p.Roles = []string{"r2"}
	}
	if r.IntN(2) == 0 {
		p.Attrs = map[string]string{"site": choose(r, "a", "b", "+")}
	}
	if r.IntN(2) == 0 {
		p.Addr = netip.MustParseAddrPort("192.0.2.7:1")
	}
	return p
}

func randomRequest(r *rand.Rand, p *security.Principal) security.Request {
	q := security.Request{
		Principal: p, Action: choose(r, security.Connect, security.Publish, security.Subscribe, security.Receive), At: now, QoS: byte(r.IntN(3)),
	}
	switch q.Action {
	case security.Connect:
		q.QoS = 0
	case security.Subscribe:
		q.Topic = randomFilter(r, "a", "b", "dev-1", "+")
	default:
		q.Topic = strings.ReplaceAll(strings.ReplaceAll(randomFilter(r, "a", "b", "dev-1", "c1"), "#", "z"), "+", "y")
		q.Retain = r.IntN(3) == 0
		q.Will = q.Action == security.Publish && r.IntN(4) == 0
	}
	if (q.Action == security.Subscribe || q.Action == security.Receive) && r.IntN(3) == 0 {
		q.Shared, q.Group = true, choose(r, "g", "h")
	}
	return q
}

// TestExplanationsAgreeWithTheGate explains random requests under random files:
// the verdict is the gate's in every field, each policy's is what it decides,
// and the step that decides stands on the verdict's line.
func TestExplanationsAgreeWithTheGate(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	decided := map[security.Effect]int{}
	for range 400 {
		var policies []security.Policy
		var text string
		switch r.IntN(3) {
		case 0:
			text = randomRich(r)
			policies = append(policies, permissions(t, "p", text))
		case 1:
			text = randomACL(r)
			policies = append(policies, aclFile(t, "acl", text, r.IntN(2) == 0))
		default:
			a, b := randomRich(r), randomACL(r)
			policies, text = append(policies, permissions(t, "p", a), aclFile(t, "acl", b, true)), a+b
		}
		gate := security.NewGate(&security.Ruleset{ByListener: map[string][]security.Policy{"l": policies}, Downgrade: map[string]bool{"l": r.IntN(4) == 0}})
		for range 25 {
			q := randomRequest(r, randomPrincipal(r))
			want, d := gate.Granted(&q), gate.Explain(&q)
			if d.Verdict != want {
				t.Fatalf("%s: explained as %+v, decided as %+v\n%s", expect.Text(&q), d.Verdict, want, text)
			}
			if q.Action == security.Subscribe && d.Verdict.Allowed() {
				q.QoS = d.Verdict.QoS // what is explained is what was granted
			}
			for i, a := range d.Policies {
				v := policies[i].Decide(&q)
				v.QoS = a.Verdict.QoS
				if admits, ok := policies[i].(security.AdmitPolicy); ok && q.Action == security.Connect && admits.Admit(q.Principal) != nil {
					continue // the gate refuses in the policy's name
				}
				if a.Verdict != v {
					t.Fatalf("%s: policy %s explained as %+v, decided as %+v\n%s", expect.Text(&q), a.Policy, a.Verdict, v, text)
				}
				if v.Effect != security.Silent && v.Line != 0 {
					deciding(t, &q, &a, text)
					decided[v.Effect]++
				}
			}
		}
	}
	for _, e := range []security.Effect{security.Allow, security.Deny} {
		if decided[e] < 200 {
			t.Errorf("only %d decisions by a rule that is to %v", decided[e], e)
		}
	}
}

// deciding looks for the one step that decides.
func deciding(t *testing.T, q *security.Request, a *security.PolicyAnswer, text string) {
	t.Helper()
	found := false
	for _, s := range a.Steps {
		if s.Decides && s.Line == a.Verdict.Line && s.File == a.Verdict.File {
			found = true
			if s.Effect != a.Verdict.Effect {
				t.Fatalf("%s: line %d is to %v and decides %v\n%s", expect.Text(q), s.Line, s.Effect, a.Verdict.Effect, text)
			}
		}
	}
	if !found {
		t.Fatalf("%s: %+v, and no step on its line decides: %+v\n%s", expect.Text(q), a.Verdict, a.Steps, text)
	}
}

func TestAnExplanationSaysWhyInOneLine(t *testing.T) {
	verdict := expect.Verdict{Effect: "deny", Policy: "p", File: "f", Line: 3, Rule: "deny publish a"}
	for _, tt := range []struct {
		name string
		x    expect.Explained
		want string
	}{
		{"the door", expect.Explained{Door: []expect.Said{{By: "a", Says: "no", Reached: true}, {By: "chain", Says: "nobody knows it", Refuses: true}}}, "can't connect: chain: nobody knows it"},
		{"the connection", expect.Explained{Connect: verdictOnly(verdict)}, "f:3: deny publish a"},
		{"the decision", expect.Explained{Connect: &expect.Decision{}, Decision: verdictOnly(verdict)}, "f:3: deny publish a"},
		{"a verdict without a line", expect.Explained{Decision: &expect.Decision{Verdict: expect.Verdict{File: "f", Rule: "none"}}}, "f: none"},
		{"a verdict without a file", expect.Explained{Decision: &expect.Decision{Verdict: expect.Verdict{Policy: "all", Rule: "allow_all"}}}, "all: allow_all"},
		{"a verdict of the gate itself", expect.Explained{Decision: &expect.Decision{Verdict: expect.Verdict{Rule: "nobody asked"}}}, "nobody asked"},
	} {
		if got := tt.x.Why(); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func verdictOnly(v expect.Verdict) *expect.Decision { return &expect.Decision{Verdict: v} }

// TestTheDocumentIsStable pins the names in the document that programs read.
func TestTheDocumentIsStable(t *testing.T) {
	q := security.Request{Principal: dev, Action: security.Subscribe, Topic: "a/#", QoS: 1, Shared: true, Group: "g", At: now}
	d := security.Decision{
		Verdict: security.Verdict{Effect: security.Allow, Policy: "p", File: "f", Line: 2, Rule: "r", Until: now, Volatile: true, QoS: 1},
		Policies: []security.PolicyAnswer{{Policy: "p", Reached: true, Explanation: security.Explanation{
			Verdict: security.Verdict{Effect: security.Allow}, Omitted: 4,
			Steps: []security.Step{{File: "f", Line: 2, Rule: "r", Effect: security.Allow, Matches: true, Decides: true, Says: "covers", Values: []security.Value{{Name: "username", Value: "x"}, {Name: "group", Missing: true}}}},
		}}},
		Opposite: []string{"remove f:2"},
	}
	x := expect.Explained{Allowed: true, Request: expect.NewRequest(&q), Client: expect.NewClient(dev), Decision: expect.NewDecision(&q, d)}
	got, err := json.Marshal(x)
	const want = `{"allowed":true,"request":{"action":"subscribe","topic":"a/#","group":"g","qos":1,"at":"2027-01-15T08:00:00Z","text":"subscribe $share/g/a/# at QoS 1"},` +
		`"client":{"client_id":"c1","user":"dev-1","realm":"r","listener":"l","tls":false},` +
		`"decision":{"verdict":{"effect":"allow","policy":"p","file":"f","line":2,"rule":"r","until":"2027-01-15T08:00:00Z","depends_on_message":true,"granted_qos":1},` +
		`"policies":[{"policy":"p","reached":true,"verdict":{"effect":"allow"},"steps":[{"file":"f","line":2,"rule":"r","effect":"allow","matches":true,"decides":true,"says":"covers",` +
		`"values":[{"name":"username","value":"x"},{"name":"group","missing":true}]}],"omitted":4}],"opposite":["remove f:2"]}}`
	if err != nil || string(got) != want {
		t.Errorf("%v\n got %s\nwant %s", err, got, want)
	}
}
