package accounts

import (
	"fmt"
	"maps"
	"slices"
)

// AddGroup adds a group; ErrExists if the name is taken.
func (db *Database) AddGroup(g Group, how How) (Group, error) {
	err := db.change(func(d *draft) error {
		if d.group(g.Name) != nil {
			return fmt.Errorf("group %q: %w", g.Name, ErrExists)
		}
		return d.putGroup(&g, how)
	})
	return g, err
}

// PutGroup adds a group or replaces it.
func (db *Database) PutGroup(g Group, how How) (Group, error) {
	err := db.change(func(d *draft) error {
		if err := match(d.group(g.Name), how); err != nil {
			return fmt.Errorf("group %q: %w", g.Name, err)
		}
		return d.putGroup(&g, how)
	})
	return g, err
}

// ChangeGroup changes a group by f, as ChangeUser does an account.
func (db *Database) ChangeGroup(name string, how How, f func(*Group) error) (Group, error) {
	var g Group
	err := db.change(func(d *draft) error {
		old := d.group(name)
		if old == nil {
			return fmt.Errorf("group %q: %w", name, ErrNotFound)
		}
		if err := match(old, how); err != nil {
			return fmt.Errorf("group %q: %w", name, err)
		}
		g = *old
		g.Roles = slices.Clone(old.Roles)
		if err := f(&g); err != nil {
			return err
		}
		if g.Name != name {
			return invalid("name", "can't be changed")
		}
		return d.putGroup(&g, how)
	})
	return g, err
}

func (d *draft) putGroup(g *Group, how How) error {
	if err := checkGroup(g); err != nil {
		return err
	}
	old := d.group(g.Name)
	for _, role := range g.Roles {
		if !how.AllowUnknown && d.role(role) == nil && (old == nil || !slices.Contains(old.Roles, role)) {
			return invalid("roles", "there is no role %q", role)
		}
	}
	if old != nil && slices.Equal(old.Roles, g.Roles) && old.Comment == g.Comment {
		*g = *old
		return nil
	}
	g.Version = d.next()
	kept := *g
	d.groups[g.Name] = &kept
	return nil
}

// DeleteGroup deletes a group: ErrInUse if an account is in it, unless how.Force says
// to take it from them.
func (db *Database) DeleteGroup(name string, how How) error {
	return db.change(func(d *draft) error {
		old := d.group(name)
		if old == nil {
			return fmt.Errorf("group %q: %w", name, ErrNotFound)
		}
		if err := match(old, how); err != nil {
			return fmt.Errorf("group %q: %w", name, err)
		}
		d.groups[name] = nil
		return d.release("group", name, how, func(u *User) *[]string { return &u.Groups })
	})
}

// AddRole adds a role; ErrExists if the name is taken.
func (db *Database) AddRole(r Role, how How) (Role, error) {
	err := db.change(func(d *draft) error {
		if d.role(r.Name) != nil {
			return fmt.Errorf("role %q: %w", r.Name, ErrExists)
		}
		return d.putRole(&r)
	})
	return r, err
}

// PutRole adds a role or replaces it.
func (db *Database) PutRole(r Role, how How) (Role, error) {
	err := db.change(func(d *draft) error {
		if err := match(d.role(r.Name), how); err != nil {
			return fmt.Errorf("role %q: %w", r.Name, err)
		}
		return d.putRole(&r)
	})
	return r, err
}

// ChangeRole changes a role by f, as ChangeUser does an account.
func (db *Database) ChangeRole(name string, how How, f func(*Role) error) (Role, error) {
	var r Role
	err := db.change(func(d *draft) error {
		old := d.role(name)
		if old == nil {
			return fmt.Errorf("role %q: %w", name, ErrNotFound)
		}
		if err := match(old, how); err != nil {
			return fmt.Errorf("role %q: %w", name, err)
		}
		r = *old
		r.Permissions = clonePermissions(old.Permissions)
		if err := f(&r); err != nil {
			return err
		}
		if r.Name != name {
			return invalid("name", "can't be changed")
		}
		return d.putRole(&r)
	})
	return r, err
}

func clonePermissions(list []Permission) []Permission {
	list = slices.Clone(list)
	for i := range list {
		list[i].QoS = slices.Clone(list[i].QoS)
	}
	return list
}

func (d *draft) putRole(r *Role) error {
	if err := checkRole(r); err != nil {
		return err
	}
	if old := d.role(r.Name); old != nil && slices.EqualFunc(old.Permissions, r.Permissions, samePermission) && old.Comment == r.Comment {
		*r = *old
		return nil
	}
	r.Version = d.next()
	kept := *r
	kept.Permissions = clonePermissions(r.Permissions)
	d.roles[r.Name] = &kept
	return nil
}

// DeleteRole deletes a role: ErrInUse if an account or a group has it, unless
// how.Force says to take it from them.
func (db *Database) DeleteRole(name string, how How) error {
	return db.change(func(d *draft) error {
		old := d.role(name)
		if old == nil {
			return fmt.Errorf("role %q: %w", name, ErrNotFound)
		}
		if err := match(old, how); err != nil {
			return fmt.Errorf("role %q: %w", name, err)
		}
		d.roles[name] = nil
		if err := d.releaseGroups(name, how); err != nil {
			return err
		}
		return d.release("role", name, how, func(u *User) *[]string { return &u.Roles })
	})
}

// releaseGroups takes a role from all groups.
func (d *draft) releaseGroups(role string, how How) error {
	for _, name := range slices.Sorted(maps.Keys(d.db.groups)) {
		g := d.db.groups[name]
		if !slices.Contains(g.Roles, role) {
			continue
		}
		if !how.Force {
			return fmt.Errorf("role %q: group %q has it: %w", role, name, ErrInUse)
		}
		now := *g
		now.Roles = without(g.Roles, role)
		now.Version = d.next()
		d.groups[name] = &now
	}
	return nil
}

// release takes a group or role out of a list of all accounts.
func (d *draft) release(what, name string, how How, list func(*User) *[]string) error {
	for _, user := range d.db.names {
		u := d.db.users[user]
		if !slices.Contains(*list(u), name) {
			continue
		}
		if !how.Force {
			return fmt.Errorf("%s %q: user %q has it: %w", what, name, user, ErrInUse)
		}
		now := u.clone()
		*list(&now) = without(*list(&now), name)
		now.Changed, now.Version = d.now(), d.next()
		d.users[user] = &now
	}
	return nil
}

func without(names []string, name string) []string {
	out := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == name })
	if len(out) == 0 {
		return nil
	}
	return out
}
