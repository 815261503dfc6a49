package control

import (
	"time"

	"sallyport/security/expect"
)

// Status is the answer of GET /status.
type Status struct {
	Version       string           `json:"version"`
	Started       time.Time        `json:"started"`
	UptimeSeconds int64            `json:"uptime_seconds"`
	Configuration string           `json:"configuration"` // the file's path
	Listeners     []ListenerStatus `json:"listeners"`
	// Authenticators are those that listeners ask, by name, and how they do.
	Authenticators []AuthenticatorStatus `json:"authenticators,omitempty"`
	Connections    int64                 `json:"connections"` // those before CONNECT included
	Sessions       int64                 `json:"sessions"`
	Subscriptions  int64                 `json:"subscriptions"`
	// Store is where state is kept: memory, or disk; or full or failed, as long as the
	// disk takes nothing new.
	Store string `json:"store"`
	// PolicyGeneration counts the rules that were in force, these included.
	PolicyGeneration  uint64 `json:"policy_generation"`
	ShadowDifferences int64  `json:"shadow_differences"`
}

// ListenerStatus is one listener in a Status.
type ListenerStatus struct {
	Name      string   `json:"name"`
	Transport string   `json:"transport"`
	Addresses []string `json:"addresses"` // bound ones
	Policies  []string `json:"policies"`
	Shadow    []string `json:"shadow,omitempty"`
	// Certificates are those that the listener depends on, the next to end first.
	Certificates []CertificateStatus `json:"certificates,omitempty"`
	Lists        []ListStatus        `json:"revocation_lists,omitempty"`
	Staples      []StapleStatus      `json:"staples,omitempty"`
	ACME         *ACMEStatus         `json:"acme,omitempty"`
}

// AuthenticatorStatus is what became of the questions to an authenticator since the start.
type AuthenticatorStatus struct {
	Name     string `json:"name"`
	Accepted uint64 `json:"accepted"`
	Refused  uint64 `json:"refused"`
	NotMine  uint64 `json:"not_mine"` // left to the next one
	Failed   uint64 `json:"failed"`   // it could not tell
	Late     uint64 `json:"late"`     // of these: no answer in time
	Busy     uint64 `json:"busy"`     // no place in its queue
	Spared   uint64 `json:"spared"`   // not asked, since it was down
	Waiting  int    `json:"waiting"`  // in a queue of its own
	Down     bool   `json:"down"`
	Error    string `json:"error,omitempty"` // why it failed last
	// Seconds is the time that all answers took together, Took how many took at most
	// Bounds[i] seconds; its last one counts those that took longer.
	Seconds float64   `json:"seconds"`
	Bounds  []float64 `json:"bounds_seconds"`
	Took    []uint64  `json:"took"`
}

// ACMEStatus is the state of a certificate that ACME obtains.
type ACMEStatus struct {
	Directory string    `json:"directory"`
	Domains   []string  `json:"domains"`
	NotAfter  time.Time `json:"not_after"` // zero without a certificate
	Ordering  bool      `json:"ordering"`  // an attempt is under way
	Next      time.Time `json:"next"`      // when the next begins
	Failures  int       `json:"failures"`  // since the last success
	Error     string    `json:"error,omitempty"`
}

// CertificateStatus is a certificate in use.
type CertificateStatus struct {
	Use      string    `json:"use"` // server or client_ca
	Subject  string    `json:"subject"`
	Serial   string    `json:"serial"` // hexadecimal
	NotAfter time.Time `json:"not_after"`
	File     string    `json:"file"`
}

// ListStatus is a revocation list in use.
type ListStatus struct {
	Source     string    `json:"source"` // file or URL
	Issuer     string    `json:"issuer"`
	Entries    int       `json:"entries"`
	NextUpdate time.Time `json:"next_update"` // zero: none
	Error      string    `json:"error,omitempty"`
}

// StapleStatus is the OCSP status of a certificate of the listener's own.
type StapleStatus struct {
	Certificate string    `json:"certificate"` // its subject
	Serial      string    `json:"serial"`      // hexadecimal
	Status      string    `json:"status"`      // none, good, revoked or unknown
	Stapled     bool      `json:"stapled"`     // a handshake would get it now
	Expires     time.Time `json:"expires"`     // of the response; zero without one
	NextRequest time.Time `json:"next_request"`
	Error       string    `json:"error,omitempty"` // of the last request
}

// ReloadResult is the answer of POST /reload.
type ReloadResult struct {
	PolicyGeneration uint64 `json:"policy_generation"`
}

// ExplainRequest is the body of POST /explain. Who asks is a client that is
// connected or whose session is kept, or somebody made up.
type ExplainRequest struct {
	ClientID string `json:"client_id,omitempty"`
	Who      *Who   `json:"who,omitempty"`
	Action   string `json:"action"`          // connect, publish, subscribe or receive
	Topic    string `json:"topic,omitempty"` // for subscribe a filter, also with $share/group/
	QoS      byte   `json:"qos,omitempty"`
	Retain   bool   `json:"retain,omitempty"`
	Will     bool   `json:"will,omitempty"`
	Group    string `json:"group,omitempty"` // share name, for subscribe and receive
}

// Who describes somebody who need not be connected.
type Who struct {
	User       string            `json:"user,omitempty"` // empty for anonymous
	Realm      string            `json:"realm,omitempty"`
	ClientID   string            `json:"client_id,omitempty"`
	Listener   string            `json:"listener,omitempty"` // may be left out where there is but one
	Groups     []string          `json:"groups,omitempty"`
	Roles      []string          `json:"roles,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"`
	Claims     map[string]any    `json:"claims,omitempty"`
	Address    string            `json:"address,omitempty"` // IP, without port
	Secure     bool              `json:"secure,omitempty"`  // came by TLS or a Unix socket
}

// ExplainResult is the answer of POST /explain: the document of "sallyport
// explain", of a client that is in already. Of its decisions only one is there:
// connect where that is the action, else decision.
type ExplainResult struct {
	expect.Explained
	Online *bool `json:"online,omitempty"` // false: away, its session is kept; none for who
	// PolicyGeneration is that of the rules that answered.
	PolicyGeneration uint64 `json:"policy_generation"`
}

// DecisionResult is the answer of GET /decisions/{id}: a refusal, and what the
// same request would be answered now.
type DecisionResult struct {
	ID string `json:"id"`
	At string `json:"at"` // RFC 3339
	// Then is why it was refused.
	Then expect.Verdict `json:"then"`
	// Changed says that now it would be allowed.
	Changed bool          `json:"changed"`
	Now     ExplainResult `json:"now"`
}
