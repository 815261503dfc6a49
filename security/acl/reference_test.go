package acl

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"sallyport/security"
)

// plainEntry is a line as the reference interpreter sees it.
type plainEntry struct {
	line                 int
	user, access, filter string
	pattern              bool
}

// plainFile is an acl_file as the reference interpreter sees it: judged line by
// line, by trying out names.
type plainFile struct {
	entries []plainEntry
	names   [][]string // all names that matter, by level
}

// readPlain reads lines of one form: word, access, filter, one blank between.
func readPlain(text string, names [][]string) plainFile {
	f := plainFile{names: names}
	user := ""
	for n, line := range strings.Split(text, "\n") {
		words := strings.Fields(line)
		switch {
		case len(words) == 2 && words[0] == "user":
			user = words[1]
		case len(words) == 2:
			f.entries = append(f.entries, plainEntry{n + 1, user, "readwrite", words[1], words[0] == "pattern"})
		case len(words) == 3:
			f.entries = append(f.entries, plainEntry{n + 1, user, words[1], words[2], words[0] == "pattern"})
		}
	}
	return f
}

// filterOf is the filter of an entry for a client, by level. told is false where
// a value is no level of a filter.
func (e plainEntry) filterOf(p *security.Principal) (levels []string, told bool) {
	levels, told = strings.Split(e.filter, "/"), true
	if !e.pattern {
		return levels, true
	}
	for i, level := range levels {
		value := map[string]string{"%c": p.ClientID, "%u": p.Name}
		v, is := value[level]
		if !is {
			continue
		}
		levels[i] = v
		if v == "" || strings.ContainsAny(v, "/+#") || i == 0 && strings.HasPrefix(v, "$") {
			told = false
		}
	}
	return levels, told
}

// concerns reports whether the entry is asked at a stage.
func (e plainEntry) concerns(q *security.Request, pattern, deny bool) bool {
	need := "read"
	if q.Action == pub {
		need = "write"
	}
	switch {
	case e.pattern != pattern, !pattern && e.user != q.Principal.Name, (e.access == "deny") != deny:
		return false
	case pattern && strings.Contains("/"+e.filter+"/", "/%u/") && q.Principal.Name == "":
		return false
	}
	return deny || strings.Contains(e.access, need)
}

// decide is Mosquitto's loop over the lines, told the slow way, and the line
// that decides: 0 where several do, or none.
func (f plainFile) decide(q *security.Request) (security.Effect, int) {
	patterns := false
	for _, e := range f.entries {
		patterns = patterns || e.pattern
	}
	asked := [][]string{strings.Split(q.Topic, "/")}
	if q.Action == sub {
		filter := asked[0]
		asked = nil
		for _, name := range f.names {
			if matchPlain(filter, name) {
				asked = append(asked, name)
			}
		}
	}
	var together [][]string // filters of grants so far
	for _, stage := range []struct{ pattern, deny bool }{{false, true}, {false, false}, {true, true}, {true, false}} {
		if stage.pattern && stage.deny && patterns && strings.ContainsAny(q.Principal.ClientID+q.Principal.Name, "+#") {
			return security.Deny, 0
		}
		for _, e := range f.entries {
			if !e.concerns(q, stage.pattern, stage.deny) {
				continue
			}
			filter, told := e.filterOf(q.Principal)
			switch {
			case stage.deny && (!told || matchesAll(asked, filter)):
				return security.Deny, e.line
			case !stage.deny && told && matchesAll(asked, filter):
				return security.Allow, e.line
			case !stage.deny && told:
				together = append(together, filter)
			}
		}
		if !stage.deny && len(together) > 0 && matchesAll(asked, together...) {
			return security.Allow, 0
		}
	}
	return security.Silent, 0
}

// matchesAll reports whether each name is matched by one of the filters.
func matchesAll(names [][]string, filters ...[]string) bool {
	for _, name := range names {
		matched := false
		for _, f := range filters {
			matched = matched || matchPlain(f, name)
		}
		if !matched {
			return false
		}
	}
	return true
}

func matchPlain(filter, name []string) bool {
	if strings.HasPrefix(name[0], "$") && !strings.HasPrefix(filter[0], "$") {
		return false
	}
	for i, level := range filter {
		if level == "#" {
			return true
		}
		if i >= len(name) || level != "+" && level != name[i] {
			return false
		}
	}
	return len(filter) == len(name)
}

// dice makes files and requests over a few words.
type dice struct{ *rand.Rand }

func (d dice) pick(from ...string) string { return from[d.IntN(len(from))] }

func (d dice) topic(levels ...string) string {
	out := d.pick(levels...)
	for range d.IntN(3) {
		out += "/" + d.pick(levels...)
	}
	return out
}

func (d dice) file() string {
	var text strings.Builder
	for range 1 + d.IntN(10) {
		if d.IntN(4) == 0 {
			text.WriteString("user " + d.pick("u", "v", "w+") + "\n")
		}
		word, filter := "topic", d.topic("a", "b", "+")
		if d.IntN(3) == 0 {
			word, filter = "pattern", d.topic("a", "%c", "%u", "+")
		}
		if d.IntN(4) == 0 {
			filter += "/#"
		}
		if d.IntN(10) == 0 {
			filter = "$x/" + filter
		}
		access := d.pick("read ", "write ", "readwrite ", "deny ", "")
		fmt.Fprintf(&text, "%s %s%s\n", word, access, filter)
	}
	return text.String()
}

func (d dice) request() *security.Request {
	q := ask(rcv, d.topic("a", "b", "c", "u", "z"), d.pick("", "u", "v", "w+", "x/y"), d.pick("c", "a", "c", "#", "a/b", ""))
	switch d.IntN(3) {
	case 0:
		q.Action = pub
	case 1:
		q.Action, q.Topic = sub, d.topic("a", "b", "+", "c")
		if d.IntN(2) == 0 {
			q.Topic += "/#"
		}
	}
	if d.IntN(8) == 0 {
		q.Topic = "$x/" + q.Topic
	}
	return q
}

// names is every name of up to five levels (one more than any filter has, and
// one for #) of the words, one that stands for all others among them.
func names() (out [][]string) {
	words := []string{"a", "b", "c", "u", "other"}
	last := [][]string{{"$x"}, {"$other"}}
	for _, w := range words {
		last = append(last, []string{w})
	}
	for range 5 {
		out = append(out, last...)
		var next [][]string
		for _, n := range last {
			for _, w := range words {
				next = append(next, append(slices.Clip(n), w))
			}
		}
		last = next
	}
	return out
}

// TestDecideAgreesWithAPlainInterpreter compares the compiled form with
// Mosquitto's order of evaluation over random files: the answer, and the line.
func TestDecideAgreesWithAPlainInterpreter(t *testing.T) {
	d := dice{rand.New(rand.NewPCG(3, 4))}
	all := names()
	seen := map[string]int{}
	for range 300 {
		text := d.file()
		plain, p := readPlain(text, all), parse(t, text, strict)
		for range 30 {
			q := d.request()
			got := p.Decide(q)
			want, line := plain.decide(q)
			seen[fmt.Sprint(q.Action, want)]++
			if got.Effect != want || line != 0 && got.Line != line {
				t.Fatalf("Decide(%v %q of user %q, client %q) = %+v, want %v of line %d, with\n%s",
					q.Action, q.Topic, q.Principal.Name, q.Principal.ClientID, got, want, line, text)
			}
			if x := p.Explain(q); x.Verdict != got {
				t.Fatalf("Explain(%v %q) gives %+v, Decide %+v", q.Action, q.Topic, x.Verdict, got)
			}
		}
	}
	for _, action := range []security.Action{pub, sub, rcv} {
		for _, e := range []security.Effect{security.Silent, security.Allow, security.Deny} {
			if n := seen[fmt.Sprint(action, e)]; n < 100 {
				t.Errorf("only %d cases of %v to %v: the comparison shows little", n, e, action)
			}
		}
	}
}

// TestAdviceTurnsTheAnswer applies what Explain advises to random files.
func TestAdviceTurnsTheAnswer(t *testing.T) {
	d := dice{rand.New(rand.NewPCG(5, 6))}
	applied := 0
	for range 300 {
		text := d.file()
		p := parse(t, text, strict)
		for range 20 {
			q := d.request()
			x := p.Explain(q)
			if len(x.Opposite) == 0 {
				t.Fatalf("no advice for %v %q of user %q, client %q: %+v, with\n%s",
					q.Action, q.Topic, q.Principal.Name, q.Principal.ClientID, x.Verdict, text)
			}
			for _, advice := range x.Opposite {
				applied++
				changed, err := Parse(Options{Path: "acl", Strict: true, AllowEmpty: true}, []byte(follow(t, text, advice)))
				if err != nil {
					t.Fatalf("%q: %v, with\n%s", advice, err, text)
				}
				if v := changed.Decide(q); v.Allowed() == x.Verdict.Allowed() {
					t.Fatalf("%q does not turn %+v of %v %q of user %q, client %q: %+v, with\n%s", advice, x.Verdict,
						q.Action, q.Topic, q.Principal.Name, q.Principal.ClientID, v, text)
				}
			}
		}
	}
	if applied < 6000 {
		t.Errorf("only %d pieces of advice were tried", applied)
	}
}

func TestWhatMayBeWrittenOfDollarHasNoNeighbours(t *testing.T) {
	p := parse(t, "topic readwrite $SYS/#\ntopic readwrite a/#\n")
	for _, c := range []struct {
		action security.Action
		topic  string
		want   int
	}{{pub, "$SYS/broker/connection/x/state", 0}, {pub, "$SYS/x/y", 0}, {pub, "a/b/c", 1}, {rcv, "a/b/c", 1}, {rcv, "b/b/c", 1}} {
		q := ask(c.action, c.topic, "", "c")
		if v := p.Decide(q); v.Scope != c.want {
			t.Errorf("%v %s: scope %d of %+v, want %d", c.action, c.topic, v.Scope, v, c.want)
		}
	}
}

// TestManyTopicsAreAnsweredAsByTheGate goes through more topics than an Access
// remembers one by one, so that it answers by what holds for many.
func TestManyTopicsAreAnsweredAsByTheGate(t *testing.T) {
	d := dice{rand.New(rand.NewPCG(7, 8))}
	words := []string{"a", "b", "c", "u", "other", "more", "x1", "x2", "x3"}
	seen := map[bool]int{}
	for range 150 {
		text := d.file() + d.pick("", "topic readwrite a/#\n", "pattern readwrite %c/#\n", "topic readwrite $SYS/#\n")
		who := d.request().Principal
		who.Listener = "l"
		g := security.NewGate(&security.Ruleset{ByListener: map[string][]security.Policy{"l": {parse(t, text)}}})
		from, to := security.NewAccess(g, who), security.NewAccess(g, who)
		for range 300 {
			name := d.pick("", "", "", "", "$x/", "$SYS/", "$SYS/broker/connection/", "$share/") + d.pick(words...)
			for range d.IntN(4) {
				name += "/" + d.pick(words...)
			}
			if d.IntN(10) == 0 {
				name += "/state"
			}
			_, got := from.Publish(name, nil, 0, false, nil)
			if _, want := g.Publish(security.Request{Principal: who, Topic: name}); got.Allowed() != want.Allowed() {
				t.Fatalf("publish %q by user %q, client %q: %v, want %+v, with\n%s", name, who.Name, who.ClientID, got.Effect, want, text)
			}
			r := to.Receive(name, nil, "", 0, false, nil)
			if _, want := g.Receive(security.Request{Principal: who, Topic: name}); r.Granted() != want.Allowed() {
				t.Fatalf("receive %q by user %q, client %q: %t, want %+v, with\n%s", name, who.Name, who.ClientID, r.Granted(), want, text)
			}
			seen[got.Allowed()]++
			seen[r.Granted()]++
		}
	}
	if seen[true] < 3000 || seen[false] < 3000 {
		t.Errorf("%d allowed, %d refused: the comparison shows little", seen[true], seen[false])
	}
}
