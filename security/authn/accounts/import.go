package accounts

import (
	"bytes"
	"context"
	"fmt"
	"maps"
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
// is checked before anything is changed. Up to 10,000 records are kept at once, all or
// none; of a larger document the roles and groups with the first, and an error or the
// end of ctx between them leaves those that Report.Kept counts. Plain passwords are
// hashed first, for as long as that takes.
func (db *Database) Import(ctx context.Context, b *Batch, o ImportOptions) (*Report, error) {
	users, err := db.prepare(ctx, b, o)
	if err != nil {
		return nil, err
	}
	report := &Report{}
	db.changing.Lock()
	defer db.changing.Unlock()
	if db.upgrade.closed() {
		return nil, ErrClosed
	}
	d := db.draft()
	if err := d.merge(b, users, o, report); err != nil {
		return nil, err
	}
	if err := d.room(); err != nil {
		return nil, err
	}
	if o.DryRun {
		_, err := d.records() // their sizes
		return report, err
	}
	for part := range d.parts(maxTransaction) {
		if err := ctx.Err(); err != nil {
			return report, fmt.Errorf("accounts: import ended after %d records: %w", report.Kept, err)
		}
		if err := part.commit(); err != nil {
			return report, fmt.Errorf("accounts: import ended after %d records: %w", report.Kept, err)
		}
		report.Kept += len(part.users) + len(part.groups) + len(part.roles)
	}
	return report, nil
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
	for _, r := range b.roles {
		_, was := d.role(r.Name).id()
		if skip(RolesTable, r.Name, was) {
			continue
		}
		if err := d.putRole(&r); err != nil {
			return fmt.Errorf("role %q: %w", r.Name, err)
		}
		note(RolesTable, r.Name, was, r.Version)
	}
	for _, g := range b.groups {
		_, was := d.group(g.Name).id()
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

// parts is the draft in parts of at most n records, the roles and groups in the first.
func (d *draft) parts(n int) func(yield func(*draft) bool) {
	return func(yield func(*draft) bool) {
		part := d.db.draft()
		part.version, part.groups, part.roles = d.version, d.groups, d.roles
		size := len(d.groups) + len(d.roles)
		for _, name := range slices.Sorted(maps.Keys(d.users)) {
			if size >= n {
				if !yield(part) {
					return
				}
				part, size = d.db.draft(), 0
				part.version = d.version
			}
			part.users[name] = d.users[name]
			size++
		}
		if size > 0 {
			yield(part)
		}
	}
}
