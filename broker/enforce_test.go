package broker

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/audit"
	"sallyport/packet"
	"sallyport/security"
	"sallyport/store"
)

// enforce puts another policy in force, for good.
func (x *bed) enforce(p policyFunc) Enforced {
	x.swap(p)
	return x.b.Enforce()
}

// denyAction denies one action about one topic or filter.
func denyAction(action security.Action, topic string) policyFunc {
	return func(r *security.Request) security.Effect {
		if r.Action == action && r.Topic == topic {
			return security.Deny
		}
		return security.Allow
	}
}

func TestWhoMayNotConnectAnyMoreIsEnded(t *testing.T) {
	everyWay(t, nil, func(x *bed) {
		w := x.connect(packet.V5, "watch")
		w.subscribe(filter("will", 0))
		evil := x.connect(packet.V5, "online", user("evil"), willOf("will", "x", 0))
		old := x.connect(packet.V311, "old", user("evil"))
		x.connect(packet.V5, "away", user("evil"), kept(100), willOf("will", "y", 10)).drop()
		good := x.connect(packet.V5, "good", user("good"))
		n := x.enforce(func(r *security.Request) security.Effect {
			if r.Action == security.Connect && r.Principal.Name == "evil" {
				return security.Deny
			}
			return security.Allow
		})
		if n.Disconnected != 2 {
			t.Errorf("%+v, want two disconnected", n)
		}
		evil.leaves(packet.NotAuthorized)
		old.leaves(packet.NotAuthorized)
		good.ping()
		if x.bubble {
			x.pass(time.Minute)
		}
		w.nothing() // a principal that may not connect leaves no will
	})
}

func TestASubscriptionThatIsNotAllowedAnyMoreEnds(t *testing.T) {
	var log logbook
	ops := &seenOps{}
	change := func(s *setup) { s.opt.Log, s.opt.Store = log.logger(), ops }
	overPipes(t, change, func(x *bed) {
		ops.Memory = store.NewMemory()
		a := x.connect(packet.V5, "a", kept(100), user("anna"))
		a.subscribe(filter("secret", 1), filter("open", 1))
		away := x.connect(packet.V5, "away", kept(100), user("bert"))
		away.subscribe(filter("secret", 1), filter("open", 1))
		away.drop()
		if n := x.enforce(denyAction(security.Subscribe, "secret")); n != (Enforced{Revoked: 2}) {
			t.Errorf("%+v, want two revoked", n)
		}
		pub := x.connect(packet.V5, "pub")
		pub.publishes("secret", "1", 1, false)
		pub.publishes("open", "2", 1, false)
		a.gets("2")
		x.enforce(allowAll)
		pub.publishes("secret", "3", 1, false) // what ended stays ended
		a.nothing()
		again := x.connect(packet.V5, "away", kept(100), user("bert"))
		again.gets("2")
		again.nothing()
		if n := x.b.metrics.SubscriptionsRevoked.Load(); n != 2 {
			t.Errorf("%d counted, want 2", n)
		}
		if n := ops.count(store.DeleteSubscription); n != 2 {
			t.Errorf("%d subscriptions deleted in the store, want 2", n)
		}
		users := map[any]bool{}
		for _, l := range log.lines(t, audit.SubscriptionRevoked) {
			users[l["user"]] = l["filter"] == "secret" && l["policy"] == "test" && l["rule"] == "test rule"
		}
		if len(users) != 2 || !users["anna"] || !users["bert"] {
			t.Errorf("logged: %v", users)
		}
	})
}

// seenOps is a store that counts what it is told to keep.
type seenOps struct {
	*store.Memory
	mu  sync.Mutex
	ops []store.Kind
}

func (s *seenOps) Commit(b *store.Batch, done func(error)) {
	s.mu.Lock()
	for _, op := range b.Ops {
		s.ops = append(s.ops, op.Kind)
	}
	s.mu.Unlock()
	s.Memory.Commit(b, done)
}

func (s *seenOps) count(k store.Kind) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, op := range s.ops {
		if op == k {
			n++
		}
	}
	return n
}

func TestASubscriptionMayBeWithheldInstead(t *testing.T) {
	everyWay(t, func(s *setup) { s.opt.OnPolicyChange = Withhold }, func(x *bed) {
		a := x.connect(packet.V5, "a")
		a.subscribe(filter("secret", 1))
		n := x.enforce(func(r *security.Request) security.Effect {
			if r.Topic == "secret" && r.Action != security.Publish {
				return security.Deny
			}
			return security.Allow
		})
		if n != (Enforced{}) {
			t.Errorf("%+v, want nothing", n)
		}
		pub := x.connect(packet.V5, "pub")
		pub.publishes("secret", "1", 1, false)
		a.nothing()
		x.enforce(allowAll)
		pub.publishes("secret", "2", 1, false)
		a.gets("2")
	})
}

func TestASubscriptionAboveTheAllowedQoSIsLowered(t *testing.T) {
	var log logbook
	atMost0 := policyFunc(func(r *security.Request) security.Effect {
		if r.Topic == "t" && (r.Action == security.Subscribe || r.Action == security.Receive) && r.QoS > 0 {
			return security.Silent
		}
		return security.Allow
	})
	everyWay(t, func(s *setup) { s.opt.Log = log.logger() }, func(x *bed) {
		a, away := x.connect(packet.V5, "a"), x.connect(packet.V5, "away", kept(100))
		a.subscribe(filter("t", 2))
		away.subscribe(filter("t", 2))
		away.drop()
		x.b.gate.Swap(&security.Ruleset{
			ByListener: map[string][]security.Policy{"test": {atMost0}}, Downgrade: map[string]bool{"test": true},
		})
		if n := x.b.Enforce(); n != (Enforced{Lowered: 2}) {
			t.Errorf("%+v, want two lowered", n)
		}
		if n := x.b.Enforce(); n != (Enforced{}) {
			t.Errorf("%+v the second time, want nothing", n)
		}
		away = x.connect(packet.V5, "away", kept(100))
		x.connect(packet.V5, "pub").publishes("t", "1", 2, false)
		for _, p := range []*peer{a, away} {
			if m := p.message(); m.qos != 0 || m.payload != "1" {
				t.Errorf("%s: %+v, want QoS 0", p.id, m)
			}
		}
		// A subscription of now is granted what is allowed, and says so.
		if codes := a.subscribe(filter("t", 1), filter("u", 1)); !slices.Equal(codes, []packet.Code{0, 1}) {
			t.Errorf("granted %v, want 0 and 1", codes)
		}
	})
	if n := len(log.lines(t, audit.SubscriptionLowered)); n != 2*len(ways()) {
		t.Errorf("%d lines, want %d", n, 2*len(ways()))
	}
}

func TestAPolicyThatPanicsRefuses(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		a, b := x.connect(packet.V5, "a", user("a")), x.connect(packet.V5, "b", user("b"))
		a.subscribe(filter("t", 0))
		n := x.enforce(func(r *security.Request) security.Effect {
			if r.Action == security.Subscribe {
				panic("a fault")
			}
			return security.Allow
		})
		if n.Disconnected != 1 || x.b.metrics.Panics.Load() != 1 {
			t.Errorf("%+v, %d panics", n, x.b.metrics.Panics.Load())
		}
		x.b.metrics.Panics.Store(0)
		a.leaves(packet.NotAuthorized)
		b.ping()
	})
}

// holdUp is a policy that stops at a request until it is let go.
type holdUp struct {
	at      func(*security.Request) bool
	reached chan struct{}
	let     chan struct{}
	once    atomic.Bool
}

func newHoldUp(at func(*security.Request) bool) *holdUp {
	return &holdUp{at: at, reached: make(chan struct{}), let: make(chan struct{})}
}

func (h *holdUp) decide(r *security.Request) security.Effect {
	if h.at(r) && !h.once.Swap(true) {
		close(h.reached)
		<-h.let
	}
	return security.Allow
}

// enforceBehind has the rules changed to p while h holds up what is under way. It
// checks that Enforce waits for that, and returns when Enforce has; ended returns
// when begin has, before which what it reads from is not for others.
func (x *bed) enforceBehind(h *holdUp, p policyFunc, begin func()) (ended func()) {
	x.t.Helper()
	begun := make(chan struct{})
	go func() { defer close(begun); begin() }()
	<-h.reached
	returned := make(chan struct{})
	go func() { x.enforce(p); close(returned) }()
	x.until("Enforce waits for what is under way", x.enforceWaits)
	select {
	case <-returned:
		x.t.Error("Enforce returned while something of earlier rules was under way")
	default:
	}
	close(h.let)
	<-returned
	return func() { <-begun }
}

// delivered is how many messages have been appended to a client's output, the
// only one that gets some; a message leaves, and is counted, after that.
func (x *bed) delivered(client string) int64 {
	c := x.b.reg.find(client).conn
	c.mu.Lock()
	defer c.mu.Unlock()
	return x.b.metrics.PublishSent.Load() + int64(c.outPublishes)
}

func (x *bed) enforceWaits() bool {
	if !x.b.outside.TryRLock() {
		return true
	}
	x.b.outside.RUnlock()
	for _, c := range x.b.conns.all() {
		c.mu.Lock()
		waits := c.seldom != nil && c.seldom.over != nil
		c.mu.Unlock()
		if waits {
			return true
		}
	}
	return false
}

func TestEnforceWaitsForAPublishUnderWay(t *testing.T) {
	h := newHoldUp(func(r *security.Request) bool { return r.Action == security.Receive })
	way{}.run(t, func(s *setup) { s.policy = h.decide }, func(x *bed) {
		sub, pub := x.connect(packet.V5, "sub"), x.connect(packet.V5, "pub")
		sub.subscribe(filter("t", 0))
		ended := x.enforceBehind(h, denyPublish("t"), func() { pub.publishes("t", "1", 0, false) })
		// It was on its way when the rules changed: it has been delivered before.
		if n := x.delivered("sub"); n != 1 {
			t.Errorf("%d delivered when Enforce returned, want 1", n)
		}
		ended()
		sub.gets("1")
		pub.publishes("t", "2", 1, false)
		sub.nothing()
	})
}

func TestEnforceWaitsForAWillUnderWay(t *testing.T) {
	h := newHoldUp(func(r *security.Request) bool { return r.Action == security.Receive })
	way{}.run(t, func(s *setup) { s.policy = h.decide }, func(x *bed) {
		sub, c := x.connect(packet.V5, "sub"), x.connect(packet.V5, "c", willOf("t", "will", 0))
		sub.subscribe(filter("t", 0))
		ended := x.enforceBehind(h, denyPublish("t"), func() { _ = c.conn.Close() }) // the end is what is wanted
		if n := x.delivered("sub"); n != 1 {
			t.Errorf("%d delivered when Enforce returned, want 1", n)
		}
		ended()
		sub.gets("will")
	})
}

func TestASubscribeThatWasJudgedBeforeDoesNotStand(t *testing.T) {
	for _, name := range []string{"t", "$share/g/t"} {
		h := newHoldUp(func(r *security.Request) bool { return r.Action == security.Subscribe })
		way{}.run(t, func(s *setup) { s.policy = h.decide }, func(x *bed) {
			sub := x.connect(packet.V5, "sub")
			ended := x.enforceBehind(h, denyAction(security.Subscribe, "t"), func() { sub.subscribe(filter(name, 0)) })
			if n := x.b.metrics.Subscriptions.Load(); n != 0 {
				t.Errorf("%s: %d subscriptions stand, want none", name, n)
			}
			ended()
			x.connect(packet.V5, "pub").publishes("t", "x", 0, false)
			x.settle()
			sub.ping()
		})
	}
}

func TestEnforceDoesNotWaitForTheStore(t *testing.T) {
	way{bubble: true, store: slowStore(nil)}.run(t, nil, func(x *bed) {
		sub := x.connect(packet.V5, "sub", kept(100))
		sub.sendSubscribe(0, filter("t", 1))
		synctest.Wait() // handled, and not committed
		began := time.Now()
		n := x.enforce(denyAction(security.Subscribe, "t"))
		if d := time.Since(began); d != 0 || n.Revoked != 1 {
			t.Errorf("%+v after %v, want one revoked at once", n, d)
		}
		sub.suback(1)
	})
}

func TestAPublishIsJudgedUntilTheAnswerHolds(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		sub, pub := x.connect(packet.V5, "sub"), x.connect(packet.V5, "pub")
		sub.subscribe(filter("t", 0))
		swaps := 0
		var restless policyFunc
		restless = func(r *security.Request) security.Effect {
			if r.Action == security.Publish && swaps < 10 {
				swaps++
				x.swap(restless)
			}
			return security.Allow
		}
		x.swap(restless)
		if code := pub.publishes("t", "1", 1, false); code != 0 || swaps != 10 {
			t.Errorf("0x%02x after %d swaps, want success after 10", byte(code), swaps)
		}
		sub.gets("1")
	})
}

// A refusal that came between judgement and routing is one like any other.
func TestARefusalOfRulesThatComeInBetween(t *testing.T) {
	for _, end := range []bool{false, true} {
		for _, v := range []packet.Version{packet.V311, packet.V5} {
			for qos := range byte(3) {
				var log logbook
				change := func(s *setup) { s.opt.Log, s.lis.DisconnectDenied = log.logger(), end }
				overPipes(t, change, func(x *bed) {
					sub, pub := x.connect(packet.V5, "sub"), x.connect(v, "pub", kept(100))
					sub.subscribe(filter("t", 2))
					x.swap(func(r *security.Request) security.Effect {
						if r.Action == security.Publish {
							x.swap(denyPublish("t"))
						}
						return security.Allow
					})
					want := packet.NotAuthorized
					if v != packet.V5 {
						want = 0
					}
					if end {
						pub.send(pub.pub(packet.PublishOut{Topic: "t", QoS: qos, PacketID: min(1, uint16(qos))}))
						pub.leaves(packet.NotAuthorized)
					} else if code := pub.publishes("t", "x", qos, false); qos > 0 && code != want {
						t.Errorf("version %d QoS %d: 0x%02x, want 0x%02x", v, qos, byte(code), byte(want))
					}
					x.settle()
					if n := x.b.metrics.PublishDenied.Load(); n != 1 || len(log.lines(t, audit.PublishDenied)) != 1 {
						t.Errorf("version %d QoS %d: %d counted, %d lines, want one of each", v, qos, n, len(log.lines(t, audit.PublishDenied)))
					}
					sub.nothing()
				})
			}
		}
	}
}

func TestClientPrincipal(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		if who, online, ok := x.b.ClientPrincipal("c"); who != nil || online || ok {
			t.Error("a client that isn't there has a principal")
		}
		c := x.connect(packet.V5, "c", user("u"), kept(100))
		for _, want := range []bool{true, false} {
			if who, online, ok := x.b.ClientPrincipal("c"); !ok || online != want || who.Name != "u" || who.ClientID != "c" {
				t.Errorf("%+v, online %v, %v", who, online, ok)
			}
			if want {
				c.drop()
			}
		}
	})
}

func TestReauthenticationJudgesWhatStands(t *testing.T) {
	inGroup := func(r *security.Request) security.Effect {
		if r.Topic == "t" && r.Action == security.Subscribe && !slices.Contains(r.Principal.Groups, "g") {
			return security.Deny
		}
		return security.Allow
	}
	overPipes(t, func(s *setup) { s.policy = inGroup }, func(x *bed) {
		c := x.connect(packet.V5, "c")
		cl := x.b.reg.find("c")
		now := *cl.principal
		now.Groups = []string{"g"}
		var after aftermath
		if !cl.renew(cl.conn, &now, &after) {
			t.Fatal("not the present connection")
		}
		c.subscribe(filter("t", 0))
		then := now
		then.Groups = nil
		cl.renew(cl.conn, &then, &after)
		if len(after.restood) != 1 || x.b.metrics.Subscriptions.Load() != 0 {
			t.Errorf("%d revoked, %d stand", len(after.restood), x.b.metrics.Subscriptions.Load())
		}
		if cl.renew(nil, &then, &after) {
			t.Error("renewed for a connection that isn't the present one")
		}
	})
}
