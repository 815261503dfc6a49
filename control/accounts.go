package control

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"sallyport/security/authn/accounts"
)

// accounts is the database, or the answer where there is none.
func (s *Server) accounts() (*accounts.Database, error) {
	if s.options.Accounts == nil {
		return nil, &Error{Status: http.StatusConflict, Code: "no_accounts", Message: "nothing in the configuration is of type accounts"}
	}
	return s.options.Accounts, nil
}

// accountError is the answer to a change that was refused.
func accountError(err error) error {
	if err == nil {
		return nil
	}
	answer := func(status int, code string) error {
		return &Error{Status: status, Code: code, Message: strings.TrimPrefix(err.Error(), "accounts: ")}
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if _, ok := errors.AsType[*accounts.InvalidError](err); ok {
		return answer(http.StatusUnprocessableEntity, "invalid")
	}
	switch {
	case errors.Is(err, accounts.ErrNotFound):
		return answer(http.StatusNotFound, "not_found")
	case errors.Is(err, accounts.ErrExists):
		return answer(http.StatusConflict, "exists")
	case errors.Is(err, accounts.ErrChanged):
		return answer(http.StatusConflict, "changed")
	case errors.Is(err, accounts.ErrInUse):
		return answer(http.StatusConflict, "in_use")
	case errors.Is(err, accounts.ErrFull):
		return answer(http.StatusConflict, "full")
	}
	return err
}

// notThere is the answer to who asks for a name that there is none of.
func notThere(what string) error {
	return &Error{Status: http.StatusNotFound, Code: "not_found", Message: "there is no " + what + " with this name"}
}

// AccountUser is an account as answers show it: how its password is kept, and not what.
type AccountUser struct {
	Name  string        `json:"name"`
	Kind  accounts.Kind `json:"kind"`
	State string        `json:"state"` // active, disabled, locked, not_yet_valid or expired
	// Password is how the password is kept, such as argon2id; empty without one.
	Password    string            `json:"password"`
	SCRAM       []string          `json:"scram,omitempty"` // methods that it has verifiers for
	Groups      []string          `json:"groups"`
	Roles       []string          `json:"roles"`
	Attributes  map[string]string `json:"attributes,omitempty"`
	LockedUntil *time.Time        `json:"locked_until,omitempty"`
	ValidFrom   *time.Time        `json:"valid_from,omitempty"`
	ValidUntil  *time.Time        `json:"valid_until,omitempty"`
	Addresses   []string          `json:"addresses,omitempty"`
	ClientIDs   []string          `json:"client_ids,omitempty"`
	Comment     string            `json:"comment,omitempty"`
	Created     *time.Time        `json:"created,omitempty"`
	Changed     *time.Time        `json:"changed,omitempty"`
	Version     uint64            `json:"version"`
}

// The states of an account.
const (
	stateActive   = "active"
	stateDisabled = "disabled"
	stateLocked   = "locked"
	stateEarly    = "not_yet_valid"
	stateExpired  = "expired"
)

// stateOf is the state of u at a moment; of several the one that lasts.
func stateOf(u *accounts.User, now time.Time) string {
	switch {
	case u.Refusal(now) == "":
		return stateActive
	case u.Disabled:
		return stateDisabled
	case !u.ValidUntil.IsZero() && !now.Before(u.ValidUntil):
		return stateExpired
	case u.Locked && (u.LockedUntil.IsZero() || now.Before(u.LockedUntil)):
		return stateLocked
	}
	return stateEarly
}

func describeUser(u *accounts.User, now time.Time) AccountUser {
	out := AccountUser{
		Name: u.Name, Kind: u.Kind, State: stateOf(u, now), Groups: orEmpty(u.Groups), Roles: orEmpty(u.Roles),
		Attributes: u.Attributes, ClientIDs: u.ClientIDs, Comment: u.Comment, Version: u.Version,
		ValidFrom: moment(u.ValidFrom), ValidUntil: moment(u.ValidUntil), Created: moment(u.Created), Changed: moment(u.Changed),
	}
	out.Password, out.SCRAM = u.Credentials()
	if out.State == stateLocked {
		out.LockedUntil = moment(u.LockedUntil)
	}
	for _, p := range u.Addresses {
		out.Addresses = append(out.Addresses, p.String())
	}
	return out
}

func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
