package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"strings"

	"sallyport/internal/scram"
	"sallyport/security/authn"
)

// row is one way in which the clients of a fleet prove who they are.
type row struct {
	name string
	cold bool  // the first login costs more than the next ones
	hash int64 // bytes that one worker takes for a login
	// authenticator is the one of the fleet's listener, in the configuration's words.
	authenticator string
	// prepare writes the files that it needs into the broker's folder, and returns the
	// proof of the clients, a line for [parseProof].
	prepare func(b *bench) (proof string, err error)
}

const (
	argon2Memory = 19 << 20 // of a hash of the default cost, in bytes
	samePassword = "the same for all"
)

func rows() []row {
	const file = "{name: fleet, type: password_file, file: users}"
	return []row{
		{name: "password", cold: true, hash: argon2Memory, authenticator: file, prepare: preparePassword},
		{name: "secret", authenticator: file, prepare: prepareSecret},
		{name: "scram", authenticator: "{name: fleet, type: scram, file: users}", prepare: prepareSCRAM},
		{name: "token", prepare: prepareToken, authenticator: fmt.Sprintf(
			"{name: fleet, type: jwt, jwt: {issuers: [{issuer: %s, audiences: %s, keys: [{file: issuer.pem}]}]}}", issuer, audience)},
	}
}

func preparePassword(b *bench) (string, error) {
	encoded, err := authn.Hash(authn.Argon2id, []byte(samePassword), authn.Params{})
	if err != nil {
		return "", err
	}
	return "password " + samePassword, b.writeUsers(encoded)
}

func prepareSecret(b *bench) (string, error) {
	secret, encoded, err := authn.Generate()
	if err != nil {
		return "", err
	}
	return "password " + secret, b.writeUsers(encoded)
}

func prepareSCRAM(b *bench) (string, error) {
	salt := make([]byte, scram.MinSalt)
	_, _ = rand.Read(salt) // never fails
	v, err := scram.NewVerifier(scram.SHA256, samePassword, salt, scram.DefaultIterations)
	if err != nil {
		return "", err
	}
	return "scram " + v.Encode() + " " + samePassword, b.writeUsers(v.Encode())
}

func prepareToken(b *bench) (string, error) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	return "token " + hex.EncodeToString(private.Seed()), os.WriteFile(b.path("issuer.pem"), text, 0o600)
}

// writeUsers gives all users one encoded password, or verifier: what a login costs does
// not depend on the salt, and the file is made in no time.
func (b *bench) writeUsers(encoded string) error {
	var text strings.Builder
	for i := range b.clients {
		fmt.Fprintf(&text, "%s:%s\n", userOf(i), encoded)
	}
	return os.WriteFile(b.path("users"), []byte(text.String()), 0o600)
}

// userOf is the user name, and the client id, of a client of the fleet.
func userOf(i int) string { return fmt.Sprintf("device-%d", i) }
