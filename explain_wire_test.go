package sallyport_test

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/config"
	"sallyport/packet"
	"sallyport/security"
	"sallyport/security/expect"
)

const wireConfig = `listeners:
  - {name: rules, address: "127.0.0.1:0", authenticators: [anyone], policies: [permissions]}
  - {name: lower, address: "127.0.0.1:0", authenticators: [anyone], policies: [permissions], on_denied_qos: downgrade}
  - {name: acl, address: "127.0.0.1:0", authenticators: [anyone], policies: [strict], client_id_prefixes: [dev-]}
authenticators:
  - {name: anyone, type: anonymous, believe_username: true}
policies:
  - {name: permissions, type: permissions, file: permissions.yaml}
  - {name: strict, type: mosquitto_acl, file: acl, strict: true}
`

const wirePermissions = `everyone:
  - {allow: publish, topic: "a/#", qos: [0, 1]}
  - {deny: publish, topic: "+/secret"}
  - {deny: publish, topic: "a/b", retain: required}
  - {allow: subscribe, topic: "a/+", qos: [0, 1]}
  - {allow: subscribe, topic: "jobs", group: workers}
  - {allow: subscribe, topic: "own/${username}/#"}
  - {allow: publish, topic: "own/${clientid}"}
users:
  mallory:
    permissions: [{deny: connect}]
`

const wireACL = `topic read a/#
user alice
topic readwrite a/+
topic deny a/secret
pattern write own/%c/#
`

// TestExplainAgreesWithTheWire asks a broker as a client does, and compares each
// answer with what is explained without it.
func TestExplainAgreesWithTheWire(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"sallyport.yaml": wireConfig, "permissions.yaml": wirePermissions, "acl": wireACL} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := config.Load(filepath.Join(dir, "sallyport.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := sallyport.New(cfg, sallyport.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	j, err := sallyport.NewJudge(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{judge: j, rnd: rand.New(rand.NewPCG(5, 6))}
	for _, who := range []expect.Who{
		{ClientID: "dev-1", User: "alice"}, {ClientID: "dev-2"}, {ClientID: "other", User: "bob"}, {ClientID: "dev-3", User: "mallory"}, {ClientID: "dev+4", User: "alice"},
	} {
		for _, l := range []string{"rules", "lower", "acl"} {
			there := who
			there.Listener = l
			there.ClientID += "-" + l // a session belongs to who made it
			w.compare(t, s.Addrs(l)[0].String(), there)
		}
	}
	if w.allowed < 50 || w.refused < 50 {
		t.Errorf("%d allowed and %d refused: that shows little", w.allowed, w.refused)
	}
}

// wire compares a broker's answers with a Judge's.
type wire struct {
	judge            *sallyport.Judge
	rnd              *rand.Rand
	allowed, refused int
}

func (w *wire) check(t *testing.T, who expect.Who, q security.Request, code packet.Code) {
	t.Helper()
	x, err := w.judge.Explain(t.Context(), who, q)
	if err != nil {
		t.Fatal(err)
	}
	if x.Allowed {
		w.allowed++
	} else {
		w.refused++
	}
	if x.Allowed != (code < 0x80) {
		t.Errorf("%s of %+v: the broker answers %v, explained is %v (%s)", expect.Text(&q), who, code, x.Allowed, x.Why())
	}
	if granted := (*byte)(nil); q.Action == security.Subscribe && x.Allowed {
		if granted = x.Decision.Verdict.GrantedQoS; granted == nil || packet.Code(*granted) != code {
			t.Errorf("%s of %+v: the broker grants %v, explained is %v", expect.Text(&q), who, code, granted)
		}
	}
}

func (w *wire) compare(t *testing.T, addr string, who expect.Who) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	hello := packet.Connect{Version: packet.V5, ClientID: who.ClientID, CleanStart: true, HasUsername: who.User != "", Username: who.User}
	c := client.New(client.Options{Connect: hello, Dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}})
	defer func() { _ = c.Close() }() // nothing is under way any more
	ack, err := c.Connect(ctx)
	code := packet.Code(0x80)
	if err == nil {
		code = ack.Code
	}
	w.check(t, who, security.Request{Action: security.Connect}, code)
	if err != nil {
		return
	}
	own := "own/" + strings.ReplaceAll(who.ClientID, "+", "")
	names := []string{"a", "a/b", "a/secret", "b/secret", "a/b/c", "own/alice/x", own, own + "/x", "$SYS/a", "jobs"}
	filters := []string{"a/+", "a/#", "a/b", "jobs", "$share/workers/jobs", "$share/others/jobs", "own/alice/#", "own/#", "#", "$share/g/a/b"}
	for range 30 {
		q := asked(t, security.Publish, names[w.rnd.IntN(len(names))], byte(1+w.rnd.IntN(2)))
		q.Retain = w.rnd.IntN(3) == 0
		code, err := c.Publish(ctx, client.Message{Topic: q.Topic, QoS: q.QoS, Retain: q.Retain, Payload: []byte("x")})
		if refused, ok := errors.AsType[*client.ReasonError](err); ok {
			code = refused.Code
		} else if err != nil {
			t.Fatal(err)
		}
		w.check(t, who, q, code)
		filter := filters[w.rnd.IntN(len(filters))]
		q = asked(t, security.Subscribe, filter, byte(w.rnd.IntN(3)))
		suback, err := c.Subscribe(ctx, packet.Subscribe{Filters: []packet.Subscription{{Filter: filter, QoS: q.QoS}}})
		if err != nil {
			t.Fatal(err)
		}
		w.check(t, who, q, suback.Codes[0])
	}
}

func asked(t *testing.T, action security.Action, topic string, qos byte) security.Request {
	t.Helper()
	q, err := expect.Ask{Action: action, Topic: topic, QoS: qos}.Request()
	if err != nil {
		t.Fatal(err)
	}
	return q
}
