package attack_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"sallyport/packet"
)

// webConn is a stream in masked binary frames, as a client sends them.
type webConn struct {
	net.Conn
	in []byte // payload not yet read
}

// request is an upgrade; change replaces header fields, "" removes one.
func request(path string, change map[string]string) string {
	fields := [][2]string{
		{"Host", "localhost"}, {"Upgrade", "websocket"}, {"Connection", "Upgrade"},
		{"Sec-WebSocket-Version", "13"}, {"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="}, {"Sec-WebSocket-Protocol", "mqtt"},
	}
	var b strings.Builder
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\n", path)
	for _, f := range fields {
		v, changed := change[f[0]]
		if !changed {
			v = f[1]
		}
		if v != "" {
			fmt.Fprintf(&b, "%s: %s\r\n", f[0], v)
		}
	}
	for k, v := range change {
		if !strings.Contains(b.String(), "\n"+k+":") && v != "" {
			fmt.Fprintf(&b, "%s: %s\r\n", k, v)
		}
	}
	return b.String() + "\r\n"
}

// upgrade sends a request and returns the status of the answer, 0 for none.
func (w *webConn) upgrade(request string) int {
	_ = w.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(w.Conn, request); err != nil {
		return 0
	}
	var head []byte
	one := make([]byte, 1)
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		if _, err := w.Conn.Read(one); err != nil {
			break
		}
		head = append(head, one[0])
	}
	var status int
	_, _ = fmt.Sscanf(string(head), "HTTP/1.1 %d", &status) // what doesn't scan is 0
	return status
}

// frame is one frame; the mask's key is zero, which masks nothing.
func frame(first byte, masked bool, announced uint64, payload []byte) []byte {
	b := []byte{first, 0}
	switch {
	case announced < 126:
		b[1] = byte(announced)
	case announced <= 0xFFFF:
		b[1] = 126
		b = binary.BigEndian.AppendUint16(b, uint16(announced))
	default:
		b[1] = 127
		b = binary.BigEndian.AppendUint64(b, announced)
	}
	if masked {
		b[1] |= 0x80
		b = append(b, 0, 0, 0, 0)
	}
	return append(b, payload...)
}

func (w *webConn) Write(p []byte) (int, error) {
	if _, err := w.Conn.Write(frame(0x82, true, uint64(len(p)), p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (w *webConn) Read(p []byte) (int, error) {
	for len(w.in) == 0 {
		var h [10]byte
		if _, err := io.ReadFull(w.Conn, h[:2]); err != nil {
			return 0, err
		}
		n := uint64(h[1])
		switch n {
		case 126:
			if _, err := io.ReadFull(w.Conn, h[2:4]); err != nil {
				return 0, err
			}
			n = uint64(binary.BigEndian.Uint16(h[2:4]))
		case 127:
			if _, err := io.ReadFull(w.Conn, h[2:10]); err != nil {
				return 0, err
			}
			n = binary.BigEndian.Uint64(h[2:10])
		}
		payload := make([]byte, n)
		if _, err := io.ReadFull(w.Conn, payload); err != nil {
			return 0, err
		}
		switch h[0] {
		case 0x82:
			w.in = payload
		case 0x88:
			return 0, io.EOF
		}
	}
	n := copy(p, w.in)
	w.in = w.in[n:]
	return n, nil
}

func TestBadUpgradesAreRefused(t *testing.T) {
	text := strings.Replace(plain("websocket: {origins: ['https://app.example']}", ""), "transport: tcp", "transport: ws", 1)
	s := siege(t, text, freely)
	pad := strings.Repeat("x", 9<<10)
	for _, x := range []struct {
		claim, request string
		want           int
	}{
		{"another path", request("/", nil), 404},
		{"a path in another case", request("/MQTT", nil), 404},
		{"an encoded path", request("/%6dqtt", nil), 404},
		{"a path with dots", request("/x/../mqtt", nil), 404},
		{"a headers of 9 KiB", request("/mqtt", map[string]string{"X": pad}), 431},
		{"a query of 9 KiB", request("/mqtt?"+pad, nil), 431},
		{"another subprotocol", request("/mqtt", map[string]string{"Sec-WebSocket-Protocol": "chat"}), 400},
		{"no subprotocol", request("/mqtt", map[string]string{"Sec-WebSocket-Protocol": ""}), 400},
		{"version 8", request("/mqtt", map[string]string{"Sec-WebSocket-Version": "8"}), 426},
		{"a short key", request("/mqtt", map[string]string{"Sec-WebSocket-Key": "eA=="}), 400},
		{"no upgrade", request("/mqtt", map[string]string{"Upgrade": ""}), 426},
		{"a body", request("/mqtt", map[string]string{"Content-Length": "10"}), 400},
		{"chunked", request("/mqtt", map[string]string{"Transfer-Encoding": "chunked"}), 400},
		{"another origin", request("/mqtt", map[string]string{"Origin": "https://evil.example"}), 403},
		{"origin null", request("/mqtt", map[string]string{"Origin": "null"}), 403},
		{"an origin that only begins right", request("/mqtt", map[string]string{"Origin": "https://app.example.evil.example"}), 403},
		{"POST", strings.Replace(request("/mqtt", nil), "GET", "POST", 1), 400},
		{"HTTP/1.0", strings.Replace(request("/mqtt", nil), "HTTP/1.1", "HTTP/1.0", 1), 505},
		{"plain MQTT", string(packet.AppendConnect(nil, login(packet.V5, "alice"))), 400},
		{"a second request behind it", request("/mqtt", nil) + request("/mqtt", nil), 400},
		{"the right origin", request("/mqtt", map[string]string{"Origin": "https://app.example"}), 101},
		{"no origin, no web page", request("/mqtt", nil), 101},
	} {
		nc := s.dial().nc
		if got := (&webConn{Conn: nc}).upgrade(x.request); got != x.want {
			t.Errorf("%s: %d, want %d", x.claim, got, x.want)
		}
	}
	if s.srv.Metrics().ConnectsAccepted.Load() != 0 {
		t.Error("somebody got in")
	}
}

func TestBadFramesEndTheConnection(t *testing.T) {
	t.Parallel()
	s := everyDoor(t, "limits: {connect_timeout: 3s}", "")
	ping := packet.AppendPing(nil, packet.PINGREQ)
	for _, door := range []string{"ws", "wss"} {
		for claim, b := range map[string][]byte{
			"an unmasked frame":               frame(0x82, false, 2, ping),
			"a text frame":                    frame(0x81, true, 2, ping),
			"a frame of 2^62 bytes":           frame(0x82, true, 1<<62, ping),
			"a frame of 2^63 bytes":           frame(0x82, true, 1<<63, ping),
			"a reserved bit":                  frame(0xC2, true, 2, ping),
			"a reserved opcode":               frame(0x83, true, 2, ping),
			"a continuation of nothing":       frame(0x80, true, 2, ping),
			"a long ping":                     frame(0x89, true, 126, bytes.Repeat([]byte{0}, 126)),
			"a fragmented ping":               frame(0x09, true, 2, ping),
			"a message in a fragmented one":   append(frame(0x02, true, 1, ping[:1]), frame(0x82, true, 2, ping)...),
			"half a code in a close":          frame(0x88, true, 1, []byte{3}),
			"a packet over the limit, framed": frame(0x82, true, 5, []byte{0x30, 0xFF, 0xFF, 0xFF, 0x7F}),
		} {
			p := s.through(door)
			if ack := p.connect(login(packet.V5, "mallory")); ack.Code != 0 {
				t.Fatalf("0x%02x", byte(ack.Code))
			}
			raw := p.nc.(*webConn).Conn
			_, _ = raw.Write(b)
			_ = raw.SetReadDeadline(time.Now().Add(patience))
			rest, err := io.ReadAll(raw)
			if os.IsTimeout(err) {
				t.Errorf("%s, %s: the connection stays open", door, claim)
			}
			if bytes.Contains(rest, packet.AppendPing(nil, packet.PINGRESP)) {
				t.Errorf("%s, %s: its content was handled", door, claim)
			}
		}
	}
	// A ping flood by one that doesn't read ends, and nobody else waits.
	p := s.through("ws")
	p.connect(login(packet.V5, "mallory"))
	raw := p.nc.(*webConn).Conn
	_ = flood(&peer{t: t, nc: raw}, frame(0x89, true, 125, bytes.Repeat([]byte{0}, 125)), 32<<20)
	if held := s.srv.Metrics().BufferedBytes.Load(); held > 1<<20 {
		t.Errorf("a flood of WebSocket pings holds %d bytes", held)
	}
	q := s.through("ws")
	if ack := q.connect(login(packet.V5, "alice")); ack.Code != 0 {
		t.Errorf("0x%02x", byte(ack.Code))
	}
}

func TestFramesMayCutPacketsAnywhere(t *testing.T) {
	s := everyDoor(t, "", "")
	p := s.through("ws")
	raw := p.nc.(*webConn).Conn
	for _, b := range packet.AppendConnect(nil, login(packet.V5, "alice")) {
		_, _ = raw.Write(frame(0x82, true, 1, []byte{b}))
		_, _ = raw.Write(frame(0x89, true, 0, nil))
	}
	h, body := p.next()
	if h.Type != packet.CONNACK || body[1] != 0 {
		t.Fatalf("%v %x", h.Type, body)
	}
	p.ping()
}
