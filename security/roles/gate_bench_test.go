package roles

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"sallyport/security"
)

// fleet is a permission file with one role of n rules, spread over topics, some
// with wildcards, placeholders and denies.
func fleet(tb testing.TB, n int) *Policy {
	tb.Helper()
	var b strings.Builder
	b.WriteString("roles:\n  device:\n    permissions:\n")
	for i := range n {
		switch i % 10 {
		case 0:
			fmt.Fprintf(&b, "      - {deny: publish, topic: plant/%d/+/locked}\n", i/10)
		case 1:
			fmt.Fprintf(&b, "      - {allow: both, topic: \"plant/%d/${clientid}/#\"}\n", i/10)
		case 2:
			fmt.Fprintf(&b, "      - {allow: subscribe, topic: \"plant/%d/+/state\"}\n", i/10)
		default:
			fmt.Fprintf(&b, "      - {allow: publish, topic: plant/%d/line%d/state, qos: [0, 1]}\n", i/10, i%10)
		}
	}
	p, err := Parse(Options{Name: "fleet", Path: "fleet.yaml"}, []byte(b.String()))
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// BenchmarkGate is one decision: uncached by Gate.Publish, and by the Access of a
// client that sends to 1, 64 or 10,000 topics in rotation (of which it remembers about 100).
func BenchmarkGate(b *testing.B) {
	for _, rules := range []int{1_000, 100_000} {
		p := fleet(b, rules)
		gate := security.NewGate(&security.Ruleset{ByListener: map[string][]security.Policy{"l": {p}}})
		who := &security.Principal{Name: "d", ClientID: "dev-7", Listener: "l", Roles: []string{"device"}}
		for _, n := range []int{1, 64, 10_000} {
			topics := make([]string, n)
			for i := range topics {
				// A stride, so that neighbours in time are not neighbours in the index.
				at := i * 7919 % (rules / 10)
				topics[i] = fmt.Sprintf("plant/%d/line%d/state", at, 3+i%7)
			}
			b.Run(fmt.Sprintf("rules=%d/topics=%d/uncached", rules, n), func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if _, v := gate.Publish(security.Request{Principal: who, Topic: topics[i%n], QoS: 1}); !v.Allowed() {
						b.Fatal(v)
					}
				}
			})
			b.Run(fmt.Sprintf("rules=%d/topics=%d/access", rules, n), func(b *testing.B) {
				a := security.NewAccess(gate, who)
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if _, v := a.Publish(topics[i%n], nil, 1, false, nil); !v.Allowed() {
						b.Fatal(v)
					}
				}
			})
		}
	}
}

// BenchmarkClientsOfOneRole measures what 100,000 clients hold beyond their
// principals when they share a role of 1,000 rules and each has published to one
// topic and received on one.
func BenchmarkClientsOfOneRole(b *testing.B) {
	const clients = 100_000
	gate := security.NewGate(&security.Ruleset{ByListener: map[string][]security.Policy{"l": {fleet(b, 1_000)}}})
	who := make([]security.Principal, clients)
	topics := make([]string, clients)
	for i := range who {
		id := strconv.Itoa(100_000 + i)
		who[i] = security.Principal{Name: id, ClientID: id, Listener: "l", Roles: []string{"device"}}
		topics[i] = fmt.Sprintf("plant/%d/%s/kwh", i%100, id)
	}
	for b.Loop() {
		before := heap()
		pub, sub := make([]security.Access, clients), make([]security.Access, clients)
		for i := range who {
			pub[i], sub[i] = security.NewAccess(gate, &who[i]), security.NewAccess(gate, &who[i])
			if _, v := pub[i].Publish(topics[i], nil, 1, false, nil); !v.Allowed() || !sub[i].Receive(topics[i], nil, "", 1, false, nil).Granted() {
				b.Fatal(v)
			}
		}
		b.ReportMetric(float64(heap()-before)/clients, "B/client")
		runtime.KeepAlive(pub)
		runtime.KeepAlive(sub)
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
