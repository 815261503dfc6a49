package accounts

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"sallyport/internal/scram"
	"sallyport/security/authn"
)

// Hashing is how new passwords are stored, and old ones from their next login on.
type Hashing struct {
	Algorithm authn.Algorithm // empty: argon2id, with FIPS 140-3 sha512-pbkdf2
	Params    authn.Params    // zero fields: the algorithm's defaults
	// SCRAM is the methods that get a verifier each when a password is set:
	// SCRAM-SHA-256, SCRAM-SHA-512.
	SCRAM      []string
	Iterations int // of a verifier; 0: 600,000
	// Upgrade stores a password anew when a login shows it to be right and it is
	// stored in a weaker way, or without a verifier of SCRAM.
	Upgrade bool
}

// NewPassword is a password to set: the plain one, or one that is stored already.
type NewPassword struct {
	Plain   []byte // hashed by Hashing; the caller wipes it
	Encoded string // as in a password file
	// Verifiers goes with Encoded: verifiers of the same password, as SetPassword
	// makes them of a plain one.
	Verifiers []string
}

// Tune changes the limits and how passwords are stored from now on. Nothing changes if
// it can't be done.
func (db *Database) Tune(lim authn.Limits, h Hashing) error {
	if h.Algorithm == "" {
		h.Algorithm = lim.Preferred()
	}
	if err := lim.Allows(h.Algorithm, h.Params); err != nil {
		return fmt.Errorf("accounts: how passwords are stored: %w", err)
	}
	if _, err := hashesOf(h.SCRAM); err != nil {
		return err
	}
	if h.Iterations != 0 && (h.Iterations < scram.MinIterations || h.Iterations > scram.MaxIterations) {
		return fmt.Errorf("accounts: iterations of SCRAM must be from %d to %d", scram.MinIterations, scram.MaxIterations)
	}
	db.hashing.Store(&settings{lim, h})
	db.changing.Lock()
	defer db.changing.Unlock()
	db.reckon()
	return nil
}

// hashesOf is the hashes of methods of SCRAM, each once.
func hashesOf(methods []string) (hashes []scram.Hash, err error) {
	for i, name := range methods {
		m, ok := scram.ParseMethod(name)
		if !ok || m.Plus {
			return nil, fmt.Errorf("accounts: there is no verifier for the method %.40q", name)
		}
		for _, before := range methods[:i] {
			if before == name {
				return nil, fmt.Errorf("accounts: method %s is named twice", name)
			}
		}
		hashes = append(hashes, m.Hash)
	}
	return hashes, nil
}

// hash is a new password as it is kept.
func (db *Database) hash(p NewPassword) (encoded string, verifiers []string, err error) {
	s := db.hashing.Load()
	if p.Encoded != "" {
		if len(p.Plain) > 0 {
			return "", nil, invalid("password", "is given twice, plain and encoded")
		}
		stored, err := authn.ParseStored(p.Encoded, s.limits)
		if err != nil {
			return "", nil, invalid("password", "%v", err)
		}
		return stored.Encode(), p.Verifiers, nil
	}
	if len(p.Plain) == 0 || len(p.Plain) > maxPlain {
		return "", nil, invalid("password", "must have 1 to %d bytes", maxPlain)
	}
	if encoded, err = authn.HashWithin(s.limits, s.hashing.Algorithm, p.Plain, s.hashing.Params); err != nil {
		return "", nil, invalid("password", "%v", err)
	}
	verifiers, err = db.verifiers(p.Plain)
	return encoded, verifiers, err
}

// verifiers makes those of SCRAM that are configured.
func (db *Database) verifiers(password []byte) ([]string, error) {
	h := db.hashing.Load().hashing
	hashes, err := hashesOf(h.SCRAM)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, hash := range hashes {
		v, err := newVerifier(hash, password, h.Iterations)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

func newVerifier(hash scram.Hash, password []byte, iterations int) (string, error) {
	salt := make([]byte, scram.MinSalt)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	v, err := scram.NewVerifier(hash, string(password), salt, iterations)
	switch {
	case errors.Is(err, scram.ErrPassword):
		return "", invalid("password", "can't be used with SCRAM: it must be UTF-8 without control characters")
	case err != nil:
		return "", err
	}
	return v.Encode(), nil
}

// scramMethodsOf is the methods of encoded verifiers.
func scramMethodsOf(verifiers []string) (methods []string) {
	for _, v := range verifiers {
		name, _, _ := strings.Cut(v, "$")
		methods = append(methods, name)
	}
	return methods
}
