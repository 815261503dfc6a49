package roles

import (
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sallyport/security"
)

var (
	removal  = regexp.MustCompile(`p\.yaml:(\d+) \(`)
	addition = regexp.MustCompile(`add under (\S+) in p\.yaml: (.*)$`)
	nearMiss = regexp.MustCompile(`^p\.yaml:\d+ would allow it (.*)$`)
)

// apply does to a file, with one permission a line, what a sentence of
// Explanation.Opposite says.
func apply(t *testing.T, text, change string) string {
	t.Helper()
	lines := strings.Split(text, "\n")
	remove, _, _ := strings.Cut(change, "add under ")
	for _, m := range removal.FindAllStringSubmatch(remove, -1) {
		n, err := strconv.Atoi(m[1])
		if err != nil || n > len(lines) {
			t.Fatalf("%q names no line of\n%s", change, text)
		}
		before, _, item := strings.Cut(lines[n-1], "- ")
		if !item {
			t.Fatalf("%q names a line that is no permission: %s", change, lines[n-1])
		}
		lines[n-1] = before + "- {allow: publish, topic: unused/unused}"
	}
	m := addition.FindStringSubmatch(change)
	if m == nil {
		return strings.Join(lines, "\n")
	}
	place := strings.Split(m[1], ".")
	at := slices.Index(lines, place[0]+":")
	if at < 0 {
		lines = append(lines, place[0]+":")
		at = len(lines) - 1
	}
	indent := "  "
	for depth, key := range place[1:] {
		indent += "  "
		next := slices.Index(lines[at:], strings.Repeat("  ", depth+1)+key+":")
		if next < 0 {
			t.Fatalf("%q leads nowhere in\n%s", change, text)
		}
		at += next
	}
	return strings.Join(slices.Insert(lines, at+1, indent+m[2]), "\n")
}

// changed is a request as a near miss words it.
func changed(t *testing.T, q *security.Request, words string) *security.Request {
	t.Helper()
	c, p := *q, *q.Principal
	c.Principal = &p
	kind, value, _ := strings.Cut(words, " ")
	switch {
	case strings.HasPrefix(words, "at QoS "):
		c.QoS = words[len(words)-1] - '0'
	case words == "if it were retained" || words == "if it were not retained":
		c.Retain = words == "if it were retained"
	case words == "as a will" || words == "if it were no will":
		c.Will = words == "as a will"
	case words == "over TLS" || words == "without TLS":
		p.Secure = words == "over TLS"
	case strings.HasPrefix(words, "in the group "):
		c.Shared, c.Group = true, strings.TrimPrefix(words, "in the group ")
	case words == "by a shared subscription":
		c.Shared, c.Group = true, "any"
	case words == "without a shared subscription":
		c.Shared, c.Group = false, ""
	case kind == "from":
		p.Addr = netip.AddrPortFrom(netip.MustParsePrefix(value).Addr().Next(), 1)
	case strings.HasPrefix(words, "on the listener "):
		p.Listener = strings.TrimPrefix(words, "on the listener ")
	case strings.HasPrefix(words, "at another time: "):
		_, moment, _ := strings.Cut(words, "(opens ")
		opens, err := time.Parse("2006-01-02T15:04Z07:00", strings.TrimSuffix(moment, ")"))
		if err != nil {
			t.Fatalf("%q: %v", words, err)
		}
		c.At = opens.UnixNano()
	case strings.HasPrefix(words, "but "):
		return nil // a condition can't be turned round
	default:
		t.Fatalf("nobody understands %q", words)
	}
	return &c
}

// flips tries what an explanation says of the opposite answer.
func flips(t *testing.T, text string, q *security.Request, change string) {
	t.Helper()
	// As a gate has it: silence lets a client connect, unless the file says otherwise.
	allowed := func(p *Policy, q *security.Request) bool {
		v := p.Decide(q)
		if q.Action == security.Connect && p.Admit(q.Principal) != nil {
			return false
		}
		return v.Allowed() || q.Action == security.Connect && v.Effect == security.Silent && !p.NeedsConnect()
	}
	was := allowed(parse(t, text), q)
	if m := nearMiss.FindStringSubmatch(change); m != nil {
		if c := changed(t, q, m[1]); c != nil && !allowed(parse(t, text), c) {
			t.Errorf("%v %q of %+v: %q is not true of\n%s", q.Action, q.Topic, q.Principal, change, text)
		}
		return
	}
	if removal.FindString(change) == "" && addition.FindString(change) == "" {
		t.Errorf("nobody can do this: %q", change)
		return
	}
	if mended := apply(t, text, change); allowed(parse(t, mended), q) == was {
		t.Errorf("%v %q (%+v) of %+v: %q changes nothing in\n%s\nwhich is then\n%s", q.Action, q.Topic, q, q.Principal, change, text, mended)
	}
}

const factory = `defaults:
  connect: deny
users:
  alice:
    permissions:
      - {allow: publish, topic: "plant/+/set", qos: [0, 1]}
      - {deny: publish, topic: "plant/9/#"}
      - {allow: subscribe, topic: "jobs/#", group: [workers, "other ones"]}
      - {allow: publish, topic: door, tls: required}
      - {allow: publish, topic: gate, from: 192.0.2.0/24, listener: lan}
      - {allow: publish, topic: night, time: {from: "22:00", to: "06:00", zone: Europe/Vienna}}
      - {allow: publish, topic: c, when: 'client_id.startsWith("x")'}
      - {allow: publish, topic: kept, retain: required}
    roles: reader
roles:
  reader:
    permissions:
      - {allow: subscribe, topic: "state/+"}
      - {allow: subscribe, topic: "state/+/+/#"}
      - {allow: subscribe, topic: "state"}
      - {allow: subscribe, topic: "state/+/+"}
      - {deny: all, topic: "plant/#", qos: 2}
everyone:
  - {allow: connect, from: 192.0.2.0/24}
  - {allow: both, topic: "d/${clientid}/#"}
  - {deny: both, topic: "d/${clientid}/secret"}
`

func TestExplainSaysWhatWouldHaveToChange(t *testing.T) {
	noon := at("2026-11-23T12:00:00Z")
	tests := []struct {
		name string
		q    *security.Request
		want []string
	}{
		{"a deny that hides no allow", as(pub, "plant/9/x"),
			[]string{`remove or narrow p.yaml:7 (deny publish plant/9/#), and add under users.alice.permissions in p.yaml: - {allow: publish, topic: "plant/9/x"}`}},
		{"a deny that hides an allow", as(pub, "plant/9/set"),
			[]string{`remove or narrow p.yaml:7 (deny publish plant/9/#)`}},
		{"two denies", as(pub, "plant/9/set", qos(2)),
			[]string{`remove or narrow p.yaml:7 (deny publish plant/9/#) and p.yaml:22 (deny all plant/# qos 2), and add under users.alice.permissions in p.yaml: - {allow: publish, topic: "plant/9/set"}`}},
		{"a group is needed", as(sub, "jobs/1"), []string{
			`p.yaml:8 would allow it in the group workers`,
			`p.yaml:8 would allow it in the group other ones`,
			`add under users.alice.permissions in p.yaml: - {allow: subscribe, topic: "jobs/1"}`}},
		{"another group is needed", as(sub, "jobs/1", group("lazy")), []string{
			`p.yaml:8 would allow it in the group workers`,
			`p.yaml:8 would allow it in the group other ones`,
			`add under users.alice.permissions in p.yaml: - {allow: subscribe, topic: "jobs/1", group: "lazy"}`}},
		{"TLS is needed", as(pub, "door"), []string{
			`p.yaml:9 would allow it over TLS`,
			`add under users.alice.permissions in p.yaml: - {allow: publish, topic: "door"}`}},
		{"two conditions fail", as(pub, "gate"), []string{
			`add under users.alice.permissions in p.yaml: - {allow: publish, topic: "gate"}`}},
		{"a listener is needed", as(pub, "gate", from("192.0.2.9")), []string{
			`p.yaml:10 would allow it on the listener lan`,
			`add under users.alice.permissions in p.yaml: - {allow: publish, topic: "gate"}`}},
		{"an address is needed", as(pub, "gate", on("lan")), []string{
			`p.yaml:10 would allow it from 192.0.2.0/24`,
			`add under users.alice.permissions in p.yaml: - {allow: publish, topic: "gate"}`}},
		{"a time is needed", as(pub, "night", noon), []string{
			`p.yaml:11 would allow it at another time: it is outside 22:00-06:00 Europe/Vienna (opens 2026-11-23T22:00+01:00)`,
			`add under users.alice.permissions in p.yaml: - {allow: publish, topic: "night"}`}},
		{"a condition is false", as(pub, "c"), []string{
			`p.yaml:12 would allow it but the condition is false: client_id.startsWith("x")`,
			`add under users.alice.permissions in p.yaml: - {allow: publish, topic: "c"}`}},
		{"a retained message is needed", as(pub, "kept"), []string{
			`p.yaml:13 would allow it if it were retained`,
			`add under users.alice.permissions in p.yaml: - {allow: publish, topic: "kept"}`}},
		{"an allowance", as(pub, "plant/1/set"), []string{
			`add under users.alice.permissions in p.yaml: - {deny: publish, topic: "plant/1/set"}`,
			`remove or narrow p.yaml:6 (allow publish plant/+/set qos 0 1)`}},
		{"an allowed will", as(pub, "plant/1/set", will), []string{
			`add under users.alice.permissions in p.yaml: - {deny: will, topic: "plant/1/set"}`,
			`remove or narrow p.yaml:6 (allow publish plant/+/set qos 0 1)`}},
		{"an allowance by several rules", as(sub, "state/#"), []string{
			`add under users.alice.permissions in p.yaml: - {deny: subscribe, topic: "state/#"}`,
			`remove or narrow p.yaml:18 (allow subscribe state/+)`}},
		{"who is not in the file", as(pub, "x", by("bob", "c")), []string{
			`add under users in p.yaml: "bob": {permissions: [{allow: publish, topic: "x"}]}`}},
		{"anonymous", as(pub, "x", by("", "c")), []string{
			`add under everyone in p.yaml: - {allow: publish, topic: "x"}`}},
		{"a connection", as(con, "", from("198.51.100.7")), []string{
			`p.yaml:24 would allow it from 192.0.2.0/24`,
			`add under users.alice.permissions in p.yaml: - {allow: connect}`}},
		{"an anonymous connection", as(con, "", by("", "c"), from("198.51.100.7"), on("wan")), []string{
			`p.yaml:24 would allow it from 192.0.2.0/24`,
			`add under everyone in p.yaml: - {allow: connect, from: "198.51.100.7", listener: "wan"}`}},
		{"an allowed connection", as(con, "", from("192.0.2.7")), []string{
			`add under users.alice.permissions in p.yaml: - {deny: connect}`,
			`remove or narrow p.yaml:24 (allow connect from 192.0.2.0/24)`}},
		{"a deny that can't be told", as(pub, "d/x", by("carol", "a/b")), []string{
			`remove or narrow p.yaml:26 (deny both d/${clientid}/secret), and add under users in p.yaml: "carol": {permissions: [{allow: publish, topic: "d/x"}]}`}},
		{"a connection for which a deny can't be told", as(con, "", by("carol", "a/b"), from("192.0.2.7")), []string{
			`remove or narrow p.yaml:26 (deny both d/${clientid}/secret)`}},
		{"one that lacks an allow too", as(con, "", by("carol", "a/b"), from("198.51.100.7")), []string{
			`remove or narrow p.yaml:26 (deny both d/${clientid}/secret), and add under users in p.yaml: "carol": {permissions: [{allow: connect}]}`}},
		{"a topic that looks like a placeholder", as(pub, "x/${a}/y"), []string{
			`add under users.alice.permissions in p.yaml: - {allow: publish, topic: "x/+/y"}`}},
		{"a topic that no permission can name", as(pub, "$share/x/y"), nil},
		{"a topic that needs quotes", as(pub, `x/"y\t: `), []string{
			`add under users.alice.permissions in p.yaml: - {allow: publish, topic: "x/\"y\\t: "}`}},
	}
	p := parse(t, factory)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			x := p.Explain(tt.q)
			if !slices.Equal(x.Opposite, tt.want) {
				t.Errorf("Opposite =\n%s\nwant\n%s", strings.Join(x.Opposite, "\n"), strings.Join(tt.want, "\n"))
			}
			for _, change := range x.Opposite {
				flips(t, factory, tt.q, change)
			}
		})
	}
}

func TestExplainOfNobody(t *testing.T) {
	if x := parse(t, factory).Explain(&security.Request{Action: pub, Topic: "a"}); x.Verdict.Effect != security.Deny || x.Steps != nil {
		t.Errorf("a request of nobody is explained as %+v", x)
	}
	var _ security.ExplainPolicy = (*Policy)(nil)
	var _ security.ConnectPolicy = (*Policy)(nil)
}

// TestWhatIsSuggestedIsTrue applies each suggestion to the file, for random
// files and requests, and sees the answer change.
func TestWhatIsSuggestedIsTrue(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	said := map[string]int{}
	for range 40 {
		text := randomFile(r).yaml()
		p := parse(t, text)
		for range 15 {
			q := randomRequest(r)
			x := p.Explain(q)
			if len(x.Opposite) == 0 {
				t.Errorf("no change is suggested for %v %q", q.Action, q.Topic)
			}
			for _, change := range x.Opposite {
				flips(t, text, q, change)
				word, _, _ := strings.Cut(change, " ")
				said[word]++
			}
			if t.Failed() {
				return
			}
		}
	}
	if said["add"] < 300 || said["remove"] < 100 || len(said) < 10 {
		t.Errorf("the suggestions were %v: the test shows little", said)
	}
}

func TestExplainMarksWhatDecides(t *testing.T) {
	tests := []struct {
		name string
		q    *security.Request
		want []int // lines of the deciding rules
	}{
		{"a deny", as(pub, "plant/9/set"), []int{7}},
		{"an allow", as(pub, "plant/1/set"), []int{6}},
		{"one rule that covers", as(sub, "state/x"), []int{18}},
		{"rules that cover together", as(sub, "state/#"), []int{18, 19, 20, 21}},
		{"nothing", as(pub, "x"), nil},
		{"a connection", as(con, "", from("192.0.2.1")), []int{24}},
		{"a deny that can't be told, beside an allow", as(con, "", by("carol", "a/b"), from("192.0.2.1")), []int{26}},
	}
	p := parse(t, factory)
	for _, tt := range tests {
		x := p.Explain(tt.q)
		var got []int
		for _, s := range x.Steps {
			if s.File != "p.yaml" || s.Rule == "" || s.Says == "" {
				t.Errorf("%s: a step without its place or reason: %+v", tt.name, s)
			}
			if s.Decides {
				got = append(got, s.Line)
			}
		}
		if slices.Sort(got); !slices.Equal(got, tt.want) {
			t.Errorf("%s: the rules of the lines %v decide, want %v", tt.name, got, tt.want)
		}
	}
	steps := p.Explain(as(pub, "d/dev1/secret")).Steps
	if i := slices.IndexFunc(steps, func(s security.Step) bool { return s.Line == 26 }); i < 0 || !steps[i].Decides ||
		!slices.Equal(steps[i].Values, []security.Value{{Name: "clientid", Value: "dev1"}}) {
		t.Errorf("the values of placeholders are missing in %+v", steps)
	}
}
