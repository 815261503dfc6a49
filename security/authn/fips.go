package authn

import "fmt"

// What SP 800-132 demands of PBKDF2 (5.1) and recommends as the least (5.2). Go's
// module counts a shorter salt as no approved service.
const (
	fipsSalt       = 16 // bytes: 128 bits
	fipsIterations = 1000
)

// outsideFIPS is an error for a hash that FIPS 140-3 has no place for. A generated
// secret is within: its hash is SHA-256 over random bits, and derives nothing.
func (h *hash) outsideFIPS() error {
	switch {
	case h.algorithm == GeneratedSecret:
		return nil
	case h.algorithm == SHA512: // the hash is approved, its use for passwords is not
		return fmt.Errorf("%s ($6$, one round) is outside FIPS 140-3: set the password anew as %s", h.algorithm, PBKDF2SHA512)
	case h.algorithm != PBKDF2SHA512:
		return fmt.Errorf("%s is outside FIPS 140-3: set the password anew as %s", h.algorithm, PBKDF2SHA512)
	case len(h.salt) < fipsSalt:
		return fmt.Errorf("%s with a salt of %d bytes is outside FIPS 140-3, which has %d at least (SP 800-132): set the password anew", h.algorithm, len(h.salt), fipsSalt)
	case h.params.Iterations < fipsIterations:
		return fmt.Errorf("%s with %d iterations is outside FIPS 140-3, which has %d at least (SP 800-132): set the password anew", h.algorithm, h.params.Iterations, fipsIterations)
	}
	return nil
}

// fitFIPS makes a hash that is about to be made one of FIPS 140-3, if lim says so.
func (h *hash) fitFIPS(lim Limits) error {
	if !lim.FIPS {
		return nil
	}
	h.salt = make([]byte, max(len(h.salt), fipsSalt)) // Mosquitto 2.1 reads it too, 2.0 does not
	return h.outsideFIPS()
}

// Preferred is the algorithm for new passwords of people in a file that is to be read
// within l.
func (l Limits) Preferred() Algorithm {
	if l.FIPS {
		return PBKDF2SHA512
	}
	return Argon2id
}

// unread is why a hash that begins with method is not read. The methods of other
// programs are named, and nothing else of the input: it may hold a hash.
func unread(method string, lim Limits) error {
	switch method {
	case "2", "2x": // before the mistakes of the first implementations were mended
		method = "bcrypt"
	case "s0", "7y":
		method = "scrypt"
	case "argon2i", "argon2d":
	default:
		return errHashForm
	}
	if lim.FIPS {
		return fmt.Errorf("%s is outside FIPS 140-3: set the password anew as %s", method, PBKDF2SHA512)
	}
	return fmt.Errorf("%s: %w", method, errHashForm)
}
