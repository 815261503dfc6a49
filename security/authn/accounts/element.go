package accounts

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"
)

// The elements of our own document. An export writes every member, with null, false or
// "" for what is not set: a member that is missing leaves what is there.

type roleElement struct {
	Name        string       `json:"name"`
	Permissions []Permission `json:"permissions"`
	Comment     string       `json:"comment"`
	Version     uint64       `json:"version"`
}

type groupElement struct {
	Name    string   `json:"name"`
	Roles   []string `json:"roles"`
	Comment string   `json:"comment"`
	Version uint64   `json:"version"`
}

type userElement struct {
	Name        string            `json:"name"`
	Kind        Kind              `json:"kind"`
	Groups      []string          `json:"groups"`
	Roles       []string          `json:"roles"`
	Attributes  map[string]string `json:"attributes"`
	Disabled    bool              `json:"disabled"`
	Locked      bool              `json:"locked"`
	LockedUntil *time.Time        `json:"locked_until"`
	ValidFrom   *time.Time        `json:"valid_from"`
	ValidUntil  *time.Time        `json:"valid_until"`
	Addresses   []netip.Prefix    `json:"addresses"`
	ClientIDs   []string          `json:"client_ids"`
	Comment     string            `json:"comment"`
	Created     time.Time         `json:"created,omitzero"`
	Changed     time.Time         `json:"changed,omitzero"`
	Version     uint64            `json:"version"`
}

// secretElement is an account with its secrets.
type secretElement struct {
	userElement
	Password string   `json:"password"`
	SCRAM    []string `json:"scram"`
}

func (u *User) element() userElement {
	moment := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	return userElement{
		Name: u.Name, Kind: u.Kind, Groups: u.Groups, Roles: u.Roles, Attributes: u.Attributes,
		Disabled: u.Disabled, Locked: u.Locked, LockedUntil: moment(u.LockedUntil),
		ValidFrom: moment(u.ValidFrom), ValidUntil: moment(u.ValidUntil),
		Addresses: u.Addresses, ClientIDs: u.ClientIDs, Comment: u.Comment,
		Created: u.Created, Changed: u.Changed, Version: u.Version,
	}
}

// setBy is what a member of an element sets; false: no element has it. Names and what the
// broker gives anew set nothing.
func setBy(member string) (field, bool) {
	switch member {
	case "name", "created", "changed", "version":
		return 0, true
	case "kind":
		return setKind, true
	case "password":
		return setPassword, true
	case "scram":
		return setSCRAM, true
	case "groups":
		return setGroups, true
	case "roles":
		return setRoles, true
	case "attributes":
		return setAttributes, true
	case "disabled":
		return setDisabled, true
	case "locked":
		return setLocked, true
	case "locked_until":
		return setLockedUntil, true
	case "valid_from":
		return setValidFrom, true
	case "valid_until":
		return setValidUntil, true
	case "addresses":
		return setAddresses, true
	case "client_ids":
		return setClientIDs, true
	case "comment":
		return setComment, true
	case "permissions":
		return setPermissions, true
	}
	return 0, false
}

// spoken is an element, and what its members set.
type spoken[T any] struct {
	is   T
	sets field
}

// UnmarshalJSON refuses members that are not known, as the decoder that comes here does:
// it doesn't hand that on.
func (s *spoken[T]) UnmarshalJSON(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&s.is); err != nil {
		return err
	}
	var members map[string]present
	if err := json.Unmarshal(data, &members); err != nil {
		return err
	}
	for member := range members {
		sets, known := setBy(member)
		if !known { // in other letters: the decoder takes Groups for groups
			return fmt.Errorf("json: unknown field %q", member)
		}
		s.sets |= sets
	}
	return nil
}

// present is a value that is there, whatever it is.
type present struct{}

func (*present) UnmarshalJSON([]byte) error { return nil }
