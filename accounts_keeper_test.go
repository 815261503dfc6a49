package sallyport

import (
	"errors"
	"slices"
	"strconv"
	"testing"

	"sallyport/security/authn/accounts"
	"sallyport/store"
)

// oddStore is a store in memory that can be full, or fail.
type oddStore struct {
	*store.Memory
	full    bool
	fails   error
	batches [][]store.Op
}

func (s *oddStore) Full() bool { return s.full }

func (s *oddStore) Commit(b *store.Batch, done func(error)) {
	if s.fails != nil {
		go done(s.fails) // as a store does whose disk takes its time
		return
	}
	s.batches = append(s.batches, slices.Clone(b.Ops))
	s.Memory.Commit(b, func(err error) { go done(err) })
}

func TestAccountsAreKeptInOneBatchEach(t *testing.T) {
	st := &oddStore{Memory: store.NewMemory()}
	k := &accountKeeper{}
	db, err := accounts.New(accounts.Options{Keeper: k})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Load(); !errors.Is(err, errNoStore) {
		t.Errorf("Load without a store: %v", err)
	}
	if _, err := db.AddRole(accounts.Role{Name: "r"}, accounts.How{}); !errors.Is(err, errNoStore) {
		t.Errorf("a change without a store: %v", err)
	}
	k.store = st
	if err := db.Load(); err != nil {
		t.Fatal(err)
	}
	steps := []struct {
		name string
		do   func() error
		ops  int
	}{
		{"a role", func() error { _, err := db.AddRole(accounts.Role{Name: "r"}, accounts.How{}); return err }, 1},
		{"a group", func() error {
			_, err := db.AddGroup(accounts.Group{Name: "g", Roles: []string{"r"}}, accounts.How{})
			return err
		}, 1},
		{"a user", func() error {
			_, err := db.AddUser(accounts.User{Name: "a", Roles: []string{"r"}}, accounts.How{})
			return err
		}, 1},
		// The role, the counter, and who has it: all or nothing.
		{"a role that goes", func() error { return db.DeleteRole("r", accounts.How{Force: true}) }, 4},
	}
	for i, step := range steps {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if len(st.batches) != i+1 || len(st.batches[i]) != step.ops {
			t.Errorf("%s: %d batches, the last of %d operations; want %d of %d", step.name, len(st.batches), len(st.batches[len(st.batches)-1]), i+1, step.ops)
		}
	}
	again, err := accounts.Open(accounts.Options{Keeper: k})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if u, ok := again.User("a"); !ok || len(u.Roles) != 0 || again.Counts() != (accounts.Counts{Users: 1, Groups: 1}) {
		t.Errorf("%+v are kept, a with %v", again.Counts(), u.Roles)
	}
	// The version goes on after what was deleted.
	u, err := again.AddUser(accounts.User{Name: "b"}, accounts.How{})
	if want, _ := db.User("a"); err != nil || u.Version <= want.Version {
		t.Errorf("version %d after %d, %v", u.Version, want.Version, err)
	}
}

func TestAStoreThatFailsChangesNothing(t *testing.T) {
	st := &oddStore{Memory: store.NewMemory()}
	changes := 0
	db, err := accounts.Open(accounts.Options{Keeper: &accountKeeper{store: st}, Changed: func(accounts.Change) { changes++ }})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.AddUser(accounts.User{Name: "a"}, accounts.How{}); err != nil {
		t.Fatal(err)
	}
	before, was := changes, errors.New("input/output error")
	st.fails = was
	if _, err := db.Disable("a", accounts.How{}); !errors.Is(err, was) {
		t.Errorf("disable: %v", err)
	}
	if u, _ := db.User("a"); u.Disabled || changes != before {
		t.Errorf("the account is %+v, and %d changes were told", u, changes-before)
	}
	st.fails = nil
	if _, err := db.Disable("a", accounts.How{}); err != nil {
		t.Errorf("disable once the store is back: %v", err)
	}
}

func TestAFullStoreKeepsASmallChangeAndNoImport(t *testing.T) {
	st := &oddStore{Memory: store.NewMemory(), full: true}
	k := &accountKeeper{store: st}
	records := func(n int) (out []accounts.Record) {
		for i := range n {
			out = append(out, accounts.Record{Table: accounts.UsersTable, Name: strconv.Itoa(i), Value: []byte("{}")})
		}
		return out
	}
	if err := k.Keep(records(keptReserve)); err != nil {
		t.Errorf("a small change: %v", err)
	}
	if err := k.Keep(records(keptReserve + 1)); !errors.Is(err, errStoreFull) {
		t.Errorf("a large change: %v", err)
	}
	st.full = false
	for name, list := range map[string][]accounts.Record{
		"too many":         records(keptRecords + 1),
		"too large":        {{Table: accounts.UsersTable, Name: "a", Value: make([]byte, keptBytes)}},
		"an unknown table": {{Table: "sessions", Name: "a", Value: []byte("{}")}},
	} {
		n := len(st.batches)
		if err := k.Keep(list); err == nil || len(st.batches) != n {
			t.Errorf("%s: %v, and %d batches", name, err, len(st.batches)-n)
		}
	}
	if err := k.Keep(nil); err != nil {
		t.Errorf("nothing: %v", err)
	}
	over := errors.New("enough")
	if err := k.Load(func(accounts.Record) error { return over }); !errors.Is(err, over) {
		t.Errorf("Load: %v", err)
	}
}
