package accounts

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"sallyport/security/authn"
)

// failing is a keeper that refuses.
type failing struct {
	Memory
	err error
}

func (f *failing) Keep(changes []Record) error {
	if f.err != nil {
		return f.err
	}
	return f.Memory.Keep(changes)
}

func TestWhatIsNotKeptIsNotInForce(t *testing.T) {
	k := &failing{}
	f := open(t, func(o *Options) { o.Keeper = k })
	f.add(t, User{Name: "a"})
	if _, err := f.AddGroup(Group{Name: "g"}, How{}); err != nil {
		t.Fatal(err)
	}
	f.told()
	before, _ := f.User("a")
	k.err = errors.New("disk is full")
	for name, change := range map[string]func() error{
		"add":          func() error { _, err := f.AddUser(User{Name: "b"}, How{}); return err },
		"disable":      func() error { _, err := f.Disable("a", How{}); return err },
		"delete":       func() error { return f.DeleteUser("a", How{}) },
		"delete group": func() error { return f.DeleteGroup("g", How{}) },
		"import": func() error {
			_, err := f.Import(t.Context(), &Batch{users: []entry{{user: User{Name: "c"}}}}, ImportOptions{})
			return err
		},
	} {
		if err := change(); !errors.Is(err, k.err) {
			t.Errorf("%s: %v, want the keeper's error", name, err)
		}
	}
	after, _ := f.User("a")
	if !reflect.DeepEqual(before, after) || f.Counts() != (Counts{1, 1, 0}) || len(f.told()) != 0 {
		t.Errorf("after failures %v, %+v", after, f.Counts())
	}
	k.err = nil
	if u, err := f.Disable("a", How{}); err != nil || u.Version <= before.Version {
		t.Errorf("after failures: version %d, %v", u.Version, err)
	}
}

func TestChangesTellWhoIsToBeJudgedAnew(t *testing.T) {
	password := mustHash(t, "pw")
	steps := []struct {
		name string
		do   func(f *fixture) error
		want []Change
	}{
		{"a role", func(f *fixture) error { _, err := f.AddRole(Role{Name: "r"}, How{}); return err }, []Change{{Roles: true}}},
		{"the same role", func(f *fixture) error { _, err := f.PutRole(Role{Name: "r"}, How{}); return err }, nil},
		{"a comment of a role", func(f *fixture) error {
			_, err := f.ChangeRole("r", How{}, func(r *Role) error { r.Comment = "c"; return nil })
			return err
		}, nil},
		{"permissions", func(f *fixture) error {
			_, err := f.ChangeRole("r", How{}, func(r *Role) error { r.Permissions = []Permission{{Topic: "#"}}; return nil })
			return err
		}, []Change{{Roles: true}}},
		{"a group", func(f *fixture) error { _, err := f.AddGroup(Group{Name: "g"}, How{}); return err }, []Change{{Roles: true}}},
		{"roles of a group", func(f *fixture) error {
			_, err := f.ChangeGroup("g", How{}, func(g *Group) error { g.Roles = []string{"r"}; return nil })
			return err
		}, []Change{{Roles: true}}},
		{"a new account", func(f *fixture) error { _, err := f.AddUser(User{Name: "a"}, How{}); return err }, []Change{{Users: []string{"a"}}}},
		{"a new account that is disabled", func(f *fixture) error {
			_, err := f.AddUser(User{Name: "z", Disabled: true}, How{})
			return err
		}, []Change{{End: []string{"z"}}}},
		{"a comment", edit(func(u *User) { u.Comment = "x" }), nil},
		{"a group of an account", edit(func(u *User) { u.Groups = []string{"g"} }), []Change{{Users: []string{"a"}}}},
		{"a role of an account", edit(func(u *User) { u.Roles = []string{"r"} }), []Change{{Users: []string{"a"}}}},
		{"an attribute", edit(func(u *User) { u.Attributes = map[string]string{"k": "v"} }), []Change{{Users: []string{"a"}}}},
		{"an address", edit(func(u *User) { u.Addresses = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} }), []Change{{Users: []string{"a"}}}},
		{"a client id", edit(func(u *User) { u.ClientIDs = []string{"a*"} }), []Change{{Users: []string{"a"}}}},
		{"an end", edit(func(u *User) { u.ValidUntil = noon.Add(time.Hour) }), []Change{{Users: []string{"a"}}}},
		{"an end that is over", edit(func(u *User) { u.ValidUntil = noon }), []Change{{End: []string{"a"}}}},
		{"no end", edit(func(u *User) { u.ValidUntil = time.Time{} }), []Change{{Users: []string{"a"}}}},
		{"a beginning to come", edit(func(u *User) { u.ValidFrom = noon.Add(time.Hour) }), []Change{{End: []string{"a"}}}},
		{"no beginning", edit(func(u *User) { u.ValidFrom = time.Time{} }), []Change{{Users: []string{"a"}}}},
		{"a password", func(f *fixture) error {
			_, err := f.SetPassword("a", NewPassword{Encoded: password}, How{})
			return err
		}, []Change{{End: []string{"a"}}}},
		{"the same password", func(f *fixture) error {
			_, err := f.SetPassword("a", NewPassword{Encoded: password}, How{})
			return err
		}, nil},
		{"a generated secret", func(f *fixture) error { _, _, err := f.GenerateSecret("a", How{}); return err }, []Change{{End: []string{"a"}}}},
		{"no password", func(f *fixture) error { _, err := f.ClearPassword("a", How{}); return err }, []Change{{End: []string{"a"}}}},
		{"locked", func(f *fixture) error { _, err := f.Lock("a", time.Time{}, How{}); return err }, []Change{{End: []string{"a"}}}},
		{"unlocked", func(f *fixture) error { _, err := f.Unlock("a", How{}); return err }, []Change{{Users: []string{"a"}}}},
		{"locked for a while", func(f *fixture) error { _, err := f.Lock("a", noon.Add(time.Minute), How{}); return err }, []Change{{End: []string{"a"}}}},
		{"unlocked again", func(f *fixture) error { _, err := f.Unlock("a", How{}); return err }, []Change{{Users: []string{"a"}}}},
		{"disabled", func(f *fixture) error { _, err := f.Disable("a", How{}); return err }, []Change{{End: []string{"a"}}}},
		{"enabled", func(f *fixture) error { _, err := f.Enable("a", How{}); return err }, []Change{{Users: []string{"a"}}}},
		{"a group that is taken away", func(f *fixture) error { return f.DeleteGroup("g", How{Force: true}) }, []Change{{Users: []string{"a"}, Roles: true}}},
		{"a role that is taken away", func(f *fixture) error { return f.DeleteRole("r", How{Force: true}) }, []Change{{Users: []string{"a"}, Roles: true}}},
		{"deleted", func(f *fixture) error { return f.DeleteUser("a", How{}) }, []Change{{End: []string{"a"}}}},
	}
	f := open(t)
	var version uint64
	for _, s := range steps {
		if err := s.do(f); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if got := f.told(); !reflect.DeepEqual(got, s.want) {
			t.Errorf("%s: told %+v, want %+v", s.name, got, s.want)
		}
		if v := f.Version("a"); s.want != nil && v != 0 && v < version {
			t.Errorf("%s: version went from %d to %d", s.name, version, v)
		} else if v != 0 {
			version = v
		}
	}
}

func edit(change func(*User)) func(*fixture) error {
	return func(f *fixture) error {
		_, err := f.ChangeUser("a", How{}, func(u *User) error { change(u); return nil })
		return err
	}
}

func mustHash(t testing.TB, password string) string {
	t.Helper()
	encoded, err := authn.Hash(cheap.Algorithm, []byte(password), cheap.Params)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

func TestUsersRefused(t *testing.T) {
	long := strings.Repeat("x", 1025)
	many := make([]string, maxList+1)
	for i := range many {
		many[i] = fmt.Sprint("n", i)
	}
	attributes := map[string]string{}
	var addresses []netip.Prefix
	for i := range maxList + 1 {
		attributes[fmt.Sprint("n", i)] = ""
		addresses = append(addresses, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 32))
	}
	year := func(y int) time.Time { return time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC) }
	tests := []struct {
		name  string
		user  User
		field string
	}{
		{"no name", User{}, "name"},
		{"a long name", User{Name: long}, "name"},
		{"a name that is not UTF-8", User{Name: "a\xff"}, "name"},
		{"a name with a colon", User{Name: "a:b"}, "name"},
		{"a name with +", User{Name: "a+b"}, "name"},
		{"a name with #", User{Name: "a#"}, "name"},
		{"a name with a line end", User{Name: "a\nb"}, "name"},
		{"a name with blanks around", User{Name: " a"}, "name"},
		{"a noncharacter", User{Name: "a\ufdd0"}, "name"},
		{"another kind", User{Name: "a", Kind: "robot"}, "kind"},
		{"an unknown group", User{Name: "a", Groups: []string{"nowhere"}}, "groups"},
		{"an unknown role", User{Name: "a", Roles: []string{"nowhere"}}, "roles"},
		{"an empty group", User{Name: "a", Groups: []string{""}}, "groups"},
		{"many groups", User{Name: "a", Groups: many}, "groups"},
		{"many roles", User{Name: "a", Roles: many}, "roles"},
		{"a long role", User{Name: "a", Roles: []string{long}}, "roles"},
		{"many attributes", User{Name: "a", Attributes: attributes}, "attributes"},
		{"an attribute without a name", User{Name: "a", Attributes: map[string]string{"": "x"}}, "attributes"},
		{"a long attribute", User{Name: "a", Attributes: map[string]string{"k": long}}, "attributes"},
		{"an attribute with a line end", User{Name: "a", Attributes: map[string]string{"k": "\n"}}, "attributes"},
		{"many addresses", User{Name: "a", Addresses: addresses}, "addresses"},
		{"an address that is none", User{Name: "a", Addresses: make([]netip.Prefix, 1)}, "addresses"},
		{"an IPv4 address in IPv6", User{Name: "a", Addresses: []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr("::ffff:192.0.2.1"), 128)}}, "addresses"},
		{"many client ids", User{Name: "a", ClientIDs: many}, "client_ids"},
		{"an empty client id", User{Name: "a", ClientIDs: []string{""}}, "client_ids"},
		{"a long client id", User{Name: "a", ClientIDs: []string{long}}, "client_ids"},
		{"a long comment", User{Name: "a", Comment: long}, "comment"},
		{"a time before 1970", User{Name: "a", ValidFrom: year(1960)}, "valid_from"},
		{"a time that has no room", User{Name: "a", ValidUntil: year(2107)}, "valid_until"},
		{"an end before the beginning", User{Name: "a", ValidFrom: year(2027), ValidUntil: year(2026)}, "valid_until"},
		{"the end of a lock without a lock", User{Name: "a", LockedUntil: year(2030)}, "locked_until"},
		{"a plain password", User{Name: "a", Password: "secretword"}, "password"},
		{"a password beyond the limits", User{Name: "a", Password: "$argon2id$v=19$m=1048576,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"}, "password"},
		{"a verifier that is none", User{Name: "a", SCRAM: []string{"secretword"}}, "scram"},
	}
	f := open(t)
	for _, tt := range tests {
		_, err := f.AddUser(tt.user, How{})
		var invalid *InvalidError
		if !errors.As(err, &invalid) || invalid.Field != tt.field {
			t.Errorf("%s: %v, want a complaint about %s", tt.name, err, tt.field)
		} else if strings.Contains(err.Error(), "secretword") || strings.Contains(err.Error(), "nf65") {
			t.Errorf("%s: the error holds the secret: %v", tt.name, err)
		}
	}
	if f.Counts() != (Counts{}) || len(f.told()) != 0 {
		t.Errorf("after refusals %+v", f.Counts())
	}
	full := User{Name: "full", Groups: many[:maxList], Roles: many[:maxList], Attributes: map[string]string{}, Comment: long[1:]}
	for _, name := range many[:maxList] {
		full.Attributes[name] = long[1:]
		full.ClientIDs = append(full.ClientIDs, name+strings.Repeat("y", 1000))
	}
	if _, err := f.AddUser(full, How{AllowUnknown: true}); err == nil {
		t.Error("a record of more than 64 KiB is accepted")
	}
}

func TestRecordsHaveOneForm(t *testing.T) {
	f := open(t)
	zone := time.FixedZone("", 3600)
	u, err := f.AddUser(User{
		Name: "a", Groups: []string{"y", "x", "y"}, ValidUntil: time.Date(2027, 1, 1, 0, 0, 0, 999, zone),
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.77/24"), netip.MustParsePrefix("192.0.2.1/24")},
		Password:  "TUh5SWZlWmRNNzJQeXU0UkF2QmVKZXBBWFl6VU1Jc28=:gDR4bZ8kABBEL0WBflf09IMJahRlb1KGL2wJydlyWElfIu1F65SSU+RZZpjzy+vT4dDPJxiBSHM07wr56+bKsA==",
	}, How{AllowUnknown: true})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"x", "y"}; !reflect.DeepEqual(u.Groups, want) {
		t.Errorf("groups %q, want %q", u.Groups, want)
	}
	if want := time.Date(2026, 12, 31, 23, 0, 0, 0, time.UTC); u.ValidUntil != want {
		t.Errorf("valid until %v, want %v", u.ValidUntil, want)
	}
	if len(u.Addresses) != 1 || u.Addresses[0].String() != "192.0.2.0/24" {
		t.Errorf("addresses %v", u.Addresses)
	}
	if !strings.HasPrefix(u.Password, "$7$100$") || u.Kind != Person || u.Created != noon || u.Version == 0 {
		t.Error(shown(u))
	}
}

func TestGroupsAndRolesInUse(t *testing.T) {
	f := open(t)
	for _, err := range []error{
		second(f.AddRole(Role{Name: "r", Permissions: []Permission{{Topic: "#"}}}, How{})),
		second(f.AddGroup(Group{Name: "g", Roles: []string{"r"}}, How{})),
		second(f.AddUser(User{Name: "a", Groups: []string{"g"}}, How{})),
		second(f.AddUser(User{Name: "b", Roles: []string{"r"}}, How{})),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.DeleteGroup("g", How{}); !errors.Is(err, ErrInUse) {
		t.Errorf("a group in use: %v, want ErrInUse", err)
	}
	if err := f.DeleteRole("r", How{}); !errors.Is(err, ErrInUse) {
		t.Errorf("a role in use: %v, want ErrInUse", err)
	}
	if err := f.DeleteRole("r", How{Force: true}); err != nil {
		t.Fatal(err)
	}
	g, _ := f.Group("g")
	b, _ := f.User("b")
	if len(g.Roles) != 0 || len(b.Roles) != 0 {
		t.Errorf("a deleted role is left: %v %v", g, b.Roles)
	}
	for name, err := range map[string]error{
		"a user twice":          second(f.AddUser(User{Name: "a"}, How{})),
		"a group twice":         second(f.AddGroup(Group{Name: "g"}, How{})),
		"a group of no role":    second(f.AddGroup(Group{Name: "h", Roles: []string{"r"}}, How{})),
		"a role without a name": second(f.AddRole(Role{}, How{})),
		"a name that changes":   second(f.ChangeUser("a", How{}, func(u *User) error { u.Name = "c"; return nil })),
		"nobody's password":     second(f.SetPassword("nobody", NewPassword{Plain: []byte("x")}, How{})),
		"an empty password":     second(f.SetPassword("a", NewPassword{}, How{})),
		"two passwords":         second(f.SetPassword("a", NewPassword{Plain: []byte("x"), Encoded: "y"}, How{})),
		"a lock that is over":   second(f.Lock("a", noon, How{})),
		"deleting nobody":       f.DeleteUser("nobody", How{}),
		"deleting no group":     f.DeleteGroup("nobody", How{}),
		"deleting no role":      f.DeleteRole("nobody", How{}),
	} {
		if err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestPermissionsRefused(t *testing.T) {
	for name, p := range map[string]Permission{
		"no topic":                        {},
		"a long topic":                    {Topic: strings.Repeat("x", maxTopic+1)},
		"a wildcard in a level":           {Topic: "a+/b"},
		"a share":                         {Topic: "$share/g/a"},
		"an unknown placeholder":          {Topic: "${nobody}"},
		"an unknown action":               {Topic: "a", Action: "both"},
		"an unknown QoS":                  {Topic: "a", QoS: []int{3}},
		"an unknown word for retain":      {Topic: "a", Retain: "yes"},
		"an unknown word for shared":      {Topic: "a", Shared: "yes"},
		"retain of a subscription":        {Topic: "a", Action: "subscribe", Retain: "retained"},
		"shared of a publication":         {Topic: "a", Action: "publish", Shared: "shared"},
		"a group of a publication":        {Topic: "a", Action: "publish", Group: "g"},
		"a group with a wildcard":         {Topic: "a", Group: "g+"},
		"a group of what is never shared": {Topic: "a", Shared: "not_shared", Group: "g"},
	} {
		if _, err := p.Rule(); err == nil {
			t.Errorf("%s is accepted", name)
		}
		if _, err := open(t).AddRole(Role{Name: "r", Permissions: []Permission{p}}, How{}); err == nil {
			t.Errorf("%s is accepted in a role", name)
		}
	}
}

func TestDatabaseIsBounded(t *testing.T) {
	f := open(t, func(o *Options) { o.MaxUsers, o.MaxGroups, o.MaxRoles = 2, 1, 1 })
	f.add(t, User{Name: "a"}, User{Name: "b"})
	if _, err := f.AddUser(User{Name: "c"}, How{}); !errors.Is(err, ErrFull) {
		t.Errorf("a third user: %v, want ErrFull", err)
	}
	if _, err := f.AddGroup(Group{Name: "a"}, How{}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.AddGroup(Group{Name: "b"}, How{}); !errors.Is(err, ErrFull) {
		t.Errorf("a second group: %v, want ErrFull", err)
	}
	big := open(t)
	big.add(t, User{Name: "a"}, User{Name: "b"}, User{Name: "c"})
	if _, err := Open(Options{Keeper: big.keeper, Hashing: cheap, MaxUsers: 2}); !errors.Is(err, ErrFull) {
		t.Errorf("opened with three users and room for two: %v", err)
	}
}

func TestClosedDatabaseRefusesChanges(t *testing.T) {
	f := open(t)
	f.add(t, User{Name: "a"})
	f.Close()
	f.Close()
	if _, err := f.Disable("a", How{}); !errors.Is(err, ErrClosed) {
		t.Errorf("a change after Close: %v", err)
	}
	if _, ok := f.User("a"); !ok {
		t.Error("nothing can be read after Close")
	}
}

func TestBrokenRecordsAreErrorsWithoutValues(t *testing.T) {
	const secret = "secretword"
	for name, r := range map[string]Record{
		"no JSON":             {UsersTable, "a", []byte(`{"name":"a","password":"` + secret)},
		"an unknown field":    {UsersTable, "a", []byte(`{"name":"a","version":1,"only_on":"` + secret + `"}`)},
		"another name":        {UsersTable, "a", []byte(`{"name":"b","version":1}`)},
		"no version":          {UsersTable, "a", []byte(`{"name":"a"}`)},
		"two values":          {UsersTable, "a", []byte(`{"name":"a","version":1}{"` + secret + `":1}`)},
		"a broken password":   {UsersTable, "a", []byte(`{"name":"a","version":1,"password":"` + secret + `"}`)},
		"a broken permission": {RolesTable, "a", []byte(`{"name":"a","version":1,"permissions":[{"topic":"a+"}]}`)},
		"a table of nobody":   {"a", "a", nil},
		"a broken counter":    {MetaTable, CounterName, []byte(secret)},
		"another counter":     {MetaTable, "a", []byte("1")},
		"a huge record":       {UsersTable, "a", []byte(`{"name":"a","version":1,"comment":"` + strings.Repeat(" ", maxRecord) + `"}`)},
	} {
		k := &Memory{records: map[[2]string][]byte{{r.Table, r.Name}: r.Value}}
		_, err := Open(Options{Keeper: k, Hashing: cheap})
		if err == nil {
			t.Errorf("%s is accepted", name)
		} else if strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), `record "`+r.Name+`" of table "`+r.Table) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPages(t *testing.T) {
	f := open(t)
	b := &Batch{}
	for i := range 2500 {
		b.users = append(b.users, entry{user: User{Name: fmt.Sprintf("u%05d", i), Disabled: i%2 == 1}})
	}
	if _, err := f.Import(t.Context(), b, ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	var names []string
	for after, more := "", true; more; {
		var page []User
		page, more = f.Users(after, 700, func(u *User) bool { return u.Disabled })
		for _, u := range page {
			names = append(names, u.Name)
			after = u.Name
		}
	}
	if len(names) != 1250 || names[0] != "u00001" || names[1249] != "u02499" {
		t.Errorf("%d names from %q", len(names), names[0])
	}
	if err := f.DeleteUser("u00001", How{}); err != nil {
		t.Fatal(err)
	}
	f.add(t, User{Name: "u00000a"})
	page, more := f.Users("u00000", 2, nil)
	if len(page) != 2 || page[0].Name != "u00000a" || page[1].Name != "u00002" || !more {
		t.Errorf("page %v, more %t", page, more)
	}
}
