package sallyport

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/client"
	"sallyport/config"
	"sallyport/packet"
	"sallyport/security/authn/accounts"
	"sallyport/store"
	"sallyport/store/disk"
)

// A loss of power between the change of an account and that of the sessions leaves
// these behind: they are judged anew at the start.
func TestASessionOlderThanItsAccountIsJudgedAtTheStart(t *testing.T) {
	dir := t.TempDir()
	path, kept := filepath.Join(dir, "sallyport.yaml"), filepath.Join(dir, "store")
	text := strings.NewReplacer("DIR", kept).Replace(`listeners:
  - {name: door, address: "127.0.0.1:0", authenticators: [accounts], policies: [roles]}
authenticators:
  - {name: accounts, type: accounts}
policies:
  - {name: roles, type: accounts}
storage: {type: disk, dir: DIR}
`)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	start := func() *Server {
		cfg, err := config.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		s, err := New(cfg, Options{Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := start()
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := first.accounts.AddRole(accounts.Role{Name: "r", Permissions: []accounts.Permission{{Topic: "#"}}}, accounts.How{}); err != nil {
		t.Fatal(err)
	}
	if _, err := first.accounts.AddUser(accounts.User{Name: "alice", Roles: []string{"r"}}, accounts.How{}); err != nil {
		t.Fatal(err)
	}
	secret, _, err := first.accounts.GenerateSecret("alice", accounts.How{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	hello := packet.Connect{Version: packet.V5, ClientID: "a", HasUsername: true, Username: "alice", HasPassword: true, Password: []byte(secret)}
	hello.Props.SessionExpiry = 1000
	hello.Props.Mark(packet.PropSessionExpiry)
	c := client.New(client.Options{Dial: client.Target{Transport: client.TCP, Address: first.Addrs("door")[0].String()}.Dial, Connect: hello})
	if _, err := c.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Subscribe(ctx, packet.Subscribe{Filters: []packet.Subscription{{Filter: "secret", QoS: 1}}}); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}

	// The account changes, and nobody tells the session.
	d, err := disk.Open(disk.Options{Dir: kept})
	if err != nil {
		t.Fatal(err)
	}
	db, err := accounts.Open(accounts.Options{Keeper: &accountKeeper{store: store.NewSwap(d)}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ChangeUser("alice", accounts.How{}, func(u *accounts.User) error { u.Roles = nil; return nil }); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}

	second := start()
	defer func() {
		if err := second.Stop(); err != nil {
			t.Error(err)
		}
	}()
	who, online, ok := second.broker.ClientPrincipal("a")
	if !ok || online || len(who.Roles) != 0 {
		t.Fatalf("the session is %+v, %t", who, ok)
	}
	if n := second.broker.ClientSubscriptions("a"); n != 0 {
		t.Errorf("%d subscriptions stand", n)
	}
}

// Logs, traces and explanations name an authenticator as the configuration does.
func TestAnAuthenticatorGoesByItsName(t *testing.T) {
	for _, kind := range []config.AuthenticatorType{config.Anonymous, config.UnixPeer} {
		a, err := (&Server{}).buildAuthenticator(nil, nil, config.Authenticator{Name: "guests", Type: kind})
		if err != nil || a.Name() != "guests" {
			t.Errorf("%v goes by another name: %v, %v", kind, a, err)
		}
	}
}

func TestEveryMistakeOfPrepareIsToldWithItsPlace(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "passwd"), []byte("a:$s256$AAAAAAAAAAAAAAAAAAAAAA==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(folder, "sallyport.yaml")
	if err := os.WriteFile(path, []byte(`listeners: [{name: l, address: "127.0.0.1:0", authenticators: [p], policies: [all]}]
policies: [{name: all, type: allow_all}]
authenticators:
  - name: p
    type: password_file
    file: passwd
    prepare:
      - {set: usrname, from: x}
      - {set: username, from: "${username}", lower: true}
      - {set: password, from: "${password}", match: "("}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Check(cfg)
	for _, want := range []string{":8:9: authenticators[0].prepare[0]: set must be", ":10:9: authenticators[0].prepare[2]: match: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %s in it", err, want)
		}
	}
}
