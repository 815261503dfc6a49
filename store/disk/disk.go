// Package disk is the Store that outlives the process. It hides Pebble, a log-structured
// tree of sorted files, and how much of it one fsync keeps.
//
// Everything that is committed while the disk is busy with the group before becomes
// the next group: one batch of Pebble's, one fsync, and then the completions, in the
// order of the commits. So a lone publisher pays for one fsync and waits for no
// other, and many share one. What is undone before its group is written, a message
// that was acknowledged meanwhile, is not written at all.
//
// Keys (keys.go) hold numbers and keyed hashes, never a name or a topic. A message
// that several sessions wait for is written once, and counted in memory; the counts
// are made anew when the store is opened. What a group puts into one queue shares
// records (bundle.go). A queue is deleted record by record, from where it begins, and
// as a range only with its session.
//
// The store fails closed (fs.go): once a file can't be written, every commit that is
// pending or comes later is refused with ErrFailed, and nothing is tried again on files
// of which nobody knows what they hold. Who opens the store again has what was kept.
//
// With a key every record is sealed on its way to Pebble and opened on its way back
// (seal.go), and nothing on the disk says what is in it. A store whose key does not
// fit is refused before anything of it is written or shown.
package disk

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/session"
	"sallyport/store"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// ErrFailed is wrapped by what commits get once the store can't write any more.
var ErrFailed = errors.New("the store has failed")

// Durability says what a completed commit promises.
type Durability uint8

// The promises, from the safest on.
const (
	Always   Durability = iota // it survives a loss of power
	Interval                   // it survives the end of the process, and a loss of power that comes an interval later
	System                     // it survives the end of the process; the kernel writes it when it likes
)

// Options says where a store is and what it promises.
type Options struct {
	Dir        string
	FS         vfs.FS // nil: the system's
	Durability Durability
	Interval   time.Duration // of Interval; 0: 100 ms
	CacheBytes int64         // of Pebble's block cache; 0: 8 MiB
	MinFree    int64         // bytes of free space below which Full is true; 0: it never is
	Log        *slog.Logger  // nil: nothing is logged
	Key        []byte        // of KeySize bytes: everything is encrypted (seal.go); nil: nothing is
}

const (
	defaultInterval = 100 * time.Millisecond
	defaultCache    = 8 << 20
)

// Store is a store.Store on a disk. Retained messages are held in memory as well.
type Store struct {
	*store.Memory // the index of retained messages; its Commit is not used
	db            *pebble.DB
	opt           Options
	hashKey       [32]byte
	seal          *sealer // nil: the store is not encrypted
	files         *failStop
	loose         atomic.Bool  // something was written without an fsync
	lock          *pebble.Lock // of the folder
	space         space
	restored      []*store.Restored
	lastSession   uint64      // number, as of then
	snapshot      atomic.Bool // there is one

	mu        sync.Mutex // guards the fields below
	wake      *sync.Cond // there is a group, or the end
	sessions  map[uint64]*kept
	lastMID   uint64
	uses      map[uint64]int32                     // of messages that are written apart: sessions that wait for it
	published map[*session.Origin]*[hashBytes]byte // publishers that are written
	next      *group                               // what is gathered while the one before is written
	writing   *group                               // what is being written; nil: nothing is
	spare     *group                               // with room of one that is over; nil: none
	untold    []*group                             // what was written, and not completed yet
	closed    bool
	failed    error
	running   int // goroutines

	scratch []byte // of the committer

	reading sync.Mutex // one Page at a time; guards the field below
	readers publishers // of messages that Page reads

	stop  chan struct{} // closed by Close
	broke chan struct{} // closed when the store fails
}

// kept is a session that the store knows.
type kept struct {
	subs   bool                // it has had subscriptions,
	queue  bool                // messages,
	ids    bool                // or identifiers
	will   bool                // or a will
	noted  bool                // or a record of kindGone
	aparts int                 // its messages that are written apart
	flown  map[uint64]struct{} // its messages with a record of kindFlight, by Seq

	// Entries are numbered without a gap, but may be put and deleted in any order:
	// last is the highest Seq that was put, missing those below it that were not yet,
	// and early those of missing, or above last, that were deleted before.
	last           uint64
	missing, early map[uint64]struct{}

	bundles spans // of its messages,
	runs    spans // and of those that are on their way
	part    *part // of the present group; nil: none
}

// Open opens the store in a directory, which it makes if need be, and reads it all.
func Open(opt Options) (*Store, error) {
	s, fs, err := openTree(opt)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", opt.Dir, err)
	}
	if err := s.begin(); err != nil {
		return nil, errors.Join(fmt.Errorf("open store %s: %w", opt.Dir, oneLine{err}), s.db.Close())
	}
	s.opt.Key = nil // it is needed no more
	if err := s.removeSnapshot(); err != nil {
		s.opt.Log.Warn("what an interrupted backup left can't be removed", "error", err)
	}
	fs.armed.Store(true)
	s.start(s.run)
	s.start(s.tell)
	if s.opt.MinFree > 0 {
		s.look()
		s.start(s.watchSpace)
	}
	if s.opt.Durability != System {
		s.start(s.sync)
	}
	return s, nil
}

// openTree opens a store of which nothing is read but its key.
func openTree(opt Options) (*Store, *failStop, error) {
	opt.defaults()
	lock, seal, err := admit(&opt)
	if err != nil {
		return nil, nil, err
	}
	s := &Store{Memory: store.NewMemory(), opt: opt, seal: seal, sessions: make(map[uint64]*kept), uses: make(map[uint64]int32), published: make(map[*session.Origin]*[hashBytes]byte), next: &group{}, stop: make(chan struct{}), broke: make(chan struct{})}
	s.wake = sync.NewCond(&s.mu)
	cache := pebble.NewCache(opt.CacheBytes)
	defer cache.Unref() // Pebble has its own
	lazy := opt.Durability != Always
	if lazy {
		if err := opt.mark(true); err != nil {
			return nil, nil, errors.Join(err, unlocked(lock))
		}
	}
	fs := &failStop{fail: s.fail, lazy: lazy, snapshot: opt.FS.PathJoin(opt.Dir, snapshotDir)}
	s.files = fs
	tree := &pebble.Options{
		FS: fs, Cache: cache, Lock: lock, Logger: quiet{s}, FormatMajorVersion: pebble.FormatNewest,
		EventListener: &pebble.EventListener{DataCorruption: func(i pebble.DataCorruptionInfo) { // Pebble's own would be Fatalf
			opt.Log.Error("the store is damaged", "path", i.Path, "error", i.Details)
			if fs.armed.Load() {
				go s.fail(i.Details) // whoever found it may hold locks
			}
		}},
	}
	shape(tree, opt.Key != nil)
	s.db, err = opt.tree(func(on vfs.FS) (*pebble.DB, error) {
		fs.FS = on
		return pebble.Open(opt.Dir, tree)
	})
	if err = errors.Join(err, unlocked(lock)); err != nil {
		return nil, nil, err
	}
	if !lazy { // the logs from before are in tables now
		if err := opt.mark(false); err != nil {
			return nil, nil, errors.Join(err, s.db.Close())
		}
	}
	s.lock = lock // for Reopen
	return s, fs, nil
}

// shape chooses how the tree is kept. Nearly all that is written is deleted soon,
// and the larger the piece that is gathered in memory the more of it never becomes
// a table; what does is merged late. With Pebble's own choices half of the CPU of
// filling long queues is merging, and a tenth compressing what will be merged again.
func shape(o *pebble.Options, sealed bool) {
	o.MemTableSize = 8 << 20
	o.L0CompactionThreshold, o.L0StopWritesThreshold = 8, 32
	o.TargetFileSizes[0] = 8 << 20
	o.ApplyCompressionSettings(func() pebble.DBCompressionSettings {
		c := pebble.DBCompressionNone
		if !sealed { // what is sealed can't be compressed
			last := len(c.Levels) - 1
			c.Name, c.Levels[last] = "last level", pebble.DBCompressionFastest.Levels[last]
		}
		return c
	})
}

// defaults fills in what was left out.
func (opt *Options) defaults() {
	if opt.FS == nil {
		opt.FS = private{vfs.Default}
	}
	if opt.Interval <= 0 {
		opt.Interval = defaultInterval
	}
	if opt.CacheBytes <= 0 {
		opt.CacheBytes = defaultCache
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
}

// start runs a goroutine of the store's, which ends with Close. If the store has
// failed it may be within Pebble for ever.
func (s *Store) start(f func()) {
	s.mu.Lock()
	s.running++
	s.mu.Unlock()
	go func() {
		f()
		s.mu.Lock()
		s.running--
		s.mu.Unlock()
		s.wake.Broadcast()
	}()
}

// Restore implements store.Restorer.
func (s *Store) Restore() (kept []*store.Restored, last uint64) {
	kept, s.restored = s.restored, nil
	return kept, s.lastSession
}

// group is what one fsync keeps.
type group struct {
	buf   []byte // keys and values of recs
	recs  []rec
	sync  bool               // somebody waits for it, or for what must not come undone
	parts []*part            // what is gathered for each session
	marks []marked           // bundles of which something goes
	gone  map[place]struct{} // messages written apart that a session does not wait for any more
	msgs  []*session.Message // of all entries that came, once for each
	done  []func(error)
}

// place is a message in a session.
type place struct{ sid, seq uint64 }

// rec is one change of the tree.
type rec struct {
	kind  recKind
	key   int // where in the group's buf it begins,
	value int // and its value; for recRange: the end of the range
	end   int
	sid   uint64 // for recUnuse, as
	seq   uint64 // 0 for all of the session,
	first uint64 // and the bundle that seq is in, 0 for none,
	of    *kept  // and the session if seq is 0
}

type recKind uint8

const (
	recSet recKind = iota
	recDelete
	recRange
	recUnuse // a session waits no more for messages written apart
)

func (g *group) empty() bool {
	return len(g.recs) == 0 && len(g.done) == 0 && len(g.parts) == 0 && len(g.marks) == 0
}

// Commit implements store.Store.
func (s *Store) Commit(b *store.Batch, done func(error)) {
	s.mu.Lock()
	switch {
	case s.closed, s.failed != nil:
		err := store.ErrClosed
		if !s.closed {
			err = s.failed
		}
		s.mu.Unlock()
		if done != nil {
			done(err)
		}
		return
	case b.Empty() && s.next.empty() && s.writing == nil && len(s.untold) == 0:
		s.mu.Unlock()
		if done != nil {
			done(nil)
		}
		return
	}
	s.gather(b)
	if done != nil {
		s.next.done = append(s.next.done, done)
	}
	s.next.sync = s.next.sync || done != nil || !canWait(b)
	s.wake.Broadcast()
	s.mu.Unlock()
}

// canWait reports whether nothing is in b, for which nobody waits, but that messages
// were sent or wait no more. When it is lost with the power they are sent once more,
// which is known to be possible; so it causes no fsync of its own.
func canWait(b *store.Batch) bool {
	for i := range b.Ops {
		op := &b.Ops[i]
		if op.Kind != store.DeleteEntry && (op.Kind != store.SetFlight || op.State != session.AwaitAck) {
			return false
		}
	}
	return true
}

// run writes group after group. It ends with Close, or when the store fails.
func (s *Store) run() {
	for {
		s.mu.Lock()
		for s.next.empty() && !s.closed && s.failed == nil {
			s.wake.Wait()
		}
		g := s.next
		if s.failed != nil || g.empty() {
			s.mu.Unlock()
			return
		}
		s.next, s.writing, s.spare = s.spare, g, nil
		if s.next == nil {
			s.next = &group{}
		}
		s.finish(g)
		s.mu.Unlock()
		err := s.write(g)
		s.mu.Lock()
		if s.failed != nil {
			s.mu.Unlock()
			return // fail has completed the group
		}
		if err == nil {
			s.untold = append(s.untold, g)
			s.writing = nil
			s.wake.Broadcast()
		}
		s.mu.Unlock()
		if err != nil {
			s.fail(err)
			return
		}
	}
}

// reuseMost bounds the room that is kept for later groups, in bytes.
const reuseMost = 1 << 20

// reuse keeps the room of a group that is over. The caller holds s.mu.
func (s *Store) reuse(g *group) {
	if s.spare != nil || cap(g.buf) > reuseMost || cap(g.recs) > reuseMost/64 {
		return
	}
	clear(g.recs)
	clear(g.marks)
	clear(g.msgs)
	clear(g.done)
	for i, p := range g.parts {
		if i >= partsKept || cap(p.puts) > spanMost || cap(p.sends) > spanMost {
			g.parts[i] = nil
			continue
		}
		clear(p.puts[:cap(p.puts)])
		*p = part{puts: p.puts[:0], sends: p.sends[:0]}
	}
	s.spare = &group{buf: g.buf[:0], recs: g.recs[:0], parts: g.parts[:0], marks: g.marks[:0], msgs: g.msgs[:0], done: g.done[:0]}
}

// partsKept bounds the sessions for whose messages a later group has room.
const partsKept = 256

// tell completes what was written, while more is. It ends as run does.
func (s *Store) tell() {
	for {
		s.mu.Lock()
		for len(s.untold) == 0 && s.failed == nil && !(s.closed && s.next.empty() && s.writing == nil) {
			s.wake.Wait()
		}
		if len(s.untold) == 0 {
			s.mu.Unlock()
			return
		}
		g := s.untold[0]
		s.mu.Unlock()
		for _, m := range g.msgs {
			m.Lands()
		}
		for _, done := range g.done {
			done(nil)
		}
		s.mu.Lock()
		s.untold = s.untold[1:]
		s.reuse(g)
		s.mu.Unlock()
		s.wake.Broadcast() // Close may wait for the last
	}
}

// write gives a group to Pebble.
func (s *Store) write(g *group) error {
	b := s.db.NewBatchWithSize(len(g.buf) + 16*len(g.recs) + 64)
	if err := s.writePuts(b, g.parts); err != nil {
		return errors.Join(err, b.Close())
	}
	for i := range g.recs {
		r := &g.recs[i]
		key, value := g.buf[r.key:r.value:r.value], g.buf[r.value:r.end:r.end]
		var err error
		switch r.kind {
		case recSet:
			err = s.put(b, key, value)
		case recDelete:
			err = b.Delete(key, nil)
		case recRange:
			err = b.DeleteRange(key, value, nil)
		case recUnuse:
			err = s.unuseAll(g, r)
		}
		if err != nil {
			return errors.Join(err, b.Close())
		}
	}
	if b.Count() == 0 {
		return b.Close()
	}
	s.took(b.Len())
	how := pebble.Sync // see failStop.lazy
	if !g.sync && s.opt.Durability == Always {
		how = pebble.NoSync // a later one takes it along, or sync
		s.loose.Store(true)
	}
	return errors.Join(s.db.Apply(b, how), b.Close())
}

// writePuts adds the messages for sessions to a batch.
func (s *Store) writePuts(b *pebble.Batch, all []*part) error {
	buf := s.scratch[:0]
	for _, p := range all {
		for i := 0; i < len(p.puts); {
			end := p.bundleAt(i)
			buf = appendKeyOf(buf[:0], kindEntry, p.sid, p.puts[i].seq)
			v := len(buf)
			buf = appendPuts(buf, p.puts[i:end])
			if err := s.put(b, buf[:v:v], buf[v:]); err != nil {
				return err
			}
			i = end
		}
	}
	if cap(buf) <= reuseMost {
		s.scratch = buf
	}
	return nil
}

// looseFor is how long, with Always, what nobody waits for may go without an fsync.
const looseFor = time.Second

// sync keeps, once in an interval, what was written in it.
func (s *Store) sync() {
	every := s.opt.Interval
	if s.opt.Durability == Always {
		every = looseFor
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		if s.broken() {
			return
		}
		if s.opt.Durability == Always && !s.loose.Swap(false) {
			continue
		}
		s.files.due.Store(true)
		if err := s.db.LogData(nil, pebble.Sync); err != nil {
			s.fail(err)
			return
		}
	}
}

func (s *Store) broken() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed != nil
}

// fail refuses what is pending, and all that comes later.
func (s *Store) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return
	}
	s.failed = fmt.Errorf("%w: %w", ErrFailed, err)
	s.files.dead.Store(true)
	var done []func(error)
	if s.writing != nil {
		done = s.writing.done
	}
	done = append(done, s.next.done...)
	s.writing, s.next = nil, &group{}
	s.opt.Log.Error("the store has failed", "error", err)
	close(s.broke)
	s.wake.Broadcast()
	why := s.failed
	// On a stack of its own: whoever found out may hold Pebble's locks.
	go func() {
		for _, f := range done {
			f(why)
		}
	}()
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.stop)
	s.wake.Broadcast()
	for s.running > 0 && s.failed == nil {
		s.wake.Wait()
	}
	failed := s.failed
	s.mu.Unlock()
	_ = s.Memory.Close() // it has nothing to tell
	if failed != nil {
		return failed // Pebble may hold its locks for ever
	}
	done := make(chan error, 1)
	go func() {
		var err error
		if s.opt.Durability != Always {
			s.files.due.Store(true)
			err = s.db.LogData(nil, pebble.Sync)
		}
		done <- errors.Join(err, s.db.Close())
	}()
	select {
	case err := <-done:
		return err
	case <-s.broke: // and what closes it never returns
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.failed
	}
}

// quiet is Pebble's log.
type quiet struct{ s *Store }

func (quiet) Infof(string, ...any) {}

func (q quiet) Errorf(format string, args ...any) {
	q.s.opt.Log.Warn("store", "error", fmt.Sprintf(format, args...))
}

// Fatalf is called where Pebble can't go on: it must not return, and the process
// need not end. The goroutine stays, with what it has locked; nobody waits for it.
func (q quiet) Fatalf(format string, args ...any) {
	q.s.fail(fmt.Errorf(format, args...))
	select {}
}
