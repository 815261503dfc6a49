package tickets

import (
	"crypto/rand"
	"crypto/tls"
	"sync"
	"sync/atomic"
)

// Binding keeps a scope's keys in the configurations of one listener. It is safe
// for concurrent use.
type Binding struct {
	ring    *Ring
	scope   Scope
	configs []*tls.Config

	generation atomic.Uint64 // of the keys that the configurations have; written under mu
	mu         sync.Mutex    // held while keys are set
}

// Bind gives the configurations the keys that the ring has for the scope. They are
// whole (clone first, then bind) and what GetConfigForClient returns, or what serves without it.
func (r *Ring) Bind(s Scope, configs ...*tls.Config) *Binding {
	if s.Listener == "" {
		s.Listener = "\x00" + rand.Text()
	}
	b := &Binding{ring: r, scope: s, configs: configs}
	b.Refresh()
	return b
}

// Refresh lets the configurations follow the ring. It is for GetConfigForClient,
// before one of them is returned; while nothing is due it takes no lock.
func (b *Binding) Refresh() {
	b.ring.Rotate()
	if b.generation.Load() == b.ring.generation.Load() {
		return
	}
	keys, generation := b.ring.keys(b.scope)
	defer clear(keys)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.generation.Load() >= generation {
		return // another handshake was faster
	}
	for _, c := range b.configs {
		// Safe while handshakes run: each has taken its keys at its start.
		c.SetSessionTicketKeys(keys)
	}
	b.generation.Store(generation)
}
