package rule

import (
	"strings"

	"sallyport/security"
	"sallyport/topic"
)

// Near is what the rules have to say about q, in their order. Those that are
// about other actions, or whose topic has nothing in common with that of q
// whatever their placeholders stand for, are left out and counted, as are all
// beyond the first most.
func (s *Set) Near(q *security.Request, most int) (steps []security.Step, omitted int) {
	asked := aspects(q)
	for i := range s.rules {
		r := &s.rules[i]
		if len(steps) >= most || r.Actions&asked == 0 || !r.near(q) {
			omitted++
			continue
		}
		steps = append(steps, r.Says(q))
	}
	return steps, omitted
}

// near reports whether the rule's topic has something in common with that of q.
func (r *Rule) near(q *security.Request) bool {
	if q.Action == security.Connect {
		return true
	}
	filter, plain := r.Topic.Literal()
	if !plain {
		if hit, err := r.hits(q); hit || err != nil && r.Effect == security.Deny {
			return true
		}
		filter = fitted(r.Topic, q.Topic)
	}
	if q.Action == security.Subscribe {
		return topic.Overlaps(filter, q.Topic)
	}
	return topic.Match(filter, q.Topic)
}

// fitted is the filter that a pattern would be if its placeholders stood for what
// name has in their levels.
func fitted(p topic.Pattern, name string) string {
	levels, have := strings.Split(p.Text(), "/"), strings.Split(name, "/")
	for i := range levels {
		switch {
		case !p.PlaceholderAt(i):
		case i < len(have) && have[i] != "#":
			levels[i] = have[i]
		default:
			levels[i] = "+"
		}
	}
	return strings.Join(levels, "/")
}
