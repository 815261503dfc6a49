package attack_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"sallyport"
	"sallyport/packet"
)

func TestARemovedUserIsPutOutAndStaysOut(t *testing.T) {
	s := siege(t, plain("", ""), freely)
	alice := s.as(packet.V5, "alice")
	alice.allowed(1, "#")
	bob := s.as(packet.V5, "bob", willTo("w", "from the grave", true))
	again := s.as(packet.V5, "bob", id("bob2"), lasting, willTo("w", "from the grave, later", true), func(c *packet.Connect) {
		c.Will.Props.WillDelay = 1
		c.Will.Props.Mark(packet.PropWillDelay)
	})
	_ = again.nc.Close() // its will waits
	eventually(t, "the second bob is gone", func() bool { return s.srv.Metrics().Connections.Load() == 2 })
	mallory := s.as(packet.V311, "mallory")
	s.passwords("alice", "mallory=another")
	s.reload()
	if code := bob.ended(); code != packet.NotAuthorized {
		t.Errorf("the removed user got DISCONNECT 0x%02x, want 0x87", byte(code))
	}
	mallory.ended() // a changed password ends the connection, too
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		p := s.stranger()
		if ack := p.connect(login(v, "bob")); ack.Code != refusal(v) {
			t.Errorf("the removed user's remembered password: 0x%02x", byte(ack.Code))
		}
		p = s.stranger()
		if ack := p.connect(login(v, "mallory")); ack.Code != refusal(v) {
			t.Errorf("the old, remembered password: 0x%02x", byte(ack.Code))
		}
	}
	p := s.stranger()
	if ack := p.connect(login(packet.V5, "mallory", word("another"))); ack.Code != 0 {
		t.Errorf("the new password: 0x%02x", byte(ack.Code))
	}
	alice.publish("mark", "mark", 1, false)
	alice.only("mark", "mark") // and no will came before it
}

func TestWhoTheNewChainDoesNotKnowIsPutOut(t *testing.T) {
	other := func(s string) string { return strings.Replace(s, "file: passwd}", "file: passwd2}", 1) }
	for _, x := range []struct {
		claim  string
		before string
		after  string
		user   string // who has to go; alice always stays
	}{
		{"a user whom another password file doesn't have", plain("", ""), other(plain("", "")), "bob"},
		{"anonymous, when it is taken off the list", withAnonymous(), plain("", ""), ""},
		{"a client id that a new rule refuses", plain("", ""), plain("client_id: equals_username", ""), "bob"},
		{"a client id without a new prefix", plain("", ""), plain("client_id_prefixes: [alice]", ""), "bob"},
	} {
		t.Run(x.claim, func(t *testing.T) {
			s := prepare(t, x.before, freely)
			s.passwords("alice")
			if err := os.Rename(s.path("passwd"), s.path("passwd2")); err != nil {
				t.Fatal(err)
			}
			s.passwords("alice", "bob")
			s = s.begin()
			alice := s.as(packet.V5, "alice")
			alice.allowed(1, "#")
			p := s.dial()
			c := login(packet.V5, x.user, id("goner"), willTo("w", "x", false))
			if x.user == "" {
				c.HasUsername, c.HasPassword = false, false
			}
			if ack := p.connect(c); ack.Code != 0 {
				t.Fatalf("before: 0x%02x", byte(ack.Code))
			}
			s.text = x.after
			s.reload()
			if code := p.ended(); code != packet.NotAuthorized {
				t.Errorf("DISCONNECT 0x%02x, want 0x87", byte(code))
			}
			alice.publish("mark", "mark", 1, false)
			alice.only("mark", "mark")
		})
	}
}

func TestAReloadJudgesRisksLikeAStart(t *testing.T) {
	open := strings.Replace(plain("accept_risk: [cleartext_passwords]", ""), "127.0.0.1:0", "0.0.0.0:0", 1)
	s := siege(t, open, freely)
	for claim, text := range map[string]string{
		"anonymous": strings.Replace(strings.Replace(open, "authenticators: [pw]", "authenticators: [pw, anon]", 1),
			"policies:\n  -", "  - {name: anon, type: anonymous}\npolicies:\n  -", 1),
		"allow_all": strings.Replace(open, "{name: perm, type: permissions, file: permissions.yaml}", "{name: perm, type: allow_all}", 1),
	} {
		if err := s.srv.Reload(s.config(text)); !errors.Is(err, sallyport.ErrRisk) {
			t.Errorf("a reload that makes the listener %s: %v, want a refusal for the risk", claim, err)
		}
	}
	p := s.stranger()
	c := login(packet.V5, "x")
	c.HasUsername, c.HasPassword = false, false
	if ack := p.connect(c); ack.Code != packet.BadUserNameOrPassword {
		t.Errorf("after the refused reload anonymous got 0x%02x", byte(ack.Code))
	}
}

func TestAReloadTakesNoDoorSettingInSilence(t *testing.T) {
	s := siege(t, plain("", ""), freely)
	for claim, text := range map[string]string{
		"deny":        plain("deny: [127.5.0.0/16]", ""),
		"allow":       plain("allow: [127.0.0.0/16]", ""),
		"connections": plain("limits: {connections: 1}", ""),
		"sessions":    plain("", "limits: {sessions: 1}"),
		"mqtt":        plain("", "mqtt: {retain: false}"),
		"hashing":     strings.Replace(plain("", ""), "hashing: {", "hashing: {workers: 1, ", 1),
	} {
		if err := s.srv.Reload(s.config(text)); err == nil {
			t.Errorf("a reload that changes %s was taken, and does nothing", claim)
		} else if !strings.Contains(err.Error(), claim) {
			t.Errorf("the refusal of a changed %s does not name it: %v", claim, err)
		}
	}
}

func TestABrokenFileLeavesAllAsItWas(t *testing.T) {
	for _, x := range []struct{ claim, file, text string }{
		{"broken permissions", "permissions.yaml", "everyone: [{allow: both"},
		{"an unknown key in permissions", "permissions.yaml", "everyone:\n  - {alow: both, topic: \"#\"}\n"},
		{"empty permissions", "permissions.yaml", "# nothing\n"},
		{"a broken password file", "passwd", "alice"},
		{"an empty password file", "passwd", ""},
		{"a password file with plain text", "passwd", "alice:secret\n"},
		{"a hash with a ruinous cost", "passwd", "alice:$argon2id$v=19$m=4294967295,t=4294967295,p=255$c2FsdHNhbHRzYWx0$c2FsdHNhbHRzYWx0c2FsdHNhbHQ\n"},
	} {
		t.Run(x.claim, func(t *testing.T) {
			s := siege(t, plain("", ""), guarded)
			bob := s.as(packet.V5, "bob")
			bob.allowed(1, "bob/#")
			// The other file is a good one: it must not be taken over alone.
			if x.file == "passwd" {
				s.write("permissions.yaml", "everyone:\n  - {allow: both, topic: \"else/#\"}\n")
			} else {
				s.passwords("alice")
			}
			s.write(x.file, x.text)
			if err := s.srv.Reload(s.config(s.text)); err == nil {
				t.Fatal("the reload was taken")
			}
			if code := bob.publish("bob/x", "still here", 1, false); code != 0 {
				t.Errorf("publish after a refused reload: 0x%02x", byte(code))
			}
			bob.only("bob/x", "still here")
			if code := bob.publish("else/x", "x", 1, false); code != packet.NotAuthorized {
				t.Errorf("half of a refused reload is in force: 0x%02x", byte(code))
			}
			s.as(packet.V5, "bob", id("bob2"))
		})
	}
}

func TestAConnectUnderWayDoesNotSlipThroughASwap(t *testing.T) {
	s := prepare(t, plain("", ""), freely)
	s.passwords("alice", "bob")
	s = s.begin()
	watch := s.as(packet.V5, "alice")
	watch.allowed(1, "#")
	var removed atomic.Bool // set once a reload without bob has been acknowledged
	var slipped, got atomic.Int64
	for round := range 12 {
		s.passwords("alice", "bob")
		s.reload()
		removed.Store(false)
		var wg sync.WaitGroup
		var open sync.Map
		for i := range 8 {
			wg.Go(func() {
				nc, err := dialTCP(s.addr("tcp"), fmt.Sprintf("127.77.%d.%d", round, i+1))
				if err != nil {
					return
				}
				p := &peer{t: t, nc: nc}
				open.Store(p, true)
				ack, err := p.tryConnect(login(packet.V5, "bob", id(fmt.Sprint("bob", i)), willTo("w", "x", false)))
				if err != nil || ack.Code != 0 {
					return
				}
				got.Add(1)
				if _, _, err := p.read(); err == nil {
					_, _, _ = p.read() // after the DISCONNECT the end
				}
			})
		}
		s.passwords("alice")
		s.reload()
		removed.Store(true)
		wg.Wait() // nobody is left connected: each was refused or put out
		open.Range(func(k, _ any) bool { _ = k.(*peer).nc.Close(); return true })
		p := s.dialFrom(fmt.Sprintf("127.78.%d.1", round))
		if ack := p.connect(login(packet.V5, "bob")); ack.Code == 0 {
			slipped.Add(1)
		}
	}
	if slipped.Load() != 0 {
		t.Errorf("%d connects got in after the acknowledged reload", slipped.Load())
	}
	watch.publish("mark", "mark", 1, false)
	if m := watch.message(); m.topic != "mark" {
		t.Errorf("a removed user's will was published: %+v", m)
	}
}

// TestNothingPassesAnAcknowledgedDeny swaps allow and deny while messages
// flow: what is sent after the deny was acknowledged is delivered to nobody.
func TestNothingPassesAnAcknowledgedDeny(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	const allow = "everyone:\n  - {allow: both, topic: \"#\"}\n"
	const deny = allow + "  - {deny: publish, topic: \"t/#\"}\n"
	s := siege(t, plain("", ""), allow)
	cfg := s.config(s.text)
	sub := s.as(packet.V5, "alice")
	sub.allowed(0, "t/#", "mark")
	var swaps = 1000 // each brings an allow and a deny
	var denied atomic.Int64
	load, stop := s.as(packet.V5, "bob"), make(chan struct{})
	var flow sync.WaitGroup
	flow.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				burst := bytes.Repeat(pub(packet.V5, "t/load", "load", 0, false, 0), 20)
				if load.trySend(append(burst, packet.AppendPing(nil, packet.PINGREQ)...)) != nil {
					return
				}
				if _, _, err := load.read(); err != nil {
					return
				}
			}
		}
	})
	bad := make(chan message, 1)
	flow.Go(func() { // takes everything, so that nothing piles up
		for {
			h, body, err := sub.read()
			if err != nil || h.Type != packet.PUBLISH {
				return
			}
			var m packet.Publish
			if packet.DecodePublish(packet.V5, h.Flags, body, packet.Limits{}, &m) != nil || string(m.Topic) == "mark" {
				return
			}
			if string(m.Payload) == "after" {
				select {
				case bad <- message{topic: string(m.Topic)}:
				default:
				}
			}
		}
	})
	writer := s.as(packet.V5, "mallory")
	for n := range swaps {
		s.write("permissions.yaml", allow)
		if err := s.srv.Reload(cfg); err != nil {
			t.Fatal(err)
		}
		if n%50 == 0 {
			if code := writer.publish("t/x", "before", 1, false); code != 0 {
				t.Errorf("allowed: 0x%02x", byte(code))
			}
		}
		s.write("permissions.yaml", deny)
		if err := s.srv.Reload(cfg); err != nil {
			t.Fatal(err)
		}
		if code := writer.publish("t/x", "after", 1, false); code == packet.NotAuthorized {
			denied.Add(1)
		}
	}
	close(stop)
	writer.publish("mark", "mark", 1, false)
	_ = load.nc.Close()
	flow.Wait()
	if denied.Load() != int64(swaps) {
		t.Errorf("%d of %d publishes after a deny were refused", denied.Load(), swaps)
	}
	select {
	case m := <-bad:
		t.Errorf("delivered after an acknowledged deny: %s", m.topic)
	default:
	}
}

func TestADenyListIsComparedWithUnmappedAddresses(t *testing.T) {
	for _, x := range []struct{ claim, deny string }{
		{"an IPv4-mapped network", "::ffff:127.0.0.0/104"},
		{"an IPv4 network", "127.0.0.0/8"},
	} {
		s := siege(t, strings.Replace(plain("allow: [127.0.0.0/8, ::1]\ndeny: ['"+x.deny+"']", ""), "127.0.0.1:0", "localhost:0", 1), freely)
		s.dial().silentEnd()
		if s.srv.Metrics().BytesReceived.Load() != 0 || s.srv.Metrics().ConnectionsMax.Load() != 0 {
			t.Errorf("%s: something was read before the address was judged", x.claim)
		}
	}
	s := siege(t, plain("allow: [127.0.0.1]", ""), freely)
	s.as(packet.V5, "alice")
	if p, err := dialTCP(s.addr("tcp"), "127.0.0.2"); err == nil {
		newPeer(t, p).silentEnd()
	}
}
