package authn

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// Of bcrypt, after "$2b$12$": 22 characters of a 16-byte salt and 31 of a 23-byte
// hash, in an alphabet of its own.
const (
	bcryptAlphabet = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	bcryptSalt     = 22
	bcryptSum      = 31
	bcryptPassword = 72 // bytes of a password that it looks at
	minBcryptCost  = bcrypt.MinCost
)

// parseBcrypt reads $2a$, $2b$ or $2y$ with two digits of cost. The three mean the
// same: their letters tell which mistakes of old implementations a hash is free of.
// Salt and sum stay as text.
func (h *hash) parseBcrypt(fields []string, lim Limits) error {
	if len(fields) != 4 || len(fields[3]) != bcryptSalt+bcryptSum || len(fields[2]) != 2 {
		return errors.New("bcrypt: must be $2b$NN$ and 53 characters")
	}
	n, err := parseNumber(strings.TrimPrefix(fields[2], "0"), 8)
	if err != nil {
		return fmt.Errorf("bcrypt: cost %w", err)
	}
	h.foreign = foreign{minor: fields[1][1], cost: int(n)}
	if err := h.checkParams(lim); err != nil {
		return err
	}
	text := fields[3]
	if strings.Trim(text, bcryptAlphabet) != "" {
		return errors.New("bcrypt: salt or hash is not in its alphabet")
	}
	// The last character of each carries bits that stand for nothing: 4 of 6 in the
	// salt's, 2 in the hash's. They must be 0, so that one hash has one text.
	if strings.IndexByte(bcryptAlphabet, text[bcryptSalt-1])&0xF != 0 ||
		strings.IndexByte(bcryptAlphabet, text[len(text)-1])&0x3 != 0 {
		return errors.New("bcrypt: salt or hash has stray bits")
	}
	h.salt, h.sum = []byte(text[:bcryptSalt]), []byte(text[bcryptSalt:])
	return nil
}

// matchesBcrypt costs the same whatever the password is.
func (h *hash) matchesBcrypt(password []byte) bool {
	seen := password[:min(len(password), bcryptPassword)]
	equal := bcrypt.CompareHashAndPassword([]byte(h.encode()), seen) == nil
	return equal && !h.ambiguous(password)
}

// ambiguousBcrypt reports whether bcrypt can't tell password from another: it ignores
// what is beyond 72 bytes, and repeats a password with a NUL behind it, so that x NUL x
// is x.
func ambiguousBcrypt(password []byte) bool {
	return len(password) > bcryptPassword || bytes.IndexByte(password, 0) >= 0
}
