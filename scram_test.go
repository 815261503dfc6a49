package sallyport

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"sallyport/config"
	"sallyport/internal/scram"
	"sallyport/security"
	"sallyport/security/authn"
	"sallyport/security/authn/accounts"
	"sallyport/security/authn/challenge"
	"sallyport/store"
)

// scramLogin leads a whole exchange of a user through a service's chain.
func scramLogin(t *testing.T, s *authn.Service, name, password string) (*security.Principal, error) {
	t.Helper()
	c, err := scram.NewClient(scram.ClientOptions{Method: scram.Method{Hash: scram.SHA256}, Name: name, Password: password})
	if err != nil {
		t.Fatal(err)
	}
	n, ok := s.Negotiate(&authn.Credentials{Listener: "l", ClientID: "c", AuthMethod: "SCRAM-SHA-256"})
	if !ok {
		t.Fatal("the method is not served")
	}
	m, err := c.First()
	for range 3 {
		if err != nil {
			t.Fatal(err)
		}
		type said struct {
			reply []byte
			p     *security.Principal
			err   error
		}
		out := make(chan said, 1)
		n.Step(m, func(reply []byte, p *security.Principal, err error) { out <- said{reply, p, err} })
		a := <-out
		if a.err != nil || a.p != nil {
			return a.p, a.err
		}
		m, _, err = c.Next(a.reply)
	}
	t.Fatal("the exchange does not end")
	return nil, nil
}

func TestSCRAMOfTheAccountDatabase(t *testing.T) {
	db, err := accounts.Open(accounts.Options{
		Keeper:  &accounts.Memory{},
		Hashing: accounts.Hashing{Algorithm: authn.PBKDF2SHA512, Params: authn.Params{Iterations: 1000}, SCRAM: []string{"SCRAM-SHA-256"}, Iterations: scram.MinIterations},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	how := accounts.How{}
	for _, name := range []string{"alice", "bare"} {
		if _, err := db.AddUser(accounts.User{Name: name, Kind: accounts.Person, Groups: []string{}}, how); err != nil {
			t.Fatal(err)
		}
	}
	set := func(password string) {
		if _, err := db.SetPassword("alice", accounts.NewPassword{Plain: []byte(password)}, how); err != nil {
			t.Fatal(err)
		}
	}
	set("wonderland")
	d := databaseVerifiers{db}
	a, err := challenge.New(challenge.Options{
		Name: "scram", Lookup: d.Verifier, Generation: d.Generation, Iterations: scram.MinIterations,
		Secret: func() []byte { return bytes.Repeat([]byte{1}, scram.MinSecret) },
	})
	if err != nil {
		t.Fatal(err)
	}
	chain, err := authn.NewChain(authn.ChainOptions{
		Members: []authn.Member{{Authenticator: a, Account: authn.AccountRequired}}, Accounts: db,
	})
	if err != nil {
		t.Fatal(err)
	}
	pool, err := authn.NewPool(authn.PoolOptions{Workers: 1, Memory: 64 << 20, Queue: 10})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	s, err := authn.NewService(authn.ServiceOptions{
		Pool: pool, Chains: map[string]*authn.Chain{"l": chain}, Delay: authn.DelayOptions{Free: 1000},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	refused := func(what, name, password, reason string) {
		t.Helper()
		p, err := scramLogin(t, s, name, password)
		r, ok := errors.AsType[*authn.Refused](err)
		if p != nil || !ok || !strings.Contains(r.Reason, reason) {
			t.Errorf("%s: %v, %v, want a refusal with %q", what, p, err, reason)
		}
	}
	p, err := scramLogin(t, s, "alice", "wonderland")
	if err != nil || p.Realm != accounts.DefaultRealm || p.Name != "alice" || p.Method != "scram" || p.Account == 0 || chain.Keeps(p) != nil {
		t.Fatalf("%+v, %v", p, err)
	}
	refused("a wrong password", "alice", "Wonderland", "wrong password")
	refused("nobody", "mallory", "wonderland", "nobody has a verifier")
	refused("an account without a verifier", "bare", "wonderland", "nobody has a verifier")
	set("looking glass")
	refused("the password of before", "alice", "wonderland", "wrong password")
	if chain.Stands(p) {
		t.Error("a principal of before the change stands")
	}
	if _, err := db.Disable("alice", how); err != nil {
		t.Fatal(err)
	}
	refused("a disabled account, with the wrong password", "alice", "wonderland", "wrong password")
	refused("a disabled account", "alice", "looking glass", "disabled")
	if err := db.DeleteUser("alice", how); err != nil {
		t.Fatal(err)
	}
	refused("a deleted account", "alice", "looking glass", "nobody has a verifier")
	if chain.Keeps(p) == nil {
		t.Error("a principal of a deleted account is kept")
	}
}

// broken is a store that keeps nothing, or can't be read.
type broken struct {
	store.Store
	unread error
}

func (b broken) Items(table string, yield func(store.Item) error) error {
	if b.unread != nil {
		return b.unread
	}
	return b.Store.Items(table, yield)
}

func (broken) Commit(_ *store.Batch, done func(error)) { done(errors.New("disk is full")) }

func TestTheSecretOfStrangers(t *testing.T) {
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	find := func(st store.Store) ([]byte, error) {
		var x strangers
		if st != nil {
			x.opened(st)
		}
		err := x.find(log)
		return x.get(), err
	}
	if secret, err := find(nil); secret != nil || err != nil {
		t.Errorf("without a store: %x, %v", secret, err)
	}
	kept := store.NewMemory()
	first, err := find(kept)
	if err != nil || len(first) != scram.MinSecret {
		t.Fatalf("%d bytes, %v", len(first), err)
	}
	if again, err := find(kept); err != nil || !bytes.Equal(again, first) {
		t.Errorf("from the same store another secret, %v", err)
	}
	if other, err := find(store.NewMemory()); err != nil || bytes.Equal(other, first) {
		t.Errorf("from another store the same secret, %v", err)
	}
	if said.Len() != 0 {
		t.Errorf("the log says %s", said.String())
	}
	if full, err := find(broken{Store: store.NewMemory()}); err != nil || len(full) != scram.MinSecret || !strings.Contains(said.String(), "can't be kept") {
		t.Errorf("a full disk: %d bytes, %v, log %q", len(full), err, said.String())
	}
	if secret, err := find(broken{Store: store.NewMemory(), unread: errors.New("bad block")}); secret != nil || err == nil {
		t.Errorf("a store that can't be read: %d bytes, %v", len(secret), err)
	}
	short := store.NewMemory()
	var b store.Batch
	b.Add(store.Op{Kind: store.PutItem, Item: &store.Item{Table: secretTable, Name: secretName, Value: []byte("short")}})
	short.Commit(&b, nil)
	if secret, err := find(short); secret != nil || err == nil {
		t.Errorf("a short secret: %d bytes, %v", len(secret), err)
	}
}

// TestSCRAMOfADatabaseInACheck: who is in the store is not asked, and the configuration
// is as good as it is.
func TestSCRAMOfADatabaseInACheck(t *testing.T) {
	a := config.Authenticator{Name: "scram", Type: config.Scram, Realm: "accounts"}
	for _, idle := range []bool{true, false} {
		s := &Server{idle: idle}
		m, err := s.buildSCRAM(&world{}, nil, a)
		if (err == nil) != idle {
			t.Fatalf("idle %v: %v", idle, err)
		}
		if !idle {
			continue
		}
		in := m.(authn.Introducing)
		if p, _, _, err := in.Introduce(t.Context(), &authn.Credentials{HasUsername: true, Username: "alice"}); p != nil || !errors.Is(err, authn.ErrUnavailable) {
			t.Errorf("%v, %v", p, err)
		}
	}
}
