package accounts

import (
	"errors"
	"reflect"
	"testing"
)

// treacherous is a keeper that keeps what it says it failed to keep.
type treacherous struct {
	Memory
	fails bool
}

var errKeeper = errors.New("the disk is on fire")

func (k *treacherous) Keep(changes []Record) error {
	err := k.Memory.Keep(changes)
	if k.fails {
		return errKeeper
	}
	return err
}

func TestWhatFailedToBeKeptIsUndoneOnceTheKeeperIsBack(t *testing.T) {
	k := &treacherous{}
	db, err := Open(Options{Keeper: k})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	steps := func(name string, f func() error) {
		t.Helper()
		if err := f(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	steps("role", func() error { _, err := db.AddRole(Role{Name: "r"}, How{}); return err })
	steps("group", func() error { _, err := db.AddGroup(Group{Name: "g", Roles: []string{"r"}}, How{}); return err })
	for _, name := range []string{"alice", "bob", "carol"} {
		steps(name, func() error { _, err := db.AddUser(User{Name: name, Groups: []string{"g"}}, How{}); return err })
	}
	want := map[string]User{}
	for _, name := range []string{"alice", "bob", "carol"} {
		want[name], _ = db.User(name)
	}
	k.fails = true
	for name, change := range map[string]func() error{
		"enable what is there": func() error {
			_, err := db.ChangeUser("alice", How{}, func(u *User) error { u.Comment = "x"; return nil })
			return err
		},
		"delete": func() error { return db.DeleteUser("bob", How{}) },
		"add":    func() error { _, err := db.AddUser(User{Name: "mallory"}, How{}); return err },
		"change a role": func() error {
			_, err := db.PutRole(Role{Name: "r", Permissions: []Permission{{Topic: "#"}}}, How{})
			return err
		},
		"delete a group by all": func() error { return db.DeleteGroup("g", How{Force: true}) },
	} {
		if err := change(); !errors.Is(err, errKeeper) {
			t.Errorf("%s: %v, want the keeper's error", name, err)
		}
	}
	if err := db.Restore(); !errors.Is(err, errKeeper) {
		t.Errorf("Restore while the keeper fails: %v", err)
	}
	k.fails = false
	if err := db.Restore(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(Options{Keeper: k})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if n := again.Counts(); n != (Counts{3, 1, 1}) {
		t.Errorf("%+v are kept", n)
	}
	for name, w := range want {
		if got, _ := again.User(name); !reflect.DeepEqual(got, w) {
			t.Errorf("%s is kept as %#v, want %#v", name, got, w)
		}
	}
	if r, _ := again.Role("r"); len(r.Permissions) != 0 {
		t.Errorf("the role is kept with %v", r.Permissions)
	}
}
