package attack_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"sallyport/certs"
	"sallyport/packet"
)

// tokens is a listener for tokens, and for passwords after them. Keys of issuer "id" are
// in id.pem and next.jwks.
const tokens = `
listeners:
  - name: tcp
    transport: tcp
    address: "127.0.0.1:0"
    authenticators: [tokens, pw]
    policies: [perm, claims]
authenticators:
  - name: tokens
    type: jwt
    roles: {scribe: writer}
    jwt:
      from: both
      roles: roles
      permissions: acl
      issuers:
        - {issuer: id, audiences: mqtt, keys: [{file: id.pem, id: old}, {file: next.jwks}]}
  - {name: pw, type: password_file, file: passwd}
policies:
  - {name: perm, type: permissions, file: permissions.yaml}
  - {name: claims, type: token}
sys_interval: 0
hashing: {auth_failure_floor: 20ms}
`

// writers is a permission file in which a role may write.
const writers = `
roles:
  writer: {permissions: [{allow: publish, topic: "out/#"}]}
everyone: [{allow: both, topic: "free/#"}]
`

var oldKey, nextKey = keyOf(1), keyOf(2)

func keyOf(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

func pemOf(t *testing.T, keys ...ed25519.PrivateKey) string {
	t.Helper()
	var out []byte
	for _, k := range keys {
		der, err := x509.MarshalPKIXPublicKey(k.Public())
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})...)
	}
	return string(out)
}

func jwksOf(kid string, key ed25519.PrivateKey) string {
	return fmt.Sprintf(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":%q,"x":%q}]}`, kid,
		base64.RawURLEncoding.EncodeToString(key.Public().(ed25519.PublicKey)))
}

// tokenSite starts a broker that takes tokens.
func tokenSite(t *testing.T, text string) *site {
	t.Helper()
	s := prepare(t, text, writers)
	s.write("id.pem", pemOf(t, oldKey))
	s.write("next.jwks", jwksOf("next", nextKey))
	return s.begin()
}

// tokenOf is a token of name, with claims beside the usual ones.
func tokenOf(t *testing.T, key ed25519.PrivateKey, name string, with map[string]any) string {
	t.Helper()
	claims := map[string]any{"iss": "id", "aud": "mqtt", "sub": name, "exp": time.Now().Add(time.Hour).Unix(), "jti": "jti-" + name}
	maps.Copy(claims, with)
	return signed(t, key, map[string]any{"alg": "EdDSA"}, claims)
}

func signed(t *testing.T, key ed25519.PrivateKey, header, claims any) string {
	t.Helper()
	var parts []string
	for _, v := range []any{header, claims} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, base64.RawURLEncoding.EncodeToString(b))
	}
	text := strings.Join(parts, ".")
	return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(key, []byte(text)))
}

// bearing is a CONNECT with a token as password.
func bearing(v packet.Version, clientID, username, token string) *packet.Connect {
	return &packet.Connect{
		Version: v, CleanStart: true, ClientID: clientID, HasUsername: true, Username: username, HasPassword: true, Password: []byte(token),
	}
}

// oauth is a CONNECT with the method OAUTHBEARER.
func oauth(clientID, token string) *packet.Connect {
	c := &packet.Connect{Version: packet.V5, CleanStart: true, ClientID: clientID}
	c.Props.AuthMethod, c.Props.AuthData = "OAUTHBEARER", bearer(token)
	c.Props.Mark(packet.PropAuthMethod)
	c.Props.Mark(packet.PropAuthData)
	return c
}

func bearer(token string) []byte { return []byte("n,,\x01auth=Bearer " + token + "\x01\x01") }

// auth sends an AUTH of the method.
func (p *peer) auth(code packet.Code, data []byte) {
	p.t.Helper()
	a := packet.Auth{Code: code}
	a.Props.AuthMethod, a.Props.AuthData = "OAUTHBEARER", data
	a.Props.Mark(packet.PropAuthMethod)
	a.Props.Mark(packet.PropAuthData)
	p.send(packet.AppendAuth(nil, &a))
}

// told is the broker's next AUTH.
func (p *peer) told() *packet.Auth {
	p.t.Helper()
	h, body := p.await(packet.AUTH)
	a, err := packet.DecodeAuth(p.v, h.Flags, body, packet.Limits{})
	if err != nil {
		p.t.Fatalf("AUTH %x: %v", body, err)
	}
	return a
}

// shows fails if a piece of a token is in the log.
func (s *site) shows(what, token string) {
	s.t.Helper()
	log := s.log.String()
	for part := range strings.SplitSeq(token, ".") {
		for i := 0; i+12 <= len(part); i += 4 {
			if strings.Contains(log, part[i:i+12]) {
				s.t.Errorf("%s: the log holds %q of the token", what, part[i:i+12])
				return
			}
		}
	}
}

// TestTokensAreNeverShown: whatever is wrong with one and wherever it is, its sender is
// refused as with a wrong password, and no line of the log has a piece of it.
func TestTokensAreNeverShown(t *testing.T) {
	s := tokenSite(t, strings.Replace(tokens, "sys_interval", "log: {level: debug}\nsys_interval", 1))
	good := tokenOf(t, oldKey, "pump", nil)
	bad := map[string]string{
		"expired":         tokenOf(t, oldKey, "pump", map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}),
		"another's key":   tokenOf(t, keyOf(9), "pump", nil),
		"another issuer":  tokenOf(t, oldKey, "pump", map[string]any{"iss": "other"}),
		"alg none":        strings.Replace(signed(t, oldKey, map[string]any{"alg": "none"}, map[string]any{"iss": "id", "sub": "pump"}), "x", "x", 1),
		"its end is gone": good[:len(good)-20],
		"its begin too":   good[20:],
		"claims only":     good[:strings.LastIndexByte(good, '.')],
		"a name too wide": tokenOf(t, oldKey, "a/#", nil),
		"bad permissions": tokenOf(t, oldKey, "pump", map[string]any{"acl": "secret"}),
	}
	for name, token := range bad {
		for way, c := range map[string]*packet.Connect{
			"password, 5":    bearing(packet.V5, "c-"+name, "", token),
			"password, 3":    bearing(packet.V311, "c-"+name, "pump", token),
			"user name":      bearing(packet.V5, "c-"+name, token, "x"),
			"both":           bearing(packet.V5, "c-"+name, token, token),
			"with its word":  bearing(packet.V311, "c-"+name, "Bearer "+token, ""),
			"client id, too": bearing(packet.V5, "Bearer "+token[:min(len(token), 200)], "alice", token),
		} {
			ack := s.stranger().connect(c)
			want := packet.BadUserNameOrPassword
			if c.Version != packet.V5 {
				want = packet.V3NotAuthorized
			}
			if ack.Code != want || ack.Props.ReasonString != "" {
				t.Errorf("%s in %s: CONNACK 0x%02x %q", name, way, byte(ack.Code), ack.Props.ReasonString)
			}
		}
		p := s.stranger()
		p.send(packet.AppendConnect(nil, oauth("c-"+name, token)))
		if a := p.told(); a.Code != packet.ContinueAuthentication || string(a.Props.AuthData) != `{"status":"invalid_token"}` {
			t.Errorf("%s in OAUTHBEARER: AUTH 0x%02x %q", name, byte(a.Code), a.Props.AuthData)
		}
		p.auth(packet.ContinueAuthentication, []byte("\x01"))
		if h, body := p.next(); h.Type != packet.CONNACK || packet.Code(body[1]) != packet.BadUserNameOrPassword {
			t.Errorf("%s in OAUTHBEARER: %v %x", name, h.Type, body)
		}
		s.shows(name, token)
	}
	// One that is accepted isn't shown either, nor is one with the wrong name beside it.
	if ack := s.stranger().connect(bearing(packet.V5, "c1", good, "")); ack.Code != 0 {
		t.Errorf("a good token as user name: CONNACK 0x%02x\n%s", byte(ack.Code), s.log)
	}
	s.stranger().connect(bearing(packet.V5, "c2", "root", good))
	s.shows("good", good)
	if log := s.log.String(); !strings.Contains(log, "token refused: expired") || !strings.Contains(log, "(hidden)") {
		t.Errorf("the log does not say why, or whose name it hides:\n%s", log)
	}
}

// Passwords are asked about after tokens, and an empty user name is none.
func TestTokensAndPasswordsOnOneListener(t *testing.T) {
	s := tokenSite(t, tokens)
	s.as(packet.V311, "alice").ping()
	for _, c := range []*packet.Connect{
		bearing(packet.V311, "c1", "", tokenOf(t, oldKey, "pump", nil)),
		bearing(packet.V31, "c2", "pump", tokenOf(t, nextKey, "pump", nil)),
		bearing(packet.V5, "c3", "", "Bearer "+tokenOf(t, nextKey, "alice", nil)),
	} {
		if ack := s.dial().connect(c); ack.Code != 0 {
			t.Errorf("%s: CONNACK 0x%02x\n%s", c.ClientID, byte(ack.Code), s.log)
		}
	}
	// The alice of a token is not the alice of the password file, whose session it may not have.
	s.as(packet.V5, "alice", lasting).ping()
	if ack := s.stranger().connect(bearing(packet.V5, "alice", "alice", tokenOf(t, oldKey, "alice", nil))); ack.Code == 0 {
		t.Error("another alice takes over a session")
	}
}

// A client renews its token in place: what the new one says holds at once.
func TestATokenIsRenewedInPlace(t *testing.T) {
	s := tokenSite(t, tokens)
	p := s.dial()
	if ack := p.connect(oauth("c1", tokenOf(t, oldKey, "pump", nil))); ack.Code != 0 || ack.Props.AuthMethod != "OAUTHBEARER" {
		t.Fatalf("CONNACK 0x%02x, method %q\n%s", byte(ack.Code), ack.Props.AuthMethod, s.log)
	}
	if code := p.publish("out/1", "x", 1, false); code != packet.NotAuthorized {
		t.Errorf("without the role: 0x%02x", byte(code))
	}
	p.allowed(0, "free/#")
	p.auth(packet.ReAuthenticate, bearer(tokenOf(t, nextKey, "pump", map[string]any{
		"roles": "reader scribe", "acl": []any{map[string]any{"effect": "deny", "action": "subscribe", "topic": "free/secret"}},
	})))
	if a := p.told(); a.Code != packet.Success {
		t.Fatalf("AUTH 0x%02x %q", byte(a.Code), a.Props.AuthData)
	}
	if code := p.publish("out/1", "x", 1, false); code >= 0x80 {
		t.Errorf("with the role: 0x%02x", byte(code))
	}
	p.publish("free/secret", "no", 1, false)
	p.publish("free/open", "yes", 1, false)
	p.only("free/open", "yes")

	// A reload that changes nothing leaves it there.
	s.reload()
	p.ping()

	// The first token's key is not the present one's: that it goes is nothing to p.
	s.write("id.pem", pemOf(t, keyOf(3)))
	s.reload()
	p.ping()

	// A bad token is refused in the words of RFC 7628, and then the connection ends.
	p.auth(packet.ReAuthenticate, bearer(tokenOf(t, oldKey, "pump", nil)))
	if a := p.told(); a.Code != packet.ContinueAuthentication || string(a.Props.AuthData) != `{"status":"invalid_token"}` {
		t.Errorf("AUTH 0x%02x %q", byte(a.Code), a.Props.AuthData)
	}
	p.auth(packet.ContinueAuthentication, []byte("\x01"))
	if code := p.ended(); code != packet.NotAuthorized {
		t.Errorf("ended with 0x%02x", byte(code))
	}
}

func TestATokenOfAnotherNameEndsTheConnection(t *testing.T) {
	s := tokenSite(t, tokens)
	p := s.dial()
	if ack := p.connect(oauth("c1", tokenOf(t, oldKey, "pump", nil))); ack.Code != 0 {
		t.Fatalf("CONNACK 0x%02x\n%s", byte(ack.Code), s.log)
	}
	p.auth(packet.ReAuthenticate, bearer(tokenOf(t, oldKey, "valve", nil)))
	if code := p.ended(); code != packet.NotAuthorized {
		t.Errorf("ended with 0x%02x", byte(code))
	}
}

// A key that leaves the key set ends the sessions that it vouched for, within the
// reload and without their wills; it opens nothing any more, and others stay.
func TestAKeyThatLeavesEndsItsSessions(t *testing.T) {
	s := tokenSite(t, tokens)
	watcher := s.as(packet.V5, "alice")
	watcher.allowed(1, "free/#")
	connect := func(c *packet.Connect) *peer {
		t.Helper()
		p := s.dial()
		if ack := p.connect(c); ack.Code != 0 {
			t.Fatalf("%s: CONNACK 0x%02x\n%s", c.ClientID, byte(ack.Code), s.log)
		}
		return p
	}
	will := willTo("free/will", "gone", false)
	old, away, next := bearing(packet.V5, "old", "", tokenOf(t, oldKey, "pump", nil)), bearing(packet.V5, "away", "", tokenOf(t, oldKey, "valve", nil)), bearing(packet.V5, "next", "", tokenOf(t, nextKey, "door", nil))
	will(old)
	will(away)
	lasting(away)
	away.Will.Props.WillDelay = 3600
	away.Will.Props.Mark(packet.PropWillDelay)
	left, stays, byMethod := connect(old), connect(next), connect(oauth("m", tokenOf(t, oldKey, "gate", nil)))
	_ = connect(away).nc.Close() // its will waits
	watcher.ping()
	s.write("id.pem", pemOf(t, keyOf(3)))
	s.reload()
	for name, p := range map[string]*peer{"by password": left, "by OAUTHBEARER": byMethod} {
		if code := p.ended(); code != packet.NotAuthorized {
			t.Errorf("%s: ended with 0x%02x", name, byte(code))
		}
	}
	stays.ping()
	if ack := s.stranger().connect(bearing(packet.V5, "again", "", tokenOf(t, oldKey, "pump", nil))); ack.Code != packet.BadUserNameOrPassword {
		t.Errorf("the old key still opens: 0x%02x", byte(ack.Code))
	}
	if ack := s.dial().connect(bearing(packet.V5, "new", "", tokenOf(t, keyOf(3), "pump", nil))); ack.Code != 0 {
		t.Errorf("the new key does not open: 0x%02x", byte(ack.Code))
	}
	stays.publish("free/last", "x", 1, false)
	watcher.only("free/last", "x") // and no will before it
	if n := strings.Count(s.log.String(), `reason="the token is not accepted any more`); n != 2 {
		t.Errorf("the log tells of %d tokens that are not accepted any more, want 2", n)
	}
}

// A reload that asks more of tokens ends the sessions of those that were asked less, and
// one that asks less ends none.
func TestAReloadThatAsksMoreOfTokensEndsSessions(t *testing.T) {
	s := tokenSite(t, tokens)
	both := strings.Replace(tokens, "audiences: mqtt", "audiences: [mqtt, other]", 1)
	named := tokenOf(t, oldKey, "pump", map[string]any{"aud": "other"})
	if ack := s.stranger().connect(bearing(packet.V5, "early", "", named)); ack.Code != packet.BadUserNameOrPassword {
		t.Errorf("for another audience: 0x%02x", byte(ack.Code))
	}
	usual, person := s.dial(), s.as(packet.V5, "alice")
	if ack := usual.connect(bearing(packet.V5, "usual", "", tokenOf(t, oldKey, "valve", nil))); ack.Code != 0 {
		t.Fatalf("CONNACK 0x%02x\n%s", byte(ack.Code), s.log)
	}
	s.text = both
	s.reload()
	usual.ping()
	other := s.dial()
	if ack := other.connect(bearing(packet.V5, "other", "", named)); ack.Code != 0 {
		t.Fatalf("CONNACK 0x%02x\n%s", byte(ack.Code), s.log)
	}
	s.text = tokens
	s.reload()
	for name, p := range map[string]*peer{"whose audience has left": other, "whose audience may have": usual} {
		if code := p.ended(); code != packet.NotAuthorized {
			t.Errorf("%s: ended with 0x%02x", name, byte(code))
		}
	}
	person.ping()
	if ack := s.stranger().connect(bearing(packet.V5, "other", "", named)); ack.Code != packet.BadUserNameOrPassword {
		t.Errorf("for another audience, afterwards: 0x%02x", byte(ack.Code))
	}
}

// A key that left while no broker ran, too: the wills of those that it vouched for are
// dropped at the start. A session that ends publishes the will that waits in it.
func TestAKeyThatLeftBeforeTheStart(t *testing.T) {
	s := tokenSite(t, tokens+"storage: {type: disk, dir: store}\n")
	connect := func(name string, key ed25519.PrivateKey, change func(*packet.Connect)) *peer {
		t.Helper()
		c, p := bearing(packet.V5, name, "", tokenOf(t, key, name, nil)), s.dial()
		change(c)
		if ack := p.connect(c); ack.Code != 0 {
			t.Fatalf("%s: CONNACK 0x%02x\n%s", name, byte(ack.Code), s.log)
		}
		return p
	}
	for name, key := range map[string]ed25519.PrivateKey{"gone": oldKey, "stays": nextKey} {
		_ = connect(name, key, func(c *packet.Connect) {
			willTo("free/will", name, false)(c)
			lasting(c)
			c.Will.Props.WillDelay = 3600
			c.Will.Props.Mark(packet.PropWillDelay)
		}).nc.Close()
	}
	eventually(t, "both are away", func() bool { return s.srv.Metrics().Connections.Load() == 0 })
	s.stop()
	s.write("id.pem", pemOf(t, keyOf(3)))
	s.begin()
	watcher := s.as(packet.V5, "alice")
	watcher.allowed(1, "free/#")
	connect("gone", keyOf(3), func(*packet.Connect) {}).ping()
	connect("stays", nextKey, func(*packet.Connect) {}).ping()
	watcher.only("free/will", "stays")
}

// Files without a key are refused at a reload, which then changes nothing.
func TestAReloadWithoutKeysIsRefused(t *testing.T) {
	s := tokenSite(t, tokens)
	p := s.dial()
	if ack := p.connect(bearing(packet.V5, "c1", "", tokenOf(t, nextKey, "pump", nil))); ack.Code != 0 {
		t.Fatalf("CONNACK 0x%02x\n%s", byte(ack.Code), s.log)
	}
	for name, text := range map[string]string{
		"empty": "", "an empty set": `{"keys":[]}`, "none for signatures": `{"keys":[{"kty":"OKP","crv":"X25519","x":"AAAA"}]}`,
		"cut off": jwksOf("next", nextKey)[:40], "a private key": strings.Replace(jwksOf("next", nextKey), `"kid"`, `"d":"AAAA","kid"`, 1),
	} {
		s.write("next.jwks", text)
		if err := s.srv.Reload(s.config(s.text)); err == nil || !strings.Contains(err.Error(), "next.jwks") {
			t.Errorf("%s: %v", name, err)
		}
		p.ping()
	}
	if ack := s.dial().connect(bearing(packet.V5, "c2", "", tokenOf(t, nextKey, "pump", nil))); ack.Code != 0 {
		t.Errorf("the key from before does not open: 0x%02x", byte(ack.Code))
	}
}

// What waits for a client is delivered under the permissions of its token, also when
// the broker was started anew and knows no token.
func TestPermissionsOfATokenOutliveTheBroker(t *testing.T) {
	s := tokenSite(t, tokens+"storage: {type: disk, dir: store}\n")
	sub := map[string]any{"acl": []any{map[string]any{"permission": "deny", "action": "subscribe", "topic": "in/no"}, map[string]any{"permission": "allow", "action": "subscribe", "topic": "in/#"}}}
	pub := map[string]any{"acl": map[string]any{"pub": []any{"in/#"}}}
	c := bearing(packet.V5, "away", "", tokenOf(t, oldKey, "pump", sub))
	lasting(c)
	p := s.dial()
	if ack := p.connect(c); ack.Code != 0 {
		t.Fatalf("CONNACK 0x%02x\n%s", byte(ack.Code), s.log)
	}
	p.allowed(1, "in/#")
	p.send(packet.AppendDisconnect(nil, packet.V5, &packet.Disconnect{}))
	p.ended()
	s.stop()
	s.begin()
	from := s.dial()
	if ack := from.connect(bearing(packet.V5, "from", "", tokenOf(t, nextKey, "valve", pub))); ack.Code != 0 {
		t.Fatalf("CONNACK 0x%02x\n%s", byte(ack.Code), s.log)
	}
	from.publish("in/no", "never", 1, false)
	from.publish("in/1", "while away", 1, true)
	p = s.dial()
	if ack := p.connect(c); ack.Code != 0 || !ack.SessionPresent {
		t.Fatalf("CONNACK 0x%02x, session %v\n%s", byte(ack.Code), ack.SessionPresent, s.log)
	}
	p.only("in/1", "while away")

	// The retained message's publisher is asked about by its stored claims.
	s.stop()
	s.begin()
	p = s.dial()
	if ack := p.connect(bearing(packet.V5, "late", "", tokenOf(t, oldKey, "pump", sub))); ack.Code != 0 {
		t.Fatalf("CONNACK 0x%02x\n%s", byte(ack.Code), s.log)
	}
	p.allowed(1, "in/#")
	p.only("in/1", "while away")
}

// A token may be one of several things that are necessary: its key ends the session as
// well, its permissions hold, and a reload that changes nothing does nothing.
func TestATokenAndAPassword(t *testing.T) {
	for _, source := range []string{"tokens", "pw"} {
		text := strings.Replace(tokens, "authenticators: [tokens, pw]", "authenticators: [two]", 1)
		text = strings.Replace(text, "from: both", "from: username", 1)
		text = strings.Replace(text, "policies:\n  - {name: perm", "  - {name: two, type: all_of, all_of: {members: [tokens, pw], source: "+source+"}}\npolicies:\n  - {name: perm", 1)
		// The password's user is the one that the token names.
		text = strings.Replace(text, "file: passwd}", "file: passwd, prepare: [{set: username, from: alice}]}", 1)
		s := tokenSite(t, text)
		acl := map[string]any{"acl": map[string]any{"pub": []any{"up/#"}}}
		enter := func(name, password string) (*peer, packet.Code) {
			p := s.stranger()
			return p, p.connect(bearing(packet.V5, "c-"+name, tokenOf(t, oldKey, name, acl), password)).Code
		}
		p, code := enter("alice", "pw-alice")
		if code != 0 {
			t.Fatalf("source %s: CONNACK 0x%02x\n%s", source, byte(code), s.log)
		}
		for name, password := range map[string]string{"alice": "wrong", "bob": "pw-alice"} {
			if _, code := enter(name, password); code != packet.BadUserNameOrPassword {
				t.Errorf("source %s: %s with %s: CONNACK 0x%02x", source, name, password, byte(code))
			}
		}
		s.reload()
		if code := p.publish("up/1", "x", 1, false); code >= 0x80 {
			t.Errorf("source %s: the token's permission: 0x%02x", source, byte(code))
		}
		s.write("id.pem", pemOf(t, keyOf(3)))
		s.reload()
		if code := p.ended(); code != packet.NotAuthorized {
			t.Errorf("source %s: ended with 0x%02x", source, byte(code))
		}
	}
}

// A token that is bound to a certificate is good with that one alone (RFC 8705).
func TestABoundTokenNeedsItsCertificate(t *testing.T) {
	a := newAuthority(t, "devices")
	mine, other := a.device("mine"), a.device("other")
	s := prepare(t, `
listeners:
  - name: tls
    transport: tls
    address: "127.0.0.1:0"
    tls: {certificate: tls/server.crt, key: tls/server.key, client_auth: optional, client_ca: clients.crt}
    authenticators: [tokens]
    policies: [perm]
authenticators:
  - {name: tokens, type: jwt, jwt: {bound: certificate, issuers: [{issuer: id, audiences: mqtt, keys: [{file: id.pem}]}]}}
policies:
  - {name: perm, type: permissions, file: permissions.yaml}
sys_interval: 0
`, writers)
	if _, err := certs.Quickstart(s.path("tls"), []string{"localhost"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	s.write("clients.crt", a.text())
	s.write("id.pem", pemOf(t, oldKey))
	s.begin()
	sum := sha256.Sum256(mine.Leaf.Raw)
	bound := tokenOf(t, oldKey, "pump", map[string]any{"cnf": map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}})
	for _, tt := range []struct {
		name   string
		device tls.Certificate
		token  string
		want   packet.Code
	}{
		{"its own", mine, bound, 0},
		{"another", other, bound, packet.BadUserNameOrPassword},
		{"none", tls.Certificate{}, bound, packet.BadUserNameOrPassword},
		{"its own, and a token that is not bound", mine, tokenOf(t, oldKey, "pump", nil), packet.BadUserNameOrPassword},
		{"its own, and a token that is bound to a key of DPoP", mine, tokenOf(t, oldKey, "pump", map[string]any{"cnf": map[string]any{"jkt": "x"}}), packet.BadUserNameOrPassword},
	} {
		with := func(c *packet.Connect) { *c = *bearing(packet.V5, "c", "", tt.token) }
		if _, code, err := s.enter("tls", tt.device, nil, with); err != nil || code != tt.want {
			t.Errorf("%s: CONNACK 0x%02x, %v", tt.name, byte(code), err)
		}
	}
}
