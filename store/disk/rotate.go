package disk

import (
	"errors"
	"fmt"

	"sallyport/store"

	"github.com/cockroachdb/pebble/v2"
)

// RotateKey wraps the data key of a store that is open with another key: from its
// return on the old one opens nothing any more. What is sealed stays as it is. Whoever
// has the old key and what the disk held before has the data key, and so all of it.
func (s *Store) RotateKey(key []byte) error {
	switch {
	case s.seal == nil:
		return ErrNotEncrypted
	case len(key) != KeySize:
		return ErrKeySize
	}
	return s.aside(func() error {
		err := rewrap(s.db, s.seal, key)
		if err == nil && s.files.lazy {
			s.files.due.Store(true)
			err = s.db.LogData(nil, pebble.Sync)
		}
		return err
	})
}

// aside does what waits for Pebble, which never returns once the store has failed.
// Close waits for it.
func (s *Store) aside(work func() error) error {
	s.mu.Lock()
	if s.closed || s.failed != nil {
		err := s.failed
		s.mu.Unlock()
		if err == nil {
			err = store.ErrClosed
		}
		return err
	}
	s.running++
	s.mu.Unlock()
	done := make(chan error, 1)
	go func() {
		done <- work()
		s.mu.Lock()
		s.running--
		s.mu.Unlock()
		s.wake.Broadcast()
	}()
	select {
	case err := <-done:
		return err
	case <-s.broke:
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.failed
	}
}

// Opens reports whether key is the one that the store, which is open, opens with.
func (s *Store) Opens(key []byte) (bool, error) {
	if s.seal == nil {
		return false, ErrNotEncrypted
	}
	err := s.aside(func() error {
		wrapped, err := getterOf(s.db)(wrappedKey)
		if err == nil {
			_, err = unwrap(wrapped, key, s.seal.format)
		}
		return err
	})
	if errors.Is(err, ErrWrongKey) {
		return false, nil
	}
	return err == nil, err
}

// rewrap writes the data key under a user's key: one record, durable on return.
func rewrap(db *pebble.DB, c *sealer, key []byte) error {
	wrapped, err := c.wrap(key)
	if err != nil {
		return err
	}
	return db.Set(wrappedKey, wrapped, pebble.Sync)
}

// Rekey is RotateKey for a store that nobody has open; opt says where it is and with
// which key it opens now.
func Rekey(opt Options, key []byte) error {
	if opt.Key == nil || len(key) != KeySize {
		return ErrKeySize
	}
	opt.defaults()
	if _, err := opt.FS.Stat(opt.Dir); err != nil {
		return fmt.Errorf("open store %s: %w", opt.Dir, err) // none is made here
	}
	s, fs, err := openTree(opt)
	if err != nil {
		return fmt.Errorf("open store %s: %w", opt.Dir, err)
	}
	fs.armed.Store(true)
	return errors.Join(s.RotateKey(key), s.Close())
}
