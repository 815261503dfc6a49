package authn

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pbkdf2Line is a line of a password file with a hash of this salt and cost.
func pbkdf2Line(t *testing.T, user, password string, salt, iterations int) string {
	t.Helper()
	h := hash{algorithm: PBKDF2SHA512, params: Params{Iterations: iterations}, salt: make([]byte, salt)}
	encoded, err := h.seal([]byte(password))
	if err != nil {
		t.Fatal(err)
	}
	return user + ":" + encoded + "\n"
}

// TestFIPSRefusesTheFile holds that one hash outside FIPS 140-3 refuses all of a file,
// with its line and its method and without the hash.
func TestFIPSRefusesTheFile(t *testing.T) {
	good := pbkdf2Line(t, "good", "right", 16, 1000)
	argon, err := hashWith(Argon2id, []byte("pw"), Params{Memory: 64, Time: 1}, Limits{}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	old, err := hashWith(SHA512, []byte("pw"), Params{}, Limits{}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	_, secret, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, line, want string }{
		{"argon2id", "u:" + argon, "argon2id is outside FIPS 140-3"},
		{"$6$", "u:" + old, "sha512 ($6$, one round) is outside FIPS 140-3"},
		{"bcrypt", "u:$2b$12$abcdefghijklmnopqrstuv0123456789012345678901234567890", "bcrypt is outside FIPS 140-3"},
		{"bcrypt of PHP", "u:$2y$12$abcdefghijklmnopqrstuv0123456789012345678901234567890", "bcrypt is outside FIPS 140-3"},
		{"scrypt", "u:$scrypt$ln=17,r=8,p=1$c2FsdHNhbHQ$aGFzaA", "scrypt is outside FIPS 140-3"},
		{"yescrypt's elder", "u:$7y$x$y", "scrypt is outside FIPS 140-3"},
		{"the salt of Mosquitto 2.0", pbkdf2Line(t, "u", "pw", 12, 1000), "salt of 12 bytes is outside FIPS 140-3"},
		{"a salt of one byte less", pbkdf2Line(t, "u", "pw", 15, 1000), "salt of 15 bytes is outside FIPS 140-3"},
		{"the cost of Mosquitto 2.0", pbkdf2Line(t, "u", "pw", 16, 101), "101 iterations is outside FIPS 140-3"},
		{"one iteration less", pbkdf2Line(t, "u", "pw", 16, 999), "999 iterations is outside FIPS 140-3"},
		{"PBKDF2", pbkdf2Line(t, "u", "pw", 16, 1000), ""},
		{"a generated secret", "u:" + secret, ""},
	} {
		path := filepath.Join(t.TempDir(), "passwd")
		if err := os.WriteFile(path, []byte("# users\n"+good+strings.TrimSuffix(tt.line, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, err := OpenPasswords(PasswordsOptions{Name: "pw", Path: path, Limits: Limits{FIPS: true}})
		if tt.want == "" {
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		var where *FileError
		if !errors.As(err, &where) || where.Line != 3 || !strings.Contains(where.Text, `user "u": `) || !strings.Contains(where.Text, tt.want) {
			t.Errorf("%s: %v, want line 3: %s", tt.name, err, tt.want)
		}
		for part := range strings.SplitSeq(tt.line, "$") {
			if len(part) > 8 && err != nil && strings.Contains(err.Error(), part) {
				t.Errorf("%s: the error holds a part of the hash: %v", tt.name, err)
			}
		}
	}
}

// TestFIPSReload holds that a running broker keeps its accounts.
func TestFIPSReload(t *testing.T) {
	path := filepath.Join(t.TempDir(), "passwd")
	good := pbkdf2Line(t, "good", "right", 16, 1000)
	if err := os.WriteFile(path, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	p, _, err := OpenPasswords(PasswordsOptions{Name: "pw", Path: path, Limits: Limits{FIPS: true}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(good+pbkdf2Line(t, "mallory", "pw", 12, 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Reload(); err == nil || p.Has("mallory") || !p.Has("good") {
		t.Errorf("reload: %v, mallory %v, good %v", err, p.Has("mallory"), p.Has("good"))
	}
}

// TestFIPSHash holds that what is made for FIPS 140-3 is of it, and nothing else is made.
func TestFIPSHash(t *testing.T) {
	lim := Limits{FIPS: true}
	if got := lim.Preferred(); got != PBKDF2SHA512 {
		t.Errorf("preferred is %s", got)
	}
	if got := (Limits{}).Preferred(); got != Argon2id {
		t.Errorf("preferred without is %s", got)
	}
	encoded, err := HashWithin(lim, PBKDF2SHA512, []byte("right"), Params{Iterations: 1000})
	if err != nil {
		t.Fatal(err)
	}
	if salt, err := base64.StdEncoding.DecodeString(strings.Split(encoded, "$")[3]); err != nil || len(salt) != 16 {
		t.Errorf("salt of %d bytes, %v", len(salt), err)
	}
	h, err := parseHash(encoded, lim.withDefaults())
	if err != nil || h.outsideFIPS() != nil || !h.matches([]byte("right")) || h.matches([]byte("wrong")) {
		t.Errorf("%v, %v", err, h.outsideFIPS())
	}
	for _, a := range []Algorithm{Argon2id, SHA512} {
		if _, err := HashWithin(lim, a, []byte("pw"), Params{}); err == nil || !strings.Contains(err.Error(), string(a)) {
			t.Errorf("%s: %v, want a refusal", a, err)
		}
	}
	if _, err := HashWithin(lim, PBKDF2SHA512, []byte("pw"), Params{Iterations: 999}); err == nil {
		t.Error("999 iterations are made")
	}
}

// TestFIPSOnly runs the test binary where what is outside FIPS 140-3 fails in Go
// itself: hashes of FIPS are made and checked there, decoys included.
func TestFIPSOnly(t *testing.T) {
	if os.Getenv("SALLYPORT_TEST_FIPS") == "" {
		c := exec.Command(os.Args[0], "-test.run", "^TestFIPSOnly$", "-test.v")
		c.Env = append(os.Environ(), "SALLYPORT_TEST_FIPS=1", "GODEBUG=fips140=only")
		if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "checked all") {
			t.Errorf("where FIPS 140-3 is enforced: %v\n%s", err, out)
		}
		return
	}
	lim := Limits{FIPS: true}
	encoded, err := HashWithin(lim, lim.Preferred(), []byte("right"), Params{Iterations: 1000})
	if err != nil {
		t.Fatal(err)
	}
	_, secret, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "passwd")
	if err := os.WriteFile(path, fmt.Appendf(nil, "u:%s\nd:%s\n", encoded, secret), 0o600); err != nil {
		t.Fatal(err)
	}
	cache, err := NewCache(CacheOptions{Entries: 10, TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	p, _, err := OpenPasswords(PasswordsOptions{Name: "pw", Path: path, Limits: lim})
	if err != nil {
		t.Fatal(err)
	}
	chain, err := NewChain(ChainOptions{Members: []Member{{Authenticator: p}}, Right: cache, Wrong: cache})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		user, password string
		want           bool
	}{{"u", "right", true}, {"u", "right", true}, {"u", "wrong", false}, {"u", "", false}, {"nobody", "right", false}, {"d", "wrong", false}} {
		_, err := chain.Authenticate(t.Context(), &Credentials{HasUsername: true, Username: tt.user, HasPassword: true, Password: []byte(tt.password)})
		if (err == nil) != tt.want {
			t.Errorf("%s with %q: %v", tt.user, tt.password, err)
		}
	}
	t.Log("checked all")
}
