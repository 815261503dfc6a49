//go:build unix

package sallyport_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net/http"
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
	"sallyport/security/authn"
)

// ctlConfig is a broker with one user, whose refusals have ids.
const ctlConfig = `listeners:
  - name: door
    address: "127.0.0.1:0"
    authenticators: [passwords]
    policies: [permissions]
    on_denied_publish: drop
authenticators:
  - {name: passwords, type: password_file, file: passwd}
policies:
  - {name: permissions, type: permissions, file: permissions.yaml}
mqtt: {deny_reason: id}
reload: manual
control: {socket: control.sock}
`

const ctlPermissions = `users:
  alice:
    permissions:
      - {allow: both, topic: "ok/#"}
`

// running is a broker of a test, with the way to ask it.
type running struct {
	folder string
	addr   string
	log    *output
	api    *control.Caller
	hash   string // of alice's password
	ctx    context.Context
}

// output is a log that a test reads.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

const alicePassword = "correct horse"

func (r *running) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(r.folder, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func startWithControl(t *testing.T, options sallyport.Options) *running {
	t.Helper()
	r := &running{folder: filepath.Join(t.TempDir(), "d"), log: new(output)}
	if err := os.Mkdir(r.folder, 0o700); err != nil {
		t.Fatal(err)
	}
	hash, err := authn.Hash(authn.PBKDF2SHA512, []byte(alicePassword), authn.Params{Iterations: 1000})
	if err != nil {
		t.Fatal(err)
	}
	r.hash = hash
	r.write(t, "passwd", "alice:"+hash+"\n")
	r.write(t, "permissions.yaml", ctlPermissions)
	r.write(t, "sallyport.yaml", ctlConfig)
	path := filepath.Join(r.folder, "sallyport.yaml")
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	options.Log, options.Version = slog.New(slog.NewTextHandler(r.log, nil)), "test 1"
	s, err := sallyport.New(cfg, options)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(errors.Join(err, s.Stop()))
	}
	socket := filepath.Join(r.folder, "control.sock")
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(socket); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after Stop the socket is there: %v", err)
		}
	})
	r.addr = s.Addrs("door")[0].String()
	if r.api, err = control.Dial(socket); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.api.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	r.ctx = ctx
	return r
}

// reading is how the broker of r reads its configuration again.
func reading(r **running) func() (*config.Config, error) {
	return func() (*config.Config, error) { return config.Load(filepath.Join((*r).folder, "sallyport.yaml")) }
}

// connect is alice with a session that is kept.
func (r *running) connect(t *testing.T, id string) *client.Client {
	t.Helper()
	hello := packet.Connect{
		Version: packet.V5, ClientID: id, CleanStart: true, HasUsername: true, Username: "alice", HasPassword: true, Password: []byte(alicePassword),
	}
	hello.Props.SessionExpiry = 600
	hello.Props.Mark(packet.PropSessionExpiry)
	c := client.New(client.Options{Dial: client.Target{Transport: client.TCP, Address: r.addr}.Dial, Connect: hello})
	if _, err := c.Connect(r.ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // it may be closed already
	return c
}

// ask calls an endpoint, and sees to it that its answer holds no secret.
func ask[T any](t *testing.T, r *running, method, path string, body any) (out T, err error) {
	t.Helper()
	data, err := r.api.Do(r.ctx, method, path, body)
	told := string(data)
	if err != nil {
		told += err.Error()
	}
	for _, secret := range []string{alicePassword, r.hash, r.hash[len(r.hash)-20:]} {
		if strings.Contains(told, secret) {
			t.Errorf("%s %s tells %q", method, path, secret)
		}
	}
	if err != nil {
		return out, err
	}
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return out, nil
}

func explains(id, action, topic string) control.ExplainRequest {
	return control.ExplainRequest{ClientID: id, Action: action, Topic: topic}
}

func TestControlExplainsConnectedAndAwayClients(t *testing.T) {
	r := startWithControl(t, sallyport.Options{})
	phone, tablet := r.connect(t, "phone"), r.connect(t, "tablet")
	sub, err := tablet.Subscribe(r.ctx, packet.Subscribe{Filters: []packet.Subscription{{Filter: "ok/#", QoS: 1}}})
	if err != nil || sub.Codes[0] != 1 {
		t.Fatalf("SUBACK %v, %v", sub, err)
	}
	if err := tablet.Disconnect(r.ctx, &packet.Disconnect{}); err != nil {
		t.Fatal(err)
	}
	<-tablet.Done()
	for _, tt := range []struct {
		name   string
		ask    control.ExplainRequest
		online bool
		want   bool
	}{
		{"a connected client may", explains("phone", "publish", "ok/1"), true, true},
		{"a connected client may not", explains("phone", "publish", "other"), true, false},
		{"its subscription", explains("phone", "subscribe", "$share/g/ok/#"), true, true},
		{"its connection", explains("phone", "connect", ""), true, true},
	} {
		got, err := ask[control.ExplainResult](t, r, "POST", "/explain", tt.ask)
		if err != nil || got.Allowed != tt.want || got.Online == nil || *got.Online != tt.online || got.Client.User != "alice" {
			t.Errorf("%s: %+v, %v", tt.name, got, err)
		}
	}
	// The connection's end and the broker's notice of it are two things.
	var got control.Client
	for range 2000 {
		if got, err = ask[control.Client](t, r, "GET", control.ClientPath("tablet"), nil); err != nil || !got.Online {
			break
		}
	}
	if err != nil || got.Online || got.Subscriptions != 1 || got.Realm != "passwords" {
		t.Errorf("a client that is away: %+v, %v", got, err)
	}
	away, err := ask[control.ExplainResult](t, r, "POST", "/explain", explains("tablet", "receive", "ok/1"))
	if err != nil || !away.Allowed || *away.Online {
		t.Errorf("a client that is away: %+v, %v", away, err)
	}
	_, err = ask[control.ExplainResult](t, r, "POST", "/explain", explains("watch", "connect", ""))
	if e, ok := errors.AsType[*control.Error](err); !ok || e.Status != http.StatusNotFound {
		t.Errorf("an unknown client: %v", err)
	}
	var st control.Status
	for range 2000 { // the count falls after that
		if st, err = ask[control.Status](t, r, "GET", "/status", nil); err != nil || st.Connections == 1 {
			break
		}
	}
	if err != nil || st.Version != "test 1" || st.Connections != 1 || st.Sessions != 2 || len(st.Listeners) != 1 || st.Listeners[0].Addresses[0] != r.addr ||
		st.Listeners[0].Policies[0] != "permissions" {
		t.Errorf("status: %+v, %v", st, err)
	}
	if err := phone.Err(); err != nil {
		t.Errorf("asking ended the client: %v", err)
	}
}

func TestControlFindsTheDecisionThatAClientWasTold(t *testing.T) {
	var r *running
	r = startWithControl(t, sallyport.Options{Read: reading(&r)})
	phone := r.connect(t, "phone")
	p, err := phone.Start(r.ctx, client.Message{Topic: "other", QoS: 1, Payload: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Wait(r.ctx)
	refusal, ok := errors.AsType[*client.ReasonError](err)
	if !ok || refusal.Code != packet.NotAuthorized {
		t.Fatalf("PUBLISH to what no rule allows: %v", err)
	}
	words := strings.Fields(refusal.Reason)
	if len(words) == 0 {
		t.Fatalf("the reason string is %q, want an id in it", refusal.Reason)
	}
	id := words[len(words)-1]
	got, err := ask[control.DecisionResult](t, r, "GET", control.DecisionPath(id), nil)
	if err != nil || got.ID != id || got.Now.Allowed || got.Changed || got.Now.Request.Topic != "other" || got.Now.Request.QoS != 1 {
		t.Fatalf("decision %s: %+v, %v", id, got, err)
	}
	if !strings.Contains(r.log.String(), id) {
		t.Errorf("the log doesn't have %s: %s", id, r.log)
	}
	r.write(t, "permissions.yaml", strings.ReplaceAll(ctlPermissions, "ok/#", "#"))
	if _, err := ask[control.ReloadResult](t, r, "POST", "/reload", nil); err != nil {
		t.Fatal(err)
	}
	got, err = ask[control.DecisionResult](t, r, "GET", control.DecisionPath(id), nil)
	if err != nil || !got.Now.Allowed || !got.Changed || got.Then.Effect != "deny" {
		t.Errorf("after the rule was added: %+v, %v", got, err)
	}
}

func TestControlReloadLeavesTheOldWhereTheNewIsWrong(t *testing.T) {
	var r *running
	r = startWithControl(t, sallyport.Options{Read: reading(&r)})
	r.connect(t, "phone")
	before, err := ask[control.Status](t, r, "GET", "/status", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.write(t, "permissions.yaml", "users:\n  alice:\n    permissions:\n      - {allow: everything, topic: \"#\"}\n")
	_, err = ask[control.ReloadResult](t, r, "POST", "/reload", nil)
	e, ok := errors.AsType[*control.Error](err)
	if !ok || e.Code != "reload_refused" || len(e.Problems) != 1 || !strings.HasSuffix(e.Problems[0].File, "permissions.yaml") || e.Problems[0].Line != 4 {
		t.Fatalf("reload of a broken file: %v, %+v", err, e)
	}
	got, err := ask[control.ExplainResult](t, r, "POST", "/explain", explains("phone", "publish", "ok/1"))
	if err != nil || !got.Allowed || got.PolicyGeneration != before.PolicyGeneration {
		t.Errorf("after the refused reload: %+v, %v", got, err)
	}
	r.write(t, "sallyport.yaml", strings.Replace(ctlConfig, "control.sock", "other.sock", 1))
	r.write(t, "permissions.yaml", ctlPermissions)
	if _, err = ask[control.ReloadResult](t, r, "POST", "/reload", nil); err == nil || !strings.Contains(r.log.String(), "can't change control.socket") {
		t.Errorf("moving the socket by a reload: %v", err)
	}
	r.write(t, "sallyport.yaml", ctlConfig)
	r.write(t, "permissions.yaml", strings.ReplaceAll(ctlPermissions, "ok/#", "new/#"))
	done, err := ask[control.ReloadResult](t, r, "POST", "/reload", nil)
	if err != nil || done.PolicyGeneration <= before.PolicyGeneration {
		t.Fatalf("reload: %+v, %v", done, err)
	}
	got, err = ask[control.ExplainResult](t, r, "POST", "/explain", explains("phone", "publish", "ok/1"))
	if err != nil || got.Allowed || got.PolicyGeneration != done.PolicyGeneration {
		t.Errorf("after the reload: %+v, %v", got, err)
	}
	if n := strings.Count(r.log.String(), "msg=control_action action=reload"); n != 3 {
		t.Errorf("%d reloads in the log, want 3: %s", n, r.log)
	}
	without := startWithControl(t, sallyport.Options{})
	if _, err = ask[control.ReloadResult](t, without, "POST", "/reload", nil); !strings.Contains(err.Error(), "no way to read") {
		t.Errorf("reload without a reader: %v", err)
	}
}

func TestControlPurgesRetainedMessages(t *testing.T) {
	r := startWithControl(t, sallyport.Options{})
	phone := r.connect(t, "phone")
	for _, topic := range []string{"ok/1", "ok/2", "ok/3"} {
		if _, err := phone.Publish(r.ctx, client.Message{Topic: topic, QoS: 1, Retain: true, Payload: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	alice, bob := "alice", "bob"
	for _, tt := range []struct {
		name string
		ask  control.PurgeRequest
		want int
	}{
		{"somebody else's", control.PurgeRequest{PublishedBy: &bob}, 0},
		{"counted", control.PurgeRequest{PublishedBy: &alice, DryRun: true}, 3},
		{"removed", control.PurgeRequest{PublishedBy: &alice}, 3},
		{"gone", control.PurgeRequest{PublishedBy: &alice}, 0},
	} {
		if got, err := ask[control.PurgeResult](t, r, "POST", "/retained/purge", tt.ask); err != nil || got.Messages != tt.want {
			t.Errorf("%s: %+v, %v, want %d", tt.name, got, err, tt.want)
		}
	}
}

func TestAStartWithAFolderOpenToOthersIsRefused(t *testing.T) {
	folder := t.TempDir()
	if err := os.Chmod(folder, 0o777); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "sallyport.yaml")
	if err := os.WriteFile(path, []byte(reloadBase+"control: {socket: control.sock}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := sallyport.New(cfg, sallyport.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Start(), s.Stop()); err == nil || !strings.Contains(err.Error(), "others can write") {
		t.Errorf("Start = %v, want it refused", err)
	}
	found, err := sallyport.Check(cfg)
	if err != nil || !strings.Contains(strings.Join(found.Warnings, "\n"), "others can write") {
		t.Errorf("Check = %+v, %v, want a warning", found, err)
	}
}
