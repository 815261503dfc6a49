package proxies

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sallyport/broker"
	"sallyport/certs"
	"sallyport/internal/proxyproto"
	"sallyport/internal/websocket"
	"sallyport/listener"
	"sallyport/security"
	"sallyport/security/authn"
	"sallyport/topic"
)

// patience bounds every wait: far beyond what a busy machine needs.
const patience = 20 * time.Second

// Packets of MQTT 3.1.1, written out so that no encoder of ours has a part in it.
const (
	connectPacket = "\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a"
	connackPacket = "\x20\x02\x00\x00"
)

// anybody lets every client in.
type anybody struct{}

func (anybody) Begin(_ *authn.Credentials, done func(*security.Principal, error)) func() {
	done(&security.Principal{Realm: "test"}, nil)
	return nil
}
func (anybody) Epoch() authn.Epoch              { return authn.Epoch{} }
func (anybody) Stands(*security.Principal) bool { return true }
func (anybody) FailureFloor() time.Duration     { return 0 }
func (anybody) Decide(*security.Request) security.Verdict {
	return security.Verdict{Effect: security.Allow}
}

// stream is a listener's Stream as the engine wants it.
type stream struct{ *listener.Stream }

func (stream) More(err error) bool { return errors.Is(err, listener.ErrMore) }

// engine runs a broker, and listeners whose connections it tells of.
type engine struct {
	broker *broker.Broker
	loops  *broker.Loops // nil for a goroutine per connection
	infos  chan listener.Info
}

func newEngine(t *testing.T, loops bool) *engine {
	t.Helper()
	e := &engine{infos: make(chan listener.Info, 64)}
	e.broker = broker.New(broker.Options{
		Gate: security.NewGate(&security.Ruleset{ByListener: map[string][]security.Policy{"door": {anybody{}}}}),
		Listeners: map[string]*broker.Listener{"door": {Name: "door", Auth: anybody{}, Limits: broker.Limits{
			PacketUnauthenticated: 1 << 10, Packet: 1 << 10, Topic: topic.Limits{Bytes: 100, Levels: 10}, ClientIDBytes: 100,
			OutputBytes: 1 << 10, ReceiveMaximum: 10, Inflight: 10,
		}}},
	})
	if loops {
		var err error
		if e.loops, err = e.broker.NewLoops(1); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		e.broker.Shutdown(patience)
		if e.loops != nil {
			if err := e.loops.Close(); err != nil {
				t.Errorf("close the loops: %v", err)
			}
		}
		if err := e.broker.Close(); err != nil {
			t.Errorf("close the broker: %v", err)
		}
	})
	return e
}

// listen opens a door behind the proxies at 127.0.0.1.
func (e *engine) listen(t *testing.T, o listener.Options) *listener.Listener {
	t.Helper()
	o.Name = "door"
	if o.Address == "" {
		o.Address = "127.0.0.1:0"
	}
	l, err := listener.Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		if e.loops == nil {
			served <- l.Serve(func(c *listener.Conn) {
				e.infos <- c.Info
				e.broker.Serve(c, broker.Info{Listener: "door", Remote: c.Remote})
			})
			return
		}
		served <- l.ServeSockets(func(s listener.Socket) {
			e.infos <- s.Info
			info := broker.Info{Listener: "door", Remote: s.Remote}
			if s.Stream == nil {
				e.loops.Serve(s.FD, nil, info, s.Done)
			} else {
				e.loops.Serve(s.FD, stream{s.Stream}, info, s.Done)
			}
		})
	}()
	t.Cleanup(func() {
		if err := errors.Join(l.Close(), <-served); err != nil {
			t.Errorf("listener: %v", err)
		}
	})
	return l
}

// next is the next connection that was handed over.
func (e *engine) next(t *testing.T) listener.Info {
	t.Helper()
	select {
	case i := <-e.infos:
		return i
	case <-time.After(patience):
		t.Fatal("no connection was handed over")
	}
	return listener.Info{}
}

// haproxy runs HAProxy. Each front is the text of a section, in which FRONT
// stands for the socket that it accepts on; their addresses are returned.
func haproxy(t *testing.T, global string, fronts ...string) []string {
	t.Helper()
	path, err := exec.LookPath("haproxy")
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/haproxy"); err != nil { // not in every user's PATH
			t.Fatal("haproxy is missing: install the Debian package haproxy")
		}
	}
	dir := t.TempDir()
	text := "global\n  maxconn 100\ndefaults\n  timeout connect 10s\n  timeout client 20s\n  timeout server 20s\n" + global
	var files []*os.File
	var addresses []string
	for i, front := range fronts {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		file, err := ln.(*net.TCPListener).File() // the socket is inherited, so no port is raced for
		if err != nil {
			t.Fatal(err)
		}
		addresses = append(addresses, ln.Addr().String())
		_ = ln.Close() // the duplicate stays
		files = append(files, file)
		text += strings.ReplaceAll(front, "FRONT", fmt.Sprintf("fd@%d", 3+i))
	}
	config := filepath.Join(dir, "haproxy.cfg")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var output bytes.Buffer
	cmd := exec.Command(path, "-db", "-f", config)
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = &output, &output, files
	// A test binary that dies must not leave it behind.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		_ = f.Close() // the child has its own
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended by itself
		_ = cmd.Wait()         // it was killed
		if t.Failed() {
			t.Logf("haproxy said:\n%s", output.String())
		}
	})
	return addresses
}

// dialFrom connects from an address that is not the proxies'.
func dialFrom(t *testing.T, address string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}, Timeout: patience}
	c, err := d.Dial("tcp4", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // the test may have closed it
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

// connect exchanges CONNECT and CONNACK.
func connect(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := io.WriteString(c, connectPacket); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(connackPacket))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != connackPacket {
		t.Fatalf("CONNACK = %x, %v", got, err)
	}
}

// checkClient wants i to be about the client at the other end of c, by way of 127.0.0.1.
func checkClient(t *testing.T, i listener.Info, c net.Conn) {
	t.Helper()
	want := c.LocalAddr().(*net.TCPAddr).AddrPort()
	if i.Remote != want || i.Proxy == nil {
		t.Fatalf("remote %v of %+v, want %v", i.Remote, i.Proxy, want)
	}
	if i.Transport != listener.Unix && i.Proxy.Remote.Addr() != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("proxy %v, want 127.0.0.1", i.Proxy.Remote)
	}
}

func trusted() *listener.ProxyProtocolOptions {
	return &listener.ProxyProtocolOptions{Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}
}

// identity makes a client's certificate of a CA of its own, whose PEM file is returned.
func identity(t *testing.T, name string) (tls.Certificate, string) {
	t.Helper()
	template := func(cn string, serial int64) *x509.Certificate {
		return &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: cn},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	}
	ca := template("test CA", 1)
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	leaf := template(name, 2)
	leaf.ExtKeyUsage, leaf.KeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, x509.KeyUsageDigitalSignature
	caKey, err1 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	key, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	caDER, err1 := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	der, err2 := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	file := filepath.Join(t.TempDir(), "ca.pem")
	err3 := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}), 0o600)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

func TestHAProxy(t *testing.T) {
	files, err := certs.Quickstart(t.TempDir(), nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	server, _, err := certs.LoadServer(certs.ServerOptions{CertFile: files.CertFile, KeyFile: files.KeyFile}, nil)
	if err != nil {
		t.Fatal(err)
	}
	client, _, err := certs.Client(certs.ClientOptions{CAFile: files.CAFile, ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	meter, clientCA := identity(t, "Zähler 7")
	cert, err1 := os.ReadFile(files.CertFile)
	key, err2 := os.ReadFile(files.KeyFile)
	both := filepath.Join(t.TempDir(), "haproxy.pem")
	if err := errors.Join(err1, err2, os.WriteFile(both, append(cert, key...), 0o600)); err != nil {
		t.Fatal(err)
	}
	for name, loops := range map[string]bool{"goroutines": false, "event loops": true} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t, loops)
			plain := e.listen(t, listener.Options{Transport: listener.TCP, ProxyProtocol: trusted()})
			secure := e.listen(t, listener.Options{Transport: listener.TLS, TLS: server.Config(), ProxyProtocol: trusted()})
			path := filepath.Join(t.TempDir(), "s")
			e.listen(t, listener.Options{Transport: listener.Unix, Address: path, ProxyProtocol: &listener.ProxyProtocolOptions{}})
			web := e.listen(t, listener.Options{Transport: listener.WS, ForwardedFor: &listener.ForwardedForOptions{Trusted: trusted().Trusted}})
			at := func(l *listener.Listener) string { return l.Addrs()[0].String() }

			proxy := haproxy(t, "",
				"listen v1\n  mode tcp\n  bind FRONT\n  server s "+at(plain)+" send-proxy\n",
				"listen v2\n  mode tcp\n  bind FRONT\n  server s "+at(plain)+" send-proxy-v2\n",
				"listen passed\n  mode tcp\n  bind FRONT\n  server s "+at(secure)+" send-proxy-v2\n",
				"listen ended\n  mode tcp\n  bind FRONT ssl crt "+both+" ca-file "+clientCA+" verify optional alpn mqtt\n"+
					"  unique-id-format %{+X}o\\ %ci:%cp\n"+
					"  server s "+at(plain)+" send-proxy-v2 proxy-v2-options crc32c,unique-id,authority,ssl,cert-cn,ssl-cipher,cert-sig,cert-key\n",
				"listen unix\n  mode tcp\n  bind FRONT\n  server s unix@"+path+" send-proxy-v2\n",
				"listen web\n  mode http\n  bind FRONT\n  option forwardfor\n  server s "+at(web)+"\n",
			)

			for i, version := range []int{1, 2} {
				c := dialFrom(t, proxy[i])
				connect(t, c)
				info := e.next(t)
				checkClient(t, info, c)
				if h := info.Proxy.Header; h.Version != version || h.Destination.String() != proxy[i] {
					t.Errorf("header %+v, want version %d to %s", h, version, proxy[i])
				}
			}

			raw := dialFrom(t, proxy[2])
			connect(t, tls.Client(raw, client))
			info := e.next(t)
			checkClient(t, info, raw)
			if info.TLS == nil {
				t.Error("TLS passed through the proxy is not known")
			}

			checkEnded(t, e, proxy[3], client, meter)

			c := dialFrom(t, proxy[4])
			connect(t, c)
			checkClient(t, e.next(t), c)

			checkWeb(t, e, proxy[5])

			for _, l := range []*listener.Listener{plain, secure, web} {
				n := l.Counters()
				if got := n.HeaderFailed.Load() + n.RefusedProxy.Load() + n.HandshakeFailed.Load() + n.UpgradeFailed.Load(); got != 0 {
					t.Errorf("%d connections were refused", got)
				}
			}
		})
	}
}

// checkEnded wants to learn from the proxy, which ends TLS, what it knows of the client's.
func checkEnded(t *testing.T, e *engine, address string, client *tls.Config, meter tls.Certificate) {
	t.Helper()
	withCert, without := client.Clone(), client.Clone()
	withCert.NextProtos, without.NextProtos = []string{"mqtt"}, []string{"mqtt"}
	withCert.Certificates, withCert.ClientSessionCache = []tls.Certificate{meter}, tls.NewLRUClientSessionCache(1)
	without.ClientSessionCache = nil
	const byConn, bySession = proxyproto.ClientSSL | proxyproto.ClientCertConn | proxyproto.ClientCertSess, proxyproto.ClientSSL | proxyproto.ClientCertSess
	for _, try := range []struct {
		config *tls.Config
		bits   byte
	}{{withCert, byConn}, {withCert, bySession}, {without, proxyproto.ClientSSL}} {
		config, presented := try.config, try.bits != proxyproto.ClientSSL
		raw := dialFrom(t, address)
		c := tls.Client(raw, config)
		connect(t, c)
		info := e.next(t)
		checkClient(t, info, raw)
		h := info.Proxy.Header
		values := map[proxyproto.Type]string{proxyproto.TypeALPN: "mqtt", proxyproto.TypeAuthority: "localhost"}
		for kind, want := range values {
			if got, _ := h.Value(kind); string(got) != want {
				t.Errorf("TLV %#x = %q, want %q", uint8(kind), got, want)
			}
		}
		for _, kind := range []proxyproto.Type{proxyproto.TypeCRC32C, proxyproto.TypeUniqueID} {
			if _, has := h.Value(kind); !has {
				t.Errorf("no TLV %#x", uint8(kind))
			}
		}
		switch s := h.SSL; {
		case s == nil:
			t.Fatal("no SSL")
		case s.Version != "TLSv1.3" || s.Cipher == "" || s.Client != try.bits || s.Verified() != presented:
			t.Errorf("SSL = %+v, want client %#x, verified %v", s, try.bits, presented)
		case presented && (s.CN != "Zähler 7" || s.SigAlg == "" || s.KeyAlg == ""):
			t.Errorf("SSL = %+v, want the certificate's name and the algorithms", s)
		case !presented && s.CN != "":
			t.Errorf("SSL = %+v without a certificate", s)
		}
	}
}

// checkWeb connects by WebSocket, and claims to be someone else.
func checkWeb(t *testing.T, e *engine, address string) {
	t.Helper()
	c := dialFrom(t, address)
	_, err := io.WriteString(c, "GET /mqtt HTTP/1.1\r\nHost: broker.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n"+
		"X-Forwarded-For: 192.0.2.1\r\n\r\n")
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(c)
	if r, err := http.ReadResponse(in, nil); err != nil || r.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("response %+v, %v", r, err)
	}
	mask := [4]byte{1, 2, 3, 4}
	frame := websocket.AppendMaskedHeader(nil, websocket.OpBinary, len(connectPacket), mask)
	payload := []byte(connectPacket)
	websocket.Mask(mask, 0, payload)
	if _, err := c.Write(append(frame, payload...)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 2+len(connackPacket))
	if _, err := io.ReadFull(in, got); err != nil || string(got[2:]) != connackPacket {
		t.Fatalf("CONNACK = %x, %v", got, err)
	}
	info := e.next(t)
	if info.Remote.Addr() != netip.MustParseAddr("127.0.0.9") || info.Proxy == nil || info.Proxy.Header != nil {
		t.Errorf("remote %v of %+v, want 127.0.0.9 by X-Forwarded-For", info.Remote, info.Proxy)
	}
}

// A health check of version 2 is LOCAL: it is served as the proxy's own.
func TestHealthChecksOfHAProxy(t *testing.T) {
	e := newEngine(t, true)
	l := e.listen(t, listener.Options{Transport: listener.TCP, ProxyProtocol: trusted()})
	haproxy(t, "", "listen checked\n  mode tcp\n  bind FRONT\n  option tcp-check\n"+
		"  tcp-check connect send-proxy\n  tcp-check send-binary 100d00044d51545404020000000161\n  tcp-check expect binary 20020000\n"+
		"  server s "+l.Addrs()[0].String()+" send-proxy-v2 check inter 100ms\n")
	for range 2 {
		info := e.next(t)
		if h := info.Proxy.Header; !h.Local || info.Remote != info.Proxy.Remote || info.Remote.Addr() != netip.MustParseAddr("127.0.0.1") {
			t.Errorf("remote %v, header %+v, want LOCAL of 127.0.0.1", info.Remote, h)
		}
	}
	if got := l.Counters().HeaderFailed.Load(); got != 0 {
		t.Errorf("%d health checks were refused", got)
	}
}
