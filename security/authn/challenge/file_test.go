package challenge

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"sallyport/internal/scram"
	"sallyport/security/authn"
)

// written is a file with this content.
func written(t testing.TB, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "verifiers")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t testing.TB, path string) (*File, []authn.Warning) {
	t.Helper()
	f, warnings, err := OpenFile(FileOptions{Path: path, Iterations: scram.MinIterations})
	if err != nil {
		t.Fatal(err)
	}
	return f, warnings
}

// line is a user's, with a salt as long as nobody's.
func line(t testing.TB, user string, h scram.Hash, password string) string {
	t.Helper()
	v, err := scram.NewVerifier(h, password, []byte("sixteen bytes 16"), scram.MinIterations)
	if err != nil {
		t.Fatal(err)
	}
	return user + ":" + v.Encode() + "\n"
}

func TestFile(t *testing.T) {
	path := written(t, "# users\n\n"+line(t, "alice", scram.SHA256, "a")+line(t, "bob", scram.SHA512, "b")+strings.TrimSuffix(line(t, "alice", scram.SHA512, "a"), "\n")+"\r\n")
	f, warnings := open(t, path)
	if len(warnings) != 0 || f.Len() != 2 || f.Generation() != 1 {
		t.Errorf("%d users, generation %d, warnings %v", f.Len(), f.Generation(), warnings)
	}
	for _, tt := range []struct {
		name string
		h    scram.Hash
		want bool
	}{
		{"alice", scram.SHA256, true}, {"alice", scram.SHA512, true}, {"bob", scram.SHA512, true},
		{"bob", scram.SHA256, false}, {"mallory", scram.SHA256, false}, {"", scram.SHA256, false},
	} {
		v, known, err := f.Lookup(tt.name, tt.h)
		if known != tt.want || err != nil || known && v.Hash != tt.h {
			t.Errorf("Lookup(%q, %s) = %v, %v, %v", tt.name, tt.h, v, known, err)
		}
	}
	a, err := New(Options{Lookup: f.Lookup, Generation: f.Generation, Secret: func() []byte { return secret }})
	if err != nil {
		t.Fatal(err)
	}
	o := alice(scram.SHA512)
	o.Password = "a"
	if p, err := login(a, &authn.Credentials{}, o); err != nil || a.Generation() != 1 {
		t.Errorf("%v, %v", p, err)
	}
}

func TestFileMistakes(t *testing.T) {
	good := line(t, "alice", scram.SHA256, "a")
	keys := strings.TrimPrefix(good, "alice:")
	for name, tt := range map[string]struct{ content, want string }{
		"a password's hash":         {"alice:$7$1000$c2FsdA==$aGFzaA==\n", ":1: user \"alice\": not a verifier"},
		"no verifier":               {"alice\n", ":1: user \"alice\": not a verifier"},
		"too few iterations":        {strings.Replace(good, "$4096:", "$4095:", 1), "not a verifier"},
		"two of one hash":           {good + good, `:2: user "alice" has two verifiers of SCRAM-SHA-256`},
		"no name":                   {":" + keys, "user name is missing"},
		"a blank name":              {" :" + keys, "user name begins or ends with a blank"},
		"a name that is prepared":   {"\u2168:" + keys, `SASLprep makes it "IX"`},
		"a name with a control":     {"a\x07b:" + keys, "SASLprep refuses it"},
		"a name that is not UTF-8":  {"a\xffb:" + keys, "SASLprep refuses it"},
		"a name too long":           {strings.Repeat("a", MaxName+1) + ":" + keys, "longer than 1024 bytes"},
		"a line too long":           {strings.Repeat("a", MaxLine+1) + "\n", "line is longer than 4096 bytes"},
		"every mistake, with lines": {"x\n" + good + "y\n", ":3: user \"y\""},
	} {
		_, _, err := OpenFile(FileOptions{Path: written(t, tt.content)})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), strings.TrimSpace(keys)) {
			t.Errorf("%s: the error holds a verifier: %v", name, err)
		}
	}
	if _, _, err := OpenFile(FileOptions{Path: written(t, strings.Repeat("x\n", 1000))}); strings.Count(err.Error(), "\n") > maxMistakes {
		t.Errorf("%d mistakes are told", strings.Count(err.Error(), "\n"))
	}
	if _, _, err := OpenFile(FileOptions{Path: t.TempDir()}); err == nil {
		t.Error("a folder is read")
	}
	if _, _, err := OpenFile(FileOptions{Path: written(t, "#"+strings.Repeat("\n#", MaxFile/2))}); err == nil || !strings.Contains(err.Error(), "is larger than") {
		t.Errorf("a file that is too large: %v", err)
	}
}

func TestFileWarnings(t *testing.T) {
	exposed := written(t, line(t, "alice", scram.SHA256, "a"))
	if err := os.Chmod(exposed, 0o644); err != nil {
		t.Fatal(err)
	}
	salted, err := scram.NewVerifier(scram.SHA256, "a", []byte("seventeen bytes17"), scram.MinIterations)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		path       string
		iterations int
		exposed    bool
		want       string
	}{
		"no user":                     {written(t, "# nobody\n"), 4096, false, "holds no user"},
		"others can read it":          {exposed, 4096, true, "mode 0644"},
		"another count than nobody":   {written(t, line(t, "alice", scram.SHA256, "a")), 0, false, "line 1 and maybe others"},
		"a longer salt than nobody's": {written(t, "alice:"+salted.Encode()+"\n"), 4096, false, "a salt that is not of 16 bytes"},
	} {
		_, warnings, err := OpenFile(FileOptions{Path: tt.path, Iterations: tt.iterations})
		if err != nil || len(warnings) != 1 || warnings[0].Exposed != tt.exposed || !strings.Contains(warnings[0].Text, tt.want) {
			t.Errorf("%s: %v, %v", name, warnings, err)
		}
	}
}

func TestSwapNamesWhoseVerifierIsGone(t *testing.T) {
	a256, a512 := line(t, "alice", scram.SHA256, "a"), line(t, "alice", scram.SHA512, "a")
	b256 := line(t, "bob", scram.SHA256, "b")
	for name, tt := range map[string]struct {
		after            string
		removed, changed []string
	}{
		"nothing":           {a256 + a512 + b256, nil, nil},
		"another order":     {b256 + a512 + a256, nil, nil},
		"a new user":        {a256 + a512 + b256 + line(t, "carol", scram.SHA256, "c"), nil, nil},
		"a new verifier":    {a256 + a512 + b256 + line(t, "bob", scram.SHA512, "b"), nil, nil},
		"a user is gone":    {a256 + a512, []string{"bob"}, nil},
		"a verifier gone":   {a512 + b256, nil, []string{"alice"}},
		"another password":  {a256 + line(t, "alice", scram.SHA512, "z") + b256, nil, []string{"alice"}},
		"all of it another": {line(t, "carol", scram.SHA256, "c"), []string{"alice", "bob"}, nil},
	} {
		path := written(t, a256+a512+b256)
		f, _ := open(t, path)
		if err := os.WriteFile(path, []byte(tt.after), 0o600); err != nil {
			t.Fatal(err)
		}
		table, err := f.Load()
		if err != nil {
			t.Fatal(err)
		}
		if got := (func() int { v, _, _ := f.Lookup("alice", scram.SHA256); return v.Iterations })(); got != 4096 {
			t.Errorf("%s: Load has changed what is in force", name)
		}
		other, _ := open(t, path)
		want := authn.Changes{Removed: tt.removed, Changed: tt.changed}
		if got := other.Since(f); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: Since tells %v, want %v", name, got, want)
		}
		if got := f.Swap(table); !reflect.DeepEqual(got, want) || f.Generation() != 2 {
			t.Errorf("%s: Swap tells %v (generation %d), want %v", name, got, f.Generation(), want)
		}
	}
}

func TestAFileThatBecameEmpty(t *testing.T) {
	for _, allow := range []bool{false, true} {
		path := written(t, line(t, "alice", scram.SHA256, "a"))
		f, _, err := OpenFile(FileOptions{Path: path, AllowEmpty: allow})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Load(); errors.Is(err, authn.ErrEmpty) == allow {
			t.Errorf("allow_empty %v: %v", allow, err)
		}
	}
}

func TestEdit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "verifiers")
	made := func(h scram.Hash, password string) *scram.Verifier {
		v, err := scram.NewVerifier(h, password, []byte("sixteen bytes 16"), scram.MinIterations)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if err := DeleteUser(path, "alice"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("delete from no file: %v", err)
	}
	if _, err := Users(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("list no file: %v", err)
	}
	steps := []error{
		SetVerifiers(path, "alice", made(scram.SHA256, "a"), made(scram.SHA512, "a")),
		SetVerifiers(path, "bob", made(scram.SHA256, "b")),
		SetVerifiers(path, "alice", made(scram.SHA256, "z")),
	}
	if err := errors.Join(steps...); err != nil {
		t.Fatal(err)
	}
	users, err := Users(path)
	want := []User{{"bob", scram.SHA256, 4096}, {"alice", scram.SHA256, 4096}}
	if err != nil || !slices.Equal(users, want) {
		t.Errorf("%v, %v, want %v", users, err, want)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := SetVerifiers(path, "a:b", made(scram.SHA256, "a")); err == nil {
		t.Error("a name with a colon is written")
	}
	if err := SetVerifiers(path, "a\nb", made(scram.SHA256, "a")); err == nil {
		t.Error("a name with a line end is written")
	}
	if err := DeleteUser(path, "carol"); !errors.Is(err, authn.ErrNoUser) {
		t.Errorf("delete nobody: %v", err)
	}
	if err := DeleteUser(path, "bob"); err != nil {
		t.Error(err)
	}
	if f, _ := open(t, path); f.Len() != 1 {
		t.Errorf("%d users are left, want 1", f.Len())
	}
	// What is not ours to judge stays, and the last line gets its end.
	other := written(t, "# keep\nbroken line\ncarol:x")
	if err := SetVerifiers(other, "alice", made(scram.SHA256, "a")); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(other)
	if err != nil || !strings.HasPrefix(string(data), "# keep\nbroken line\ncarol:x\nalice:SCRAM-SHA-256$4096:") {
		t.Errorf("%q, %v", data, err)
	}
}

func FuzzVerifierFile(f *testing.F) {
	f.Add([]byte("# users\n" + line(f, "alice", scram.SHA256, "a") + line(f, "alice", scram.SHA512, "a")))
	f.Add([]byte("alice:SCRAM-SHA-256$4096:c2FsdA==$a:b\r\n"))
	f.Add([]byte(":\n\x00:\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		table, err := parseTable(FileOptions{Path: "f", Iterations: 4096}, data)
		if err != nil {
			return
		}
		for name, k := range table.users {
			if err := CheckName(name); err != nil {
				t.Errorf("%q is a user: %v", name, err)
			}
			if k.sha256 == nil && k.sha512 == nil {
				t.Errorf("%q has no verifier", name)
			}
			for _, h := range []scram.Hash{scram.SHA256, scram.SHA512} {
				if v := *k.of(h); v != nil && (v.Hash != h || !strings.Contains(string(data), v.Encode())) {
					t.Errorf("%q has %s for %s, which is not in the file", name, v, h)
				}
			}
		}
	})
}
