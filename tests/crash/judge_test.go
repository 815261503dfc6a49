package crash

import (
	"slices"
	"strings"
	"testing"
)

// The events of the histories below, in short. p and q publish, a, b and c receive.

func up() Event   { return Event{Kind: Started} }
func down() Event { return Event{Kind: Killed} }

func connect(client string) Event { return Event{Kind: Connecting, Client: client, Keep: true} }
func anew(client string) Event {
	return Event{Kind: Connecting, Client: client, Keep: true, Clean: true}
}
func ending(client string) Event  { return Event{Kind: Connecting, Client: client, Clean: true} }
func begun(client string) Event   { return Event{Kind: Connected, Client: client} }
func resumed(client string) Event { return Event{Kind: Connected, Client: client, Present: true} }

func ask(client, filter string, qos byte) Event {
	return Event{Kind: Subscribing, Client: client, Topic: filter, QoS: qos}
}
func granted(client, filter string, qos byte) Event {
	return Event{Kind: Subscribed, Client: client, Topic: filter, QoS: qos, Code: qos}
}
func leave(client, filter string) Event {
	return Event{Kind: Unsubscribing, Client: client, Topic: filter}
}
func left(client, filter string) Event {
	return Event{Kind: Unsubscribed, Client: client, Topic: filter}
}

// id is the message "p1", "q2".
func id(name string) ID { return ID{name[:1], int(name[1] - '0')} }

func sent(msg, topic string, qos byte) Event {
	return Event{Kind: Sent, Client: msg[:1], Msg: id(msg), Topic: topic, QoS: qos}
}
func kept(e Event) Event { e.Retain = true; return e }
func dup(e Event) Event  { e.Dup = true; return e }
func clears(msg, topic string, qos byte) Event {
	e := kept(sent(msg, topic, qos))
	e.Clear = true
	return e
}
func puback(msg string) Event  { return Event{Kind: Acked, Client: msg[:1], Msg: id(msg)} }
func pubrec(msg string) Event  { return Event{Kind: Received, Client: msg[:1], Msg: id(msg)} }
func pubcomp(msg string) Event { return Event{Kind: Completed, Client: msg[:1], Msg: id(msg)} }

func got(client, msg, topic string, qos byte) Event {
	return Event{Kind: Delivered, Client: client, Msg: id(msg), Topic: topic, QoS: qos}
}
func reading() Event { return Event{Kind: Reading, Client: "reader"} }
func read(topic, msg string) Event {
	e := Event{Kind: Read, Client: "reader", Topic: topic}
	if msg != "" {
		e.Msg = id(msg)
	}
	return e
}
func willSet(msg string) Event {
	return Event{Kind: WillSet, Client: msg[:1], Msg: id(msg), Topic: "t", QoS: 2}
}
func willEnded(msg string) Event { return Event{Kind: WillEnded, Client: msg[:1], Msg: id(msg)} }

// settle in a history stands for a call of Settle.
func settle() Event { return Event{} }

// site is a broker with publishers p and q, and a client a that subscribed to filter.
func site(filter string, qos byte, then ...Event) []Event {
	return append([]Event{
		up(), connect("p"), begun("p"), connect("q"), begun("q"),
		connect("a"), begun("a"), ask("a", filter, qos), granted("a", filter, qos),
	}, then...)
}

// group is site with a and b in a shared subscription.
func shared(qos byte, then ...Event) []Event {
	const filter = "$share/g/t"
	return site(filter, qos, append([]Event{
		connect("b"), begun("b"), ask("b", filter, qos), granted("b", filter, qos),
	}, then...)...)
}

func TestEachBreachIsFound(t *testing.T) {
	for _, c := range []struct {
		name   string
		events []Event
		rule   string // "" if nothing is broken
	}{
		{"all is well at QoS 1", site("t", 1, sent("p1", "t", 1), puback("p1"), got("a", "p1", "t", 1), settle()), ""},
		{"all is well at QoS 2", site("t", 2, sent("p1", "t", 2), pubrec("p1"), pubcomp("p1"), got("a", "p1", "t", 2), settle()), ""},

		// lost
		{"a message with PUBACK is lost", site("t", 1, sent("p1", "t", 1), puback("p1"), settle()), "lost"},
		{"a message with PUBREC alone is lost", site("t", 2, sent("p1", "t", 2), pubrec("p1"), settle()), "lost"},
		{"one of two is lost", site("t", 1, sent("p1", "t", 1), sent("p2", "t", 1), puback("p1"), puback("p2"), got("a", "p2", "t", 1), settle()), "lost"},
		{"acknowledged before a kill and lost by it", site("t", 1, sent("p1", "t", 1), puback("p1"), down(), up(),
			connect("a"), resumed("a"), settle()), "lost"},
		{"a retained message is lost for a subscriber", site("t", 1, kept(sent("p1", "t", 1)), puback("p1"), settle()), "lost"},
		{"what is not acknowledged may be lost", site("t", 1, sent("p1", "t", 1), down(), up(), settle()), ""},
		{"what was sent before SUBACK may be missing", []Event{
			up(), connect("p"), begun("p"), connect("a"), begun("a"), ask("a", "t", 1),
			sent("p1", "t", 1), granted("a", "t", 1), puback("p1"), settle()}, ""},
		{"what matches no filter is not owed", site("t", 1, sent("p1", "u", 1), puback("p1"), settle()), ""},
		{"a session that was ended is owed nothing", site("t", 1, sent("p1", "t", 1), puback("p1"), anew("a"), begun("a"), settle()), ""},
		{"who unsubscribes is owed nothing", site("t", 1, sent("p1", "t", 1), puback("p1"), leave("a", "t"), settle()), ""},
		{"after a settlement loss is found too", site("t", 1, sent("p1", "t", 1), puback("p1"), got("a", "p1", "t", 1), settle(),
			sent("p2", "t", 1), puback("p2"), settle()), "lost"},

		// twice
		{"QoS 2 comes twice", site("t", 2, sent("p1", "t", 2), pubrec("p1"), got("a", "p1", "t", 2), got("a", "p1", "t", 2)), "twice"},
		{"QoS 2 comes twice, before and after a kill", site("t", 2, sent("p1", "t", 2), got("a", "p1", "t", 2), down(), up(),
			connect("p"), resumed("p"), dup(sent("p1", "t", 2)), pubrec("p1"), connect("a"), resumed("a"), got("a", "p1", "t", 2)), "twice"},
		{"QoS 2 comes once more after a settlement", site("t", 2, sent("p1", "t", 2), pubrec("p1"), got("a", "p1", "t", 2), settle(),
			got("a", "p1", "t", 2)), "twice"},
		{"QoS 1 may come twice", site("t", 1, sent("p1", "t", 1), puback("p1"), got("a", "p1", "t", 1), got("a", "p1", "t", 1), settle(),
			got("a", "p1", "t", 1)), ""},
		{"QoS 2 to a subscription at QoS 1 may come twice", site("t", 1, sent("p1", "t", 2), pubrec("p1"),
			got("a", "p1", "t", 1), got("a", "p1", "t", 1), settle()), ""},
		{"two clients get one each", site("t", 2, connect("b"), begun("b"), ask("b", "t", 2), granted("b", "t", 2),
			sent("p1", "t", 2), pubrec("p1"), got("a", "p1", "t", 2), got("b", "p1", "t", 2), settle()), ""},
		{"sent again as a known identifier without DUP", site("t", 2, sent("p1", "t", 2), got("a", "p1", "t", 2),
			Event{Kind: Again, Client: "a", Msg: id("p1")}), "dup"},
		{"sent again as a known identifier with DUP", site("t", 2, sent("p1", "t", 2), got("a", "p1", "t", 2),
			Event{Kind: Again, Client: "a", Msg: id("p1"), Dup: true}), ""},

		// order
		{"QoS 1 in the wrong order", site("t", 1, sent("p1", "t", 1), sent("p2", "t", 1), got("a", "p2", "t", 1), got("a", "p1", "t", 1)), "order"},
		{"QoS 2 in the wrong order", site("t", 2, sent("p1", "t", 2), sent("p2", "t", 2), got("a", "p2", "t", 2), got("a", "p1", "t", 2)), "order"},
		{"a wrong order across a kill", site("t", 1, sent("p1", "t", 1), sent("p2", "t", 1), got("a", "p2", "t", 1), down(), up(),
			connect("a"), resumed("a"), got("a", "p1", "t", 1)), "order"},
		{"QoS 1 may come again in the old order", site("t", 1, sent("p1", "t", 1), sent("p2", "t", 1), got("a", "p1", "t", 1), got("a", "p2", "t", 1),
			got("a", "p1", "t", 1), got("a", "p2", "t", 1)), ""},
		{"sent before SUBACK, it may come when it is sent again", []Event{
			up(), connect("p"), begun("p"), connect("a"), begun("a"), ask("a", "t", 1), sent("p1", "t", 1), granted("a", "t", 1),
			sent("p2", "t", 1), got("a", "p2", "t", 1), down(), up(), connect("p"), resumed("p"), dup(sent("p1", "t", 1)), dup(sent("p2", "t", 1)),
			connect("a"), resumed("a"), got("a", "p1", "t", 1), got("a", "p2", "t", 1)}, ""},
		{"there is no order between topics", site("+", 1, sent("p1", "t", 1), sent("p2", "u", 1), got("a", "p2", "u", 1), got("a", "p1", "t", 1)), ""},
		{"there is no order between publishers", site("t", 1, sent("p1", "t", 1), sent("q1", "t", 1), got("a", "q1", "t", 1), got("a", "p1", "t", 1)), ""},
		{"there is no order between QoS 1 and 2", site("t", 2, sent("p1", "t", 2), sent("p2", "t", 1), got("a", "p2", "t", 1), got("a", "p1", "t", 2)), ""},
		{"acknowledged in the wrong order", site("t", 1, sent("p1", "t", 1), sent("p2", "t", 1), puback("p2"), puback("p1")), "ack order"},

		// shared subscriptions
		{"each member gets one", shared(2, sent("p1", "t", 2), sent("p2", "t", 2), pubrec("p1"), pubrec("p2"),
			got("a", "p2", "t", 2), got("b", "p1", "t", 2), settle()), ""},
		{"lost to a group", shared(1, sent("p1", "t", 1), puback("p1"), settle()), "lost"},
		{"QoS 2 to two members", shared(2, sent("p1", "t", 2), pubrec("p1"), got("a", "p1", "t", 2), got("b", "p1", "t", 2)), "twice"},
		{"QoS 1 to two members", shared(1, sent("p1", "t", 1), puback("p1"), got("a", "p1", "t", 1), got("b", "p1", "t", 1), settle()), ""},

		// sessions
		{"an acknowledged session is lost", site("t", 1, down(), up(), connect("a"), begun("a")), "session"},
		{"a session whose CONNACK did not come may be lost", []Event{up(), connect("a"), down(), up(), connect("a"), begun("a")}, ""},
		{"a session whose CONNACK did not come may be there", []Event{up(), connect("a"), down(), up(), connect("a"), resumed("a")}, ""},
		{"an acknowledged clean start ends the session", site("t", 1, ending("a"), begun("a"), down(), up(), connect("a"), begun("a")), ""},
		{"an ended session is back", site("t", 1, ending("a"), begun("a"), down(), up(), connect("a"), resumed("a")), "session"},
		{"an ended session's message is back", site("t", 1, sent("p1", "t", 1), puback("p1"), anew("a"), begun("a"), down(), up(),
			connect("a"), resumed("a"), ask("a", "t", 1), granted("a", "t", 1), got("a", "p1", "t", 1)), "session"},
		{"an ended session's message is back after a settlement", site("t", 1, sent("p1", "t", 1), puback("p1"), got("a", "p1", "t", 1), settle(),
			anew("a"), begun("a"), ask("a", "t", 1), granted("a", "t", 1), got("a", "p1", "t", 1)), "session"},
		{"an ended session's subscription is back", site("t", 1, anew("a"), begun("a"), down(), up(),
			connect("a"), resumed("a"), sent("p1", "t", 1), got("a", "p1", "t", 1)), "subscription"},
		{"a clean start finds a session", site("t", 1, anew("a"), resumed("a")), "session"},
		{"somebody has a session before the first CONNECT", []Event{up(), connect("a"), resumed("a")}, "session"},

		// subscriptions
		{"an ended subscription is back", site("t", 1, leave("a", "t"), left("a", "t"), down(), up(),
			connect("a"), resumed("a"), sent("p1", "t", 1), got("a", "p1", "t", 1)), "subscription"},
		{"what was sent before UNSUBACK may come", site("t", 1, leave("a", "t"), sent("p1", "t", 1), left("a", "t"), got("a", "p1", "t", 1)), ""},
		{"subscribed again it is owed again", site("t", 1, leave("a", "t"), left("a", "t"), ask("a", "t", 1), granted("a", "t", 1),
			sent("p1", "t", 1), puback("p1"), settle()), "lost"},
		{"a message of the first subscription may come in the second", site("t", 1, sent("p1", "t", 1), puback("p1"),
			leave("a", "t"), left("a", "t"), ask("a", "t", 1), granted("a", "t", 1), got("a", "p1", "t", 1), settle()), ""},
		{"a lower QoS is granted", []Event{up(), connect("a"), begun("a"), ask("a", "t", 2),
			{Kind: Subscribed, Client: "a", Topic: "t", QoS: 2, Code: 1}}, "suback"},
		{"delivered at a lower QoS", site("t", 2, sent("p1", "t", 2), got("a", "p1", "t", 1)), "qos"},

		// contents
		{"a message that nobody sent", site("t", 1, got("a", "p1", "t", 1)), "content"},
		{"a message on another topic", site("+", 1, sent("p1", "t", 1), got("a", "p1", "u", 1)), "content"},
		{"a client saw a fault", []Event{up(), {Kind: Fault, Client: "a", Note: "a payload was cut"}}, "fault"},

		// retained
		{"the retained message is the last", site("x", 1, kept(sent("p1", "t", 1)), puback("p1"), kept(sent("p2", "t", 1)), puback("p2"),
			reading(), read("t", "p2"), settle()), ""},
		{"a stale retained message", site("x", 1, kept(sent("p1", "t", 1)), puback("p1"), kept(sent("p2", "t", 1)), puback("p2"),
			reading(), read("t", "p1")), "retained"},
		{"a stale one although both were on their way at once", site("x", 1, kept(sent("p1", "t", 1)), kept(sent("p2", "t", 1)), puback("p1"), puback("p2"),
			reading(), read("t", "p1")), "retained"},
		{"a stale one of another publisher", site("x", 1, kept(sent("p1", "t", 1)), puback("p1"), kept(sent("q1", "t", 1)), puback("q1"),
			reading(), read("t", "p1")), "retained"},
		{"of two publishers at once either may be last", site("x", 1, kept(sent("p1", "t", 1)), kept(sent("q1", "t", 1)), puback("p1"), puback("q1"),
			reading(), read("t", "p1"), reading(), read("t", "q1")), ""},
		{"what is not acknowledged may be there or not", site("x", 1, kept(sent("p1", "t", 1)), puback("p1"), kept(sent("p2", "t", 1)), down(), up(),
			reading(), read("t", "p1"), reading(), read("t", "p2")), ""},
		{"acknowledged while it was read", site("x", 1, kept(sent("p1", "t", 1)), puback("p1"), kept(sent("p2", "t", 1)),
			reading(), puback("p2"), read("t", "p1")), ""},
		{"sent again, an old one is the last", site("x", 1, kept(sent("p1", "t", 2)), kept(sent("q1", "t", 1)), puback("q1"), down(), up(),
			connect("p"), resumed("p"), dup(kept(sent("p1", "t", 2))), pubrec("p1"), reading(), read("t", "p1")), ""},
		{"a retained message is gone", site("x", 1, kept(sent("p1", "t", 1)), puback("p1"), reading(), read("t", "")), "retained"},
		{"a cleared one is gone", site("x", 1, kept(sent("p1", "t", 1)), puback("p1"), clears("p2", "t", 1), puback("p2"), reading(), read("t", "")), ""},
		{"a cleared one is there", site("x", 1, kept(sent("p1", "t", 1)), puback("p1"), clears("p2", "t", 1), puback("p2"), reading(), read("t", "p1")), "retained"},
		{"cleared and set again", site("x", 1, clears("p1", "t", 1), puback("p1"), kept(sent("p2", "t", 1)), puback("p2"), reading(), read("t", "")), "retained"},
		{"a settled one is kept", site("x", 1, kept(sent("p1", "t", 1)), puback("p1"), reading(), read("t", "p1"), settle(), reading(), read("t", "p1")), ""},
		{"a settled one is gone", site("x", 1, kept(sent("p1", "t", 1)), puback("p1"), reading(), read("t", "p1"), settle(), reading(), read("t", "")), "retained"},
		{"an older one than the settled is back", site("x", 1, kept(sent("p1", "t", 1)), puback("p1"), kept(sent("p2", "t", 1)), puback("p2"),
			reading(), read("t", "p2"), settle(), reading(), read("t", "p1")), "retained"},
		{"a settled one was replaced", site("x", 1, kept(sent("p1", "t", 1)), puback("p1"), reading(), read("t", "p1"), settle(),
			kept(sent("p2", "t", 1)), puback("p2"), reading(), read("t", "p1")), "retained"},
		{"a subscriber gets a stale retained one", []Event{
			up(), connect("p"), begun("p"), kept(sent("p1", "t", 1)), puback("p1"), kept(sent("p2", "t", 1)), puback("p2"),
			connect("a"), begun("a"), ask("a", "t", 1), kept(got("a", "p1", "t", 1))}, "retained"},
		{"a retained copy is no delivery", site("t", 2, kept(sent("p1", "t", 2)), pubrec("p1"),
			kept(got("a", "p1", "t", 2)), got("a", "p1", "t", 2), settle()), ""},
		{"a retained copy pays no debt", site("t", 2, kept(sent("p1", "t", 2)), pubrec("p1"), kept(got("a", "p1", "t", 2)), settle()), "lost"},

		// wills
		{"a will comes", site("t", 2, willSet("w1"), willEnded("w1"), sent("p1", "u", 1), puback("p1"), down(), up(), got("a", "w1", "t", 2), settle()), ""},
		{"a will is lost", site("t", 2, willSet("w1"), willEnded("w1"), sent("p1", "u", 1), puback("p1"), down(), up(), settle()), "lost"},
		{"a will comes twice", site("t", 2, willSet("w1"), willEnded("w1"), got("a", "w1", "t", 2), got("a", "w1", "t", 2)), "twice"},
		{"a will that is not owed comes after a settlement", site("t", 2, willSet("w1"), settle(), got("a", "w1", "t", 2)), ""},
		{"and it comes twice", site("t", 2, willSet("w1"), got("a", "w1", "t", 2), settle(), got("a", "w1", "t", 2)), "twice"},
		{"a will left before a settlement is owed after it", site("t", 2, willSet("w1"), willEnded("w1"), settle(), sent("p1", "u", 1), puback("p1"),
			settle()), "lost"},
		{"a will after which nothing was acknowledged may be lost", site("t", 2, sent("p1", "u", 1), willSet("w1"), willEnded("w1"), puback("p1"),
			down(), up(), settle()), ""},
		{"a connection that ended with the broker tells nothing", site("t", 2, willSet("w1"), down(), willEnded("w1"), up(),
			sent("p1", "u", 1), puback("p1"), settle()), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := play(c.events)
			var rules []string
			for _, v := range j.Violations() {
				rules = append(rules, v.Rule)
				if len(j.History(v)) == 0 {
					t.Errorf("%v has no history", v)
				}
			}
			switch {
			case c.rule == "" && len(rules) > 0:
				t.Errorf("found %v in a history without breach: %v", rules, j.Violations())
			case c.rule != "" && !slices.Contains(rules, c.rule):
				t.Errorf("found %v, want %q", rules, c.rule)
			case len(rules) > 1:
				t.Errorf("found %v for one breach: %v", rules, j.Violations())
			}
		})
	}
}

func play(events []Event) *Judge {
	j := NewJudge()
	for _, e := range events {
		if e.Kind == 0 {
			j.Settle()
			continue
		}
		j.Record(e)
	}
	return j
}

func TestWhoActsAtReleaseIsJudgedSo(t *testing.T) {
	events := site("x", 1, kept(sent("p1", "t", 2)), pubrec("p1"), kept(sent("p2", "t", 1)), puback("p2"), pubcomp("p1"), reading(), read("t", "p1"))
	for _, at := range []bool{false, true} {
		j := NewJudge()
		j.AtRelease = at
		for _, e := range events {
			j.Record(e)
		}
		if got := len(j.Violations()) == 0; got != at {
			t.Errorf("with AtRelease %v a QoS 2 message released last is the last: %v, want %v", at, got, at)
		}
	}
}

func TestOutstandingCountsWhatIsDue(t *testing.T) {
	j := play(site("t", 1, sent("p1", "t", 1), puback("p1"), sent("p2", "t", 1), puback("p2"), sent("p3", "t", 1), got("a", "p1", "t", 1)))
	if n := j.Outstanding(); n != 1 {
		t.Errorf("Outstanding() = %d, want 1: p2 is acknowledged and has not come", n)
	}
}

func TestAHistoryTellsTheLifeOfTheMessage(t *testing.T) {
	j := play(site("t", 1, sent("p1", "t", 1), sent("q1", "t", 1), puback("p1"), down(), up(), connect("a"), resumed("a"), settle()))
	if len(j.Violations()) != 1 {
		t.Fatalf("violations %v, want one", j.Violations())
	}
	var b strings.Builder
	for _, e := range j.History(j.Violations()[0]) {
		b.WriteString(e.String() + "\n")
	}
	for _, want := range []string{"PUBLISH sent", "PUBACK", "broker killed", "CONNACK", "SUBACK"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the history does not tell of %q:\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "q/1") {
		t.Errorf("the history tells of another message:\n%s", b.String())
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		want          bool
	}{
		{"a/b", "a/b", true}, {"a/b", "a", false}, {"a", "a/b", false}, {"a/+", "a/b", true}, {"a/+", "a", false},
		{"a/+", "a/b/c", false}, {"a/#", "a/b/c", true}, {"a/#", "a", true}, {"a/#", "b", false}, {"#", "a", true}, {"+/b", "a/b", true},
	} {
		if got := matches(c.filter, c.topic); got != c.want {
			t.Errorf("matches(%q, %q) = %v, want %v", c.filter, c.topic, got, c.want)
		}
	}
}
