package roles

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/security"
)

func parse(t testing.TB, text string) *Policy {
	t.Helper()
	p, err := Parse(Options{Name: "permissions", Path: "p.yaml"}, []byte(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return p
}

// as builds requests of alice with client id dev1, changed by each test.
func as(action security.Action, topic string, change ...func(*security.Request)) *security.Request {
	q := &security.Request{
		Principal: &security.Principal{Name: "alice", ClientID: "dev1"},
		Action:    action, Topic: topic,
	}
	for _, c := range change {
		c(q)
	}
	return q
}

func qos(n byte) func(*security.Request) { return func(q *security.Request) { q.QoS = n } }
func retained(q *security.Request)       { q.Retain = true }
func will(q *security.Request)           { q.Will = true }
func secure(q *security.Request)         { q.Principal.Secure = true }
func on(l string) func(*security.Request) {
	return func(q *security.Request) { q.Principal.Listener = l }
}
func from(addr string) func(*security.Request) {
	return func(q *security.Request) { q.Principal.Addr = netip.AddrPortFrom(netip.MustParseAddr(addr), 1) }
}
func at(moment string) func(*security.Request) {
	when, err := time.Parse(time.RFC3339, moment)
	if err != nil {
		panic(err)
	}
	return func(q *security.Request) { q.At = when.UnixNano() }
}
func message(payload string) func(*security.Request) {
	return func(q *security.Request) { q.Message = &security.Message{Payload: []byte(payload)} }
}
func group(g string) func(*security.Request) {
	return func(q *security.Request) { q.Shared, q.Group = true, g }
}
func by(name, clientID string, roles ...string) func(*security.Request) {
	return func(q *security.Request) {
		q.Principal = &security.Principal{Name: name, ClientID: clientID, Roles: roles}
	}
}

const (
	con = security.Connect
	pub = security.Publish
	sub = security.Subscribe
	rcv = security.Receive
)

func TestDecide(t *testing.T) {
	tests := []struct {
		name  string
		rules string // of everyone, one per line
		q     *security.Request
		want  security.Effect
	}{
		{"publish includes retained messages", "allow: publish, topic: a", as(pub, "a", retained), security.Allow},
		{"publish includes wills", "allow: publish, topic: a", as(pub, "a", will), security.Allow},
		{"retain is retained messages", "allow: retain, topic: a", as(pub, "a", retained), security.Allow},
		{"retain is no other message", "allow: retain, topic: a", as(pub, "a"), security.Silent},
		{"will is wills", "allow: will, topic: a", as(pub, "a", will), security.Allow},
		{"will is no message", "allow: will, topic: a", as(pub, "a"), security.Silent},
		{"a deny of retain leaves other messages", "allow: publish, topic: a\ndeny: retain, topic: a", as(pub, "a"), security.Allow},
		{"a deny of retain beats publish", "allow: publish, topic: a\ndeny: retain, topic: a", as(pub, "a", retained), security.Deny},
		{"a deny of will beats publish", "allow: publish, topic: a\ndeny: will, topic: a", as(pub, "a", will), security.Deny},
		{"a deny of will leaves messages", "allow: publish, topic: a\ndeny: will, topic: a", as(pub, "a"), security.Allow},
		{"a deny of publish is one of wills", "allow: will, topic: a\ndeny: publish, topic: a", as(pub, "a", will), security.Deny},
		{"receive is delivery", "allow: receive, topic: a", as(rcv, "a"), security.Allow},
		{"receive is not subscribe", "allow: receive, topic: a", as(sub, "a"), security.Silent},
		{"a deny of receive leaves the subscription", "allow: subscribe, topic: a\ndeny: receive, topic: a", as(sub, "a"), security.Allow},
		{"a deny of receive withholds", "allow: subscribe, topic: a\ndeny: receive, topic: a", as(rcv, "a"), security.Deny},
		{"a list of actions is each of them", "allow: [publish, receive], topic: a", as(rcv, "a"), security.Allow},
		{"a list of actions is no other", "allow: [publish, receive], topic: a", as(sub, "a"), security.Silent},
		{"all is publish", "allow: all, topic: a", as(pub, "a", retained, will), security.Allow},
		{"all is subscribe", "allow: all, topic: a", as(sub, "a"), security.Allow},
		{"all is not connect", "deny: all, topic: '#'", as(con, ""), security.Silent},
		{"a list of topics is each of them", "allow: publish, topic: [a, b/+]", as(pub, "b/c"), security.Allow},
		{"a list of topics is no other", "allow: publish, topic: [a, b/+]", as(pub, "b"), security.Silent},
		{"a list of topics covers together", "allow: subscribe, topic: [a, a/+, a/+/#]", as(sub, "a/#"), security.Allow},
		{"one qos alone", "allow: publish, topic: a, qos: 1", as(pub, "a", qos(1)), security.Allow},
		{"one qos alone is no other", "allow: publish, topic: a, qos: 1", as(pub, "a"), security.Silent},

		{"nothing is about connecting", "allow: all, topic: '#'", as(con, ""), security.Silent},
		{"allow connect", "allow: connect", as(con, ""), security.Allow},
		{"deny connect", "allow: connect\ndeny: connect", as(con, ""), security.Deny},
		{"connect among others has no topic", "allow: [connect, publish], topic: a", as(con, ""), security.Allow},
		{"the others have theirs", "allow: [connect, publish], topic: a", as(pub, "b"), security.Silent},
		{"connect from an address", "allow: connect, from: 192.0.2.0/24", as(con, "", from("192.0.2.7")), security.Allow},
		{"connect from elsewhere", "allow: connect, from: 192.0.2.0/24", as(con, "", from("198.51.100.7")), security.Silent},
		{"connect without an address", "allow: connect, from: 192.0.2.0/24", as(con, ""), security.Silent},
		{"deny connect from one of several", "deny: connect, from: [192.0.2.1, '2001:db8::/32']", as(con, "", from("2001:db8::1")), security.Deny},

		{"from an address", "allow: publish, topic: a, from: 192.0.2.1", as(pub, "a", from("192.0.2.1")), security.Allow},
		{"from another address", "allow: publish, topic: a, from: 192.0.2.1", as(pub, "a", from("192.0.2.2")), security.Silent},
		{"on a listener", "allow: publish, topic: a, listener: [x, y]", as(pub, "a", on("y")), security.Allow},
		{"on another listener", "allow: publish, topic: a, listener: [x, y]", as(pub, "a", on("z")), security.Silent},
		{"tls required, over TLS", "allow: publish, topic: a, tls: required", as(pub, "a", secure), security.Allow},
		{"tls required, in the clear", "allow: publish, topic: a, tls: required", as(pub, "a"), security.Silent},
		{"tls forbidden, over TLS", "deny: publish, topic: a, tls: forbidden", as(pub, "a", secure), security.Silent},
		{"tls forbidden, in the clear", "deny: publish, topic: a, tls: forbidden", as(pub, "a"), security.Deny},
		{"tls allowed", "allow: publish, topic: a, tls: allowed", as(pub, "a"), security.Allow},
		{"within the time", "allow: publish, topic: a, time: {days: mon-fri, from: '08:00', to: '18:00'}", as(pub, "a", at("2026-11-23T12:00:00Z")), security.Allow},
		{"outside the time", "allow: publish, topic: a, time: {days: mon-fri, from: '08:00', to: '18:00'}", as(pub, "a", at("2026-11-23T18:00:00Z")), security.Silent},
		{"one of several times", "allow: publish, topic: a, time: [{days: sun}, {not_before: '2026-11-01T00:00:00Z'}]", as(pub, "a", at("2026-11-23T18:00:00Z")), security.Allow},
		{"a zone", "allow: publish, topic: a, time: {from: '08:00', to: '09:00', zone: Asia/Tokyo}", as(pub, "a", at("2026-11-22T23:30:00Z")), security.Allow},
		{"a condition that holds", "allow: publish, topic: a, when: 'username == \"alice\"'", as(pub, "a"), security.Allow},
		{"a condition that does not hold", "allow: publish, topic: a, when: 'username == \"bob\"'", as(pub, "a"), security.Silent},
		{"a deny whose condition fails denies", "allow: publish, topic: a\ndeny: publish, topic: a, when: 'attr[\"site\"] == \"x\"'", as(pub, "a"), security.Deny},
		{"an allow whose condition fails is silent", "allow: publish, topic: a, when: 'attr[\"site\"] == \"x\"'", as(pub, "a"), security.Silent},

		{"HiveMQ's words", "allow: ALL, topic: 'a/${{clientid}}', qos: ZERO_ONE, retain: NOT_RETAINED, shared: ALL, group: '#'", as(pub, "a/dev1", qos(1)), security.Allow},
		{"HiveMQ's QoS is a set", "allow: PUBLISH, topic: a, qos: ZERO_ONE", as(pub, "a", qos(2)), security.Silent},
		{"HiveMQ's not retained", "allow: PUBLISH, topic: a, qos: ALL, retain: NOT_RETAINED", as(pub, "a", retained), security.Silent},
		{"HiveMQ's shared", "allow: SUBSCRIBE, topic: a, shared: SHARED, group: g", as(sub, "a"), security.Silent},

		{"blocklist: what is not denied", "allow: all, topic: '#'\ndeny: all, topic: payroll/#", as(pub, "a/b"), security.Allow},
		{"blocklist: what is denied", "deny: all, topic: payroll/#\nallow: all, topic: '#'", as(pub, "payroll/x"), security.Deny},

		{"nothing matching is silence", "allow: publish, topic: b", as(pub, "a"), security.Silent},
		{"allow publish", "allow: publish, topic: a/+", as(pub, "a/b"), security.Allow},
		{"publish is not subscribe", "allow: publish, topic: a", as(sub, "a"), security.Silent},
		{"publish is not receive", "allow: publish, topic: a", as(rcv, "a"), security.Silent},
		{"subscribe implies receive", "allow: subscribe, topic: a/#", as(rcv, "a/b/c"), security.Allow},
		{"subscribe is not publish", "allow: subscribe, topic: a", as(pub, "a"), security.Silent},
		{"both is publish", "allow: both, topic: a", as(pub, "a"), security.Allow},
		{"both is subscribe", "allow: both, topic: a", as(sub, "a"), security.Allow},
		{"deny beats an allow before it", "allow: both, topic: a\ndeny: both, topic: a", as(pub, "a"), security.Deny},
		{"deny beats an allow after it", "deny: both, topic: a/#\nallow: both, topic: a", as(pub, "a"), security.Deny},
		{"a deny elsewhere is silence", "deny: both, topic: b", as(pub, "a"), security.Silent},
		{"connections are not judged", "deny: both, topic: '#'", as(security.Connect, ""), security.Silent},

		{"an allow covers a narrower filter", "allow: subscribe, topic: a/#", as(sub, "a/+/c"), security.Allow},
		{"an allow does not cover a wider filter", "allow: subscribe, topic: a/+", as(sub, "a/#"), security.Silent},
		{"allows cover together", "allow: subscribe, topic: a\nallow: subscribe, topic: a/+/#", as(sub, "a/#"), security.Allow},
		{"a hole in the union is seen", "allow: subscribe, topic: a/+\nallow: subscribe, topic: a/+/+/#", as(sub, "a/#"), security.Silent},
		{"a covering deny refuses", "allow: subscribe, topic: '#'\ndeny: subscribe, topic: s/#", as(sub, "s/x"), security.Deny},
		{"an overlapping deny leaves the subscription", "allow: subscribe, topic: '#'\ndeny: subscribe, topic: s/#", as(sub, "#"), security.Allow},
		{"an overlapping deny withholds at delivery", "allow: subscribe, topic: '#'\ndeny: subscribe, topic: s/#", as(rcv, "s/x"), security.Deny},
		{"and only what it is about", "allow: subscribe, topic: '#'\ndeny: subscribe, topic: s/#", as(rcv, "t/x"), security.Allow},
		{"# covers no $ topic", "allow: both, topic: '#'", as(sub, "$SYS/#"), security.Silent},
		{"+ covers no $ topic", "allow: both, topic: +/x", as(rcv, "$SYS/x"), security.Silent},
		{"$SYS is allowed by name", "allow: subscribe, topic: $SYS/#", as(sub, "$SYS/broker/+"), security.Allow},

		{"qos in the set", "allow: publish, topic: a, qos: [0, 2]", as(pub, "a", qos(2)), security.Allow},
		{"qos not in the set", "allow: publish, topic: a, qos: [0, 2]", as(pub, "a", qos(1)), security.Silent},
		{"qos beyond the protocol", "allow: publish, topic: a", as(pub, "a", qos(3)), security.Silent},
		{"subscription above the allowed qos", "allow: subscribe, topic: a, qos: [0]", as(sub, "a", qos(1)), security.Silent},
		{"delivery above the allowed qos", "allow: subscribe, topic: a, qos: [0]", as(rcv, "a", qos(1)), security.Silent},
		{"delivery below the allowed qos", "allow: subscribe, topic: a, qos: [2]", as(rcv, "a", qos(0)), security.Allow},
		{"a deny of one qos", "allow: both, topic: a\ndeny: publish, topic: a, qos: [2]", as(pub, "a", qos(2)), security.Deny},
		{"a deny of one qos leaves others", "allow: both, topic: a\ndeny: publish, topic: a, qos: [2]", as(pub, "a", qos(1)), security.Allow},

		{"retain forbidden, retained", "allow: publish, topic: a, retain: forbidden", as(pub, "a", retained), security.Silent},
		{"retain forbidden, not retained", "allow: publish, topic: a, retain: forbidden", as(pub, "a"), security.Allow},
		{"retain required, not retained", "allow: publish, topic: a, retain: required", as(pub, "a"), security.Silent},
		{"retain required, retained", "allow: publish, topic: a, retain: required", as(pub, "a", retained), security.Allow},
		{"retain allowed, retained", "allow: publish, topic: a, retain: allowed", as(pub, "a", retained), security.Allow},
		{"retain does not concern delivery", "allow: both, topic: a, retain: forbidden", as(rcv, "a", retained), security.Allow},

		{"shared forbidden, shared", "allow: subscribe, topic: a, shared: forbidden", as(sub, "a", group("g")), security.Silent},
		{"shared forbidden, ordinary", "allow: subscribe, topic: a, shared: forbidden", as(sub, "a"), security.Allow},
		{"shared required, ordinary", "allow: subscribe, topic: a, shared: required", as(sub, "a"), security.Silent},
		{"shared required, shared", "allow: subscribe, topic: a, shared: required", as(sub, "a", group("g")), security.Allow},
		{"the named group", "allow: subscribe, topic: a, group: g", as(sub, "a", group("g")), security.Allow},
		{"another group", "allow: subscribe, topic: a, group: g", as(sub, "a", group("h")), security.Silent},
		{"a group implies shared", "allow: subscribe, topic: a, group: g", as(sub, "a"), security.Silent},
		{"a group beside shared allowed leaves ordinary ones", "allow: subscribe, topic: a, group: g, shared: allowed", as(sub, "a"), security.Allow},
		{"any group", "allow: subscribe, topic: a, group: '#'", as(sub, "a", group("h")), security.Allow},
		{"any group implies nothing", "allow: subscribe, topic: a, group: '#'", as(sub, "a"), security.Allow},
		{"a shared subscription delivers", "allow: subscribe, topic: a, group: g", as(rcv, "a", group("g")), security.Allow},
		{"a shared right delivers to no ordinary subscription", "allow: subscribe, topic: a, group: g", as(rcv, "a"), security.Silent},
		{"a right to a group delivers to no other", "allow: subscribe, topic: a, group: g", as(rcv, "a", group("h")), security.Silent},
		{"a right but to share delivers to no shared subscription", "allow: subscribe, topic: a, shared: forbidden", as(rcv, "a", group("h")), security.Silent},
		{"a deny of sharing leaves a subscription that it overlaps", "allow: subscribe, topic: '#'\ndeny: subscribe, topic: s/#, shared: required", as(sub, "#", group("g")), security.Allow},
		{"a deny of sharing withholds what it overlaps", "allow: subscribe, topic: '#'\ndeny: subscribe, topic: s/#, shared: required", as(rcv, "s/x", group("g")), security.Deny},
		{"a deny of sharing refuses what it covers", "allow: subscribe, topic: '#'\ndeny: subscribe, topic: s/#, shared: required", as(sub, "s/x", group("g")), security.Deny},
		{"a deny of sharing leaves ordinary subscriptions", "allow: subscribe, topic: '#'\ndeny: subscribe, topic: s/#, shared: required", as(sub, "s/x"), security.Allow},
		{"a deny of sharing leaves ordinary delivery", "allow: subscribe, topic: '#'\ndeny: subscribe, topic: s/#, shared: required", as(rcv, "s/x"), security.Allow},
		{"one of several groups", "allow: subscribe, topic: a, group: [g, h]", as(sub, "a", group("h")), security.Allow},
		{"none of several groups", "allow: subscribe, topic: a, group: [g, h]", as(sub, "a", group("i")), security.Silent},
		{"several groups imply shared", "allow: subscribe, topic: a, group: [g, h]", as(sub, "a"), security.Silent},
		{"a deny of a group leaves others", "allow: subscribe, topic: '#'\ndeny: subscribe, topic: s/#, group: g", as(sub, "s/x", group("h")), security.Allow},

		{"client id as a level", "allow: publish, topic: 'd/${clientid}/up'", as(pub, "d/dev1/up"), security.Allow},
		{"another's client id", "allow: publish, topic: 'd/${clientid}/up'", as(pub, "d/dev2/up"), security.Silent},
		{"user name in a level", "allow: publish, topic: 'd/u-${username}'", as(pub, "d/u-alice"), security.Allow},
		{"a wildcard as client id matches nothing", "allow: both, topic: 'd/${clientid}'", as(sub, "d/+", by("alice", "+")), security.Silent},
		{"a client id of two levels matches nothing", "allow: both, topic: 'd/${clientid}'", as(pub, "d/a/b", by("alice", "a/b")), security.Silent},
		{"an empty client id matches nothing", "allow: both, topic: 'd/${clientid}'", as(pub, "d/", by("alice", "")), security.Silent},
		{"an absent user name matches nothing", "allow: both, topic: 'd/${username}'", as(pub, "d/", by("", "c")), security.Silent},
		{"a client id can't lead to $SYS", "allow: both, topic: '${clientid}/x'", as(sub, "$SYS/x", by("alice", "$SYS")), security.Silent},
		{"a value is not expanded again", "allow: both, topic: 'd/${clientid}'", as(pub, "d/alice", by("alice", "${username}")), security.Silent},
		{"a deny that can't be expanded denies", "allow: both, topic: '#'\ndeny: both, topic: 'd/${clientid}'", as(pub, "x", by("alice", "a/b")), security.Deny},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var b strings.Builder
			b.WriteString("everyone:\n")
			for line := range strings.SplitSeq(tt.rules, "\n") {
				b.WriteString("  - {" + line + "}\n")
			}
			got := parse(t, b.String()).Decide(tt.q)
			if got.Effect != tt.want {
				t.Errorf("Decide = %+v, want %v, with\n%s", got, tt.want, b.String())
			}
			if got.Policy != "permissions" || got.File != "p.yaml" || got.Rule == "" || got.Effect != security.Silent && got.Line == 0 {
				t.Errorf("verdict without its reason: %+v", got)
			}
		})
	}
	nobody := parse(t, "everyone: [{allow: both, topic: '#'}]").Decide(&security.Request{Action: pub, Topic: "a"})
	if nobody.Effect != security.Deny {
		t.Errorf("a request of nobody: %+v", nobody)
	}
}

const plant = `# who may do what
users:
  alice:
    permissions:
      - allow: publish
        topic: alice/#
    roles: [reader]
  bob:
    roles: [reader, banned]
roles:
  reader:
    permissions:
      - allow: subscribe
        topic: plant/#
  banned:
    permissions:
      - {deny: both, topic: "#"}
  writer:
    permissions:
      - {allow: publish, topic: plant/#}
everyone:
  - {allow: both, topic: public/#}
`

func TestWhoseRulesCount(t *testing.T) {
	p := parse(t, plant)
	if p.Rules() != 5 || p.Name() != "permissions" {
		t.Errorf("%d rules of %q", p.Rules(), p.Name())
	}
	tests := []struct {
		name string
		q    *security.Request
		want security.Effect
		line int
	}{
		{"a user's own rule", as(pub, "alice/x"), security.Allow, 5},
		{"a role's rule", as(sub, "plant/1"), security.Allow, 13},
		{"everyone's rule", as(pub, "public/x"), security.Allow, 22},
		{"another user's rule", as(pub, "alice/x", by("carol", "c")), security.Silent, 0},
		{"a silent answer leads to the user", as(pub, "x"), security.Silent, 3},
		{"everyone's rule for a user the file does not name", as(pub, "public/x", by("carol", "c")), security.Allow, 22},
		{"everyone's rule for anonymous", as(pub, "public/x", by("", "c")), security.Allow, 22},
		{"a role's deny", as(pub, "public/x", by("bob", "c")), security.Deny, 17},
		{"a role of the authenticator", as(pub, "plant/1", by("carol", "c", "writer")), security.Allow, 20},
		{"a deny by the authenticator's role", as(pub, "alice/x", by("alice", "c", "banned")), security.Deny, 17},
		{"an unknown role of the authenticator", as(pub, "plant/1", by("carol", "c", "admin")), security.Silent, 0},
	}
	for _, tt := range tests {
		if got := p.Decide(tt.q); got.Effect != tt.want || got.Line != tt.line {
			t.Errorf("%s: %+v, want %v of line %d", tt.name, got, tt.want, tt.line)
		}
	}
}

func TestAdmit(t *testing.T) {
	p := parse(t, `
everyone:
  - {allow: both, topic: "a/${clientid}"}
users:
  alice:
    permissions:
      - {deny: publish, topic: "b/${clientid}"}
`)
	tests := []struct {
		name string
		q    *security.Request
		want string // in the error; empty for none
	}{
		{"usable values", as(pub, ""), ""},
		{"an unusable value in an allow rule", as(pub, "", by("bob", "x/y")), ""},
		{"an unusable value in a deny rule", as(pub, "", by("alice", "x/#")), `p.yaml:7: deny publish b/${clientid}: value of placeholder clientid`},
		{"a long value is cut", as(pub, "", by("alice", strings.Repeat("+", 100))), strings.Repeat("+", 61)},
	}
	for _, tt := range tests {
		err := p.Admit(tt.q.Principal)
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	var _ security.AdmitPolicy = p
}

func TestAllowAll(t *testing.T) {
	p := AllowAll("open")
	for _, a := range []security.Action{pub, sub, rcv} {
		if v := p.Decide(as(a, "x")); !v.Allowed() || v.Policy != "open" || v.Rule != "allow_all" {
			t.Errorf("%v: %+v", a, v)
		}
	}
	if v := p.Decide(&security.Request{Action: pub}); v.Allowed() {
		t.Error("nobody is allowed")
	}
}

func TestFilters(t *testing.T) {
	p := parse(t, `
everyone: [{allow: both, topic: ["a/${clientid}", "b/#"]}, {deny: publish, topic: "b/#"}, {allow: connect}]
groups: {g: {permissions: [{allow: subscribe, topic: "g/${groups}"}]}}
`)
	pr := &security.Principal{ClientID: "c", Groups: []string{"g", "h"}}
	if got, want := p.Filters(pr), []string{"a/c", "b/#", "g/g", "g/h"}; !slices.Equal(got, want) {
		t.Errorf("Filters = %q, want %q", got, want)
	}
}

func TestAnAnswerHoldsUntilAWindowChanges(t *testing.T) {
	p := parse(t, `
everyone:
  - {allow: publish, topic: a, time: {from: "08:00", to: "18:00"}}
  - {deny: publish, topic: b, time: {from: "12:00", to: "13:00"}}
  - {allow: publish, topic: b}
  - {allow: publish, topic: c, when: 'size < 3'}
  - {allow: publish, topic: d}
`)
	moment := func(s string) int64 { return as(pub, "", at(s)).At }
	tests := []struct {
		name     string
		q        *security.Request
		want     security.Effect
		until    int64
		volatile bool
	}{
		{"an open window", as(pub, "a", at("2026-11-23T12:00:00Z")), security.Allow, moment("2026-11-23T18:00:00Z"), false},
		{"a closed window", as(pub, "a", at("2026-11-23T18:00:00Z")), security.Silent, moment("2026-11-24T08:00:00Z"), false},
		{"a deny that is to come", as(pub, "b", at("2026-11-23T11:00:00Z")), security.Allow, moment("2026-11-23T12:00:00Z"), false},
		{"a deny that holds", as(pub, "b", at("2026-11-23T12:30:00Z")), security.Deny, moment("2026-11-23T13:00:00Z"), false},
		{"a condition on the message", as(pub, "c", at("2026-11-23T12:30:00Z"), message("xx")), security.Allow, 0, true},
		{"a condition on the message that is false", as(pub, "c", at("2026-11-23T12:30:00Z"), message("xxx")), security.Silent, 0, true},
		{"no condition", as(pub, "d", at("2026-11-23T12:30:00Z")), security.Allow, 0, false},
	}
	for _, tt := range tests {
		if v := p.Decide(tt.q); v.Effect != tt.want || v.Until != tt.until || v.Volatile != tt.volatile {
			t.Errorf("%s: %+v, want %v until %d, volatile %t", tt.name, v, tt.want, tt.until, tt.volatile)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	small := "everyone:\n  - {deny: both, topic: secret/#}\n  - {allow: both, topic: \"d/${clientid}/#\"}\n  - {allow: both, topic: plant/+/state}\n"
	for _, bench := range []struct {
		name, file string
		q          *security.Request
	}{
		{"literal", small, as(pub, "plant/7/state")},
		{"placeholder", small, as(pub, "d/dev1/x")},
		{"1000 rules", factoryOf(1000), as(pub, "plant/4/line/99/state", by("user7", "c"))},
		{"100000 rules", factoryOf(100_000), as(pub, "plant/499/line/99/state", by("user7", "c"))},
		{"100000 rules, none", factoryOf(100_000), as(pub, "plant/500/line/99/state", by("user7", "c"))},
	} {
		p := parse(b, bench.file)
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.Decide(bench.q)
			}
		})
		b.Run("explain "+bench.name, func(b *testing.B) {
			for b.Loop() {
				p.Explain(bench.q)
			}
		})
	}
}
