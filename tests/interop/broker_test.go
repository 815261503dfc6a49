package interop

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// broker is a running sallyport with listeners of every transport.
type broker struct {
	*process
	dir    string
	places map[string]place // by the listener's name
	ca     *authority
}

// place is how a listener is reached. The scripts in testdata read it as JSON.
type place struct {
	Transport string `json:"transport"` // tcp, tls, ws, wss or unix
	Host      string `json:"host"`
	Port      int    `json:"port"`
	Path      string `json:"path"` // of the URL or the socket
	CA        string `json:"ca"`
	Cert      string `json:"cert"`
	Key       string `json:"key"`
}

const (
	userName = "alice"
	passWord = "p4ss word:#"
)

// fixture has a listener for every transport; ports are the kernel's choice.
const fixture = `
listeners:
  - {name: tcp, transport: tcp, address: "localhost:0", authenticators: [passwords], policies: [rules]}
  - {name: unix, transport: unix, address: mqtt.sock, authenticators: [passwords], policies: [rules]}
  - {name: ws, transport: ws, address: "localhost:0", authenticators: [passwords], policies: [rules]}
  - name: tls
    transport: tls
    address: "localhost:0"
    tls: {certificate: SERVER.crt, key: SERVER.key}
    authenticators: [passwords]
    policies: [rules]
  - name: wss
    transport: wss
    address: "localhost:0"
    tls: {certificate: SERVER.crt, key: SERVER.key}
    authenticators: [passwords]
    policies: [rules]
  - name: mtls
    transport: tls
    address: "localhost:0"
    tls: {certificate: SERVER.crt, key: SERVER.key, client_auth: require, client_ca: CA.crt}
    identity: common_name
    policies: [rules]
  - name: mwss
    transport: wss
    address: "localhost:0"
    tls: {certificate: SERVER.crt, key: SERVER.key, client_auth: require, client_ca: CA.crt}
    identity: common_name
    policies: [rules]
authenticators:
  - {name: passwords, type: password_file, file: passwd}
policies:
  - {name: rules, type: permissions, file: permissions.yaml}
control: {socket: control.sock}
`

const fixtureRules = `
users:
  alice:
    permissions:
      - {allow: both, topic: "it/#"}
  bob:
    permissions:
      - {allow: both, topic: "it/#"}
everyone:
  - {allow: both, topic: "device/${username}/#"}
`

// newBroker starts the fixture.
func newBroker(t *testing.T) *broker {
	t.Helper()
	return newRuledBroker(t, fixtureRules)
}

// newRuledBroker starts the fixture with other rules.
func newRuledBroker(t *testing.T, rules string) *broker {
	t.Helper()
	b := &broker{dir: t.TempDir(), ca: newAuthority(t, "interop CA")}
	server := b.ca.issue(t, "server", true)
	text := strings.NewReplacer("SERVER.crt", server.cert, "SERVER.key", server.key, "CA.crt", b.ca.path).Replace(fixture)
	write(t, b.file("sallyport.yaml"), text)
	write(t, b.file("permissions.yaml"), rules)
	setPassword(t, b.file("passwd"), userName, passWord)
	setPassword(t, b.file("passwd"), "bob", "bob's")
	b.process = start(t, sallyport, "serve", "-c", b.file("sallyport.yaml"))
	b.places = map[string]place{}
	for _, name := range []string{"tcp", "unix", "ws", "tls", "wss", "mtls", "mwss"} {
		b.places[name] = b.place(t, name)
	}
	return b
}

// file is the path of a file of the broker.
func (b *broker) file(name string) string { return filepath.Join(b.dir, name) }

// place waits until a listener is ready.
func (b *broker) place(t *testing.T, listener string) place {
	t.Helper()
	line := b.await(t, 0, "msg=listening", "listener="+listener+" ")
	p := place{Transport: attribute(line, "transport"), Host: "localhost", Path: "/mqtt"}
	addr := attribute(line, "addr")
	if p.Transport == "unix" {
		p.Path = addr
		return p
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatalf("address in %q: %v", line, err)
	}
	p.Port, _ = strconv.Atoi(port)
	if p.Transport == "tls" || p.Transport == "wss" {
		p.CA = b.ca.path
	}
	return p
}

// attribute is the value of key in a log line.
func attribute(line, key string) string {
	_, rest, _ := strings.Cut(line, " "+key+"=")
	if strings.HasPrefix(rest, `"`) {
		if quoted, err := strconv.QuotedPrefix(rest); err == nil {
			text, _ := strconv.Unquote(quoted) // QuotedPrefix has checked it
			return text
		}
	}
	value, _, _ := strings.Cut(rest, " ")
	return value
}

// reload sends SIGHUP and waits for the line that says what became of it.
func (b *broker) reload(t *testing.T, want string) {
	t.Helper()
	mark := b.mark()
	b.signal(t, syscall.SIGHUP)
	b.await(t, mark, want)
}

// setPassword keeps a password file through the binary; cheap iterations,
// since what is tested here is not the cost.
func setPassword(t *testing.T, file, user, password string) {
	t.Helper()
	args := []string{"passwd", "-H", "sha512-pbkdf2", "-I", "101", "--password-env", "IT_PASSWORD", file, user}
	if _, err := os.Stat(file); err != nil {
		args = append([]string{"passwd", "-c"}, args[1:]...)
	}
	if r := runEnv(t, []string{"IT_PASSWORD=" + password}, "", sallyport, args...); r.code != 0 {
		t.Fatalf("sallyport passwd: exit code %d\n%s", r.code, r.stderr)
	}
}

// eventually polls until claim holds; for what gives no event to wait for.
func eventually(t *testing.T, what string, claim func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !claim() {
		select {
		case <-deadline:
			t.Fatalf("not within %v: %s", patience, what)
		case <-tick.C:
		}
	}
}
