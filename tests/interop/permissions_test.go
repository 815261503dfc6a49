package interop

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The same rights in both languages, as far as they can say the same: an
// acl_file accepts every SUBSCRIBE.
const (
	rightsACL = `
topic read news/#
user alice
topic readwrite home/#
topic deny home/secret
topic read news/#
topic write cmd/#
user bob
topic #
pattern readwrite dev/%c/#
pattern deny dev/+/locked
`
	rightsPermissions = `
users:
  alice:
    permissions:
      - {allow: both, topic: "home/#"}
      - {deny: both, topic: home/secret}
      - {allow: subscribe, topic: "news/#"}
      - {allow: publish, topic: "cmd/#"}
  bob:
    permissions:
      - {allow: both, topic: "#"}
everyone:
  - {allow: both, topic: "dev/${clientid}/#"}
  - {deny: both, topic: "dev/+/locked"}
`
	rightsYAML = `
listeners:
  - {address: "127.0.0.1:PORT", authenticators: [passwords], policies: [rules]}
authenticators:
  - {name: passwords, type: password_file, file: passwd}
policies:
  - {name: rules, type: LANGUAGE, file: rules}
`
)

// ruled is a broker under rights, asked with Mosquitto's own tools.
type ruled struct {
	kind  kind
	place place
	// judgesSubscribe says that what is not granted is refused at SUBSCRIBE.
	judgesSubscribe bool
	genuine         bool // Mosquitto itself
}

// TestRightsWithMosquittosTools plays the same cases with mosquitto_pub and
// mosquitto_sub over both languages, and over Mosquitto itself.
func TestRightsWithMosquittosTools(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(*testing.T) ruled{
		"permission file":    func(t *testing.T) ruled { return startRuled(t, "permissions", rightsPermissions, true) },
		"acl_file":           func(t *testing.T) ruled { return startRuled(t, "mosquitto_acl", rightsACL, false) },
		"strict acl_file":    func(t *testing.T) ruled { return startRuled(t, "mosquitto_acl, strict: true", rightsACL, true) },
		"Mosquitto's itself": startGenuine,
	} {
		for _, v := range []int{4, 5} {
			t.Run(fmt.Sprintf("%s, version %d", name, v), func(t *testing.T) {
				t.Parallel()
				r := start(t)
				r.kind = mosquittoKind(t, v)
				t.Run("publish", r.publishes)
				t.Run("subscribe", r.subscribes)
				t.Run("receive", r.receives)
				t.Run("retained", r.retained)
				t.Run("will", r.wills)
				t.Run("shared", r.shared)
			})
		}
	}
}

// rightsPasswords makes the accounts in a folder.
func rightsPasswords(t *testing.T, dir string) string {
	t.Helper()
	file := filepath.Join(dir, "passwd")
	for _, user := range []string{"alice", "bob", "mallory"} {
		setPassword(t, file, user, "pw")
	}
	return file
}

func startRuled(t *testing.T, language, rules string, judgesSubscribe bool) ruled {
	t.Helper()
	port, dir := freePort(t), t.TempDir()
	rightsPasswords(t, dir)
	write(t, filepath.Join(dir, "rules"), rules)
	text := strings.NewReplacer("PORT", strconv.Itoa(port), "LANGUAGE", language).Replace(rightsYAML)
	p := start(t, sallyport, "serve", "-c", write(t, filepath.Join(dir, "sallyport.yaml"), text))
	awaitPort(t, p, port)
	return ruled{place: place{Transport: "tcp", Host: "127.0.0.1", Port: port}, judgesSubscribe: judgesSubscribe}
}

func startGenuine(t *testing.T) ruled {
	t.Helper()
	dir := t.TempDir()
	conf := "listener PORT 127.0.0.1\npassword_file %s\nacl_file %s\n"
	_, port := startMosquitto(t, fmt.Sprintf(conf, rightsPasswords(t, dir), write(t, filepath.Join(dir, "acl"), rightsACL)))
	return ruled{place: place{Transport: "tcp", Host: "127.0.0.1", Port: port}, genuine: true}
}

func (r ruled) login(user string) login {
	return login{Place: r.place, ID: user + "-" + randomID(), User: user, Password: "pw"}
}

func (r ruled) listen(t *testing.T, l login, filter string) *listener {
	t.Helper()
	out, err := r.kind.listen(t, l, filter, 1)
	if err != nil {
		t.Fatalf("%s subscribes to %s: %v", l.User, filter, err)
	}
	t.Cleanup(out.leave)
	return out
}

// send publishes as a user with mosquitto_pub and returns what it printed.
func (r ruled) send(t *testing.T, l login, topic, payload string, retain bool) string {
	t.Helper()
	k := r.kind.(commandKind)
	args := append(append([]string{}, k.connectFlags(l)...), "-q", "1", "-t", topic, "-m", payload)
	if retain {
		args = append(args, "-r")
	}
	got := runCmd(t, "", k.pub[0], args...)
	return got.stdout + got.stderr
}

// expect fails unless just these messages come, as "topic payload"; a last one of
// bob marks the end.
func (r ruled) expect(t *testing.T, l *listener, mark string, want ...string) {
	t.Helper()
	r.send(t, r.login("bob"), mark, "mark", false)
	for _, w := range append(want, mark+" mark") {
		m := l.next(t)
		if got := m.Topic + " " + string(m.Payload); got != w {
			t.Fatalf("received %q, want %q", got, w)
		}
	}
}

func (r ruled) publishes(t *testing.T) {
	all := r.listen(t, r.login("bob"), "#")
	alice := r.login("alice")
	own := "dev/" + alice.ID + "/up"
	for _, c := range []struct {
		topic string
		may   bool
	}{
		{"home/x", true}, {"home", true}, {"home/secret", false}, {"cmd/x", true}, {"news/x", false}, {"elsewhere", false},
		{own, true}, {"dev/another/up", false}, {"dev/" + alice.ID + "/locked", false},
	} {
		printed := r.send(t, alice, c.topic, "a", false)
		// Only MQTT 5 can say that a message was refused.
		if said := strings.Contains(strings.ToLower(printed), "not authorized"); said != (!c.may && r.kind.version() == 5) {
			t.Errorf("mosquitto_pub to %s printed %q", c.topic, printed)
		}
	}
	if printed := r.send(t, r.login("mallory"), "home/x", "m", false); r.kind.version() == 5 && printed == "" {
		t.Error("one without rights is told nothing")
	}
	r.expect(t, all, "mark", "home/x a", "home a", "cmd/x a", own+" a")
}

var granted = regexp.MustCompile(`Subscribed \(mid: \d+\): (\d+)`)

func (r ruled) subscribes(t *testing.T) {
	k := r.kind.(commandKind)
	alice := r.login("alice")
	for _, c := range []struct {
		filter string
		may    bool
	}{
		{"home/#", true}, {"news/+", true}, {"home/secret", false}, {"cmd/x", false}, {"#", false}, {"+/x", false},
		{"dev/" + alice.ID + "/#", true}, {"dev/+/up", false}, {"$SYS/#", false}, {"$share/g/home/#", true}, {"$share/g/#", false},
	} {
		// -E ends it when the subscription is acknowledged; -d tells the answer.
		args := append(append(append([]string{}, k.sub[1:]...), k.connectFlags(alice)...), "-d", "-E", "-q", "1", "-t", c.filter)
		got := runCmd(t, "", k.sub[0], args...)
		answer := granted.FindStringSubmatch(got.stdout + got.stderr)
		if answer == nil {
			t.Errorf("%s: no answer in\n%s%s", c.filter, got.stdout, got.stderr)
			continue
		}
		code, _ := strconv.Atoi(answer[1]) // the pattern holds digits only
		if may := c.may || !r.judgesSubscribe; may != (code < 128) {
			t.Errorf("%s: answer %d, want granted: %t", c.filter, code, may)
		}
	}
}

func (r ruled) receives(t *testing.T) {
	filter := "home/#"
	if !r.judgesSubscribe {
		filter = "#" // accepted, and reading is judged at delivery
	}
	alice := r.listen(t, r.login("alice"), filter)
	for _, topic := range []string{"home/secret", "cmd/x", "elsewhere", "home/x"} {
		r.send(t, r.login("bob"), topic, "b", false)
	}
	r.expect(t, alice, "home/mark", "home/x b")
}

func (r ruled) retained(t *testing.T) {
	for _, topic := range []string{"home/kept", "home/secret"} {
		r.send(t, r.login("bob"), topic, "kept", true)
	}
	r.send(t, r.login("mallory"), "home/planted", "planted", true)
	r.expect(t, r.listen(t, r.login("alice"), "home/#"), "home/mark", "home/kept kept")
	for _, topic := range []string{"home/kept", "home/secret"} {
		r.send(t, r.login("bob"), topic, "", true) // an empty one takes it away
	}
}

func (r ruled) wills(t *testing.T) {
	all := r.listen(t, r.login("bob"), "home/#")
	alice := r.login("alice")
	alice.Will = &message{Topic: "home/will", Payload: []byte("gone"), QoS: 1}
	dying, err := r.kind.listen(t, alice, "home/+", 1)
	if err != nil {
		t.Fatalf("a will to what alice may write: %v", err)
	}
	dying.abort()
	if m := all.next(t); m.Topic != "home/will" {
		t.Fatalf("received %s, want the will", m.Topic)
	}
	forbidden := r.login("alice")
	forbidden.Will = &message{Topic: "home/secret", Payload: []byte("gone"), QoS: 1}
	dying, err = r.kind.listen(t, forbidden, "home/+", 1)
	switch {
	case r.genuine && err == nil:
		dying.abort() // accepted, and not published
	case r.genuine || err == nil:
		t.Fatalf("a will to what alice may not write: %v", err)
	default:
		want := 5
		if r.kind.version() == 5 {
			want = 0x87
		}
		if got := refusal(err); got != want {
			t.Errorf("a will to what alice may not write: %v, want code %d", err, want)
		}
	}
	r.expect(t, all, "home/mark")
}

func (r ruled) shared(t *testing.T) {
	alice := r.listen(t, r.login("alice"), "$share/g/home/#")
	for _, topic := range []string{"home/secret", "home/x"} {
		r.send(t, r.login("bob"), topic, "b", false)
	}
	r.expect(t, alice, "home/mark", "home/x b")
}
