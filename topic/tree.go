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
// share it; a level is copied, and no string that is passed in is kept.
type Tree[K comparable, V any] struct {
	seed maphash.Seed
	root node[K, V]
	size atomic.Int64

	changes changes

	mu sync.Mutex // held to change anything below root
}

// node is what follows one beginning of filters. A node without content is
// taken out of the tree; it is then never changed again.
type node[K comparable, V any] struct {
	kids trie[string, *node[K, V]]  // by literal level
	plus atomic.Pointer[node[K, V]] // the level +
	here trie[K, V]                 // subscribers of the filter that ends here
	rest trie[K, V]                 // subscribers of this filter and "/#"
}

// NewTree makes an empty tree.
func NewTree[K comparable, V any]() *Tree[K, V] {
	return &Tree[K, V]{seed: maphash.MakeSeed()}
}

// Set stores v for key k under filter and reports whether k was already there
// (its value is replaced). When it returns, every Match that begins sees it.
// filter has passed CheckFilter.
func (t *Tree[K, V]) Set(filter string, k K, v V) (replaced bool) {
	hash := maphash.Comparable(t.seed, k)
	t.mu.Lock()
	defer t.mu.Unlock()
	replaced = t.subscribers(filter).set(hash, k, v)
	if !replaced {
		t.size.Add(1)
	}
	t.changed(filter)
	return replaced
}

// subscribers finds the place of filter's subscribers, made if need be.
func (t *Tree[K, V]) subscribers(filter string) *trie[K, V] {
	n := &t.root
	for more := true; more; {
		var level string
		level, filter, more = cutLevel(filter)
		if level == multi && !more {
			return &n.rest
		}
		n = t.descend(n, level)
	}
	return &n.here
}

// descend finds the child of n for level, made if need be.
func (t *Tree[K, V]) descend(n *node[K, V], level string) *node[K, V] {
	if level == single {
		kid := n.plus.Load()
		if kid == nil {
			kid = new(node[K, V])
			n.plus.Store(kid)
		}
		return kid
	}
	hash := maphash.String(t.seed, level)
	kid, ok := n.kids.get(hash, level)
	if !ok {
		kid = new(node[K, V])
		// The level is cloned, or one subscription would keep the packet alive
		// that its filter was cut from.
		n.kids.set(hash, strings.Clone(level), kid)
	}
	return kid
}

// Remove takes k away from filter and reports whether it was there. When it
// returns, no Match that begins sees it.
func (t *Tree[K, V]) Remove(filter string, k K) bool {
	hash := maphash.Comparable(t.seed, k)
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
	level, rest, more := cutLevel(filter)
	if level == multi && !more {
		return n.rest.remove(hash, k)
	}
	var (
		kid       *node[K, V]
		levelHash uint64
	)
	if level == single {
		kid = n.plus.Load()
	} else {
		levelHash = maphash.String(t.seed, level)
		kid, _ = n.kids.get(levelHash, level)
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
			n.plus.Store(nil)
		} else {
			n.kids.remove(levelHash, level)
		}
	}
	return removed
}

func (n *node[K, V]) empty() bool {
	return n.here.empty() && n.rest.empty() && n.kids.empty() && n.plus.Load() == nil
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
		level, rest, more := cutLevel(name)
		if !dollar {
			if !n.rest.each(yield) {
				return false
			}
			if kid := n.plus.Load(); kid != nil {
				if more {
					if !t.match(kid, rest, false, yield) {
						return false
					}
				} else if !kid.end(yield) {
					return false
				}
			}
		}
		kid, ok := n.kids.get(maphash.String(t.seed, level), level)
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
	return n.here.each(yield) && n.rest.each(yield)
}

// Len is the number of (filter, key) pairs.
func (t *Tree[K, V]) Len() int { return int(t.size.Load()) }
