package disk

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
)

// An encrypted store hides what its records hold from whoever has the disk. What is
// seen is how many records of each kind there are, how long they are, which belong to
// one session, and when they were written.
//
// Three keys lie on top of each other. The user's key opens one record, which wraps
// the data key, 32 random bytes that are the store's as long as it exists. Of the data
// key and of 32 random bytes of its own each start of the store derives the key of its
// epoch, and seals with that alone: so numbers that count up are nonces that never
// come twice, also where a store is set back to an older state (a snapshot of a
// virtual machine, a restored copy) and counts the same epoch a second time. The
// secret of the hashes in keys is derived of the data key as well.
//
// A record is AES-256-GCM over its value, with its key as additional data: it can't be
// changed, nor moved to another key, of this store or of another. What nobody can tell
// from inside is that records are missing, or that the whole store, or one record of
// it, was set back to what it was before.

// KeySize is the length of a user's key.
const KeySize = 32

// What a store is refused for. Nothing on the disk has changed then.
var (
	ErrKeySize      = fmt.Errorf("a key of a store has %d bytes", KeySize)
	ErrWrongKey     = errors.New("the key is not the store's")
	ErrEncrypted    = errors.New("the store is encrypted, and no key was given")
	ErrNotEncrypted = errors.New("a key was given, and the store is not encrypted")
)

// errSealed says that a record is not what was sealed under its key.
var errSealed = fmt.Errorf("not what was sealed here: %w", errRecord)

// Records of kindMeta that a store without a key does not have.
var (
	wrappedKey = []byte{kindMeta, 'k'} // the data key
	epochKeys  = []byte{kindMeta, 'e'} // number of an epoch: its salt
)

const (
	nonceSize = 12 // 4 bytes epoch, 8 bytes counter
	tagSize   = 16
	sealSize  = nonceSize + tagSize // what a sealed value is longer

	wrapVersion = 1
	storeIDSize = 16
	saltSize    = 32
	wrapSize    = 1 + storeIDSize + saltSize + KeySize + tagSize

	olderKept = 64 // keys of older epochs that are remembered
)

// sealer seals and opens the records of one store.
type sealer struct {
	id      [storeIDSize]byte
	format  uint32 // of the store; bound to the data key
	dataKey [KeySize]byte
	get     getter // where the salts of older epochs are

	epoch   uint32        // of this start; 0: nothing is sealed, only opened
	present cipher.AEAD   // of epoch
	counter atomic.Uint64 // of the last nonce

	mu    sync.Mutex // guards older
	older map[uint32]cipher.AEAD
}

// getter reads one record as it lies on the disk; pebble.ErrNotFound: there is none.
type getter func(key []byte) ([]byte, error)

// newSealer makes the keys of a new store.
func newSealer() *sealer {
	c := &sealer{format: formatVersion}
	rand.Read(c.id[:])
	rand.Read(c.dataKey[:])
	return c
}

// unlock reads the keys of a store. It returns nil for one that is not encrypted, or
// is still empty.
func unlock(get getter, key []byte) (*sealer, error) {
	format, err := get(formatKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v, err := readFormat(format)
	if err != nil {
		return nil, err
	}
	wrapped, err := get(wrappedKey)
	switch {
	case errors.Is(err, pebble.ErrNotFound) && key == nil:
		return nil, nil
	case errors.Is(err, pebble.ErrNotFound):
		return nil, ErrNotEncrypted
	case err != nil:
		return nil, err
	case key == nil:
		return nil, ErrEncrypted
	}
	return unwrap(wrapped, key, v)
}

// readFormat is the version of a store's format; a newer one is an error.
func readFormat(b []byte) (uint32, error) {
	if len(b) != 4 {
		return 0, fmt.Errorf("format: %w", errRecord)
	}
	v := binary.BigEndian.Uint32(b)
	if v > formatVersion {
		return 0, fmt.Errorf("it was written by a newer version of Sallyport: its format is %d, this version knows formats up to %d", v, formatVersion)
	}
	return v, nil
}

// wrap is the data key under a user's key. The key that wraps is of a new salt, and
// used once: its nonce is zero.
func (c *sealer) wrap(key []byte) ([]byte, error) {
	b := append(make([]byte, 0, wrapSize), wrapVersion)
	b = append(b, c.id[:]...)
	b = b[:len(b)+saltSize]
	rand.Read(b[len(b)-saltSize:])
	aead, err := wrapper(key, b)
	if err != nil {
		return nil, err
	}
	return aead.Seal(b, make([]byte, nonceSize), c.dataKey[:], wrapData(b, c.format)), nil
}

// unwrap is the reverse of wrap.
func unwrap(b, key []byte, format uint32) (*sealer, error) {
	if len(b) == 0 || b[0] > wrapVersion {
		return nil, fmt.Errorf("the store's key was wrapped by a newer version of Sallyport: %w", errRecord)
	}
	if len(b) != wrapSize || b[0] != wrapVersion {
		return nil, fmt.Errorf("the store's key: %w", errRecord)
	}
	head := b[:1+storeIDSize+saltSize]
	aead, err := wrapper(key, head)
	if err != nil {
		return nil, err
	}
	dataKey, err := aead.Open(nil, make([]byte, nonceSize), b[len(head):], wrapData(head, format))
	if err != nil {
		return nil, ErrWrongKey
	}
	c := &sealer{format: format}
	copy(c.id[:], head[1:])
	copy(c.dataKey[:], dataKey)
	return c, nil
}

// wrapData is what is authenticated with the data key.
func wrapData(head []byte, format uint32) []byte {
	return binary.BigEndian.AppendUint32(append([]byte("sallyport store: data key"), head...), format)
}

// wrapper is the cipher of the head of a wrapped key.
func wrapper(key, head []byte) (cipher.AEAD, error) {
	if len(key) != KeySize {
		return nil, ErrKeySize
	}
	id, salt := head[1:1+storeIDSize], head[1+storeIDSize:]
	return derive(key, salt, "sallyport store: user key"+string(id))
}

// derive makes a cipher of a key.
func derive(key, salt []byte, info string) (cipher.AEAD, error) {
	k, err := hkdf.Key(sha256.New, key, salt, info, KeySize)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(k)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// hashKey is the secret of the hashes in keys.
func (c *sealer) hashKey() ([]byte, error) {
	return hkdf.Key(sha256.New, c.dataKey[:], nil, "sallyport store: hashes", KeySize)
}

func (c *sealer) cipherOf(epoch uint32, salt []byte) (cipher.AEAD, error) {
	return derive(c.dataKey[:], salt, string(binary.BigEndian.AppendUint32([]byte("sallyport store: epoch"), epoch)))
}

func epochKey(epoch uint32) []byte {
	return binary.BigEndian.AppendUint32(append(make([]byte, 0, len(epochKeys)+4), epochKeys...), epoch)
}

// begin makes the epoch that follows last, and adds its record to a batch. Nothing
// may be sealed before that is durable.
func (c *sealer) begin(last uint32, b *pebble.Batch) error {
	if last == math.MaxUint32 {
		return errors.New("the store has been opened too often: back it up and restore it into a new one")
	}
	salt := make([]byte, saltSize)
	rand.Read(salt)
	aead, err := c.cipherOf(last+1, salt)
	if err != nil {
		return err
	}
	c.epoch, c.present = last+1, aead
	c.counter.Store(0)
	return b.Set(epochKey(c.epoch), salt, nil)
}

// seal writes value, sealed under key, to dst, which has room for exactly that.
func (c *sealer) seal(dst, key, value []byte) error {
	n := c.counter.Add(1)
	if n == 0 || c.present == nil {
		c.counter.Store(math.MaxUint64) // and the next is refused as well
		return errors.New("there is no nonce left to seal with: open the store again")
	}
	binary.BigEndian.PutUint32(dst, c.epoch)
	binary.BigEndian.PutUint64(dst[4:], n)
	c.present.Seal(dst[nonceSize:nonceSize], dst[:nonceSize], value, key)
	return nil
}

// open appends to dst what was sealed under key.
func (c *sealer) open(dst, key, value []byte) ([]byte, error) {
	if len(value) < sealSize {
		return nil, errSealed
	}
	aead, err := c.opener(binary.BigEndian.Uint32(value))
	if err != nil {
		return nil, err
	}
	out, err := aead.Open(dst, value[:nonceSize], value[nonceSize:], key)
	if err != nil {
		return nil, errSealed
	}
	return out, nil
}

// opener is the cipher of an epoch.
func (c *sealer) opener(epoch uint32) (cipher.AEAD, error) {
	if epoch == c.epoch && c.present != nil {
		return c.present, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if aead := c.older[epoch]; aead != nil {
		return aead, nil
	}
	salt, err := c.get(epochKey(epoch))
	switch {
	case errors.Is(err, pebble.ErrNotFound) || err == nil && len(salt) != saltSize:
		return nil, errSealed // of an epoch that never was, or of what is left of it
	case err != nil:
		return nil, err
	}
	aead, err := c.cipherOf(epoch, salt)
	if err != nil {
		return nil, err
	}
	if c.older == nil || len(c.older) >= olderKept {
		c.older = make(map[uint32]cipher.AEAD)
	}
	c.older[epoch] = aead
	return aead, nil
}

// put adds a record to a batch, sealed if the store is.
func (s *Store) put(b *pebble.Batch, key, value []byte) error {
	if s.seal == nil || key[0] == kindMeta {
		return b.Set(key, value, nil)
	}
	op := b.SetDeferred(len(key), len(value)+sealSize)
	copy(op.Key, key)
	if err := s.seal.seal(op.Value, key, value); err != nil {
		return err
	}
	return op.Finish()
}

// opened is the value of a record as it was before it was sealed; it may use dst.
func (s *Store) opened(dst, key, value []byte) ([]byte, error) {
	if s.seal == nil || key[0] == kindMeta {
		return value, nil
	}
	return s.seal.open(dst[:0], key, value)
}

// secrets makes the store's keys ready. begin calls it before anything is read.
func (s *Store) secrets() error {
	if s.seal == nil {
		secret, err := s.get(secretKey)
		if err != nil || len(secret) != len(s.hashKey) {
			return errors.Join(fmt.Errorf("the key of its hashes: %w", errRecord), err)
		}
		copy(s.hashKey[:], secret)
		return nil
	}
	s.seal.get = getterOf(s.db)
	last, err := lastEpoch(s.db)
	if err != nil {
		return err
	}
	b := s.db.NewBatch()
	if err := errors.Join(s.seal.begin(last, b), s.deriveHashKey()); err != nil {
		return errors.Join(err, b.Close())
	}
	return errors.Join(s.db.Apply(b, pebble.Sync), b.Close())
}

// makeSecrets adds the keys of a new store to the batch that makes it.
func (s *Store) makeSecrets(b *pebble.Batch) error {
	if s.opt.Key == nil {
		rand.Read(s.hashKey[:])
		return b.Set(secretKey, s.hashKey[:], nil)
	}
	s.seal = newSealer()
	s.seal.get = getterOf(s.db)
	wrapped, err := s.seal.wrap(s.opt.Key)
	if err != nil {
		return err
	}
	return errors.Join(b.Set(wrappedKey, wrapped, nil), s.seal.begin(0, b), s.deriveHashKey())
}

func (s *Store) deriveHashKey() error {
	k, err := s.seal.hashKey()
	copy(s.hashKey[:], k)
	return err
}

// lastEpoch is the number of the last start that is known; 0: none is.
func lastEpoch(db pebble.Reader) (uint32, error) {
	it, err := db.NewIter(&pebble.IterOptions{LowerBound: epochKeys, UpperBound: []byte{epochKeys[0], epochKeys[1] + 1}})
	if err != nil {
		return 0, err
	}
	last := uint32(0)
	if it.Last() {
		k := it.Key()
		if len(k) != len(epochKeys)+4 {
			return 0, errors.Join(fmt.Errorf("record %x: %w", k, errRecord), it.Close())
		}
		last = binary.BigEndian.Uint32(k[len(epochKeys):])
	}
	return last, it.Close()
}
