package accounts

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"

	"sallyport/security/authn"
)

// ImportOptions is how a batch is meant. The zero value adds what is not there yet.
type ImportOptions struct {
	Replace      bool // what is there is changed to what the document says of it
	DryRun       bool // nothing is changed, only told
	AllowUnknown bool // groups and roles may be named that are nowhere
}

// Effect is what an import does to one record.
type Effect struct {
	Table string // UsersTable, GroupsTable, RolesTable
	Name  string
	What  string // added, changed, same (as it was), skipped (is there, and nothing is replaced)
}

// Report is what an import did, or with DryRun would do.
type Report struct {
	Effects []Effect
	Kept    int // records of accounts that were kept; with an error fewer than there are effects
}

// Count is the number of effects of a kind, such as added.
func (r *Report) Count(what string) (n int) {
	for _, e := range r.Effects {
		if e.What == what {
			n++
		}
	}
	return n
}

// maxTransaction bounds how many records are kept at once.
const maxTransaction = 10_000

// Import adds what a document holds, and with Replace changes what is there. All of it
// is checked before anything is changed. A document of up to 10,000 records is kept at
// once, all or none; a larger one in parts of as many, the roles and groups with the
// first. Between two of them others may change accounts, and an error or the end of ctx
// leaves what Report.Kept counts. Plain passwords are hashed first, for as long as that
// takes.
func (db *Database) Import(ctx context.Context, b *Batch, o ImportOptions) (*Report, error) {
	users, err := db.prepare(ctx, b, o)
	if err != nil {
		return nil, err
	}
	size := len(b.roles) + len(b.groups) + len(users)
	report, err := db.importAll(b, users, o, size <= maxTransaction)
	if err != nil || o.DryRun || size <= maxTransaction {
		return report, err
	}
	report = &Report{}
	for part, list := range parts(b, users) {
		err := ctx.Err()
		if err == nil {
			err = db.importPart(part, list, o, report)
		}
		if err != nil {
			return report, fmt.Errorf("accounts: import ended after %d records: %w", report.Kept, err)
		}
	}
	return report, nil
}

// importAll checks a whole batch, tells what it does, and with keep does so.
func (db *Database) importAll(b *Batch, users []prepared, o ImportOptions, keep bool) (*Report, error) {
	report := &Report{}
	err := db.change(func(d *draft) error {
		if err := d.merge(b, users, o, report); err != nil {
			return err
		}
		if err := d.room(); err != nil {
			return err
		}
		if !keep || o.DryRun {
			_, err := d.records() // their sizes
			d.forget()
			return err
		}
		report.Kept = len(d.users) + len(d.groups) + len(d.roles)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return report, nil
}

// importPart imports a part of a batch. Between two of them others may change accounts:
// who is to be locked out must not wait for the end of a long import.
func (db *Database) importPart(part *Batch, users []prepared, o ImportOptions, report *Report) error {
	kept := 0
	err := db.change(func(d *draft) error {
		err := d.merge(part, users, o, report)
		kept = len(d.users) + len(d.groups) + len(d.roles)
		return err
	})
	if err == nil {
		report.Kept += kept
	}
	return err
}

// parts is a batch in parts of at most maxTransaction records, the roles and groups in
// the first.
func parts(b *Batch, users []prepared) func(yield func(*Batch, []prepared) bool) {
	return func(yield func(*Batch, []prepared) bool) {
		part := &Batch{roles: b.roles, groups: b.groups}
		room := max(maxTransaction-len(b.roles)-len(b.groups), 0)
		for {
			n := min(room, len(users))
			if !yield(part, users[:n]) || n == len(users) {
				return
			}
			part, users, room = &Batch{}, users[n:], maxTransaction
		}
	}
}

// prepared is a user with its password hashed.
type prepared struct {
	entry
	password  string
	verifiers []string
}

// prepare hashes the plain passwords of the users that will be put, on several cores.
func (db *Database) prepare(ctx context.Context, b *Batch, o ImportOptions) ([]prepared, error) {
	users := make([]prepared, len(b.users))
	var (
		next    int
		failed  error
		mu      sync.Mutex // guards next and failed
		workers sync.WaitGroup
	)
	take := func() int {
		mu.Lock()
		defer mu.Unlock()
		if failed == nil {
			failed = ctx.Err()
		}
		if failed != nil || next == len(users) {
			return -1
		}
		next++
		return next - 1
	}
	for range min(runtime.GOMAXPROCS(0), 4) {
		workers.Go(func() {
			for i := take(); i >= 0; i = take() {
				var err error
				if users[i], err = db.prepareOne(b.users[i], o); err != nil {
					mu.Lock()
					failed = &DocumentError{b.users[i].line, fmt.Sprintf("user %q: %s", b.users[i].user.Name, reasonOf(err))}
					mu.Unlock()
				}
			}
		})
	}
	workers.Wait()
	return users, failed
}

// prepareOne hashes a plain password, unless it is the one that the account has, or
// nothing will become of it.
func (db *Database) prepareOne(e entry, o ImportOptions) (prepared, error) {
	p := prepared{entry: e, password: e.user.Password, verifiers: e.user.SCRAM}
	if e.plain == nil {
		return p, nil
	}
	old := db.user(e.user.Name)
	if old != nil && !o.Replace {
		return p, nil
	}
	if old != nil {
		if s, err := authn.ParseStored(old.Password, db.hashing.Load().limits); err == nil && s.Matches(e.plain) {
			p.password, p.verifiers = old.Password, old.SCRAM
			return p, nil
		}
	}
	var err error
	if o.DryRun { // any other one than it has: that is all that is told
		_, p.password, err = authn.Generate()
		return p, err
	}
	p.password, p.verifiers, err = db.hash(NewPassword{Plain: bytes.Clone(e.plain)})
	return p, err
}

// merge puts a batch into the draft and reports what that does.
func (d *draft) merge(b *Batch, users []prepared, o ImportOptions, report *Report) error {
	how := How{AllowUnknown: o.AllowUnknown}
	note := func(table, name string, was, is uint64) {
		what := "changed"
		if was == 0 {
			what = "added"
		} else if was == is {
			what = "same"
		}
		report.Effects = append(report.Effects, Effect{table, name, what})
	}
	skip := func(table, name string, was uint64) bool {
		if was == 0 || o.Replace {
			return false
		}
		report.Effects = append(report.Effects, Effect{table, name, "skipped"})
		return true
	}
	for _, e := range b.roles {
		old := d.role(e.role.Name)
		_, was := old.id()
		r := e.over(old)
		if skip(RolesTable, r.Name, was) {
			continue
		}
		if err := d.putRole(&r); err != nil {
			return fmt.Errorf("role %q: %w", r.Name, err)
		}
		note(RolesTable, r.Name, was, r.Version)
	}
	for _, e := range b.groups {
		old := d.group(e.group.Name)
		_, was := old.id()
		g := e.over(old)
		if skip(GroupsTable, g.Name, was) {
			continue
		}
		if err := d.putGroup(&g, how); err != nil {
			return fmt.Errorf("group %q: %w", g.Name, err)
		}
		note(GroupsTable, g.Name, was, g.Version)
	}
	for _, p := range users {
		old := d.user(p.user.Name)
		_, was := old.id()
		if skip(UsersTable, p.user.Name, was) {
			continue
		}
		u := p.over(old)
		if err := d.putUser(&u, how); err != nil {
			return &DocumentError{p.line, fmt.Sprintf("user %q: %s", u.Name, reasonOf(err))}
		}
		note(UsersTable, u.Name, was, u.Version)
	}
	return nil
}

// over is the role as the document wants it, with what it doesn't speak of as it was.
func (e *roleEntry) over(old *Role) Role {
	r := e.role
	if old != nil && e.sets&setPermissions == 0 {
		r.Permissions = old.Permissions
	}
	if old != nil && e.sets&setComment == 0 {
		r.Comment = old.Comment
	}
	return r
}

// over is the group, likewise.
func (e *groupEntry) over(old *Group) Group {
	g := e.group
	if old != nil && e.sets&setRoles == 0 {
		g.Roles = old.Roles
	}
	if old != nil && e.sets&setComment == 0 {
		g.Comment = old.Comment
	}
	return g
}

// over is the account as the document wants it, with what it doesn't speak of as it was.
func (p *prepared) over(old *User) User {
	new := p.user.clone()
	new.Password, new.SCRAM = p.password, slices.Clone(p.verifiers)
	if old == nil {
		return new
	}
	u := old.clone()
	if p.sets&setPassword != 0 && u.Password != new.Password {
		u.Password, u.SCRAM = new.Password, nil // a verifier is of the old password
	}
	if p.sets&setSCRAM != 0 || p.plain != nil {
		u.SCRAM = new.SCRAM
	}
	for _, f := range []struct {
		is  field
		set func()
	}{
		{setKind, func() { u.Kind = new.Kind }},
		{setGroups, func() { u.Groups = new.Groups }},
		{setRoles, func() { u.Roles = new.Roles }},
		{setAttributes, func() { u.Attributes = new.Attributes }},
		{setDisabled, func() { u.Disabled = new.Disabled }},
		{setLocked, func() { u.Locked = new.Locked }},
		{setLockedUntil, func() { u.LockedUntil = new.LockedUntil }},
		{setValidFrom, func() { u.ValidFrom = new.ValidFrom }},
		{setValidUntil, func() { u.ValidUntil = new.ValidUntil }},
		{setAddresses, func() { u.Addresses = new.Addresses }},
		{setClientIDs, func() { u.ClientIDs = new.ClientIDs }},
		{setComment, func() { u.Comment = new.Comment }},
	} {
		if p.sets&f.is != 0 {
			f.set()
		}
	}
	return u
}
