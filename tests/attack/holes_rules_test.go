package attack_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"sallyport"
	"sallyport/config"
	"sallyport/config/mosquitto"
	"sallyport/packet"
)

// byACL is plain with an acl_file for its policy.
func byACL() string {
	return strings.Replace(plain("", ""), "type: permissions, file: permissions.yaml", "type: mosquitto_acl, file: acl", 1)
}

// at connects a user by a TCP listener of that name.
func (s *site) at(listener, user string, change ...func(*packet.Connect)) *peer {
	s.t.Helper()
	p := newPeer(s.t, s.socket(listener))
	if ack := p.connect(login(packet.V5, user, change...)); ack.Code != 0 {
		s.t.Fatalf("%s at %s: CONNACK 0x%02x\n%s", user, listener, byte(ack.Code), s.log.String())
	}
	return p
}

func TestASessionBringsNoRightsFromAnotherListener(t *testing.T) {
	text := strings.Replace(plain("", ""), "\nauthenticators:\n", `
  - name: outside
    transport: tcp
    address: "127.0.0.1:0"
    authenticators: [pw]
    policies: [narrow]

authenticators:
`, 1)
	s := prepare(t, text+"", freely)
	s.text = strings.Replace(s.text, "policies:\n  - {name: perm", "policies:\n  - {name: narrow, type: permissions, file: narrow.yaml}\n  - {name: perm", 1)
	s.write("narrow.yaml", "everyone:\n  - {allow: both, topic: \"open/#\"}\n")
	s = s.begin()
	alice := s.at("tcp", "alice", lasting)
	alice.allowed(1, "secret/#", "open/#", "$share/g/secret/#")
	alice.send(packet.AppendDisconnect(nil, packet.V5, &packet.Disconnect{}))
	alice.ended()
	bob := s.at("tcp", "bob")
	bob.publish("secret/x", "queued", 1, true)
	alice = s.at("outside", "alice", lasting)
	bob.publish("secret/x", "live", 1, false)
	if code := alice.subscribe(1, "secret/x")[0]; code != packet.NotAuthorized {
		t.Errorf("subscription from outside: 0x%02x", byte(code))
	}
	if code := alice.publish("secret/x", "from outside", 1, false); code != packet.NotAuthorized {
		t.Errorf("publish from outside: 0x%02x", byte(code))
	}
	bob.publish("open/x", "mark", 1, false)
	alice.only("open/x", "mark")
}

func TestARuleGrantsOneSpellingOfATopic(t *testing.T) {
	rules := map[string]string{
		"permissions": "everyone:\n  - {allow: both, topic: a/b.c}\n  - {allow: both, topic: \"p/+/q\"}\n",
		"acl":         "user bob\ntopic a/b.c\ntopic p/+/q\n",
	}
	for language, text := range rules {
		configuration := plain("", "")
		if language == "acl" {
			configuration = byACL()
		}
		s := prepare(t, configuration, text)
		s.write("acl", text)
		s = s.begin()
		bob := s.as(packet.V5, "bob")
		for _, topic := range []string{
			"a/bxc", "a.b.c", "a/b/c", "a/b.c/", "/a/b.c", "a//b.c", "A/b.c", "a/b.c ", " a/b.c", "a/b.c/x", "a", "a/b",
			"p/x/y/q", "p/q", "p//q/", "p.x.q", "a/b\u2024c", "\ufeffa/b.c", "a%2Fb.c",
		} {
			if code := bob.publish(topic, "x", 1, false); code != packet.NotAuthorized {
				t.Errorf("%s: publish to %q: 0x%02x, want 0x87", language, topic, byte(code))
			}
		}
		for _, topic := range []string{"a/b.c", "p/x/q", "p//q"} {
			if code := bob.publish(topic, "x", 1, false); code != 0 {
				t.Errorf("%s: publish to %q: 0x%02x", language, topic, byte(code))
			}
		}
	}
}

func TestARuleFileWithoutRulesAllowsNothing(t *testing.T) {
	for claim, x := range map[string]struct{ configuration, permissions, acl string }{
		"an empty permission file":     {plain("", ""), "# nothing\n", ""},
		"an empty list of permissions": {plain("", ""), "everyone: []\nusers: {alice: {permissions: []}}\n", ""},
		"an empty acl_file":            {byACL(), freely, "# nothing\n\n"},
		"an acl_file with users only":  {byACL(), freely, "user alice\n"},
	} {
		t.Run(claim, func(t *testing.T) {
			s := prepare(t, x.configuration, x.permissions)
			s.write("acl", x.acl)
			s = s.begin()
			alice := s.as(packet.V5, "alice")
			if code := alice.publish("a", "x", 1, false); code != packet.NotAuthorized {
				t.Errorf("publish: 0x%02x, want 0x87", byte(code))
			}
			// acl_file accepts a SUBSCRIBE and withholds.
			if code := alice.subscribe(1, "#")[0]; code < 0x80 && !strings.Contains(x.configuration, "mosquitto_acl") {
				t.Errorf("subscription: 0x%02x, want 0x87", byte(code))
			}
			alice.ping()
		})
	}
}

func TestAllTopicsAreNotTheDollarTopics(t *testing.T) {
	for language, configuration := range map[string]string{"permissions": plain("", ""), "acl": byACL()} {
		s := prepare(t, configuration, freely)
		s.write("acl", "user alice\ntopic #\ntopic +/+/+\n")
		s = s.begin()
		alice := s.as(packet.V5, "alice")
		for _, topic := range []string{
			"$CONTROL/dynamic-security/v1", "$CONTROL/broker/v1", "$SYS/broker/version", "$aws/events/presence/connected/x",
			"$share/g/x", "$queue/x", "$x", "$",
		} {
			if code := alice.publish(topic, "x", 1, true); code != packet.NotAuthorized {
				t.Errorf("%s: publish to %s: 0x%02x, want 0x87", language, topic, byte(code))
			}
			if strings.HasPrefix(topic, "$share") {
				continue // as a subscription it is one to x
			}
			if code := alice.subscribe(1, topic)[0]; code < 0x80 && language == "permissions" {
				t.Errorf("subscription to %s: 0x%02x", topic, byte(code))
			}
		}
		alice.ping()
		if len(alice.inbox) > 0 {
			t.Errorf("%s: alice received %+v", language, alice.inbox)
		}
	}
}

func TestShareGroupsCanBeClosed(t *testing.T) {
	s := siege(t, plain("", ""), `
defaults: {shared: deny}
everyone:
  - {allow: publish, topic: "jobs/#"}
users:
  mallory:
    permissions: [{allow: subscribe, topic: "jobs/#"}]
  bob:
    permissions: [{allow: subscribe, topic: "jobs/#", group: crew}]
`)
	mallory, bob := s.as(packet.V5, "mallory"), s.as(packet.V5, "bob")
	bob.allowed(1, "$share/crew/jobs/#")
	for _, filter := range []string{"$share/crew/jobs/#", "$share/other/jobs/#", "$share/crew/#", "$share/crew/jobs/a"} {
		if code := mallory.subscribe(1, filter)[0]; code != packet.NotAuthorized {
			t.Errorf("mallory subscribes to %s: 0x%02x, want 0x87", filter, byte(code))
		}
	}
	for _, filter := range []string{"$share/crew2/jobs/#", "$share/cre/jobs/#", "$share/Crew/jobs/#"} {
		if code := bob.subscribe(1, filter)[0]; code != packet.NotAuthorized {
			t.Errorf("bob subscribes to %s: 0x%02x, want 0x87", filter, byte(code))
		}
	}
	mallory.allowed(1, "jobs/#") // to watch is no theft
	for range 20 {
		mallory.publish("jobs/a", "x", 1, false)
	}
	for range 20 {
		bob.only("jobs/a", "x")
	}
}

func TestAnonymousIsJudgedByTheRules(t *testing.T) {
	s := siege(t, withAnonymous(), guarded)
	anonymous := s.as(packet.V5, "x", func(c *packet.Connect) { c.HasUsername, c.HasPassword = false, false })
	for _, topic := range []string{"bob/x", "alice/x", "user//x", "dev/x/y", "$SYS/x"} {
		if code := anonymous.publish(topic, "x", 1, false); code != packet.NotAuthorized {
			t.Errorf("anonymous to %s: 0x%02x, want 0x87", topic, byte(code))
		}
	}
	for _, filter := range []string{"#", "bob/#", "+/x", "$share/g/bob/#"} {
		if code := anonymous.subscribe(0, filter)[0]; code != packet.NotAuthorized {
			t.Errorf("anonymous subscribes to %s: 0x%02x, want 0x87", filter, byte(code))
		}
	}
	anonymous.allowed(0, "free/#")
}

func TestABrokenACLFileIsRefusedAtStartAndOnReload(t *testing.T) {
	const good = "user bob\ntopic bob/#\n"
	for claim, breaks := range map[string]func(s *site){
		"a misplaced wildcard": func(s *site) { s.write("acl", "user bob\ntopic readwrite ie#\n") },
		"an unknown line":      func(s *site) { s.write("acl", good+"allow all\n") },
		"no file":              func(s *site) { s.remove("acl") },
		"a folder":             func(s *site) { s.remove("acl"); s.folder("acl") },
		"half a line":          func(s *site) { s.write("acl", "user bob\ntopic") },
	} {
		t.Run(claim, func(t *testing.T) {
			s := prepare(t, byACL(), freely)
			s.write("acl", good)
			s = s.begin()
			bob := s.as(packet.V5, "bob")
			bob.allowed(1, "bob/#")
			breaks(s)
			cfg, err := config.Parse([]byte(s.text), s.path("sallyport.yaml"))
			if err == nil {
				err = s.srv.Reload(cfg)
			}
			if err == nil {
				t.Fatal("the reload was taken")
			}
			if code := bob.publish("bob/x", "still", 1, false); code != 0 {
				t.Errorf("what was allowed before the refused reload: 0x%02x", byte(code))
			}
			bob.only("bob/x", "still")
			for _, p := range []*peer{bob, s.as(packet.V5, "mallory")} {
				if code := p.publish("elsewhere", "x", 1, false); code != packet.NotAuthorized {
					t.Errorf("a refused reload opened the broker: 0x%02x", byte(code))
				}
			}
			if cfg != nil {
				if srv, err := sallyport.New(cfg, sallyport.Options{Log: s.log.logger()}); err == nil {
					_ = srv.Stop() // it never started
					t.Error("it starts with that file")
				}
			}
			s.remove("acl")
			s.write("acl", "user bob\ntopic read bob/#\n")
			s.reload()
			if code := bob.publish("bob/x", "x", 1, false); code != packet.NotAuthorized {
				t.Errorf("the changed file is not in force: 0x%02x", byte(code))
			}
		})
	}
}

func (s *site) remove(name string) {
	s.t.Helper()
	if err := os.RemoveAll(s.path(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.t.Fatal(err)
	}
}

func (s *site) folder(name string) {
	s.t.Helper()
	if err := os.Mkdir(s.path(name), 0o700); err != nil {
		s.t.Fatal(err)
	}
}

func TestAReloadDisturbsNobodyWhoMayStay(t *testing.T) {
	text := strings.Replace(plain("", ""), "\nauthenticators:\n", `
  - name: inside
    transport: tcp
    address: "127.0.0.1:0"
    authenticators: [anon]
    policies: [perm]

authenticators:
  - {name: anon, type: anonymous}
`, 1)
	s := siege(t, text, freely)
	peers := []*peer{s.at("tcp", "alice"), s.at("tcp", "bob", id("b")),
		s.at("inside", "", id("anon"), func(c *packet.Connect) { c.HasUsername, c.HasPassword = false, false })}
	for _, p := range peers {
		p.allowed(1, "t")
	}
	for range 3 {
		s.passwords(append([]string{"another"}, accounts...)...) // a change that concerns none of them
		s.reload()
		for _, p := range peers {
			if code := p.publish("t", "x", 1, false); code != 0 {
				t.Errorf("publish after a reload: 0x%02x", byte(code))
			}
		}
		for _, p := range peers {
			for range peers {
				p.only("t", "x")
			}
		}
	}
}

func TestTheDefaultListenerOfAMosquittoConfHasItsRules(t *testing.T) {
	s := prepare(t, "", freely)
	s.write("acl", "topic read public/#\n")
	s.write("mosquitto.conf", `per_listener_settings true
port 1883
acl_file `+s.path("acl")+`
listener 1884 127.0.0.1
acl_file `+s.path("acl")+"\n")
	cfg, _, err := mosquitto.Read(s.path("mosquitto.conf"), mosquitto.Options{})
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]config.PolicyType{}
	for _, p := range cfg.Policies {
		types[p.Name] = p.Type
	}
	for _, l := range cfg.Listeners {
		if len(l.Policies) != 1 || types[l.Policies[0]] != config.MosquittoACL {
			t.Errorf("listener %s has the policies %q", l.Name, l.Policies)
		}
	}
	if len(cfg.Listeners) != 2 {
		t.Errorf("%d listeners, want 2", len(cfg.Listeners))
	}
}
