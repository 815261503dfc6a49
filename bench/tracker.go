package bench

// maxGaps bounds the sequence numbers that one tracker remembers as missing.
const maxGaps = 1 << 16

// tracker verifies the sequence numbers that one receiver sees of one publisher.
type tracker struct {
	share, of  uint64   // only the numbers n with n % of == share are for it; of 0: all
	seen       []uint64 // a bit for each number, where they come in no order; else nil
	came       uint64   // bits set in seen
	next       uint64   // the number expected
	missing    map[uint64]struct{}
	forgotten  uint64 // missing, but beyond maxGaps: late ones count as doubled
	duplicates uint64
	misordered uint64
	misrouted  uint64 // for another receiver
}

// see takes the next message's number; first says that it is the receiver's and
// had not come yet.
func (t *tracker) see(n uint64) (first bool) {
	if t.of > 0 {
		if n%t.of != t.share {
			t.misrouted++
			return false
		}
		n /= t.of
	}
	switch {
	case t.seen != nil:
		return t.mark(n)
	case n == t.next:
		t.next++
	case n > t.next:
		t.skip(n)
	default:
		if _, late := t.missing[n]; !late {
			t.duplicates++
			return false
		}
		delete(t.missing, n)
		t.misordered++
	}
	return true
}

// unordered makes a tracker of numbers below n that may come in any order.
func unordered(n int) tracker { return tracker{seen: make([]uint64, (n+63)/64)} }

func (t *tracker) mark(n uint64) (first bool) {
	if n/64 >= uint64(len(t.seen)) || t.seen[n/64]&(1<<(n%64)) != 0 {
		t.duplicates++
		return false
	}
	t.seen[n/64] |= 1 << (n % 64)
	t.came++
	return true
}

func (t *tracker) skip(n uint64) {
	if t.missing == nil {
		t.missing = make(map[uint64]struct{})
	}
	for ; t.next < n; t.next++ {
		if len(t.missing) == maxGaps {
			t.forgotten += n - t.next
			t.next = n
			break
		}
		t.missing[t.next] = struct{}{}
	}
	t.next = n + 1
}

// lost is how many of sent messages never came.
func (t *tracker) lost(sent uint64) uint64 {
	if t.of > 0 {
		sent = (sent + t.of - 1 - t.share) / t.of
	}
	if t.seen != nil {
		return sent - min(sent, t.came)
	}
	lost := uint64(len(t.missing)) + t.forgotten
	if sent > t.next {
		lost += sent - t.next
	}
	return lost
}
