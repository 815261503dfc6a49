package rule

import (
	"hash/maphash"
	"slices"
	"strings"

	"sallyport/security"
	"sallyport/topic"
)

// index finds the rules of one effect that may take in a topic: all that do, and
// some that don't. Whether one does is for package topic to say, rule by rule; so
// the index may be coarse: a level that holds a placeholder is any level, unless
// it is the client id or the user name and nothing else, and levels are told apart
// by their hashes alone.
//
// It is a trie over levels. A node is a beginning of filters; what hangs on it is
// the filters that end there, those that go on with # only, and the ways down: to
// what follows a +, the client id, the user name, another level with a placeholder,
// and each literal level. The literal ways of all nodes are in one hash table.
type index struct {
	order    []uint32 // positions of the rules in their set, ascending
	connects []uint32 // those that speak about connecting
	open     []uint32 // those of denies whose topic is not plain text
	demands  []demand // what open asks of a principal
	pairs    bool     // some of open have more than one placeholder

	// Nil where there are so few rules that all are candidates.
	nodes []node
	next  []uint32 // by place in order: 1 + the place of the next rule that hangs on the same node; 0: none
	edges []edge   // a hash table with open addressing, whose length is a power of two
	used  int
	seed  maphash.Seed
}

// node holds 1 + the place in order of a first rule, and other nodes; 0 is none.
type node struct {
	here, rest   uint32 // filters that end here; this filter and "/#"
	plus, hole   uint32 // what follows + and a level with a placeholder
	client, user uint32 // what follows a level that is one of these alone
	goesOn       bool   // there is something that follows
}

// edge is a literal level from a parent to a child; child is 0 where there is none.
type edge struct {
	parent, hash, child uint32
}

// demand is what denies need to know of a principal.
type demand struct {
	name      string
	leading   bool // the value begins a filter
	mandatory bool // its absence is an error
}

// indexFrom is the number of rules from which on they are indexed.
const indexFrom = 4

// newIndex indexes the rules with the given effect; nil if there are none.
func newIndex(rules []Rule, effect security.Effect) *index {
	count := 0
	for i := range rules {
		if rules[i].Effect == effect {
			count++
		}
	}
	if count == 0 {
		return nil
	}
	x := &index{order: make([]uint32, 0, count)}
	for i := range rules {
		if r := &rules[i]; r.Effect == effect {
			x.order = append(x.order, uint32(i))
			if r.Actions&Connect != 0 {
				x.connects = append(x.connects, uint32(i))
			}
			if effect == security.Deny {
				x.demand(r, uint32(i))
			}
		}
	}
	if count < indexFrom {
		return x
	}
	x.seed = maphash.MakeSeed()
	x.nodes = make([]node, 1, count+1)
	x.next = make([]uint32, count)
	x.edges = make([]edge, 8)
	for place := count - 1; place >= 0; place-- { // backwards: each list is then ascending
		x.add(rules[x.order[place]].Topic, place)
	}
	x.nodes = slices.Clone(x.nodes)
	return x
}

// looks is how many of a name's first levels decide whether the pattern takes in
// it and all names that begin so and go on.
func looks(p topic.Pattern, name string) int {
	filter, more := p.Text(), true
	for level := 0; ; level++ {
		var want, have string
		want, filter, more = strings.Cut(filter, "/")
		if want == "#" && !more {
			return level
		}
		var goesOn bool
		have, name, goesOn = strings.Cut(name, "/")
		switch {
		case !goesOn:
			return exactly
		case want != have && want != "+" && !p.PlaceholderAt(level), !more:
			return level + 1
		}
	}
}

// demand notes what a deny rule asks of a principal.
func (x *index) demand(r *Rule, i uint32) {
	if _, plain := r.Topic.Literal(); plain || r.Actions == Connect {
		return
	}
	x.open = append(x.open, i)
	names := r.Topic.Names()
	x.pairs = x.pairs || len(names) > 1
	for _, name := range names {
		k := slices.IndexFunc(x.demands, func(d demand) bool { return d.name == name })
		if k < 0 {
			k = len(x.demands)
			x.demands = append(x.demands, demand{name: name})
		}
		d := &x.demands[k]
		d.leading = d.leading || r.Topic.Leading() == name
		d.mandatory = d.mandatory || !r.Optional
	}
	if len(names) == 0 { // no topic at all, which nothing can be said about
		x.demands = append(x.demands, demand{mandatory: true})
	}
}

// doubts reports whether a deny may be one that can't be told for p.
func (x *index) doubts(p *security.Principal) bool {
	lists := 0
	for i := range x.demands {
		d := &x.demands[i]
		one, several, ok := lookup(p, d.name)
		switch {
		case !ok:
			if d.mandatory {
				return true
			}
		case several == nil:
			if topic.CheckValue(one, d.leading) != 0 {
				return true
			}
		default:
			if len(several) > 1 {
				lists++
			}
			for _, v := range several {
				if topic.CheckValue(v, d.leading) != 0 {
					return true
				}
			}
		}
	}
	return x.pairs && lists > 1
}

// add hangs the rule at a place in order on the node of its pattern.
func (x *index) add(p topic.Pattern, place int) {
	if p.Text() == "" {
		return // it is about connecting, or among open
	}
	n := uint32(0)
	level := 0
	for rest, more := p.Text(), true; more; level++ {
		var word string
		word, rest, more = strings.Cut(rest, "/")
		switch {
		case p.PlaceholderAt(level):
			n = x.down(n, hole(word))
		case word == "+":
			n = x.down(n, func(nd *node) *uint32 { return &nd.plus })
		case word == "#" && !more:
			x.next[place], x.nodes[n].rest = x.nodes[n].rest, uint32(place+1)
			return
		default:
			n = x.grow(n, word)
		}
	}
	x.next[place], x.nodes[n].here = x.nodes[n].here, uint32(place+1)
}

// hole is the way of a level with a placeholder.
func hole(level string) func(*node) *uint32 {
	switch level {
	case "${clientid}", "${{clientid}}", "${mqtt-clientid}", "${{mqtt-clientid}}", "%c":
		return func(nd *node) *uint32 { return &nd.client }
	case "${username}", "${{username}}", "${mqtt-username}", "${{mqtt-username}}", "%u":
		return func(nd *node) *uint32 { return &nd.user }
	}
	return func(nd *node) *uint32 { return &nd.hole }
}

// down is the node that one of the ways of n leads to, made if need be.
func (x *index) down(n uint32, way func(*node) *uint32) uint32 {
	if child := *way(&x.nodes[n]); child != 0 {
		return child
	}
	x.nodes = append(x.nodes, node{})
	child := uint32(len(x.nodes) - 1)
	*way(&x.nodes[n]) = child
	x.nodes[n].goesOn = true
	return child
}

// grow is the node that a literal level leads to, made if need be.
func (x *index) grow(parent uint32, level string) uint32 {
	if x.used >= len(x.edges)/4*3 {
		old := x.edges
		x.edges = make([]edge, 2*len(old))
		for _, e := range old {
			if e.child != 0 {
				*x.edge(e.parent, e.hash) = e
			}
		}
	}
	hash := uint32(maphash.String(x.seed, level))
	e := x.edge(parent, hash)
	if e.child == 0 {
		x.nodes = append(x.nodes, node{})
		*e = edge{parent: parent, hash: hash, child: uint32(len(x.nodes) - 1)}
		x.nodes[parent].goesOn = true
		x.used++
	}
	return e.child
}

// edge is the place of a level in the table, empty if it is not there.
func (x *index) edge(parent, hash uint32) *edge {
	mask := uint32(len(x.edges) - 1)
	at := (uint64(parent)<<32 | uint64(hash)) * 0x9e3779b97f4a7c15
	for i := uint32(at >> 32); ; i++ {
		e := &x.edges[i&mask]
		if e.child == 0 || e.parent == parent && e.hash == hash {
			return e
		}
	}
}

// candidates appends to out the positions, in order, of all rules that may be
// the answer to q, their actions, QoS and conditions aside; rules is those of the
// set. Every name that has
// the first levels of q's topic, and more, has the same candidates, all of which
// take in both or neither.
func (x *index) candidates(q *security.Request, rules []Rule, out []uint32) (all []uint32, levels int) {
	if q.Action == security.Connect {
		return append(out, x.connects...), exactly
	}
	if x.nodes == nil {
		for _, i := range x.order {
			if rules[i].Actions != Connect {
				levels = max(levels, looks(rules[i].Topic, q.Topic))
			}
		}
		return append(out, x.order...), levels
	}
	out = x.walk(0, q.Principal, q.Topic, true, 0, &levels, out)
	for i, place := range out {
		out[i] = x.order[place]
	}
	if len(x.open) > 0 && x.doubts(q.Principal) {
		out, levels = append(out, x.open...), exactly
	}
	slices.Sort(out)
	return slices.Compact(out), levels
}

// walk gathers the rules below node n, to which depth levels lead, for what is left
// of a topic, which is nothing where more is false. A # may stand for that nothing.
// levels is how many levels of the topic were looked at.
func (x *index) walk(n uint32, p *security.Principal, rest string, more bool, depth int, levels *int, out []uint32) []uint32 {
	nd := &x.nodes[n]
	out = x.hung(nd.rest, out)
	if !more {
		*levels = exactly
		return x.hung(nd.here, out)
	}
	level, rest, more := strings.Cut(rest, "/")
	if level == "#" && !more {
		return x.below(n, out)
	}
	if !nd.goesOn {
		return out // whatever follows
	}
	depth++
	*levels = max(*levels, depth)
	if nd.plus != 0 {
		out = x.walk(nd.plus, p, rest, more, depth, levels, out)
	}
	if level == "+" {
		return out // only a + takes in all levels
	}
	if nd.hole != 0 {
		out = x.walk(nd.hole, p, rest, more, depth, levels, out)
	}
	// A value that is no level, or is not there, is among open.
	if nd.client != 0 && p != nil && level == p.ClientID {
		out = x.walk(nd.client, p, rest, more, depth, levels, out)
	}
	if nd.user != 0 && p != nil && level == p.Name {
		out = x.walk(nd.user, p, rest, more, depth, levels, out)
	}
	if e := x.edge(n, uint32(maphash.String(x.seed, level))); e.child != 0 {
		out = x.walk(e.child, p, rest, more, depth, levels, out)
	}
	return out
}

// below gathers what takes in some depth of what a # after node n stands for:
// the filter that ends at n, and those that go on with + alone.
func (x *index) below(n uint32, out []uint32) []uint32 {
	for {
		nd := &x.nodes[n]
		out = x.hung(nd.here, out)
		if n = nd.plus; n == 0 {
			return out
		}
		out = x.hung(x.nodes[n].rest, out)
	}
}

// hung appends the places of the rules in the list that begins at first.
func (x *index) hung(first uint32, out []uint32) []uint32 {
	for ; first != 0; first = x.next[first-1] {
		out = append(out, first-1)
	}
	return out
}
