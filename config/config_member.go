package config

import (
	"net/netip"
	"time"
)

// Transformation is one step between a CONNECT and an authenticator: it takes a text,
// changes it by at most one of match, split, decode and lower, and sets it.
type Transformation struct {
	// What becomes of the result: username or password, as the authenticator is to see them, or var.NAME for a step behind.
	Set string `yaml:"set"`
	// The text to begin with. Its placeholders are ${username}, ${password}, ${client_id}, ${listener}, ${address}, ${cert.FIELD} of a verified certificate (see docs/identity.md), ${header.NAME} and ${query.NAME} of a WebSocket upgrade, and ${var.NAME} of a step before. One that stands for nothing fails.
	From string `yaml:"from"`
	// A regular expression (RE2) that the whole text has to match; else the step fails.
	Match string `yaml:"match"`
	// What a text that matches becomes, with $1 or ${name} for the groups of match; by default its first group, or the whole text.
	As string `yaml:"as"`
	// A text between parts; part says which one is taken.
	Split string `yaml:"split"`
	// With split: the part, from 0 on, or from -1 backwards; one that is not there fails.
	Part int `yaml:"part"`
	// base64: the text is decoded; one that is not base64 fails.
	Decode Decoding `yaml:"decode"`
	// Make letters lower case.
	Lower bool `yaml:"lower"`
}

// Requirement is conditions on whom an authenticator accepts. They refuse or pass; they never accept.
type Requirement struct {
	// The client's address must be in one of these networks. A client on a Unix socket has none.
	Addresses []netip.Prefix `yaml:"addresses"`
	// It must have come by one of these listeners.
	Listeners []string `yaml:"listeners"`
	// Its client id must begin with one of these.
	ClientIDPrefixes []string `yaml:"client_id_prefixes"`
	// How its client id is bound to the user name: any, equals_username or starts_with_username.
	ClientID ClientIDRule `yaml:"client_id"`
	// On a Unix socket: the numbers of the system's users whose processes may connect.
	UIDs []uint32 `yaml:"uids"`
	// Likewise, of groups: a process passes whose user or whose group is listed.
	GIDs []uint32 `yaml:"gids"`
}

// AllOf is authenticators that are all necessary.
type AllOf struct {
	// Their names, in the order in which they are asked, at least two.
	Members []string `yaml:"members"`
	// The one whose name the client gets. Another that yields a different name refuses the client.
	Source string `yaml:"source"`
}

// CertificateAuthenticator is how a certificate names its client.
type CertificateAuthenticator struct {
	// What the user name is made of, as identity of a listener says it: common_name, subject, or a text with placeholders such as "${cert.san.dns}".
	Identity Identity `yaml:"identity"`
	// One name is one user whichever authority vouches for it. Otherwise the user belongs to the authority's key, too.
	JoinAuthorities bool `yaml:"join_authorities"`
}

// SetDefaults sets the defaults of an authenticator.
func (a *Authenticator) SetDefaults() {
	*a = Authenticator{
		OnError: OnErrorRefuse, OnNull: OnNullRefuse, Account: AccountIfKnown,
		Timeout: 10 * time.Second, Concurrency: 16, Queue: 4096,
	}
}

// SetDefaults sets the defaults of conditions.
func (r *Requirement) SetDefaults() { *r = Requirement{ClientID: ClientIDAny} }

// SetDefaults sets the defaults of a section.
func (c *CertificateAuthenticator) SetDefaults() {
	*c = CertificateAuthenticator{Identity: IdentityCommonName}
}

// Decoding is how a text is decoded.
type Decoding string

// The decodings.
const DecodeBase64 Decoding = "base64"

// Choices lists the decodings.
func (Decoding) Choices() []string { return []string{"base64"} }

// OnError is what becomes of a client whose authenticator could not be asked.
type OnError string

// The ways.
const (
	OnErrorRefuse OnError = "refuse"
	OnErrorNext   OnError = "next"
)

// Choices lists the ways.
func (OnError) Choices() []string { return []string{"refuse", "next"} }

// OnNull is what becomes of a client for whom a transformation fails.
type OnNull string

// The ways.
const (
	OnNullRefuse OnNull = "refuse"
	OnNullNext   OnNull = "next"
)

// Choices lists the ways.
func (OnNull) Choices() []string { return []string{"refuse", "next"} }

// AccountRule is what the account under a client's name has to do with it.
type AccountRule string

// The rules.
const (
	AccountIfKnown  AccountRule = "if_known"
	AccountRequired AccountRule = "required"
	AccountIgnored  AccountRule = "ignored"
)

// Choices lists the rules.
func (AccountRule) Choices() []string { return []string{"if_known", "required", "ignored"} }
