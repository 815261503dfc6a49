package session

import "sync/atomic"

// fifo is a queue of entries in a ring that grows and shrinks.
type fifo struct {
	ring []Entry
	head int
	n    int
}

func (q *fifo) len() int { return q.n }

func (q *fifo) push(e Entry) {
	if q.n == len(q.ring) {
		q.resize(max(4, 2*q.n))
	}
	q.ring[(q.head+q.n)%len(q.ring)] = e
	q.n++
}

func (q *fifo) peek() *Entry { return &q.ring[q.head] }

func (q *fifo) pop() Entry {
	e := q.ring[q.head]
	q.ring[q.head] = Entry{}
	q.head = (q.head + 1) % len(q.ring)
	q.n--
	if q.n == 0 {
		// An idle session keeps no ring.
		q.ring, q.head = nil, 0
	} else if len(q.ring) > 64 && q.n < len(q.ring)/4 {
		q.resize(len(q.ring) / 2)
	}
	return e
}

// unpop puts e back in front.
func (q *fifo) unpop(e Entry) {
	if q.n == len(q.ring) {
		q.resize(max(4, 2*q.n))
	}
	q.head = (q.head + len(q.ring) - 1) % len(q.ring)
	q.ring[q.head] = e
	q.n++
}

func (q *fifo) resize(size int) {
	ring := make([]Entry, size)
	for i := range q.n {
		ring[i] = q.ring[(q.head+i)%len(q.ring)]
	}
	q.ring, q.head = ring, 0
}

// removeHeld takes out the entries whose hold is h.
func (q *fifo) removeHeld(h *atomic.Bool) (n, bytes int) {
	kept := 0
	for i := range q.n {
		e := q.ring[(q.head+i)%len(q.ring)]
		if e.Held == h {
			n++
			bytes += e.Msg.Size()
			continue
		}
		q.ring[(q.head+kept)%len(q.ring)] = e
		kept++
	}
	for i := kept; i < q.n; i++ {
		q.ring[(q.head+i)%len(q.ring)] = Entry{}
	}
	if q.n = kept; kept == 0 {
		q.ring, q.head = nil, 0
	}
	return n, bytes
}
