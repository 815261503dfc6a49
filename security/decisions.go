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
	mu   sync.Mutex // guards the fields below
	ring []Refusal
	next int
	byID map[string]int
}

// Refusal is one refused request. Its message is not kept.
type Refusal struct {
	ID      string
	At      time.Time
	Request Request
	Verdict Verdict
}

const (
	refusalsKept = 4096
	refusalChars = 8 // of 32 possible each
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
		d.byID = make(map[string]int)
	}
	if len(d.ring) < refusalsKept {
		d.ring = append(d.ring, r)
		d.byID[r.ID] = len(d.ring) - 1
		return r.ID
	}
	delete(d.byID, d.ring[d.next].ID)
	d.ring[d.next] = r
	d.byID[r.ID] = d.next
	d.next = (d.next + 1) % refusalsKept
	return r.ID
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
