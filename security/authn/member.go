package authn

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sallyport/security"
)

// Member is an authenticator at its place in a chain, or several of which all are
// necessary.
type Member struct {
	Authenticator
	// All, in the place of Authenticator: each of them has to accept, one after the
	// other. The name is that of the one with index Source; another that yields a
	// different one refuses. Groups, roles and attributes are joined, those of the
	// source first, and the earliest expiry counts. A client whom none of them knows
	// is left to the next member; one whom some know and others don't is refused.
	// Label is what the whole is called. Of All's members OnErrorNext and Account
	// don't count, but those of the whole.
	All    []Member
	Source int
	Label  string

	// Lane is within what bounds it is asked; nil: whoever comes asks, without a bound.
	// Its own are those of All.
	Lane *Lane
	// OnErrorNext asks the next member when this one could not tell (its source
	// failed), instead of refusing. A refusal stays final.
	OnErrorNext bool
	// Prepare makes the user name and the password that it sees from what the client
	// sent; nil leaves them as they are.
	Prepare *Preparation
	// Require is what must hold of whomever it accepts.
	Require Requirement
	// Groups and Roles say what names from outside mean here; those that are not in
	// them mean nothing.
	Groups, Roles Mapping
	// Account is what the account under the principal's name has to do with it.
	Account AccountRule

	remembered string // see rememberedAs
}

// Versioned is an Authenticator whose answer depends on the user name, the password
// and its records alone. Version grows, for a user name, with each change of what the
// answer rests on; 0 if the name is not known. The chain remembers such answers.
type Versioned interface {
	Version(username string) uint64
}

// Mapping is what names from outside mean here.
type Mapping map[string][]string

// translate is the names that list's names mean, each once, in order.
func (m Mapping) translate(list []string) []string {
	var out []string
	for _, outside := range list {
		for _, inside := range m[outside] {
			if !slices.Contains(out, inside) {
				out = append(out, inside)
			}
		}
	}
	return out
}

// Requirement is conditions. They refuse or pass, and never accept.
type Requirement struct {
	Addresses        []netip.Prefix // the client's address is in one of them; a local transport has none
	Listeners        []string
	ClientIDPrefixes []string
	ClientID         ClientIDRule
	UIDs, GIDs       []uint32 // of the process at the other end of a Unix socket: one of either
}

// judge holds p, whom method accepted, against the conditions.
func (r *Requirement) judge(method string, p *security.Principal, cr *Credentials) *Refused {
	refuse := func(reason string) *Refused { return &Refused{Method: method, Reason: reason} }
	if len(r.Addresses) > 0 && !within(r.Addresses, cr.Addr.Addr()) {
		return refuse("address is not among the required ones")
	}
	if len(r.Listeners) > 0 && !slices.Contains(r.Listeners, cr.Listener) {
		return refuse("listener is not among the required ones")
	}
	if !prefixed(r.ClientIDPrefixes, cr.ClientID) {
		return refuse("client id has none of the required prefixes")
	}
	if len(r.UIDs)+len(r.GIDs) > 0 {
		switch {
		case cr.Peer == nil:
			return refuse("it is not known which process connected")
		case !slices.Contains(r.UIDs, cr.Peer.UID) && !slices.Contains(r.GIDs, cr.Peer.GID):
			return refuse("user and group of the process are not among the required ones")
		}
	}
	return r.ClientID.judge(method, p, cr)
}

func within(list []netip.Prefix, addr netip.Addr) bool {
	addr = plain(addr)
	return addr.IsValid() && slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(addr) })
}

func prefixed(prefixes []string, id string) bool {
	return len(prefixes) == 0 || slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(id, p) })
}

// judge holds the client id of whom method accepted against the rule.
func (rule ClientIDRule) judge(method string, p *security.Principal, cr *Credentials) *Refused {
	switch {
	case rule == EqualsUsername && (p.Name == "" || cr.ClientID != p.Name):
		return &Refused{Method: method, Reason: "client id is not the user name"}
	case rule == StartsWithUsername && (p.Name == "" || !strings.HasPrefix(cr.ClientID, p.Name)):
		return &Refused{Method: method, Reason: "client id does not begin with the user name"}
	}
	return nil
}

// node is a member as the chain walks over it: one authenticator, or several that are
// all necessary.
type node struct {
	Member
	name string
	all  []Member // one, or those of Member.All
}

func makeNode(i int, m Member) (node, error) {
	n := node{Member: m, all: slices.Clone(m.All), name: m.Label}
	switch {
	case len(m.All) == 0 && m.Authenticator == nil:
		return n, fmt.Errorf("authn: member %d of the chain is missing", i)
	case len(m.All) == 0:
		n.all, n.name, n.Source = []Member{m}, m.Authenticator.Name(), 0
		n.all[0].remembered = rememberedAs(m.Authenticator)
		return n, m.Require.check()
	case len(m.All) < 2 || m.Authenticator != nil || m.Source < 0 || m.Source >= len(m.All) || m.Label == "":
		return n, fmt.Errorf("authn: member %d of the chain is no all_of", i)
	}
	for j, part := range n.all {
		if part.Authenticator == nil || len(part.All) > 0 {
			return n, fmt.Errorf("authn: a part of %s is missing, or an all_of itself", m.Label)
		}
		if _, open := part.Authenticator.(Anonymous); open {
			return n, fmt.Errorf("authn: anonymous proves nothing, and can't be a part of %s", m.Label)
		}
		if err := part.Require.check(); err != nil {
			return n, err
		}
		n.all[j].remembered = rememberedAs(part.Authenticator)
	}
	return n, m.Require.check()
}

// rememberedAs is whose answers are remembered together: those of one authenticator as
// long as its principals have one realm, which a reload may change.
func rememberedAs(a Authenticator) string {
	if r, ok := a.(interface{ Realm() string }); ok {
		return a.Name() + "\x00" + r.Realm()
	}
	return a.Name()
}

func (r *Requirement) check() error {
	if r.ClientID > StartsWithUsername {
		return fmt.Errorf("authn: unknown client id rule %d", r.ClientID)
	}
	return nil
}

// several reports whether all of more than one have to accept.
func (n *node) several() bool { return len(n.all) > 1 }

// merge joins what all of a node's members found into one principal.
func (n *node) merge(got []*security.Principal) (*security.Principal, error) {
	source := got[n.Source]
	joined := *source
	for i, p := range got {
		if i == n.Source {
			continue
		}
		if p.Name != source.Name {
			return nil, &Refused{Method: n.name, Reason: n.all[i].Name() + " and " + n.all[n.Source].Name() + " name different users"}
		}
		joined.Groups = union(joined.Groups, p.Groups)
		joined.Roles = union(joined.Roles, p.Roles)
		joined.Attrs = joinAttrs(joined.Attrs, p.Attrs)
		joined.Expires = earliest(joined.Expires, p.Expires)
		if p.Account != 0 {
			joined.Account = p.Account
		}
		if joined.Claims == nil {
			joined.Claims = p.Claims
		}
		if joined.Token != nil && p.Token != nil {
			return nil, &Refused{Method: n.name, Reason: "two tokens"} // which is the one to revoke?
		}
		if joined.Token == nil {
			joined.Token = p.Token
		}
	}
	return &joined, nil
}

func union(a, b []string) []string {
	out := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// joinAttrs is a with those of b that it has not.
func joinAttrs(a, b map[string]string) map[string]string {
	if len(b) == 0 {
		return a
	}
	out := make(map[string]string, len(a)+len(b))
	for k, v := range b {
		out[k] = v
	}
	for k, v := range a {
		out[k] = v
	}
	return out
}

// earliest is the earlier of two moments, where 0 is never.
func earliest(a, b uint32) uint32 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// refine is what the chain makes of p, whom m accepted: names from outside are
// translated, and m's conditions judged.
func (m *Member) refine(p *security.Principal, cr *Credentials) (*security.Principal, error) {
	if p == nil {
		return nil, &Refused{Method: m.Name(), Reason: "accepted without a principal"}
	}
	if r := m.Require.judge(m.Name(), p, cr); r != nil {
		return nil, r.naming(p, cr)
	}
	if len(p.Groups)+len(p.Roles) == 0 {
		return p, nil
	}
	q := *p
	q.Groups, q.Roles = m.Groups.translate(p.Groups), m.Roles.translate(p.Roles)
	return &q, nil
}

// Unavailable is why a member could not be asked, or did not answer in time. It is
// an ErrUnavailable.
type Unavailable struct {
	Member string
	Err    error
}

// Error is "member: reason".
func (u *Unavailable) Error() string {
	return "authn: " + u.Member + " can't be asked: " + u.Err.Error()
}

// Unwrap makes it an ErrUnavailable, and what the reason is.
func (u *Unavailable) Unwrap() []error { return []error{ErrUnavailable, u.Err} }

// verdictOf sorts a member's error: ErrNotMine, a refusal, ErrBusy and that nobody
// waits any more stay as they are, everything else is an Unavailable.
func verdictOf(name string, err error) error {
	var refused *Refused
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrNotMine):
		return ErrNotMine
	case errors.As(err, &refused), errors.Is(err, ErrBusy), errors.Is(err, ErrCanceled), errors.Is(err, ErrClosed):
		return err
	}
	if u, ok := errors.AsType[*Unavailable](err); ok {
		return u
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = errLate
	}
	return &Unavailable{Member: name, Err: err}
}

var errLate = errors.New("no answer in time")
