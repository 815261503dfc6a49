package disk

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
)

// Stats is how large a store is, and what of.
type Stats struct {
	Format     uint32 `json:"format"`
	Encrypted  bool   `json:"encrypted"`
	Epochs     int    `json:"epochs"`      // starts of an encrypted store that are known
	Epoch      uint32 `json:"epoch"`       // the last of them
	Kinds      []Size `json:"kinds"`       // in the order of kindNames
	LogBytes   int64  `json:"log_bytes"`   // what is not yet sorted into tables, and room for more
	TableBytes int64  `json:"table_bytes"` // of all tables, with what is deleted and not yet gone
	OtherBytes int64  `json:"other_bytes"`
}

// Size is how many records of a kind there are.
type Size struct {
	Kind    string `json:"kind"`
	Records int64  `json:"records"`
	// Messages is, of queued, how many wait: a record may hold several.
	Messages int64  `json:"messages,omitempty"`
	Bytes    int64  `json:"bytes"`   // keys and values as they are written
	OnDisk   uint64 `json:"on_disk"` // of the tables, about
}

// Stats counts the records and the files.
func (i *Inspection) Stats() (*Stats, error) {
	s := &Stats{Format: i.format, Encrypted: i.seal != nil}
	err := i.epochs(s)
	gone := int64(0)
	for k := 0; k < len(kindNames) && err == nil; k++ {
		var size Size
		size, err = i.size(kindNames[k].kind)
		size.Kind = kindNames[k].name
		if kindNames[k].kind == kindGone {
			gone, size.Messages = size.Messages, 0
		}
		if kindNames[k].kind == kindEntry {
			size.Messages += gone
		}
		s.Kinds = append(s.Kinds, size)
	}
	if err == nil {
		err = i.files(s)
	}
	if err != nil {
		return nil, oneLine{err}
	}
	return s, nil
}

func (i *Inspection) size(kind byte) (s Size, err error) {
	it, err := i.db.NewIter(&pebble.IterOptions{LowerBound: []byte{kind}, UpperBound: []byte{kind + 1}})
	if err != nil {
		return s, err
	}
	var buf []byte
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		var v []byte
		v, err = it.ValueAndErr()
		s.Bytes += int64(len(it.Key()) + len(v))
		if s.Records++; kind != kindEntry && kind != kindGone || err != nil {
			continue
		}
		if i.seal != nil {
			v, err = i.seal.open(buf[:0], it.Key(), v)
			buf = v
		}
		s.Messages += waiting(kind, &reader{rest: v})
	}
	if err = cmp.Or(it.Close(), err); err != nil {
		return s, err
	}
	s.OnDisk, err = i.db.EstimateDiskUsage([]byte{kind}, []byte{kind + 1})
	return s, err
}

// waiting is how many messages a record adds to those that wait, or takes away. It is
// not held against others, and counts nothing where it can't be read.
func waiting(kind byte, r *reader) (n int64) {
	if kind == kindEntry {
		return int64(r.entries())
	}
	for _, b := range r.gone() {
		n -= int64(bits.OnesCount8(b))
	}
	return n
}

func (i *Inspection) epochs(s *Stats) error {
	return i.walk(kindMeta, func(key, _ []byte, err error) error {
		if len(key) == len(epochKeys)+4 && string(key[:len(epochKeys)]) == string(epochKeys) {
			s.Epochs++
			s.Epoch = binary.BigEndian.Uint32(key[len(epochKeys):])
		}
		return err
	})
}

func (i *Inspection) files(s *Stats) error {
	names, err := i.opt.FS.List(i.opt.Dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		info, err := i.opt.FS.Stat(i.opt.FS.PathJoin(i.opt.Dir, name))
		if err != nil {
			return err
		}
		switch {
		case strings.HasSuffix(name, ".log"):
			s.LogBytes += info.Size()
		case strings.HasSuffix(name, ".sst"), strings.HasSuffix(name, ".blob"):
			s.TableBytes += info.Size()
		default:
			s.OtherBytes += info.Size()
		}
	}
	return nil
}

// Check reads the whole store: the checksum of every block of every table, the order
// of the records in them, and each record. It goes on behind what is wrong, which it
// tells problem, and returns how many tables and how many sound records of each kind
// there are.
func (i *Inspection) Check(problem func(error)) (tables int, records map[string]int64, err error) {
	tables, err = i.tables(problem)
	if err != nil {
		return tables, nil, err
	}
	records = map[string]int64{}
	err = i.Each(func(r *Record) error { records[r.Kind]++; return nil }, problem)
	return tables, records, err
}

func (i *Inspection) tables(problem func(error)) (n int, err error) {
	levels, err := i.db.SSTables()
	if err != nil {
		return 0, err
	}
	sound := true
	for _, level := range levels {
		for _, t := range level {
			n++
			name := t.BackingSSTNum.String() + ".sst"
			if err := i.table(name); err != nil {
				sound = false
				problem(fmt.Errorf("table %s: %w", name, oneLine{err}))
			}
		}
	}
	if sound { // else what is wrong is said
		if err := i.db.CheckLevels(nil); err != nil {
			problem(fmt.Errorf("order of the records: %w", oneLine{err}))
		}
	}
	return n, nil
}

// table reads every block of one table.
func (i *Inspection) table(name string) error {
	f, err := i.opt.FS.Open(i.opt.FS.PathJoin(i.opt.Dir, name))
	if err != nil {
		return err
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	opt := &pebble.Options{Logger: mute{}}
	opt.EnsureDefaults()
	r, err := sstable.NewReader(context.Background(), readable, opt.MakeReaderOptions())
	if err != nil {
		return errors.Join(err, readable.Close())
	}
	return errors.Join(r.ValidateBlockChecksums(), r.Close())
}
