package crash

import "slices"

// retained is a topic with its retained messages.
type retained struct {
	before  ID   // what it held at the last Settle
	unknown bool // or that is not known
	set     []*message
	read    ID  // what was read last
	readAt  int // when, 0: not since the last Settle
}

func (j *Judge) retained(topic string) *retained {
	r := j.topics[topic]
	if r == nil {
		r = &retained{}
		j.topics[topic] = r
	}
	return r
}

// read judges what a fresh client got as the retained message of a topic: it
// has to be one that no message acknowledged before the reading began has
// replaced.
func (j *Judge) read(e *Event) {
	j.Counts.RetainedRead++
	if e.Msg.N == 0 {
		j.Counts.RetainedAbsent++
	}
	r := j.retained(e.Topic)
	r.read, r.readAt = e.Msg, e.seq
	if over := j.replaced(r, j.messages[e.Msg], e.Msg, j.readers[e.Client]); over != nil {
		j.failBy(e, over.id, "retained", "%s holds %v, and %v, which replaced it, was acknowledged", e.Topic, r.read, over.id)
	}
}

// MayBeAbsent reports whether a topic may hold nothing for a client that has
// begun to read: what Read would judge, without judging.
func (j *Judge) MayBeAbsent(client, topic string) bool {
	return j.replaced(j.retained(topic), nil, ID{}, j.readers[client]) == nil
}

// replayed judges a retained message that came for a subscription.
func (j *Judge) replayed(s *subscription, m *message, e *Event) {
	r := j.retained(e.Topic)
	if over := j.replaced(r, m, e.Msg, s.since); over != nil {
		j.failBy(e, over.id, "retained", "%s gets %v as retained on %s, and %v, which replaced it, was acknowledged before it subscribed",
			e.Client, e.Msg, e.Topic, over.id)
	}
}

// replaced returns a message that was acknowledged before the event by and for
// certain replaced what was found; nil if there is none. found is the message,
// or nil if it is none of those sent since the last Settle.
func (j *Judge) replaced(r *retained, found *message, id ID, by int) *message {
	var candidates []*message // nil is what was there at the last Settle
	switch {
	case id.N == 0: // any message that clears may have done it, or nothing was there
		if r.unknown || r.before.N == 0 {
			candidates = append(candidates, nil)
		}
		for _, m := range r.set {
			if m.clear {
				candidates = append(candidates, m)
			}
		}
	case slices.Contains(r.set, found):
		candidates = append(candidates, found)
	case r.unknown || r.before == id:
		candidates = append(candidates, nil)
	}
	over := &message{id: r.before} // if nothing could have led to it
	for _, c := range candidates {
		if over = j.overtaken(r, c, by); over == nil {
			return nil
		}
	}
	return over
}

// overtaken returns a message that replaced m for certain: acted on before by,
// and first sent after m was acted on, or by the same publisher after it last
// sent m. m nil is what was there at the last Settle.
func (j *Judge) overtaken(r *retained, m *message, by int) *message {
	for _, o := range r.set {
		if at := j.acted(o); o == m || at == 0 || at >= by {
			continue
		}
		if m == nil {
			return o
		}
		last := m.last
		if j.AtRelease && m.qos == 2 {
			last = m.done
		}
		if at := j.acted(m); at != 0 && o.first > at || last != 0 && o.id.Publisher == m.id.Publisher && o.first > last {
			return o
		}
	}
	return nil
}

// acted is the event by which the broker has acted on m, 0 if that is not known.
func (j *Judge) acted(m *message) int {
	if j.AtRelease {
		return m.done
	}
	return m.acked
}

func (r *retained) forget() {
	lastSent := 0
	for _, m := range r.set {
		lastSent = max(lastSent, m.last)
	}
	switch {
	case r.readAt > lastSent:
		r.before, r.unknown = r.read, false
	case len(r.set) > 0:
		r.unknown = true
	}
	r.set, r.readAt = nil, 0
}
