package attack_test

import (
	"crypto/tls"
	"regexp"
	"strings"
	"testing"
	"time"

	"sallyport/certs"
	"sallyport/packet"
)

// secret is a site whose doors tls and wss speak what rules say.
func secret(t *testing.T, rules string) *site {
	t.Helper()
	var doors strings.Builder
	for _, transport := range []string{"tls", "wss"} {
		doors.WriteString("  - {name: " + transport + ", transport: " + transport +
			", address: \"127.0.0.1:0\", authenticators: [pw], policies: [perm], tls: {certificate: tls/server.crt, key: tls/server.key, " + rules + "}}\n")
	}
	s := prepare(t, strings.Replace(plain("", ""), "\nauthenticators:\n", "\n"+doors.String()+"\nauthenticators:\n", 1), everything)
	if _, err := certs.Quickstart(s.path("tls"), []string{"localhost"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	return s.begin()
}

// speak opens the door with a client that offers what offer has, and logs in; it
// tells whether an answer came.
func (s *site) speak(door string, offer *tls.Config) bool {
	s.t.Helper()
	offer.InsecureSkipVerify = true //nolint:gosec // the attacker doesn't care who it is
	c := tls.Client(s.socket(door), offer)
	if c.Handshake() != nil {
		return false
	}
	nc := &webConn{Conn: c}
	if door == "wss" && nc.upgrade(request("/mqtt", nil)) != 101 {
		return false
	}
	p := newPeer(s.t, c)
	if door == "wss" {
		p = newPeer(s.t, nc)
	}
	ack, err := p.tryConnect(login(packet.V5, "alice", id("speaks-"+door)))
	return err == nil && ack.Code == 0
}

// TestWhatIsNotSpokenHereIsRefused: a client that comes to another version, suite or
// group than the configuration names gets no answer to its CONNECT, whenever in the
// handshake that shows.
func TestWhatIsNotSpokenHereIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name, rules string
		offer       *tls.Config
		want        bool
	}{
		{"Go's own offer", `min_version: "1.2"`, &tls.Config{}, true},
		{"TLS 1.1", `min_version: "1.2"`, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, false},
		{"TLS 1.1 where it is named", `min_version: "1.1", legacy: true`, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, true},
		{"TLS 1.2 where 1.3 is demanded", `min_version: "1.3"`, &tls.Config{MaxVersion: tls.VersionTLS12}, false},
		{"a suite of TLS 1.3 that is not named", `min_version: "1.3", cipher_suites: [TLS_AES_256_GCM_SHA384]`, &tls.Config{}, false},
		{"one that is", `min_version: "1.3", cipher_suites: [TLS_AES_128_GCM_SHA256, TLS_CHACHA20_POLY1305_SHA256]`, &tls.Config{}, true},
		{"a classic group where a hybrid one is demanded", `min_version: "1.3", require_post_quantum: true`, &tls.Config{CurvePreferences: []tls.CurveID{tls.X25519}}, false},
		{"a hybrid group", `min_version: "1.3", require_post_quantum: true`, &tls.Config{}, true},
		{"a group that is not named", `groups: [P-384]`, &tls.Config{CurvePreferences: []tls.CurveID{tls.X25519}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := secret(t, tt.rules)
			for _, door := range []string{"tls", "wss"} {
				if got := s.speak(door, tt.offer.Clone()); got != tt.want {
					t.Errorf("%s: served = %v, want %v\n%s", door, got, tt.want, s.log)
				}
			}
			if !tt.want { // the lines may come after the client's error
				eventually(t, "two lines of failed handshakes", func() bool { return strings.Count(s.log.String(), `msg="TLS handshake failed"`) == 2 })
			}
			if tt.name == "Go's own offer" { // which suite it is depends on whether the processor has AES
				line := regexp.MustCompile(`msg=connected .*tls="TLS 1\.3 TLS_(AES_128_GCM|CHACHA20_POLY1305)_SHA256 X25519MLKEM768"`)
				eventually(t, "a line that tells what was negotiated", func() bool { return len(line.FindAllString(s.log.String(), -1)) == 2 })
			}
		})
	}
}

// TestAReloadOfWhatIsSpoken holds from the next handshake on, for a ticket too.
func TestAReloadOfWhatIsSpoken(t *testing.T) {
	s := secret(t, `min_version: "1.2"`)
	tickets := tls.NewLRUClientSessionCache(1)
	old := func() *tls.Config {
		return &tls.Config{MaxVersion: tls.VersionTLS12, CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256}, ClientSessionCache: tickets, ServerName: "localhost"}
	}
	if !s.speak("tls", old()) {
		t.Fatalf("TLS 1.2 under the first rules was refused\n%s", s.log)
	}
	s.text = strings.ReplaceAll(s.text, `min_version: "1.2"`, `min_version: "1.2", groups: [P-256]`)
	s.reload()
	if !s.speak("tls", old()) {
		t.Errorf("its ticket is void now, and the client was refused\n%s", s.log)
	}
	eventually(t, "a new handshake with the other group", func() bool {
		log := s.log.String()
		return strings.Count(log, " x25519\"") == 1 && strings.Count(log, " secp256r1\"") == 1
	})
	s.text = strings.ReplaceAll(s.text, `min_version: "1.2", groups: [P-256]`, `min_version: "1.3"`)
	s.reload()
	if s.speak("tls", old()) {
		t.Error("TLS 1.2 got in after it was taken out")
	}
	if !s.speak("tls", &tls.Config{}) {
		t.Errorf("TLS 1.3 was refused\n%s", s.log)
	}
}
