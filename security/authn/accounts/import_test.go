package accounts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"sallyport/security/authn"
)

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func parse(t testing.TB, f Format, data string) (*Batch, []Warning) {
	t.Helper()
	b, warnings, err := Parse(f, []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return b, warnings
}

// imports imports a document and fails if that fails.
func (f *fixture) imports(t testing.TB, format Format, data string, o ImportOptions) *Report {
	t.Helper()
	b, _ := parse(t, format, data)
	r, err := f.Import(t.Context(), b, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (f *fixture) logsIn(t testing.TB, name, password string) bool {
	t.Helper()
	_, err := member(t, f).Authenticate(t.Context(), login(name, password))
	return err == nil
}

func TestImportFileRBAC(t *testing.T) {
	f := open(t)
	b, warnings := parse(t, FileRBAC, string(read(t, "credentials.xml")))
	r, err := f.Import(t.Context(), b, ImportOptions{})
	if err != nil || len(warnings) != 0 || r.Count("added") != 4 || r.Kept != 4 {
		t.Fatalf("%+v, %v, %v", r, warnings, err)
	}
	if !f.logsIn(t, "pump-1", "pass1") || !f.logsIn(t, "pump-2", "pass1") || f.logsIn(t, "pump-1", "pass2") {
		t.Error("the passwords are not those of the file")
	}
	pump, _ := f.Role("pump")
	watch, _ := f.Role("watch")
	if want := []Permission{{Topic: "pumps/${clientid}/#"}, {Topic: "state/${username}", Action: "publish", QoS: []int{0, 1}, Retain: "retained"}}; !reflect.DeepEqual(pump.Permissions, want) {
		t.Errorf("pump may %v, want %v", pump.Permissions, want)
	}
	if want := []Permission{{Topic: "pumps/#", Action: "subscribe", Shared: "all", Group: "watchers"}}; !reflect.DeepEqual(watch.Permissions, want) {
		t.Errorf("watch may %+v, want %+v", watch.Permissions, want)
	}
	if u, _ := f.User("pump-2"); !reflect.DeepEqual(u.Roles, []string{"pump", "watch"}) {
		t.Errorf("roles %v", u.Roles)
	}
	if _, _, err := Parse(PlainRBAC, read(t, "credentials.xml")); err == nil || !strings.Contains(err.Error(), "is its password-type HASHED?") {
		t.Errorf("hashes in the place of passwords: %v", err)
	}
	plain := strings.NewReplacer("<password>WFN", "<password>x", "<password>TUh", "<password>y").Replace(string(read(t, "credentials.xml")))
	g := open(t)
	g.imports(t, PlainRBAC, plain, ImportOptions{})
	if !g.logsIn(t, "pump-2", "y5SWZlWmRNNzJQeXU0UkF2QmVKZXBBWFl6VU1Jc28=:gDR4bZ8kABBEL0WBflf09IMJahRlb1KGL2wJydlyWElfIu1F65SSU+RZZpjzy+vT4dDPJxiBSHM07wr56+bKsA==") {
		t.Error("a plain password is another one")
	}
	if u, _ := g.User("pump-2"); !strings.HasPrefix(u.Password, "$argon2id$") {
		t.Errorf("a plain password is %.12q", u.Password)
	}
}

func TestImportFileRealm(t *testing.T) {
	f := open(t)
	b, warnings := parse(t, FileRealm, string(read(t, "ese-file-realm.xml")))
	if _, err := f.Import(t.Context(), b, ImportOptions{}); err != nil {
		t.Fatal(err)
	}
	want := []Warning{
		{24, `user "carol": the password looks like a hash, and is not imported: set it anew`},
		{38, "the users of control-center are not imported: they are not of MQTT"},
		{41, "the users of rest-api are not imported: they are not of MQTT"},
	}
	if !reflect.DeepEqual(warnings, want) {
		t.Errorf("warnings %v, want %v", warnings, want)
	}
	if !f.logsIn(t, "alice", "wonder&land") || !f.logsIn(t, "bob", "builder") {
		t.Error("the passwords are not those of the file")
	}
	for _, u := range f.keeper.records {
		if bytes.Contains(u, []byte("builder")) || bytes.Contains(u, []byte("wonder")) {
			t.Errorf("a plain password is kept: %s", u)
		}
	}
	if carol, _ := f.User("carol"); carol.Password != "" || f.logsIn(t, "carol", "pass1") {
		t.Error("what looks like a hash is a password")
	}
	if _, there := f.User("admin"); there {
		t.Error("a user of the console is a user of MQTT")
	}
	bob, _ := f.User("bob")
	own, _ := f.Role("user.bob")
	if !reflect.DeepEqual(bob.Roles, []string{"user.bob"}) ||
		!reflect.DeepEqual(own.Permissions, []Permission{{Topic: "sites/${clientid}/+", QoS: []int{1, 2}, Shared: "not_shared"}}) {
		t.Errorf("bob has %v, which may %+v", bob.Roles, own.Permissions)
	}
}

func TestHiveMQRefused(t *testing.T) {
	rbac := func(user, role string) string {
		return "<file-rbac>\n<users>\n" + user + "</users><roles>" + role + "</roles></file-rbac>"
	}
	user := func(in string) string {
		return rbac("<user><name>u</name>"+in+"</user>", "<role><id>r</id><permissions><permission><topic>t</topic></permission></permissions></role>")
	}
	role := func(in string) string {
		return rbac("", "<role><id>r</id><permissions><permission>"+in+"</permission></permissions></role>")
	}
	const hash = "<password>TUh5SWZlWmRNNzJQeXU0UkF2QmVKZXBBWFl6VU1Jc28=:gDR4bZ8kABBEL0WBflf09IMJahRlb1KGL2wJydlyWElfIu1F65SSU+RZZpjzy+vT4dDPJxiBSHM07wr56+bKsA==</password>"
	deep := strings.Repeat("<a>", 100) + strings.Repeat("</a>", 100)
	tests := []struct{ name, data, want string }{
		{"nothing", "", "ends before it is complete"},
		{"no XML", "secretword", "outside of its root"},
		{"half a document", "<file-rbac><users>", "is not XML"},
		{"another root", "<hivemq/>", "begins with <hivemq>"},
		{"two roots", "<file-rbac/><file-rbac/>", "more than one root"},
		{"text behind", "<file-rbac/>secretword", "outside of its root"},
		{"a document type", "<!DOCTYPE x [<!ENTITY a \"secretword\">]><file-rbac/>", "document type"},
		{"an entity", "<file-rbac>&a;</file-rbac>", "entity"},
		{"another encoding", "<?xml version=\"1.0\" encoding=\"UTF-16\"?><file-rbac/>", "is not XML"},
		{"elements that are too deep", "<file-rbac>" + deep + "</file-rbac>", "too deep"},
		{"a plain password where hashes are", user("<password>secretword</password><roles><id>r</id></roles>"), "is its password-type PLAIN?"},
		{"no password", user("<roles><id>r</id></roles>"), "has no password"},
		{"a role that is nowhere", user(hash + "<roles><id>x</id></roles>"), `has the role "x"`},
		{"an element that is not known in a user", user(hash + "<only-from>10.0.0.1</only-from>"), "<only-from> is not known"},
		{"a password twice", user(hash + hash), "is there twice"},
		{"an element that is no user", rbac("<admin/>", ""), "<admin> is not known in <users>"},
		{"a user twice", rbac("<user><name>u</name>"+hash+"</user><user><name>u</name>"+hash+"</user>", ""), "is already on line"},
		{"a name with a wildcard", rbac("<user><name>u+</name>"+hash+"</user>", ""), "wildcards"},
		{"a role without an id", rbac("", "<role><permissions/></role>"), "is missing"},
		{"a role twice", rbac("", "<role><id>r</id></role><role><id>r</id></role>"), "is there twice"},
		{"a permission without a topic", role(""), "topic"},
		{"a restriction that is not known", role("<topic>t</topic><when>never</when>"), "<when> is not known"},
		{"an unknown activity", role("<topic>t</topic><activity>READ</activity>"), "<activity>"},
		{"an unknown QoS", role("<topic>t</topic><qos>THREE</qos>"), "<qos>"},
		{"an unknown word for retain", role("<topic>t</topic><retain>NO</retain>"), "<retain>"},
		{"an unknown placeholder", role("<topic>${secret}</topic>"), "permission for"},
		{"a bad share name", role("<topic>t</topic><shared-group>a/b</shared-group>"), "group"},
	}
	for _, tt := range tests {
		_, _, err := Parse(FileRBAC, []byte(tt.data))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		} else if strings.Contains(err.Error(), "secretword") || strings.Contains(err.Error(), "gDR4") {
			t.Errorf("%s: the error holds the secret: %v", tt.name, err)
		}
	}
	if _, _, err := Parse(FileRealm, []byte(`<ese-file-realm version="2"/>`)); err == nil {
		t.Error("another version of a file realm is read")
	}
	if _, warnings, err := Parse(FileRealm, []byte(`<ese-file-realm><more/><mqtt><more/></mqtt></ese-file-realm>`)); err != nil || len(warnings) != 2 {
		t.Errorf("parts that are not known: %v, %v", warnings, err)
	}
	if _, _, err := Parse("xml", nil); err == nil {
		t.Error("an unknown format is read")
	}
}

// everything is a database with all that an account can have.
func everything(t testing.TB) *fixture {
	f := open(t)
	h := cheap
	h.SCRAM = []string{"SCRAM-SHA-256", "SCRAM-SHA-512"}
	if err := f.Tune(authn.Limits{}, h); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		second(f.AddRole(Role{Name: "r;1", Comment: "=1+1", Permissions: []Permission{
			{Deny: true, Topic: "a/${username}/#", Action: "publish", QoS: []int{0, 2}, Retain: "not_retained"},
			{Topic: "b", Shared: "shared", Group: "g"}}}, How{})),
		second(f.AddGroup(Group{Name: `g\`, Roles: []string{"r;1"}}, How{})),
		second(f.AddUser(User{
			Name: "=cmd", Kind: Device, Groups: []string{`g\`}, Roles: []string{"r;1"}, Comment: `'@quote "x", and more`,
			Attributes: map[string]string{"site": "-1", "=x": "'"}, Locked: true, LockedUntil: noon.Add(time.Hour),
			ValidFrom: noon, ValidUntil: noon.Add(24 * time.Hour), ClientIDs: []string{"a;b*", "-c"},
			Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::1/128")},
		}, How{})),
		second(f.SetPassword("=cmd", NewPassword{Plain: []byte("pw")}, How{})),
		second(f.AddUser(User{Name: "off", Disabled: true, Password: oldHash}, How{})),
		second(f.AddUser(User{Name: "plain"}, How{})),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	f.told()
	return f
}

// users is the accounts of a database without what differs with each.
func (f *fixture) all() (users []User) {
	users, _ = f.Users("", 1000, nil)
	for i := range users {
		users[i].Version, users[i].Created, users[i].Changed = 0, time.Time{}, time.Time{}
	}
	return users
}

func TestExportsAreReadBack(t *testing.T) {
	f := everything(t)
	exports := map[Format]func(*bytes.Buffer, bool) error{
		JSON: func(b *bytes.Buffer, secrets bool) error { return f.ExportJSON(b, secrets) },
		CSV:  func(b *bytes.Buffer, secrets bool) error { return f.ExportCSV(b, secrets) },
	}
	for format, export := range exports {
		for _, secrets := range []bool{true, false} {
			var b bytes.Buffer
			if err := export(&b, secrets); err != nil {
				t.Fatal(err)
			}
			if !secrets && (strings.Contains(b.String(), "$argon2id$") || strings.Contains(b.String(), "SCRAM-SHA")) {
				t.Errorf("%s without secrets has some:\n%s", format, b.String())
			}
			g := open(t)
			g.imports(t, format, b.String(), ImportOptions{AllowUnknown: format == CSV})
			want := f.all()
			if !secrets {
				for i := range want {
					want[i].Password, want[i].SCRAM = "", nil
				}
			}
			if got := g.all(); !reflect.DeepEqual(got, want) {
				t.Errorf("%s (secrets %t) is read as\n%#v, want\n%#v\n%s", format, secrets, got, want, b.String())
			}
			if format == JSON && (len(g.Roles()) != 1 || len(g.Groups()) != 1 ||
				!reflect.DeepEqual(g.Roles()[0].Permissions, f.Roles()[0].Permissions)) {
				t.Errorf("roles %+v, groups %+v", g.Roles(), g.Groups())
			}
			// Over what it was made of, it changes nothing: who has a secret keeps it.
			r := f.imports(t, format, b.String(), ImportOptions{Replace: true, AllowUnknown: true})
			if r.Count("same") != len(r.Effects) || len(f.told()) != 0 {
				t.Errorf("%s (secrets %t) over itself: %+v", format, secrets, r.Effects)
			}
		}
	}
}

// A spreadsheet must take no cell for a formula.
func TestCSVHoldsNoFormulas(t *testing.T) {
	f := everything(t)
	var b bytes.Buffer
	if err := f.ExportCSV(&b, true); err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(b.String(), "\r\n") {
		for _, cell := range strings.Split(line, ",") {
			if cell = strings.TrimPrefix(cell, `"`); cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r") {
				t.Errorf("cell %q in %q", cell, line)
			}
		}
	}
	for _, cell := range []string{"", "'", "''", "'=", "=1", "'a", "a", "-", "'''", "@", "+1'"} {
		if got := unguard(guard(cell)); got != cell {
			t.Errorf("%q is read back as %q", cell, got)
		}
	}
	for _, list := range [][]string{nil, {"a"}, {`a;b`, `\`, `\;`}, {`a\\`, "b"}} {
		if got := splitList(joinList(list)); !reflect.DeepEqual(got, list) {
			t.Errorf("%q is read back as %q", list, got)
		}
	}
}

func TestImportCSV(t *testing.T) {
	f := open(t)
	f.add(t, User{Name: "a", Comment: "old", Roles: []string{"x"}, Attributes: map[string]string{"room": "7"}, Password: mustHash(t, "old")})
	data := "\xef\xbb\xbfname,password,groups,attr.site,disabled\r\na,=new,g1;g2,north,\r\nb,,,,yes\r\n\"c\",\"with, \"\"quotes\"\"\",,,\r\n"
	if r := f.imports(t, CSV, data, ImportOptions{AllowUnknown: true}); r.Count("skipped") != 1 || r.Count("added") != 2 {
		t.Errorf("added only: %+v", r.Effects)
	}
	if u, _ := f.User("a"); u.Comment != "old" || len(u.Groups) != 0 || !f.logsIn(t, "a", "old") {
		t.Errorf("an account that is there was changed: %+v", u)
	}
	if r := f.imports(t, CSV, data, ImportOptions{AllowUnknown: true, Replace: true}); r.Count("changed") != 1 || r.Count("same") != 2 {
		t.Errorf("replaced: %+v", r.Effects)
	}
	u, _ := f.User("a")
	if u.Comment != "old" || !reflect.DeepEqual(u.Groups, []string{"g1", "g2"}) || !reflect.DeepEqual(u.Roles, []string{"x"}) || u.Attributes["site"] != "north" {
		t.Errorf("columns that are not there change something: %+v", u)
	}
	if len(u.Attributes) != 1 {
		t.Errorf("beside a column of one attribute, others stay: %v", u.Attributes)
	}
	b, _ := f.User("b")
	if !f.logsIn(t, "a", "=new") || f.logsIn(t, "a", "old") || !f.logsIn(t, "c", `with, "quotes"`) || !b.Disabled || b.Password != "" {
		t.Error("passwords are not those of the table")
	}
	if r := f.imports(t, CSV, data, ImportOptions{AllowUnknown: true, Replace: true}); r.Count("same") != 3 {
		t.Errorf("the same table again: %+v", r.Effects)
	}
}

func TestDocumentsRefused(t *testing.T) {
	tests := []struct {
		name   string
		format Format
		data   string
		want   string
	}{
		{"CSV of nothing", CSV, "", "line 1: has no row"},
		{"CSV without names", CSV, "groups\n", "no column name"},
		{"CSV of an unknown column", CSV, "name,only_from\n", `"only_from" is not known`},
		{"CSV of a column twice", CSV, "name,name\n", "there twice"},
		{"CSV of two kinds of passwords", CSV, "name,password,password_hash\n", "one of them"},
		{"CSV of an attribute without a name", CSV, "name,attr.\n", "is not known"},
		{"CSV with a cell too many", CSV, "name,groups\na,b\nc,secretword,d\n", "line 3: wrong number of fields"},
		{"CSV with a broken quote", CSV, "name,groups\n\"a,secretword\n", "line 2"},
		{"CSV with a broken hash", CSV, "name,password_hash\na,secretword\n", "line 2: column password_hash"},
		{"CSV with a broken moment", CSV, "name,valid_until\na,secretword\n", "must be a moment"},
		{"CSV with a broken network", CSV, "name,addresses\na,secretword\n", "must be networks"},
		{"CSV with a broken boolean", CSV, "name,disabled\na,secretword\n", "true or false"},
		{"CSV with a user twice", CSV, "name\na\nb\na\n", `line 4: user "a" is already on line 2`},
		{"CSV with a wildcard", CSV, "name\n'+a\n", "wildcards"},
		{"CSV with a verifier that is none", CSV, "name,scram\na,secretword\n", "scram"},
		{"JSON of nothing", JSON, "", "is not JSON"},
		{"JSON that is an array", JSON, "[]", "is not JSON"},
		{"JSON without a version", JSON, "{}", "names no version"},
		{"JSON of another version", JSON, `{"version":2}`, "version must be 1"},
		{"JSON with an unknown part", JSON, `{"version":1,"acl":[]}`, "no part"},
		{"JSON with a part twice", JSON, `{"version":1,"version":1}`, "is there twice"},
		{"JSON with an unknown field", JSON, `{"version":1,"users":[{"name":"a","only_from":"secretword"}]}`, `"only_from" is not known`},
		{"JSON with a field in other letters", JSON, `{"version":1,"users":[{"name":"a","Disabled":true}]}`, `"Disabled" is not known`},
		{"JSON with a user's field in a group", JSON, `{"version":1,"groups":[{"name":"a","disabled":true}]}`, `"disabled" is not known`},
		{"JSON with nothing for a user", JSON, `{"version":1,"users":[null]}`, "is missing"},
		{"JSON with a wrong type", JSON, "{\"version\":1,\n\"users\":[\n{\"name\":\"a\"},\n{\"name\":17}]}", "line 4: field name has a value of the wrong type"},
		{"JSON with a broken moment", JSON, `{"version":1,"users":[{"name":"a","valid_until":"secretword"}]}`, "a value can't be read"},
		{"JSON with a broken hash", JSON, `{"version":1,"users":[{"name":"a","password":"secretword"}]}`, "password"},
		{"JSON with a user twice", JSON, `{"version":1,"users":[{"name":"a"},{"name":"a"}]}`, "already on line 1"},
		{"JSON with a group twice", JSON, `{"version":1,"groups":[{"name":"a"},{"name":"a"}]}`, "twice"},
		{"JSON with a bad permission", JSON, `{"version":1,"roles":[{"name":"a","permissions":[{"topic":"a+"}]}]}`, "permissions[0]"},
		{"JSON cut off", JSON, `{"version":1,"users":[{"name":"a","password":"secretword`, "line 1"},
		{"JSON with more behind", JSON, `{"version":1}{}`, "more than one document"},
		{"a password file with a plain password", Mosquitto, "a:" + oldHash + "\nb:secretword\n", "line 2"},
		{"a password file with a user twice", Mosquitto, "a:" + oldHash + "\na:" + oldHash + "\n", "line 2"},
		{"a password file with a wildcard", Mosquitto, "a+:" + oldHash + "\n", "wildcards"},
	}
	for _, tt := range tests {
		b, _, err := Parse(tt.format, []byte(tt.data))
		if err == nil || b != nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		} else if strings.Contains(err.Error(), "secretword") || strings.Contains(err.Error(), "oZAB") {
			t.Errorf("%s: the error holds the secret: %v", tt.name, err)
		}
	}
	if _, _, err := Parse(CSV, make([]byte, MaxDocument+1)); err == nil {
		t.Error("a document of more than 64 MiB is read")
	}
	many := "name\n" + strings.Repeat("+\n", 10_000)
	if _, _, err := Parse(CSV, []byte(many)); strings.Count(err.Error(), "\n") > maxMistakes+1 {
		t.Errorf("%d mistakes are told", strings.Count(err.Error(), "\n"))
	}
}

func TestImportedPasswordsGetVerifiers(t *testing.T) {
	h := cheap
	h.SCRAM = []string{"SCRAM-SHA-256"}
	f := open(t, func(o *Options) { o.Hashing = h })
	f.add(t, User{Name: "a"}, User{Name: "b", Password: oldHash})
	const table = "name,password\na,one\nb,two\nc,three\n"
	dry := f.imports(t, CSV, table, ImportOptions{DryRun: true, Replace: true})
	if r := f.imports(t, CSV, table, ImportOptions{Replace: true}); !reflect.DeepEqual(r.Effects, dry.Effects) || r.Count("changed") != 2 {
		t.Errorf("a dry run told %v, and it was %v", dry.Effects, r.Effects)
	}
	for _, u := range f.all() {
		if _, methods := u.Credentials(); !reflect.DeepEqual(methods, h.SCRAM) {
			t.Errorf("%s has verifiers of %v", u.Name, methods)
		}
	}
	f.imports(t, CSV, "name,password_hash\na,"+oldHash+"\n", ImportOptions{Replace: true})
	if a, _ := f.User("a"); len(a.SCRAM) != 0 {
		t.Error("a verifier of the password before is left")
	}
}

func TestDocumentsAreBounded(t *testing.T) {
	p := &parsing{users: map[string]int{}}
	p.batch = Batch{users: make([]entry, maxBatch-1), groups: make([]groupEntry, maxBatchRoles-1), roles: make([]roleEntry, maxBatchRoles-1)}
	p.csv([]byte("name\na\nb\n+\n"))
	want := []error{&DocumentError{3, "has more than 250000 users: import it in parts"}}
	if !reflect.DeepEqual(p.mistakes, want) || len(p.batch.users) != maxBatch {
		t.Errorf("%d users: %v, want %v and nothing read behind it", len(p.batch.users), p.mistakes, want)
	}
	for _, name := range []string{"a", "b"} {
		p.addGroup(4, Group{Name: name}, 0)
		p.addRole(5, Role{Name: name}, 0)
	}
	want = append(want, &DocumentError{4, "has more than 10000 groups: import it in parts"}, &DocumentError{5, "has more than 10000 roles: import it in parts"})
	if !reflect.DeepEqual(p.mistakes, want) {
		t.Errorf("groups and roles: %v, want %v", p.mistakes, want)
	}
}

func TestDryRunChangesNothing(t *testing.T) {
	f := open(t)
	f.add(t, User{Name: "alice", Password: mustHash(t, "wonder&land")}, User{Name: "bob", Password: mustHash(t, "another")})
	before := f.all()
	data := string(read(t, "ese-file-realm.xml"))
	r := f.imports(t, FileRealm, data, ImportOptions{DryRun: true, Replace: true})
	if !reflect.DeepEqual(f.all(), before) || f.Counts().Roles != 0 || len(f.told()) != 0 || r.Kept != 0 {
		t.Errorf("a dry run changed something: %+v", f.Counts())
	}
	real := f.imports(t, FileRealm, data, ImportOptions{Replace: true})
	if !reflect.DeepEqual(r.Effects, real.Effects) || real.Kept != 5 {
		t.Errorf("a dry run told %v, and it was %v (%d kept)", r.Effects, real.Effects, real.Kept)
	}
	if _, err := f.Import(t.Context(), &Batch{users: []entry{{user: User{Name: "x", Groups: []string{"nowhere"}}, line: 7}}}, ImportOptions{DryRun: true}); err == nil || !strings.Contains(err.Error(), "line 7") {
		t.Errorf("a dry run with an unknown group: %v", err)
	}
}

// countingKeeper counts what is kept at once.
type countingKeeper struct {
	Memory
	sizes []int
	fail  int // the Keep that fails, from 1
}

func (c *countingKeeper) Keep(changes []Record) error {
	c.sizes = append(c.sizes, len(changes))
	if len(c.sizes) == c.fail {
		return errors.New("disk is full")
	}
	return c.Memory.Keep(changes)
}

func TestLargeImportsAreKeptInParts(t *testing.T) {
	b := &Batch{roles: []roleEntry{{role: Role{Name: "r"}}}, groups: []groupEntry{{group: Group{Name: "g", Roles: []string{"r"}}}}}
	for i := range maxTransaction + 10 {
		b.users = append(b.users, entry{user: User{Name: fmt.Sprintf("u%06d", i), Groups: []string{"g"}}})
	}
	k := &countingKeeper{}
	f := open(t, func(o *Options) { o.Keeper = k })
	r, err := f.Import(t.Context(), b, ImportOptions{})
	if err != nil || !reflect.DeepEqual(k.sizes, []int{maxTransaction, 12}) || r.Kept != maxTransaction+12 {
		t.Errorf("kept %v, %d in all, %v", k.sizes, r.Kept, err)
	}
	k = &countingKeeper{fail: 2}
	f = open(t, func(o *Options) { o.Keeper = k })
	r, err = f.Import(t.Context(), b, ImportOptions{})
	if err == nil || r.Kept != maxTransaction || f.Counts().Users != maxTransaction-2 {
		t.Errorf("where the second fails %d are kept, %d users are there, %v", r.Kept, f.Counts().Users, err)
	}
	if r, err = f.Import(t.Context(), b, ImportOptions{}); err != nil || r.Count("added") != 12 || f.Counts().Users != maxTransaction+10 {
		t.Errorf("again: %d added, %v", r.Count("added"), err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := open(t).Import(ended, b, ImportOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("an import that is given up: %v", err)
	}
}

// between calls back whenever an import asks whether it is to go on.
type between struct {
	context.Context
	back func()
}

func (b between) Err() error {
	b.back()
	return b.Context.Err()
}

// Who locks somebody out does not wait for the end of a long import, and is not undone by it.
func TestALongImportLetsOthersChangeAccounts(t *testing.T) {
	b := &Batch{}
	for i := range 2*maxTransaction + 10 {
		b.users = append(b.users, entry{user: User{Name: fmt.Sprintf("u%06d", i), Comment: "imported"}, sets: setComment})
	}
	last := b.users[len(b.users)-1].user.Name
	f := open(t)
	f.add(t, User{Name: last})
	locked := false
	ctx := between{t.Context(), func() {
		if !f.changing.TryLock() {
			t.Error("an import that could be ended keeps all others out")
			return
		}
		f.changing.Unlock()
		if !locked && f.Counts().Users > 1 { // the first part is kept
			locked = true
			if _, err := f.Disable(last, How{}); err != nil {
				t.Error(err)
			}
		}
	}}
	r, err := f.Import(ctx, b, ImportOptions{Replace: true})
	if err != nil || !locked || r.Count("added") != 2*maxTransaction+9 || r.Count("changed") != 1 || r.Kept != len(b.users) {
		t.Errorf("%d added, %d changed, %d kept, %v", r.Count("added"), r.Count("changed"), r.Kept, err)
	}
	if u, _ := f.User(last); !u.Disabled || u.Comment != "imported" {
		t.Errorf("disabled %t, comment %q", u.Disabled, u.Comment)
	}
}

func TestMosquittoBothWays(t *testing.T) {
	f := everything(t)
	f.add(t, User{Name: "old", Password: oldHash}, User{Name: "new", Password: mustHash(t, "x")}, User{Name: "away", Password: oldHash, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}},
		User{Name: "salt", Password: "TUh5SWZlWmRNNzJQeXU0UkF2QmVKZXBBWFl6VU1Jc28=:gDR4bZ8kABBEL0WBflf09IMJahRlb1KGL2wJydlyWElfIu1F65SSU+RZZpjzy+vT4dDPJxiBSHM07wr56+bKsA=="},
		User{Name: "crypt", Password: "$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e"})
	left := map[string][]string{
		string(Mosquitto): {"=cmd", "crypt", "new", "off", "plain", "salt"},
		string(Mosq21):    {"=cmd", "crypt", "off", "plain"},
	}
	for format, want := range left {
		var b bytes.Buffer
		warnings, err := f.ExportMosquitto(&b, Format(format))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		lost := 0
		for _, w := range warnings {
			if name, is := strings.CutPrefix(w.Text, "user "); is && strings.Contains(name, " is left out: ") {
				got = append(got, strings.Trim(name[:strings.Index(name, " is left")], `"`))
			} else {
				lost++
			}
		}
		if !reflect.DeepEqual(got, want) || lost != 1 {
			t.Errorf("%s leaves out %q, want %q; %v", format, got, want, warnings)
		}
		g := open(t)
		g.imports(t, Format(format), b.String(), ImportOptions{})
		if !g.logsIn(t, "old", oldPassword) || g.Counts().Users != 8-len(want) {
			t.Errorf("%s is read as %d users", format, g.Counts().Users)
		}
	}
	f.imports(t, Mosquitto, "old:"+mustHash(t, "y")+"\n", ImportOptions{Replace: true})
	if f.imports(t, Mosquitto, "away:"+mustHash(t, "y")+"\n", ImportOptions{Replace: true}); !f.logsIn(t, "away", "y") {
		t.Error("the password was not replaced")
	}
	if u, _ := f.User("away"); len(u.Addresses) != 1 {
		t.Error("a password file took the addresses away")
	}
}

func TestBatchesTellNoSecrets(t *testing.T) {
	b, _ := parse(t, CSV, "name,password\na,secretword\n")
	if got := fmt.Sprintf("%v %+v %#v", b, b, b); strings.Contains(got, "secretword") {
		t.Errorf("%s", got)
	}
	b.Wipe()
	if b.users[0].plain != nil {
		t.Error("the password is left")
	}
}
