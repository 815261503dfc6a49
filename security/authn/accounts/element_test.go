package accounts

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// An element of a document that speaks of one thing changes nothing else.
func TestAnImportedElementChangesWhatItSpeaksOf(t *testing.T) {
	full := User{
		Name: "alice", Kind: Device, Password: oldHash, SCRAM: verifiersOf(t), Groups: []string{"g"}, Roles: []string{"r"},
		Attributes: map[string]string{"a": "b"}, Disabled: true, Locked: true, LockedUntil: noon.Add(time.Hour),
		ValidFrom: noon, ValidUntil: noon.Add(2 * time.Hour), Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
		ClientIDs: []string{"c*"}, Comment: "old",
	}
	whole := reflect.ValueOf(full)
	for i := range whole.NumField() {
		switch name := whole.Type().Field(i).Name; name {
		case "Created", "Changed", "Version":
		default:
			if whole.Field(i).IsZero() {
				t.Fatalf("%s is not tried", name)
			}
		}
	}
	other := mustHash(t, "new")
	for _, tt := range []struct {
		says string // behind the name
		want func(*User)
	}{
		{``, func(*User) {}},
		{`"version":7,"created":"2020-01-01T00:00:00Z"`, func(*User) {}},
		{`"kind":"user"`, func(u *User) { u.Kind = Person }},
		{`"password":"` + other + `"`, func(u *User) { u.Password, u.SCRAM = other, nil }}, // they are of the old one
		{`"password":"` + oldHash + `"`, func(*User) {}},
		{`"password":""`, func(u *User) { u.Password, u.SCRAM = "", nil }},
		{`"password":null`, func(u *User) { u.Password, u.SCRAM = "", nil }},
		{`"scram":null`, func(u *User) { u.SCRAM = nil }},
		{`"groups":["ops"]`, func(u *User) { u.Groups = []string{"ops"} }},
		{`"groups":[]`, func(u *User) { u.Groups = nil }},
		{`"roles":null`, func(u *User) { u.Roles = nil }},
		{`"attributes":{"x":"y"}`, func(u *User) { u.Attributes = map[string]string{"x": "y"} }},
		{`"attributes":null`, func(u *User) { u.Attributes = nil }},
		{`"disabled":false`, func(u *User) { u.Disabled = false }},
		{`"locked":false,"locked_until":null`, func(u *User) { u.Locked, u.LockedUntil = false, time.Time{} }},
		{`"locked_until":null`, func(u *User) { u.LockedUntil = time.Time{} }},
		{`"valid_from":null`, func(u *User) { u.ValidFrom = time.Time{} }},
		{`"valid_until":null`, func(u *User) { u.ValidUntil = time.Time{} }},
		{`"addresses":null`, func(u *User) { u.Addresses = nil }},
		{`"client_ids":[]`, func(u *User) { u.ClientIDs = nil }},
		{`"comment":""`, func(u *User) { u.Comment = "" }},
	} {
		f := open(t)
		f.add(t, full)
		says := `"name":"alice"`
		if tt.says != "" {
			says += "," + tt.says
		}
		f.imports(t, JSON, `{"version":1,"users":[{`+says+`}]}`, ImportOptions{Replace: true, AllowUnknown: true})
		want := full.clone()
		tt.want(&want)
		got, _ := f.User("alice")
		if !got.equal(&want) {
			t.Errorf("{%s} makes it\n%s, want\n%s", says, shown(got), shown(want))
		}
	}
}

func verifiersOf(t testing.TB) []string {
	t.Helper()
	h := cheap
	h.SCRAM = []string{"SCRAM-SHA-256"}
	f := open(t, func(o *Options) { o.Hashing = h })
	f.add(t, User{Name: "a"})
	u, err := f.SetPassword("a", NewPassword{Plain: []byte(oldPassword)}, How{})
	if err != nil || len(u.SCRAM) != 1 {
		t.Fatal(len(u.SCRAM), err)
	}
	return u.SCRAM
}

// shown is an account with what is no secret.
func shown(u User) string {
	return fmt.Sprintf("%+v, password %t, %d verifiers", u.element(), u.Password != "", len(u.SCRAM))
}

// The same of groups and roles: a role that is given a comment keeps what it denies.
func TestAnImportedGroupOrRoleChangesWhatItSpeaksOf(t *testing.T) {
	deny := []Permission{{Deny: true, Topic: "a/#"}}
	for _, tt := range []struct {
		says  string // the document behind its version
		group Group
		role  Role
	}{
		{`"groups":[{"name":"g"}],"roles":[{"name":"r"}]`, Group{Roles: []string{"r"}, Comment: "old"}, Role{Permissions: deny, Comment: "old"}},
		{`"groups":[{"name":"g","comment":"new"}],"roles":[{"name":"r","comment":"new"}]`,
			Group{Roles: []string{"r"}, Comment: "new"}, Role{Permissions: deny, Comment: "new"}},
		{`"groups":[{"name":"g","comment":""}],"roles":[{"name":"r","comment":null}]`, Group{Roles: []string{"r"}}, Role{Permissions: deny}},
		{`"groups":[{"name":"g","roles":[]}],"roles":[{"name":"r","permissions":null}]`, Group{Comment: "old"}, Role{Comment: "old"}},
		{`"groups":[{"name":"g","roles":["x"]}],"roles":[{"name":"r","permissions":[{"topic":"b"}]}]`,
			Group{Roles: []string{"x"}, Comment: "old"}, Role{Permissions: []Permission{{Topic: "b"}}, Comment: "old"}},
	} {
		f := open(t)
		for _, err := range []error{
			second(f.AddRole(Role{Name: "r", Permissions: deny, Comment: "old"}, How{})),
			second(f.AddGroup(Group{Name: "g", Roles: []string{"r"}, Comment: "old"}, How{})),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		f.imports(t, JSON, `{"version":1,`+tt.says+`}`, ImportOptions{Replace: true, AllowUnknown: true})
		g, _ := f.Group("g")
		r, _ := f.Role("r")
		if !slices.Equal(g.Roles, tt.group.Roles) || g.Comment != tt.group.Comment {
			t.Errorf("%s: group %+v, want %+v", tt.says, g, tt.group)
		}
		if !slices.EqualFunc(r.Permissions, tt.role.Permissions, samePermission) || r.Comment != tt.role.Comment {
			t.Errorf("%s: role %+v, want %+v", tt.says, r, tt.role)
		}
	}
}

// What was given to records since an export, its import takes away again.
func TestAnExportRestoresWhatItWasMadeOf(t *testing.T) {
	for _, secrets := range []bool{true, false} {
		f := everything(t)
		var b bytes.Buffer
		if err := f.ExportJSON(&b, secrets); err != nil {
			t.Fatal(err)
		}
		users, groups, roles := f.all(), f.Groups(), f.Roles()
		whole := users[0] // it has everything
		for _, u := range users {
			changed := whole.clone()
			changed.Name, changed.Disabled, changed.Comment = u.Name, !u.Disabled, "changed"
			if u.Name == whole.Name {
				changed = User{Name: u.Name, Disabled: true}
			}
			if _, err := f.PutUser(changed, How{}); err != nil {
				t.Fatal(err)
			}
		}
		for _, err := range []error{
			second(f.PutGroup(Group{Name: groups[0].Name, Comment: "changed"}, How{})),
			second(f.PutRole(Role{Name: roles[0].Name, Permissions: []Permission{{Topic: "#"}}}, How{})),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		now := f.all()
		f.imports(t, JSON, b.String(), ImportOptions{Replace: true})
		for i, got := range f.all() {
			want := users[i]
			if !secrets {
				want.Password, want.SCRAM = now[i].Password, now[i].SCRAM
			}
			if !got.equal(&want) {
				t.Errorf("secrets %t: %q is\n%s, want\n%s", secrets, got.Name, shown(got), shown(want))
			}
		}
		g, r := f.Groups()[0], f.Roles()[0]
		if !slices.Equal(g.Roles, groups[0].Roles) || g.Comment != groups[0].Comment ||
			!slices.EqualFunc(r.Permissions, roles[0].Permissions, samePermission) || r.Comment != roles[0].Comment {
			t.Errorf("secrets %t: group %+v, role %+v", secrets, g, r)
		}
	}
}

// An account that had no password when it was exported has none when it is restored.
func TestARestoreTakesANewerPasswordAway(t *testing.T) {
	for _, secrets := range []bool{true, false} {
		f := open(t)
		f.add(t, User{Name: "a"})
		var b bytes.Buffer
		if err := f.ExportJSON(&b, secrets); err != nil {
			t.Fatal(err)
		}
		if _, err := f.SetPassword("a", NewPassword{Plain: []byte("newer")}, How{}); err != nil {
			t.Fatal(err)
		}
		f.imports(t, JSON, b.String(), ImportOptions{Replace: true})
		if in := f.logsIn(t, "a", "newer"); in == secrets {
			t.Errorf("secrets %t: the newer password is right: %t", secrets, in)
		}
	}
}

// Every member of a record is one of its element, in an export also where it is not set,
// and an import knows whether it is there.
func TestExportsHaveEveryMember(t *testing.T) {
	members := func(v any) []string {
		t.Helper()
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal(data, &m); err != nil {
			t.Fatal(err)
		}
		return slices.Sorted(maps.Keys(m))
	}
	for _, tt := range []struct{ record, element any }{
		{User{}, secretElement{userElement: userElement{Created: noon, Changed: noon}}},
		{Group{}, groupElement{}},
		{Role{}, roleElement{}},
	} {
		record := reflect.TypeOf(tt.record)
		var want []string
		for i := range record.NumField() {
			name, _, _ := strings.Cut(record.Field(i).Tag.Get("json"), ",")
			want = append(want, name)
			if sets, known := setBy(name); !known || sets == 0 && !slices.Contains([]string{"name", "created", "changed", "version"}, name) {
				t.Errorf("an import does not see %s of a %s", name, record.Name())
			}
		}
		slices.Sort(want)
		if got := members(tt.element); !slices.Equal(got, want) {
			t.Errorf("an empty %s is exported as %q, want %q", record.Name(), got, want)
		}
	}
	if got := members(userElement{}); slices.Contains(got, "password") || slices.Contains(got, "scram") {
		t.Errorf("without secrets there is %q", got)
	}
}
