package rule

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/security"
	"sallyport/topic"
)

func pattern(t testing.TB, text string) topic.Pattern {
	t.Helper()
	p, err := topic.ParsePattern(text, topic.Dollar)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// on is a request of ann, at the client dev1, in the groups g1 and g2.
func on(action security.Action, name string, change ...func(*security.Request)) *security.Request {
	q := &security.Request{Action: action, Topic: name, Principal: &security.Principal{
		Name: "ann", ClientID: "dev1", Groups: []string{"g1", "g2"}, Roles: []string{}, Listener: "door",
	}}
	for _, c := range change {
		c(q)
	}
	return q
}

func qos(n byte) func(*security.Request) { return func(q *security.Request) { q.QoS = n } }
func retained(q *security.Request)       { q.Retain = true }
func asWill(q *security.Request)         { q.Will = true }
func share(g string) func(q *security.Request) {
	return func(q *security.Request) { q.Shared, q.Group = true, g }
}
func client(id string) func(*security.Request) {
	return func(q *security.Request) { q.Principal.ClientID = id }
}
func groups(list ...string) func(*security.Request) {
	return func(q *security.Request) { q.Principal.Groups = append([]string{}, list...) }
}
func nameless(q *security.Request) { q.Principal.Name = "" }

func TestWhatARuleIsAbout(t *testing.T) {
	const (
		allow, deny = security.Allow, security.Deny
		pub, sub    = security.Publish, security.Subscribe
		recv, conn  = security.Receive, security.Connect
	)
	for _, tt := range []struct {
		claim string
		topic string
		rule  Rule
		q     *security.Request
		holds bool
	}{
		{"publish is about publishing", "a", Rule{Effect: allow, Actions: Publish}, on(pub, "a"), true},
		{"publish is not about receiving", "a", Rule{Effect: allow, Actions: Publish}, on(recv, "a"), false},
		{"to allow subscribing is to allow receiving", "a", Rule{Effect: allow, Actions: Subscribe}, on(recv, "a"), true},
		{"to deny subscribing is to deny receiving", "a", Rule{Effect: deny, Actions: Subscribe}, on(recv, "a"), true},
		{"to allow receiving is not to allow subscribing", "a", Rule{Effect: allow, Actions: Receive}, on(sub, "a"), false},
		{"to deny receiving is not to deny subscribing", "a", Rule{Effect: deny, Actions: Receive}, on(sub, "a"), false},
		{"retain is about a retained message", "a", Rule{Effect: deny, Actions: Retain}, on(pub, "a", retained), true},
		{"retain is not about another", "a", Rule{Effect: deny, Actions: Retain}, on(pub, "a"), false},
		{"to allow retain is to allow publishing retained", "a", Rule{Effect: allow, Actions: Retain}, on(pub, "a", retained), true},
		{"will is about a will", "a", Rule{Effect: deny, Actions: Will}, on(pub, "a", asWill), true},
		{"will is not about another message", "a", Rule{Effect: deny, Actions: Will}, on(pub, "a"), false},
		{"publish is about wills too", "a", Rule{Effect: deny, Actions: Publish}, on(pub, "a", asWill), true},
		{"connect is about connecting", "", Rule{Effect: deny, Actions: Connect}, on(conn, ""), true},
		{"publish is not about connecting", "#", Rule{Effect: allow, Actions: Publish}, on(conn, ""), false},
		{"connect is not about publishing", "", Rule{Effect: allow, Actions: Connect}, on(pub, "a"), false},

		{"a QoS of the rule", "a", Rule{Effect: allow, Actions: Publish, QoS: 0b010}, on(pub, "a", qos(1)), true},
		{"another QoS", "a", Rule{Effect: allow, Actions: Publish, QoS: 0b010}, on(pub, "a", qos(2)), false},
		{"no QoS is all", "a", Rule{Effect: allow, Actions: Publish}, on(pub, "a", qos(2)), true},
		{"all does not have QoS 3", "a", Rule{Effect: allow, Actions: Publish}, on(pub, "a", qos(3)), false},
		{"a subscription's QoS is asked for exactly", "a", Rule{Effect: allow, Actions: Subscribe, QoS: 0b100}, on(sub, "a", qos(1)), false},
		{"a subscription brings messages of lower QoS", "a", Rule{Effect: allow, Actions: Subscribe, QoS: 0b100}, on(recv, "a", qos(0)), true},
		{"a subscription does not bring more than its QoS", "a", Rule{Effect: allow, Actions: Subscribe, QoS: 0b011}, on(recv, "a", qos(2)), false},
		{"to allow receiving is exact", "a", Rule{Effect: allow, Actions: Receive, QoS: 0b100}, on(recv, "a", qos(0)), false},
		{"to deny receiving is exact", "a", Rule{Effect: deny, Actions: Subscribe, QoS: 0b100}, on(recv, "a", qos(0)), false},
		{"to deny receiving at its QoS", "a", Rule{Effect: deny, Actions: Subscribe, QoS: 0b100}, on(recv, "a", qos(2)), true},

		{"retained required", "a", Rule{Effect: allow, Actions: Publish, Retain: Required}, on(pub, "a"), false},
		{"retained required and so", "a", Rule{Effect: allow, Actions: Publish, Retain: Required}, on(pub, "a", retained), true},
		{"retained forbidden", "a", Rule{Effect: allow, Actions: Publish, Retain: Forbidden}, on(pub, "a", retained), false},
		{"retained is not asked of deliveries", "a", Rule{Effect: allow, Actions: Receive, Retain: Required}, on(recv, "a"), true},

		{"shared required", "a", Rule{Effect: allow, Actions: Subscribe, Shared: Required}, on(sub, "a"), false},
		{"shared required at delivery", "a", Rule{Effect: allow, Actions: Subscribe, Shared: Required}, on(recv, "a"), false},
		{"shared required and so", "a", Rule{Effect: allow, Actions: Subscribe, Shared: Required}, on(recv, "a", share("g")), true},
		{"shared forbidden", "a", Rule{Effect: deny, Actions: Subscribe, Shared: Forbidden}, on(sub, "a", share("g")), false},
		{"sharing is not asked of publishing", "a", Rule{Effect: allow, Actions: Publish, Shared: Required}, on(pub, "a"), true},
		{"a group of the rule", "a", Rule{Effect: allow, Actions: Subscribe, Groups: []string{"f", "g"}}, on(sub, "a", share("g")), true},
		{"another group", "a", Rule{Effect: allow, Actions: Subscribe, Groups: []string{"f", "g"}}, on(sub, "a", share("h")), false},
		{"another group at delivery", "a", Rule{Effect: allow, Actions: Subscribe, Groups: []string{"g"}}, on(recv, "a", share("h")), false},
		{"any group", "a", Rule{Effect: allow, Actions: Subscribe, Groups: []string{AnyGroup}}, on(sub, "a", share("h")), true},
		{"a group limits only what is shared", "a", Rule{Effect: allow, Actions: Subscribe, Groups: []string{"g"}}, on(sub, "a"), true},

		{"a deny that covers the filter", "a/#", Rule{Effect: deny, Actions: Subscribe}, on(sub, "a/+/b"), true},
		{"a deny that overlaps is left to delivery", "a/b", Rule{Effect: deny, Actions: Subscribe}, on(sub, "a/#"), false},
		{"an allow that overlaps", "a/b", Rule{Effect: allow, Actions: Subscribe}, on(sub, "a/#"), false},
		{"# does not take in $SYS", "#", Rule{Effect: allow, Actions: Subscribe}, on(sub, "$SYS/#"), false},
		{"$SYS has its own rule", "$SYS/#", Rule{Effect: allow, Actions: Subscribe}, on(sub, "$SYS/broker/#"), true},

		{"a placeholder is its value", "d/${clientid}/#", Rule{Effect: allow, Actions: Publish}, on(pub, "d/dev1/x"), true},
		{"a placeholder is no other value", "d/${clientid}/#", Rule{Effect: allow, Actions: Publish}, on(pub, "d/dev2/x"), false},
		{"a list stands for each of its values", "d/${group}", Rule{Effect: allow, Actions: Publish}, on(pub, "d/g2"), true},
		{"a list stands for no other value", "d/${group}", Rule{Effect: allow, Actions: Publish}, on(pub, "d/g3"), false},
		{"a value in a list twice in a topic", "${group}/${group}", Rule{Effect: allow, Actions: Publish}, on(pub, "g1/g2"), false},
		{"a list beside a single value", "${group}/${clientid}", Rule{Effect: allow, Actions: Publish}, on(pub, "g2/dev1"), true},
		{"two lists allow nothing", "${group}/${groups}", Rule{Effect: allow, Actions: Publish}, on(pub, "g1/g1"), false},
		{"two lists, one of them with one value", "${group}/${role}", Rule{Effect: allow, Actions: Publish},
			on(pub, "g1/r", func(q *security.Request) { q.Principal.Roles = []string{"r"} }), true},
		{"an allow without a value", "d/${username}", Rule{Effect: allow, Actions: Publish}, on(pub, "d/ann", nameless), false},
		{"an allow with an unfit value", "d/${clientid}", Rule{Effect: allow, Actions: Publish}, on(pub, "d/+", client("+")), false},
		{"an allow with one unfit value", "d/${group}", Rule{Effect: allow, Actions: Publish}, on(pub, "d/g", groups("#", "g")), true},

		{"a deny with an empty list is about nothing", "d/${group}", Rule{Effect: deny, Actions: Publish}, on(pub, "d/g", groups()), false},
		{"an optional deny without a value", "d/${username}", Rule{Effect: deny, Actions: Publish, Optional: true}, on(pub, "d/x", nameless), false},
		{"a deny by place that does not hold", "d/${clientid}", Rule{Effect: deny, Actions: Publish, When: &When{Listeners: []string{"gate"}}}, on(pub, "x", client("+")), false},
		{"a deny about something else", "d/${clientid}", Rule{Effect: deny, Actions: Subscribe}, on(pub, "d/x", client("+")), false},
	} {
		r := tt.rule
		if tt.topic != "" {
			r.Topic = pattern(t, tt.topic)
		}
		for _, many := range []int{0, 50} { // with and without an index
			rules := []Rule{r}
			for i := range many {
				rules = append(rules, Rule{Effect: r.Effect, Actions: r.Actions, Topic: pattern(t, fmt.Sprint("other/", i))})
			}
			set := NewSet(rules)
			ask := Allow
			if r.Effect == deny {
				ask = Deny
			}
			a := ask(tt.q, nil, set)
			wrong := a.Rule != nil && a.Rule != &set.Rules()[0]
			if r.Actions == Connect && many > 0 {
				wrong = false // the others are about connecting too
			}
			if (a.Rule != nil) != tt.holds || a.Err != nil || wrong {
				t.Errorf("%s: %s among %d is %+v, want it to hold: %v", tt.claim, tt.topic, len(rules), a, tt.holds)
			}
			if step := set.Rules()[0].Says(tt.q); step.Matches != tt.holds || step.Says == "" {
				t.Errorf("%s: the rule says %q, matches: %v", tt.claim, step.Says, step.Matches)
			}
		}
	}
}

func TestADenyThatCannotBeToldDenies(t *testing.T) {
	fails, err := NewExpr(`attr["zone"] == "x"`, Publish)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		claim, topic string
		when         *When
		change       func(*security.Request)
		want         string
	}{
		{"no value", "d/${username}", nil, nameless, "username is absent"},
		{"an empty value", "d/${clientid}", nil, client(""), "clientid is empty"},
		{"a value of two levels", "d/${clientid}", nil, client("a/b"), "clientid holds a level separator"},
		{"a value with a wildcard", "d/x${clientid}", nil, client("#"), "clientid holds a wildcard"},
		{"a value that leads with $", "${clientid}/d", nil, client("$SYS"), "clientid would make the first level begin with $"},
		{"one value of a list", "d/${group}", nil, groups("a", "b", "+"), "group holds a wildcard"},
		{"two lists", "${group}/${groups}", nil, groups("a", "b"), "groups is one of several"},
		{"a condition that fails", "e/#", &When{Expr: fails}, func(*security.Request) {}, "no such key"},
		{"no topic", "", nil, func(*security.Request) {}, "topic is empty"},
	} {
		r := Rule{Effect: security.Deny, Actions: Publish, When: tt.when, File: "p.yaml", Line: 7, Text: "deny publish"}
		if tt.topic != "" {
			r.Topic = pattern(t, tt.topic)
		}
		set := NewSet([]Rule{r})
		q := on(security.Publish, "e/f", tt.change)
		a := Deny(q, set)
		if a.Rule != &set.Rules()[0] || a.Err == nil || !strings.Contains(a.Err.Error(), tt.want) {
			t.Errorf("%s: Deny = %+v, want an error with %q", tt.claim, a, tt.want)
		}
		if step := set.Rules()[0].Says(q); !step.Matches || !strings.Contains(step.Says, "it can't be told, so it denies") {
			t.Errorf("%s: says %q, matches: %v", tt.claim, step.Says, step.Matches)
		}
		err := Admit(q.Principal, nil, set)
		if tt.when != nil {
			if err != nil {
				t.Errorf("%s: Admit = %v, though no placeholder is in question", tt.claim, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "p.yaml:7: deny publish: ") {
			t.Errorf("%s: Admit = %v, want an error with rule and %q", tt.claim, err, tt.want)
		}
		// The same as an allow allows nothing and keeps nobody out.
		r.Effect = security.Allow
		set = NewSet([]Rule{r})
		if a := Allow(q, set); a.Rule != nil || Admit(q.Principal, set) != nil {
			t.Errorf("%s: as an allow it is %+v, Admit %v", tt.claim, a, Admit(q.Principal, set))
		}
	}
}

func TestAdmitShowsValuesBounded(t *testing.T) {
	set := NewSet([]Rule{{Effect: security.Deny, Actions: Publish, Topic: pattern(t, "${clientid}/${username}"), File: "f", Line: 1, Text: "t"}})
	err := Admit(on(security.Connect, "", nameless, client(strings.Repeat("x", 5000)+"+")).Principal, set)
	if err == nil || len(err.Error()) > 250 || !strings.Contains(err.Error(), `clientid "xxx`) || !strings.Contains(err.Error(), "username absent") {
		t.Errorf("Admit = %v", err)
	}
}

func TestTheFirstRuleIsTheReason(t *testing.T) {
	var rules []Rule
	for i, text := range []string{"x", "+/b", "a/${clientid}", "a/b", "a/#", "#", "a/b"} {
		for _, effect := range []security.Effect{security.Allow, security.Deny} {
			rules = append(rules, Rule{Effect: effect, Actions: Publish | Subscribe, Topic: pattern(t, text), Line: i})
		}
	}
	long := NewSet(rules)
	short := NewSet(rules[6:8])
	for _, tt := range []struct {
		q    *security.Request
		sets []*Set
		line int
	}{
		{on(security.Publish, "a/b"), []*Set{long}, 1},
		{on(security.Publish, "a/dev1"), []*Set{long}, 2},
		{on(security.Publish, "a/c"), []*Set{long}, 4},
		{on(security.Publish, "c"), []*Set{long}, 5},
		{on(security.Subscribe, "a/+"), []*Set{long}, 4},
		{on(security.Publish, "a/b"), []*Set{nil, short, long}, 3},
		{on(security.Publish, "c"), []*Set{short, nil, long}, 5},
	} {
		if a, d := Allow(tt.q, tt.sets...), Deny(tt.q, tt.sets...); a.Rule == nil || d.Rule == nil || a.Rule.Line != tt.line || d.Rule.Line != tt.line {
			t.Errorf("%s: allowed by %+v, denied by %+v, want both by line %d", tt.q.Topic, a.Rule, d.Rule, tt.line)
		}
	}
}

func TestRulesCoverAFilterTogether(t *testing.T) {
	setOf := func(texts ...string) *Set {
		var rules []Rule
		for i, text := range texts {
			rules = append(rules, Rule{Effect: security.Allow, Actions: Subscribe, Topic: pattern(t, text), Line: i})
		}
		return NewSet(rules)
	}
	for _, tt := range []struct {
		claim, filter string
		sets          []*Set
		text          string // of the reason; empty: refused
		more          int
	}{
		{"a rule for each depth", "a/#", []*Set{setOf("a", "a/+", "a/+/#")}, "a", 2},
		{"a rule that is not needed is not counted", "a/#", []*Set{setOf("b", "a/+", "a/x", "a/+/+/#", "a", "a/+/+")}, "a/+", 2},
		{"of different sets", "a/#", []*Set{setOf("a"), nil, setOf("b/#"), setOf("a/+/#")}, "a", 1},
		{"one rule is better than several before it", "a/#", []*Set{setOf("a", "a/+/#"), setOf("#")}, "#", 0},
		{"with placeholders", "d/dev1/#", []*Set{setOf("d/${clientid}", "d/${clientid}/+/#")}, "d/${clientid}", 1},
		{"with a list", "d/g2/#", []*Set{setOf("d/${group}", "d/+/+/#")}, "d/${group}", 1},
		{"a depth is missing", "a/#", []*Set{setOf("a", "a/+/+/#")}, "", 0},
		{"the deepest are missing", "a/#", []*Set{setOf("a", "a/+", "a/+/+")}, "", 0},
		{"literals are never all", "a/+", []*Set{setOf("a/x", "a/y", "a/${group}")}, "", 0},
		{"another's placeholder", "d/dev2/#", []*Set{setOf("d/${clientid}", "d/+/+/#")}, "", 0},
		{"$ is not covered by wildcards", "$SYS/#", []*Set{setOf("#", "+", "+/#", "$SYS")}, "", 0},
		{"deeper than any buffer", "a/#", []*Set{setOf("a", "a"+strings.Repeat("/+", 60)+"/#", "a/+/#")}, "a", 2},
	} {
		a := Allow(on(security.Subscribe, tt.filter), tt.sets...)
		got := ""
		if a.Rule != nil {
			got = a.Rule.Topic.Text()
		}
		if got != tt.text || a.More != tt.more {
			t.Errorf("%s: %q and %d more, want %q and %d more", tt.claim, got, a.More, tt.text, tt.more)
		}
	}
}

func TestAnAnswerHoldsAsLongAsItsConditions(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	window := func(spec WindowSpec) *When {
		w, err := NewWindow(spec)
		if err != nil {
			t.Fatal(err)
		}
		return &When{Windows: []Window{w}}
	}
	later := window(WindowSpec{NotBefore: "2026-06-01T00:00:00Z"})
	ends := window(WindowSpec{NotAfter: "2026-05-15T00:00:00Z"})
	reads, err := NewExpr(`size > 10`, Publish)
	if err != nil {
		t.Fatal(err)
	}
	at := func(s string) int64 {
		m, err := time.Parse(time.DateOnly, s)
		if err != nil {
			t.Fatal(err)
		}
		return m.UnixNano()
	}
	small := &security.Message{Payload: []byte("x")}
	for _, tt := range []struct {
		claim string
		when  []*When
		rule  int // -1: none
		until int64
		read  bool
	}{
		{"no condition", []*When{nil}, 0, 0, false},
		{"a window that is open", []*When{ends}, 0, at("2026-05-15"), false},
		{"a window that is to open", []*When{later}, -1, at("2026-06-01"), false},
		{"one that is closed before one that is open", []*When{later, ends}, 1, at("2026-05-15"), false},
		{"one that is closed before no condition", []*When{later, nil}, 1, at("2026-06-01"), false},
		{"what comes after the reason does not count", []*When{nil, ends}, 0, 0, false},
		{"the message was read in vain", []*When{{Expr: reads}, nil}, 1, 0, true},
		{"the message was read, and nothing holds", []*When{{Expr: reads}, later}, -1, at("2026-06-01"), true},
	} {
		for _, effect := range []security.Effect{security.Allow, security.Deny} {
			var rules []Rule
			for _, w := range tt.when {
				rules = append(rules, Rule{Effect: effect, Actions: Publish, Topic: pattern(t, "a"), When: w})
			}
			rules = append(rules, Rule{Effect: effect, Actions: Publish, Topic: pattern(t, "b"), When: later})
			set := NewSet(rules)
			q := on(security.Publish, "a")
			q.At, q.Message = now.UnixNano(), small
			a := Allow(q, set)
			if effect == security.Deny {
				a = Deny(q, set)
			}
			rule := slices.IndexFunc(rules, func(r Rule) bool { return a.Rule != nil && r.When == a.Rule.When })
			if rule != tt.rule || a.Until != tt.until || a.Volatile != tt.read {
				t.Errorf("%s, %v: rule %d until %d, volatile %v, want %d, %d, %v", tt.claim, effect, rule, a.Until, a.Volatile, tt.rule, tt.until, tt.read)
			}
		}
	}
}

func TestAnAllowWhoseConditionFailsDoesNotHold(t *testing.T) {
	fails, err := NewExpr(`attr["zone"] == "x"`, Publish|Subscribe)
	if err != nil {
		t.Fatal(err)
	}
	set := NewSet([]Rule{{Effect: security.Allow, Actions: Publish | Subscribe, Topic: pattern(t, "#"), When: &When{Expr: fails}}})
	for _, q := range []*security.Request{on(security.Publish, "a"), on(security.Subscribe, "a")} {
		if a := Allow(q, set); a.Rule != nil {
			t.Errorf("%v is allowed by %+v", q.Action, a)
		}
	}
}

func TestAnswersDoNotAllocate(t *testing.T) {
	set := NewSet(benchRules(t, 1000))
	for _, q := range []*security.Request{
		on(security.Publish, "site/1/device/100/state"), on(security.Publish, "site/1/device/105/secret"), on(security.Publish, "site/1/dev1/103"),
		on(security.Receive, "site/1/device/100/state"), on(security.Subscribe, "site/1/device/101/#"), on(security.Subscribe, "site/#"),
	} {
		n := testing.AllocsPerRun(100, func() {
			Deny(q, set)
			Allow(q, set)
		})
		if n != 0 {
			t.Errorf("%v %s allocates %v times, want 0", q.Action, q.Topic, n)
		}
	}
}

func TestFiltersOfAPrincipal(t *testing.T) {
	p := on(security.Publish, "", groups("a", "b", "#", "a")).Principal
	for text, want := range map[string][]string{
		"x/#": {"x/#"}, "d/${clientid}": {"d/dev1"}, "d/${group}/+": {"d/a/+", "d/b/+"}, "${group}/${role}": nil, "d/${attr.zone}": nil,
	} {
		r := Rule{Actions: Publish, Topic: pattern(t, text)}
		if got := r.Filters(p); !slices.Equal(got, want) {
			t.Errorf("filters of %s are %q, want %q", text, got, want)
		}
	}
	if got := (&Rule{Actions: Connect}).Filters(p); got != nil {
		t.Errorf("filters of a rule about connecting are %q", got)
	}
}
