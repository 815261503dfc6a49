package roles

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"sallyport/security"
)

// plainRule is a permission as the reference interpreter sees it.
type plainRule struct {
	deny          bool
	does          string
	topic         string
	qos           []int
	retain, share string
	group         string
}

func (r plainRule) yaml() string {
	verb := "allow"
	if r.deny {
		verb = "deny"
	}
	s := fmt.Sprintf("  - {%s: %s, topic: '%s'", verb, r.does, r.topic)
	if r.qos != nil {
		s += fmt.Sprintf(", qos: [%s]", strings.Trim(strings.ReplaceAll(fmt.Sprint(r.qos), " ", ", "), "[]"))
	}
	if r.retain != "" {
		s += ", retain: " + r.retain
	}
	if r.share != "" {
		s += ", shared: " + r.share
	}
	if r.group != "" {
		s += fmt.Sprintf(", group: '%s'", r.group)
	}
	return s + "}\n"
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

// names is every name of up to four levels over a small alphabet; z stands for
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

func expandPlain(topic string, p *security.Principal) []string {
	return strings.Split(strings.ReplaceAll(topic, "${clientid}", p.ClientID), "/")
}

func fitsPlain(cond string, is bool) bool {
	return cond == "" || cond == "allowed" || cond == "required" && is || cond == "forbidden" && !is
}

// decidePlain judges one request by looking at every rule and every name.
func decidePlain(rules []plainRule, q *security.Request) security.Effect {
	matched := func(r plainRule) [][]string {
		var out [][]string
		for _, n := range names {
			if matchPlain(expandPlain(r.topic, q.Principal), n) {
				out = append(out, n)
			}
		}
		return out
	}
	asked := matched(plainRule{topic: q.Topic})
	var granted [][]string
	for _, deny := range []bool{true, false} {
		for _, r := range rules {
			if r.deny != deny || r.does != "both" && (r.does == "publish") != (q.Action == security.Publish) {
				continue
			}
			share := r.share
			if r.group != "" && r.group != "#" && share == "" {
				share = "required"
			}
			aboutSharing := share == "required" || share == "forbidden" || r.group != "" && r.group != "#"
			hasQoS := r.qos == nil || slices.Contains(r.qos, int(q.QoS))
			switch q.Action {
			case security.Publish:
				if !hasQoS || !fitsPlain(r.retain, q.Retain) {
					continue
				}
			case security.Subscribe:
				if !hasQoS || !fitsPlain(share, q.Shared) || q.Shared && r.group != "" && r.group != "#" && r.group != q.Group {
					continue
				}
			case security.Receive:
				if deny && (!hasQoS || aboutSharing) || !deny && r.qos != nil && slices.Max(r.qos) < int(q.QoS) {
					continue
				}
			}
			hit := matched(r)
			common := 0
			for _, n := range asked {
				if slices.ContainsFunc(hit, func(h []string) bool { return slices.Equal(h, n) }) {
					common++
					granted = append(granted, n)
				}
			}
			all := common == len(asked)
			switch {
			case deny && (all || q.Action == security.Subscribe && aboutSharing && common > 0):
				return security.Deny
			case !deny && all:
				return security.Allow
			}
		}
		if deny {
			granted = nil
		}
	}
	for _, n := range asked {
		if !slices.ContainsFunc(granted, func(g []string) bool { return slices.Equal(g, n) }) {
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
	p := plainRule{
		deny:  r.IntN(4) == 0,
		does:  pick(r, "publish", "subscribe", "both"),
		topic: randomTopic(r, "a", "b", "+", "${clientid}"),
	}
	if r.IntN(3) == 0 {
		p.qos = pick(r, []int{0}, []int{1}, []int{0, 2}, []int{1, 2})
	}
	if p.does != "subscribe" && r.IntN(4) == 0 {
		p.retain = pick(r, "allowed", "required", "forbidden")
	}
	if p.does != "publish" && r.IntN(3) == 0 {
		p.share = pick(r, "", "allowed", "required", "forbidden")
		if p.share != "forbidden" {
			p.group = pick(r, "", "#", "g", "h")
		}
	}
	return p
}

// TestDecideAgreesWithAPlainInterpreter compares the compiled form with one
// that looks at every rule and every name.
func TestDecideAgreesWithAPlainInterpreter(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	seen := map[security.Effect]int{}
	for range 300 {
		var rules []plainRule
		text := "everyone:\n"
		for range 1 + r.IntN(6) {
			rule := randomRule(r)
			rules = append(rules, rule)
			text += rule.yaml()
		}
		p := parse(t, text)
		for range 20 {
			q := as(pick(r, pub, sub, rcv), "")
			q.Principal.ClientID = pick(r, "a", "b", "q")
			q.QoS = byte(r.IntN(3))
			if q.Action == sub {
				q.Topic = randomTopic(r, "a", "b", "+")
				if r.IntN(2) == 0 {
					q.Shared, q.Group = true, pick(r, "g", "h")
				}
			} else {
				q.Topic = strings.Join(names[r.IntN(len(names))], "/")
				q.Retain = r.IntN(2) == 0
			}
			got, want := p.Decide(q), decidePlain(rules, q)
			seen[want]++
			if got.Effect != want {
				t.Fatalf("Decide(%v %q qos %d retain %t shared %t %q of client %q) = %+v, want %v, with\n%s",
					q.Action, q.Topic, q.QoS, q.Retain, q.Shared, q.Group, q.Principal.ClientID, got, want, text)
			}
		}
	}
	for _, e := range []security.Effect{security.Silent, security.Allow, security.Deny} {
		if seen[e] < 100 {
			t.Errorf("only %d cases of %v: the comparison shows little", seen[e], e)
		}
	}
}
