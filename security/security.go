// Package security is the words of trust and the gate: who a client is
// (Principal), what it asks (Request), what a policy answers (Verdict), and
// the Gate, which alone can make what the engine accepts: a Permit to publish
// and a Delivery to receive. Silence refuses, an error refuses, the zero value
// refuses.
package security

import (
	"crypto/x509"
	"net/netip"
	"strconv"
	"time"
)

// Principal is who a client was found to be. It is immutable after CONNECT.
type Principal struct {
	Realm    string // of the authenticator; two principals are equal when Realm and Name are
	Name     string // user name; empty for anonymous
	ClientID string
	Groups   []string
	Roles    []string
	Attrs    map[string]string
	Claims   map[string]any    // of a token, as encoding/json decodes them; nil without one
	Cert     *x509.Certificate // leaf of a verified client certificate
	Chain    *CertChain        // Cert's, as the handshake verified it; nil for a principal that was stored
	Addr     netip.AddrPort    // unmapped, without zone
	Listener string
	Method   string // name of the authenticator that accepted
	// Account is the version of the account that was asked about it; 0: none is known
	// under the name.
	Account  uint64
	Token    *Token // of the credential that vouches for it; nil without one
	Expires  uint32 // of the credential, in seconds since 1970, 0: never
	Secure   bool   // TLS, or a local transport
	Internal bool   // the broker itself ($SYS)
}

// Token is what is known of a verified token that a principal came with, so that it
// can be revoked. The token itself is not kept.
type Token struct {
	ID     string   // RFC 7519, 4.1.7 (jti); empty without one
	Issuer string   // RFC 7519, 4.1.1 (iss)
	Key    [32]byte // thumbprint of the key that verified it, RFC 7638
	// Secret says that the key is a secret one, which anybody who has the thumbprint can
	// try guesses at. So that is not kept: of a stored principal Key is zero, and all
	// that is known of the key is its kid.
	Secret bool
	KeyID  string // kid of the key as configured, of a secret one; may be empty
	// Granted is what it allows and denies by itself; nil: nothing. It is asked by a
	// policy that says so, and not kept while the client is away.
	Granted Policy
}

// CertChain is certificates from a leaf to its anchor. A principal points to it:
// every connection has a principal, and few have a certificate.
type CertChain []*x509.Certificate

// Same reports whether p and q own the same sessions (DESIGN: realm and name, bytewise).
func (p *Principal) Same(q *Principal) bool {
	return p != nil && q != nil && p.Realm == q.Realm && p.Name == q.Name
}

// Action is what a request wants to do.
type Action uint8

// The actions. A will is asked for as Publish with Request.Will set.
const (
	Connect Action = iota + 1
	Publish
	Subscribe
	Receive
)

func (a Action) String() string {
	switch a {
	case Connect:
		return "connect"
	case Publish:
		return "publish"
	case Subscribe:
		return "subscribe"
	case Receive:
		return "receive"
	}
	return "none"
}

// Request is a question to the policies.
type Request struct {
	Principal *Principal
	Action    Action
	Topic     string // a name, or for Subscribe a filter without its $share prefix; empty for Connect
	QoS       byte   // of the message as it would be sent; for Subscribe the requested maximum
	Retain    bool
	Will      bool
	Shared    bool     // Subscribe and Receive: by a shared subscription
	Group     string   // its share name
	Message   *Message // Publish and Receive: what is sent; nil where only the topic is known
	At        int64    // nanoseconds since 1970; 0 is now
}

// Message is what a condition may read of an application message. It is valid
// only during the call.
type Message struct {
	Payload []byte
}

// Now is the time of the request: At, or the present.
func (q *Request) Now() time.Time {
	if q.At != 0 {
		return time.Unix(0, q.At)
	}
	return time.Now()
}

// Effect is a policy's answer; the zero value is silence.
type Effect uint8

// The answers.
const (
	Silent Effect = iota
	Allow
	Deny
)

func (e Effect) String() string {
	switch e {
	case Allow:
		return "allow"
	case Deny:
		return "deny"
	}
	return "silent"
}

// Verdict is an answer with its reason, and how long it holds.
type Verdict struct {
	Effect Effect
	Policy string // its name in the configuration
	File   string
	Line   int
	Rule   string // the rule's text, or why there is none
	// Until is the earliest moment at which time alone may change the answer, in
	// nanoseconds since 1970; 0: never.
	Until int64
	// Volatile says that the answer depends on the message itself or on something
	// else that may differ at the next request: it is not remembered.
	Volatile bool
	// Scope says that the answer is the same, all else equal, for every topic name
	// that has the same first Scope levels and at least one more; 0: for this one alone.
	Scope int
	// QoS is what a subscription was granted at.
	QoS byte
}

// Allowed reports whether the verdict allows.
func (v Verdict) Allowed() bool { return v.Effect == Allow }

// Why is the verdict's reason in one line: policy, place and rule.
func (v Verdict) Why() string {
	why := v.Rule
	switch {
	case v.File != "" && v.Line != 0:
		why = v.File + ":" + strconv.Itoa(v.Line) + ": " + why
	case v.File != "":
		why = v.File + ": " + why
	}
	if v.Policy != "" {
		why = v.Policy + ": " + why
	}
	return why
}

// holds joins how long, and for which topics, v and w hold into v.
func (v *Verdict) holds(w Verdict) {
	v.Until = Sooner(v.Until, w.Until)
	v.Volatile = v.Volatile || w.Volatile
	v.Scope = Narrower(v.Scope, w.Scope)
}

// Narrower is the Scope of an answer to which two answers with these contribute.
func Narrower(a, b int) int {
	if a == 0 || b == 0 {
		return 0
	}
	return max(a, b)
}

// Sooner is the earlier of two moments in nanoseconds since 1970, where 0 is never.
func Sooner(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// Policy judges requests. It is compiled when loaded, immutable and safe for
// concurrent use, and keeps no request; a deny is final, an allow suffices,
// silence leaves it to others. A silent verdict says in Rule why nothing matched,
// and holds only until its Until as well.
type Policy interface {
	Decide(r *Request) Verdict
}

// AdmitPolicy is a Policy that also looks at a principal when it connects:
// an error refuses the CONNECT (for example a deny rule whose placeholder has no usable value).
type AdmitPolicy interface {
	Policy
	Admit(p *Principal) error
}

// Untold is why an AdmitPolicy refuses a principal, where one rule is the reason:
// what that rule is to deny can't be told.
type Untold struct {
	File string
	Line int
	Rule string // its text, and what can't be told
}

func (u *Untold) Error() string {
	if u.Line == 0 {
		return u.File + ": " + u.Rule
	}
	return u.File + ":" + strconv.Itoa(u.Line) + ": " + u.Rule
}

// ConnectPolicy is a Policy under which authentication alone does not admit:
// where NeedsConnect is true for one of a listener's policies, one of them has
// to allow the connection.
type ConnectPolicy interface {
	Policy
	NeedsConnect() bool
}

// ExplainPolicy is a Policy that tells how it came to its answer. The verdict
// in the explanation is the one that Decide gives to the same request.
type ExplainPolicy interface {
	Policy
	Explain(r *Request) Explanation
}

// Explanation is one policy's answer with the path to it.
type Explanation struct {
	Verdict Verdict
	Steps   []Step // what its rules said, in the order in which they count
	Omitted int    // rules left out of Steps, since they are about other topics
	// Opposite says what would have to change for the opposite answer, smallest
	// change first, in the language of the policy.
	Opposite []string
}

// Step is what one rule said.
type Step struct {
	File    string
	Line    int
	Rule    string
	Effect  Effect // what the rule is for
	Matches bool
	Decides bool   // it is why the answer is what it is
	Says    string // why it matches or not: "QoS 2 is not among 0 1"
	Values  []Value
}

// Value is what a placeholder of a rule stood for.
type Value struct {
	Name    string
	Value   string
	Missing bool // the principal has no such value
}
