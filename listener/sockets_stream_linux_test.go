package listener

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"sallyport/internal/websocket"
)

func TestSocketOfTLS(t *testing.T) {
	server, client := tlsPair(t)
	older := client.Clone()
	older.MaxVersion = tls.VersionTLS12
	older.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	for _, config := range []*tls.Config{client, older} {
		infos := make(chan Info, 2)
		l := startSockets(t, Options{Transport: TLS, TLS: server}, func(s Socket) {
			infos <- s.Info
			echoSocket(s)
		})
		for resumed := range uint64(2) {
			c := tls.Client(dial(t, l), config)
			checkEcho(t, c, "hello")
			checkEcho(t, c, strings.Repeat("large", 20_000))
			if info := <-infos; info.TLS == nil || info.Remote != c.LocalAddr().(*net.TCPAddr).AddrPort() {
				t.Errorf("info = %+v", info)
			}
			if done, again := l.counts.HandshakeDone.Load(), l.counts.HandshakeResumed.Load(); done != resumed+1 || again != resumed {
				t.Errorf("%d handshakes, %d resumed, want %d and %d", done, again, resumed+1, resumed)
			}
			_ = c.Close()
		}
		eventually(t, "Open", l.counts.Open.Load, 0)
		eventually(t, "Handshaking", l.counts.Handshaking.Load, 0)
	}
}

func TestSocketOfTLSKnowsTheClientsCertificate(t *testing.T) {
	server, client := tlsPair(t)
	// The server's own certificate serves as the client's: only its arrival matters here.
	config := server.Clone()
	config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c, err := server.GetConfigForClient(hello)
		if err != nil || c == nil {
			return c, err
		}
		c = c.Clone()
		c.ClientAuth = tls.RequireAnyClientCert
		own, err := c.GetCertificate(hello)
		if err != nil {
			return nil, err
		}
		client.Certificates = []tls.Certificate{*own}
		return c, nil
	}
	if _, err := config.GetConfigForClient(&tls.ClientHelloInfo{}); err != nil {
		t.Fatal(err)
	}
	infos := make(chan Info, 1)
	l := startSockets(t, Options{Transport: TLS, TLS: config}, func(s Socket) {
		infos <- s.Info
		echoSocket(s)
	})
	checkEcho(t, tls.Client(dial(t, l), client), "hello")
	if info := <-infos; len(info.TLS.PeerCertificates) == 0 {
		t.Error("no certificate of the client")
	}
}

func TestSocketOfTLSRefusesOtherProtocols(t *testing.T) {
	server, _ := tlsPair(t)
	var log syncBuffer
	l := startSockets(t, Options{Transport: TLS, TLS: server, Log: slog.New(slog.NewTextHandler(&log, nil))}, unexpectedSocket(t))
	for i, first := range []string{"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00", "\x16\x03\x01\x00\x05hello"} {
		c := dial(t, l)
		if _, err := io.WriteString(c, first); err != nil {
			t.Fatal(err)
		}
		if answer, _ := io.ReadAll(c); i == 1 && (len(answer) == 0 || answer[0] != recordAlert) {
			t.Errorf("answer to a broken hello = %x, want an alert", answer)
		}
		eventually(t, "HandshakeFailed", uintOf(&l.counts.HandshakeFailed), int64(i+1))
	}
	eventually(t, "Open", l.counts.Open.Load, 0)
	eventually(t, "lines about it", func() int64 { return int64(strings.Count(log.String(), "TLS handshake failed")) }, 2)
}

func TestSocketsOfSlowHandshakesAreClosed(t *testing.T) {
	server, _ := tlsPair(t)
	for _, o := range []Options{{Transport: TLS, TLS: server}, {Transport: WS}, {Transport: WSS, TLS: server}} {
		o.HandshakeTimeout = 20 * time.Millisecond
		l := startSockets(t, o, unexpectedSocket(t))
		checkClosed(t, dial(t, l))
		eventually(t, "Open", l.counts.Open.Load, 0)
		if failed := l.counts.HandshakeFailed.Load() + l.counts.UpgradeFailed.Load(); failed != 1 {
			t.Errorf("%s: %d failures, want 1", o.Transport, failed)
		}
	}
}

func TestSocketOfANewcomerDisplacesAnotherHandshake(t *testing.T) {
	server, _ := tlsPair(t)
	l := startSockets(t, Options{Transport: TLS, TLS: server, MaxHandshakes: 2}, unexpectedSocket(t))
	oldest, second := dial(t, l), dial(t, l)
	eventually(t, "Handshaking", l.counts.Handshaking.Load, 2)
	checkClosed(t, dial(t, l)) // of the same prefix: refused
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}, Timeout: patience}
	c, err := from.Dial("tcp", l.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	checkClosed(t, oldest)
	eventually(t, "RefusedHandshakes", uintOf(&l.counts.RefusedHandshakes), 2)
	eventually(t, "Open", l.counts.Open.Load, 2)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	checkClosed(t, second)
	eventually(t, "Open", l.counts.Open.Load, 0)
}

func TestSocketOfWebSocket(t *testing.T) {
	server, client := tlsPair(t)
	for _, o := range []Options{{Transport: WS}, {Transport: WSS, TLS: server}} {
		o.WebSocket.Path = "/mqtt"
		infos := make(chan Info, 1)
		l := startSockets(t, o, func(s Socket) {
			infos <- s.Info
			echoSocket(s)
		})
		c := dial(t, l)
		if o.Transport == WSS {
			c = tls.Client(c, client)
		}
		upgradeTo(t, c, "/mqtt?token=abc", "")
		if got := <-infos; got.Path != "/mqtt" || got.Query != "token=abc" || got.Header["Upgrade"][0] != "websocket" || (got.TLS != nil) != (o.Transport == WSS) {
			t.Errorf("%s: info = %#v", o.Transport, got)
		}
		send(t, c, masked(websocket.OpBinary, "hello"))
		checkFrames(t, c, serverFrame("hello"))
		send(t, c, masked(websocket.OpPing, "hi"))
		checkFrames(t, c, websocket.AppendPong(nil, []byte("hi")))
		send(t, c, masked(websocket.OpClose, "\x03\xe8"))
		checkFrames(t, c, websocket.AppendClose(nil, websocket.CloseNormal))
		checkClosed(t, c)
		eventually(t, "Open", l.counts.Open.Load, 0)
	}
}

func TestSocketOfARefusedUpgradeGetsItsAnswer(t *testing.T) {
	server, client := tlsPair(t)
	for _, o := range []Options{{Transport: WS}, {Transport: WSS, TLS: server}} {
		l := startSockets(t, o, unexpectedSocket(t))
		raw := dial(t, l)
		c := raw
		if o.Transport == WSS {
			c = tls.Client(raw, client)
		}
		if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(c)
		if err != nil || !bytes.HasPrefix(got, []byte("HTTP/1.1 4")) {
			t.Errorf("%s: %q, %v, want a refusal", o.Transport, got, err)
		}
		_ = c.Close()
		eventually(t, "UpgradeFailed", uintOf(&l.counts.UpgradeFailed), 1)
		eventually(t, "Open", l.counts.Open.Load, 0)
	}
}

func TestSocketsAreKnownToNoPoller(t *testing.T) {
	server, client := tlsPair(t)
	for _, o := range []Options{{Transport: TCP}, {Transport: TLS, TLS: server}} {
		sockets := make(chan Socket, 1)
		l := startSockets(t, o, func(s Socket) { sockets <- s })
		c := dial(t, l)
		if o.Transport == TLS {
			if err := tls.Client(c, client).Handshake(); err != nil {
				t.Fatal(err)
			}
		}
		s := <-sockets
		if polled := polledDescriptors(t); slices.Contains(polled, s.FD) {
			t.Errorf("%s: descriptor %d is polled by the runtime: %v", o.Transport, s.FD, polled)
		}
		newDriver(s).leave()
	}
}

// polledDescriptors are those that the process's epoll instances watch (proc(5)).
func polledDescriptors(t *testing.T) (polled []int) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if kind, _ := os.Readlink("/proc/self/fd/" + fd.Name()); kind != "anon_inode:[eventpoll]" {
			continue
		}
		info, err := os.ReadFile("/proc/self/fdinfo/" + fd.Name())
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(info)) {
			var target int
			if _, err := fmt.Sscanf(line, "tfd: %d", &target); err == nil {
				polled = append(polled, target)
			}
		}
	}
	if len(polled) == 0 {
		t.Fatal("nothing is polled, not even the listening socket")
	}
	return polled
}

func TestCloseEndsHandshakesOfSockets(t *testing.T) {
	server, _ := tlsPair(t)
	for _, o := range []Options{{Transport: TLS, TLS: server}, {Transport: WS}, {Transport: WSS, TLS: server}} {
		o.Address = "127.0.0.1:0"
		l, err := Listen(o)
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- l.ServeSockets(unexpectedSocket(t)) }()
		c := dial(t, l)
		eventually(t, "Handshaking", l.counts.Handshaking.Load, 1)
		if err := errors.Join(l.Close(), <-served); err != nil {
			t.Errorf("%s: %v", o.Transport, err)
		}
		checkClosed(t, c)
		eventually(t, "Open", l.counts.Open.Load, 0)
	}
}

// BenchmarkHandshake is a resumed TLS handshake, both sides, until the server's
// receiver has closed.
func BenchmarkHandshake(b *testing.B) {
	server, client := tlsPair(b)
	client.CurvePreferences = []tls.CurveID{tls.X25519}
	for _, sockets := range []bool{true, false} {
		name := "Conn"
		if sockets {
			name = "Socket"
		}
		b.Run(name, func(b *testing.B) {
			l, err := Listen(Options{Transport: TLS, Address: "127.0.0.1:0", TLS: server, NoDelay: true})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			if sockets {
				go func() {
					_ = l.ServeSockets(func(s Socket) {
						d := newDriver(s)
						_ = d.flush()
						d.leave()
					})
				}()
			} else {
				go func() { _ = l.Serve(func(c *Conn) { _ = c.Abort() }) }()
			}
			b.ReportAllocs()
			for b.Loop() {
				c, err := tls.Dial("tcp", l.Addrs()[0].String(), client)
				if err != nil {
					b.Fatal(err)
				}
				_, _ = c.Read(make([]byte, 1)) // the session ticket, then the end
				_ = c.Close()
			}
		})
	}
}
