package broker

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/audit"
	"sallyport/packet"
	"sallyport/security"
	"sallyport/security/authn"
)

func TestTheEarliestBoundEndsAConnection(t *testing.T) {
	for _, c := range []struct {
		name                   string
		expires, age, lifetime time.Duration
		ends                   time.Duration
		code                   packet.Code
		event                  audit.Event
	}{
		{"the credential alone", 100 * time.Second, 0, 0, 100 * time.Second, packet.NotAuthorized, audit.CredentialExpired},
		{"the credential first", 50 * time.Second, 100 * time.Second, 200 * time.Second, 50 * time.Second, packet.NotAuthorized, audit.CredentialExpired},
		{"max_auth_age first", 100 * time.Second, 50 * time.Second, 200 * time.Second, 50 * time.Second, packet.NotAuthorized, audit.ConnectionExpired},
		{"max_connection_lifetime first", 100 * time.Second, 50 * time.Second, 30 * time.Second, 30 * time.Second, packet.MaximumConnectTime, audit.ConnectionExpired},
	} {
		for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
			for _, ka := range []uint16{0, 7, 1000} {
				var log logbook
				overPipes(t, func(s *setup) {
					s.opt.Log = log.logger()
					s.lis.MaxAuthAge, s.lis.MaxConnectionLifetime = c.age, c.lifetime
					s.door.until(time.Now().Add(c.expires))
				}, func(x *bed) {
					p := x.connect(v, "c", keepAlive(ka), kept(1000), willOf("elsewhere", "gone", 0))
					for end := time.Now().Add(c.ends - 2*time.Second); time.Now().Before(end); {
						x.pass(time.Second)
						p.ping()
					}
					x.pass(2200 * time.Millisecond)
					p.leaves(c.code)
					lines := log.lines(t, c.event)
					i := len(lines) - 1
					for ; i >= 0 && lines[i]["client"] != "c"; i-- {
					}
					if i < 0 {
						t.Fatalf("%s: no %s of it", c.name, c.event)
					}
					want := map[string]string{
						"the credential alone": "credential", "the credential first": "credential",
						"max_auth_age first": "max_auth_age", "max_connection_lifetime first": "max_connection_lifetime",
					}[c.name]
					if lines[i]["bound"] != want {
						t.Errorf("%s: bound %v, want %s", c.name, lines[i]["bound"], want)
					}
					if _, online, ok := x.b.ClientPrincipal("c"); online || !ok {
						t.Errorf("%s: online %v, session kept %v", c.name, online, ok)
					}
				})
			}
		}
	}
}

// A credential ends by the wall clock, also where that is set, or the machine sleeps,
// while the connection stands; what counts from the CONNECT does not.
func TestACredentialEndsByTheWallClock(t *testing.T) {
	var set atomic.Int64
	wall := func() time.Time { return time.Now().Add(time.Duration(set.Load())) }
	overPipes(t, func(s *setup) {
		set.Store(0)
		s.opt.Wall = wall
		s.lis.MaxAuthAge = 20 * time.Hour
		s.door.until(time.Now().Add(2 * time.Hour))
	}, func(x *bed) {
		p := x.connect(packet.V5, "c", keepAlive(0))
		set.Store(int64(-2 * time.Hour))
		x.pass(3 * time.Hour)
		p.ping()
		set.Store(0) // an hour too late already
		x.pass(300 * time.Millisecond)
		p.leaves(packet.NotAuthorized)
		x.door.until(wall().Add(2 * time.Hour))
		p = x.connect(packet.V5, "c", keepAlive(0))
		x.pass(time.Minute)
		set.Store(int64(2 * time.Hour))
		x.pass(300 * time.Millisecond)
		p.leaves(packet.NotAuthorized)
		x.door.until(wall().Add(100 * time.Hour))
		p = x.connect(packet.V5, "c", keepAlive(0))
		set.Store(int64(40 * time.Hour))
		x.pass(time.Minute)
		p.ping()
	})
}

func TestABoundPublishesTheWill(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		w := x.connect(packet.V5, "watch", keepAlive(0))
		w.subscribe(filter("will", 1))
		p := x.connect(packet.V5, "c", keepAlive(0), willOf("will", "gone", 0))
		lis := *x.opt.Listeners["test"]
		x.pass(20 * time.Second)
		w2 := lis
		w2.MaxConnectionLifetime = 30 * time.Second
		x.pass(time.Second)
		w.disconnect(0)
		w = x.connect(packet.V5, "watch", keepAlive(0))
		w.subscribe(filter("will", 1))
		x.b.SetListeners(map[string]*Listener{"test": &w2})
		x.pass(8 * time.Second)
		p.ping()
		x.pass(2 * time.Second)
		p.leaves(packet.MaximumConnectTime)
		w.gets("gone")
	})
}

// A reload counts from a connection's own start, and takes a bound away too.
func TestABoundThatAReloadBringsCountsFromTheStart(t *testing.T) {
	overPipes(t, func(s *setup) { s.lis.MaxAuthAge = 100 * time.Second }, func(x *bed) {
		old := *x.opt.Listeners["test"]
		a := x.connect(packet.V5, "a", keepAlive(0))
		x.pass(50 * time.Second)
		b := x.connect(packet.V311, "b", keepAlive(0))
		shorter := old
		shorter.MaxAuthAge = 20 * time.Second
		x.b.SetListeners(map[string]*Listener{"test": &shorter})
		x.pass(200 * time.Millisecond)
		a.leaves(packet.NotAuthorized) // 50 s are more than 20
		b.ping()
		none := old
		none.MaxAuthAge = 0
		x.b.SetListeners(map[string]*Listener{"test": &none})
		x.pass(10 * time.Minute)
		b.ping()
		x.b.SetListeners(map[string]*Listener{"other": &none}) // its own listener is gone: its first bounds hold
		x.pass(time.Second)
		b.ping()
	})
}

// Real sockets, whose broker has a clock of its own.
func TestEveryDriverEndsAConnectionAtItsBound(t *testing.T) {
	for v, want := range map[packet.Version]packet.Code{packet.V311: 0, packet.V5: packet.MaximumConnectTime} {
		start, ticks := time.Now(), make(chan time.Time)
		var passed atomic.Int64
		overTCP(t, func(s *setup) {
			passed.Store(0)
			s.opt.Now = func() time.Time { return start.Add(time.Duration(passed.Load())) }
			s.opt.Tick = ticks
			s.lis.MaxConnectionLifetime = time.Hour
		}, func(x *bed) {
			p := x.connect(v, "c", keepAlive(0))
			passed.Store(int64(time.Hour - 2*time.Second))
			ticks <- time.Time{}
			ticks <- time.Time{} // what was due in the one before has happened
			p.ping()
			passed.Store(int64(time.Hour + time.Second))
			ticks <- time.Time{}
			p.leaves(want)
		})
	}
}

// Chance makes a connection end earlier, never later, at most a tenth of the bound
// and five minutes; and it spreads.
func TestChanceEndsConnectionsEarlier(t *testing.T) {
	for _, c := range []struct {
		bound, most time.Duration
	}{
		{100 * time.Second, 10 * time.Second},
		{24 * time.Hour, 5 * time.Minute},
	} {
		for _, by := range []string{"credential", "max_auth_age", "max_connection_lifetime"} {
			var n atomic.Int64
			const clients = 64
			overPipes(t, func(s *setup) {
				s.opt.Jitter = func() float64 { return float64(n.Add(1)-1) / clients }
				switch by {
				case "max_auth_age":
					s.lis.MaxAuthAge = c.bound
				case "max_connection_lifetime":
					s.lis.MaxConnectionLifetime = c.bound
				}
			}, func(x *bed) {
				start := time.Now()
				if by == "credential" {
					x.door.until(start.Add(c.bound))
				}
				var lengths []time.Duration
				for i := range clients {
					x.connect(packet.V311, fmt.Sprint(i), keepAlive(0))
				}
				for _, conn := range x.b.conns.all() {
					at, _, _ := conn.deadline()
					lengths = append(lengths, time.Unix(0, at).Sub(start))
				}
				least, most := lengths[0], lengths[0]
				for _, d := range lengths {
					least, most = min(least, d), max(most, d)
				}
				if most > c.bound || least < c.bound-c.most {
					t.Errorf("%s %v: from %v to %v, want within the last %v", by, c.bound, least, most, c.most)
				}
				if most-least < c.most*9/10 {
					t.Errorf("%s %v: from %v to %v, which is no spread", by, c.bound, least, most)
				}
				x.pass(c.bound - c.most - 200*time.Millisecond)
				if got := x.b.metrics.Connections.Load(); got != clients {
					t.Errorf("%s %v: %d left before the first may end, want %d", by, c.bound, got, clients)
				}
				x.pass(c.most / 2)
				if got := x.b.metrics.Connections.Load(); got < clients/4 || got > clients*3/4 {
					t.Errorf("%s %v: %d of %d left in the middle", by, c.bound, got, clients)
				}
				x.pass(c.most/2 + 2*time.Second)
				if got := x.b.metrics.Connections.Load(); got != 0 {
					t.Errorf("%s %v: %d left after the bound", by, c.bound, got)
				}
			})
		}
	}
}

func TestChanceOutsideItsBoundsIsHeldWithinThem(t *testing.T) {
	for _, f := range []float64{-1, 0, 1, 7, math.Inf(1), math.Inf(-1)} {
		overPipes(t, func(s *setup) {
			s.lis.MaxAuthAge, s.opt.Jitter = 100*time.Second, func() float64 { return f }
		}, func(x *bed) {
			start := time.Now()
			x.connect(packet.V311, "c")
			at, _, _ := x.b.conns.all()[0].deadline()
			if d := time.Unix(0, at).Sub(start); d > 100*time.Second || d < 89*time.Second {
				t.Errorf("%v: %v", f, d)
			}
		})
	}
}

// Re-authentication begins max_auth_age anew, and not max_connection_lifetime.
func TestReauthenticationRenewsTheAuthAgeOnly(t *testing.T) {
	overPipes(t, func(s *setup) {
		s.lis.Enhanced = rounds{}
		s.lis.MaxAuthAge, s.lis.MaxConnectionLifetime = 60*time.Second, 150*time.Second
	}, func(x *bed) {
		p := x.open(packet.V5)
		p.sendConnect("c", method("ROUNDS"), keepAlive(0))
		p.authenticates("ann")
		for range 3 {
			x.pass(40 * time.Second)
			p.reauthenticates("ann")
		}
		x.pass(29 * time.Second)
		p.ping()
		x.pass(2 * time.Second)
		p.leaves(packet.MaximumConnectTime)
	})
	overPipes(t, func(s *setup) { s.lis.Enhanced, s.lis.MaxAuthAge = rounds{}, 60*time.Second }, func(x *bed) {
		p := x.open(packet.V5)
		p.sendConnect("c", method("ROUNDS"), keepAlive(0))
		p.authenticates("ann")
		x.pass(40 * time.Second)
		p.reauthenticates("ann")
		x.pass(59 * time.Second)
		p.ping()
		x.pass(2 * time.Second)
		p.leaves(packet.NotAuthorized)
	})
}

func (p *peer) reauthenticates(name string) {
	p.t.Helper()
	p.sendAuth(packet.ReAuthenticate, "ROUNDS", "")
	p.expectAuth(packet.ContinueAuthentication, "who")
	p.sendAuth(packet.ContinueAuthentication, "ROUNDS", name)
	p.expectAuth(packet.Success, "welcome")
}

func (x *bed) enhancedPeer(name string) *peer {
	x.t.Helper()
	p := x.open(packet.V5)
	p.sendConnect("c", method("ROUNDS"), keepAlive(0))
	if ack := p.authenticates(name); ack.Code != 0 {
		x.t.Fatalf("0x%02x", byte(ack.Code))
	}
	return p
}

// MQTT5: 4.12.1-2
func TestAReauthenticationThatStopsTimesOut(t *testing.T) {
	var log logbook
	overPipes(t, func(s *setup) { s.lis.Enhanced, s.opt.Log = rounds{}, log.logger() }, func(x *bed) {
		p := x.enhancedPeer("ann")
		p.sendAuth(packet.ReAuthenticate, "ROUNDS", "")
		p.expectAuth(packet.ContinueAuthentication, "who")
		x.pass(29 * time.Second)
		p.ping() // the connection works meanwhile
		x.pass(1200 * time.Millisecond)
		p.leaves(packet.NotAuthorized)
		if l := log.lines(t, audit.ReauthenticationFailed); len(l) != 1 || l[0]["client"] != "c" || l[0]["method"] != "ROUNDS" {
			t.Errorf("%v", l)
		}
	})
	// One that is over in time ends nothing.
	overPipes(t, func(s *setup) { s.lis.Enhanced = rounds{} }, func(x *bed) {
		p := x.enhancedPeer("ann")
		p.reauthenticates("ann")
		x.pass(time.Minute)
		p.ping()
	})
}

// silent is an exchange whose step is never answered.
type silent struct{ rounds }

func (s silent) Exchange(method string, c *authn.Credentials) (Exchange, bool) {
	if c.ClientID == "" || len(c.AuthData) == 0 {
		return s.rounds.Exchange(method, c)
	}
	return silent{}, true
}

func (silent) Step([]byte, func([]byte, *security.Principal, error)) {}

func TestAReauthenticationWhoseStepHangsTimesOut(t *testing.T) {
	everyBubble(t, func(s *setup) { s.lis.Enhanced = silent{} }, func(x *bed) {
		p := x.enhancedPeer("ann")
		p.sendAuth(packet.ReAuthenticate, "ROUNDS", "hang")
		x.pass(31 * time.Second)
		p.leaves(packet.NotAuthorized)
	})
}

// everyBubble runs a case in virtual time over each store.
func everyBubble(t *testing.T, change func(*setup), f func(*bed)) {
	t.Helper()
	for _, w := range ways() {
		if w.bubble {
			t.Run(w.name, func(t *testing.T) { w.run(t, change, f) })
		}
	}
}

// MQTT5: 4.12.1-2
func TestReauthenticationIsBounded(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(*bed, *peer)
		code packet.Code
	}{
		{"too often", func(x *bed, p *peer) {
			for range reauthBurst {
				p.reauthenticates("ann")
			}
			x.pass(reauthEvery)
			p.reauthenticates("ann") // one more by then
			p.sendAuth(packet.ReAuthenticate, "ROUNDS", "")
		}, packet.QuotaExceeded},
		{"too many rounds", func(x *bed, p *peer) {
			p.sendAuth(packet.ReAuthenticate, "ROUNDS", "")
			for range exchangeRounds - 1 {
				p.expectAuth(packet.ContinueAuthentication, "who")
				p.sendAuth(packet.ContinueAuthentication, "ROUNDS", "again")
			}
			p.expectAuth(packet.ContinueAuthentication, "who")
			p.sendAuth(packet.ContinueAuthentication, "ROUNDS", "again")
		}, packet.NotAuthorized},
		{"within another", func(x *bed, p *peer) {
			p.sendAuth(packet.ReAuthenticate, "ROUNDS", "")
			p.expectAuth(packet.ContinueAuthentication, "who")
			p.sendAuth(packet.ReAuthenticate, "ROUNDS", "")
		}, packet.ProtocolError},
	} {
		t.Run(c.name, func(t *testing.T) {
			overPipes(t, func(s *setup) { s.lis.Enhanced = rounds{again: true} }, func(x *bed) {
				p := x.enhancedPeer("ann")
				c.do(x, p)
				p.leaves(c.code)
			})
		})
	}
}

func TestAnExchangeBeforeConnackIsBounded(t *testing.T) {
	overPipes(t, func(s *setup) { s.lis.Enhanced = rounds{again: true} }, func(x *bed) {
		p := x.open(packet.V5)
		p.sendConnect("c", method("ROUNDS"))
		for range exchangeRounds - 1 {
			p.expectAuth(packet.ContinueAuthentication, "who")
			p.sendAuth(packet.ContinueAuthentication, "ROUNDS", "again")
		}
		p.expectAuth(packet.ContinueAuthentication, "who")
		p.sendAuth(packet.ContinueAuthentication, "ROUNDS", "again")
		if ack := p.connack(); ack.Code != packet.BadUserNameOrPassword {
			t.Errorf("0x%02x, want 0x86", byte(ack.Code))
		}
	})
	for _, timeout := range []time.Duration{0, time.Hour} {
		overPipes(t, func(s *setup) { s.lis.Enhanced, s.lis.Limits.ConnectTimeout = rounds{}, timeout }, func(x *bed) {
			p := x.open(packet.V5)
			p.sendConnect("c", method("ROUNDS"))
			p.expectAuth(packet.ContinueAuthentication, "who")
			x.pass(29 * time.Second)
			select {
			case _, open := <-p.in:
				t.Fatalf("connect_timeout %v: something came after 29 s, open %v", timeout, open)
			default:
			}
			x.pass(1200 * time.Millisecond)
			p.closed()
		})
	}
}

// What was allowed is denied after a re-authentication that took a group, and the
// other way, at once and for what stands.
func TestReauthenticationReplacesRightsAtOnce(t *testing.T) {
	var log logbook
	var mu sync.Mutex
	groups := []string{"g"}
	set := func(g ...string) { mu.Lock(); groups = g; mu.Unlock() }
	policy := byGroup(func(r *security.Request) string {
		if r.Topic == "t" {
			return "g"
		}
		return ""
	})
	x0 := rounds{groups: func() []string { mu.Lock(); defer mu.Unlock(); return groups }}
	everyWay(t, func(s *setup) {
		s.lis.Enhanced, s.policy, s.opt.Log = x0, policy, log.logger()
		s.door.groups = []string{"g"}
	}, func(x *bed) {
		set("g")
		p, pub := x.enhancedPeer("ann"), x.connect(packet.V5, "pub")
		p.subscribe(filter("t", 1))
		if code := p.publishes("other", "1", 1, false); code != 0 {
			t.Fatalf("0x%02x", byte(code))
		}
		pub.publishes("t", "1", 1, false)
		p.gets("1")
		set()
		p.reauthenticates("ann")
		if code := p.publishes("t", "2", 1, false); code != packet.NotAuthorized {
			t.Errorf("0x%02x, want 0x87", byte(code))
		}
		if n := x.b.ClientSubscriptions("c"); n != 0 {
			t.Errorf("%d subscriptions stand, want none", n)
		}
		set("g")
		p.reauthenticates("ann")
		p.subscribe(filter("t", 1))
		pub.publishes("t", "3", 1, false)
		p.gets("3")
		if n := x.b.metrics.Reauthenticated.Load(); n != 2 {
			t.Errorf("%d counted, want 2", n)
		}
	})
	for _, l := range log.lines(t, audit.Reauthenticated) {
		if l["client"] != "c" || l["user"] != "ann" || l["method"] != "ROUNDS" || l["listener"] != "test" || l["addr"] == nil {
			t.Errorf("%v", l)
		}
	}
	if strings.Contains(log.buf.String(), "welcome") {
		t.Error("authentication data in the log")
	}
}

func TestReauthenticationUnderAccountsThatChangeMeanwhile(t *testing.T) {
	for _, how := range []string{"epoch", "account"} {
		overPipes(t, func(s *setup) { s.lis.Enhanced = rounds{} }, func(x *bed) {
			p := x.enhancedPeer("ann")
			p.sendAuth(packet.ReAuthenticate, "ROUNDS", "")
			p.expectAuth(packet.ContinueAuthentication, "who")
			if how == "epoch" {
				x.door.reloaded(t)
			} else {
				x.door.stands = func(*security.Principal) bool { return false }
			}
			p.sendAuth(packet.ContinueAuthentication, "ROUNDS", "ann")
			p.leaves(packet.ServerBusy)
		})
	}
}

// Who can't be asked about was not refused; and a session is kept.
func TestAnAuthenticatorThatCantBeAsked(t *testing.T) {
	for v, want := range map[packet.Version]packet.Code{packet.V31: packet.V3ServerUnavailable, packet.V311: packet.V3ServerUnavailable, packet.V5: packet.ServerUnavailable} {
		overPipes(t, func(s *setup) { s.door.down, s.door.floor = true, time.Second }, func(x *bed) {
			began := time.Now()
			_, ack := x.tryConnect(v, "c", user("u"))
			if took := time.Since(began); ack.Code != want || took < time.Second {
				t.Errorf("0x%02x after %v, want 0x%02x after a second", byte(ack.Code), took, byte(want))
			}
		})
	}
	overPipes(t, func(s *setup) { s.lis.Enhanced = rounds{} }, func(x *bed) {
		p := x.open(packet.V5)
		p.sendConnect("c", method("ROUNDS"))
		if ack := p.authenticates("down"); ack.Code != packet.ServerUnavailable {
			t.Errorf("0x%02x, want 0x88", byte(ack.Code))
		}
	})
	overPipes(t, func(s *setup) { s.lis.Enhanced = rounds{} }, func(x *bed) {
		p := x.open(packet.V5)
		p.sendConnect("c", method("ROUNDS"), kept(100))
		p.authenticates("ann")
		p.sendAuth(packet.ReAuthenticate, "ROUNDS", "")
		p.expectAuth(packet.ContinueAuthentication, "who")
		p.sendAuth(packet.ContinueAuthentication, "ROUNDS", "down")
		p.leaves(packet.ServerBusy)
		if _, online, ok := x.b.ClientPrincipal("c"); online || !ok {
			t.Error("the session is not kept")
		}
	})
}

func TestAFailedReauthenticationIsAnsweredNoSoonerThanTheFloor(t *testing.T) {
	overPipes(t, func(s *setup) { s.lis.Enhanced, s.door.floor = rounds{}, 2*time.Second }, func(x *bed) {
		p := x.enhancedPeer("ann")
		p.sendAuth(packet.ReAuthenticate, "ROUNDS", "")
		p.expectAuth(packet.ContinueAuthentication, "who")
		p.sendAuth(packet.ContinueAuthentication, "ROUNDS", "bad")
		began := time.Now()
		p.leaves(packet.NotAuthorized)
		if took := time.Since(began); took < 2*time.Second {
			t.Errorf("after %v, want at least 2 s", took)
		}
	})
}

// An account that changes while its client connects is asked about again, and not
// for ever.
func TestAnAccountThatChangesMeanwhileIsAskedAboutAgain(t *testing.T) {
	for _, c := range []struct {
		misses int64
		code   packet.Code
	}{{0, 0}, {1, 0}, {2, 0}, {3, packet.ServerBusy}, {99, packet.ServerBusy}} {
		var asked atomic.Int64
		overPipes(t, func(s *setup) {
			s.door.stands = func(*security.Principal) bool { return asked.Add(1) > c.misses }
		}, func(x *bed) {
			// The last look is before the CONNACK.
			want := c.code
			if c.misses == 3 {
				want = 0
			}
			if _, ack := x.tryConnect(packet.V5, "c"); ack.Code != want {
				t.Errorf("%d misses: 0x%02x, want 0x%02x", c.misses, byte(ack.Code), byte(want))
			}
		})
	}
}
