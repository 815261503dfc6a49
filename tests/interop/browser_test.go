package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// browserPatience bounds the whole visit of a browser.
const browserPatience = 2 * time.Minute

// browserFixture has a door for the pages of one origin.
const browserFixture = `
listeners:
  - name: wss
    transport: wss
    address: "localhost:0"
    tls: {certificate: SERVER.crt, key: SERVER.key}
    websocket: {origins: ["ORIGIN"]}
    authenticators: [passwords]
    policies: [rules]
authenticators:
  - {name: passwords, type: password_file, file: passwd}
policies:
  - {name: rules, type: permissions, file: permissions.yaml}
`

// TestChromium has a real browser speak MQTT over WSS, with mqtt.js in its pages. It
// trusts the server by its CA, and its own log of the network says what it offered
// and what became of that.
func TestChromium(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "interop CA")
	server := ca.issue(t, "server", true)
	pages, foreign := newSite(t, server), newSite(t, server)
	b, port := startForPages(t, ca, server, pages.origin())
	stranger := newBroker(t).places["wss"].Port // whose CA the browser does not know

	order := map[string]string{
		"broker":    fmt.Sprintf("wss://localhost:%d/mqtt", port),
		"web":       fmt.Sprintf("https://localhost:%d/mqtt", port),
		"untrusted": fmt.Sprintf("wss://localhost:%d/mqtt", stranger),
		"user":      userName, "password": passWord, "topic": "it/browser",
	}
	order["plan"] = "foreign"
	order["foreign"] = foreign.page(t, order)
	order["plan"] = "main"
	p, netlog := browser(t, ca, pages.page(t, order))

	for _, tt := range []struct {
		at   *site
		step string
		ok   bool
		text string // what the page tells holds it
	}{
		{pages, "MQTT 5.0", true, "granted 1, it/browser 1 from a page, 5"},
		{pages, "MQTT 3.1.1", true, "granted 1, it/browser 1 from a page, 4"},
		{pages, "wrong password", false, "error 134 "}, // MQTT-5, 3.2.2.2: bad user name or password
		{pages, "untrusted server", false, "closed"},
		{pages, "a request that is no WebSocket", true, "opaque"},
		{pages, "frame", true, "shown"},
		{foreign, "foreign origin", false, "closed"},
	} {
		if f := tt.at.next(t, p); f.Step != tt.step || f.OK != tt.ok || !strings.Contains(f.Text, tt.text) {
			t.Errorf("the page tells %+v, want %s, %t, %q", f, tt.step, tt.ok, tt.text)
		}
	}
	const spoken = `tls="TLS 1.3 TLS_AES_128_GCM_SHA256 X25519MLKEM768"`
	b.await(t, 0, "msg=connected", "user=alice", "listener=wss", "version=5", spoken)
	b.await(t, 0, "msg=connected", "user=alice", "listener=wss", "version=4", spoken)
	b.await(t, 0, "msg=connect_refused", "user=alice", "code=0x86")
	b.await(t, 0, "WebSocket upgrade failed", "handshake refused with 426")
	b.await(t, 0, "WebSocket upgrade failed", "handshake refused with 403: origin not allowed")
	if n := b.count("msg=connected"); n != 2 {
		t.Errorf("%d clients were let in, want 2", n)
	}
	var all []handshake
	eventually(t, "six handshakes in the browser's log", func() bool {
		all = slices.DeleteFunc(readNetlog(netlog), func(h handshake) bool { return h.port != port && h.port != stranger })
		return len(all) >= 6
	})
	judgeHandshakes(t, all, port, stranger)
	p.signal(t, syscall.SIGTERM)
	p.wait(t, patience)
	b.stop(t)
}

// judgeHandshakes looks at what the browser logged about the broker's port, and about
// the one of a broker that it can't trust.
func judgeHandshakes(t *testing.T, all []handshake, port, stranger int) {
	t.Helper()
	const x25519MLKEM768 = 0x11ec
	const authorityInvalid = -202 // ERR_CERT_AUTHORITY_INVALID
	served, resumed, h2, distrusted := 0, 0, 0, 0
	for _, h := range all {
		switch h.port {
		case port:
			served++
			if h.Version != "TLS 1.3" || h.Group != x25519MLKEM768 || h.NextProto != "http/1.1" {
				t.Errorf("a handshake came to %+v, want TLS 1.3, X25519MLKEM768 and http/1.1", h)
			}
			if h.Resumed {
				resumed++
			}
			if h.offersH2 {
				h2++
			}
		case stranger:
			if h.NetError != authorityInvalid {
				t.Errorf("with a server of an unknown CA: %+v", h)
			}
			distrusted++
		}
	}
	if served < 5 || distrusted == 0 {
		t.Errorf("the log has %d handshakes with the broker and %d with the other", served, distrusted)
	}
	if h2 == 0 || h2 == served {
		t.Errorf("%d of %d handshakes offered h2: WebSockets don't, and a request for a page does", h2, served)
	}
	if resumed == 0 {
		t.Error("no session was resumed")
	}
}

// startForPages starts a broker with a door for the pages of an origin.
func startForPages(t *testing.T, ca *authority, server identity, origin string) (b *broker, port int) {
	t.Helper()
	b = &broker{dir: t.TempDir(), ca: ca}
	text := strings.NewReplacer("SERVER.crt", server.cert, "SERVER.key", server.key, "ORIGIN", origin).Replace(browserFixture)
	write(t, b.file("sallyport.yaml"), text)
	write(t, b.file("permissions.yaml"), fixtureRules)
	setPassword(t, b.file("passwd"), userName, passWord)
	b.process = start(t, sallyport, "serve", "-c", b.file("sallyport.yaml"))
	return b, b.place(t, "wss").Port
}

// browser starts Chromium at an address, with a home of its own in which it trusts ca, and
// returns the file of its network log. Nothing but loopback is within its reach.
func browser(t *testing.T, ca *authority, address string) (p *process, netlog string) {
	t.Helper()
	path := command(t, "chromium", "chromium")
	home := t.TempDir()
	// Where Chromium looks for what its user trusts: the real way to trust a CA,
	// with every other check of a certificate in force.
	db := filepath.Join(home, ".pki", "nssdb")
	if err := os.MkdirAll(db, 0o700); err != nil {
		t.Fatal(err)
	}
	certutil := command(t, "certutil", "libnss3-tools")
	mustRun(t, "", certutil, "-N", "-d", "sql:"+db, "--empty-password")
	mustRun(t, "", certutil, "-A", "-d", "sql:"+db, "-n", "interop", "-t", "C,,", "-i", ca.path)

	netlog = filepath.Join(home, "net.json")
	args := []string{
		"--headless", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-breakpad", "--disable-crash-reporter",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-default-apps", "--disable-extensions", "--password-store=basic",
		"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost", "--no-proxy-server",
		"--user-data-dir=" + filepath.Join(home, "profile"), "--log-net-log=" + netlog,
	}
	if os.Geteuid() == 0 {
		args = append(args, "--no-sandbox") // it refuses to run as root with one
	}
	cmd := exec.Command(path, append(args, address)...)
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_CACHE_HOME="+home, "TMPDIR="+home, "DBUS_SESSION_BUS_ADDRESS=disabled:")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // its helpers die with it
	p = startCmd(t, cmd)
	t.Cleanup(func() {
		eventually(t, "the end of the browser's processes", func() bool {
			return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) == syscall.ESRCH
		})
	})
	return p, netlog
}
