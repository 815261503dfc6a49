package main

import (
	"fmt"
	"os"
	"strings"

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
	// password of every client.
	prepare func(b *bench) (password string, err error)
}

const argon2Memory = 19 << 20 // of a hash of the default cost, in bytes

func rows() []row {
	const file = "{name: fleet, type: password_file, file: passwd}"
	return []row{
		{name: "password", cold: true, hash: argon2Memory, authenticator: file, prepare: func(b *bench) (string, error) {
			const password = "the same for all"
			encoded, err := authn.Hash(authn.Argon2id, []byte(password), authn.Params{})
			if err != nil {
				return "", err
			}
			return password, b.writePasswords(encoded)
		}},
		{name: "secret", authenticator: file, prepare: func(b *bench) (string, error) {
			secret, encoded, err := authn.Generate()
			if err != nil {
				return "", err
			}
			return secret, b.writePasswords(encoded)
		}},
	}
}

// writePasswords gives all users one encoded password: what a login costs does not
// depend on the salt, and the file is made in no time.
func (b *bench) writePasswords(encoded string) error {
	var text strings.Builder
	for i := range b.clients {
		fmt.Fprintf(&text, "%s:%s\n", userOf(i), encoded)
	}
	return os.WriteFile(b.path("passwd"), []byte(text.String()), 0o600)
}

// userOf is the user name, and the client id, of a client of the fleet.
func userOf(i int) string { return fmt.Sprintf("device-%d", i) }
