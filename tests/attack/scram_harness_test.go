package attack_test

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"sallyport/certs"
	"sallyport/config"
	"sallyport/internal/scram"
	"sallyport/packet"
)

// bySCRAM is a broker with three doors, where nothing but SCRAM is asked: alice and
// mallory have both verifiers, bob that of SHA-256 alone. top is added.
func bySCRAM(t *testing.T, top string) *site {
	t.Helper()
	text := "listeners:\n  - {name: tcp, transport: tcp, address: \"127.0.0.1:0\", authenticators: [scram], policies: [perm]}\n"
	for _, transport := range []string{"tls", "wss"} {
		text += fmt.Sprintf("  - {name: %s, transport: %s, address: \"127.0.0.1:0\", authenticators: [scram], policies: [perm], tls: {certificate: tls/server.crt, key: tls/server.key}}\n", transport, transport)
	}
	text += `
authenticators:
  - {name: scram, type: scram, file: verifiers, scram: {iterations: 4096}}
policies:
  - {name: perm, type: permissions, file: permissions.yaml}
sys_interval: 0
` + top
	s := prepare(t, text, freely)
	if _, err := certs.Quickstart(s.path("tls"), []string{"localhost"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	s.verifiers("alice", "mallory", "bob-")
	return s
}

// verifiers writes the file: each user's password is "pw-" and the name, user=word
// gives another one, and a name that ends in - is without a verifier for SHA-512.
func (s *site) verifiers(users ...string) {
	s.t.Helper()
	var b strings.Builder
	for _, u := range users {
		name, word, other := strings.Cut(u, "=")
		name, alone := strings.CutSuffix(name, "-")
		if !other {
			word = "pw-" + name
		}
		for _, h := range []scram.Hash{scram.SHA256, scram.SHA512} {
			if alone && h == scram.SHA512 {
				continue
			}
			v, err := scram.NewVerifier(h, word, fmt.Appendf(nil, "%-16.16s", name), 4096)
			if err != nil {
				s.t.Fatal(err)
			}
			fmt.Fprintf(&b, "%s:%s\n", name, v.Encode())
		}
	}
	s.write("verifiers", b.String())
}

// reach connects to a door, from a network of its own; version is that of TLS, 0 for any.
func (s *site) reach(door string, version uint16) *peer {
	s.t.Helper()
	nc, err := dialTCP(s.addr(door), strangersAddress())
	if err != nil {
		s.t.Fatalf("%s: %v", door, err)
	}
	if door == "tcp" {
		return newPeer(s.t, nc)
	}
	c := tls.Client(nc, &tls.Config{
		InsecureSkipVerify: true, //nolint:gosec // what is bound to the channel is what is tested
		MinVersion:         max(version, tls.VersionTLS12), MaxVersion: version,
	})
	if err := c.Handshake(); err != nil {
		s.t.Fatalf("%s: %v", door, err)
	}
	if door == "tls" {
		return newPeer(s.t, c)
	}
	w := &webConn{Conn: c}
	if status := w.upgrade(request("/mqtt", nil)); status != 101 {
		s.t.Fatalf("%s: upgrade: %d", door, status)
	}
	return newPeer(s.t, w)
}

// channel is the binding of a peer's TLS channel.
func (p *peer) channel() *scram.Binding {
	p.t.Helper()
	nc := p.nc
	if w, ok := nc.(*webConn); ok {
		nc = w.Conn
	}
	state := nc.(*tls.Conn).ConnectionState()
	b, err := scram.TLSExporter(&state)
	if err != nil {
		p.t.Fatal(err)
	}
	return b
}

// said is what the broker answered in an exchange.
type said struct {
	t    packet.Type
	code packet.Code
	data string
	size int // bytes of the packet's body
}

func (p *peer) hears() said {
	p.t.Helper()
	h, body := p.next()
	switch h.Type {
	case packet.CONNACK:
		a, err := packet.DecodeConnack(p.v, h.Flags, body, packet.Limits{})
		if err != nil {
			p.t.Fatal(err)
		}
		return said{h.Type, a.Code, string(a.Props.AuthData), len(body)}
	case packet.AUTH:
		a, err := packet.DecodeAuth(p.v, h.Flags, body, packet.Limits{})
		if err != nil {
			p.t.Fatal(err)
		}
		return said{h.Type, a.Code, string(a.Props.AuthData), len(body)}
	case packet.DISCONNECT:
		d, err := packet.DecodeDisconnect(p.v, h.Flags, body, packet.Limits{})
		if err != nil {
			p.t.Fatal(err)
		}
		return said{h.Type, d.Code, "", len(body)}
	}
	return said{t: h.Type}
}

// begins sends a CONNECT with a method and data.
func (p *peer) begins(method, data string, change ...func(*packet.Connect)) said {
	p.t.Helper()
	c := &packet.Connect{Version: packet.V5, CleanStart: true, ClientID: "c"}
	c.Props.AuthMethod, c.Props.AuthData = method, []byte(data)
	c.Props.Mark(packet.PropAuthMethod, packet.PropAuthData)
	for _, f := range change {
		f(c)
	}
	p.send(packet.AppendConnect(nil, c))
	return p.hears()
}

// says sends an AUTH.
func (p *peer) says(code packet.Code, method, data string) said {
	p.t.Helper()
	a := packet.Auth{Code: code}
	a.Props.AuthMethod, a.Props.AuthData = method, []byte(data)
	a.Props.Mark(packet.PropAuthMethod, packet.PropAuthData)
	p.send(packet.AppendAuth(nil, &a))
	return p.hears()
}

// scramOf is an honest client of a user with the usual password.
func scramOf(t *testing.T, method, name string, channel *scram.Binding) *scram.Client {
	t.Helper()
	m, ok := scram.ParseMethod(method)
	if !ok {
		t.Fatalf("no method %s", method)
	}
	return scramClient(t, scram.ClientOptions{Method: m, Name: name, Password: "pw-" + name, Binding: channel})
}

func scramClient(t *testing.T, o scram.ClientOptions) *scram.Client {
	t.Helper()
	c, err := scram.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func first(t *testing.T, c *scram.Client) string {
	t.Helper()
	m, err := c.First()
	if err != nil {
		t.Fatal(err)
	}
	return string(m)
}

// final is what c answers to a server's first message.
func final(t *testing.T, c *scram.Client, m string) string {
	t.Helper()
	reply, _, err := c.Next([]byte(m))
	if err != nil {
		t.Fatal(err)
	}
	return string(reply)
}

// logsIn runs the whole of a login, and checks the broker's signature.
func (p *peer) logsIn(method string, c *scram.Client, change ...func(*packet.Connect)) said {
	p.t.Helper()
	a := p.begins(method, first(p.t, c), change...)
	if a.t != packet.AUTH || a.code != packet.ContinueAuthentication {
		return a
	}
	a = p.says(packet.ContinueAuthentication, method, final(p.t, c, a.data))
	if a.t == packet.CONNACK && a.code == 0 {
		if _, done, err := c.Next([]byte(a.data)); !done {
			p.t.Fatalf("the broker's signature %q: %v", a.data, err)
		}
	}
	return a
}

// edited is a client-final whose parts were changed, with its old proof.
func edited(m string, change func(parts map[string]string)) string {
	parts := map[string]string{}
	for part := range strings.SplitSeq(m, ",") {
		parts[part[:1]] = part[2:]
	}
	change(parts)
	return "c=" + parts["c"] + ",r=" + parts["r"] + ",p=" + parts["p"]
}

// flipped is base64 with another last byte.
func flipped(s string) string {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(b) == 0 {
		return "AAAA"
	}
	b = bytes.Clone(b)
	b[len(b)-1] ^= 1
	return base64.StdEncoding.EncodeToString(b)
}

// drivers are those of this platform; the default is the event loop where there is one.
func drivers() []config.Driver { return []config.Driver{config.DriverAuto, config.DriverGoroutine} }
