package security

import (
	"crypto/rand"
	"strings"
	"sync"
	"time"
)

// Decisions keeps the last refusals under short identifiers, so that a client
// can be told an identifier and the operator looks up the rest. The zero
// Decisions is ready for use.
type Decisions struct {
	mu sync.Mutex // guards the fields below
	// ring holds count refusals from first on, in the order of their coming.
	ring         []Refusal
	first, count int
	bytes        int // of what clients said in them
	byID         map[string]int
}

// Refusal is one refused request. Its message is not kept.
type Refusal struct {
	ID      string
	At      time.Time
	Request Request
	Verdict Verdict
}

// size is what a client said in a refused request, in bytes.
func (r *Refusal) size() int { return len(r.Request.Topic) + len(r.Request.Group) }

const (
	refusalsKept = 4096
	refusalBytes = 16 << 20 // of topics and share names, which may have 64 KiB each
	refusalChars = 8        // of 32 possible each
)

// Keep remembers the refusal of q and returns its identifier: eight characters
// that tell nothing.
func (d *Decisions) Keep(q Request, v Verdict) string {
	q.Topic, q.Group, q.Message = strings.Clone(q.Topic), strings.Clone(q.Group), nil
	now := time.Now()
	q.At = now.UnixNano()
	r := Refusal{ID: rand.Text()[:refusalChars], At: now, Request: q, Verdict: v}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.byID == nil {
		d.byID, d.ring = make(map[string]int), make([]Refusal, refusalsKept)
	}
	for d.count == refusalsKept || d.count > 0 && d.bytes+r.size() > refusalBytes {
		d.forgetFirst()
	}
	at := (d.first + d.count) % refusalsKept
	d.ring[at], d.byID[r.ID] = r, at
	d.count++
	d.bytes += r.size()
	return r.ID
}

// forgetFirst forgets the oldest refusal. The caller holds d.mu.
func (d *Decisions) forgetFirst() {
	old := &d.ring[d.first]
	d.bytes -= old.size()
	if d.byID[old.ID] == d.first { // else a newer one got the same identifier
		delete(d.byID, old.ID)
	}
	*old = Refusal{}
	d.first = (d.first + 1) % refusalsKept
	d.count--
}

// Find returns the refusal with an identifier, if it is still kept. Case does not count.
func (d *Decisions) Find(id string) (Refusal, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i, ok := d.byID[strings.ToUpper(id)]
	if !ok {
		return Refusal{}, false
	}
	return d.ring[i], true
}
