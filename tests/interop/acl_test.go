package interop

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// aclFiles are the files that both brokers judge by.
var aclFiles = map[string]string{
	"users and patterns": `
topic readwrite public/#
topic read news
topic open
user alice
topic readwrite home/#
topic read sensors/+/temp
topic write cmd
topic deny home/secret
topic readwrite both words/x
pattern readwrite dev/%c/#
pattern read users/%u/in
pattern write users/%u/out
user bob
topic #
user carol
topic read $SYS/#
`,
	"denies": `
user alice
topic deny a/b
topic readwrite a/#
user bob
topic readwrite a/#
topic deny a/b
user carol
topic read a/#
topic write a/b
pattern deny p/deny/#
pattern readwrite p/#
user dave
topic readwrite p/deny/mine
`,
	"only patterns": `
pattern read r/%u/%c/#
pattern write w/%c
pattern readwrite x/%c/+/y
pattern readwrite pre%u/z
`,
	"denies of patterns": `
topic deny t/anonymous
topic t/#
user alice
topic t/mine/#
topic deny t/mine/not
topic write t/blind
user bob
topic read #
pattern deny t/mine/#
pattern readwrite t/+/%c
pattern deny t/%u/locked
pattern readwrite t/%u/+
pattern deny +/+/never
pattern read t/late
`,
	"only users": `
user alice
topic t/+
topic read +/only
topic write #
user alice
topic later
`,
}

// aclCase asks whether a message that one client publishes reaches another.
// Both use the same user and client id prefix unless sub says otherwise.
type aclCase struct {
	file      string
	user, id  string // of the publisher; user "" is anonymous
	topic     string
	sub       string // user of the subscriber; its client id is id + "-s"
	subID     string // if not the above
	filter    string
	delivered bool
	// differs says why Sallyport answers otherwise than Mosquitto, whose answer delivered is.
	differs string
}

var aclCases = []aclCase{
	{file: "users and patterns", topic: "public/a", filter: "#", delivered: true},
	{file: "users and patterns", topic: "public", filter: "public/#", delivered: true},
	{file: "users and patterns", topic: "open", filter: "open", delivered: true},
	{file: "users and patterns", topic: "news", filter: "news"},
	{file: "users and patterns", user: "bob", topic: "news", filter: "news", delivered: true},
	{file: "users and patterns", user: "alice", topic: "public/a", filter: "public/a"},
	{file: "users and patterns", user: "alice", topic: "home/a", sub: "alice", filter: "#", delivered: true},
	{file: "users and patterns", user: "alice", topic: "home/a", sub: "bob", filter: "home/+", delivered: true},
	{file: "users and patterns", user: "alice", topic: "home/a", filter: "home/a"},
	{file: "users and patterns", user: "alice", topic: "home", sub: "bob", filter: "home", delivered: true},
	{file: "users and patterns", user: "bob", topic: "sensors/1/temp", sub: "alice", filter: "sensors/#", delivered: true},
	{file: "users and patterns", user: "bob", topic: "sensors/1/hum", sub: "alice", filter: "sensors/#"},
	{file: "users and patterns", user: "alice", topic: "sensors/1/temp", sub: "bob", filter: "#"},
	{file: "users and patterns", user: "alice", topic: "cmd", sub: "bob", filter: "cmd", delivered: true},
	{file: "users and patterns", user: "bob", topic: "cmd", sub: "alice", filter: "cmd"},
	{file: "users and patterns", user: "alice", topic: "both words/x", sub: "bob", filter: "both words/x", delivered: true},
	{file: "users and patterns", user: "alice", id: "d1", topic: "dev/d1/a", sub: "bob", filter: "dev/#", delivered: true},
	{file: "users and patterns", user: "alice", id: "d1", topic: "dev/d1", sub: "bob", filter: "dev/#", delivered: true},
	{file: "users and patterns", user: "alice", id: "d1", topic: "dev/d2/a", sub: "bob", filter: "dev/#"},
	{file: "users and patterns", user: "bob", id: "d1", topic: "dev/d9/a", sub: "alice", subID: "d9", filter: "dev/d9/a", delivered: true},
	{file: "users and patterns", user: "bob", id: "d1", topic: "dev/d9/a", sub: "alice", subID: "d8", filter: "dev/d9/a"},
	{file: "users and patterns", user: "alice", topic: "users/alice/out", sub: "bob", filter: "users/#", delivered: true},
	{file: "users and patterns", user: "alice", topic: "users/bob/out", sub: "bob", filter: "users/#"},
	{file: "users and patterns", user: "bob", topic: "users/alice/in", sub: "alice", filter: "users/alice/in", delivered: true},
	{file: "users and patterns", user: "carol", topic: "users/carol/out", sub: "bob", filter: "#", delivered: true},
	{file: "users and patterns", user: "dave", topic: "users/dave/out", sub: "bob", filter: "#", delivered: true},
	{file: "users and patterns", user: "dave", topic: "public/a", sub: "bob", filter: "#"},
	{file: "users and patterns", id: "anon", topic: "dev/anon/x", sub: "bob", filter: "#", delivered: true},
	{file: "users and patterns", topic: "users//out", sub: "bob", filter: "#"},
	{file: "users and patterns", user: "bob", topic: "$SYS/broker/x", sub: "carol", filter: "$SYS/#"},
	{file: "denies", user: "bob", topic: "a/c", sub: "alice", filter: "a/#", delivered: true},
	{file: "denies", user: "alice", topic: "a/c", sub: "bob", filter: "a/#", delivered: true},
	{file: "denies", user: "alice", topic: "a/b", sub: "carol", filter: "a/#"},
	{file: "denies", user: "carol", topic: "a/b", sub: "alice", filter: "a/#"},
	{file: "denies", user: "bob", topic: "a/b", sub: "carol", filter: "a/#"},
	{file: "denies", user: "carol", topic: "a/b", sub: "bob", filter: "a/#"},
	{file: "denies", user: "carol", topic: "a/b", sub: "carol", filter: "a/b", delivered: true},
	{file: "denies", user: "carol", topic: "a/c", sub: "carol", filter: "a/c"},
	{file: "denies", user: "alice", topic: "p/x", sub: "bob", filter: "p/#", delivered: true},
	{file: "denies", user: "alice", topic: "p/deny/x", sub: "bob", filter: "p/#"},
	{file: "denies", user: "dave", topic: "p/deny/mine", sub: "dave", filter: "p/#", delivered: true},
	{file: "denies", user: "dave", topic: "p/deny/mine", sub: "bob", filter: "p/#"},
	{file: "denies", topic: "p/x", filter: "p/x", delivered: true},
	{file: "denies of patterns", user: "alice", topic: "t/mine/x", sub: "bob", filter: "t/#", delivered: true},
	{file: "denies of patterns", user: "alice", topic: "t/mine/x", sub: "alice", filter: "t/mine/+", delivered: true},
	{file: "denies of patterns", user: "alice", topic: "t/mine/not", sub: "bob", filter: "#"},
	{file: "denies of patterns", user: "dave", topic: "t/mine/x", sub: "bob", filter: "#"},
	{file: "denies of patterns", user: "dave", id: "mine", topic: "t/mine/mine", sub: "bob", filter: "#"},
	{file: "denies of patterns", user: "alice", topic: "t/mine/x", sub: "dave", filter: "t/#"},
	{file: "denies of patterns", user: "alice", topic: "t/mine/never", sub: "bob", filter: "#", delivered: true},
	{file: "denies of patterns", user: "dave", id: "d", topic: "t/x/d", sub: "bob", filter: "#", delivered: true},
	{file: "denies of patterns", user: "dave", id: "never", topic: "t/x/never", sub: "bob", filter: "#"},
	{file: "denies of patterns", user: "dave", topic: "t/dave/up", sub: "bob", filter: "#", delivered: true},
	{file: "denies of patterns", user: "dave", topic: "t/dave/locked", sub: "bob", filter: "#"},
	{file: "denies of patterns", user: "dave", id: "locked", topic: "t/dave/locked", sub: "bob", filter: "#"},
	{file: "denies of patterns", user: "dave", id: "locked", topic: "t/bob/locked", sub: "bob", filter: "#", delivered: true},
	{file: "denies of patterns", user: "alice", topic: "t/blind", sub: "bob", filter: "#", delivered: true},
	{file: "denies of patterns", user: "alice", topic: "t/blind", sub: "alice", filter: "t/blind"},
	{file: "denies of patterns", topic: "t/late", sub: "dave", filter: "t/late", delivered: true},
	{file: "denies of patterns", topic: "t/anonymous", sub: "bob", filter: "#"},
	{file: "denies of patterns", topic: "t/mine/x", sub: "bob", filter: "#", delivered: true},
	{file: "denies of patterns", user: "dave", id: "d+", topic: "t/dave/up", sub: "bob", filter: "#"},
	{file: "denies of patterns", user: "alice", id: "a+", topic: "t/mine/x", sub: "bob", filter: "#", delivered: true},
	{file: "only patterns", user: "alice", id: "c1", topic: "w/c1", filter: "w/c1"},
	{file: "only patterns", user: "bob", id: "c1", topic: "x/c1/1/y", sub: "bob", subID: "c1", filter: "x/#", delivered: true},
	{file: "only patterns", user: "alice", id: "c1", topic: "x/c1/1/y", sub: "bob", subID: "c2", filter: "x/#"},
	{file: "only patterns", user: "alice", id: "plus+", topic: "w/plus+", sub: "bob", filter: "w/#"},
	{file: "only users", user: "alice", topic: "t/1", sub: "alice", filter: "t/+", delivered: true},
	{file: "only users", user: "alice", topic: "t/1/2", sub: "alice", filter: "t/#"},
	{file: "only users", user: "alice", topic: "x/only", sub: "alice", filter: "+/only", delivered: true},
	{file: "only users", user: "alice", topic: "later", sub: "alice", filter: "later", delivered: true},
	{file: "only users", user: "bob", topic: "t/1", sub: "alice", filter: "t/1"},
	{file: "only users", topic: "t/1", sub: "alice", filter: "t/1"},
}

// TestACLBesideMosquitto asks both brokers.
func TestACLBesideMosquitto(t *testing.T) {
	t.Parallel()
	for name, text := range aclFiles {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			passwd := write(t, filepath.Join(dir, "passwd"), "")
			for _, user := range []string{"alice", "bob", "carol", "dave"} {
				mosquittoPasswd(t, "-b", passwd, user, "pw")
			}
			conf := fmt.Sprintf("listener PORT 127.0.0.1\nallow_anonymous true\npassword_file %s\nacl_file %s\n", passwd, write(t, filepath.Join(dir, "acl"), text))
			_, theirs := startMosquitto(t, conf)
			ours, port := startSallyportConf(t, conf)
			cases := 0
			for _, c := range aclCases {
				if c.file != name {
					continue
				}
				cases++
				if got := c.ask(t, theirs); got != c.delivered {
					t.Errorf("Mosquitto: %s: delivered = %t, the table says %t", c, got, c.delivered)
				}
				want := c.delivered != (c.differs != "")
				if got := c.ask(t, port); got != want {
					t.Errorf("Sallyport: %s: delivered = %t, want %t %s", c, got, want, c.differs)
				}
			}
			if cases == 0 {
				t.Error("no case for this file")
			}
			ours.stop(t)
		})
	}
}

func (c aclCase) String() string {
	return fmt.Sprintf("%q (%s) publishes %s, %q (%s) subscribed to %s", c.user, c.id, c.topic, c.sub, c.subID, c.filter)
}

// ask plays the case on the broker at port.
func (c aclCase) ask(t *testing.T, port int) bool {
	t.Helper()
	login := func(user, id string) (*wire, int) {
		g := greeting{id: id, user: user}
		if user != "" {
			g.password = "pw"
		}
		return hello(t, port, g)
	}
	if c.id == "" {
		c.id = "publisher"
	}
	if c.subID == "" {
		c.subID = c.id + "-s"
	}
	sub, code := login(c.sub, c.subID)
	if code != 0 || sub.subscribe(c.filter, 1) != 1 {
		return false
	}
	defer sub.leave()
	pub := sub
	if c.id != c.subID {
		if pub, code = login(c.user, c.id); code != 0 {
			return false
		}
		defer pub.leave()
	}
	if !pub.publish(c.topic, "x", false) {
		return false
	}
	for _, m := range sub.received() {
		if m.TopicName == c.topic {
			return true
		}
	}
	return false
}

// TestRetainedSourceBesideMosquitto takes the right from one who left a retained
// message, and looks who still gets it.
func TestRetainedSourceBesideMosquitto(t *testing.T) {
	t.Parallel()
	const before, after = "user alice\ntopic readwrite home/#\nuser bob\ntopic #\n", "user alice\ntopic read home/#\nuser bob\ntopic #\n"
	for option, kept := range map[string]bool{"": false, "check_retain_source true\n": false, "check_retain_source false\n": true} {
		for name, begin := range map[string]func(*testing.T, string) (*process, int){
			"Mosquitto": startMosquitto,
			"Sallyport": func(t *testing.T, conf string) (*process, int) { return startSallyportConf(t, conf) },
		} {
			if option == "" && name == "Mosquitto" {
				continue // true is its default, but not in each version after a reload
			}
			t.Run(name+" "+strings.TrimSpace(option), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				passwd, rules := write(t, filepath.Join(dir, "passwd"), ""), write(t, filepath.Join(dir, "acl"), before)
				for _, user := range []string{"alice", "bob"} {
					mosquittoPasswd(t, "-b", passwd, user, "pw")
				}
				p, port := begin(t, fmt.Sprintf("listener PORT 127.0.0.1\n%spassword_file %s\nacl_file %s\n", option, passwd, rules))
				alice := mustHello(t, port, greeting{id: "a", user: "alice", password: "pw"})
				bob := mustHello(t, port, greeting{id: "b", user: "bob", password: "pw"})
				look := func() int {
					if code := bob.subscribe("home/kept", 1); code != 1 {
						t.Fatalf("SUBACK %d", code)
					}
					return len(bob.received())
				}
				if !alice.publish("home/kept", "x", true) || look() != 1 {
					t.Fatal("it is not retained")
				}
				write(t, rules, after)
				p.signal(t, syscall.SIGHUP)
				// Nothing but its effect says that Mosquitto has read the file.
				watcher := mustHello(t, port, greeting{id: "w", user: "bob", password: "pw"})
				watcher.subscribe("home/live", 1)
				eventually(t, "alice may write no more", func() bool {
					return alice.publish("home/live", "x", false) && len(watcher.received()) == 0
				})
				if got := look() == 1; got != kept {
					t.Errorf("a new subscription brings it: %t, want %t", got, kept)
				}
			})
		}
	}
}
