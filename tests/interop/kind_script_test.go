package interop

import (
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// scriptKind is a client library that a script in testdata drives: one order a
// line in JSON on its standard input, one event a line on its standard output.
type scriptKind struct {
	p    *process
	v    int
	last *atomic.Int64 // peer number given out
	send *sync.Mutex   // held while an order is written
}

// order is what the script is told.
type order struct {
	Do       string     `json:"do"` // listen, publish, abort or leave
	Peer     string     `json:"peer"`
	Version  int        `json:"version"`
	Login    login      `json:"login"`
	Filter   string     `json:"filter"`
	QoS      byte       `json:"qos"`
	Message  message    `json:"message"`
	Payloads []hexBytes `json:"payloads,omitempty"`
}

// event is what the script tells.
type event struct {
	Peer    string  `json:"peer"`
	Event   string  `json:"event"` // ready, refused, message, published, gone
	Present bool    `json:"present"`
	Code    int     `json:"code"`
	Text    string  `json:"text"`
	Message message `json:"message"`
}

// pythonKind drives Python's paho with the interpreter that Debian's package is for.
func pythonKind(t *testing.T, v int) kind {
	t.Helper()
	const interpreter = "/usr/bin/python3"
	if out, err := exec.Command(interpreter, "-c", "import paho.mqtt.client").CombinedOutput(); err != nil {
		t.Fatalf("%s can't import paho.mqtt: install the Debian package python3-paho-mqtt (%v)\n%s", interpreter, err, out)
	}
	return newScript(t, v, exec.Command(interpreter, "-u", filepath.Join("testdata", "client.py")))
}

// nodeKind drives mqtt.js.
func nodeKind(t *testing.T, v int) kind {
	t.Helper()
	cmd := exec.Command(command(t, "node", "nodejs"), "client.js")
	cmd.Dir = filepath.Join("testdata", "js")
	check := exec.Command(cmd.Path, "-e", "require.resolve('mqtt')")
	check.Dir = cmd.Dir
	if err := check.Run(); err != nil {
		t.Fatal("the npm package mqtt is missing: run npm ci in tests/interop/testdata/js")
	}
	return newScript(t, v, cmd)
}

func newScript(t *testing.T, v int, cmd *exec.Cmd) kind {
	t.Helper()
	return scriptKind{p: startCmd(t, cmd), v: v, last: &atomic.Int64{}, send: &sync.Mutex{}}
}

func (k scriptKind) version() int { return k.v }

// tell writes an order.
func (k scriptKind) tell(t *testing.T, o order) {
	t.Helper()
	o.Version = k.v
	line, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	k.send.Lock()
	defer k.send.Unlock()
	if _, err := k.p.stdin.Write(append(line, '\n')); err != nil {
		t.Fatalf("write to the script: %v; output:\n%s", err, k.p.text())
	}
}

// hear returns the next event of peer that is one of kinds.
func (k scriptKind) hear(ctx context.Context, from *int, peer string, kinds string) (e event, ok bool) {
	_, ok = k.p.next(ctx, from, func(line string) bool {
		e = event{}
		return json.Unmarshal([]byte(line), &e) == nil && e.Peer == peer && strings.Contains(kinds, e.Event)
	})
	return e, ok
}

func (k scriptKind) peer() string { return strconv.FormatInt(k.last.Add(1), 10) }

func (k scriptKind) listen(t *testing.T, l login, filter string, qos byte) (*listener, error) {
	t.Helper()
	peer, from := k.peer(), k.p.mark()
	messagesFrom := from
	k.tell(t, order{Do: "listen", Peer: peer, Login: l, Filter: filter, QoS: qos})
	e := k.must(t, &from, peer, "ready refused")
	if e.Event == "refused" {
		return nil, &refused{e.Code, e.Text}
	}
	out := newListener()
	out.resumed = &e.Present
	end := func(how string) func() {
		return func() {
			from := k.p.mark()
			k.tell(t, order{Do: how, Peer: peer})
			k.must(t, &from, peer, "gone")
		}
	}
	out.abort, out.leave = end("abort"), end("leave")
	go func() {
		for {
			e, ok := k.hear(context.Background(), &messagesFrom, peer, "message")
			if !ok {
				return
			}
			out.messages <- e.Message
		}
	}()
	return out, nil
}

func (k scriptKind) publish(t *testing.T, l login, m message, payloads ...[]byte) error {
	t.Helper()
	peer, from := k.peer(), k.p.mark()
	o := order{Do: "publish", Peer: peer, Login: l, Message: m}
	for _, p := range payloads {
		o.Payloads = append(o.Payloads, p)
	}
	k.tell(t, o)
	if e := k.must(t, &from, peer, "published refused"); e.Event == "refused" {
		return &refused{e.Code, e.Text}
	}
	return nil
}

func (k scriptKind) must(t *testing.T, from *int, peer, kinds string) event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	e, ok := k.hear(ctx, from, peer, kinds)
	if !ok {
		lines := strings.SplitAfter(k.p.text(), "\n")
		t.Fatalf("the script didn't answer with one of %q; the end of its output:\n%s", kinds, strings.Join(lines[max(0, len(lines)-8):], ""))
	}
	return e
}
