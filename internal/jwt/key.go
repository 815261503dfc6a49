package jwt

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// Bounds of keys: MinSecret and MaxSecret in bytes, the moduli of RSA in bits.
const (
	MinSecret = 32
	MaxSecret = 4096
	minRSA    = 2048
	maxRSA    = 8192
)

// MaxKeys is how many keys a set may have; maxTries how many of them a token may be
// tried with, so that nobody makes us verify for long.
const (
	MaxKeys  = 256
	maxTries = 8
)

// Thumbprint is the SHA-256 of a key by RFC 7638: the same key has the same one,
// whatever it is called. That of a secret is as good as a token for trying guesses
// at it (RFC 7638 7): it isn't to be shown or kept.
type Thumbprint [sha256.Size]byte

// Key is a key and the algorithms that it may verify, all of one kind. The zero
// value verifies nothing.
type Key struct {
	id         string
	algorithms []Algorithm
	material   any
	thumbprint Thumbprint
}

// ID returns the kid of the key; empty if it has none.
func (k Key) ID() string { return k.id }

// Algorithms returns what the key may verify.
func (k Key) Algorithms() []Algorithm { return slices.Clone(k.algorithms) }

// Thumbprint returns the key's thumbprint.
func (k Key) Thumbprint() Thumbprint { return k.thumbprint }

// Only returns the key for those of its algorithms that are among the given ones; ok
// is false if none is.
func (k Key) Only(algorithms ...Algorithm) (only Key, ok bool) {
	k.algorithms = slices.DeleteFunc(slices.Clone(k.algorithms), func(a Algorithm) bool { return !slices.Contains(algorithms, a) })
	return k, len(k.algorithms) > 0
}

// Secret reports whether the key is one that has to be kept secret.
func (k Key) Secret() bool {
	_, is := k.material.(secret)
	return is
}

// Approved reports whether the key is within FIPS 140-3 (FIPS 186-5, FIPS 198-1): all
// are but RSA keys of an odd length.
func (k Key) Approved() bool {
	m, is := k.material.(*rsa.PublicKey)
	return !is || m.N.BitLen()%2 == 0
}

// String returns "key" and its kid, and nothing of the key, whatever the verb.
func (k Key) String() string { return fmt.Sprintf("key %q", k.id) }

// Format prints the key as [Key.String] does.
func (k Key) Format(f fmt.State, _ rune) { fmt.Fprint(f, k.String()) }

// SecretKey returns the key of HS256, HS384 and HS512. A secret of fewer than
// [MinSecret] bytes is refused, and for each algorithm it must be as long as the
// hash (RFC 7518 3.2). id may be empty. With algorithms, the key is for these alone;
// each must be one that it can do.
//
// Whatever reads as a public key or a certificate is refused: it is known to
// everybody, and everybody could make tokens with it.
func SecretKey(value []byte, id string, algorithms ...Algorithm) (Key, error) {
	switch {
	case len(value) < MinSecret:
		return Key{}, fmt.Errorf("a secret of %d bytes is shorter than %d", len(value), MinSecret)
	case len(value) > MaxSecret:
		return Key{}, fmt.Errorf("a secret of more than %d bytes", MaxSecret)
	case isPublic(value):
		return Key{}, errors.New("the secret is no secret: it is a public key, a certificate or a file of keys")
	}
	return newKey(hide(value), id, algorithms)
}

// isPublic reports whether a secret is the file of another key by mistake.
func isPublic(value []byte) bool {
	value = bytes.TrimSpace(value)
	if bytes.Contains(value, []byte("-----BEGIN ")) || bytes.HasPrefix(value, []byte("{")) && json.Valid(value) {
		return true
	}
	_, notPKIX := x509.ParsePKIXPublicKey(value)
	_, notCertificate := x509.ParseCertificate(value)
	return notPKIX == nil || notCertificate == nil
}

// newKey binds a key to the algorithms, or to all of its kind.
func newKey(material any, id string, algorithms []Algorithm) (Key, error) {
	if err := checkMaterial(material); err != nil {
		return Key{}, err
	}
	all := algorithmsOf(material)
	if len(all) == 0 {
		return Key{}, errors.New("a key of no kind that verifies tokens")
	}
	for _, a := range algorithms {
		if !slices.Contains(all, a) {
			return Key{}, fmt.Errorf("a key that can't do %q, only %q", a, all)
		}
	}
	if len(algorithms) > 0 {
		all = slices.Clone(algorithms)
	}
	return Key{id: id, algorithms: all, material: material, thumbprint: thumbprint(material)}, nil
}

// checkMaterial refuses keys that are too weak, or take too long.
func checkMaterial(material any) error {
	switch m := material.(type) {
	case *rsa.PublicKey:
		return checkRSA(m)
	case ed25519.PublicKey:
		if isSmallOrder(m) {
			return errors.New("an Ed25519 key of a small order, for which everybody can make signatures")
		}
	}
	return nil
}

func checkRSA(k *rsa.PublicKey) error {
	switch bits := k.N.BitLen(); {
	case bits < minRSA || bits > maxRSA:
		return fmt.Errorf("an RSA key of %d bits, not %d to %d", bits, minRSA, maxRSA)
	case k.N.Bit(0) == 0:
		return errors.New("an RSA key with an even modulus")
	case k.E < 1<<16+1 || k.E&1 == 0 || k.E > 1<<31-1: // FIPS 186-5 5.4 (e), and what crypto/rsa takes
		return errors.New("an RSA key with an exponent that is even, or less than 65537")
	}
	return nil
}

// isSmallOrder reports whether the key is one of the points whose order divides 8,
// in any of their forms: a signature can be right for
// such a key though nobody has a private one.
func isSmallOrder(k ed25519.PublicKey) bool {
	const zeros, ones = "000000000000000000000000000000000000000000000000000000000000", "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
	y := bytes.Clone(k)
	y[len(y)-1] &= 0x7f // the sign of x
	switch hex.EncodeToString(y) {
	case "01" + zeros + "00", // order 1
		"ec" + ones + "7f",  // order 2
		"00" + zeros + "00", // order 4
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", // order 8
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"ed" + ones + "7f", "ee" + ones + "7f": // 0 and 1, not reduced
		return true
	}
	return false
}

// thumbprint hashes the members that RFC 7638 3.2 and RFC 8037 2 name, sorted.
func thumbprint(material any) Thumbprint {
	b64 := base64.RawURLEncoding.EncodeToString
	var text string
	switch m := material.(type) {
	case secret:
		text = fmt.Sprintf(`{"k":"%s","kty":"oct"}`, b64(m()))
	case *rsa.PublicKey:
		text = fmt.Sprintf(`{"e":"%s","kty":"RSA","n":"%s"}`, b64(big.NewInt(int64(m.E)).Bytes()), b64(m.N.Bytes()))
	case *ecdsa.PublicKey:
		size := coordinateSize(m.Curve)
		point, err := m.Bytes() // 4, x, y
		if err != nil {
			return Thumbprint{}
		}
		text = fmt.Sprintf(`{"crv":"%s","kty":"EC","x":"%s","y":"%s"}`, m.Params().Name, b64(point[1:1+size]), b64(point[1+size:]))
	case ed25519.PublicKey:
		text = fmt.Sprintf(`{"crv":"Ed25519","kty":"OKP","x":"%s"}`, b64(m))
	}
	return sha256.Sum256([]byte(text))
}

// curve is the curve of a name in a JWK, if it has an algorithm; or nil.
func curve(name string) elliptic.Curve {
	switch name {
	case "P-256":
		return elliptic.P256()
	case "P-384":
		return elliptic.P384()
	case "P-521":
		return elliptic.P521()
	}
	return nil
}
