package roles

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"sallyport/config"
	"sallyport/security"
	"sallyport/security/rule"
)

func TestFileRefuses(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"an unknown key", "everyone:\n  - {allow: both, topic: a, colour: red}", "p.yaml:2:"},
		{"an unknown section", "user:\n  a: {}", "p.yaml:1:1: user: unknown key"},
		{"neither allow nor deny", "everyone:\n  - topic: a", "everyone[0]: needs allow or deny"},
		{"allow and deny", "everyone:\n  - {allow: both, deny: both, topic: a}", "everyone[0]: allow and deny can't stand in one permission"},
		{"an unknown action", "everyone:\n  - {allow: read, topic: a}", "p.yaml:2:13: everyone[0].allow: must be publish, subscribe, receive, retain, will, connect, both or all"},
		{"an unknown action in a list", "everyone:\n  - {allow: [publish, read], topic: a}", "everyone[0].allow[1]: must be publish"},
		{"no action", "everyone:\n  - {allow: [], topic: a}", "everyone[0]: names no action"},
		{"no topic in the list", "everyone:\n  - {allow: both, topic: []}", "everyone[0].topic: needs a topic filter"},
		{"a wrong topic in a list", "everyone:\n  - {allow: both, topic: [a, 'b#']}", "p.yaml:2:30: everyone[0].topic[1]: "},
		{"a topic for connecting alone", "everyone:\n  - {allow: connect, topic: a}", "everyone[0].topic: is about messages"},
		{"connect among others without topic", "everyone:\n  - {allow: [connect, publish]}", "everyone[0].topic: needs a topic filter"},
		{"qos for connecting alone", "everyone:\n  - {allow: connect, qos: 1}", "everyone[0].qos: is about messages"},
		{"retain for connecting alone", "everyone:\n  - {allow: connect, retain: required}", "everyone[0].retain: is about published messages"},
		{"retain of nothing", "everyone:\n  - {allow: retain, topic: a, retain: forbidden}", "everyone[0].retain: can't be forbidden"},
		{"an unknown QoS word", "everyone:\n  - {allow: both, topic: a, qos: zero}", "everyone[0].qos: must be 0, 1 or 2"},
		{"no group", "everyone:\n  - {allow: both, topic: a, group: []}", "everyone[0].group: names no group"},
		{"a wrong group in a list", "everyone:\n  - {allow: both, topic: a, group: [g, h/i]}", "everyone[0].group[1]: must be the name of a group"},
		{"no address", "everyone:\n  - {allow: both, topic: a, from: []}", "everyone[0].from: is empty"},
		{"what is no address", "everyone:\n  - {allow: both, topic: a, from: [10.0.0.0/8, here]}", "p.yaml:2:48: everyone[0].from[1]: must be an address or a network"},
		{"an address within a network", "everyone:\n  - {allow: both, topic: a, from: 10.0.0.1/8}", "has bits beyond its prefix"},
		{"no listener", "everyone:\n  - {allow: both, topic: a, listener: []}", "everyone[0].listener: is empty"},
		{"a nameless listener", "everyone:\n  - {allow: both, topic: a, listener: ''}", "everyone[0].listener: must be the name of a listener"},
		{"an unknown tls", "everyone:\n  - {allow: both, topic: a, tls: yes}", "everyone[0].tls: must be allowed, required or forbidden"},
		{"no time", "everyone:\n  - {allow: both, topic: a, time: []}", "everyone[0].time: is empty"},
		{"an empty time", "everyone:\n  - {allow: both, topic: a, time: {}}", "everyone[0].time: window says no day"},
		{"an unknown day", "everyone:\n  - {allow: both, topic: a, time: [{days: mon}, {days: moon}]}", "everyone[0].time[1]: "},
		{"an unknown key of a time", "everyone:\n  - {allow: both, topic: a, time: {day: mon}}", "everyone[0].time.day: unknown key; did you mean days?"},
		{"a condition that is no expression", "everyone:\n  - {allow: both, topic: a, when: 'a ='}", "everyone[0].when: "},
		{"a condition about a message of a connection", "everyone:\n  - {allow: connect, when: 'size > 1'}", "everyone[0].when: "},
		{"an unknown default", "defaults: {connect: maybe}", "defaults.connect: must be allow or deny"},
		{"an unknown group", "users:\n  a:\n    groups: x", "p.yaml:3:13: users.a.groups: there is no group \"x\""},
		{"a group twice", "users:\n  a: {groups: [x, x]}\ngroups:\n  x: {permissions: [{allow: both, topic: a}]}", "users.a.groups[1]: group \"x\" is already there"},
		{"an unknown role of a group", "groups:\n  a: {roles: x}", "groups.a.roles: there is no role \"x\""},
		{"groups of a group", "groups:\n  a: {groups: [x]}", "p.yaml:2:7: groups.a.groups: unknown key"},
		{"a nameless group", "groups:\n  '': {permissions: [{allow: both, topic: a}]}", "a group needs a name"},
		{"no topic", "everyone:\n  - allow: both", "everyone[0].topic: needs a topic filter"},
		{"an empty topic", "everyone:\n  - {allow: both, topic: ''}", "everyone[0].topic: needs a topic filter"},
		{"a misplaced wildcard", "everyone:\n  - {allow: both, topic: 'a/#/b'}", "everyone[0].topic: "},
		{"an unknown placeholder", "everyone:\n  - {allow: both, topic: 'a/${user}'}", "everyone[0].topic: "},
		{"a shared filter", "everyone:\n  - {allow: subscribe, topic: '$share/g/a'}", "is written without $share"},
		{"qos 3", "everyone:\n  - {allow: both, topic: a, qos: [3]}", "everyone[0].qos[0]: must be 0, 1 or 2"},
		{"no qos", "everyone:\n  - {allow: both, topic: a, qos: []}", "everyone[0].qos: names no QoS"},
		{"an unknown condition", "everyone:\n  - {allow: both, topic: a, retain: maybe}", "must be allowed, required or forbidden"},
		{"retain without publish", "everyone:\n  - {allow: subscribe, topic: a, retain: allowed}", "everyone[0].retain: is about published messages"},
		{"shared without subscribe", "everyone:\n  - {allow: publish, topic: a, shared: allowed}", "everyone[0].shared: is about subscriptions"},
		{"group without subscribe", "everyone:\n  - {allow: publish, topic: a, group: g}", "everyone[0].group: is about subscriptions"},
		{"group where shared is forbidden", "everyone:\n  - {allow: subscribe, topic: a, shared: forbidden, group: g}", "can't be named where shared is forbidden"},
		{"an empty group", "everyone:\n  - {allow: subscribe, topic: a, group: ''}", "must be the name of a group"},
		{"a group with a wildcard", "everyone:\n  - {allow: subscribe, topic: a, group: g+}", "must be the name of a group"},
		{"an unknown role", "users:\n  a:\n    roles: [x]", "p.yaml:3:13: users.a.roles: there is no role \"x\""},
		{"a role twice", "users:\n  a:\n    roles: [x, x]\nroles:\n  x: {permissions: [{allow: both, topic: a}]}", "users.a.roles[1]: role \"x\" is already there"},
		{"a user twice", "users:\n  a: {}\n  a: {}", "is already set on line 2"},
		{"a nameless user", "users:\n  '': {permissions: [{allow: both, topic: a}]}", "a user needs a name"},
		{"a nameless role", "roles:\n  '': {permissions: [{allow: both, topic: a}]}", "a role needs a name"},
		{"an empty file", "# nothing\n", "holds no permission"},
		{"a file without a permission", "users:\n  a: {roles: []}", "holds no permission"},
		{"no YAML", "{", "p.yaml:1"},
	}
	for _, tt := range tests {
		p, err := Parse(Options{Name: "n", Path: "p.yaml"}, []byte(tt.text))
		var problems config.Problems
		if err == nil || p != nil || !errors.As(err, &problems) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	_, err := Parse(Options{Path: "p.yaml"}, []byte("everyone:\n  - {allow: both, topic: 'a#'}\n  - {topic: a}\n"))
	if err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("two mistakes give %v", err)
	}
	_, err = Parse(Options{Path: "p.yaml"}, []byte("everyone:\n  - {allow: bth, topic: 'a#'}\n  - {deny: publish, topic: 'a#'}\n  - {allow: both, topc: a}\nfoo: 1\n"))
	for _, want := range []string{"p.yaml:2:13: everyone[0].allow", "p.yaml:3:28: everyone[1].topic", "p.yaml:4:19: everyone[2].topc", "p.yaml:5:1: foo"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("beside a value that can't be read there is no %q in:\n%v", want, err)
		}
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "permissions.yaml")
	if _, err := Load(Options{Path: path}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if err := os.WriteFile(path, []byte("# nothing yet\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(Options{Path: path}); err == nil {
		t.Error("an empty file is accepted")
	}
	p, err := Load(Options{Path: path, AllowEmpty: true})
	if err != nil {
		t.Fatal(err)
	}
	if v := p.Decide(as(pub, "a")); v.Effect != security.Silent {
		t.Errorf("an empty file answers %+v", v)
	}
	if w := p.Warnings(); len(w) != 1 || w[0].Text != "holds no permission: nothing is allowed" {
		t.Errorf("an empty file has the warnings %v", w)
	}
	if runtime.GOOS == "windows" {
		return
	}
	if err := os.Chmod(path, 0o622); err != nil {
		t.Fatal(err)
	}
	if p, err = Load(Options{Path: path, AllowEmpty: true}); err != nil || len(p.Warnings()) != 2 {
		t.Errorf("a file that others can write: %v, %v", p, err)
	}
}

func FuzzPermissionFile(f *testing.F) {
	f.Add(plant)
	f.Add(factory)
	f.Add("everyone:\n  - {deny: subscribe, topic: 'a/${clientid}', qos: [1], shared: required, group: g}\n")
	f.Add("users: {a: {roles: [b], groups: c}}\nroles: {b: {}}\ngroups: {c: {roles: b}}\ndefaults: {shared: deny}")
	f.Add("everyone:\n- {allow: [connect, will], topic: [a, b], from: ['::1'], listener: l, tls: forbidden, time: [{days: [mon, sat-sun], to: '01:00'}], when: 'tls || retain'}")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(Options{Name: "n", Path: "p.yaml", AllowEmpty: true}, []byte(text))
		if err != nil {
			return
		}
		for _, q := range []*security.Request{as(con, ""), as(pub, "a/b"), as(sub, "a/#", group("g")), as(rcv, "a"), as(sub, "#", by("a", "x/y"))} {
			q.At = 1 // one moment for both answers
			v := p.Decide(q)
			if v.Effect != security.Silent && (v.Line == 0 || v.Rule == "") {
				t.Errorf("verdict without a place: %+v", v)
			}
			if x := p.Explain(q); x.Verdict != v {
				t.Errorf("explained as %+v, decided as %+v", x.Verdict, v)
			}
		}
		_ = p.Admit(as(pub, "").Principal) // any answer will do; it must not panic
	})
}

func TestEqualConditionsAreCompiledOnce(t *testing.T) {
	p, err := Parse(Options{Name: "n", Path: "p.yaml"}, []byte(`
everyone:
  - {allow: publish, topic: a, when: topic.contains("x")}
  - {allow: publish, topic: b, qos: [1], when: topic.contains("x")}
  - {allow: publish, topic: c, when: topic.contains("y")}
roles:
  r:
    permissions:
      - {allow: publish, topic: d, when: topic.contains("x")}
`))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[*rule.Expr]int{}
	for _, s := range []*rule.Set{p.everyone[0], p.roles["r"]} {
		for _, r := range s.Rules() {
			seen[r.When.Expr]++
		}
	}
	if len(seen) != 2 {
		t.Errorf("%d expressions for two conditions", len(seen))
	}
}
