package control

import (
	"slices"
	"time"

	"sallyport/security"
)

// Status is the answer of GET /status.
type Status struct {
	Version       string           `json:"version"`
	Started       time.Time        `json:"started"`
	UptimeSeconds int64            `json:"uptime_seconds"`
	Configuration string           `json:"configuration"` // the file's path
	Listeners     []ListenerStatus `json:"listeners"`
	Connections   int64            `json:"connections"` // those before CONNECT included
	Sessions      int64            `json:"sessions"`
	Subscriptions int64            `json:"subscriptions"`
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

// ExplainResult is the answer of POST /explain.
type ExplainResult struct {
	Client  Client  `json:"client"`
	Request Request `json:"request"`
	Decision
}

// DecisionResult is the answer of GET /decisions/{id}: a refusal, and what the
// same request would be answered now.
type DecisionResult struct {
	ID      string    `json:"id"`
	At      time.Time `json:"at"`
	Client  Client    `json:"client"` // as it was when it was refused
	Request Request   `json:"request"`
	Then    Verdict   `json:"then"`
	Now     Decision  `json:"now"`
	Changed bool      `json:"changed"` // now it would be allowed
}

// Request is what was or would be asked.
type Request struct {
	Action string `json:"action"`
	Topic  string `json:"topic,omitempty"`
	QoS    byte   `json:"qos"`
	Retain bool   `json:"retain,omitempty"`
	Will   bool   `json:"will,omitempty"`
	Group  string `json:"group,omitempty"`
}

// Decision is an answer of the gate with the path to it.
type Decision struct {
	Allowed  bool           `json:"allowed"`
	Verdict  Verdict        `json:"verdict"`
	Policies []PolicyAnswer `json:"policies"`
	Opposite []string       `json:"opposite,omitempty"` // what would have to change for the opposite answer
	// Generation is that of the rules in force when it was asked.
	Generation uint64 `json:"policy_generation"`
}

// Verdict is an answer with its reason.
type Verdict struct {
	Effect string     `json:"effect"` // allow, deny, or of one policy silent
	Policy string     `json:"policy,omitempty"`
	File   string     `json:"file,omitempty"`
	Line   int        `json:"line,omitempty"`
	Rule   string     `json:"rule,omitempty"`
	Until  *time.Time `json:"until,omitempty"` // when time alone may change it
	// DependsOnMessage says that a condition reads what is not known here, such
	// as the payload.
	DependsOnMessage bool `json:"depends_on_message,omitempty"`
	GrantedQoS       byte `json:"granted_qos,omitempty"` // of an allowed subscription
}

// PolicyAnswer is what one policy said.
type PolicyAnswer struct {
	Policy  string  `json:"policy"`
	Reached bool    `json:"reached"` // false: a policy before it had the last word
	Verdict Verdict `json:"verdict"`
	Steps   []Step  `json:"steps,omitempty"`
	Omitted int     `json:"omitted,omitempty"` // rules about other topics
}

// Step is what one rule said.
type Step struct {
	File    string  `json:"file,omitempty"`
	Line    int     `json:"line,omitempty"`
	Rule    string  `json:"rule"`
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

// Explained is d as JSON has it.
func Explained(d security.Decision, generation uint64) Decision {
	out := Decision{
		Allowed: d.Verdict.Allowed(), Verdict: verdictOf(d.Verdict), Opposite: d.Opposite,
		Policies: []PolicyAnswer{}, Generation: generation,
	}
	for _, a := range d.Policies {
		p := PolicyAnswer{Policy: a.Policy, Reached: a.Reached, Verdict: verdictOf(a.Verdict), Omitted: a.Omitted}
		for _, s := range a.Steps {
			p.Steps = append(p.Steps, stepOf(s))
		}
		out.Policies = append(out.Policies, p)
	}
	return out
}

func verdictOf(v security.Verdict) Verdict {
	out := Verdict{Effect: v.Effect.String(), Policy: v.Policy, File: v.File, Line: v.Line, Rule: v.Rule, DependsOnMessage: v.Volatile, GrantedQoS: v.QoS}
	if v.Until != 0 {
		at := time.Unix(0, v.Until).UTC()
		out.Until = &at
	}
	return out
}

func stepOf(s security.Step) Step {
	out := Step{File: s.File, Line: s.Line, Rule: s.Rule, Effect: s.Effect.String(), Matches: s.Matches, Decides: s.Decides, Says: s.Says}
	for _, v := range s.Values {
		out.Values = append(out.Values, Value{Name: v.Name, Value: v.Value, Missing: v.Missing})
	}
	return out
}

func requestOf(q *security.Request) Request {
	return Request{Action: q.Action.String(), Topic: q.Topic, QoS: q.QoS, Retain: q.Retain, Will: q.Will, Group: q.Group}
}

// sortedKeys are the names in a map, in order.
func sortedKeys[V any](m map[string]V) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
