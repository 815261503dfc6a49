package roles

import (
	"strings"
	"testing"

	"sallyport/security"
	"sallyport/security/rule"
)

// have makes the requester a principal with groups and roles.
func have(groups, roles []string) func(*security.Request) {
	return func(q *security.Request) { q.Principal.Groups, q.Principal.Roles = groups, roles }
}

// rulesOf is the rules that a file has for its roles.
func rulesOf(p *Policy) map[string][]rule.Rule {
	out := map[string][]rule.Rule{}
	for name, set := range p.roles {
		out[name] = nil
		if set != nil {
			out[name] = set.Rules()
		}
	}
	return out
}

func TestRolesWithoutAFileDecideAsInAFile(t *testing.T) {
	file := parse(t, `
roles:
  meter:
    permissions:
      - {allow: publish, topic: "meters/${username}/#", qos: [0, 1], retain: forbidden}
      - {allow: subscribe, topic: "cmd/${clientid}/+"}
      - {deny: subscribe, topic: "cmd/${clientid}/secret"}
  worker: {permissions: [{allow: subscribe, topic: "jobs/#", shared: required, group: workers}]}
  any:
    permissions:
      - {allow: all, topic: "any/#"}
      - {allow: all, topic: "share/#", shared: forbidden}
      - {allow: all, topic: "kept/#", retain: required}
  empty: {}
groups:
  meters: {roles: meter}
  none: {}
`)
	values := Compile("accounts", rulesOf(file), map[string][]string{"meters": {"meter", "gone"}, "none": nil})
	if values.Rules() != 7 || values.Name() != "accounts" || values.NeedsConnect() {
		t.Errorf("%d rules of %s", values.Rules(), values.Name())
	}
	topics := []string{"meters/alice/a", "meters/bob/a", "cmd/dev1/x", "cmd/dev1/secret", "jobs/1", "any/x", "share/x", "kept/x", "other"}
	who := []func(*security.Request){
		have(nil, nil), have(nil, []string{"meter"}), have([]string{"meters"}, nil), have([]string{"none", "unknown"}, []string{"worker", "unknown", "empty"}),
		have([]string{"meters"}, []string{"any", "worker"}),
	}
	how := []func(*security.Request){qos(0), qos(2), retained, will, group("workers"), group("other")}
	allowed := 0
	for _, action := range []security.Action{security.Connect, security.Publish, security.Subscribe, security.Receive} {
		for _, topic := range topics {
			for _, w := range who {
				for _, h := range how {
					q := as(action, topic, w, h)
					got, want := values.Decide(q), file.Decide(q)
					if got.Effect != want.Effect || got.Scope != want.Scope || got.Until != want.Until {
						t.Errorf("%v %s of %+v: %+v, in a file %+v", action, topic, q.Principal, got, want)
					}
					if got.Allowed() {
						allowed++
					}
				}
			}
		}
	}
	if allowed < 20 {
		t.Errorf("only %d requests were allowed", allowed)
	}
}

func TestReasonsNameTheRole(t *testing.T) {
	p := Compile("accounts", rulesOf(parse(t, `
roles:
  operators:
    permissions:
      - {allow: all, topic: "a/#"}
      - {allow: publish, topic: "b/#"}
      - {deny: all, topic: "b/${username}/x"}
`)), map[string][]string{"g": {"operators"}})
	q := as(security.Publish, "b/alice/x", have([]string{"g"}, nil))
	if got, want := p.Decide(q).Why(), "accounts: role operators, permission 3: deny all b/${username}/x"; got != want {
		t.Errorf("why: %q, want %q", got, want)
	}
	x := p.Explain(q)
	decides := 0
	for _, s := range x.Steps {
		if s.Decides {
			decides++
			if s.File != "role operators, permission 3" || s.Line != 0 {
				t.Errorf("step %+v", s)
			}
		}
	}
	if decides != 1 || len(x.Opposite) != 1 || !strings.HasPrefix(x.Opposite[0], "remove or narrow role operators, permission 3 (deny all") {
		t.Errorf("%d steps decide; opposite %q", decides, x.Opposite)
	}
	for _, tt := range []struct {
		who  func(*security.Request)
		want string
	}{
		{have(nil, []string{"operators"}), `add to role operators: {allow: publish, topic: "c"}`},
		{have(nil, []string{"unknown"}), `give it a role that has {allow: publish, topic: "c"}`},
	} {
		if got := p.Explain(as(security.Publish, "c", tt.who)).Opposite; len(got) != 1 || got[0] != tt.want {
			t.Errorf("opposite %q, want %q", got, tt.want)
		}
	}
	// A deny that can't be told refuses the connection, and names its place.
	nobody := &security.Principal{Roles: []string{"operators"}}
	if err := p.Admit(nobody); err == nil || !strings.HasPrefix(err.Error(), "role operators, permission 3: deny all") {
		t.Errorf("Admit = %v", err)
	}
	if p.Decide(&security.Request{Action: security.Publish, Topic: "a"}).Effect != security.Deny {
		t.Error("nobody is not denied")
	}
}
