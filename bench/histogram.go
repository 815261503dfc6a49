package bench

import (
	"math/bits"
	"sync"
	"time"
)

// A histogram counts durations in buckets whose width grows with the value:
// each power of two is cut into 128, so that a percentile is at most 0.8 % above
// the true value. The largest value is kept exactly. mu guards it.
const (
	subBits    = 7
	subBuckets = 1 << subBits
	groups     = 64 - subBits
)

type histogram struct {
	mu     sync.Mutex
	counts [groups * subBuckets]uint32
	total  uint64
	max    int64
}

func bucket(v int64) int {
	u := uint64(max(v, 0))
	shift := max(bits.Len64(u)-subBits-1, 0)
	return shift*subBuckets + int(u>>shift)
}

// upper is the largest value that falls into bucket i.
func upper(i int) int64 {
	if i < 2*subBuckets {
		return int64(i)
	}
	shift := i/subBuckets - 1
	return int64(i%subBuckets+subBuckets+1)<<shift - 1
}

// record counts d nanoseconds.
func (h *histogram) record(d int64) {
	h.counts[bucket(d)]++
	h.total++
	h.max = max(h.max, d)
}

func (h *histogram) merge(o *histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.total += o.total
	h.max = max(h.max, o.max)
}

// quantile is the least recorded bound that a share q of the values doesn't exceed.
func (h *histogram) quantile(q float64) time.Duration {
	want := uint64(q*float64(h.total) + 0.5)
	want = min(max(want, 1), h.total)
	var seen uint64
	for i, n := range h.counts {
		if seen += uint64(n); n > 0 && seen >= want {
			return time.Duration(min(upper(i), h.max))
		}
	}
	return time.Duration(h.max)
}

// latency summarizes h.
func (h *histogram) latency() *Latency {
	if h.total == 0 {
		return nil
	}
	us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	return &Latency{Count: h.total, P50: us(h.quantile(.5)), P90: us(h.quantile(.9)), P99: us(h.quantile(.99)),
		P999: us(h.quantile(.999)), Max: us(time.Duration(h.max))}
}
