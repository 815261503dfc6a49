package attack_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sallyport"
	"sallyport/config"
	"sallyport/packet"
	"sallyport/security/authn"
)

// patience is how long a test waits for an event that has to come.
const patience = 20 * time.Second

// site is an assembled broker under attack, with its files and its log.
type site struct {
	t    *testing.T
	srv  *sallyport.Server
	dir  string
	text string // of the configuration in force
	log  *lineBuffer

	hashes map[string]string // of passwd, by user=word
}

// accounts are the users of passwd: each one's password is "pw-" and the name.
var accounts = []string{"alice", "bob", "mallory"}

// freely is a permission file that lets the users do everything but $SYS.
const freely = `
everyone:
  - {allow: both, topic: "#"}
`

// plain is a configuration with one TCP listener for password holders; what
// is given for the listener and for the top level is added.
func plain(listener, top string) string {
	return `
listeners:
  - name: tcp
    transport: tcp
    address: "127.0.0.1:0"
    authenticators: [pw]
    policies: [perm]
` + indent(listener, "    ") + `
authenticators:
  - {name: pw, type: password_file, file: passwd}
policies:
  - {name: perm, type: permissions, file: permissions.yaml}
sys_interval: 0
hashing: {auth_failure_floor: 20ms}
` + top
}

func indent(s, by string) string {
	var b strings.Builder
	for line := range strings.SplitSeq(strings.TrimSpace(s), "\n") {
		b.WriteString(by + line + "\n")
	}
	return b.String()
}

// siege starts a broker with a configuration and a permission file, and the
// password file of the accounts. It ends with the test, which fails if the
// broker panicked, holds connections or doesn't stop.
func siege(t *testing.T, text, permissions string) *site {
	t.Helper()
	return prepare(t, text, permissions).begin()
}

// begin starts the broker over the files of s.
func (s *site) begin() *site {
	s.t.Helper()
	srv, err := sallyport.New(s.config(s.text), sallyport.Options{Log: s.log.logger()})
	if err != nil {
		s.t.Fatalf("New: %v", err)
	}
	s.srv = srv
	s.t.Cleanup(s.stop)
	if err := srv.Start(); err != nil {
		s.t.Fatalf("Start: %v", err)
	}
	return s
}

// prepare writes the files and starts nothing.
func prepare(t *testing.T, text, permissions string) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir(), text: text, log: &lineBuffer{}, hashes: map[string]string{}}
	s.write("permissions.yaml", permissions)
	s.passwords(accounts...)
	return s
}

func (s *site) stop() {
	if err := s.srv.Stop(); err != nil {
		s.t.Errorf("Stop: %v", err)
	}
	m := s.srv.Metrics()
	if n := m.Panics.Load(); n != 0 {
		s.t.Errorf("%d panics:\n%s", n, s.log.String())
	}
	if n := m.Connections.Load(); n != 0 {
		s.t.Errorf("%d connections left after Stop", n)
	}
}

// in is s for a subtest, which fails by itself.
func (s *site) in(t *testing.T) *site {
	c := *s
	c.t = t
	return &c
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

func (s *site) write(name, text string) {
	s.t.Helper()
	if err := os.WriteFile(s.path(name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// passwords writes passwd with these users; user=word gives another password.
// The hash is a cheap one, which a check takes to the pool like a dear one.
func (s *site) passwords(users ...string) {
	s.t.Helper()
	var b strings.Builder
	for _, u := range users {
		name, word, other := strings.Cut(u, "=")
		if !other {
			word = "pw-" + name
		}
		h := s.hashes[u] // an account keeps its salt, else every reload would change it
		if h == "" {
			var err error
			if h, err = authn.Hash(authn.SHA512, []byte(word), authn.Params{}); err != nil {
				s.t.Fatal(err)
			}
			s.hashes[u] = h
		}
		fmt.Fprintf(&b, "%s:%s\n", name, h)
	}
	s.write("passwd", b.String())
}

// config reads a configuration text as the file of this site.
func (s *site) config(text string) *config.Config {
	s.t.Helper()
	cfg, err := config.Parse([]byte(text), s.path("sallyport.yaml"))
	if err != nil {
		s.t.Fatalf("configuration: %v", err)
	}
	return cfg
}

// reload puts the present files in force, as SIGHUP does.
func (s *site) reload() {
	s.t.Helper()
	if err := s.srv.Reload(s.config(s.text)); err != nil {
		s.t.Fatalf("Reload: %v", err)
	}
}

func (s *site) addr(listener string) string {
	s.t.Helper()
	a := s.srv.Addrs(listener)
	if len(a) == 0 {
		s.t.Fatalf("listener %s has no address", listener)
	}
	return a[0].String()
}

// dial opens a raw connection to a TCP listener.
func (s *site) dial() *peer { s.t.Helper(); return s.dialFrom("") }

// stranger is dial from a network of its own: failures are remembered against
// where they come from, and the tests' are not to slow each other down.
func (s *site) stranger() *peer {
	s.t.Helper()
	return s.dialFrom(strangersAddress())
}

// strangersAddress is a loopback address in a network that nobody came from yet.
func strangersAddress() string {
	if runtime.GOOS != "linux" {
		return "" // no other loopback addresses: only slower
	}
	n := strangers.Add(1)
	return fmt.Sprintf("127.%d.%d.1", 1+n/250%250, 1+n%250)
}

var strangers atomic.Int64

// dialFrom is dial from a loopback address.
func (s *site) dialFrom(source string) *peer {
	s.t.Helper()
	nc, err := dialTCP(s.addr("tcp"), source)
	if err != nil {
		s.t.Fatalf("dial from %q: %v", source, err)
	}
	return newPeer(s.t, nc)
}

func dialTCP(addr, source string) (net.Conn, error) {
	d := net.Dialer{Timeout: patience}
	if source != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(source)}
	}
	return d.DialContext(context.Background(), "tcp", addr)
}

// as connects a user with a client id of the same name.
func (s *site) as(v packet.Version, user string, change ...func(*packet.Connect)) *peer {
	s.t.Helper()
	p := s.dial()
	if ack := p.connect(login(v, user, change...)); ack.Code != 0 {
		s.t.Fatalf("%s: CONNACK 0x%02x\n%s", user, byte(ack.Code), s.log.String())
	}
	return p
}

// login is the CONNECT of a user with the right password.
func login(v packet.Version, user string, change ...func(*packet.Connect)) *packet.Connect {
	c := &packet.Connect{
		Version: v, CleanStart: true, ClientID: user, HasUsername: true, Username: user,
		HasPassword: true, Password: []byte("pw-" + user),
	}
	for _, f := range change {
		f(c)
	}
	return c
}

func id(clientID string) func(*packet.Connect) {
	return func(c *packet.Connect) { c.ClientID = clientID }
}

func word(password string) func(*packet.Connect) {
	return func(c *packet.Connect) { c.Password = []byte(password) }
}

// lasting asks for a session that outlives the connection.
func lasting(c *packet.Connect) {
	c.CleanStart = false
	if c.Version == packet.V5 {
		c.Props.SessionExpiry = 3600
		c.Props.Mark(packet.PropSessionExpiry)
	}
}

func willTo(topic, payload string, retain bool) func(*packet.Connect) {
	return func(c *packet.Connect) {
		c.Will = &packet.Will{Topic: topic, Payload: []byte(payload), QoS: 1, Retain: retain}
	}
}

// peer is a client that says whatever it is told to.
type peer struct {
	t     *testing.T
	nc    net.Conn
	v     packet.Version
	buf   []byte
	inbox []message
	ids   uint16
}

type message struct {
	topic, payload string
	qos            byte
	retain, dup    bool
	id             uint16
}

func newPeer(t *testing.T, nc net.Conn) *peer {
	p := &peer{t: t, nc: nc, v: packet.V5}
	t.Cleanup(func() { _ = nc.Close() })
	return p
}

// send writes raw bytes; that the broker has gone is left to the reader to see.
func (p *peer) send(b []byte) {
	p.t.Helper()
	if err := p.trySend(b); err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
		p.t.Fatalf("send %d bytes: %v", len(b), err)
	}
}

func (p *peer) trySend(b []byte) error {
	_ = p.nc.SetWriteDeadline(time.Now().Add(patience)) // a closed connection shows itself by the write
	_, err := p.nc.Write(b)
	return err
}

// read takes the next packet off the wire.
func (p *peer) read() (packet.Header, []byte, error) {
	for {
		h, n, err := packet.ReadHeader(p.buf)
		if err != nil {
			return h, nil, err
		}
		if n > 0 && len(p.buf) >= n+h.Length {
			body := bytes.Clone(p.buf[n : n+h.Length])
			p.buf = p.buf[n+h.Length:]
			return h, body, nil
		}
		chunk := make([]byte, 32<<10)
		_ = p.nc.SetReadDeadline(time.Now().Add(patience))
		k, err := p.nc.Read(chunk)
		p.buf = append(p.buf, chunk[:k]...)
		if k == 0 && err != nil {
			return packet.Header{}, nil, err
		}
	}
}

// next is read for a packet that has to come.
func (p *peer) next() (packet.Header, []byte) {
	p.t.Helper()
	h, body, err := p.read()
	if err != nil {
		p.t.Fatalf("read: %v", err)
	}
	return h, body
}

// connect sends a CONNECT and returns its CONNACK.
func (p *peer) connect(c *packet.Connect) *packet.Connack {
	p.t.Helper()
	ack, err := p.tryConnect(c)
	if err != nil {
		p.t.Fatalf("CONNECT: %v", err)
	}
	return ack
}

func (p *peer) tryConnect(c *packet.Connect) (*packet.Connack, error) {
	p.v = c.Version
	if err := p.trySend(packet.AppendConnect(nil, c)); err != nil {
		return nil, err
	}
	h, body, err := p.read()
	if err != nil {
		return nil, err
	}
	if h.Type != packet.CONNACK {
		return nil, fmt.Errorf("got %v instead of CONNACK", h.Type)
	}
	return packet.DecodeConnack(p.v, h.Flags, body, packet.Limits{})
}

// await reads until a packet of type want comes; messages on the way go to the inbox.
func (p *peer) await(want packet.Type) (packet.Header, []byte) {
	p.t.Helper()
	for {
		h, body := p.next()
		if h.Type == want {
			return h, body
		}
		if h.Type != packet.PUBLISH {
			p.t.Fatalf("got %v %x instead of %v", h.Type, body, want)
		}
		p.inbox = append(p.inbox, p.decode(h, body))
	}
}

func (p *peer) decode(h packet.Header, body []byte) message {
	p.t.Helper()
	var m packet.Publish
	if err := packet.DecodePublish(p.v, h.Flags, body, packet.Limits{}, &m); err != nil {
		p.t.Fatalf("PUBLISH from the broker: %v", err)
	}
	return message{string(m.Topic), string(m.Payload), m.QoS, m.Retain, m.Dup, m.PacketID}
}

// message is the next application message, acknowledged.
func (p *peer) message() message {
	p.t.Helper()
	m := p.unacked()
	if m.qos == 1 {
		p.send(packet.AppendAck(nil, p.v, packet.PUBACK, &packet.Ack{PacketID: m.id}))
	}
	return m
}

// unacked is the next application message, not acknowledged.
func (p *peer) unacked() message {
	p.t.Helper()
	if len(p.inbox) == 0 {
		h, body := p.next()
		if h.Type != packet.PUBLISH {
			p.t.Fatalf("got %v %x instead of a message", h.Type, body)
		}
		return p.decode(h, body)
	}
	m := p.inbox[0]
	p.inbox = p.inbox[1:]
	return m
}

func (p *peer) packetID() uint16 {
	p.ids++
	if p.ids == 0 {
		p.ids = 1
	}
	return p.ids
}

// pub is a PUBLISH as bytes.
func pub(v packet.Version, topic, payload string, qos byte, retain bool, id uint16) []byte {
	return packet.AppendPublish(nil, v, &packet.PublishOut{
		QoS: qos, Retain: retain, Topic: topic, PacketID: id, ExpiryAt: -1, Payload: []byte(payload),
	})
}

// publish sends a message and returns the code of its acknowledgement.
func (p *peer) publish(topic, payload string, qos byte, retain bool) packet.Code {
	p.t.Helper()
	if qos == 0 {
		p.send(pub(p.v, topic, payload, 0, retain, 0))
		return 0
	}
	n := p.packetID()
	p.send(pub(p.v, topic, payload, qos, retain, n))
	want := packet.PUBACK
	if qos == 2 {
		want = packet.PUBREC
	}
	h, body := p.await(want)
	a, err := packet.DecodeAck(p.v, h.Type, h.Flags, body, packet.Limits{})
	if err != nil || a.PacketID != n {
		p.t.Fatalf("%v %x: %v", h.Type, body, err)
	}
	if qos == 2 && a.Code < 0x80 {
		p.send(packet.AppendAck(nil, p.v, packet.PUBREL, &packet.Ack{PacketID: n}))
		p.await(packet.PUBCOMP)
	}
	return a.Code
}

// subscribe asks for filters at a QoS and returns the codes.
func (p *peer) subscribe(qos byte, filters ...string) []packet.Code {
	p.t.Helper()
	s := &packet.Subscribe{PacketID: p.packetID()}
	for _, f := range filters {
		s.Filters = append(s.Filters, packet.Subscription{Filter: f, QoS: qos})
	}
	p.send(packet.AppendSubscribe(nil, p.v, s))
	h, body := p.await(packet.SUBACK)
	ack, err := packet.DecodeSubAck(p.v, packet.SUBACK, h.Flags, body, packet.Limits{})
	if err != nil {
		p.t.Fatalf("SUBACK: %v", err)
	}
	return ack.Codes
}

// allowed is subscribe that has to succeed.
func (p *peer) allowed(qos byte, filters ...string) {
	p.t.Helper()
	for i, c := range p.subscribe(qos, filters...) {
		if c >= 0x80 {
			p.t.Fatalf("subscription to %s refused with 0x%02x", filters[i], byte(c))
		}
	}
}

// ping makes sure that all that was sent before has been handled.
func (p *peer) ping() {
	p.t.Helper()
	p.send(packet.AppendPing(nil, packet.PINGREQ))
	p.await(packet.PINGRESP)
}

// ended waits for the broker to close and returns the code of its DISCONNECT, 0 if none came.
func (p *peer) ended() packet.Code {
	p.t.Helper()
	var code packet.Code
	for {
		h, body, err := p.read()
		if err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				p.t.Fatal("the broker did not close the connection")
			}
			return code
		}
		if h.Type == packet.DISCONNECT && len(body) > 0 {
			code = packet.Code(body[0])
		}
	}
}

// silentEnd waits for the broker to close and fails if it said anything.
func (p *peer) silentEnd() {
	p.t.Helper()
	_ = p.nc.SetReadDeadline(time.Now().Add(patience))
	rest, err := io.ReadAll(p.nc)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		p.t.Fatal("the broker did not close the connection")
	}
	if len(rest) > 0 {
		p.t.Fatalf("the broker said %x before it closed", rest)
	}
}

// only fails unless the next message is the given one.
func (p *peer) only(topic, payload string) {
	p.t.Helper()
	if m := p.message(); m.topic != topic || m.payload != payload {
		p.t.Fatalf("got %s %q, want %s %q", m.topic, m.payload, topic, payload)
	}
}

// eventually waits for a state that nobody announces.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	end := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// lineBuffer is a log that tests read.
type lineBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *lineBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lineBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *lineBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}
