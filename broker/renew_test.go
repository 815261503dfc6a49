package broker

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/packet"
	"sallyport/security"
	"sallyport/store"
	"sallyport/store/storetest"
)

// byGroup is a policy that allows what is done with a topic, or a connection, only
// to members of the group that needs names; no name is for all.
func byGroup(needs func(*security.Request) string) policyFunc {
	return func(r *security.Request) security.Effect {
		if g := needs(r); g != "" && !slices.Contains(r.Principal.Groups, g) {
			return security.Deny
		}
		return security.Allow
	}
}

// regroup gives everyone of a user name other groups.
func regroup(name string, groups ...string) func(*security.Principal) *security.Principal {
	return func(p *security.Principal) *security.Principal {
		if p.Name != name {
			return p
		}
		q := *p
		q.Groups = groups
		return &q
	}
}

func topicNeeds(action security.Action, topic, group string) policyFunc {
	return byGroup(func(r *security.Request) string {
		if r.Action == action && r.Topic == topic {
			return group
		}
		return ""
	})
}

func TestAnotherPrincipalCountsAtOnceForWhatIsPublished(t *testing.T) {
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		everyWay(t, func(s *setup) { s.policy = topicNeeds(security.Publish, "t", "g") }, func(x *bed) {
			w := x.connect(packet.V5, "watch")
			w.subscribe(filter("t", 1))
			p := x.connect(v, "c", user("u"))
			before, _, _ := x.b.ClientPrincipal("c")
			for _, allowed := range []bool{false, true, false, true} {
				groups := []string{"other"}
				if allowed {
					groups = []string{"g"}
				}
				if n, _ := x.b.Renew(regroup("u", groups...)); n != 1 {
					t.Fatalf("%d renewed, want 1", n)
				}
				p.publishes("t", "x", 1, false)
				if allowed {
					w.gets("x")
				}
				w.nothing()
			}
			if before.Groups != nil {
				t.Error("the old principal was changed")
			}
		})
	}
}

func TestAnotherPrincipalCountsAtOnceForWhatIsReceived(t *testing.T) {
	everyWay(t, func(s *setup) { s.policy = topicNeeds(security.Receive, "t", "g") }, func(x *bed) {
		sub, pub := x.connect(packet.V5, "sub", user("u")), x.connect(packet.V5, "pub")
		sub.subscribe(filter("t", 1))
		for _, allowed := range []bool{false, true, false} {
			if allowed {
				x.b.Renew(regroup("u", "g"))
			} else {
				x.b.Renew(regroup("u"))
			}
			pub.publishes("t", "x", 1, false)
			if allowed {
				sub.gets("x")
			}
			sub.nothing()
		}
	})
}

func TestAnotherPrincipalHasItsSubscriptionsJudged(t *testing.T) {
	everyWay(t, func(s *setup) { s.policy = topicNeeds(security.Subscribe, "t", "g"); s.door.groups = []string{"g"} }, func(x *bed) {
		a := x.connect(packet.V5, "a", user("u"))
		away := x.connect(packet.V5, "away", user("u"), kept(100))
		for _, p := range []*peer{a, away} {
			p.subscribe(filter("t", 1), filter("open", 1))
		}
		away.drop()
		if n, _ := x.b.Renew(regroup("u", "other")); n != 2 {
			t.Errorf("%d renewed, want 2", n)
		}
		for id, want := range map[string]int{"a": 1, "away": 1} {
			if n := x.b.ClientSubscriptions(id); n != want {
				t.Errorf("%s has %d subscriptions, want %d", id, n, want)
			}
		}
		if c := a.subscribe(filter("t", 1))[0]; c != packet.NotAuthorized {
			t.Errorf("0x%02x, want 0x87", byte(c))
		}
	})
}

func TestAnotherPrincipalThatMayNotConnectIsEnded(t *testing.T) {
	policy := byGroup(func(r *security.Request) string {
		if r.Action == security.Connect && r.Principal.Name == "u" {
			return "g"
		}
		return ""
	})
	everyWay(t, func(s *setup) { s.policy = policy; s.door.groups = []string{"g"} }, func(x *bed) {
		w := x.connect(packet.V5, "watch")
		w.subscribe(filter("will", 0))
		p := x.connect(packet.V5, "c", user("u"), willOf("will", "x", 0))
		x.b.Renew(regroup("u"))
		p.leaves(packet.NotAuthorized)
		w.nothing()
	})
}

func TestAPrincipalWithAnotherNameTakesNobodysPlace(t *testing.T) {
	everyWay(t, nil, func(x *bed) {
		w := x.connect(packet.V5, "watch")
		w.subscribe(filter("will", 0))
		online := x.connect(packet.V5, "online", user("u"), willOf("will", "x", 0))
		x.connect(packet.V5, "away", user("u"), kept(100), willOf("will", "y", 5)).drop()
		w.subscribe(filter("will", 0))
		n, _ := x.b.Renew(func(p *security.Principal) *security.Principal {
			if p.Name != "u" {
				return p // as it is
			}
			if p.ClientID == "away" {
				return nil
			}
			q := *p
			q.Name = "root"
			return &q
		})
		if n != 2 {
			t.Errorf("%d, want 2", n)
		}
		online.leaves(packet.NotAuthorized)
		if x.bubble {
			x.pass(time.Minute)
		}
		w.nothing()
		if who, _, ok := x.b.ClientPrincipal("away"); ok && who.Name != "u" {
			t.Errorf("the session is %s's", who.Name)
		}
	})
}

func TestWhoIsNotRenewedStaysAsItIs(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		p := x.connect(packet.V5, "c", user("u"))
		before := x.b.reg.find("c").principal
		if n, _ := x.b.Renew(func(p *security.Principal) *security.Principal { return p }); n != 0 || x.b.reg.find("c").principal != before {
			t.Errorf("%d renewed", n)
		}
		p.ping()
	})
}

func TestWhatIsTheConnectionsOwnIsNotRenewed(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		x.connect(packet.V5, "c", user("u"))
		x.b.Renew(func(p *security.Principal) *security.Principal {
			return &security.Principal{Realm: p.Realm, Name: p.Name, ClientID: "other", Listener: "other", Internal: true, Account: 9}
		})
		if p, _, _ := x.b.ClientPrincipal("c"); p.ClientID != "c" || p.Listener != "test" || p.Internal || p.Account != 9 {
			t.Errorf("%+v", p)
		}
	})
}

// What a client leaves is judged for who it is when it goes, and when it is due.
func TestAWillIsJudgedForTheOtherPrincipal(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		groups := map[bool]string{false: "other", true: "g"}[allowed]
		everyWay(t, func(s *setup) { s.policy = topicNeeds(security.Publish, "will", "g"); s.door.groups = []string{"g"} }, func(x *bed) {
			w := x.connect(packet.V5, "watch")
			w.subscribe(filter("will", 0))
			c := x.connect(packet.V5, "c", user("u"), willOf("will", "now", 0))
			var away *peer
			if x.bubble {
				away = x.connect(packet.V5, "away", user("u"), kept(100), willOf("will", "later", 5))
				away.drop()
			}
			x.b.Renew(regroup("u", groups))
			c.drop()
			if allowed {
				w.gets("now")
			}
			if x.bubble {
				x.pass(10 * time.Second)
				if allowed {
					w.gets("later")
				}
			}
			w.nothing()
		})
	}
}

// A will on its way is nobody's who could be found as a client.
func TestAWillOnItsWayIsRenewedAndRevoked(t *testing.T) {
	for _, how := range []string{"renewed", "revoked", "another", "left alone"} {
		overPipes(t, func(s *setup) { s.policy = topicNeeds(security.Publish, "will", "g"); s.door.groups = []string{"g"} }, func(x *bed) {
			w := x.connect(packet.V5, "watch")
			w.subscribe(filter("will", 0))
			x.connect(packet.V5, "c", user("u"), willOf("will", "x", 0))
			cl := x.b.reg.find("c")
			var after aftermath
			cl.mu.Lock()
			cl.flushWill(&after)
			cl.mu.Unlock()
			switch how {
			case "renewed":
				x.b.Renew(regroup("u", "other"))
			case "another":
				x.b.Renew(func(p *security.Principal) *security.Principal {
					return &security.Principal{Realm: p.Realm, Name: p.Name + "x"}
				})
				w = x.connect(packet.V5, "watch2")
				w.subscribe(filter("will", 0))
			case "revoked":
				x.b.Revoke(func(p *security.Principal) bool { return p.Name == "u" }, "test")
			}
			turn := turn{now: x.b.now()}
			cl.settle(&turn, &after)
			turn.flush()
			if how == "left alone" {
				w.gets("x")
			}
			w.nothing()
		})
	}
}

func TestASharedSubscriptionServesWhoMayHaveItNow(t *testing.T) {
	everyWay(t, func(s *setup) { s.policy = topicNeeds(security.Receive, "t", "g") }, func(x *bed) {
		sub, pub := x.connect(packet.V5, "sub", user("u")), x.connect(packet.V5, "pub")
		sub.subscribe(filter("$share/s/t", 1))
		pub.publishes("t", "x", 1, false)
		sub.nothing()
		x.b.Renew(regroup("u", "g"))
		pub.publishes("t", "y", 1, false)
		sub.gets("y")
	})
}

func TestAnotherExpiryEndsTheConnectionThen(t *testing.T) {
	overPipes(t, func(s *setup) { s.door.until(time.Now().Add(100 * time.Second)) }, func(x *bed) {
		sooner, later := x.connect(packet.V5, "sooner", user("sooner"), keepAlive(0)), x.connect(packet.V5, "later", user("later"), keepAlive(0))
		start := time.Now()
		x.b.Renew(func(p *security.Principal) *security.Principal {
			q := *p
			q.Expires = uint32(start.Add(map[string]time.Duration{"sooner": 20 * time.Second, "later": 300 * time.Second}[p.Name]).Unix())
			return &q
		})
		x.pass(22 * time.Second)
		sooner.leaves(packet.NotAuthorized)
		x.pass(200 * time.Second)
		later.ping()
		x.pass(80 * time.Second)
		later.leaves(packet.NotAuthorized)
	})
}

func TestRenewWaitsForAPublishUnderWay(t *testing.T) {
	h := newHoldUp(func(r *security.Request) bool { return r.Action == security.Publish })
	way{}.run(t, func(s *setup) { s.policy = h.decide }, func(x *bed) {
		sub, pub := x.connect(packet.V5, "sub"), x.connect(packet.V5, "pub", user("u"))
		sub.subscribe(filter("t", 0))
		go pub.send(pub.pub(packet.PublishOut{Topic: "t"}))
		<-h.reached
		returned := make(chan struct{})
		go func() { x.b.Renew(regroup("u", "g")); close(returned) }()
		x.until("Renew waits for what is under way", x.enforceWaits)
		select {
		case <-returned:
			t.Error("Renew returned while something was under way that was decided before")
		default:
		}
		close(h.let)
		<-returned
		if n := x.delivered("sub"); n != 1 {
			t.Errorf("%d delivered when Renew returned, want 1", n)
		}
	})
}

func TestAFanOutIsJudgedForTheOtherPrincipal(t *testing.T) {
	for _, gone := range []bool{false, true} {
		w := newThrong(t, 0)
		inner := policyFunc(func(r *security.Request) security.Effect {
			if r.Action == security.Publish && slices.Contains(r.Principal.Groups, "denied") {
				return security.Deny
			}
			return security.Allow
		})
		w.b.gate.Swap(&security.Ruleset{ByListener: map[string][]security.Policy{"test": {inner}}})
		w.feed(w.pub, publishBytes(0, 0))
		before := w.sent()
		name := w.pub.principal.Load().Name
		if gone {
			f := w.pub.takeFan()
			w.b.errands.add(f, f.permit.By()) // as abandon does
			w.b.Renew(regroup(name, "denied"))
			w.b.complete(f)
		} else {
			w.b.Renew(regroup(name, "denied"))
			for !w.goOn() {
			}
		}
		if got := w.sent(); got != before {
			t.Errorf("gone %v: %d were sent after Renew", gone, got-before)
		}
	}
}

// A CONNECT whose session waits for the store has been admitted as the old one.
func TestAConnectUnderWayIsJudgedForTheOtherPrincipal(t *testing.T) {
	policy := byGroup(func(r *security.Request) string {
		if r.Action == security.Connect || r.Will {
			return "g"
		}
		return ""
	})
	for _, allowed := range []bool{false, true} {
		slow := func() store.Store {
			return storetest.New(storetest.Options{Delay: func(int) time.Duration { return time.Second }})
		}
		way{bubble: true, store: slow}.run(t, func(s *setup) { s.policy = policy; s.door.groups = []string{"g"} }, func(x *bed) {
			p := x.open(packet.V5)
			p.sendConnect("c", user("u"), kept(100))
			synctest.Wait()
			groups := "other"
			if allowed {
				groups = "g"
			}
			if n, _ := x.b.Renew(regroup("u", groups, "new")); n != 1 {
				t.Fatalf("%d renewed, want 1", n)
			}
			want := packet.NotAuthorized
			if allowed {
				want = 0
			}
			if ack := p.connack(); ack.Code != want {
				t.Errorf("0x%02x, want 0x%02x", byte(ack.Code), byte(want))
			}
			if allowed {
				if c := x.b.reg.find("c"); c.conn.principal.Load() != c.principal || len(c.principal.Groups) != 2 {
					t.Error("the connection has another principal than the client")
				}
			}
		})
	}
}

func TestTheStoreKnowsTheOtherPrincipal(t *testing.T) {
	way{bubble: true, store: diskStore}.run(t, func(s *setup) { s.policy = topicNeeds(security.Publish, "will", "g") }, func(x *bed) {
		w := x.connect(packet.V5, "watch", kept(1000))
		w.subscribe(filter("will", 1))
		x.connect(packet.V5, "away", user("u"), kept(1000)).drop()
		x.connect(packet.V5, "willing", user("v"), kept(1000)).drop()
		x.b.Renew(func(p *security.Principal) *security.Principal {
			q := *p
			q.Groups, q.Account, q.Token = []string{"g"}, 5, &security.Token{ID: "jti"}
			return &q
		})
		x.connect(packet.V5, "willing", user("v"), kept(1000), func(c *packet.Connect) { c.Will = nil }).drop()
		x.restart()
		p, online, ok := x.b.ClientPrincipal("away")
		if !ok || online || !slices.Equal(p.Groups, []string{"g"}) || p.Account != 5 || p.Token == nil || p.Token.ID != "jti" {
			t.Errorf("%+v", p)
		}
	})
}

func TestTheStoreKnowsTheWillOfTheOtherPrincipal(t *testing.T) {
	for _, allowed := range []bool{false, true} {
		policy := byGroup(func(r *security.Request) string {
			if r.Will && r.Principal.Account != 0 {
				return "g"
			}
			return ""
		})
		way{bubble: true, store: diskStore}.run(t, func(s *setup) { s.policy = policy }, func(x *bed) {
			w := x.connect(packet.V5, "watch", kept(1000))
			w.subscribe(filter("will", 1))
			x.connect(packet.V5, "away", user("u"), kept(1000), willOf("will", "x", 60)).drop()
			x.b.Renew(func(p *security.Principal) *security.Principal {
				q := *p
				if q.Account = 5; allowed {
					q.Groups = []string{"g"}
				}
				return &q
			})
			x.restart()
			w = x.connect(packet.V5, "watch", kept(1000))
			x.pass(2 * time.Minute)
			if allowed {
				w.gets("x")
			}
			w.nothing()
		})
	}
}

// Whatever happens beside Renew, connection and client end up with one principal,
// and none that came before the last Renew.
func TestRenewBesideWhateverElse(t *testing.T) {
	for _, w := range drivers() {
		w.run(t, nil, func(x *bed) {
			stop := make(chan struct{})
			var ended sync.WaitGroup
			ended.Add(1)
			go func() {
				defer ended.Done()
				for n := uint64(1); ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					x.b.Renew(func(p *security.Principal) *security.Principal {
						q := *p
						q.Account = n
						return &q
					})
				}
			}()
			for range 50 {
				a := x.connect(packet.V5, "c", user("u"), kept(100), willOf("w", "w", 0))
				a.publishes("t", "x", 1, false)
				b := x.connect(packet.V311, "c", user("u")) // takes over
				b.subscribe(filter("z", 1))
				b.publishes("t", "y", 1, false)
				b.disconnect(0)
			}
			p := x.connect(packet.V5, "c", user("u"))
			close(stop)
			ended.Wait()
			p.ping()
			x.b.Renew(func(p *security.Principal) *security.Principal {
				q := *p
				q.Account = 1 << 40
				return &q
			})
			cl := x.b.reg.find("c")
			cl.mu.Lock()
			if cl.conn.principal.Load() != cl.principal || cl.principal.Account != 1<<40 {
				t.Errorf("%+v and %+v", cl.principal, cl.conn.principal.Load())
			}
			cl.mu.Unlock()
		})
	}
}
