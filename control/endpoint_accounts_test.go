//go:build unix

package control

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"sallyport/security/authn"
	"sallyport/security/authn/accounts"
)

// openAccounts serves a database that is kept in memory.
func openAccounts(t *testing.T) (*place, *accounts.Database) {
	t.Helper()
	db, err := accounts.Open(accounts.Options{Keeper: &accounts.Memory{}, Hashing: accounts.Hashing{Algorithm: authn.PBKDF2SHA512, Params: authn.Params{Iterations: 1000}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	return open(t, func(o *Options) { o.Accounts = db }), db
}

func pointer[T any](v T) *T { return &v }

func TestAccountsAreMadeChangedAndDeleted(t *testing.T) {
	p, db := openAccounts(t)
	ask[accounts.Role](t, p, "PUT", RolePath("r"), RoleChange{})
	ask[accounts.Group](t, p, "PUT", GroupPath("g"), GroupChange{Roles: &[]string{"r"}})
	made := ask[UserResult](t, p, "PUT", UserPath("alice"), UserChange{
		Version: pointer(uint64(0)), Password: "pw", Groups: &[]string{"g"}, Attributes: map[string]*string{"site": pointer("north")},
		ValidUntil: pointer("2099-01-01T00:00:00+01:00"), Addresses: &[]string{"192.0.2.7", "10.1.0.0/8"}, ClientIDs: &[]string{"a-*"}, Comment: pointer("note"),
	})
	u := made.User
	if u.State != stateActive || u.Password != "sha512-pbkdf2" || u.Kind != accounts.Person || made.Secret != "" || u.Version == 0 ||
		!slices.Equal(u.Groups, []string{"g"}) || u.Attributes["site"] != "north" || !slices.Equal(u.Addresses, []string{"10.0.0.0/8", "192.0.2.7/32"}) ||
		!u.ValidUntil.Equal(time.Date(2098, 12, 31, 23, 0, 0, 0, time.UTC)) || u.Created == nil || u.Comment != "note" {
		t.Errorf("%+v", made)
	}
	if got := ask[AccountUser](t, p, "GET", UserPath("alice"), nil); got.Version != u.Version || got.Comment != "note" {
		t.Errorf("%+v", got)
	}
	refused(t, p, "PUT", UserPath("alice"), UserChange{Version: pointer(uint64(0))}, 409, "exists")
	refused(t, p, "PUT", UserPath("alice"), UserChange{Version: pointer(u.Version + 7)}, 409, "changed")
	refused(t, p, "PATCH", UserPath("alice"), UserChange{Version: pointer(u.Version + 7)}, 409, "changed")

	changed := ask[UserResult](t, p, "PATCH", UserPath("alice"), UserChange{
		Version: &u.Version, RemoveGroups: []string{"g"}, AddRoles: []string{"r"}, Attributes: map[string]*string{"site": nil, "floor": pointer("2")},
		ValidUntil: pointer(""), Addresses: &[]string{},
	}).User
	if len(changed.Groups) != 0 || !slices.Equal(changed.Roles, []string{"r"}) || len(changed.Attributes) != 1 || changed.ValidUntil != nil || changed.Addresses != nil ||
		!slices.Equal(changed.ClientIDs, []string{"a-*"}) || changed.Password == "" {
		t.Errorf("%+v", changed)
	}
	// A PUT says everything anew but the password.
	anew := ask[UserResult](t, p, "PUT", UserPath("alice"), UserChange{Kind: pointer(accounts.Device)}).User
	if anew.Kind != accounts.Device || len(anew.Roles)+len(anew.ClientIDs)+len(anew.Attributes) != 0 || anew.Password != "sha512-pbkdf2" || anew.Comment != "" {
		t.Errorf("%+v", anew)
	}
	kept, _ := db.User("alice")
	secret := ask[UserResult](t, p, "POST", UserPath("alice")+"/password", PasswordChange{Generate: true})
	now, _ := db.User("alice")
	if len(secret.Secret) < 20 || secret.User.Password != "s256" || now.Password == kept.Password {
		t.Errorf("%+v", secret)
	}
	if s, err := authn.ParseStored(now.Password, authn.Limits{}); err != nil || !s.Matches([]byte(secret.Secret)) {
		t.Errorf("the secret is not the password: %v", err)
	}
	ask[struct{}](t, p, "DELETE", UserPath("alice"), nil)
	refused(t, p, "GET", UserPath("alice"), nil, 404, "not_found")
	refused(t, p, "DELETE", UserPath("alice"), nil, 404, "not_found")
	for _, secret := range []string{secret.Secret, kept.Password, now.Password} {
		if strings.Contains(p.log.String(), secret) {
			t.Error("the log holds a secret")
		}
	}
	for _, line := range []string{
		`action=user_put actor="uid `, `target="user \"alice\"" result="version `, `action=user_put`, `result="refused: user \"alice\": accounts: the name is taken"`,
		"action=user_password", "action=user_delete", "result=deleted",
	} {
		if !strings.Contains(p.log.String(), line) {
			t.Errorf("the log does not hold %s:\n%s", line, p.log)
		}
	}
}

func TestTheStateOfAnAccount(t *testing.T) {
	p, _ := openAccounts(t)
	ask[UserResult](t, p, "PUT", UserPath("a"), UserChange{})
	for _, tt := range []struct {
		path string
		body any
		want string
	}{
		{"/disable", nil, stateDisabled},
		{"/lock", LockRequest{}, stateDisabled},
		{"/enable", nil, stateLocked},
		{"/unlock", nil, stateActive},
		{"/lock", LockRequest{Until: "2099-01-01T00:00:00Z"}, stateLocked},
		{"/unlock", nil, stateActive},
	} {
		if got := ask[UserResult](t, p, "POST", UserPath("a")+tt.path, tt.body).User; got.State != tt.want || (got.LockedUntil != nil) != (tt.body == LockRequest{Until: "2099-01-01T00:00:00Z"}) {
			t.Errorf("after %s it is %+v, want %s", tt.path, got, tt.want)
		}
	}
	for want, q := range map[string]UserChange{
		stateExpired: {ValidUntil: pointer("2001-01-01T00:00:00Z")},
		stateEarly:   {ValidUntil: pointer(""), ValidFrom: pointer("2098-01-01T00:00:00Z")},
	} {
		ask[UserResult](t, p, "PATCH", UserPath("a"), UserChange{ValidFrom: pointer(""), ValidUntil: pointer("")})
		if got := ask[UserResult](t, p, "PATCH", UserPath("a"), q).User.State; got != want {
			t.Errorf("it is %s, want %s", got, want)
		}
	}
}

func TestAccountsAreListedInPages(t *testing.T) {
	p, _ := openAccounts(t)
	ask[accounts.Role](t, p, "PUT", RolePath("odd"), nil)
	var want []string
	for i := range 7 {
		q := UserChange{Disabled: pointer(i == 3)}
		if i%2 == 1 {
			q.Roles = &[]string{"odd"}
		}
		name := "u" + strconv.Itoa(i)
		want = append(want, name)
		ask[UserResult](t, p, "PUT", UserPath(name), q)
		ask[accounts.Group](t, p, "PUT", GroupPath("g"+strconv.Itoa(i)), GroupChange{})
	}
	list := func(path string) (names []string) {
		for after, n := "", 0; n < 10; n++ {
			page := ask[UserPage](t, p, "GET", path+"&after="+after, nil)
			for _, u := range page.Users {
				names = append(names, u.Name)
			}
			if after = page.Next; after == "" {
				return names
			}
		}
		t.Fatal("the pages have no end")
		return nil
	}
	for path, want := range map[string][]string{
		"/users?limit=3":                      want,
		"/users?limit=500":                    want,
		"/users?role=odd&limit=1":             {"u1", "u3", "u5"},
		"/users?role=odd&state=active":        {"u1", "u5"},
		"/users?state=disabled&limit=1":       {"u3"},
		"/users?group=none&limit=1":           nil,
		"/users?state=locked&role=odd&limit=": nil,
	} {
		if strings.HasSuffix(path, "limit=") {
			refused(t, p, "GET", path, nil, 400, "bad_request")
			continue
		}
		if got := list(path); !slices.Equal(got, want) {
			t.Errorf("%s lists %v, want %v", path, got, want)
		}
	}
	first := ask[GroupPage](t, p, "GET", "/groups?limit=5", nil)
	rest := ask[GroupPage](t, p, "GET", "/groups?limit=5&after="+first.Next, nil)
	if len(first.Groups) != 5 || first.Next != "g4" || len(rest.Groups) != 2 || rest.Next != "" || rest.Groups[0].Name != "g5" {
		t.Errorf("%+v, %+v", first, rest)
	}
	if roles := ask[RolePage](t, p, "GET", "/roles", nil); len(roles.Roles) != 1 || roles.Next != "" {
		t.Errorf("%+v", roles)
	}
}

func TestRolesAreMadeChangedAndDeleted(t *testing.T) {
	p, _ := openAccounts(t)
	topics := func(r accounts.Role) (out []string) {
		for _, x := range r.Permissions {
			out = append(out, x.Topic)
		}
		return out
	}
	r := ask[accounts.Role](t, p, "PUT", RolePath("r"), RoleChange{Permissions: &[]accounts.Permission{{Topic: "a"}, {Topic: "b"}, {Topic: "c"}}, Comment: pointer("x")})
	refused(t, p, "PATCH", RolePath("r"), RoleChange{Remove: []int{1}}, 400, "bad_request")
	refused(t, p, "PATCH", RolePath("r"), RoleChange{Remove: []int{4}, Version: &r.Version}, 400, "bad_request")
	refused(t, p, "PATCH", RolePath("r"), RoleChange{Remove: []int{0}, Version: &r.Version}, 400, "bad_request")
	refused(t, p, "PATCH", RolePath("r"), RoleChange{Remove: []int{1}, Version: pointer(r.Version + 1)}, 409, "changed")
	r = ask[accounts.Role](t, p, "PATCH", RolePath("r"), RoleChange{Remove: []int{1, 3}, Version: &r.Version, Add: []accounts.Permission{{Topic: "d", Deny: true, Action: "publish"}}})
	if got := topics(r); !slices.Equal(got, []string{"b", "d"}) || r.Comment != "x" {
		t.Errorf("%+v", r)
	}
	if got := ask[accounts.Role](t, p, "GET", RolePath("r"), nil); !slices.Equal(topics(got), topics(r)) {
		t.Errorf("%+v", got)
	}
	g := ask[accounts.Group](t, p, "PUT", GroupPath("g"), GroupChange{Roles: &[]string{"r"}})
	refused(t, p, "DELETE", RolePath("r"), nil, 409, "in_use")
	refused(t, p, "PUT", GroupPath("g"), GroupChange{Roles: &[]string{"nobody's"}}, 422, "invalid")
	refused(t, p, "PUT", GroupPath("g"), GroupChange{Version: pointer(uint64(0))}, 409, "exists")
	g = ask[accounts.Group](t, p, "PATCH", GroupPath("g"), GroupChange{Version: &g.Version, Comment: pointer("y")})
	if got := ask[accounts.Group](t, p, "GET", GroupPath("g"), nil); got.Comment != "y" || got.Version != g.Version || !slices.Equal(got.Roles, []string{"r"}) {
		t.Errorf("%+v", got)
	}
	ask[struct{}](t, p, "DELETE", RolePath("r"), DeleteRequest{Force: true})
	if got := ask[accounts.Group](t, p, "GET", GroupPath("g"), nil); len(got.Roles) != 0 {
		t.Errorf("%+v", got)
	}
	ask[struct{}](t, p, "DELETE", GroupPath("g"), nil)
	for _, path := range []string{GroupPath("g"), RolePath("r")} {
		refused(t, p, "GET", path, nil, 404, "not_found")
		refused(t, p, "PATCH", path, VersionRequest{}, 404, "not_found")
		refused(t, p, "DELETE", path, nil, 404, "not_found")
	}
}

func TestWhatIsNoChangeOfAccountsIsRefused(t *testing.T) {
	p, _ := openAccounts(t)
	ask[UserResult](t, p, "PUT", UserPath("alice"), UserChange{})
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	const hidden = "Tr0ub4dor"
	for _, tt := range []struct {
		name, method, path string
		body               any
		status             int
		code               string
	}{
		{"a misspelt member", "PUT", UserPath("b"), raw(`{"pasword": "` + hidden + `"}`), 400, "bad_request"},
		{"a member of another type", "PUT", UserPath("b"), raw(`{"password": ["` + hidden + `"]}`), 400, "bad_request"},
		{"two ways to a password", "PUT", UserPath("b"), UserChange{Password: hidden, Generate: true}, 400, "bad_request"},
		{"a password in a PATCH", "PATCH", UserPath("alice"), UserChange{Password: hidden}, 400, "bad_request"},
		{"a generated one in a PATCH", "PATCH", UserPath("alice"), UserChange{Generate: true}, 400, "bad_request"},
		{"no password", "POST", UserPath("alice") + "/password", PasswordChange{}, 400, "bad_request"},
		{"two ways", "POST", UserPath("alice") + "/password", PasswordChange{Password: hidden, Generate: true}, 400, "bad_request"},
		{"a password that is too long", "POST", UserPath("alice") + "/password", PasswordChange{Password: strings.Repeat("x", 5000)}, 422, "invalid"},
		{"a password of nobody", "POST", UserPath("b") + "/password", PasswordChange{Password: hidden}, 404, "not_found"},
		{"a patch of nobody", "PATCH", UserPath("b"), UserChange{}, 404, "not_found"},
		{"a lock of nobody", "POST", UserPath("b") + "/lock", nil, 404, "not_found"},
		{"a lock of the past", "POST", UserPath("alice") + "/lock", LockRequest{Until: "2001-01-01T00:00:00Z"}, 400, "bad_request"},
		{"a lock until whenever", "POST", UserPath("alice") + "/lock", LockRequest{Until: "tomorrow"}, 400, "bad_request"},
		{"an unknown group", "PATCH", UserPath("alice"), UserChange{AddGroups: []string{"nobody's"}}, 422, "invalid"},
		{"an unknown role", "PATCH", UserPath("alice"), UserChange{AddRoles: []string{"nobody's"}}, 422, "invalid"},
		{"another kind", "PATCH", UserPath("alice"), UserChange{Kind: pointer(accounts.Kind("robot"))}, 422, "invalid"},
		{"an address that is none", "PATCH", UserPath("alice"), UserChange{Addresses: &[]string{"here"}}, 400, "bad_request"},
		{"a time that is none", "PATCH", UserPath("alice"), UserChange{ValidFrom: pointer("now")}, 400, "bad_request"},
		{"a name with a wildcard", "PUT", UserPath("a+b"), UserChange{}, 422, "invalid"},
		{"a name with a colon", "PUT", UserPath("a:b"), UserChange{}, 422, "invalid"},
		{"version 0 of what is there", "PATCH", UserPath("alice"), UserChange{Version: pointer(uint64(0))}, 400, "bad_request"},
		{"deleting at version 0", "DELETE", UserPath("alice"), DeleteRequest{Version: pointer(uint64(0))}, 400, "bad_request"},
		{"an unknown key", "GET", "/users?limt=3", nil, 400, "bad_request"},
		{"a key twice", "GET", "/users?limit=3&limit=4", nil, 400, "bad_request"},
		{"too much at once", "GET", "/users?limit=501", nil, 400, "bad_request"},
		{"nothing at once", "GET", "/groups?limit=0", nil, 400, "bad_request"},
		{"an unknown state", "GET", "/users?state=sleepy", nil, 400, "bad_request"},
		{"a permission that is none", "PUT", RolePath("r"), RoleChange{Permissions: &[]accounts.Permission{{Topic: "a/#/b"}}}, 422, "invalid"},
		{"a permission with an unknown member", "PUT", RolePath("r"), raw(`{"permissions": [{"topic": "a", "when": "true"}]}`), 400, "bad_request"},
		{"export in an unknown format", "GET", "/accounts/export?format=xml", nil, 400, "bad_request"},
		{"export of hashes without asking for them", "GET", "/accounts/export?format=mosquitto", nil, 400, "bad_request"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := refused(t, p, tt.method, tt.path, tt.body, tt.status, tt.code)
			if strings.Contains(e.Message, hidden) || strings.Contains(p.log.String(), hidden) {
				t.Error("the password is told")
			}
		})
	}
	none := open(t, nil)
	for _, r := range routes() {
		if strings.HasPrefix(r.path, "/users") || strings.HasPrefix(r.path, "/roles") || strings.HasPrefix(r.path, "/groups") {
			refused(t, none, r.method, strings.ReplaceAll(r.path, "{name}", "x"), nil, 409, "no_accounts")
		}
	}
}

func TestAccountsAreImportedAndExported(t *testing.T) {
	p, db := openAccounts(t)
	upload := func(path, text string) (ImportResult, error) {
		var out ImportResult
		data, err := p.caller.Upload(p.ctx, path, []byte(text))
		if err == nil {
			err = json.Unmarshal(data, &out)
		}
		return out, err
	}
	const table = "name,password\nalice,pw one\nbob,pw two\n"
	dry, err := upload("/accounts/import?format=csv&dry_run=true", table)
	if err != nil || dry.Users.Added != 2 || !dry.DryRun || db.Counts().Users != 0 {
		t.Fatalf("%+v, %v", dry, err)
	}
	done, err := upload("/accounts/import?format=csv", table)
	if err != nil || done.Users.Added != 2 || db.Counts().Users != 2 {
		t.Fatalf("%+v, %v", done, err)
	}
	again, err := upload("/accounts/import?format=csv", "name,comment\nbob,x\n")
	if u, _ := db.User("bob"); err != nil || again.Users.Skipped != 1 || u.Comment != "" {
		t.Errorf("%+v, %v", again, err)
	}
	again, err = upload("/accounts/import?format=csv&mode=replace", "name,comment\nbob,x\nalice,\n")
	if u, _ := db.User("bob"); err != nil || again.Users.Changed != 1 || again.Users.Same != 1 || u.Comment != "x" || u.Password == "" {
		t.Errorf("%+v, %v", again, err)
	}
	_, err = upload("/accounts/import?format=csv", "name\ncarol\na+b\ncarol\n")
	if e, ok := err.(*Error); !ok || e.Code != "invalid" || len(e.Problems) != 2 || e.Problems[0].Line != 3 || e.Problems[1].Line != 4 || db.Counts().Users != 2 {
		t.Errorf("%+v", err)
	}
	for path, want := range map[string]int{
		"/accounts/import": 400, "/accounts/import?format=xls": 400, "/accounts/import?format=csv&mode=delete": 400, "/accounts/import?format=csv&dry_run=maybe": 400,
	} {
		if _, err := upload(path, table); err == nil || err.(*Error).Status != want {
			t.Errorf("%s: %v, want %d", path, err, want)
		}
	}
	if _, err := upload("/accounts/import?format=csv", ""); err == nil {
		t.Error("an empty file is imported")
	}
	if _, err := upload("/accounts/import?format=csv", strings.Repeat("x", maxImport+1)); err == nil || err.(*Error).Code != "too_large" {
		t.Errorf("a file that is too large: %v", err)
	}
	refused(t, p, "POST", "/accounts/import?format=csv", VersionRequest{}, 415, "media_type")

	alice, _ := db.User("alice")
	export := func(method, path string) string {
		in, err := p.caller.Stream(p.ctx, method, path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = in.Close() }()
		data, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	for path, secret := range map[string]bool{"GET /accounts/export?format=json": false, "GET /accounts/export?format=csv": false, "POST /accounts/export?format=json": true, "POST /accounts/export?format=csv": true, "POST /accounts/export?format=mosquitto": true} {
		method, path, _ := strings.Cut(path, " ")
		text := export(method, path)
		if strings.Contains(text, alice.Password) != secret || !strings.Contains(text, "alice") {
			t.Errorf("%s %s: %s", method, path, text)
		}
	}
	ask[UserResult](t, p, "PUT", UserPath("passwordless"), UserChange{})
	warned := ask[ExportResult](t, p, "POST", "/accounts/export?format=mosquitto&dry_run=true", nil)
	if len(warned.Warnings) != 1 || !strings.Contains(warned.Warnings[0], "left out") {
		t.Errorf("%+v", warned)
	}
	if log := p.log.String(); strings.Count(log, "action=accounts_import") != 4 || strings.Count(log, "action=accounts_export") != 3 || strings.Contains(log, "pw one") {
		t.Errorf("the log says %s", log)
	}
}

func TestOneImportAtATime(t *testing.T) {
	p, _ := openAccounts(t)
	p.importing.Lock()
	defer p.importing.Unlock()
	if _, err := p.caller.Upload(p.ctx, "/accounts/import?format=csv", []byte("name\na\n")); err == nil || err.(*Error).Code != "import_running" {
		t.Errorf("a second import: %v", err)
	}
}

func TestSecretsAreExportedWithTheirOwnPermission(t *testing.T) {
	p, db := openAccounts(t)
	if _, err := db.SetPassword("x", accounts.NewPassword{Plain: []byte("y")}, accounts.How{}); err == nil {
		t.Fatal("there is an account x")
	}
	reader := func(*http.Request) (Actor, bool) {
		return Actor{Name: "reader", Rights: []Permission{ReadAccounts, WriteAccounts}}, true
	}
	for method, want := range map[string]int{"GET": 200, "POST": 403} {
		w := httptest.NewRecorder()
		r := httptest.NewRequestWithContext(context.Background(), method, Base+"/accounts/export?format=json&dry_run=true", bytes.NewReader(nil))
		p.handler(reader).ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%s answers %d, want %d", method, w.Code, want)
		}
	}
}
