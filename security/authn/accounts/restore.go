package accounts

import (
	"bytes"
	"errors"
	"strconv"
)

// Restore makes the keeper hold what is in force, once it can be written to again: what
// it failed to keep, so that it never came into force, may be there all the same.
func (db *Database) Restore() error {
	db.changing.Lock()
	defer db.changing.Unlock()
	inForce, err := db.inForce()
	if err != nil {
		return err
	}
	var changes []Record
	err = db.opts.Keeper.Load(func(r Record) error {
		key := [2]string{r.Table, r.Name}
		is, there := inForce[key]
		switch {
		case !there:
			changes = append(changes, Record{Table: r.Table, Name: r.Name})
		case bytes.Equal(is.Value, r.Value):
			delete(inForce, key)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, r := range inForce {
		changes = append(changes, r)
	}
	if len(changes) == 0 {
		return nil
	}
	return db.opts.Keeper.Keep(changes)
}

// inForce is every record as the keeper should have it; changing is held.
func (db *Database) inForce() (map[[2]string]Record, error) {
	out := make(map[[2]string]Record, len(db.users)+len(db.groups)+len(db.roles)+1)
	var errs []error
	add := func(r Record, err error) {
		out[[2]string{r.Table, r.Name}] = r
		errs = append(errs, err)
	}
	for _, u := range db.users {
		add(encode(UsersTable, u))
	}
	for _, g := range db.groups {
		add(encode(GroupsTable, g))
	}
	for _, r := range db.roles {
		add(encode(RolesTable, r))
	}
	add(Record{MetaTable, CounterName, strconv.AppendUint(nil, db.version, 10)}, nil)
	return out, errors.Join(errs...)
}
