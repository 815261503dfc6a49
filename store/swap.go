package store

import (
	"sync/atomic"

	"sallyport/session"
)

// Durable is a Store that outlives the process.
type Durable interface {
	Store
	Restorer
	Pager
	Bounded
}

// Bounded is a Store that may have no room.
type Bounded interface {
	// Full reports whether nothing new should be kept for now.
	Full() bool
}

// Swap is a Durable in whose place another can be put: one that was opened again
// after it had failed. Its methods are those of the present one.
type Swap struct{ at atomic.Pointer[Durable] }

// NewSwap makes a Swap of d.
func NewSwap(d Durable) *Swap {
	s := &Swap{}
	s.Put(d)
	return s
}

// Put puts d in the place of the present store, which is the caller's to close.
func (s *Swap) Put(d Durable) { s.at.Store(&d) }

func (s *Swap) now() Durable { return *s.at.Load() }

// The methods of the present store.

func (s *Swap) Restore() ([]*Restored, uint64)         { return s.now().Restore() }
func (s *Swap) Full() bool                             { return s.now().Full() }
func (s *Swap) Retain(m *session.Message)              { s.now().Retain(m) }
func (s *Swap) Unretain(topic string)                  { s.now().Unretain(topic) }
func (s *Swap) Commit(b *Batch, done func(error))      { s.now().Commit(b, done) }
func (s *Swap) RetainedCount() (messages, bytes int64) { return s.now().RetainedCount() }
func (s *Swap) Close() error                           { return s.now().Close() }

func (s *Swap) Items(table string, yield func(Item) error) error { return s.now().Items(table, yield) }

func (s *Swap) Page(session, first, last uint64, entries, bytes int) ([]RestoredEntry, error) {
	return s.now().Page(session, first, last, entries, bytes)
}

func (s *Swap) UnretainIf(topic string, over func(*session.Message) bool) bool {
	return s.now().UnretainIf(topic, over)
}

func (s *Swap) Retained(topic string) (*session.Message, bool) { return s.now().Retained(topic) }

func (s *Swap) ScanRetained(filter, after string, work int, yield func(*session.Message) bool) (string, bool) {
	return s.now().ScanRetained(filter, after, work, yield)
}

func (s *Swap) EachRetained(after string, work int, yield func(*session.Message) bool) (string, bool) {
	return s.now().EachRetained(after, work, yield)
}
