package accounts

import (
	"maps"
	"slices"
	"sort"
	"strconv"
	"time"
)

// How is how a change is meant. The zero value is the careful way.
type How struct {
	// Version is that of the record that the change is made for; another one is
	// ErrChanged. 0: whichever there is.
	Version uint64
	// AllowUnknown lets groups and roles be named that are not there.
	AllowUnknown bool
	// Force deletes a group or role that is in use, and takes it from who has it.
	Force bool
}

// draft is a change that is being made: records over those that are in force. Nil
// values are deleted ones. db.changing is held.
type draft struct {
	db      *Database
	version uint64
	users   map[string]*User
	groups  map[string]*Group
	roles   map[string]*Role
	silent  bool // what a session stands on stays: a better hash of the same password
}

// change makes a draft by f, keeps it and puts it in force: all of it or nothing.
func (db *Database) change(f func(*draft) error) error {
	db.changing.Lock()
	defer db.changing.Unlock()
	if db.upgrade.closed() {
		return ErrClosed
	}
	d := db.draft()
	if err := f(d); err != nil {
		return err
	}
	return d.commit()
}

// draft is an empty one; db.changing is held.
func (db *Database) draft() *draft {
	return &draft{
		db: db, version: db.version,
		users: map[string]*User{}, groups: map[string]*Group{}, roles: map[string]*Role{},
	}
}

// forget takes all changes out of the draft.
func (d *draft) forget() {
	clear(d.users)
	clear(d.groups)
	clear(d.roles)
	d.version = d.db.version
}

// next is a version that nothing ever had.
func (d *draft) next() uint64 {
	d.version++
	return d.version
}

// now is the time as records have it.
func (d *draft) now() time.Time { return d.db.opts.Now().UTC().Truncate(time.Second) }

func (d *draft) user(name string) *User   { return drafted(d.users, d.db.users, name) }
func (d *draft) group(name string) *Group { return drafted(d.groups, d.db.groups, name) }
func (d *draft) role(name string) *Role   { return drafted(d.roles, d.db.roles, name) }

// drafted reads without mu: what is in force changes only while changing is held.
func drafted[T any](draft, inForce map[string]*T, name string) *T {
	if v, there := draft[name]; there {
		return v
	}
	return inForce[name]
}

// commit keeps the draft and puts it in force.
func (d *draft) commit() error {
	if err := d.room(); err != nil {
		return err
	}
	records, err := d.records()
	if err != nil || len(records) == 0 {
		return err
	}
	if err := d.db.opts.Keeper.Keep(records); err != nil {
		return err
	}
	change := d.differences()
	d.db.version = d.version
	d.apply()
	d.db.reckon()
	if d.db.opts.Changed != nil && !change.IsZero() {
		d.db.opts.Changed(change)
	}
	return nil
}

// room holds what there would be against the bounds.
func (d *draft) room() error {
	o := d.db.opts
	if grown(d.users, d.db.users) > o.MaxUsers || grown(d.groups, d.db.groups) > o.MaxGroups || grown(d.roles, d.db.roles) > o.MaxRoles {
		return ErrFull
	}
	return nil
}

func grown[T any](draft, inForce map[string]*T) int {
	n := len(inForce)
	for name, v := range draft {
		switch old := inForce[name]; {
		case old == nil && v != nil:
			n++
		case old != nil && v == nil:
			n--
		}
	}
	return n
}

// records is what has to be kept, in the order of tables and names.
func (d *draft) records() ([]Record, error) {
	var out []Record
	if err := encodeAll(&out, UsersTable, d.users); err != nil {
		return nil, err
	}
	if err := encodeAll(&out, GroupsTable, d.groups); err != nil {
		return nil, err
	}
	if err := encodeAll(&out, RolesTable, d.roles); err != nil {
		return nil, err
	}
	// The counter is told by the greatest version that is kept, but where that goes away.
	if slices.ContainsFunc(out, func(r Record) bool { return r.Value == nil }) {
		out = append(out, Record{MetaTable, CounterName, strconv.AppendUint(nil, d.version, 10)})
	}
	return out, nil
}

func encodeAll[T any](out *[]Record, table string, draft map[string]*T) error {
	for _, name := range slices.Sorted(maps.Keys(draft)) {
		r := Record{Table: table, Name: name}
		if v := draft[name]; v != nil {
			var err error
			if r, err = encode(table, any(v).(named)); err != nil {
				return err
			}
		}
		*out = append(*out, r)
	}
	return nil
}

// apply puts the draft in force.
func (d *draft) apply() {
	db := d.db
	db.mu.Lock()
	defer db.mu.Unlock()
	put(db.groups, d.groups)
	put(db.roles, d.roles)
	var added []string
	removed := false
	for name, u := range d.users {
		old := db.users[name]
		if old != nil {
			db.count(old, -1)
		}
		if u == nil {
			delete(db.users, name)
			removed = removed || old != nil
			continue
		}
		db.share(u)
		db.count(u, 1)
		db.users[name] = u
		if old == nil {
			added = append(added, name)
		}
	}
	if removed {
		db.names = slices.DeleteFunc(db.names, func(name string) bool { return db.users[name] == nil })
	}
	db.names = merge(db.names, added)
}

func put[T any](inForce, draft map[string]*T) {
	for name, v := range draft {
		if v == nil {
			delete(inForce, name)
		} else {
			inForce[name] = v
		}
	}
}

// merge adds names to a sorted list that has none of them.
func merge(names, added []string) []string {
	if len(added) == 1 {
		at, _ := slices.BinarySearch(names, added[0])
		return slices.Insert(names, at, added[0])
	}
	if len(added) > 0 {
		names = append(names, added...)
		sort.Strings(names)
	}
	return names
}

// differences is who has to be judged anew; nothing is in force yet.
func (d *draft) differences() (c Change) {
	if d.silent {
		return c
	}
	for _, name := range slices.Sorted(maps.Keys(d.users)) {
		old, now := d.db.users[name], d.users[name]
		switch {
		case old == nil && now == nil:
		case now == nil, d.ends(old, now):
			c.End = append(c.End, name)
		case old == nil || bears(old, now):
			c.Users = append(c.Users, name)
		}
	}
	for name, now := range d.groups {
		old := d.db.groups[name]
		c.Roles = c.Roles || old == nil || now == nil || !slices.Equal(old.Roles, now.Roles)
	}
	for name, now := range d.roles {
		old := d.db.roles[name]
		c.Roles = c.Roles || old == nil || now == nil || !slices.EqualFunc(old.Permissions, now.Permissions, samePermission)
	}
	return c
}

// ends reports whether the sessions of an account end with a change of it.
func (d *draft) ends(old, now *User) bool {
	if refusal(now, d.db.opts.Now()) != "" {
		return true
	}
	return old != nil && (old.Password != now.Password || !slices.Equal(old.SCRAM, now.SCRAM))
}

// bears reports whether old and now differ in something that a session stands on.
func bears(old, now *User) bool {
	return !slices.Equal(old.Groups, now.Groups) || !slices.Equal(old.Roles, now.Roles) ||
		!maps.Equal(old.Attributes, now.Attributes) || !slices.Equal(old.Addresses, now.Addresses) ||
		!slices.Equal(old.ClientIDs, now.ClientIDs) || !old.ValidUntil.Equal(now.ValidUntil) ||
		old.Disabled != now.Disabled || old.Locked != now.Locked || !old.LockedUntil.Equal(now.LockedUntil) ||
		!old.ValidFrom.Equal(now.ValidFrom)
}

func samePermission(a, b Permission) bool {
	return a.Deny == b.Deny && a.Topic == b.Topic && a.Action == b.Action && slices.Equal(a.QoS, b.QoS) &&
		a.Retain == b.Retain && a.Shared == b.Shared && a.Group == b.Group
}
