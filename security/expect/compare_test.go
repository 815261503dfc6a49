package expect_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"sallyport/security"
	"sallyport/security/acl"
	"sallyport/security/expect"
	"sallyport/security/roles"
	"sallyport/topic"
)

const now = 1_800_000_000_000_000_000

func permissions(t testing.TB, file, text string) security.Policy {
	t.Helper()
	p, err := roles.Parse(roles.Options{Name: "permissions", Path: file, AllowEmpty: true}, []byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return p
}

func aclFile(t testing.TB, file, text string, strict bool) security.Policy {
	t.Helper()
	p, err := acl.Parse(acl.Options{Name: "acl", Path: file, AllowEmpty: true, Strict: strict}, []byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return p
}

func sideOf(who *security.Principal, downgrade bool, policies ...security.Policy) *expect.Side {
	return &expect.Side{
		Gate: security.NewGate(&security.Ruleset{
			ByListener: map[string][]security.Policy{who.Listener: policies}, Downgrade: map[string]bool{who.Listener: downgrade},
		}),
		Principal: who, Policies: policies,
	}
}

var dev = &security.Principal{Realm: "r", Name: "dev-1", ClientID: "c1", Listener: "l"}

func lines(t testing.TB, old, new *expect.Side) []string {
	t.Helper()
	c := expect.Comparison{At: now}
	found, err := c.Compare(old, new)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for i := range found {
		out = append(out, expect.DifferenceText(&found[i]))
	}
	return out
}

func TestDifferencesReadWell(t *testing.T) {
	for _, tt := range []struct {
		name, old, new string
		want           []string
	}{
		{"the same rules differ in nothing", "everyone: [{allow: both, topic: a/#}]", "everyone:\n  - {allow: both, topic: 'a/#'}", nil},
		{"a rule that is gone", "everyone: [{allow: publish, topic: 'a/#'}]", "users: {x: {permissions: [{allow: publish, topic: b}]}}", []string{
			"publish a/# at QoS 0-2: allowed by old:1 (allow publish a/#) -> refused by new (no permission matches)",
		}},
		{"a deny that is new", "everyone: [{allow: publish, topic: 'site/+/+'}]", "everyone:\n- {allow: publish, topic: 'site/+/+'}\n- {deny: publish, topic: site/1/#, retain: required}", []string{
			"publish site/1/+ at QoS 0-2, retained: allowed by old:1 (allow publish site/+/+) -> refused by new:3 (deny publish site/1/# retain required)",
		}},
		{"a placeholder stands for its value", "everyone: [{allow: publish, topic: 'd/${username}', qos: [0, 1]}]", "everyone: [{allow: publish, topic: 'd/${username}', qos: 1}]", []string{
			"publish d/dev-1 at QoS 0: allowed by old:1 (allow publish d/${username} qos 0 1) -> refused by new (no permission matches)",
		}},
		{"a group of a shared subscription", "everyone: [{allow: subscribe, topic: jobs}]", "everyone: [{allow: subscribe, topic: jobs, shared: required, group: w}]", []string{
			"subscribe jobs at QoS 0-2, by ordinary or $share/+: allowed by old:1 (allow subscribe jobs) -> refused by new (no permission covers the filter)",
			"receive jobs at QoS 0-2, by ordinary or $share/+: allowed by old:1 (allow subscribe jobs) -> refused by new (no permission matches)",
		}},
		{"a connection", "everyone: [{allow: publish, topic: a}]", "everyone:\n- {allow: publish, topic: a}\n- {deny: connect}", []string{
			"connect: allowed (no rule refuses the connection) -> refused by new:3 (deny connect)",
			"publish a at QoS 0-2: allowed by old:1 (allow publish a) -> refused by new:3 (deny connect)",
		}},
	} {
		got := lines(t, sideOf(dev, false, permissions(t, "old", tt.old)), sideOf(dev, false, permissions(t, "new", tt.new)))
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, strings.Join(got, "\n     "), strings.Join(tt.want, "\n     "))
		}
	}
}

func TestADowngradeIsADifference(t *testing.T) {
	p := permissions(t, "p", "everyone: [{allow: subscribe, topic: a, qos: [0, 1]}]")
	got := lines(t, sideOf(dev, false, p), sideOf(dev, true, p))
	want := []string{"subscribe a at QoS 2: refused by p (no permission covers the filter) -> allowed at QoS 1 by p:1 (allow subscribe a qos 0 1)"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestOneWhoCantGetInIsRefusedEverything(t *testing.T) {
	in := sideOf(dev, false, permissions(t, "p", "everyone: [{allow: publish, topic: a}]"))
	out := &expect.Side{Refused: security.Verdict{Effect: security.Deny, File: "new.yaml", Rule: "nobody knows it"}}
	want := []string{
		"connect: allowed (no rule refuses the connection) -> refused by new.yaml (nobody knows it)",
		"publish a at QoS 0-2: allowed by p:1 (allow publish a) -> refused by new.yaml (nobody knows it)",
	}
	if got := lines(t, in, out); !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	if got := lines(t, out, out); got != nil {
		t.Errorf("two that refuse alike differ: %q", got)
	}
}

func TestAllowAllDiffersFromAFileInAllItDoesNotGrant(t *testing.T) {
	all, some := sideOf(dev, false, roles.AllowAll("all")), sideOf(dev, false, permissions(t, "p", "everyone: [{allow: both, topic: '#'}]"))
	got := lines(t, all, some)
	if len(got) == 0 {
		t.Fatal("allow_all and # are not the same: names that begin with $")
	}
	for _, l := range got {
		if !strings.Contains(l, " $") {
			t.Errorf("%s", l)
		}
	}
}

func TestAComparisonIsBounded(t *testing.T) {
	rules := func(n int, form string) string {
		b := strings.Builder{}
		for i := range n {
			fmt.Fprintf(&b, form, i)
		}
		return b.String()
	}
	const everyone = "everyone:\n"
	nothing := permissions(t, "p", everyone+"  - {allow: publish, topic: a}\n")
	many := permissions(t, "p", everyone+rules(4500, "  - {allow: publish, topic: 'a/%d'}\n"))
	for _, tt := range []struct {
		name     string
		old, new security.Policy
	}{
		{"meets of filters", many, many},
		{"filters of one", many, nothing},
		{"filters of the other", nothing, many},
		{"groups", permissions(t, "p", everyone+rules(33, "  - {allow: subscribe, topic: a, group: 'g%d'}\n")), nothing},
		{"differences", permissions(t, "p", everyone+rules(150, "  - {allow: publish, topic: '%d/+'}\n")),
			permissions(t, "p", everyone+"  - {allow: publish, topic: '#'}\n"+rules(150, "  - {deny: publish, topic: '+/%d'}\n"))},
	} {
		c := expect.Comparison{At: now}
		if found, err := c.Compare(sideOf(dev, false, tt.old), sideOf(dev, false, tt.new)); !errors.Is(err, expect.ErrTooMuch) || found != nil {
			t.Errorf("%s: %d differences, %v", tt.name, len(found), err)
		}
	}
}

func TestConditionsAreSpokenOf(t *testing.T) {
	c := expect.Comparison{At: now}
	with := permissions(t, "p", `everyone: [{allow: publish, topic: "#", when: 'topic == "a"'}]`)
	if _, err := c.Compare(sideOf(dev, false, with), sideOf(dev, false, with)); err != nil || !c.Conditional {
		t.Errorf("a rule with a condition: conditional %v, %v", c.Conditional, err)
	}
}

type mute struct{}

func (mute) Decide(*security.Request) security.Verdict { return security.Verdict{} }

func TestAPolicyThatDoesNotTellItsTopicsIsNotCompared(t *testing.T) {
	c := expect.Comparison{At: now}
	if _, err := c.Compare(sideOf(dev, false, mute{}), sideOf(dev, false, mute{})); err == nil {
		t.Error("it was compared")
	}
}

func choose[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func randomFilter(r *rand.Rand, levels ...string) string {
	var out []string
	for range 1 + r.IntN(3) {
		out = append(out, choose(r, levels...))
	}
	if r.IntN(4) == 0 {
		out = append(out, "#")
	}
	if r.IntN(12) == 0 {
		out[0] = "$s"
	}
	if r.IntN(20) == 0 {
		return "#"
	}
	return strings.Join(out, "/")
}

func randomPermissions(r *rand.Rand) string {
	var b strings.Builder
	b.WriteString("everyone:\n")
	for range 1 + r.IntN(6) {
		does := choose(r, "publish", "subscribe", "receive", "both")
		fmt.Fprintf(&b, "  - {%s: %s, topic: '%s'", choose(r, "allow", "allow", "deny"), does, randomFilter(r, "a", "b", "+", "+", "${username}"))
		if r.IntN(3) == 0 {
			fmt.Fprintf(&b, ", qos: %s", choose(r, "[0]", "[1]", "[0, 2]", "[1, 2]"))
		}
		if does == "publish" && r.IntN(4) == 0 {
			fmt.Fprintf(&b, ", retain: %s", choose(r, "required", "forbidden"))
		}
		if does == "subscribe" && r.IntN(4) == 0 {
			b.WriteString(choose(r, ", shared: required", ", shared: forbidden", ", group: g", ", group: h"))
		}
		b.WriteString("}\n")
	}
	return b.String()
}

func randomACL(r *rand.Rand) string {
	var b strings.Builder
	for range r.IntN(4) {
		fmt.Fprintf(&b, "pattern %s %s\n", choose(r, "read", "write", "readwrite", "deny"), randomFilter(r, "a", "b", "+", "%u"))
	}
	b.WriteString("user dev-1\n")
	for range 1 + r.IntN(5) {
		fmt.Fprintf(&b, "topic %s %s\n", choose(r, "read", "write", "readwrite", "deny"), randomFilter(r, "a", "b", "+"))
	}
	return b.String()
}

func randomPolicy(t *testing.T, r *rand.Rand, file string) ([]security.Policy, string) {
	switch r.IntN(6) {
	case 0:
		return []security.Policy{roles.AllowAll("all")}, "allow_all"
	case 1, 2:
		text := randomACL(r)
		return []security.Policy{aclFile(t, file, text, r.IntN(2) == 0)}, text
	case 3:
		a, b := randomPermissions(r), randomACL(r)
		return []security.Policy{permissions(t, file, a), aclFile(t, file+"2", b, true)}, a + b
	}
	text := randomPermissions(r)
	return []security.Policy{permissions(t, file, text)}, text
}

// worldNames is every name of up to five levels; z and $z stand for whatever no
// rule mentions. worldFilters is filters of up to three levels.
func worldNames() (names, filters []string) {
	last := []string{"a", "b", "z", "dev-1", "$s", "$any", ""}
	for depth := range 5 {
		for _, n := range last {
			if n != "" {
				names = append(names, n)
			}
		}
		var next []string
		for _, n := range last {
			for _, l := range []string{"a", "b", "z", "dev-1"} {
				if depth > 2 && l != "a" && l != "z" {
					continue
				}
				next = append(next, n+"/"+l)
			}
		}
		last = next
	}
	names = append(names, "$SYS", "$SYS/a", "$SYSa", "$SYSz/b", "$share/a", "$share", "a/", "b//a")
	last = []string{"a", "b", "z", "+", "$s", "$any"}
	for range 4 {
		filters = append(filters, last...)
		var next []string
		for _, n := range last {
			filters = append(filters, n+"/#")
			for _, l := range []string{"a", "z", "+"} {
				next = append(next, n+"/"+l)
			}
		}
		last = next
	}
	return names, append(filters, "#", "$SYS/#", "/#", "+/b/#", "$SYS/a")
}

// reported tells whether one of the differences is about q, with these answers.
func reported(found []expect.Difference, q *security.Request, before, after security.Verdict) bool {
	for i := range found {
		d := &found[i]
		about := d.Action == q.Action.String() && slices.Contains(d.QoS, q.QoS) &&
			(d.Retain == nil || *d.Retain == q.Retain) && (d.Will == nil || *d.Will == q.Will)
		if d.By != nil {
			by := expect.Ordinary
			switch q.Group {
			case "":
			case "g", "h":
				if by = "$share/" + q.Group; !slices.Contains(d.By, by) {
					by = expect.OtherGroups // if no rule names it
				}
			default:
				by = expect.OtherGroups
			}
			about = about && slices.Contains(d.By, by)
		}
		if about && (topic.Covers(d.Topic, q.Topic) || dollarCovers(d.Topic, q.Topic)) && d.Old.Allowed == before.Allowed() && d.New.Allowed == after.Allowed() {
			return true
		}
	}
	return false
}

// dollarCovers is topic.Covers where $any is any first level with $.
func dollarCovers(filter, name string) bool {
	first, rest, more := strings.Cut(name, "/")
	if !strings.HasPrefix(filter, "$any") || !strings.HasPrefix(first, "$") {
		return false
	}
	if more {
		rest = "/" + rest
	}
	return topic.Covers(filter, "$any"+rest)
}

// TestNoDifferenceIsMissedOrMadeUp compares random policies, and asks both for
// every topic of a small world: whatever is answered differently stands in a
// difference, and each difference shows at the topic it names.
func TestNoDifferenceIsMissedOrMadeUp(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	names, filters := worldNames()
	differing, told, same := 0, 0, 0
	for range 60 {
		p1, text1 := randomPolicy(t, r, "old")
		p2, text2 := randomPolicy(t, r, "new")
		old, new := sideOf(dev, false, p1...), sideOf(dev, false, p2...)
		c := expect.Comparison{At: now}
		found, err := c.Compare(old, new)
		if err != nil {
			t.Fatal(err)
		}
		told += len(found)
		ask := func(q security.Request) (before, after security.Verdict) {
			q.Principal, q.At, q.Shared = dev, now, q.Group != ""
			return old.Gate.Granted(&q), new.Gate.Granted(&q)
		}
		each := func(action security.Action, topics []string) {
			for _, name := range topics {
				q := security.Request{Action: action, Topic: name, QoS: byte(r.IntN(3))}
				if action != security.Subscribe {
					q.Retain = r.IntN(2) == 0
				}
				if action != security.Publish {
					q.Group = choose(r, "", "g", "h", "k")
				}
				before, after := ask(q)
				if before.Allowed() == after.Allowed() {
					same++
				} else if differing++; !reported(found, &q, before, after) {
					t.Fatalf("%s (group %q): %v, then %v, which is not told:\n%v\nold\n%s\nnew\n%s", expect.Text(&q), q.Group, before, after, found, text1, text2)
				}
			}
		}
		each(security.Publish, names)
		each(security.Receive, names)
		each(security.Subscribe, filters)
		for i := range found {
			showDifference(t, &found[i], ask, text1+"\n"+text2)
		}
	}
	if differing < 1000 || told < 100 || same < 1000 {
		t.Errorf("%d requests differ, %d are the same, %d differences told: that shows little", differing, same, told)
	}
}

// Where listeners downgrade, what is granted otherwise stands below a filter that is
// told, for the requested QoS or a lower one.
func TestNoDowngradeIsMissed(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	_, filters := worldNames()
	differing := 0
	for range 60 {
		p1, text1 := randomPolicy(t, r, "old")
		p2, text2 := randomPolicy(t, r, "new")
		old, new := sideOf(dev, true, p1...), sideOf(dev, r.IntN(4) > 0, p2...)
		c := expect.Comparison{At: now}
		found, err := c.Compare(old, new)
		if err != nil {
			t.Fatal(err)
		}
		for _, filter := range filters {
			q := security.Request{Action: security.Subscribe, Topic: filter, QoS: byte(r.IntN(3)), Principal: dev, At: now}
			before, after := old.Gate.Granted(&q), new.Gate.Granted(&q)
			if before.Allowed() == after.Allowed() && (!before.Allowed() || before.QoS == after.QoS) {
				continue
			}
			differing++
			if !slices.ContainsFunc(found, func(d expect.Difference) bool {
				return d.Action == "subscribe" && d.QoS[0] <= q.QoS && (topic.Covers(d.Topic, filter) || dollarCovers(d.Topic, filter))
			}) {
				t.Fatalf("%s: %v, then %v, which is not told:\n%v\nold\n%s\nnew\n%s", expect.Text(&q), before, after, found, text1, text2)
			}
		}
	}
	if differing < 1000 {
		t.Errorf("only %d subscriptions differ: that shows little", differing)
	}
}

// showDifference asks for a topic that d is about.
func showDifference(t *testing.T, d *expect.Difference, ask func(security.Request) (before, after security.Verdict), text string) {
	t.Helper()
	action, err := expect.ParseAction(d.Action)
	if err != nil || action == security.Connect {
		return
	}
	q := security.Request{Action: action, Topic: d.Topic, QoS: d.QoS[0]}
	if action != security.Subscribe {
		q.Topic = strings.ReplaceAll(strings.ReplaceAll(d.Topic, "+", "fresh"), "#", "fresh/fresh/fresh/fresh")
	}
	q.Retain = d.Retain != nil && *d.Retain
	q.Will = d.Will != nil && *d.Will
	if d.By != nil && d.By[0] != expect.Ordinary {
		q.Group = strings.ReplaceAll(strings.TrimPrefix(d.By[0], "$share/"), "+", "fresh")
	}
	if before, after := ask(q); before.Allowed() != d.Old.Allowed || after.Allowed() != d.New.Allowed {
		t.Fatalf("%s does not show: %s is %v, then %v\n%s", expect.DifferenceText(d), expect.Text(&q), before, after, text)
	}
}
