// Package accounts is the embedded account database: users and devices, their groups
// and roles. It hides how accounts are kept, how a password is checked and moved to a
// better hash, and who has to be judged anew when something changes.
//
// A record is immutable once it is in the database: a change makes a new one with a
// greater version, and is in force when the call that made it returns.
package accounts

import (
	"net/netip"
	"time"
)

// Kind says what an account is for.
type Kind string

// The kinds. They differ in nothing but how their secrets are made: a device's is
// generated, a user's is chosen.
const (
	Person Kind = "user"
	Device Kind = "device"
)

// User is one account. In JSON it is one element of an export.
type User struct {
	Name string `json:"name"`
	Kind Kind   `json:"kind"`
	// Password is encoded as in a password file; empty: no password is right. It is a
	// secret, as SCRAM is.
	Password string `json:"password,omitempty"`
	// SCRAM is verifiers, encoded by internal/scram, one for each hash at most.
	SCRAM      []string          `json:"scram,omitempty"`
	Groups     []string          `json:"groups,omitempty"`
	Roles      []string          `json:"roles,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"`
	// Disabled is for good, Locked until somebody unlocks it or LockedUntil is over.
	Disabled    bool      `json:"disabled,omitempty"`
	Locked      bool      `json:"locked,omitempty"`
	LockedUntil time.Time `json:"locked_until,omitzero"` // zero with Locked: no end
	ValidFrom   time.Time `json:"valid_from,omitzero"`   // inclusive
	ValidUntil  time.Time `json:"valid_until,omitzero"`  // exclusive
	// Addresses is where the account may come from; empty: anywhere.
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	// ClientIDs are the client identifiers it may use: each exact, or the beginning of
	// one when it ends in *; empty: any.
	ClientIDs []string  `json:"client_ids,omitempty"`
	Comment   string    `json:"comment,omitempty"`
	Created   time.Time `json:"created,omitzero"`
	Changed   time.Time `json:"changed,omitzero"`
	// Version grows with each change but that of a hash whose password stays the same.
	Version uint64 `json:"version,omitempty"`
}

// Group is a set of users that have roles together.
type Group struct {
	Name    string   `json:"name"`
	Roles   []string `json:"roles,omitempty"`
	Comment string   `json:"comment,omitempty"`
	Version uint64   `json:"version,omitempty"`
}

// Role is a set of permissions with a name.
type Role struct {
	Name        string       `json:"name"`
	Permissions []Permission `json:"permissions,omitempty"`
	Comment     string       `json:"comment,omitempty"`
	Version     uint64       `json:"version,omitempty"`
}

// Permission is one rule of a role, in the terms of permission files
// (docs/permissions.md), which it is compiled as.
type Permission struct {
	Deny   bool   `json:"deny,omitempty"`
	Topic  string `json:"topic"`            // a filter, with placeholders
	Action string `json:"action,omitempty"` // all (empty), publish or subscribe
	QoS    []int  `json:"qos,omitempty"`    // of 0, 1 and 2; empty: any
	Retain string `json:"retain,omitempty"` // all (empty), retained or not_retained
	// Shared is all, shared or not_shared; empty: all, or shared where Group has a name.
	Shared string `json:"shared,omitempty"`
	Group  string `json:"group,omitempty"` // share name; empty or #: any
}

// Keeper keeps records for good.
type Keeper interface {
	// Load yields everything that was kept, in no order, until yield fails.
	Load(yield func(Record) error) error
	// Keep keeps all of the changes or none, and returns when they are kept.
	Keep(changes []Record) error
}

// Record is a kept record, or one that is to be kept.
type Record struct {
	Table string // one of the tables below
	Name  string
	Value []byte // nil in Keep: the record is deleted
}

// The tables.
const (
	UsersTable  = "users"
	GroupsTable = "groups"
	RolesTable  = "roles"
	// MetaTable has one record, CounterName: the greatest version that was given to
	// anything, so that what is deleted and made again doesn't get an old one.
	MetaTable   = "meta"
	CounterName = "version"
)

// Change says who has to be judged anew. No name is in both lists.
type Change struct {
	// Users is accounts that changed in something that a session stands on: groups,
	// roles, attributes, where from and as which client they may come, how long.
	Users []string
	// End is accounts whose sessions end: disabled, locked, deleted, of a new password,
	// or not valid now.
	End []string
	// Roles says that the permissions of roles, or the roles of groups, changed.
	Roles bool
}

// IsZero reports whether nobody has to be judged anew.
func (c Change) IsZero() bool { return len(c.Users) == 0 && len(c.End) == 0 && !c.Roles }
