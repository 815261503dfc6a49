package docs

import (
	"strings"
	"testing"

	"sallyport/security"
	"sallyport/security/roles"
)

// TestPermissionsPageAnswersAsItSays asks the example file of docs/permissions.md
// what the table below it says.
func TestPermissionsPageAnswersAsItSays(t *testing.T) {
	page := read(t, "docs/permissions.md")
	blocks, _ := split("docs/permissions.md", page)
	policy, err := roles.Parse(roles.Options{Name: "permissions", Path: "permissions.yaml"}, []byte(blocks[0].text))
	if err != nil {
		t.Fatal(err)
	}
	gate := security.NewGate(&security.Ruleset{ByListener: map[string][]security.Policy{"l": {policy}}})
	const pub, sub, get = security.Publish, security.Subscribe, security.Receive
	rows := []struct {
		row            string // how the row of the table begins; empty if it has none
		user           string
		action         security.Action
		topic          string
		group          string
		qos            byte
		retain, allows bool
	}{
		{"alice | publishes `a/b` | yes", "alice", pub, "a/b", "", 1, false, true},
		{"alice | publishes `payroll/x` | 0x87", "alice", pub, "payroll/x", "", 1, false, false},
		{"alice | subscribes `payroll/#` or `payroll/x` | 0x87", "alice", sub, "payroll/#", "", 1, false, false},
		{"", "alice", sub, "payroll/x", "", 1, false, false},
		{"alice | subscribes `#` | yes", "alice", sub, "#", "", 1, false, true},
		{"", "alice", get, "payroll/x", "", 1, false, false},
		{"", "alice", get, "a/b", "", 1, false, true},
		{"alice | subscribes `$SYS/#` | 0x87", "alice", sub, "$SYS/#", "", 1, false, false},
		{"alice | subscribes `$SYS/broker/clients/connected` | yes", "alice", sub, "$SYS/broker/clients/connected", "", 1, false, true},
		{"anyone | publishes `$SYS/x` | 0x87", "alice", pub, "$SYS/x", "", 1, false, false},
		{"meter-17 | publishes `meters/meter-17/kwh` | yes", "meter-17", pub, "meters/meter-17/kwh", "", 1, false, true},
		{"meter-17 | publishes `meters/meter-18/kwh` | 0x87", "meter-17", pub, "meters/meter-18/kwh", "", 1, false, false},
		{"meter-17 | the same to its own topic, at QoS 2 | 0x87", "meter-17", pub, "meters/meter-17/kwh", "", 2, false, false},
		{"bob | publishes `status/bob` | yes", "bob", pub, "status/bob", "", 1, false, true},
		{"bob | publishes `status/bob`, retained | 0x87", "bob", pub, "status/bob", "", 1, true, false},
		{"bob | subscribes `jobs/#` | 0x87", "bob", sub, "jobs/#", "", 1, false, false},
		{"bob | subscribes `$share/workers/jobs/#` | yes", "bob", sub, "jobs/#", "workers", 1, false, true},
		{"bob | subscribes `$share/others/jobs/#` | 0x87", "bob", sub, "jobs/#", "others", 1, false, false},
		{"bob | subscribes `#` | 0x87", "bob", sub, "#", "", 1, false, false},
	}
	inTable := 0
	for _, r := range rows {
		if r.row != "" {
			inTable++
			if !strings.Contains(page, "\n| "+r.row+" |") {
				t.Errorf("the table has no row that begins with %q", r.row)
			}
		}
		v := gate.Decide(&security.Request{
			Principal: &security.Principal{Realm: "passwords", Name: r.user, Username: r.user, ClientID: "c", Listener: "l"},
			Action:    r.action, Topic: r.topic, QoS: r.qos, Retain: r.retain, Shared: r.group != "", Group: r.group,
		})
		if v.Allowed() != r.allows {
			t.Errorf("%s %s %s (group %q, QoS %d, retain %t): %s (%s), want allowed %t",
				r.user, r.action, r.topic, r.group, r.qos, r.retain, v.Effect, v.Rule, r.allows)
		}
	}
	_, table, found := strings.Cut(page, "| Who | Does | Answer | Why |\n")
	table, _, _ = strings.Cut(table, "\n\n")
	if n := strings.Count(table, "\n"); !found || n != inTable {
		t.Errorf("the table has %d rows, of which %d are tested", n, inTable)
	}
}
