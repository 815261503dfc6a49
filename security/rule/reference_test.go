package rule

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/security"
	"sallyport/topic"
)

// The plain interpreter that Deny and Allow are held against. It goes through
// the rules one by one, puts values in by replacing text, and takes a filter for
// the names that it matches among all those of a small world.

// world is names enough to tell apart all filters of up to three levels over the
// words that the tests use; x and $x stand for the levels that no filter names.
// Below the third level all filters that go on are open.
func world() [][]string {
	var all, previous [][]string
	previous = [][]string{nil}
	for range 3 {
		var longer [][]string
		for _, p := range previous {
			for _, l := range []string{"a", "b", "", "pa", "x", "$s", "$x"} {
				longer = append(longer, append(slices.Clone(p), l))
			}
		}
		all = append(all, longer...)
		previous = longer
	}
	for _, p := range previous {
		all = append(all, append(slices.Clone(p), "x"))
	}
	return slices.DeleteFunc(all, func(n []string) bool { return len(n) == 1 && n[0] == "" })
}

type plainWorld struct {
	names   [][]string
	matched map[string][]bool // by filter: which of names it matches
	// by topic: which of names it stands for
	standsFor map[string][]int
}

func newPlainWorld() *plainWorld {
	return &plainWorld{names: world(), matched: map[string][]bool{}, standsFor: map[string][]int{}}
}

func refMatch(f, n []string) bool {
	switch {
	case len(f) == 1 && f[0] == "#":
		return true
	case len(f) == 0 || len(n) == 0:
		return len(f) == len(n)
	}
	return (f[0] == "+" || f[0] == n[0]) && refMatch(f[1:], n[1:])
}

func (ref *plainWorld) match(filter string) []bool {
	if m, ok := ref.matched[filter]; ok {
		return m
	}
	m := make([]bool, len(ref.names))
	f := strings.Split(filter, "/")
	for i, n := range ref.names {
		hidden := strings.HasPrefix(n[0], "$") && (f[0] == "+" || f[0] == "#")
		m[i] = !hidden && refMatch(f, n)
	}
	ref.matched[filter] = m
	return m
}

// takes is whether a filter takes in all names that q's topic stands for, at
// one depth, or at all if depth is 0.
func (ref *plainWorld) takes(filter string, q *security.Request, depth int) bool {
	have := ref.match(filter)
	for _, i := range ref.asked(q) {
		if !have[i] && (depth == 0 || len(ref.names[i]) == depth) {
			return false
		}
	}
	return true
}

// asked is which of the names q's topic stands for.
func (ref *plainWorld) asked(q *security.Request) []int {
	key := q.Topic
	if q.Action != security.Subscribe {
		key = "the name " + key
	}
	if out, ok := ref.standsFor[key]; ok {
		return out
	}
	out := []int{}
	for i, n := range ref.names {
		if q.Action == security.Subscribe && ref.match(q.Topic)[i] || q.Action != security.Subscribe && strings.Join(n, "/") == q.Topic {
			out = append(out, i)
		}
	}
	ref.standsFor[key] = out
	return out
}

func refFilters(r *Rule, p *security.Principal) (filters []string, bad bool) {
	lists := map[string][]string{"${clientid}": {p.ClientID}, "${group}": p.Groups, "${role}": p.Roles}
	if p.Name != "" {
		lists["${username}"] = []string{p.Name}
	}
	filters = []string{r.Topic.Text()}
	many, empty := 0, false
	for _, name := range []string{"${clientid}", "${username}", "${group}", "${role}"} {
		if !strings.Contains(r.Topic.Text(), name) {
			continue
		}
		values, ok := lists[name]
		if !ok {
			if r.Optional {
				return nil, false
			}
			bad = true
			continue
		}
		if len(values) > 1 {
			many++
		}
		empty = empty || len(values) == 0
		var next []string
		for _, v := range values {
			for _, f := range filters {
				switch {
				case v == "" || strings.ContainsAny(v, "+#/"), strings.HasPrefix(f, name) && strings.HasPrefix(v, "$"):
					next = append(next, "bad")
				case f == "bad":
					next = append(next, f)
				default:
					next = append(next, strings.ReplaceAll(f, name, v))
				}
			}
		}
		filters = next
	}
	switch {
	case empty:
		return nil, false
	case bad || many > 1:
		return nil, true
	}
	n := len(filters)
	filters = slices.DeleteFunc(filters, func(f string) bool { return f == "bad" })
	return filters, len(filters) < n
}

func refSpeaks(r *Rule, q *security.Request) bool {
	about := false
	switch q.Action {
	case security.Connect:
		return r.Actions&Connect != 0
	case security.Publish:
		about = r.Actions&Publish != 0 || r.Actions&Retain != 0 && q.Retain || r.Actions&Will != 0 && q.Will
		about = about && (r.Retain == Either || r.Retain == Required && q.Retain || r.Retain == Forbidden && !q.Retain)
	case security.Subscribe:
		about = r.Actions&Subscribe != 0
	case security.Receive:
		about = r.Actions&Subscribe != 0 || r.Actions&Receive != 0
	}
	if q.Action != security.Publish {
		about = about && (r.Shared == Either || r.Shared == Required && q.Shared || r.Shared == Forbidden && !q.Shared)
		if q.Shared && len(r.Groups) > 0 {
			about = about && (slices.Contains(r.Groups, "#") || slices.Contains(r.Groups, q.Group))
		}
	}
	fits := r.QoS == 0
	for qos := range byte(3) {
		if r.QoS>>qos&1 == 1 {
			higher := q.Action == security.Receive && r.Effect == security.Allow && r.Actions&Subscribe != 0
			fits = fits || qos == q.QoS || higher && qos > q.QoS
		}
	}
	return about && fits
}

func (ref *plainWorld) hits(r *Rule, q *security.Request) (hit, bad bool) {
	if q.Action == security.Connect {
		return true, false
	}
	filters, bad := refFilters(r, q.Principal)
	hit = slices.ContainsFunc(filters, func(f string) bool { return ref.takes(f, q, 0) })
	return hit, bad && !hit
}

func eachRule(sets []*Set, effect security.Effect, q *security.Request, do func(*Rule) (more bool)) {
	for _, s := range sets {
		for i := range s.rules {
			if r := &s.rules[i]; r.Effect == effect && refSpeaks(r, q) && !do(r) {
				return
			}
		}
	}
}

func (ref *plainWorld) deny(q *security.Request, sets []*Set) (a Answer) {
	eachRule(sets, security.Deny, q, func(r *Rule) bool {
		hit, bad := ref.hits(r, q)
		if !hit && !bad {
			return true
		}
		fit := r.When.Fits(q)
		a.join(fit)
		if !fit.Holds && fit.Err == nil {
			return true
		}
		a.Rule = r
		if bad || fit.Err != nil {
			a.Err = errors.New("can't be told")
		}
		return false
	})
	return a
}

func (ref *plainWorld) allow(q *security.Request, sets []*Set) (a Answer) {
	var parts []*Rule
	eachRule(sets, security.Allow, q, func(r *Rule) bool {
		if hit, _ := ref.hits(r, q); !hit {
			parts = append(parts, r)
			return true
		}
		fit := r.When.Fits(q)
		a.join(fit)
		if fit.Holds {
			a.Rule = r
		}
		return !fit.Holds
	})
	if a.Rule != nil || q.Action != security.Subscribe || !strings.HasSuffix(q.Topic, "#") {
		return a
	}
	free := map[int]bool{}
	for _, i := range ref.asked(q) {
		free[len(ref.names[i])] = true
	}
	var needed []*Rule
	for _, r := range parts {
		filters, _ := refFilters(r, q.Principal)
		var takes []int
		for depth := range free {
			if slices.ContainsFunc(filters, func(f string) bool { return ref.takes(f, q, depth) }) {
				takes = append(takes, depth)
			}
		}
		if len(takes) == 0 || len(free) == 0 {
			continue
		}
		fit := r.When.Fits(q)
		if a.join(fit); !fit.Holds {
			continue
		}
		for _, depth := range takes {
			delete(free, depth)
		}
		needed = append(needed, r)
	}
	if len(free) == 0 {
		a.Rule, a.More = needed[0], len(needed)-1
	}
	return a
}

// granted is whether the allow rules that hold match, all together, every name
// that q stands for.
func (ref *plainWorld) granted(q *security.Request, sets []*Set) bool {
	union := make([]bool, len(ref.names))
	eachRule(sets, security.Allow, q, func(r *Rule) bool {
		if !r.When.Fits(q).Holds {
			return true
		}
		filters, _ := refFilters(r, q.Principal)
		for _, f := range filters {
			for i, yes := range ref.match(f) {
				union[i] = union[i] || yes
			}
		}
		return true
	})
	for _, i := range ref.asked(q) {
		if !union[i] {
			return false
		}
	}
	return true
}

// draw makes rules and requests at random.
type draw struct {
	*rand.Rand
	windows    []Window
	conditions []*Expr
	joint      bool // rules of which several together cover a filter
}

func one[T any](d *draw, from ...T) T { return from[d.IntN(len(from))] }

func (d *draw) filter(words ...string) string {
	levels := make([]string, 1+d.IntN(3))
	for i := range levels {
		levels[i] = one(d, words...)
	}
	if d.IntN(3) == 0 {
		levels[len(levels)-1] = "#"
	}
	if len(levels) == 1 && levels[0] == "" {
		levels[0] = "a"
	}
	return strings.Join(levels, "/")
}

func (d *draw) rule(t *testing.T) Rule {
	words := []string{"a", "a", "b", "", "+", "+", "+", "$s", "${clientid}", "p${clientid}", "${username}", "${group}", "${role}"}
	if d.IntN(2) == 0 {
		words = words[:8]
	}
	if d.joint {
		// What covers a filter by depths: short, with +, about the same thing.
		p, err := topic.ParsePattern(strings.TrimPrefix(one(d, "", "a/", "${clientid}/", "${group}/")+one(d, "+", "+/+", "+/#", "+/+/#", "a"), "/"), topic.Dollar)
		if err != nil {
			t.Fatal(err)
		}
		r := Rule{Effect: security.Allow, Actions: Subscribe, Topic: p}
		if d.IntN(5) == 0 {
			r.When = &When{Windows: []Window{one(d, d.windows...)}}
		}
		return r
	}
	r := Rule{
		Effect:   one(d, security.Allow, security.Allow, security.Deny),
		Actions:  one(d, Publish, Subscribe, Receive, Retain, Will, Publish|Subscribe, Subscribe|Receive, Publish|Subscribe, Connect, Connect|Publish),
		QoS:      one[uint8](d, 0, 0, 0, 1, 2, 4, 3, 6, 7),
		Retain:   one(d, Either, Either, Either, Required, Forbidden),
		Shared:   one(d, Either, Either, Either, Required, Forbidden),
		Groups:   one(d, nil, nil, nil, []string{"g"}, []string{"h", "g"}, []string{AnyGroup}),
		Optional: d.IntN(4) == 0,
	}
	if r.Actions != Connect {
		var err error
		if r.Topic, err = topic.ParsePattern(d.filter(words...), topic.Dollar); err != nil {
			t.Fatal(err)
		}
	}
	switch d.IntN(9) {
	case 0:
		r.When = &When{Listeners: []string{one(d, "door", "gate")}}
	case 1:
		r.When = &When{TLS: one(d, Required, Forbidden)}
	case 2:
		r.When = &When{Windows: []Window{one(d, d.windows...)}}
	case 3:
		r.When = &When{Expr: one(d, d.conditions...)}
	}
	return r
}

func (d *draw) request(ref *plainWorld) *security.Request {
	q := &security.Request{
		Principal: &security.Principal{
			ClientID: one(d, "a", "b", "a", "$s", "a/b", "+"), Name: one(d, "", "a", "b"), Listener: "door",
			Groups: one(d, nil, []string{"a"}, []string{"a", "b"}, []string{"b", "#"}), Roles: one(d, nil, []string{"b"}, []string{"b", "a"}),
			Secure: d.IntN(2) == 0,
		},
		Action: one(d, security.Publish, security.Subscribe, security.Subscribe, security.Receive, security.Connect),
		QoS:    byte(d.IntN(3)), At: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano(),
	}
	switch q.Action {
	case security.Publish:
		q.Message = one(d, nil, &security.Message{Payload: []byte("abc")}, &security.Message{Payload: []byte("abcd")})
		q.Topic, q.Retain, q.Will = strings.Join(one(d, ref.names...), "/"), d.IntN(2) == 0, d.IntN(3) == 0
	case security.Receive:
		q.Topic = strings.Join(one(d, ref.names...), "/")
	case security.Subscribe:
		q.Topic = d.filter("a", "a", "b", "", "+", "$s", "pa", "x")
	}
	if d.joint {
		q.Action, q.Topic = security.Subscribe, one(d, "#", "a/#", "b/#", "+/#", "a/+/#", "x/#")
	}
	if q.Action == security.Receive || q.Action == security.Subscribe {
		if q.Shared = d.IntN(2) == 0; q.Shared {
			q.Group = one(d, "g", "h", "i")
		}
	}
	return q
}

func newDraw(t *testing.T, seed uint64) *draw {
	d := &draw{Rand: rand.New(rand.NewPCG(seed, 1))}
	for _, spec := range []WindowSpec{{NotBefore: "2026-02-01T00:00:00Z"}, {NotAfter: "2026-03-01T00:00:00Z"}, {NotAfter: "2025-01-01T00:00:00Z"}} {
		w, err := NewWindow(spec)
		if err != nil {
			t.Fatal(err)
		}
		d.windows = append(d.windows, w)
	}
	for _, text := range []string{`attr["zone"] == "x"`, `qos > 0`, `"b" in groups`, `size > 3`} {
		x, err := NewExpr(text, Publish)
		if err != nil {
			t.Fatal(err)
		}
		d.conditions = append(d.conditions, x)
	}
	return d
}

func same(a, b Answer) bool {
	return a.Rule == b.Rule && a.More == b.More && (a.Err == nil) == (b.Err == nil) && a.Until == b.Until && a.Volatile == b.Volatile
}

func TestAnswersAreThoseOfThePlainInterpreter(t *testing.T) {
	ref := newPlainWorld()
	d := newDraw(t, 7)
	var denied, unclear, allowed, together, timed, volatile int
	for range 1500 {
		sets := make([]*Set, 1+d.IntN(3))
		d.joint = d.IntN(4) == 0
		for i := range sets {
			rules := make([]Rule, one(d, 0, 2, 8, 20, 40))
			if d.joint {
				rules = rules[:min(len(rules), 3+d.IntN(8))]
			}
			for k := range rules {
				rules[k] = d.rule(t)
				rules[k].Line = 1000*i + k
			}
			sets[i] = NewSet(rules)
		}
		for range 6 {
			q := d.request(ref)
			got, want := Deny(q, sets...), ref.deny(q, sets)
			if !same(got, want) {
				t.Fatalf("Deny of %+v by %+v: %v, want %v", *q, *q.Principal, answerText(got), answerText(want))
			}
			if got.Rule != nil {
				denied++
			}
			if got.Err != nil {
				unclear++
			}
			if got.Until != 0 {
				timed++
			}
			if got.Volatile {
				volatile++
			}
			got, want = Allow(q, sets...), ref.allow(q, sets)
			if !same(got, want) {
				t.Fatalf("Allow of %+v by %+v: %v, want %v", *q, *q.Principal, answerText(got), answerText(want))
			}
			if q.Action != security.Connect && (got.Rule != nil) != ref.granted(q, sets) {
				t.Fatalf("Allow of %+v by %+v: %v, but the rules together say otherwise", *q, *q.Principal, answerText(got))
			}
			if got.Rule != nil {
				allowed++
			}
			if got.More > 0 {
				together++
			}
		}
	}
	t.Logf("%d denied, %d of them since they can't be told, %d allowed, %d by several rules, %d until a moment, %d only now",
		denied, unclear, allowed, together, timed, volatile)
	if denied < 500 || unclear < 100 || allowed < 500 || together < 200 || timed < 100 || volatile < 50 {
		t.Error("the cases have become too plain")
	}
}

func answerText(a Answer) string {
	if a.Rule == nil {
		return "no rule"
	}
	s := a.Rule.Topic.Text()
	if a.Err != nil {
		s += " (" + a.Err.Error() + ")"
	}
	return s
}

func TestARefusedPrincipalIsOneWhomADenyCannotBeToldFor(t *testing.T) {
	ref := newPlainWorld()
	d := newDraw(t, 9)
	refused := 0
	for range 3000 {
		rules := make([]Rule, 1+d.IntN(12))
		want := false
		q := d.request(ref)
		for k := range rules {
			rules[k] = d.rule(t)
			if rules[k].Effect == security.Deny && rules[k].Actions != Connect {
				_, bad := refFilters(&rules[k], q.Principal)
				want = want || bad
			}
		}
		err := Admit(q.Principal, NewSet(rules))
		if (err != nil) != want {
			t.Fatalf("Admit of %+v = %v, want an error: %v", *q.Principal, err, want)
		}
		if err != nil {
			refused++
		}
	}
	if refused < 300 || refused > 2700 {
		t.Errorf("%d of 3000 were refused; the test has lost its point", refused)
	}
}

// TestAScopeHoldsForAllThatBeginsSo asks for names that begin as another one does,
// about which an answer has said that they have the same.
func TestAScopeHoldsForAllThatBeginsSo(t *testing.T) {
	ref := newPlainWorld()
	d := newDraw(t, 11)
	words := []string{"a", "b", "", "$s", "pa", "x", "other"}
	narrow, asked, decided := 0, 0, 0
	for range 3000 {
		rules := make([]Rule, 1+d.IntN(20))
		for k := range rules {
			rules[k] = d.rule(t)
			rules[k].Line = k
		}
		set, q := NewSet(rules), d.request(ref)
		if q.Action != security.Publish && q.Action != security.Receive {
			continue
		}
		q.Topic = strings.Join([]string{one(d, words...) + "y", one(d, words...), one(d, words...), "z"}, "/")
		if d.IntN(3) > 0 {
			q.Topic = strings.Join([]string{one(d, "a", "b", "$s"), one(d, words...), one(d, words...), "z"}, "/")
		}
		for _, answer := range []func(*security.Request, ...*Set) Answer{Deny, Allow} {
			first := answer(q, set)
			levels := strings.Split(q.Topic, "/")
			if first.Scope() == 0 || first.Scope() >= len(levels) {
				narrow++
				continue
			}
			for range 8 {
				other := *q
				name := slices.Clone(levels[:first.Scope()])
				for range 1 + d.IntN(4) {
					name = append(name, one(d, words...))
				}
				other.Topic = strings.Join(name, "/")
				asked++
				got := answer(&other, set)
				if got.Rule != nil {
					decided++
				}
				if !same(got, first) {
					t.Fatalf("%v of %q: %v, for %d levels; of %q: %v", q.Action, q.Topic, answerText(first), first.Scope(), other.Topic, answerText(got))
				}
			}
		}
	}
	t.Logf("%d answers for one name alone, %d names that shared one, %d of them decided", narrow, asked, decided)
	if narrow < 100 || asked < 3000 || decided < 500 {
		t.Error("the cases have become too plain")
	}
}
