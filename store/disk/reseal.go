package disk

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"
)

// resealBytes is how much of a store one batch of Reseal takes.
const resealBytes = 1 << 20

// Reseal makes a new store of all records of another that nobody has open: encrypted
// under keys of its own if to has a key, and else not. to names an empty folder, or none.
// progress is told how many records there were so far.
func Reseal(ctx context.Context, from, to Options, progress func(records int64)) error {
	i, err := Inspect(from)
	if err != nil {
		return err
	}
	s, _, err := openTree(to)
	if err != nil {
		return errors.Join(fmt.Errorf("open store %s: %w", to.Dir, err), i.Close())
	}
	err = s.create()
	if err == nil {
		c := &copying{ctx: ctx, from: i, to: s, batch: s.db.NewBatch(), progress: progress, publishers: make(map[[hashBytes]byte][]byte)}
		err = errors.Join(c.all(), c.batch.Close())
	}
	if err = errors.Join(err, s.db.Close(), i.Close()); err != nil {
		return fmt.Errorf("seal the store anew: %w", oneLine{err})
	}
	return nil
}

// copying is a store that records are added to.
type copying struct {
	ctx      context.Context
	from     *Inspection
	to       *Store
	batch    *pebble.Batch
	progress func(int64)
	n        int64

	publishers map[[hashBytes]byte][]byte // the new hash of each
}

func (c *copying) all() error {
	for _, k := range kindNames {
		err := c.from.walk(k.kind, func(key, value []byte, err error) error {
			if err == nil {
				err = c.add(key, value)
			}
			if err != nil {
				return fmt.Errorf("%s record %x: %w", k.name, key, err)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return c.commit(pebble.Sync)
}

func (c *copying) add(key, value []byte) error {
	key, err := c.key(key, value)
	if err != nil {
		return err
	}
	if value, err = c.value(key[0], value); err != nil {
		return err
	}
	if err := c.to.put(c.batch, key, value); err != nil {
		return err
	}
	c.n++
	if c.batch.Len() < resealBytes {
		return nil
	}
	return c.commit(pebble.NoSync)
}

func (c *copying) commit(how *pebble.WriteOptions) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	if err := c.to.db.Apply(c.batch, how); err != nil {
		return err
	}
	c.progress(c.n)
	c.batch.Reset()
	return nil
}

// key is the key of a record in the new store, whose hashes are of another secret.
func (c *copying) key(key, value []byte) ([]byte, error) {
	in := &reader{rest: value}
	switch key[0] {
	case kindSubscription:
		if len(key) != 9+hashBytes {
			return nil, errRecord
		}
		sub := in.subscription()
		if in.err != nil {
			return nil, in.err
		}
		return c.to.hash(append([]byte(nil), key[:9]...), sub.Filter), nil
	case kindRetained:
		in.version()
		in.byte()
		in.byte()
		topic := in.text()
		return c.to.retainedKey(string(topic)), in.err
	case kindOrigin:
		in.version()
		return c.to.hash([]byte{kindOrigin}, string(in.rest)), in.err
	case kindItem:
		table, name, _ := in.item()
		return c.to.itemKey(string(table), string(name)), in.err
	}
	return key, nil
}

// value is what a record holds in the new store: a message ends with the hash of its
// publisher, if it has one.
func (c *copying) value(kind byte, value []byte) ([]byte, error) {
	in := &reader{rest: value}
	switch kind {
	case kindMessage, kindRetained:
		in.version()
	case kindWill:
		in.version()
		in.number()
		in.number()
	case kindEntry:
		return c.entries(value)
	default:
		return value, nil
	}
	out := slices.Clone(value)
	if err := c.message(in, out); err != nil {
		return nil, err
	}
	return out, in.end()
}

// entries is value for messages that wait.
func (c *copying) entries(value []byte) ([]byte, error) {
	in, out := &reader{rest: value}, slices.Clone(value)
	for range in.entries() {
		if _, _, _, apart := in.entry(); apart == 0 {
			if err := c.message(in, out); err != nil {
				return nil, err
			}
		}
	}
	return out, in.end()
}

// message passes over a message, whose publisher's hash it changes in out, where
// everything else is as in has it.
func (c *copying) message(in *reader, out []byte) error {
	h := in.head()
	if in.err != nil || h.flags&msgOrigin == 0 || h.flags&msgSameOrigin != 0 {
		return in.err
	}
	end := len(out) - len(in.rest)
	hash, err := c.publisher([hashBytes]byte(out[end-hashBytes:]))
	if err != nil {
		return err
	}
	copy(out[end-hashBytes:end], hash)
	return nil
}

// publisher is the new hash of a publisher.
func (c *copying) publisher(old [hashBytes]byte) ([]byte, error) {
	if hash := c.publishers[old]; hash != nil {
		return hash, nil
	}
	text, err := c.from.get(append([]byte{kindOrigin}, old[:]...))
	if err != nil {
		return nil, fmt.Errorf("its publisher is missing: %w", err)
	}
	key, err := c.key([]byte{kindOrigin}, text)
	if err != nil {
		return nil, err
	}
	if len(c.publishers) >= publishersRead {
		clear(c.publishers)
	}
	c.publishers[old] = key[1:]
	return key[1:], nil
}
