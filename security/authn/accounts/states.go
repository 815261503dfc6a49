package accounts

import (
	"log/slog"
	"time"

	"sallyport/security/authn"
)

// refusal is why an account may not connect at a moment; empty: it may.
func refusal(u *User, now time.Time) string {
	switch {
	case u.Disabled:
		return "account is disabled"
	case u.Locked && u.LockedUntil.IsZero():
		return "account is locked"
	case u.Locked && now.Before(u.LockedUntil):
		return "account is locked until " + u.LockedUntil.UTC().Format(time.RFC3339)
	case !u.ValidFrom.IsZero() && now.Before(u.ValidFrom):
		return "account is not valid before " + u.ValidFrom.UTC().Format(time.RFC3339)
	case !u.ValidUntil.IsZero() && !now.Before(u.ValidUntil):
		return "account has expired at " + u.ValidUntil.UTC().Format(time.RFC3339)
	}
	return ""
}

// Refusal is why the account may not connect at a moment; empty: it may. It doesn't
// look at addresses and client ids.
func (u *User) Refusal(now time.Time) string { return refusal(u, now) }

// Account implements authn.AccountStates. It is asked anew each time: time alone can
// change the answer.
func (db *Database) Account(name string) (authn.AccountState, bool) {
	u := db.user(name)
	if u == nil {
		return authn.AccountState{}, false
	}
	s := authn.AccountState{
		Version: u.Version, Refused: refusal(u, db.opts.Now()),
		Groups: u.Groups, Roles: u.Roles, Attributes: u.Attributes, Addresses: u.Addresses, ClientIDs: u.ClientIDs,
	}
	if !u.ValidUntil.IsZero() {
		s.Expires = uint32(u.ValidUntil.Unix())
	}
	return s, true
}

// Version is that of an account, 0 if there is none of the name.
func (db *Database) Version(name string) uint64 {
	if u := db.user(name); u != nil {
		return u.Version
	}
	return 0
}

// Unusable is accounts, at most limit, whose password is there and outside the limits,
// so that it is never right: since FIPS 140-3 is demanded, or hashes may take less
// memory than when they were made. more says that there are others.
func (db *Database) Unusable(limit int) (names []string, more bool) {
	lim := db.hashing.Load().limits
	page, more := db.Users("", limit, func(u *User) bool {
		_, err := authn.ParseStored(u.Password, lim)
		return u.Password != "" && err != nil
	})
	for _, u := range page {
		names = append(names, u.Name)
	}
	return names, more
}

// Credentials says how the password is stored, empty for none, and which methods of
// SCRAM have a verifier.
func (u User) Credentials() (algorithm string, scramMethods []string) {
	if s, err := authn.ParseStored(u.Password, anyLimits()); err == nil {
		algorithm = string(s.Algorithm())
	}
	return algorithm, scramMethodsOf(u.SCRAM)
}

// String names the account and shows no secret.
func (u User) String() string { return "account " + u.Name }

// GoString is String.
func (u User) GoString() string { return u.String() }

// LogValue is the name, for slog.
func (u User) LogValue() slog.Value { return slog.StringValue(u.Name) }
