//go:build unix

package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/security"
	"sallyport/session"
)

// lines is a log that a test reads.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// engine is a double of the broker's engine.
type engine struct {
	clients  map[string]*security.Principal
	online   map[string]bool
	retained []session.Origin
	fails    error
	forgot   bool
}

func (e *engine) ClientPrincipal(id string) (*security.Principal, bool, bool) {
	p, ok := e.clients[id]
	return p, e.online[id], ok
}

func (e *engine) ClientSubscriptions(id string) int { return len(id) }

func (e *engine) EndSessions(match func(*security.Principal) bool, forget bool) (connected, away int) {
	for id, p := range e.clients {
		switch {
		case !match(p):
		case e.online[id]:
			connected++
		default:
			away++
		}
	}
	e.forgot = forget
	return connected, away
}

func (e *engine) PurgeRetained(match func(session.Origin) bool) (int, error) {
	n := 0
	for _, o := range e.retained {
		if match(o) {
			n++
		}
	}
	return n, e.fails
}

// rules is a policy that allows topics that begin with "ok", and denies those
// that begin with "no".
type rules struct{}

func (rules) Name() string { return "rules" }

func (rules) Decide(q *security.Request) security.Verdict {
	v := security.Verdict{Policy: "rules", File: "rules.yaml", Rule: "nothing is said of " + q.Topic}
	switch {
	case strings.HasPrefix(q.Topic, "ok"):
		v.Effect, v.Line, v.Rule = security.Allow, 3, "allow ok"
	case strings.HasPrefix(q.Topic, "no"):
		v.Effect, v.Line, v.Rule = security.Deny, 4, "deny no"
	}
	return v
}

// Explain shows an attribute's value, as a placeholder would.
func (r rules) Explain(q *security.Request) security.Explanation {
	return security.Explanation{
		Verdict: r.Decide(q),
		Steps: []security.Step{{File: "rules.yaml", Line: 3, Rule: "allow ok", Effect: security.Allow, Matches: true,
			Values: []security.Value{{Name: "site", Value: q.Principal.Attrs["site"]}}}},
		Opposite: []string{"add a rule"}, Omitted: 7,
	}
}

// place is a server of a test with what it is made of.
type place struct {
	*Server
	path   string
	log    *lines
	engine *engine
	caller *Caller
	ctx    context.Context
}

// open serves on a socket in a folder of the test's own.
func open(t *testing.T, change func(*Options)) *place {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "d")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	p := &place{path: filepath.Join(folder, "s"), log: new(lines), engine: &engine{}}
	o := Options{
		Socket: p.path, UID: uint32(os.Geteuid()), Log: slog.New(slog.NewTextHandler(p.log, nil)), Engine: p.engine,
		Gate:      security.NewGate(&security.Ruleset{ByListener: map[string][]security.Policy{"mqtt": {rules{}}}}),
		Decisions: new(security.Decisions),
		Status: func() Status {
			return Status{Version: "1", Listeners: []ListenerStatus{{Name: "mqtt"}}}
		},
	}
	if change != nil {
		change(&o)
	}
	var err error
	if p.Server, err = Open(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	if p.caller, err = Dial(p.path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.caller.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	p.ctx = ctx
	return p
}

// ask calls an endpoint and decodes its answer.
func ask[T any](t *testing.T, p *place, method, path string, body any) (out T) {
	t.Helper()
	data, err := p.caller.Do(p.ctx, method, path, body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatalf("%s %s: %v: %s", method, path, err, data)
	}
	return out
}

// refused calls an endpoint that has to refuse with code.
func refused(t *testing.T, p *place, method, path string, body any, status int, code string) *Error {
	t.Helper()
	data, err := p.caller.Do(p.ctx, method, path, body)
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Status != status || e.Code != code {
		t.Fatalf("%s %s %v: %v, %s; want %d %s", method, path, body, err, data, status, code)
	}
	return e
}

// raw connects to the socket without HTTP.
func raw(t *testing.T, p *place) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", p.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(15 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}
