package docs

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"sallyport/security"
	"sallyport/security/roles"
)

const (
	con = security.Connect
	pub = security.Publish
	sub = security.Subscribe
	get = security.Receive
)

// permissionsAfter compiles the permission file that stands below a heading of
// docs/permissions.md.
func permissionsAfter(t *testing.T, heading string) *roles.Policy {
	t.Helper()
	_, section, found := strings.Cut(read(t, "docs/permissions.md"), "\n## "+heading+"\n")
	blocks, _ := split("docs/permissions.md", section)
	if !found || len(blocks) == 0 {
		t.Fatalf("docs/permissions.md has no file below %q", heading)
	}
	policy, err := roles.Parse(roles.Options{Name: "permissions", Path: "permissions.yaml"}, []byte(blocks[0].text))
	if err != nil {
		t.Fatal(err)
	}
	return policy
}

// decider asks a policy on the listener l, as the broker does.
func decider(policy *roles.Policy) func(*security.Principal, security.Request) security.Verdict {
	gate := security.NewGate(&security.Ruleset{ByListener: map[string][]security.Policy{"l": {policy}}})
	return func(p *security.Principal, q security.Request) security.Verdict {
		p.Realm, p.Listener = "passwords", "l"
		if p.ClientID == "" {
			p.ClientID = "c"
		}
		q.Principal = p
		q.Shared = q.Group != ""
		return gate.Decide(&q)
	}
}

func peer(address string) netip.AddrPort {
	if address == "" {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(netip.MustParseAddr(address), 50_000)
}

// TestPermissionsPageAnswersAsItSays asks the example file of docs/permissions.md
// what the table below it says.
func TestPermissionsPageAnswersAsItSays(t *testing.T) {
	page := read(t, "docs/permissions.md")
	decide := decider(permissionsAfter(t, "The file"))
	monday := func(clock string) int64 {
		at, err := time.Parse(time.RFC3339, "2026-11-23T"+clock+"+01:00")
		if err != nil {
			t.Fatal(err)
		}
		return at.UnixNano()
	}
	office := security.Principal{Name: "bob", Addr: peer("192.0.2.7"), Secure: true}
	rows := []struct {
		row    string // how the row of the table begins; empty if it has none
		who    security.Principal
		q      security.Request
		allows bool
	}{
		{"alice | publishes `a/b` | yes", security.Principal{Name: "alice"}, security.Request{Action: pub, Topic: "a/b"}, true},
		{"alice | publishes `payroll/x` | 0x87", security.Principal{Name: "alice"}, security.Request{Action: pub, Topic: "payroll/x"}, false},
		{"alice | subscribes `payroll/#` or `payroll/x` | 0x87", security.Principal{Name: "alice"}, security.Request{Action: sub, Topic: "payroll/#"}, false},
		{"", security.Principal{Name: "alice"}, security.Request{Action: sub, Topic: "payroll/x"}, false},
		{"alice | subscribes `#` | yes", security.Principal{Name: "alice"}, security.Request{Action: sub, Topic: "#"}, true},
		{"", security.Principal{Name: "alice"}, security.Request{Action: get, Topic: "payroll/x"}, false},
		{"", security.Principal{Name: "alice"}, security.Request{Action: get, Topic: "a/b"}, true},
		{"alice | subscribes `$SYS/#` | 0x87", security.Principal{Name: "alice"}, security.Request{Action: sub, Topic: "$SYS/#"}, false},
		{"alice | subscribes `$SYS/broker/clients/connected` | yes", security.Principal{Name: "alice"}, security.Request{Action: sub, Topic: "$SYS/broker/clients/connected"}, true},
		{"anyone | publishes `$SYS/x` | 0x87", security.Principal{Name: "alice"}, security.Request{Action: pub, Topic: "$SYS/x"}, false},
		{"meter-17 | publishes `meters/meter-17/kwh` | yes", security.Principal{Name: "meter-17"}, security.Request{Action: pub, Topic: "meters/meter-17/kwh"}, true},
		{"meter-17 | publishes `meters/meter-18/kwh` | 0x87", security.Principal{Name: "meter-17"}, security.Request{Action: pub, Topic: "meters/meter-18/kwh"}, false},
		{"meter-17 | the same to its own topic, at QoS 2 | 0x87", security.Principal{Name: "meter-17"}, security.Request{Action: pub, Topic: "meters/meter-17/kwh", QoS: 2}, false},
		{"bob | publishes `status/bob` | yes", security.Principal{Name: "bob"}, security.Request{Action: pub, Topic: "status/bob"}, true},
		{"bob | publishes `status/bob`, retained | 0x87", security.Principal{Name: "bob"}, security.Request{Action: pub, Topic: "status/bob", Retain: true}, false},
		{"bob | subscribes `jobs/#` | 0x87", security.Principal{Name: "bob"}, security.Request{Action: sub, Topic: "jobs/#"}, false},
		{"bob | subscribes `$share/workers/jobs/#` | yes", security.Principal{Name: "bob"}, security.Request{Action: sub, Topic: "jobs/#", Group: "workers"}, true},
		{"bob | subscribes `$share/others/jobs/#` | 0x87", security.Principal{Name: "bob"}, security.Request{Action: sub, Topic: "jobs/#", Group: "others"}, false},
		{"bob | subscribes `floor/2` from 192.0.2.7 over TLS | yes", office, security.Request{Action: sub, Topic: "floor/2"}, true},
		{"bob | the same without TLS, or from 198.51.100.7 | 0x87", security.Principal{Name: "bob", Addr: office.Addr}, security.Request{Action: sub, Topic: "floor/2"}, false},
		{"", security.Principal{Name: "bob", Addr: peer("198.51.100.7"), Secure: true}, security.Request{Action: sub, Topic: "floor/2"}, false},
		{"bob | publishes `gate` on a Monday at 10:00 in Vienna | yes", security.Principal{Name: "bob"}, security.Request{Action: pub, Topic: "gate", At: monday("10:00:00")}, true},
		{"bob | the same at 18:00, or on a Sunday | 0x87", security.Principal{Name: "bob"}, security.Request{Action: pub, Topic: "gate", At: monday("18:00:00")}, false},
		{"", security.Principal{Name: "bob"}, security.Request{Action: pub, Topic: "gate", At: monday("10:00:00") - 24*time.Hour.Nanoseconds()}, false},
		{"bob | subscribes `#` | 0x87", security.Principal{Name: "bob"}, security.Request{Action: sub, Topic: "#"}, false},
		{"", security.Principal{Name: "carol", Groups: []string{"office"}}, security.Request{Action: sub, Topic: "jobs/#", Group: "workers"}, true},
		{"", security.Principal{Name: "carol", Roles: []string{"meter", "unknown"}}, security.Request{Action: pub, Topic: "meters/carol/x"}, true},
		{"", security.Principal{Groups: []string{"office"}}, security.Request{Action: sub, Topic: "jobs/#", Group: "workers"}, true},
		{"", security.Principal{}, security.Request{Action: sub, Topic: "announcements/#"}, true},
		{"", security.Principal{}, security.Request{Action: con}, true},
	}
	inTable := 0
	for _, r := range rows {
		if r.row != "" {
			inTable++
			if !strings.Contains(page, "\n| "+r.row+" |") {
				t.Errorf("the table has no row that begins with %q", r.row)
			}
		}
		if r.q.Action != con && r.q.QoS == 0 {
			r.q.QoS = 1 // as the page says
		}
		if v := decide(&r.who, r.q); v.Allowed() != r.allows {
			t.Errorf("%+v of %+v: %s (%s), want allowed %t", r.q, r.who, v.Effect, v.Rule, r.allows)
		}
	}
	_, table, found := strings.Cut(page, "| Who | Does | Answer | Why |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	if n := strings.Count(table, "\n"); !found || n != inTable {
		t.Errorf("the table has %d rows, of which %d are tested", n, inTable)
	}
}

// TestPermissionsPageExamples asks the other files of docs/permissions.md.
func TestPermissionsPageExamples(t *testing.T) {
	sensor := security.Principal{Name: "sensor-1", Addr: peer("2001:db8::7")}
	stranger := security.Principal{Name: "sensor-1", Addr: peer("198.51.100.7")}
	robot := security.Principal{Name: "robot", ClientID: "robot-3", Groups: []string{"maintenance"}, Attrs: map[string]string{"site": "n"}}
	device := security.Principal{Name: "x", ClientID: "d1", Roles: []string{"sensor"}}
	tests := []struct {
		heading string
		name    string
		who     security.Principal
		q       security.Request
		allows  bool
	}{
		{"Placeholders", "its own secret is withheld", security.Principal{ClientID: "cam-1"}, security.Request{Action: get, Topic: "devices/cam-1/secret"}, false},
		{"Placeholders", "the subscription is granted", security.Principal{ClientID: "cam-1"}, security.Request{Action: sub, Topic: "devices/#"}, true},
		{"Placeholders", "a client id of two levels is refused", security.Principal{ClientID: "a/b"}, security.Request{Action: con}, false},

		{"Conditions", "group and site fit", robot, security.Request{Action: pub, Topic: "cell/n"}, true},
		{"Conditions", "another site", robot, security.Request{Action: pub, Topic: "cell/s"}, false},
		{"Conditions", "without the group", security.Principal{Name: "robot", Attrs: robot.Attrs}, security.Request{Action: pub, Topic: "cell/n"}, false},
		{"Conditions", "without the attribute", security.Principal{Name: "robot", Groups: robot.Groups}, security.Request{Action: pub, Topic: "cell/n"}, false},
		{"Conditions", "a small message", robot, security.Request{Action: pub, Topic: "log/a", Message: &security.Message{Payload: make([]byte, 1024)}}, true},
		{"Conditions", "a large message", robot, security.Request{Action: pub, Topic: "log/a", Message: &security.Message{Payload: make([]byte, 1025)}}, false},

		{"Everything but", "what is not denied", security.Principal{}, security.Request{Action: sub, Topic: "#"}, true},
		{"Everything but", "what is denied", security.Principal{}, security.Request{Action: pub, Topic: "a/private/b"}, false},
		{"Everything but", "what is denied is withheld", security.Principal{}, security.Request{Action: get, Topic: "payroll/b"}, false},
		{"Everything but", "a retained message", security.Principal{}, security.Request{Action: pub, Topic: "live/x", Retain: true}, false},
		{"Everything but", "one that is not retained", security.Principal{}, security.Request{Action: pub, Topic: "live/x"}, true},
		{"Everything but", "topics of the broker", security.Principal{}, security.Request{Action: sub, Topic: "$SYS/#"}, false},

		{"From HiveMQ", "its own topic", device, security.Request{Action: pub, Topic: "data/d1/t", QoS: 1}, true},
		{"From HiveMQ", "another's topic", device, security.Request{Action: pub, Topic: "data/d2/t", QoS: 1}, false},
		{"From HiveMQ", "another QoS", device, security.Request{Action: pub, Topic: "data/d1/t", QoS: 2}, false},
		{"From HiveMQ", "a retained message", device, security.Request{Action: pub, Topic: "data/d1/t", Retain: true}, false},
		{"From HiveMQ", "an ordinary subscription", device, security.Request{Action: sub, Topic: "jobs"}, true},
		{"From HiveMQ", "the group", device, security.Request{Action: sub, Topic: "jobs", Group: "pool"}, true},
		{"From HiveMQ", "another group", device, security.Request{Action: sub, Topic: "jobs", Group: "pond"}, false},

		{"From Solace", "a connect exception", sensor, security.Request{Action: con}, true},
		{"From Solace", "the default action for connections", stranger, security.Request{Action: con}, false},
		{"From Solace", "a client without the profile", security.Principal{Name: "y", Addr: sensor.Addr}, security.Request{Action: con}, false},
		{"From Solace", "a publish exception", sensor, security.Request{Action: pub, Topic: "readings/sensor-1/t"}, true},
		{"From Solace", "the default action for publishing", sensor, security.Request{Action: pub, Topic: "readings/sensor-2/t"}, false},
		{"From Solace", "a subscribe exception", sensor, security.Request{Action: sub, Topic: "orders/#"}, true},
		{"From Solace", "a share name exception", sensor, security.Request{Action: sub, Topic: "orders/#", Group: "pool"}, true},
		{"From Solace", "the default action for share names", sensor, security.Request{Action: sub, Topic: "orders/#", Group: "pond"}, false},
	}
	headings := map[string]bool{"The file": true}
	for _, tt := range tests {
		headings[tt.heading] = true
		decide := decider(permissionsAfter(t, tt.heading))
		if v := decide(&tt.who, tt.q); v.Allowed() != tt.allows {
			t.Errorf("%s: %s: %s (%s), want allowed %t", tt.heading, tt.name, v.Effect, v.Rule, tt.allows)
		}
	}
	// Every file on the page is asked something.
	blocks, _ := split("docs/permissions.md", read(t, "docs/permissions.md"))
	files := 0
	for _, b := range blocks {
		if b.kind == "yaml" && !strings.HasPrefix(b.text, "listeners:") {
			files++
		}
	}
	if files != len(headings) {
		t.Errorf("the page has %d permission files, of which %d are tested", files, len(headings))
	}
}

// TestPermissionsPageExplanations holds the page to what explanations really say.
func TestPermissionsPageExplanations(t *testing.T) {
	page := read(t, "docs/permissions.md")
	policy := permissionsAfter(t, "The file")
	for _, tt := range []struct {
		name string
		q    security.Request
	}{
		{"alice", security.Request{Action: pub, Topic: "payroll/x"}},
		{"bob", security.Request{Action: sub, Topic: "jobs/1"}},
		{"bob", security.Request{Action: pub, Topic: "door/2"}},
	} {
		tt.q.Principal = &security.Principal{Name: tt.name, ClientID: "c"}
		said := policy.Explain(&tt.q).Opposite
		if len(said) == 0 || !strings.Contains(page, "\n"+said[0]+"\n") {
			t.Errorf("%s %s: the page does not show %q", tt.name, tt.q.Topic, said)
		}
	}
}
