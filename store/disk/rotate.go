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
	s.mu.Lock()
	if s.closed || s.failed != nil {
		err := s.failed
		s.mu.Unlock()
		if err == nil {
			err = store.ErrClosed
		}
		return err
	}
	s.running++ // Close waits for it
	s.mu.Unlock()
	done := make(chan error, 1)
	go func() {
		done <- rewrap(s.db, s.seal, key)
		s.mu.Lock()
		s.running--
		s.mu.Unlock()
		s.wake.Broadcast()
	}()
	select {
	case err := <-done:
		return err
	case <-s.broke: // and what writes never returns
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.failed
	}
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
