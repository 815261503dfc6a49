package broker

import (
	"fmt"
	"testing"

	"sallyport/packet"
)

// BenchmarkChurn is a PUBLISH to one of 100,000 subscribers while one of them
// unsubscribes, subscribes or reconnects after every 1,000 messages: a thousand
// a second at a million messages a second. The topics are 10,000 in turn.
func BenchmarkChurn(b *testing.B) {
	const subscribers, topics = 100_000, 10_000
	for name, filter := range map[string]string{"literal": "bench/dev/%d/cmd", "wildcard first": "+/dev/%d/cmd"} {
		w := newBenchWorld(b, policyFunc(allowAll), 0, 0)
		conns := make([]*Conn, subscribers)
		filterOf := func(i int) string { return fmt.Sprintf(filter, i) }
		for i := range conns {
			conns[i], _ = w.open(b, fmt.Sprint("s", i))
			churnSubscribe(conns[i], filterOf(i))
		}
		frames := make([][]byte, topics)
		for i := range frames {
			frames[i] = packet.AppendPublish(nil, packet.V5, &packet.PublishOut{
				Topic: fmt.Sprintf("bench/dev/%d/cmd", i*(subscribers/topics)), Payload: make([]byte, 64), ExpiryAt: -1,
			})
		}
		change := func(n int) {
			i := n * 7919 % subscribers
			switch n % 3 {
			case 0:
				conns[i].Feed(packet.AppendUnsubscribe(nil, packet.V5, &packet.Unsubscribe{PacketID: 1, Filters: []string{filterOf(i)}}))
				churnSubscribe(conns[i], filterOf(i))
			case 1:
				churnSubscribe(conns[i], filterOf(i))
			default:
				conns[i], _ = w.open(b, fmt.Sprint("s", i)) // takes over, without the session
				churnSubscribe(conns[i], filterOf(i))
			}
		}
		for _, every := range []int{0, 1000} {
			b.Run(fmt.Sprintf("%s, a change each %d", name, every), func(b *testing.B) {
				for range 3 {
					for _, f := range frames {
						w.pub.Feed(f)
					}
				}
				b.ReportAllocs()
				b.ResetTimer()
				for i := range b.N {
					w.pub.Feed(frames[i%topics])
					if every > 0 && i%every == every-1 {
						change(i / every)
					}
				}
			})
		}
	}
}

func churnSubscribe(c *Conn, filter string) {
	c.Feed(packet.AppendSubscribe(nil, packet.V5, &packet.Subscribe{PacketID: 1, Filters: []packet.Subscription{{Filter: filter}}}))
}
