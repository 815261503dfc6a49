package crash

import (
	"fmt"
	"strings"
	"time"
)

// ID names a message: its publisher and the number that the publisher gave it.
// A publisher counts from 1. The zero ID is no message.
type ID struct {
	Publisher string
	N         int
}

func (id ID) String() string {
	if id.N == 0 {
		return "nothing"
	}
	return fmt.Sprintf("%s/%d", id.Publisher, id.N)
}

// Kind says what has happened.
type Kind uint8

// The kinds of events, with the fields that each sets beside At.
const (
	Started Kind = iota + 1 // the broker listens
	Killed                  // the broker is about to be killed: what comes later may come from its end

	Connecting // Client, Clean, Keep: a CONNECT is about to be sent
	Connected  // Client, Present: its CONNACK has been read
	Lost       // Client, Note: the connection has ended

	Sent      // Client, Msg, Topic, QoS, Retain, Clear, Dup, PacketID: a PUBLISH is about to be sent
	Acked     // Client, Msg, PacketID: PUBACK has been read
	Received  // Client, Msg, PacketID: PUBREC has been read
	Completed // Client, Msg, PacketID: PUBCOMP has been read
	Refused   // Client, Msg, Code: the acknowledgement says that it is not taken
	Abandoned // Client, Msg: the publisher's session is gone, so it sends it no more

	Subscribing   // Client, Topic (the filter), QoS: a SUBSCRIBE is about to be sent
	Subscribed    // Client, Topic, QoS, Code: its SUBACK has been read
	Unsubscribing // Client, Topic
	Unsubscribed  // Client, Topic

	Delivered // Client, Msg, Topic, QoS, Retain, Dup, PacketID: a PUBLISH was taken
	Again     // the same, of a QoS 2 identifier that the receiver holds: not taken
	Released  // Client, Msg, PacketID: PUBREL has been read

	WillSet   // Client, Msg, Topic, QoS: a CONNECT with this will is about to be sent
	WillEnded // Client, Msg: the broker has closed the connection after a DISCONNECT with will
	WillVoid  // Client, Msg: it is not known how the connection ended

	Reading // Client: a fresh client is about to ask for retained messages
	Read    // Client, Topic, Msg: what it got, or that it got nothing

	Fault // Client, Msg, Note: what no broker may do, seen by a client
)

var kindNames = [...]string{
	Started: "broker started", Killed: "broker killed",
	Connecting: "CONNECT", Connected: "CONNACK", Lost: "connection lost",
	Sent: "PUBLISH sent", Acked: "PUBACK", Received: "PUBREC", Completed: "PUBCOMP", Refused: "refused", Abandoned: "abandoned",
	Subscribing: "SUBSCRIBE", Subscribed: "SUBACK", Unsubscribing: "UNSUBSCRIBE", Unsubscribed: "UNSUBACK",
	Delivered: "PUBLISH delivered", Again: "PUBLISH again", Released: "PUBREL",
	WillSet: "will set", WillEnded: "will left behind", WillVoid: "will unknown",
	Reading: "reads retained", Read: "retained is", Fault: "fault",
}

func (k Kind) String() string {
	if int(k) < len(kindNames) && kindNames[k] != "" {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Event is one thing that a client or the broker's owner saw or did. What is
// about to be sent is recorded before the first byte, what was read after the
// last one: so the order of events is an order of what the broker did.
type Event struct {
	At       time.Duration // since the start of the run
	Kind     Kind
	QoS      byte
	Code     byte
	PacketID uint16
	Clean    bool // clean start, clean session
	Keep     bool // the session outlives the connection
	Present  bool // session present
	Retain   bool
	Clear    bool // a retained message without payload
	Dup      bool
	Client   string
	Msg      ID
	Topic    string
	Note     string

	seq int // place among all events, from 1; set by Judge.Record
}

func (e *Event) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%11.6fs #%-7d %-17s", e.At.Seconds(), e.seq, e.Kind)
	word := func(is bool, format string, args ...any) {
		if is {
			fmt.Fprintf(&b, " "+format, args...)
		}
	}
	word(e.Client != "", "%s", e.Client)
	word(e.Msg.N != 0 || e.Kind == Read, "%v", e.Msg)
	word(e.Topic != "", "%s", e.Topic)
	switch e.Kind {
	case Sent, Subscribing, Subscribed, Delivered, Again, WillSet:
		word(true, "qos=%d", e.QoS)
	}
	word(e.PacketID != 0, "id=%d", e.PacketID)
	word(e.Code != 0, "code=0x%02x", e.Code)
	word(e.Dup, "dup")
	word(e.Retain, "retain")
	word(e.Clear, "clear")
	word(e.Clean, "clean")
	word(e.Keep, "keep")
	word(e.Present, "present")
	word(e.Note != "", "%q", e.Note)
	return b.String()
}
