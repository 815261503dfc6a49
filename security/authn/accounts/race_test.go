package accounts

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"

	"sallyport/security/authn"
)

// Readers, logins and changes at once: under the race detector, and nobody ever logs in
// with a password that was replaced before the login began.
func TestChangesAgainstReadsAndLogins(t *testing.T) {
	upgrading := cheap
	upgrading.Upgrade = true
	f := open(t, func(o *Options) { o.Hashing = upgrading })
	m := member(t, f)
	const accounts, rounds = 4, 40
	for i := range accounts {
		f.add(t, User{Name: fmt.Sprint("u", i), Password: oldHash})
	}
	var changing, reading sync.WaitGroup
	done := make(chan struct{})
	for i := range accounts {
		name := fmt.Sprint("u", i)
		changing.Go(func() {
			last := oldPassword
			for n := range rounds {
				next := fmt.Sprint("password ", n)
				if _, err := f.SetPassword(name, NewPassword{Plain: []byte(next)}, How{}); err != nil {
					t.Errorf("set: %v", err)
				}
				if _, err := m.Authenticate(t.Context(), login(name, last)); err == nil {
					t.Errorf("%s logs in with a password that was replaced", name)
				}
				if _, err := m.Authenticate(t.Context(), login(name, next)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				last = next
			}
		})
		reading.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				f.Account(name)
				f.Users("", 10, nil)
				f.Groups()
				if err := f.ExportJSON(io.Discard, true); err != nil {
					t.Errorf("export: %v", err)
				}
				_, err := m.Authenticate(t.Context(), login(name, oldPassword))
				if refused := (*authn.Refused)(nil); err != nil && !errors.As(err, &refused) {
					t.Errorf("login: %v", err)
				}
				m.Decoy(nil)
			}
		})
	}
	changing.Go(func() {
		for range rounds {
			if _, err := f.AddGroup(Group{Name: "g"}, How{}); err != nil {
				t.Errorf("add a group: %v", err)
			}
			if _, err := f.ChangeUser("u0", How{}, func(u *User) error { u.Groups = []string{"g"}; return nil }); err != nil {
				t.Errorf("change: %v", err)
			}
			if err := f.DeleteGroup("g", How{Force: true}); err != nil {
				t.Errorf("delete a group: %v", err)
			}
		}
	})
	changing.Wait()
	close(done)
	reading.Wait()
}

// With the version of what was read, no change is lost.
func TestNoChangeIsLost(t *testing.T) {
	f := open(t)
	f.add(t, User{Name: "a"})
	const workers, each = 4, 25
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for n := 0; n < each; {
				u, _ := f.User("a")
				_, err := f.ChangeUser("a", How{Version: u.Version}, func(u *User) error {
					attributes := map[string]string{"n": fmt.Sprint(len(u.Attributes["n"]))}
					attributes["n"] = u.Attributes["n"] + fmt.Sprint(w)
					u.Attributes = attributes
					return nil
				})
				if err == nil {
					n++
				} else if !errors.Is(err, ErrChanged) {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	if u, _ := f.User("a"); len(u.Attributes["n"]) != workers*each {
		t.Errorf("%d changes are left of %d", len(u.Attributes["n"]), workers*each)
	}
}
