package security

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// policyOf is a policy that is a function.
type policyOf func(*Request) Verdict

func (f policyOf) Decide(q *Request) Verdict { return f(q) }

func allowing(*Request) Verdict { return Verdict{Effect: Allow} }

func TestAccessRemembersEachQoSAndRetainFlagOnce(t *testing.T) {
	asked := 0
	g := gateOf(fixed{effect: Allow, asked: &asked})
	a := NewAccess(g, somebody)
	for range 3 {
		for qos := range byte(3) {
			a.Publish("a", nil, qos, false, nil)
			a.Publish("a", nil, qos, true, nil)
		}
	}
	if asked != 6 {
		t.Errorf("the policy was asked %d times, want 6", asked)
	}
}

func TestAccessRemembersWhatHoldsForCenturies(t *testing.T) {
	for _, until := range []time.Time{
		time.Date(2250, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Unix(1<<32, 0), // in 32 bits that is no second, which would be "never"
	} {
		asked := 0
		a := NewAccess(gateOf(policyOf(func(*Request) Verdict {
			asked++
			return Verdict{Effect: Allow, Until: until.UnixNano()}
		})), somebody)
		for range 3 {
			a.Publish("a", nil, 0, false, nil)
		}
		if asked != 1 || a.slots()[0].until == 0 {
			t.Errorf("%v: the policy was asked %d times, want once; it ends at %d", until, asked, a.slots()[0].until)
		}
	}
}

func TestAccessHoldsNoLongTopics(t *testing.T) {
	for _, effect := range []Effect{Allow, Deny} {
		asked := 0
		a := NewAccess(gateOf(fixed{effect: effect, asked: &asked}), somebody)
		held := 0
		for i := range 1000 {
			a.Publish(strings.Repeat("t", 65530)+strconv.Itoa(i), nil, 0, false, nil)
			a.Receive("t", nil, strings.Repeat("g", 65530)+strconv.Itoa(i), 0, false, nil)
			a.Publish(strings.Repeat("t", accessKey-4)+strconv.Itoa(i), nil, 0, false, nil)
		}
		for _, s := range a.slots() {
			held += len(s.key)
		}
		if held == 0 || held > MaxPlaces*accessKey {
			t.Errorf("%v: %d bytes of topics are held, want at most %d", effect, held, MaxPlaces*accessKey)
		}
		if asked != 3000 {
			t.Errorf("%v: the policy was asked %d times, want 3000", effect, asked)
		}
	}
}

func TestAccessTellsShareNamesApart(t *testing.T) {
	g := gateOf(policyOf(func(q *Request) Verdict {
		if q.Shared != (q.Group != "") || q.Action != Receive {
			t.Errorf("asked %+v", q)
		}
		if q.Group == "b" {
			return Verdict{Effect: Allow}
		}
		return Verdict{}
	}))
	a := NewAccess(g, somebody)
	for range 2 {
		for _, tt := range []struct {
			topic, group string
			want         bool
		}{{"ab", "", false}, {"a", "b", true}, {"a", "", false}, {"", "ab", false}, {"ab", "b", true}} {
			if got := a.Receive(tt.topic, nil, tt.group, 0, false, nil).Granted(); got != tt.want {
				t.Errorf("receive %q in group %q: %v, want %v", tt.topic, tt.group, got, tt.want)
			}
		}
	}
}

func TestAccessForgetsWhenTimeMayChangeTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := time.Now().Add(90 * time.Second)
		asked := 0
		g := gateOf(policyOf(func(q *Request) Verdict {
			asked++
			if q.Topic == "always" {
				return Verdict{Effect: Allow}
			}
			if q.Now().Before(open) {
				return Verdict{Effect: Silent, Until: open.UnixNano()}
			}
			return Verdict{Effect: Allow}
		}))
		a := NewAccess(g, somebody)
		for range 88 {
			if a.Receive("t", nil, "", 0, false, nil).Granted() || !a.Receive("always", nil, "", 0, false, nil).Granted() {
				t.Fatal("another answer before the time")
			}
			time.Sleep(time.Second)
		}
		if asked != 2 {
			t.Errorf("asked %d times before the time, want 2", asked)
		}
		time.Sleep(2 * time.Second)
		for range 3 {
			if !a.Receive("t", nil, "", 0, false, nil).Granted() || !a.Receive("always", nil, "", 0, false, nil).Granted() {
				t.Fatal("the old answer after the time")
			}
		}
		if asked > 4 {
			t.Errorf("asked %d times", asked)
		}
	})
}

func TestAnswersAboutTheMessageAreNotRemembered(t *testing.T) {
	g := gateOf(policyOf(func(q *Request) Verdict {
		if len(q.Message.Payload) < 4 {
			return Verdict{Effect: Allow, Volatile: true}
		}
		return Verdict{Volatile: true}
	}))
	a := NewAccess(g, somebody)
	for range 3 {
		if _, v := a.Publish("t", nil, 0, false, []byte("abc")); !v.Allowed() {
			t.Error("a short message is refused")
		}
		if _, v := a.Publish("t", nil, 0, false, []byte("abcd")); v.Allowed() {
			t.Error("a long message is allowed")
		}
	}
}

func TestAnotherPolicysVolatileOrTimelyAnswerIsHeeded(t *testing.T) {
	soon := time.Now().Add(time.Hour).UnixNano()
	later := time.Now().Add(2 * time.Hour).UnixNano()
	g := gateOf(
		policyOf(func(*Request) Verdict { return Verdict{Effect: Allow, Until: later} }),
		policyOf(func(*Request) Verdict { return Verdict{Effect: Silent, Until: soon} }),
		policyOf(func(*Request) Verdict { return Verdict{Effect: Allow, Volatile: true} }),
	)
	v := g.Decide(&Request{Principal: somebody, Action: Publish, Topic: "a"})
	if !v.Allowed() || v.Until != soon || !v.Volatile {
		t.Errorf("%+v, want an allow until %d, volatile", v, soon)
	}
}

// Whatever is remembered or forgotten, an Access answers as the gate does.
func TestAccessAnswersAsTheGateDoes(t *testing.T) {
	policy := policyOf(func(q *Request) Verdict {
		n, err := strconv.Atoi(q.Topic)
		if err != nil {
			t.Fatal(err)
		}
		if (n*7+int(q.QoS)*3+len(q.Group))%3 == 0 && (!q.Retain || n%2 == 0) {
			return Verdict{Effect: Allow}
		}
		return Verdict{}
	})
	g := gateOf(policy)
	pub, sub := NewAccess(g, somebody), NewAccess(g, somebody)
	r := rand.New(rand.NewPCG(1, 2))
	groups := []string{"", "", "g", "gg"}
	for i := range 200_000 {
		topic := strconv.Itoa(r.IntN([]int{2, 64, 150, 1000}[i/50_000]))
		qos, retain, group := byte(r.IntN(3)), r.IntN(4) == 0, groups[r.IntN(4)]
		_, v := pub.Publish(topic, nil, qos, retain, nil)
		if _, want := g.Publish(Request{Principal: somebody, Topic: topic, QoS: qos, Retain: retain}); v.Allowed() != want.Allowed() {
			t.Fatalf("publish %s at %d, retain %v: %v, the gate says %v", topic, qos, retain, v.Effect, want.Effect)
		}
		d := sub.Receive(topic, nil, group, qos, retain, nil)
		if want, _ := g.Receive(Request{Principal: somebody, Topic: topic, QoS: qos, Retain: retain, Shared: group != "", Group: group}); d.Granted() != want.Granted() {
			t.Fatalf("receive %s in %q at %d, retain %v: %v", topic, group, qos, retain, d.Granted())
		}
		if len(pub.slots()) > MaxPlaces || len(sub.slots()) > MaxPlaces {
			t.Fatalf("%d and %d slots, want at most %d", len(pub.slots()), len(sub.slots()), MaxPlaces)
		}
		if i%10_000 == 9_999 {
			g.Swap(&Ruleset{ByListener: map[string][]Policy{"door": {policy}}})
		}
	}
}

func TestSixtyFourTopicsAreRememberedAtOnce(t *testing.T) {
	asked := 0
	g := gateOf(fixed{effect: Allow, asked: &asked})
	for range 50 { // each gate hashes otherwise
		a := NewAccess(NewGate(&Ruleset{ByListener: g.rules.Load().ByListener}), somebody)
		asked = 0
		for range 10 {
			for i := range 64 {
				a.Publish(fmt.Sprint("devices/", i, "/state"), nil, 0, false, nil)
			}
		}
		// With a rare hash function two topics take turns in one place.
		if asked > 64+4*9 {
			t.Errorf("asked %d times for 64 topics", asked)
		}
	}
}

func TestAccessKeepsNoBuffer(t *testing.T) {
	a := NewAccess(gateOf(policyOf(allowing)), somebody)
	topic := []byte("a/b")
	view := string(topic)
	a.Publish(view, nil, 0, false, nil)
	if !a.Known("a/b", nil) || a.Known("a/c", nil) {
		t.Error("known are other topics than were judged")
	}
	zero := NewAccess(gateOf(policyOf(allowing)), nil)
	if zero.Receive("a", nil, "", 0, false, nil).Granted() {
		t.Error("nobody receives")
	}
	if _, v := zero.Publish("a", nil, 0, false, nil); v.Allowed() {
		t.Error("nobody publishes")
	}
}

func BenchmarkAccess(b *testing.B) {
	for _, n := range []int{1, 64, 10_000} {
		topics := make([]string, n)
		for i := range topics {
			topics[i] = fmt.Sprintf("site/%d/device/%d/state", i%97, i)
		}
		b.Run(fmt.Sprintf("topics=%d", n), func(b *testing.B) {
			a := NewAccess(gateOf(policyOf(allowing)), somebody)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i == n {
					i = 0
				}
				if _, v := a.Publish(topics[i], nil, 1, false, nil); !v.Allowed() {
					b.Fatal("refused")
				}
			}
		})
	}
}

// BenchmarkAccessMemory measures what 100,000 clients hold beyond their
// principals when each has published to one topic and received on one.
func BenchmarkAccessMemory(b *testing.B) {
	const clients = 100_000
	g := gateOf(policyOf(allowing))
	who := make([]Principal, clients)
	topics := make([]string, clients)
	for i := range who {
		who[i] = Principal{Listener: "door", Name: strconv.Itoa(i)}
		topics[i] = fmt.Sprintf("meters/%06d/kwh", i)
	}
	for b.Loop() {
		before := heap()
		pub, sub := make([]Access, clients), make([]Access, clients)
		for i := range who {
			pub[i], sub[i] = NewAccess(g, &who[i]), NewAccess(g, &who[i])
			pub[i].Publish(topics[i], nil, 1, false, nil)
			sub[i].Receive(topics[i], nil, "", 1, false, nil)
		}
		b.ReportMetric(float64(heap()-before)/clients, "B/client")
		runtime.KeepAlive(pub)
		runtime.KeepAlive(sub)
	}
	runtime.KeepAlive(who)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Who goes through more topics than are remembered is not made to copy each, and
// a topic in steady use keeps its place at most times.
func TestTopicsWithoutEndAreNotCopied(t *testing.T) {
	asked := 0
	a := NewAccess(gateOf(policyOf(func(q *Request) Verdict {
		if q.Topic == "steady" {
			asked++
		}
		return Verdict{Effect: Allow}
	})), somebody)
	topics := make([]string, 10_000)
	for i := range topics {
		topics[i] = strconv.Itoa(i)
	}
	i := 0
	for ; i < 1000; i++ {
		a.Publish(topics[i], nil, 0, false, nil)
	}
	allocs := testing.AllocsPerRun(8000, func() {
		a.Publish(topics[i%len(topics)], nil, 0, false, nil)
		a.Publish("steady", nil, 0, false, nil)
		i++
	})
	if allocs > 0.5 {
		t.Errorf("%.2f allocations for each new topic, want at most one in two", allocs)
	}
	if asked > 800 {
		t.Errorf("the policies were asked %d times of 8,000 about a topic in steady use", asked)
	}
}
