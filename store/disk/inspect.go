package disk

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strings"

	"sallyport/session"
	"sallyport/store"

	"github.com/cockroachdb/pebble/v2"
)

// Inspection is a store that is read and not changed; nobody else may have it open.
type Inspection struct {
	opt    Options
	db     *pebble.DB
	seal   *sealer
	format uint32
}

// Inspect opens a store for reading alone: Dir, FS and Key of opt count.
func Inspect(opt Options) (*Inspection, error) {
	opt.defaults()
	i, err := inspect(opt)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", opt.Dir, oneLine{err})
	}
	return i, nil
}

func inspect(opt Options) (*Inspection, error) {
	if opt.Key != nil && len(opt.Key) != KeySize {
		return nil, ErrKeySize
	}
	db, err := openForReading(&opt)
	if err != nil {
		return nil, err
	}
	i := &Inspection{opt: opt, db: db}
	if err := i.unlock(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return i, nil
}

// openForReading opens the tree of a store that is there, and keeps others out.
func openForReading(opt *Options) (*pebble.DB, error) {
	if _, err := opt.FS.Stat(opt.Dir); errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("there is no such folder")
	}
	db, err := openReadOnly(opt, nil)
	if errors.Is(err, pebble.ErrDBDoesNotExist) {
		return nil, errNoStore
	}
	return db, err
}

var errNoStore = errors.New("the folder holds no store of Sallyport's")

func (i *Inspection) unlock() error {
	get := getterOf(i.db)
	format, err := get(formatKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return errNoStore
	}
	if err != nil {
		return err
	}
	if i.format, err = readFormat(format); err != nil {
		return err
	}
	if i.seal, err = unlock(get, i.opt.Key); i.seal != nil {
		i.seal.get = get
	}
	return err
}

// get reads one record as it was before it was sealed.
func (i *Inspection) get(key []byte) ([]byte, error) {
	value, err := getterOf(i.db)(key)
	if err == nil && i.seal != nil && key[0] != kindMeta {
		value, err = i.seal.open(nil, key, value)
	}
	return value, err
}

// Close ends the inspection.
func (i *Inspection) Close() error { return i.db.Close() }

// Record is one record of a store. Which fields are set depends on its kind.
type Record struct {
	Kind     string          // as kindNames has it
	Session  uint64          // its number, 0 for what belongs to none
	Client   string          // whose session that is
	Group    bool            // of a session: it is a shared subscription's, and Client its filter
	Expiry   uint32          // of a session, or of the message of a will
	Owner    *session.Origin // of a session; of a publisher, who it is
	Sub      *session.Subscription
	Seq      uint64           // of an entry or a flight
	QoS      byte             // of an entry
	Retain   bool             // of an entry
	SubIDs   []uint32         // of an entry
	Share    string           // filter of the shared subscription of an entry
	PacketID uint16           // of what is in flight, or of an incoming message
	State    session.State    // of what is in flight
	Message  *session.Message // of an entry, a will, a message that several wait for, or a retained one
	Item     store.Item       // of the broker's own state, without its Value
	At       int64            // when a will is due, in nanoseconds since 1970

	over  bool   // it is a message of a bundle that waits no more, or says of several what becomes of them
	run   uint16 // how many messages it says that of
	apart uint64 // the number of a message, or of that which an entry waits for
}

// kindNames are the kinds of records, in the order in which they are visited.
var kindNames = []struct {
	kind byte
	name string
}{
	{kindSession, "session"}, {kindSubscription, "subscription"}, {kindRun, "run"}, {kindFlight, "flight"}, {kindMessage, "message"},
	{kindGone, "gone"}, {kindEntry, "queued"}, {kindIncoming, "incoming"}, {kindWill, "will"}, {kindRetained, "retained"}, {kindOrigin, "publisher"}, {kindItem, "item"},
}

// Each visits every record, those of a kind together. It goes on behind a record
// that can't be read, or does not fit the others, and tells problem of it. An error
// of visit ends it.
func (i *Inspection) Each(visit func(*Record) error, problem func(error)) error {
	v := &visitor{i: i, from: publishers{read: i.get}, clients: map[uint64]string{}, flights: map[place]*Record{}, gone: map[place]*gone{}, messages: map[uint64]struct{}{}}
	for _, k := range kindNames {
		err := i.walk(k.kind, func(key, value []byte, err error) error {
			wrong := func(err error) {
				if err != nil {
					problem(fmt.Errorf("%s record %x: %w", k.name, key, oneLine{err}))
				}
			}
			var all []*Record
			if err == nil {
				all, err = v.records(key, value)
			}
			if wrong(err); err != nil {
				return nil
			}
			for _, r := range all {
				r.Kind = k.name
				wrong(v.relate(k.kind, r))
				if r.over {
					continue
				}
				if err := visit(r); err != nil {
					return err
				}
			}
			return nil
		})
		if stopped, ok := errors.AsType[stop](err); ok {
			return stopped.error
		}
		if err != nil {
			problem(fmt.Errorf("%s records: %w", k.name, oneLine{err}))
		}
	}
	return nil
}

// stop is an error of whoever visits, which ends all.
type stop struct{ error }

func (s stop) Unwrap() error { return s.error }

// oneLine is an error of Pebble's without what it adds for its own reports.
type oneLine struct{ error }

func (o oneLine) Unwrap() error { return o.error }

func (o oneLine) Error() string {
	text := strings.ReplaceAll(o.error.Error(), "<corruption detail carrier>", "")
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' }), "; ")
}

// walk reads all records of a kind as they were before they were sealed; err says
// that one could not be opened.
func (i *Inspection) walk(kind byte, read func(key, value []byte, err error) error) error {
	it, err := i.db.NewIter(&pebble.IterOptions{LowerBound: []byte{kind}, UpperBound: []byte{kind + 1}})
	if err != nil {
		return err
	}
	var buf []byte
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err == nil && i.seal != nil && kind != kindMeta {
			value, err = i.seal.open(buf[:0], it.Key(), value)
			buf = value
		}
		if err := read(it.Key(), value, err); err != nil {
			return stop{errors.Join(err, it.Close())}
		}
	}
	return it.Close() // and what it ran into
}

// visitor is what Each knows of the records before.
type visitor struct {
	i        *Inspection
	from     publishers
	clients  map[uint64]string
	flights  map[place]*Record
	gone     map[place]*gone // of bundles
	messages map[uint64]struct{}
	last     place // of an entry; they come in order
}

// relate holds a record against those before.
func (v *visitor) relate(kind byte, r *Record) error {
	var err error
	switch kind {
	case kindRetained, kindOrigin, kindItem:
		return nil
	case kindMessage:
		v.messages[r.apart] = struct{}{}
		return nil
	case kindSession:
		v.clients[r.Session] = r.Client
		return nil
	case kindRun:
		for i := range uint64(r.run) {
			if v.flights[place{r.Session, r.Seq + i}] != nil {
				err = errPlace
			}
			v.flights[place{r.Session, r.Seq + i}] = &Record{PacketID: r.PacketID + uint16(i)}
		}
	case kindFlight:
		v.flights[place{r.Session, r.Seq}] = r
	case kindEntry:
		if !r.over {
			err = v.complete(r)
		}
		if at := (place{r.Session, r.Seq}); at.sid == v.last.sid && at.seq <= v.last.seq {
			err = errors.Join(err, errPlace)
		} else {
			v.last = at
		}
	}
	client, known := v.clients[r.Session]
	if r.Client = client; !known {
		err = errors.Join(err, errors.New("it belongs to no session"))
	}
	return err
}

// complete adds to an entry what other records hold of it.
func (v *visitor) complete(r *Record) error {
	if f := v.flights[place{r.Session, r.Seq}]; f != nil {
		r.PacketID, r.State = f.PacketID, f.State
		delete(v.flights, place{r.Session, r.Seq})
	}
	if r.apart == 0 {
		return nil
	}
	if _, known := v.messages[r.apart]; !known {
		return fmt.Errorf("its message is missing: %w", errRecord)
	}
	k := key(kindMessage, r.apart)
	value, err := getterOf(v.i.db)(k)
	if err == nil && v.i.seal != nil {
		value, err = v.i.seal.open(nil, k, value)
	}
	if err != nil {
		return err
	}
	m, err := v.record(k, value)
	if err != nil {
		return err
	}
	r.Message = m.Message
	return nil
}

// records decodes a record: a bundle is several.
func (v *visitor) records(key, value []byte) ([]*Record, error) {
	if key[0] != kindEntry {
		r, err := v.record(key, value)
		return []*Record{r}, err
	}
	if len(key) != 17 {
		return nil, errRecord
	}
	at, in := place{binary.BigEndian.Uint64(key[1:]), binary.BigEndian.Uint64(key[9:])}, &reader{rest: value}
	n, over := in.entries(), v.gone[at]
	delete(v.gone, at)
	var all []*Record
	for i := range uint64(n) {
		out := &Record{Session: at.sid, Seq: at.seq + i, over: n > 1 && over.has(i)}
		v.entry(out, in)
		all = append(all, out)
	}
	return all, in.end()
}

// record decodes one record that is no bundle.
func (v *visitor) record(key, value []byte) (*Record, error) {
	out, in := &Record{}, &reader{rest: value}
	rest := key[1:]
	if key[0] != kindRetained && key[0] != kindOrigin && key[0] != kindItem {
		if len(rest) < 8 {
			return nil, errRecord
		}
		out.Session, rest = binary.BigEndian.Uint64(rest), rest[8:]
	}
	if want, known := restSizes[key[0]]; !known || len(rest) != want {
		return nil, errRecord
	}
	var err error
	switch key[0] {
	case kindSession:
		err = v.session(out, in)
	case kindSubscription:
		out.Sub = in.subscription()
	case kindGone:
		g := in.gone()
		out.over = true
		v.gone[place{out.Session, binary.BigEndian.Uint64(rest)}] = &g
	case kindRun:
		out.over, out.Seq = true, binary.BigEndian.Uint64(rest)
		out.PacketID, out.run = in.run()
	case kindFlight:
		out.Seq = binary.BigEndian.Uint64(rest)
		err = v.flight(out, in)
	case kindIncoming:
		in.version()
		out.PacketID = binary.BigEndian.Uint16(rest)
	case kindWill:
		in.version()
		at, expiry := in.number(), in.number()
		out.Expiry = uint32(min(expiry, math.MaxUint32))
		out.At, out.Message = int64(min(at, math.MaxInt64)), in.message(&v.from)
	case kindMessage:
		in.version()
		out.Message, out.apart, out.Session = in.message(&v.from), out.Session, 0
	case kindOrigin:
		if in.version(); in.err == nil {
			out.Owner, err = readOrigin(in.rest)
			in.rest = nil
		}
	case kindRetained:
		in.version()
		out.Message = in.message(&v.from)
	case kindItem:
		table, name, _ := in.item()
		out.Item = store.Item{Table: string(table), Name: string(name)}
	}
	if err = cmp.Or(err, in.end()); err != nil {
		return nil, err
	}
	return out, nil
}

// restSizes is how long a key is behind its kind and its first number.
var restSizes = map[byte]int{
	kindSession: 0, kindSubscription: hashBytes, kindGone: 8, kindRun: 8, kindFlight: 8, kindIncoming: 2, kindWill: 0, kindMessage: 0, kindRetained: hashBytes, kindOrigin: hashBytes, kindItem: 2 * hashBytes,
}

func (v *visitor) session(out *Record, in *reader) error {
	in.version()
	out.Group = in.byte()&sessionGroup != 0
	out.Client = string(in.text())
	expiry := in.number()
	origin := in.text()
	if in.err != nil {
		return in.err
	}
	if expiry > math.MaxUint32 {
		return errRecord
	}
	out.Expiry = uint32(expiry)
	if len(origin) == 0 {
		return nil
	}
	var err error
	out.Owner, err = readOrigin(origin)
	return err
}

func (v *visitor) entry(out *Record, in *reader) {
	e, id, share, apart := in.entry()
	if in.err == nil && apart == 0 {
		e.Msg = in.message(&v.from)
	}
	out.PacketID = id
	out.QoS, out.Retain, out.SubIDs, out.Share, out.Message, out.apart = e.QoS, e.Retain, e.Via.IDs(), share, e.Msg, apart
}

func (v *visitor) flight(out *Record, in *reader) error {
	in.version()
	out.State = session.State(in.byte())
	hi, lo := in.byte(), in.byte()
	out.PacketID = uint16(hi)<<8 | uint16(lo)
	if in.err == nil && out.State > session.AwaitComp {
		return errRecord
	}
	return in.err
}
