package expect

import (
	"errors"
	"fmt"
	"slices"

	"sallyport/security"
)

// Filterer is a policy that tells which topic filters its rules have for a
// client. One that is none can't be compared.
type Filterer interface {
	Filters(p *security.Principal) []string
}

// sharer is a policy whose rules name groups of shared subscriptions.
type sharer interface {
	ShareNames(p *security.Principal) []string
}

// conditional is a policy with conditions that may read the topic itself.
type conditional interface {
	ReadsRequests(p *security.Principal) bool
}

// Side is what one of two policies says of a client.
type Side struct {
	Gate      *security.Gate
	Principal *security.Principal // nil: it can't get in
	Refused   security.Verdict    // why not, where Principal is nil
	Policies  []security.Policy   // of its listener, as the Gate has them
}

// ErrTooMuch says that a comparison would have to ask more than it may.
var ErrTooMuch = errors.New("too much to compare")

// maxQuestions bounds what one Comparison asks, and maxDifferences what it
// keeps of one client: together some minutes of work.
const (
	maxQuestions   = 100_000_000
	maxDifferences = 20_000
	maxShareNames  = 32
)

// Comparison compares two policies for one client after another.
type Comparison struct {
	At    int64 // the moment that everything is asked about, nanoseconds since 1970
	asked int
	// Conditional says that rules with conditions took part, which may read the
	// topic itself: they were asked for the topics that the filters tell apart.
	Conditional bool
}

// Answer is what one of the two policies says to a request.
type Answer struct {
	Allowed bool `json:"allowed"`
	// QoS is what a subscription is granted at, if that is not what was asked for.
	QoS     *byte   `json:"granted_qos,omitempty"`
	Verdict Verdict `json:"verdict"`
}

// party is a Side that was asked whether the client gets in.
type party struct {
	gate    *security.Gate
	who     *security.Principal
	connect security.Verdict
}

func (c *Comparison) party(s *Side) party {
	if s.Principal == nil {
		return party{connect: s.Refused}
	}
	v := s.Gate.Decide(&security.Request{Principal: s.Principal, Action: security.Connect, At: c.At})
	return party{gate: s.Gate, who: s.Principal, connect: v}
}

// ask is the answer that a client gets; who can't connect can't do anything.
func (p *party) ask(q security.Request) security.Verdict {
	if !p.connect.Allowed() {
		return p.connect
	}
	q.Principal = p.who
	return p.gate.Granted(&q)
}

// filters is what the rules of a side have for its client.
func (c *Comparison) filters(s *Side, p *party) (filters, groups []string, err error) {
	if !p.connect.Allowed() {
		return nil, nil, nil
	}
	for _, pol := range s.Policies {
		f, ok := pol.(Filterer)
		if !ok {
			return nil, nil, fmt.Errorf("a policy of type %T does not tell its topics", pol)
		}
		filters = append(filters, f.Filters(s.Principal)...)
		if x, ok := pol.(sharer); ok {
			groups = append(groups, x.ShareNames(s.Principal)...)
		}
		if x, ok := pol.(conditional); ok && x.ReadsRequests(s.Principal) {
			c.Conditional = true
		}
	}
	return filters, groups, nil
}

// Compare finds what old and new answer differently to one client, grouped. The
// error wraps ErrTooMuch where not all could be asked.
func (c *Comparison) Compare(old, new *Side) ([]Difference, error) {
	before, after := c.party(old), c.party(new)
	var out []Difference
	if before.connect.Allowed() != after.connect.Allowed() {
		out = append(out, Difference{Action: security.Connect.String(), Old: answer(before.connect, 0), New: answer(after.connect, 0)})
	}
	if !before.connect.Allowed() && !after.connect.Allowed() {
		return nil, nil
	}
	f1, groups, err := c.filters(old, &before)
	if err != nil {
		return nil, err
	}
	f2, more, err := c.filters(new, &after)
	if err != nil {
		return nil, err
	}
	groups = append(groups, more...)
	slices.Sort(groups)
	if groups = slices.Compact(groups); len(groups) > maxShareNames {
		return nil, fmt.Errorf("%w: rules name more than %d groups", ErrTooMuch, maxShareNames)
	}
	w := newWorld(f1, f2)
	if w.exhausted {
		return nil, fmt.Errorf("%w: %d and %d filters", ErrTooMuch, len(f1), len(f2))
	}
	for _, s := range []*survey{
		newSurvey(security.Publish, nil), newSurvey(security.Subscribe, groups), newSurvey(security.Receive, groups),
	} {
		s.dollar = w.dollar
		if err := c.survey(s, w, &before, &after); err != nil {
			return nil, err
		}
		out = append(out, s.differences()...)
	}
	return out, nil
}

// survey asks both parties everything about one action.
func (c *Comparison) survey(s *survey, w *world, before, after *party) error {
	found := 0
	each := func(filter, asked string) error {
		if c.asked += 2 * len(s.variants); c.asked > maxQuestions {
			return fmt.Errorf("%w: more than %d questions", ErrTooMuch, maxQuestions)
		}
		for i, v := range s.variants {
			q := security.Request{
				Action: s.action, Topic: asked, QoS: v.qos, Retain: v.retain, Will: v.will,
				Shared: v.group != "", Group: v.group, At: c.At,
			}
			x, y := before.ask(q), after.ask(q)
			if x.Allowed() == y.Allowed() && (s.action != security.Subscribe || !x.Allowed() || x.QoS == y.QoS) {
				continue
			}
			if found++; found > maxDifferences*len(s.variants) {
				return fmt.Errorf("%w: more than %d differences", ErrTooMuch, maxDifferences)
			}
			s.note(filter, i, x, y)
		}
		return nil
	}
	for _, n := range w.names {
		asked := n.generic
		if s.action == security.Subscribe {
			asked = n.filter
		}
		if err := each(n.filter, asked); err != nil {
			return err
		}
	}
	if s.action != security.Subscribe {
		return nil
	}
	for _, f := range w.open {
		if err := each(f, f); err != nil {
			return err
		}
	}
	return nil
}
