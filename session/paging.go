package session

// PageBytes is how much of a queue's messages is held at each of its ends where
// a store has the rest.
const PageBytes = 32 << 10

// paging says which entries of a queue are without their message: in front of
// them are some that have theirs, to be sent next, and so have the last ones, which
// may not be kept yet.
type paging struct {
	front      int // entries before the first that is without
	paged      int // entries without their message
	pagedBytes int
	frontBytes int
	reading    bool // a page is being read
}

// popped notes that e was taken from the head of the queue.
func (p *paging) popped(e *Entry) {
	switch {
	case p.paged == 0:
	case p.front > 0:
		p.front--
		p.frontBytes -= e.Size()
	default:
		p.paged--
		p.pagedBytes -= e.Size()
	}
	if p.paged == 0 {
		p.front, p.frontBytes, p.pagedBytes = 0, 0, 0
	}
}

// unpopped notes that an entry with its message was put back at the head.
func (p *paging) unpopped() {
	if p.paged > 0 {
		p.front++ // its bytes are few
	}
}

// recount finds out where the entries without their message are.
func (p *paging) recount(q *fifo) {
	*p = paging{reading: p.reading}
	for i := range q.n {
		e := q.at(i)
		switch {
		case e.Msg == nil:
			p.paged++
			p.pagedBytes += e.Size()
		case p.paged == 0:
			p.front++
			p.frontBytes += e.Size()
		}
	}
	if p.paged == 0 {
		p.front, p.frontBytes = 0, 0
	}
}

// PageOut lets go of messages that a store has, where the queue holds more than it
// needs: it keeps PageBytes at its head and at its end. Most calls do nothing.
func (s *Session) PageOut() {
	t := s.traffic
	if t == nil || t.queueBytes-t.pagedBytes < 3*PageBytes {
		return
	}
	if t.paged == 0 {
		t.front, t.frontBytes = 0, 0
		for t.front < t.queue.len() && t.frontBytes < PageBytes {
			t.frontBytes += t.queue.at(uint32(t.front)).Size()
			t.front++
		}
	}
	rest := t.queueBytes - t.pagedBytes - t.frontBytes // at the end
	for at := t.front + t.paged; at < t.queue.len() && rest > PageBytes; at++ {
		e := t.queue.at(uint32(at))
		if e.Msg == nil || !e.Msg.Kept() || e.Held() {
			break
		}
		size := e.Msg.Size()
		e.SetStored(e.Msg.Ref.Load(), size)
		e.Via = nil // it is in the store, too
		t.paged++
		t.pagedBytes += size
		rest -= size
	}
	if t.paged == 0 {
		t.front, t.frontBytes = 0, 0
	}
}

// Hungry reports whether messages have to be read from the store, and which: those
// of the entries from first to last. Until PageIn is called it does so no more.
func (s *Session) Hungry() (first, last uint64, yes bool) {
	t := s.traffic
	if t == nil || t.paged == 0 || t.reading || t.frontBytes > PageBytes/2 {
		return 0, 0, false
	}
	t.reading = true
	return t.queue.at(uint32(t.front)).Seq, t.queue.at(uint32(t.front + t.paged - 1)).Seq, true
}

// PageIn takes what was read, in order, when Hungry has asked for entries from
// first on; last is the last of which it is known whether they are there. Entries up to
// it that are missing are over.
func (s *Session) PageIn(first, last uint64, read []Entry) {
	t := s.traffic
	if t == nil || !t.reading {
		return
	}
	t.reading = false
	for t.paged > 0 {
		e := t.queue.at(uint32(t.front))
		if e.Seq > last {
			return
		}
		for len(read) > 0 && read[0].Seq < e.Seq {
			read = read[1:]
		}
		size := e.Size()
		if len(read) > 0 && read[0].Seq == e.Seq {
			e.Msg, e.Via = read[0].Msg, read[0].Via
			t.queueBytes += e.Size() - size
		} else if e.Seq >= first {
			e.Msg = &Message{ExpiryAt: -1, Expires: 1} // which Next takes out
			t.queueBytes += e.Size() - size
		} else {
			return
		}
		t.paged--
		t.pagedBytes -= size
		t.front++
		t.frontBytes += e.Size()
	}
	t.front, t.frontBytes = 0, 0
}
