package topic

import "sync/atomic"

const (
	fanBits   = 4
	fan       = 1 << fanBits
	bucketMax = 16 // entries before a bucket becomes a fork
	bucketMin = 8  // entries at which a fork becomes a bucket again
	hashBits  = 64
)

// trie is a hash map that is read without a lock while one writer changes it.
//
// It is a tree of cells, reached by the bits of the hash. A cell is a bucket of
// a few entries, or a fork to further cells. Cells and entries are never
// changed once published; a change replaces one bucket, by storing one pointer,
// so that its cost doesn't grow with the map, except for the depth of the walk.
//
// A reader that walks the whole trie sees each entry that is there from before
// the walk until after it exactly once, whatever the writer does meanwhile: at
// any moment an entry is in one bucket on the one path its hash gives, and the
// reader goes along that path once, taking each cell as it finds it. A cell that
// has been replaced is never written to again, so what the reader finds below
// it is as complete as at the moment of the replacement.
//
// The zero value is an empty trie.
type trie[K comparable, V any] struct {
	root atomic.Pointer[cell[K, V]]
}

// cell is a fork if fork is set, else a bucket; an empty bucket is a nil cell.
type cell[K comparable, V any] struct {
	bucket []entry[K, V]
	fork   *[fan]atomic.Pointer[cell[K, V]]
}

type entry[K comparable, V any] struct {
	hash  uint64
	key   K
	value V
}

func (t *trie[K, V]) empty() bool { return t.root.Load() == nil }

// get finds key.
func (t *trie[K, V]) get(hash uint64, key K) (v V, ok bool) {
	c := t.root.Load()
	for bits := hash; c != nil && c.fork != nil; bits >>= fanBits {
		c = c.fork[bits%fan].Load()
	}
	if i := c.find(hash, key); i >= 0 {
		return c.bucket[i].value, true
	}
	return v, false
}

// find returns the index of key in the bucket c, or -1.
func (c *cell[K, V]) find(hash uint64, key K) int {
	if c == nil {
		return -1
	}
	for i := range c.bucket {
		if e := &c.bucket[i]; e.hash == hash && e.key == key {
			return i
		}
	}
	return -1
}

// each calls yield for every entry until it returns false, and reports whether
// it never did.
func (t *trie[K, V]) each(yield func(K, V) bool) bool {
	return t.root.Load().each(yield)
}

func (c *cell[K, V]) each(yield func(K, V) bool) bool {
	if c == nil {
		return true
	}
	for i := range c.bucket {
		if !yield(c.bucket[i].key, c.bucket[i].value) {
			return false
		}
	}
	if c.fork != nil {
		for i := range c.fork {
			if !c.fork[i].Load().each(yield) {
				return false
			}
		}
	}
	return true
}

// set stores v under key and reports whether there was a value before. Writers
// must exclude each other.
func (t *trie[K, V]) set(hash uint64, key K, v V) (replaced bool) {
	slot, depth := &t.root, 0
	c := slot.Load()
	for ; c != nil && c.fork != nil; depth++ {
		slot = &c.fork[index(hash, depth)]
		c = slot.Load()
	}
	e := entry[K, V]{hash, key, v}
	if c == nil {
		slot.Store(&cell[K, V]{bucket: []entry[K, V]{e}})
		return false
	}
	if i := c.find(hash, key); i >= 0 {
		bucket := make([]entry[K, V], len(c.bucket))
		copy(bucket, c.bucket)
		bucket[i] = e
		slot.Store(&cell[K, V]{bucket: bucket})
		return true
	}
	bucket := make([]entry[K, V], len(c.bucket)+1)
	copy(bucket, c.bucket)
	bucket[len(c.bucket)] = e
	slot.Store(spread(bucket, depth))
	return false
}

// spread makes a bucket, or a fork of buckets when it is too full for one. Keys
// whose whole hashes are equal share a bucket however many they are; the hash
// is seeded at random, so nobody can make that happen.
func spread[K comparable, V any](bucket []entry[K, V], depth int) *cell[K, V] {
	if len(bucket) <= bucketMax || depth*fanBits >= hashBits {
		return &cell[K, V]{bucket: bucket}
	}
	var parts [fan]int
	for i := range bucket {
		parts[index(bucket[i].hash, depth)]++
	}
	fork := new([fan]atomic.Pointer[cell[K, V]])
	for i, n := range parts {
		if n == 0 {
			continue
		}
		part := make([]entry[K, V], 0, n)
		for j := range bucket {
			if index(bucket[j].hash, depth) == i {
				part = append(part, bucket[j])
			}
		}
		fork[i].Store(spread(part, depth+1))
	}
	return &cell[K, V]{fork: fork}
}

// remove takes key away and reports whether it was there. Writers must exclude
// each other.
func (t *trie[K, V]) remove(hash uint64, key K) bool {
	var path [hashBits/fanBits + 1]*atomic.Pointer[cell[K, V]]
	depth := 0
	path[0] = &t.root
	c := t.root.Load()
	for ; c != nil && c.fork != nil; depth++ {
		path[depth+1] = &c.fork[index(hash, depth)]
		c = path[depth+1].Load()
	}
	i := c.find(hash, key)
	if i < 0 {
		return false
	}
	if n := len(c.bucket); n > 1 {
		bucket := make([]entry[K, V], 0, n-1)
		bucket = append(append(bucket, c.bucket[:i]...), c.bucket[i+1:]...)
		path[depth].Store(&cell[K, V]{bucket: bucket})
		return true
	}
	path[depth].Store(nil)
	// A fork is looked at again when one of its buckets has become empty.
	for depth--; depth >= 0; depth-- {
		joined, ok := join(path[depth].Load())
		if !ok {
			break
		}
		path[depth].Store(joined)
	}
	return true
}

// join makes the bucket that can stand for a fork; nil if the fork is empty. ok
// is false if the fork is too full or leads to a fork.
func join[K comparable, V any](c *cell[K, V]) (joined *cell[K, V], ok bool) {
	n := 0
	for i := range c.fork {
		if kid := c.fork[i].Load(); kid != nil {
			if n += len(kid.bucket); n > bucketMin || kid.fork != nil {
				return nil, false
			}
		}
	}
	if n == 0 {
		return nil, true
	}
	bucket := make([]entry[K, V], 0, n)
	for i := range c.fork {
		if kid := c.fork[i].Load(); kid != nil {
			bucket = append(bucket, kid.bucket...)
		}
	}
	return &cell[K, V]{bucket: bucket}, true
}

func index(hash uint64, depth int) int { return int(hash >> (depth * fanBits) % fan) }
