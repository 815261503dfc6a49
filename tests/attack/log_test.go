package attack_test

import (
	"bufio"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"unicode"

	"sallyport"
	"sallyport/packet"
)

// logged runs a broker that logs everything in a format.
func logged(t *testing.T, format, text, permissions string) *site {
	t.Helper()
	s := prepare(t, text, permissions)
	opt := &slog.HandlerOptions{Level: slog.LevelDebug}
	log := slog.New(slog.NewTextHandler(s.log, opt))
	if format == "json" {
		log = slog.New(slog.NewJSONHandler(s.log, opt))
	}
	srv, err := sallyport.New(s.config(text), sallyport.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	s.srv = srv
	t.Cleanup(s.stop)
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	return s
}

// forgeries are what would draw in a log, or pretend to be a line of its own.
var forgeries = []string{
	"a\nlevel=INFO msg=connected user=root", "a\r\n\r\nx", "a\x1b[31mred\x1b[0m", "a\u009b31mred", "a\u0085next", "a\u2028next",
	"a\" msg=\"connected", "a\tb", "a\u202egnp", "a\x07bell", "a\x7fdel", `a\nb`, "a' OR 1=1 --", "=", "{}", "a\u200bb",
}

func TestNamesForgeNoLogLine(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			s := logged(t, format, plain("", ""), guarded)
			for _, bad := range forgeries {
				for _, c := range []*packet.Connect{
					login(packet.V5, "alice", id(bad)), login(packet.V311, bad), login(packet.V5, "bob", willTo(bad, "x", false)),
					login(packet.V5, "bob", word("wrong"), id(bad)),
				} {
					p := s.stranger()
					p.send(packet.AppendConnect(nil, c))
					_, _, _ = p.read() // whatever it is
					_ = p.nc.Close()
				}
				p := s.as(packet.V5, "bob", id("b"))
				p.send(pub(packet.V5, "alice/"+bad, "x", 0, true, 0))
				_, _, _ = p.tryPing()
				p = s.as(packet.V5, "bob", id("b"))
				p.send(packet.AppendSubscribe(nil, packet.V5, &packet.Subscribe{PacketID: 1, Filters: []packet.Subscription{{Filter: "alice/" + bad}}}))
				_, _, _ = p.read()
				p = s.as(packet.V5, "bob", id("b"))
				p.send(packet.AppendDisconnect(nil, packet.V5, &packet.Disconnect{Code: 4, Props: reason(bad)}))
				_, _, _ = p.read()
			}
			lines := bufio.NewScanner(strings.NewReader(s.log.String()))
			lines.Buffer(nil, 1<<20)
			n := 0
			for lines.Scan() {
				n++
				line := lines.Text()
				for _, r := range line {
					if unicode.IsControl(r) {
						t.Errorf("a raw %U in the log: %q", r, line)
						break
					}
				}
				ok := strings.HasPrefix(line, "time=") && strings.Count(line, " msg=") >= 1
				if format == "json" {
					var v map[string]any
					ok = json.Unmarshal([]byte(line), &v) == nil
				}
				if !ok || strings.HasPrefix(line, "level=") {
					t.Errorf("a line that the broker did not write: %q", line)
				}
			}
			if n < len(forgeries) {
				t.Errorf("only %d lines", n)
			}
		})
	}
}

func reason(text string) (p packet.Properties) {
	p.ReasonString = text
	p.Mark(packet.PropReasonString)
	return p
}

func (p *peer) tryPing() (packet.Header, []byte, error) {
	_ = p.trySend(packet.AppendPing(nil, packet.PINGREQ)) // the answer tells
	return p.read()
}

func TestALongNameDoesNotFillTheLog(t *testing.T) {
	s := siege(t, plain("", ""), guarded)
	long := strings.Repeat("n", 15<<10)
	before := len(s.log.String())
	for range 5 {
		p := s.stranger()
		p.connect(login(packet.V5, "alice", func(c *packet.Connect) { c.Username = long }))
		p.ended()
	}
	if grown := len(s.log.String()) - before; grown > 5*4096 {
		t.Errorf("5 refused CONNECTs wrote %d bytes of log", grown)
	}
	p := s.as(packet.V5, "bob")
	before = len(s.log.String())
	filters := make([]string, 256)
	for i := range filters {
		filters[i] = "alice/" + strings.Repeat("f", 1000)
	}
	for range 20 {
		p.subscribe(0, filters...)
		for range 50 {
			p.publish("alice/"+long[:1000], "x", 1, false)
		}
	}
	if grown := len(s.log.String()) - before; grown > 256<<10 {
		t.Errorf("5120 refused filters and 1000 refused messages of one connection wrote %d KiB of log", grown>>10)
	}
}

func TestNoSecretIsEverLogged(t *testing.T) {
	t.Parallel()
	s := everyDoor(t, "", "")
	const secret = "Tr0ub4dor"
	stranger := func(c *packet.Connect) *peer {
		p := s.stranger()
		p.v = c.Version
		p.send(packet.AppendConnect(nil, c))
		_, _, _ = p.read()
		return p
	}
	stranger(login(packet.V5, "alice", word(secret)))
	stranger(login(packet.V311, "nobody", word(secret)))
	stranger(login(packet.V5, "alice", word(secret), id("")))
	stranger(login(packet.V5, "alice", word(secret), willTo("a/#", secret, false)))
	stranger(login(packet.V5, "alice", word(secret), func(c *packet.Connect) {
		c.Props.AuthMethod, c.Props.AuthData = "PLAIN", []byte(secret)
		c.Props.Mark(packet.PropAuthMethod, packet.PropAuthData)
	}))
	cut := s.dial()
	frame := packet.AppendConnect(nil, login(packet.V5, "alice", word(secret)))
	cut.send(append(frame[:len(frame)-2], 0xFF)) // malformed where the password stands
	_ = cut.nc.Close()
	for _, path := range []string{"/mqtt", "/other"} {
		w := &webConn{Conn: s.socket("ws")}
		w.upgrade(request(path+"?token="+secret, map[string]string{"Authorization": "Bearer " + secret, "Cookie": "s=" + secret}))
		p := newPeer(t, w)
		p.send(packet.AppendConnect(nil, login(packet.V5, "mallory", word(secret))))
		_, _, _ = p.read()
	}
	a := s.as(packet.V5, "alice", willTo("w", secret, false))
	a.allowed(1, "#")
	a.publish("x", secret, 1, true)
	a.message()
	a.publish("$SYS/x", secret, 1, false)
	big := s.as(packet.V5, "bob")
	big.send(packet.AppendPublish(nil, packet.V5, &packet.PublishOut{Topic: "t", Alias: 99, ExpiryAt: -1, Payload: []byte(secret)}))
	big.ended()
	s.passwords("alice", "bob="+secret)
	s.reload()
	s.write("passwd", "alice:"+secret+"\n")
	if err := s.srv.Reload(s.config(s.text)); err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("the error of a broken password file: %v", err)
	}
	_ = a.nc.Close()
	if err := s.srv.Stop(); err != nil {
		t.Fatal(err)
	}
	log := s.log.String()
	for _, word := range []string{secret, "pw-alice", "pw-bob", "token=", "Bearer", "$6$"} {
		if i := strings.Index(log, word); i >= 0 {
			t.Errorf("%q is in the log: %q", word, log[max(0, i-200):min(len(log), i+60)])
		}
	}
	for _, event := range []string{"connected", "connect_refused", "disconnected", "publish_denied"} {
		if !strings.Contains(log, "msg="+event) {
			t.Errorf("the log has no %s: it proves nothing", event)
		}
	}
}
