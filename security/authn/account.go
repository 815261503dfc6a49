package authn

import (
	"net/netip"
	"slices"
	"strings"

	"sallyport/security"
)

// AccountStates knows accounts by name. The chain asks it about each principal,
// whatever the method: a good certificate of a disabled account is refused.
type AccountStates interface {
	// Account is what holds of the account at this moment; ok is false if no account
	// has the name. It may not wait for anything.
	Account(name string) (a AccountState, ok bool)
}

// AccountState is what holds of one account. Its slices and map are shared and not to
// be changed.
type AccountState struct {
	Version    uint64 // never 0; grows with each change that a session has to notice
	Refused    string // why it may not connect now, such as "account is disabled"; empty: it may
	Expires    uint32 // when it stops to be valid, in seconds since 1970; 0: never
	Groups     []string
	Roles      []string // its own; those of its groups are the policy's to find
	Attributes map[string]string
	Addresses  []netip.Prefix // where it may come from; empty: anywhere
	ClientIDs  []string       // each exact, or a beginning that ends in *; empty: any
}

// AccountRule is what the account under a principal's name has to do with it.
type AccountRule uint8

// The rules.
const (
	// AccountIfKnown refuses where there is an account and it may not connect. It gives
	// nothing: who can make a certificate with some name has not got the account's roles.
	AccountIfKnown AccountRule = iota
	// AccountRequired also refuses where there is none, and gives groups, roles and attributes.
	AccountRequired
	// AccountIgnored asks for none.
	AccountIgnored
)

// account holds p, whom a node accepted, against its account, and completes it. p is
// a copy of the chain's own.
func (c *Chain) account(n *node, p *security.Principal, cr *Credentials) *Refused {
	return c.accountAt(n, p, cr, false)
}

// accountAt is account; away says that p is a stored principal, which is nowhere.
func (c *Chain) accountAt(n *node, p *security.Principal, cr *Credentials, away bool) *Refused {
	if n.Account == AccountIgnored || p.Name == "" {
		return nil
	}
	refuse := func(reason string) *Refused { return &Refused{Method: n.name, Reason: reason} }
	var a AccountState
	known, judged := false, p.Account
	p.Account = 0
	if c.accounts != nil {
		a, known = c.accounts.Account(p.Name)
	}
	switch {
	case judged != 0 && judged != a.Version:
		// The credential was checked by a record that is no more.
		return refuse("account changed during the check")
	case !known && n.Account == AccountRequired:
		return refuse("no account has the name")
	case !known:
		return nil
	case a.Refused != "":
		return refuse(a.Refused)
	case !away && len(a.Addresses) > 0 && !within(a.Addresses, cr.Addr.Addr()):
		return refuse("account may not come from this address")
	case !covered(a.ClientIDs, cr.ClientID):
		return refuse("account may not use this client id")
	}
	p.Account, p.Expires = a.Version, earliest(p.Expires, a.Expires)
	if n.Account == AccountRequired {
		p.Groups, p.Roles = union(a.Groups, p.Groups), union(a.Roles, p.Roles)
		p.Attrs = joinAttrs(a.Attributes, p.Attrs)
	}
	return nil
}

// covered reports whether id is one of list, or begins with one that ends in *.
func covered(list []string, id string) bool {
	return len(list) == 0 || slices.ContainsFunc(list, func(s string) bool {
		beginning, open := strings.CutSuffix(s, "*")
		return s == id || open && strings.HasPrefix(id, beginning)
	})
}

// Stands reports whether the account that p was judged by is still as it was then, and
// there at all where one is required.
func (c *Chain) Stands(p *security.Principal) bool {
	if p == nil {
		return false
	}
	for i := range c.nodes {
		if n := &c.nodes[i]; n.name == p.Method {
			if n.Account == AccountIgnored || p.Name == "" {
				return true
			}
			version := c.version(p.Name)
			return version == p.Account && (version != 0 || n.Account != AccountRequired)
		}
	}
	return false
}

// Gives reports whether p, where this chain accepted it, has groups, roles and attributes
// of its account: whether the member requires one.
func (c *Chain) Gives(p *security.Principal) bool {
	for i := range c.nodes {
		if n := &c.nodes[i]; n.name == p.Method {
			return n.Account == AccountRequired && p.Name != ""
		}
	}
	return false
}

// version is that of the account with a name; 0: there is none.
func (c *Chain) version(name string) uint64 {
	if c.accounts == nil {
		return 0
	}
	a, _ := c.accounts.Account(name)
	return a.Version
}

// Renewed is what the account of now makes of p: p itself if nothing changed, nil if
// the connection has to end, since p may not be connected any more or since what its
// credential brought can't be told from what the account did.
func (c *Chain) Renewed(p *security.Principal) *security.Principal {
	if p == nil {
		return nil
	}
	if c.Stands(p) {
		return p
	}
	for i := range c.nodes {
		if n := &c.nodes[i]; n.name == p.Method {
			return c.renewed(n, p)
		}
	}
	return nil
}

func (c *Chain) renewed(n *node, p *security.Principal) *security.Principal {
	q := *p
	q.Account = 0
	if n.Account == AccountRequired {
		for i := range n.all {
			if m := &n.all[i]; len(m.Groups)+len(m.Roles) > 0 {
				return nil
			}
		}
		q.Groups, q.Roles, q.Attrs = nil, nil, nil
		if p.Token != nil {
			return nil
		}
	}
	cr := Credentials{ClientID: p.ClientID, Addr: p.Addr}
	if r := c.accountAt(n, &q, &cr, !p.Addr.IsValid()); r != nil {
		return nil
	}
	return &q
}
