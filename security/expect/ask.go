package expect

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"sallyport/security"
	"sallyport/topic"
)

// Ask is a request as people write it.
type Ask struct {
	Action security.Action
	// Topic is a name, or for Subscribe a filter; of a shared subscription, also
	// where a message comes by one, with $share/GROUP/ before it.
	Topic        string
	QoS          uint8
	Retain, Will bool
	At           time.Time // zero: now
}

// ParseAction reads the word for an action.
func ParseAction(word string) (security.Action, error) {
	for a := security.Connect; a <= security.Receive; a++ {
		if a.String() == word {
			return a, nil
		}
	}
	return 0, fmt.Errorf("must be publish, subscribe, receive or connect, not %.40q", word)
}

// Request is what is asked of a gate, but for who asks. The error says what
// can't be asked so.
func (a Ask) Request() (security.Request, error) {
	q := security.Request{Action: a.Action, Topic: a.Topic, QoS: a.QoS, Retain: a.Retain, Will: a.Will}
	if !a.At.IsZero() {
		q.At = a.At.UnixNano()
	}
	switch {
	case a.Action < security.Connect || a.Action > security.Receive:
		return q, errors.New("there is no such action")
	case a.QoS > 2:
		return q, fmt.Errorf("QoS must be 0, 1 or 2, not %d", a.QoS)
	case a.Action == security.Connect && (a.Topic != "" || a.QoS != 0 || a.Retain || a.Will):
		return q, errors.New("a connection has no topic, QoS, retain or will")
	case a.Action == security.Subscribe && a.Retain:
		return q, errors.New("retain is about messages, not about subscriptions")
	case a.Action != security.Publish && a.Will:
		return q, errors.New("only what is published can be a will")
	case a.Action == security.Connect:
		return q, nil
	case a.Topic == "":
		return q, errors.New("needs a topic")
	}
	var err error
	if a.Action != security.Publish && strings.HasPrefix(a.Topic, "$share") {
		if q.Group, q.Topic, q.Shared, err = topic.SplitShare(a.Topic); err != nil {
			return q, err
		}
	}
	if a.Action == security.Subscribe {
		err = topic.CheckFilter(q.Topic, topic.Limits{})
	} else {
		err = topic.CheckName(q.Topic, topic.Limits{})
	}
	return q, err
}

// Text is the request in words: "publish a/b at QoS 1, retained".
func Text(q *security.Request) string {
	var b strings.Builder
	b.WriteString(q.Action.String())
	if q.Action == security.Connect {
		return b.String()
	}
	b.WriteByte(' ')
	b.WriteString(written(q))
	fmt.Fprintf(&b, " at QoS %d", q.QoS)
	if q.Retain {
		b.WriteString(", retained")
	}
	if q.Will {
		b.WriteString(", as a will")
	}
	return b.String()
}

// written is the topic with the prefix of a shared subscription.
func written(q *security.Request) string {
	if q.Shared {
		return "$share/" + q.Group + "/" + q.Topic
	}
	return q.Topic
}
