package interop

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/paho"
)

// TestConfDoors is TestConf for what happens at the door and in the log.
func TestConfDoors(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(t *testing.T){
		"port and bind_address open the default listener":   confDefaultListener,
		"tls_version and ciphers bound the handshake":       confHandshake,
		"max_queued_bytes bounds an absent client":          confQueuedBytes,
		"max_inflight_messages is told as receive maximum":  confInflight,
		"connection_messages false leaves them out":         confConnectionMessages,
		"persistence makes a store beside Mosquitto's file": confPersistence,
	} {
		t.Run(name, func(t *testing.T) { t.Parallel(); test(t) })
	}
}

func confDefaultListener(t *testing.T) {
	port := freePort(t)
	p := start(t, sallyport, "serve", "-c", write(t, filepath.Join(t.TempDir(), "a.conf"), fmt.Sprintf("port %d\nbind_address 127.0.0.1\nallow_anonymous true\n", port)))
	awaitPort(t, p, port)
	if got := code(t, port, anybody()); got != 0 {
		t.Errorf("code %d", got)
	}
	if conn, err := net.Dial("tcp", fmt.Sprintf("[::1]:%d", port)); err == nil {
		_ = conn.Close() // it should not be there at all
		t.Error("another address than bind_address is open")
	}
}

func confHandshake(t *testing.T) {
	ca := newAuthority(t, "CA")
	server := ca.issue(t, "server", true)
	text := fmt.Sprintf("listener PORT 127.0.0.1\nallow_anonymous true\ncertfile %s\nkeyfile %s\n", server.cert, server.key)
	pem, err := os.ReadFile(ca.path)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	shakes := func(port int, c *tls.Config) (tls.ConnectionState, error) {
		c.RootCAs, c.ServerName = roots, "localhost"
		conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), c)
		if err != nil {
			return tls.ConnectionState{}, err
		}
		defer conn.Close() // nothing was written
		return conn.ConnectionState(), nil
	}

	_, port := startSallyportConf(t, text+"tls_version tlsv1.3\n")
	if _, err := shakes(port, &tls.Config{MaxVersion: tls.VersionTLS12}); err == nil {
		t.Error("TLS 1.2 got in under tls_version tlsv1.3")
	}
	if _, err := shakes(port, &tls.Config{}); err != nil {
		t.Errorf("TLS 1.3: %v", err)
	}

	// One suite for each kind of key, so that the certificate's doesn't matter.
	_, port = startSallyportConf(t, text+"ciphers ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384\n")
	named := []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384}
	if s, err := shakes(port, &tls.Config{MaxVersion: tls.VersionTLS12}); err != nil || !slices.Contains(named, s.CipherSuite) {
		t.Errorf("the suite is %s, %v", tls.CipherSuiteName(s.CipherSuite), err)
	}
	others := []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
	if _, err := shakes(port, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: others}); err == nil {
		t.Error("a suite that ciphers doesn't name was taken")
	}
}

func confQueuedBytes(t *testing.T) {
	_, port := startSallyportConf(t, open+"max_inflight_messages 1\nmax_queued_messages 0\nmax_queued_bytes 20000\n")
	g := away(t, port, 1)
	pub := mustHello(t, port, anybody())
	for i := range 10 {
		pub.publish("t", strings.Repeat(fmt.Sprint(i), 6000), false)
	}
	n := 0
	for range collect(mustHello(t, port, g)) {
		n++
	}
	if n < 2 || n > 4 { // what stands beside the payload counts too, what is in flight may not
		t.Errorf("%d messages of 6,000 bytes, want what 20,000 bytes hold", n)
	}
}

func confInflight(t *testing.T) {
	_, port := startSallyportConf(t, open+"max_inflight_messages 7\n")
	_, ack := connack5(t, port, &paho.Connect{ClientID: randomID(), CleanStart: true})
	if p := ack.Properties; p == nil || p.ReceiveMaximum == nil || *p.ReceiveMaximum != 7 {
		t.Errorf("receive maximum: %+v, want 7", p)
	}
}

func confConnectionMessages(t *testing.T) {
	for on, text := range map[bool]string{true: "", false: "connection_messages false\n"} {
		b, port := startSallyportConf(t, open+text)
		first, second := anybody(), anybody()
		mustHello(t, port, first).leave()
		w := mustHello(t, port, second)
		if w.publish("$SYS/x", "refused", false); !on { // a line that has to come
			eventually(t, "the refused PUBLISH in the log", func() bool { return strings.Contains(b.stderr(), "publish_denied") })
		} else {
			eventually(t, "both connections in the log", func() bool { return strings.Count(b.stderr(), "msg=connected") >= 2 })
		}
		if got := strings.Contains(b.stderr(), "client="+first.id); got != on {
			t.Errorf("connection_messages %t: the connection is in the log: %t\n%s", on, got, b.stderr())
		}
	}
}

func confPersistence(t *testing.T) {
	dir := t.TempDir()
	b, port := startSallyportConf(t, open+"persistence true\npersistence_location "+dir+"/\nautosave_interval 300\nset_tcp_nodelay true\n")
	if got := code(t, port, anybody()); got != 0 {
		t.Errorf("code %d", got)
	}
	for want, there := range map[string]bool{"autosave_interval: has no effect": true, "persistence:": false, "persistence_location:": false} {
		if strings.Contains(b.stderr(), want) != there {
			t.Errorf("said %q: %t, want %t\n%s", want, !there, there, b.stderr())
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != "mosquitto.store" || !left[0].IsDir() {
		t.Errorf("%v in the folder, %v, want mosquitto.store", left, err)
	}
}
