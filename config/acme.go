package config

import "time"

// ACME is how a listener gets its certificate by itself (RFC 8555). A change needs
// a restart.
type ACME struct {
	// The URL of the server's directory; the default is Let's Encrypt, whose test server is https://acme-staging-v02.api.letsencrypt.org/directory.
	Directory string `yaml:"directory"`
	// The names of the certificate, 1 to 100, in ASCII; a name in another script is written as xn--. There are no wildcards and no addresses. Another list is another certificate, ordered at the next start.
	Domains []string `yaml:"domains"`
	// An address that the server may write to; empty for none.
	Email string `yaml:"email"`
	// A folder for the account, the certificate and their keys, made with mode 0700 where it is missing. It belongs to the broker's user alone, and to one broker at a time. Listeners with the same section share one certificate; two sections need two folders.
	Storage string `yaml:"storage"`
	// How the names are shown to be yours: tls-alpn-01 (the server connects to port 443 of each name, which must lead to this listener) or http-01 (to port 80, which must lead to http_address).
	Challenge ACMEChallenge `yaml:"challenge"`
	// For http-01: where the server's requests are answered, and no others.
	HTTPAddress string `yaml:"http_address"`
	// An account with the CA that this one is bound to, where the CA demands it.
	ExternalAccount *ExternalAccount `yaml:"external_account"`
	// Must be true: you accept the terms of service of the server, to which its directory links.
	AcceptTerms bool `yaml:"accept_terms"`
	// Certificates that the server's own is verified with, PEM, for a private server; empty is the system's.
	CAFile string `yaml:"ca_file"`
	// How long before its end the certificate is renewed; 0 is a third of its life, or half of one shorter than ten days. What leaves a certificate less than a tenth of its life is replaced by that, with a warning.
	RenewBefore time.Duration `yaml:"renew_before"`
	// The certificate's key, which each certificate has anew.
	KeyType ACMEKey `yaml:"key_type"`
	// The kind of certificate to ask for, of those that the server's directory lists, such as shortlived; empty leaves the server the choice.
	Profile string `yaml:"profile"`
}

// ExternalAccount is an account with a CA (RFC 8555, 7.3.4).
type ExternalAccount struct {
	// The identifier that the CA gave.
	KeyID string `yaml:"key_id"`
	// Where the key that the CA gave is found, in base64url.
	Key Secret `yaml:"key"`
}

// ACMEChallenge is how it is shown that names are ours.
type ACMEChallenge string

// The challenges.
const (
	ACMETLS  ACMEChallenge = "tls-alpn-01"
	ACMEHTTP ACMEChallenge = "http-01"
)

// Choices lists the challenges.
func (ACMEChallenge) Choices() []string { return []string{"tls-alpn-01", "http-01"} }

// ACMEKey is the kind of a certificate's key.
type ACMEKey string

// The kinds of keys.
const (
	ACMEECDSA ACMEKey = "ecdsa-p256"
	ACMERSA   ACMEKey = "rsa-2048"
)

// Choices lists the kinds of keys.
func (ACMEKey) Choices() []string { return []string{"ecdsa-p256", "rsa-2048"} }

// SetDefaults sets the defaults of an ACME section.
func (a *ACME) SetDefaults() {
	*a = ACME{
		Directory: "https://acme-v02.api.letsencrypt.org/directory", Challenge: ACMETLS, HTTPAddress: ":80", KeyType: ACMEECDSA,
	}
}
