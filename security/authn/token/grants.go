package token

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"sync"

	"sallyport/security"
	"sallyport/security/rule"
)

// Grants is the permissions of one claim, compiled: immutable and safe for concurrent
// use. Tokens with the same permissions share one.
//
// The claim is one of three:
//
//   - a list of permissions as a permission file has them, with effect in the place of
//     allow and deny: {"effect": "allow", "action": "publish", "topic": "a/#",
//     "qos": [0, 1], "retain": false}. A deny beats every allow.
//   - a list as EMQX has it, with permission in the place of effect. The first that
//     matches decides, and a topic that begins with "eq " is that filter and no other.
//   - an object as EMQX had it: lists of filters named pub, sub and all, which allow.
type Grants struct {
	path  string // of the claim
	steps []step
}

// step is rules of one effect, asked together.
type step struct {
	effect security.Effect
	set    *rule.Set
	// exact is the one filter that the step is about in a subscription; empty: the
	// step is about what its rules cover.
	exact string
}

// verdict turns a's answer into one.
func verdict(a rule.Answer) security.Verdict {
	v := security.Verdict{Effect: a.Rule.Effect, Rule: a.Rule.Text, Until: a.Until, Volatile: a.Volatile, Scope: a.Scope()}
	if a.More > 0 {
		v.Rule += fmt.Sprintf(" (and %d more together)", a.More)
	}
	if a.Err != nil {
		v.Rule += ": " + a.Err.Error()
	}
	return v
}

// Decide judges q by the permissions, in their order.
func (g *Grants) Decide(q *security.Request) security.Verdict {
	held := security.Verdict{Scope: 1}
	var allows []*rule.Set // so far: together they may cover a subscription
	for _, s := range g.steps {
		var a rule.Answer
		switch {
		case s.passes(q):
			continue
		case s.effect == security.Deny:
			a = rule.Deny(q, s.set)
		case s.exact != "":
			a = rule.Allow(q, s.set)
		default:
			allows = append(allows, s.set)
			a = rule.Allow(q, allows...)
		}
		held.Until = security.Sooner(held.Until, a.Until)
		held.Volatile = held.Volatile || a.Volatile
		held.Scope = security.Narrower(held.Scope, a.Scope())
		if a.Rule != nil {
			v := verdict(a)
			v.Until, v.Volatile, v.Scope = held.Until, held.Volatile, held.Scope
			return v
		}
	}
	held.Rule = "no permission of the token matches"
	return held
}

// passes reports whether an exact step has nothing to say about q: it is about one
// filter, and what that brings.
func (s *step) passes(q *security.Request) bool {
	if s.exact == "" {
		return false
	}
	switch q.Action {
	case security.Subscribe:
		return q.Topic != s.exact
	case security.Receive:
		return s.effect == security.Deny
	}
	return true
}

// sets is every rule.
func (g *Grants) sets() []*rule.Set {
	all := make([]*rule.Set, len(g.steps))
	for i, s := range g.steps {
		all[i] = s.set
	}
	return all
}

// granted compiles the permissions of claims; nil if there are none. The error says
// which permission is wrong and how, not what it is.
func (a *Authenticator) granted(claims map[string]any) (*Grants, error) {
	path := a.o.Mapping.Permissions
	if path == "" {
		return nil, nil
	}
	v, there := at(claims, path)
	if !there {
		return nil, nil
	}
	text, err := json.Marshal(v)
	if err != nil || len(text) > maxClaims {
		return nil, fmt.Errorf("claim %s: permissions of more than %d bytes", path, maxClaims)
	}
	key := sha256.Sum256(text)
	if g := a.grants.find(key); g != nil {
		return g, nil
	}
	steps, err := compile(v)
	if err != nil {
		return nil, fmt.Errorf("claim %s: %w", path, err)
	}
	g := &Grants{path: path, steps: steps}
	a.grants.keep(key, g)
	return g, nil
}

// grantCache remembers what was compiled lately: for a fleet whose tokens say the same
// once, and for principals that were stored without it.
type grantCache struct {
	mu sync.Mutex // guards of
	of map[[sha256.Size]byte]*Grants
}

// maxGrants bounds what is remembered. A full cache is emptied: what is in use stays
// with its connections.
const maxGrants = 1024

func newGrantCache() *grantCache { return &grantCache{of: map[[sha256.Size]byte]*Grants{}} }

func (c *grantCache) find(key [sha256.Size]byte) *Grants {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.of[key]
}

func (c *grantCache) keep(key [sha256.Size]byte, g *Grants) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.of) >= maxGrants {
		clear(c.of)
	}
	c.of[key] = g
}
