package authn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

func mustHash(t testing.TB, a Algorithm, password string) string {
	t.Helper()
	encoded, err := Hash(a, []byte(password), small)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

func writeFile(t testing.TB, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "passwd")
	rewrite(t, path, lines...)
	return path
}

func rewrite(t testing.TB, path string, lines ...string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
}

func openFile(t testing.TB, path string, change func(*PasswordsOptions)) *Passwords {
	t.Helper()
	o := PasswordsOptions{Name: "passwords", Path: path}
	if change != nil {
		change(&o)
	}
	p, _, err := OpenPasswords(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func login(user, password string) *Credentials {
	return &Credentials{ClientID: "c", HasUsername: true, Username: user, HasPassword: true, Password: []byte(password), Listener: "l"}
}

func TestPasswordsAnswers(t *testing.T) {
	secret, generated, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	p := openFile(t, writeFile(t,
		"# users of the plant", "",
		"alice:"+mustHash(t, Argon2id, "wonder"),
		"  bob : "+mustHash(t, PBKDF2SHA512, "builder")+"\t\r",
		"carol:"+mustHash(t, SHA512, "sings"),
		"dev:"+generated,
		"blank:"+mustHash(t, Argon2id, ""),
	), func(o *PasswordsOptions) { o.Realm = "plant" })
	noPassword := login("alice", "")
	noPassword.HasPassword = false
	blankWithout := login("blank", "")
	blankWithout.HasPassword = false
	tests := []struct {
		name  string
		creds *Credentials
		want  string // accepted, refused, not mine
	}{
		{"argon2id, right", login("alice", "wonder"), "accepted"},
		{"argon2id, wrong", login("alice", "wonder\x00"), "refused"},
		{"pbkdf2, right", login("bob", "builder"), "accepted"},
		{"pbkdf2, wrong", login("bob", "wonder"), "refused"},
		{"sha512, right", login("carol", "sings"), "accepted"},
		{"sha512, wrong", login("carol", ""), "refused"},
		{"generated secret, right", login("dev", secret), "accepted"},
		{"generated secret, wrong", login("dev", secret+"x"), "refused"},
		{"a known user without a password", noPassword, "refused"},
		{"an empty password, given", login("blank", ""), "accepted"},
		{"an empty password, not given", blankWithout, "refused"},
		{"an unknown user", login("mallory", "wonder"), "not mine"},
		{"a user name in other case", login("Alice", "wonder"), "not mine"},
		{"no user name", &Credentials{HasPassword: true, Password: []byte("wonder")}, "not mine"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pr, err := p.Authenticate(context.Background(), tt.creds)
			var refused *Refused
			got := "other"
			switch {
			case err == nil && pr != nil:
				got = "accepted"
				if pr.Realm != "plant" || pr.Name != tt.creds.Username {
					t.Errorf("principal = %+v", pr)
				}
			case errors.Is(err, ErrNotMine):
				got = "not mine"
			case errors.As(err, &refused):
				got = "refused"
			}
			if got != tt.want {
				t.Errorf("got %s (%v), want %s", got, err, tt.want)
			}
		})
	}
}

func TestPasswordFileRefuses(t *testing.T) {
	good := mustHash(t, SHA512, "secretword")
	tests := []struct {
		name  string
		lines []string
		want  string
	}{
		{"a user twice", []string{"a:" + good, "b:" + good, "a:" + good}, `:3: user "a" is already on line 1`},
		{"a plain password", []string{"a:secretword"}, ":1: user \"a\": password is not in a known form"},
		{"a line without a colon", []string{"", "justauser"}, ":2: user \"justauser\": password is not"},
		{"a missing user", []string{":" + good}, ":1: user name is missing"},
		{"a control character", []string{"a\x01b:" + good}, ":1: user name contains a control character"},
		{"a user that is not UTF-8", []string{"a\xff:" + good}, ":1: user name is not UTF-8"},
		{"a long line", []string{"a:" + strings.Repeat("x", 5000)}, ":1: line is longer than 4096 bytes"},
		{"a hash that costs too much", []string{"a:$7$99999999$c2FsdHNhbHRzYWx0$" + good[20:]}, ":1: user \"a\": iterations"},
	}
	for _, tt := range tests {
		path := writeFile(t, tt.lines...)
		_, _, err := OpenPasswords(PasswordsOptions{Name: "p", Path: path})
		if err == nil || !strings.HasPrefix(err.Error(), path+tt.want) {
			t.Errorf("%s: error %v, want %s%s", tt.name, err, path, tt.want)
		}
		if err != nil && (strings.Contains(err.Error(), "secretword") || strings.Contains(err.Error(), good[20:])) {
			t.Errorf("%s: the error shows a secret: %v", tt.name, err)
		}
	}
	if _, _, err := OpenPasswords(PasswordsOptions{Path: filepath.Join(t.TempDir(), "missing")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if _, _, err := OpenPasswords(PasswordsOptions{Path: t.TempDir()}); err == nil {
		t.Error("a folder is accepted")
	}
	big := writeFile(t, strings.Repeat("# comment\n", 100))
	if _, _, err := OpenPasswords(PasswordsOptions{Path: big, Limits: Limits{FileBytes: 100}}); err == nil || !strings.Contains(err.Error(), "larger than 100 bytes") {
		t.Errorf("a large file: %v", err)
	}
	if _, _, err := OpenPasswords(PasswordsOptions{Path: writeFile(t, "a:"+mustHash(t, Argon2id, "x")), Limits: Limits{Memory: 32}}); err == nil {
		t.Error("a hash above the pool's memory is accepted")
	}
}

func TestPasswordFileWarnsOfLooseMode(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes say nothing here")
	}
	path := writeFile(t, "a:"+mustHash(t, SHA512, "x"))
	for mode, want := range map[os.FileMode]bool{0o600: false, 0o400: false, 0o640: true, 0o604: true, 0o620: true} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, warnings, err := OpenPasswords(PasswordsOptions{Name: "p", Path: path})
		if err != nil {
			t.Fatal(err)
		}
		if got := len(warnings) == 1 && warnings[0].Exposed; got != want {
			t.Errorf("mode %04o: warnings %v, want one: %t", mode, warnings, want)
		}
	}
}

func TestReload(t *testing.T) {
	stays, goes := "stays:"+mustHash(t, Argon2id, "s"), "goes:"+mustHash(t, Argon2id, "g")
	path := writeFile(t, stays, goes, "changes:"+mustHash(t, Argon2id, "old"))
	p := openFile(t, path, nil)
	ctx := context.Background()
	for _, c := range []*Credentials{login("stays", "s"), login("goes", "g"), login("changes", "old")} {
		if _, err := p.Authenticate(ctx, c); err != nil {
			t.Fatal(err)
		}
	}

	rewrite(t, path, "broken")
	if _, _, err := p.Reload(); err == nil {
		t.Error("a broken file is taken over")
	}
	rewrite(t, path, "# nobody")
	if _, _, err := p.Reload(); err == nil || !strings.Contains(err.Error(), "became empty") {
		t.Errorf("an empty file: %v", err)
	}
	if _, err := p.Authenticate(ctx, login("goes", "g")); err != nil {
		t.Errorf("after refused reloads the old accounts are gone: %v", err)
	}

	before, was := p.Generation(), p.Version("stays")
	rewrite(t, path, stays, "changes:"+mustHash(t, Argon2id, "new"), "comes:"+mustHash(t, Argon2id, "c"))
	changes, _, err := p.Reload()
	if err != nil {
		t.Fatal(err)
	}
	if want := (Changes{Removed: []string{"goes"}, Changed: []string{"changes"}}); !reflect.DeepEqual(changes, want) {
		t.Errorf("changes = %+v, want %+v", changes, want)
	}
	if p.Generation() <= before || p.Version("stays") <= was || p.Version("goes") != 0 {
		t.Errorf("generation %d after %d, version %d after %d", p.Generation(), before, p.Version("stays"), was)
	}
	if _, err := p.Authenticate(ctx, login("goes", "g")); !errors.Is(err, ErrNotMine) {
		t.Errorf("a removed user: %v", err)
	}
	if _, err := p.Authenticate(ctx, login("changes", "old")); err == nil {
		t.Error("an old password is accepted")
	}
	if _, err := p.Authenticate(ctx, login("changes", "new")); err != nil {
		t.Errorf("a new password: %v", err)
	}
	if !p.Has("comes") || p.Has("goes") {
		t.Error("Has does not follow the file")
	}

	empty := openFile(t, writeFile(t, ""), nil)
	if _, _, err := empty.Reload(); err != nil || empty.Len() != 0 {
		t.Errorf("a file that was empty at the start: %v", err)
	}
	allowed := openFile(t, path, func(o *PasswordsOptions) { o.AllowEmpty = true })
	rewrite(t, path, "")
	if _, _, err := allowed.Reload(); err != nil {
		t.Errorf("with AllowEmpty: %v", err)
	}
}

func TestDecoyCostsWhatTheDearestAccountCosts(t *testing.T) {
	cheap := openFile(t, writeFile(t, "d:$s256$AAAAAAAAAAAAAAAAAAAAAA==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), nil)
	if cheap.Cost() != 0 {
		t.Errorf("Cost() = %v with generated secrets only", cheap.Cost())
	}
	p := openFile(t, writeFile(t,
		"a:"+mustHash(t, SHA512, "x"),
		"b:"+mustHash(t, PBKDF2SHA512, "x"),
		"c:"+mustHash(t, Argon2id, "x"),
	), nil)
	if d := p.accounts.Load().dearest; d.algorithm != Argon2id || p.Cost() <= 0 {
		t.Errorf("dearest is %s, cost %v", d.algorithm, p.Cost())
	}
}

func TestAWrongSecretIsAnUnpaidRefusal(t *testing.T) {
	_, generated, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	p := openFile(t, writeFile(t, "dev:"+generated, "alice:"+mustHash(t, Argon2id, "wonder")), nil)
	for user, want := range map[string]bool{"dev": true, "alice": false} {
		_, err := p.Authenticate(context.Background(), login(user, "wrong"))
		var refused *Refused
		if !errors.As(err, &refused) || refused.Unpaid != want {
			t.Errorf("%s: %v, want a refusal with Unpaid %t", user, err, want)
		}
	}
}

func TestEveryMistakeOfAPasswordFileIsTold(t *testing.T) {
	good, err := Hash(SHA512, []byte("x"), Params{})
	if err != nil {
		t.Fatal(err)
	}
	text := "ann:" + good + "\nben:$7$1$x$y\n# a comment\nann:" + good + "\nno colon\n:" + good + "\n"
	_, err = parseAccounts("f", []byte(text), Limits{}.withDefaults())
	for _, want := range []string{`f:2: user "ben"`, `f:4: user "ann" is already on line 1`, `f:5: user "no colon"`, "f:6: user name is missing"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("there is no %q in:\n%v", want, err)
		}
	}
	_, err = parseAccounts("f", []byte(strings.Repeat("x\n", 100_000)), Limits{}.withDefaults())
	if n := strings.Count(err.Error(), "\n"); n != maxMistakes {
		t.Errorf("%d lines for a hundred thousand mistakes", n+1)
	}
}

func FuzzPasswordFile(f *testing.F) {
	f.Add("a:$6$IJb0OGuUsboznGSi$ZMV1i+itouoECSeVoEH0gSEbVuJfdUYPUN9K7ThUF26YwffFYjjt8gfqRCa8sSCZKssjAFniYw+Qh3hPFWw8qw==\n# c\n")
	f.Add("a:b:c\n\n\n:")
	f.Add("user\r\n: \t:\x00")
	lim := Limits{}.withDefaults()
	f.Fuzz(func(t *testing.T, data string) {
		a, err := parseAccounts("f", []byte(data), lim)
		if err != nil {
			var fe *FileError
			if !errors.As(err, &fe) || fe.Line < 1 || fe.Line > strings.Count(data, "\n")+1 {
				t.Errorf("error without a place: %v", err)
			}
			return
		}
		for user, h := range a.byName {
			if err := checkUserName(user); err != nil {
				t.Errorf("user %q was accepted: %v", user, err)
			}
			if again, err := parseAccounts("f", fmt.Appendf(nil, "%s:%s", user, h.encode()), lim); err != nil || again.Len() != 1 {
				t.Errorf("line of %q is not read again: %v", user, err)
			}
		}
	})
}
