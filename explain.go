package sallyport

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"sallyport/config"
	"sallyport/listener"
	"sallyport/security"
	"sallyport/security/acl"
	"sallyport/security/authn"
	"sallyport/security/expect"
	"sallyport/security/roles"
)

// Judge answers what clients could do under a configuration, by the code that
// a broker with it runs, and opens no port.
type Judge struct {
	cfg    *config.Config  // nil: a policy alone
	policy security.Policy // where cfg is nil
	world  *world
	gate   *security.Gate // where cfg is not nil
}

// ErrListener says that it isn't clear by which listener a client comes.
var ErrListener = errors.New("which listener")

// NewJudge builds everything that cfg names, as a start would. The Judge must be closed.
func NewJudge(cfg *config.Config) (*Judge, error) {
	if err := cfg.Check(nil).Err(); err != nil {
		return nil, err
	}
	w, err := buildAlone(cfg)
	defer w.closeLanes(nil)
	if err != nil {
		if w != nil {
			w.close()
		}
		return nil, err
	}
	return &Judge{cfg: cfg, world: w, gate: security.NewGate(w.rules)}, nil
}

// JudgePolicy judges by one policy file alone: Sallyport's permissions or an
// acl_file. Who is asked for counts as authenticated, its certificate as
// verified, on whichever listener.
func JudgePolicy(path string, kind config.PolicyType) (*Judge, error) {
	var pol security.Policy
	var err error
	switch kind {
	case config.Permissions:
		pol, err = roles.Load(roles.Options{Name: string(kind), Path: path, AllowEmpty: true})
	case config.MosquittoACL:
		pol, err = acl.Load(acl.Options{Name: string(kind), Path: path, AllowEmpty: true})
	default:
		err = fmt.Errorf("a policy of type %q has no file", kind)
	}
	if err != nil {
		return nil, err
	}
	return &Judge{policy: pol}, nil
}

// Explain answers q for who under cfg, with the path to the answer.
func Explain(ctx context.Context, cfg *config.Config, who expect.Who, q security.Request) (*expect.Explained, error) {
	j, err := NewJudge(cfg)
	if err != nil {
		return nil, err
	}
	defer j.Close()
	return j.Explain(ctx, who, q)
}

// Close ends what asks the network about certificates.
func (j *Judge) Close() {
	if j.world != nil {
		j.world.close()
	}
}

// Explain answers q, whose Principal is made of who, with the path to the answer:
// who is let in, whether it may connect, and then q. The error, which may wrap
// ErrListener, says that who can't be asked about.
func (j *Judge) Explain(ctx context.Context, who expect.Who, q security.Request) (*expect.Explained, error) {
	a, err := j.admit(ctx, &who)
	if err != nil {
		return nil, err
	}
	out := &expect.Explained{Request: expect.NewRequest(&q), Door: a.said}
	if a.principal == nil {
		out.Client = expect.NewClient(a.stranger(&who))
		return out, nil
	}
	out.Client = expect.NewClient(a.principal)
	entry := security.Request{Principal: a.principal, Action: security.Connect, At: q.At}
	connect := a.gate.Explain(&entry)
	out.Connect, out.Allowed = expect.NewDecision(&entry, connect), connect.Verdict.Allowed()
	if q.Action == security.Connect || !out.Allowed {
		return out, nil
	}
	q.Principal = a.principal
	d := a.gate.Explain(&q)
	out.Decision, out.Allowed = expect.NewDecision(&q, d), d.Verdict.Allowed()
	return out, nil
}

// Side is what the configuration says of who, for a comparison with another's. A
// client whose listener there is none of is refused.
func (j *Judge) Side(ctx context.Context, who expect.Who) (expect.Side, error) {
	a, err := j.admit(ctx, &who)
	var unknown *unknownListener
	switch {
	case errors.As(err, &unknown):
		return expect.Side{Refused: security.Verdict{Effect: security.Deny, File: j.cfg.File, Rule: unknown.Error()}}, nil
	case err != nil:
		return expect.Side{}, err
	}
	s := expect.Side{Gate: a.gate, Principal: a.principal, Policies: a.policies}
	for _, x := range a.said {
		if x.Refuses {
			s.Refused = security.Verdict{Effect: security.Deny, File: j.cfg.File, Rule: x.By + ": " + x.Says}
		}
	}
	return s, nil
}

// admission is how far a client comes before the policies are asked.
type admission struct {
	listener  string
	secure    bool
	principal *security.Principal // nil: refused, and said tells why
	said      []expect.Said
	gate      *security.Gate
	policies  []security.Policy
}

// stranger is who is refused, for the document.
func (a *admission) stranger(who *expect.Who) *security.Principal {
	return &security.Principal{ClientID: who.ClientID, Name: who.User, Listener: a.listener, Secure: a.secure, Addr: addrOf(who)}
}

func addrOf(who *expect.Who) netip.AddrPort {
	if !who.Address.IsValid() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(who.Address.Addr, 0)
}

func (j *Judge) admit(ctx context.Context, who *expect.Who) (*admission, error) {
	if err := who.Check(); err != nil {
		return nil, err
	}
	if j.cfg == nil {
		return j.admitAlone(who)
	}
	l, err := j.door(who)
	if err != nil {
		return nil, err
	}
	a := &admission{
		listener: l.Name, secure: l.Transport.Secure() || l.Transport == config.Unix,
		gate: j.gate, policies: j.world.rules.ByListener[l.Name],
	}
	cr := authn.Credentials{
		ClientID: who.ClientID, HasUsername: who.User != "", Username: who.User,
		HasPassword: who.HasPassword, Password: who.Password, Addr: addrOf(who), Listener: l.Name, Secure: a.secure,
		Presumed: who.Claims,
	}
	if !a.judgeAddress(l, who) {
		return a, nil
	}
	passes, err := a.judgeCertificate(l, j.world.tls[l.Name], who, &cr)
	if err != nil || !passes {
		return a, err
	}
	p, said := j.world.chains[l.Name].Explain(ctx, &cr)
	for _, s := range said {
		a.said = append(a.said, expect.Said{By: s.By, Says: s.Text, Accepts: s.Accepts, Refuses: s.Refuses, Reached: s.Reached, Opposite: s.Opposite})
	}
	if p != nil {
		p.Groups = append(slices.Clone(p.Groups), who.Groups...)
		p.Roles = append(slices.Clone(p.Roles), who.Roles...)
		p.Attrs, p.Claims = who.Attributes, who.Claims
		a.principal = p
	}
	return a, nil
}

// admitAlone takes who at its word: there is only a policy.
func (j *Judge) admitAlone(who *expect.Who) (*admission, error) {
	p := &security.Principal{
		Name: who.User, ClientID: who.ClientID, Addr: addrOf(who), Listener: who.Listener, Secure: who.TLS,
		Groups: who.Groups, Roles: who.Roles, Attrs: who.Attributes, Claims: who.Claims,
	}
	if who.Certificate != "" {
		chain, err := readChain(who.Certificate)
		if err != nil {
			return nil, err
		}
		p.Cert = chain[0]
	}
	policies := []security.Policy{j.policy}
	gate := security.NewGate(&security.Ruleset{ByListener: map[string][]security.Policy{who.Listener: policies}})
	return &admission{listener: who.Listener, secure: who.TLS, principal: p, gate: gate, policies: policies}, nil
}

// unknownListener says that a client names a door that is not there.
type unknownListener struct{ name string }

func (e *unknownListener) Error() string { return "there is no listener " + e.name }

// door is the listener that who comes by.
func (j *Judge) door(who *expect.Who) (*config.Listener, error) {
	var open []*config.Listener
	var names []string
	for i := range j.cfg.Listeners {
		l := &j.cfg.Listeners[i]
		names = append(names, l.Name)
		switch {
		case who.Listener == l.Name && who.TLS && !l.Transport.Secure():
			return nil, fmt.Errorf("%w: %s has no TLS", ErrListener, l.Name)
		case who.Listener == l.Name:
			return l, nil
		case who.Listener == "" && (!who.TLS || l.Transport.Secure()):
			open = append(open, l)
		}
	}
	switch {
	case who.Listener != "":
		return nil, fmt.Errorf("%w: %w, only %q", ErrListener, &unknownListener{who.Listener}, names)
	case len(open) == 1:
		return open[0], nil
	case len(open) == 0:
		return nil, fmt.Errorf("%w: none of %q has TLS", ErrListener, names)
	}
	return nil, fmt.Errorf("%w: there are several, name one of %q", ErrListener, names)
}

// judgeAddress applies the listener's lists of addresses; false refuses.
func (a *admission) judgeAddress(l *config.Listener, who *expect.Who) bool {
	s := expect.Said{By: "address", Reached: true}
	switch {
	case len(l.Allow)+len(l.Deny) == 0:
		return true
	case !who.Address.IsValid():
		s.Says = "no address was given: allow and deny of the listener are not judged"
	case listener.Admits(l.Allow, l.Deny, who.Address.Addr):
		s.Says = who.Address.String() + " may connect to the listener"
	default:
		s.Says, s.Refuses = who.Address.String()+" may not connect to the listener", true
		s.Opposite = "change allow or deny of listener " + l.Name
	}
	a.said = append(a.said, s)
	return !s.Refuses
}
