package broker

import (
	"bytes"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"
	"weak"

	"sallyport/packet"
	"sallyport/security"
	"sallyport/session"
	"sallyport/topic"
)

// listening is a Wire that keeps what it was given.
type listening struct {
	c       *Conn
	resumed bool
	mu      sync.Mutex // guards got
	got     []byte
}

func (l *listening) Flush() {
	l.mu.Lock()
	for out := l.c.TakeOutput(nil); out != nil; out = l.c.TakeOutput(out) {
		l.got = append(l.got, out...)
	}
	l.mu.Unlock()
	l.c.Drained()
}
func (l *listening) Resume()             { l.resumed = true }
func (l *listening) Close(time.Duration) { l.c.Gone(nil) }

// count is how often what was given holds text, and forgets it. What another
// turn has still to flush counts too.
func (l *listening) count(text string) int {
	l.Flush()
	l.mu.Lock()
	defer l.mu.Unlock()
	n := bytes.Count(l.got, []byte(text))
	l.got = nil
	return n
}

func (w *benchWorld) listen(t testing.TB, id string) *listening {
	l := &listening{}
	c, err := w.b.Open(l, Info{Listener: "test"})
	if err != nil {
		t.Fatal(err)
	}
	l.c = c
	c.Feed(packet.AppendConnect(nil, &packet.Connect{Version: packet.V5, CleanStart: true, ClientID: id}))
	for l.resumed {
		l.resumed = false
		c.Continue()
	}
	return l
}

func feedSubscribe(c *Conn, filters ...string) {
	p := packet.Subscribe{PacketID: 1}
	for _, f := range filters {
		p.Filters = append(p.Filters, packet.Subscription{Filter: f})
	}
	c.Feed(packet.AppendSubscribe(nil, packet.V5, &p))
}

func feedUnsubscribe(c *Conn, filters ...string) {
	c.Feed(packet.AppendUnsubscribe(nil, packet.V5, &packet.Unsubscribe{PacketID: 1, Filters: filters}))
}

func feedPublish(c *Conn, name, payload string) {
	c.Feed(packet.AppendPublish(nil, packet.V5, &packet.PublishOut{Topic: name, Payload: []byte(payload), ExpiryAt: -1}))
}

// remembered is what the broker remembers of a topic, nil for nothing.
func (w *benchWorld) remembered(topic string) *routed {
	for i := range w.b.routes.sets {
		for k := range w.b.routes.sets[i].trails {
			if r := w.b.routes.sets[i].trails[k].Load(); r != nil && r.topic == topic {
				return r.state.Load()
			}
		}
	}
	return nil
}

func TestTheWayOfATopicIsRememberedAtItsSecondUse(t *testing.T) {
	w := newBenchWorld(t, policyFunc(allowAll), 2, 0)
	feedPublish(w.pub, "bench/1/value", "m")
	if w.remembered("bench/1/value") != nil {
		t.Error("a topic that was used once is remembered")
	}
	other, _ := w.open(t, "other")
	feedPublish(other, "bench/1/value", "m")
	s := w.remembered("bench/1/value")
	if s == nil || len(s.hops) != 2 || w.b.routes.hops.Load() != 2 {
		t.Fatalf("remembered: %+v, want two subscriptions", s)
	}
	feedPublish(w.pub, "bench/1/value", "m")
	if w.remembered("bench/1/value") != s {
		t.Error("the way of a topic is found out again though nothing has changed")
	}
	feedSubscribe(other, "elsewhere/x")
	feedPublish(w.pub, "bench/1/value", "m")
	if w.remembered("bench/1/value") != s {
		t.Error("a subscription to another topic counts as a change")
	}
}

func TestARememberedWayHeedsEveryChange(t *testing.T) {
	w := newBenchWorld(t, policyFunc(allowAll), 1, 0)
	l := w.listen(t, "l")
	want := func(when string, n int) {
		t.Helper()
		feedPublish(w.pub, "bench/1/value", "message")
		if got := l.count("message"); got != n {
			t.Errorf("%s: %d copies, want %d", when, got, n)
		}
	}
	for range 4 {
		want("no subscription", 0)
	}
	for _, f := range []string{"bench/1/value", "bench/1/+", "bench/#", "#", "+/1/value", "bench/1/value/#", "$share/g/bench/1/value"} {
		feedSubscribe(l.c, f)
		for range 3 {
			want("subscribed to "+f, 1)
		}
		feedSubscribe(l.c, f) // it replaces itself
		want("subscribed again to "+f, 1)
		feedUnsubscribe(l.c, f)
		for range 3 {
			want("unsubscribed from "+f, 0)
		}
	}
	feedSubscribe(l.c, "bench/#")
	want("subscribed", 1)
	l.c.Feed(packet.AppendDisconnect(nil, packet.V5, &packet.Disconnect{}))
	want("gone", 0)
	l = w.listen(t, "l")
	want("back without its session", 0)
	feedSubscribe(l.c, "bench/#")
	want("subscribed anew", 1)
}

// A subscription that its SUBACK has confirmed sees every later message, whoever
// else publishes to the topic and makes its way anew at this moment.
func TestNoMessageAfterTheSubackIsMissed(t *testing.T) {
	w := newBenchWorld(t, policyFunc(allowAll), 1, 0)
	stop := make(chan struct{})
	var busy sync.WaitGroup
	for i := range 2 {
		c, _ := w.open(t, fmt.Sprint("busy", i))
		busy.Add(1)
		go func() {
			defer busy.Done()
			for {
				select {
				case <-stop:
					return
				default:
					feedPublish(c, "bench/1/value", "noise")
				}
			}
		}()
	}
	l := w.listen(t, "l")
	for i := range 3000 {
		filter := []string{"bench/1/value", "bench/+/value", "#"}[i%3]
		feedSubscribe(l.c, filter)
		feedPublish(w.pub, "bench/1/value", "signal")
		if got := l.count("signal"); got != 1 {
			t.Fatalf("round %d: %d copies after the SUBACK, want 1", i, got)
		}
		feedUnsubscribe(l.c, filter)
		feedPublish(w.pub, "bench/1/value", "signal")
		if got := l.count("signal"); got != 0 {
			t.Fatalf("round %d: %d copies after the UNSUBACK, want none", i, got)
		}
	}
	close(stop)
	busy.Wait()
}

func TestNoWayKeepsASessionAlive(t *testing.T) {
	w := newBenchWorld(t, policyFunc(allowAll), 0, 0)
	over := func() weak.Pointer[client] {
		l := w.listen(t, "l")
		feedSubscribe(l.c, "bench/+/value")
		for range 4 {
			feedPublish(w.pub, "bench/1/value", "m")
		}
		cl := l.c.client.Load()
		l.c.Feed(packet.AppendDisconnect(nil, packet.V5, &packet.Disconnect{}))
		return weak.Make(cl)
	}()
	if s := w.remembered("bench/1/value"); s == nil || len(s.hops) != 1 {
		t.Fatalf("remembered: %+v, want the subscription", s)
	}
	w.b.sweepRoutes()
	if w.remembered("bench/1/value") != nil || w.b.routes.hops.Load() != 0 {
		t.Error("the sweep leaves a way that is stale")
	}
	for range 10 {
		if runtime.GC(); over.Value() == nil {
			return
		}
	}
	t.Error("a client without a session is kept alive")
}

func TestTopicsWithoutEndDisplaceNothing(t *testing.T) {
	var rs routes
	g := security.NewGate(nil)
	enter := func(name string) *trail {
		rs.find(g.Hash(name, nil), name)
		return rs.find(g.Hash(name, nil), name)
	}
	var hot []*trail
	for i := range 1000 {
		r := enter(fmt.Sprint("hot/", i))
		rs.keep(r, &routed{hops: make([]hop, 2)})
		r.used.Store(true)
		hot = append(hot, r)
	}
	const many = 4 * routeSets * routeWays
	for i := range many { // once each, then twice each
		name := fmt.Sprint("once/", i)
		if rs.find(g.Hash(name, nil), name) != nil {
			t.Fatal("a topic is remembered at its first use")
		}
		if r := enter(fmt.Sprint("twice/", i)); r != nil {
			rs.keep(r, &routed{hops: make([]hop, 1)})
		}
	}
	for i, r := range hot {
		name := fmt.Sprint("hot/", i)
		if rs.find(g.Hash(name, nil), name) != r || r.gone.Load() || r.state.Load() == nil {
			t.Fatalf("%s, which is in use, was displaced", name)
		}
	}
	if n := rs.hops.Load(); n > 2000+routeSets*routeWays {
		t.Errorf("%d subscriptions are remembered of %d topics", n, routeSets*routeWays)
	}
	for range 2 {
		rs.sweep(func(*topic.Mark) bool { return false })
	}
	if n := rs.hops.Load(); n != 0 {
		t.Errorf("after two sweeps without use %d subscriptions are remembered", n)
	}
}

func TestADisplacedWayRemembersNothing(t *testing.T) {
	var rs routes
	r := &trail{topic: "a"}
	rs.keep(r, &routed{hops: make([]hop, 3)})
	rs.forget(r)
	rs.keep(r, &routed{hops: make([]hop, 3)}) // by a publisher that had found it before
	if r.state.Load() != nil || rs.hops.Load() != 0 {
		t.Errorf("it remembers %v, %d in all", r.state.Load(), rs.hops.Load())
	}
}

func TestWideWaysAreNotRemembered(t *testing.T) {
	w := newBenchWorld(t, policyFunc(allowAll), routeHops+50, 0)
	for i := range 4 {
		before := w.b.metrics.PublishSent.Load()
		feedPublish(w.pub, "bench/1/value", "m")
		if n := w.b.metrics.PublishSent.Load() - before; n != routeHops+50 {
			t.Errorf("message %d: %d copies, want %d", i, n, routeHops+50)
		}
	}
	if s := w.remembered("bench/1/value"); s == nil || !s.wide || len(s.hops) != 0 || w.b.routes.hops.Load() != 0 {
		t.Errorf("remembered: %+v", s)
	}
	var rs routes
	for range allRouteHops/routeHops + 50 {
		rs.keep(&trail{}, &routed{hops: make([]hop, routeHops)})
	}
	if n := rs.hops.Load(); n > allRouteHops {
		t.Errorf("%d subscriptions are remembered, the bound is %d", n, allRouteHops)
	}
	keeps := &trail{}
	keeps.state.Store(&routed{hops: []hop{{target{}, &session.Subscription{}}}})
	rs.keep(keeps, &routed{hops: make([]hop, routeHops)})
	if keeps.state.Load() != nil {
		t.Error("what could not be remembered any more leaves the old way in its place")
	}
}

// A publisher has found the subscription, and before it hands the message over the
// client subscribes again or unsubscribes.
func TestAMessageOnItsWayFollowsAReplacedSubscription(t *testing.T) {
	w := newBenchWorld(t, policyFunc(allowAll), 0, 0)
	l := w.listen(t, "l")
	feedSubscribe(l.c, "a/#")
	cl := w.b.reg.find("l")
	hand := func(to *session.Subscription) outcome {
		tn := turn{now: w.b.now()}
		return cl.offer(&tn, &inbound{topic: "a/b", payload: []byte("x"), expiryAt: -1}, nil, to)
	}
	found := cl.session.Subs.Get("a/#")
	feedSubscribe(l.c, "a/#")
	if got := hand(found); got != taken {
		t.Errorf("replaced: %d, want it delivered", got)
	}
	found = cl.session.Subs.Get("a/#")
	feedUnsubscribe(l.c, "a/#")
	if got := hand(found); got != passed {
		t.Errorf("ended: %d, want it passed over", got)
	}
}
