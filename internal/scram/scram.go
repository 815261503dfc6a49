// Package scram is the Salted Challenge Response Authentication Mechanism,
// both sides of it: RFC 5802 with SHA-256 (RFC 7677) and SHA-512, and the -PLUS
// variants, bound to a TLS channel by tls-exporter (RFC 9266).
//
// It does no I/O and knows nothing of MQTT or of accounts. A Client and a
// Server are one exchange each, of two messages a side:
//
//	client-first  n,,n=user,r=NONCE             the name, and fresh bytes
//	server-first  r=NONCE+OURS,s=SALT,i=COUNT   how to derive the keys
//	client-final  c=BINDING,r=NONCE+OURS,p=PROOF
//	server-final  v=SIGNATURE                   the server knew the verifier
//
// Of a password only a Verifier is kept. It lets a server check a client, and
// nobody log in; but who steals one can guess passwords against it at the price
// of its iterations, and can pose as the server to the one client.
//
// What is promised:
//   - the zero Server and Client refuse, and after an error each refuses for good;
//   - a message is bounded before it is parsed, an iteration count before it is
//     paid for;
//   - what is written in two ways is accepted in one: base64 is canonical,
//     attributes stand once and in the order of the grammar;
//   - a user who does not exist is asked for a proof as all others are, with a
//     salt that stays the same, and fails with ErrProof at the same step;
//   - no error text holds a password, a key, a proof or a nonce.
//
// What SCRAM cannot do: without -PLUS a relay in the middle of an unprotected
// channel sees and alters all that follows the login.
package scram

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"errors"
	"hash"
)

// Bounds of what is kept, sent and accepted.
const (
	MinIterations     = 4096       // RFC 7677, section 4
	DefaultIterations = 600_000    // of a new verifier
	MaxIterations     = 10_000_000 // of any verifier; some seconds of one core
	MinSalt           = 16         // bytes; FIPS 140-3 wants as many
	MaxSalt           = 64
	MaxMessage        = 4096 // bytes of one message, and of a name or a password
	MinNonce          = 8    // bytes of the client's part
	MaxNonce          = 256
	MinSecret         = 32 // bytes of ServerOptions.Secret

	ownNonce      = 24 // random bytes, 32 in base64
	maxAttributes = 16
)

// What ends an exchange. The texts hold nothing of the peer's; Code is what RFC
// 5802 would tell it.
var (
	ErrMalformed   = errors.New("scram: malformed message")
	ErrTooLong     = errors.New("scram: message too long")
	ErrState       = errors.New("scram: message out of turn")
	ErrExtension   = errors.New("scram: mandatory extension not supported")
	ErrName        = errors.New("scram: name cannot be prepared by SASLprep")
	ErrAuthzID     = errors.New("scram: authorization as another than the name")
	ErrNonce       = errors.New("scram: nonce is not ours")
	ErrProof       = errors.New("scram: wrong proof") // a wrong password, or nobody of the name
	ErrDowngrade   = errors.New("scram: client was told that there is no channel binding, and there is")
	ErrBindingType = errors.New("scram: channel binding of another type")
	ErrBinding     = errors.New("scram: channel binding does not match")
	ErrIterations  = errors.New("scram: iteration count out of bounds")
	ErrSalt        = errors.New("scram: salt out of bounds")
	ErrSignature   = errors.New("scram: server did not prove that it knows the user")
	ErrPassword    = errors.New("scram: password cannot be prepared by SASLprep")
	ErrVerifier    = errors.New("scram: verifier is malformed")
)

// Code is the server-error-value of RFC 5802, section 7, for an error of a
// Server, for transports that send e= to the client. It tells an unknown user
// from a wrong password as little as the error does.
func Code(err error) string {
	for _, c := range []struct {
		err  error
		code string
	}{
		{ErrProof, "invalid-proof"},
		{ErrExtension, "extensions-not-supported"},
		{ErrBinding, "channel-bindings-dont-match"},
		{ErrDowngrade, "server-does-support-channel-binding"},
		{ErrBindingType, "unsupported-channel-binding-type"},
		{ErrName, "invalid-username-encoding"},
	} {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return "other-error"
}

// Hash is a hash function that SCRAM is used with. The zero Hash is none.
type Hash int

// The hashes. SHA-1 is not among them.
const (
	SHA256 Hash = iota + 1
	SHA512
)

// String is the mechanism's name, such as SCRAM-SHA-256, "" for no hash.
func (h Hash) String() string {
	switch h {
	case SHA256:
		return "SCRAM-SHA-256"
	case SHA512:
		return "SCRAM-SHA-512"
	}
	return ""
}

// size is that of the hash in bytes, 0 for no hash.
func (h Hash) size() int {
	switch h {
	case SHA256:
		return sha256.Size
	case SHA512:
		return sha512.Size
	}
	return 0
}

func (h Hash) new() hash.Hash {
	if h == SHA512 {
		return sha512.New()
	}
	return sha256.New()
}

func (h Hash) sum(b []byte) []byte {
	d := h.new()
	d.Write(b)
	return d.Sum(nil)
}

func (h Hash) mac(key []byte, message string) []byte {
	m := hmac.New(h.new, key)
	m.Write([]byte(message))
	return m.Sum(nil)
}

// Method is a mechanism: a hash, with or without channel binding.
type Method struct {
	Hash Hash
	Plus bool // the exchange is bound to the TLS channel
}

// ParseMethod reads a mechanism's name, bytewise; ok is false for all others.
func ParseMethod(name string) (m Method, ok bool) {
	for _, h := range []Hash{SHA256, SHA512} {
		switch name {
		case h.String():
			return Method{Hash: h}, true
		case h.String() + "-PLUS":
			return Method{Hash: h, Plus: true}, true
		}
	}
	return Method{}, false
}

// String is the mechanism's name, such as SCRAM-SHA-512-PLUS.
func (m Method) String() string {
	if m.Plus {
		return m.Hash.String() + "-PLUS"
	}
	return m.Hash.String()
}

// equal compares in constant time what has equal lengths.
func equal(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }
