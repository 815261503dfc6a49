package main

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"net"
	"slices"
	"time"

	"sallyport/packet"
)

// kind is a way to be answered.
type kind struct {
	name     string
	door     string // the listener
	user     string
	password string      // or a token
	code     packet.Code // that it ends with
	groups   []string    // that its answers belong to, each
	ask      func(address string, from net.IP, k kind) ([]time.Duration, error)
}

// The listeners. That of people is of a broker which has password hashes, the others of
// one which has none.
const (
	people = "people" // passwords and SCRAM
	proofs = "proofs" // SCRAM alone
	tokens = "tokens" // tokens alone
)

// The groups: answers that must not be told apart. A login that succeeds is in one of
// its own.
const (
	byPassword    = "people, password"
	byProof1      = "people, SCRAM, answer 1"
	byProof2      = "people, SCRAM, answer 2"
	byUnknown     = "people, no such method"
	proofPassword = "proofs, password"
	proof1        = "proofs, SCRAM, answer 1"
	proof2        = "proofs, SCRAM, answer 2"
	tokenPassword = "tokens, a password"
	byToken       = "tokens, password"
	byBearer      = "tokens, OAUTHBEARER"
)

const (
	right = "correct horse"
	wrong = "battery staple"

	badLogin = packet.BadUserNameOrPassword
	noMethod = packet.BadAuthenticationMethod
)

var kinds = []kind{
	{"unknown user", people, "nobody", right, badLogin, []string{byPassword}, login},
	{"wrong password", people, "alice", wrong, badLogin, []string{byPassword}, login},
	{"disabled account", people, "disabled", right, badLogin, []string{byPassword}, login},
	{"account that is over", people, "ended", right, badLogin, []string{byPassword}, login},
	{"account without a password", people, "nothing", right, badLogin, []string{byPassword}, login},
	{"account with SCRAM only", people, "prover", right, badLogin, []string{byPassword}, login},
	{"token, not taken here", people, "alice", good, badLogin, []string{byPassword}, login},

	{"unknown user", people, "nobody", right, badLogin, []string{byProof1, byProof2}, handshake},
	{"wrong password", people, "alice", wrong, badLogin, []string{byProof1, byProof2}, handshake},
	{"disabled account", people, "disabled", right, badLogin, []string{byProof1, byProof2}, handshake},
	{"account with a password only", people, "plain", right, badLogin, []string{byProof1, byProof2}, handshake},

	{"unknown user", people, "nobody", "", noMethod, []string{byUnknown}, unoffered},
	{"known user", people, "alice", "", noMethod, []string{byUnknown}, unoffered},

	{"unknown user", proofs, "nobody", right, badLogin, []string{proofPassword}, login},
	{"known user, right password", proofs, "alice", right, badLogin, []string{proofPassword}, login},

	{"unknown user", proofs, "nobody", right, badLogin, []string{proof1, proof2}, handshake},
	{"wrong password", proofs, "alice", wrong, badLogin, []string{proof1, proof2}, handshake},
	{"disabled account", proofs, "disabled", right, badLogin, []string{proof1, proof2}, handshake},

	{"unknown user", tokens, "nobody", right, badLogin, []string{tokenPassword}, login},
	{"known user", tokens, "alice", right, badLogin, []string{tokenPassword}, login},
	{"unknown issuer", tokens, "alice", foreign, badLogin, []string{byToken}, login},
	{"unknown key", tokens, "alice", keyless, badLogin, []string{byToken}, login},
	{"bad signature", tokens, "alice", forged, badLogin, []string{byToken}, login},
	{"expired", tokens, "alice", expired, badLogin, []string{byToken}, login},
	{"disabled account", tokens, "disabled", revoked, badLogin, []string{byToken}, login},

	// Not the good token of a disabled account: other packets tell that one.
	{"unknown issuer", tokens, "", foreign, badLogin, []string{byBearer}, present},
	{"bad signature", tokens, "", forged, badLogin, []string{byBearer}, present},
	{"expired", tokens, "", expired, badLogin, []string{byBearer}, present},

	{"", people, "bob", right, packet.Success, []string{byPassword + ": success"}, login},
	{"", tokens, "alice", good, packet.Success, []string{byToken + ": success"}, login},
}

// successes are the answers that a group has to be told from, if there are any.
var successes = map[string]string{
	byPassword: byPassword + ": success",
	byToken:    byToken + ": success",
}

// label is what answer i of k is called.
func (k kind) label(i int) string {
	if k.name == "" {
		return k.groups[i]
	}
	return k.groups[i] + ": " + k.name
}

// group is the labels of answers that must not be told apart.
type group struct {
	name   string
	labels []string
}

func groups() []group {
	var list []group
	for _, k := range kinds {
		if k.code == packet.Success {
			continue
		}
		for i, name := range k.groups {
			at := slices.IndexFunc(list, func(g group) bool { return g.name == name })
			if at < 0 {
				at, list = len(list), append(list, group{name: name})
			}
			list[at].labels = append(list[at].labels, k.label(i))
		}
	}
	return list
}

// pairs is how many are compared.
func pairs() (n int) {
	for _, g := range groups() {
		n += len(g.labels) * (len(g.labels) - 1) / 2
	}
	return n
}

// Keys of the issuer "id", and of somebody else.
var ours, theirs = keyOf(1), keyOf(2)

func keyOf(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

var (
	later   = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
	good    = token(ours, "old", "id", "alice", later)
	foreign = token(theirs, "new", "elsewhere", "alice", later)
	keyless = token(theirs, "new", "id", "alice", later)
	forged  = token(theirs, "old", "id", "alice", later)
	expired = token(ours, "old", "id", "alice", time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC))
	revoked = token(ours, "old", "id", "disabled", later)
)

// token is a JWT signed by key, which it calls kid.
func token(key ed25519.PrivateKey, kid, issuer, name string, end time.Time) string {
	var text []byte
	for _, v := range []map[string]any{
		{"alg": "EdDSA", "kid": kid}, {"iss": issuer, "aud": "mqtt", "sub": name, "exp": end.Unix()},
	} {
		b, _ := json.Marshal(v) // texts and a number never fail
		if text != nil {
			text = append(text, '.')
		}
		text = base64.RawURLEncoding.AppendEncode(text, b)
	}
	sum := ed25519.Sign(key, text)
	return string(base64.RawURLEncoding.AppendEncode(append(text, '.'), sum))
}
