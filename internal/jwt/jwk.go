package jwt

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"slices"
)

// MaxKeyFile is how long a file of keys may be, in bytes.
const MaxKeyFile = 1 << 20

// Warning says why a key of a file is not used.
type Warning string

// errOther is wrapped by the reason why a key is not for us: it is no mistake.
var errOther = errors.New("not used")

// ParseJWKS reads a JWK set, or one JWK (RFC 7517), of at most [MaxKeyFile] bytes.
// The set is refused with one of its keys: because a member is missing or wrong, a
// key is too weak or can't do its alg, or because it is private: whoever verifies
// needs the public part only. Keys of other kinds and for other uses (use, key_ops,
// an alg that is no signature of ours) are left out with a warning; so none may be
// left. No text of an error or a warning is of a key, but for its kid.
func ParseJWKS(data []byte) ([]Key, []Warning, error) {
	o, err := parseObject(data, MaxKeyFile)
	if err != nil {
		return nil, nil, plain(err)
	}
	list, isSet := o["keys"].([]any)
	if _, isKey := o["kty"]; isKey && o["keys"] == nil {
		list, isSet = []any{o}, true
	}
	if !isSet {
		return nil, nil, errors.New("neither a JWK nor a set of them: no list keys")
	}
	if len(list) > MaxKeys {
		return nil, nil, fmt.Errorf("more than %d keys", MaxKeys)
	}
	var keys []Key
	var warnings []Warning
	for i, v := range list {
		k, err := parseJWK(v)
		switch {
		case errors.Is(err, errOther):
			warnings = append(warnings, Warning(fmt.Sprintf("key %d: %v", i+1, err)))
		case err != nil:
			return nil, nil, fmt.Errorf("key %d: %w", i+1, plain(err))
		default:
			keys = append(keys, k)
		}
	}
	return keys, warnings, nil
}

// plain is an error of a file, which is no token.
func plain(err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		return errors.New(e.detail)
	}
	return err
}

func parseJWK(v any) (Key, error) {
	o, ok := v.(object)
	if !ok {
		return Key{}, errors.New("no object")
	}
	var member [4]string
	for i, name := range []string{"kty", "use", "alg", "kid"} {
		var err error
		if member[i], _, err = text(o, name); err != nil {
			return Key{}, err
		}
	}
	kty, use, alg, kid := member[0], member[1], Algorithm(member[2]), member[3]
	if err := refusePrivate(o, kty); err != nil {
		return Key{}, err
	}
	if use != "" && use != "sig" {
		return Key{}, fmt.Errorf("%w: its use is not sig", errOther)
	}
	if v, ok := o["key_ops"]; ok {
		ops, ok := texts(v)
		if !ok {
			return Key{}, errors.New("key_ops is no list of texts")
		}
		if !slices.Contains(ops, "verify") {
			return Key{}, fmt.Errorf("%w: its key_ops have no verify", errOther)
		}
	}
	if alg != "" && !alg.Known() {
		return Key{}, fmt.Errorf("%w: its alg is none that we know", errOther)
	}
	material, err := parseMaterial(o, kty)
	if err != nil {
		return Key{}, err
	}
	if s, ok := material.(secret); ok {
		return SecretKey(s(), kid, given(alg)...)
	}
	return newKey(material, kid, given(alg))
}

// given is a list of the algorithm, if there is one.
func given(alg Algorithm) []Algorithm {
	if alg == "" {
		return nil
	}
	return []Algorithm{alg}
}

// refusePrivate refuses what only the owner of a key should have (RFC 7518 6.2.2,
// 6.3.2, RFC 8037 2), and a secret in another kind of key.
func refusePrivate(o object, kty string) error {
	for _, name := range []string{"d", "p", "q", "dp", "dq", "qi", "oth"} {
		if _, ok := o[name]; ok {
			return fmt.Errorf("%s is of a private key: only the public one belongs here", name)
		}
	}
	if _, ok := o["k"]; ok && kty != "oct" {
		return errors.New("k is a secret, in a key that has none")
	}
	return nil
}

// parseMaterial reads what the key is made of (RFC 7518 6, RFC 8037 2).
func parseMaterial(o object, kty string) (any, error) {
	switch kty {
	case "RSA":
		return parseRSA(o)
	case "EC":
		return parseEC(o)
	case "OKP":
		return parseOKP(o)
	case "oct":
		b, err := binary(o, "k")
		return hide(b), err
	case "":
		return nil, errors.New("no kty")
	}
	return nil, fmt.Errorf("%w: its kty is none that we know", errOther)
}

func parseRSA(o object) (any, error) {
	n, err := binary(o, "n")
	if err != nil {
		return nil, err
	}
	e, err := binary(o, "e")
	if err != nil {
		return nil, err
	}
	n, e = bytes.TrimLeft(n, "\x00"), bytes.TrimLeft(e, "\x00") // signed numbers that got here
	if len(n) > maxRSA/8 || len(e) > 4 {
		return nil, fmt.Errorf("an RSA key of more than %d bits, or with an exponent of more than 32", maxRSA)
	}
	exponent := new(big.Int).SetBytes(e).Int64()
	if exponent > 1<<31-1 { // int has 32 bits on some systems
		return nil, errors.New("an RSA key with an exponent of more than 31 bits")
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent)}, nil
}

func parseEC(o object) (any, error) {
	crv, _, err := text(o, "crv")
	if err != nil {
		return nil, err
	}
	c := curve(crv)
	if c == nil {
		return nil, fmt.Errorf("%w: its crv is none that we know", errOther)
	}
	point := []byte{4} // uncompressed (SEC 1, 2.3.3)
	for _, name := range []string{"x", "y"} {
		b, err := binary(o, name)
		if err != nil {
			return nil, err
		}
		if len(b) != coordinateSize(c) { // RFC 7518 6.2.1.2
			return nil, fmt.Errorf("%s has %d bytes, not %d", name, len(b), coordinateSize(c))
		}
		point = append(point, b...)
	}
	k, err := ecdsa.ParseUncompressedPublicKey(c, point)
	if err != nil {
		return nil, errors.New("x and y are no point of the curve")
	}
	return k, nil
}

func parseOKP(o object) (any, error) {
	crv, _, err := text(o, "crv")
	if err != nil {
		return nil, err
	}
	if crv != "Ed25519" {
		return nil, fmt.Errorf("%w: its crv is none that we know", errOther)
	}
	x, err := binary(o, "x")
	if err != nil {
		return nil, err
	}
	if len(x) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("x has %d bytes, not %d", len(x), ed25519.PublicKeySize)
	}
	return ed25519.PublicKey(x), nil
}

// binary returns a member in base64url, which must be there.
func binary(o object, name string) ([]byte, error) {
	s, ok, err := text(o, name)
	if err != nil {
		return nil, err
	}
	if !ok || s == "" {
		return nil, fmt.Errorf("no %s", name)
	}
	b, err := decodeBase64(s)
	if err != nil {
		return nil, fmt.Errorf("%s is not base64url", name)
	}
	return b, nil
}

// Known reports whether a key of some kind has the algorithm.
func (a Algorithm) Known() bool {
	switch a {
	case HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, Ed25519:
		return true
	}
	return false
}
