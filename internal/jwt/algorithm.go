package jwt

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"hash"
	"math/big"
)

// Algorithm is the name of a signature algorithm, as in alg of a header.
type Algorithm string

// The algorithms (RFC 7518 3.1, RFC 8037 3.1, RFC 9864 2.2). There are no others,
// and none is none.
const (
	HS256   Algorithm = "HS256"
	HS384   Algorithm = "HS384"
	HS512   Algorithm = "HS512"
	RS256   Algorithm = "RS256"
	RS384   Algorithm = "RS384"
	RS512   Algorithm = "RS512"
	PS256   Algorithm = "PS256"
	PS384   Algorithm = "PS384"
	PS512   Algorithm = "PS512"
	ES256   Algorithm = "ES256"
	ES384   Algorithm = "ES384"
	ES512   Algorithm = "ES512"
	EdDSA   Algorithm = "EdDSA"
	Ed25519 Algorithm = "Ed25519" // the same signatures as EdDSA with such a key
)

// secret, and the types of public keys of the standard library, are what a key is
// made of. It is a function because package fmt prints nothing of one but an address,
// wherever it lies.
type secret func() []byte

// hide returns a secret of its own copy.
func hide(value []byte) secret {
	value = bytes.Clone(value)
	return func() []byte { return value }
}

// algorithmsOf returns what a key can do by its kind alone; nil if it is none of
// ours. No algorithm is that of two kinds.
func algorithmsOf(material any) []Algorithm {
	switch m := material.(type) {
	case secret: // RFC 7518 3.2: not shorter than the hash
		switch n := len(m()); {
		case n >= sha512.Size:
			return []Algorithm{HS256, HS384, HS512}
		case n >= sha512.Size384:
			return []Algorithm{HS256, HS384}
		case n >= sha256.Size:
			return []Algorithm{HS256}
		}
	case *rsa.PublicKey:
		return []Algorithm{RS256, RS384, RS512, PS256, PS384, PS512}
	case *ecdsa.PublicKey:
		switch m.Curve {
		case elliptic.P256():
			return []Algorithm{ES256}
		case elliptic.P384():
			return []Algorithm{ES384}
		case elliptic.P521():
			return []Algorithm{ES512}
		}
	case ed25519.PublicKey:
		return []Algorithm{EdDSA, Ed25519}
	}
	return nil
}

// verifySignature reports whether the key made the signature. The algorithm is one
// of [algorithmsOf]; with any other it returns false.
func verifySignature(alg Algorithm, material any, signed, signature []byte) bool {
	switch m := material.(type) {
	case secret:
		return verifyHMAC(alg, m(), signed, signature)
	case *rsa.PublicKey:
		return verifyRSA(alg, m, signed, signature)
	case *ecdsa.PublicKey:
		return verifyECDSA(alg, m, signed, signature)
	case ed25519.PublicKey:
		return (alg == EdDSA || alg == Ed25519) && ed25519.Verify(m, signed, signature)
	}
	return false
}

func verifyHMAC(alg Algorithm, key, signed, signature []byte) bool {
	var newHash func() hash.Hash
	switch alg {
	case HS256:
		newHash = sha256.New
	case HS384:
		newHash = sha512.New384
	case HS512:
		newHash = sha512.New
	default:
		return false
	}
	mac := hmac.New(newHash, key)
	mac.Write(signed)
	return hmac.Equal(mac.Sum(nil), signature)
}

func verifyRSA(alg Algorithm, key *rsa.PublicKey, signed, signature []byte) bool {
	switch alg {
	case RS256:
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, sum(crypto.SHA256, signed), signature) == nil
	case RS384:
		return rsa.VerifyPKCS1v15(key, crypto.SHA384, sum(crypto.SHA384, signed), signature) == nil
	case RS512:
		return rsa.VerifyPKCS1v15(key, crypto.SHA512, sum(crypto.SHA512, signed), signature) == nil
	case PS256:
		return verifyPSS(crypto.SHA256, key, signed, signature)
	case PS384:
		return verifyPSS(crypto.SHA384, key, signed, signature)
	case PS512:
		return verifyPSS(crypto.SHA512, key, signed, signature)
	}
	return false
}

// verifyPSS wants the salt as long as the hash (RFC 7518 3.5).
func verifyPSS(h crypto.Hash, key *rsa.PublicKey, signed, signature []byte) bool {
	return rsa.VerifyPSS(key, h, sum(h, signed), signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
}

// verifyECDSA reads R and S as RFC 7518 3.4 writes them: two numbers of a fixed
// length, not DER.
func verifyECDSA(alg Algorithm, key *ecdsa.PublicKey, signed, signature []byte) bool {
	var h crypto.Hash
	var curve elliptic.Curve
	switch alg {
	case ES256:
		h, curve = crypto.SHA256, elliptic.P256()
	case ES384:
		h, curve = crypto.SHA384, elliptic.P384()
	case ES512:
		h, curve = crypto.SHA512, elliptic.P521()
	default:
		return false
	}
	size := coordinateSize(curve)
	if key.Curve != curve || len(signature) != 2*size {
		return false
	}
	r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
	return ecdsa.Verify(key, sum(h, signed), r, s)
}

// coordinateSize is the length of a number of the curve in bytes.
func coordinateSize(c elliptic.Curve) int { return (c.Params().BitSize + 7) / 8 }

func sum(h crypto.Hash, data []byte) []byte {
	w := h.New() // its package is linked: algorithms name no hash but SHA-2
	w.Write(data)
	return w.Sum(nil)
}
