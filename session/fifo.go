package session

// fifo is a queue of entries in a ring that grows and shrinks. The length of the
// ring is a power of two.
type fifo struct {
	ring    []Entry
	head, n uint32
}

// spareRing is the longest ring, in entries, that an empty queue keeps until it
// is trimmed: one that is filled and emptied again and again costs no allocation.
const spareRing = 16

func (q *fifo) len() int { return int(q.n) }

// at is entry i, counted from the oldest.
func (q *fifo) at(i uint32) *Entry { return &q.ring[(q.head+i)&uint32(len(q.ring)-1)] }

func (q *fifo) push(e *Entry) {
	if int(q.n) == len(q.ring) {
		q.resize(max(4, 2*len(q.ring)))
	}
	*q.at(q.n) = *e
	q.n++
}

func (q *fifo) peek() *Entry { return q.at(0) }

func (q *fifo) pop() Entry {
	at := q.at(0)
	e := *at
	*at = Entry{}
	q.head++
	q.n--
	q.shrink()
	return e
}

// cut leaves the first n entries.
func (q *fifo) cut(n int) {
	for i := uint32(n); i < q.n; i++ {
		*q.at(i) = Entry{}
	}
	q.n = uint32(n)
	q.shrink()
}

// unpop puts e back in front.
func (q *fifo) unpop(e *Entry) {
	if int(q.n) == len(q.ring) {
		q.resize(max(4, 2*len(q.ring)))
	}
	q.head--
	q.n++
	*q.at(0) = *e
}

// shrink gives back what a queue that has become short does not need.
func (q *fifo) shrink() {
	switch {
	case q.n == 0 && len(q.ring) > spareRing:
		*q = fifo{}
	case len(q.ring) > 64 && int(q.n) < len(q.ring)/4:
		q.resize(len(q.ring) / 2)
	}
}

// trim gives the ring of an empty queue back.
func (q *fifo) trim() {
	if q.n == 0 {
		*q = fifo{}
	}
}

func (q *fifo) resize(size int) {
	ring := make([]Entry, size)
	for i := range q.n {
		ring[i] = *q.at(i)
	}
	q.ring, q.head = ring, 0
}

// removeHeld takes out the QoS 2 entries of m.
func (q *fifo) removeHeld(m *Message) (n, bytes int) {
	kept := uint32(0)
	for i := range q.n {
		e := *q.at(i)
		if e.Msg == m && e.QoS == 2 {
			n++
			bytes += m.Size()
			continue
		}
		*q.at(kept) = e
		kept++
	}
	for i := kept; i < q.n; i++ {
		*q.at(i) = Entry{}
	}
	q.n = kept
	q.shrink()
	return n, bytes
}
