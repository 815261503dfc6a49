package accounts

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/internal/scram"
	"sallyport/security/authn"
)

// What the chain asks a member for.
var (
	_ authn.Quick         = (*Member)(nil)
	_ authn.Keeping       = (*Member)(nil)
	_ authn.Introducing   = (*Member)(nil)
	_ authn.AccountStates = (*Database)(nil)
	_ interface {
		Cost() time.Duration
		Decoy([]byte)
		Version(string) uint64
	} = (*Member)(nil)
)

func member(t testing.TB, f *fixture) *Member {
	t.Helper()
	m, err := NewMember(f.Database, MemberOptions{Name: "db"})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func login(name, password string) *authn.Credentials {
	return &authn.Credentials{HasUsername: true, Username: name, HasPassword: true, Password: []byte(password)}
}

func TestMember(t *testing.T) {
	f := open(t)
	f.add(t, User{Name: "alice", Password: mustHash(t, "right"), Groups: []string{"g"}}, User{Name: "empty"},
		User{Name: "old", Password: "$ese-sha512$100$Nv6NU9XY7tvHdSGaKmNTOw==$wtUo2dri+ttHGHRpngg9uG21piWLiKSX7IaNSnU/BfN9pt+ZOLQByG/3JlPPQ7t/pl8S3tjR2+Um/DPBdAQULg=="},
		User{Name: "meter", Kind: Device}, User{Name: "off", Password: mustHash(t, "right"), Disabled: true})
	secret, _, err := f.GenerateSecret("meter", How{})
	if err != nil {
		t.Fatal(err)
	}
	noPassword := login("alice", "")
	noPassword.HasPassword = false
	nobody := login("", "right")
	nobody.HasUsername = false
	tests := []struct {
		name  string
		c     *authn.Credentials
		quick bool
		want  string // the reason; empty: accepted; "not mine"
	}{
		{"the right password", login("alice", "right"), false, ""},
		{"a right password of another system", login("old", "backendpassword"), false, ""},
		{"a wrong password", login("alice", "wrong"), false, "wrong password"},
		{"an empty password", login("alice", ""), false, "wrong password"},
		{"no password", noPassword, false, "no password"},
		{"no user name", nobody, true, "not mine"},
		{"an unknown user", login("bob", "right"), true, "not mine"},
		{"another spelling", login("Alice", "right"), true, "not mine"},
		{"an account without a password", login("empty", ""), true, "account has no password"},
		{"a generated secret", login("meter", secret), true, ""},
		{"a wrong secret", login("meter", secret[1:]), true, "wrong password"},
		{"a disabled account looks like any until the chain asks", login("off", "wrong"), false, "wrong password"},
		{"a disabled account with its password is left to the chain", login("off", "right"), false, ""},
	}
	m := member(t, f)
	for _, tt := range tests {
		_, _, quick := m.Quick(tt.c)
		p, err := m.Authenticate(t.Context(), tt.c)
		refused := (*authn.Refused)(nil)
		got := ""
		switch {
		case errors.Is(err, authn.ErrNotMine):
			got = "not mine"
		case errors.As(err, &refused):
			got = refused.Reason
			if refused.Method != "db" || refused.Unpaid != quick {
				t.Errorf("%s: refused by %s, unpaid %t", tt.name, refused.Method, refused.Unpaid)
			}
		case err != nil:
			got = err.Error()
		case p.Realm != "accounts" || p.Name != tt.c.Username:
			got = fmt.Sprint(p)
		}
		if got != tt.want || quick != tt.quick {
			t.Errorf("%s: %q, quick %t; want %q, %t", tt.name, got, quick, tt.want, tt.quick)
		}
	}
	if _, err := NewMember(nil, MemberOptions{Name: "x"}); err == nil {
		t.Error("a member without a database is made")
	}
	if _, err := NewMember(f.Database, MemberOptions{}); err == nil {
		t.Error("a member without a name is made")
	}
}

// In a chain, the account's state counts once the password was right.
func TestStates(t *testing.T) {
	f := open(t)
	network := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	f.add(t, User{Name: "ok", Groups: []string{"g"}, Roles: []string{"r"}, Attributes: map[string]string{"k": "v"}, Addresses: network, ClientIDs: []string{"c*"}},
		User{Name: "off", Disabled: true}, User{Name: "locked", Locked: true}, User{Name: "awhile", Locked: true, LockedUntil: noon.Add(time.Minute)},
		User{Name: "early", ValidFrom: noon.Add(time.Minute)}, User{Name: "late", ValidUntil: noon.Add(time.Minute)})
	tests := []struct {
		name       string
		now, later string // why refused at noon, and a minute after
		expires    uint32
	}{
		{"ok", "", "", 0},
		{"off", "account is disabled", "account is disabled", 0},
		{"locked", "account is locked", "account is locked", 0},
		{"awhile", "account is locked until 2026-06-01T12:01:00Z", "", 0},
		{"early", "account is not valid before 2026-06-01T12:01:00Z", "", 0},
		{"late", "", "account has expired at 2026-06-01T12:01:00Z", uint32(noon.Unix()) + 60},
	}
	for _, tt := range tests {
		f.clock.set(noon)
		s, ok := f.Account(tt.name)
		if !ok || s.Refused != tt.now || s.Expires != tt.expires || s.Version == 0 || s.Version != f.Version(tt.name) {
			t.Errorf("%s: %+v, %t; want refused %q", tt.name, s, ok, tt.now)
		}
		f.clock.set(noon.Add(time.Minute))
		if s, _ = f.Account(tt.name); s.Refused != tt.later {
			t.Errorf("%s a minute later: %q, want %q", tt.name, s.Refused, tt.later)
		}
	}
	s, _ := f.Account("ok")
	u, _ := f.User("ok")
	if !reflect.DeepEqual([]any{s.Groups, s.Roles, s.Attributes, s.Addresses, s.ClientIDs}, []any{u.Groups, u.Roles, u.Attributes, u.Addresses, u.ClientIDs}) {
		t.Errorf("state %+v of %+v", s, u)
	}
	if _, ok := f.Account("nobody"); ok || f.Version("nobody") != 0 {
		t.Error("nobody has an account")
	}
}

func TestAccountsThatChangeDuringTheCheck(t *testing.T) {
	for _, tt := range []struct {
		name    string
		change  func(f *fixture) error
		accepts bool
	}{
		{"nothing", func(*fixture) error { return nil }, true},
		{"a group", edit(func(u *User) { u.Groups = nil }), true},
		{"another password", func(f *fixture) error {
			_, err := f.SetPassword("a", NewPassword{Plain: []byte("new")}, How{})
			return err
		}, false},
		{"no password", func(f *fixture) error { _, err := f.ClearPassword("a", How{}); return err }, false},
		{"deleted", func(f *fixture) error { return f.DeleteUser("a", How{}) }, false},
		{"a better hash", func(f *fixture) error {
			u := f.user("a")
			return f.upgrade.store(job{"a", u.Version, u.Password, []byte(oldPassword)})
		}, true},
	} {
		f := open(t)
		f.add(t, User{Name: "a", Password: oldHash, Groups: []string{"g"}})
		m, u := member(t, f), f.user("a")
		stored, err := authn.ParseStored(u.Password, authn.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if err := tt.change(f); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if p, err := m.conclude(login("a", oldPassword), u, stored, true); (p != nil) != tt.accepts || (err == nil) != tt.accepts {
			t.Errorf("%s: %v, %v", tt.name, p, err)
		}
	}
}

// counting counts the decoys that a chain has its member compute.
type counting struct {
	*Member
	decoys int
}

func (c *counting) Decoy(password []byte) {
	c.decoys++
	c.Member.Decoy(password)
}

// Whoever is refused without a slow hash pays for one.
func TestRefusalsInAChainAreAllPaid(t *testing.T) {
	f := open(t)
	f.add(t, User{Name: "a", Password: mustHash(t, "right")}, User{Name: "empty"}, User{Name: "meter"},
		User{Name: "big", Password: "$2b$05$N9qo8uLOickgx2ZMRZoMyejxU1jBu6pWeger6d/WObW2aydZVCQWu"})
	if _, _, err := f.GenerateSecret("meter", How{}); err != nil {
		t.Fatal(err)
	}
	if err := f.Tune(authn.Limits{BcryptCost: 4}, cheap); err != nil {
		t.Fatal(err)
	}
	m := &counting{Member: member(t, f)}
	chain, err := authn.NewChain(authn.ChainOptions{Members: []authn.Member{{Authenticator: m}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, decoys := range map[string]int{"nobody": 1, "empty": 1, "meter": 1, "big": 1, "a": 0} {
		m.decoys = 0
		if p, err := chain.Authenticate(t.Context(), login(name, "wrong")); err == nil || m.decoys != decoys {
			t.Errorf("%s: %v, %v, %d decoys, want %d", name, p, err, m.decoys, decoys)
		}
	}
	if names, more := f.Unusable(10); !reflect.DeepEqual(names, []string{"big"}) || more {
		t.Errorf("unusable: %v, %t", names, more)
	}
}

func TestDecoyIsTheDearest(t *testing.T) {
	f := open(t)
	m := member(t, f)
	if m.Cost() != 0 {
		t.Errorf("nobody costs %v", m.Cost())
	}
	m.Decoy([]byte("x"))
	f.add(t, User{Name: "meter"})
	if _, _, err := f.GenerateSecret("meter", How{}); err != nil || m.Cost() != 0 {
		t.Errorf("a generated secret costs %v, %v", m.Cost(), err)
	}
	dearest := func() authn.Algorithm { return f.price.Load().stored.Algorithm() }
	f.add(t, User{Name: "weak", Password: "$7$101$icrH4zawynE1d29r$oZAByDOj/Eg0Q9PQzNYgA25Z6AHkwpKTSddvu5unyxLEtj9uoBeTBIeVKmeMtB4Q8s7aVdbZXfEJc49gG45f0Q=="})
	if dearest() != authn.PBKDF2SHA512 || m.Cost() == 0 {
		t.Errorf("the dearest is %s, %v", dearest(), m.Cost())
	}
	f.add(t, User{Name: "dear", Password: "$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e"})
	if dearest() != authn.Bcrypt {
		t.Errorf("the dearest is %s, want bcrypt", dearest())
	}
	if err := f.DeleteUser("dear", How{}); err != nil || dearest() != authn.PBKDF2SHA512 {
		t.Errorf("after it is gone the dearest is %s, %v", dearest(), err)
	}
	if _, err := f.ClearPassword("weak", How{}); err != nil || m.Cost() != 0 {
		t.Errorf("after the last is gone: %v, %v", m.Cost(), err)
	}
}

func TestPasswordOutsideTheLimitsRefuses(t *testing.T) {
	f := open(t)
	f.add(t, User{Name: "a", Password: mustHash(t, "right")})
	if err := f.Tune(authn.Limits{FIPS: true}, Hashing{}); err != nil {
		t.Fatal(err)
	}
	m := member(t, f)
	_, err := m.Authenticate(t.Context(), login("a", "right"))
	if err == nil || !strings.Contains(err.Error(), "outside FIPS 140-3") || m.Cost() != 0 {
		t.Errorf("%v, costs %v", err, m.Cost())
	}
	if u, err := f.SetPassword("a", NewPassword{Plain: []byte("new")}, How{}); err != nil || !strings.HasPrefix(u.Password, "$7$210000$") {
		t.Errorf("a new password with FIPS 140-3 is %.10q, %v", u.Password, err)
	}
	for name, h := range map[string]Hashing{
		"argon2id with FIPS 140-3":    {Algorithm: authn.Argon2id},
		"an algorithm that is read":   {Algorithm: authn.Bcrypt},
		"an unknown method":           {SCRAM: []string{"SCRAM-SHA-1"}},
		"a method with a channel":     {SCRAM: []string{"SCRAM-SHA-256-PLUS"}},
		"a method twice":              {SCRAM: []string{"SCRAM-SHA-256", "SCRAM-SHA-256"}},
		"few iterations of SCRAM":     {Iterations: 4095},
		"iterations beyond all bound": {Params: authn.Params{Iterations: 1 << 30}},
	} {
		if err := f.Tune(authn.Limits{FIPS: true}, h); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

const oldHash = "$7$101$icrH4zawynE1d29r$oZAByDOj/Eg0Q9PQzNYgA25Z6AHkwpKTSddvu5unyxLEtj9uoBeTBIeVKmeMtB4Q8s7aVdbZXfEJc49gG45f0Q=="

// oldPassword is that of oldHash, which mosquitto_passwd made.
const oldPassword = "pässword"

func TestWeakHashesAreUpgradedAtLogin(t *testing.T) { synctest.Test(t, weakHashesAreUpgradedAtLogin) }

func weakHashesAreUpgradedAtLogin(t *testing.T) {
	upgrading := cheap
	upgrading.Upgrade, upgrading.SCRAM = true, []string{"SCRAM-SHA-256", "SCRAM-SHA-512"}
	f := open(t, func(o *Options) { o.Hashing = upgrading })
	f.add(t, User{Name: "a", Password: oldHash}, User{Name: "b", Password: oldHash})
	m := member(t, f)
	before, _ := f.User("a")
	if _, err := m.Authenticate(t.Context(), login("a", "wrong")); err == nil {
		t.Fatal("a wrong password is right")
	}
	synctest.Wait()
	if u, _ := f.User("a"); u.Password != oldHash {
		t.Error("a wrong password was stored")
	}
	if _, err := m.Authenticate(t.Context(), login("a", oldPassword)); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	u, _ := f.User("a")
	if !strings.HasPrefix(u.Password, "$argon2id$") || u.Version != before.Version || u.Changed != before.Changed || len(f.told()) != 0 {
		t.Errorf("after the login %.12q, version %d", u.Password, u.Version)
	}
	if _, methods := u.Credentials(); !reflect.DeepEqual(methods, upgrading.SCRAM) {
		t.Errorf("verifiers of %v", methods)
	}
	if v, err := scram.ParseVerifier(u.SCRAM[0]); err != nil || v.Iterations != 4096 {
		t.Errorf("verifier %v, %v", v, err)
	}
	if b, _ := f.User("b"); b.Password != oldHash {
		t.Error("who did not log in was changed")
	}
	if _, err := m.Authenticate(t.Context(), login("a", oldPassword)); err != nil {
		t.Errorf("the second login: %v", err)
	}
	again, err := Open(Options{Keeper: f.keeper, Hashing: cheap})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if kept, _ := again.User("a"); kept.Password != u.Password {
		t.Error("the better hash was not kept")
	}
}

func TestUpgradeLeavesWhatChangedMeanwhile(t *testing.T) {
	f := open(t)
	f.add(t, User{Name: "a", Password: oldHash})
	u, _ := f.User("a")
	j := job{"a", u.Version, u.Password, []byte(oldPassword)}
	better, err := f.upgrade.better(&settings{authn.Limits{}, cheap}, &u, j.password)
	if err != nil || better.Password == u.Password {
		t.Fatalf("nothing better: %v", err)
	}
	if _, err := f.SetPassword("a", NewPassword{Plain: []byte("new")}, How{}); err != nil {
		t.Fatal(err)
	}
	now, _ := f.User("a")
	if err := f.upgrade.keep(j, better); !errors.Is(err, errOvertaken) {
		t.Errorf("an old password that was computed before it was replaced: %v", err)
	}
	if after, _ := f.User("a"); !reflect.DeepEqual(after, now) {
		t.Error("the new password is gone")
	}
	if err := f.upgrade.store(j); !errors.Is(err, errOvertaken) {
		t.Errorf("an old password over a new one: %v", err)
	}
	if err := f.DeleteUser("a", How{}); err != nil {
		t.Fatal(err)
	}
	if err := f.upgrade.store(j); !errors.Is(err, errOvertaken) {
		t.Errorf("a password of a deleted account: %v", err)
	}
	if now.Password == oldHash {
		t.Error("the password is the old one")
	}
}

func TestNoUpgradeWhereNoneIsWanted(t *testing.T) { synctest.Test(t, noUpgradeWhereNoneIsWanted) }

func noUpgradeWhereNoneIsWanted(t *testing.T) {
	f := open(t)
	f.add(t, User{Name: "a", Password: oldHash})
	if _, err := member(t, f).Authenticate(t.Context(), login("a", oldPassword)); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	if u, _ := f.User("a"); u.Password != oldHash {
		t.Error("the password was stored anew")
	}
}

// heldKeeper keeps only once it may.
type heldKeeper struct {
	Memory
	held chan struct{}
}

func (h *heldKeeper) Keep(changes []Record) error {
	<-h.held
	return h.Memory.Keep(changes)
}

func TestUpgradesAreBounded(t *testing.T) { synctest.Test(t, upgradesAreBounded) }

func upgradesAreBounded(t *testing.T) {
	k := &heldKeeper{held: make(chan struct{})}
	upgrading := cheap
	upgrading.Upgrade = true
	f := open(t, func(o *Options) { o.Keeper, o.Hashing = k, upgrading })
	f.users["busy"] = &User{Name: "busy", Version: 1, Password: oldHash} // its Keep waits
	stored, err := authn.ParseStored(oldHash, authn.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	busy, twice := &User{Name: "busy", Version: 1, Password: oldHash}, &User{Name: "twice", Version: 1, Password: oldHash}
	f.upgrade.offer(busy, stored, []byte(oldPassword))
	synctest.Wait()
	f.upgrade.offer(twice, stored, []byte(oldPassword))
	f.upgrade.offer(twice, stored, []byte(oldPassword))
	f.upgrade.offer(busy, stored, []byte(oldPassword))
	if n := len(f.upgrade.jobs); n != 1 {
		t.Errorf("%d passwords wait where two accounts offered theirs and one is at work", n)
	}
	for i := range waitingUpgrades + 50 {
		u := &User{Name: fmt.Sprint("u", i), Version: 1, Password: oldHash}
		f.upgrade.offer(u, stored, []byte(oldPassword))
		f.upgrade.offer(u, stored, []byte(oldPassword))
	}
	if n := len(f.upgrade.jobs); n > waitingUpgrades {
		t.Errorf("%d passwords wait", n)
	}
	close(k.held)
	synctest.Wait()
	f.upgrade.mu.Lock()
	defer f.upgrade.mu.Unlock()
	if len(f.upgrade.pending) != 0 {
		t.Errorf("%d are pending for ever", len(f.upgrade.pending))
	}
}

func TestUpgradeThatFailsIsLoggedOnceWithoutSecrets(t *testing.T) {
	synctest.Test(t, upgradeThatFailsIsLoggedOnceWithoutSecrets)
}

func upgradeThatFailsIsLoggedOnceWithoutSecrets(t *testing.T) {
	k := &failing{}
	var log strings.Builder
	var mu sync.Mutex
	upgrading := cheap
	upgrading.Upgrade = true
	f := open(t, func(o *Options) {
		o.Keeper, o.Hashing = k, upgrading
		o.Log = slog.New(slog.NewTextHandler(lockedWriter{&mu, &log}, nil))
	})
	f.add(t, User{Name: "a", Password: oldHash}, User{Name: "b", Password: oldHash})
	k.err = errors.New("disk is full")
	m := member(t, f)
	for _, name := range []string{"a", "b", "a"} {
		if _, err := m.Authenticate(t.Context(), login(name, oldPassword)); err != nil {
			t.Fatalf("a login while nothing can be kept: %v", err)
		}
		synctest.Wait()
	}
	mu.Lock()
	defer mu.Unlock()
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "disk is full") || strings.Contains(got, oldPassword+" ") || strings.Contains(got, "oZAB") {
		t.Errorf("log %q", got)
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	b  *strings.Builder
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func TestSetPasswordMakesVerifiers(t *testing.T) {
	h := cheap
	h.SCRAM = []string{"SCRAM-SHA-256"}
	f := open(t, func(o *Options) { o.Hashing = h })
	f.add(t, User{Name: "a"})
	u, err := f.SetPassword("a", NewPassword{Plain: []byte("pencil")}, How{})
	if _, methods := u.Credentials(); err != nil || !reflect.DeepEqual(methods, h.SCRAM) {
		t.Errorf("verifiers %v, %v", methods, err)
	}
	if u, err = f.SetPassword("a", NewPassword{Encoded: oldHash}, How{}); err != nil || len(u.SCRAM) != 0 {
		t.Errorf("verifiers of the password before are left: %v, %v", u.SCRAM, err)
	}
	if _, err := f.SetPassword("a", NewPassword{Plain: []byte("not\x00UTF-8\xff")}, How{}); err == nil {
		t.Error("a password that SCRAM can't use is accepted where SCRAM is asked for")
	}
}

func TestAccountsTellNoSecrets(t *testing.T) {
	u := User{Name: "a", Password: oldHash, SCRAM: []string{"SCRAM-SHA-256$4096:secretword"}}
	for _, got := range []string{fmt.Sprint(u), fmt.Sprintf("%+v %#v %v", u, u, &u), u.LogValue().String()} {
		if strings.Contains(got, "secretword") || strings.Contains(got, "oZAB") {
			t.Errorf("%s", got)
		}
	}
}

func TestIntroduce(t *testing.T) {
	f := open(t)
	f.add(t, User{Name: "a", Password: mustHash(t, "right")}, User{Name: "empty"})
	m := member(t, f)
	bare := login("a", "")
	bare.HasPassword = false
	for _, tt := range []struct {
		c       *authn.Credentials
		accepts bool
		text    string
	}{
		{bare, true, "knows a; the password is not checked here"},
		{login("a", "right"), true, "knows a, and the password is right"},
		{login("a", "wrong"), false, ""},
		{login("empty", "x"), false, "knows empty, which has no password"},
		{login("b", "x"), false, "does not know b"},
		{&authn.Credentials{}, false, "knows nobody without a user name"},
	} {
		p, text, remedy, err := m.Introduce(t.Context(), tt.c)
		if (p != nil) != tt.accepts || (err == nil) != tt.accepts || text != tt.text || (remedy == "") != tt.accepts {
			t.Errorf("%v: %v, %q, %q, %v", tt.c, p, text, remedy, err)
		}
	}
	if p, _ := m.Authenticate(t.Context(), login("a", "right")); !m.Keeps(p) {
		t.Error("does not keep whom it accepts")
	} else if err := f.DeleteUser("a", How{}); err != nil || m.Keeps(p) {
		t.Errorf("keeps who is deleted, %v", err)
	}
}
