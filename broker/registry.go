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

	// mu guards owners, the number of sessions per principal, and total.
	mu     sync.Mutex
	owners map[ownerKey]int
	total  int
}

type registryShard struct {
	mu      sync.Mutex
	clients map[string]*client
}

// ownerKey is whom a session belongs to: equal when the principals are (DESIGN: realm and name).
type ownerKey struct{ realm, name string }

func ownerOf(p *security.Principal) ownerKey { return ownerKey{p.Realm, p.Name} }

func (r *registry) init() {
	r.seed = maphash.MakeSeed()
	r.owners = make(map[ownerKey]int)
	for i := range r.shards {
		r.shards[i].clients = make(map[string]*client)
	}
}

func (r *registry) shard(id string) *registryShard {
	return &r.shards[maphash.String(r.seed, id)%registryShards]
}

// find returns the client of id, nil if there is none.
func (r *registry) find(id string) *client {
	s := r.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clients[id]
}

// findOrAdd returns the client of id, made by b if there is none.
func (r *registry) findOrAdd(b *Broker, id string) *client {
	s := r.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	cl := s.clients[id]
	if cl == nil {
		cl = &client{b: b, id: id}
		s.clients[id] = cl
	}
	return cl
}

// remove takes cl away if it is still the client of its identifier.
func (r *registry) remove(cl *client) {
	s := r.shard(cl.id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients[cl.id] == cl {
		delete(s.clients, cl.id)
	}
}

// each calls f for a snapshot of the clients.
func (r *registry) each(f func(*client)) {
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		list := make([]*client, 0, len(s.clients))
		for _, cl := range s.clients {
			list = append(list, cl)
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
	r.mu.Lock()
	defer r.mu.Unlock()
	if total > 0 && r.total >= total || perOwner > 0 && k.name != "" && r.owners[k] >= perOwner {
		return false
	}
	r.total++
	r.owners[k]++
	return true
}

// release takes back what admit counted.
func (r *registry) release(k ownerKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total--
	if r.owners[k]--; r.owners[k] <= 0 {
		delete(r.owners, k)
	}
}

// connSet is every open connection, also before CONNECT.
type connSet struct {
	mu    sync.Mutex
	set   map[*Conn]struct{}
	drain chan struct{} // closed when the set is empty and somebody waits
}

func (s *connSet) init() { s.set = make(map[*Conn]struct{}) }

func (s *connSet) add(c *Conn) {
	s.mu.Lock()
	s.set[c] = struct{}{}
	s.mu.Unlock()
}

func (s *connSet) remove(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.set, c)
	if len(s.set) == 0 && s.drain != nil {
		close(s.drain)
		s.drain = nil
	}
}

func (s *connSet) all() []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*Conn, 0, len(s.set))
	for c := range s.set {
		list = append(list, c)
	}
	return list
}

// empty returns a channel that is closed when no connection is left.
func (s *connSet) empty() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drain == nil {
		s.drain = make(chan struct{})
		if len(s.set) == 0 {
			ch := s.drain
			close(ch)
			s.drain = nil
			return ch
		}
	}
	return s.drain
}
