package store

import (
	"sync"
	"sync/atomic"

	"sallyport/session"
	"sallyport/topic"
)

// Memory is a Store that forgets everything when the process ends. Sessions,
// queues and flights live in the broker's own structures; a second copy here
// would serve nobody, so only retained messages are held.
type Memory struct {
	retained *topic.Names[*session.Message]
	changing sync.Mutex // held to change retained and bytes
	bytes    atomic.Int64
	closed   atomic.Bool
}

// NewMemory makes an empty store.
func NewMemory() *Memory {
	return &Memory{retained: topic.NewNames[*session.Message]()}
}

// Retain implements Store.
func (m *Memory) Retain(msg *session.Message) {
	m.changing.Lock()
	defer m.changing.Unlock()
	old, replaced := m.retained.Set(msg.Topic, msg)
	m.bytes.Add(int64(msg.Size()))
	if replaced {
		m.bytes.Add(-int64(old.Size()))
	}
}

// Unretain implements Store.
func (m *Memory) Unretain(name string) {
	m.changing.Lock()
	defer m.changing.Unlock()
	m.unretain(name)
}

// UnretainIf implements Store.
func (m *Memory) UnretainIf(name string, over func(*session.Message) bool) bool {
	m.changing.Lock()
	defer m.changing.Unlock()
	msg, ok := m.retained.Get(name)
	if !ok || !over(msg) {
		return false
	}
	m.unretain(name)
	return true
}

func (m *Memory) unretain(name string) {
	if old, had := m.retained.Delete(name); had {
		m.bytes.Add(-int64(old.Size()))
	}
}

// Commit calls done before it returns.
func (m *Memory) Commit(_ *Batch, done func(error)) {
	if done == nil {
		return
	}
	if m.closed.Load() {
		done(ErrClosed)
		return
	}
	done(nil)
}

// Retained implements Store.
func (m *Memory) Retained(name string) (*session.Message, bool) { return m.retained.Get(name) }

// ScanRetained implements Store.
func (m *Memory) ScanRetained(filter, after string, work int, yield func(*session.Message) bool) (string, bool) {
	return m.retained.Scan(filter, after, work, func(_ string, v *session.Message) bool { return yield(v) })
}

// EachRetained implements Store.
func (m *Memory) EachRetained(after string, work int, yield func(*session.Message) bool) (string, bool) {
	return m.retained.Each(after, work, func(_ string, v *session.Message) bool { return yield(v) })
}

// RetainedCount implements Store.
func (m *Memory) RetainedCount() (messages, bytes int64) {
	return int64(m.retained.Len()), m.bytes.Load()
}

// Close implements Store.
func (m *Memory) Close() error {
	m.closed.Store(true)
	return nil
}
