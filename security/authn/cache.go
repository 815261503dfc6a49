package authn

import (
	"container/list"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"
)

// CacheOptions bounds what a Cache remembers.
type CacheOptions struct {
	Entries int              // at most; 0 remembers nothing
	TTL     time.Duration    // from the check that paid the hash; 0 remembers nothing
	Now     func() time.Time // nil is time.Now
}

// Cache remembers right credentials, so that a fleet that reconnects costs no
// hashes. It holds neither names nor passwords: an entry is an HMAC-SHA256,
// under a random key of this process, over realm, user, password and the
// generation of the accounts. Wrong credentials are never remembered.
type Cache struct {
	opts CacheOptions
	key  [32]byte

	mu      sync.Mutex // guards the fields below
	entries map[cacheKey]*list.Element
	order   *list.List // of *cacheEntry, the oldest first; with one TTL also the order of expiry
}

type cacheKey [sha256.Size]byte

type cacheEntry struct {
	key     cacheKey
	expires time.Time
}

// NewCache makes an empty cache with a fresh key.
func NewCache(o CacheOptions) (*Cache, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	c := &Cache{opts: o, entries: map[cacheKey]*list.Element{}, order: list.New()}
	if _, err := rand.Read(c.key[:]); err != nil {
		return nil, err
	}
	return c, nil
}

// Flush forgets everything. It is called on reload, change and revocation.
func (c *Cache) Flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.entries)
	c.order.Init()
}

// Len is the number of remembered credentials, expired ones not yet dropped included.
func (c *Cache) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.entries)
}

// sum is the key of an entry. Each part is preceded by its length, so that no
// two different inputs read alike.
func (c *Cache) sum(realm, user string, password []byte, generation uint64) cacheKey {
	mac := hmac.New(sha256.New, c.key[:])
	var n [8]byte
	part := func(b []byte) {
		binary.BigEndian.PutUint64(n[:], uint64(len(b)))
		mac.Write(n[:])
		mac.Write(b)
	}
	part([]byte(realm))
	part([]byte(user))
	part(password)
	binary.BigEndian.PutUint64(n[:], generation)
	mac.Write(n[:])
	return cacheKey(mac.Sum(nil))
}

func (c *Cache) has(realm, user string, password []byte, generation uint64) bool {
	if c.opts.Entries <= 0 || c.opts.TTL <= 0 {
		return false
	}
	// Looking up an unguessable MAC needs no constant time.
	k := c.sum(realm, user, password, generation)
	now := c.opts.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[k]
	return ok && now.Before(e.Value.(*cacheEntry).expires)
}

func (c *Cache) add(realm, user string, password []byte, generation uint64) {
	if c.opts.Entries <= 0 || c.opts.TTL <= 0 {
		return
	}
	k := c.sum(realm, user, password, generation)
	now := c.opts.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.entries[k]; ok {
		c.drop(e)
	}
	for e := c.order.Front(); e != nil; e = c.order.Front() {
		if len(c.entries) < c.opts.Entries && now.Before(e.Value.(*cacheEntry).expires) {
			break
		}
		c.drop(e)
	}
	c.entries[k] = c.order.PushBack(&cacheEntry{k, now.Add(c.opts.TTL)})
}

// drop forgets e; mu is held.
func (c *Cache) drop(e *list.Element) {
	delete(c.entries, e.Value.(*cacheEntry).key)
	c.order.Remove(e)
}
