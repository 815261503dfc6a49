package authn

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/audit"
	"sallyport/security"
)

// atOnce answers without being asked.
type atOnce struct{ fake }

func (m *atOnce) Quick(*Credentials) (*security.Principal, error, bool) { return m.p, m.err, true }

// slow takes its time, as a member and for each step of an exchange.
type slow struct {
	talker
	takes time.Duration
}

func (m *slow) wait(ctx context.Context) {
	select {
	case <-time.After(m.takes):
	case <-ctx.Done():
	}
}

func (m *slow) Authenticate(ctx context.Context, c *Credentials) (*security.Principal, error) {
	m.wait(ctx)
	return m.fake.Authenticate(ctx, c)
}

func (m *slow) Start(c *Credentials) (Exchange, error) {
	x, err := m.talker.Start(c)
	return &slowTalk{x, m}, err
}

type slowTalk struct {
	Exchange
	m *slow
}

func (x *slowTalk) Next(ctx context.Context, data []byte) ([]byte, *security.Principal, error) {
	x.m.wait(ctx)
	return x.Exchange.Next(ctx, data)
}

// paced is slow without an exchange.
type paced struct {
	fake
	takes time.Duration
}

func (m *paced) Authenticate(ctx context.Context, c *Credentials) (*security.Principal, error) {
	(&slow{takes: m.takes}).wait(ctx)
	return m.fake.Authenticate(ctx, c)
}

// hearing is a service of one chain, and what it records.
type hearing struct {
	*Service
	log bytes.Buffer
}

func hear(t testing.TB, members ...Member) *hearing {
	t.Helper()
	h := &hearing{}
	c, err := NewChain(ChainOptions{Members: members})
	if err != nil {
		t.Fatal(err)
	}
	h.Service = newService(t, ServiceOptions{
		Pool: newPool(t, 4, 16), Chains: map[string]*Chain{"l": c},
		Audit: audit.New(slog.New(slog.NewJSONHandler(&h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))),
	})
	return h
}

// told is the one record that there is since the last time, as "result by method: asked".
func (h *hearing) told(t testing.TB) string {
	t.Helper()
	defer h.log.Reset()
	text := h.log.String()
	if strings.Contains(text, "secret") {
		t.Errorf("the record tells what the client presented: %s", text)
	}
	var r struct{ Event, Client, Addr, Listener, Result, Method, Asked string }
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatalf("not one record: %q: %v", text, err)
	}
	if r.Client != "c" || r.Addr != "192.0.2.7:1000" || r.Listener != "l" || !strings.Contains(text, `"`+string(audit.Authentication)+`"`) {
		t.Errorf("a record of another client, or event: %s", text)
	}
	return r.Result + " by " + r.Method + ": " + r.Asked
}

// presents is a client all of whose credentials are secret.
func presents(method string) *Credentials {
	c := from(login("secretname", "secretword"), "192.0.2.7")
	c.AuthMethod, c.AuthData = method, []byte("secretdata")
	return c
}

// The event authentication tells what each member said, in the order in which they were
// asked, and how long it took where that cost something.
func TestWhatEachMemberSaidIsRecorded(t *testing.T) {
	const ms = time.Millisecond
	who := somebody("ann")
	wrong := &Refused{Method: "people", Reason: "secretword is wrong for secretname"}
	gone := errors.New("secretword can't be looked up")
	quick := func(name string, err error) *atOnce {
		return &atOnce{fake{name: name, p: who, err: err}}
	}
	after := func(takes time.Duration, name string, err error) *slow {
		return &slow{talker{fake: fake{name: name, p: who, err: err}, rounds: 2}, takes}
	}
	one := func(a Authenticator) Member { return Member{Authenticator: a} }
	next := one(after(20*ms, "ldap", gone))
	next.OnErrorNext = true
	for _, tt := range []struct {
		name    string
		members []Member
		method  string // of an exchange
		want    string
	}{
		{"at once", []Member{one(quick("cert", ErrNotMine)), one(quick("people", nil)), one(quick("last", nil))}, "",
			"accepted by people: cert=not_mine people=accepted"},
		{"refused at once", []Member{one(quick("cert", ErrNotMine)), one(quick("people", wrong)), one(quick("last", nil))}, "",
			"refused by people: cert=not_mine people=refused"},
		{"one is asked", []Member{one(quick("cert", ErrNotMine)), one(after(31*ms, "people", wrong)), one(quick("last", nil))}, "",
			"refused by people: cert=not_mine people=refused(31ms)"},
		{"several are asked", []Member{one(after(5*ms, "first", ErrNotMine)), one(quick("cert", ErrNotMine)), one(after(31*ms, "people", nil))}, "",
			"accepted by people: first=not_mine(5ms) cert=not_mine people=accepted(31ms)"},
		{"one can't be asked", []Member{one(after(20*ms, "ldap", gone)), one(quick("last", nil))}, "",
			"unavailable by ldap: ldap=unavailable(20ms)"},
		{"one can't be asked, and the next one is", []Member{next, one(after(5*ms, "people", nil))}, "",
			"accepted by people: ldap=unavailable(20ms) people=accepted(5ms)"},
		{"one is busy", []Member{one(after(0, "people", ErrBusy))}, "",
			"busy by : people=busy"},
		{"all accept", []Member{all(0, quick("cert", nil), after(31*ms, "people", nil))}, "",
			"accepted by both: cert=accepted people=accepted(31ms)"},
		{"one of all refuses", []Member{all(0, after(5*ms, "first", nil), after(31*ms, "people", wrong), quick("last", nil))}, "",
			"refused by people: first=accepted(5ms) people=refused(31ms)"},
		{"one of all knows nobody", []Member{all(0, after(5*ms, "first", nil), quick("cert", ErrNotMine))}, "",
			"refused by both: first=accepted(5ms) cert=not_mine"},
		{"none of all knows anybody", []Member{all(0, after(5*ms, "first", ErrNotMine), quick("cert", ErrNotMine)), one(after(31*ms, "people", nil))}, "",
			"accepted by people: first=not_mine(5ms) cert=not_mine people=accepted(31ms)"},
		{"an exchange", []Member{one(quick("cert", nil)), one(after(31*ms, "talk", nil))}, "TALK",
			"accepted by talk: talk=accepted(31ms)"},
		{"an exchange that fails", []Member{one(after(31*ms, "talk", wrong))}, "TALK",
			"refused by talk: talk=refused(31ms)"},
		{"an exchange of all", []Member{all(0, quick("cert", nil), after(31*ms, "talk", nil), &paced{fake{name: "people", p: who}, 5 * ms})}, "TALK",
			"accepted by both: talk=accepted(31ms) cert=accepted people=accepted(5ms)"},
		{"an exchange beside which one refuses", []Member{all(0, after(31*ms, "talk", nil), &paced{fake{name: "people", err: wrong}, 5 * ms}, quick("last", nil))}, "TALK",
			"refused by both: talk=accepted(31ms) people=refused(5ms)"},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := hear(t, tt.members...)
			defer h.opts.Pool.Close()
			var a answer
			if tt.method == "" {
				a = <-first(begin(h.Service, presents("")))
			} else {
				a.p, a.err = converse(t, h.Service, presents(tt.method), "secretdata")
			}
			if got := h.told(t); got != tt.want {
				t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
			}
			if accepted := strings.HasPrefix(tt.want, "accepted "); accepted != (a.err == nil) {
				t.Errorf("%s: %v", tt.name, a.err)
			}
		})
	}
}

// Nobody waited for a member that is left alone, or that has no place: its answer is
// recorded without a time.
func TestWhoIsNotAskedIsRecordedWithoutATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sql := &remote{name: "sql", fixed: answer{err: errors.New("down")}}
		lane := newLane(t, LaneOptions{Name: "sql", Workers: 1, Queue: 1, Failures: 1})
		defer lane.Close()
		h := hear(t, Member{Authenticator: sql, Lane: lane})
		defer h.opts.Pool.Close()
		release := hold(t, lane.pool)
		waiting, _ := begin(h.Service, from(login("bob", "x"), "192.0.2.1"))
		<-first(begin(h.Service, presents("")))
		if got, want := h.told(t), "busy by : sql=busy"; got != want {
			t.Errorf("no place: %s, want %s", got, want)
		}
		release()
		<-waiting
		h.log.Reset()
		<-first(begin(h.Service, presents("")))
		if got, want := h.told(t), "unavailable by sql: sql=unavailable"; got != want {
			t.Errorf("left alone: %s, want %s", got, want)
		}
	})
}

// A failure that the client is told of within the exchange is recorded then, and once.
func TestAnExchangeThatTellsOfItsFailureIsRecordedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hear(t, Member{Authenticator: &failing{fake{name: "failing"}}})
		defer h.opts.Pool.Close()
		n, ok := h.Negotiate(presents("TALK"))
		if !ok {
			t.Fatal("no such method")
		}
		said := make(chan error, 2)
		step := func() error {
			n.Step([]byte("secretdata"), func(_ []byte, _ *security.Principal, err error) { said <- err })
			return <-said
		}
		if err := step(); err != nil {
			t.Fatal(err)
		}
		if got, want := h.told(t), "refused by failing: failing=refused"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if err := step(); err == nil || h.log.Len() > 0 {
			t.Errorf("%v, and again %s", err, h.log.String())
		}
	})
}

// A time that is too short to be shown is left out, and one that is told is rounded.
func TestAskedText(t *testing.T) {
	got := askedText([]Asked{{"cert", "not_mine", 0}, {"a", "busy", 1}, {"people", "refused", 31*time.Millisecond + 1234}, {"b", "accepted", 2 * time.Second}})
	if want := "cert=not_mine a=busy people=refused(31ms) b=accepted(2s)"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := askedText(nil); got != "" {
		t.Errorf("of nobody %q", got)
	}
}
