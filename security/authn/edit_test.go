package authn

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

func TestEditKeepsOtherLines(t *testing.T) {
	hash := mustHash(t, SHA512, "x")
	const odd = "# plant\r\n\n  alice : $6$old\r\nbroken line\nbob:$7$old"
	tests := []struct {
		name, before, want string
		edit               func(path string) error
	}{
		{"set replaces the line and keeps its end", odd, "# plant\r\n\nalice:" + hash + "\r\nbroken line\nbob:$7$old",
			func(p string) error { return set(p, "alice", hash, false) }},
		{"set replaces the last line without an end", odd, "# plant\r\n\n  alice : $6$old\r\nbroken line\nbob:" + hash,
			func(p string) error { return set(p, "bob", hash, false) }},
		{"set appends a new user", odd, odd + "\ncarol:" + hash + "\n",
			func(p string) error { return set(p, "carol", hash, true) }},
		{"set fills an empty file", "", "carol:" + hash + "\n",
			func(p string) error { return set(p, "carol", hash, true) }},
		{"a user in a comment is none", "#carol:x\n", "#carol:x\ncarol:" + hash + "\n",
			func(p string) error { return set(p, "carol", hash, true) }},
		{"delete removes the line", odd, "# plant\r\n\nbroken line\nbob:$7$old",
			func(p string) error { return DeleteUser(p, "alice") }},
		{"delete removes the last line", odd, "# plant\r\n\n  alice : $6$old\r\nbroken line\n",
			func(p string) error { return DeleteUser(p, "bob") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "passwd")
			if err := os.WriteFile(path, []byte(tt.before), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := tt.edit(path); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(path)
			if err != nil || string(got) != tt.want {
				t.Errorf("content %q, %v; want %q", got, err, tt.want)
			}
			checkMode(t, path)
			if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) > 0 {
				t.Errorf("temporary files are left: %v", left)
			}
		})
	}
}

func set(path, user, encoded string, added bool) error {
	got, err := SetPassword(path, user, encoded)
	if err == nil && got != added {
		return errors.New("SetPassword tells new and old users apart wrongly")
	}
	return err
}

func checkMode(t *testing.T, path string) {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st.Mode().Perm() != 0o600 && runtime.GOOS != "windows" {
		t.Errorf("mode is %04o, want 0600", st.Mode().Perm())
	}
}

func TestEditMakesAndListsAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "passwd")
	_, secret, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	for user, encoded := range map[string]string{"alice": mustHash(t, Argon2id, "wonder"), "dev": secret} {
		if err := set(path, user, encoded, true); err != nil {
			t.Fatal(err)
		}
	}
	checkMode(t, path)
	users, err := Users(path)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]Algorithm{}
	for _, u := range users {
		got[u.Name] = u.Algorithm
	}
	if want := map[string]Algorithm{"alice": Argon2id, "dev": GeneratedSecret}; !reflect.DeepEqual(got, want) {
		t.Errorf("users %v, want %v", got, want)
	}
	p := openFile(t, path, nil)
	if _, err := p.Authenticate(t.Context(), login("alice", "wonder")); err != nil {
		t.Errorf("what was written is not accepted: %v", err)
	}
}

func TestEditFollowsALink(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links need a privilege here")
	}
	target := writeFile(t)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if err := set(link, "alice", mustHash(t, SHA512, "x"), true); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Lstat(link); err != nil || st.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link was replaced: %v, %v", st, err)
	}
	if users, err := Users(target); err != nil || len(users) != 1 {
		t.Errorf("the target holds %v, %v", users, err)
	}
}

func TestEditRefuses(t *testing.T) {
	hash := mustHash(t, SHA512, "x")
	tests := []struct{ name, user, encoded, content string }{
		{"an empty name", "", hash, ""},
		{"a colon in the name", "a:b", hash, ""},
		{"a line break in the name", "a\nb", hash, ""},
		{"a name that reads as a comment", "#a", hash, ""},
		{"a blank before the name", " a", hash, ""},
		{"a name that is not UTF-8", "a\xff", hash, ""},
		{"a long name", strings.Repeat("a", 1025), hash, ""},
		{"a plain password", "a", "secret", ""},
		{"a hash with a line break", "a", hash + "\nroot:x", ""},
		{"a user that is there twice", "a", hash, "a:1\na:2\n"},
	}
	for _, tt := range tests {
		path := writeFile(t, tt.content)
		if _, err := SetPassword(path, tt.user, tt.encoded); err == nil {
			t.Errorf("%s is accepted", tt.name)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != tt.content {
			t.Errorf("%s: the file was changed to %q", tt.name, got)
		}
	}
	path := writeFile(t, "a:1\n")
	if err := DeleteUser(path, "b"); !errors.Is(err, ErrNoUser) {
		t.Errorf("deleting an unknown user: %v", err)
	}
	if err := DeleteUser(filepath.Join(t.TempDir(), "missing"), "b"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("deleting from a missing file: %v", err)
	}
	if _, err := Users(filepath.Join(t.TempDir(), "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("listing a missing file: %v", err)
	}
	if _, err := SetPassword(filepath.Join(t.TempDir(), "no", "such", "folder"), "a", hash); err == nil {
		t.Error("a missing folder is accepted")
	}
}

func FuzzEdit(f *testing.F) {
	f.Add("alice:x\nbob:y", "bob")
	f.Add("\r\n#\n:\n", "a")
	encoded := mustHash(f, SHA512, "x")
	f.Fuzz(func(t *testing.T, content, user string) {
		path := filepath.Join(t.TempDir(), "passwd")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		added, err := SetPassword(path, user, encoded)
		if err != nil {
			return
		}
		if added {
			if err := DeleteUser(path, user); err != nil {
				t.Fatalf("the user just added can't be deleted: %v", err)
			}
			got, err := os.ReadFile(path)
			if err != nil || strings.TrimSuffix(string(got), "\n") != strings.TrimSuffix(content, "\n") {
				t.Errorf("adding and deleting turned %q into %q", content, got)
			}
			return
		}
		users, err := Users(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range users {
			if u.Name == user && u.Algorithm == SHA512 {
				return
			}
		}
		t.Errorf("user %q is not in the file", user)
	})
}
