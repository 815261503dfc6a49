package authn

import "log/slog"

// Stored is a password as it is stored: an algorithm, its costs, a salt and a hash. It
// is a secret; its String shows none of it. The zero value matches nothing.
type Stored struct{ h hash }

// ParseStored reads the text form of a password file within the limits. Errors hold no
// salt and no hash.
func ParseStored(encoded string, lim Limits) (Stored, error) {
	lim = lim.withDefaults()
	h, err := parseHash(encoded, lim)
	if err == nil && lim.FIPS {
		err = h.outsideFIPS()
	}
	if err != nil {
		return Stored{}, err
	}
	return Stored{h}, nil
}

// Matches reports whether password is the stored one, for as long as the hash takes.
func (s Stored) Matches(password []byte) bool { return s.h.algorithm != "" && s.h.matches(password) }

// Guessable reports whether a person may have chosen the password.
func (s Stored) Guessable() bool { return s.h.guessable() }

// Algorithm is how it is stored.
func (s Stored) Algorithm() Algorithm { return s.h.algorithm }

// Salt is the length of its salt in bytes.
func (s Stored) Salt() int { return len(s.h.salt) }

// Encode is the text form; for a password that was written in another program's form,
// ours.
func (s Stored) Encode() string { return s.h.encode() }

// Work estimates the cost of a check in microseconds.
func (s Stored) Work() uint64 { return s.h.work() }

// Costs is the algorithm and its costs. Two passwords with equal Costs take the same
// time to check, and are within the same limits. It is compared with ==, and no secret.
type Costs struct {
	algorithm Algorithm
	params    Params
	foreign   foreign
	salt      int // bytes
}

// Costs is what a check costs.
func (s Stored) Costs() Costs { return Costs{s.h.algorithm, s.h.params, s.h.foreign, len(s.h.salt)} }

// WeakerThan reports whether a chosen password would be better stored by a with the
// costs p (zero fields are the defaults): it is stored by another algorithm, or a
// check of it costs less. A generated secret is as good as it can be.
func (s Stored) WeakerThan(a Algorithm, p Params) bool {
	if !s.Guessable() {
		return false
	}
	if s.h.algorithm != a {
		return true
	}
	best := hash{algorithm: a, params: p.withDefaults(a)}
	return s.h.work() < best.work()
}

// Allows is an error if no new password can be stored by a with the costs p (zero
// fields are the defaults) within l.
func (l Limits) Allows(a Algorithm, p Params) error {
	_, err := newHash(a, p, l.withDefaults())
	return err
}

// String says how it is stored.
func (s Stored) String() string { return "a password stored by " + string(s.h.algorithm) }

// GoString is String.
func (s Stored) GoString() string { return s.String() }

// LogValue is String, for slog.
func (s Stored) LogValue() slog.Value { return slog.StringValue(s.String()) }

// CheckUserName holds a name against what a password file can carry: UTF-8 of 1 to
// 1024 bytes, without colon, control characters, a leading # or blanks around it.
func CheckUserName(name string) error { return checkUserName(name) }
