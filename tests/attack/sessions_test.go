package attack_test

import (
	"fmt"
	"strings"
	"testing"

	"sallyport/packet"
)

func TestAForeignPrincipalCanNotTouchASession(t *testing.T) {
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		for _, online := range []bool{true, false} {
			t.Run(fmt.Sprintf("MQTT %d, owner online %t", v, online), func(t *testing.T) {
				s := siege(t, plain("", ""), freely)
				owner := s.as(v, "alice", lasting, id("pump"))
				owner.allowed(1, "secret")
				if !online {
					owner.send(packet.AppendDisconnect(nil, v, &packet.Disconnect{}))
					owner.ended()
				}
				writer := s.as(v, "bob")
				if !online {
					writer.publish("secret", "for alice", 1, false)
				}
				want := packet.NotAuthorized
				if v != packet.V5 {
					want = packet.V3NotAuthorized
				}
				for claim, change := range map[string]func(*packet.Connect){
					"resume":                 lasting,
					"clean start":            func(*packet.Connect) {},
					"end by expiry":          func(c *packet.Connect) { c.CleanStart = v != packet.V5 },
					"take over with a will":  willTo("secret", "stolen", false),
					"resume with a new will": func(c *packet.Connect) { lasting(c); willTo("secret", "stolen", true)(c) },
				} {
					thief := s.stranger()
					ack := thief.connect(login(v, "mallory", id("pump"), change))
					if ack.Code != want || ack.SessionPresent {
						t.Errorf("%s: CONNACK 0x%02x, session present %t", claim, byte(ack.Code), ack.SessionPresent)
					}
					thief.ended()
				}
				if !strings.Contains(s.log.String(), "msg=session_foreign") {
					t.Error("no security event")
				}
				if !online {
					owner = s.dial()
					if ack := owner.connect(login(v, "alice", lasting, id("pump"))); ack.Code != 0 || !ack.SessionPresent {
						t.Fatalf("the owner's return: 0x%02x, session present %t", byte(ack.Code), ack.SessionPresent)
					}
					owner.only("secret", "for alice")
				}
				writer.publish("secret", "still hers", 1, false)
				owner.only("secret", "still hers")
			})
		}
	}
}

func TestClientIDsAreBoundToUsers(t *testing.T) {
	t.Parallel()
	for rule, claims := range map[string]map[string]bool{
		"equals_username":      {"alice": true, "alice2": false, "bob": false, "Alice": false, "": false},
		"starts_with_username": {"alice": true, "alice-2": true, "bob": false, "al": false, "xalice": false, "": false},
	} {
		s := siege(t, plain("client_id: "+rule, ""), freely)
		for clientID, fits := range claims {
			for _, v := range []packet.Version{packet.V311, packet.V5} {
				p := s.stranger()
				ack := p.connect(login(v, "alice", id(clientID)))
				if fits != (ack.Code == 0) {
					t.Errorf("%s, client id %q, MQTT %d: CONNACK 0x%02x", rule, clientID, v, byte(ack.Code))
				}
				if !fits && ack.Code != refusal(v) {
					t.Errorf("%s, client id %q, MQTT %d: CONNACK 0x%02x tells the reason", rule, clientID, v, byte(ack.Code))
				}
			}
		}
	}
}

func TestSessionsOfOnePrincipalAreBounded(t *testing.T) {
	s := siege(t, plain("", "limits: {sessions_per_principal: 5, sessions: 8}"), freely)
	keep := func(user string, n int) packet.Code {
		p := s.dial()
		ack := p.connect(login(packet.V5, user, lasting, id(fmt.Sprintf("%s-%d", user, n))))
		p.send(packet.AppendDisconnect(nil, packet.V5, &packet.Disconnect{}))
		p.ended()
		return ack.Code
	}
	for n := range 5 {
		if code := keep("mallory", n); code != 0 {
			t.Fatalf("session %d: 0x%02x", n, byte(code))
		}
	}
	if code := keep("mallory", 5); code != packet.QuotaExceeded {
		t.Errorf("one session more: 0x%02x, want 0x97", byte(code))
	}
	p := s.dial()
	if ack := p.connect(login(packet.V311, "mallory", lasting, id("mallory-6"))); ack.Code != packet.V3ServerUnavailable {
		t.Errorf("one session more, MQTT 3.1.1: 0x%02x, want 3", byte(ack.Code))
	}
	if code := keep("mallory", 2); code != 0 {
		t.Errorf("a session that is there: 0x%02x", byte(code))
	}
	for n := range 3 {
		if code := keep("alice", n); code != 0 {
			t.Errorf("somebody else's session %d: 0x%02x", n, byte(code))
		}
	}
	if code := keep("bob", 0); code != packet.QuotaExceeded {
		t.Errorf("a session beyond the broker's bound: 0x%02x, want 0x97", byte(code))
	}
}

func TestAnonymousClientsDoNotShareABoundOfSessions(t *testing.T) {
	s := siege(t, withAnonymous()+"limits: {sessions_per_principal: 2}\n", freely)
	for n := range 5 {
		p := s.dial()
		c := login(packet.V5, fmt.Sprint("anon-", n))
		c.HasUsername, c.HasPassword = false, false
		if ack := p.connect(c); ack.Code != 0 {
			t.Fatalf("anonymous client %d: 0x%02x: one stranger can shut out the others", n, byte(ack.Code))
		}
	}
}

func TestATakenOverConnectionCanDoNothingMore(t *testing.T) {
	s := siege(t, plain("", ""), freely)
	watch := s.as(packet.V5, "bob")
	watch.allowed(1, "#")
	old := s.as(packet.V5, "alice")
	young := s.as(packet.V5, "alice")
	for range 50 {
		if old.trySend(pub(packet.V5, "late", "from the old one", 0, false, 0)) != nil {
			break
		}
	}
	if code := old.ended(); code != packet.SessionTakenOver && code != 0 {
		t.Errorf("the old connection got 0x%02x", byte(code))
	}
	young.publish("now", "from the new one", 1, false)
	for {
		if m := watch.message(); m.topic == "now" {
			break
		}
	}
	if s.srv.Metrics().Sessions.Load() != 2 {
		t.Errorf("%d sessions, want 2", s.srv.Metrics().Sessions.Load())
	}
}
