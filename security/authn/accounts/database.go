package accounts

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/security/authn"
)

// Options configures a Database. Zero bounds are the defaults.
type Options struct {
	Keeper  Keeper
	Limits  authn.Limits     // of stored passwords; the pool's memory per worker says what fits
	Hashing Hashing          // how new passwords are stored
	Now     func() time.Time // nil is time.Now
	// Changed is told of each change once it is in force, one after the other, before
	// the call that made it returns. It may read the database, and neither change nor
	// Tune it: that would wait for itself.
	Changed func(Change)
	// Log gets what nobody waits for: a hash that could not be moved to a better one.
	// nil: nothing.
	Log *slog.Logger

	MaxUsers  int // default 1,000,000
	MaxGroups int // default 10,000
	MaxRoles  int // default 10,000
}

// Database is the accounts, in memory and kept. It is safe for concurrent use.
type Database struct {
	opts    Options
	hashing atomic.Pointer[settings]
	price   atomic.Pointer[price]
	upgrade *upgrader

	// changing is held while something changes, the keeping included; before mu.
	changing sync.Mutex
	version  uint64                        // the greatest that was given; guarded by changing
	measured map[authn.Costs]time.Duration // guarded by changing

	mu     sync.RWMutex // guards the fields below; what they point to never changes
	users  map[string]*User
	names  []string // of users, sorted
	groups map[string]*Group
	roles  map[string]*Role
	costs  map[authn.Costs]*costed
}

// settings is what a reload may change.
type settings struct {
	limits  authn.Limits
	hashing Hashing
}

// The errors that callers branch on. What is invalid is an *InvalidError.
var (
	ErrNotFound = errors.New("accounts: there is no such name")
	ErrExists   = errors.New("accounts: the name is taken")
	ErrChanged  = errors.New("accounts: it was changed by somebody else meanwhile")
	ErrInUse    = errors.New("accounts: it is in use")
	ErrFull     = errors.New("accounts: there is room for no more")
	ErrClosed   = errors.New("accounts: database is closed")
)

// Open is New and Load.
func Open(o Options) (*Database, error) {
	db, err := New(o)
	if err != nil {
		return nil, err
	}
	if err := db.Load(); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// New makes a database that is empty until Load, for parts that have to hold it before
// the keeper is there. Close ends what New starts.
func New(o Options) (*Database, error) {
	if o.Keeper == nil {
		return nil, errors.New("accounts: a database needs a keeper")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	setDefault(&o.MaxUsers, 1_000_000)
	setDefault(&o.MaxGroups, 10_000)
	setDefault(&o.MaxRoles, 10_000)
	db := &Database{
		opts: o, measured: map[authn.Costs]time.Duration{}, costs: map[authn.Costs]*costed{},
		users: map[string]*User{}, groups: map[string]*Group{}, roles: map[string]*Role{},
	}
	if err := db.Tune(o.Limits, o.Hashing); err != nil {
		return nil, err
	}
	db.upgrade = startUpgrader(db)
	return db, nil
}

// Load reads everything that the keeper has, once, and before anything is changed. A
// record that can't be read is an error that names its table and name, not its value.
func (db *Database) Load() error {
	db.changing.Lock()
	defer db.changing.Unlock()
	if err := db.load(); err != nil {
		return err
	}
	db.reckon()
	return nil
}

func setDefault(v *int, d int) {
	if *v == 0 {
		*v = d
	}
}

// Close ends the worker that moves passwords to a better hash. Reads go on to work,
// changes are refused.
func (db *Database) Close() { db.upgrade.close() }

// load reads the keeper's records; changing is held.
func (db *Database) load() error {
	o := db.opts
	db.mu.Lock()
	defer db.mu.Unlock()
	err := o.Keeper.Load(func(r Record) error {
		if err := db.read(r); err != nil {
			return fmt.Errorf("accounts: record %.80q of table %.40q: %w", r.Name, r.Table, err)
		}
		if len(db.users) > o.MaxUsers || len(db.groups) > o.MaxGroups || len(db.roles) > o.MaxRoles {
			return fmt.Errorf("more than %d users, %d groups or %d roles are kept: %w", o.MaxUsers, o.MaxGroups, o.MaxRoles, ErrFull)
		}
		return nil
	})
	if err != nil {
		return err
	}
	db.names = make([]string, 0, len(db.users))
	for name, u := range db.users {
		db.names = append(db.names, name)
		db.share(u)
		db.count(u, 1)
	}
	sort.Strings(db.names)
	return nil
}

// read takes one record in.
func (db *Database) read(r Record) (err error) {
	var version uint64
	switch r.Table {
	case UsersTable:
		version, err = into(db.users, r, checkUser)
	case GroupsTable:
		version, err = into(db.groups, r, checkGroup)
	case RolesTable:
		version, err = into(db.roles, r, checkRole)
	case MetaTable:
		version, err = readCounter(r)
	default:
		return errors.New("is of no table that is known")
	}
	db.version = max(db.version, version)
	return err
}

// share makes u hold the names of groups and roles that are in memory anyway.
func (db *Database) share(u *User) {
	for i, name := range u.Groups {
		if g := db.groups[name]; g != nil {
			u.Groups[i] = g.Name
		}
	}
	for i, name := range u.Roles {
		if r := db.roles[name]; r != nil {
			u.Roles[i] = r.Name
		}
	}
}

// user is the account of a name, nil for none.
func (db *Database) user(name string) *User {
	db.mu.RLock()
	defer db.mu.RUnlock()
	return db.users[name]
}

// User is the account of a name. Its slices and map are shared and not to be changed.
func (db *Database) User(name string) (User, bool) {
	if u := db.user(name); u != nil {
		return *u, true
	}
	return User{}, false
}

// Group is the group of a name; shared as a User is.
func (db *Database) Group(name string) (Group, bool) {
	db.mu.RLock()
	defer db.mu.RUnlock()
	if g := db.groups[name]; g != nil {
		return *g, true
	}
	return Group{}, false
}

// Role is the role of a name; shared as a User is.
func (db *Database) Role(name string) (Role, bool) {
	db.mu.RLock()
	defer db.mu.RUnlock()
	if r := db.roles[name]; r != nil {
		return *r, true
	}
	return Role{}, false
}

// Counts is how many there are of each.
type Counts struct{ Users, Groups, Roles int }

// Counts counts.
func (db *Database) Counts() Counts {
	db.mu.RLock()
	defer db.mu.RUnlock()
	return Counts{len(db.users), len(db.groups), len(db.roles)}
}

// pageScan is how many accounts are looked at under the lock at a time.
const pageScan = 1024

// Users is a page of accounts by name: at most limit of those behind after that match
// (nil: all). more says that others may follow behind the last one.
func (db *Database) Users(after string, limit int, match func(*User) bool) (page []User, more bool) {
	for limit > 0 {
		chunk := db.chunk(after)
		for _, u := range chunk {
			if len(page) == limit {
				return page, true
			}
			after = u.Name
			if match == nil || match(u) {
				page = append(page, *u)
			}
		}
		if len(chunk) < pageScan {
			break
		}
	}
	return page, false
}

// chunk is the next accounts behind a name.
func (db *Database) chunk(after string) []*User {
	db.mu.RLock()
	defer db.mu.RUnlock()
	at, there := slices.BinarySearch(db.names, after)
	if there {
		at++
	}
	names := db.names[at:min(at+pageScan, len(db.names))]
	chunk := make([]*User, len(names))
	for i, name := range names {
		chunk[i] = db.users[name]
	}
	return chunk
}

// Groups is all groups by name.
func (db *Database) Groups() []Group {
	db.mu.RLock()
	defer db.mu.RUnlock()
	return sorted(db.groups, func(a, b Group) int { return strings.Compare(a.Name, b.Name) })
}

// Roles is all roles by name.
func (db *Database) Roles() []Role {
	db.mu.RLock()
	defer db.mu.RUnlock()
	return sorted(db.roles, func(a, b Role) int { return strings.Compare(a.Name, b.Name) })
}

func sorted[T any](m map[string]*T, order func(a, b T) int) []T {
	out := make([]T, 0, len(m))
	for _, v := range m {
		out = append(out, *v)
	}
	slices.SortFunc(out, order)
	return out
}
