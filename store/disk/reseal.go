package disk

import (
	"context"
	"errors"
	"fmt"

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
		c := &copying{ctx: ctx, to: s, batch: s.db.NewBatch(), progress: progress}
		err = errors.Join(c.all(i), c.batch.Close())
	}
	if err = errors.Join(err, s.db.Close(), i.Close()); err != nil {
		return fmt.Errorf("seal the store anew: %w", oneLine{err})
	}
	return nil
}

// copying is a store that records are added to.
type copying struct {
	ctx      context.Context
	to       *Store
	batch    *pebble.Batch
	progress func(int64)
	n        int64
	from     publishers
}

func (c *copying) all(from *Inspection) error {
	c.from.read = from.get
	for _, k := range kindNames {
		err := from.walk(k.kind, func(key, value []byte, err error) error {
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
	key, err := c.keyOf(key, value)
	if err != nil {
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

// keyOf is the key of a record in the new store, whose hashes are of another secret.
// That of a publisher stays as it is: no more than that is asked of it.
func (c *copying) keyOf(key, value []byte) ([]byte, error) {
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
		m := in.message(&c.from)
		if err := in.end(); err != nil {
			return nil, err
		}
		return c.to.retainedKey(m.Topic), nil
	}
	return key, nil
}
