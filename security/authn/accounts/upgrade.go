package accounts

import (
	"bytes"
	"errors"
	"slices"
	"sync"

	"sallyport/internal/scram"
	"sallyport/security/authn"
)

// upgrader stores right passwords in a better way, behind the logins that showed them
// to be right. One goroutine does it, so that it takes the memory of one hash and the
// time of one core at most.
type upgrader struct {
	db      *Database
	jobs    chan job // bounded: when it is full the next login offers the password again
	stop    chan struct{}
	running sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	pending map[string]bool
	ended   bool
	failing bool // the last try failed, and was logged
}

// job is a password that was right for a version of an account.
type job struct {
	name     string
	version  uint64
	encoded  string // as it was when it was checked
	password []byte // a copy, wiped after use
}

// waitingUpgrades bounds how many passwords wait to be stored in a better way.
const waitingUpgrades = 256

func startUpgrader(db *Database) *upgrader {
	up := &upgrader{
		db: db, jobs: make(chan job, waitingUpgrades), stop: make(chan struct{}), pending: map[string]bool{},
	}
	up.running.Go(up.run)
	return up
}

// offer takes a right password if it would be stored in another way now. It never
// waits.
func (up *upgrader) offer(u *User, stored authn.Stored, password []byte) {
	h := up.db.hashing.Load().hashing
	if !h.Upgrade || !stored.WeakerThan(h.Algorithm, h.Params) && len(missing(h, u)) == 0 {
		return
	}
	up.mu.Lock()
	defer up.mu.Unlock()
	if up.ended || up.pending[u.Name] {
		return
	}
	j := job{u.Name, u.Version, u.Password, bytes.Clone(password)}
	select {
	case up.jobs <- j:
		up.pending[u.Name] = true
	default:
		clear(j.password)
	}
}

// missing is the hashes that the account lacks a verifier for.
func missing(h Hashing, u *User) (hashes []scram.Hash) {
	wanted, err := hashesOf(h.SCRAM)
	if err != nil {
		return nil
	}
	have := scramMethodsOf(u.SCRAM)
	for _, hash := range wanted {
		if !slices.Contains(have, hash.String()) {
			hashes = append(hashes, hash)
		}
	}
	return hashes
}

func (up *upgrader) run() {
	for {
		select {
		case <-up.stop:
			return
		case j := <-up.jobs:
			err := up.store(j)
			clear(j.password)
			up.done(j.name, err)
		}
	}
}

// done makes room for the next password of an account. A failure is logged when it
// begins, and not again until one has succeeded.
func (up *upgrader) done(name string, err error) {
	up.mu.Lock()
	defer up.mu.Unlock()
	delete(up.pending, name)
	if errors.Is(err, errOvertaken) || errors.Is(err, ErrClosed) {
		return
	}
	if err != nil && !up.failing {
		up.db.opts.Log.Warn("password_upgrade_failed", "user", name, "reason", err.Error())
	}
	up.failing = err != nil
}

var errOvertaken = errors.New("accounts: the account was changed meanwhile")

// store computes what the account lacks and keeps it, unless the account was changed
// meanwhile. For its sessions nothing changes, so its version stays.
func (up *upgrader) store(j job) error {
	old := up.db.user(j.name)
	if old == nil || old.Version != j.version || old.Password != j.encoded {
		return errOvertaken
	}
	s := up.db.hashing.Load()
	better, err := up.better(s, old, j.password)
	if err != nil || better.Password == old.Password && len(better.SCRAM) == len(old.SCRAM) {
		return err
	}
	return up.keep(j, better)
}

// keep puts what was computed in force, if the account is still what it was computed of.
func (up *upgrader) keep(j job, better User) error {
	return up.db.change(func(d *draft) error {
		now := d.user(j.name)
		if now == nil || now.Version != j.version || now.Password != j.encoded {
			return errOvertaken
		}
		d.silent = true
		u := now.clone()
		u.Password, u.SCRAM = better.Password, better.SCRAM
		if err := checkUser(&u); err != nil {
			return err
		}
		d.users[u.Name] = &u
		return nil
	})
}

// better is old with its password stored as s wants it.
func (up *upgrader) better(s *settings, old *User, password []byte) (User, error) {
	u := old.clone()
	stored, err := authn.ParseStored(old.Password, s.limits)
	if err != nil {
		return u, err
	}
	if stored.WeakerThan(s.hashing.Algorithm, s.hashing.Params) {
		if u.Password, err = authn.HashWithin(s.limits, s.hashing.Algorithm, password, s.hashing.Params); err != nil {
			return u, err
		}
	}
	for _, hash := range missing(s.hashing, old) {
		v, err := newVerifier(hash, password, s.hashing.Iterations)
		if invalid := (*InvalidError)(nil); errors.As(err, &invalid) {
			break // the password is none for SCRAM, however often it is right
		}
		if err != nil {
			return u, err
		}
		u.SCRAM = append(u.SCRAM, v)
	}
	return u, nil
}

func (up *upgrader) closed() bool {
	up.mu.Lock()
	defer up.mu.Unlock()
	return up.ended
}

// close ends the worker once it has finished what it is at; what waits is wiped.
func (up *upgrader) close() {
	up.mu.Lock()
	if up.ended {
		up.mu.Unlock()
		return
	}
	up.ended = true
	close(up.stop)
	up.mu.Unlock()
	up.running.Wait()
	for {
		select {
		case j := <-up.jobs:
			clear(j.password)
		default:
			return
		}
	}
}
