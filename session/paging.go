package session

// PageBytes is how much of a queue's messages is held at each of its ends where
// a store has the rest.
const PageBytes = 4 << 10

// ReadBytes is how much of them is to be read at a time. It is more, since only who
// is connected reads, and each time has its cost.
const ReadBytes = 32 << 10

// paging is the part of a long queue that a store has: it lies between the entries
// of traffic.queue, which are sent next, and those of tail, which may not be kept yet.
// Of what lies between only the places are known.
type paging struct {
	runs       []run
	n, bytes   int // of all runs
	tail       fifo
	frontBytes int  // of traffic.queue
	reading    bool // a page is being read
}

// run is entries whose Seq go up by one.
type run struct {
	first    uint64
	n, bytes int
}

// take takes the first entry of the first run away, whose size is not known but on
// average, and returns that.
func (p *paging) take() (seq uint64, size int) {
	r := &p.runs[0]
	seq, size = r.first, r.bytes/r.n
	r.first++
	r.n--
	r.bytes -= size
	p.n--
	p.bytes -= size
	if r.n == 0 {
		p.runs = p.runs[1:]
	}
	return seq, size
}

// put adds an entry at the end of the last run.
func (p *paging) put(seq uint64, size int) {
	if i := len(p.runs) - 1; i >= 0 && p.runs[i].first+uint64(p.runs[i].n) == seq {
		p.runs[i].n++
		p.runs[i].bytes += size
	} else {
		p.runs = append(p.runs, run{seq, 1, size})
	}
	p.n++
	p.bytes += size
}

// waiting is the number of entries in the queue.
func (t *traffic) waiting() int {
	n := t.queue.len()
	if t.paging != nil {
		n += t.paging.n + t.paging.tail.len()
	}
	return n
}

// push puts e at the end of the queue.
func (t *traffic) push(e *Entry) {
	if e.Msg == nil && t.paging == nil {
		t.paging = &paging{} // it is restored, and what follows it may be whole
	}
	switch p := t.paging; {
	case p == nil:
		t.queue.push(e)
	case e.Msg == nil: // before anything new
		p.put(e.Seq, e.Size())
	default:
		p.tail.push(e)
	}
	t.queueBytes += e.Size()
}

// pop takes the head of the queue, which is there.
func (t *traffic) pop() Entry {
	p := t.paging
	if t.queue.len() == 0 { // with the head in the store
		seq, size := p.take()
		t.queueBytes -= size
		t.unpage()
		return Entry{Seq: seq, size: uint32(size), QoS: 1}
	}
	e := t.queue.pop()
	t.queueBytes -= e.Size()
	if p != nil {
		p.frontBytes -= e.Size()
	}
	return e
}

func (t *traffic) unpop(e *Entry) {
	t.queue.unpop(e)
	t.queueBytes += e.Size()
	if t.paging != nil {
		t.paging.frontBytes += e.Size()
	}
}

// unpage makes one queue of what is left when nothing lies in the store alone.
func (t *traffic) unpage() {
	p := t.paging
	if p == nil || p.n > 0 {
		return
	}
	for p.tail.len() > 0 {
		e := p.tail.pop()
		t.queue.push(&e)
	}
	t.paging = nil
}

// PageOut lets go of messages that a store has, where the queue holds more than it
// needs: it keeps PageBytes at its head and at its end. Most calls do nothing.
func (s *Session) PageOut() {
	t := s.traffic
	if t == nil {
		return
	}
	p := t.paging
	if p == nil {
		if t.queueBytes < 3*PageBytes {
			return
		}
		if p = t.split(); p == nil {
			return
		}
	}
	rest := t.queueBytes - p.bytes - p.frontBytes
	for p.tail.len() > 0 && rest > PageBytes {
		e := p.tail.peek()
		if !e.Msg.Kept() || e.Held() {
			break
		}
		size := e.Msg.Size()
		p.put(e.Seq, size)
		p.tail.pop()
		rest -= size
	}
	t.unpage()
}

// split leaves PageBytes in the queue and puts what follows into the tail; nil if
// there is nothing, or the store does not have it yet.
func (t *traffic) split() *paging {
	front, bytes := 0, 0
	for front < t.queue.len() && bytes < PageBytes {
		bytes += t.queue.at(uint32(front)).Size()
		front++
	}
	if front >= t.queue.len() {
		return nil
	}
	if e := t.queue.at(uint32(front)); !e.Msg.Kept() || e.Held() {
		return nil
	}
	p := &paging{frontBytes: bytes}
	for i := front; i < t.queue.len(); i++ {
		p.tail.push(t.queue.at(uint32(i)))
	}
	t.queue.cut(front)
	t.paging = p
	return p
}

// Hungry reports whether messages have to be read from the store, and which: those
// of the entries from first to last. Until PageIn or Attach is called it does so no more.
func (s *Session) Hungry() (first, last uint64, yes bool) {
	if s.traffic == nil || s.paging == nil || s.paging.n == 0 || s.paging.reading || s.paging.frontBytes > ReadBytes/4 {
		return 0, 0, false
	}
	p := s.paging
	p.reading = true
	return p.runs[0].first, p.runs[0].first + uint64(p.runs[0].n) - 1, true
}

// PageIn takes what was read, in order, when Hungry had asked for it: all that there
// is up to last. What is missing is over; it returns how many that are.
func (s *Session) PageIn(last uint64, read []Entry) (missing int) {
	t := s.traffic
	if t == nil || t.paging == nil || !t.paging.reading {
		return 0
	}
	p := t.paging
	p.reading = false
	for p.n > 0 && p.runs[0].first <= last {
		seq, size := p.take()
		t.queueBytes -= size
		for len(read) > 0 && read[0].Seq < seq {
			read = read[1:]
		}
		if len(read) > 0 && read[0].Seq == seq {
			t.queue.push(&read[0])
			t.queueBytes += read[0].Size()
			p.frontBytes += read[0].Size()
		} else {
			missing++
		}
	}
	t.unpage()
	return missing
}
