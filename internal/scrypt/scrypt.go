// Package scrypt is RFC 7914's key derivation with its costs as one value that can be
// held against bounds before anything is allocated or computed for it.
package scrypt

import (
	"errors"
	"math"
	"math/bits"

	"golang.org/x/crypto/scrypt"
)

// Cost is scrypt's parameters (RFC 7914, 2).
type Cost struct {
	N int // CPU and memory cost, a power of two from 2
	R int // block size, from 1
	P int // parallelization, from 1; here one after the other
}

// ErrCost says that a Cost is none that scrypt has.
var ErrCost = errors.New("scrypt: N must be a power of two from 2, r and p from 1, and r*p below 2^30")

// Check holds c against the bounds of RFC 7914, 2, and those of this platform.
func (c Cost) Check() error {
	if c.N < 2 || c.N&(c.N-1) != 0 || c.R < 1 || c.P < 1 || c.R >= 1<<30 || c.P >= 1<<30 ||
		uint64(c.R)*uint64(c.P) >= 1<<30 || c.Memory() > math.MaxInt/4 {
		return ErrCost
	}
	return nil
}

// Memory is what a computation takes, in bytes: 128*N*r, and what is beside that.
// It is the greatest number where that has no room in 64 bits.
func (c Cost) Memory() uint64 { return product(128, uint64(c.N), uint64(c.R)) }

// Work is N*r*p, to which the time is proportional; bounded as Memory is.
func (c Cost) Work() uint64 { return product(uint64(c.N), uint64(c.R), uint64(c.P)) }

func product(a, b, c uint64) uint64 {
	over, ab := bits.Mul64(a, b)
	if over != 0 {
		return math.MaxUint64
	}
	over, abc := bits.Mul64(ab, c)
	if over != 0 {
		return math.MaxUint64
	}
	return abc
}

// Key derives keyBytes of password and salt. Who calls has held Memory and Work
// against bounds.
func Key(password, salt []byte, c Cost, keyBytes int) ([]byte, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	return scrypt.Key(password, salt, c.N, c.R, c.P, keyBytes)
}
