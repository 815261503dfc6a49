package main

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/certs"
	"sallyport/security/expect"
)

// policyFiles writes what the examples of explain and policy name, and goes there.
func policyFiles(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, text := range map[string]string{
		"sallyport.yaml": `
listeners:
  - {name: local, transport: tcp, address: "127.0.0.1:1883", authenticators: [passwords], policies: [permissions], deny: [192.0.2.66]}
authenticators:
  - {name: passwords, type: password_file, file: passwd}
policies:
  - {name: permissions, type: permissions, file: permissions.yaml}
`,
		"two.yaml": `
listeners:
  - {name: one, address: "127.0.0.1:1883", authenticators: [passwords], policies: [permissions]}
  - {name: two, address: "127.0.0.1:1884", authenticators: [passwords], policies: [permissions]}
authenticators:
  - {name: passwords, type: password_file, file: passwd}
policies:
  - {name: permissions, type: permissions, file: permissions.yaml}
`,
		"permissions.yaml": `
users:
  meter-17:
    permissions:
      - {allow: publish, topic: "meters/${username}/#", qos: [0, 1]}
      - {deny: publish, topic: "meters/+/secret"}
  alice:
    permissions:
      - {allow: subscribe, topic: "jobs/#", group: workers}
`,
		"new.yaml": `
users:
  meter-17:
    permissions:
      - {allow: publish, topic: "meters/${username}/#", qos: 0}
`,
		"acl":            "user meter-17\ntopic write meters/meter-17/#\n",
		"mosquitto.conf": "listener 1883 127.0.0.1\nallow_anonymous true\nacl_file acl\n",
		"broken.yaml":    "users:\n  a: {permisions: []}\n",
		"expectations.yaml": `
config: sallyport.yaml
identities:
  meter: {client_id: meter-17, user: meter-17}
tests:
  - {who: meter, publish: meters/meter-17/kwh, qos: 1, allowed: true}
  - {who: meter, subscribe: ["#", payroll/x], allowed: false}
  - {identity: {client_id: app, user: alice}, subscribe: $share/workers/jobs/#, allowed: true}
  - {identity: {client_id: app, user: bob}, connect: true, allowed: false}
`,
		"wrong.yaml": `
identities:
  meter: {client_id: meter-17, user: meter-17}
tests:
  - {who: meter, publish: meters/meter-17/kwh, allowed: true}
  - {who: meter, publish: meters/meter-17/secret, allowed: true, name: "secrets \e[2J"}
`,
		"none.yaml": "tests: []\n",
		"who.yaml":  "identities:\n  meter: {client_id: meter-17, user: meter-17}\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for user, password := range map[string]string{"meter-17": "geheim", "alice": "other"} {
		if s := newShell(t, password+"\n"); s.run("passwd", "-H", "sha512", "--password-file", "-", "-c", "--force", "passwd-"+user, user) != exitOK {
			t.Fatal(s.stderr)
		}
	}
	var all []byte
	for _, user := range []string{"meter-17", "alice"} {
		data, err := os.ReadFile("passwd-" + user)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, data...)
	}
	if err := os.WriteFile("passwd", all, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestExplainAndPolicyAnswer(t *testing.T) {
	policyFiles(t)
	explain := func(args ...string) []string {
		return append([]string{"explain", "-c", "sallyport.yaml", "-i", "meter-17", "-u", "meter-17"}, args...)
	}
	for _, tt := range []struct {
		name  string
		args  []string
		stdin string
		code  int
		out   []string // what standard output says
		err   string   // what standard error says
	}{
		{"allowed", explain("publish", "meters/meter-17/kwh", "-q", "1"), "", exitOK, []string{"allowed: publish meters/meter-17/kwh at QoS 1", "passwords: knows meter-17; the password is not checked here: accepted",
			"> permissions.yaml:5: allow publish meters/${username}/#", "${username} is meter-17"}, ""},
		{"refused for its QoS", explain("publish", "meters/meter-17/kwh", "-q", "2"), "", exitRefused, []string{"refused: publish", "QoS 2 is not among 0 1", "for the opposite answer:"}, ""},
		{"refused by a rule", explain("publish", "meters/meter-17/secret"), "", exitRefused, []string{"because permissions.yaml:6: deny publish meters/+/secret", "> permissions.yaml:6"}, ""},
		{"the right password", explain("connect", "--password-stdin"), "geheim\n", exitOK, []string{"knows meter-17, and the password is right: accepted", "- add under users.meter-17.permissions in permissions.yaml: - {deny: connect}"}, ""},
		{"the wrong password", explain("connect", "--password-stdin"), "falsch\n", exitRefused, []string{"passwords: wrong password: refused"}, ""},
		{"an address that may not", explain("connect", "--address", "192.0.2.66"), "", exitRefused, []string{"192.0.2.66 may not connect"}, ""},
		{"an unknown user", []string{"explain", "-c", "sallyport.yaml", "-i", "x", "-u", "bob", "connect"}, "", exitRefused, []string{"can't connect: chain: no authenticator knows", "- add the user: sallyport passwd passwd bob"}, ""},
		{"nobody", []string{"explain", "-c", "sallyport.yaml", "-i", "x", "connect"}, "", exitRefused, []string{"without a user name", "knows nobody without a user name"}, ""},
		{"a mosquitto.conf", []string{"explain", "-c", "mosquitto.conf", "-i", "x", "receive", "a"}, "", exitRefused, []string{"mosquitto-no-password-file: accepts clients without credentials: accepted"}, ""},
		{"a listener of several", []string{"explain", "-c", "two.yaml", "-i", "x", "-u", "meter-17", "--listener", "two", "connect"}, "", exitOK, []string{"listener two"}, ""},
		{"several listeners and none named", []string{"explain", "-c", "two.yaml", "-i", "x", "connect"}, "", exitUsage, nil, `name one of ["one" "two"]`},
		{"a listener that is not there", explain("--listener", "three", "connect"), "", exitUsage, nil, "there is no listener three"},
		{"a listener without TLS", explain("--tls", "connect"), "", exitUsage, nil, "has TLS"},
		{"a certificate that is not there", explain("--cert", "nothing.pem", "connect"), "", exitUsage, nil, "sallyport: explain: load certificates: open nothing.pem"},
		{"a certificate that is none", explain("--cert", "acl", "connect"), "", exitUsage, nil, "load certificates acl: no PEM certificate in it"},
		{"a configuration that is broken", []string{"explain", "-c", "broken.yaml", "-i", "x", "connect"}, "", exitFailure, nil, "not valid"},
		{"a configuration that is not there", []string{"explain", "-c", "nothing.yaml", "-i", "x", "connect"}, "", exitFailure, nil, "nothing.yaml"},
		{"no client id", []string{"explain", "-c", "sallyport.yaml", "connect"}, "", exitUsage, nil, "--client-id"},
		{"no topic", explain("publish"), "", exitUsage, nil, "needs a topic"},
		{"a topic to connect to", explain("connect", "a"), "", exitUsage, nil, "a connection has no topic"},
		{"a wildcard that is published to", explain("publish", "a/#"), "", exitUsage, nil, "wildcard"},
		{"another action", explain("frobnicate", "a"), "", exitUsage, nil, "frobnicate"},
		{"a time that is none", explain("--at", "noon", "connect"), "", exitUsage, nil, "--at"},
		{"claims that are none", explain("--claims", "x", "connect"), "", exitUsage, nil, "--claims"},
		{"an address that is none", explain("--address", "x", "connect"), "", exitUsage, nil, "--address"},

		{"a table that holds", []string{"policy", "test", "expectations.yaml"}, "", exitOK, []string{"5 expectations, 0 not met"}, ""},
		{"a table that does not", []string{"policy", "test", "-c", "sallyport.yaml", "wrong.yaml"}, "", exitFailure, []string{
			`wrong.yaml:6: secrets \x1b[2J: meter: publish meters/meter-17/secret at QoS 0: expected allowed, is refused by permissions.yaml:6: deny publish meters/+/secret`, "2 expectations, 1 not met"}, ""},
		{"a table against one policy file", []string{"policy", "test", "-c", "permissions.yaml", "wrong.yaml"}, "", exitFailure, []string{"permissions.yaml:6"}, ""},
		{"a table that names no configuration", []string{"policy", "test", "wrong.yaml"}, "", exitUsage, nil, "-c FILE"},
		{"a table without a test", []string{"policy", "test", "-c", "sallyport.yaml", "none.yaml"}, "", exitUsage, nil, "holds no expectation"},
		{"a table that is not there", []string{"policy", "test", "nothing.yaml"}, "", exitUsage, nil, "nothing.yaml"},
		{"a table of a broken configuration", []string{"policy", "test", "-c", "broken.yaml", "wrong.yaml"}, "", exitUsage, nil, "permisions"},
		{"a table with a listener to be named", []string{"policy", "test", "-c", "two.yaml", "wrong.yaml"}, "", exitUsage, nil, "wrong.yaml:5"},

		{"no difference", []string{"policy", "diff", "permissions.yaml", "sallyport.yaml", "--identities", "who.yaml"}, "", exitOK, []string{"0 differences, for 0 of the identities (1)"}, ""},
		{"a difference", []string{"policy", "diff", "sallyport.yaml", "new.yaml", "--identities", "who.yaml"}, "", exitFailure, []string{
			"meter: publish meters/meter-17/# at QoS 1: allowed by permissions.yaml:5 (allow publish meters/${username}/# qos 0 1) -> refused by new.yaml:",
			"meter: publish meters/meter-17/secret at QoS 0: refused by permissions.yaml:6 (deny publish meters/+/secret) -> allowed by new.yaml:5"}, ""},
		{"an acl_file", []string{"policy", "diff", "acl", "acl", "--identities", "who.yaml"}, "", exitOK, []string{"0 differences"}, ""},
		{"a broken file to compare", []string{"policy", "diff", "broken.yaml", "new.yaml", "--identities", "who.yaml"}, "", exitUsage, nil, "permisions"},
		{"identities that are not there", []string{"policy", "diff", "acl", "acl", "--identities", "none.yaml"}, "", exitUsage, nil, "names nobody"},
		{"a file that is not there", []string{"policy", "diff", "acl", "nothing", "--identities", "who.yaml"}, "", exitUsage, nil, "nothing"},
		{"listeners to be named", []string{"policy", "diff", "acl", "two.yaml", "--identities", "who.yaml"}, "", exitUsage, nil, "which listener"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newShell(t, tt.stdin)
			code := s.run(tt.args...)
			if code != tt.code || !strings.Contains(s.stderr.String(), tt.err) || (tt.err == "") != (s.stderr.String() == "") {
				t.Errorf("exit code %d, want %d; standard error, which should say %q:\n%s", code, tt.code, tt.err, s.stderr)
			}
			for _, want := range tt.out {
				if !strings.Contains(s.stdout.String(), want) {
					t.Errorf("standard output does not say %q:\n%s", want, s.stdout)
				}
			}
			if strings.Contains(s.stdout.String()+s.stderr.String(), "geheim") {
				t.Error("a password in the output")
			}
			if needsSanitizing(s.stdout.String()) {
				t.Errorf("the output could steer a terminal: %q", s.stdout)
			}
		})
	}
}

func TestExplainAndPolicyPrintJSON(t *testing.T) {
	policyFiles(t)
	s := newShell(t, "")
	var x expect.Explained
	if code := s.run("explain", "-c", "sallyport.yaml", "-i", "m", "-u", "meter-17", "--json", "publish", "meters/meter-17/secret"); code != exitRefused {
		t.Errorf("explain: exit code %d: %s", code, s.stderr)
	}
	if err := json.Unmarshal([]byte(s.stdout.String()), &x); err != nil || x.Allowed || x.Decision.Verdict.Line != 6 || x.Client.User != "meter-17" || len(x.Door) != 2 {
		t.Errorf("explain: %v: %s", err, s.stdout)
	}
	s = newShell(t, "")
	var r tested
	if code := s.run("policy", "test", "-c", "sallyport.yaml", "--json", "wrong.yaml"); code != exitFailure {
		t.Errorf("policy test: exit code %d: %s", code, s.stderr)
	}
	if err := json.Unmarshal([]byte(s.stdout.String()), &r); err != nil || r.Expectations != 2 || len(r.Differences) != 1 || r.Differences[0].Line != 6 || r.Differences[0].Answer.Allowed {
		t.Errorf("policy test: %v: %s", err, s.stdout)
	}
	s = newShell(t, "")
	var d compared
	if code := s.run("policy", "diff", "permissions.yaml", "new.yaml", "--identities", "who.yaml", "--json"); code != exitFailure {
		t.Errorf("policy diff: exit code %d: %s", code, s.stderr)
	}
	if err := json.Unmarshal([]byte(s.stdout.String()), &d); err != nil || d.Identities != 1 || len(d.Differences) != 2 || d.Differences[0].Identity != "meter" || d.Conditional {
		t.Errorf("policy diff: %v: %s", err, s.stdout)
	}
}

// TestExamplesOfHelpRun runs the examples of each command's help on files of the
// names that they use.
func TestExamplesOfHelpRun(t *testing.T) {
	policyFiles(t)
	made, err := certs.Quickstart("tls", []string{"localhost"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(made.CertFile, "dev-1.pem"); err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, help := range []string{(*explainCmd)(nil).Help(), (*policyTestCmd)(nil).Help(), (*policyDiffCmd)(nil).Help()} {
		for line := range strings.Lines(help) {
			command, found := strings.CutPrefix(strings.TrimSpace(line), "sallyport ")
			if !found {
				continue
			}
			args := strings.Fields(strings.ReplaceAll(strings.ReplaceAll(command, "'", ""), "/etc/mosquitto/", ""))
			if slices.Contains(args, "--cert") {
				args = slices.DeleteFunc(args, func(a string) bool { return strings.Contains(a, "tls-8883") || a == "--listener" })
			}
			s := newShell(t, "")
			if code := s.run(args...); code == exitUsage || s.stdout.String() == "" {
				t.Errorf("%s: exit code %d: %s", command, code, s.stderr)
			}
			ran++
		}
	}
	if ran < 8 {
		t.Errorf("only %d examples were found", ran)
	}
}
