package listener

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/proxyproto"
	"sallyport/internal/websocket"
)

// drivers are both ways to be handed connections, each with an echo behind it.
var drivers = []struct {
	name  string
	serve func(*testing.T, Options, func(Info)) *Listener
}{
	{"Conn", func(t *testing.T, o Options, see func(Info)) *Listener {
		return start(t, o, func(c *Conn) {
			see(c.Info)
			echo(c)
		})
	}},
	{"Socket", func(t *testing.T, o Options, see func(Info)) *Listener {
		return startSockets(t, o, func(s Socket) {
			if plain := o.Transport == TCP || o.Transport == Unix; plain != (s.Stream == nil) {
				t.Errorf("%s: stream %v", o.Transport, s.Stream)
			}
			see(s.Info)
			echoSocket(s)
		})
	}},
}

func eachDriver(t *testing.T, f func(t *testing.T, serve func(*testing.T, Options, func(Info)) *Listener)) {
	for _, d := range drivers {
		t.Run(d.name, func(t *testing.T) { f(t, d.serve) })
	}
}

// nobody is told of connections that must not come.
func nobody(t *testing.T) func(Info) {
	return func(i Info) { t.Errorf("served %v", i) }
}

// loopback are proxies on this machine.
func loopback() *ProxyProtocolOptions {
	return &ProxyProtocolOptions{Trusted: prefixes("127.0.0.0/8")}
}

// header is a PROXY header of a client.
func header(t testing.TB, version int, client string, tlvs ...proxyproto.TLV) []byte {
	t.Helper()
	h := proxyproto.Header{Version: version, Family: proxyproto.TCP4, TLVs: tlvs,
		Source: netip.MustParseAddrPort(client), Destination: netip.MustParseAddrPort("198.51.100.1:8883")}
	if h.Source.Addr().Is6() {
		h.Family, h.Destination = proxyproto.TCP6, netip.MustParseAddrPort("[2001:db8::ffff]:8883")
	}
	b, err := h.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func local(t testing.TB) []byte {
	t.Helper()
	b, err := (&proxyproto.Header{Version: 2, Local: true}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// write sends bytes to a peer that may have closed already.
func write(c net.Conn, b []byte) { _, _ = c.Write(b) }

// withHeader is a connection whose first bytes go out behind a header, in one
// segment with it.
type withHeader struct {
	net.Conn
	header []byte
}

func (c *withHeader) Write(p []byte) (int, error) {
	header := c.header
	c.header = nil
	n, err := c.Conn.Write(append(header, p...))
	return max(n-len(header), 0), err
}

func TestProxyHeaderNamesTheClient(t *testing.T) {
	server, client := tlsPair(t)
	id := proxyproto.TLV{Type: proxyproto.TypeUniqueID, Value: []byte("connection 7")}
	eachDriver(t, func(t *testing.T, serve func(*testing.T, Options, func(Info)) *Listener) {
		for _, o := range []Options{{Transport: TCP}, {Transport: TLS, TLS: server}, {Transport: WS}, {Transport: WSS, TLS: server}, {Transport: Unix}} {
			infos := make(chan Info, 1)
			o.ProxyProtocol = loopback()
			if o.Transport == Unix {
				o.ProxyProtocol.Trusted, o.Address = nil, filepath.Join(t.TempDir(), "s")
			}
			l := serve(t, o, func(i Info) { infos <- i })
			for _, h := range [][]byte{header(t, 1, "203.0.113.7:40000"), header(t, 2, "203.0.113.7:40000", id), header(t, 2, "[2001:db8::7]:40000")} {
				raw := dial(t, l)
				c := net.Conn(&withHeader{raw, h})
				if o.Transport.Secure() {
					c = tls.Client(c, client)
				}
				if o.Transport.WebSocket() {
					upgradeTo(t, c, "/mqtt", "")
					send(t, c, masked(websocket.OpBinary, "hello"))
					checkFrames(t, c, serverFrame("hello"))
				} else {
					checkEcho(t, c, "hello")
				}
				want, _, _, err := proxyproto.Parse(h)
				if err != nil {
					t.Fatal(err)
				}
				got := <-infos
				var peer netip.AddrPort
				if o.Transport != Unix {
					peer = raw.LocalAddr().(*net.TCPAddr).AddrPort()
				}
				if got.Remote != want.Source || got.Proxy == nil || got.Proxy.Remote != peer {
					t.Fatalf("%s: remote %v of proxy %+v, want %v of %v", o.Transport, got.Remote, got.Proxy, want.Source, peer)
				}
				if v, _ := got.Proxy.Header.Value(proxyproto.TypeUniqueID); want.TLVs != nil && string(v) != "connection 7" {
					t.Errorf("%s: TLVs %v", o.Transport, got.Proxy.Header.TLVs)
				}
				_ = raw.Close()
			}
			eventually(t, "Open", l.counts.Open.Load, 0)
			eventually(t, "Handshaking", l.counts.Handshaking.Load, 0)
		}
	})
}

func TestProxyHeaderInPieces(t *testing.T) {
	server, client := tlsPair(t)
	eachDriver(t, func(t *testing.T, serve func(*testing.T, Options, func(Info)) *Listener) {
		for _, o := range []Options{{Transport: TCP}, {Transport: TLS, TLS: server}} {
			o.ProxyProtocol, o.NoDelay = loopback(), true
			l := serve(t, o, func(i Info) {
				if i.Remote.Addr() != netip.MustParseAddr("203.0.113.7") {
					t.Errorf("remote %v", i.Remote)
				}
			})
			for _, h := range [][]byte{header(t, 1, "203.0.113.7:40000"), header(t, 2, "203.0.113.7:40000")} {
				for i := 1; i <= len(h); i++ {
					raw := dial(t, l)
					write(raw, h[:i])
					c := net.Conn(&withHeader{raw, h[i:]})
					if o.Transport.Secure() {
						c = tls.Client(c, client)
					}
					checkEcho(t, c, "hello")
					_ = raw.Close()
				}
			}
		}
	})
}

// Each write on a pipe is read apart, and what isn't read is not written.
func TestNothingBehindTheProxyHeaderIsRead(t *testing.T) {
	l := &Listener{options: Options{ProxyProtocol: loopback()}}
	for _, h := range [][]byte{header(t, 1, "203.0.113.7:40000"), header(t, 1, "[2001:db8::7]:1"), header(t, 2, "203.0.113.7:40000"),
		header(t, 2, "203.0.113.7:40000", proxyproto.TLV{Type: 0xe0, Value: make([]byte, 4000)}), local(t)} {
		for _, piece := range []int{1, 2, 7, len(h) + 1, len(h) + 14} {
			near, far := net.Pipe()
			go func() {
				all := append(bytes.Clone(h), "\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00"...)
				for len(all) > 0 {
					n := min(piece, len(all))
					write(far, all[:n])
					all = all[n:]
				}
				_ = far.Close()
			}()
			g := &guest{raw: near}
			if err := l.readHeader(g); err != nil {
				t.Fatal(err)
			}
			if rest, err := io.ReadAll(near); err != nil || string(rest) != "\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00" {
				t.Errorf("in pieces of %d: %q is left of what follows, %v", piece, rest, err)
			}
		}
	}
}

func TestUntrustedPeerCantSendAProxyHeader(t *testing.T) {
	eachDriver(t, func(t *testing.T, serve func(*testing.T, Options, func(Info)) *Listener) {
		var log syncBuffer
		l := serve(t, Options{
			Transport: TCP, ProxyProtocol: &ProxyProtocolOptions{Trusted: prefixes("192.0.2.0/24,127.0.0.2/32")},
			// The peer's address is among those of allowed clients, and so is what it claims.
			Allow: prefixes("127.0.0.0/8,192.0.2.0/24"), Log: slog.New(slog.NewTextHandler(&log, nil)),
		}, nobody(t))
		const attempts = 40
		for range attempts {
			c := dial(t, l)
			write(c, header(t, 2, "192.0.2.1:1"))
			checkClosed(t, c)
		}
		eventually(t, "RefusedProxy", uintOf(&l.counts.RefusedProxy), attempts)
		eventually(t, "Open", l.counts.Open.Load, 0)
		if lines := strings.Count(log.String(), "not a trusted proxy"); lines < 1 || lines == attempts {
			t.Errorf("%d lines about %d refusals", lines, attempts)
		}
	})
}

// Without the option a header is what any other bytes are.
func TestProxyHeaderMeansNothingWithoutTheOption(t *testing.T) {
	eachDriver(t, func(t *testing.T, serve func(*testing.T, Options, func(Info)) *Listener) {
		infos := make(chan Info, 1)
		l := serve(t, Options{Transport: TCP}, func(i Info) { infos <- i })
		c := dial(t, l)
		checkEcho(t, c, string(header(t, 1, "203.0.113.7:40000")))
		if i := <-infos; i.Remote != c.LocalAddr().(*net.TCPAddr).AddrPort() || i.Proxy != nil {
			t.Errorf("info = %+v", i)
		}
	})
}

func TestTrustedPeerMustSendAProxyHeader(t *testing.T) {
	server, _ := tlsPair(t)
	mapped := header(t, 2, "[::ffff:203.0.113.7]:1")
	unixHeader, err := (&proxyproto.Header{Version: 2, Family: proxyproto.Unix, SourcePath: "/run/x"}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		bytes string
		o     Options
	}{
		{"MQTT", "\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00", Options{}},
		{"a ClientHello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", Options{Transport: TLS, TLS: server}},
		{"a request", "GET /mqtt HTTP/1.1\r\n", Options{Transport: WS}},
		{"a line too long", "PROXY UNKNOWN " + strings.Repeat("x", 100), Options{}},
		{"a block too long", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x10\x01", Options{}},
		{"UNKNOWN", "PROXY UNKNOWN\r\n", Options{}},
		{"UNSPEC", "\r\n\r\n\x00\r\nQUIT\n\x21\x00\x00\x00", Options{}},
		{"a Unix client", string(unixHeader), Options{}},
		{"a client at 0.0.0.0", string(header(t, 2, "0.0.0.0:1")), Options{}},
		{"a client at a multicast address", string(header(t, 1, "[ff02::1]:1")), Options{}},
		{"version 1 where 2 is wanted", string(header(t, 1, "203.0.113.7:1")), Options{ProxyProtocol: &ProxyProtocolOptions{Version: 2}}},
		{"version 2 where 1 is wanted", string(header(t, 2, "203.0.113.7:1")), Options{ProxyProtocol: &ProxyProtocolOptions{Version: 1}}},
		{"LOCAL where version 1 is wanted", string(local(t)), Options{ProxyProtocol: &ProxyProtocolOptions{Version: 1}}},
		{"a header that ends early", string(mapped[:20]), Options{}},
		{"nothing", "", Options{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachDriver(t, func(t *testing.T, serve func(*testing.T, Options, func(Info)) *Listener) {
				o := c.o
				if o.Transport == 0 {
					o.Transport = TCP
				}
				if o.ProxyProtocol == nil {
					o.ProxyProtocol = &ProxyProtocolOptions{}
				}
				o.ProxyProtocol.Trusted = loopback().Trusted
				o.HandshakeTimeout = 10 * patience // none of them waits for that
				l := serve(t, o, nobody(t))
				conn := dial(t, l)
				write(conn, []byte(c.bytes))
				if strings.HasPrefix(c.name, "nothing") || strings.HasSuffix(c.name, "early") {
					_ = conn.(*net.TCPConn).CloseWrite()
				}
				checkClosed(t, conn)
				eventually(t, "HeaderFailed", uintOf(&l.counts.HeaderFailed), 1)
				eventually(t, "Open", l.counts.Open.Load, 0)
				eventually(t, "Handshaking", l.counts.Handshaking.Load, 0)
			})
		})
	}
}

func TestSlowProxyHeaderIsEnded(t *testing.T) {
	server, _ := tlsPair(t)
	eachDriver(t, func(t *testing.T, serve func(*testing.T, Options, func(Info)) *Listener) {
		for _, o := range []Options{{Transport: TCP}, {Transport: TLS, TLS: server}} {
			o.ProxyProtocol, o.HandshakeTimeout = loopback(), 50*time.Millisecond
			l := serve(t, o, nobody(t))
			silent, stuck := dial(t, l), dial(t, l)
			h := header(t, 2, "203.0.113.7:1")
			write(stuck, h[:len(h)-1])
			checkClosed(t, silent)
			checkClosed(t, stuck)
			eventually(t, "HeaderFailed", uintOf(&l.counts.HeaderFailed), 2)
			eventually(t, "Open", l.counts.Open.Load, 0)
		}
		// Header and handshake share one deadline.
		l := serve(t, Options{Transport: TLS, TLS: server, ProxyProtocol: loopback(), HandshakeTimeout: 50 * time.Millisecond}, nobody(t))
		c := dial(t, l)
		write(c, header(t, 2, "203.0.113.7:1"))
		checkClosed(t, c)
		eventually(t, "HandshakeFailed", uintOf(&l.counts.HandshakeFailed), 1)
	})
}

// A byte now and then gains no time.
func TestDrippingProxyHeaderIsEnded(t *testing.T) {
	h := header(t, 2, "203.0.113.7:1", proxyproto.TLV{Type: proxyproto.TypeNOOP, Value: make([]byte, 4000)})
	synctest.Test(t, func(t *testing.T) {
		l, err := newListener(Options{Transport: TCP, ProxyProtocol: loopback()})
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		near, far := net.Pipe()
		l.beginHandshake(&guest{
			Info: Info{Remote: netip.MustParseAddrPort("127.0.0.1:1")}, raw: near,
			deliver: func(*guest) { t.Error("delivered") },
		})
		for i := range h {
			if _, err := far.Write(h[i : i+1]); err != nil {
				break
			}
			time.Sleep(900 * time.Millisecond)
		}
		l.group.Wait()
		if took := time.Since(begun); took > DefaultHandshakeTimeout+time.Second || l.counts.HeaderFailed.Load() != 1 {
			t.Errorf("ended after %v, %d failures", took, l.counts.HeaderFailed.Load())
		}
	})
}

func TestAllowAndDenyJudgeTheClientBehindAProxy(t *testing.T) {
	for _, c := range []struct {
		name        string
		allow, deny string
		header      []byte
		want        bool
	}{
		{"a denied client is refused", "", "203.0.113.0/24", header(t, 1, "203.0.113.7:1"), false},
		{"a client that isn't allowed is refused", "10.0.0.0/8,127.0.0.0/8", "", header(t, 2, "203.0.113.7:1"), false},
		{"an allowed client needs no allowed proxy", "203.0.113.0/24", "", header(t, 2, "203.0.113.7:1"), true},
		{"a client comes through a proxy in deny", "", "127.0.0.0/8", header(t, 2, "203.0.113.7:1"), true},
		{"a mapped address meets a deny of IPv4", "", "203.0.113.0/24", header(t, 2, "[::ffff:203.0.113.7]:1"), false},
		{"a mapped address in a line does too", "", "203.0.113.0/24", header(t, 1, "[::ffff:203.0.113.7]:1"), false},
		{"LOCAL is the proxy's", "", "", local(t), true},
		{"LOCAL of a denied proxy is refused", "", "127.0.0.0/8", local(t), false},
		{"LOCAL of a proxy that isn't allowed is refused", "203.0.113.0/24", "", local(t), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachDriver(t, func(t *testing.T, serve func(*testing.T, Options, func(Info)) *Listener) {
				infos := make(chan Info, 1)
				l := serve(t, Options{Transport: TCP, ProxyProtocol: loopback(), Allow: prefixes(c.allow), Deny: prefixes(c.deny)},
					func(i Info) { infos <- i })
				conn := dial(t, l)
				write(conn, c.header)
				if !c.want {
					checkClosed(t, conn)
					eventually(t, "RefusedAddress", uintOf(&l.counts.RefusedAddress), 1)
					eventually(t, "Open", l.counts.Open.Load, 0)
					return
				}
				checkEcho(t, conn, "hello")
				i := <-infos
				if h := i.Proxy.Header; h.Local && i.Remote != i.Proxy.Remote || !h.Local && i.Remote != h.Source {
					t.Errorf("remote %v of %+v", i.Remote, i.Proxy)
				}
			})
		})
	}
}

func TestMaxConnectionsCountsBeforeTheProxyHeader(t *testing.T) {
	l := start(t, Options{ProxyProtocol: loopback(), MaxConnections: 1}, unexpected(t))
	dial(t, l)
	eventually(t, "Open", l.counts.Open.Load, 1)
	checkClosed(t, dial(t, l))
	eventually(t, "RefusedLimit", uintOf(&l.counts.RefusedLimit), 1)
}

// handshakesOf waits until so many handshakes are counted by the client's address.
func handshakesOf(t *testing.T, l *Listener, want int64) {
	t.Helper()
	eventually(t, "handshakes of clients", func() int64 {
		l.mu.Lock()
		defer l.mu.Unlock()
		return int64(l.places.taken)
	}, want)
}

func TestHandshakesAreSharedBetweenTheClientsOfAProxy(t *testing.T) {
	server, client := tlsPair(t)
	eachDriver(t, func(t *testing.T, serve func(*testing.T, Options, func(Info)) *Listener) {
		l := serve(t, Options{Transport: TLS, TLS: server, MaxHandshakes: 2, ProxyProtocol: loopback()}, func(Info) {})
		from := func(client string) net.Conn {
			c := dial(t, l)
			write(c, header(t, 2, client))
			return c
		}
		oldest := from("203.0.113.7:1")
		handshakesOf(t, l, 1)
		second := from("203.0.113.7:2")
		handshakesOf(t, l, 2)
		checkClosed(t, from("203.0.113.7:3")) // the flood's own prefix
		eventually(t, "RefusedHandshakes", uintOf(&l.counts.RefusedHandshakes), 1)
		checkEcho(t, tls.Client(from("203.0.113.8:1"), client), "hello") // another client of the same proxy
		checkClosed(t, oldest)
		eventually(t, "RefusedHandshakes", uintOf(&l.counts.RefusedHandshakes), 2)
		handshakesOf(t, l, 1)
		write(second, []byte("PROXY TCP4 ")) // not TLS
		handshakesOf(t, l, 0)
		eventually(t, "Handshaking", l.counts.Handshaking.Load, 0)
	})
}

func TestAwaitedProxyHeadersAreBoundedPerProxy(t *testing.T) {
	eachDriver(t, func(t *testing.T, serve func(*testing.T, Options, func(Info)) *Listener) {
		l := serve(t, Options{Transport: TCP, MaxHandshakes: 2, ProxyProtocol: loopback()}, func(Info) {})
		oldest := dial(t, l)
		dial(t, l)
		eventually(t, "Handshaking", l.counts.Handshaking.Load, 2)
		checkClosed(t, dial(t, l))
		other := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}, Timeout: patience}
		c, err := other.Dial("tcp", l.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		checkClosed(t, oldest)
		write(c, header(t, 1, "203.0.113.7:1"))
		checkEcho(t, c, "hello")
		eventually(t, "RefusedHandshakes", uintOf(&l.counts.RefusedHandshakes), 2)
	})
}

func TestCloseEndsAwaitedProxyHeaders(t *testing.T) {
	for _, sockets := range []bool{false, true} {
		l, err := Listen(Options{Transport: TCP, Address: "127.0.0.1:0", ProxyProtocol: loopback()})
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() {
			if sockets {
				served <- l.ServeSockets(unexpectedSocket(t))
			} else {
				served <- l.Serve(unexpected(t))
			}
		}()
		c := dial(t, l)
		eventually(t, "Handshaking", l.counts.Handshaking.Load, 1)
		if err := errors.Join(l.Close(), <-served); err != nil {
			t.Error(err)
		}
		checkClosed(t, c)
		if open := l.counts.Open.Load(); open != 0 {
			t.Errorf("Open = %d", open)
		}
	}
}

func TestUnixSocketBehindAProxy(t *testing.T) {
	eachDriver(t, func(t *testing.T, serve func(*testing.T, Options, func(Info)) *Listener) {
		o := Options{Transport: Unix, Address: filepath.Join(t.TempDir(), "s"), ProxyProtocol: &ProxyProtocolOptions{},
			Deny: prefixes("203.0.113.0/24")}
		l := serve(t, o, nobody(t))
		for i, h := range [][]byte{header(t, 2, "203.0.113.7:1"), local(t)} { // LOCAL has no address that deny could miss
			c := dial(t, l)
			write(c, h)
			checkClosed(t, c)
			eventually(t, "RefusedAddress", uintOf(&l.counts.RefusedAddress), int64(i+1))
		}
		c := dial(t, l)
		write(c, []byte("\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00"))
		checkClosed(t, c)
		eventually(t, "HeaderFailed", uintOf(&l.counts.HeaderFailed), 1)
	})
}

func TestLogNamesClientAndProxy(t *testing.T) {
	var log syncBuffer
	l := start(t, Options{ProxyProtocol: loopback(), Deny: prefixes("203.0.113.0/24"), Log: slog.New(slog.NewTextHandler(&log, nil))}, unexpected(t))
	c := dial(t, l)
	write(c, header(t, 1, "203.0.113.7:9"))
	checkClosed(t, c)
	want := "addr=203.0.113.7:9 reason=\"source address not allowed\" suppressed=0 proxy=" + c.LocalAddr().String()
	eventually(t, "a line with "+want, func() int64 { return int64(strings.Count(log.String(), want)) }, 1)
	shown := Info{Remote: netip.MustParseAddrPort("203.0.113.7:9"), Proxy: &Proxy{}}.LogValue().String()
	if !strings.Contains(shown, "203.0.113.7:9") || !strings.Contains(shown, "proxy=local") {
		t.Errorf("shown as %s", shown)
	}
}

func TestListenRefusesUntrustworthyProxies(t *testing.T) {
	server, _ := tlsPair(t)
	with := func(trusted string, version int) *ProxyProtocolOptions {
		return &ProxyProtocolOptions{Trusted: prefixes(trusted), Version: version}
	}
	forwarded := func(trusted string) *ForwardedForOptions { return &ForwardedForOptions{Trusted: prefixes(trusted)} }
	path := filepath.Join(t.TempDir(), "s")
	for _, c := range []struct {
		name string
		o    Options
	}{
		{"no trusted proxies", Options{Transport: TCP, ProxyProtocol: with("", 0)}},
		{"everybody trusted", Options{Transport: TCP, ProxyProtocol: with("10.0.0.0/8,0.0.0.0/0", 0)}},
		{"everybody of IPv6 trusted", Options{Transport: TCP, ProxyProtocol: with("::/0", 0)}},
		{"everybody trusted as mapped addresses", Options{Transport: TCP, ProxyProtocol: with("::ffff:0.0.0.0/96", 0)}},
		{"an invalid prefix", Options{Transport: TCP, ProxyProtocol: &ProxyProtocolOptions{Trusted: make([]netip.Prefix, 1)}}},
		{"version 3", Options{Transport: TCP, ProxyProtocol: with("10.0.0.0/8", 3)}},
		{"version -1", Options{Transport: TCP, ProxyProtocol: with("10.0.0.0/8", -1)}},
		{"addresses on a Unix socket", Options{Transport: Unix, Address: path, ProxyProtocol: with("10.0.0.0/8", 0)}},
		{"X-Forwarded-For on TCP", Options{Transport: TCP, ForwardedFor: forwarded("10.0.0.0/8")}},
		{"X-Forwarded-For on TLS", Options{Transport: TLS, TLS: server, ForwardedFor: forwarded("10.0.0.0/8")}},
		{"X-Forwarded-For from nobody", Options{Transport: WS, ForwardedFor: forwarded("")}},
		{"X-Forwarded-For from everybody", Options{Transport: WS, ForwardedFor: forwarded("0.0.0.0/0")}},
	} {
		if c.o.Address == "" {
			c.o.Address = "127.0.0.1:0"
		}
		if l, err := Listen(c.o); err == nil {
			t.Errorf("%s: no error", c.name)
			_ = l.Close()
		}
	}
}

// upgradeFrom sends an upgrade with X-Forwarded-For fields and returns the status.
func upgradeFrom(t *testing.T, c net.Conn, fields ...string) int {
	t.Helper()
	request := "GET /mqtt HTTP/1.1\r\nHost: broker.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n"
	for _, f := range fields {
		request += f + "\r\n"
	}
	if _, err := io.WriteString(c, request+"\r\n"); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode
}

func TestForwardedForNamesTheClient(t *testing.T) {
	server, client := tlsPair(t)
	for _, c := range []struct {
		name              string
		trusted           string
		allow, deny       string
		fields            []string
		want              string // address, "" for a refusal, "peer" for the peer's
		byAddress, before bool   // refused by Allow and Deny; before the upgrade
	}{
		{name: "a trusted proxy names its client", trusted: "127.0.0.0/8",
			fields: []string{"X-Forwarded-For: 203.0.113.7"}, want: "203.0.113.7:0"},
		{name: "the client's own words are not believed", trusted: "127.0.0.0/8,10.0.0.0/8",
			fields: []string{"x-forwarded-for: 192.0.2.1", "X-Forwarded-For: 192.0.2.2, 203.0.113.7, 10.0.0.1"}, want: "203.0.113.7:0"},
		{name: "Forwarded is ignored", trusted: "127.0.0.0/8",
			fields: []string{"Forwarded: for=192.0.2.1", "X-Forwarded-For: 203.0.113.7"}, want: "203.0.113.7:0"},
		{name: "Forwarded alone is not enough", trusted: "127.0.0.0/8", fields: []string{"Forwarded: for=192.0.2.1"}},
		{name: "a trusted proxy that names nobody is refused", trusted: "127.0.0.0/8"},
		{name: "a trusted proxy that names nonsense is refused", trusted: "127.0.0.0/8", fields: []string{"X-Forwarded-For: unknown"}},
		{name: "an empty field is refused", trusted: "127.0.0.0/8", fields: []string{"X-Forwarded-For: "}},
		{name: "others are not believed", trusted: "192.0.2.0/24", fields: []string{"X-Forwarded-For: 192.0.2.1"}, want: "peer"},
		{name: "others need no field", trusted: "192.0.2.0/24", want: "peer"},
		{name: "a denied client is refused", trusted: "127.0.0.0/8", deny: "203.0.113.0/24",
			fields: []string{"X-Forwarded-For: 203.0.113.7"}, byAddress: true},
		{name: "an allowed client needs no allowed proxy", trusted: "127.0.0.0/8", allow: "203.0.113.0/24",
			fields: []string{"X-Forwarded-For: 203.0.113.7"}, want: "203.0.113.7:0"},
		{name: "a claim opens no door to others", trusted: "192.0.2.0/24", allow: "203.0.113.0/24",
			fields: []string{"X-Forwarded-For: 203.0.113.7"}, byAddress: true, before: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachDriver(t, func(t *testing.T, serve func(*testing.T, Options, func(Info)) *Listener) {
				for _, o := range []Options{{Transport: WS}, {Transport: WSS, TLS: server}} {
					o.ForwardedFor = &ForwardedForOptions{Trusted: prefixes(c.trusted)}
					o.Allow, o.Deny = prefixes(c.allow), prefixes(c.deny)
					infos := make(chan Info, 1)
					l := serve(t, o, func(i Info) { infos <- i })
					raw := dial(t, l)
					conn := raw
					if c.before {
						checkClosed(t, conn)
						eventually(t, "RefusedAddress", uintOf(&l.counts.RefusedAddress), 1)
						continue
					}
					if o.Transport == WSS {
						conn = tls.Client(conn, client)
					}
					status := upgradeFrom(t, conn, c.fields...)
					if c.want == "" {
						if status != 400 {
							t.Errorf("%s: status %d, want 400", o.Transport, status)
						}
						_ = raw.Close()
						eventually(t, "UpgradeFailed", uintOf(&l.counts.UpgradeFailed), 1)
						eventually(t, "Open", l.counts.Open.Load, 0)
						if got := l.counts.RefusedAddress.Load() == 1; got != c.byAddress {
							t.Errorf("%s: refused by address: %v", o.Transport, got)
						}
						continue
					}
					peer := raw.LocalAddr().(*net.TCPAddr).AddrPort()
					want := peer
					if c.want != "peer" {
						want = netip.MustParseAddrPort(c.want)
					}
					i := <-infos
					if status != 101 || i.Remote != want || (i.Proxy != nil) != (c.want != "peer") || i.Proxy != nil && i.Proxy.Remote != peer {
						t.Errorf("%s: status %d, remote %v of %+v, want %v", o.Transport, status, i.Remote, i.Proxy, want)
					}
				}
			})
		})
	}
}

// An HTTP proxy behind a TCP proxy: the PROXY header names the one, and that one the client.
func TestForwardedForBehindAProxyHeader(t *testing.T) {
	eachDriver(t, func(t *testing.T, serve func(*testing.T, Options, func(Info)) *Listener) {
		for _, c := range []struct{ peer, forwarded, want string }{
			{"10.0.0.5:7", "203.0.113.7", "203.0.113.7:0"},
			{"203.0.113.9:7", "192.0.2.1", "203.0.113.9:7"}, // no trusted HTTP proxy
		} {
			infos := make(chan Info, 1)
			l := serve(t, Options{Transport: WS, ProxyProtocol: loopback(), Deny: prefixes("10.0.0.0/8"),
				ForwardedFor: &ForwardedForOptions{Trusted: prefixes("10.0.0.0/8")}}, func(i Info) { infos <- i })
			raw := dial(t, l)
			if status := upgradeFrom(t, &withHeader{raw, header(t, 2, c.peer)}, "X-Forwarded-For: "+c.forwarded); status != 101 {
				t.Fatalf("status %d", status)
			}
			i := <-infos
			if i.Remote.String() != c.want || i.Proxy.Remote != raw.LocalAddr().(*net.TCPAddr).AddrPort() || i.Proxy.Header.Source.String() != c.peer {
				t.Errorf("remote %v of %+v, want %s", i.Remote, i.Proxy, c.want)
			}
		}
	})
}
