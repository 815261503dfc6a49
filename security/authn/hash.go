package authn

import (
	"bytes"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"math/bits"

	"golang.org/x/crypto/argon2"

	"sallyport/internal/scrypt"
)

// Algorithm is how a password is stored.
type Algorithm string

// The algorithms. GeneratedSecret is none to choose: only Generate makes it,
// since one cheap hash protects only what can't be guessed.
const (
	Argon2id        Algorithm = "argon2id"      // $argon2id$v=19$m=..,t=..,p=..$salt$hash
	PBKDF2SHA512    Algorithm = "sha512-pbkdf2" // $7$iterations$salt$hash
	SHA512          Algorithm = "sha512"        // $6$salt$hash, one round: only for old files
	GeneratedSecret Algorithm = "s256"          // $s256$salt$hash, over 128 random bits

	// Those of other programs are read, and made by none of ours.
	Bcrypt    Algorithm = "bcrypt"     // $2b$cost$ and 53 characters; also $2a$ and $2y$
	Scrypt    Algorithm = "scrypt"     // $scrypt$ln=..,r=..,p=..$salt$hash
	ESESHA512 Algorithm = "ese-sha512" // $ese-sha512$iterations$salt$hash: HiveMQ's SHA512
)

// Params are the costs of a new hash; zero fields are the defaults.
type Params struct {
	Memory     uint32 // argon2id: KiB; default 19456 (19 MiB)
	Time       uint32 // argon2id: passes; default 2
	Lanes      uint8  // argon2id: parallelism; default 1
	Iterations int    // sha512-pbkdf2: default 210000
}

// withDefaults is what counts of p for an algorithm.
func (p Params) withDefaults(a Algorithm) Params {
	switch a {
	case Argon2id:
		setDefault(&p.Memory, defaultMemory)
		setDefault(&p.Time, defaultTime)
		setDefault(&p.Lanes, defaultLanes)
		return Params{Memory: p.Memory, Time: p.Time, Lanes: p.Lanes}
	case PBKDF2SHA512:
		setDefault(&p.Iterations, defaultIterations)
		return Params{Iterations: p.Iterations}
	}
	return Params{}
}

// The defaults: argon2id as OWASP's Password Storage Cheat Sheet recommends it
// (19 MiB, 2 passes, 1 lane); PBKDF2 with its figure for HMAC-SHA-512.
// mosquitto_passwd's own defaults (101 or 1000 iterations; argon2id with
// 47104 KiB, 1 pass, 1 lane) are read as well.
const (
	defaultMemory     = 19456
	defaultTime       = 2
	defaultLanes      = 1
	defaultIterations = 210_000
)

// Limits bounds what stored passwords can make us compute or hold. Zero fields
// are the defaults.
type Limits struct {
	FileBytes  int64  // default 32 MiB
	LineBytes  int    // default 4096
	Memory     uint32 // of one argon2id or scrypt hash, in KiB; default 65536 (64 MiB). The pool's MemoryPerWorker says what fits.
	Time       uint32 // argon2id passes; default 16
	Lanes      uint8  // argon2id lanes; default 4
	Iterations int    // PBKDF2 and ese-sha512; default 10,000,000
	BcryptCost int    // default 15, about two seconds
	ScryptWork uint64 // N*r*p; default 2^22, about two seconds
	FIPS       bool   // refuse a file with a hash that is outside FIPS 140-3
}

func (l Limits) withDefaults() Limits {
	setDefault(&l.FileBytes, 32<<20)
	setDefault(&l.LineBytes, 4096)
	setDefault(&l.Memory, 64<<10)
	setDefault(&l.Time, 16)
	setDefault(&l.Lanes, 4)
	setDefault(&l.Iterations, 10_000_000)
	setDefault(&l.BcryptCost, 15)
	setDefault(&l.ScryptWork, 1<<22)
	return l
}

func setDefault[T ~int | ~int64 | ~uint8 | ~uint32 | ~uint64](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// Bounds of salts and hashes. Mosquitto writes salts of 12 (2.0) or 64 bytes (2.1).
const (
	minSalt, maxSalt = 8, 128
	minArgonSum      = 16
	maxArgonSum      = 64
	secretSalt       = 16
	mosquittoSalt    = 12 // what every version of Mosquitto reads
	maxEncoded       = 1024
)

// hash is one stored password.
type hash struct {
	algorithm Algorithm
	params    Params  // of its algorithm only
	foreign   foreign // the same for those that other programs made
	salt, sum []byte
}

// foreign is the costs of algorithms that are only read.
type foreign struct {
	minor  byte        // bcrypt: a, b or y
	cost   int         // bcrypt
	scrypt scrypt.Cost // N is from the ln that is written: 2^ln
}

// matches reports whether password is the stored one. The comparison takes the
// same time wherever the two differ.
func (h *hash) matches(password []byte) bool {
	if h.algorithm == Bcrypt {
		return h.matchesBcrypt(password)
	}
	got, err := h.derive(password)
	equal := err == nil && subtle.ConstantTimeCompare(got, h.sum) == 1
	return equal && !h.ambiguous(password)
}

// ambiguous reports whether the algorithm can't tell password from a shorter
// one: HMAC fills its key up with NULs, so PBKDF2 takes x and x NUL for the same.
func (h *hash) ambiguous(password []byte) bool {
	switch h.algorithm {
	case PBKDF2SHA512, Scrypt: // which begins with PBKDF2
		return bytes.HasSuffix(password, []byte{0})
	case Bcrypt:
		return ambiguousBcrypt(password)
	}
	return false
}

// derive computes the sum that password would have.
func (h *hash) derive(password []byte) ([]byte, error) {
	switch h.algorithm {
	case Argon2id:
		return argon2.IDKey(password, h.salt, h.params.Time, h.params.Memory, h.params.Lanes, uint32(len(h.sum))), nil
	case PBKDF2SHA512:
		return pbkdf2.Key(sha512.New, string(password), h.salt, h.params.Iterations, sha512.Size)
	case SHA512:
		d := sha512.New()
		d.Write(password)
		d.Write(h.salt)
		return d.Sum(nil), nil
	case GeneratedSecret:
		d := sha256.New()
		d.Write(h.salt)
		d.Write(password)
		return d.Sum(nil), nil
	case Scrypt:
		return scrypt.Key(password, h.salt, h.foreign.scrypt, len(h.sum))
	case ESESHA512:
		return h.deriveESE(password), nil
	}
	return nil, fmt.Errorf("unknown algorithm %q", h.algorithm)
}

// guessable reports whether a person may have chosen the password. A check of
// such a one goes through the pool, with its queue and delays, even if the hash
// itself is as cheap as $6$.
func (h *hash) guessable() bool { return h.algorithm != "" && h.algorithm != GeneratedSecret }

// work estimates the cost in units of about a microsecond, to find the
// dearest hash of a file: a KiB of argon2id per pass and an iteration of
// PBKDF2-HMAC-SHA512 take about one each.
func (h *hash) work() uint64 {
	switch h.algorithm {
	case Argon2id:
		return uint64(h.params.Memory) * uint64(h.params.Time)
	case PBKDF2SHA512:
		return uint64(h.params.Iterations)
	case SHA512:
		return 1
	case Bcrypt:
		return 50 << h.foreign.cost
	case Scrypt:
		return h.foreign.scrypt.Work() / 3
	case ESESHA512:
		return uint64(h.params.Iterations)/2 + 1
	}
	return 0
}

// encode is the text form.
func (h *hash) encode() string {
	std, raw := base64.StdEncoding, base64.RawStdEncoding
	switch h.algorithm {
	case Argon2id:
		return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
			h.params.Memory, h.params.Time, h.params.Lanes, raw.EncodeToString(h.salt), raw.EncodeToString(h.sum))
	case PBKDF2SHA512:
		return fmt.Sprintf("$7$%d$%s$%s", h.params.Iterations, std.EncodeToString(h.salt), std.EncodeToString(h.sum))
	case SHA512:
		return fmt.Sprintf("$6$%s$%s", std.EncodeToString(h.salt), std.EncodeToString(h.sum))
	case Bcrypt:
		return fmt.Sprintf("$2%c$%02d$%s%s", h.foreign.minor, h.foreign.cost, h.salt, h.sum)
	case Scrypt:
		return fmt.Sprintf("$scrypt$ln=%d,r=%d,p=%d$%s$%s", bits.Len(uint(h.foreign.scrypt.N))-1,
			h.foreign.scrypt.R, h.foreign.scrypt.P, raw.EncodeToString(h.salt), raw.EncodeToString(h.sum))
	case ESESHA512:
		return fmt.Sprintf("$ese-sha512$%d$%s$%s", h.params.Iterations, std.EncodeToString(h.salt), std.EncodeToString(h.sum))
	}
	return fmt.Sprintf("$s256$%s$%s", std.EncodeToString(h.salt), std.EncodeToString(h.sum))
}

// Hash encodes password for a password file under a fresh salt. The bounds are
// those of the default Limits.
func Hash(a Algorithm, password []byte, p Params) (string, error) {
	return HashWithin(Limits{}, a, password, p)
}

// HashWithin is Hash for a file that is to be read within lim.
func HashWithin(lim Limits, a Algorithm, password []byte, p Params) (string, error) {
	return hashWith(a, password, p, lim.withDefaults())
}

func hashWith(a Algorithm, password []byte, p Params, lim Limits) (string, error) {
	h, err := newHash(a, p, lim)
	if err != nil {
		return "", err
	}
	if h.ambiguous(password) {
		return "", errors.New("sha512-pbkdf2 can't hold a password that ends in NUL")
	}
	return h.seal(password)
}

// newHash is a hash that is still to be sealed, within the limits.
func newHash(a Algorithm, p Params, lim Limits) (*hash, error) {
	h := &hash{algorithm: a, salt: make([]byte, 16)} // as RFC 9106, 3.1 recommends
	switch a {
	case Argon2id:
		h.params = p.withDefaults(a)
		h.sum = make([]byte, 32)
	case PBKDF2SHA512:
		h.params = p.withDefaults(a)
		h.salt = make([]byte, mosquittoSalt)
	case SHA512:
		h.salt = make([]byte, mosquittoSalt)
	default:
		return nil, fmt.Errorf("no password is stored anew by %q", a)
	}
	if err := h.fitFIPS(lim); err != nil {
		return nil, err
	}
	return h, h.checkParams(lim)
}

// seal fills in a fresh salt and the sum of password.
func (h *hash) seal(password []byte) (string, error) {
	if _, err := rand.Read(h.salt); err != nil {
		return "", err
	}
	sum, err := h.derive(password)
	if err != nil {
		return "", err
	}
	h.sum = sum
	return h.encode(), nil
}

// Generate makes a device secret of 128 random bits (22 characters of URL-safe
// base64) and its encoded form "$s256$" + base64 of a 16-byte salt + "$" +
// base64 of SHA-256(salt followed by the secret's text). It is cheap to check
// on purpose: no dictionary holds it.
func Generate() (secret, encoded string, err error) {
	var bits [16]byte
	if _, err := rand.Read(bits[:]); err != nil {
		return "", "", err
	}
	secret = base64.RawURLEncoding.EncodeToString(bits[:])
	h := hash{algorithm: GeneratedSecret, salt: make([]byte, secretSalt)}
	encoded, err = h.seal([]byte(secret))
	return secret, encoded, err
}

// checkParams holds the costs against the limits.
func (h *hash) checkParams(lim Limits) error {
	p := h.params
	switch h.algorithm {
	case Argon2id:
		switch {
		case p.Lanes < 1 || p.Lanes > lim.Lanes:
			return fmt.Errorf("argon2id lanes p=%d must be from 1 to %d", p.Lanes, lim.Lanes)
		case p.Time < 1 || p.Time > lim.Time:
			return fmt.Errorf("argon2id passes t=%d must be from 1 to %d", p.Time, lim.Time)
		case p.Memory < 8*uint32(p.Lanes) || p.Memory > lim.Memory: // RFC 9106, 3.1
			return fmt.Errorf("argon2id memory m=%d KiB must be from %d to %d", p.Memory, 8*p.Lanes, lim.Memory)
		}
	case PBKDF2SHA512, ESESHA512:
		if p.Iterations < 1 || p.Iterations > lim.Iterations {
			return fmt.Errorf("iterations %d must be from 1 to %d", p.Iterations, lim.Iterations)
		}
	case Bcrypt:
		if h.foreign.cost < minBcryptCost || h.foreign.cost > lim.BcryptCost {
			return fmt.Errorf("bcrypt cost %d must be from %d to %d", h.foreign.cost, minBcryptCost, lim.BcryptCost)
		}
	case Scrypt:
		return checkScrypt(h.foreign.scrypt, lim)
	}
	return nil
}
