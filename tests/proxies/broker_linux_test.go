package proxies

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport"
	"sallyport/certs"
	"sallyport/config"
)

// logText is a log that a test reads.
type logText struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// wholeBroker runs a broker with one listener behind the proxies of 127.0.0.1; more
// are keys of the listener.
func wholeBroker(t *testing.T, more string) (address string, log *logText) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sallyport.yaml")
	text := "listeners:\n  - name: door\n    address: \"127.0.0.1:0\"\n    policies: [all]\n" + more +
		"policies:\n  - {name: all, type: allow_all}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	log = &logText{}
	srv, err := sallyport.New(cfg, sallyport.Options{Log: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	return srv.Addrs("door")[0].String(), log
}

// admitted reports whether a CONNECT is answered with success.
func admitted(c net.Conn) bool {
	if _, err := io.WriteString(c, connectPacket); err != nil {
		return false
	}
	got := make([]byte, len(connackPacket))
	_, err := io.ReadFull(c, got)
	return err == nil && string(got) == connackPacket
}

// TestTheProxysWordAboutACertificateIsAnIdentityWhenAskedFor: only with
// proxy_identity, only if the proxy verified the certificate, and only from it.
func TestTheProxysWordAboutACertificateIsAnIdentityWhenAskedFor(t *testing.T) {
	const behind = "    proxy_protocol: {trusted: [127.0.0.1/32], proxy_identity: true}\n"
	door, log := wholeBroker(t, behind)
	plain, _ := wholeBroker(t, strings.Replace(behind, "true", "false", 1))
	files, err := certs.Quickstart(t.TempDir(), nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	both := filepath.Join(t.TempDir(), "both.pem")
	var pair []byte
	for _, f := range []string{files.CertFile, files.KeyFile} {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		pair = append(pair, data...)
	}
	if err := os.WriteFile(both, pair, 0o600); err != nil {
		t.Fatal(err)
	}
	meter, clientCA := identity(t, "meter-7")
	front := func(to, more string) string {
		return "listen x" + strings.ReplaceAll(to+more, " ", "") + "\n  mode tcp\n  bind FRONT ssl crt " + both + " ca-file " + clientCA + " verify optional " + more + "\n" +
			"  server s " + to + " send-proxy-v2-ssl-cn\n"
	}
	proxy := haproxy(t, "", front(door, ""), front(plain, ""), front(door, "crt-ignore-err all"))
	roots := x509.NewCertPool()
	ca, err := os.ReadFile(files.CAFile)
	if err != nil || !roots.AppendCertsFromPEM(ca) {
		t.Fatal(err)
	}
	stranger, _ := identity(t, "meter-7")
	dial := func(address string, shown ...tls.Certificate) net.Conn {
		config := &tls.Config{RootCAs: roots, ServerName: "localhost"}
		if len(shown) > 0 {
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &shown[0], nil }
		}
		return tls.Client(dialFrom(t, address), config)
	}
	for _, c := range []struct {
		name string
		conn net.Conn
		want bool
	}{
		{"a verified certificate", dial(proxy[0], meter), true},
		{"no certificate", dial(proxy[0]), false},
		{"where it is not asked for", dial(proxy[1], meter), false},
		{"one that the proxy let pass unverified", dial(proxy[2], stranger), false},
	} {
		if got := admitted(c.conn); got != c.want {
			t.Errorf("%s: admitted %t\n%s", c.name, got, log)
		}
	}
	if !strings.Contains(log.String(), "user=meter-7") || !strings.Contains(log.String(), "addr=127.0.0.9:") {
		t.Errorf("the user is not the certificate's, or the address not the client's:\n%s", log)
	}
	// The same header from somebody else is not read.
	if admitted(dialFrom(t, door)) {
		t.Error("a client that is no proxy was let in")
	}
}

// TestTheForwardedAddressIsJudgedWhereItsProxyIsTrusted: by allow and deny, and not elsewhere.
func TestTheForwardedAddressIsJudgedWhereItsProxyIsTrusted(t *testing.T) {
	const web = "    transport: ws\n    deny: [203.0.113.0/24]\n    authenticators: [anyone]\n"
	const anyone = "authenticators:\n  - {name: anyone, type: anonymous}\n"
	believing, _ := wholeBroker(t, web+"    forwarded_for: {trusted: [127.0.0.1/32]}\n"+anyone)
	plain, _ := wholeBroker(t, web+anyone)
	upgrade := func(address, forwarded string) string {
		c, err := net.DialTimeout("tcp4", address, patience)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()                             // nothing is owed to it
		_ = c.SetDeadline(time.Now().Add(patience)) // it is open
		_, err = io.WriteString(c, "GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
			"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n"+forwarded+"\r\n")
		if err != nil {
			t.Fatal(err)
		}
		head := make([]byte, 12)
		_, _ = io.ReadFull(c, head) // a connection that ends is an answer
		return string(head)
	}
	for _, c := range []struct {
		address, forwarded string
		switched           bool
	}{
		{believing, "X-Forwarded-For: 198.51.100.7\r\n", true},
		{believing, "X-Forwarded-For: 203.0.113.9\r\n", false},
		{believing, "X-Forwarded-For: 198.51.100.7, 203.0.113.9\r\n", false},
		{believing, "", false},
		{plain, "X-Forwarded-For: 203.0.113.9\r\n", true},
	} {
		if got := upgrade(c.address, c.forwarded); (got == "HTTP/1.1 101") != c.switched {
			t.Errorf("%+v: %q", c, got)
		}
	}
}
