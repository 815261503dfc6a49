// Package security is the words of trust and the gate: who a client is
// (Principal), what it asks (Request), what a policy answers (Verdict), and
// the Gate, which alone can make what the engine accepts: a Permit to publish
// and a Delivery to receive. Silence refuses, an error refuses, the zero value
// refuses.
package security

import (
	"crypto/x509"
	"net/netip"
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
	Cert     *x509.Certificate // leaf of a verified client certificate
	Addr     netip.AddrPort    // unmapped, without zone
	Listener string
	Secure   bool      // TLS, or a local transport
	Method   string    // name of the authenticator that accepted
	Expires  time.Time // zero: never
	Username string    // as placeholders see it: Name, or empty for anonymous
	Internal bool      // the broker itself ($SYS)
}

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
	QoS       byte
	Retain    bool
	Will      bool
	Shared    bool
	Group     string // of a shared subscription
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

// Verdict is an answer with its reason.
type Verdict struct {
	Effect Effect
	Policy string // its name in the configuration
	File   string
	Line   int
	Rule   string // the rule's text, or why there is none
}

// Allowed reports whether the verdict allows.
func (v Verdict) Allowed() bool { return v.Effect == Allow }

// Policy judges requests. It is compiled when loaded, immutable and safe for
// concurrent use; a deny is final, an allow suffices, silence leaves it to others.
type Policy interface {
	Decide(r *Request) Verdict
}

// AdmitPolicy is a Policy that also looks at a principal when it connects:
// an error refuses the CONNECT (for example a deny rule whose placeholder has no usable value).
type AdmitPolicy interface {
	Policy
	Admit(p *Principal) error
}
