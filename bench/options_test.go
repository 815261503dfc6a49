package bench

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/client/clienttest"
	"sallyport/packet"
)

// guests collects who connects to b.
func guests(b *clienttest.Broker) (seen func() (names, ids map[string]int)) {
	var mu sync.Mutex
	names, ids := make(map[string]int), make(map[string]int)
	b.Connack = func(c *packet.Connect) packet.Connack {
		mu.Lock()
		defer mu.Unlock()
		names[c.Username]++
		ids[c.ClientID]++
		return packet.Connack{}
	}
	return func() (map[string]int, map[string]int) {
		mu.Lock()
		defer mu.Unlock()
		return maps.Clone(names), maps.Clone(ids)
	}
}

func TestEveryClientHasAUserNameOfItsOwn(t *testing.T) {
	for _, tt := range []struct {
		scenario string
		users    int
		want     int
	}{{P2P, 0, 4}, {FanIn, 0, 6}, {P2P, 3, 3}, {Connect, 0, 20}, {Connect, 7, 7}, {Retained, 0, 2}, {Offline, 0, 2}, {Queues, 0, 10}, {Subscriptions, 0, 6}} {
		b := clienttest.Start(t)
		seen := guests(b)
		o := small(b, tt.scenario)
		o.Username, o.Password, o.Users, o.QoS = "load-%d", []byte("secret"), tt.users, 1
		if r := mustRun(t, o); !r.OK() {
			t.Errorf("%s: %+v", tt.scenario, r)
		}
		names, _ := seen()
		var want []string
		for i := range tt.want {
			want = append(want, fmt.Sprintf("load-%d", i))
		}
		got := slices.Sorted(maps.Keys(names))
		if tt.scenario == Retained {
			want = []string{"load-0", "load-1"} // the first clears, too
		}
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s with %d users: %v, want %v", tt.scenario, tt.users, got, want)
		}
	}
}

func TestClientsReconnectInTurn(t *testing.T) {
	inEachForm(t, Connect, func(t *testing.T, b *clienttest.Broker, o Options) {
		seen := guests(b)
		o.Clients = 5
		r := mustRun(t, o)
		_, ids := seen()
		if len(ids) != 5 || r.Connections != 20 || r.Latency.Count != 20 {
			t.Fatalf("%d clients, report %+v", len(ids), r)
		}
		for id, n := range ids {
			if n != 1+4 {
				t.Errorf("%s connected %d times, want once before and four times measured", id, n)
			}
		}
	})
}

func TestChurnGoesOnBesideTheLoad(t *testing.T) {
	b := clienttest.Start(t)
	var mu sync.Mutex
	filters := make(map[string]bool)
	b.Suback = func(s packet.Subscription) packet.Code {
		mu.Lock()
		defer mu.Unlock()
		filters[s.Filter] = true
		return packet.Code(s.QoS)
	}
	o := small(b, P2P)
	o.Rate, o.Messages, o.Churn = 1000, 100, 200 // 0.2 s
	r := mustRun(t, o)
	if !r.OK() || r.Measures["churn_per_second"] <= 0 || r.Measures["churn_p99_us"] <= 0 {
		t.Fatalf("%+v", r)
	}
	mu.Lock()
	defer mu.Unlock()
	exact, wild := 0, 0
	for f := range filters {
		if strings.Contains(f, "/+/churn/") {
			wild++
		} else if strings.Contains(f, "/churn/") {
			exact++
		}
	}
	if wild == 0 || exact == 0 {
		t.Errorf("%d exact and %d wildcard filters", exact, wild)
	}
}

func TestARefusedChurnEndsTheRun(t *testing.T) {
	b := clienttest.Start(t)
	b.Suback = func(s packet.Subscription) packet.Code {
		if strings.Contains(s.Filter, "churn") {
			return packet.NotAuthorized
		}
		return packet.Code(s.QoS)
	}
	o := small(b, P2P)
	o.Messages, o.Duration, o.Churn = 0, time.Minute, 100
	if _, err := Run(context.Background(), o); err == nil || !strings.Contains(err.Error(), "0x87") {
		t.Errorf("Run = %v, want the code 0x87", err)
	}
}

func TestTopicsRotateAndAShareIsFresh(t *testing.T) {
	p := &publisher{topics: 1000, fresh: 10}
	used := make(map[uint64]int)
	const messages = 100_000
	for n := range uint64(messages) {
		used[p.topic(n)]++
	}
	fresh := 0
	for topic, n := range used {
		switch {
		case topic >= p.topics && n == 1:
			fresh++
		case topic >= p.topics:
			t.Fatalf("topic %d beyond the rotation was used %d times", topic, n)
		case n != messages*9/10/1000:
			t.Fatalf("topic %d was used %d times, want %d", topic, n, messages*9/10/1000)
		}
	}
	if fresh != messages/10 {
		t.Errorf("%d fresh topics, want one in ten", fresh)
	}
	p.fresh = 100
	if a, b := p.topic(0), p.topic(1); a != 1000 || b != 1001 {
		t.Errorf("all fresh: %d, %d", a, b)
	}
}

func TestFreshTopicsAreDelivered(t *testing.T) {
	b := clienttest.Start(t)
	o := small(b, P2P)
	o.Topics, o.Fresh = 10, 10
	if r := mustRun(t, o); !r.OK() || r.Delivered != 400 {
		t.Errorf("%+v", r)
	}
}

func TestSaturationOfTheGeneratorIsAWarning(t *testing.T) {
	now := time.Now()
	used := func(cpu time.Duration) cost {
		return cost{at: now.Add(time.Second), self: usage{known: true, cpu: cpu}}
	}
	from := cost{at: now, self: usage{known: true}}
	busy, idle := new(Report), new(Report)
	busy.addCPU("message", from, used(1000*time.Second), 1000)
	idle.addCPU("message", from, used(time.Millisecond), 1000)
	if len(busy.Warnings) != 1 || len(idle.Warnings) != 0 || idle.Measures["generator_cpu_us_per_message"] != 1 {
		t.Errorf("busy %+v, idle %+v", busy, idle)
	}
}

func TestUserAndSystemTimeAreInTheirProportion(t *testing.T) {
	from := usage{known: true}
	to := usage{known: true, cpu: 100, user: 10, system: 30}
	if total, user, system, known := to.since(from); !known || total != 100 || user != 25 || system != 75 {
		t.Errorf("since = %d, %d, %d, %v", total, user, system, known)
	}
	if _, _, _, known := to.since(usage{}); known {
		t.Error("a difference to nothing is known")
	}
}
