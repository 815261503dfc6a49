package authn

import (
	"errors"
	"testing"
	"testing/synctest"
)

// A reload that names another file under the same name must not accept what an attempt
// that was under way has found right by the old one, and had remembered after the flush.
func TestWhatIsRememberedIsOfOneFile(t *testing.T) {
	old := openFile(t, writeFile(t, "alice:"+mustHash(t, Argon2id, "old")), nil)
	now := openFile(t, writeFile(t, "alice:"+mustHash(t, Argon2id, "new")), nil)
	right, wrong := newCache(t), newCache(t)
	o := ChainOptions{Right: right, Wrong: wrong}
	before, after := chainOf(t, o, old), chainOf(t, o, now)
	right.Flush()
	if _, err := before.Authenticate(t.Context(), login("alice", "old")); err != nil {
		t.Fatal(err)
	}
	var refused *Refused
	if p, err := after.Authenticate(t.Context(), login("alice", "old")); !errors.As(err, &refused) {
		t.Errorf("the password of the old file: principal %v, error %v", p, err)
	}
	if _, err := after.Authenticate(t.Context(), login("alice", "new")); err != nil {
		t.Errorf("the password of the new file: %v", err)
	}
}

// Nor is somebody of the former realm let in where the realm is another now.
func TestWhatIsRememberedIsOfOneRealm(t *testing.T) {
	path := writeFile(t, "alice:"+mustHash(t, Argon2id, "wonder"))
	named := func(realm string) *Passwords { return openFile(t, path, func(o *PasswordsOptions) { o.Realm = realm }) }
	o := ChainOptions{Right: newCache(t)}
	before, after := chainOf(t, o, named("plant")), chainOf(t, o, named("office"))
	if _, err := before.Authenticate(t.Context(), login("alice", "wonder")); err != nil {
		t.Fatal(err)
	}
	p, err := after.Authenticate(t.Context(), login("alice", "wonder"))
	if err != nil || p.Realm != "office" {
		t.Errorf("principal %v, error %v", p, err)
	}
}

// The right password of a disabled account is no sooner refused than a wrong one, though
// it is remembered.
func TestARememberedPasswordOfADisabledAccountPays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := openFile(t, writeFile(t, "alice:"+mustHash(t, PBKDF2SHA512, "wonder")), nil)
		pool := newPool(t, 1, 16)
		defer pool.Close()
		c := chainOf(t, ChainOptions{Right: newCache(t), Accounts: states{"alice": {Version: 1, Refused: "account is disabled"}}}, file)
		s := newService(t, ServiceOptions{Pool: pool, Chains: map[string]*Chain{"l": c}})
		for _, password := range []string{"wonder", "wrong"} { // the first time
			if a := <-first(begin(s, login("alice", password))); a.err == nil {
				t.Fatalf("%s: accepted", password)
			}
		}
		release := hold(t, pool)
		defer release()
		for _, password := range []string{"wonder", "wrong"} {
			out, _ := begin(s, from(login("alice", password), "192.0.2.1"))
			synctest.Wait()
			if len(out) != 0 {
				t.Errorf("%s: answered without a hash: %v", password, (<-out).err)
			}
		}
	})
}
