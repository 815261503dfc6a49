package authn

import (
	"context"
	"errors"
	"strings"

	"sallyport/security"
)

// Said is what one condition or member of a chain said of a client.
type Said struct {
	By      string // the member's name, or "client id"
	Text    string // in words: "knows alice; the password is not checked here"
	Accepts bool   // this is who the client is
	Refuses bool   // nobody else is asked
	Reached bool   // false: who stands before it had the last word
	// Opposite is what would have to change for it to accept; empty where it does,
	// or where nothing that can be said in a line would do.
	Opposite string
}

// Explain tells who cr would be and how the chain finds that out, by the steps
// that Authenticate takes. Without a password the right one is presumed; with
// one it is checked, which may take as long as its hash. The principal is nil
// where the chain refuses, and the last reached step says why.
func (c *Chain) Explain(ctx context.Context, cr *Credentials) (*security.Principal, []Said) {
	said, cr := c.explainConditions(ctx, cr)
	if n := len(said); n > 0 && said[n-1].Refuses {
		return nil, append(said, c.unreached(0, 0)...)
	}
	var at progress
	for at.node < len(c.nodes) {
		here, sub := at.node, at.sub
		s, p, r := c.explainMember(ctx, &at, cr)
		said = append(said, s)
		if !r.decided {
			continue
		}
		last := &said[len(said)-1]
		n := &c.nodes[here]
		if last.Accepts && (c.clientID != AnyClientID || r.err != nil || n.several()) {
			said = append(said, c.explainRules(n, p, r))
		}
		return r.p, append(said, c.unreached(here, sub+1)...)
	}
	return nil, append(said, Said{By: "chain", Text: reason(c.end(cr)), Refuses: true, Reached: true})
}

// explainMember is what the member that at stands at says, and what the chain makes of it.
func (c *Chain) explainMember(ctx context.Context, at *progress, cr *Credentials) (Said, *security.Principal, result) {
	m, n := c.member(at), &c.nodes[at.node]
	own, err := m.Prepare.apply(cr)
	var p *security.Principal
	var text, remedy string
	switch {
	case err != nil && m.Prepare.next:
		text, err = err.Error(), ErrNotMine
	case err != nil:
		err = &Refused{Method: m.Name(), Reason: err.Error()}
	default:
		p, text, remedy, err = introduce(ctx, m.Authenticator, own)
		err = verdictOf(m.Name(), err)
	}
	s := Said{By: m.Name(), Text: text, Reached: true, Accepts: err == nil, Opposite: remedy}
	if own != nil && own != cr {
		at.prepared = own
	}
	if text == "" {
		s.Text = reason(err)
	}
	r := c.take(at, p, err, cr, 0)
	if errors.Is(err, ErrUnavailable) && !r.decided && n.OnErrorNext {
		s.Text += "; the next one is asked all the same"
	}
	s.Refuses = r.decided && r.err != nil && !s.Accepts
	return s, p, r
}

// explainRules is what is demanded of whom a node accepted, beside that.
func (c *Chain) explainRules(n *node, p *security.Principal, r result) Said {
	rule := Said{By: "client id", Text: "is bound to the user name as the listener asks", Reached: true}
	if c.clientID == AnyClientID {
		rule.By, rule.Text = n.name, "all of its members accept"
	}
	if r.err == nil {
		return rule
	}
	rule.Text, rule.Refuses = reason(r.err), true
	if p != nil && p.Name != "" && c.clientID != AnyClientID {
		rule.Opposite = "take the client id " + p.Name
	}
	return rule
}

// explainConditions is what the conditions say, the last of them where it refuses.
// The credentials are those to go on with.
func (c *Chain) explainConditions(ctx context.Context, cr *Credentials) (said []Said, _ *Credentials) {
	if len(c.prefixes) > 0 {
		s := Said{By: "client id", Text: "begins with a required prefix", Reached: true}
		if r := c.prefixed(cr); r != nil {
			s.Text, s.Refuses = r.Reason, true
			s.Opposite = "take a client id that begins with " + strings.Join(c.prefixes, " or ")
			return append(said, s), cr
		}
		said = append(said, s)
	}
	r := c.certs
	if cr.Cert == nil || len(r.TrustDomains) == 0 && r.ClientID.IsZero() && r.Host == AnyHost {
		return said, cr
	}
	own := *cr
	s := Said{By: Identity{}.Name(), Text: "is as the listener demands", Reached: true}
	if r.Host != AnyHost && !cr.Addr.IsValid() {
		s.Text += "; no address was given: host_match is not judged"
		r.Host, own.hostMatches = AnyHost, true
	}
	if r.Host == HostDNS && r.Hosts.opts.Offline && !own.hostMatches {
		s.Text += "; its host names are not looked up here: host_match is not judged"
		own.hostMatches = true
	}
	var err error
	if refused := r.judge(&own); refused != nil {
		err = refused
	} else if r.asksHosts(&own) {
		err = r.askHosts(ctx, &own)
	}
	if err != nil {
		s.Text, s.Refuses = reason(err), true
	}
	return append(said, s), &own
}

// unreached is the members from sub of node on, whom nobody asks.
func (c *Chain) unreached(at, sub int) []Said {
	var said []Said
	for i := at; i < len(c.nodes); i++ {
		for j := range c.nodes[i].all {
			if i > at || j >= sub {
				said = append(said, Said{By: c.nodes[i].all[j].Name(), Text: "is not asked"})
			}
		}
	}
	return said
}

func reason(err error) string {
	if refused, ok := errors.AsType[*Refused](err); ok {
		return refused.Reason
	}
	if err == nil {
		return "accepts"
	}
	return err.Error()
}

// introduce asks a, as far as it can answer without a credential, who cr is.
func introduce(ctx context.Context, a Authenticator, cr *Credentials) (p *security.Principal, text, remedy string, err error) {
	if i, ok := a.(Introducing); ok {
		return i.Introduce(ctx, cr)
	}
	if !cr.HasPassword {
		return nil, "can't tell without the credential", "", errors.New("can't tell without the credential")
	}
	p, err = a.Authenticate(ctx, cr)
	return p, "", "", err
}

// Introduce implements Introducing.
func (p *Passwords) Introduce(ctx context.Context, cr *Credentials) (who *security.Principal, text, remedy string, err error) {
	switch {
	case !cr.HasUsername:
		return nil, "knows nobody without a user name", "send the name and the password of a user in " + p.opts.Path, ErrNotMine
	case !p.Has(cr.Username):
		return nil, "does not know " + cr.Username, "add the user: sallyport passwd " + p.opts.Path + " " + cr.Username, ErrNotMine
	case !cr.HasPassword:
		who, err := p.verdict(cr, true, false)
		return who, "knows " + cr.Username + "; the password is not checked here", "", err
	}
	if who, err = p.Authenticate(ctx, cr); err != nil {
		return nil, "", "send the password that " + p.opts.Path + " has for " + cr.Username, err
	}
	return who, "knows " + cr.Username + ", and the password is right", "", nil
}

// Introduce implements Introducing.
func (a Anonymous) Introduce(_ context.Context, cr *Credentials) (p *security.Principal, text, remedy string, err error) {
	p, err, _ = a.Quick(cr)
	switch {
	case err != nil:
		text = "accepts only clients without credentials"
	case p.Name != "":
		text = "believes the name " + p.Name + " without a check"
	default:
		text = "accepts clients without credentials"
	}
	return p, text, "", err
}

// Introduce implements Introducing.
func (id Identity) Introduce(_ context.Context, cr *Credentials) (p *security.Principal, text, remedy string, err error) {
	p, err, _ = id.Quick(cr)
	switch {
	case errors.Is(err, ErrNotMine):
		text = "the client shows no certificate"
	case err == nil:
		text = "the certificate names " + p.Name
	}
	return p, text, "", err
}
