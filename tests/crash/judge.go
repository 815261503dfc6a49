package crash

import (
	"fmt"
	"slices"
)

// Violation is a promise that the broker broke.
type Violation struct {
	Rule string // which promise, by the names in the package comment
	Text string
	Msg  ID     // zero if it is about no message
	By   ID     // the message that came first, or instead; zero for none
	With string // the client it is about
	at   int    // the event that showed it
}

func (v Violation) String() string { return v.Rule + ": " + v.Text }

// maxViolations is how many are kept; they are counted beyond.
const maxViolations = 1000

// Counts is how much a run has seen: a run without load shows nothing.
type Counts struct {
	Starts, Kills                         int
	Connections, Resumed, Begun, Cuts     int
	Messages, Resent, Acknowledged        int
	Refused, Abandoned                    int
	Delivered, AgainQoS1, AgainQoS2       int
	Owed, OwedShared                      int // deliveries that were due when the run settled
	RetainedRead, RetainedAbsent, Settled int
	Wills, WillsOwed                      int
	Unsubscribed                          int
	Violations                            int
}

// Judge takes the events of a run in their order and finds what the broker
// broke. It is not safe for concurrent use, and does no I/O.
type Judge struct {
	Counts Counts

	// AtRelease says that the broker acts on a QoS 2 message at PUBREL, not at
	// PUBLISH (MQTT 5.0, figure 4.3 leaves it the choice).
	AtRelease bool

	seq        int
	events     []Event // since the last Settle
	violations []Violation

	messages map[ID]*message // since the last Settle
	open     []*message      // those of them that somebody may be owed
	settled  map[string]int  // by publisher: the numbers up to this one have been judged and are forgotten
	settle   int             // the event after which the last Settle came

	clients map[string]*client
	groups  map[string]*group
	topics  map[string]*retained
	readers map[string]int // by client: the event at which its reading began

	up    bool
	wills []*message // left behind in this life of the broker, nothing acknowledged since
}

// message is one application message.
type message struct {
	id            ID
	topic         string
	qos           byte
	retain, clear bool
	will          bool
	first, last   int  // events of the first and the last transmission
	acked         int  // the event that made it the broker's: PUBACK, PUBREC
	done          int  // the event after which it is not sent again: PUBACK, PUBCOMP
	left          int  // of a will: the event after which the broker has to publish it
	seen          bool // somebody got it
}

// client is what the broker has to remember of a client.
type client struct {
	name   string
	state  sessionState
	clean  bool // the CONNECT on its way
	keep   bool
	tries  int    // CONNECTs without answer since there was no session
	acked  [3]int // by QoS: the last transmission that was acknowledged on this connection
	subs   map[string]*subscription
	got    map[ID]int
	newest map[lane]int
}

// sessionState is what is known about the session at the broker.
type sessionState uint8

const (
	sessionNone    sessionState = iota // there is none
	sessionUnknown                     // a CONNECT was sent and not answered
	sessionKept                        // acknowledged
)

// subscription is one filter of a session, from one SUBSCRIBE after there was
// none to the next.
type subscription struct {
	filter  string
	share   *group
	qos     byte
	since   int // the first SUBSCRIBE for this filter in this session
	granted int // SUBACK
	leaving int // first UNSUBSCRIBE
	left    int // UNSUBACK
}

// group is a shared subscription.
type group struct {
	name    string
	filter  string
	qos     byte
	granted int
	got     map[ID]int
}

// lane is what order holds in: MQTT 4.6, one publisher's messages on one topic at one QoS.
type lane struct {
	publisher, topic string
	qos              byte
}

// NewJudge returns a judge of a broker without any state.
func NewJudge() *Judge {
	return &Judge{
		messages: map[ID]*message{}, settled: map[string]int{}, clients: map[string]*client{},
		groups: map[string]*group{}, topics: map[string]*retained{}, readers: map[string]int{},
	}
}

// Record takes the next event.
func (j *Judge) Record(e Event) {
	j.seq++
	e.seq = j.seq
	j.events = append(j.events, e)
	switch e.Kind {
	case Started:
		j.up = true
		j.Counts.Starts++
	case Killed:
		j.killed()
	case Connecting, Connected, Lost:
		j.session(&e)
	case Sent, Acked, Received, Completed, Refused, Abandoned:
		j.published(&e)
	case Subscribing, Subscribed, Unsubscribing, Unsubscribed:
		j.subscribed(&e)
	case Delivered:
		j.delivered(&e)
	case Again:
		j.Counts.AgainQoS2++
		if !e.Dup { // MQTT-3.3.1-1
			j.fail(&e, "dup", "%s gets %v again as packet %d, which it holds, without DUP", e.Client, e.Msg, e.PacketID)
		}
	case WillSet, WillEnded, WillVoid:
		j.will(&e)
	case Reading:
		j.readers[e.Client] = e.seq
	case Read:
		j.read(&e)
	case Fault:
		j.fail(&e, "fault", "%s: %s", e.Client, e.Note)
	}
}

// fail notes a violation shown by e.
func (j *Judge) fail(e *Event, rule, format string, args ...any) {
	j.failBy(e, ID{}, rule, format, args...)
}

// failBy is fail with a second message that the history tells of.
func (j *Judge) failBy(e *Event, by ID, rule, format string, args ...any) {
	j.Counts.Violations++
	if len(j.violations) < maxViolations {
		j.violations = append(j.violations, Violation{rule, fmt.Sprintf(format, args...), e.Msg, by, e.Client, e.seq})
	}
}

// Violations are those found so far, in the order in which they were found.
func (j *Judge) Violations() []Violation { return slices.Clone(j.violations) }

// Events is how many are remembered.
func (j *Judge) Events() int { return len(j.events) }

// History is every remembered event that has to do with v: of its message, and
// the connections and kills around.
func (j *Judge) History(v Violation) []Event {
	about := func(e *Event) bool {
		switch {
		case e.seq == v.at, e.Kind == Started, e.Kind == Killed:
			return true
		case e.Msg.N != 0:
			return e.Msg == v.Msg || e.Msg == v.By
		case e.Client == v.With:
			return e.Kind <= Lost || e.Kind >= Subscribing && e.Kind <= Unsubscribed
		}
		return v.Msg.N != 0 && e.Client == v.Msg.Publisher && e.Kind <= Lost
	}
	var h []Event
	for i := range j.events {
		if about(&j.events[i]) {
			h = append(h, j.events[i])
		}
	}
	return h
}

// killed ends the broker's life: what nothing acknowledged since is owed no more.
func (j *Judge) killed() {
	j.up = false
	j.Counts.Kills++
	for _, w := range j.wills {
		w.left = 0
	}
	j.wills = j.wills[:0]
}
