package attack_test

import (
	"fmt"
	"strings"
	"testing"

	"sallyport/packet"
)

// guarded is what the attacks on rules are tried against.
const guarded = `
everyone:
  - {allow: subscribe, topic: "free/#"}
  - {allow: publish, topic: "free/#"}
users:
  alice:
    permissions:
      - {allow: both, topic: "#"}
      - {allow: both, topic: "$SYS/#"}
  bob:
    permissions:
      - {allow: both, topic: "bob/#"}
      - {deny: both, topic: "bob/secret/#"}
      - {allow: publish, topic: "low/#", qos: [0]}
      - {allow: publish, topic: "unkept/#", retain: forbidden}
      - {allow: subscribe, topic: "once/#", qos: [0]}
      - {allow: subscribe, topic: "team/#", group: crew}
  mallory:
    permissions:
      - {allow: both, topic: "dev/${clientid}/#"}
      - {allow: both, topic: "user/${username}/#"}
`

func TestSubscriptionsBeyondTheGrantAreRefused(t *testing.T) {
	s := siege(t, plain("", ""), guarded)
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		want := packet.NotAuthorized
		if v != packet.V5 {
			want = packet.V3SubackFailure
		}
		bob := s.as(v, "bob")
		for _, f := range []string{
			"#", "+", "+/#", "+/x", "bob/secret/#", "bob/secret/x", "bob/secret", "bo", "bob2/#", "bob+", "/bob/#", "BOB/#",
			"$SYS/#", "$SYS/broker/version", "$share/g/#", "$share/g/bob/secret/x", "$share/g/$SYS/#", "team/a", "$share/other/team/a",
		} {
			if strings.HasSuffix(f, "b+") {
				continue // malformed: another refusal
			}
			if got := bob.subscribe(0, f)[0]; got != want {
				t.Errorf("MQTT %d: subscription to %s: 0x%02x, want 0x%02x", v, f, byte(got), byte(want))
			}
		}
		if got := bob.subscribe(1, "once/a")[0]; got != want {
			t.Errorf("MQTT %d: QoS outside the set: 0x%02x", v, byte(got))
		}
		bob.allowed(0, "bob/#", "bob/+/x", "once/a", "$share/crew/team/a", "free/+")
	}
}

func TestADenyInsideASubscriptionIsWithheld(t *testing.T) {
	s := siege(t, plain("", ""), guarded)
	bob, alice := s.as(packet.V5, "bob"), s.as(packet.V5, "alice")
	bob.allowed(2, "bob/#", "bob/+/x", "$share/g/bob/+/x")
	for _, retain := range []bool{false, true} {
		alice.publish("bob/secret/x", "hidden", 1, retain)
		alice.publish("bob/secret", "hidden", 2, retain)
	}
	bob.allowed(2, "bob/#") // brings retained messages
	bob.ping()
	alice.publish("bob/open", "shown", 1, false)
	bob.only("bob/open", "shown")
	if len(bob.inbox) > 0 {
		t.Errorf("bob also has %+v", bob.inbox)
	}
}

func TestDeniedPublishesAreAnsweredAndGoNowhere(t *testing.T) {
	for _, x := range []struct {
		claim, topic string
		qos          byte
		retain       bool
	}{
		{"a topic without a grant", "alice/x", 1, false},
		{"a topic of a deny rule", "bob/secret/x", 1, false},
		{"QoS 2 to a topic without a grant", "alice/x", 2, false},
		{"QoS 0 to a topic without a grant", "alice/x", 0, false},
		{"a QoS outside the set", "low/x", 1, false},
		{"a retained message where retain is forbidden", "unkept/x", 1, true},
		{"$SYS", "$SYS/broker/version", 1, false},
		{"$SYS itself", "$SYS", 1, true},
		{"something below $SYS that nobody uses", "$SYS/forged", 0, true},
	} {
		t.Run(x.claim, func(t *testing.T) {
			s := siege(t, plain("", ""), guarded)
			for _, v := range []packet.Version{packet.V311, packet.V5} {
				alice := s.as(v, "alice")
				alice.allowed(2, "#", "$SYS/#")
				user := "bob"
				if strings.HasPrefix(x.topic, "$SYS") {
					user = "alice" // not even the one with every right
				}
				p := s.as(v, user, id("attacker"))
				code := p.publish(x.topic, "forged", x.qos, x.retain)
				want := packet.NotAuthorized
				if v != packet.V5 || x.qos == 0 {
					want = 0
				}
				if code != want {
					t.Errorf("MQTT %d: 0x%02x, want 0x%02x", v, byte(code), byte(want))
				}
				p.ping()
				s.as(v, "mallory", id("m")).publish("free/x", "mark", 1, false)
				alice.only("free/x", "mark")
				again := s.as(v, "alice", id("late"))
				again.allowed(1, "#", "$SYS/#")
				again.ping()
				if len(again.inbox) > 0 {
					t.Errorf("MQTT %d: retained: %+v", v, again.inbox)
				}
			}
			if s.srv.Metrics().PublishDenied.Load() != 2 || !strings.Contains(s.log.String(), "msg=publish_denied") {
				t.Errorf("%d denied publishes counted, want 2 and a log line", s.srv.Metrics().PublishDenied.Load())
			}
		})
	}
}

func TestADeniedPublishCanEndTheConnection(t *testing.T) {
	s := siege(t, plain("on_denied_publish: disconnect", ""), guarded)
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		p := s.as(v, "bob", willTo("bob/will", "gone", false))
		p.send(pub(v, "alice/x", "x", 1, false, 1))
		if code := p.ended(); v == packet.V5 && code != packet.NotAuthorized {
			t.Errorf("DISCONNECT 0x%02x, want 0x87", byte(code))
		}
	}
}

func TestAWillIsJudgedAtConnectAndAgainWhenPublished(t *testing.T) {
	s := siege(t, plain("", ""), guarded)
	for claim, c := range map[string]*packet.Connect{
		"a topic without a grant":     login(packet.V5, "bob", willTo("alice/x", "x", false)),
		"a topic of a deny rule":      login(packet.V5, "bob", willTo("bob/secret/x", "x", false)),
		"$SYS, by who may do all":     login(packet.V5, "alice", willTo("$SYS/broker/version", "x", true)),
		"retained where forbidden":    login(packet.V5, "bob", willTo("unkept/x", "x", true)),
		"a QoS outside the set":       login(packet.V5, "bob", willTo("low/x", "x", false)),
		"another client's own prefix": login(packet.V5, "mallory", id("m"), willTo("dev/alice/x", "x", false)),
	} {
		p := s.dial()
		if ack := p.connect(c); ack.Code != packet.NotAuthorized {
			t.Errorf("will to %s: CONNACK 0x%02x, want 0x87", claim, byte(ack.Code))
		}
		c.Version = packet.V311
		p = s.dial()
		if ack := p.connect(c); ack.Code != packet.V3NotAuthorized {
			t.Errorf("will to %s, MQTT 3.1.1: CONNACK 0x%02x, want 5", claim, byte(ack.Code))
		}
	}

	alice := s.as(packet.V5, "alice")
	alice.allowed(1, "#")
	bob := s.as(packet.V5, "bob", id("dying"), willTo("bob/will", "too late", true))
	s.write("permissions.yaml", strings.ReplaceAll(guarded, `{allow: both, topic: "bob/#"}`, `{allow: both, topic: "bobby/#"}`))
	s.reload()
	_ = bob.nc.Close()
	eventually(t, "the will is denied", func() bool { return strings.Contains(s.log.String(), "msg=will_denied client=dying") })
	alice.publish("mark", "mark", 1, false)
	alice.only("mark", "mark")
}

func TestATopicAliasIsResolvedBeforeItIsJudged(t *testing.T) {
	s := siege(t, plain("", ""), guarded)
	alice := s.as(packet.V5, "alice")
	alice.allowed(1, "#")
	bob := s.as(packet.V5, "bob")
	send := func(topic string, alias uint16) packet.Code {
		t.Helper()
		n := bob.packetID()
		bob.send(packet.AppendPublish(nil, packet.V5, &packet.PublishOut{
			QoS: 1, Topic: topic, Alias: alias, PacketID: n, ExpiryAt: -1, Payload: []byte("by alias"),
		}))
		h, body := bob.await(packet.PUBACK)
		a, err := packet.DecodeAck(packet.V5, h.Type, h.Flags, body, packet.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		return a.Code
	}
	for _, step := range []struct {
		topic string
		want  packet.Code
	}{
		{"bob/open", 0}, {"", 0},
		{"bob/secret/x", packet.NotAuthorized}, {"", packet.NotAuthorized}, {"", packet.NotAuthorized},
		{"bob/open", 0}, {"", 0},
	} {
		if got := send(step.topic, 1); got != step.want {
			t.Errorf("alias with topic %q: 0x%02x, want 0x%02x", step.topic, byte(got), byte(step.want))
		}
	}
	for range 4 {
		alice.only("bob/open", "by alias")
	}
	s.write("permissions.yaml", strings.ReplaceAll(guarded, `{allow: both, topic: "bob/#"}`, `{allow: both, topic: "bobby/#"}`))
	s.reload()
	if got := send("", 1); got != packet.NotAuthorized {
		t.Errorf("an alias from before the reload: 0x%02x", byte(got))
	}
	for alias, want := range map[uint16]packet.Code{17: packet.TopicAliasInvalid, 65535: packet.TopicAliasInvalid, 9: packet.ProtocolError} {
		p := s.as(packet.V5, "bob", id(fmt.Sprint("alias", alias)))
		p.send(packet.AppendPublish(nil, packet.V5, &packet.PublishOut{Alias: alias, ExpiryAt: -1}))
		if got := p.ended(); got != want {
			t.Errorf("alias %d without a topic: DISCONNECT 0x%02x, want 0x%02x", alias, byte(got), byte(want))
		}
	}
}

func TestPlaceholdersAreOneLevelAndExpandedOnce(t *testing.T) {
	s := siege(t, plain("", ""), guarded)
	for _, clientID := range []string{"+", "#", "a/b", "alice/#", "x/+", "/", "..", "$SYS", "ä€", "${username}", "${clientid}", "%c", "%u", "a b"} {
		p := s.dial()
		ack := p.connect(login(packet.V5, "mallory", id(clientID)))
		if ack.Code != 0 {
			t.Errorf("client id %q: 0x%02x", clientID, byte(ack.Code))
			continue
		}
		for _, f := range []string{"dev/alice/x", "dev/#", "dev/+/x", "dev/mallory/x", "dev/a/b", "$SYS/x", "user/alice/x", "user/+/x"} {
			if "dev/"+clientID+"/x" == f || strings.HasPrefix(f, "dev/"+clientID+"/") && !strings.ContainsAny(clientID, "+#/") {
				continue // its own
			}
			if code := p.subscribe(0, f)[0]; code < 0x80 {
				t.Errorf("client id %q: may subscribe to %s", clientID, f)
			}
			if !strings.ContainsAny(f, "+#") {
				if code := p.publish(f, "x", 1, false); code < 0x80 {
					t.Errorf("client id %q: may publish to %s", clientID, f)
				}
			}
		}
		fit := !strings.ContainsAny(clientID, "+#/")
		if code := p.publish("dev/"+strings.NewReplacer("+", "p", "#", "h").Replace(clientID)+"/x", "x", 1, false); (code == 0) != fit {
			t.Errorf("client id %q, its own level: 0x%02x", clientID, byte(code))
		}
	}
	p := s.dial()
	if ack := p.connect(login(packet.V5, "mallory", id(""))); ack.Code != 0 {
		t.Fatalf("empty client id: 0x%02x", byte(ack.Code))
	}
	if code := p.subscribe(0, "dev//x")[0]; code < 0x80 {
		t.Error("an empty client id stands for an empty level")
	}
}

func TestADenyRuleThatCanNotBeToldRefusesTheConnection(t *testing.T) {
	s := siege(t, plain("", ""), `
everyone:
  - {allow: both, topic: "#"}
  - {deny: both, topic: "private/${clientid}/#"}
`)
	for _, clientID := range []string{"a/b", "+", "#"} {
		p := s.dial()
		if ack := p.connect(login(packet.V5, "alice", id(clientID))); ack.Code != packet.NotAuthorized {
			t.Errorf("client id %q: CONNACK 0x%02x, want 0x87", clientID, byte(ack.Code))
		}
	}
	if log := s.log.String(); !strings.Contains(log, "private/${clientid}/#") || !strings.Contains(log, "a/b") {
		t.Errorf("the log names neither rule nor value:\n%s", log)
	}
	s.as(packet.V5, "alice", id("plain"))
}

func TestMosquittosQuirksOpenNothing(t *testing.T) {
	text := strings.Replace(plain("", ""), "{name: perm, type: permissions, file: permissions.yaml}",
		"{name: perm, type: mosquitto_acl, file: acl}", 1)
	s := prepare(t, text, freely)
	s.write("acl", `
topic read public/#
user bob
topic readwrite bob/#
topic deny bob/secret/#
pattern readwrite dev/%c/#
pattern read user/%u
`)
	s = s.begin()
	bob := s.as(packet.V5, "bob")
	bob.allowed(1, "#", "bob/#", "dev/+/#") // acl_file judges reading at delivery
	writer := s.as(packet.V5, "mallory", id("m"))
	for topic, want := range map[string]packet.Code{
		"bob/x": packet.NotAuthorized, "dev/bob/x": packet.NotAuthorized, "dev/m/x": 0, "$SYS/x": packet.NotAuthorized,
		"public/x": packet.NotAuthorized, "user/mallory": packet.NotAuthorized,
	} {
		if got := writer.publish(topic, "from mallory", 1, false); got != want {
			t.Errorf("mallory to %s: 0x%02x, want 0x%02x", topic, byte(got), byte(want))
		}
	}
	for topic, want := range map[string]packet.Code{"bob/x": 0, "bob/secret/x": packet.NotAuthorized, "dev/bob/x": 0} {
		if got := bob.publish(topic, "from bob", 1, false); got != want {
			t.Errorf("bob to %s: 0x%02x, want 0x%02x", topic, byte(got), byte(want))
		}
	}
	bob.ping()
	for _, m := range bob.inbox {
		if m.payload != "from bob" || m.topic == "bob/secret/x" {
			t.Errorf("bob received %+v", m)
		}
	}
	wild := s.as(packet.V5, "mallory", id("+"))
	if got := wild.publish("dev/bob/x", "x", 1, false); got != packet.NotAuthorized {
		t.Errorf("a client id of + wrote to another's topic: 0x%02x", byte(got))
	}
}

func TestWhatWaitsIsJudgedWhenItLeaves(t *testing.T) {
	for _, x := range []struct{ claim, kind string }{
		{"a retained message", "retained"}, {"a queued message", "queued"},
		{"a message in flight", "inflight"}, {"a message that waits for window", "window"}, {"a message of a shared group", "shared"},
	} {
		t.Run(x.claim, func(t *testing.T) {
			s := siege(t, plain("", ""), guarded)
			alice := s.as(packet.V5, "alice")
			narrow := func(c *packet.Connect) {
				lasting(c)
				c.Props.ReceiveMaximum = 1
				c.Props.Mark(packet.PropReceiveMaximum)
			}
			bob := s.as(packet.V5, "bob", narrow)
			filter := "bob/#"
			if x.kind == "shared" {
				filter = "$share/g/bob/#"
			}
			bob.allowed(1, filter)
			switch x.kind {
			case "queued", "shared":
				bob.send(packet.AppendDisconnect(nil, packet.V5, &packet.Disconnect{}))
				bob.ended()
				alice.publish("bob/x", "secret", 1, false)
			case "retained":
				bob.send(packet.AppendDisconnect(nil, packet.V5, &packet.Disconnect{}))
				bob.ended()
				alice.publish("bob/x", "secret", 1, true)
				// The queued copy is not the one that counts here.
				bob = s.as(packet.V5, "bob", narrow)
				bob.only("bob/x", "secret")
				bob.send(packet.AppendDisconnect(nil, packet.V5, &packet.Disconnect{}))
				bob.ended()
			case "inflight", "window":
				alice.publish("bob/x", "secret", 1, false)
				bob.unacked()
				if x.kind == "window" {
					alice.publish("bob/y", "secret", 1, false)
				} else {
					_ = bob.nc.Close()
				}
			}
			s.write("permissions.yaml", strings.ReplaceAll(guarded, `{allow: both, topic: "bob/#"}`, `{allow: both, topic: "bobby/#"}`))
			s.reload()
			if x.kind == "window" {
				bob.send(packet.AppendAck(nil, packet.V5, packet.PUBACK, &packet.Ack{PacketID: 1}))
			} else {
				bob = s.as(packet.V5, "bob", narrow)
				if got := bob.subscribe(1, filter)[0]; got != packet.NotAuthorized {
					t.Errorf("subscription after the reload: 0x%02x", byte(got))
				}
			}
			alice.publish("free/x", "mark", 1, false)
			bob.allowed(1, "free/x")
			alice.publish("free/x", "mark", 1, false)
			bob.only("free/x", "mark")
		})
	}
}
