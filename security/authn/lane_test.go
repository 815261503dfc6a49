package authn

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/turns"
	"sallyport/security"
)

// remote is a member that asks somebody else: it answers when it is told to, or never.
type remote struct {
	name   string
	answer chan answer   // nil: at once, with fixed
	asks   chan struct{} // one for each question, if it is not nil
	fixed  answer
	deaf   bool // does not notice that nobody waits any more
}

func (r *remote) Name() string { return r.name }

func (r *remote) Authenticate(ctx context.Context, c *Credentials) (*security.Principal, error) {
	if r.asks != nil {
		r.asks <- struct{}{}
	}
	if r.answer == nil {
		return r.fixed.p, r.fixed.err
	}
	done := ctx.Done()
	if r.deaf {
		done = nil
	}
	select {
	case a := <-r.answer:
		return a.p, a.err
	case <-done:
		return nil, ctx.Err()
	}
}

func somebody(name string) *security.Principal {
	return &security.Principal{Realm: "r", Name: name}
}

func newLane(t testing.TB, o LaneOptions) *Lane {
	t.Helper()
	if o.Pool == nil && o.Workers == 0 {
		o.Workers, o.Queue = 2, 16
	}
	l, err := NewLane(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

// serving is a service with one listener "l" and members.
func serving(t testing.TB, o ChainOptions, members ...Member) *Service {
	t.Helper()
	o.Members = members
	c, err := NewChain(o)
	if err != nil {
		t.Fatal(err)
	}
	return newService(t, ServiceOptions{Chains: map[string]*Chain{"l": c}})
}

// A member that does not answer holds up nobody who asks another, and its own clients
// only as long as the timeout.
func TestASlowMemberHoldsUpNobodyElse(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			hung := &remote{name: "ldap", answer: make(chan answer), deaf: deaf}
			lane := newLane(t, LaneOptions{Name: "ldap", Workers: 1, Queue: 4, Timeout: time.Second})
			defer lane.Close()
			defer close(hung.answer)
			file := openFile(t, writeFile(t, "alice:"+mustHash(t, PBKDF2SHA512, "wonder")), nil)
			pool := newPool(t, 1, 16)
			defer pool.Close()
			slow, err := NewChain(ChainOptions{Members: []Member{{Authenticator: hung, Lane: lane}}})
			if err != nil {
				t.Fatal(err)
			}
			s := newService(t, ServiceOptions{Pool: pool, Chains: map[string]*Chain{"l": chainOf(t, ChainOptions{}, file), "slow": slow}})
			start := time.Now()
			var waiting []<-chan answer
			for i := range 7 {
				c := from(login("bob", "x"), fmt.Sprintf("192.0.2.%d", i))
				c.Listener = "slow"
				out, _ := begin(s, c)
				waiting = append(waiting, out)
				synctest.Wait()
			}
			if a := <-first(begin(s, login("alice", "wonder"))); a.err != nil || time.Since(start) != 0 {
				t.Errorf("another member's client: %v after %v", a.err, time.Since(start))
			}
			busy := 0
			for _, out := range waiting {
				a := <-out
				switch {
				case errors.Is(a.err, ErrBusy):
					busy++
				case !errors.Is(a.err, ErrUnavailable) || time.Since(start) > time.Second:
					t.Errorf("%v after %v, want unavailable within the timeout", a.err, time.Since(start))
				}
			}
			// One is asked, four wait, two find no place.
			if st := lane.Stats(); busy != 2 || st.Busy != 2 || st.Late != 5 || st.Failed != 5 || !st.Down {
				t.Errorf("%d busy, %+v", busy, st)
			}
		})
	}
}

func TestAMemberThatIsDownIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		m := &remote{name: "sql", fixed: answer{err: errors.New("connection refused")}, asks: make(chan struct{}, 100)}
		lane := newLane(t, LaneOptions{Name: "sql", Timeout: time.Second, Failures: 3, Pause: time.Second, LongestPause: 4 * time.Second,
			Changed: func(name string, down bool, err error) { told = append(told, fmt.Sprint(name, " ", down, " ", err)) }})
		defer lane.Close()
		s := serving(t, ChainOptions{}, Member{Authenticator: m, Lane: lane})
		defer s.opts.Pool.Close()
		ask := func() (error, bool) {
			before := len(m.asks)
			a := <-first(begin(s, login("bob", "x")))
			return a.err, len(m.asks) > before
		}
		for i := range 3 {
			if err, asked := ask(); !errors.Is(err, ErrUnavailable) || !asked {
				t.Fatalf("failure %d: %v, asked %t", i, err, asked)
			}
		}
		for range 5 {
			if err, asked := ask(); !errors.Is(err, ErrUnavailable) || asked {
				t.Errorf("down: %v, asked %t", err, asked)
			}
		}
		if st := lane.Stats(); !st.Down || st.Spared != 5 || !strings.Contains(st.Error, "connection refused") {
			t.Errorf("%+v", st)
		}
		time.Sleep(1250 * time.Millisecond) // a pause is at most a quarter longer
		if err, asked := ask(); err == nil || !asked {
			t.Errorf("after the pause: %v, asked %t", err, asked)
		}
		time.Sleep(1250 * time.Millisecond)
		if _, asked := ask(); asked {
			t.Error("the second pause is not longer")
		}
		time.Sleep(1250 * time.Millisecond)
		m.fixed = answer{p: somebody("bob")}
		if err, asked := ask(); err != nil || !asked {
			t.Errorf("it is back: %v, asked %t", err, asked)
		}
		if err, asked := ask(); err != nil || !asked {
			t.Errorf("and stays: %v, asked %t", err, asked)
		}
		want := "[sql true connection refused sql false <nil>]"
		if got := fmt.Sprint(told); got != want {
			t.Errorf("told %s, want %s", got, want)
		}
	})
}

// While one client tries whether a member is back, no other does.
func TestOneClientTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &remote{name: "sql", fixed: answer{err: errors.New("down")}}
		lane := newLane(t, LaneOptions{Name: "sql", Timeout: time.Minute, Failures: 1, Pause: time.Second})
		defer lane.Close()
		s := serving(t, ChainOptions{}, Member{Authenticator: m, Lane: lane})
		defer s.opts.Pool.Close()
		<-first(begin(s, login("bob", "x")))
		time.Sleep(2 * time.Second)
		m.answer = make(chan answer)
		trying, _ := begin(s, login("bob", "x"))
		synctest.Wait()
		if a := <-first(begin(s, login("bob", "x"))); !errors.Is(a.err, ErrUnavailable) {
			t.Errorf("a second one: %v", a.err)
		}
		m.answer <- answer{err: &Refused{Method: "sql", Reason: "wrong password"}}
		if a := <-trying; a.err == nil {
			t.Error("accepted")
		}
		if lane.Stats().Down {
			t.Error("a refusal is an answer, and the member still counts as down")
		}
		// One that gives up says nothing of the member, and the next may try.
		m.answer, m.fixed = nil, answer{err: errors.New("down")}
		<-first(begin(s, login("bob", "x")))
		time.Sleep(2 * time.Second)
		m.answer = make(chan answer)
		gone, cancel := begin(s, login("bob", "x"))
		synctest.Wait()
		cancel()
		<-gone
		m.answer <- answer{err: ErrCanceled}
		synctest.Wait()
		m.answer, m.fixed = nil, answer{p: somebody("bob")}
		if a := <-first(begin(s, login("bob", "x"))); a.err != nil {
			t.Errorf("after one who gave up: %v", a.err)
		}
	})
}

func TestOnErrorNextAlsoWhenItIsLateOrDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hung := &remote{name: "ldap", answer: make(chan answer)}
		defer close(hung.answer)
		lane := newLane(t, LaneOptions{Name: "ldap", Timeout: time.Second, Failures: 1})
		defer lane.Close()
		next := &remote{name: "file", fixed: answer{p: somebody("bob")}}
		s := serving(t, ChainOptions{}, Member{Authenticator: hung, Lane: lane, OnErrorNext: true}, Member{Authenticator: next})
		defer s.opts.Pool.Close()
		for i, want := range []time.Duration{time.Second, 0} {
			start := time.Now()
			if a := <-first(begin(s, login("bob", "x"))); a.err != nil || a.p.Method != "file" || time.Since(start) != want {
				t.Errorf("attempt %d: %+v after %v", i, a, time.Since(start))
			}
		}
	})
}

// Who hangs up while his password is checked has failed all the same.
func TestAFailureCountsThoughNobodyWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &remote{name: "m", answer: make(chan answer)}
		s := serving(t, ChainOptions{}, Member{Authenticator: m})
		defer s.opts.Pool.Close()
		for range 6 {
			out, cancel := begin(s, login("bob", "x"))
			synctest.Wait()
			cancel()
			<-out
			m.answer <- answer{err: &Refused{Method: "m", Reason: "wrong password"}}
			synctest.Wait()
		}
		if wait := s.delays.wait(login("bob", "x").Addr.Addr()); wait == 0 {
			t.Error("the next attempt is not delayed")
		}
	})
}

func TestWrongCredentialsAreRememberedForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wrong, err := NewCache(CacheOptions{Entries: 10, TTL: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		m := &remote{name: "m", asks: make(chan struct{}, 100), fixed: answer{err: &Refused{Method: "m", Reason: "wrong password"}}}
		s := serving(t, ChainOptions{Wrong: wrong}, Member{Authenticator: m})
		defer s.opts.Pool.Close()
		s.delays.opts.Free = 1000
		ask := func(c *Credentials) (string, int) {
			before := len(m.asks)
			a := <-first(begin(s, c))
			if a.err == nil {
				t.Fatal("accepted")
			}
			return a.err.Error(), len(m.asks) - before
		}
		if text, n := ask(login("bob", "x")); n != 1 || strings.Contains(text, "moment") {
			t.Errorf("%s, asked %d times", text, n)
		}
		if text, n := ask(login("bob", "x")); n != 0 || !strings.Contains(text, "moment") {
			t.Errorf("again: %s, asked %d times", text, n)
		}
		other := login("bob", "x")
		other.ClientID = "other"
		for _, c := range []*Credentials{login("bob", "y"), login("carol", "x"), other, from(login("bob", "x"), "192.0.2.77")} {
			if _, n := ask(c); n != 1 {
				t.Errorf("%v is taken for another", c)
			}
		}
		time.Sleep(5 * time.Second)
		if _, n := ask(login("bob", "x")); n != 1 {
			t.Error("remembered for longer than that")
		}
		// That a member is down is not remembered as if the password were wrong.
		m.fixed = answer{err: errors.New("down")}
		<-first(begin(s, login("dave", "x")))
		m.fixed = answer{p: somebody("dave")}
		if a := <-first(begin(s, login("dave", "x"))); a.err != nil {
			t.Errorf("after the member came back: %v", a.err)
		}
	})
}

// An account that changes makes what was remembered of it worthless.
func TestAChangeEndsWhatIsRemembered(t *testing.T) {
	right, wrong := newCache(t), newCache(t)
	path := writeFile(t, "alice:"+mustHash(t, PBKDF2SHA512, "old"))
	file := openFile(t, path, nil)
	s := serving(t, ChainOptions{Right: right, Wrong: wrong}, Member{Authenticator: file})
	for range 2 {
		if a := <-first(begin(s, login("alice", "old"))); a.err != nil {
			t.Fatal(a.err)
		}
		if a := <-first(begin(s, login("alice", "new"))); a.err == nil {
			t.Fatal("accepted")
		}
	}
	if right.Len() != 1 || wrong.Len() != 1 {
		t.Fatalf("%d right and %d wrong remembered", right.Len(), wrong.Len())
	}
	rewrite(t, path, "alice:"+mustHash(t, PBKDF2SHA512, "new"))
	if _, _, err := file.Reload(); err != nil {
		t.Fatal(err)
	}
	if a := <-first(begin(s, login("alice", "new"))); a.err != nil {
		t.Errorf("the new password: %v", a.err)
	}
	if a := <-first(begin(s, login("alice", "old"))); a.err == nil {
		t.Error("the old password is still accepted")
	}
}

// The account is that of the name which a preparation makes.
func TestAChangeEndsWhatIsRememberedOfAPreparedName(t *testing.T) {
	prepare, err := NewPreparation(false, StepOptions{Set: "username", From: "${username}", Split: "@"})
	if err != nil {
		t.Fatal(err)
	}
	accounts := states{"alice": {Version: 1}}
	m := &remote{name: "m", fixed: answer{err: &Refused{Method: "m", Reason: "wrong password"}}}
	s := serving(t, ChainOptions{Wrong: newCache(t), Accounts: accounts}, Member{Authenticator: m, Prepare: prepare})
	if a := <-first(begin(s, login("alice@plant", "new"))); a.err == nil {
		t.Fatal("accepted")
	}
	m.fixed = answer{p: somebody("alice")}
	if a := <-first(begin(s, login("alice@plant", "new"))); a.err == nil || !strings.Contains(a.err.Error(), "moment") {
		t.Fatalf("not remembered: %v", a.err)
	}
	accounts["alice"] = AccountState{Version: 2}
	if a := <-first(begin(s, login("alice@plant", "new"))); a.err != nil {
		t.Errorf("after the account has changed: %v", a.err)
	}
}

// Members without a lane of their own share one, and not their failures.
func TestOneThatIsDownStandsForNoOther(t *testing.T) {
	down := &remote{name: "down", fixed: answer{err: errors.New("down")}}
	s := serving(t, ChainOptions{}, Member{Authenticator: down, OnErrorNext: true}, Member{Authenticator: &remote{name: "file", fixed: answer{p: somebody("bob")}}})
	for i := range 20 {
		if a := <-first(begin(s, login("bob", "x"))); a.err != nil {
			t.Fatalf("attempt %d: %v", i, a.err)
		}
	}
}

func TestLanesThatCantBe(t *testing.T) {
	for _, o := range []LaneOptions{
		{Name: "x"}, {Name: "x", Workers: 1}, {Name: "x", Workers: 1, Queue: 1, Timeout: -1}, {Name: "x", Workers: 1, Queue: 1, Failures: -1},
		{Name: "x", Workers: 1, Queue: 1, Pause: time.Minute},
	} {
		if _, err := NewLane(o); err == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
}

// A fleet that connects at once waits for the hashes of each other: that is no failure
// of the password file, which answers the next one as if nothing had been.
func TestAFleetThatWaitsForHashesClosesNoLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := openFile(t, writeFile(t, "alice:"+mustHash(t, PBKDF2SHA512, "wonder")), nil)
		pool := newPool(t, 1, 100)
		defer pool.Close()
		lane := newLane(t, LaneOptions{Name: "passwords", Pool: pool, Timeout: time.Second})
		defer lane.Close()
		c, err := NewChain(ChainOptions{Members: []Member{{Authenticator: file, Lane: lane}}})
		if err != nil {
			t.Fatal(err)
		}
		s := newService(t, ServiceOptions{Pool: pool, Chains: map[string]*Chain{"l": c}})
		release := hold(t, pool)
		defer release()
		var waiting []<-chan answer
		for i := range 20 {
			out, _ := begin(s, from(login("alice", "wonder"), fmt.Sprintf("192.0.2.%d", i)))
			waiting = append(waiting, out)
		}
		for _, out := range waiting {
			if a := <-out; !errors.Is(a.err, ErrBusy) {
				t.Errorf("who waited too long for a hash: %v, want to be told to come again", a.err)
			}
		}
		release()
		if a := <-first(begin(s, from(login("alice", "wonder"), "192.0.2.1"))); a.err != nil {
			t.Errorf("the next one: %v", a.err)
		}
		if st := lane.Stats(); st.Down || st.Failed != 0 || st.Busy != 20 || st.Accepted != 1 {
			t.Errorf("%+v", st)
		}
	})
}

// An answer that asked nobody (of a client whom the member does not know by itself, or
// out of what is remembered) says nothing of whether the member is back.
func TestWhatAskedNobodyClosesNoBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &halfQuick{remote{name: "sql", fixed: answer{err: errors.New("down")}}}
		lane := newLane(t, LaneOptions{Name: "sql", Timeout: time.Minute, Failures: 1, Pause: time.Second})
		defer lane.Close()
		s := serving(t, ChainOptions{}, Member{Authenticator: m, Lane: lane})
		defer s.opts.Pool.Close()
		<-first(begin(s, login("bob", "x")))
		time.Sleep(2 * time.Second)
		m.answer = make(chan answer)
		trying, _ := begin(s, login("bob", "x"))
		synctest.Wait()
		<-first(begin(s, &Credentials{ClientID: "c", Listener: "l"}))
		st := lane.Stats()
		if !st.Down || st.NotMine != 1 {
			t.Errorf("while one tries, another whom it does not know: %+v", st)
		}
		if a := <-first(begin(s, login("bob", "x"))); !errors.Is(a.err, ErrUnavailable) {
			t.Errorf("a second one that would ask: %v", a.err)
		}
		m.answer <- answer{err: errors.New("down")}
		<-trying
		if !lane.Stats().Down {
			t.Error("it is not down any more")
		}
	})
}

// halfQuick knows by itself that it knows nobody without a user name.
type halfQuick struct{ remote }

func (m *halfQuick) Quick(c *Credentials) (*security.Principal, error, bool) {
	return nil, ErrNotMine, !c.HasUsername
}

// A member that does not come back, whatever it is told, holds up no reload and no stop.
func TestAMemberThatNeverAnswersHoldsUpNoClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		m := &deaf{fake{name: "deaf"}, release}
		lane := newLane(t, LaneOptions{Name: "deaf", Timeout: time.Second, Workers: 1, Queue: 4})
		s := serving(t, ChainOptions{}, Member{Authenticator: m, Lane: lane})
		defer s.opts.Pool.Close()
		asked, _ := begin(s, login("bob", "x"))
		waits, _ := begin(s, from(login("carol", "x"), "192.0.2.1"))
		synctest.Wait()
		closed := make(chan struct{})
		go func() { lane.Close(); close(closed) }()
		select {
		case <-closed:
		case <-time.After(time.Hour):
			t.Fatal("Close waits for the member")
		}
		if a := <-waits; !errors.Is(a.err, ErrClosed) {
			t.Errorf("who waits: %v", a.err)
		}
		if a := <-asked; a.err == nil {
			t.Error("who asked is let in")
		}
	})
}

// deaf answers when it is released, and heeds no context.
type deaf struct {
	fake
	release chan struct{}
}

func (m *deaf) Authenticate(context.Context, *Credentials) (*security.Principal, error) {
	<-m.release
	return nil, ErrNotMine
}

// An answer counts once, though the chain is walked again when another member's takes work.
func TestAnAnswerThatCostsNothingCountsOnce(t *testing.T) {
	quick := newLane(t, LaneOptions{Name: "quick"})
	slow := newLane(t, LaneOptions{Name: "slow"})
	s := serving(t, ChainOptions{},
		Member{Authenticator: &halfQuick{remote{name: "quick"}}, Lane: quick},
		Member{Authenticator: &remote{name: "slow", fixed: answer{p: somebody("slow")}}, Lane: slow})
	c := login("alice", "wonder")
	c.Username, c.HasUsername = "", false
	if a := <-first(begin(s, c)); a.err != nil {
		t.Fatal(a.err)
	}
	if q, w := quick.Stats(), slow.Stats(); q.NotMine != 1 || w.Accepted != 1 {
		t.Errorf("counted %d answers of the first and %d of the second, want one each", q.NotMine, w.Accepted)
	}
}

// What computes for newcomers takes turns with all else that does, and what a member
// waits for another in an exchange has a turn of its own.
func TestWhatComputesHasItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deal := turns.New(1)
		lane := func(name string, deal *turns.Turns) *Lane {
			l := newLane(t, LaneOptions{Name: name, Turns: deal})
			t.Cleanup(l.Close)
			return l
		}
		tokens := &remote{name: "tokens", fixed: answer{p: somebody("tokens")}}
		ldap := &remote{name: "ldap", fixed: answer{p: somebody("ldap")}}
		talks := &talker{fake: fake{name: "talks", p: somebody("ann")}, rounds: 2}
		other := &fake{name: "other", p: somebody("ann")}
		chain := func(m ...Member) *Chain {
			c, err := NewChain(ChainOptions{Members: m})
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		computing := lane("tokens", deal)
		s := newService(t, ServiceOptions{Chains: map[string]*Chain{
			"tokens": chain(Member{Authenticator: tokens, Lane: computing}),
			"ldap":   chain(Member{Authenticator: ldap, Lane: lane("ldap", nil)}),
			"both": chain(Member{Label: "both", All: []Member{
				{Authenticator: talks, Lane: lane("talks", deal)}, {Authenticator: other, Lane: lane("other", deal)},
			}}),
		}})
		defer s.opts.Pool.Close()
		at := func(listener string) <-chan answer {
			c := login("alice", "wonder")
			c.Listener = listener
			out, _ := begin(s, c)
			synctest.Wait()
			return out
		}
		deal.Enter(netip.Prefix{})
		waits := at("tokens")
		if a := <-at("ldap"); a.err != nil {
			t.Errorf("who is asked elsewhere: %v", a.err)
		}
		if _, waiting := deal.State(); waiting != 1 || len(waits) != 0 {
			t.Errorf("%d wait for a turn, want the one whose token is to be verified", waiting)
		}
		deal.Leave()
		if a := <-waits; a.err != nil {
			t.Error(a.err)
		}
		if p, err := converse(t, s, &Credentials{Listener: "both", AuthMethod: "TALK"}, "hello"); err != nil || p.Name != "ann" {
			t.Errorf("of two that compute, one waits for the other: %v, %v", p, err)
		}
		if running, waiting := deal.State(); running != 0 || waiting != 0 {
			t.Errorf("%d turns are taken and %d waited for, with nothing to do", running, waiting)
		}
	})
}

// Who waits too long for a hash is told so at the same moment whether there is such a
// user or not: where the pool has much to do the answer would tell them apart.
func TestWaitingTooLongTellsNothingOfUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, generated, err := Generate()
		if err != nil {
			t.Fatal(err)
		}
		file := openFile(t, writeFile(t, "alice:"+mustHash(t, PBKDF2SHA512, "wonder"), "device:"+generated), nil)
		pool := newPool(t, 1, 100)
		defer pool.Close()
		lane := newLane(t, LaneOptions{Name: "passwords", Pool: pool, Timeout: time.Second})
		defer lane.Close()
		c, err := NewChain(ChainOptions{Members: []Member{{Authenticator: file, Lane: lane}}})
		if err != nil {
			t.Fatal(err)
		}
		s := newService(t, ServiceOptions{Pool: pool, Chains: map[string]*Chain{"l": c}})
		release := hold(t, pool)
		defer release()
		began := time.Now()
		for _, name := range []string{"alice", "device", "nobody"} {
			out, _ := begin(s, from(login(name, "guess"), "192.0.2.1"))
			go func() {
				if a := <-out; !errors.Is(a.err, ErrBusy) || time.Since(began) != time.Second {
					t.Errorf("%s after %v: %v, want to be told to come again after 1s", name, time.Since(began), a.err)
				}
			}()
		}
		time.Sleep(3 * time.Second)
		release()
		synctest.Wait()
	})
}
