package broker

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"sallyport/packet"
	"sallyport/security"
	"sallyport/security/authn"
	"sallyport/store"
)

// passwordDoor is a password file behind the chain of authenticators, as the
// assembly puts it before a listener.
type passwordDoor struct {
	svc      *authn.Service
	listener string
}

func (d passwordDoor) Begin(c *authn.Credentials, done func(*security.Principal, error)) func() {
	return d.svc.Begin(c, done)
}
func (d passwordDoor) Epoch() authn.Epoch                { return d.svc.Epoch(d.listener) }
func (d passwordDoor) Stands(p *security.Principal) bool { return d.svc.Stands(p) }
func (d passwordDoor) FailureFloor() time.Duration       { return d.svc.FailureFloor() }

// crowd is a broker whose clients each have a user and a password of their own,
// under a policy of 1,000 rules with placeholders.
type crowd struct {
	b        *Broker
	door     passwordDoor
	password []byte // everyone's
}

// newCrowd makes a broker for n users, user0 and so on. Their password is a
// generated one, which is checked at once, or one with a slow hash, which the
// cache remembers.
func newCrowd(tb testing.TB, n int, slow bool) *crowd {
	tb.Helper()
	password, hash, err := authn.Generate()
	if slow && err == nil {
		hash, err = authn.Hash(authn.Argon2id, []byte(password), authn.Params{Memory: 64, Time: 1})
	}
	if err != nil {
		tb.Fatal(err)
	}
	var lines strings.Builder
	for i := range n {
		fmt.Fprintf(&lines, "user%d:%s\n", i, hash)
	}
	path := filepath.Join(tb.TempDir(), "passwd")
	if err := os.WriteFile(path, []byte(lines.String()), 0o600); err != nil {
		tb.Fatal(err)
	}
	pool, err := authn.NewPool(authn.PoolOptions{Workers: 1, Memory: 64 << 20, Queue: 16})
	if err != nil {
		tb.Fatal(err)
	}
	cache, err := authn.NewCache(authn.CacheOptions{Entries: 100, TTL: time.Hour})
	if err != nil {
		tb.Fatal(err)
	}
	file, _, err := authn.OpenPasswords(authn.PasswordsOptions{Name: "passwords", Path: path, Limits: authn.Limits{FileBytes: 1 << 30}})
	if err != nil {
		tb.Fatal(err)
	}
	chain, err := authn.NewChain(authn.ChainOptions{Members: []authn.Member{{Authenticator: file}}, Right: cache})
	if err != nil {
		tb.Fatal(err)
	}
	svc, err := authn.NewService(authn.ServiceOptions{Pool: pool, Chains: map[string]*authn.Chain{"test": chain}})
	if err != nil {
		tb.Fatal(err)
	}
	lim := testLimits()
	lim.KeepAliveMax = 300
	door := passwordDoor{svc, "test"}
	lis := &Listener{Name: "test", Limits: lim, Auth: door}
	w := &crowd{door: door, password: []byte(password), b: New(Options{
		Listeners: map[string]*Listener{"test": lis}, Store: store.NewMemory(), SessionsPerPrincipal: 1000,
		Gate: security.NewGate(&security.Ruleset{ByListener: map[string][]security.Policy{"test": {benchRules(tb, 1000)}}}),
	})}
	tb.Cleanup(func() {
		w.b.Shutdown(10 * time.Second)
		if err := w.b.Close(); err != nil {
			tb.Error(err)
		}
		pool.Close()
		svc.Close()
	})
	return w
}

// connect is the CONNECT of client i.
func (w *crowd) connect(i int) []byte {
	return packet.AppendConnect(nil, &packet.Connect{
		Version: packet.V311, CleanStart: true, KeepAlive: 60, ClientID: fmt.Sprintf("client-%d", i),
		HasUsername: true, Username: fmt.Sprintf("user%d", i), HasPassword: true, Password: w.password,
	})
}

// open is a connection without a CONNECT yet.
func (w *crowd) open(tb testing.TB) *discard {
	d := &discard{}
	c, err := w.b.Open(d, Info{Listener: "test", Remote: netip.MustParseAddrPort("192.0.2.1:50000")})
	if err != nil {
		tb.Fatal(err)
	}
	d.c = c
	return d
}

// feed gives the connection what its client sent, and goes on for as long as the
// broker answers at once.
func (d *discard) feed(p []byte) {
	for more := d.c.Feed(p); !more && d.resumed; {
		d.resumed = false
		more = d.c.Continue()
	}
}

// enter connects clients from up to to, whose passwords take no slow hash.
func (w *crowd) enter(tb testing.TB, from, to int) {
	tb.Helper()
	for i := from; i < to; i++ {
		d := w.open(tb)
		d.feed(w.connect(i))
		if !d.c.accepted() {
			tb.Fatalf("client %d is not connected", i)
		}
	}
}

// live is the bytes of the heap that are in use.
func live() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what pools held is gone after the second one
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// idleBytes is what one idle connection holds of the heap, as the slope between
// two numbers of connections: session, principal, timers and registry included,
// a driver's own state not.
func idleBytes(tb testing.TB, few, many int) float64 {
	w := newCrowd(tb, many, false)
	w.enter(tb, 0, few)
	before := live()
	w.enter(tb, few, many)
	return float64(live()-before) / float64(many-few)
}

func BenchmarkIdleConnection(b *testing.B) {
	for _, n := range []int{19_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for range b.N {
				b.ReportMetric(idleBytes(b, 5000, n), "B/conn")
			}
		})
	}
}

// comeAndGo makes a broker that remembers one client's credentials; once is its
// CONNECT and DISCONNECT.
func comeAndGo(tb testing.TB) (w *crowd, once func()) {
	w = newCrowd(tb, 1, true)
	connect := w.connect(0)
	// The first login computes a hash on a worker, which a discard can't wait for.
	first := make(chan error, 1)
	w.door.Begin(&authn.Credentials{Listener: "test", HasUsername: true, Username: "user0", HasPassword: true, Password: w.password},
		func(_ *security.Principal, err error) { first <- err })
	if err := <-first; err != nil {
		tb.Fatal(err)
	}
	goodbye := packet.AppendDisconnect(nil, packet.V311, &packet.Disconnect{})
	return w, func() {
		d := w.open(tb)
		d.feed(connect)
		if !d.c.accepted() {
			tb.Fatal("not connected")
		}
		d.feed(goodbye)
	}
}

func TestAConnectAllocatesLittle(t *testing.T) {
	ceiling := 21.0
	if raceEnabled {
		ceiling += 20 // sync.Pool forgets at random
	}
	_, once := comeAndGo(t)
	if got := testing.AllocsPerRun(1000, once); got > ceiling {
		t.Errorf("%.1f allocations from CONNECT to DISCONNECT, want at most %.0f", got, ceiling)
	}
}

// BenchmarkConnect is CONNECT, CONNACK and DISCONNECT of a client whose
// credentials are remembered.
func BenchmarkConnect(b *testing.B) {
	w, once := comeAndGo(b)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		once()
	}
	b.StopTimer()
	if got := w.b.metrics.ConnectsAccepted.Load(); got < int64(b.N) {
		b.Fatalf("%d connects were accepted, want %d", got, b.N)
	}
}
