package expect_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/security"
	"sallyport/security/expect"
)

const table = `config: sallyport.yaml
identities:
  meter: {client_id: meter-17, user: meter-17, address: "::ffff:192.0.2.7", groups: g, roles: [a, b], attributes: {site: x}, claims: '{"scope": ["r"]}', certificate: m.pem, tls: true}
  nobody: {client_id: c}
tests:
  - {who: meter, publish: meters/meter-17/kwh, qos: 1, retain: true, will: true, allowed: true, name: its own, at: "2026-03-01T08:30:00Z"}
  - who: nobody
    subscribe:
      - a/#
      - $share/g/b/+
    allowed: false
  - {identity: {client_id: x}, connect: true, allowed: true}
  - {who: nobody, receive: $share/g/a, allowed: false}
`

func TestATableIsRead(t *testing.T) {
	got, err := expect.ParseTable([]byte(table), "dir/t.yaml")
	if err != nil {
		t.Fatal(err)
	}
	at, _ := time.Parse(time.RFC3339, "2026-03-01T08:30:00Z")
	want := []struct {
		who  string
		q    security.Request
		text string
		ok   bool
		line int
	}{
		{"meter", security.Request{Action: security.Publish, Topic: "meters/meter-17/kwh", QoS: 1, Retain: true, Will: true, At: at.UnixNano()}, "publish meters/meter-17/kwh at QoS 1, retained, as a will", true, 6},
		{"nobody", security.Request{Action: security.Subscribe, Topic: "a/#"}, "subscribe a/# at QoS 0", false, 9},
		{"nobody", security.Request{Action: security.Subscribe, Topic: "b/+", Shared: true, Group: "g"}, "subscribe $share/g/b/+ at QoS 0", false, 10},
		{"x", security.Request{Action: security.Connect}, "connect", true, 12},
		{"nobody", security.Request{Action: security.Receive, Topic: "a", Shared: true, Group: "g"}, "receive $share/g/a at QoS 0", false, 13},
	}
	if got.Config != filepath.Join("dir", "sallyport.yaml") || len(got.Expectations) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i, w := range want {
		x := got.Expectations[i]
		if x.WhoName != w.who || x.Request != w.q || expect.Text(&x.Request) != w.text || x.Allowed != w.ok || x.Line != w.line || x.File != "dir/t.yaml" {
			t.Errorf("expectation %d: %+v, want %+v", i, x, w)
		}
	}
	m := got.Expectations[0].Who
	if m.Address.String() != "192.0.2.7" || m.Certificate != filepath.Join("dir", "m.pem") || len(m.Groups) != 1 || len(m.Roles) != 2 || m.Claims["scope"] == nil || !m.TLS {
		t.Errorf("identity: %+v", m)
	}
}

func TestIdentitiesAreReadInTheOrderOfTheFile(t *testing.T) {
	got, err := expect.ParseIdentities([]byte("identities:\n  z: {client_id: a}\n  a: {client_id: b}\n"), "w.yaml")
	if err != nil || len(got) != 2 || got[0].Name != "z" || got[1].Name != "a" || got[1].Line != 3 {
		t.Errorf("%+v, %v", got, err)
	}
}

// refusals are tables that are not valid, and what is said of them.
var refusals = []struct{ name, text, want string }{
	{"an empty file", "", "the file is empty"},
	{"no test", "identities: {a: {client_id: c}}\n", "tests: holds no expectation"},
	{"an empty list of tests", "tests: []\n", "tests: holds no expectation"},
	{"an unknown key", "tests:\n- {who: a, publsh: b, allowed: true}\n", "t.yaml:2:12: tests[0].publsh: unknown key; did you mean publish?"},
	{"nobody", "tests:\n- {publish: b, allowed: true}\n", "t.yaml:2:3: tests[0]: needs either who, a name under identities, or identity"},
	{"two of them", "identities: {a: {client_id: c}}\ntests:\n- {who: a, identity: {client_id: c}, publish: b, allowed: true}\n", "needs either who"},
	{"an unknown name", "tests:\n- {who: b, publish: b, allowed: true}\n", `t.yaml:2:9: tests[0]: there is no "b" under identities`},
	{"no action", "tests:\n- {identity: {client_id: c}, allowed: true}\n", "needs a topic under publish, subscribe or receive, or connect: true"},
	{"an empty list of topics", "tests:\n- {identity: {client_id: c}, publish: [], allowed: true}\n", "needs a topic"},
	{"an empty topic", "tests:\n- {identity: {client_id: c}, publish: '', allowed: true}\n", "needs a topic"},
	{"two actions", "tests:\n- {identity: {client_id: c}, publish: a, subscribe: b, allowed: true}\n", "more than one of"},
	{"an action and a connection", "tests:\n- {identity: {client_id: c}, publish: a, connect: true, allowed: true}\n", "more than one of"},
	{"no expectation of the answer", "tests:\n- {identity: {client_id: c}, publish: a}\n", "needs allowed: true or allowed: false"},
	{"QoS 3", "tests:\n- {identity: {client_id: c}, publish: a, qos: 3, allowed: true}\n", "QoS must be 0, 1 or 2"},
	{"a wildcard in a name", "tests:\n- {identity: {client_id: c}, publish: a/#, allowed: true}\n", "wildcard"},
	{"a filter that is none", "tests:\n- {identity: {client_id: c}, subscribe: a/#/b, allowed: true}\n", "t.yaml:2:41: tests[0]: "},
	{"a share without a group", "tests:\n- {identity: {client_id: c}, subscribe: $share//b, allowed: true}\n", "empty group"},
	{"a retained subscription", "tests:\n- {identity: {client_id: c}, subscribe: a, retain: true, allowed: true}\n", "not about subscriptions"},
	{"a will that is received", "tests:\n- {identity: {client_id: c}, receive: a, will: true, allowed: true}\n", "can be a will"},
	{"a connection with a QoS", "tests:\n- {identity: {client_id: c}, connect: true, qos: 1, allowed: true}\n", "a connection has no topic"},
	{"a time without zone", "tests:\n- {identity: {client_id: c}, connect: true, at: '2026-03-01T08:30:00', allowed: true}\n", "must be a time such as"},
	{"an identity without client id", "identities: {a: {user: u}}\ntests:\n- {who: a, connect: true, allowed: true}\n", "t.yaml:1:17: identities.a: needs a client id"},
	{"an inline identity without client id", "tests:\n- {identity: {user: u}, connect: true, allowed: true}\n", "identity: needs a client id"},
	{"a bad address", "identities: {a: {client_id: c, address: here}}\ntests:\n- {who: a, connect: true, allowed: true}\n", "must be an address such as"},
	{"claims that are no object", "identities: {a: {client_id: c, claims: '[1]'}}\ntests:\n- {who: a, connect: true, allowed: true}\n", "must be a JSON object"},
	{"claims that are null", "identities: {a: {client_id: c, claims: 'null'}}\ntests:\n- {who: a, connect: true, allowed: true}\n", "must be a JSON object"},
	{"a user with a NUL", "identities: {a: {client_id: c, user: \"a\\0\"}}\ntests:\n- {who: a, connect: true, allowed: true}\n", "t.yaml:1"},
}

func TestABrokenTableIsRefused(t *testing.T) {
	for _, tt := range refusals {
		_, err := expect.ParseTable([]byte(tt.text), "t.yaml")
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

func TestAFileWithoutIdentitiesIsRefused(t *testing.T) {
	for _, text := range []string{"", "identities: {}\n", "tests: []\n", "identities:\n  a: {user: b}\n", "who: {}\n"} {
		if _, err := expect.ParseIdentities([]byte(text), "w.yaml"); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
	var b strings.Builder
	b.WriteString("identities: {")
	for i := range 5001 {
		b.WriteString(strings.Repeat("x", 1+i%7) + strings.Repeat("y", i/7) + ": {client_id: c}, ")
	}
	if _, err := expect.ParseIdentities([]byte(b.String()+"}"), "w.yaml"); err == nil {
		t.Error("5,001 identities were accepted")
	}
}

func FuzzTable(f *testing.F) {
	f.Add([]byte(table))
	for _, r := range refusals {
		f.Add([]byte(r.text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := expect.ParseTable(data, "t.yaml")
		if err != nil {
			return
		}
		if len(got.Expectations) == 0 {
			t.Error("a table without an expectation was accepted")
		}
		for _, x := range got.Expectations {
			if err := x.Who.Check(); err != nil {
				t.Errorf("%+v: %v", x.Who, err)
			}
			if q := x.Request; q.QoS > 2 || q.Action == 0 || (q.Topic == "") != (q.Action == security.Connect) || q.Shared != (q.Group != "") {
				t.Errorf("%+v", q)
			}
		}
	})
}

func FuzzIdentities(f *testing.F) {
	f.Add([]byte(table))
	f.Add([]byte("identities:\n  a: {client_id: b, claims: '{}'}\n"))
	for _, r := range refusals {
		f.Add([]byte(r.text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := expect.ParseIdentities(data, "t.yaml")
		if err == nil && len(got) == 0 {
			t.Error("a file that names nobody was accepted")
		}
		for _, id := range got {
			if err := id.Who.Check(); err != nil {
				t.Errorf("%+v: %v", id, err)
			}
		}
	})
}
