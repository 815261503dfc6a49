package control

import (
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"time"

	"sallyport/security/authn/accounts"
)

// Bounds of a page of accounts.
const (
	pageDefault = 100
	pageMost    = 500
)

// UserPage is the answer of GET /users.
type UserPage struct {
	Users []AccountUser `json:"users"`
	// Next is the after of the next page; empty on the last one.
	Next string `json:"next,omitempty"`
}

// UserChange is the body of PUT and PATCH of a user. In a PUT what is left out is
// as in a new account, but for the password, which stays; in a PATCH it stays.
type UserChange struct {
	// Version is at which version the account has to be, 0 that there is none.
	Version *uint64 `json:"version,omitempty"`

	Kind   *accounts.Kind `json:"kind,omitempty"`   // user or device
	Groups *[]string      `json:"groups,omitempty"` // all of them
	Roles  *[]string      `json:"roles,omitempty"`  // all of them

	AddGroups    []string `json:"add_groups,omitempty"`
	RemoveGroups []string `json:"remove_groups,omitempty"`
	AddRoles     []string `json:"add_roles,omitempty"`
	RemoveRoles  []string `json:"remove_roles,omitempty"`

	Attributes map[string]*string `json:"attributes,omitempty"` // null takes one away
	Disabled   *bool              `json:"disabled,omitempty"`
	ValidFrom  *string            `json:"valid_from,omitempty"`  // RFC 3339; "": no bound
	ValidUntil *string            `json:"valid_until,omitempty"` // likewise, exclusive
	Addresses  *[]string          `json:"addresses,omitempty"`   // addresses and networks; none: anywhere
	ClientIDs  *[]string          `json:"client_ids,omitempty"`
	Comment    *string            `json:"comment,omitempty"`

	Password string `json:"password,omitempty"` // to set; PUT only
	Generate bool   `json:"generate,omitempty"` // a password is made, and told once; PUT only
}

// UserResult is the answer of a change of a user.
type UserResult struct {
	User AccountUser `json:"user"`
	// Secret is a password that was made for the account, and is told this once.
	Secret string `json:"secret,omitempty"`
}

// PasswordChange is the body of POST /users/{name}/password.
type PasswordChange struct {
	Version  *uint64 `json:"version,omitempty"`
	Password string  `json:"password,omitempty"`
	Generate bool    `json:"generate,omitempty"` // one is made, and told once
}

// LockRequest is the body of POST /users/{name}/lock.
type LockRequest struct {
	Version *uint64 `json:"version,omitempty"`
	Until   string  `json:"until,omitempty"` // RFC 3339; "": until somebody unlocks it
}

// DeleteRequest is the body of DELETE.
type DeleteRequest struct {
	Version *uint64 `json:"version,omitempty"`
	// Force deletes a group or role that is in use, and takes it from who has it.
	Force bool `json:"force,omitempty"`
}

// VersionRequest is the body of changes that have nothing else to say.
type VersionRequest struct {
	Version *uint64 `json:"version,omitempty"`
}

// users is GET /users.
func (s *Server) users(c *call) (any, error) {
	db, err := s.accounts()
	if err != nil {
		return nil, err
	}
	q, err := query(c.http.URL, "after", "limit", "group", "role", "state")
	if err != nil {
		return nil, err
	}
	limit, err := pageLimit(q)
	if err != nil {
		return nil, err
	}
	group, role, state := q.Get("group"), q.Get("role"), q.Get("state")
	if states := []string{"", stateActive, stateDisabled, stateLocked, stateEarly, stateExpired}; !slices.Contains(states, state) {
		return nil, bad("state is one of active, disabled, locked, not_yet_valid and expired")
	}
	now := time.Now()
	page, more := db.Users(q.Get("after"), limit, func(u *accounts.User) bool {
		return (group == "" || slices.Contains(u.Groups, group)) && (role == "" || slices.Contains(u.Roles, role)) && (state == "" || stateOf(u, now) == state)
	})
	out := UserPage{Users: make([]AccountUser, len(page))}
	for i := range page {
		out.Users[i] = describeUser(&page[i], now)
	}
	if more && len(page) > 0 {
		out.Next = page[len(page)-1].Name
	}
	return out, nil
}

// query is the query of a URL, which has these keys alone, each once.
func query(u *url.URL, known ...string) (url.Values, error) {
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, bad("the query can't be read")
	}
	for key, values := range q {
		if !slices.Contains(known, key) {
			return nil, bad("the query has the unknown key %.60q", key)
		}
		if len(values) != 1 {
			return nil, bad("the query has %s more than once", key)
		}
	}
	return q, nil
}

func pageLimit(q url.Values) (int, error) {
	if !q.Has("limit") {
		return pageDefault, nil
	}
	n, err := strconv.Atoi(q.Get("limit"))
	if err != nil || n < 1 || n > pageMost {
		return 0, bad("limit is a number from 1 to %d", pageMost)
	}
	return n, nil
}

// user is GET /users/{name}.
func (s *Server) user(c *call) (any, error) {
	db, err := s.accounts()
	if err != nil {
		return nil, err
	}
	u, ok := db.User(c.http.PathValue("name"))
	if !ok {
		return nil, notThere("user")
	}
	return describeUser(&u, time.Now()), nil
}

// putUser is PUT /users/{name}.
func (s *Server) putUser(c *call) (any, error) {
	var q UserChange
	db, name, err := s.changing(c, &q, "user")
	if err != nil {
		return nil, err
	}
	secret, err := newSecret(db, q.Password, q.Generate)
	if err != nil {
		return nil, err
	}
	anew := func(u *accounts.User) error {
		*u = accounts.User{Name: name, Password: u.Password, SCRAM: u.SCRAM, Locked: u.Locked, LockedUntil: u.LockedUntil, Created: u.Created}
		secret.set(u)
		return q.apply(u)
	}
	add := func() (accounts.User, error) {
		var u accounts.User
		if err := anew(&u); err != nil {
			return u, err
		}
		return db.AddUser(u, accounts.How{})
	}
	replace := func(how accounts.How) (accounts.User, error) { return db.ChangeUser(name, how, anew) }
	u, err := putAt(q.Version, add, replace)
	return s.changedUser(c, u, secret, err)
}

// putAt puts a record where it is at a version: nil is at any, or not there at all, and
// 0 the latter alone.
func putAt[T any](version *uint64, add func() (T, error), replace func(accounts.How) (T, error)) (T, error) {
	switch {
	case version == nil:
	case *version == 0:
		return add()
	default:
		return replace(accounts.How{Version: *version})
	}
	v, err := replace(accounts.How{})
	if errors.Is(err, accounts.ErrNotFound) {
		v, err = add()
	}
	return v, err
}

// at is the version that a change of what is there is made for.
func at(version *uint64) (how accounts.How, err error) {
	switch {
	case version == nil:
	case *version == 0:
		return how, bad("version 0 is for what is not there")
	default:
		how.Version = *version
	}
	return how, nil
}

// secret is a new password as it is kept. The zero secret sets none.
type secret struct {
	encoded   string
	verifiers []string
	generated string
}

func (x *secret) set(u *accounts.User) {
	if x.encoded != "" {
		u.Password, u.SCRAM = x.encoded, x.verifiers
	}
}

// newSecret is the password that a request sets, or has generated.
func newSecret(db *accounts.Database, password string, generate bool) (x secret, err error) {
	switch {
	case generate && password != "":
		return x, bad("either password or generate")
	case generate:
		x.generated, x.encoded, x.verifiers, err = db.NewSecret()
	case password != "":
		x.encoded, x.verifiers, err = db.Hash([]byte(password))
	}
	return x, accountError(err)
}

// changedUser is the answer to a change of a user.
func (s *Server) changedUser(c *call, u accounts.User, x secret, err error) (any, error) {
	if err != nil {
		return nil, accountError(err)
	}
	c.result = "version " + strconv.FormatUint(u.Version, 10)
	return UserResult{User: describeUser(&u, time.Now()), Secret: x.generated}, nil
}

// changing begins a change of the record that the path names: q is what its body, if
// there is one, is decoded into.
func (s *Server) changing(c *call, q any, what string) (*accounts.Database, string, error) {
	name := c.http.PathValue("name")
	c.target = what + " " + strconv.Quote(name)
	db, err := s.accounts()
	if err == nil && len(c.body) > 0 && decode(c.body, q) != nil {
		// What encoding/json says may quote a part of a password.
		err = bad("the body is not what is expected: a member is unknown, or of another type")
	}
	c.unchanged = err != nil
	return db, name, err
}

// alterUser makes a change of an account that is there.
func (s *Server) alterUser(c *call, db *accounts.Database, name string, version *uint64, x secret, change func(*accounts.User) error) (any, error) {
	how, err := at(version)
	if err != nil {
		c.unchanged = true
		return nil, err
	}
	u, err := db.ChangeUser(name, how, change)
	return s.changedUser(c, u, x, err)
}

// patchUser is PATCH /users/{name}.
func (s *Server) patchUser(c *call) (any, error) {
	var q UserChange
	db, name, err := s.changing(c, &q, "user")
	if err != nil {
		return nil, err
	}
	if q.Password != "" || q.Generate {
		c.unchanged = true
		return nil, bad("a password is set by POST to its own endpoint")
	}
	return s.alterUser(c, db, name, q.Version, secret{}, q.apply)
}

// deleteUser is DELETE /users/{name}.
func (s *Server) deleteUser(c *call) (any, error) {
	return s.remove(c, "user", (*accounts.Database).DeleteUser)
}

// remove deletes a record.
func (s *Server) remove(c *call, what string, remove func(db *accounts.Database, name string, how accounts.How) error) (any, error) {
	var q DeleteRequest
	db, name, err := s.changing(c, &q, what)
	if err != nil {
		return nil, err
	}
	how, err := at(q.Version)
	if err != nil {
		c.unchanged = true
		return nil, err
	}
	how.Force = q.Force
	if err := remove(db, name, how); err != nil {
		return nil, accountError(err)
	}
	c.result = "deleted"
	return struct{}{}, nil
}

// setPassword is POST /users/{name}/password. Its answer, and that of PUT, are the ones
// that may hold a secret: one that was made for it.
func (s *Server) setPassword(c *call) (any, error) {
	var q PasswordChange
	db, name, err := s.changing(c, &q, "user")
	if err != nil {
		return nil, err
	}
	if (q.Password != "") == q.Generate {
		c.unchanged = true
		return nil, bad("either password or generate")
	}
	if db.Version(name) == 0 { // before a hash is paid for
		return nil, notThere("user")
	}
	x, err := newSecret(db, q.Password, q.Generate)
	if err != nil {
		return nil, err
	}
	return s.alterUser(c, db, name, q.Version, x, func(u *accounts.User) error { x.set(u); return nil })
}

// The changes of an account's state.

func (s *Server) disableUser(c *call) (any, error) {
	return s.setState(c, func(u *accounts.User) { u.Disabled = true })
}

func (s *Server) enableUser(c *call) (any, error) {
	return s.setState(c, func(u *accounts.User) { u.Disabled = false })
}

func (s *Server) unlockUser(c *call) (any, error) {
	return s.setState(c, func(u *accounts.User) { u.Locked, u.LockedUntil = false, time.Time{} })
}

func (s *Server) setState(c *call, change func(*accounts.User)) (any, error) {
	var q VersionRequest
	db, name, err := s.changing(c, &q, "user")
	if err != nil {
		return nil, err
	}
	return s.alterUser(c, db, name, q.Version, secret{}, func(u *accounts.User) error { change(u); return nil })
}

// lockUser is POST /users/{name}/lock.
func (s *Server) lockUser(c *call) (any, error) {
	var q LockRequest
	db, name, err := s.changing(c, &q, "user")
	if err != nil {
		return nil, err
	}
	until, err := parseMoment("until", q.Until)
	if err == nil && !until.IsZero() && !until.After(time.Now()) {
		err = bad("until is over")
	}
	if err != nil {
		c.unchanged = true
		return nil, err
	}
	return s.alterUser(c, db, name, q.Version, secret{}, func(u *accounts.User) error {
		u.Locked, u.LockedUntil = true, until
		return nil
	})
}

// apply makes the changes in u.
func (q *UserChange) apply(u *accounts.User) (err error) {
	set(&u.Kind, q.Kind)
	set(&u.Groups, q.Groups)
	set(&u.Roles, q.Roles)
	u.Groups = altered(u.Groups, q.AddGroups, q.RemoveGroups)
	u.Roles = altered(u.Roles, q.AddRoles, q.RemoveRoles)
	set(&u.Disabled, q.Disabled)
	set(&u.ClientIDs, q.ClientIDs)
	set(&u.Comment, q.Comment)
	u.Attributes = q.attributes(u.Attributes)
	if q.ValidFrom != nil {
		if u.ValidFrom, err = parseMoment("valid_from", *q.ValidFrom); err != nil {
			return err
		}
	}
	if q.ValidUntil != nil {
		if u.ValidUntil, err = parseMoment("valid_until", *q.ValidUntil); err != nil {
			return err
		}
	}
	if q.Addresses != nil {
		u.Addresses, err = parseNetworks(*q.Addresses)
	}
	return err
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// altered is list with some added at its end, and others taken away; not list itself.
func altered(list, add, remove []string) []string {
	out := slices.Clone(list)
	for _, x := range add {
		if !slices.Contains(out, x) {
			out = append(out, x)
		}
	}
	return slices.DeleteFunc(out, func(x string) bool { return slices.Contains(remove, x) })
}

func (q *UserChange) attributes(old map[string]string) map[string]string {
	if len(q.Attributes) == 0 {
		return old
	}
	out := make(map[string]string, len(old)+len(q.Attributes))
	for k, v := range old {
		out[k] = v
	}
	for k, v := range q.Attributes {
		if v == nil {
			delete(out, k)
		} else {
			out[k] = *v
		}
	}
	return out
}

func parseMoment(key, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, bad("%s is no time such as 2026-03-01T08:30:00Z", key)
	}
	return t.UTC(), nil
}

func parseNetworks(list []string) (out []netip.Prefix, err error) {
	for _, text := range list {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			a, e := netip.ParseAddr(text)
			if e != nil || a.Zone() != "" {
				return nil, bad("%.60q is no address and no network", text)
			}
			a = a.Unmap()
			p = netip.PrefixFrom(a, a.BitLen())
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

// UserPath is the path of a user's endpoint.
func UserPath(name string) string { return "/users/" + escape(name) }
