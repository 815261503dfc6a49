package accounts

import (
	"errors"
	"reflect"
	"sync"
	"testing"
	"time"

	"sallyport/security/authn"
)

// cheap is costs that tests can pay.
var cheap = Hashing{Algorithm: authn.Argon2id, Params: authn.Params{Memory: 64, Time: 1, Lanes: 1}, Iterations: 4096}

// clock is a time that tests set.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) set(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = at
}

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// fixture is a database with what it told.
type fixture struct {
	*Database
	keeper  *Memory
	clock   *clock
	mu      sync.Mutex
	changes []Change
}

func (f *fixture) told() []Change {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.changes
	f.changes = nil
	return out
}

func open(t testing.TB, change ...func(*Options)) *fixture {
	t.Helper()
	f := &fixture{keeper: &Memory{}, clock: &clock{at: noon}}
	o := Options{Keeper: f.keeper, Hashing: cheap, Now: f.clock.now, Changed: func(c Change) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.changes = append(f.changes, c)
	}}
	for _, c := range change {
		c(&o)
	}
	db, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	f.Database = db
	t.Cleanup(db.Close)
	return f
}

func (f *fixture) add(t testing.TB, users ...User) {
	t.Helper()
	for _, u := range users {
		if _, err := f.AddUser(u, How{AllowUnknown: true}); err != nil {
			t.Fatal(err)
		}
	}
	f.told()
}

func TestUsersAreKept(t *testing.T) {
	f := open(t)
	if _, err := f.AddRole(Role{Name: "r", Permissions: []Permission{{Topic: "a/${username}/#", QoS: []int{0, 1}}}}, How{}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.AddGroup(Group{Name: "g", Roles: []string{"r"}}, How{}); err != nil {
		t.Fatal(err)
	}
	u, err := f.AddUser(User{Name: "alice", Groups: []string{"g"}, Attributes: map[string]string{"site": "north"}, ValidUntil: noon.Add(time.Hour)}, How{})
	if err != nil {
		t.Fatal(err)
	}
	if u, err = f.SetPassword("alice", NewPassword{Plain: []byte("secret")}, How{Version: u.Version}); err != nil {
		t.Fatal(err)
	}
	again, err := Open(Options{Keeper: f.keeper, Hashing: cheap, Now: f.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if got, ok := again.User("alice"); !ok || !reflect.DeepEqual(got, u) {
		t.Errorf("after a restart %#v, want %#v", got, u)
	}
	if !reflect.DeepEqual(again.Roles(), f.Roles()) || !reflect.DeepEqual(again.Groups(), f.Groups()) {
		t.Errorf("after a restart roles %v, groups %v", again.Roles(), again.Groups())
	}
}

func TestVersionsNeverGoBack(t *testing.T) {
	f := open(t)
	f.add(t, User{Name: "a"})
	u, err := f.Disable("a", How{})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.DeleteUser("a", How{}); err != nil {
		t.Fatal(err)
	}
	again, err := Open(Options{Keeper: f.keeper, Hashing: cheap})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	v, err := again.AddUser(User{Name: "a"}, How{})
	if err != nil || v.Version <= u.Version {
		t.Errorf("made again it has version %d, %v; deleted it had %d", v.Version, err, u.Version)
	}
}

func TestOptimisticChange(t *testing.T) {
	f := open(t)
	f.add(t, User{Name: "a"})
	u, _ := f.User("a")
	if _, err := f.Disable("a", How{Version: u.Version}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Enable("a", How{Version: u.Version}); !errors.Is(err, ErrChanged) {
		t.Errorf("a change for an old version: %v, want ErrChanged", err)
	}
	if _, err := f.PutUser(User{Name: "b"}, How{Version: 7}); !errors.Is(err, ErrNotFound) {
		t.Errorf("a change for a version of nobody: %v, want ErrNotFound", err)
	}
}
