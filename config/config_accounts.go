package config

import (
	"slices"
	"strings"
)

// DefaultAccountsRealm is the realm of principals that the account database accepts.
const DefaultAccountsRealm = "accounts"

// Accounts is how the account database keeps passwords.
type Accounts struct {
	// How a password that is set is kept: argon2id or sha512-pbkdf2 (with fips: true the only one). By default the best that is allowed.
	Hash AccountHash `yaml:"hash"`
	// When a password that was right is kept by a weaker hash, such as one that was imported, keep it by this one from then on.
	Upgrade bool `yaml:"upgrade"`
	// SCRAM methods, SCRAM-SHA-256 and SCRAM-SHA-512, for which a verifier is made whenever a password is set, and at a login that shows it to be right; [] for none. By default those of the scram authenticators that ask the account database. A verifier is one more thing by which a stolen store can be searched for weak passwords.
	SCRAM []SCRAMMethod `yaml:"scram"`
}

// SetDefaults sets the defaults of an accounts section.
func (a *Accounts) SetDefaults() { *a = Accounts{Upgrade: true} }

// AccountHash is how the account database keeps a password; empty is the best that
// is allowed.
type AccountHash string

// The hashes.
const (
	HashArgon2id     AccountHash = "argon2id"
	HashPBKDF2SHA512 AccountHash = "sha512-pbkdf2"
)

// Choices lists the hashes.
func (AccountHash) Choices() []string { return []string{"argon2id", "sha512-pbkdf2"} }

// SCRAMMethod is a mechanism of RFC 5802 and RFC 7677 by the name that clients send.
type SCRAMMethod string

// The methods.
const (
	SCRAMSHA256 SCRAMMethod = "SCRAM-SHA-256"
	SCRAMSHA512 SCRAMMethod = "SCRAM-SHA-512"
)

// Choices lists the methods.
func (SCRAMMethod) Choices() []string { return []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} }

// HasAccounts reports whether anything in c asks the account database: there is one
// for the whole broker, however many name it.
func (c *Config) HasAccounts() bool {
	return slices.ContainsFunc(c.Authenticators, func(a Authenticator) bool {
		return a.Type == AccountDatabase || a.Account == AccountRequired || a.asksVerifiers()
	}) ||
		slices.ContainsFunc(c.Policies, func(p Policy) bool { return p.Type == AccountRoles })
}

// AccountSettings is how the account database keeps passwords: what the first
// authenticator that says so says, which no other contradicts.
func (c *Config) AccountSettings() Accounts {
	var out Accounts
	out.SetDefaults()
	for i := range c.Authenticators {
		if a := c.Authenticators[i].Accounts; a != nil {
			out = *a
			break
		}
	}
	if out.SCRAM == nil {
		out.SCRAM = c.scramMethods()
	}
	return out
}

// asksVerifiers reports whether a is SCRAM over the account database.
func (a *Authenticator) asksVerifiers() bool { return a.Type == Scram && a.File == "" }

// scramMethods is the methods for which accounts need verifiers: whether the connection
// is bound makes no other one necessary.
func (c *Config) scramMethods() (out []SCRAMMethod) {
	for i := range c.Authenticators {
		a := &c.Authenticators[i]
		if !a.asksVerifiers() {
			continue
		}
		offered := a.SCRAMSettings().Methods
		if len(offered) == 0 {
			offered = []SCRAMMechanism{SCRAMMechanism(SCRAMSHA256), SCRAMMechanism(SCRAMSHA512)}
		}
		for _, m := range offered {
			base := SCRAMMethod(strings.TrimSuffix(string(m), "-PLUS"))
			if !slices.Contains(out, base) {
				out = append(out, base)
			}
		}
	}
	return out
}
