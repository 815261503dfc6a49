package accounts

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"sallyport/security/authn"
)

// AddUser adds an account; ErrExists if the name is taken. Created, Changed and
// Version are set here. A password is u.Password, encoded.
func (db *Database) AddUser(u User, how How) (User, error) {
	err := db.change(func(d *draft) error {
		if d.user(u.Name) != nil {
			return fmt.Errorf("user %q: %w", u.Name, ErrExists)
		}
		return d.putUser(&u, how)
	})
	return u, err
}

// PutUser adds an account or replaces it as a whole, its secrets included: who didn't
// read them changes an account by ChangeUser.
func (db *Database) PutUser(u User, how How) (User, error) {
	err := db.change(func(d *draft) error {
		if err := match(d.user(u.Name), how); err != nil {
			return fmt.Errorf("user %q: %w", u.Name, err)
		}
		return d.putUser(&u, how)
	})
	return u, err
}

// ChangeUser changes an account by f, which gets a copy of its own and may not use the
// database. The name stays.
func (db *Database) ChangeUser(name string, how How, f func(*User) error) (User, error) {
	var u User
	err := db.change(func(d *draft) error {
		old := d.user(name)
		if old == nil {
			return fmt.Errorf("user %q: %w", name, ErrNotFound)
		}
		if err := match(old, how); err != nil {
			return fmt.Errorf("user %q: %w", name, err)
		}
		u = old.clone()
		if err := f(&u); err != nil {
			return err
		}
		if u.Name != name {
			return invalid("name", "can't be changed")
		}
		return d.putUser(&u, how)
	})
	return u, err
}

// DeleteUser deletes an account.
func (db *Database) DeleteUser(name string, how How) error {
	return db.change(func(d *draft) error {
		old := d.user(name)
		if old == nil {
			return fmt.Errorf("user %q: %w", name, ErrNotFound)
		}
		if err := match(old, how); err != nil {
			return fmt.Errorf("user %q: %w", name, err)
		}
		d.users[name] = nil
		return nil
	})
}

// match holds a record, which may be missing, against the version that is asked for.
func match(old named, how How) error {
	if how.Version == 0 {
		return nil
	}
	switch _, version := old.id(); version {
	case how.Version:
		return nil
	case 0:
		return ErrNotFound
	}
	return ErrChanged
}

// putUser puts u into the draft. What stays as it was costs nothing and changes nobody.
func (d *draft) putUser(u *User, how How) error {
	old := d.user(u.Name)
	if err := checkUser(u); err != nil {
		return err
	}
	if err := d.checkPassword(old, u); err != nil {
		return err
	}
	if !how.AllowUnknown {
		if err := d.known(old, u); err != nil {
			return err
		}
	}
	if old != nil {
		u.Created, u.Changed, u.Version = old.Created, old.Changed, old.Version
		if u.equal(old) {
			*u = *old
			return nil
		}
	}
	if u.Created.IsZero() {
		u.Created = d.now()
	}
	u.Changed, u.Version = d.now(), d.next()
	kept := u.clone()
	d.users[u.Name] = &kept
	return nil
}

// checkPassword refuses a new password that is outside the limits, and writes it in
// our form.
func (d *draft) checkPassword(old, u *User) error {
	if u.Password == "" || old != nil && old.Password == u.Password {
		return nil
	}
	stored, err := authn.ParseStored(u.Password, d.db.hashing.Load().limits)
	if err != nil {
		return invalid("password", "%v", err)
	}
	u.Password = stored.Encode()
	return nil
}

// known refuses groups and roles that are not there, and that the account didn't have.
func (d *draft) known(old, u *User) error {
	for _, name := range u.Groups {
		if d.group(name) == nil && (old == nil || !slices.Contains(old.Groups, name)) {
			return invalid("groups", "there is no group %q", name)
		}
	}
	for _, name := range u.Roles {
		if d.role(name) == nil && (old == nil || !slices.Contains(old.Roles, name)) {
			return invalid("roles", "there is no role %q", name)
		}
	}
	return nil
}

// clone is a copy that shares nothing that can be changed.
func (u *User) clone() User {
	c := *u
	c.SCRAM, c.Groups, c.Roles = slices.Clone(u.SCRAM), slices.Clone(u.Groups), slices.Clone(u.Roles)
	c.Attributes, c.Addresses, c.ClientIDs = maps.Clone(u.Attributes), slices.Clone(u.Addresses), slices.Clone(u.ClientIDs)
	return c
}

// equal compares everything but when and how often it was changed.
func (u *User) equal(o *User) bool {
	return u.Kind == o.Kind && u.Password == o.Password && slices.Equal(u.SCRAM, o.SCRAM) && u.Comment == o.Comment && !bears(u, o)
}

// Disable refuses an account for good and ends its sessions.
func (db *Database) Disable(name string, how How) (User, error) {
	return db.ChangeUser(name, how, func(u *User) error { u.Disabled = true; return nil })
}

// Enable undoes Disable.
func (db *Database) Enable(name string, how How) (User, error) {
	return db.ChangeUser(name, how, func(u *User) error { u.Disabled = false; return nil })
}

// Lock refuses an account until a moment, the zero one: until Unlock. Its sessions end.
func (db *Database) Lock(name string, until time.Time, how How) (User, error) {
	if !until.IsZero() && !until.After(db.opts.Now()) {
		return User{}, invalid("locked_until", "is over")
	}
	return db.ChangeUser(name, how, func(u *User) error {
		u.Locked, u.LockedUntil = true, until
		return nil
	})
}

// Unlock undoes Lock.
func (db *Database) Unlock(name string, how How) (User, error) {
	return db.ChangeUser(name, how, func(u *User) error {
		u.Locked, u.LockedUntil = false, time.Time{}
		return nil
	})
}

// SetPassword stores another password, which takes as long as its hash. Sessions of the
// account end.
func (db *Database) SetPassword(name string, p NewPassword, how How) (User, error) {
	if db.user(name) == nil { // before the hash is paid for
		return User{}, fmt.Errorf("user %q: %w", name, ErrNotFound)
	}
	encoded, verifiers, err := db.hash(p)
	if err != nil {
		return User{}, err
	}
	return db.ChangeUser(name, how, func(u *User) error {
		u.Password, u.SCRAM = encoded, verifiers
		return nil
	})
}

// ClearPassword takes the password and all verifiers away: no password is right from
// then on.
func (db *Database) ClearPassword(name string, how How) (User, error) {
	return db.ChangeUser(name, how, func(u *User) error {
		u.Password, u.SCRAM = "", nil
		return nil
	})
}

// GenerateSecret gives an account a secret of 128 random bits, which is returned this
// once: 22 characters of URL-safe base64. Sessions of the account end.
func (db *Database) GenerateSecret(name string, how How) (secret string, u User, err error) {
	secret, encoded, err := authn.Generate()
	if err != nil {
		return "", User{}, errors.New("accounts: no random bits")
	}
	verifiers, err := db.verifiers([]byte(secret))
	if err != nil {
		return "", User{}, err
	}
	u, err = db.ChangeUser(name, how, func(u *User) error {
		u.Password, u.SCRAM = encoded, verifiers
		return nil
	})
	if err != nil {
		return "", User{}, err
	}
	return secret, u, nil
}
