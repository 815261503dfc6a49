package security

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Shadow is the record of the answers in which the shadow policies differ from
// those in force. The zero Shadow is ready for use.
type Shadow struct {
	total atomic.Int64

	mu     sync.Mutex // guards the fields below
	tell   func(Difference)
	byKind map[differenceKey]*Difference
}

// Difference is one kind of request that the shadow policies answer otherwise:
// those with the same action, user and deciding rules.
type Difference struct {
	Action   Action
	User     string
	Listener string
	Live     Verdict // of the last such request
	Shadow   Verdict
	// Of the last such request:
	ClientID string
	Topic    string // its beginning, where it is longer than a kibibyte
	QoS      byte
	// Judged is how many requests were judged so. A topic whose answer is
	// remembered is judged once, so that Total, which counts every message, is larger.
	Judged int64
}

type differenceKey struct {
	action         Action
	user, listener string
	live, shadow   ruleAt
}

type ruleAt struct {
	policy, file string
	line         int
}

// shadowKinds bounds how many kinds of differences are told apart.
const shadowKinds = 1024

// shadowTopic bounds the bytes of the topic that is kept with each kind.
const shadowTopic = 1024

// beginning is s, or as much of it as is kept.
func beginning(s string) string {
	if len(s) > shadowTopic {
		return strings.ToValidUTF8(s[:shadowTopic], "") + "..."
	}
	return strings.Clone(s)
}

// Tell has f called for each kind of difference when it is first seen. f runs
// while a request is judged: it must not block.
func (s *Shadow) Tell(f func(Difference)) {
	s.mu.Lock()
	s.tell = f
	s.mu.Unlock()
}

// Total is how many requests the shadow policies would have answered otherwise.
func (s *Shadow) Total() int64 { return s.total.Load() }

// Reset forgets the differences, for other shadow policies.
func (s *Shadow) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byKind = nil
	s.total.Store(0)
}

// Differences is the kinds of differences, the most frequent first.
func (s *Shadow) Differences() []Difference {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Difference, 0, len(s.byKind))
	for _, d := range s.byKind {
		out = append(out, *d)
	}
	slices.SortFunc(out, func(a, b Difference) int {
		return cmp.Or(cmp.Compare(b.Judged, a.Judged), strings.Compare(a.User, b.User), strings.Compare(a.Topic, b.Topic))
	})
	return out
}

// again counts a request whose remembered answer differs.
func (s *Shadow) again() { s.total.Add(1) }

func (s *Shadow) differ(q *Request, live, shadow Verdict) {
	s.total.Add(1)
	p := q.Principal
	key := differenceKey{
		action: q.Action, user: p.Name, listener: p.Listener,
		live: ruleAt{live.Policy, live.File, live.Line}, shadow: ruleAt{shadow.Policy, shadow.File, shadow.Line},
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d, known := s.byKind[key]
	if !known {
		if len(s.byKind) >= shadowKinds {
			return // counted in total
		}
		if s.byKind == nil {
			s.byKind = make(map[differenceKey]*Difference)
		}
		d = &Difference{Action: q.Action, User: p.Name, Listener: p.Listener}
		s.byKind[key] = d
	}
	d.Live, d.Shadow, d.ClientID, d.Topic, d.QoS = live, shadow, p.ClientID, beginning(q.Topic), q.QoS
	d.Judged++
	if !known && s.tell != nil {
		s.tell(*d)
	}
}
