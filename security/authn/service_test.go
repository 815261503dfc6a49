package authn

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/security"
)

// answer is what done was called with.
type answer struct {
	p   *security.Principal
	err error
}

// begin starts an attempt and returns where its answer comes.
func begin(s *Service, c *Credentials) (<-chan answer, func()) {
	out := make(chan answer, 2) // a second answer would be seen
	cancel := s.Begin(c, func(p *security.Principal, err error) { out <- answer{p, err} })
	return out, cancel
}

func newService(t testing.TB, o ServiceOptions) *Service {
	t.Helper()
	if o.Pool == nil {
		o.Pool = newPool(t, 1, 16)
	}
	s, err := NewService(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func fileService(t testing.TB, o ServiceOptions, lines ...string) (*Service, *Passwords, string) {
	t.Helper()
	right := newCache(t)
	path := writeFile(t, lines...)
	p := openFile(t, path, nil)
	o.Chains = map[string]*Chain{"l": chainOf(t, ChainOptions{Right: right}, p, Anonymous{})}
	return newService(t, o), p, path
}

func newCache(t testing.TB) *Cache {
	t.Helper()
	c, err := NewCache(CacheOptions{Entries: 100, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func from(c *Credentials, addr string) *Credentials {
	c.Addr = netip.AddrPortFrom(netip.MustParseAddr(addr), 1000)
	return c
}

func TestBeginAnswersAtOnceWhatCostsNothing(t *testing.T) {
	secret, generated, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	pool := newPool(t, 1, 1)
	s, _, _ := fileService(t, ServiceOptions{Pool: pool}, "dev:"+generated, "alice:"+mustHash(t, Argon2id, "wonder"))
	if a := <-first(begin(s, login("alice", "wonder"))); a.err != nil {
		t.Fatal(a.err)
	}
	release := hold(t, pool) // from here on a hash would wait
	defer release()
	tests := []struct {
		name   string
		creds  *Credentials
		accept bool
	}{
		{"anonymous", &Credentials{Listener: "l"}, true},
		{"a generated secret", login("dev", secret), true},
		{"a remembered password", login("alice", "wonder"), true},
		{"a listener without a chain", &Credentials{Listener: "x"}, false},
		{"a method nobody knows", &Credentials{Listener: "l", AuthMethod: "X"}, false},
	}
	for _, tt := range tests {
		out, _ := begin(s, tt.creds)
		select {
		case a := <-out:
			if (a.err == nil) != tt.accept {
				t.Errorf("%s: %v", tt.name, a.err)
			}
		default:
			t.Errorf("%s waits", tt.name)
		}
	}
	out, cancel := begin(s, login("alice", "wrong"))
	select {
	case a := <-out:
		t.Errorf("a wrong password is answered without a hash: %v", a.err)
	default:
	}
	cancel()
	cancel()
	if a := <-out; !errors.Is(a.err, ErrCanceled) {
		t.Errorf("a canceled attempt: %v", a.err)
	}
	// Its place in the queue is still taken, so the next one is turned away at once.
	out, _ = begin(s, login("nobody", "x"))
	select {
	case a := <-out:
		if !errors.Is(a.err, ErrBusy) {
			t.Errorf("a full queue: %v", a.err)
		}
	default:
		t.Error("a full queue keeps the client waiting")
	}
	release()
}

func first(out <-chan answer, _ func()) <-chan answer { return out }

func TestWrongIsNeverRemembered(t *testing.T) {
	s, _, _ := fileService(t, ServiceOptions{}, "alice:"+mustHash(t, Argon2id, "wonder"))
	right := s.world.Load().chains["l"].right
	for range 3 {
		if a := <-first(begin(s, login("alice", "wrong"))); a.err == nil {
			t.Fatal("a wrong password is accepted")
		}
		if right.Len() != 0 {
			t.Error("a wrong password is remembered among the right ones")
		}
	}
}

func TestBeginCopiesSecrets(t *testing.T) {
	pool := newPool(t, 1, 4)
	s, _, _ := fileService(t, ServiceOptions{Pool: pool}, "alice:"+mustHash(t, Argon2id, "wonder"))
	release := hold(t, pool)
	c := login("alice", "wonder")
	out, _ := begin(s, c)
	clear(c.Password) // the read buffer is used again
	release()
	if a := <-out; a.err != nil {
		t.Errorf("the password was read from the caller's buffer: %v", a.err)
	}
}

func TestFailuresDelayTheNextAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := fileService(t, ServiceOptions{WaitingPerNetwork: 2}, "alice:"+mustHash(t, PBKDF2SHA512, "wonder"))
		defer s.opts.Pool.Close()
		for range 8 {
			if a := <-first(begin(s, from(login("alice", "wrong"), "192.0.2.1"))); a.err == nil {
				t.Fatal("accepted")
			}
		}
		start := time.Now()
		out1, _ := begin(s, from(login("alice", "wonder"), "192.0.2.1"))
		out2, _ := begin(s, from(login("alice", "wrong"), "192.0.2.1"))
		if a := <-first(begin(s, from(login("alice", "wonder"), "192.0.2.1"))); !errors.Is(a.err, ErrBusy) {
			t.Errorf("a third one that waits: %v", a.err)
		}
		if a := <-first(begin(s, from(login("alice", "wonder"), "198.51.100.1"))); a.err != nil || time.Since(start) != 0 {
			t.Errorf("the user elsewhere: %v after %v", a.err, time.Since(start))
		}
		if a := <-out1; a.err != nil {
			t.Errorf("the right password after failures: %v", a.err)
		}
		if wait := time.Since(start); wait != time.Second {
			t.Errorf("it waited %v, want 1s after 8 failures", wait)
		}
		<-out2
		// A remembered password waits for nothing.
		start = time.Now()
		if a := <-first(begin(s, from(login("alice", "wonder"), "192.0.2.1"))); a.err != nil || time.Since(start) != 0 {
			t.Errorf("a remembered password: %v after %v", a.err, time.Since(start))
		}
		if s.inAll != 0 || len(s.waiting) != 0 {
			t.Errorf("%d still counted as waiting", s.inAll)
		}
	})
}

// swapping is a member whose accounts change while it works.
type swapping struct {
	fake
	generations uint64
}

func (f *swapping) Generation() uint64 { return f.generations }

func (f *swapping) Authenticate(ctx context.Context, c *Credentials) (*security.Principal, error) {
	if f.generations++; f.generations > 2 {
		f.generations = 2
	}
	return f.fake.Authenticate(ctx, c)
}

func TestAnAttemptOverASwapIsDecidedAgain(t *testing.T) {
	m := &swapping{fake: fake{name: "m", p: &security.Principal{Name: "a"}}, generations: 1}
	s := newService(t, ServiceOptions{Chains: map[string]*Chain{"l": chainOf(t, ChainOptions{}, m)}})
	if a := <-first(begin(s, login("a", "x"))); a.err != nil {
		t.Errorf("after one swap: %v", a.err)
	}
	if m.asked != 2 {
		t.Errorf("asked %d times, want twice", m.asked)
	}
	before := s.Epoch("l")
	s.Replace(map[string]*Chain{"l": chainOf(t, ChainOptions{}, m)})
	if s.Epoch("l") == before {
		t.Error("Replace leaves the epoch")
	}
	s.Replace(nil)
	if a := <-first(begin(s, login("a", "x"))); a.err == nil {
		t.Error("a service without chains accepts")
	}
}

func TestReloadDuringAnAttempt(t *testing.T) {
	pool := newPool(t, 1, 4)
	s, p, path := fileService(t, ServiceOptions{Pool: pool}, "alice:"+mustHash(t, Argon2id, "old"))
	release := hold(t, pool)
	before := s.Epoch("l")
	out, _ := begin(s, login("alice", "old"))
	rewrite(t, path, "alice:"+mustHash(t, Argon2id, "new"))
	if _, _, err := p.Reload(); err != nil {
		t.Fatal(err)
	}
	release()
	if a := <-out; a.err == nil {
		t.Error("an attempt begun before the swap is accepted on the old account")
	}
	if s.Epoch("l") == before {
		t.Error("a reload leaves the epoch")
	}
}

func TestFailureFloor(t *testing.T) {
	cheap, dear := &slowFake{cost: 10 * time.Millisecond}, &slowFake{cost: 40 * time.Millisecond}
	for _, tt := range []struct{ configured, want time.Duration }{
		{0, 60 * time.Millisecond},
		{time.Second, time.Second},
		{time.Millisecond, 40 * time.Millisecond},
	} {
		s := newService(t, ServiceOptions{FailureFloor: tt.configured, Chains: map[string]*Chain{
			"a": chainOf(t, ChainOptions{}, cheap), "b": chainOf(t, ChainOptions{}, dear), "c": chainOf(t, ChainOptions{}),
		}})
		if got := s.FailureFloor(); got != tt.want {
			t.Errorf("configured %v: floor %v, want %v", tt.configured, got, tt.want)
		}
	}
	// SCRAM has no hash that could be measured, and still differs from reason to reason.
	for configured, want := range map[time.Duration]time.Duration{0: leastFloor, time.Millisecond: time.Millisecond} {
		s := newService(t, ServiceOptions{FailureFloor: configured, Chains: map[string]*Chain{"l": chainOf(t, ChainOptions{}, &scram{})}})
		if got := s.FailureFloor(); got != want {
			t.Errorf("without a hash, configured %v: floor %v, want %v", configured, got, want)
		}
	}
	if _, err := NewService(ServiceOptions{}); err == nil {
		t.Error("a service without a pool is accepted")
	}
}

func TestServiceEnhanced(t *testing.T) {
	s := newService(t, ServiceOptions{Chains: map[string]*Chain{"l": chainOf(t, ChainOptions{}, &scram{})}})
	if n, ok := s.Negotiate(&Credentials{Listener: "l", AuthMethod: "SCRAM-SHA-256"}); !ok || n == nil {
		t.Error("the listener's method is not found")
	}
	if _, ok := s.Negotiate(&Credentials{Listener: "other", AuthMethod: "SCRAM-SHA-256"}); ok {
		t.Error("another listener has the method")
	}
}

func TestClosedPoolRefuses(t *testing.T) {
	pool := newPool(t, 1, 4)
	s, _, _ := fileService(t, ServiceOptions{Pool: pool}, "alice:"+mustHash(t, Argon2id, "wonder"))
	pool.Close()
	if a := <-first(begin(s, login("alice", "wonder"))); !errors.Is(a.err, ErrClosed) {
		t.Errorf("after Close: %v", a.err)
	}
}

func BenchmarkRememberedPassword(b *testing.B) {
	s, _, _ := fileService(b, ServiceOptions{}, "alice:"+mustHash(b, Argon2id, "wonder"))
	c := login("alice", "wonder")
	<-first(begin(s, c))
	b.ReportAllocs()
	for b.Loop() {
		s.Begin(c, func(_ *security.Principal, err error) {
			if err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkFirstLogin is a login that pays the hash of a new password, one after
// the other on one worker: B/op is what the hash takes while it is computed.
func BenchmarkFirstLogin(b *testing.B) {
	encoded, err := Hash(Argon2id, []byte("secret"), Params{})
	if err != nil {
		b.Fatal(err)
	}
	s, _, _ := fileService(b, ServiceOptions{Pool: newPool(b, 1, 16)}, "alice:"+encoded)
	c := from(&Credentials{ClientID: "c", Listener: "l", HasUsername: true, Username: "alice", HasPassword: true, Password: []byte("secret")}, "192.0.2.1")
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		s.world.Load().chains["l"].right.Flush()
		out, _ := begin(s, c)
		if a := <-out; a.err != nil {
			b.Fatal(a.err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "logins/s")
}
