package topic

import "sync/atomic"

const (
	fanBits  = 4
	fan      = 1 << fanBits
	hashBits = 64
)

// trie is a hash map that is read without a lock while one writer changes it.
//
// It is a tree of slots, reached by the bits of the hash. A slot holds a short
// list of entries, or a fork to further slots. Entries are never changed once
// published: a change replaces the head of one list, and copies no more of it
// than what stands before the entry that changes, so that its cost doesn't grow
// with the map, except for the depth of the walk.
//
// A list that is full becomes a fork: the fork is published first, then the
// list is taken away. A fork goes away only when it is empty. Readers load the
// list first and use it only if there is then no fork. So a reader that walks
// the whole trie sees each entry that is there from before the walk until after
// it exactly once, whatever the writer does meanwhile: such an entry is in one
// slot on the one path its hash gives, and moves only from a list into the fork
// of the same slot, never back. If the reader finds a fork, the entry is in it;
// if it finds none, there was none when it loaded the list.
//
// An entry holds no hash: the few of a list are hashed again when it becomes a
// fork.
//
// The zero value is an empty trie.
type trie[K comparable, V any] struct {
	root slot[K, V]
}

type slot[K comparable, V any] struct {
	list atomic.Pointer[entry[K, V]]
	fork atomic.Pointer[fork[K, V]]
}

type fork[K comparable, V any] [fan]slot[K, V]

type entry[K comparable, V any] struct {
	next  *entry[K, V]
	key   K
	value V
}

// listMax is how many entries a list may have. The many small tries of a tree
// do without a fork, which is larger than all their entries. Keys whose whole
// hashes are equal share a list however many they are; the hash is seeded at
// random, so nobody can make that happen.
func listMax(depth int) int {
	switch {
	case depth == 0:
		return 8
	case depth*fanBits < hashBits:
		return 4
	}
	return 1 << 30
}

// index picks the slot of a fork that lies depth forks below the root.
func index(hash uint64, depth int) int { return int(hash >> (depth * fanBits) % fan) }

// load returns what s holds, a list or a fork.
func (s *slot[K, V]) load() (*entry[K, V], *fork[K, V]) {
	list := s.list.Load() // the order matters, see trie
	if f := s.fork.Load(); f != nil {
		return nil, f
	}
	return list, nil
}

func (s *slot[K, V]) empty() bool {
	list, f := s.load()
	return list == nil && f == nil
}

func (f *fork[K, V]) empty() bool {
	for i := range f {
		if !f[i].empty() {
			return false
		}
	}
	return true
}

func (t *trie[K, V]) empty() bool { return t.root.empty() }

// get finds key.
func (t *trie[K, V]) get(hash uint64, key K) (v V, ok bool) {
	list, f := t.root.load()
	for bits := hash; f != nil; bits >>= fanBits {
		list, f = f[bits%fan].load()
	}
	if e := list.find(key); e != nil {
		return e.value, true
	}
	return v, false
}

// find returns the entry of key in the list that e begins, or nil.
func (e *entry[K, V]) find(key K) *entry[K, V] {
	for ; e != nil; e = e.next {
		if e.key == key {
			return e
		}
	}
	return nil
}

// each calls yield for every entry until it returns false, and reports whether
// it never did.
func (t *trie[K, V]) each(yield func(K, V) bool) bool { return t.root.each(yield) }

func (s *slot[K, V]) each(yield func(K, V) bool) bool {
	list, f := s.load()
	if f != nil {
		for i := range f {
			if !f[i].each(yield) {
				return false
			}
		}
		return true
	}
	for e := list; e != nil; e = e.next {
		if !yield(e.key, e.value) {
			return false
		}
	}
	return true
}

// set stores v under key, whose hash is by hashOf, and reports whether there was
// a value before. Writers must exclude each other.
func (t *trie[K, V]) set(hash uint64, hashOf func(K) uint64, key K, v V) (replaced bool) {
	s, depth := &t.root, 0
	for f := s.fork.Load(); f != nil; f = s.fork.Load() {
		s = &f[index(hash, depth)]
		depth++
	}
	list := s.list.Load()
	if old := list.find(key); old != nil {
		s.list.Store(list.before(old, &entry[K, V]{old.next, key, v}))
		return true
	}
	s.add(depth, hashOf, entry[K, V]{key: key, value: v})
	return false
}

// add puts in an entry whose key is not there. s has no fork.
func (s *slot[K, V]) add(depth int, hashOf func(K) uint64, e entry[K, V]) {
	list := s.list.Load()
	n := 0
	for other := list; other != nil; other = other.next {
		n++
	}
	if n < listMax(depth) {
		e.next = list
		s.list.Store(&e)
		return
	}
	f := new(fork[K, V])
	f.add(depth, hashOf, e)
	for ; list != nil; list = list.next {
		f.add(depth, hashOf, *list)
	}
	s.fork.Store(f) // the order matters, see trie
	s.list.Store(nil)
}

// add puts an entry into a fork that no reader knows yet.
func (f *fork[K, V]) add(depth int, hashOf func(K) uint64, e entry[K, V]) {
	hash := hashOf(e.key)
	s := &f[index(hash, depth)]
	depth++
	for deeper := s.fork.Load(); deeper != nil; deeper = s.fork.Load() {
		s = &deeper[index(hash, depth)]
		depth++
	}
	s.add(depth, hashOf, e)
}

// before returns a list of what stands before old in the list that e begins,
// followed by tail.
func (e *entry[K, V]) before(old, tail *entry[K, V]) *entry[K, V] {
	for ; e != old; e = e.next {
		tail = &entry[K, V]{tail, e.key, e.value}
	}
	return tail
}

// remove takes key away and reports whether it was there. Writers must exclude
// each other.
func (t *trie[K, V]) remove(hash uint64, key K) bool {
	var path [hashBits/fanBits + 1]*slot[K, V]
	s, depth := &t.root, 0
	for f := s.fork.Load(); f != nil; f = s.fork.Load() {
		path[depth] = s
		s = &f[index(hash, depth)]
		depth++
	}
	list := s.list.Load()
	old := list.find(key)
	if old == nil {
		return false
	}
	s.list.Store(list.before(old, old.next))
	for depth > 0 && s.empty() {
		depth--
		s = path[depth]
		if !s.fork.Load().empty() {
			break
		}
		s.fork.Store(nil)
	}
	return true
}
