package bench

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"sallyport/client"
	"sallyport/client/clienttest"
	"sallyport/packet"
)

// small are options of a run that is over in a moment.
func small(b *clienttest.Broker, scenario string) Options {
	return Options{
		Scenario: scenario, Dial: client.Target{Transport: client.TCP, Address: b.Addr}.Dial, Version: packet.V5,
		TopicPrefix: "demo/bench", Payload: 64, Window: 16, Messages: 200, Pairs: 2, Publishers: 5, Subscribers: 5,
		Connections: 20, Concurrency: 4, Count: 250, Stall: 5 * time.Second,
	}
}

// forms are the ways in which the generator serves connections: event loops
// where the system has them and it sees a plain socket, else goroutines.
var forms = []struct {
	name string
	dial func(client.Target) func(context.Context) (net.Conn, error)
}{
	{"loops", func(t client.Target) func(context.Context) (net.Conn, error) { return t.Dial }},
	{"goroutines", func(t client.Target) func(context.Context) (net.Conn, error) {
		return func(ctx context.Context) (net.Conn, error) {
			nc, err := t.Dial(ctx)
			return struct{ net.Conn }{nc}, err
		}
	}},
}

// inEachForm runs f with the options of small, for each form.
func inEachForm(t *testing.T, scenario string, f func(t *testing.T, b *clienttest.Broker, o Options)) {
	t.Helper()
	for _, form := range forms {
		t.Run(form.name, func(t *testing.T) {
			b := clienttest.Start(t)
			o := small(b, scenario)
			o.Dial = form.dial(client.Target{Transport: client.TCP, Address: b.Addr})
			if form.name == "loops" {
				o.Plain = b.Addr
			}
			f(t, b, o)
		})
	}
}

func mustRun(t *testing.T, o Options) *Report {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	r, err := Run(ctx, o)
	if err != nil {
		t.Fatalf("Run: %v", err)
	}
	return r
}

func TestEveryMessageIsAccountedFor(t *testing.T) {
	tests := []struct {
		scenario  string
		topics    int
		sent, due uint64
	}{{P2P, 1, 400, 400}, {FanIn, 1, 1000, 1000}, {FanOut, 1, 200, 1000}, {P2P, 64, 400, 400}, {FanIn, 7, 1000, 1000}, {FanOut, 3, 200, 1000}}
	for _, tt := range tests {
		for _, v := range []packet.Version{packet.V31, packet.V311, packet.V5} {
			for qos := byte(0); qos <= 2; qos++ {
				inEachForm(t, tt.scenario, func(t *testing.T, b *clienttest.Broker, o Options) {
					o.Version, o.QoS, o.Topics = v, qos, tt.topics
					r := mustRun(t, o)
					if !r.OK() || r.Sent != tt.sent || r.Expected != tt.due || r.Delivered != tt.due {
						t.Errorf("%s, version %d, QoS %d: %+v, want %d of %d delivered", tt.scenario, v, qos, r, tt.due, tt.sent)
					}
					if r.Latency == nil || r.Latency.Count != tt.due || r.Latency.P50 <= 0 || r.Latency.P50 > r.Latency.Max {
						t.Errorf("%s: latency = %+v", tt.scenario, r.Latency)
					}
				})
			}
		}
	}
}

func TestFaultsOfTheBrokerAreFound(t *testing.T) {
	var held func()
	tests := []struct {
		name                   string
		deliver                func(n uint64, send func())
		lost, doubled, swapped uint64
	}{
		{"loss in the middle", func(n uint64, send func()) {
			if n != 50 {
				send()
			}
		}, 1, 0, 0},
		{"loss of the last", func(n uint64, send func()) {
			if n != 199 {
				send()
			}
		}, 1, 0, 0},
		{"duplication", func(n uint64, send func()) {
			send()
			if n == 70 {
				send()
			}
		}, 0, 1, 0},
		{"disorder", func(n uint64, send func()) {
			if n == 30 {
				held = send
				return
			}
			send()
			if n == 31 {
				held()
			}
		}, 0, 0, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inEachForm(t, P2P, func(t *testing.T, b *clienttest.Broker, o Options) {
				b.Deliver = tt.deliver
				o.Pairs, o.QoS, o.Stall = 1, 1, time.Second
				r := mustRun(t, o)
				if r.OK() || r.Lost != tt.lost || r.Duplicated != tt.doubled || r.Misordered != tt.swapped {
					t.Errorf("lost %d, doubled %d, out of order %d; want %d, %d, %d", r.Lost, r.Duplicated, r.Misordered, tt.lost, tt.doubled, tt.swapped)
				}
			})
		})
	}
}

func TestARateIsKeptAndLatencyRunsFromWhenAMessageWasDue(t *testing.T) {
	inEachForm(t, P2P, keepsTheRate)
}

func keepsTheRate(t *testing.T, b *clienttest.Broker, o Options) {
	const pause = 100 * time.Millisecond
	stalled := false
	b.Deliver = func(n uint64, send func()) {
		if n == 20 && !stalled { // one stall, which delays all that fall due meanwhile
			stalled = true
			<-time.After(pause)
		}
		send()
	}
	o.Pairs, o.Rate, o.Messages = 2, 1000, 150
	r := mustRun(t, o)
	if !r.OK() || !r.Corrected {
		t.Fatalf("%+v", r)
	}
	if r.Seconds < 0.29 {
		t.Errorf("300 messages at 1000/s took %.3f s", r.Seconds)
	}
	// A third of the messages fell due in the stall; uncorrected it would be one.
	if r.Latency.P90 < float64(pause/3/time.Microsecond) {
		t.Errorf("p90 = %.0f us, want a third of the stall of %v at least", r.Latency.P90, pause)
	}
}

func TestDurationEndsTheRun(t *testing.T) {
	inEachForm(t, P2P, func(t *testing.T, b *clienttest.Broker, o Options) {
		o.Messages, o.Duration, o.Warmup = 0, 100*time.Millisecond, 20*time.Millisecond
		r := mustRun(t, o)
		if !r.OK() || r.Seconds < 0.1 || r.Seconds > 5 || r.PerSecond <= 0 || r.Latency.Count >= r.Delivered {
			t.Errorf("%+v, want a measured part of about 0.1 s without the warm-up", r)
		}
	})
}

func TestConnectAndIdleCountConnections(t *testing.T) {
	for _, scenario := range []string{Connect, Idle} {
		inEachForm(t, scenario, func(t *testing.T, b *clienttest.Broker, o Options) {
			o.Duration = time.Millisecond
			for _, o.Rate = range []float64{0, 1000} {
				r := mustRun(t, o)
				if !r.OK() || r.Connections != 20 || r.PerSecond <= 0 || r.Latency.Count != 20 {
					t.Errorf("%s: %+v", scenario, r)
				}
				if scenario == Connect && o.Rate > 0 && r.Seconds < 0.019 {
					t.Errorf("20 connections at 1000/s took %.3f s", r.Seconds)
				}
			}
		})
	}
}

func TestConnectRefusedEndsTheRun(t *testing.T) {
	for _, scenario := range []string{P2P, Connect, Idle, Retained, Offline, Queues, Subscriptions} {
		inEachForm(t, scenario, func(t *testing.T, b *clienttest.Broker, o Options) {
			b.Connack = func(*packet.Connect) packet.Connack { return packet.Connack{Code: packet.NotAuthorized} }
			o.QoS = 1
			r, err := Run(context.Background(), o)
			if _, refused := errors.AsType[*client.ReasonError](err); !refused {
				t.Errorf("%s: %+v, %v", scenario, r, err)
			}
		})
	}
}

func TestRefusedSubscriptionEndsTheRun(t *testing.T) {
	b := clienttest.Start(t)
	b.Suback = func(packet.Subscription) packet.Code { return packet.NotAuthorized }
	if _, err := Run(context.Background(), small(b, P2P)); err == nil || !strings.Contains(err.Error(), "0x87") {
		t.Errorf("Run = %v, want the code 0x87", err)
	}
}

func TestSubscriptionsRetainedOfflineAndQueues(t *testing.T) {
	for _, scenario := range []string{Subscriptions, Retained, Offline, Queues} {
		for _, v := range []packet.Version{packet.V311, packet.V5} {
			for qos := byte(0); qos <= 2; qos++ {
				if (scenario == Offline || scenario == Queues) && qos == 0 {
					continue
				}
				inEachForm(t, scenario, func(t *testing.T, b *clienttest.Broker, o Options) {
					o.Version, o.QoS = v, qos
					r := mustRun(t, o)
					if !r.OK() || r.Delivered != 250 {
						t.Errorf("%s, version %d, QoS %d: %+v, want 250 delivered", scenario, v, qos, r)
					}
					if n := b.Retained(); n != 0 {
						t.Errorf("%s left %d retained messages", scenario, n)
					}
				})
			}
		}
	}
}

func TestALostConnectionEndsTheRun(t *testing.T) {
	inEachForm(t, P2P, func(t *testing.T, b *clienttest.Broker, o Options) {
		b.Deliver = func(n uint64, send func()) {
			send()
			if n == 10 {
				go b.DropAll() // it needs the lock that is held here
			}
		}
		if r, err := Run(context.Background(), o); err == nil {
			t.Errorf("Run succeeded: %+v", r)
		}
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	inEachForm(t, P2P, func(t *testing.T, b *clienttest.Broker, o Options) {
		ctx, cancel := context.WithCancel(context.Background())
		b.Deliver = func(n uint64, send func()) {
			send()
			if n == 10 {
				cancel()
			}
		}
		o.Messages = MaxMessages
		if _, err := Run(ctx, o); err != context.Canceled {
			t.Errorf("Run = %v, want context.Canceled", err)
		}
	})
}

func TestRunRefusesWhatIsOutOfBounds(t *testing.T) {
	b := clienttest.Start(t)
	tests := []struct {
		name   string
		change func(*Options)
	}{
		{"payload too small for its header", func(o *Options) { o.Payload = MinPayload - 1 }},
		{"window of none", func(o *Options) { o.Window = 0 }},
		{"window beyond the packet identifiers", func(o *Options) { o.Window = 65536 }},
		{"QoS 3", func(o *Options) { o.QoS = 3 }},
		{"neither duration nor messages", func(o *Options) { o.Messages = 0 }},
		{"negative rate", func(o *Options) { o.Rate = -1 }},
		{"prefix with a wildcard", func(o *Options) { o.TopicPrefix = "demo/#" }},
		{"empty prefix", func(o *Options) { o.TopicPrefix = "" }},
		{"unknown scenario", func(o *Options) { o.Scenario = "flood" }},
		{"offline at QoS 0", func(o *Options) { o.Scenario = Offline }},
		{"queues at QoS 0", func(o *Options) { o.Scenario = Queues }},
		{"more fresh topics than messages", func(o *Options) { o.Topics, o.Fresh = 10, 101 }},
		{"fresh topics among one", func(o *Options) { o.Fresh = 10 }},
		{"negative churn", func(o *Options) { o.Churn = -1 }},
		{"two numbers in a user name", func(o *Options) { o.Username = "%d-%d" }},
		{"a slope from all connections on", func(o *Options) { o.SlopeFrom = o.Connections }},
		{"negative time to settle", func(o *Options) { o.Settle = -1 }},
		{"process that does not exist", func(o *Options) { o.PID = 1 << 30 }},
		{"nobody to dial", func(o *Options) { o.Dial = nil }},
	}
	for _, tt := range tests {
		o := small(b, P2P)
		tt.change(&o)
		if _, err := Run(context.Background(), o); err == nil {
			t.Errorf("%s: Run succeeded", tt.name)
		}
	}
}

func TestReportIsJSONAndText(t *testing.T) {
	r := &Report{Scenario: P2P, Sent: 2, Expected: 2, Delivered: 1, Lost: 1, Latency: &Latency{P50: 12.5}, Corrected: true}
	r.set("broker_cpu_us_per_message", 4.5)
	text := new(strings.Builder)
	if err := r.WriteText(text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"p2p", "1 lost", "12.5µs", "broker_cpu_us_per_message 4.5", "coordinated omission"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	var back Report
	if b, err := json.Marshal(r); err != nil || json.Unmarshal(b, &back) != nil || back.Latency.P50 != 12.5 || back.Lost != 1 {
		t.Errorf("JSON came back as %+v, %v", back, err)
	}
}
