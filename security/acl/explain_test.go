package acl

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sallyport/security"
)

var (
	takenOut = regexp.MustCompile(`acl:(\d+) \(`)
	added    = regexp.MustCompile(`add: (topic (?:read|write|deny) .*)$`)
	under    = regexp.MustCompile(`(in acl under|new line) "user (.*)" add: `)
)

// follow does to a file what an advice says.
func follow(t *testing.T, text, advice string) string {
	t.Helper()
	lines := strings.Split(text, "\n")
	for _, m := range takenOut.FindAllStringSubmatch(advice, -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil || n > len(lines) || lines[n-1] == "" {
			t.Fatalf("%q takes out a line that is none", advice)
		}
		lines[n-1] = "" // an empty line keeps the numbers
	}
	add := added.FindStringSubmatch(advice)
	if add == nil {
		return strings.Join(lines, "\n")
	}
	user := under.FindStringSubmatch(advice)
	switch {
	case user == nil && strings.Contains(advice, `before the first "user" line of acl add: `):
		return strings.Join(append([]string{add[1]}, lines...), "\n")
	case user == nil:
		t.Fatalf("%q does not say where", advice)
	case user[1] == "new line":
		return strings.Join(append(lines, "user "+user[2], add[1]), "\n")
	}
	at := slices.Index(lines, "user "+user[2])
	if at < 0 {
		t.Fatalf("%q: there is no such line in\n%s", advice, text)
	}
	return strings.Join(slices.Insert(lines, at+1, add[1]), "\n")
}

func TestExplain(t *testing.T) {
	tests := []struct {
		name     string
		q        *security.Request
		decides  string // the rule of the step that decides; empty for none
		steps    []string
		opposite []string
	}{
		{"a deny of the user", ask(pub, "d/mine", "roger", "c"), "topic deny d/mine", []string{
			"topic deny d/mine", "names", "pattern deny d/#", "pattern d/%c",
		}, []string{
			`take out acl:10 (topic deny d/mine), and in acl under "user roger" add: topic write d/mine`,
		}},
		{"a deny of a pattern", ask(rcv, "d/c", "gone", "c"), "pattern deny d/#", []string{
			"names", "pattern deny d/#", "pattern d/%c",
		}, []string{
			`in acl under "user gone" add: topic read d/c`,
			"take out acl:20 (pattern deny d/#)",
		}},
		{"a grant of the user", ask(pub, "out/x", "roger", "c"), "topic write out/#", []string{"topic write out/#", "names"}, []string{
			`in acl under "user roger" add: topic deny out/x`,
			"take out acl:9 (topic write out/#)",
		}},
		{"a pattern's grant", ask(pub, "dev/c/x", "nobody", "c"), "pattern readwrite dev/%c/#", []string{"names", "pattern readwrite dev/%c/#"}, []string{
			`at the end of acl under a new line "user nobody" add: topic deny dev/c/x`,
			"take out acl:18 (pattern readwrite dev/%c/#)",
		}},
		{"what is granted for writing only", ask(rcv, "out/x", "roger", "c"), "", []string{"topic write out/#", "names"}, []string{
			`in acl under "user roger" add: topic read out/x`,
		}},
		{"nothing matches", ask(pub, "x", "", "c"), "", []string{"names"}, []string{
			`before the first "user" line of acl add: topic write x`,
		}},
		{"a dangerous name", ask(rcv, "dev/+/x", "roger", "+"), "names", nil, []string{
			`in acl under "user roger" add: topic read dev/+/x`,
		}},
		{"$SYS", ask(pub, "$SYS/x", "roger", "c"), saysNotWritten, []string{saysNotWritten}, nil},
		{"SUBSCRIBE", ask(sub, "d/#", "roger", "c"), saysSubscribe, []string{saysSubscribe}, []string{"set strict: true for this policy, in a native configuration"}},
		{"SUBSCRIBE to what is granted", ask(sub, "again", "roger", "c"), saysSubscribe, []string{saysSubscribe}, []string{
			`set strict: true for this policy, in a native configuration, and in acl under "user roger" add: topic deny again`,
		}},
		{"a connection", ask(security.Connect, "", "roger", "c"), "", nil, nil},
		{"a topic that no line can hold", ask(pub, "x ", "roger", "c"), "", nil, nil},
		{"a name that no line can hold", ask(pub, "x", "roger ", "c"), "", nil, nil},
	}
	p := parse(t, sample)
	for _, tt := range tests {
		x := p.Explain(tt.q)
		if got := p.Decide(tt.q); x.Verdict != got {
			t.Errorf("%s: Explain gives %+v, Decide %+v", tt.name, x.Verdict, got)
		}
		var steps []string
		decides := ""
		for _, s := range x.Steps {
			rule := s.Rule
			if strings.HasPrefix(rule, "names with") {
				rule = "names"
			}
			steps = append(steps, rule)
			if s.Decides {
				if decides != "" || !s.Matches {
					t.Errorf("%s: decides beside another, or without a match: %+v", tt.name, s)
				}
				decides = rule
			}
			if s.File != "acl" {
				t.Errorf("%s: a step without its file: %+v", tt.name, s)
			}
		}
		if decides != tt.decides {
			t.Errorf("%s: %q decides, want %q", tt.name, decides, tt.decides)
		}
		if tt.steps != nil && !slices.Equal(steps, tt.steps) {
			t.Errorf("%s: steps %q, want %q", tt.name, steps, tt.steps)
		}
		if !slices.Equal(x.Opposite, tt.opposite) {
			t.Errorf("%s: opposite %q, want %q", tt.name, x.Opposite, tt.opposite)
		}
	}
	if x := p.Explain(&security.Request{Action: pub, Topic: "a"}); x.Verdict.Effect != security.Deny {
		t.Errorf("a request of nobody: %+v", x)
	}
}

func TestExplainMarksLinesThatGrantTogether(t *testing.T) {
	p := parse(t, "user u\ntopic read a\ntopic read a/+/#\ntopic read b\npattern read b/+/#\npattern read a/+\n")
	p.strict = true
	for filter, want := range map[string][]int{"a/#": {2, 3}, "b/#": {4, 5}, "a": {2}, "b/+/c": {5}, "+": nil} {
		var got []int
		for _, s := range p.Explain(ask(sub, filter, "u", "c")).Steps {
			if s.Decides {
				got = append(got, s.Line)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("SUBSCRIBE to %s: the lines %v decide, want %v", filter, got, want)
		}
	}
}

func TestExplainTellsThePlaceholdersValues(t *testing.T) {
	p := parse(t, sample)
	x := p.Explain(ask(pub, "dev/c/up", "roger", "c"))
	for _, s := range x.Steps {
		if s.Decides && !slices.Contains(s.Values, security.Value{Name: "clientid", Value: "c"}) {
			t.Errorf("values %+v", s.Values)
		}
	}
	long := p.Explain(ask(pub, "dev/c/up", "roger", strings.Repeat("ä", 500)))
	for _, s := range long.Steps {
		for _, v := range s.Values {
			if len(v.Value) > 70 {
				t.Errorf("%s of %d bytes is shown", v.Name, len(v.Value))
			}
		}
	}
}

func TestExplainTellsWhichPatternRefusesAConnection(t *testing.T) {
	const text = "pattern deny a/%c/z\npattern deny b/#\npattern deny c/%c\n"
	p := parse(t, text)
	q := ask(security.Connect, "", "u", "x/y")
	want := []string{"take out acl:1 (pattern deny a/%c/z) and acl:3 (pattern deny c/%c)"}
	x := p.Explain(q)
	if !slices.Equal(x.Opposite, want) {
		t.Fatalf("opposite %q, want %q", x.Opposite, want)
	}
	if len(x.Steps) != 2 || !x.Steps[0].Decides || x.Steps[0].Line != 1 || x.Steps[1].Decides || x.Steps[1].Line != 3 {
		t.Errorf("steps %+v, want those of the lines 1, which decides, and 3", x.Steps)
	}
	if err := parse(t, follow(t, text, want[0])).Admit(q.Principal); err != nil {
		t.Errorf("with the advice followed: %v", err)
	}
}

func TestExplainTellsOfTheOtherAccess(t *testing.T) {
	p := parse(t, "user u\ntopic read r\ntopic write w\n")
	for topic, says := range map[string]string{"r": "grants reading only", "w": "grants writing only"} {
		action := pub
		if topic == "w" {
			action = rcv
		}
		x := p.Explain(ask(action, topic, "u", "c"))
		if len(x.Steps) != 1 || x.Steps[0].Says != says || x.Steps[0].Matches || x.Omitted != 1 {
			t.Errorf("%v of %s: %+v, %d omitted, want %q", action, topic, x.Steps, x.Omitted, says)
		}
	}
}

// Of very many lines an explanation holds some, with the deciding one.
func TestExplanationsAreBounded(t *testing.T) {
	p := parse(t, "user u\n"+strings.Repeat("topic read +/x\n", 5000)+"topic write a/+\n")
	x := p.Explain(ask(pub, "a/x", "u", "c"))
	decides := slices.ContainsFunc(x.Steps, func(s security.Step) bool { return s.Decides && s.Line == 5002 })
	if len(x.Steps) > 2*maxSteps+1 || x.Omitted < 4000 || !decides {
		t.Errorf("%d steps, %d omitted, the deciding one among them: %t", len(x.Steps), x.Omitted, decides)
	}
	if x = p.Explain(ask(rcv, "a/x", "u", "c")); len(x.Opposite) != 1 {
		t.Errorf("advice to take out 5,000 lines: %q", x.Opposite)
	}
}

func TestFilters(t *testing.T) {
	p := parse(t, sample)
	got := p.Filters(ask(pub, "", "roger", "c").Principal)
	want := []string{
		"foo/bar", "out/#", "d/mine", "with space/x", "again",
		"$SYS/broker/connection/c/state", "dev/c/#", "users/roger/inbox", "d/#", "d/c",
	}
	if !slices.Equal(got, want) {
		t.Errorf("filters of roger: %q, want %q", got, want)
	}
	got = p.Filters(ask(pub, "", "", "a/b").Principal)
	want = []string{"$SYS/#", "public/a", "public/secret", "public/#", "d/#"}
	if !slices.Equal(got, want) {
		t.Errorf("filters of anonymous with an id of two levels: %q, want %q", got, want)
	}
}

func TestSilenceSaysWhy(t *testing.T) {
	tests := []struct {
		file string
		q    *security.Request
		want string
	}{
		{"user u\ntopic write a\n", ask(rcv, "a", "u", "c"), "no line of the user grants reading it"},
		{"user u\ntopic write a\n", ask(pub, "b", "u", "c"), "no line of the user grants writing it"},
		{"user u\ntopic write a\npattern read b\n", ask(pub, "b", "u", "c"), "no line of the user and no pattern grants writing it"},
		{"user u\ntopic write a\n", ask(pub, "b", "v", "c"), "the user has no line"},
		{"pattern write a\n", ask(pub, "b", "v", "c"), "the user has no line and no pattern grants writing it"},
		{"user u\ntopic write a\n", ask(pub, "b", "", "c"), "no line before the first user grants writing it"},
		{"topic read a/b\n", ask(sub, "a/+", "", "c"), "no line before the first user grants reading all of it"},
	}
	for _, tt := range tests {
		if v := parse(t, tt.file, strict).Decide(tt.q); v.Effect != security.Silent || v.Rule != tt.want {
			t.Errorf("%v %s with %q: %v %q, want %q", tt.q.Action, tt.q.Topic, tt.file, v.Effect, v.Rule, tt.want)
		}
	}
}
