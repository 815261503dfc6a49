package crash

import "strings"

// client returns what is known of a client, nothing at first.
func (j *Judge) client(name string) *client {
	c := j.clients[name]
	if c == nil {
		c = &client{name: name}
		c.begin()
		j.clients[name] = c
	}
	return c
}

// begin forgets the session: another one begins.
func (c *client) begin() {
	c.subs, c.got, c.newest = map[string]*subscription{}, map[ID]int{}, map[lane]int{}
}

// session judges what CONNACK says of the session.
func (j *Judge) session(e *Event) {
	c := j.client(e.Client)
	switch e.Kind {
	case Connecting:
		c.clean, c.keep = e.Clean, e.Keep
		switch {
		case c.clean: // from here on the old session may be gone, and a new one may be there
			c.state = sessionUnknown
			c.begin()
		case c.state == sessionNone:
			c.tries++
		}
	case Connected:
		j.connected(c, e)
	case Lost:
		j.Counts.Cuts++
	}
}

func (j *Judge) connected(c *client, e *Event) {
	j.Counts.Connections++
	switch {
	case c.clean && e.Present: // MQTT-3.2.2-2
		j.fail(e, "session", "%s asked for a clean start and is told that its session is present", c.name)
	case !c.clean && !e.Present && c.state == sessionKept:
		j.fail(e, "session", "the session of %s was acknowledged and is lost", c.name)
	case !c.clean && e.Present && c.state == sessionNone && c.tries == 1:
		j.fail(e, "session", "%s has no session, or one ended by an acknowledged clean start, and is told that it is present", c.name)
	}
	if e.Present {
		j.Counts.Resumed++
	} else {
		j.Counts.Begun++
		c.begin()
	}
	c.acked, c.tries, c.state = [3]int{}, 0, sessionKept
	if !c.keep {
		c.state = sessionNone
	}
}

// subscribed follows the filters of a session.
func (j *Judge) subscribed(e *Event) {
	c := j.client(e.Client)
	s := c.subs[e.Topic]
	switch e.Kind {
	case Subscribing:
		if s == nil || s.leaving != 0 {
			since := e.seq
			if s != nil {
				since = s.since
			}
			s = &subscription{filter: e.Topic, qos: e.QoS, since: since}
			if name, filter, shared := cutShare(e.Topic); shared {
				s.share, s.filter = j.group(name, filter, e.QoS), filter
			}
			c.subs[e.Topic] = s
		}
	case Subscribed:
		j.granted(s, e)
	case Unsubscribing:
		if s != nil && s.leaving == 0 {
			s.leaving = e.seq
		}
	case Unsubscribed:
		j.Counts.Unsubscribed++
		if s != nil && s.leaving != 0 {
			s.left = e.seq
		}
	}
}

func (j *Judge) granted(s *subscription, e *Event) {
	if s == nil {
		return
	}
	if e.Code != s.qos {
		j.fail(e, "suback", "%s asked for %s at QoS %d and is answered 0x%02x", e.Client, e.Topic, s.qos, e.Code)
		return
	}
	if s.granted == 0 {
		s.granted = e.seq
	}
	if s.share != nil && s.share.granted == 0 {
		s.share.granted = e.seq
	}
}

func (j *Judge) group(name, filter string, qos byte) *group {
	key := name + "/" + filter
	g := j.groups[key]
	if g == nil {
		g = &group{name: name, filter: filter, qos: qos, got: map[ID]int{}}
		j.groups[key] = g
	}
	return g
}

// cutShare takes $share/name/filter apart.
func cutShare(s string) (name, filter string, shared bool) {
	rest, shared := strings.CutPrefix(s, "$share/")
	if !shared {
		return "", s, false
	}
	name, filter, _ = strings.Cut(rest, "/")
	return name, filter, true
}

// matches is MQTT 4.7, written anew: the judge trusts nothing of the broker.
func matches(filter, topic string) bool {
	for {
		f, frest, fmore := strings.Cut(filter, "/")
		if f == "#" {
			return true
		}
		t, trest, tmore := strings.Cut(topic, "/")
		if f != "+" && f != t {
			return false
		}
		switch {
		case !fmore && !tmore:
			return true
		case fmore && !tmore:
			return frest == "#"
		case !fmore:
			return false
		}
		filter, topic = frest, trest
	}
}
