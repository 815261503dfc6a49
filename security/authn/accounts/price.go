package accounts

import (
	"time"

	"sallyport/security/authn"
)

// costed is how many accounts have passwords of some costs, and one of these.
type costed struct {
	accounts int
	sample   authn.Stored
}

// price is the dearest password that a person may have chosen, and what it costs.
type price struct {
	stored authn.Stored
	cost   time.Duration
}

// count adds n accounts like u; mu is held.
func (db *Database) count(u *User, n int) {
	stored, err := authn.ParseStored(u.Password, anyLimits())
	if err != nil || !stored.Guessable() {
		return
	}
	costs := stored.Costs()
	c := db.costs[costs]
	if c == nil {
		c = &costed{sample: stored}
		db.costs[costs] = c
	}
	if c.accounts += n; c.accounts == 0 {
		delete(db.costs, costs)
	}
}

// reckon finds the dearest password within the limits and what it costs. It is
// measured once for each kind of password that was ever the dearest: the longest of
// three runs. changing is held.
func (db *Database) reckon() {
	var best price
	lim := db.hashing.Load().limits
	db.mu.RLock()
	for _, c := range db.costs {
		// What is outside the limits is not computed for anybody.
		if _, err := authn.ParseStored(c.sample.Encode(), lim); err == nil && c.sample.Work() > best.stored.Work() {
			best.stored = c.sample
		}
	}
	db.mu.RUnlock()
	if best.stored.Guessable() {
		best.cost = db.measure(best.stored)
	}
	db.price.Store(&best)
}

func (db *Database) measure(s authn.Stored) time.Duration {
	costs := s.Costs()
	if db.measured[costs] == 0 {
		for range 3 {
			start := time.Now()
			s.Matches([]byte("what a wrong password costs"))
			db.measured[costs] = max(db.measured[costs], time.Since(start), 1)
		}
	}
	return db.measured[costs]
}
