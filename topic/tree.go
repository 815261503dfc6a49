package topic

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
)

// Tree maps topic filters to subscribers. A filter has any number of
// subscribers, told apart by their keys, each with one value.
//
// Match takes no lock and is never held up; Set and Remove exclude each other.
// What a change copies doesn't depend on how many siblings a filter has or how
// many subscribers: it is a few entries of one short list, see trie.
//
// The filter is stored level by level, so that filters with a common beginning
// share it. A level is a view of the filter that brought it if that is short.
type Tree[K comparable, V any] struct {
	seed maphash.Seed
	root node[K, V]
	size atomic.Int64

	changes changes

	hashLevel func(string) uint64
	hashKey   func(K) uint64

	mu sync.Mutex // held to change anything below root
}

// node is one beginning of filters. A node without content is taken out of the
// tree; it is then never changed again. Most are the last level of one filter, so
// what only others need is apart.
type node[K comparable, V any] struct {
	here trie[K, V]                   // subscribers of the filter that ends here
	down atomic.Pointer[branch[K, V]] // filters that go on; nil: none
}

// branch is what follows a node. It is made and taken away as a node is.
type branch[K comparable, V any] struct {
	kids trie[string, *node[K, V]]  // by literal level
	plus atomic.Pointer[node[K, V]] // the level +
	rest trie[K, V]                 // subscribers of the node's filter and "/#"
}

// viewedFilter is how long a filter may be for its levels to be views of it: one
// level that others share keeps no more than that alive.
const viewedFilter = 64

// NewTree makes an empty tree.
func NewTree[K comparable, V any]() *Tree[K, V] {
	t := &Tree[K, V]{seed: maphash.MakeSeed()}
	t.hashLevel = func(level string) uint64 { return maphash.String(t.seed, level) }
	t.hashKey = func(k K) uint64 { return maphash.Comparable(t.seed, k) }
	return t
}

// Set stores v for key k under filter and reports whether k was already there
// (its value is replaced). When it returns, every Match that begins sees it.
// filter has passed CheckFilter, and is kept.
func (t *Tree[K, V]) Set(filter string, k K, v V) (replaced bool) {
	hash := t.hashKey(k)
	t.mu.Lock()
	defer t.mu.Unlock()
	replaced = t.subscribers(filter).set(hash, t.hashKey, k, v)
	if !replaced {
		t.size.Add(1)
	}
	t.changed(filter)
	return replaced
}

// subscribers finds the place of filter's subscribers, made if need be.
func (t *Tree[K, V]) subscribers(filter string) *trie[K, V] {
	viewed := len(filter) <= viewedFilter
	n := &t.root
	for more := true; more; {
		var level string
		level, filter, more = cutLevel(filter)
		b := n.down.Load()
		if b == nil {
			b = new(branch[K, V])
			n.down.Store(b)
		}
		if level == multi && !more {
			return &b.rest
		}
		n = t.descend(b, level, viewed)
	}
	return &n.here
}

// descend finds the node that follows b by level, made if need be.
func (t *Tree[K, V]) descend(b *branch[K, V], level string, viewed bool) *node[K, V] {
	if level == single {
		kid := b.plus.Load()
		if kid == nil {
			kid = new(node[K, V])
			b.plus.Store(kid)
		}
		return kid
	}
	hash := t.hashLevel(level)
	kid, ok := b.kids.get(hash, level)
	if !ok {
		kid = new(node[K, V])
		if !viewed {
			level = strings.Clone(level)
		}
		b.kids.set(hash, t.hashLevel, level, kid)
	}
	return kid
}

// Remove takes k away from filter and reports whether it was there. When it
// returns, no Match that begins sees it.
func (t *Tree[K, V]) Remove(filter string, k K) bool {
	hash := t.hashKey(k)
	t.mu.Lock()
	defer t.mu.Unlock()
	removed := t.remove(&t.root, filter, hash, k)
	if removed {
		t.size.Add(-1)
		t.changed(filter)
	}
	return removed
}

// remove works on what follows n and prunes on the way back.
func (t *Tree[K, V]) remove(n *node[K, V], filter string, hash uint64, k K) bool {
	b := n.down.Load()
	if b == nil || !t.removeBelow(b, filter, hash, k) {
		return false
	}
	if b.empty() {
		n.down.Store(nil)
	}
	return true
}

func (t *Tree[K, V]) removeBelow(b *branch[K, V], filter string, hash uint64, k K) bool {
	level, rest, more := cutLevel(filter)
	if level == multi && !more {
		return b.rest.remove(hash, k)
	}
	var (
		kid       *node[K, V]
		levelHash uint64
	)
	if level == single {
		kid = b.plus.Load()
	} else {
		levelHash = t.hashLevel(level)
		kid, _ = b.kids.get(levelHash, level)
	}
	if kid == nil {
		return false
	}
	removed := false
	if more {
		removed = t.remove(kid, rest, hash, k)
	} else {
		removed = kid.here.remove(hash, k)
	}
	if removed && kid.empty() {
		if level == single {
			b.plus.Store(nil)
		} else {
			b.kids.remove(levelHash, level)
		}
	}
	return removed
}

func (n *node[K, V]) empty() bool { return n.here.empty() && n.down.Load() == nil }

func (b *branch[K, V]) empty() bool {
	return b.rest.empty() && b.kids.empty() && b.plus.Load() == nil
}

// Match calls yield for each subscriber of each filter that matches name, until
// yield returns false. A key under two of these filters is yielded twice. What
// was set before the call and not removed until it returns is seen exactly once;
// what is set or removed meanwhile may be seen or not. The order is not defined.
//
// It takes no lock and does not allocate; yield may call the tree.
func (t *Tree[K, V]) Match(name string, yield func(k K, v V) bool) {
	if name != "" {
		t.match(&t.root, name, isDollar(name), yield)
	}
}

// match walks what follows n. dollar is true at the first level of a name that
// wildcards don't reach. MQTT-4.7.2-1
func (t *Tree[K, V]) match(n *node[K, V], name string, dollar bool, yield func(K, V) bool) bool {
	for {
		b := n.down.Load()
		if b == nil {
			return true
		}
		level, rest, more := cutLevel(name)
		if !dollar {
			if !b.rest.each(yield) {
				return false
			}
			if kid := b.plus.Load(); kid != nil {
				if more {
					if !t.match(kid, rest, false, yield) {
						return false
					}
				} else if !kid.end(yield) {
					return false
				}
			}
		}
		kid, ok := b.kids.get(maphash.String(t.seed, level), level)
		if !ok {
			return true
		}
		if !more {
			return kid.end(yield)
		}
		n, name, dollar = kid, rest, false
	}
}

// end yields what matches a name that ends at n: a/# matches a too.
func (n *node[K, V]) end(yield func(K, V) bool) bool {
	if !n.here.each(yield) {
		return false
	}
	b := n.down.Load()
	return b == nil || b.rest.each(yield)
}

// Len is the number of (filter, key) pairs.
func (t *Tree[K, V]) Len() int { return int(t.size.Load()) }
