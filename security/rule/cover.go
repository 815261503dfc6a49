package rule

import (
	"sallyport/security"
	"sallyport/topic"
)

const (
	stackParts  = 32 // rules that cover a part of a filter
	stackDepths = 32 // depths of a filter
)

// cover answers a subscription: by the first allow rule that covers its filter,
// else by all rules that fit together.
//
// Several rules cover a filter where each of its depths is covered by one of
// them; see package topic.
func cover(q *security.Request, sets []*Set) Answer {
	var (
		a       = Answer{levels: exactly}
		buf     [stackParts]*Rule
		parts   = buf[:0]
		_, open = topic.Depths(q.Topic)
	)
	for _, s := range sets {
		if s == nil || s.allows == nil {
			continue
		}
		var hits [stackHits]uint32
		candidates, _ := s.allows.candidates(q, s.rules, hits[:0])
		for _, i := range candidates {
			r := &s.rules[i]
			if !r.speaks(q, Subscribe) {
				continue
			}
			// An allow that can't be told allows nothing.
			if hit, _ := r.hits(q); !hit {
				if open { // a filter of one depth is covered by one rule or not at all
					parts = append(parts, r)
				}
				continue
			}
			if r.holds(q, &a) {
				a.Rule = r
				return a
			}
		}
	}
	if len(parts) > 0 {
		together(q, parts, &a)
	}
	return a
}

// holds reports whether the rule's conditions hold, and joins into a how long.
func (r *Rule) holds(q *security.Request, a *Answer) bool {
	if r.When == nil {
		return true
	}
	fit := r.When.Fits(q)
	a.join(fit)
	return fit.Holds
}

// together gives each depth of q's filter to the first of rules that covers it.
// If none is left over, the first of those that got one is the answer.
func together(q *security.Request, rules []*Rule, a *Answer) {
	least, _ := topic.Depths(q.Topic)
	deepest := least
	for _, r := range rules {
		// One level below the deepest rule only those that end in # take part, and
		// they do the same at every depth from there on.
		depth, _ := topic.Depths(r.Topic.Text())
		deepest = max(deepest, depth+1)
	}
	var buf [stackDepths]int32
	owners := buf[:]
	if n := deepest - least + 1; n <= len(owners) {
		owners = owners[:n]
	} else {
		owners = make([]int32, n)
	}
	left := len(owners)
	for i, r := range rules {
		got := r.take(q, least, owners, int32(i+1))
		if got == 0 {
			continue
		}
		if !r.holds(q, a) {
			for d, o := range owners {
				if o == int32(i+1) {
					owners[d] = 0
				}
			}
			continue
		}
		if a.Rule == nil {
			a.Rule = r
		} else {
			a.More++
		}
		if left -= got; left == 0 {
			return
		}
	}
	a.Rule, a.More = nil, 0
}

// take makes mark the owner of each depth, from least on, that is free and that
// the rule covers, and counts them.
func (r *Rule) take(q *security.Request, least int, owners []int32, mark int32) int {
	var (
		got = 0
		f   filters
		buf [filterBytes]byte
	)
	f.start(r, q.Principal)
	for {
		filter, ok := f.next(buf[:0])
		if !ok {
			return got
		}
		for d, owner := range owners {
			if owner == 0 && topic.CoversAt(filter, q.Topic, least+d) {
				owners[d] = mark
				got++
			}
		}
	}
}
