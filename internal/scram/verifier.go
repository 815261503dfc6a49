package scram

import (
	"crypto/pbkdf2"
	"fmt"
	"log/slog"
	"strings"
)

// Verifier is all that a server keeps of a password (RFC 5802, section 3).
type Verifier struct {
	Hash       Hash
	Salt       []byte // MinSalt to MaxSalt bytes
	Iterations int    // MinIterations to MaxIterations
	StoredKey  []byte // as long as the hash; the hash of the client's key
	ServerKey  []byte // as long as the hash
}

// NewVerifier derives a verifier, for as long as the iterations take. The salt
// is fresh random bytes of MinSalt or more; iterations of 0 are
// DefaultIterations. ErrPassword, ErrSalt and ErrIterations say what it refuses.
func NewVerifier(h Hash, password string, salt []byte, iterations int) (*Verifier, error) {
	if iterations == 0 {
		iterations = DefaultIterations
	}
	s, err := salted(h, password, salt, iterations)
	if err != nil {
		return nil, err
	}
	return &Verifier{
		Hash:       h,
		Salt:       append([]byte(nil), salt...),
		Iterations: iterations,
		StoredKey:  h.sum(s.clientKey),
		ServerKey:  s.serverKey,
	}, nil
}

// salted pays for the iterations: SaltedPassword and the two keys of it.
func salted(h Hash, password string, salt []byte, iterations int) (*Salted, error) {
	if h.size() == 0 {
		return nil, fmt.Errorf("scram: no such hash")
	}
	if len(salt) < MinSalt || len(salt) > MaxSalt {
		return nil, ErrSalt
	}
	if iterations < MinIterations || iterations > MaxIterations {
		return nil, ErrIterations
	}
	prepared, ok := prepare(password)
	if !ok {
		return nil, ErrPassword
	}
	key, err := pbkdf2.Key(h.new, prepared, salt, iterations, h.size())
	if err != nil {
		return nil, fmt.Errorf("scram: derive key: %w", err)
	}
	return &Salted{
		hash:       h,
		salt:       string(salt),
		iterations: iterations,
		clientKey:  h.mac(key, "Client Key"),
		serverKey:  h.mac(key, "Server Key"),
	}, nil
}

// check says whether v is within the bounds that a server relies on.
func (v *Verifier) check() error {
	size := v.Hash.size()
	if size == 0 || len(v.StoredKey) != size || len(v.ServerKey) != size ||
		len(v.Salt) < MinSalt || len(v.Salt) > MaxSalt || v.Iterations < MinIterations || v.Iterations > MaxIterations {
		return ErrVerifier
	}
	return nil
}

// Encode is the text to store, after RFC 5803:
//
//	SCRAM-SHA-256$600000:SALT$STOREDKEY:SERVERKEY
//
// the last three in base64. It is as secret as a password's hash.
func (v *Verifier) Encode() string {
	return fmt.Sprintf("%s$%d:%s$%s:%s", v.Hash, v.Iterations, encode(v.Salt), encode(v.StoredKey), encode(v.ServerKey))
}

// maxVerifier is the length of the longest text that Encode makes.
const maxVerifier = len("SCRAM-SHA-512$10000000:$:") + 3*88

// ParseVerifier reads what Encode wrote and nothing else: for each verifier
// there is one text. Its error is ErrVerifier.
func ParseVerifier(text string) (*Verifier, error) {
	if len(text) > maxVerifier {
		return nil, ErrVerifier
	}
	name, rest, _ := strings.Cut(text, "$")
	method, known := ParseMethod(name)
	cost, keys, _ := strings.Cut(rest, "$")
	count, salt, _ := strings.Cut(cost, ":")
	storedKey, serverKey, _ := strings.Cut(keys, ":")
	v := &Verifier{Hash: method.Hash}
	var ok [4]bool
	v.Iterations, ok[0] = parseCount(count)
	v.Salt, ok[1] = decode(salt)
	v.StoredKey, ok[2] = decode(storedKey)
	v.ServerKey, ok[3] = decode(serverKey)
	if !known || method.Plus || ok != [4]bool{true, true, true, true} || v.check() != nil {
		return nil, ErrVerifier
	}
	return v, nil
}

// String says what kind of verifier it is, without its keys, so that a verifier
// that strays into a log tells nothing.
func (v Verifier) String() string {
	return fmt.Sprintf("%s verifier, %d iterations", v.Hash, v.Iterations)
}

// GoString is String.
func (v Verifier) GoString() string { return v.String() }

// LogValue is String, for slog.
func (v Verifier) LogValue() slog.Value { return slog.StringValue(v.String()) }
