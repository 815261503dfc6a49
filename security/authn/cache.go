package authn

import (
	"container/list"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	stdhash "hash"
	"sync"
	"time"

	"sallyport/security"
)

// CacheOptions bounds what a Cache remembers.
type CacheOptions struct {
	Entries int              // at most; 0 remembers nothing
	TTL     time.Duration    // from the check that paid the hash; 0 remembers nothing
	Now     func() time.Time // nil is time.Now
}

// Cache remembers what members said of credentials: one of them that right ones are
// right, so that a fleet that reconnects costs no hashes, another that wrong ones are
// wrong, so that a device that tries the same again and again costs few. They are two
// caches, since who sends wrong ones must not push right ones out. What is looked up
// is an HMAC-SHA256, under a random key of this process, over member, user name,
// password and the version of the records that the answer rests on: no password is held.
type Cache struct {
	opts CacheOptions
	macs sync.Pool // *keyed, all with the key of this process

	mu      sync.Mutex // guards the fields below
	entries map[cacheKey]*list.Element
	order   *list.List // of *cacheEntry, the oldest first; with one TTL also the order of expiry
}

type cacheKey [sha256.Size]byte

type cacheEntry struct {
	key     cacheKey
	expires time.Time
	said    outcome
}

// outcome is an answer: a principal that nobody changes, or a refusal.
type outcome struct {
	p   *security.Principal
	err *Refused
}

// keyed is what the MAC of one entry takes. It is used again and again, since its
// key is set up once.
type keyed struct {
	mac stdhash.Hash
	in  []byte // wiped after use: a password stands in it
	out [sha256.Size]byte
}

// longestKept is the longest input whose buffer is kept, in bytes.
const longestKept = 1024

// NewCache makes an empty cache with a fresh key.
func NewCache(o CacheOptions) (*Cache, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	c := &Cache{opts: o, entries: map[cacheKey]*list.Element{}, order: list.New()}
	var key [32]byte
	if _, err := rand.Read(key[:]); err != nil {
		return nil, err
	}
	c.macs.New = func() any { return &keyed{mac: hmac.New(sha256.New, key[:])} }
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
func (c *Cache) sum(member, user string, password []byte, version uint64) cacheKey {
	k := c.macs.Get().(*keyed)
	in := binary.BigEndian.AppendUint64(k.in[:0], uint64(len(member)))
	in = append(in, member...)
	in = binary.BigEndian.AppendUint64(in, uint64(len(user)))
	in = append(in, user...)
	in = binary.BigEndian.AppendUint64(in, uint64(len(password)))
	in = append(in, password...)
	in = binary.BigEndian.AppendUint64(in, version)
	k.mac.Reset()
	k.mac.Write(in)
	key := cacheKey(k.mac.Sum(k.out[:0]))
	clear(in)
	if k.in = in; cap(in) > longestKept {
		k.in = nil
	}
	c.macs.Put(k)
	return key
}

// remembers reports whether c keeps anything; not so a nil Cache.
func (c *Cache) remembers() bool { return c != nil && c.opts.Entries > 0 && c.opts.TTL > 0 }

func (c *Cache) get(k cacheKey) (outcome, bool) {
	// Looking up an unguessable MAC needs no constant time.
	now := c.opts.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.entries[k]
	if !ok {
		return outcome{}, false
	}
	x := e.Value.(*cacheEntry)
	return x.said, now.Before(x.expires)
}

func (c *Cache) put(k cacheKey, said outcome) {
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
	c.entries[k] = c.order.PushBack(&cacheEntry{k, now.Add(c.opts.TTL), said})
}

// drop forgets e; mu is held.
func (c *Cache) drop(e *list.Element) {
	delete(c.entries, e.Value.(*cacheEntry).key)
	c.order.Remove(e)
}
