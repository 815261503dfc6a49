package expect

import (
	"fmt"
	"strconv"
	"time"

	"sallyport/security"
)

// Explained is an answer with the whole path to it: the document that
// "sallyport explain --json" prints.
type Explained struct {
	Allowed bool    `json:"allowed"`
	Request Request `json:"request"`
	Client  Client  `json:"client"`
	// Door is how the client gets in, in order: addresses, certificate,
	// authenticators. Empty where a client is asked about that is in already.
	Door []Said `json:"door,omitempty"`
	// Connect is how the policies judge the connection; nil if the door refused.
	Connect *Decision `json:"connect,omitempty"`
	// Decision is the answer itself; nil if the client can't connect, or if
	// connecting is what was asked.
	Decision *Decision `json:"decision,omitempty"`
}

// Request is what was asked.
type Request struct {
	Action string `json:"action"`
	Topic  string `json:"topic,omitempty"` // without $share
	Group  string `json:"group,omitempty"` // of a shared subscription
	QoS    byte   `json:"qos"`
	Retain bool   `json:"retain,omitempty"`
	Will   bool   `json:"will,omitempty"`
	At     string `json:"at,omitempty"` // RFC 3339; empty: now
	Text   string `json:"text"`         // all that in words
}

// Client is who asks. Of attributes and claims it holds nothing.
type Client struct {
	ClientID string   `json:"client_id"`
	User     string   `json:"user,omitempty"`
	Realm    string   `json:"realm,omitempty"`
	Method   string   `json:"method,omitempty"` // the authenticator's name
	Listener string   `json:"listener,omitempty"`
	Address  string   `json:"address,omitempty"`
	TLS      bool     `json:"tls"` // or local
	Groups   []string `json:"groups,omitempty"`
	Roles    []string `json:"roles,omitempty"`
}

// Said is what one condition of the door, or one authenticator, said.
type Said struct {
	By      string `json:"by"`
	Says    string `json:"says"`
	Accepts bool   `json:"accepts,omitempty"`
	Refuses bool   `json:"refuses,omitempty"`
	Reached bool   `json:"reached"` // false: what stands before it had the last word
	// Opposite is what would have to change for it to let the client in.
	Opposite string `json:"opposite,omitempty"`
}

// Decision is security.Decision as a document.
type Decision struct {
	Verdict  Verdict  `json:"verdict"`
	Policies []Policy `json:"policies,omitempty"`
	// Opposite is what would have to change for the opposite answer.
	Opposite []string `json:"opposite,omitempty"`
}

// Verdict is security.Verdict as a document.
type Verdict struct {
	Effect string `json:"effect"` // allow, deny or silent
	Policy string `json:"policy,omitempty"`
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Rule   string `json:"rule,omitempty"`  // or why there is none
	Until  string `json:"until,omitempty"` // RFC 3339: when time alone may change it
	// DependsOnMessage says that a condition reads what is not known here, such
	// as the payload.
	DependsOnMessage bool  `json:"depends_on_message,omitempty"`
	GrantedQoS       *byte `json:"granted_qos,omitempty"` // of an allowed subscription
}

// Policy is what one policy said.
type Policy struct {
	Policy  string  `json:"policy"`
	Reached bool    `json:"reached"`
	Verdict Verdict `json:"verdict"`
	Steps   []Step  `json:"steps,omitempty"`
	Omitted int     `json:"omitted,omitempty"` // rules that are about something else
}

// Step is what one rule said.
type Step struct {
	File    string  `json:"file,omitempty"`
	Line    int     `json:"line,omitempty"`
	Rule    string  `json:"rule,omitempty"`
	Effect  string  `json:"effect"`
	Matches bool    `json:"matches"`
	Decides bool    `json:"decides,omitempty"`
	Says    string  `json:"says,omitempty"`
	Values  []Value `json:"values,omitempty"`
}

// Value is what a placeholder stood for.
type Value struct {
	Name    string `json:"name"`
	Value   string `json:"value,omitempty"`
	Missing bool   `json:"missing,omitempty"`
}

// NewDecision makes the document of d, the answer to q.
func NewDecision(q *security.Request, d security.Decision) *Decision {
	out := &Decision{Verdict: NewVerdict(d.Verdict), Opposite: d.Opposite}
	if q.Action == security.Subscribe {
		out.Verdict.Granted(d.Verdict)
	}
	for _, a := range d.Policies {
		p := Policy{Policy: a.Policy, Reached: a.Reached, Verdict: NewVerdict(a.Verdict), Omitted: a.Omitted}
		for _, s := range a.Steps {
			step := Step{File: s.File, Line: s.Line, Rule: s.Rule, Effect: s.Effect.String(), Matches: s.Matches, Decides: s.Decides, Says: s.Says}
			for _, v := range s.Values {
				step.Values = append(step.Values, Value(v))
			}
			p.Steps = append(p.Steps, step)
		}
		out.Policies = append(out.Policies, p)
	}
	return out
}

// Granted adds at which QoS a subscription was allowed, if it was.
func (v *Verdict) Granted(of security.Verdict) {
	if of.Allowed() {
		v.GrantedQoS = &of.QoS
	}
}

// NewVerdict makes the document of v.
func NewVerdict(v security.Verdict) Verdict {
	out := Verdict{Effect: v.Effect.String(), Policy: v.Policy, File: v.File, Line: v.Line, Rule: v.Rule, DependsOnMessage: v.Volatile}
	if v.Until != 0 {
		out.Until = time.Unix(0, v.Until).UTC().Format(time.RFC3339Nano)
	}
	return out
}

// NewRequest makes the document of q.
func NewRequest(q *security.Request) Request {
	out := Request{Action: q.Action.String(), Topic: q.Topic, Group: q.Group, QoS: q.QoS, Retain: q.Retain, Will: q.Will, Text: Text(q)}
	if q.At != 0 {
		out.At = time.Unix(0, q.At).UTC().Format(time.RFC3339Nano)
	}
	return out
}

// NewClient makes the document of p.
func NewClient(p *security.Principal) Client {
	out := Client{
		ClientID: p.ClientID, User: p.Name, Realm: p.Realm, Method: p.Method, Listener: p.Listener, TLS: p.Secure,
		Groups: p.Groups, Roles: p.Roles,
	}
	if p.Addr.Addr().IsValid() {
		out.Address = p.Addr.Addr().String()
	}
	return out
}

// Place is file:line, or as much of it as there is; else the policy's name.
func (v Verdict) Place() string {
	switch {
	case v.File != "" && v.Line != 0:
		return v.File + ":" + strconv.Itoa(v.Line)
	case v.File != "":
		return v.File
	}
	return v.Policy
}

// Why is the verdict's reason in one line: its place and its rule.
func (v Verdict) Why() string {
	if place := v.Place(); place != "" {
		return place + ": " + v.Rule
	}
	return v.Rule
}

// Why is the reason of the answer in one line.
func (e *Explained) Why() string {
	switch {
	case e.Decision != nil:
		return e.Decision.Verdict.Why()
	case e.Connect != nil:
		return e.Connect.Verdict.Why()
	}
	for _, s := range e.Door {
		if s.Refuses {
			return fmt.Sprintf("can't connect: %s: %s", s.By, s.Says)
		}
	}
	return "can't connect"
}
