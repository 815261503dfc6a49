package authn

import (
	"sallyport/security"
)

// Keeps reports why a principal that was accepted before, perhaps by another
// chain, would not be accepted any more; nil if it still may be. Its
// credentials are not there to be checked again: what can be told without them
// is whether its method is still asked, still knows it, and the conditions on
// client ids. Whoever put another chain to use asks it for the live sessions.
func (c *Chain) Keeps(p *security.Principal) error {
	if p == nil {
		return &Refused{Method: "chain", Reason: "no principal"}
	}
	// Where the client is was judged when it came; a stored principal is nowhere.
	cr := Credentials{ClientID: p.ClientID, Cert: p.Cert, CertVerified: p.Cert != nil, Addr: p.Addr, hostMatches: true}
	if !p.Addr.IsValid() && c.certs.Host == HostIP {
		here := *c
		here.certs.Host = AnyHost
		c = &here
	}
	if r := c.condition(&cr); r != nil {
		return r
	}
	for i := range c.nodes {
		n := &c.nodes[i]
		if n.name != p.Method {
			continue
		}
		if !n.keeps(p) {
			break
		}
		if r := n.demands(p, &cr); r != nil {
			return r
		}
		if r := c.clientID.judge(n.name, p, &cr); r != nil {
			return r
		}
		q := *p
		q.Account = 0 // what it was judged by then is no matter
		if r := c.accountAt(n, &q, &cr, !p.Addr.IsValid()); r != nil {
			return r
		}
		return nil
	}
	return &Refused{Method: "chain", Reason: "no authenticator knows this user any more"}
}

// demands is what n and its members require of p, who is connected or away: what can be
// told of where it is. The process at the other end of a socket is not remembered.
func (n *node) demands(p *security.Principal, cr *Credentials) *Refused {
	list := []Requirement{n.Require}
	for i := range n.all {
		list = append(list, n.all[i].Require)
	}
	here := *cr
	here.Listener = p.Listener
	for _, r := range list {
		r.UIDs, r.GIDs = nil, nil
		if !p.Addr.IsValid() {
			r.Addresses = nil
		}
		if refused := r.judge(n.name, p, &here); refused != nil {
			return refused
		}
	}
	return nil
}

// keeps reports whether all members of n still stand for p, as far as they can tell.
func (n *node) keeps(p *security.Principal) bool {
	for i := range n.all {
		m := &n.all[i]
		one := *p
		if r, ok := m.Authenticator.(interface{ Realm() string }); ok && i != n.Source {
			one.Realm = r.Realm() // p's is the source's
		}
		if !keeps(m.Authenticator, &one) {
			return false
		}
	}
	return true
}

// keeps reports whether a still stands for p, as far as it can tell.
func keeps(a Authenticator, p *security.Principal) bool {
	k, ok := a.(Keeping)
	return !ok || k.Keeps(p)
}

// Keeps reports whether the file still has p's user.
func (p *Passwords) Keeps(who *security.Principal) bool {
	return who.Realm == p.Realm() && p.Has(who.Name)
}

// Keeps reports whether p would be accepted again.
func (a Anonymous) Keeps(p *security.Principal) bool { return p.Name == "" || a.BelieveUsername }

// Keeps reports whether p's certificate still has the name.
func (id Identity) Keeps(p *security.Principal) bool {
	if p.Cert == nil {
		return false
	}
	name, err := id.name(p.Cert)
	return err == nil && name == p.Name
}

// Since is what changed from another authenticator, whose place p takes, to p.
func (p *Passwords) Since(old *Passwords) Changes {
	return compare(old.accounts.Load().Accounts, p.accounts.Load().Accounts)
}
