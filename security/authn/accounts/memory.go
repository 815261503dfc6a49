package accounts

import (
	"bytes"
	"sync"
)

// Memory is a Keeper that keeps nothing beyond the process. The zero value is empty.
type Memory struct {
	mu      sync.Mutex // guards the field below
	records map[[2]string][]byte
}

// Load implements Keeper.
func (m *Memory) Load(yield func(Record) error) error {
	m.mu.Lock()
	var all []Record
	for key, value := range m.records {
		all = append(all, Record{Table: key[0], Name: key[1], Value: value})
	}
	m.mu.Unlock()
	for _, r := range all {
		if err := yield(r); err != nil {
			return err
		}
	}
	return nil
}

// Keep implements Keeper.
func (m *Memory) Keep(changes []Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.records == nil {
		m.records = map[[2]string][]byte{}
	}
	for _, r := range changes {
		key := [2]string{r.Table, r.Name}
		if r.Value == nil {
			delete(m.records, key)
		} else {
			m.records[key] = bytes.Clone(r.Value)
		}
	}
	return nil
}
