package listener

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/certs"
)

// patience is how long a test waits before it fails.
const patience = 10 * time.Second

// echo writes back what it reads, then closes.
func echo(c *Conn) {
	_, _ = io.Copy(c, c)
	_ = c.Close()
}

// start serves o and closes it with the test.
func start(t *testing.T, o Options, h Handler) *Listener {
	t.Helper()
	if o.Address == "" {
		o.Address = "127.0.0.1:0"
	}
	if o.Transport == 0 {
		o.Transport = TCP
	}
	l, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- l.Serve(h) }()
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return l
}

// dial connects to the first address of l.
func dial(t *testing.T, l *Listener) net.Conn {
	t.Helper()
	return dialAddr(t, l.Addrs()[0])
}

func dialAddr(t *testing.T, a net.Addr) net.Conn {
	t.Helper()
	c, err := net.DialTimeout(a.Network(), a.String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

// checkEcho sends text and wants it back.
func checkEcho(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != text {
		t.Fatalf("echo = %q, %v, want %q", got, err, text)
	}
}

// checkClosed wants the other end to have closed without a byte.
func checkClosed(t *testing.T, c net.Conn) {
	t.Helper()
	n, err := c.Read(make([]byte, 1))
	var timeout net.Error
	if n != 0 || err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("Read = %d, %v, want a closed connection", n, err)
	}
}

// eventually waits for a counter to reach want.
func eventually(t *testing.T, name string, get func() int64, want int64) {
	t.Helper()
	for deadline := time.Now().Add(patience); get() != want; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%s = %d, want %d", name, get(), want)
		}
	}
}

func uintOf(c interface{ Load() uint64 }) func() int64 {
	return func() int64 { return int64(c.Load()) }
}

// tlsPair returns the configurations of a server and its client.
func tlsPair(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	files, err := certs.Quickstart(t.TempDir(), nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := certs.LoadServer(certs.ServerOptions{CertFile: files.CertFile, KeyFile: files.KeyFile}, nil)
	if err != nil {
		t.Fatal(err)
	}
	client, _, err = certs.Client(certs.ClientOptions{CAFile: files.CAFile, ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	return s.Config(), client
}

func TestTCP(t *testing.T) {
	infos := make(chan Info, 1)
	l := start(t, Options{Name: "front", NoDelay: true}, func(c *Conn) {
		infos <- c.Info
		echo(c)
	})
	c := dial(t, l)
	checkEcho(t, c, "hello")
	got := <-infos
	want := Info{
		Listener: "front", Transport: TCP, Remote: c.LocalAddr().(*net.TCPAddr).AddrPort(),
	}
	if got.String() != want.String() || got.Remote != want.Remote {
		t.Errorf("info = %+v, want %+v", got, want)
	}
	_ = c.Close()
	eventually(t, "Open", l.Counters().Open.Load, 0)
}

func TestTLS(t *testing.T) {
	server, client := tlsPair(t)
	states := make(chan *tls.ConnectionState, 2)
	l := start(t, Options{Transport: TLS, TLS: server}, func(c *Conn) {
		states <- c.TLS
		if _, err := c.SyscallConn(); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("SyscallConn = %v, want unsupported", err)
		}
		echo(c)
	})
	for resumed := range uint64(2) {
		c := tls.Client(dial(t, l), client)
		checkEcho(t, c, "hello")
		if state := <-states; state == nil || state.Version != tls.VersionTLS13 {
			t.Errorf("state = %+v", state)
		}
		if done, again := l.counts.HandshakeDone.Load(), l.counts.HandshakeResumed.Load(); done != resumed+1 || again != resumed {
			t.Errorf("%d handshakes, %d resumed, want %d and %d", done, again, resumed+1, resumed)
		}
		_ = c.Close()
	}
}

func TestTLSRefusesOtherProtocols(t *testing.T) {
	server, _ := tlsPair(t)
	var log syncBuffer
	l := start(t, Options{Transport: TLS, TLS: server, Log: slog.New(slog.NewTextHandler(&log, nil))}, unexpected(t))
	c := dial(t, l)
	if _, err := io.WriteString(c, "\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00"); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, c) // an alert may come first
	eventually(t, "HandshakeFailed", uintOf(&l.counts.HandshakeFailed), 1)
	eventually(t, "Open", l.counts.Open.Load, 0)
	// The line comes after the counts.
	eventually(t, "a line about it", func() int64 { return int64(strings.Count(log.String(), "TLS handshake failed")) }, 1)
}

func TestSlowHandshakeIsEnded(t *testing.T) {
	server, _ := tlsPair(t)
	for _, o := range []Options{{Transport: TLS, TLS: server}, {Transport: WS}} {
		o.HandshakeTimeout = 20 * time.Millisecond
		l := start(t, o, unexpected(t))
		checkClosed(t, dial(t, l))
		eventually(t, "Open", l.counts.Open.Load, 0)
		if failed := l.counts.HandshakeFailed.Load() + l.counts.UpgradeFailed.Load(); failed != 1 {
			t.Errorf("%s: %d failures, want 1", o.Transport, failed)
		}
	}
}

func TestAddressFilter(t *testing.T) {
	for _, c := range []struct {
		name        string
		allow, deny string
		addr        string
		want        bool
	}{
		{"empty lists allow", "", "", "192.0.2.1", true},
		{"allow allows", "192.0.2.0/24", "", "192.0.2.1", true},
		{"allow refuses the others", "192.0.2.0/24", "", "198.51.100.1", false},
		{"allow of IPv4 refuses IPv6", "0.0.0.0/0", "", "2001:db8::1", false},
		{"deny denies", "", "192.0.2.0/24", "192.0.2.1", false},
		{"deny beats a longer allow", "192.0.2.1/32", "192.0.2.0/24", "192.0.2.1", false},
		{"a mapped prefix means IPv4", "::ffff:192.0.2.0/120", "", "192.0.2.1", true},
		{"an IPv6 prefix", "2001:db8::/32", "", "2001:db8::1", true},
		{"an unknown address is refused", "0.0.0.0/0,::/0", "", "", false},
		{"an unknown address is refused by deny too", "", "192.0.2.0/24", "", false},
	} {
		o := Options{Transport: TCP, Allow: prefixes(c.allow), Deny: prefixes(c.deny)}
		if err := o.complete(); err != nil {
			t.Fatal(err)
		}
		addr, _ := netip.ParseAddr(c.addr) // "" is the invalid address
		if got := (&Listener{options: o}).allowed(addr); got != c.want {
			t.Errorf("%s: allowed(%s) = %v, want %v", c.name, c.addr, got, c.want)
		}
	}
}

func prefixes(list string) []netip.Prefix {
	var all []netip.Prefix
	for s := range strings.SplitSeq(list, ",") {
		if s != "" {
			all = append(all, netip.MustParsePrefix(s))
		}
	}
	return all
}

func TestAddrPortIsUnmappedAndWithoutZone(t *testing.T) {
	for _, c := range []struct{ addr, want string }{
		{"[::ffff:192.0.2.1]:7", "192.0.2.1:7"},
		{"[fe80::1%eth0]:7", "[fe80::1]:7"},
		{"[::ffff:192.0.2.1%eth0]:7", "192.0.2.1:7"},
	} {
		if got := addrPort(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.addr))); got.String() != c.want {
			t.Errorf("addrPort(%s) = %s, want %s", c.addr, got, c.want)
		}
	}
	if got := addrPort(&net.UnixAddr{Name: "x"}); got.IsValid() {
		t.Errorf("addrPort of a Unix address = %s, want none", got)
	}
}

func TestDeniedAddressIsClosedUnread(t *testing.T) {
	l := start(t, Options{Deny: prefixes("127.0.0.0/8")}, unexpected(t))
	checkClosed(t, dial(t, l))
	eventually(t, "RefusedAddress", uintOf(&l.counts.RefusedAddress), 1)
}

func TestMappedSourceMeetsAnIPv4Deny(t *testing.T) {
	l := start(t, Options{Address: ":0", Deny: prefixes("127.0.0.1/32")}, unexpected(t))
	_, port, _ := net.SplitHostPort(l.Addrs()[0].String())
	a, err := net.ResolveTCPAddr("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	checkClosed(t, dialAddr(t, a))
	eventually(t, "RefusedAddress", uintOf(&l.counts.RefusedAddress), 1)
}

func TestMaxConnections(t *testing.T) {
	l := start(t, Options{MaxConnections: 2}, echo)
	first, second := dial(t, l), dial(t, l)
	checkEcho(t, first, "a")
	checkEcho(t, second, "b")
	checkClosed(t, dial(t, l))
	if got := l.counts.RefusedLimit.Load(); got != 1 {
		t.Errorf("RefusedLimit = %d, want 1", got)
	}
	_ = first.Close()
	eventually(t, "Open", l.counts.Open.Load, 1)
	checkEcho(t, dial(t, l), "c")
}

func TestClosingTwiceMakesRoomOnce(t *testing.T) {
	conns := make(chan *Conn, 1)
	l := start(t, Options{MaxConnections: 1}, func(c *Conn) { conns <- c })
	dial(t, l)
	c := <-conns
	_ = c.Close()
	_ = c.Abort()
	_ = c.Close()
	if got := l.counts.Open.Load(); got != 0 {
		t.Errorf("Open = %d, want 0", got)
	}
}

func TestLocalhostIsBothFamilies(t *testing.T) {
	l := start(t, Options{Address: "localhost:0"}, echo)
	if !hasIPv6() {
		t.Log("this machine has no ::1: one address is right")
	} else if len(l.Addrs()) != 2 {
		t.Errorf("addresses = %v, want two", l.Addrs())
	}
	ports := map[int]bool{}
	for _, a := range l.Addrs() {
		ports[a.(*net.TCPAddr).Port] = true
		checkEcho(t, dialAddr(t, a), "hello")
	}
	if len(ports) != 1 {
		t.Errorf("addresses = %v, want one port", l.Addrs())
	}
}

func hasIPv6() bool {
	ln, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		return false
	}
	_ = ln.Close()
	return true
}

func TestBindPassesOverAMissingFamily(t *testing.T) {
	l := &Listener{options: Options{Name: "x"}, log: slog.New(slog.DiscardHandler)}
	// A reserved address is on no machine, as ::1 is missing on some.
	if err := l.bindAll([]string{"127.0.0.1", "240.0.0.1"}, "0"); err != nil || len(l.sockets) != 1 {
		t.Errorf("bindAll = %v with %d sockets, want one", err, len(l.sockets))
	}
	l.unbind()
	if err := l.bindAll([]string{"240.0.0.1", "240.0.0.2"}, "0"); err == nil {
		t.Error("bindAll of missing addresses only: no error")
	}
	if err := l.bindAll([]string{"240.0.0.1"}, "0"); err == nil {
		t.Error("bindAll of one missing address: no error")
	}
}

func TestListenRefuses(t *testing.T) {
	server, _ := tlsPair(t)
	taken := start(t, Options{}, echo).Addrs()[0].String()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		o    Options
	}{
		{"no transport", Options{Address: "127.0.0.1:0"}},
		{"an unknown transport", Options{Transport: Unix + 1, Address: "127.0.0.1:0"}},
		{"TLS without configuration", Options{Transport: TLS, Address: "127.0.0.1:0"}},
		{"WSS without configuration", Options{Transport: WSS, Address: "127.0.0.1:0"}},
		{"TCP with a TLS configuration", Options{Transport: TCP, TLS: server, Address: "127.0.0.1:0"}},
		{"no port", Options{Transport: TCP, Address: "127.0.0.1"}},
		{"a named port", Options{Transport: TCP, Address: "127.0.0.1:mqtt"}},
		{"a port out of range", Options{Transport: TCP, Address: "127.0.0.1:65536"}},
		{"a signed port", Options{Transport: TCP, Address: "127.0.0.1:+1"}},
		{"a taken port", Options{Transport: TCP, Address: taken}},
		{"a negative limit", Options{Transport: TCP, Address: "127.0.0.1:0", MaxConnections: -1}},
		{"an invalid prefix", Options{Transport: TCP, Address: "127.0.0.1:0", Deny: make([]netip.Prefix, 1)}},
		{"a prefix over both families", Options{Transport: TCP, Address: "127.0.0.1:0", Deny: []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr("::ffff:1.2.3.4"), 90)}}},
		{"source addresses on a Unix socket", Options{Transport: Unix, Address: filepath.Join(t.TempDir(), "s"), Deny: prefixes("10.0.0.0/8")}},
		{"a socket mode with other bits", Options{Transport: Unix, Address: filepath.Join(t.TempDir(), "s"), SocketMode: fs.ModeSetuid | 0o600}},
		{"an abstract socket", Options{Transport: Unix, Address: "@sallyport"}},
		{"a socket without a path", Options{Transport: Unix}},
		{"a file in the socket's place", Options{Transport: Unix, Address: file}},
		{"a socket in a missing folder", Options{Transport: Unix, Address: filepath.Join(file+"-missing", "s")}},
	} {
		if l, err := Listen(c.o); err == nil {
			t.Errorf("%s: no error", c.name)
			_ = l.Close()
		}
	}
	if got, err := os.ReadFile(file); string(got) != "precious" {
		t.Errorf("the file in the way is %q, %v", got, err)
	}
}

func TestCloseEndsEveryGoroutine(t *testing.T) {
	server, _ := tlsPair(t)
	for _, o := range []Options{{Transport: TCP}, {Transport: TLS, TLS: server}, {Transport: WS}, {Transport: WSS, TLS: server}} {
		o.Address = "localhost:0"
		l, err := Listen(o)
		if err != nil {
			t.Fatal(err)
		}
		served := make(chan error, 1)
		go func() { served <- l.Serve(echo) }()
		c := dial(t, l)
		if o.Transport != TCP {
			eventually(t, "Handshaking", l.counts.Handshaking.Load, 1)
		}
		if err := errors.Join(l.Close(), <-served); err != nil {
			t.Errorf("%s: %v", o.Transport, err)
		}
		if o.Transport != TCP {
			checkClosed(t, c)
			eventually(t, "Handshaking", l.counts.Handshaking.Load, 0)
		}
		if _, err := net.Dial("tcp", l.Addrs()[0].String()); err == nil {
			t.Errorf("%s: accepts after Close", o.Transport)
		}
		if err := l.Close(); err != nil {
			t.Errorf("%s: second Close: %v", o.Transport, err)
		}
	}
}

func TestServeIsForOnce(t *testing.T) {
	l := start(t, Options{}, echo)
	checkEcho(t, dial(t, l), "a") // it is serving
	if err := l.Serve(echo); err == nil {
		t.Error("second Serve: no error")
	}
}

func TestNewcomerOfAQuietPrefixDisplacesAnotherHandshake(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs all of 127.0.0.0/8 on the loopback interface")
	}
	l := start(t, Options{Transport: WS, MaxHandshakes: 2}, unexpected(t))
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
	eventually(t, "Handshaking", l.counts.Handshaking.Load, 2)
	if _, err := io.WriteString(second, "G"); err != nil {
		t.Errorf("the second handshake did not stay: %v", err)
	}
}

// unexpected is a handler that must not be called.
func unexpected(t *testing.T) Handler {
	return func(c *Conn) {
		t.Errorf("handler got %v", c.Info)
		_ = c.Close()
	}
}

// syncBuffer is a bytes.Buffer for loggers.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestInfoHidesItsSecrets(t *testing.T) {
	i := Info{Listener: "ws", Transport: WS, Query: "token=secret", Header: map[string][]string{"Authorization": {"hidden"}}}
	c := &Conn{Info: i}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "info", i, "conn", c)
	shown := fmt.Sprintf("%v %s %v", i, &i, c) + log.String()
	if strings.Contains(shown, "secret") || strings.Contains(shown, "hidden") {
		t.Errorf("shown as %s", shown)
	}
}

func TestPlaces(t *testing.T) {
	a, b, c := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::1")
	sameAsC := netip.MustParseAddr("2001:db8::2")
	p := places{limit: 4}
	var held []*place
	for _, from := range []netip.Addr{a, a, a, b} {
		got, displaced := p.take(nil, from)
		if got == nil || displaced != nil {
			t.Fatal("refused with room left")
		}
		held = append(held, got)
	}
	if got, _ := p.take(nil, a); got != nil {
		t.Error("the busiest prefix got a place of another")
	}
	if got, displaced := p.take(nil, c); got == nil || displaced != held[0] {
		t.Error("a new prefix did not get the oldest place of the busiest")
	}
	if got, _ := p.take(nil, sameAsC); got != nil { // a: 2, b: 1, c: 1
		t.Error("a /64 got more than its share")
	}
	if p.release(held[0]) {
		t.Error("a displaced place was released again")
	}
	if !p.release(held[1]) || p.release(held[1]) {
		t.Error("a place was not released exactly once")
	}
	if got, displaced := p.take(nil, sameAsC); got == nil || displaced != nil {
		t.Error("a free place was not given")
	}
	for _, s := range slices.Clone(p.busiest) {
		for s.places.Len() > 0 {
			p.release(s.places.Front().Value.(*place))
		}
	}
	if p.taken != 0 || len(p.sources) != 0 || len(p.busiest) != 0 {
		t.Errorf("left over: %d places, %d sources, %d in the heap", p.taken, len(p.sources), len(p.busiest))
	}
}

func TestPlacesDisplaceTheOldestOfEquals(t *testing.T) {
	p := places{limit: 100}
	var first []*place
	addr := netip.MustParseAddr("10.0.0.0")
	for range p.limit {
		got, _ := p.take(nil, addr)
		first, addr = append(first, got), addr.Next()
	}
	for i := range first {
		got, displaced := p.take(nil, addr)
		if got == nil || displaced != first[i] {
			t.Fatalf("newcomer %d did not displace the oldest handshake", i)
		}
		addr = addr.Next()
	}
}

func TestQuiet(t *testing.T) {
	var q quiet
	now := time.Unix(1000, 0)
	for i, want := range []bool{true, true, false, false} {
		if ok, _ := q.allow(now, time.Minute, 2); ok != want {
			t.Errorf("line %d: %v, want %v", i, ok, want)
		}
	}
	if ok, hidden := q.allow(now.Add(time.Minute), time.Minute, 2); !ok || hidden != 2 {
		t.Errorf("next period: %v, %d, want true, 2", ok, hidden)
	}
}
