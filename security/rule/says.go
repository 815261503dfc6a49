package rule

import (
	"fmt"
	"strconv"
	"strings"

	"sallyport/security"
	"sallyport/topic"
)

// MissKind is what of a rule does not fit a request.
type MissKind uint8

// The kinds, in the order in which they are looked at.
const (
	MissAction MissKind = iota + 1
	MissTopic
	MissQoS
	MissRetain
	MissShared
	MissGroup
	MissWhen
)

// Miss is one reason why a rule does not hold for a request, in words.
type Miss struct {
	Kind MissKind
	Says string
}

// Misses is all reasons why the rule does not hold for q; none if it does.
func (r *Rule) Misses(q *security.Request) []Miss {
	asked := aspects(q)
	if holds, _ := r.judge(q, asked, new(Answer)); holds {
		return nil
	}
	var out []Miss
	miss := func(kind MissKind, format string, args ...any) {
		out = append(out, Miss{Kind: kind, Says: fmt.Sprintf(format, args...)})
	}
	if r.Actions&asked == 0 {
		miss(MissAction, "it is not about %s", asked.words(" or "))
	}
	if hit, err := r.hits(q); !hit {
		miss(MissTopic, "%s", r.topicSays(q, err))
	}
	if !r.fitsQoS(q) {
		miss(MissQoS, "QoS %d is not among %s", q.QoS, r.qosWords())
	}
	if !r.fitsRetain(q) {
		miss(MissRetain, "the message is %s", not(r.Retain == Required, "retained"))
	}
	if !r.fitsShared(q) {
		miss(MissShared, "the subscription is %s", not(r.Shared == Required, "shared"))
	}
	if !r.fitsGroup(q) {
		miss(MissGroup, "group %s is not among %s", strconv.Quote(shorten(q.Group)), shortList(r.Groups))
	}
	if fit := r.When.Fits(q); !fit.Holds {
		why := r.When.Why(q)
		if why == "" { // time went on meanwhile
			why = "a condition does not hold"
		}
		miss(MissWhen, "%s", why)
	}
	return out
}

// SaysPart is what an allow says that covers a subscription only with others.
const SaysPart = "covers a part of the filter"

// saysUntold begins what a deny says that can't be told.
const saysUntold = "it can't be told, so it denies: "

// Says is what the rule has to say about q, whatever other rules say.
func (r *Rule) Says(q *security.Request) security.Step {
	step := security.Step{File: r.File, Line: r.Line, Rule: r.Text, Effect: r.Effect}
	if q.Action != security.Connect {
		step.Values = r.values(q.Principal)
	}
	holds, err := r.judge(q, aspects(q), new(Answer))
	step.Matches = holds
	switch {
	case holds && err != nil:
		step.Says = saysUntold + err.Error()
	case holds && q.Action == security.Subscribe:
		step.Says = "covers the filter"
	case holds:
		step.Says = "matches"
	default:
		var says []string
		for _, m := range r.Misses(q) {
			says = append(says, m.Says)
		}
		step.Says = strings.Join(says, "; ")
	}
	return step
}

// topicSays is why the rule's topic does not take in that of q; err is what could
// not be told.
func (r *Rule) topicSays(q *security.Request, err error) string {
	var (
		f     filters
		count = 0
	)
	f.start(r, q.Principal)
	for {
		filter, ok := f.next(nil)
		if !ok {
			break
		}
		count++
		switch {
		case q.Action != security.Subscribe || !topic.Overlaps(filter, q.Topic):
		case r.Effect == security.Deny:
			return "overlaps: withheld at delivery"
		default:
			return SaysPart
		}
	}
	switch {
	case err != nil:
		return err.Error()
	case count == 0 && r.Topic.Text() == "":
		return "it has no topic"
	case count == 0:
		return "a placeholder has no value, so it is about nothing"
	}
	return "topic does not match"
}

const (
	valueBytes  = 64 // of a value that is shown
	valuesShown = 16 // of one placeholder
)

// values is what the rule's placeholders stand for with p, bounded.
func (r *Rule) values(p *security.Principal) []security.Value {
	var out []security.Value
	for _, name := range r.Topic.Names() {
		one, several, ok := lookup(p, name)
		switch {
		case !ok || several != nil && len(several) == 0:
			out = append(out, security.Value{Name: name, Missing: true})
		case several == nil:
			out = append(out, security.Value{Name: name, Value: shorten(one)})
		default:
			for i, v := range several {
				if i == valuesShown {
					out = append(out, security.Value{Name: name, Value: fmt.Sprintf("(%d more)", len(several)-i)})
					break
				}
				out = append(out, security.Value{Name: name, Value: shorten(v)})
			}
		}
	}
	return out
}

// shorten cuts s to what is shown of a value.
func shorten(s string) string {
	if len(s) > valueBytes {
		s = s[:valueBytes]
	}
	return strings.ToValidUTF8(s, "")
}

func shortList(words []string) string {
	var b strings.Builder
	for i, w := range words {
		if i == valuesShown {
			fmt.Fprintf(&b, " and %d more", len(words)-i)
			break
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(shorten(w))
	}
	return b.String()
}

// not is a property that is asked for and missing, or there and not wanted.
func not(missing bool, property string) string {
	if missing {
		return "not " + property
	}
	return property
}

// words is the actions by name.
func (a Actions) words(between string) string {
	var out []string
	for i, name := range [...]string{"connect", "publish", "subscribe", "receive", "retain", "will"} {
		if a>>i&1 != 0 {
			out = append(out, name)
		}
	}
	return strings.Join(out, between)
}

func (r *Rule) qosWords() string {
	if r.QoS == 0 {
		return "0 1 2"
	}
	var out []string
	for qos := range 3 {
		if r.QoS>>qos&1 != 0 {
			out = append(out, strconv.Itoa(qos))
		}
	}
	return strings.Join(out, " ")
}
