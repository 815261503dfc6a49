package authn

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/security"
)

// PasswordsOptions configures a password file.
type PasswordsOptions struct {
	Name       string // in the configuration, and the principals' method
	Realm      string // of its principals; empty is Name
	Path       string
	Limits     Limits
	AllowEmpty bool // a reload may leave no user
}

// Passwords is a password file as an authenticator. Its accounts are swapped
// as a whole; it is safe for concurrent use.
type Passwords struct {
	opts     PasswordsOptions
	accounts atomic.Pointer[generationOfAccounts]

	swapping sync.Mutex // one Swap at a time
}

// generationOfAccounts is accounts with the number that grows with each swap. It begins
// anywhere: what is remembered of one file must not be found for another that a reload
// has put under its name.
type generationOfAccounts struct {
	*Accounts
	number uint64
}

// ErrEmpty says that a reloaded password file holds no user any more.
var ErrEmpty = errors.New("became empty: a reload refuses that, unless allow_empty: true says that it is meant")

// OpenPasswords reads the file and puts it to use. It measures once what the
// file's slowest hash costs.
func OpenPasswords(o PasswordsOptions) (*Passwords, []Warning, error) {
	if o.Realm == "" {
		o.Realm = o.Name
	}
	o.Limits = o.Limits.withDefaults()
	p := &Passwords{opts: o}
	a, err := readAccounts(o.Path, o.Limits)
	if err != nil {
		return nil, nil, err
	}
	a.measure()
	p.accounts.Store(&generationOfAccounts{a, 1 + rand.Uint64N(1<<62)})
	return p, a.warnings, nil
}

// Load reads and checks the file as it is now, for Swap. Nothing changes yet,
// so that several files can be reloaded as one. A file that had users and has
// none any more is refused, unless AllowEmpty says that it is meant.
func (p *Passwords) Load() (*Accounts, error) {
	a, err := readAccounts(p.opts.Path, p.opts.Limits)
	if err != nil {
		return nil, err
	}
	if a.Len() == 0 && !p.opts.AllowEmpty && p.Len() > 0 {
		return nil, &FileError{File: p.opts.Path, Text: ErrEmpty.Error()}
	}
	a.measure()
	return a, nil
}

// Changes names the users whose sessions stand on a credential that is no more.
type Changes struct {
	Removed []string // gone from the file
	Changed []string // have another password hash
}

// Swap puts accounts to use and says who is to be judged anew. When it returns, no attempt succeeds on the old ones.
func (p *Passwords) Swap(a *Accounts) Changes {
	p.swapping.Lock()
	defer p.swapping.Unlock()
	old := p.accounts.Load()
	p.accounts.Store(&generationOfAccounts{a, old.number + 1})
	return compare(old.Accounts, a)
}

// compare names the users of old whose password is gone or another one in a.
func compare(old, a *Accounts) Changes {
	var c Changes
	for name, h := range old.byName {
		now, there := a.byName[name]
		switch {
		case !there:
			c.Removed = append(c.Removed, name)
		case !h.same(&now):
			c.Changed = append(c.Changed, name)
		}
	}
	sort.Strings(c.Removed)
	sort.Strings(c.Changed)
	return c
}

// Reload is Load and Swap.
func (p *Passwords) Reload() (Changes, []Warning, error) {
	a, err := p.Load()
	if err != nil {
		return Changes{}, nil, err
	}
	return p.Swap(a), a.warnings, nil
}

// same reports whether two stored passwords are the same text.
func (h *hash) same(o *hash) bool {
	return h.algorithm == o.algorithm && h.params == o.params && h.foreign == o.foreign &&
		bytes.Equal(h.salt, o.salt) && bytes.Equal(h.sum, o.sum)
}

// Name is the authenticator's name in the configuration.
func (p *Passwords) Name() string { return p.opts.Name }

// Realm is the realm of its principals.
func (p *Passwords) Realm() string { return p.opts.Realm }

// Generation grows with each Swap.
func (p *Passwords) Generation() uint64 { return p.accounts.Load().number }

// Len is the number of users.
func (p *Passwords) Len() int { return p.accounts.Load().Len() }

// Has reports whether the file has the user.
func (p *Passwords) Has(user string) bool {
	_, ok := p.accounts.Load().byName[user]
	return ok
}

// Cost is what the slowest hash of the file takes, as measured when it was
// read; 0 if every account has a generated secret.
func (p *Passwords) Cost() time.Duration { return p.accounts.Load().cost }

// Decoy computes the file's slowest hash over password, so that a refusal
// costs what a check costs.
func (p *Passwords) Decoy(password []byte) {
	a := p.accounts.Load()
	if a.cost > 0 {
		a.dearest.matches(password)
	}
}

// Version grows with each Swap, for every name; 0 for one that is not in the file.
func (p *Passwords) Version(user string) uint64 {
	a := p.accounts.Load()
	if _, ok := a.byName[user]; !ok {
		return 0
	}
	return a.number
}

// Quick answers without a guessable password's check: no user name, unknown
// user, or an account with a generated secret.
func (p *Passwords) Quick(c *Credentials) (*security.Principal, error, bool) {
	if !c.HasUsername {
		return nil, ErrNotMine, true
	}
	a := p.accounts.Load()
	h, ok := a.byName[c.Username]
	if !ok {
		return nil, ErrNotMine, true
	}
	if !h.guessable() {
		pr, err := p.verdict(c, c.HasPassword && h.matches(c.Password), true)
		return pr, err, true
	}
	return nil, nil, false
}

// Authenticate checks the password.
// A missing password is a wrong one and costs the same.
func (p *Passwords) Authenticate(_ context.Context, c *Credentials) (*security.Principal, error) {
	if pr, err, known := p.Quick(c); known {
		return pr, err
	}
	a := p.accounts.Load()
	h, ok := a.byName[c.Username]
	if !ok { // removed since Quick looked
		return nil, ErrNotMine
	}
	matched := h.matches(c.Password) && c.HasPassword
	// The file may have been swapped while the hash was computed: what counts
	// is the account of now.
	now, ok := p.accounts.Load().byName[c.Username]
	if !ok || !h.same(&now) {
		return nil, &Refused{Method: p.opts.Name, Reason: "account changed during the check"}
	}
	return p.verdict(c, matched, false)
}

func (p *Passwords) verdict(c *Credentials, matched, unpaid bool) (*security.Principal, error) {
	if matched {
		return &security.Principal{Realm: p.opts.Realm, Name: c.Username}, nil
	}
	reason := "wrong password"
	if !c.HasPassword {
		reason = "no password"
	}
	return nil, &Refused{Method: p.opts.Name, Reason: reason, Unpaid: unpaid}
}

// measure finds what the slowest hash costs here: the longest of three runs.
func (a *Accounts) measure() {
	if !a.dearest.guessable() {
		return
	}
	for range 3 {
		start := time.Now()
		a.dearest.matches([]byte("what a wrong password costs"))
		a.cost = max(a.cost, time.Since(start), 1)
	}
}
