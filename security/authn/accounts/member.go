package accounts

import (
	"context"
	"errors"
	"time"

	"sallyport/security"
	"sallyport/security/authn"
)

// MemberOptions configures a Member.
type MemberOptions struct {
	Name  string // in the configuration, and the principals' method
	Realm string // of its principals; empty is DefaultRealm
}

// DefaultRealm is the realm of accounts. It is one for all members, so that an account
// is the same principal on every listener.
const DefaultRealm = "accounts"

// Member is the database as an authenticator of passwords. Whether an account may
// connect at all is not its matter: the chain asks Database.Account once the password
// is right, so that who doesn't know it can't tell a locked account from a wrong guess.
type Member struct {
	db   *Database
	opts MemberOptions
}

// NewMember makes a member of a chain.
func NewMember(db *Database, o MemberOptions) (*Member, error) {
	if db == nil || o.Name == "" {
		return nil, errors.New("accounts: a member needs a database and a name")
	}
	if o.Realm == "" {
		o.Realm = DefaultRealm
	}
	return &Member{db, o}, nil
}

// Name is the authenticator's name in the configuration.
func (m *Member) Name() string { return m.opts.Name }

// Realm is the realm of its principals.
func (m *Member) Realm() string { return m.opts.Realm }

// Version is that of an account, 0 if there is none of the name.
func (m *Member) Version(name string) uint64 { return m.db.Version(name) }

// Cost is what the dearest password of the database takes to check, as measured; 0 if
// all are generated secrets.
func (m *Member) Cost() time.Duration { return m.db.price.Load().cost }

// Decoy computes the dearest hash over password, so that a refusal costs what a check
// costs.
func (m *Member) Decoy(password []byte) {
	if p := m.db.price.Load(); p.cost > 0 {
		p.stored.Matches(password)
	}
}

// Quick answers without a guessable password's check: no user name, unknown user, an
// account without a password that could be right, or with a generated secret.
func (m *Member) Quick(c *authn.Credentials) (*security.Principal, error, bool) {
	p, _, _, err, known := m.quick(c)
	return p, err, known
}

// quick is Quick, and else the account and its password.
func (m *Member) quick(c *authn.Credentials) (p *security.Principal, u *User, stored authn.Stored, err error, known bool) {
	if !c.HasUsername {
		return nil, nil, stored, authn.ErrNotMine, true
	}
	if u = m.db.user(c.Username); u == nil {
		return nil, nil, stored, authn.ErrNotMine, true
	}
	if u.Password == "" {
		return nil, u, stored, m.refuse("account has no password", true), true
	}
	if stored, err = authn.ParseStored(u.Password, m.db.hashing.Load().limits); err != nil {
		// The password was stored under other limits; err tells no part of it.
		return nil, u, stored, m.refuse("stored password can't be checked: "+err.Error(), true), true
	}
	if stored.Guessable() {
		return nil, u, stored, nil, false
	}
	matched := c.HasPassword && stored.Matches(c.Password)
	if matched {
		m.db.upgrade.offer(u, stored, c.Password)
	}
	p, err = m.verdict(c, u, matched, true)
	return p, u, stored, err, true
}

// Authenticate checks the password. A missing password is a wrong one and costs the
// same. A right one that is stored in a weaker way than it would be now is stored anew
// behind the answer.
func (m *Member) Authenticate(_ context.Context, c *authn.Credentials) (*security.Principal, error) {
	p, u, stored, err, known := m.quick(c)
	if known {
		return p, err
	}
	return m.conclude(c, u, stored, stored.Matches(c.Password) && c.HasPassword)
}

// conclude answers for a password that was held against u. The account may have changed
// while the hash was computed: what counts is the password of now. A better hash of the
// same one leaves the version.
func (m *Member) conclude(c *authn.Credentials, u *User, stored authn.Stored, matched bool) (*security.Principal, error) {
	now := m.db.user(c.Username)
	if now == nil || now.Version != u.Version && now.Password != u.Password {
		return nil, m.refuse("account changed during the check", false)
	}
	if matched {
		m.db.upgrade.offer(u, stored, c.Password)
	}
	return m.verdict(c, u, matched, false)
}

func (m *Member) verdict(c *authn.Credentials, u *User, matched, unpaid bool) (*security.Principal, error) {
	if matched {
		return m.principal(u), nil
	}
	if !c.HasPassword {
		return nil, m.refuse("no password", unpaid)
	}
	return nil, m.refuse("wrong password", unpaid)
}

// principal is who an account is. What the account is beside its name the chain adds,
// which asks for it whatever the method was.
func (m *Member) principal(u *User) *security.Principal {
	// The version is what the password was checked by: the chain refuses another one.
	return &security.Principal{Realm: m.opts.Realm, Name: u.Name, Account: u.Version}
}

func (m *Member) refuse(reason string, unpaid bool) error {
	return &authn.Refused{Method: m.opts.Name, Reason: reason, Unpaid: unpaid}
}

// Keeps reports whether the account is still there. Whether it may connect is the
// chain's question to Database.Account.
func (m *Member) Keeps(p *security.Principal) bool {
	return p.Realm == m.opts.Realm && m.db.user(p.Name) != nil
}

// Introduce implements authn.Introducing.
func (m *Member) Introduce(ctx context.Context, c *authn.Credentials) (p *security.Principal, text, remedy string, err error) {
	if !c.HasUsername {
		return nil, "knows nobody without a user name", "send the name and the password of an account", authn.ErrNotMine
	}
	u := m.db.user(c.Username)
	switch {
	case u == nil:
		return nil, "does not know " + c.Username, "add the account: sallyport ctl user add " + c.Username, authn.ErrNotMine
	case u.Password == "":
		return nil, "knows " + c.Username + ", which has no password", "give it one: sallyport ctl user passwd " + c.Username,
			m.refuse("account has no password", true)
	case !c.HasPassword:
		return m.principal(u), "knows " + c.Username + "; the password is not checked here", "", nil
	}
	if p, err = m.Authenticate(ctx, c); err != nil {
		return nil, "", "send the password of the account " + c.Username, err
	}
	return p, "knows " + c.Username + ", and the password is right", "", nil
}
