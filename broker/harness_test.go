package broker

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/security"
	"sallyport/security/authn"
	"sallyport/store"
	"sallyport/store/disk"
	"sallyport/store/storetest"
	"sallyport/topic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// testLimits are small enough to be reached and large enough not to be in the way.
func testLimits() Limits {
	return Limits{
		ConnectTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		PacketUnauthenticated: 16 << 10, Packet: 1 << 20, Topic: topic.Limits{Bytes: 1024, Levels: 128},
		ClientIDBytes: 256, UserProperties: 64, Subscriptions: 1000, FiltersPerPacket: 100,
		ReceiveMaximum: 1000, Inflight: 1000, QueueMessages: 1000, QueueBytes: 1 << 20, OutputBytes: 1 << 20,
		TopicAlias: 10, TopicAliasOut: 10, MaxQoS: 2, SessionExpiry: 1 << 31,
	}
}

// door is an Authenticator for tests: anybody may be who he says he is, except
// with the password "wrong".
type door struct {
	mu       sync.Mutex
	floor    time.Duration
	epoch    authn.Epoch
	hold     chan struct{} // nil: answer at once; else after it is closed
	busy     bool
	down     bool
	stands   func(*security.Principal) bool // nil: all do
	canceled int
	groups   []string // of everyone
	expires  uint32   // the same
}

func (d *door) Begin(c *authn.Credentials, done func(*security.Principal, error)) func() {
	answer := func() {
		switch {
		case d.busy:
			done(nil, authn.ErrBusy)
		case d.down:
			done(nil, fmt.Errorf("directory: %w", authn.ErrUnavailable))
		case string(c.Password) == "wrong":
			done(nil, errors.New("wrong password"))
		default:
			d.mu.Lock()
			groups, expires := d.groups, d.expires
			d.mu.Unlock()
			done(&security.Principal{Realm: "test", Groups: groups, Expires: expires, Name: c.Username, Method: "door",
				ClientID: c.ClientID, Listener: c.Listener, Addr: c.Addr}, nil)
		}
	}
	if d.hold == nil {
		answer()
		return nil
	}
	stop := make(chan struct{})
	go func() {
		select {
		case <-d.hold:
			answer()
		case <-stop:
			done(nil, authn.ErrCanceled)
		}
	}()
	var once sync.Once
	return func() {
		once.Do(func() {
			d.mu.Lock()
			d.canceled++
			d.mu.Unlock()
			close(stop)
		})
	}
}

func (d *door) Epoch() authn.Epoch {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.epoch
}

func (d *door) Stands(p *security.Principal) bool {
	if f := d.stands; f != nil {
		return f(p)
	}
	return true
}

func (d *door) FailureFloor() time.Duration { return d.floor }

// policyFunc is a policy of one function.
type policyFunc func(*security.Request) security.Effect

func (f policyFunc) Decide(r *security.Request) security.Verdict {
	return security.Verdict{Effect: f(r), Policy: "test", Rule: "test rule"}
}

func allowAll(*security.Request) security.Effect { return security.Allow }

// setup is what a case changes of a broker for tests.
type setup struct {
	opt    Options
	lis    Listener
	door   *door
	policy policyFunc
	log    bool
}

// bed is a broker for one test, with the means to reach it.
type bed struct {
	t      testing.TB
	b      *Broker
	door   *door
	dial   func() io.ReadWriteCloser
	peers  []*peer
	bubble bool
	slow   bool          // commits take time
	wait   time.Duration // for one packet
	loops  *Loops        // nil: none
	opt    Options       // of b
}

type way struct {
	name   string
	bubble bool
	tcp    bool
	loops  bool
	one    bool // a single loop
	store  func() store.Store
}

func slowStore(fail func(int, *store.Batch) bool) func() store.Store {
	return func() store.Store {
		rnd := rand.New(rand.NewPCG(1, 2))
		return storetest.New(storetest.Options{
			Delay: func(int) time.Duration { return time.Duration(rnd.IntN(50_000)) * time.Microsecond },
			Fail:  fail,
		})
	}
}

// onDisk is a store on a disk in memory.
type onDisk struct {
	*disk.Store
	fs  *vfs.MemFS
	opt disk.Options
}

// on is a store of the same kind on another disk, or on the same once more.
func (d *onDisk) on(fs *vfs.MemFS) *onDisk {
	opt := d.opt
	opt.FS = fs
	return openDiskWith(fs, opt)
}

func openDisk(fs *vfs.MemFS, on vfs.FS) *onDisk { return openDiskWith(fs, disk.Options{FS: on}) }

func openDiskWith(fs *vfs.MemFS, opt disk.Options) *onDisk {
	opt.Dir = "store"
	s, err := disk.Open(opt)
	if err != nil {
		panic(err)
	}
	return &onDisk{s, fs, opt}
}

func diskStore() store.Store {
	fs := vfs.NewCrashableMem()
	return openDisk(fs, fs)
}

func ways() []way {
	return append([]way{
		{name: "memory store over pipes", bubble: true},
		{name: "slow store over pipes", bubble: true, store: slowStore(nil)},
		{name: "disk store over pipes", bubble: true, store: diskStore},
	}, drivers()...)
}

// drivers is every driver of sockets that this system has.
func drivers() []way {
	w := []way{{name: "goroutines over TCP", tcp: true}}
	if hasLoops {
		w = append(w, way{name: "loops over TCP", tcp: true, loops: true})
	}
	return w
}

// everyWay runs a case over each driver and store.
func everyWay(t *testing.T, change func(*setup), f func(*bed)) {
	t.Helper()
	for _, w := range ways() {
		t.Run(w.name, func(t *testing.T) { w.run(t, change, f) })
	}
}

// overPipes runs a case in virtual time over the memory store.
func overPipes(t *testing.T, change func(*setup), f func(*bed)) {
	t.Helper()
	ways()[0].run(t, change, f)
}

// overTCP runs a case over each driver of sockets.
func overTCP(t *testing.T, change func(*setup), f func(*bed)) {
	t.Helper()
	for _, w := range drivers() {
		t.Run(w.name, func(t *testing.T) { w.run(t, change, f) })
	}
}

func (w way) run(t *testing.T, change func(*setup), f func(*bed)) {
	t.Helper()
	if !w.bubble {
		w.play(t, change, f)
		return
	}
	synctest.Test(t, func(t *testing.T) { w.play(t, change, f) })
}

func (w way) play(t *testing.T, change func(*setup), f func(*bed)) {
	s := setup{lis: Listener{Name: "test", Limits: testLimits(), AllowEmptyClientID: true}, policy: allowAll, door: &door{}}
	if w.store != nil {
		s.opt.Store = w.store()
	}
	if change != nil {
		change(&s)
	}
	d := s.door
	if s.lis.Auth == nil {
		s.lis.Auth = d
	}
	if s.opt.Jitter == nil {
		s.opt.Jitter = func() float64 { return 0 }
	}
	if s.opt.Gate == nil {
		s.opt.Gate = security.NewGate(&security.Ruleset{ByListener: map[string][]security.Policy{"test": {s.policy}}})
	}
	if s.log {
		s.opt.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	s.opt.Listeners = map[string]*Listener{"test": &s.lis}
	x := &bed{t: t, opt: s.opt, b: New(s.opt), door: d, bubble: w.bubble, slow: w.store != nil, wait: 10 * time.Second}
	if w.bubble {
		x.wait = time.Minute
	}
	x.dial = x.dialPipe
	if w.tcp {
		x.listen(w)
	}
	defer x.finish()
	f(x)
}

func (x *bed) dialPipe() io.ReadWriteCloser {
	p, err := x.b.Pipe(Info{Listener: "test"})
	if err != nil {
		x.t.Fatal(err)
	}
	return p
}

func (x *bed) listen(w way) {
	serve := func(nc net.Conn) { go x.b.Serve(nc, Info{Listener: "test"}) }
	if w.loops {
		n := 2
		if w.one {
			n = 1
		}
		serve = x.overLoops(n)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			serve(nc)
		}
	}()
	x.dial = func() io.ReadWriteCloser {
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			x.t.Fatal(err)
		}
		return nc
	}
}

// settle waits until nothing moves any more, where that can be known, and else
// leaves it to what the caller does next.
func (x *bed) settle() {
	if x.bubble {
		if x.slow {
			time.Sleep(2 * time.Second) // virtual
		}
		synctest.Wait()
	}
}

// pass lets virtual time go by.
func (x *bed) pass(d time.Duration) {
	if !x.bubble {
		x.t.Fatal("time passes only in a bubble")
	}
	time.Sleep(d)
	synctest.Wait()
}

// expireNow ends the session of an absent client at once.
func (cl *client) expireNow() {
	cl.mu.Lock()
	var a *absence
	if cl.session != nil && cl.conn == nil {
		cl.session.Expiry = min(cl.session.Expiry, 1<<31)
		a = cl.away()
		a.expiresAt = 1
	}
	cl.mu.Unlock()
	if a != nil {
		a.due()
	}
}

// denyTopic denies everything about one topic or filter, and allows the rest.
func denyTopic(topic string) policyFunc {
	return func(r *security.Request) security.Effect {
		if r.Topic == topic {
			return security.Deny
		}
		return security.Allow
	}
}

// leaveAll ends all connections.
func (x *bed) leaveAll() {
	for _, p := range x.peers {
		_ = p.conn.Close() // closed already, perhaps
		for range p.in {
			// what is left has no reader
		}
	}
	x.peers = nil
	x.b.Shutdown(x.wait)
}

// restart is a loss of power, and the start that follows it.
func (x *bed) restart() {
	x.t.Helper()
	x.settle()
	kept := make(chan error)
	x.b.store.Commit(&store.Batch{Ops: []store.Op{{Kind: store.DeleteRetained, Topic: "none"}}}, func(err error) { kept <- err })
	if err := <-kept; err != nil { // and what nobody waits for is kept with it
		x.t.Fatal(err)
	}
	d := x.b.store.(*onDisk)
	fs := d.fs.CrashClone(vfs.CrashCloneCfg{})
	x.leaveAll()
	if err := x.b.Close(); err != nil {
		x.t.Fatalf("Close: %v", err)
	}
	x.opt.Store = d.on(fs)
	x.b = New(x.opt)
}

// finish ends everything and checks that nothing is left.
func (x *bed) finish() {
	x.t.Helper()
	x.leaveAll()
	x.settle()
	x.b.reg.each(func(cl *client) { cl.expireNow() })
	x.settle()
	if err := x.b.Close(); err != nil {
		x.t.Errorf("Close: %v", err)
	}
	m := &x.b.metrics
	for name, n := range map[string]int64{
		"Connections": m.Connections.Load(), "Sessions": m.Sessions.Load(), "Subscriptions": m.Subscriptions.Load(),
		"Shared": m.Shared.Load(), "BufferedBytes": m.BufferedBytes.Load(), "Queued": m.Queued.Load(), "Panics": m.Panics.Load(),
		"timers": int64(x.b.lives.armed + x.b.absences.armed + x.b.alarms.armed), "owners": int64(len(x.b.reg.owners)), "total": int64(x.b.reg.total),
		"groups": int64(len(x.b.groups.byFilter)), "routes": int64(x.b.tree.Len()), "errands": int64(len(x.b.errands.of)), "conns": int64(len(x.b.conns.list)),
	} {
		if n != 0 {
			x.t.Errorf("%s is %d at the end, want 0", name, n)
		}
	}
	x.b.reg.each(func(cl *client) { x.t.Errorf("client %q is left at the end", cl.id) })
	if d, ok := x.b.store.(*onDisk); ok {
		again := d.on(d.fs)
		for kind, n := range again.Records() {
			if kind != 'm' && kind != 'r' && kind != 'o' && n != 0 {
				x.t.Errorf("%d records of kind %c are left in the store, want none", n, kind)
			}
		}
		if err := again.Close(); err != nil {
			x.t.Errorf("Close: %v", err)
		}
	}
}
