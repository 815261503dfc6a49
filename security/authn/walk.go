package authn

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"sallyport/security"
)

// progress is how far an attempt has come in a chain.
type progress struct {
	node, sub int
	prepared  *Credentials          // what the member at node and sub sees; nil: what the client sent
	got       []*security.Principal // of an all_of: what its members before sub found; nil for who did not know the client
	strange   int                   // how many of got are nil
	dear      bool                  // it has come to where it costs something
	failing   bool                  // wrong is set
	wrong     cacheKey              // where a refusal is remembered
	paid      bool                  // something was asked that costs
	quick     int                   // answers that cost nothing
	counted   int                   // the first of these that an earlier walk of the attempt has counted
	traced    bool                  // asked is kept
	asked     []Asked
}

// Asked is what one member said in an attempt.
type Asked struct {
	Member string
	Result string        // accepted, refused, not_mine, unavailable or busy
	Took   time.Duration // the wait in a queue included; 0 where the answer cost nothing
}

// askedText is a list of them in one line: "cert=not_mine people=refused(31ms)".
func askedText(list []Asked) string {
	var b strings.Builder
	for i, a := range list {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(a.Member)
		b.WriteByte('=')
		b.WriteString(a.Result)
		if took := a.Took.Round(10 * time.Microsecond); took > 0 {
			b.WriteString("(" + took.String() + ")")
		}
	}
	return b.String()
}

// resultOf is the word for a member's answer.
func resultOf(err error) string {
	var refused *Refused
	switch {
	case err == nil:
		return "accepted"
	case errors.Is(err, ErrNotMine):
		return "not_mine"
	case errors.As(err, &refused):
		return "refused"
	case errors.Is(err, ErrUnavailable):
		return "unavailable"
	}
	return "busy"
}

// result is what an attempt has come to: decided, or to go on.
type result struct {
	p       *security.Principal
	err     error
	decided bool
}

func refusal(err error) result { return result{err: err, decided: true} }

// member is the one that at stands at.
func (c *Chain) member(at *progress) *Member { return &c.nodes[at.node].all[at.sub] }

// creds is what the member that at stands at sees.
func (at *progress) creds(cr *Credentials) *Credentials {
	if at.prepared != nil {
		return at.prepared
	}
	return cr
}

// walk goes through the chain from where at stands, as far as answers cost nothing.
// Undecided, at stands at the member to ask. Before the attempt costs anything, it is
// looked up whether the same one has failed a moment ago: who is let in at once does not
// pay for that.
func (c *Chain) walk(at *progress, cr *Credentials) result {
	r := c.stroll(at, cr)
	if at.dear || r.decided && !c.owes(&r) {
		return r
	}
	at.dear = true
	if refused := c.wrongBefore(at, cr); refused != nil {
		return refusal(refused)
	}
	return r
}

// stroll is walk without what is remembered of failures.
func (c *Chain) stroll(at *progress, cr *Credentials) result {
	if at.node == 0 && at.sub == 0 {
		if cr.AuthMethod != "" {
			// Only an exchange can serve it; other credentials beside it don't count (MQTT 5.0, 4.12).
			return refusal(&Refused{Method: "chain", Reason: "authentication method needs an exchange"})
		}
		if r := c.condition(cr); r != nil {
			return refusal(r)
		}
	}
	for at.node < len(c.nodes) {
		p, err, known := c.quickly(at, cr)
		if !known {
			return result{}
		}
		at.quick++
		if m := c.member(at); m.Lane != nil && at.quick > at.counted {
			m.Lane.answered(err, 0)
		}
		if r := c.take(at, p, err, cr, 0); r.decided {
			return r
		}
	}
	return refusal(c.end(cr))
}

// quickly is the answer of the member that at stands at, if it costs nothing.
func (c *Chain) quickly(at *progress, cr *Credentials) (p *security.Principal, err error, known bool) {
	m := c.member(at)
	own, err := m.Prepare.apply(cr)
	if err != nil {
		if m.Prepare.next {
			return nil, ErrNotMine, true
		}
		return nil, &Refused{Method: m.Name(), Reason: err.Error(), Unpaid: cr.HasUsername}, true
	}
	if own != cr {
		at.prepared = own
	}
	if q, ok := m.Authenticator.(Quick); ok {
		if p, err, known = q.Quick(own); known {
			return p, verdictOf(m.Name(), err), true
		}
	}
	if k, ok := c.rightKey(m, own); ok {
		if said, ok := c.right.get(k); ok {
			return said.p, nil, true
		}
	}
	return nil, nil, false
}

// take turns a member's answer into the attempt's: undecided, at stands at the next
// member, or at the chain's end.
func (c *Chain) take(at *progress, p *security.Principal, err error, cr *Credentials, took time.Duration) result {
	n, m := &c.nodes[at.node], c.member(at)
	own := at.creds(cr)
	at.prepared = nil
	if err == nil {
		p, err = m.refine(p, own)
	}
	if at.traced {
		at.asked = append(at.asked, Asked{m.Name(), resultOf(err), took})
	}
	notMine := errors.Is(err, ErrNotMine)
	switch {
	case notMine && !n.several():
		at.next()
		return result{}
	case notMine:
		at.strange++
		p = nil
	case errors.Is(err, ErrUnavailable) && n.OnErrorNext:
		at.next()
		return result{}
	case err != nil:
		return refusal(err)
	}
	if n.several() {
		at.got = append(at.got, p)
		if at.sub++; at.sub < len(n.all) {
			return result{}
		}
		if at.strange == len(n.all) {
			at.next()
			return result{}
		}
		if p, err = n.together(at.got, cr); err != nil {
			return refusal(err)
		}
	}
	if p, err = c.accept(n, p, cr); err != nil {
		return refusal(at.owing(err, cr))
	}
	return result{p: p, decided: true}
}

// owing is a refusal of whom a member accepted. Where that cost nothing, as with a right
// password that is remembered, it owes the hash that a wrong one takes: else it would
// tell that the password was right.
func (at *progress) owing(err error, cr *Credentials) error {
	refused, ok := errors.AsType[*Refused](err)
	if !ok || at.paid || !cr.HasUsername || !cr.HasPassword {
		return err
	}
	unpaid := *refused
	unpaid.Unpaid = true
	return &unpaid
}

// together is who a client is of whom each of several said something.
func (n *node) together(got []*security.Principal, cr *Credentials) (*security.Principal, error) {
	for i, p := range got {
		if p == nil {
			return nil, &Refused{Method: n.name, Reason: n.all[i].Name() + " does not know these credentials", Unpaid: cr.HasUsername}
		}
	}
	return n.merge(got)
}

// next goes on to the next node.
func (at *progress) next() {
	at.node++
	at.sub, at.got, at.strange, at.prepared = 0, nil, 0, nil
}

// rightKey is where it is remembered that m accepts cr; ok is false for nowhere.
func (c *Chain) rightKey(m *Member, cr *Credentials) (k cacheKey, ok bool) {
	v, ok := m.Authenticator.(Versioned)
	if !ok || !c.right.remembers() || !cr.HasUsername || !cr.HasPassword {
		return k, false
	}
	version := v.Version(cr.Username)
	if version == 0 {
		return k, false
	}
	return c.right.sum(m.remembered, cr.Username, cr.Password, version), true
}

// remember keeps that credentials are right. What the answer rests on was read for
// the key, before it was given: a change meanwhile makes another key.
func (c *Chain) remember(k cacheKey, p *security.Principal) {
	if p != nil {
		c.right.put(k, outcome{p: p})
	}
}

// wrongBefore is the refusal of the same client with the same credentials a moment
// ago; nil if there is none. It counts again, and costs nothing again.
func (c *Chain) wrongBefore(at *progress, cr *Credentials) *Refused {
	if !c.wrong.remembers() || !cr.HasUsername || !cr.HasPassword || len(cr.Header) > 0 || cr.Query != "" {
		return nil
	}
	var from []byte
	from = append(append(from, cr.Listener...), 0)
	from = append(append(from, cr.ClientID...), 0)
	from = append(append(from, cr.Username...), 0)
	from, _ = cr.Addr.Addr().AppendBinary(from) // it never fails
	if cr.Peer != nil {
		from = binary.BigEndian.AppendUint32(from, cr.Peer.UID)
		from = binary.BigEndian.AppendUint32(from, cr.Peer.GID)
	}
	if cr.Cert != nil {
		sum := sha256.Sum256(cr.Cert.Raw)
		from = append(from, sum[:]...)
	}
	versions := c.versions(cr.Username)
	if at.prepared != nil {
		versions += c.versions(at.prepared.Username) // whose account it is, as the next member has it
	}
	at.wrong, at.failing = c.wrong.sum("wrong", string(from), cr.Password, versions), true
	said, ok := c.wrong.get(at.wrong)
	if !ok {
		return nil
	}
	return said.err
}

// versions grows when something changes that says who may log in as a user.
func (c *Chain) versions(username string) uint64 {
	sum := c.generation() + c.version(username)
	for i := range c.nodes {
		for _, m := range c.nodes[i].all {
			if v, ok := m.Authenticator.(Versioned); ok {
				sum += v.Version(username)
			}
		}
	}
	return sum
}

// rememberWrong keeps a refusal that took work, so that a client that tries the same
// again at once does not take it again.
func (c *Chain) rememberWrong(at *progress, err error) {
	var refused *Refused
	if !at.failing || !at.paid || !errors.As(err, &refused) {
		return
	}
	again := *refused
	again.Unpaid = false
	again.Reason += ", as a moment ago"
	c.wrong.put(at.wrong, outcome{err: &again})
}
