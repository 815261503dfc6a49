package accounts

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"sallyport/internal/scram"
	"sallyport/internal/text"
	"sallyport/security/authn"
)

// Bounds of one record, in bytes where it is a text.
const (
	maxList      = 64 // groups, roles, attributes, addresses, client ids of a user; roles of a group
	maxRules     = 256
	maxName      = 256 // of a group, a role or an attribute
	maxValue     = 1024
	maxClientID  = 1024
	maxComment   = 1024
	maxPlain     = 4096       // of a password that is set here, as internal/scram has it
	lastValidity = 4102444800 // 2100-01-01: seconds since 1970 have room for it in 32 bits
)

// InvalidError says which field of a record can't be as it is. It holds no secret.
type InvalidError struct {
	Field string // its name in JSON; empty for the whole
	Text  string
}

// Error is "accounts: field: text".
func (e *InvalidError) Error() string {
	if e.Field == "" {
		return "accounts: " + e.Text
	}
	return "accounts: " + e.Field + ": " + e.Text
}

func invalid(field, format string, args ...any) error {
	return &InvalidError{field, fmt.Sprintf(format, args...)}
}

// CheckName holds the name of an account against what a password file can carry, and
// what a topic can: names stand in topics for ${username}.
func CheckName(name string) error {
	if err := authn.CheckUserName(name); err != nil {
		return invalid("name", "%v", err)
	}
	switch {
	case strings.ContainsAny(name, "+#"):
		return invalid("name", "contains + or #, the wildcards of topics")
	case !text.Clean(name):
		return invalid("name", "contains a character that is none")
	}
	return nil
}

// checkLabel is for the names of groups, roles and attributes.
func checkLabel(field, name string) error {
	switch {
	case name == "":
		return invalid(field, "is missing")
	case len(name) > maxName:
		return invalid(field, "is longer than %d bytes", maxName)
	case !text.Clean(name):
		return invalid(field, "is not UTF-8 without control characters")
	case strings.TrimSpace(name) != name:
		return invalid(field, "begins or ends with a blank")
	}
	return nil
}

// labels checks and sorts a list of names, each once.
func labels(field string, names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	if len(names) > maxList {
		return nil, invalid(field, "has more than %d names", maxList)
	}
	for _, name := range names {
		if err := checkLabel(field, name); err != nil {
			return nil, err
		}
	}
	names = slices.Clone(names)
	slices.Sort(names)
	return slices.Compact(names), nil
}

// checkUser holds u against the bounds and brings it into the one form that is kept:
// lists sorted, times in seconds of UTC, networks without stray bits. A password is
// checked where it is set.
func checkUser(u *User) (err error) {
	if err := CheckName(u.Name); err != nil {
		return err
	}
	if u.Kind == "" {
		u.Kind = Person
	}
	if u.Kind != Person && u.Kind != Device {
		return invalid("kind", "must be %s or %s", Person, Device)
	}
	if u.Groups, err = labels("groups", u.Groups); err != nil {
		return err
	}
	if u.Roles, err = labels("roles", u.Roles); err != nil {
		return err
	}
	for _, check := range []func(*User) error{checkSecrets, checkAttributes, checkTimes, checkOrigins} {
		if err := check(u); err != nil {
			return err
		}
	}
	return checkComment(u.Comment)
}

// checkSecrets checks the form. What limits allow may change with a reload, and is
// looked at by who sets a password, and at a login.
func checkSecrets(u *User) error {
	if len(u.Password) > maxValue {
		return invalid("password", "is longer than %d bytes", maxValue)
	}
	if u.Password != "" {
		if _, err := authn.ParseStored(u.Password, anyLimits()); err != nil {
			return invalid("password", "%v", err)
		}
	}
	if len(u.SCRAM) > 2 {
		return invalid("scram", "has more than one verifier for a hash")
	}
	var seen scram.Hash
	for i, encoded := range u.SCRAM {
		v, err := scram.ParseVerifier(encoded)
		switch {
		case err != nil:
			return invalid("scram", "%v", err)
		case i > 0 && v.Hash == seen:
			return invalid("scram", "has more than one verifier for a hash")
		}
		seen = v.Hash
	}
	return nil
}

// anyLimits bounds the form of a password only.
func anyLimits() authn.Limits {
	return authn.Limits{Memory: 1<<32 - 1, Time: 1<<32 - 1, Lanes: 255, Iterations: 1<<31 - 1, BcryptCost: 31, ScryptWork: 1 << 62}
}

func checkAttributes(u *User) error {
	if len(u.Attributes) > maxList {
		return invalid("attributes", "are more than %d", maxList)
	}
	for _, name := range slices.Sorted(maps.Keys(u.Attributes)) {
		if err := checkLabel("attributes", name); err != nil {
			return err
		}
		if value := u.Attributes[name]; len(value) > maxValue || !text.Clean(value) {
			return invalid("attributes", "%q must be UTF-8 of at most %d bytes without control characters", name, maxValue)
		}
	}
	if len(u.Attributes) == 0 {
		u.Attributes = nil
	}
	return nil
}

func checkTimes(u *User) error {
	for _, t := range []struct {
		field string
		at    *time.Time
	}{
		{"locked_until", &u.LockedUntil}, {"valid_from", &u.ValidFrom}, {"valid_until", &u.ValidUntil},
		{"created", &u.Created}, {"changed", &u.Changed},
	} {
		if t.at.IsZero() {
			*t.at = time.Time{}
			continue
		}
		*t.at = t.at.UTC().Truncate(time.Second)
		if s := t.at.Unix(); s <= 0 || s > lastValidity {
			return invalid(t.field, "must be between 1970 and 2100")
		}
	}
	switch {
	case !u.LockedUntil.IsZero() && !u.Locked:
		return invalid("locked_until", "is about a locked account, and this one is not")
	case !u.ValidUntil.IsZero() && !u.ValidFrom.Before(u.ValidUntil):
		return invalid("valid_until", "must be after valid_from")
	}
	return nil
}

// checkOrigins checks where an account may come from, and as which client.
func checkOrigins(u *User) error {
	if len(u.Addresses) > maxList {
		return invalid("addresses", "are more than %d", maxList)
	}
	if u.Addresses = slices.Clone(u.Addresses); len(u.Addresses) == 0 {
		u.Addresses = nil
	}
	for i, p := range u.Addresses {
		if !p.IsValid() || p.Addr().Is4In6() {
			return invalid("addresses", "must be networks such as 192.0.2.0/24")
		}
		u.Addresses[i] = p.Masked()
	}
	slices.SortFunc(u.Addresses, netip.Prefix.Compare)
	u.Addresses = slices.Compact(u.Addresses)
	if len(u.ClientIDs) > maxList {
		return invalid("client_ids", "are more than %d", maxList)
	}
	if u.ClientIDs = slices.Clone(u.ClientIDs); len(u.ClientIDs) == 0 {
		u.ClientIDs = nil
	}
	for _, id := range u.ClientIDs {
		if id == "" || len(id) > maxClientID || !text.Clean(id) {
			return invalid("client_ids", "must be UTF-8 of 1 to %d bytes without control characters", maxClientID)
		}
	}
	slices.Sort(u.ClientIDs)
	u.ClientIDs = slices.Compact(u.ClientIDs)
	return nil
}

func checkComment(comment string) error {
	if len(comment) > maxComment || !text.Clean(comment) {
		return invalid("comment", "must be UTF-8 of at most %d bytes without control characters", maxComment)
	}
	return nil
}

func checkGroup(g *Group) (err error) {
	if err := checkLabel("name", g.Name); err != nil {
		return err
	}
	if g.Roles, err = labels("roles", g.Roles); err != nil {
		return err
	}
	return checkComment(g.Comment)
}

func checkRole(r *Role) error {
	if err := checkLabel("name", r.Name); err != nil {
		return err
	}
	if len(r.Permissions) > maxRules {
		return invalid("permissions", "are more than %d", maxRules)
	}
	for i, p := range r.Permissions {
		if _, err := p.Rule(); err != nil {
			return invalid(fmt.Sprintf("permissions[%d]", i), "%v", err)
		}
	}
	return checkComment(r.Comment)
}
