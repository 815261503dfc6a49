package script

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

// fakeWorld answers every packet of a peer with prepared bytes.
type fakeWorld struct {
	slept   time.Duration
	dialled []string
	answer  func(sent []byte) (reply []byte, closed bool)
}

func (w *fakeWorld) Dial(listener string) (Peer, error) {
	if listener == "none" {
		return nil, errors.New("no such listener")
	}
	w.dialled = append(w.dialled, listener)
	return &fakePeer{world: w}, nil
}
func (w *fakeWorld) Settle()               {}
func (w *fakeWorld) Sleep(d time.Duration) { w.slept += d }

type fakePeer struct {
	world  *fakeWorld
	out    []byte
	closed bool
}

func (p *fakePeer) Send(b []byte) error {
	if p.closed {
		return io.ErrClosedPipe
	}
	reply, closed := p.world.answer(b)
	p.out = append(p.out, reply...)
	p.closed = closed
	return nil
}

func (p *fakePeer) Recv() ([]byte, error) {
	b := p.out
	p.out = nil
	if len(b) == 0 && p.closed {
		return nil, io.EOF
	}
	return b, nil
}

func (p *fakePeer) Drop() { p.closed = true }

// broker5 is as much of an MQTT 5.0 server as the tests below need.
func broker5(sent []byte) (reply []byte, closed bool) {
	switch sent[0] >> 4 {
	case 1: // CONNACK with an assigned identifier and receive maximum 9
		return []byte("\x20\x0c\x00\x00\x09\x12\x00\x03xyz\x21\x00\x09"), false
	case 3: // two messages, in an order that tests can't rely on
		return []byte("\x30\x07\x00\x01b\x00two\x32\x0a\x00\x01a\x00\x01\x02\x01\x01on"), false
	case 8:
		return []byte("\x90\x04\x00\x07\x00\x01"), false
	case 12:
		return []byte{0xd0, 0}, false
	case 14:
		return nil, true
	}
	return []byte{0xe0, 0x01, 0x82}, true
}

func runText(t *testing.T, w *fakeWorld, text string) error {
	t.Helper()
	cases, err := Parse("case.txt", "== a case\n"+text)
	if err != nil {
		t.Fatal(err)
	}
	if w.answer == nil {
		w.answer = broker5
	}
	return Run(w, cases[0])
}

func TestScriptsThatHold(t *testing.T) {
	for name, text := range map[string]string{
		"a handshake and its fields":            "c1 > CONNECT v5 clean\nc1 < CONNACK assigned=xyz receive-max=9",
		"three dots allow other fields":         "c1 > CONNECT v5 clean\nc1 < CONNACK receive-max=9 ...",
		"a star matches any value":              "c1 > CONNECT v5 clean\nc1 < CONNACK receive-max=9 assigned=*",
		"connects accepts any property":         "c1 connects v5 clean",
		"subscribes expects what it asks for":   "c1 connects v5 clean\nc1 subscribes id=7 filter=a qos=1",
		"a stored value is compared":            "c1 > CONNECT v5\nc1 < CONNACK assigned={id} ...\nc2 > CONNECT v5 client={id}\nc2 < CONNACK assigned={id} ...",
		"any order within a group":              "c1 connects v5\nc1 > PUBLISH topic=t\nc1 <~ PUBLISH topic=a qos=1 id=1 format=1 payload=on\nc1 <~ PUBLISH topic=b payload=two",
		"nothing arrives":                       "c1 connects v5\nc1 < nothing",
		"DISCONNECT explains the close":         "c1 connects v5\nc1 > DISCONNECT",
		"a protocol error is seen and closes":   "c1 connects v5\nc1 > AUTH code=0x18\nc1 < DISCONNECT code=0x82\nc1 < closed",
		"a dropped peer dials again":            "c1 connects v5\nc1 > drop\nc1 connects v5",
		"raw bytes":                             "c1 open v5\nc1 > frame 10 \"MQTT\" 05 00 0000 00 \"a\"\nc1 < CONNACK ...\nc1 > raw c0 00\nc1 < PINGRESP",
		"a default may be named":                "c1 > CONNECT v5\nc1 < CONNACK session=0 code=0 ...",
		"absence may be asked for":              "c1 > CONNECT v5\nc1 < CONNACK -reason ...",
		"comments and blank lines mean nothing": "# a remark\n\nc1 connects v5",
	} {
		t.Run(name, func(t *testing.T) {
			if err := runText(t, &fakeWorld{}, text); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestScriptsThatFail(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"a wrong value":                  {"c1 > CONNECT v5\nc1 < CONNACK receive-max=8 assigned=*", "receive-max is 9, want 8"},
		"a field nobody expected":        {"c1 > CONNECT v5\nc1 < CONNACK receive-max=9", "assigned=xyz was not expected"},
		"a missing field":                {"c1 > CONNECT v5\nc1 < CONNACK reason=x ...", "reason is missing"},
		"a property that must be absent": {"c1 > CONNECT v5\nc1 < CONNACK -assigned ...", "assigned is xyz, want none"},
		"a session that must be present": {"c1 connects v5 session=1", "session is missing"},
		"another packet":                 {"c1 > CONNECT v5\nc1 < PINGRESP", "want PINGRESP"},
		"an answer instead of silence":   {"c1 > CONNECT v5\nc1 < nothing", "got CONNACK"},
		"silence instead of an answer":   {"c1 connects v5\nc1 < PINGRESP", "nothing arrived"},
		"an open connection":             {"c1 connects v5\nc1 < closed", "the connection is open"},
		"a packet before the close":      {"c1 connects v5\nc1 > AUTH\nc1 < closed", "before the close"},
		"a close instead of a packet":    {"c1 connects v5\nc1 > DISCONNECT\nc1 < PINGRESP", "the broker closed the connection"},
		"a close instead of silence":     {"c1 connects v5\nc1 > DISCONNECT\nc1 < nothing", "the broker closed the connection"},
		"a packet left over":             {"c1 connects v5\nc1 > PINGREQ", "at the end: c1 got PINGRESP"},
		"a close left over":              {"c1 connects v5\nc1 > AUTH\nc1 < DISCONNECT code=0x82", "at the end: the broker closed"},
		"a stored value that differs":    {"c1 > CONNECT v5\nc1 < CONNACK assigned={a} ...\nc1 > PUBLISH topic=a\nc1 < PUBLISH topic={a} ...", "want xyz"},
		"a value nobody stored":          {"c1 > CONNECT v5 client={a}", "nothing is stored"},
		"a group with a stranger":        {"c1 connects v5\nc1 > PUBLISH topic=t\nc1 <~ PUBLISH topic=a ...\nc1 <~ PUBLISH topic=a ...", "got PUBLISH topic=b"},
		"order outside a group":          {"c1 connects v5\nc1 > PUBLISH topic=t\nc1 < PUBLISH topic=a ...", "got PUBLISH topic=b"},
		"an expectation of a stranger":   {"c1 < PINGRESP", "not connected"},
		"open twice":                     {"c1 open v5\nc1 open v5", "connected already"},
		"a listener that does not exist": {"c1 open v5 listener=none", "no such listener"},
	} {
		t.Run(name, func(t *testing.T) {
			err := runText(t, &fakeWorld{}, c.text)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Run = %v, want an error with %q", err, c.want)
			}
			if err != nil && !strings.Contains(err.Error(), "case.txt:") {
				t.Errorf("error names no line: %v", err)
			}
		})
	}
}

func TestBadPacketsFromTheBrokerFail(t *testing.T) {
	for name, c := range map[string]struct{ reply, want string }{
		"part of a packet":           {"\x20\x0c\x00", "part of a packet"},
		"reserved acknowledge flags": {"\x20\x03\x02\x00\x00", "reserved acknowledge flags"},
		"reserved header flags":      {"\x21\x03\x00\x00\x00", "flags 0001"},
		"an overlong length":         {"\x20\x83\x00\x00\x00\x00", "longer than necessary"},
		"a property twice":           {"\x20\x09\x00\x00\x06\x21\x00\x01\x21\x00\x01", "receive-max twice"},
		"an unknown property":        {"\x20\x05\x00\x00\x02\x7e\x00", "unknown property"},
		"bytes behind the end":       {"\x20\x04\x00\x00\x00\x00", "behind the end"},
		"text that is not UTF-8":     {"\x20\x07\x00\x00\x04\x1f\x00\x01\xff", "not allowed in MQTT"},
		"a wildcard in a topic name": {"\x30\x04\x00\x01+\x00", "wildcard"},
		"packet identifier zero":     {"\x32\x06\x00\x01a\x00\x00\x00", "packet identifier 0"},
		"a packet of clients":        {"\x82\x00", "sends no SUBSCRIBE"},
		"a reserved type":            {"\x00\x00", "packet type 0"},
	} {
		t.Run(name, func(t *testing.T) {
			w := &fakeWorld{answer: func([]byte) ([]byte, bool) { return []byte(c.reply), false }}
			err := runText(t, w, "c1 > CONNECT v5\nc1 < CONNACK ...")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Run = %v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestSleepAndListenersReachTheWorld(t *testing.T) {
	w := &fakeWorld{}
	if err := runText(t, w, "c1 open v5 listener=ws\nsleep 90s\nc1 connects v5"); err != nil {
		t.Fatal(err)
	}
	if w.slept != 90*time.Second || len(w.dialled) != 1 || w.dialled[0] != "ws" {
		t.Errorf("slept %v, dialled %q, want 1m30s and one ws", w.slept, w.dialled)
	}
}
