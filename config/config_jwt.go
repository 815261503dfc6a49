package config

import (
	"time"

	"sallyport/internal/jwt"
)

// JWT is which tokens are accepted, and what they mean.
type JWT struct {
	// Who makes tokens, with the keys that vouch for them: a key of one issuer vouches for no other. Of several issuers each has a realm of its own, so that the same name from two of them is two principals.
	Issuers []TokenIssuer `yaml:"issuers"`
	// What typ of a token's header must be one of, such as at+jwt (RFC 9068), without "application/". Empty: typ may be missing, JWT or at+jwt.
	Types []string `yaml:"types"`
	// How far the clocks of issuers may be off: 0s to 60s.
	Leeway time.Duration `yaml:"leeway"`
	// How old a token may be by its iat, at login and as long as a session goes on, whatever its exp says; 0 is any age.
	MaxAge time.Duration `yaml:"max_age"`
	// Accept tokens without exp. A session with one ends for other reasons only.
	NoExpiry bool `yaml:"no_expiry"`
	// Where a token is looked for: password, username or both (the password first). A user name is what programs and proxies write into their logs; this broker's shows none that looks like a token.
	From TokenPlace `yaml:"from"`
	// The claim that is the user name; dots lead into objects. It must be a text without + # / and control characters.
	NameClaim string `yaml:"name"`
	// The claim that names groups: a list, or words as in scope. What they mean here, the authenticator's table of groups says.
	Groups string `yaml:"groups"`
	// The claim that names roles: the same.
	Roles string `yaml:"roles"`
	// Attributes that policies read as ${attr.NAME}, and the claim that each comes from: a text, number or bool. One whose claim is missing is not there.
	Attributes map[string]string `yaml:"attributes"`
	// The claim with permissions of the token itself, which a policy of type token asks.
	Permissions string `yaml:"permissions"`
	// The claims that stay with a session, for ${claim.NAME} in policies; an empty list for none. Left out, all do. A token of which more than 4 KiB would stay is refused.
	KeepClaims *[]string `yaml:"keep_claims"`
	// What the client id must be: a text with placeholders ${username} and ${claim.NAME}; empty for any.
	ClientID string `yaml:"client_id"`
	// What a token must be bound to: none, or certificate (cnf with x5t#S256 of the client's certificate, RFC 8705). A token that is bound is held to it in either case, and one that is bound to something else is refused.
	Bound TokenBinding `yaml:"bound"`
	// Offer OAUTHBEARER (RFC 7628) to MQTT 5 clients, by which they can renew their token in place.
	OAUTHBEARER bool `yaml:"oauthbearer"`
}

// TokenIssuer is one maker of tokens.
type TokenIssuer struct {
	// What iss must be, letter by letter.
	Issuer string `yaml:"issuer"`
	// Accept tokens whatever their iss, in the place of issuer; there can be no other issuer beside it.
	NoIssuer bool `yaml:"no_issuer"`
	// Names of this broker, one of which must be in aud.
	Audiences Many[string] `yaml:"audiences"`
	// Accept tokens whatever their aud, in the place of audiences. Who accepts tokens that were made for others lets those others in.
	NoAudience bool `yaml:"no_audience"`
	// The realm of its users; by default that of the authenticator, and with several issuers that one, a colon and the issuer.
	Realm string `yaml:"realm"`
	// The keys that vouch for its tokens.
	Keys []TokenKey `yaml:"keys"`
}

// TokenKey is where keys are found: file or secret.
type TokenKey struct {
	// A JWK set or a JWK (RFC 7517), or PEM with public keys or certificates; which it is, its content tells. It is watched like every other file.
	File string `yaml:"file"`
	// Where the secret of HS256, HS384 and HS512 is found: at least 32 bytes, and for each of them as many as its hash has. Whoever knows it can make tokens.
	Secret *Secret `yaml:"secret"`
	// How the secret is written: raw (as it is) or base64 (either alphabet, with or without padding).
	Encoding SecretEncoding `yaml:"encoding"`
	// The kid of the keys, for PEM and secret; empty: any kid may mean them. In a JWK set each key has its own.
	ID string `yaml:"id"`
	// The algorithms that the keys may verify; empty is all that their kind can do.
	Algorithms Many[string] `yaml:"algorithms"`
}

// SetDefaults sets the defaults of a jwt section.
func (j *JWT) SetDefaults() {
	*j = JWT{Leeway: 30 * time.Second, From: TokenInPassword, NameClaim: "sub", Bound: BoundNone, OAUTHBEARER: true}
}

// SetDefaults sets the defaults of a key.
func (k *TokenKey) SetDefaults() { *k = TokenKey{Encoding: EncodingRaw} }

// Names are the algorithms as internal/jwt has them.
func (k *TokenKey) Names() []jwt.Algorithm {
	var all []jwt.Algorithm
	for _, a := range k.Algorithms {
		all = append(all, jwt.Algorithm(a))
	}
	return all
}

// TokenPlace is where a token is looked for.
type TokenPlace string

// The places.
const (
	TokenInPassword TokenPlace = "password"
	TokenInUsername TokenPlace = "username"
	TokenInBoth     TokenPlace = "both"
)

// Choices lists the places.
func (TokenPlace) Choices() []string { return []string{"password", "username", "both"} }

// TokenBinding is what a token must be bound to.
type TokenBinding string

// The bindings.
const (
	BoundNone        TokenBinding = "none"
	BoundCertificate TokenBinding = "certificate"
)

// Choices lists the bindings.
func (TokenBinding) Choices() []string { return []string{"none", "certificate"} }

// SecretEncoding is how a secret is written.
type SecretEncoding string

// The encodings.
const (
	EncodingRaw    SecretEncoding = "raw"
	EncodingBase64 SecretEncoding = "base64"
)

// Choices lists the encodings.
func (SecretEncoding) Choices() []string { return []string{"raw", "base64"} }

// RealmOf is the realm of issuer i's users, where realm is the authenticator's.
func (j *JWT) RealmOf(i int, realm string) string {
	switch x := j.Issuers[i]; {
	case x.Realm != "":
		return x.Realm
	case len(j.Issuers) > 1:
		return realm + ":" + x.Issuer
	}
	return realm
}

// files are the paths of what j is made of, to be completed or watched.
func (j *JWT) files() []*string {
	var all []*string
	for i := range j.Issuers {
		for n := range j.Issuers[i].Keys {
			k := &j.Issuers[i].Keys[n]
			all = append(all, &k.File)
			if k.Secret != nil {
				all = append(all, &k.Secret.File)
			}
		}
	}
	return all
}
