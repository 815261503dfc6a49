package rule

import (
	"fmt"
	"runtime"
	"testing"

	"sallyport/security"
	"sallyport/topic"
)

// benchRules is the rules of a site: places with devices, each of which has its
// own; some with + and #, some with placeholders, one deny among ten.
func benchRules(tb testing.TB, n int) []Rule {
	rules := make([]Rule, n)
	for i := range rules {
		r := Rule{Effect: security.Allow, Actions: Publish | Subscribe, Line: i + 1, File: "p.yaml"}
		text := fmt.Sprintf("site/%d/device/%d/state", i/100, i)
		switch i % 10 {
		case 1:
			text = fmt.Sprintf("site/%d/device/%d/#", i/100, i)
		case 2:
			text = fmt.Sprintf("site/%d/+/%d/state", i/100, i)
		case 3:
			text = fmt.Sprintf("site/%d/${clientid}/%d", i/100, i)
		case 4:
			text = fmt.Sprintf("home/${username}/%d/#", i)
		case 5:
			text, r.Effect = fmt.Sprintf("site/%d/device/%d/secret", i/100, i), security.Deny
		}
		p, err := topic.ParsePattern(text, topic.Dollar)
		if err != nil {
			tb.Fatal(err)
		}
		r.Topic, r.Text = p, text
		rules[i] = r
	}
	return rules
}

var benchSizes = []int{1000, 100000}

// BenchmarkDecide is what a policy does for one request: it asks the denies and
// then the allows. Topics are taken in turn, so that nothing stays in the caches.
func BenchmarkDecide(b *testing.B) {
	p := &security.Principal{ClientID: "c1", Name: "u1", Listener: "door"}
	for _, n := range benchSizes {
		set := NewSet(benchRules(b, n))
		for _, kind := range []struct {
			name   string
			action security.Action
			format string
		}{
			{"publish", security.Publish, "site/%d/device/%d/state"},
			{"receive", security.Receive, "site/%d/device/%d/state"},
			{"placeholder", security.Publish, "site/%d/c1/%d"},
			{"subscribe", security.Subscribe, "site/%d/device/%d/#"},
			{"refused", security.Publish, "site/%d/device/%d/none"},
		} {
			var topics [4096]string
			for i := range topics {
				k := i * 7919 % n
				topics[i] = fmt.Sprintf(kind.format, k/100, k)
			}
			b.Run(fmt.Sprintf("%d/%s", n, kind.name), func(b *testing.B) {
				q := &security.Request{Principal: p, Action: kind.action}
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					q.Topic = topics[i%len(topics)]
					if a := Deny(q, set); a.Rule == nil {
						Allow(q, set)
					}
				}
			})
		}
	}
}

// BenchmarkNewSet tells the bytes per rule: of the rules as they come from a
// reader, and of the index.
func BenchmarkNewSet(b *testing.B) {
	for _, n := range benchSizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			before := heap()
			rules := benchRules(b, n)
			read := heap()
			set := NewSet(rules)
			indexed := heap()
			runtime.KeepAlive(set)
			for b.Loop() {
				NewSet(rules)
			}
			b.ReportMetric(float64(read-before)/float64(n), "rule-B/rule")
			b.ReportMetric(float64(indexed-read)/float64(n), "index-B/rule")
		})
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
