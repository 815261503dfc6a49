package rule

import (
	"slices"

	"sallyport/security"
	"sallyport/topic"
)

// Actions is a set of what a rule speaks about.
//
// A request has aspects, and a rule is about it if they have one in common. A
// publication has Publish, with Retain if it is a retained one and Will if it is
// a will; a subscription has Subscribe; a delivery has Receive and Subscribe, so
// that to allow or deny subscribing is to allow or deny receiving.
type Actions uint8

// The actions.
const (
	Connect Actions = 1 << iota
	Publish
	Subscribe
	Receive
	Retain // to publish retained messages
	Will   // to leave a will
)

// Tristate is what a rule asks of a yes-or-no property.
type Tristate uint8

// The choices; the zero value asks nothing.
const (
	Either Tristate = iota
	Required
	Forbidden
)

// Fits reports whether the property may be as it is.
func (t Tristate) Fits(is bool) bool { return t == Either || (t == Required) == is }

// AnyGroup among a rule's groups is every share name.
const AnyGroup = "#"

// Rule is one compiled permission. It is immutable once in a Set.
type Rule struct {
	Effect  security.Effect
	Actions Actions
	Topic   topic.Pattern // zero where Actions is only Connect
	QoS     uint8         // a bit for each QoS; 0 is all
	Retain  Tristate      // whether a published message is retained
	Shared  Tristate      // whether a subscription is shared
	Groups  []string      // share names; empty or AnyGroup: all; a subscription that is not shared has none to fit
	When    *When         // nil: always
	// Optional says that the rule is silent where one of its placeholders has no
	// value. Else a deny whose placeholder has no usable value denies.
	Optional bool
	File     string
	Line     int
	Text     string // as verdicts show it
}

// aspects is what q asks, as rules see it.
func aspects(q *security.Request) Actions {
	switch q.Action {
	case security.Connect:
		return Connect
	case security.Publish:
		a := Publish
		if q.Retain {
			a |= Retain
		}
		if q.Will {
			a |= Will
		}
		return a
	case security.Subscribe:
		return Subscribe
	case security.Receive:
		return Receive | Subscribe
	}
	return 0
}

// speaks reports whether the rule is about q, its topic and conditions aside.
// asked is q's aspects.
func (r *Rule) speaks(q *security.Request, asked Actions) bool {
	return r.Actions&asked != 0 && r.fitsQoS(q) && r.fitsRetain(q) && r.fitsShared(q) && r.fitsGroup(q)
}

func (r *Rule) fitsQoS(q *security.Request) bool {
	switch {
	case q.Action == security.Connect:
		return true
	case q.QoS > 2:
		return false
	case r.QoS == 0:
		return true
	}
	if q.Action == security.Receive && r.Effect == security.Allow && r.Actions&Subscribe != 0 {
		// A subscription at QoS 2 brings messages of a lower QoS too (MQTT 5.0, 3.8.4).
		return r.QoS>>q.QoS != 0
	}
	return r.QoS>>q.QoS&1 != 0
}

func (r *Rule) fitsRetain(q *security.Request) bool {
	return q.Action != security.Publish || r.Retain.Fits(q.Retain)
}

func (r *Rule) fitsShared(q *security.Request) bool {
	return !subscribed(q) || r.Shared.Fits(q.Shared)
}

func (r *Rule) fitsGroup(q *security.Request) bool {
	if len(r.Groups) == 0 || !q.Shared || !subscribed(q) {
		return true
	}
	return slices.Contains(r.Groups, q.Group) || slices.Contains(r.Groups, AnyGroup)
}

// subscribed reports whether q is a subscription or comes by one.
func subscribed(q *security.Request) bool {
	return q.Action == security.Subscribe || q.Action == security.Receive
}

// hits reports whether the rule's topic takes in that of q: a name that it
// matches, a filter that it covers. err is why that can't be told of one of its
// filters, where none of the others does.
func (r *Rule) hits(q *security.Request) (hit bool, err error) {
	if q.Action == security.Connect {
		return true, nil
	}
	if filter, ok := r.Topic.Literal(); ok {
		return takes(filter, q), nil
	}
	var (
		f   filters
		buf [filterBytes]byte
	)
	f.start(r, q.Principal)
	for {
		filter, ok := f.next(buf[:0])
		if !ok {
			return false, f.err
		}
		if takes(filter, q) {
			return true, nil
		}
	}
}

func takes(filter string, q *security.Request) bool {
	if q.Action == security.Subscribe {
		return topic.Covers(filter, q.Topic)
	}
	return topic.Match(filter, q.Topic)
}

// judge reports whether the rule holds for q, of which asked is the aspects, and
// joins into a how long its conditions are known. err is what made a deny hold
// that can't be told; an allow that can't be told doesn't hold.
func (r *Rule) judge(q *security.Request, asked Actions, a *Answer) (holds bool, err error) {
	if !r.speaks(q, asked) {
		return false, nil
	}
	hit, err := r.hits(q)
	if !hit && (err == nil || r.Effect != security.Deny) {
		return false, nil
	}
	if r.When == nil {
		return true, err
	}
	fit := r.When.Fits(q)
	a.join(fit)
	switch {
	case fit.Holds:
		return true, err
	case fit.Err != nil && r.Effect == security.Deny:
		return true, fit.Err
	}
	return false, nil
}

func (a *Answer) join(f Fit) {
	a.Until = security.Sooner(a.Until, f.Until)
	a.Volatile = a.Volatile || f.Volatile
	if f.Topical {
		a.levels = exactly
	}
}
