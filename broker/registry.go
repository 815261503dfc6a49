package broker

import (
	"hash/maphash"
	"sync"

	"sallyport/security"
)

const registryShards = 64

// registry finds clients by client identifier.
type registry struct {
	seed   maphash.Seed
	shards [registryShards]registryShard

	// mu guards owners, the number of sessions per principal, and total. Owners are
	// told apart by a hash of 64 bits with a key of this process, since each costs a
	// client's memory: nobody can find two that share a bound.
	mu     sync.Mutex
	owners map[uint64]int32
	total  int
}

// registryShard is a hash table whose chains run through the clients: a map
// would hold each identifier once more.
type registryShard struct {
	mu      sync.Mutex // guards the fields below, and client.chain
	buckets []*client  // 0 or a power of two; at most one client each, on average
	n       int
}

// ownerKey is whom a session belongs to: equal when the principals are (DESIGN: realm and name).
type ownerKey struct{ realm, name string }

func ownerOf(p *security.Principal) ownerKey { return ownerKey{p.Realm, p.Name} }

func (r *registry) init() {
	r.seed = maphash.MakeSeed()
	r.owners = make(map[uint64]int32)
}

// shard is where id belongs, with its hash.
func (r *registry) shard(id string) (*registryShard, uint64) {
	h := maphash.String(r.seed, id)
	return &r.shards[h%registryShards], h
}

// bucket is the head of the chain of hash; nil where there is none yet. The caller holds s.mu.
func (s *registryShard) bucket(hash uint64) **client {
	if len(s.buckets) == 0 {
		return nil
	}
	return &s.buckets[hash/registryShards&uint64(len(s.buckets)-1)]
}

func (s *registryShard) find(hash uint64, id string) *client {
	if b := s.bucket(hash); b != nil {
		for cl := *b; cl != nil; cl = cl.chain {
			if cl.id == id {
				return cl
			}
		}
	}
	return nil
}

// resize moves the clients to another number of buckets. The caller holds s.mu.
func (s *registryShard) resize(r *registry, size int) {
	old := s.buckets
	s.buckets = make([]*client, size)
	for _, cl := range old {
		for cl != nil {
			next := cl.chain
			_, h := r.shard(cl.id)
			b := s.bucket(h)
			cl.chain, *b = *b, cl
			cl = next
		}
	}
}

// find returns the client of id, nil if there is none.
func (r *registry) find(id string) *client {
	s, h := r.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.find(h, id)
}

// findOrAdd returns the client of id, made by b if there is none.
func (r *registry) findOrAdd(b *Broker, id string) *client {
	s, h := r.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if cl := s.find(h, id); cl != nil {
		return cl
	}
	if s.n >= len(s.buckets) {
		s.resize(r, max(4, 2*len(s.buckets)))
	}
	at := s.bucket(h)
	cl := &client{b: b, id: id, chain: *at}
	*at = cl
	s.n++
	return cl
}

// remove takes cl away if it is still the client of its identifier.
func (r *registry) remove(cl *client) {
	s, h := r.shard(cl.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	for at := s.bucket(h); at != nil && *at != nil; at = &(*at).chain {
		if *at != cl {
			continue
		}
		*at, cl.chain = cl.chain, nil
		if s.n--; len(s.buckets) > 16 && s.n < len(s.buckets)/8 {
			s.resize(r, len(s.buckets)/2)
		}
		return
	}
}

// each calls f for a snapshot of the clients.
func (r *registry) each(f func(*client)) {
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		list := make([]*client, 0, s.n)
		for _, cl := range s.buckets {
			for ; cl != nil; cl = cl.chain {
				list = append(list, cl)
			}
		}
		s.mu.Unlock()
		for _, cl := range list {
			f(cl)
		}
	}
}

// admit counts a new session of owner k unless a bound is reached. Anonymous
// clients are one principal that nobody owns: the bound per owner isn't for them.
func (r *registry) admit(k ownerKey, total, perOwner int) bool {
	h := maphash.Comparable(r.seed, k)
	r.mu.Lock()
	defer r.mu.Unlock()
	if total > 0 && r.total >= total || perOwner > 0 && k.name != "" && int(r.owners[h]) >= perOwner {
		return false
	}
	r.total++
	r.owners[h]++
	return true
}

// release takes back what admit counted.
func (r *registry) release(k ownerKey) {
	h := maphash.Comparable(r.seed, k)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total--
	if r.owners[h]--; r.owners[h] <= 0 {
		delete(r.owners, h)
	}
}

// connSet is every open connection, also before CONNECT.
type connSet struct {
	mu    sync.Mutex // guards the fields below, and Conn.place
	list  []*Conn
	drain chan struct{} // closed when the set is empty and somebody waits
}

func (s *connSet) add(c *Conn) {
	s.mu.Lock()
	s.list = append(s.list, c)
	c.place = int32(len(s.list))
	s.mu.Unlock()
}

// remove takes c out, if it is in; the last one takes its place.
func (s *connSet) remove(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.place == 0 {
		return
	}
	last := len(s.list) - 1
	moved := s.list[last]
	s.list[c.place-1], moved.place = moved, c.place
	s.list[last], c.place = nil, 0
	s.list = s.list[:last]
	if cap(s.list) > 1024 && last < cap(s.list)/4 {
		s.list = append(make([]*Conn, 0, cap(s.list)/2), s.list...)
	}
	if last == 0 && s.drain != nil {
		close(s.drain)
		s.drain = nil
	}
}

func (s *connSet) all() []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*Conn(nil), s.list...)
}

// empty returns a channel that is closed when no connection is left.
func (s *connSet) empty() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drain == nil {
		s.drain = make(chan struct{})
		if len(s.list) == 0 {
			ch := s.drain
			close(ch)
			s.drain = nil
			return ch
		}
	}
	return s.drain
}
