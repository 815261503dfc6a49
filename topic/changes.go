package topic

import (
	"hash/maphash"
	"strings"
	"sync/atomic"
)

// changes counts what happens to a tree, in counters that are picked by the hash
// of the literal levels which a filter begins with: so whoever knows the
// subscribers of a name can tell whether they may be others by now. A name is
// matched only by filters whose literal beginning is a beginning of the name, which
// are as many counters as it has levels, and one.
//
// A writer changes the tree, then raises the filter's counter, then total, before
// its call returns. A reader reads in the reverse order, and the tree last: what it
// finds there lacks no change that its sum has counted, and a change that it may
// have missed has still to be counted.
type changes struct {
	total atomic.Uint64
	of    [changeCounters]atomic.Uint32
}

const (
	// changeCounters is how many counters there are: 64 KiB of them. A name of five
	// levels is taken to have changed by mistake once in 2,700 changes elsewhere.
	changeCounters = 1 << 14
	// markLevels bounds the levels of a name that is marked, each of which is hashed
	// with all before it.
	markLevels = 16
)

// Mark is a moment in the life of a tree, as far as the subscribers of one name
// are concerned. The zero Mark is of no name.
type Mark struct {
	at    atomic.Uint64 // total, when the sum was last seen to be as it was
	sum   uint64
	slots [markLevels + 1]uint16
	n     uint8
}

// Mark notes in m, which nobody else knows yet, the present state of what name
// matches. A Match that begins after it sees all that Changed doesn't report.
// ok is false for a name with so many levels that it is not worth it.
func (t *Tree[K, V]) Mark(name string, m *Mark) (ok bool) {
	m.at.Store(t.changes.total.Load()) // the order matters, see changes
	m.slots[0] = t.slotOf("")
	n := 1
	for i := 0; i < len(name); i++ {
		k := strings.IndexByte(name[i:], '/')
		if k < 0 {
			break
		}
		i += k
		if n == markLevels {
			return false
		}
		m.slots[n] = t.slotOf(name[:i])
		n++
	}
	m.slots[n] = t.slotOf(name)
	m.n = uint8(n + 1)
	m.sum = t.changes.sum(m)
	return true
}

// Changed reports whether the subscribers of m's name may be others than when it
// was marked. What was set or removed before the call, is reported.
func (t *Tree[K, V]) Changed(m *Mark) bool {
	total := t.changes.total.Load()
	if m.at.Load() == total {
		return false
	}
	if t.changes.sum(m) != m.sum {
		return true
	}
	m.at.Store(total)
	return false
}

func (c *changes) sum(m *Mark) (sum uint64) {
	for _, slot := range m.slots[:m.n] {
		sum += uint64(c.of[slot].Load())
	}
	return sum
}

// changed counts a change of filter, which is in the tree already.
func (t *Tree[K, V]) changed(filter string) {
	t.changes.of[t.slotOf(literal(filter))].Add(1)
	t.changes.total.Add(1)
}

func (t *Tree[K, V]) slotOf(beginning string) uint16 {
	return uint16(maphash.String(t.seed, beginning) % changeCounters)
}

// literal is the levels that filter begins with before one that is a wildcard.
func literal(filter string) string {
	at := 0
	for rest, more := filter, true; more; {
		var level string
		level, rest, more = cutLevel(rest)
		if level == single || level == multi && !more {
			return filter[:max(at-1, 0)]
		}
		at += len(level) + 1
	}
	return filter
}
