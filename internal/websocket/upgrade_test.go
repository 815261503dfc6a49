package websocket

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// request is the example of RFC 6455, 1.3, asking for MQTT.
const request = "GET /mqtt?token=secret HTTP/1.1\r\n" +
	"Host: broker.example:8080\r\n" +
	"Upgrade: websocket\r\n" +
	"Connection: keep-alive, Upgrade\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
	"Sec-WebSocket-Version: 13\r\n" +
	"Sec-WebSocket-Protocol: mqttv3.1, mqtt\r\n" +
	"Authorization: Bearer hidden\r\n" +
	"Origin: https://app.example\r\n\r\n"

var options = UpgradeOptions{
	Path:         "/mqtt",
	Subprotocols: []string{"mqtt", "mqttv3.1"},
	CheckOrigin:  func(origin, _ string) bool { return origin == "https://app.example" },
}

func TestUpgradeAcceptsInAnyChunks(t *testing.T) {
	const want = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
	for size := 1; size <= len(request); size += 37 {
		u := NewUpgrade(options)
		for rest := []byte(request); len(rest) > 0; {
			n, done, err := u.Feed(rest[:min(size, len(rest))])
			rest = rest[n:]
			if err != nil || done != (len(rest) == 0) {
				t.Fatalf("chunks of %d: done = %v with %d bytes left, error %v", size, done, len(rest), err)
			}
		}
		if got := string(u.Response()); got != want {
			t.Errorf("chunks of %d: response %q, want %q", size, got, want)
		}
		r := u.Request()
		if r.Path != "/mqtt" || r.Query != "token=secret" || r.Host != "broker.example:8080" ||
			r.Origin != "https://app.example" || r.Header["Authorization"][0] != "Bearer hidden" {
			t.Errorf("request = %#v", r)
		}
	}
}

func TestUpgradeLeavesWhatFollowsTheHead(t *testing.T) {
	u := NewUpgrade(options)
	n, done, err := u.Feed([]byte(request + "\x82\x80"))
	if n != len(request) || !done || err != nil {
		t.Errorf("Feed = %d, %v, %v, want %d, true, nil", n, done, err, len(request))
	}
}

func TestRequestHidesItsSecrets(t *testing.T) {
	u := NewUpgrade(options)
	if _, _, err := u.Feed([]byte(request)); err != nil {
		t.Fatal(err)
	}
	shown := fmt.Sprintf("%v %s %v", u.Request(), *u.Request(), u.Request().LogValue())
	if strings.Contains(shown, "secret") || strings.Contains(shown, "hidden") {
		t.Errorf("shown as %q", shown)
	}
}

func TestUpgradeRefuses(t *testing.T) {
	swap := func(old, with string) string {
		if !strings.Contains(request, old) {
			t.Fatalf("request has no %q", old)
		}
		return strings.Replace(request, old, with, 1)
	}
	add := func(line string) string { return swap("Upgrade: websocket\r\n", "Upgrade: websocket\r\n"+line+"\r\n") }
	for _, c := range []struct {
		name, request string
		status        int
	}{
		{"another method", swap("GET", "POST"), 400},
		{"a TLS hello", "\x16\x03\x01\x02\x00", 400},
		{"a plain MQTT CONNECT", "\x10\x0c\x00\x04MQTT", 400},
		{"HTTP/1.0", swap("HTTP/1.1", "HTTP/1.0"), 505},
		{"no version", swap(" HTTP/1.1", ""), 400},
		{"two spaces in the request line", swap("GET /", "GET  /"), 400},
		{"an absolute target", swap("/mqtt?", "http://broker.example/mqtt?"), 400},
		{"a fragment in the target", swap("/mqtt?", "/mqtt#a?"), 400},
		{"non-ASCII in the target", swap("/mqtt?", "/mqtt\xc3\xa9?"), 400},
		{"another path", swap("/mqtt?", "/other?"), 404},
		{"an encoded path", swap("/mqtt?", "/%6dqtt?"), 404},
		{"no Host", swap("Host: broker.example:8080\r\n", ""), 400},
		{"two Hosts", add("Host: other.example"), 400},
		{"an empty Host", swap("broker.example:8080", ""), 400},
		{"a Host with a path", swap("broker.example:8080", "broker.example/x"), 400},
		{"no Upgrade", swap("Upgrade: websocket\r\n", ""), 426},
		{"an upgrade to something else", swap("Upgrade: websocket", "Upgrade: h2c"), 426},
		{"no Connection: Upgrade", swap("keep-alive, Upgrade", "keep-alive"), 400},
		{"no key", swap("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""), 400},
		{"two keys", add("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400},
		{"a short key", swap("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZQ=="), 400},
		{"a key that isn't base64", swap("dGhlIHNhbXBsZSBub25jZQ==", "????????????????????????"), 400},
		{"an old version", swap("Version: 13", "Version: 8"), 426},
		{"two versions", add("Sec-WebSocket-Version: 13"), 426},
		{"no subprotocol", swap("Sec-WebSocket-Protocol: mqttv3.1, mqtt\r\n", ""), 400},
		{"another subprotocol", swap("mqttv3.1, mqtt", "chat"), 400},
		{"a subprotocol in another case", swap("mqttv3.1, mqtt", "MQTT"), 400},
		{"a foreign origin", swap("app.example", "evil.example"), 403},
		{"two origins", add("Origin: https://app.example"), 400},
		{"a chunked body", add("Transfer-Encoding: chunked"), 400},
		{"a body", add("Content-Length: 5"), 400},
		{"two lengths", add("Content-Length: 0\r\nContent-Length: 0"), 400},
		{"an expectation", add("Expect: 100-continue"), 400},
		{"a folded line", add("X-A: a\r\n b"), 400},
		{"a space before the colon", add("X-A : a"), 400},
		{"a line without a colon", add("X-A"), 400},
		{"an empty name", add(": a"), 400},
		{"a NUL in a value", add("X-A: a\x00b"), 400},
		{"a bare LF", add("X-A: a\nX-B: b"), 400},
		{"a bare CR", add("X-A: a\rX-B: b"), 400},
		{"more than 100 fields", add(strings.TrimSuffix(strings.Repeat("X-A: a\r\n", 101), "\r\n")), 400},
		{"a head of more than 8 KiB", add("X-A: " + strings.Repeat("a", MaxHead)), 431},
	} {
		for _, size := range []int{1, 1000, len(c.request)} {
			u := NewUpgrade(options)
			done, err := feedAll(u.Feed, []byte(c.request), size)
			var refused *HandshakeError
			if done || !errors.As(err, &refused) || refused.Status != c.status {
				t.Errorf("%s, chunks of %d: done = %v, error %v, want status %d", c.name, size, done, err, c.status)
				continue
			}
			if got := u.Response(); !bytes.HasPrefix(got, fmt.Appendf(nil, "HTTP/1.1 %d ", c.status)) || !bytes.HasSuffix(got, []byte("\r\n\r\n")) {
				t.Errorf("%s: response %q", c.name, got)
			}
			if u.Request() != nil {
				t.Errorf("%s: has a request", c.name)
			}
		}
	}
}

func TestRefuseTakesAnAcceptedHandshakeBack(t *testing.T) {
	u := NewUpgrade(options)
	if _, _, err := u.Feed([]byte(request)); err != nil {
		t.Fatal(err)
	}
	err := u.Refuse("because")
	if !bytes.HasPrefix(u.Response(), []byte("HTTP/1.1 400 ")) || err == nil || u.Request() != nil {
		t.Errorf("Refuse = %v, response %q", err, u.Response())
	}
}

func TestHeadOfExactly8KiBIsAccepted(t *testing.T) {
	fill := strings.Repeat("a", MaxHead-len(request)-len("X-A: \r\n"))
	u := NewUpgrade(options)
	text := strings.Replace(request, "Upgrade: websocket\r\n", "Upgrade: websocket\r\nX-A: "+fill+"\r\n", 1)
	if n, done, err := u.Feed([]byte(text)); n != MaxHead || !done || err != nil {
		t.Errorf("Feed = %d, %v, %v, want %d, true, nil", n, done, err, MaxHead)
	}
}

// feedAll feeds b in chunks until done, an error, or its end.
func feedAll(feed func([]byte) (int, bool, error), b []byte, size int) (bool, error) {
	for len(b) > 0 {
		n, done, err := feed(b[:min(size, len(b))])
		if done || err != nil {
			return done, err
		}
		b = b[n:]
	}
	return false, nil
}

func FuzzUpgrade(f *testing.F) {
	f.Add([]byte(request), uint8(1))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), uint8(3))
	f.Add([]byte("\x10\x0c\x00\x04MQTT"), uint8(2))
	f.Fuzz(func(t *testing.T, b []byte, size uint8) {
		whole, chunked := NewUpgrade(options), NewUpgrade(options)
		wholeDone, wholeErr := feedAll(whole.Feed, b, len(b))
		done, err := feedAll(chunked.Feed, b, int(size)+1)
		if done != wholeDone || fmt.Sprint(err) != fmt.Sprint(wholeErr) {
			t.Errorf("whole: %v, %v; chunks: %v, %v", wholeDone, wholeErr, done, err)
		}
		if !bytes.Equal(whole.Response(), chunked.Response()) {
			t.Errorf("whole: %q; chunks: %q", whole.Response(), chunked.Response())
		}
	})
}
