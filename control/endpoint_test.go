//go:build unix

package control

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"sallyport/config"
	"sallyport/security"
	"sallyport/security/acl"
	"sallyport/security/expect"
	"sallyport/session"
)

// alice is a principal with things that no answer may repeat.
func alice() *security.Principal {
	return &security.Principal{
		Realm: "passwords", Name: "alice", ClientID: "phone", Listener: "mqtt", Method: "passwords",
		Groups: []string{"staff"}, Roles: []string{"reader"}, Addr: netip.MustParseAddrPort("192.0.2.1:5"),
		Attrs: map[string]string{"site": "north", "pin": "geheim-1"}, Claims: map[string]any{"token": "geheim-2"},
		Cert: &x509.Certificate{Raw: []byte("geheim-3")},
	}
}

func TestAClientIsToldWithoutItsSecrets(t *testing.T) {
	p := open(t, nil)
	ids := []string{"phone", "a/b", "..", ".", "a%2Fb", "ä b?c#d", "a//b", "$share/x"}
	p.engine.clients, p.engine.online = map[string]*security.Principal{}, map[string]bool{"phone": true}
	for _, id := range ids {
		p.engine.clients[id] = alice()
	}
	for _, id := range ids {
		c := ask[Client](t, p, "GET", ClientPath(id), nil)
		if c.ClientID != id || c.User != "alice" || c.Online != (id == "phone") || c.Subscriptions != len(id) {
			t.Errorf("client %q: %+v", id, c)
		}
	}
	data, err := p.caller.Do(p.ctx, "GET", ClientPath("phone"), nil)
	if err != nil || strings.Contains(string(data), "geheim") || !strings.Contains(string(data), `"pin"`) || !strings.Contains(string(data), `"token"`) {
		t.Errorf("%s, %v: want the names of attributes and claims, not what they are", data, err)
	}
	refused(t, p, "GET", ClientPath("tablet"), nil, 404, "no_client")
}

func TestExplainAsksTheRunningGate(t *testing.T) {
	p := open(t, nil)
	p.engine.clients = map[string]*security.Principal{"phone": alice(), "away": alice()}
	p.engine.online = map[string]bool{"phone": true}
	tests := []struct {
		name    string
		ask     ExplainRequest
		allowed bool
		line    int
	}{
		{"a connected client publishes", ExplainRequest{ClientID: "phone", Action: "publish", Topic: "ok/1", QoS: 1, Retain: true}, true, 3},
		{"its will", ExplainRequest{ClientID: "phone", Action: "publish", Topic: "no/1", Will: true}, false, 4},
		{"a client that is away", ExplainRequest{ClientID: "away", Action: "receive", Topic: "ok/1"}, true, 3},
		{"silence refuses", ExplainRequest{ClientID: "phone", Action: "subscribe", Topic: "#"}, false, 0},
		{"a shared subscription", ExplainRequest{ClientID: "phone", Action: "subscribe", Topic: "$share/g/ok/#", QoS: 2}, true, 3},
		{"connect", ExplainRequest{ClientID: "phone", Action: "connect"}, true, 0},
		{"somebody made up", ExplainRequest{Who: &Who{User: "bob", Listener: "mqtt", Address: "192.0.2.9"}, Action: "publish", Topic: "ok"}, true, 3},
		{"somebody made up at the only listener", ExplainRequest{Who: &Who{}, Action: "publish", Topic: "x"}, false, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ask[ExplainResult](t, p, "POST", "/explain", tt.ask)
			d := got.Decision
			if tt.ask.Action == "connect" {
				d = got.Connect
			}
			if d == nil || (got.Decision == nil) == (got.Connect == nil) {
				t.Fatalf("not one decision: %+v", got)
			}
			if got.Allowed != tt.allowed || d.Verdict.Line != tt.line || got.PolicyGeneration != 1 || len(d.Policies) != 1 || got.Request.Action != tt.ask.Action {
				t.Errorf("%+v", got)
			}
			if d.Policies[0].Omitted != 7 || len(d.Policies[0].Steps) != 1 {
				t.Errorf("the path is %+v", d.Policies[0])
			}
			if (got.Online == nil) != (tt.ask.Who != nil) || got.Online != nil && *got.Online != (tt.ask.ClientID == "phone") {
				t.Errorf("online is %v", got.Online)
			}
		})
	}
	if got := ask[ExplainResult](t, p, "POST", "/explain", tests[4].ask); got.Request.Group != "g" || got.Request.Topic != "ok/#" {
		t.Errorf("$share/g/ok/# is asked as %+v", got.Request)
	}
	refused(t, p, "POST", "/explain", ExplainRequest{ClientID: "nobody", Action: "connect"}, 404, "no_client")
	refused(t, p, "POST", "/explain", ExplainRequest{Who: &Who{Listener: "other"}, Action: "connect"}, 400, "bad_request")
	refused(t, p, "POST", "/explain", ExplainRequest{Who: &Who{Address: "x"}, Action: "connect"}, 400, "bad_request")
	if strings.Contains(p.log.String(), "control_action") {
		t.Errorf("explaining is logged as a change: %s", p.log)
	}
}

func TestADecisionIsExplainedAsOfNow(t *testing.T) {
	p := open(t, nil)
	q := security.Request{Principal: alice(), Action: security.Publish, Topic: "no/1", QoS: 2, Retain: true}
	id := p.options.Decisions.Keep(q, p.options.Gate.Decide(&q))
	got := ask[DecisionResult](t, p, "GET", DecisionPath(strings.ToLower(id)), nil)
	if got.ID != id || got.Now.Client.User != "alice" || got.Now.Request.Topic != "no/1" || got.Now.Request.QoS != 2 || got.Then.Line != 4 ||
		got.Now.Allowed || got.Changed || got.Now.PolicyGeneration != 1 {
		t.Errorf("%+v", got)
	}
	p.options.Gate.Swap(&security.Ruleset{ByListener: map[string][]security.Policy{"mqtt": {anything{}}}})
	got = ask[DecisionResult](t, p, "GET", DecisionPath(id), nil)
	if got.Then.Line != 4 || !got.Now.Allowed || !got.Changed || got.Now.PolicyGeneration != 2 {
		t.Errorf("after a change of the rules: %+v", got)
	}
	for _, unknown := range []string{"AAAAAAAA", "..", "a/b", strings.Repeat("x", 1000)} {
		refused(t, p, "GET", DecisionPath(unknown), nil, 404, "no_decision")
	}
	none := open(t, func(o *Options) { o.Decisions = nil })
	refused(t, none, "GET", DecisionPath(id), nil, 404, "no_decision")
}

type anything struct{}

func (anything) Decide(*security.Request) security.Verdict {
	return security.Verdict{Effect: security.Allow, Policy: "anything"}
}

func TestPurgeTakesWhatItNames(t *testing.T) {
	p := open(t, nil)
	p.engine.retained = []session.Origin{
		{Realm: "a", Name: "alice", ClientID: "1"}, {Realm: "b", Name: "alice", ClientID: "2"}, {Realm: "a", Name: "bob", ClientID: "1"}, {Realm: "anonymous:x"},
		{Realm: "sallyport", Name: "$SYS", Internal: true}, {Internal: true},
	}
	s := func(v string) *string { return &v }
	tests := []struct {
		name string
		ask  PurgeRequest
		want int
	}{
		{"a user of every realm", PurgeRequest{PublishedBy: s("alice")}, 2},
		{"a user of one realm", PurgeRequest{PublishedBy: s("alice"), Realm: s("a")}, 1},
		{"a client", PurgeRequest{ClientID: s("1")}, 2},
		{"a user's client", PurgeRequest{PublishedBy: s("bob"), ClientID: s("1")}, 1},
		{"anonymous", PurgeRequest{PublishedBy: s("")}, 1},
		{"the broker itself", PurgeRequest{PublishedBy: s("$SYS")}, 0},
		{"nobody there", PurgeRequest{PublishedBy: s("carol")}, 0},
		{"counted only", PurgeRequest{PublishedBy: s("alice"), DryRun: true}, 2},
	}
	for _, tt := range tests {
		if got := ask[PurgeResult](t, p, "POST", "/retained/purge", tt.ask); got.Messages != tt.want || got.DryRun != tt.ask.DryRun {
			t.Errorf("%s: %+v, want %d", tt.name, got, tt.want)
		}
	}
	log := p.log.String()
	if n := strings.Count(log, "msg=control_action action=retained_purge"); n != len(tests)-1 {
		t.Errorf("%d changes in the log, want %d: %s", n, len(tests)-1, log)
	}
	if tellsPeers && !strings.Contains(log, fmt.Sprintf(`actor="uid %d pid `, p.options.UID)) || !strings.Contains(log, "addr=unix") ||
		!strings.Contains(log, `published_by=\"alice\" realm=\"a\"`) || !strings.Contains(log, `result="removed 2"`) {
		t.Errorf("who did what is not in the log: %s", log)
	}
	p.engine.fails = errors.New("the store is full")
	if e := refused(t, p, "POST", "/retained/purge", tests[0].ask, 500, "failed"); !strings.Contains(e.Message, "removed 2") {
		t.Errorf("what was done is not said: %v", e)
	}
	if !strings.Contains(p.log.String(), `result="refused: removed 2`) {
		t.Errorf("the failure is not in the log: %s", p.log)
	}
}

func TestShadow(t *testing.T) {
	p := open(t, nil)
	p.options.Gate.Swap(&security.Ruleset{
		ByListener: map[string][]security.Policy{"mqtt": {rules{}}}, Shadow: map[string][]security.Policy{"mqtt": {anything{}}},
	})
	for range 3 {
		p.options.Gate.Publish(security.Request{Principal: alice(), Topic: "no/1", QoS: 1})
	}
	got := ask[ShadowResult](t, p, "GET", "/shadow", nil)
	if got.Total != 3 || len(got.Kinds) != 1 {
		t.Fatalf("%+v", got)
	}
	if k := got.Kinds[0]; k.Live.Line != 4 || k.Shadow.Effect != "allow" || k.User != "alice" || k.Judged != 3 || k.Topic != "no/1" {
		t.Errorf("%+v", k)
	}
	if st := ask[Status](t, p, "GET", "/status", nil); st.ShadowDifferences != 3 || st.PolicyGeneration != 2 || st.Version != "1" {
		t.Errorf("status %+v", st)
	}
	if r := ask[ShadowResetResult](t, p, "POST", "/shadow/reset", nil); r.Forgotten != 3 {
		t.Errorf("reset: %+v", r)
	}
	if got := ask[ShadowResult](t, p, "GET", "/shadow", nil); got.Total != 0 || got.Kinds == nil || len(got.Kinds) != 0 {
		t.Errorf("after the reset: %+v", got)
	}
	if !strings.Contains(p.log.String(), "msg=control_action action=shadow_reset") {
		t.Errorf("the log says nothing of it: %s", p.log)
	}
}

func TestReloadTellsWhatFailed(t *testing.T) {
	var fails error
	p := open(t, func(o *Options) { o.Reload = func() error { return fails } })
	if got := ask[ReloadResult](t, p, "POST", "/reload", nil); got.PolicyGeneration != 1 {
		t.Errorf("%+v", got)
	}
	_, aclError := acl.Parse(acl.Options{Path: "acl"}, []byte("topic a\nallow b\n"))
	fails = errors.Join(
		aclError,
		fmt.Errorf("authenticator passwords: %w", errors.New("passwd: line 3 is no user")),
		fmt.Errorf("policy p: %w", config.Problems{{File: "p.yaml", Line: 3, Column: 5, Key: "users", Text: "unknown"}, {File: "p.yaml", Line: 9, Text: "twice"}}),
	)
	e := refused(t, p, "POST", "/reload", nil, 422, "reload_refused")
	want := []Problem{{File: "acl", Line: 2, Text: `invalid line: begins with "allow", not with topic, pattern or user`}, {Text: "authenticator passwords: passwd: line 3 is no user"}, {File: "p.yaml", Line: 3, Column: 5, Key: "users", Text: "unknown"}, {File: "p.yaml", Line: 9, Text: "twice"}}
	if len(e.Problems) != len(want) {
		t.Fatalf("%+v", e.Problems)
	}
	for i := range want {
		if e.Problems[i] != want[i] {
			t.Errorf("problem %d is %+v, want %+v", i, e.Problems[i], want[i])
		}
	}
	if got := e.Problems[2].String(); got != "p.yaml:3:5: users: unknown" {
		t.Errorf("for people it is %q", got)
	}
	if log := p.log.String(); strings.Count(log, "msg=control_action action=reload") != 2 || !strings.Contains(log, "result=done") || !strings.Contains(log, "result=\"refused: ") {
		t.Errorf("the log: %s", log)
	}
	without := open(t, nil)
	refused(t, without, "POST", "/reload", nil, 409, "no_reload")
}

// FuzzExplain: what is accepted can be asked.
func FuzzExplain(f *testing.F) {
	f.Add([]byte(`{"client_id":"a","action":"subscribe","topic":"$share/g/a/#","qos":2}`))
	f.Add([]byte(`{"who":{"user":"u","claims":{"a":[1,{"b":null}]},"attributes":{"x":"y"},"address":"::1"},"action":"publish","topic":"a","will":true,"retain":true}`))
	f.Add([]byte(`{"client_id":"a","action":"connect"}`))
	f.Add([]byte(`[`))
	gate := security.NewGate(&security.Ruleset{ByListener: map[string][]security.Policy{"mqtt": {rules{}}}})
	f.Fuzz(func(t *testing.T, body []byte) {
		ask, r, err := decodeExplain(body)
		if err != nil {
			return
		}
		r.Principal = alice()
		if ask.Who != nil {
			if r.Principal, err = ask.Who.principal([]ListenerStatus{{Name: "mqtt"}}); err != nil {
				return
			}
		}
		if d := gate.Explain(r); d.Verdict.Allowed() != gate.Decide(r).Allowed() || d.Verdict.Effect == security.Silent {
			t.Errorf("%+v is explained as %+v", r, d.Verdict)
		}
		if r.QoS > 2 || r.Shared != (r.Group != "") || r.Action == security.Connect && r.Topic != "" {
			t.Errorf("%s becomes %+v", body, r)
		}
		if _, err := json.Marshal(expect.NewDecision(r, gate.Explain(r))); err != nil {
			t.Errorf("the answer is no JSON: %v", err)
		}
	})
}

func TestACertificateIsToldByItsFields(t *testing.T) {
	p := open(t, nil)
	subject, err := asn1.Marshal(pkix.Name{CommonName: "phone", Organization: []string{"a\nb"}}.ToRDNSequence())
	if err != nil {
		t.Fatal(err)
	}
	who := alice()
	who.Cert = &x509.Certificate{RawSubject: subject, RawIssuer: subject, SerialNumber: big.NewInt(0xbeef)}
	p.engine.clients = map[string]*security.Principal{"phone": who}
	c := ask[Client](t, p, "GET", ClientPath("phone"), nil).Certificate
	if c == nil || !slices.Equal(c.Fields["cn"], []string{"phone"}) || !slices.Equal(c.Fields["serial"], []string{"beef"}) || c.Fields["o"] != nil ||
		!strings.Contains(c.Unreadable["o"], "control character") || c.Unreadable["spiffe"] != "" {
		t.Errorf("certificate %+v", c)
	}
}
