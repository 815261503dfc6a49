package roles

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/security"
)

// plainRule is a permission as the reference interpreter sees it, which was
// written from docs/permissions.md.
type plainRule struct {
	deny          bool
	does          []string
	topics        []string
	qos           []int
	retain, share string
	groups        []string
	from          string
	listener      string
	tls           string
	hours         [2]int // of the day in UTC; 0, 0 is any
	when          string // one of plainConditions
}

// plainFile is a permission file: rules by the place where they stand.
type plainFile struct {
	connectDeny, sharedDeny bool
	rules                   map[string][]plainRule // everyone, user a, group g, role r, role s
	links                   map[string][]string    // user a -> group g, role r; group g -> role r
}

// plainConditions is expressions and what they mean.
var plainConditions = map[string]func(q *security.Request) bool{
	`"g" in groups`:              func(q *security.Request) bool { return slices.Contains(q.Principal.Groups, "g") },
	`qos < 2`:                    func(q *security.Request) bool { return q.QoS < 2 },
	`client_id != "a"`:           func(q *security.Request) bool { return q.Principal.ClientID != "a" },
	`levels.exists(l, l == "b")`: func(q *security.Request) bool { return slices.Contains(strings.Split(q.Topic, "/"), "b") },
}

func list[T any](name string, values []T) string {
	if len(values) == 0 {
		return ""
	}
	var words []string
	for _, v := range values {
		words = append(words, fmt.Sprintf("'%v'", v))
	}
	text := strings.Join(words, ", ")
	if len(words) > 1 {
		text = "[" + text + "]"
	}
	return fmt.Sprintf(", %s: %s", name, strings.ReplaceAll(text, "'", map[bool]string{true: "", false: "'"}[name == "qos"]))
}

func (r plainRule) yaml() string {
	effect := "allow"
	if r.deny {
		effect = "deny"
	}
	s := strings.TrimPrefix(list(effect, r.does), ", ") + list("topic", r.topics) + list("qos", r.qos) + list("group", r.groups)
	for _, one := range [][2]string{{"retain", r.retain}, {"shared", r.share}, {"from", r.from}, {"listener", r.listener}, {"tls", r.tls}, {"when", r.when}} {
		if one[1] != "" {
			s += list(one[0], []string{one[1]})
		}
	}
	if r.hours != [2]int{} {
		s += fmt.Sprintf(", time: {from: '%02d:00', to: '%02d:00'}", r.hours[0], r.hours[1])
	}
	return "{" + s + "}"
}

func (f plainFile) yaml() string {
	var b strings.Builder
	word := map[bool]string{true: "deny", false: "allow"}
	fmt.Fprintf(&b, "defaults: {connect: %s, shared: %s}\n", word[f.connectDeny], word[f.sharedDeny])
	rules := func(indent, place string) {
		for _, r := range f.rules[place] {
			fmt.Fprintf(&b, "%s- %s\n", indent, r.yaml())
		}
	}
	b.WriteString("everyone:\n")
	rules("  ", "everyone")
	for _, section := range []string{"user", "group", "role"} {
		fmt.Fprintf(&b, "%ss:\n", section)
		for _, name := range []string{"a", "g", "r", "s"} {
			place := section + " " + name
			if _, there := f.rules[place]; !there {
				continue
			}
			fmt.Fprintf(&b, "  %s:\n    permissions:\n", name)
			rules("      ", place)
			for _, kind := range []string{"group", "role"} {
				var names []string
				for _, l := range f.links[place] {
					if n, is := strings.CutPrefix(l, kind+" "); is {
						names = append(names, n)
					}
				}
				if names != nil {
					fmt.Fprintf(&b, "    %ss: [%s]\n", kind, strings.Join(names, ", "))
				}
			}
		}
	}
	return b.String()
}

// of is the rules that a principal has.
func (f plainFile) of(p *security.Principal) (out []plainRule) {
	places := []string{"everyone"}
	if p.Name != "" {
		places = append(places, "user "+p.Name)
	}
	for _, g := range p.Groups {
		places = append(places, "group "+g)
	}
	for _, r := range p.Roles {
		places = append(places, "role "+r)
	}
	for i := 0; i < len(places); i++ {
		if _, there := f.rules[places[i]]; !there {
			continue
		}
		out = append(out, f.rules[places[i]]...)
		places = append(places, f.links[places[i]]...)
	}
	return out
}

// matchPlain is MQTT's matching, by splitting.
func matchPlain(filter, name []string) bool {
	if len(filter) > 0 && (filter[0] == "+" || filter[0] == "#") && len(name) > 0 && strings.HasPrefix(name[0], "$") {
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

// names is every name of up to five levels over a small alphabet; z stands for
// whatever no rule mentions.
var names = func() [][]string {
	var all, last [][]string
	for _, first := range []string{"a", "b", "z", "$s"} {
		last = append(last, []string{first})
	}
	for range 4 {
		all = append(all, last...)
		var next [][]string
		for _, n := range last {
			for _, l := range []string{"a", "b", "z"} {
				next = append(next, append(slices.Clone(n), l))
			}
		}
		last = next
	}
	return all
}()

// expandPlain is the filters of a topic; unfit says that one of its values can't
// stand in a level.
func expandPlain(topic string, p *security.Principal) (filters [][]string, unfit bool) {
	put := func(name string, values ...string) {
		for _, v := range values {
			if v == "" || strings.ContainsAny(v, "/+#") || strings.HasPrefix(v, "$") && strings.HasPrefix(topic, name) {
				unfit = true
				continue
			}
			filters = append(filters, strings.Split(strings.ReplaceAll(topic, name, v), "/"))
		}
	}
	switch {
	case strings.Contains(topic, "${clientid}"):
		put("${clientid}", p.ClientID)
	case strings.Contains(topic, "${username}"):
		put("${username}", p.Name)
	case strings.Contains(topic, "${groups}"):
		put("${groups}", p.Groups...)
	default:
		put("none", "none")
	}
	return filters, unfit
}

func fitsPlain(cond string, is bool) bool {
	return cond == "" || cond == "allowed" || cond == "required" && is || cond == "forbidden" && !is
}

// aboutPlain reports whether one of the rule's actions is what q asks.
func (r plainRule) aboutPlain(q *security.Request) bool {
	for _, word := range r.does {
		switch word {
		case "publish":
			if q.Action == security.Publish {
				return true
			}
		case "subscribe":
			if q.Action == security.Subscribe || q.Action == security.Receive {
				return true
			}
		case "both", "all":
			if q.Action != security.Connect {
				return true
			}
		case "receive":
			if q.Action == security.Receive {
				return true
			}
		case "retain":
			if q.Action == security.Publish && q.Retain {
				return true
			}
		case "will":
			if q.Action == security.Publish && q.Will {
				return true
			}
		case "connect":
			if q.Action == security.Connect {
				return true
			}
		}
	}
	return false
}

// fits reports whether everything but the topic of the rule fits q.
func (r plainRule) fits(q *security.Request, sharedDeny bool) bool {
	p := q.Principal
	if !r.aboutPlain(q) || !fitsPlain(r.tls, p.Secure) || r.listener != "" && r.listener != p.Listener ||
		r.from != "" && !strings.HasPrefix(p.Addr.Addr().String(), strings.TrimSuffix(r.from, "0/24")) {
		return false
	}
	hour := time.Unix(0, q.At).UTC().Hour()
	if r.hours != [2]int{} && (hour < r.hours[0] || hour >= r.hours[1]) {
		return false
	}
	if r.when != "" && !plainConditions[r.when](q) {
		return false
	}
	if q.Action == security.Connect {
		return true
	}
	level := int(q.QoS)
	switch {
	case r.qos == nil:
	case q.Action == security.Receive && !r.deny && r.aboutPlain(&security.Request{Action: security.Subscribe}):
		// A subscription at a higher QoS brings lower messages.
		if slices.Max(r.qos) < level {
			return false
		}
	case !slices.Contains(r.qos, level):
		return false
	}
	if q.Action == security.Publish {
		return fitsPlain(r.retain, q.Retain)
	}
	share := r.share
	named := len(r.groups) > 0 && !slices.Contains(r.groups, "#")
	switch {
	case share == "" && named:
		share = "required"
	case share == "" && len(r.groups) == 0 && sharedDeny && !r.deny:
		share = "forbidden"
	}
	return fitsPlain(share, q.Shared) && (!q.Shared || !named || slices.Contains(r.groups, q.Group))
}

// decidePlain judges one request by looking at every rule and every name.
func decidePlain(f plainFile, q *security.Request) security.Effect {
	rules := f.of(q.Principal)
	if q.Action == security.Connect {
		answer := security.Silent
		for _, r := range rules {
			switch {
			case !r.fits(q, f.sharedDeny):
			case r.deny:
				return security.Deny
			default:
				answer = security.Allow
			}
		}
		return answer
	}
	matched := func(filter []string) (out []string) {
		for _, n := range names {
			if matchPlain(filter, n) {
				out = append(out, strings.Join(n, "/"))
			}
		}
		return out
	}
	asked := matched(strings.Split(q.Topic, "/"))
	granted := map[string]bool{}
	for _, r := range rules {
		if !r.fits(q, f.sharedDeny) {
			continue
		}
		for _, t := range r.topics {
			filters, unfit := expandPlain(t, q.Principal)
			if unfit && r.deny {
				return security.Deny
			}
			for _, filter := range filters {
				hit := map[string]bool{}
				for _, n := range matched(filter) {
					hit[n] = true
				}
				all := true
				for _, n := range asked {
					all = all && hit[n]
					granted[n] = granted[n] || !r.deny && hit[n]
				}
				if all && r.deny {
					return security.Deny
				}
			}
		}
	}
	for _, n := range asked {
		if !granted[n] {
			return security.Silent
		}
	}
	return security.Allow
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func randomTopic(r *rand.Rand, levels ...string) string {
	var out []string
	for range 1 + r.IntN(3) {
		out = append(out, pick(r, levels...))
	}
	if r.IntN(3) == 0 {
		out = append(out, "#")
	}
	if r.IntN(12) == 0 {
		out[0] = "$s"
	}
	return strings.Join(out, "/")
}

func randomRule(r *rand.Rand) plainRule {
	p := plainRule{deny: r.IntN(4) == 0, does: pick(r, []string{"publish"}, []string{"subscribe"}, []string{"both"}, []string{"all"},
		[]string{"receive"}, []string{"retain", "subscribe"}, []string{"will", "receive"}, []string{"connect"}, []string{"connect", "publish"})}
	subscribes := slices.ContainsFunc(p.does, func(w string) bool { return slices.Contains([]string{"subscribe", "receive", "both", "all"}, w) })
	publishes := slices.ContainsFunc(p.does, func(w string) bool {
		return slices.Contains([]string{"publish", "retain", "will", "both", "all"}, w)
	})
	if subscribes || publishes {
		for range 1 + r.IntN(2) {
			levels := []string{"a", "b", "+", "+"}
			if r.IntN(4) == 0 {
				levels = append(levels[:2], pick(r, "${clientid}", "${groups}", "${username}"))
			}
			p.topics = append(p.topics, randomTopic(r, levels...))
		}
		if r.IntN(3) == 0 {
			p.qos = pick(r, []int{0}, []int{1}, []int{0, 2}, []int{1, 2})
		}
	}
	if publishes && p.does[0] != "retain" && r.IntN(4) == 0 {
		p.retain = pick(r, "allowed", "required", "forbidden")
	}
	if subscribes && r.IntN(3) == 0 {
		p.share = pick(r, "", "allowed", "required", "forbidden")
		if p.share != "forbidden" {
			p.groups = pick(r, nil, []string{"#"}, []string{"g"}, []string{"g", "h"})
		}
	}
	switch r.IntN(12) {
	case 0:
		p.from = pick(r, "192.0.2.0/24", "198.51.100.0/24")
	case 1:
		p.listener = pick(r, "x", "y")
	case 2:
		p.tls = pick(r, "required", "forbidden", "allowed")
	case 3:
		p.hours = pick(r, [2]int{8, 18}, [2]int{0, 12})
	case 4:
		p.when = pick(r, `"g" in groups`, `qos < 2`, `client_id != "a"`, `levels.exists(l, l == "b")`)
		if slices.Contains(p.does, "connect") {
			p.when = `"g" in groups` // a connection has neither topic nor QoS
		}
	}
	return p
}

func randomFile(r *rand.Rand) plainFile {
	f := plainFile{connectDeny: r.IntN(2) == 0, sharedDeny: r.IntN(4) == 0, rules: map[string][]plainRule{}, links: map[string][]string{}}
	for _, place := range []string{"everyone", "user a", "group g", "role r", "role s"} {
		f.rules[place] = []plainRule{randomRule(r)}
		for range r.IntN(3) {
			f.rules[place] = append(f.rules[place], randomRule(r))
		}
	}
	f.links["user a"] = pick(r, nil, []string{"group g"}, []string{"role r", "group g"})
	f.links["group g"] = pick(r, nil, []string{"role s"})
	return f
}

func randomRequest(r *rand.Rand) *security.Request {
	q := as(pick(r, pub, pub, sub, sub, rcv, rcv, con), "")
	p := q.Principal
	p.Name = pick(r, "a", "a", "z", "")
	p.ClientID = pick(r, "a", "b", "q", "q", "x/y")
	p.Groups = pick(r, nil, []string{"g"}, []string{"a", "b"}, []string{"h", "a", "g"})
	p.Roles = pick(r, nil, nil, []string{"r"}, []string{"s", "unknown"})
	p.Secure, p.Listener = r.IntN(2) == 0, pick(r, "x", "y")
	p.Addr = netip.AddrPortFrom(netip.MustParseAddr(pick(r, "192.0.2.1", "198.51.100.1")), 1)
	q.At = time.Date(2026, 11, 23, r.IntN(24), r.IntN(60), 0, 0, time.UTC).UnixNano()
	if q.Action == con {
		return q
	}
	q.QoS = byte(r.IntN(3))
	if q.Action != pub && r.IntN(2) == 0 {
		q.Shared, q.Group = true, pick(r, "g", "h", "i")
	}
	if q.Action == sub {
		q.Topic = randomTopic(r, "a", "b", "+")
		return q
	}
	q.Topic = strings.Join(names[r.IntN(len(names))], "/")
	q.Retain, q.Will = r.IntN(2) == 0, q.Action == pub && r.IntN(4) == 0
	return q
}

// TestDecideAgreesWithAPlainInterpreter compares the compiled form with one
// that looks at every rule and every name.
func TestDecideAgreesWithAPlainInterpreter(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	seen := map[security.Effect]int{}
	for range 150 {
		f := randomFile(r)
		text := f.yaml()
		p := parse(t, text)
		if p.NeedsConnect() != f.connectDeny {
			t.Fatalf("NeedsConnect = %t, with\n%s", p.NeedsConnect(), text)
		}
		for range 20 {
			q := randomRequest(r)
			got, want := p.Decide(q), decidePlain(f, q)
			seen[want]++
			if got.Effect != want {
				t.Fatalf("Decide(%+v of %+v) = %+v, want %v, with\n%s", q, q.Principal, got, want, text)
			}
			if x := p.Explain(q); x.Verdict != got {
				t.Fatalf("Explain(%+v of %+v) = %+v, Decide %+v", q, q.Principal, x.Verdict, got)
			}
		}
	}
	for _, e := range []security.Effect{security.Silent, security.Allow, security.Deny} {
		if seen[e] < 200 {
			t.Errorf("only %d cases of %v: the comparison shows little", seen[e], e)
		}
	}
}
