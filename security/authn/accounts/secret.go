package accounts

import (
	"errors"

	"sallyport/security/authn"
)

// Hash is a password as an account keeps it: encoded, and with the verifiers of SCRAM
// that are configured. It takes as long as its hash.
func (db *Database) Hash(password []byte) (encoded string, verifiers []string, err error) {
	return db.hash(NewPassword{Plain: password})
}

// NewSecret makes a secret of 128 random bits, which is told this once, as
// GenerateSecret does, and how an account keeps it.
func (db *Database) NewSecret() (secret, encoded string, verifiers []string, err error) {
	secret, encoded, err = authn.Generate()
	if err != nil {
		return "", "", nil, errors.New("accounts: no random bits")
	}
	if verifiers, err = db.verifiers([]byte(secret)); err != nil {
		return "", "", nil, err
	}
	return secret, encoded, verifiers, nil
}
