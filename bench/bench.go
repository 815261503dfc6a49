// Package bench loads an MQTT broker, verifies what it delivers and measures.
//
// A run has its own connections on the packet codec; it uses nothing that only
// one broker offers and changes nothing outside the topic prefix it is given.
// It has to cost less than the broker beside it. On Linux plain connections are
// served by event loops, one for each processor, with raw system calls (loop);
// TLS, WebSockets and other systems have goroutines over net.Conn: one that
// reads each connection and, if it publishes, one that writes. Both share what
// is between: a publisher fills a batch by patching a template, a receiver takes
// what a read brought, without decoding a frame that lies as the last one did.
// The clock is read once for each batch, and nothing is allocated per message.
//
// Every payload carries the run, the publisher, a sequence number and a time:
//
//	run id 8 | publisher 4 | sequence 8 | nanoseconds 8 | pattern
//
// which is how loss, duplication and disorder are found. Without a rate the
// loop is closed: a publisher has at most a window of messages that were not
// acknowledged or not delivered, and the time is that of sending. With a rate
// the time is when the message was due, whether or not it could be sent then,
// so that a stall counts for every message it delayed (no coordinated omission).
package bench

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"sallyport/packet"
)

// SelfBroker starts a broker inside the process. addr is the host:port of a
// plain listener that lets the run's user in; stop ends the broker.
type SelfBroker func() (addr string, stop func(), err error)

// The scenarios.
const (
	P2P           = "p2p"           // Pairs publishers, each with a subscriber of its own
	FanIn         = "fan-in"        // Publishers to one subscriber
	FanOut        = "fan-out"       // one publisher to Subscribers
	Connect       = "connect"       // Connections, one after another, Concurrency at a time
	Idle          = "idle"          // Connections that are held and do nothing
	Subscriptions = "subscriptions" // Count filters on Subscribers connections, then traffic to them
	Retained      = "retained"      // Count retained messages, replayed to a new subscriber
	Offline       = "offline"       // Count messages queued for a session that is away
	Queues        = "queues"        // Count messages of Publishers queued for Subscribers sessions that are away
)

// Options is one run. Run refuses what is out of bounds.
type Options struct {
	Scenario string
	// Dial opens a connection to the broker.
	Dial func(context.Context) (net.Conn, error)
	// Plain is the host:port that Dial reaches with nothing but TCP; "": there is
	// more to it. With it Connect can open sockets itself.
	Plain string

	Version packet.Version
	QoS     byte
	// Username may hold one %d, which stands for the number of the client, from 0
	// on: publishers first, then subscribers. Users is how many names there are,
	// used in turn; 0: as many as clients. All have the same password.
	Username string
	Users    int
	Password []byte
	// TopicPrefix is where all topics of the run lie, without a final slash.
	TopicPrefix string

	Payload  int           // bytes, at least MinPayload
	Window   int           // messages of one publisher under way
	Rate     float64       // messages (or connections) per second in all; 0: closed loop
	Duration time.Duration // of sending, after Warmup; used when Messages is 0
	Warmup   time.Duration // sent but not measured; not with Messages
	Messages int           // of each publisher; 0: as many as Duration allows

	Pairs       int // of P2P
	Publishers  int // of FanIn and Queues
	Subscribers int // of FanOut, Subscriptions and Queues
	Connections int // of Connect and Idle
	Concurrency int // of Connect and Idle: connections being opened at a time
	Topics      int // of P2P, FanIn and FanOut: how many a publisher sends to in rotation; 0: 1
	Fresh       int // of Topics' messages, how many percent go to a topic that was never used before
	Count       int // of Subscriptions, Retained, Offline and Queues
	// Clients is how many clients Connect lets reconnect in turn, after each has
	// connected once without being measured; 0: every connection is a client that
	// the broker hasn't seen.
	Clients int
	// SlopeFrom is the number of connections from which on Idle takes what memory
	// grows by; 0: a quarter of Connections.
	SlopeFrom int
	// Churn is how many subscriptions a second are made and given up on other
	// connections beside the messages of P2P, FanIn, FanOut and Subscriptions.
	Churn float64
	// Kept says that the sessions of the subscribers of P2P, FanIn and FanOut are
	// such as outlive their connections; the run ends them.
	Kept bool
	// Settle is how long the broker is left alone before its memory is read.
	Settle time.Duration

	// Self says that the broker runs in this process.
	Self bool
	// PID is the broker's process, for CPU and memory (Linux); 0: not measured.
	PID int
	// Stall is how long a run waits without progress before what is missing
	// counts as lost.
	Stall time.Duration
	// Progress is told what happens; nil: nobody.
	Progress func(string)
}

// The bounds of a run.
const (
	MinPayload     = headerSize
	MaxPayload     = 16 << 20
	MaxWindow      = 32 << 10
	MaxConnections = 1 << 20
	MaxCount       = 10_000_000
	MaxTopics      = 1_000_000
	MaxMessages    = 1_000_000_000
	MaxDuration    = 24 * time.Hour
)

func (o *Options) check() error {
	bounds := []struct {
		name        string
		value       int
		least, most int
	}{
		{"payload", o.Payload, MinPayload, MaxPayload},
		{"window", o.Window, 1, MaxWindow},
		{"messages", o.Messages, 0, MaxMessages},
		{"pairs", o.Pairs, 1, MaxConnections / 2},
		{"publishers", o.Publishers, 1, MaxConnections},
		{"subscribers", o.Subscribers, 1, MaxConnections},
		{"connections", o.Connections, 1, MaxConnections},
		{"concurrency", o.Concurrency, 1, 10_000},
		{"count", o.Count, 1, MaxCount},
		{"topics", o.Topics, 1, MaxTopics},
		{"fresh", o.Fresh, 0, 100},
		{"users", o.Users, 0, MaxConnections},
		{"clients", o.Clients, 0, MaxConnections},
		{"slope from", o.SlopeFrom, 0, max(0, o.Connections-1)},
	}
	for _, b := range bounds {
		if b.value < b.least || b.value > b.most {
			return fmt.Errorf("%s is %d, not between %d and %d", b.name, b.value, b.least, b.most)
		}
	}
	switch {
	case o.Dial == nil:
		return errors.New("no broker to dial")
	case o.QoS > 2:
		return errors.New("the quality of service is 0, 1 or 2")
	case o.Duration < 0 || o.Duration > MaxDuration || o.Warmup < 0 || o.Warmup > MaxDuration:
		return errors.New("duration and warmup are between 0 and 24 hours")
	case o.Messages == 0 && o.Duration == 0:
		return errors.New("a run needs a duration or a number of messages")
	case !(o.Rate >= 0 && o.Rate <= 1e8): // also refuses NaN
		return errors.New("the rate is between 0 and 100,000,000 a second")
	case !(o.Churn >= 0 && o.Churn <= 1e5):
		return errors.New("the churn is between 0 and 100,000 a second")
	case o.Settle < 0 || o.Settle > MaxDuration:
		return errors.New("the time to settle is between 0 and 24 hours")
	case o.Fresh > 0 && o.Topics < 2:
		return errors.New("fresh topics need more than one topic")
	case strings.Count(o.Username, "%d") > 1:
		return errors.New("a user name has one %d at most")
	case o.TopicPrefix == "" || len(o.TopicPrefix) > 1024 || strings.ContainsAny(o.TopicPrefix, "+#\x00") || strings.HasSuffix(o.TopicPrefix, "/"):
		return errors.New("the topic prefix is a topic without wildcards and final slash")
	case (o.Scenario == Offline || o.Scenario == Queues) && o.QoS == 0:
		return errors.New(o.Scenario + " needs QoS 1 or 2: a queue of QoS 0 messages is no broker's duty")
	}
	return nil
}

// Run executes one scenario. A run that ended with messages lost, doubled or
// out of order has a report that says so and a nil error.
func Run(ctx context.Context, o Options) (*Report, error) {
	if o.Stall <= 0 {
		o.Stall = 5 * time.Second
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if o.Topics == 0 {
		o.Topics = 1
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	r := &run{Options: o, start: time.Now(), report: &Report{Scenario: o.Scenario, QoS: o.QoS, Payload: o.Payload, Window: o.Window, Rate: o.Rate, Corrected: o.Rate > 0}}
	r.rest = pattern(r.Payload)
	var id [8]byte
	rand.Read(id[:])
	r.id = binary.BigEndian.Uint64(id[:])
	r.prefix = fmt.Sprintf("%s/%08x", o.TopicPrefix, uint32(r.id))
	var err error
	if o.PID != 0 {
		if r.proc, err = openProcess(o.PID); err != nil {
			return nil, err
		}
	}
	outer := ctx
	ctx, r.abort = context.WithCancelCause(ctx)
	defer r.abort(nil)
	defer r.closeAll()
	switch o.Scenario {
	case P2P, FanIn, FanOut:
		err = r.traffic(ctx)
	case Connect:
		err = r.connectStorm(ctx)
	case Idle:
		err = r.idle(ctx)
	case Subscriptions:
		err = r.subscriptions(ctx)
	case Retained:
		err = r.retained(ctx)
	case Offline:
		err = r.offline(ctx)
	case Queues:
		err = r.queues(ctx)
	default:
		err = fmt.Errorf("unknown scenario %q", o.Scenario)
	}
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause // the first failure, not what it made fail
	} else if err == nil {
		err = context.Cause(outer) // what it ended may look as if it were complete
	}
	if err != nil {
		return nil, err
	}
	r.secured.report(r.report)
	return r.report, nil
}
