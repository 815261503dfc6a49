package attack_test

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"sallyport/certs"
	"sallyport/packet"
)

// everyDoor makes a server certificate and adds a TLS, a WebSocket, a secure
// WebSocket and a Unix listener to the plain one.
func everyDoor(t *testing.T, listener, top string) *site {
	t.Helper()
	door := func(name, transport, address, tls string) string {
		return `
  - name: ` + name + `
    transport: ` + transport + `
    address: "` + address + `"
    authenticators: [pw]
    policies: [perm]
` + tls + indent(listener, "    ")
	}
	const cert = "    tls: {certificate: tls/server.crt, key: tls/server.key, handshake_timeout: 1s}\n"
	text := strings.Replace(plain(listener, top), "\nauthenticators:\n",
		door("tls", "tls", "127.0.0.1:0", cert)+door("ws", "ws", "127.0.0.1:0", "")+
			door("wss", "wss", "127.0.0.1:0", cert)+door("unix", "unix", "SOCKET", "")+"\nauthenticators:\n", 1)
	s := prepare(t, text, freely)
	if _, err := certs.Quickstart(s.path("tls"), []string{"localhost"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "door") // a short path: sockets have a limit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s.text = strings.Replace(s.text, "SOCKET", dir+"/s", 1)
	return s.begin()
}

// socket dials the bare socket of a listener.
func (s *site) socket(listener string) net.Conn {
	s.t.Helper()
	network := "tcp"
	if listener == "unix" {
		network = "unix"
	}
	nc, err := net.DialTimeout(network, s.addr(listener), patience)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = nc.Close() })
	return nc
}

// through dials a listener, shakes hands, and is ready for MQTT bytes.
func (s *site) through(listener string) *peer {
	s.t.Helper()
	nc := s.socket(listener)
	if listener == "tls" || listener == "wss" {
		c := tls.Client(nc, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // the attacker doesn't care who it is
		if err := c.Handshake(); err != nil {
			s.t.Fatalf("TLS: %v", err)
		}
		nc = c
	}
	if listener == "ws" || listener == "wss" {
		w := &webConn{Conn: nc}
		if status := w.upgrade(request("/mqtt", nil)); status != 101 {
			s.t.Fatalf("upgrade: %d", status)
		}
		nc = w
	}
	return newPeer(s.t, nc)
}

var doors = []string{"tcp", "tls", "ws", "wss", "unix"}

func TestEveryDoorBoundsWhatAStrangerSends(t *testing.T) {
	s := everyDoor(t, "limits: {connect_timeout: 700ms}", "")
	huge := []byte{0x10, 0xFF, 0xFF, 0xFF, 0x7F} // a CONNECT of 256 MB
	for _, door := range doors {
		for claim, send := range map[string]func(p *peer){
			"nothing":             func(*peer) {},
			"half a CONNECT":      func(p *peer) { p.send(packet.AppendConnect(nil, login(packet.V5, "alice"))[:9]) },
			"an announced 256 MB": func(p *peer) { p.send(huge); _ = p.trySend(bytes.Repeat([]byte{0}, 4096)) },
			"a CONNECT above 16 KiB": func(p *peer) {
				_ = p.trySend(packet.AppendConnect(nil, login(packet.V5, "alice", word(strings.Repeat("x", 20<<10)))))
			},
			"a length of five bytes": func(p *peer) { _ = p.trySend([]byte{0x10, 0xFF, 0xFF, 0xFF, 0xFF, 1}) },
			"a PUBLISH":              func(p *peer) { _ = p.trySend(pub(packet.V5, "a", "b", 0, false, 0)) },
			"a PINGREQ":              func(p *peer) { _ = p.trySend([]byte{0xC0, 0}) },
			"an AUTH":                func(p *peer) { _ = p.trySend([]byte{0xF0, 0}) },
			"packet type 0":          func(p *peer) { _ = p.trySend([]byte{0, 0}) },
			"flags on CONNECT": func(p *peer) {
				_ = p.trySend(append([]byte{0x1F}, packet.AppendConnect(nil, login(packet.V5, "alice"))[1:]...))
			},
			"protocol level 6":       func(p *peer) { _ = p.trySend([]byte{0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 6, 2, 0, 0, 0, 0}) },
			"random bytes":           func(p *peer) { b := make([]byte, 8<<10); _, _ = rand.Read(b); b[0] = 0x20; _ = p.trySend(b) },
			"HTTP":                   func(p *peer) { _ = p.trySend([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")) },
			"a CONNECT with 65 User": func(p *peer) { _ = p.trySend(packet.AppendConnect(nil, login(packet.V5, "alice", manyUser(65)))) },
			"a long client id": func(p *peer) {
				_ = p.trySend(packet.AppendConnect(nil, login(packet.V5, "alice", id(strings.Repeat("x", 257)))))
			},
			"a newline in the id":      func(p *peer) { _ = p.trySend(packet.AppendConnect(nil, login(packet.V5, "alice", id("a\nb")))) },
			"an escape in the user":    func(p *peer) { _ = p.trySend(packet.AppendConnect(nil, login(packet.V5, "alice\x1b[2J"))) },
			"a C1 control in the id":   func(p *peer) { _ = p.trySend(packet.AppendConnect(nil, login(packet.V5, "alice", id("a\u009bb")))) },
			"a noncharacter in the id": func(p *peer) { _ = p.trySend(packet.AppendConnect(nil, login(packet.V5, "alice", id("a\uFFFFb")))) },
			"a tab in the will topic": func(p *peer) {
				_ = p.trySend(packet.AppendConnect(nil, login(packet.V5, "alice", willTo("a\tb", "x", false))))
			},
			"a wildcard will topic": func(p *peer) {
				_ = p.trySend(packet.AppendConnect(nil, login(packet.V5, "alice", willTo("a/#", "x", false))))
			},
			"a deep will topic": func(p *peer) {
				_ = p.trySend(packet.AppendConnect(nil, login(packet.V5, "alice", willTo(strings.Repeat("/", 128), "x", false))))
			},
		} {
			t.Run(door+"/"+claim, func(t *testing.T) {
				t.Parallel()
				p := s.in(t).through(door)
				send(p)
				for { // a CONNACK with a refusal may come, nothing else, and then the end
					h, body, err := p.read()
					if err != nil {
						var timeout net.Error
						if e, is := err.(net.Error); is && e.Timeout() {
							timeout = e
						}
						if timeout != nil {
							t.Fatal("the connection stayed open")
						}
						break
					}
					if h.Type != packet.CONNACK || body[1] == 0 {
						t.Fatalf("answered %v %x", h.Type, body)
					}
				}
			})
		}
	}
	t.Cleanup(func() {
		if n := s.srv.Metrics().ConnectsAccepted.Load(); n != 0 {
			t.Errorf("%d strangers got in", n)
		}
	})
}

func manyUser(n int) func(*packet.Connect) {
	return func(c *packet.Connect) {
		for range n {
			c.Props.User = append(c.Props.User, packet.UserProperty{Key: "k", Value: "v"})
		}
	}
}

func TestASlowConnectIsCut(t *testing.T) {
	s := everyDoor(t, "limits: {connect_timeout: 500ms}", "")
	frame := packet.AppendConnect(nil, login(packet.V5, "alice"))
	for _, door := range doors {
		t.Run(door, func(t *testing.T) {
			t.Parallel()
			p := s.in(t).through(door)
			began := time.Now()
			tick := time.NewTicker(50 * time.Millisecond) // a byte each
			defer tick.Stop()
			for i := range frame {
				if p.trySend(frame[i:i+1]) != nil {
					break
				}
				<-tick.C
				if time.Since(began) > 5*time.Second {
					t.Fatal("a CONNECT byte by byte outlives connect_timeout")
				}
			}
			if _, _, err := p.read(); err == nil {
				t.Fatal("it was answered")
			}
		})
	}
}

func TestWhatAMemberSendsIsBoundedByName(t *testing.T) {
	s := siege(t, plain("limits: {packet_size: 64KiB, topic_levels: 8, topic_bytes: 100, subscriptions: 5, filters_per_subscribe: 4, user_properties: 3, receive_maximum: 10, topic_alias: 4}", ""), freely)
	filters := func(n int) []packet.Subscription {
		var f []packet.Subscription
		for i := range n {
			f = append(f, packet.Subscription{Filter: fmt.Sprint("f/", i)})
		}
		return f
	}
	props := func(n int) []byte { return bytes.Repeat([]byte{0x26, 0, 1, 'k', 0, 1, 'v'}, n) }
	for _, x := range []struct {
		claim string
		frame []byte
		want  packet.Code
	}{
		{"a packet over the limit", pub(packet.V5, "a", strings.Repeat("x", 64<<10), 0, false, 0), packet.PacketTooLarge},
		{"an announced 256 MB", []byte{0x30, 0xFF, 0xFF, 0xFF, 0x7F}, packet.PacketTooLarge},
		{"too many levels", pub(packet.V5, "a/b/c/d/e/f/g/h/i", "", 0, false, 0), packet.TopicNameInvalid},
		{"a long topic", pub(packet.V5, strings.Repeat("x", 101), "", 0, false, 0), packet.TopicNameInvalid},
		{"a wildcard in a topic", pub(packet.V5, "a/+", "", 0, false, 0), packet.TopicNameInvalid},
		{"a newline in a topic", pub(packet.V5, "a\nb", "", 0, false, 0), packet.TopicNameInvalid},
		{"an empty topic", pub(packet.V5, "", "", 0, false, 0), packet.ProtocolError},
		{"a NUL in a topic", []byte{0x30, 6, 0, 3, 'a', 0, 'b', 0}, packet.MalformedPacket},
		{"a surrogate in a topic", []byte{0x30, 6, 0, 3, 0xED, 0xA0, 0x80, 0}, packet.MalformedPacket},
		{"an overlong form in a topic", []byte{0x30, 5, 0, 2, 0xC0, 0xAF, 0}, packet.MalformedPacket},
		{"QoS 3", []byte{0x36, 6, 0, 1, 'a', 0, 1, 0}, packet.MalformedPacket},
		{"packet identifier 0", []byte{0x32, 6, 0, 1, 'a', 0, 0, 0}, packet.ProtocolError},
		{"too many user properties", packet.AppendPublish(nil, packet.V5, &packet.PublishOut{Topic: "a", Props: props(4), ExpiryAt: -1}), packet.QuotaExceeded},
		{"too many filters", packet.AppendSubscribe(nil, packet.V5, &packet.Subscribe{PacketID: 1, Filters: filters(5)}), packet.QuotaExceeded},
		{"too many filters to unsubscribe", packet.AppendUnsubscribe(nil, packet.V5, &packet.Unsubscribe{PacketID: 1, Filters: []string{"a", "b", "c", "d", "e"}}), packet.QuotaExceeded},
		{"no filter", []byte{0x82, 3, 0, 1, 0}, packet.ProtocolError},
		{"a topic alias above the maximum", packet.AppendPublish(nil, packet.V5, &packet.PublishOut{Topic: "a", Alias: 5, ExpiryAt: -1}), packet.TopicAliasInvalid},
		{"a second CONNECT", packet.AppendConnect(nil, login(packet.V5, "alice")), packet.ProtocolError},
		{"a CONNACK", []byte{0x20, 3, 0, 0, 0}, packet.ProtocolError},
		{"a SUBACK", []byte{0x90, 4, 0, 1, 0, 0}, packet.ProtocolError},
		{"an AUTH without a method", []byte{0xF0, 0}, packet.ProtocolError},
		{"packet type 0", []byte{0x00, 0}, packet.MalformedPacket},
		{"flags on a PINGREQ", []byte{0xC1, 0}, packet.MalformedPacket},
		{"a body on a PINGREQ", []byte{0xC0, 1, 0}, packet.MalformedPacket},
	} {
		p := s.as(packet.V5, "mallory")
		p.send(x.frame)
		if got := p.ended(); got != x.want {
			t.Errorf("%s: DISCONNECT 0x%02x, want 0x%02x", x.claim, byte(got), byte(x.want))
		}
		old := s.as(packet.V311, "mallory")
		old.send(x.frame)
		if x.claim == "an AUTH without a method" || !strings.Contains(x.claim, "properties") && !strings.Contains(x.claim, "alias") && !strings.Contains(x.claim, "to unsubscribe") && x.claim != "no filter" && x.claim != "an empty topic" {
			old.ended() // closed; the bytes of MQTT 5 mean something else only where properties stand
		}
	}
	p := s.as(packet.V5, "bob")
	codes := append(p.subscribe(0, "f/1", "f/2", "f/3", "f/4"), p.subscribe(0, "f/5", "f/6", "f/1")...)
	if fmt.Sprint(codes[:5], codes[6]) != fmt.Sprint([]packet.Code{0, 0, 0, 0, 0}, packet.Code(0)) || codes[5] != packet.QuotaExceeded {
		t.Errorf("subscriptions up to and beyond the limit of 5: %v", codes)
	}
	for _, f := range []string{"a/b/c/d/e/f/g/h/i", strings.Repeat("x", 101), "a\nb", "a#", "#/a", "a+/b", "$share/g", "$share//a", "$share/g/", "$share/+/a", ""} {
		q := s.as(packet.V5, "bob", id("filters"))
		q.send(packet.AppendSubscribe(nil, packet.V5, &packet.Subscribe{PacketID: 1, Filters: []packet.Subscription{{Filter: f}}}))
		h, body, err := q.read()
		if err == nil && h.Type == packet.SUBACK && body[len(body)-1] < 0x80 {
			t.Errorf("filter %q was granted", f)
		}
	}
}

func TestFiveHundredIdleConnectionsMeetTheLimit(t *testing.T) {
	s := siege(t, plain("limits: {connections: 100, connect_timeout: 2s}", ""), freely)
	served := s.as(packet.V5, "alice")
	before := heap()
	var idle []net.Conn
	for range 500 {
		nc, err := dialTCP(s.addr("tcp"), "")
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, nc)
	}
	defer func() {
		for _, nc := range idle {
			_ = nc.Close()
		}
	}()
	closed := 0
	for _, nc := range idle[100:] {
		_ = nc.SetReadDeadline(time.Now().Add(patience))
		if n, err := nc.Read(make([]byte, 1)); n == 0 && err != nil {
			closed++
		}
	}
	if closed < 400 {
		t.Errorf("%d of 400 connections beyond the limit were closed", closed)
	}
	if n := s.srv.Metrics().ConnectionsMax.Load(); n > 100 {
		t.Errorf("%d connections at a time, the limit is 100", n)
	}
	if grown := heap() - before; grown > 16<<20 {
		t.Errorf("100 idle strangers hold %d KiB", grown>>10)
	}
	served.ping()
	for _, nc := range idle[:100] { // connect_timeout makes room again
		_ = nc.SetReadDeadline(time.Now().Add(patience))
		_, _ = io.Copy(io.Discard, nc)
	}
	eventually(t, "there is room again", func() bool { return s.srv.Metrics().Connections.Load() == 1 })
	s.as(packet.V5, "bob")
}

func TestAnnouncedBytesTakeNoMemory(t *testing.T) {
	s := siege(t, plain("limits: {packet_size: 255MiB, connect_timeout: 5s}", ""), freely)
	var all []*peer
	before := heap()
	for n := range 40 {
		p := s.as(packet.V5, "mallory", id(fmt.Sprint("m", n)))
		p.send([]byte{0x30, 0x80, 0x80, 0x80, 0x7F}) // nearly 256 MB, of which a little comes
		p.send(bytes.Repeat([]byte{'x'}, 1000))
		all = append(all, p)
	}
	eventually(t, "all bytes have arrived", func() bool { return s.srv.Metrics().BytesReceived.Load() > 40*1000 })
	if grown := heap() - before; grown > 8<<20 {
		t.Errorf("40 announced packets of 256 MB hold %d KiB", grown>>10)
	}
	runtime.KeepAlive(all)
}

func TestTLSGarbageAndHandshakeFloodsDisturbNobody(t *testing.T) {
	t.Parallel()
	s := everyDoor(t, "limits: {connect_timeout: 2s}", "")
	served := s.through("tls")
	if ack := served.connect(login(packet.V5, "alice")); ack.Code != 0 {
		t.Fatalf("0x%02x", byte(ack.Code))
	}
	hello := []byte{0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3} // the beginning of a ClientHello
	garbage := make([]byte, 4096)
	_, _ = rand.Read(garbage)
	for claim, b := range map[string][]byte{
		"plain MQTT on the TLS port": packet.AppendConnect(nil, login(packet.V5, "alice")),
		"garbage":                    garbage,
		"SSL 2":                      {0x80, 0x2E, 1, 3, 1},
		"half a ClientHello":         hello,
		"nothing":                    nil,
		"an alert":                   {0x15, 3, 3, 0, 2, 2, 0},
		"a record of 64 KiB":         append([]byte{0x16, 3, 3, 0xFF, 0xFF}, garbage...),
	} {
		for _, door := range []string{"tls", "wss"} {
			nc := s.socket(door)
			_, _ = nc.Write(b)
			_ = nc.SetReadDeadline(time.Now().Add(patience))
			if rest, err := io.ReadAll(nc); os.IsTimeout(err) || bytes.Contains(rest, []byte{0x20, 2, 0}) {
				t.Errorf("%s on %s: not closed, or answered %x", claim, door, rest)
			}
		}
	}
	var flood []net.Conn
	for range 300 { // handshakes that are never finished
		nc := s.socket("tls")
		_, _ = nc.Write(hello)
		flood = append(flood, nc)
	}
	served.allowed(1, "a")
	for n := range 20 {
		served.publish("a", fmt.Sprint(n), 1, false)
		served.only("a", fmt.Sprint(n))
	}
	p := s.through("tls")
	if ack := p.connect(login(packet.V5, "bob")); ack.Code != 0 {
		t.Errorf("a newcomer during the flood: 0x%02x", byte(ack.Code))
	}
	for _, nc := range flood {
		_ = nc.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.ReadAll(nc); os.IsTimeout(err) {
			t.Fatal("an unfinished handshake stays open")
		}
	}
}
