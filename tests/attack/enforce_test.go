package attack_test

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	"sallyport/packet"
)

// rules is a permission file in which bob has these permissions beside those of everyone.
func rules(bob ...string) string {
	text := "everyone:\n  - {allow: both, topic: \"#\"}\n"
	if len(bob) > 0 {
		text += "users:\n  bob:\n    permissions:\n"
	}
	for _, r := range bob {
		text += "      - {" + r + "}\n"
	}
	return text
}

func TestASubscriptionThatAReloadDeniesIsRevoked(t *testing.T) {
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		a := watching(t, plain("", ""), rules())
		alice, bob := a.as(v, "alice"), a.as(v, "bob")
		bob.allowed(1, "t/#", "mark")
		alice.publish("t/1", "before", 1, false)
		bob.only("t/1", "before")
		a.write("permissions.yaml", rules("deny: subscribe, topic: \"t/#\""))
		a.pass()
		if !strings.Contains(a.log.String(), "revoked=1") || a.count("subscription_revoked") != 1 {
			t.Errorf("the log does not say that a subscription was revoked:\n%s", a.log)
		}
		alice.publish("t/1", "denied", 1, false)
		a.write("permissions.yaml", rules())
		a.pass()
		alice.publish("t/1", "after", 1, false) // the subscription is gone, and does not come back
		alice.publish("mark", "mark", 1, false)
		bob.only("mark", "mark")
	}
}

func TestASubscriptionMayBeWithheldInstead(t *testing.T) {
	a := watching(t, plain("", "mqtt: {on_policy_change: withhold}"), rules())
	alice, bob := a.as(packet.V5, "alice"), a.as(packet.V5, "bob")
	bob.allowed(1, "t/#", "mark")
	a.write("permissions.yaml", rules("deny: subscribe, topic: \"t/#\""))
	a.pass()
	alice.publish("t/1", "denied", 1, false)
	alice.publish("mark", "mark", 1, false)
	bob.only("mark", "mark")
	a.write("permissions.yaml", rules())
	a.pass()
	alice.publish("t/1", "after", 1, false)
	bob.only("t/1", "after")
}

func TestWhoMayNotConnectAnyMoreIsPutOut(t *testing.T) {
	a := watching(t, plain("", ""), rules())
	alice := a.as(packet.V5, "alice")
	alice.allowed(1, "#")
	bob := a.as(packet.V5, "bob", willTo("w", "from the grave", false))
	a.write("permissions.yaml", rules("deny: connect"))
	a.pass()
	if code := bob.ended(); code != packet.NotAuthorized {
		t.Errorf("DISCONNECT 0x%02x, want 0x87", byte(code))
	}
	if !strings.Contains(a.log.String(), "disconnected=1") {
		t.Errorf("the log does not count him:\n%s", a.log)
	}
	if ack := a.stranger().connect(login(packet.V5, "bob")); ack.Code == 0 {
		t.Error("he came back")
	}
	if n := len(regexp.MustCompile(`msg=(disconnected|connect_refused) .*permissions\.yaml:\d+: deny connect`).FindAllString(a.log.String(), -1)); n != 2 {
		t.Errorf("%d lines name the place of the rule, want those of his end and of his return:\n%s", n, a.log)
	}
	alice.publish("mark", "mark", 1, false)
	alice.only("mark", "mark")
}

// What waits for a client that is away is judged by the rules of when it comes.
func TestAQueueDoesNotOutliveTheRightToIt(t *testing.T) {
	a := watching(t, plain("", ""), rules())
	alice := a.as(packet.V5, "alice")
	bob := a.as(packet.V5, "bob", lasting)
	bob.allowed(1, "t/#", "free")
	_ = bob.nc.Close()
	eventually(t, "bob is away", func() bool { return a.srv.Metrics().Connections.Load() == 1 })
	alice.publish("t/1", "waits", 1, false)
	alice.publish("free", "waits", 1, false)
	a.write("permissions.yaml", rules("deny: receive, topic: \"t/#\""))
	a.pass()
	bob = a.as(packet.V5, "bob", lasting)
	bob.only("free", "waits")
	alice.publish("free", "mark", 1, false)
	bob.only("free", "mark")
}

// TestNoAllowedMessageIsLostThroughReloads keeps a QoS 1 stream flowing while
// rules about other topics come and go.
func TestNoAllowedMessageIsLostThroughReloads(t *testing.T) {
	a := watching(t, plain("limits: {queue_messages: 100000}", ""), rules())
	alice, bob := a.as(packet.V5, "alice"), a.as(packet.V5, "bob")
	alice.allowed(1, "stream")
	stop := make(chan struct{})
	var flow sync.WaitGroup
	sent := 0
	flow.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			n := bob.packetID()
			if bob.trySend(pub(packet.V5, "stream", fmt.Sprint(sent), 1, false, n)) != nil {
				return
			}
			h, body, err := bob.read()
			if err != nil || h.Type != packet.PUBACK {
				t.Errorf("message %d: %v %x instead of PUBACK, %v", sent, h.Type, body, err)
				return
			}
			if ack, err := packet.DecodeAck(packet.V5, h.Type, h.Flags, body, packet.Limits{}); err != nil || ack.Code >= 0x80 {
				t.Errorf("message %d was refused: %+v %v", sent, ack, err)
				return
			}
			sent++
		}
	})
	for n := range 20 {
		if n%2 == 0 {
			a.write("permissions.yaml", rules("deny: both, topic: \"t/#\""))
		} else {
			a.write("permissions.yaml", rules())
		}
		a.hangup()
	}
	close(stop)
	flow.Wait()
	a.reloads(20, 0)
	if sent == 0 {
		t.Fatal("nothing flowed")
	}
	for n := range sent {
		if m := alice.message(); m.payload != fmt.Sprint(n) {
			t.Fatalf("got message %q, want %d of %d", m.payload, n, sent)
		}
	}
}

func TestShadowPoliciesAreLoggedAndNotObeyed(t *testing.T) {
	config := func(listener string) string {
		return strings.Replace(plain(listener, ""), "policies:\n  -", "policies:\n  - {name: next, type: permissions, file: next.yaml}\n  -", 1)
	}
	s := prepare(t, config("shadow: [next]"), rules())
	s.write("next.yaml", rules("deny: publish, topic: \"t/#\""))
	a := s.attend()
	bob := a.as(packet.V5, "bob")
	for range 3 {
		bob.mayPublish("t/1", true)
	}
	bob.mayPublish("else", true)
	differs := func(want int) {
		t.Helper()
		if n := a.count("shadow_differs"); n != want {
			t.Errorf("%d differences were logged, want %d:\n%s", n, want, a.log)
		}
	}
	differs(1)
	for _, part := range []string{
		"client=bob user=bob listener=tcp action=publish topic=t/1 qos=1 live=allow", "perm:" + a.path("permissions.yaml") + ":2",
		"shadow=deny", "next:" + a.path("next.yaml") + ":6",
	} {
		if !strings.Contains(a.log.String(), part) {
			t.Errorf("the log lacks %q:\n%s", part, a.log)
		}
	}
	a.passwords(append(accounts, "carol")...)
	a.pass()
	bob.mayPublish("t/1", true)
	differs(1) // nothing that is compared has changed
	a.write("next.yaml", rules("deny: publish, topic: \"t/+\""))
	a.pass()
	bob.mayPublish("t/1", true)
	differs(2) // another policy, another comparison
	a.write("next.yaml", rules())
	a.pass()
	bob.mayPublish("t/1", true)
	differs(2)
	a.write("next.yaml", "broken")
	a.pass()
	a.reloads(3, 1) // a shadow that can't be read fails like any other
	a.write("next.yaml", rules("deny: publish, topic: \"t/+\""))
	a.pass()
	bob.mayPublish("t/1", true)
	differs(3)
	a.write("sallyport.yaml", config("shadow: [next]\non_denied_qos: downgrade"))
	a.pass()
	bob.mayPublish("t/1", true)
	differs(4) // what both would grant is another thing now
}

func TestSettingsOfPoliciesChangeByReload(t *testing.T) {
	low := rules() // qos 0 alone below low/
	low = strings.Replace(low, "topic: \"#\"", "topic: \"low/#\", qos: 0", 1)
	a := watching(t, plain("", ""), low)
	bob := a.as(packet.V5, "bob")
	ask := func(want packet.Code) {
		t.Helper()
		if got := bob.subscribe(2, "low/x"); len(got) != 1 || got[0] != want {
			t.Errorf("SUBACK %x, want 0x%02x", got, byte(want))
		}
	}
	ask(packet.NotAuthorized)
	a.write("sallyport.yaml", plain("on_denied_qos: downgrade", ""))
	a.pass()
	ask(0)
	a.write("sallyport.yaml", plain("on_denied_qos: refuse", ""))
	a.pass()
	ask(packet.NotAuthorized)

	acl := func(strict string) string {
		return strings.Replace(plain("", ""), "type: permissions, file: permissions.yaml", "type: mosquitto_acl, file: acl, strict: "+strict, 1)
	}
	a.write("acl", "topic read low/x\nuser bob\ntopic read mine/#\n")
	a.write("sallyport.yaml", acl("true"))
	a.pass()
	if got := bob.subscribe(0, "#", "mine/#"); got[0] != packet.NotAuthorized || got[1] != 0 {
		t.Errorf("strict: SUBACK %x, want 87 00", got)
	}
	a.write("sallyport.yaml", acl("false"))
	a.pass()
	if got := bob.subscribe(0, "#", "mine/#"); got[0] != 0 || got[1] != 0 {
		t.Errorf("not strict: SUBACK %x, want 00 00", got)
	}
	a.reloads(4, 0)
}
