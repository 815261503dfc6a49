package crash

import (
	"cmp"
	"slices"
)

// published follows a message from its publisher to the broker.
func (j *Judge) published(e *Event) {
	m := j.messages[e.Msg]
	if e.Kind == Sent {
		j.sent(m, e)
		return
	}
	if m == nil {
		j.fail(e, "fault", "%v for %v, which is not on its way", e.Kind, e.Msg)
		return
	}
	switch e.Kind {
	case Acked:
		j.acknowledged(m, e)
		m.done = e.seq
	case Received:
		j.acknowledged(m, e)
	case Completed:
		m.done = e.seq
	case Refused:
		j.Counts.Refused++
	case Abandoned:
		j.Counts.Abandoned++
	}
}

func (j *Judge) sent(m *message, e *Event) {
	if m != nil {
		m.last = e.seq
		j.Counts.Resent++
		return
	}
	j.Counts.Messages++
	m = &message{id: e.Msg, topic: e.Topic, qos: e.QoS, retain: e.Retain, clear: e.Clear, first: e.seq, last: e.seq}
	j.add(m)
	if m.retain {
		r := j.retained(m.topic)
		r.set = append(r.set, m)
	}
}

func (j *Judge) add(m *message) {
	j.messages[m.id] = m
	j.open = append(j.open, m)
}

// acknowledged makes m the broker's, and with it every will that it was left before m was sent.
func (j *Judge) acknowledged(m *message, e *Event) {
	if m.acked == 0 {
		m.acked = e.seq
		j.Counts.Acknowledged++
	}
	c := j.client(e.Client)
	if last := &c.acked[m.qos]; m.last < *last {
		j.fail(e, "ack order", "%v for %v came after that of a message sent later", e.Kind, m.id)
	} else {
		*last = m.last
	}
	j.wills = slices.DeleteFunc(j.wills, func(w *message) bool {
		if m.first < w.left {
			return false
		}
		w.acked = e.seq
		j.Counts.WillsOwed++
		return true
	})
}

// will follows a will from CONNECT to the end of the connection.
func (j *Judge) will(e *Event) {
	switch m := j.messages[e.Msg]; {
	case e.Kind == WillSet && m == nil:
		j.Counts.Wills++
		j.add(&message{id: e.Msg, topic: e.Topic, qos: e.QoS, will: true, first: e.seq, last: e.seq})
	case e.Kind == WillEnded && m != nil && j.up && m.left == 0:
		m.left = e.seq
		j.wills = append(j.wills, m)
	}
}

// WillDue reports whether a will was left behind and nobody got it yet, so that
// its client has to stay away.
func (j *Judge) WillDue(id ID) bool {
	m := j.messages[id]
	return m != nil && m.left != 0 && !m.seen
}

// delivered judges a message that a client got.
func (j *Judge) delivered(e *Event) {
	j.Counts.Delivered++
	c := j.client(e.Client)
	s := c.find(e.Topic)
	m := j.messages[e.Msg]
	switch old := e.Msg.N <= j.settled[e.Msg.Publisher]; {
	case s == nil:
		j.fail(e, "subscription", "%s gets %v on %s, which it has not subscribed to", c.name, e.Msg, e.Topic)
	case e.Retain:
		j.replayed(s, m, e)
	case m == nil && old:
		j.deliveredOld(s, e)
	case m == nil:
		j.fail(e, "content", "%s gets %v on %s, which nobody sent", c.name, e.Msg, e.Topic)
	case m.topic != e.Topic:
		j.fail(e, "content", "%s gets %v on %s, and it was sent to %s", c.name, e.Msg, e.Topic, m.topic)
	default:
		j.deliveredNew(c, s, m, e)
	}
}

// find is the subscription that a topic belongs to. The filters of a client
// don't overlap, but for one filter alone and shared, which no client has.
func (c *client) find(topic string) *subscription {
	for _, s := range c.subs {
		if matches(s.filter, topic) {
			return s
		}
	}
	return nil
}

func (j *Judge) deliveredNew(c *client, s *subscription, m *message, e *Event) {
	m.seen = true
	eff := min(m.qos, s.qos)
	if e.QoS != eff {
		j.fail(e, "qos", "%s gets %v at QoS %d, and it is due at %d", c.name, m.id, e.QoS, eff)
	}
	if s.share != nil {
		j.once(s.share.got, eff, m.id, e, "group "+s.share.name)
		return
	}
	switch {
	case m.done != 0 && m.done < s.since:
		j.fail(e, "session", "%s gets %v, which was acknowledged before %s was subscribed to", c.name, m.id, s.filter)
	case s.left != 0 && m.first > s.left:
		j.fail(e, "subscription", "%s gets %v, which was sent after %s was unsubscribed from", c.name, m.id, s.filter)
	}
	if j.once(c.got, eff, m.id, e, c.name) || m.will {
		return
	}
	if s.granted == 0 || m.first < s.granted {
		return // a later one may have found the subscription, and this one only when it was sent again
	}
	l := lane{m.id.Publisher, m.topic, m.qos}
	if newest := c.newest[l]; m.id.N < newest {
		by := ID{m.id.Publisher, newest}
		j.failBy(e, by, "order", "%s gets %v for the first time after %v, both at QoS %d on %s", c.name, m.id, by, m.qos, m.topic)
	} else {
		c.newest[l] = m.id.N
	}
}

// once counts a delivery and reports whether it is not the first.
func (j *Judge) once(got map[ID]int, qos byte, id ID, e *Event, who string) (again bool) {
	got[id]++
	if got[id] == 1 {
		return false
	}
	if qos == 2 {
		j.fail(e, "twice", "%s gets %v at QoS 2 for the %s time", who, id, ordinal(got[id]))
	} else {
		j.Counts.AgainQoS1++
	}
	return true
}

func ordinal(n int) string {
	if n == 2 {
		return "second"
	}
	return "umpteenth"
}

// deliveredOld judges a message of the time before the last Settle: then every
// receiver had it.
func (j *Judge) deliveredOld(s *subscription, e *Event) {
	switch {
	case s.share == nil && s.since > j.settle:
		j.fail(e, "session", "%s gets %v, which was acknowledged before %s was subscribed to", e.Client, e.Msg, s.filter)
	case e.QoS == 2:
		j.fail(e, "twice", "%s gets %v at QoS 2, which all its receivers had long before", e.Client, e.Msg)
	default:
		j.Counts.AgainQoS1++
	}
}

// debt is a message that a receiver is owed and has not got.
type debt struct {
	who string
	sub string
	m   *message
}

// eachOwed calls f with every receiver that m is due to: if it was acknowledged,
// each subscription that was acknowledged before it was first sent.
func (j *Judge) eachOwed(m *message, f func(who, filter string, had, shared bool)) {
	if m.acked == 0 || m.clear {
		return
	}
	due := func(granted int, filter string) bool {
		return granted != 0 && m.first > granted && matches(filter, m.topic)
	}
	for _, g := range j.groups {
		if due(g.granted, g.filter) {
			f("group "+g.name, g.filter, g.got[m.id] > 0, true)
		}
	}
	for _, c := range j.clients {
		for _, s := range c.subs {
			if s.share == nil && s.leaving == 0 && due(s.granted, s.filter) {
				f(c.name, s.filter, c.got[m.id] > 0, false)
			}
		}
	}
}

// Outstanding is how many deliveries are due and have not come.
func (j *Judge) Outstanding() (n int) {
	open := j.open[:0]
	for _, m := range j.open {
		before := n
		j.eachOwed(m, func(_, _ string, had, _ bool) {
			if !had {
				n++
			}
		})
		if m.acked == 0 || n > before { // else no debt of this message can arise any more
			open = append(open, m)
		}
	}
	clear(j.open[len(open):])
	j.open = open
	return n
}

// Settle judges what is missing, and forgets all messages. It is called when
// the publishers have what they wait for, the subscribers have been online and
// nothing comes any more, and retained messages have been read.
func (j *Judge) Settle() {
	var debts []debt
	for _, m := range j.messages {
		j.eachOwed(m, func(who, filter string, had, shared bool) {
			if shared {
				j.Counts.OwedShared++
			} else {
				j.Counts.Owed++
			}
			if !had {
				debts = append(debts, debt{who, filter, m})
			}
		})
	}
	slices.SortFunc(debts, func(a, b debt) int {
		return cmp.Or(cmp.Compare(a.m.first, b.m.first), cmp.Compare(a.who, b.who))
	})
	for _, d := range debts {
		what := "was acknowledged"
		if d.m.will {
			what = "is the will of a connection that has ended"
		}
		j.fail(&Event{Msg: d.m.id, Client: d.who, seq: j.seq}, "lost", "%v at QoS %d on %s %s, and %s, subscribed to %s, never got it",
			d.m.id, d.m.qos, d.m.topic, what, d.who, d.sub)
	}
	j.forget()
}

// forget begins a new stretch of the run. What was not acknowledged, such as the
// will of a connection of which it is not known how it ended, may come yet.
func (j *Judge) forget() {
	j.Counts.Settled++
	j.settle = j.seq
	open := map[ID]*message{}
	for id, m := range j.messages {
		j.settled[id.Publisher] = max(j.settled[id.Publisher], id.N)
		if m.acked == 0 {
			open[id] = m
		}
	}
	rest := func(got map[ID]int) map[ID]int {
		left := map[ID]int{}
		for id := range open {
			if n := got[id]; n > 0 {
				left[id] = n
			}
		}
		return left
	}
	for _, c := range j.clients {
		c.got, c.newest = rest(c.got), map[lane]int{}
	}
	for _, g := range j.groups {
		g.got = rest(g.got)
	}
	for _, r := range j.topics {
		r.forget()
	}
	j.messages = open
	j.open = slices.DeleteFunc(j.open, func(m *message) bool { return m.acked != 0 })
	if len(j.violations) == 0 { // else the histories are still wanted
		j.events = j.events[:0]
	}
}
