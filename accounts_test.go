//go:build unix

package sallyport_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sallyport"
	"sallyport/client"
	"sallyport/config"
	"sallyport/control"
	"sallyport/packet"
	"sallyport/security"
	"sallyport/security/expect"
)

// accountsConfig is a broker whose clients have accounts, and no other rights than
// their roles.
const accountsConfig = `listeners:
  - name: door
    address: "127.0.0.1:0"
    authenticators: [accounts]
    policies: [roles]
    client_id: any
authenticators:
  - {name: accounts, type: accounts, accounts: {hash: argon2id}}
policies:
  - {name: roles, type: accounts}
storage: {type: disk, dir: store}
reload: manual
control: {socket: control.sock}
sys_interval: 0s
`

// accountBed is a broker of a test with an account database.
type accountBed struct {
	t      *testing.T
	folder string
	cfg    *config.Config
	log    *output
	server *sallyport.Server
	api    *control.Caller
	ctx    context.Context

	secrets map[string]string // of accounts
}

func newAccountBed(t *testing.T, text string) *accountBed {
	t.Helper()
	b := prepareAccountBed(t)
	b.start(text)
	t.Cleanup(b.stop)
	return b
}

// prepareAccountBed is a bed that is to be started.
func prepareAccountBed(t *testing.T) *accountBed {
	t.Helper()
	b := &accountBed{t: t, folder: filepath.Join(t.TempDir(), "d"), log: new(output), secrets: map[string]string{}}
	if err := os.Mkdir(b.folder, 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	b.ctx = ctx
	return b
}

func (b *accountBed) start(text string) {
	b.t.Helper()
	path := filepath.Join(b.folder, "sallyport.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	read := func() (*config.Config, error) { return config.Load(path) }
	var err error
	if b.cfg, err = read(); err != nil {
		b.t.Fatal(err)
	}
	if b.server, err = sallyport.New(b.cfg, sallyport.Options{Log: slog.New(slog.NewTextHandler(b.log, nil)), Read: read}); err != nil {
		b.t.Fatal(err)
	}
	if err := b.server.Start(); err != nil {
		b.t.Fatal(errors.Join(err, b.server.Stop()))
	}
	if b.api, err = control.Dial(b.cfg.Control.Socket); err != nil {
		b.t.Fatal(err)
	}
}

func (b *accountBed) stop() {
	if b.server == nil {
		return
	}
	b.api.Close()
	if err := b.server.Stop(); err != nil {
		b.t.Error(err)
	}
	b.server = nil
}

func (b *accountBed) restart() {
	b.t.Helper()
	b.stop()
	b.start(accountsConfig)
}

// do calls an endpoint, which has to succeed.
func (b *accountBed) do(method, path, body string) json.RawMessage {
	b.t.Helper()
	var in any
	if body != "" {
		in = json.RawMessage(body)
	}
	out, err := b.api.Do(b.ctx, method, path, in)
	if err != nil {
		b.t.Fatalf("%s %s: %v", method, path, err)
	}
	return out
}

// role makes a role that allows everything below topics, each as "action topic".
func (b *accountBed) role(name string, rules ...string) {
	b.t.Helper()
	var list []string
	for _, r := range rules {
		action, topic, _ := strings.Cut(r, " ")
		list = append(list, fmt.Sprintf(`{"action": %q, "topic": %q}`, action, topic))
	}
	b.do("PUT", control.RolePath(name), `{"permissions": [`+strings.Join(list, ",")+`]}`)
}

// user makes an account with a secret that costs nothing to check.
func (b *accountBed) user(name, more string) {
	b.t.Helper()
	var r control.UserResult
	if err := json.Unmarshal(b.do("PUT", control.UserPath(name), `{"generate": true`+more+`}`), &r); err != nil || r.Secret == "" {
		b.t.Fatalf("no secret is made: %v", err)
	}
	b.secrets[name] = r.Secret
}

// client is what the broker knows of one.
func (b *accountBed) client(id string) (c control.Client) {
	b.t.Helper()
	if err := json.Unmarshal(b.do("GET", control.ClientPath(id), ""), &c); err != nil {
		b.t.Fatal(err)
	}
	return c
}

// person is a client of a test.
type person struct {
	*client.Client
	b    *accountBed
	got  chan string
	ack  *packet.Connack
	name string
}

// as connects with the secret that user made.
func (b *accountBed) as(name, id string, change ...func(*packet.Connect)) (*person, error) {
	p := &person{b: b, got: make(chan string, 100), name: name}
	c := packet.Connect{Version: packet.V5, ClientID: id, CleanStart: true, HasUsername: true, Username: name, HasPassword: true, Password: []byte(b.secrets[name])}
	for _, f := range change {
		f(&c)
	}
	p.Client = client.New(client.Options{
		Dial:    client.Target{Transport: client.TCP, Address: b.server.Addrs("door")[0].String()}.Dial,
		Connect: c,
		OnMessage: func(m *client.Message) error {
			p.got <- m.Topic + " " + string(m.Payload)
			return nil
		},
	})
	var err error
	if p.ack, err = p.Connect(b.ctx); err == nil {
		b.t.Cleanup(func() { _ = p.Close() }) // nothing is left to send
	}
	return p, err
}

func keptSession(c *packet.Connect) {
	c.CleanStart = false
	c.Props.SessionExpiry = 1000
	c.Props.Mark(packet.PropSessionExpiry)
}

func (b *accountBed) connected(name, id string, change ...func(*packet.Connect)) *person {
	b.t.Helper()
	p, err := b.as(name, id, change...)
	if err != nil {
		b.t.Fatalf("%s can't connect: %v", name, err)
	}
	return p
}

// refused has a client refused.
func (b *accountBed) refused(name, id string) {
	b.t.Helper()
	if _, err := b.as(name, id); err == nil {
		b.t.Errorf("%s is let in", name)
	}
}

// gone waits until the connection has ended, and holds the reason against the code.
func (p *person) gone(code packet.Code) {
	p.b.t.Helper()
	select {
	case <-p.Done():
	case <-p.b.ctx.Done():
		p.b.t.Fatalf("%s is still connected", p.name)
	}
	if e, ok := errors.AsType[*client.ReasonError](p.Err()); !ok || e.Code != code {
		p.b.t.Errorf("the connection of %s ended with %v, want code %v", p.name, p.Err(), code)
	}
}

// may reports whether p may publish to a topic now.
func (p *person) may(topic string) bool {
	p.b.t.Helper()
	code, err := p.Publish(p.b.ctx, client.Message{Topic: topic, QoS: 1, Payload: []byte("x")})
	if e, ok := errors.AsType[*client.ReasonError](err); ok {
		code, err = e.Code, nil
	}
	if err != nil {
		p.b.t.Fatal(err)
	}
	return code < 0x80
}

func (p *person) subscribes(filter string) bool {
	p.b.t.Helper()
	ack, err := p.Subscribe(p.b.ctx, packet.Subscribe{Filters: []packet.Subscription{{Filter: filter, QoS: 1}}})
	if e, ok := errors.AsType[*client.ReasonError](err); ok {
		return e.Code < 0x80
	}
	if err != nil {
		p.b.t.Fatal(err)
	}
	return ack.Codes[0] < 0x80
}

func TestAccountsHaveTheRightsOfTheirRoles(t *testing.T) {
	b := newAccountBed(t, accountsConfig)
	if !strings.Contains(b.log.String(), "there is no account") {
		t.Error("a start without accounts is not warned of")
	}
	b.refused("alice", "a")
	b.role("reader", "subscribe a/#")
	b.role("writer", "publish a/${username}/#")
	b.do("PUT", control.GroupPath("writers"), `{"roles": ["writer"]}`)
	b.user("alice", `, "groups": ["writers"]`)
	b.user("bob", `, "roles": ["reader"]`)
	b.refused("carol", "c")
	alice, bob := b.connected("alice", "a"), b.connected("bob", "b")
	if !alice.may("a/alice/1") || alice.may("a/bob/1") || alice.subscribes("a/#") {
		t.Error("alice has other rights than her group's role")
	}
	if bob.may("a/bob/1") || !bob.subscribes("a/#") {
		t.Error("bob has other rights than his role")
	}
	out := b.do("POST", "/explain", `{"client_id": "a", "action": "publish", "topic": "a/alice/1"}`)
	if !strings.Contains(string(out), "role writer, permission 1") {
		t.Errorf("the explanation does not name the role: %s", out)
	}
	if _, err := b.as("alice", "x", func(c *packet.Connect) { c.Password = []byte("wrong") }); err == nil {
		t.Error("a wrong password is right")
	}
}

func TestAChangeOfAnAccountTakesEffectAtOnce(t *testing.T) {
	b := newAccountBed(t, accountsConfig)
	b.role("reader", "subscribe #")
	b.role("writer", "publish a/#", "publish will")
	b.user("watch", `, "roles": ["reader"]`)
	watch := b.connected("watch", "watch")
	watch.subscribes("will")
	for _, tt := range []struct{ name, method, path, body string }{
		{"disabled", "POST", "/disable", ""},
		{"locked", "POST", "/lock", ""},
		{"locked for a while", "POST", "/lock", `{"until": "2099-01-01T00:00:00Z"}`},
		{"deleted", "DELETE", "", ""},
		{"of another password", "POST", "/password", `{"password": "new"}`},
		{"not valid any more", "PATCH", "", `{"valid_until": "2001-01-01T00:00:00Z"}`},
		{"not valid yet", "PATCH", "", `{"valid_from": "2098-01-01T00:00:00Z"}`},
		{"of another network", "PATCH", "", `{"addresses": ["192.0.2.0/24"]}`},
		{"of another client id", "PATCH", "", `{"client_ids": ["other"]}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b.t = t
			b.user("alice", `, "roles": ["writer"]`)
			a := b.connected("alice", "a", func(c *packet.Connect) {
				c.Will = &packet.Will{Topic: "will", Payload: []byte("of a " + tt.name + " account")}
			})
			b.do(tt.method, control.UserPath("alice")+tt.path, tt.body)
			a.gone(packet.NotAuthorized)
			b.refused("alice", "a")
			if tt.method != "DELETE" {
				b.do("DELETE", control.UserPath("alice"), "")
			}
		})
	}
	b.t = t
	b.user("last", `, "roles": ["writer"]`)
	last := b.connected("last", "last", func(c *packet.Connect) { c.Will = &packet.Will{Topic: "will", Payload: []byte("last")} })
	if err := last.Disconnect(b.ctx, &packet.Disconnect{Code: packet.DisconnectWithWill}); err != nil {
		t.Fatal(err)
	}
	if got := <-watch.got; got != "will last" {
		t.Errorf("%q is published, which should be silent", got)
	}
}

func TestRightsChangeWithTheAccount(t *testing.T) {
	b := newAccountBed(t, accountsConfig)
	b.role("x", "all x/#")
	b.role("y", "all y/${attr.site}/#")
	b.do("PUT", control.GroupPath("g"), `{"roles": ["x"]}`)
	b.user("alice", "")
	a := b.connected("alice", "a")
	step := func(name, method, path, body string, x, y bool) {
		t.Helper()
		b.do(method, path, body)
		if gotX, gotY := a.may("x/1"), a.may("y/north/1"); gotX != x || gotY != y {
			t.Errorf("%s: may x %t, y %t; want %t, %t", name, gotX, gotY, x, y)
		}
	}
	user := control.UserPath("alice")
	step("in no group", "PATCH", user, `{"comment": "x"}`, false, false)
	step("in a group", "PATCH", user, `{"add_groups": ["g"]}`, true, false)
	if !a.subscribes("x/#") {
		t.Error("alice may not subscribe to x/#")
	}
	step("the group loses its role", "PATCH", control.GroupPath("g"), `{"remove_roles": ["x"]}`, false, false)
	if c := b.client("a"); c.Subscriptions != 0 {
		t.Errorf("%d subscriptions stand that no role allows", c.Subscriptions)
	}
	step("the group has it again", "PATCH", control.GroupPath("g"), `{"add_roles": ["x"]}`, true, false)
	step("out of the group", "PATCH", user, `{"remove_groups": ["g"]}`, false, false)
	step("a role of its own", "PATCH", user, `{"add_roles": ["y"]}`, false, false)
	step("the attribute that it needs", "PATCH", user, `{"attributes": {"site": "north"}}`, false, true)
	step("another attribute", "PATCH", user, `{"attributes": {"site": "south"}}`, false, false)
	step("the role becomes wider", "PATCH", control.RolePath("y"), `{"add": [{"topic": "y/north/#"}]}`, false, true)
	step("the role denies", "PATCH", control.RolePath("y"), `{"add": [{"topic": "y/north/1", "action": "publish", "deny": true}]}`, false, false)
	step("the role is gone", "DELETE", control.RolePath("y"), `{"force": true}`, false, false)
	if log := b.log.String(); !strings.Contains(log, "subscription_revoked") || !strings.Contains(log, "accounts_changed") {
		t.Errorf("the log tells nothing of it:\n%s", log)
	}
}

func TestTheEventCountsWhatAChangeOfAccountsEnded(t *testing.T) {
	b := newAccountBed(t, accountsConfig)
	b.role("x", "all x/#")
	b.role("y", "all y/#")
	b.do("PUT", control.GroupPath("g"), `{"roles": ["x"]}`)
	b.user("alice", `, "groups": ["g"], "roles": ["y"]`)
	a := b.connected("alice", "a")
	for _, filter := range []string{"x/#", "y/#"} {
		if !a.subscribes(filter) {
			t.Fatalf("alice may not subscribe to %s", filter)
		}
	}
	user := control.UserPath("alice")
	for _, step := range []struct{ method, path, body, want string }{
		{"PATCH", user, `{"remove_groups": ["g"]}`, "disconnected=0 renewed=1 revoked=1"},
		{"POST", user + "/disable", "", "disconnected=1 renewed=0 revoked=0"},
	} {
		b.do(step.method, step.path, step.body)
		lines := strings.Split(b.log.String(), "msg=accounts_changed ")
		if last, _, _ := strings.Cut(lines[len(lines)-1], "\n"); !strings.Contains(last, step.want) {
			t.Errorf("%s: %s; want %s", step.path, last, step.want)
		}
	}
}

func TestARetainedMessageGoesByTheAccountOfItsPublisherNow(t *testing.T) {
	b := newAccountBed(t, accountsConfig)
	b.role("writer", "publish r/#")
	b.role("reader", "subscribe r/#")
	b.do("PUT", control.GroupPath("g"), `{"roles": ["writer"]}`)
	b.user("alice", `, "groups": ["g"]`)
	b.user("bob", `, "roles": ["reader"]`)
	a := b.connected("alice", "a")
	if _, err := a.Publish(b.ctx, client.Message{Topic: "r/1", QoS: 1, Retain: true, Payload: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	path := control.UserPath("alice")
	for _, step := range []struct {
		name, method, path, body string
		gets                     bool
	}{
		{"as it was", "PATCH", path, `{"comment": "x"}`, true},
		{"out of the group", "PATCH", path, `{"remove_groups": ["g"]}`, false},
		{"in the group again", "PATCH", path, `{"add_groups": ["g"]}`, true},
		{"disabled", "POST", path + "/disable", "", false},
		{"enabled", "POST", path + "/enable", "", true},
		{"the group without the role", "PATCH", control.GroupPath("g"), `{"remove_roles": ["writer"]}`, false},
		{"the group with it", "PATCH", control.GroupPath("g"), `{"add_roles": ["writer"]}`, true},
		{"deleted", "DELETE", path, "", false},
	} {
		b.do(step.method, step.path, step.body)
		bob := b.connected("bob", "b")
		if !bob.subscribes("r/#") {
			t.Fatal("bob may not subscribe")
		}
		got := ""
		if step.gets {
			select {
			case got = <-bob.got:
			case <-b.ctx.Done():
			}
		} else if bob.subscribes("other") { // it is answered behind whatever was to come
			t.Fatal("bob has other rights than his role")
		}
		select {
		case got = <-bob.got:
		default:
		}
		if (got != "") != step.gets {
			t.Errorf("%s: bob gets %q, want something: %t", step.name, got, step.gets)
		}
		if err := bob.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestASessionOfAClientThatIsAwayIsJudgedByTheAccountOfNow(t *testing.T) {
	for _, tt := range []struct {
		name    string
		change  func(b *accountBed)
		restart bool
	}{
		{"another group", func(b *accountBed) { b.do("PATCH", control.UserPath("alice"), `{"remove_groups": ["g"]}`) }, false},
		{"another group, and a restart", func(b *accountBed) { b.do("PATCH", control.UserPath("alice"), `{"remove_groups": ["g"]}`) }, true},
		{"deleted", func(b *accountBed) { b.do("DELETE", control.UserPath("alice"), "") }, false},
		{"deleted and made again without groups", func(b *accountBed) {
			b.do("DELETE", control.UserPath("alice"), "")
			b.user("alice", "")
		}, false},
		{"disabled", func(b *accountBed) { b.do("POST", control.UserPath("alice")+"/disable", "") }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newAccountBed(t, accountsConfig)
			b.role("all", "all #")
			b.do("PUT", control.GroupPath("g"), `{"roles": ["all"]}`)
			b.user("alice", `, "groups": ["g"]`)
			b.user("bob", `, "groups": ["g"]`)
			a := b.connected("alice", "a", keptSession)
			a.subscribes("secret")
			if err := a.Close(); err != nil {
				t.Fatal(err)
			}
			<-a.Done()
			tt.change(b)
			if tt.restart {
				b.restart()
			}
			if !b.connected("bob", "b").may("secret") {
				t.Fatal("bob may not publish")
			}
			c := b.client("a")
			if len(c.Groups) != 0 || c.Subscriptions != 0 {
				t.Errorf("the session has groups %v and %d subscriptions", c.Groups, c.Subscriptions)
			}
			// The old rights do not come back with the name.
			b.user("alice", "")
			b.do("POST", control.UserPath("alice")+"/enable", "")
			again := b.connected("alice", "a", keptSession)
			if again.may("x") {
				t.Error("alice may publish by the group of before")
			}
			select {
			case m := <-again.got:
				t.Errorf("alice gets %q", m)
			default:
			}
		})
	}
}

// A disabled user who comes again and again gets no session that stays, at whatever
// moment of the connecting the account was disabled.
func TestADisabledUserNeverSlipsIn(t *testing.T) {
	b := newAccountBed(t, accountsConfig)
	b.user("alice", "")
	path := control.UserPath("alice")
	stop := make(chan struct{})
	var loops sync.WaitGroup
	const clients = 3
	for i := range clients {
		loops.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if p, err := b.as("alice", fmt.Sprint("a", i)); err == nil {
					select {
					case <-p.Done():
					case <-stop:
					}
				}
			}
		})
	}
	online := func() (n int) {
		for i := range clients {
			data, err := b.api.Do(b.ctx, "GET", control.ClientPath(fmt.Sprint("a", i)), nil)
			if err != nil {
				continue // it was never there, or is gone
			}
			var c control.Client
			if err := json.Unmarshal(data, &c); err != nil {
				t.Error(err)
			}
			if c.Online {
				n++
			}
		}
		return n
	}
	for round := range 40 {
		if t.Failed() {
			break
		}
		b.do("POST", path+"/disable", "")
		for range 5 {
			if n := online(); n != 0 {
				t.Errorf("round %d: %d clients of a disabled account are connected", round, n)
			}
		}
		b.do("POST", path+"/enable", "")
		for online() == 0 && b.ctx.Err() == nil { // until one is in, so that there is somebody to end
		}
	}
	close(stop)
	loops.Wait()
}

// Logins go on while accounts change all the time, and what is in force in the end is
// what the last change said.
func TestLoginsBesideChanges(t *testing.T) {
	b := newAccountBed(t, accountsConfig)
	b.role("r", "all #")
	b.user("steady", "")
	names := []string{"u0", "u1", "u2", "u3"}
	for _, name := range names {
		b.user(name, "")
	}
	var changes, logins sync.WaitGroup
	done := make(chan struct{})
	for _, name := range names {
		changes.Go(func() {
			for i := range 25 {
				body := `{"add_roles": ["r"]}`
				if i%2 == 1 {
					body = `{"remove_roles": ["r"]}`
				}
				if _, err := b.api.Do(b.ctx, "PATCH", control.UserPath(name), json.RawMessage(body)); err != nil {
					t.Errorf("change %s: %v", name, err)
				}
			}
		})
	}
	changes.Go(func() {
		for i := range 25 {
			body := fmt.Sprintf(`{"permissions": [{"topic": "v/%d"}]}`, i)
			if _, err := b.api.Do(b.ctx, "PUT", control.RolePath("r"), json.RawMessage(body)); err != nil {
				t.Errorf("change the role: %v", err)
			}
		}
	})
	for i, name := range append(names, "steady") {
		logins.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				p, err := b.as(name, fmt.Sprint("c", i))
				if err != nil && name == "steady" {
					t.Errorf("an account that nobody changes is refused: %v", err)
					return
				}
				if err == nil {
					_ = p.Close() // nothing is left to send
				}
			}
		})
	}
	changes.Wait()
	close(done)
	logins.Wait()
	b.do("PATCH", control.UserPath("u0"), `{"add_roles": ["r"]}`)
	b.do("PATCH", control.UserPath("u1"), `{"remove_roles": ["r"]}`)
	with, without := b.connected("u0", "c0"), b.connected("u1", "c1")
	if !with.may("v/24") || with.may("v/23") || without.may("v/24") {
		t.Error("the rights are not those of the last changes")
	}
}

// What only the running broker knows is not guessed at.
func TestExplainDoesNotGuessAtAccounts(t *testing.T) {
	cfg := load(t, strings.NewReplacer("[guests]", "[db, guests]", "[all]", "[all, roles]", "type: anonymous}\n", "type: anonymous}\n  - {name: db, type: accounts}\n").
		Replace(reloadBase)+"  - {name: roles, type: accounts}\nstorage: {type: disk, dir: store}\n")
	q := security.Request{Action: security.Publish, Topic: "a"}
	for _, tt := range []struct {
		who  expect.Who
		says string
	}{
		{expect.Who{User: "alice", ClientID: "a"}, "store of the running broker"},
		{expect.Who{ClientID: "a"}, "store of the running broker"},
	} {
		x, err := sallyport.Explain(t.Context(), cfg, tt.who, q)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(x)
		if err != nil || x.Allowed || !strings.Contains(string(text), tt.says) {
			t.Errorf("%+v: allowed %t: %s", tt.who, x.Allowed, text)
		}
	}
	found, err := sallyport.Check(cfg)
	if err != nil || strings.Contains(strings.Join(found.Open, "\n"), "may publish to any topic") {
		t.Errorf("check: %+v, %v", found, err)
	}
}

func TestAPasswordThatIsSetServesSCRAMToo(t *testing.T) {
	text := strings.NewReplacer("[accounts]", "[accounts, scram]", "policies:\n  - {", "  - {name: scram, type: scram, scram: {methods: [SCRAM-SHA-256]}}\npolicies:\n  - {").Replace(accountsConfig)
	b := newAccountBed(t, text)
	var r control.UserResult
	if err := json.Unmarshal(b.do("PUT", control.UserPath("alice"), `{"password": "pencil"}`), &r); err != nil {
		t.Fatal(err)
	}
	if got := r.User.SCRAM; len(got) != 1 || got[0] != "SCRAM-SHA-256" {
		t.Errorf("it has verifiers for %v", got)
	}
	if log := b.log.String(); strings.Contains(log, "pencil") {
		t.Errorf("the log holds the password:\n%s", log)
	}
}
