package topic

import (
	"sync"

	"github.com/tidwall/btree"
)

// Names is an ordered map from topic names to values, scanned by filter with a
// cursor: what retained messages are kept in. Its methods may be called at the
// same time. The strings passed to Set are kept.
type Names[V any] struct {
	mu sync.RWMutex // guards m
	m  *btree.Map[string, V]
}

// NewNames makes an empty map.
func NewNames[V any]() *Names[V] {
	return &Names[V]{m: btree.NewMap[string, V](0)}
}

// Set stores v under name, which is not empty, and returns what was there.
func (n *Names[V]) Set(name string, v V) (old V, replaced bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.m.Set(name, v)
}

// Get returns the value of name.
func (n *Names[V]) Get(name string) (V, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.m.Get(name)
}

// Delete takes name away and returns what was there.
func (n *Names[V]) Delete(name string) (old V, had bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.m.Delete(name)
}

// Len is the number of names.
func (n *Names[V]) Len() int {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.m.Len()
}

// Scan yields names after cursor ("" begins) that filter matches, in order,
// until yield returns false or work entries (at least one) were looked at; it
// returns the cursor to go on from and whether the scan is complete. The order
// is that of the bytes. The name for which yield returned false is done: the
// cursor stands behind it.
//
// Names may come and go between two calls: what is there all the time is
// yielded exactly once by the calls of one scan.
//
// yield runs under the read lock, so that the value it is given is the current
// one until it returns: a Set that begins meanwhile ends after it. It must not
// call Names, nor wait for anyone who does. Set and Delete wait for it, so work
// bounds how long a writer is held up: a few hundred is a good measure.
func (n *Names[V]) Scan(filter, after string, work int, yield func(name string, v V) bool) (cursor string, complete bool) {
	var (
		from string
		ok   = true
	)
	if after == "" {
		from = firstMatch(filter)
	} else if from, ok = nextMatch(filter, after); !ok {
		return after, true
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	it := n.m.Iter()
	if !it.Seek(from) || it.Key() == after && after != "" && !it.Next() {
		return after, true
	}
	for ; ; work-- {
		name := it.Key()
		if Match(filter, name) && !yield(name, it.Value()) {
			return name, false
		}
		if from, ok = nextMatch(filter, name); !ok {
			return name, true
		}
		if work <= 1 {
			return name, false
		}
		// The next entry is near; only what lies beyond it is worth a search.
		if !it.Next() || it.Key() < from && !it.Seek(from) {
			return name, true
		}
	}
}

// Each is Scan for all names, those that begin with $ included.
func (n *Names[V]) Each(after string, work int, yield func(name string, v V) bool) (cursor string, complete bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	it := n.m.Iter()
	if !it.Seek(after) || it.Key() == after && after != "" && !it.Next() {
		return after, true
	}
	for ; ; work-- {
		name := it.Key()
		if !yield(name, it.Value()) || work <= 1 {
			return name, false
		}
		if !it.Next() {
			return name, true
		}
	}
}
