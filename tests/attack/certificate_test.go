package attack_test

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"

	"sallyport/packet"
)

// everything may be published and read by whoever gets in.
const everything = "everyone:\n  - {allow: both, topic: \"#\"}\n"

// mustEnter is enter that has to succeed, with the common name as client id.
func (s *site) mustEnter(door string, device tls.Certificate, change ...func(*packet.Connect)) *peer {
	s.t.Helper()
	p, code, err := s.enter(door, device, nil, append([]func(*packet.Connect){id(device.Leaf.Subject.CommonName + door)}, change...)...)
	if err != nil || code != 0 {
		s.t.Fatalf("%s by %s: 0x%02x, %v\n%s", device.Leaf.Subject.CommonName, door, byte(code), err, s.log)
	}
	return p
}

// putOut fails unless p was ended for what its certificate became.
func (p *peer) putOut(what string) {
	p.t.Helper()
	if code := p.ended(); code != packet.NotAuthorized {
		p.t.Errorf("%s: ended with 0x%02x, want 0x87", what, byte(code))
	}
}

// stays fails unless p is served as before.
func (p *peer) stays(topic string) {
	p.t.Helper()
	if code := p.publish(topic, "x", 1, false); code != 0 {
		p.t.Errorf("publish to %s by one who may stay: 0x%02x", topic, byte(code))
	}
}

// TestAConnectionEndsWithItsCertificate: what a handshake of now would refuse is
// ended, whichever way the files come in force, and leaves no will.
func TestAConnectionEndsWithItsCertificate(t *testing.T) {
	for way, inForce := range map[string]func(*attended){
		"watching": (*attended).pass, "SIGHUP": (*attended).hangup, "the interface": func(a *attended) { a.reload() },
	} {
		for claim, revoke := range map[string]func(a *attended, here, there *authority, bad tls.Certificate){
			"revoked": func(a *attended, here, there *authority, bad tls.Certificate) {
				a.write("clients.crl", here.list(bad)+there.list())
			},
			"authority taken out": func(a *attended, _, there *authority, _ tls.Certificate) {
				a.write("clients.crt", there.text())
			},
		} {
			t.Run(claim+" by "+way, func(t *testing.T) {
				here, there := newAuthority(t, "here"), newAuthority(t, "there")
				bad, good := here.device("bad"), there.device("good")
				s := forCertificates(t, here, everything)
				s.write("clients.crt", here.text()+there.text())
				s.write("clients.crl", here.list()+there.list())
				a := s.attend()
				reader := a.mustEnter("tls", good)
				reader.allowed(1, "will/#", "marker")
				var ends []*peer
				for _, door := range []string{"tls", "wss"} {
					ends = append(ends, a.mustEnter(door, bad, willTo("will/"+door, "x", false)))
				}
				other := a.mustEnter("wss", good)
				revoke(a, here, there, bad)
				inForce(a)
				for _, p := range ends {
					p.putOut(way)
				}
				other.stays("marker")
				reader.only("marker", "x") // and no will before it
				if log := a.log.String(); strings.Count(log, "certificate was revoked or is not trusted any more") != 2 || !strings.Contains(log, "disconnected=2") {
					t.Errorf("the log does not say why two were ended:\n%s", log)
				}
			})
		}
	}
}

// TestAHandshakeOfBeforeTheReloadIsJudgedByTheNewOne: the certificate is revoked
// between the handshake and the CONNECT.
func TestAHandshakeOfBeforeTheReloadIsJudgedByTheNewOne(t *testing.T) {
	a := newAuthority(t, "clients")
	bad, good := a.device("bad"), a.device("good")
	s := byCertificate(t, a, everything)
	for _, door := range []string{"tls", "wss"} {
		waiting := map[string]*peer{}
		for _, d := range []tls.Certificate{bad, good} {
			p, err := s.knock(door, d, nil)
			if err != nil {
				t.Fatalf("%s: %v", door, err)
			}
			waiting[d.Leaf.Subject.CommonName] = p
		}
		s.write("clients.crl", a.list(bad))
		s.reload()
		if ack := waiting["good"].connect(login(packet.V5, "another", id("good"+door))); ack.Code != 0 {
			t.Errorf("%s: the other certificate: 0x%02x", door, byte(ack.Code))
		}
		if ack := waiting["bad"].connect(login(packet.V5, "another", id("bad"+door))); ack.Code != packet.BadUserNameOrPassword {
			t.Errorf("%s: the revoked certificate: 0x%02x, want 0x86 as for every failed CONNECT", door, byte(ack.Code))
		}
		if !strings.Contains(s.log.String(), fmt.Sprintf("certificate %x is revoked", bad.Leaf.SerialNumber)) {
			t.Errorf("%s: the log does not say why:\n%s", door, s.log)
		}
		s.write("clients.crl", a.list())
		s.reload()
	}
}

// TestACertificateBesideAPasswordCountsToo: what named the user does not matter.
func TestACertificateBesideAPasswordCountsToo(t *testing.T) {
	a := newAuthority(t, "clients")
	s := forCertificates(t, a, everything)
	optional := strings.ReplaceAll(s.text, "client_auth: require", "client_auth: optional")
	s.text = strings.ReplaceAll(optional, "identity: common_name", "authenticators: [pw]")
	s.begin()
	device := a.device("device")
	as := func(user, clientID string) []func(*packet.Connect) {
		return []func(*packet.Connect){id(clientID), func(c *packet.Connect) { c.Username, c.Password = user, []byte("pw-"+user) }}
	}
	shown := s.mustEnter("tls", device, as("alice", "shown")...)
	none := s.mustEnter("tls", tls.Certificate{Leaf: device.Leaf}, as("bob", "none")...)
	s.write("clients.crl", a.list(device))
	s.reload()
	shown.putOut("revoked")
	none.stays("t")
	s.write("clients.crl", a.list())
	s.reload()
	shown = s.mustEnter("tls", device, as("alice", "shown")...)

	s.text = strings.ReplaceAll(s.text, "client_auth: optional", "client_auth: require")
	s.reload()
	none.putOut("a certificate is required now")
	shown.stays("t")
}

// TestARevocationLeavesTheSessionOfOneWhoIsAway: its queue waits for who may come back.
func TestARevocationLeavesTheSessionOfOneWhoIsAway(t *testing.T) {
	a := newAuthority(t, "clients")
	device, other := a.device("device"), a.device("other")
	s := byCertificate(t, a, everything)
	p := s.mustEnter("tls", device, lasting)
	p.allowed(1, "t")
	p.send(packet.AppendDisconnect(nil, packet.V5, &packet.Disconnect{}))
	p.ended()
	sender := s.mustEnter("tls", other)
	s.write("clients.crl", a.list(device))
	s.reload()
	sender.stays("t")
	if _, code, err := s.enter("tls", device, nil, id("devicetls"), lasting); err == nil {
		t.Fatalf("a revoked certificate got CONNACK 0x%02x", byte(code))
	}
	s.write("clients.crl", a.list())
	s.reload()
	s.mustEnter("tls", device, lasting).only("t", "x")
}

// TestAReloadThatIsRefusedEndsNoCertificate: all of it or nothing.
func TestAReloadThatIsRefusedEndsNoCertificate(t *testing.T) {
	a := newAuthority(t, "clients")
	device := a.device("device")
	s := byCertificate(t, a, everything)
	p := s.mustEnter("tls", device)
	s.write("clients.crl", a.list(device))
	s.write("permissions.yaml", "everyone: 7\n")
	if err := s.srv.Reload(s.config(s.text)); err == nil {
		t.Fatal("a broken permission file was taken over")
	}
	p.stays("t")
	s.write("permissions.yaml", everything)
	s.reload()
	p.putOut("revoked")
}
