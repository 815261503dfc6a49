package listener

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"sallyport/internal/websocket"
)

// upgradeTo runs a client's opening handshake for path and origin.
func upgradeTo(t *testing.T, c net.Conn, path, origin string) {
	t.Helper()
	o := websocket.ClientOptions{Host: "broker.example", Path: path, Subprotocols: []string{"mqtt"}, Origin: origin}
	request, err := websocket.AppendRequest(nil, o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(request); err != nil {
		t.Fatal(err)
	}
	r := websocket.NewResponse(o)
	for one := make([]byte, 1); ; {
		if _, err := c.Read(one); err != nil {
			t.Fatal(err)
		}
		if _, done, err := r.Feed(one); err != nil {
			t.Fatal(err)
		} else if done {
			return
		}
	}
}

// masked is a client's frame.
func masked(op websocket.Opcode, payload string) []byte {
	key := [4]byte{9, 8, 7, 6}
	b := websocket.AppendMaskedHeader(nil, op, len(payload), key)
	body := []byte(payload)
	websocket.Mask(key, 0, body)
	return append(b, body...)
}

// send writes frames in one go.
func send(t *testing.T, c net.Conn, frames ...[]byte) {
	t.Helper()
	if _, err := c.Write(bytes.Join(frames, nil)); err != nil {
		t.Fatal(err)
	}
}

// checkFrames wants the server to send exactly want, next.
func checkFrames(t *testing.T, c net.Conn, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("server sent %x, %v, want %x", got, err, want)
	}
}

func serverFrame(payload string) []byte {
	return append(websocket.AppendHeader(nil, websocket.OpBinary, len(payload)), payload...)
}

func TestWebSocket(t *testing.T) {
	server, client := tlsPair(t)
	for _, o := range []Options{{Transport: WS}, {Transport: WSS, TLS: server}} {
		o.WebSocket.Path = "/mqtt"
		infos := make(chan Info, 1)
		ended := make(chan error, 1)
		l := start(t, o, func(c *Conn) {
			infos <- c.Info
			_, err := io.Copy(c, c)
			ended <- err
			_ = c.Close()
		})
		c := dial(t, l)
		if o.Transport == WSS {
			c = tls.Client(c, client)
		}
		upgradeTo(t, c, "/mqtt?token=abc", "")
		got := <-infos
		if got.Path != "/mqtt" || got.Query != "token=abc" || got.Host != "broker.example" || got.Header["Upgrade"][0] != "websocket" {
			t.Errorf("%s: info = %#v", o.Transport, got)
		}
		if (got.TLS != nil) != (o.Transport == WSS) {
			t.Errorf("%s: TLS = %v", o.Transport, got.TLS)
		}
		send(t, c, masked(websocket.OpBinary, "hello"))
		checkFrames(t, c, serverFrame("hello"))
		send(t, c, masked(websocket.OpPing, "hi"))
		checkFrames(t, c, websocket.AppendPong(nil, []byte("hi")))
		send(t, c, masked(websocket.OpClose, "\x03\xe8"))
		checkFrames(t, c, websocket.AppendClose(nil, websocket.CloseNormal))
		checkClosed(t, c)
		if err := <-ended; err != nil {
			t.Errorf("%s: reading ended with %v, want the end of the stream", o.Transport, err)
		}
	}
}

func TestWebSocketPolicyOfOrigins(t *testing.T) {
	for _, c := range []struct {
		name, origin, host string
		o                  WebSocketOptions
		secure, want       bool
	}{
		{"an empty list accepts any", "https://evil.example", "a.example", WebSocketOptions{}, true, true},
		{"the list accepts", "https://App.example", "a.example", WebSocketOptions{Origins: []string{"https://app.example"}}, true, true},
		{"the list refuses others", "https://evil.example", "a.example", WebSocketOptions{Origins: []string{"https://app.example"}}, true, false},
		{"the list refuses another scheme", "http://app.example", "a.example", WebSocketOptions{Origins: []string{"https://app.example"}}, true, false},
		{"same host is required", "https://evil.example", "a.example", WebSocketOptions{RequireSameOrigin: true}, true, false},
		{"same host is accepted", "https://a.example", "A.example", WebSocketOptions{RequireSameOrigin: true}, true, true},
		{"the default port may be left out", "https://a.example", "a.example:443", WebSocketOptions{RequireSameOrigin: true}, true, true},
		{"another port is another origin", "https://a.example:8443", "a.example", WebSocketOptions{RequireSameOrigin: true}, true, false},
		{"same port is accepted", "http://a.example:8080", "a.example:8080", WebSocketOptions{RequireSameOrigin: true}, false, true},
		{"IPv6 literals compare", "http://[::1]:8080", "[::1]:8080", WebSocketOptions{RequireSameOrigin: true}, false, true},
		{"IPv6 literals with the default port compare", "https://[::1]", "[::1]", WebSocketOptions{RequireSameOrigin: true}, true, true},
		{"plain pages may not use a secure door", "http://a.example", "a.example", WebSocketOptions{RequireSameOrigin: true}, true, false},
		{"a proxy may end TLS", "https://a.example", "a.example", WebSocketOptions{RequireSameOrigin: true}, false, true},
		{"null is foreign", "null", "null", WebSocketOptions{RequireSameOrigin: true}, true, false},
		{"a path is no origin", "https://a.example/x", "a.example", WebSocketOptions{RequireSameOrigin: true}, true, false},
		{"a user is no origin", "https://a.example@a.example", "a.example", WebSocketOptions{RequireSameOrigin: true}, true, false},
		{"a suffix is foreign", "https://a.example.evil", "a.example", WebSocketOptions{RequireSameOrigin: true}, true, false},
		{"the list adds to same host", "https://app.example", "a.example", WebSocketOptions{RequireSameOrigin: true, Origins: []string{"https://app.example"}}, true, true},
	} {
		if got := c.o.originAllowed(c.origin, c.host, c.secure); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestUpgradeRefusals(t *testing.T) {
	const fields = "Host: a.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n"
	o := Options{Transport: WS, WebSocket: WebSocketOptions{Path: "/mqtt", RequireSameOrigin: true}}
	for _, c := range []struct{ name, request, want string }{
		{"another path", "GET /x HTTP/1.1\r\n" + fields + "\r\n", "HTTP/1.1 404 "},
		{"a foreign origin", "GET /mqtt HTTP/1.1\r\n" + fields + "Origin: https://evil.example\r\n\r\n", "HTTP/1.1 403 "},
		{"bytes behind the request", "GET /mqtt HTTP/1.1\r\n" + fields + "\r\n\x82\x80", "HTTP/1.1 400 "},
		{"a huge head", "GET /mqtt HTTP/1.1\r\nX: " + strings.Repeat("a", 32<<10), "HTTP/1.1 431 "},
		{"no HTTP", "\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00", "HTTP/1.1 400 "},
	} {
		l := start(t, o, unexpected(t))
		conn := dial(t, l)
		if _, err := io.WriteString(conn, c.request); err != nil {
			t.Fatal(err)
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(got), c.want) {
			t.Errorf("%s: %q, %v, want %s", c.name, got, err, c.want)
		}
		eventually(t, "UpgradeFailed", uintOf(&l.counts.UpgradeFailed), 1)
		eventually(t, "Open", l.counts.Open.Load, 0)
	}
}

func TestBrokenFramesEndTheConnection(t *testing.T) {
	for _, c := range []struct {
		name  string
		frame []byte
		code  uint16
	}{
		{"an unmasked frame", serverFrame("a"), websocket.CloseProtocol},
		{"a text frame", masked(websocket.OpText, "a"), websocket.CloseUnsupported},
		{"a frame over the bound", masked(websocket.OpBinary, strings.Repeat("a", 101)), websocket.CloseTooBig},
	} {
		ended := make(chan error, 1)
		l := start(t, Options{Transport: WS, WebSocket: WebSocketOptions{MaxFrame: 100}}, func(conn *Conn) {
			_, err := conn.Read(make([]byte, 64))
			ended <- err
			_ = conn.Close()
		})
		conn := dial(t, l)
		upgradeTo(t, conn, "/", "")
		send(t, conn, c.frame)
		var violation *websocket.ProtocolError
		if err := <-ended; !errors.As(err, &violation) || violation.Code != c.code {
			t.Errorf("%s: %v, want code %d", c.name, err, c.code)
		}
		checkFrames(t, conn, websocket.AppendClose(nil, c.code))
	}
}

func TestReadingNeedsNoBufferLargerThanOneByte(t *testing.T) {
	got := make(chan string, 1)
	l := start(t, Options{Transport: WS}, func(c *Conn) {
		var all []byte
		for one := make([]byte, 1); ; {
			n, err := c.Read(one)
			if all = append(all, one[:n]...); err != nil {
				got <- string(all)
				_ = c.Close()
				return
			}
		}
	})
	c := dial(t, l)
	upgradeTo(t, c, "/", "")
	long := strings.Repeat("long ", 100)
	send(t, c, masked(websocket.OpBinary, "a"), masked(websocket.OpBinary, ""), masked(websocket.OpPong, "x"),
		masked(websocket.OpBinary, long), masked(websocket.OpClose, ""))
	if all := <-got; all != "a"+long {
		t.Errorf("read %q", all)
	}
}

func TestDeframe(t *testing.T) {
	result := make(chan string, 1)
	l := start(t, Options{Transport: WS}, func(c *Conn) {
		defer c.Close()
		raw, err := c.SyscallConn()
		if err != nil || raw == nil {
			t.Errorf("SyscallConn = %v", err)
		}
		b, err := c.Deframe(bytes.Join([][]byte{masked(websocket.OpBinary, "a"), masked(websocket.OpPing, "p"),
			masked(websocket.OpBinary, "b"), masked(websocket.OpClose, ""), masked(websocket.OpBinary, "c")}, nil))
		if !errors.Is(err, io.EOF) {
			t.Errorf("Deframe = %v, want EOF", err)
		}
		result <- string(b)
	})
	c := dial(t, l)
	upgradeTo(t, c, "/", "")
	if got := <-result; got != "ab" {
		t.Errorf("Deframe gave %q, want %q", got, "ab")
	}
	checkFrames(t, c, append(websocket.AppendPong(nil, []byte("p")), websocket.AppendClose(nil, websocket.CloseNone)...))
	plain := Conn{}
	if b, err := plain.Deframe([]byte("x")); string(b) != "x" || err != nil {
		t.Errorf("Deframe without frames = %q, %v", b, err)
	}
}

func TestLargeWritesAreOneFrame(t *testing.T) {
	server, client := tlsPair(t)
	payload := make([]byte, 100_000)
	_, _ = rand.Read(payload) // never fails
	for _, o := range []Options{{Transport: WS}, {Transport: WSS, TLS: server}} {
		l := start(t, o, func(c *Conn) {
			if n, err := c.Write(payload); n != len(payload) || err != nil {
				t.Errorf("Write = %d, %v", n, err)
			}
			if n, err := c.Write(nil); n != 0 || err != nil {
				t.Errorf("empty Write = %d, %v", n, err)
			}
			if err := c.CloseWrite(); err != nil {
				t.Errorf("CloseWrite: %v", err)
			}
			if _, err := c.Write([]byte("late")); err == nil {
				t.Error("Write after CloseWrite: no error")
			}
			_, _ = io.Copy(io.Discard, c) // until the client closes
			_ = c.Close()
		})
		c := dial(t, l)
		if o.Transport == WSS {
			c = tls.Client(c, client)
		}
		upgradeTo(t, c, "/", "")
		want := append(serverFrame(string(payload)), websocket.AppendClose(nil, websocket.CloseNormal)...)
		checkFrames(t, c, want)
		if n, err := c.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("%s: after CloseWrite %d, %v, want EOF", o.Transport, n, err)
		}
		send(t, c, masked(websocket.OpClose, ""))
	}
}

func TestCloseWriteLetsThePeerReadOn(t *testing.T) {
	server, client := tlsPair(t)
	for _, o := range []Options{{Transport: TCP}, {Transport: TLS, TLS: server}} {
		got := make(chan string, 1)
		l := start(t, o, func(c *Conn) {
			_, _ = io.WriteString(c, "bye")
			if err := c.CloseWrite(); err != nil {
				t.Errorf("CloseWrite: %v", err)
			}
			b, _ := io.ReadAll(c)
			got <- string(b)
			_ = c.Close()
		})
		c := dial(t, l)
		if o.Transport == TLS {
			c = tls.Client(c, client)
		}
		b, err := io.ReadAll(c)
		if string(b) != "bye" || err != nil {
			t.Errorf("%s: read %q, %v", o.Transport, b, err)
		}
		send(t, c, []byte("still here"))
		_ = c.Close()
		if b := <-got; b != "still here" {
			t.Errorf("%s: server read %q", o.Transport, b)
		}
	}
}

func TestPeerThatPingsAndNeverReadsIsEnded(t *testing.T) {
	server, client := net.Pipe() // without a buffer: a pong can't leave until it is read
	defer client.Close()
	f := &frames{Conn: server}
	ended := make(chan error, 1)
	go func() {
		_, err := f.Read(make([]byte, 64))
		ended <- err
	}()
	send(t, client, masked(websocket.OpPing, "x"))
	var timeout net.Error
	select {
	case err := <-ended:
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("Read = %v, want a timeout", err)
		}
	case <-time.After(patience):
		t.Fatal("Read waits for a peer that doesn't read")
	}
	if _, err := f.Write([]byte("a")); err == nil {
		t.Error("Write after half a frame: no error")
	}
}

func TestControlFramesKeepTheCallersDeadline(t *testing.T) {
	server, client := net.Pipe()
	defer client.Close()
	defer server.Close()
	d := &deadlines{Conn: server}
	f := &frames{Conn: d}
	soon := time.Now().Add(time.Hour)
	if err := f.SetDeadline(soon); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, client) }()
	if _, err := f.deframe(masked(websocket.OpPing, "x")); err != nil {
		t.Fatal(err)
	}
	if err := f.sendClose(websocket.CloseNormal); err != nil {
		t.Fatal(err)
	}
	if len(d.set) != 5 {
		t.Fatalf("write deadlines %v, want five", d.set)
	}
	for i, got := range d.set {
		if callers := i%2 == 0; got.Equal(soon) != callers || !callers && !got.Before(soon) {
			t.Errorf("write deadline %d is %v, want the caller's %v and shorter ones in turns", i, got, soon)
		}
	}
}

// deadlines notes write deadlines.
type deadlines struct {
	net.Conn
	set []time.Time
}

func (d *deadlines) SetWriteDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return d.Conn.SetWriteDeadline(t)
}

func TestCloseUnblocksAWriter(t *testing.T) {
	conns := make(chan *Conn, 1)
	l := start(t, Options{Transport: WS}, func(c *Conn) { conns <- c })
	upgradeTo(t, dial(t, l), "/", "")
	c := <-conns
	ended := make(chan error, 1)
	started := make(chan struct{})
	go func() {
		close(started)
		for {
			if _, err := c.Write(make([]byte, 1<<20)); err != nil {
				ended <- err
				return
			}
		}
	}()
	<-started
	_ = c.Close()
	select {
	case <-ended:
	case <-time.After(patience):
		t.Fatal("Write goes on after Close")
	}
}

// sink is a net.Conn that swallows writes.
type sink struct{ net.Conn }

func (sink) Write(p []byte) (int, error)      { return len(p), nil }
func (sink) SetWriteDeadline(time.Time) error { return nil }

func FuzzDeframe(f *testing.F) {
	f.Add(bytes.Join([][]byte{masked(websocket.OpBinary, "a"), masked(websocket.OpPing, "p"), masked(websocket.OpClose, "")}, nil), uint8(1))
	f.Add(masked(websocket.OpText, "a"), uint8(3))
	f.Fuzz(func(t *testing.T, b []byte, size uint8) {
		whole := &frames{Conn: sink{}}
		all := bytes.Clone(b)
		n, wantErr := whole.deframe(all)
		want := all[:n]
		chunked := &frames{Conn: sink{}}
		var got []byte
		var err error
		for rest := bytes.Clone(b); len(rest) > 0 && err == nil; {
			chunk := rest[:min(int(size)+1, len(rest))]
			rest = rest[len(chunk):]
			n, err = chunked.deframe(chunk)
			got = append(got, chunk[:n]...)
		}
		if !bytes.Equal(got, want) || (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
			t.Errorf("chunks: %x, %v; whole: %x, %v", got, err, want, wantErr)
		}
	})
}
