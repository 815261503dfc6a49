package broker

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"math/big"
	"net/netip"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"sallyport/packet"
	"sallyport/security"
	"sallyport/session"
	"sallyport/store"
)

// notFrom denies a user to publish.
func notFrom(name string) policyFunc {
	return func(r *security.Request) security.Effect {
		if r.Action == security.Publish && r.Principal.Name == name {
			return security.Deny
		}
		return security.Allow
	}
}

func TestRetainedMessagesAreSentWhileTheirPublisherMayPublishThem(t *testing.T) {
	everyWay(t, nil, func(x *bed) {
		bad, good := x.connect(packet.V5, "1", user("bad")), x.connect(packet.V5, "2", user("good"), kept(100))
		live := x.connect(packet.V5, "live")
		live.subscribe(filter("#", 1))
		bad.publishes("a", "bad", 1, true)
		good.publishes("b", "good", 1, true)
		live.gets("bad", "good")
		good.drop() // the publisher need not be there
		x.enforce(notFrom("bad"))
		sub := x.connect(packet.V5, "sub")
		sub.subscribe(filter("#", 1))
		sub.gets("good")
		sub.nothing()
		if n := x.b.metrics.DroppedSource.Load(); n != 1 || x.b.metrics.Dropped() != 1 {
			t.Errorf("%d counted of %d, want 1", n, x.b.metrics.Dropped())
		}
		if code := bad.publishes("a", "more", 1, true); code != packet.NotAuthorized {
			t.Errorf("0x%02x, want 0x87", byte(code))
		}
		// It is kept all the same, and there when it is allowed again.
		x.enforce(allowAll)
		again := x.connect(packet.V5, "again")
		again.subscribe(filter("a", 1))
		again.gets("bad")
	})
}

func TestRetainedSourceKeepSendsThemAll(t *testing.T) {
	overPipes(t, func(s *setup) { s.opt.KeepRetainedSource = true }, func(x *bed) {
		x.connect(packet.V5, "1", user("bad")).publishes("a", "bad", 1, true)
		x.enforce(notFrom("bad"))
		sub := x.connect(packet.V5, "sub")
		sub.subscribe(filter("#", 1))
		sub.gets("bad")
	})
}

func TestARetainedMessageIsJudgedByItsPublisherAsHeIsNow(t *testing.T) {
	var fallen atomic.Bool
	now := func(p *security.Principal) *security.Principal {
		if p.Name != "good" || !fallen.Load() {
			return p
		}
		q := *p
		q.Name = "bad"
		return &q
	}
	overPipes(t, func(s *setup) { s.opt.Publisher = now }, func(x *bed) {
		x.connect(packet.V5, "1", user("good")).publishes("a", "x", 1, true)
		x.enforce(notFrom("bad"))
		for _, is := range []bool{false, true, false} {
			fallen.Store(is)
			x.enforce(notFrom("bad")) // what was noted of it is void
			sub := x.connect(packet.V5, "sub")
			sub.subscribe(filter("a", 1))
			if is {
				sub.nothing()
			} else {
				sub.gets("x")
			}
			sub.drop()
		}
	})
}

func TestAMessageOnItsWayIsNotJudgedByItsPublisherAgain(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		sub := x.connect(packet.V5, "sub", kept(100))
		sub.subscribe(filter("#", 1))
		sub.drop()
		x.connect(packet.V5, "1", user("bad")).publishes("a", "bad", 1, true)
		x.enforce(notFrom("bad"))
		x.connect(packet.V5, "sub", kept(100)).gets("bad") // it was published when that was allowed
	})
}

func TestTheBrokersOwnMessagesAreAlwaysSent(t *testing.T) {
	change := func(s *setup) { s.opt.SysInterval, s.opt.Version = 10*time.Second, "1.2.3" }
	overPipes(t, change, func(x *bed) {
		x.pass(time.Second)
		x.enforce(func(r *security.Request) security.Effect {
			if r.Action == security.Publish {
				return security.Deny
			}
			return security.Allow
		})
		sub := x.connect(packet.V5, "sub")
		sub.subscribe(filter("$SYS/broker/version", 0))
		sub.gets("1.2.3")
	})
}

func TestARetainedMessageOfNobodyIsNotSent(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		x.b.store.Retain(&session.Message{Topic: "a", Payload: []byte("x"), ExpiryAt: -1})
		sub := x.connect(packet.V5, "sub")
		sub.subscribe(filter("#", 0))
		sub.nothing()
	})
}

func TestARetainedWillIsJudgedAsAWill(t *testing.T) {
	willsOnly := policyFunc(func(r *security.Request) security.Effect {
		if r.Action == security.Publish && r.Topic == "w" && !r.Will {
			return security.Deny
		}
		return security.Allow
	})
	overPipes(t, func(s *setup) { s.policy = willsOnly }, func(x *bed) {
		c := x.connect(packet.V5, "c", func(c *packet.Connect) {
			c.Will = &packet.Will{Topic: "w", Payload: []byte("gone"), Retain: true, ExpiryAt: -1}
		})
		c.drop()
		sub := x.connect(packet.V5, "sub")
		sub.subscribe(filter("w", 0))
		sub.gets("gone")
	})
}

// asked counts how often the right to publish is asked for.
type asked struct {
	n       atomic.Int64
	verdict func(v *security.Verdict)
}

func (a *asked) Decide(r *security.Request) security.Verdict {
	v := security.Verdict{Effect: security.Allow, Policy: "asked"}
	if r.Action == security.Publish {
		a.n.Add(1)
		if a.verdict != nil {
			a.verdict(&v)
		}
	}
	return v
}

func TestTheRightOfAPublisherIsAskedOncePerTopicAndRules(t *testing.T) {
	const n = 5000
	for _, c := range []struct {
		name    string
		verdict func(*security.Verdict)
		second  int64 // questions for a second subscriber
	}{
		{"an answer without end", nil, 0},
		{"an answer for all that begin so", func(v *security.Verdict) { v.Scope = 1 }, 0},
		{"an answer for all that begin so, until now", func(v *security.Verdict) { v.Scope, v.Until = 1, time.Now().UnixNano() }, n},
		{"an answer for all that begin so and say the same", func(v *security.Verdict) { v.Scope, v.Volatile = 1, true }, n},
		{"an answer until later", func(v *security.Verdict) { v.Until = time.Now().Add(time.Hour).UnixNano() }, 0},
		{"an answer until now", func(v *security.Verdict) { v.Until = time.Now().UnixNano() }, n},
		{"an answer that depends on the message", func(v *security.Verdict) { v.Volatile = true }, n},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := &asked{verdict: c.verdict}
			rules := func() *security.Ruleset {
				return &security.Ruleset{ByListener: map[string][]security.Policy{"test": {a}}}
			}
			overPipes(t, func(s *setup) { s.opt.Gate = security.NewGate(rules()) }, func(x *bed) {
				fillRetained(x, n)
				replay := func(id string) int64 {
					before := a.n.Load()
					sub := x.connect(packet.V5, id)
					sub.subscribe(filter("r/#", 0))
					for range n {
						sub.message()
					}
					sub.drop()
					return a.n.Load() - before
				}
				first := int64(n)
				if c.name == "an answer for all that begin so" {
					first = 1
				}
				if got := replay("first"); got != first {
					t.Errorf("asked %d times for the first subscriber, want %d", got, first)
				}
				if got := replay("second"); got != c.second {
					t.Errorf("asked %d times for the second, want %d", got, c.second)
				}
				x.b.gate.Swap(rules())
				x.b.Enforce()
				if got := replay("third"); got != first {
					t.Errorf("asked %d times under new rules, want %d", got, first)
				}
			})
		})
	}
}

func TestAnOriginIsAPrincipalAsPlainData(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(7)}, &x509.Certificate{SerialNumber: big.NewInt(7)}, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	p := &security.Principal{
		Realm: "r", Name: "n", ClientID: "c", Groups: []string{"g"}, Roles: []string{"x"}, Attrs: map[string]string{"a": "b"},
		Claims: map[string]any{"k": 1.0}, Cert: cert, Addr: netip.MustParseAddrPort("192.0.2.1:5"), Listener: "l", Secure: true,
		Method: "m", Internal: true, Account: 7, Token: &security.Token{ID: "j", Issuer: "i", Key: [32]byte{0: 1, 31: 2}},
	}
	// A field that is added to Principal has to be set here, and kept. Left out are
	// the end of a credential and the chain that a connection is held against.
	for v, i := reflect.ValueOf(*p), 0; i < v.NumField(); i++ {
		if name := v.Type().Field(i).Name; v.Field(i).IsZero() != (name == "Expires" || name == "Chain") {
			t.Errorf("field %s is not covered", name)
		}
	}
	if got := principalOf(originOf(p)); !reflect.DeepEqual(got, p) {
		t.Errorf("%+v, want %+v", got, p)
	}
	// Who has the thumbprint of a secret can try guesses at it.
	hidden := *p
	hidden.Token = &security.Token{ID: "j", Issuer: "i", Key: p.Token.Key, Secret: true, KeyID: "k"}
	if o := originOf(&hidden); len(o.Token.Key) != 0 {
		t.Errorf("the thumbprint of a secret is kept: %x", o.Token.Key)
	}
	if got, want := *principalOf(originOf(&hidden)).Token, (security.Token{ID: "j", Issuer: "i", Secret: true, KeyID: "k"}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	bad := originOf(p)
	bad.Cert = []byte("no certificate")
	if principalOf(bad) != nil || principalOf(nil) != nil {
		t.Error("what can't be read is somebody")
	}
}

func TestTheMemoryOfPublishersIsBounded(t *testing.T) {
	var s sources
	for i := range 3 * sourcesKept {
		m := &session.Message{Origin: &session.Origin{Name: fmt.Sprint(i)}}
		from, _ := s.find(m)
		if again, _ := s.find(m); from.principal.Name != m.Origin.Name || again != from {
			t.Fatalf("%+v", from)
		}
	}
	if len(s.of) > sourcesKept {
		t.Errorf("%d remembered, want at most %d", len(s.of), sourcesKept)
	}
}

func TestWhatWasSaidOfAPublisherHoldsForWhatItWasSaidOf(t *testing.T) {
	var s sources
	o := &session.Origin{Name: "n"}
	one := &session.Message{Origin: o, Topic: "a/b/c", QoS: 1}
	from, note := s.find(one)
	if note != 0 {
		t.Fatal("something was said of nobody")
	}
	s.tell(from, one, 2, 7)
	for _, c := range []struct {
		m    *session.Message
		want uint64
	}{
		{&session.Message{Origin: o, Topic: "a/b/d", QoS: 1}, 7},
		{&session.Message{Origin: o, Topic: "a/b/d/e", QoS: 1}, 7},
		{&session.Message{Origin: o, Topic: "a/b", QoS: 1}, 0},
		{&session.Message{Origin: o, Topic: "a/bb/c", QoS: 1}, 0},
		{&session.Message{Origin: o, Topic: "a/b/d", QoS: 0}, 0},
		{&session.Message{Origin: o, Topic: "a/b/d", QoS: 1, Will: true}, 0},
		{&session.Message{Origin: &session.Origin{Name: "n"}, Topic: "a/b/d", QoS: 1}, 0},
	} {
		if _, got := s.find(c.m); got != c.want {
			t.Errorf("%s at QoS %d, will %t: note %d, want %d", c.m.Topic, c.m.QoS, c.m.Will, got, c.want)
		}
	}
	// What holds for one topic, and what was said of a will, is for no other.
	s.tell(from, &session.Message{Topic: "x/y", QoS: 1}, 0, 8)
	s.tell(from, &session.Message{Topic: "x/y", QoS: 1, Will: true}, 1, 9)
	if _, got := s.find(&session.Message{Origin: o, Topic: "x/z", QoS: 1}); got != 0 {
		t.Errorf("note %d of another message", got)
	}
}

func TestNotesHoldForTheirRulesAndTime(t *testing.T) {
	soon, past := time.Now().Add(time.Hour).UnixNano(), time.Now().Add(-time.Second).UnixNano()
	far := time.Date(2250, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()
	for _, c := range []struct {
		name           string
		v              security.Verdict
		made, read     uint64
		allowed, noted bool
	}{
		{"an allow", security.Verdict{Effect: security.Allow}, 5, 5, true, true},
		{"a deny", security.Verdict{Effect: security.Deny}, 5, 5, false, true},
		{"silence", security.Verdict{}, 5, 5, false, true},
		{"of other rules", security.Verdict{Effect: security.Allow}, 5, 6, false, false},
		{"until later", security.Verdict{Effect: security.Allow, Until: soon}, 5, 5, true, true},
		{"until far beyond", security.Verdict{Effect: security.Allow, Until: far}, 5, 5, true, true},
		{"until lately", security.Verdict{Effect: security.Allow, Until: past}, 5, 5, false, false},
		{"until long ago", security.Verdict{Effect: security.Allow, Until: 1}, 5, 5, false, false},
		{"a large generation", security.Verdict{Effect: security.Allow, Until: soon}, 1<<31 - 1, 1<<31 - 1, true, true},
	} {
		allowed, noted := readNote(makeNote(c.v, c.made), c.read)
		if allowed != c.allowed || noted != c.noted {
			t.Errorf("%s: %v %v, want %v %v", c.name, allowed, noted, c.allowed, c.noted)
		}
	}
	if _, noted := readNote(0, 1<<31); noted {
		t.Error("nothing was noted, and is read")
	}
}

func TestPurgeRetained(t *testing.T) {
	everyWay(t, nil, func(x *bed) {
		bad, good := x.connect(packet.V5, "1", user("bad")), x.connect(packet.V5, "2", user("good"))
		for i := range 600 {
			bad.publishes(fmt.Sprintf("t/%03d", i), "bad", 0, true)
		}
		bad.publishes("$other/t", "bad", 1, true)
		good.publishes("t/007", "good", 1, true)
		good.publishes("u", "good", 1, true)
		x.b.store.Retain(&session.Message{Topic: "v", Payload: []byte("nobody's"), ExpiryAt: -1})
		n, err := x.b.PurgeRetained(func(o session.Origin) bool { return o.Name == "bad" })
		if n != 600 || err != nil {
			t.Errorf("%d, %v, want 600", n, err)
		}
		var left []string
		x.b.store.EachRetained("", 1000, func(m *session.Message) bool {
			left = append(left, m.Topic)
			return true
		})
		if !slices.Equal(left, []string{"t/007", "u", "v"}) {
			t.Errorf("left: %v", left)
		}
	})
}

func TestPurgeRetainedSaysWhatTheStoreSays(t *testing.T) {
	s := func() store.Store {
		return failing(func(_ int, b *store.Batch) bool { return hasKind(b, store.DeleteRetained) })
	}
	way{bubble: true, store: s}.run(t, nil, func(x *bed) {
		x.connect(packet.V5, "1").publishes("a", "x", 1, true)
		if n, err := x.b.PurgeRetained(func(session.Origin) bool { return true }); n != 1 || err == nil {
			t.Errorf("%d, %v, want an error", n, err)
		}
	})
}

func TestExpiredRetainedMessagesAreSweptWhateverTheirTopic(t *testing.T) {
	overPipes(t, nil, func(x *bed) {
		for _, name := range []string{"a", "$other"} {
			x.b.store.Retain(&session.Message{Topic: name, Payload: []byte("x"), ExpiryAt: -1, Expires: x.b.now() + 1})
		}
		x.pass(2 * sweepInterval)
		if n, _ := x.b.store.RetainedCount(); n != 0 {
			t.Errorf("%d are left, want none", n)
		}
	})
}
