package store

import (
	"slices"
	"sync"
	"sync/atomic"

	"sallyport/session"
	"sallyport/topic"
)

// Memory is a Store that forgets everything when the process ends. Sessions,
// queues and flights live in the broker's own structures; a second copy here
// would serve nobody, so only retained messages and items are held.
type Memory struct {
	retained *topic.Names[*session.Message]
	changing sync.Mutex // held to change retained and bytes
	bytes    atomic.Int64
	closed   atomic.Bool

	keeping sync.Mutex // guards items
	items   map[string]map[string][]byte
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
func (m *Memory) Commit(b *Batch, done func(error)) {
	var err error
	if m.closed.Load() {
		err = ErrClosed
	} else if b != nil {
		for i := range b.Ops {
			if op := &b.Ops[i]; op.Item != nil {
				m.keep(op)
			}
		}
	}
	if done != nil {
		done(err)
	}
}

func (m *Memory) keep(op *Op) {
	m.keeping.Lock()
	defer m.keeping.Unlock()
	table := m.items[op.Item.Table]
	if op.Kind == DeleteItem {
		delete(table, op.Item.Name)
		return
	}
	if table == nil {
		table = make(map[string][]byte)
		if m.items == nil {
			m.items = make(map[string]map[string][]byte)
		}
		m.items[op.Item.Table] = table
	}
	table[op.Item.Name] = slices.Clone(op.Item.Value)
}

// Items implements Store.
func (m *Memory) Items(table string, yield func(Item) error) error {
	m.keeping.Lock()
	defer m.keeping.Unlock()
	for name, value := range m.items[table] {
		if err := yield(Item{table, name, slices.Clone(value)}); err != nil {
			return err
		}
	}
	return nil
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
