package broker

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"sallyport/packet"
)

// TestALongQueueLosesNothing lets a client come, take a part of what waits, and go,
// again and again, while the broker is restarted now and then.
func TestALongQueueLosesNothing(t *testing.T) {
	for seed := range uint64(8) {
		overDisk(t, func(s *setup) { s.lis.Limits.OutputBytes = 8 << 10 }, func(x *bed) {
			rnd := rand.New(rand.NewPCG(seed, 5))
			first := x.connect(packet.V5, "c", kept(100000))
			first.subscribe(filter("t", 2))
			first.drop()
			pub := x.connect(packet.V5, "pub")
			sent := 0
			next := map[byte]int{1: 0, 2: 0} // the last that arrived of each quality of service
			publish := func(n int) {
				for range n {
					sent++
					pub.publishes("t", fmt.Sprintf("%d %s", sent, strings.Repeat("x", rnd.IntN(900))), byte(1+sent%2), false)
				}
			}
			take := func(c *peer, most int) (got int) {
				for ; got < most; got++ {
					x.settle()
					if len(c.in) == 0 && len(c.back) == 0 {
						return got
					}
					m := c.message()
					var n int
					if _, err := fmt.Sscan(m.payload, &n); err != nil {
						t.Fatal(err)
					}
					q := byte(1 + n%2)
					if n > next[q] && n != next[q]+2 && n != 1 && n != 2 {
						t.Fatalf("seed %d: %d after %d", seed, n, next[q])
					}
					if n <= next[q] && !m.dup {
						t.Fatalf("seed %d: %d again after %d", seed, n, next[q])
					}
					next[q] = max(next[q], n)
					c.finish(m)
				}
				return got
			}
			for range 12 {
				publish(rnd.IntN(60))
				c := x.connect(packet.V5, "c", kept(100000), receiveMax(uint16(1+rnd.IntN(20))))
				take(c, rnd.IntN(50))
				publish(rnd.IntN(20))
				take(c, rnd.IntN(20))
				c.drop()
				if rnd.IntN(3) == 0 {
					x.restart()
					pub = x.connect(packet.V5, "pub")
				}
			}
			c := x.connect(packet.V5, "c", kept(100000))
			take(c, 1<<20)
			if low := min(next[1], next[2]); low < sent-1 {
				t.Errorf("seed %d: %v of %d have arrived", seed, next, sent)
			}
		})
	}
}
