package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport/bench"
	"sallyport/client"
	"sallyport/client/clienttest"
	"sallyport/packet"
)

// buffer is written by the command and read by the test.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// shell is a run of the command.
type shell struct {
	env            *env
	stdout, stderr *buffer
}

func newShell(t *testing.T, stdin string) *shell {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	s := &shell{stdout: new(buffer), stderr: new(buffer)}
	s.env = &env{ctx: ctx, stdin: strings.NewReader(stdin), stdout: s.stdout, stderr: s.stderr, getenv: func(string) string { return "" }}
	return s
}

func (s *shell) run(args ...string) int { return run(s.env, args) }

// at names the broker b on the command line.
func at(b *clienttest.Broker) []string {
	host, port, _ := strings.Cut(b.Addr, ":")
	return []string{"-h", host, "-p", port}
}

func TestExitCodes(t *testing.T) {
	b := clienttest.Start(t)
	refusing := clienttest.Start(t)
	refusing.Connack = func(*packet.Connect) packet.Connack { return packet.Connack{Code: packet.V3NotAuthorized} }
	refusing.Suback = func(packet.Subscription) packet.Code { return 0x80 }
	deaf := clienttest.Start(t)
	deaf.Suback = func(packet.Subscription) packet.Code { return 0x80 }
	with := func(b *clienttest.Broker, args ...string) []string {
		return append(append(args[:1:1], at(b)...), args[1:]...)
	}
	tests := []struct {
		name string
		args []string
		want int
		says string // on standard error
	}{
		{"help", []string{"--help"}, exitOK, ""},
		{"help of a command", []string{"pub", "--help"}, exitOK, ""},
		{"version", []string{"--version"}, exitOK, ""},
		{"version command", []string{"version", "--json"}, exitOK, ""},
		{"unknown command", []string{"frobnicate"}, exitUsage, "hint: "},
		{"unknown flag", []string{"pub", "--frobnicate"}, exitUsage, "sallyport pub --help"},
		{"unknown flag of a command within a command", []string{"policy", "diff", "--frobnicate"}, exitUsage, "sallyport policy diff --help"},
		{"stray argument", []string{"pub", "-t", "a", "-m", "b", "c"}, exitUsage, "unexpected argument c"},
		{"missing value", []string{"sub", "-t"}, exitUsage, "--topic"},
		{"QoS 3", []string{"pub", "-t", "a", "-m", "b", "-q", "3"}, exitUsage, "--qos"},
		{"two payloads", []string{"pub", "-t", "a", "-m", "b", "-n"}, exitUsage, "-m"},
		{"no payload", []string{"pub", "-t", "a"}, exitUsage, "no message"},
		{"no topic", []string{"pub", "-m", "a"}, exitUsage, "no topic"},
		{"wildcard in a topic", []string{"pub", "-t", "a/#", "-m", "b"}, exitUsage, "wildcard"},
		{"two passwords", []string{"pub", "-t", "a", "-n", "-u", "u", "-P", "x", "--password-env", "Y"}, exitUsage, "--password-env"},
		{"password without a user before MQTT 5", with(b, "pub", "-t", "a", "-n", "-P", "x"), exitUsage, "user name"},
		{"prompt without a terminal", with(b, "pub", "-t", "a", "-n", "-u", "u", "--password-prompt"), exitUsage, "terminal"},
		{"properties before MQTT 5", with(b, "pub", "-t", "a", "-n", "-D", "publish", "content-type", "x"), exitUsage, "-V mqttv5"},
		{"property of another packet", []string{"pub", "-t", "a", "-n", "-V", "5", "-D", "publish", "will-delay-interval", "1"}, exitUsage, "content-type"},
		{"property out of range", []string{"pub", "-t", "a", "-n", "-V", "5", "-D", "connect", "receive-maximum", "0"}, exitUsage, "1 to 65535"},
		{"half a user property", []string{"pub", "-t", "a", "-n", "-V", "5", "-D", "publish", "user-property", "k"}, exitUsage, "key and a value"},
		{"will without a topic", with(b, "pub", "-t", "a", "-n", "--will-payload", "x"), exitUsage, "--will-topic"},
		{"kept session without an identifier", with(b, "sub", "-t", "a", "-c"), exitUsage, "--id"},
		{"certificate without its key", with(b, "pub", "-t", "a", "-n", "--cert", "x.pem"), exitUsage, "--key"},
		{"URL with a password is not repeated", []string{"pub", "-L", "mqtt://u:geheim@h:x/t", "-n"}, exitUsage, "not a URL"},
		{"unknown field in a format", []string{"sub", "-t", "a", "-F", "%Q"}, exitUsage, "%Q"},
		{"authorities that can't be read", with(b, "pub", "-t", "a", "-n", "--cafile", "/nonexistent"), exitFailure, "--cafile"},
		{"nobody listens", []string{"pub", "-h", "127.0.0.1", "-p", "1", "-t", "a", "-n"}, exitFailure, "hint: is a server running"},
		{"refused", with(refusing, "pub", "-t", "a", "-n"), exitFailure, "hint: check user name and password"},
		{"every subscription refused", with(deaf, "sub", "-t", "a"), exitFailure, "refused"},
		{"nothing came in time", with(b, "sub", "-t", "a", "-W", "1"), exitTimeout, "time is up"},
		{"published", with(b, "pub", "-t", "a", "-m", "-1"), exitOK, ""},
		{"subscribed", with(b, "sub", "-t", "a", "-E"), exitOK, ""},
		{"bench without a broker", []string{"bench"}, exitUsage, "--self"},
		{"bench of an unknown scenario", []string{"bench", "flood"}, exitUsage, "flood"},
		{"bench with as many users as names", with(b, "bench", "-u", "load", "--users", "5"), exitUsage, "%d in the user name"},
		{"bench of a curve without TLS", with(b, "bench", "connect", "--tls-curve", "x25519"), exitUsage, "need TLS"},
		{"bench of an unknown curve", with(b, "bench", "connect", "--tls-curve", "p1"), exitUsage, "x25519"},
		{"bench out of bounds", with(b, "bench", "--payload", "1"), exitFailure, "payload"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newShell(t, "")
			if got := s.run(tt.args...); got != tt.want || !strings.Contains(s.stderr.String(), tt.says) {
				t.Errorf("exit code %d, want %d; standard error, which should say %q:\n%s", got, tt.want, tt.says, s.stderr)
			}
			if (tt.want == exitOK) != (s.stderr.String() == "") {
				t.Errorf("exit code %d with standard error %q", tt.want, s.stderr)
			}
			if strings.Contains(s.stderr.String()+s.stdout.String(), "geheim") {
				t.Errorf("a password in the output: %s", s.stderr)
			}
		})
	}
}

// publishing runs sub until its subscription stands, publishes, and waits.
func publishing(t *testing.T, b *clienttest.Broker, sub, pub []string, stdin string) (out string) {
	t.Helper()
	subscribed := make(chan struct{}, 16)
	b.Suback = func(f packet.Subscription) packet.Code { subscribed <- struct{}{}; return packet.Code(f.QoS) }
	s := newShell(t, "")
	done := make(chan int, 1)
	go func() { done <- s.run(append(append([]string{"sub"}, at(b)...), sub...)...) }()
	<-subscribed
	p := newShell(t, stdin)
	if code := p.run(append(append([]string{"pub"}, at(b)...), pub...)...); code != exitOK {
		t.Fatalf("pub %q: exit code %d: %s", pub, code, p.stderr)
	}
	if code := <-done; code != exitOK {
		t.Fatalf("sub %q: exit code %d: %s", sub, code, s.stderr)
	}
	return s.stdout.String()
}

func TestPubReachesSub(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("from a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	sub := func(args ...string) []string { return append([]string{"-t", "a/#", "-C", "1", "-W", "15"}, args...) }
	tests := []struct {
		name     string
		sub, pub []string
		stdin    string
		want     string
	}{
		{"a message", sub(), []string{"-t", "a/b", "-m", "hi"}, "", "hi\n"},
		{"a payload that begins with a dash", sub(), []string{"-t", "a/b", "-m", "-q"}, "", "-q\n"},
		{"an empty message", sub(), []string{"-t", "a/b", "-n"}, "", "\n"},
		{"a file", sub(), []string{"-t", "a/b", "-f", file}, "", "from a file\n"},
		{"standard input whole", sub("-N"), []string{"-t", "a/b", "-s"}, "x\ny\n", "x\ny\n"},
		{"lines, in order", sub("-C", "3", "-q", "2"), []string{"-t", "a/b", "-l", "-q", "2"}, "1\n2\n3", "1\n2\n3\n"},
		{"repeated", sub("-C", "2"), []string{"-t", "a/b", "-m", "r", "--repeat", "2", "--repeat-delay", "0.01"}, "", "r\nr\n"},
		{"verbose", sub("-v"), []string{"-t", "a/b", "-m", "hi"}, "", "a/b hi\n"},
		{"format", sub("-q", "1", "-F", `%t|%q|%l|%x|%%\t%p`), []string{"-q", "1", "-t", "a/b", "-m", "hi"}, "", "a/b|1|2|6869|%\thi\n"},
		{"MQTT 3.1", sub("-V", "mqttv31", "-q", "1"), []string{"-V", "31", "-q", "1", "-t", "a/b", "-m", "hi"}, "", "hi\n"},
		{"user properties", sub("-V", "5", "-F", "%P"), []string{"-V", "5", "-t", "a/b", "-n", "-D", "publish", "user-property", "k", "v"}, "", "k:v\n"},
		{"a URL", []string{"-t", "a/b", "-C", "1"}, []string{"-t", "a/b", "-m", "hi", "-u", "me", "-P", "secret"}, "", "hi\n"},
		{"two filters", []string{"-t", "x", "-t", "a,b", "-C", "1", "-W", "15"}, []string{"-t", "a,b", "-m", "hi"}, "", "hi\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := publishing(t, clienttest.Start(t), tt.sub, tt.pub, tt.stdin); got != tt.want {
				t.Errorf("sub printed %q, want %q", got, tt.want)
			}
		})
	}
}

func TestSubPrintsJSON(t *testing.T) {
	out := publishing(t, clienttest.Start(t), []string{"-t", "a", "-C", "2", "--json", "-V", "5"},
		[]string{"-V", "5", "-t", "a", "-l", "-D", "publish", "content-type", "x/y"}, "text\n\xff\n")
	var first, second jsonMessage
	dec := json.NewDecoder(strings.NewReader(out))
	if err := dec.Decode(&first); err != nil || dec.Decode(&second) != nil {
		t.Fatalf("not JSON: %q", out)
	}
	if first.Topic != "a" || *first.Payload != "text" || first.ContentType != "x/y" || second.Payload != nil || second.PayloadHex != "ff" {
		t.Errorf("%+v, %+v", first, second)
	}
}

func TestATerminalIsNotSteered(t *testing.T) {
	b := clienttest.Start(t)
	pub := newShell(t, "\x1b]0;owned\a\u202eevil\xff ok\n")
	if code := pub.run(append([]string{"pub", "-t", "a", "-r", "-s"}, at(b)...)...); code != exitOK {
		t.Fatal(pub.stderr)
	}
	for _, tt := range []struct {
		name string
		tty  bool
		args []string
		want string
	}{
		{"terminal", true, nil, "\\x1b]0;owned\\x07\\u202eevil\\xff ok\n\n"},
		{"terminal with --raw", true, []string{"--raw"}, "\x1b]0;owned\a\u202eevil\xff ok\n\n"},
		{"pipe", false, nil, "\x1b]0;owned\a\u202eevil\xff ok\n\n"},
	} {
		s := newShell(t, "")
		s.env.stdoutTTY = tt.tty
		if code := s.run(append(append([]string{"sub", "-t", "a", "-C", "1"}, at(b)...), tt.args...)...); code != exitOK || s.stdout.String() != tt.want {
			t.Errorf("%s: exit code %d, printed %q, want %q", tt.name, code, s.stdout, tt.want)
		}
	}
}

func TestPasswordSources(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pw")
	if err := os.WriteFile(file, []byte("geheim\nrest"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		args []string
	}{
		{"file", []string{"-u", "u", "--password-file", file}},
		{"environment", []string{"-u", "u", "--password-env", "PW"}},
		{"prompt", []string{"-u", "u", "--password-prompt"}},
		{"argument", []string{"-u", "u", "-P", "geheim"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := clienttest.Start(t)
			seen := make(chan *packet.Connect, 1)
			b.Connack = func(c *packet.Connect) packet.Connack { seen <- c; return packet.Connack{} }
			s := newShell(t, "")
			s.env.getenv = func(name string) string { return map[string]string{"PW": "geheim"}[name] }
			s.env.askPassword = func(string) ([]byte, error) { return []byte("geheim"), nil }
			if code := s.run(append(append([]string{"pub", "-d", "-t", "a", "-n"}, at(b)...), tt.args...)...); code != exitOK {
				t.Fatalf("exit code %d: %s", code, s.stderr)
			}
			if c := <-seen; c.Username != "u" || string(c.Password) != "geheim" {
				t.Errorf("CONNECT with %q, %q", c.Username, c.Password)
			}
			if strings.Contains(s.stderr.String()+s.stdout.String(), "geheim") {
				t.Errorf("the password is in the output: %s", s.stderr)
			}
		})
	}
}

func TestConnectCarriesTheFlags(t *testing.T) {
	b := clienttest.Start(t)
	seen := make(chan *packet.Connect, 1)
	b.Connack = func(c *packet.Connect) packet.Connack { seen <- c; return packet.Connack{} }
	s := newShell(t, "")
	host, port, _ := strings.Cut(b.Addr, ":")
	code := s.run("sub", "-L", "mqtt://u:p@"+host+":"+port+"/a/#", "-V", "5", "-i", "me", "-c", "-x", "60", "-k", "17", "-E",
		"--will-topic", "w", "--will-payload", "gone", "--will-qos", "1", "--will-retain", "-D", "will", "will-delay-interval", "5", "-D", "connect", "user-property", "k", "v")
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, s.stderr)
	}
	c := <-seen
	if c.Version != packet.V5 || c.ClientID != "me" || c.CleanStart || c.KeepAlive != 17 || c.Props.SessionExpiry != 60 || len(c.Props.User) != 1 ||
		c.Username != "u" || string(c.Password) != "p" {
		t.Errorf("CONNECT = %+v", c)
	}
	if w := c.Will; w == nil || w.Topic != "w" || string(w.Payload) != "gone" || w.QoS != 1 || !w.Retain || w.Props.WillDelay != 5 {
		t.Errorf("will = %+v", c.Will)
	}
}

func TestAnInterruptEndsSubInOrder(t *testing.T) {
	b := clienttest.Start(t)
	subscribed := make(chan struct{}, 1)
	b.Suback = func(packet.Subscription) packet.Code { subscribed <- struct{}{}; return 0 }
	s := newShell(t, "")
	ctx, cancel := context.WithCancelCause(t.Context())
	s.env.ctx = ctx
	done := make(chan int, 1)
	go func() { done <- s.run(append([]string{"sub", "-t", "a"}, at(b)...)...) }()
	<-subscribed
	cancel(errors.New("interrupt signal received"))
	if code := <-done; code != exitOK || s.stderr.String() != "" {
		t.Errorf("exit code %d, said %q", code, s.stderr)
	}
}

func TestSubSurvivesALostConnection(t *testing.T) {
	b := clienttest.Start(t)
	subscribed := make(chan struct{}, 2)
	b.Suback = func(packet.Subscription) packet.Code { subscribed <- struct{}{}; return 0 }
	s := newShell(t, "")
	done := make(chan int, 1)
	go func() { done <- s.run(append([]string{"sub", "-t", "a", "-C", "1"}, at(b)...)...) }()
	<-subscribed
	b.DropAll()
	<-subscribed
	if code := newShell(t, "").run(append([]string{"pub", "-t", "a", "-m", "again"}, at(b)...)...); code != exitOK {
		t.Fatal("pub failed")
	}
	if code := <-done; code != exitOK || s.stdout.String() != "again\n" || !strings.Contains(s.stderr.String(), "trying again") {
		t.Errorf("exit code %d, printed %q, said %q", code, s.stdout, s.stderr)
	}
}

func TestSubGivesUpOnlyForReasonsThatStay(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want bool
	}{
		{"a lost connection", io.EOF, false},
		{"a restart", &client.ReasonError{Packet: packet.DISCONNECT, Version: packet.V5, Code: packet.ServerShuttingDown}, false},
		{"a taken-over session", &client.ReasonError{Packet: packet.DISCONNECT, Version: packet.V5, Code: packet.SessionTakenOver}, true},
		{"a missing right", &client.ReasonError{Packet: packet.CONNACK, Version: packet.V5, Code: packet.NotAuthorized}, true},
		{"3.1.1 unavailable", &client.ReasonError{Packet: packet.CONNACK, Version: packet.V311, Code: packet.V3ServerUnavailable}, false},
		{"a server that proves nothing", fmt.Errorf("authentication: %w", client.ErrUnproved), true},
		{"3.1.1 bad password", &client.ReasonError{Packet: packet.CONNACK, Version: packet.V311, Code: packet.V3BadUserNameOrPassword}, true},
	}
	for _, tt := range tests {
		if got := final(tt.err); got != tt.want {
			t.Errorf("%s: final = %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestBenchReports(t *testing.T) {
	b := clienttest.Start(t)
	s := newShell(t, "")
	if code := s.run(append([]string{"bench", "p2p", "--json", "--messages", "50", "--pairs", "2", "-q", "1"}, at(b)...)...); code != exitOK {
		t.Fatalf("exit code %d: %s", code, s.stderr)
	}
	var r bench.Report
	if err := json.Unmarshal([]byte(s.stdout.String()), &r); err != nil || !r.OK() || r.Delivered != 100 {
		t.Errorf("%v: %s", err, s.stdout)
	}
	s = newShell(t, "")
	stopped := false
	s.env.selfBroker = func() (string, func(), error) { return b.Addr, func() { stopped = true }, nil }
	if code := s.run("bench", "--self", "--messages", "10", "--pairs", "1"); code != exitOK || !stopped || !strings.Contains(s.stdout.String(), "10 of 10 delivered") {
		t.Errorf("exit code %d, stopped %v: %s%s", code, stopped, s.stdout, s.stderr)
	}
	b = clienttest.Start(t) // the first one may still serve
	b.Deliver = func(n uint64, send func()) { send(); send() }
	s = newShell(t, "")
	if code := s.run(append([]string{"bench", "retained", "--count", "5"}, at(b)...)...); code != exitFailure || !strings.Contains(s.stdout.String(), "5 doubled") {
		t.Errorf("exit code %d for a broker that doubles: %s", code, s.stderr)
	}
}

func FuzzParseFormat(f *testing.F) {
	for _, s := range []string{"%t %p", `%%\n`, "%", `\`, "%Q", "", "%x%X%q%r%m%l%U%I%j%P%C%R%D%E%F%S"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		parts, err := parseFormat(s)
		if err == nil && len(parts) == 0 {
			t.Errorf("parseFormat(%q) is nothing", s)
		}
	})
}

func TestHintsTellARefusedConnectionFromARefusedRequest(t *testing.T) {
	for _, tt := range []struct {
		packet packet.Type
		want   string
	}{
		{packet.CONNACK, "check user name and password"},
		{packet.PUBACK, "allowed to publish there"},
		{packet.DISCONNECT, "to be connected any more"},
	} {
		err := &client.ReasonError{Packet: tt.packet, Version: packet.V5, Code: packet.NotAuthorized}
		if got := (&serverFlags{}).hintFor(err); !strings.Contains(got, tt.want) {
			t.Errorf("%v: hint %q, want %q in it", tt.packet, got, tt.want)
		}
	}
}

func TestJSONCanNotSteerATerminal(t *testing.T) {
	in := map[string]string{"client_id": "a\x1b[2J\u009b2J\u202egpj.exe\x7f\u00fc\n"}
	var b strings.Builder
	if err := printJSON(&b, in); err != nil {
		t.Fatal(err)
	}
	if needsSanitizing(b.String()) || !strings.Contains(b.String(), `\u009b2J\u202egpj.exe\u007f`+"\u00fc") {
		t.Errorf("printed %q", b.String())
	}
	var out map[string]string
	if err := json.Unmarshal([]byte(b.String()), &out); err != nil || out["client_id"] != in["client_id"] {
		t.Errorf("read again: %q, %v", out, err)
	}
}

func FuzzSanitize(f *testing.F) {
	f.Add("a\x1b[2Jb")
	f.Add("\xff\u202e\u0085\n")
	f.Fuzz(func(t *testing.T, s string) {
		out := sanitize(s)
		if needsSanitizing(out) {
			t.Errorf("sanitize(%q) = %q, which is harmful", s, out)
		}
		if !needsSanitizing(s) && out != s {
			t.Errorf("sanitize(%q) = %q, want no change", s, out)
		}
	})
}
