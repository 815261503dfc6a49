package sallyport

import (
	"errors"
	"fmt"
	"reflect"

	"sallyport/certs"
	"sallyport/config"
	"sallyport/internal/certfield"
	"sallyport/security"
	"sallyport/security/acl"
	"sallyport/security/authn"
	"sallyport/security/authn/challenge"
	"sallyport/security/authn/token"
	"sallyport/security/roles"
)

// world is what a configuration means at one time.
type world struct {
	passwords map[string]*authn.Passwords // by authenticator
	accounts  map[string]*authn.Accounts  // to be swapped in, for files that were there before
	tokens    []*token.Authenticator      // those of type jwt
	verifiers map[string]*challenge.File  // by authenticator, as passwords
	tables    map[string]*challenge.Table // to be swapped in, as accounts
	realms    map[string]string           // by authenticator
	lanes     map[string]*authn.Lane      // by authenticator
	chains    map[string]*authn.Chain     // by listener
	rules     *security.Ruleset
	tls       map[string]*certs.Server // by listener
	tlsFresh  map[string]*certs.Server // key material to take over on success
	empty     map[string]bool          // policy files that hold no rule, by path
	compared  string                   // of what answers are compared, see comparison
	warnings  []warning
}

type warning struct {
	file, text string
	exposed    bool
}

// say logs what an operator should know about the files of a world, once each.
func (s *Server) say(w *world) {
	said := map[warning]bool{}
	for _, x := range w.warnings {
		if !said[x] {
			said[x] = true
			s.log.Warn(x.text, "file", x.file)
		}
	}
}

// build makes a world; old is the one in force, nil at the start. Nothing
// changes before all of it is good, and every mistake is reported.
func (s *Server) build(cfg *config.Config, old *world) (*world, error) {
	w := &world{
		passwords: map[string]*authn.Passwords{}, accounts: map[string]*authn.Accounts{},
		verifiers: map[string]*challenge.File{}, tables: map[string]*challenge.Table{}, realms: map[string]string{},
		lanes: map[string]*authn.Lane{}, chains: map[string]*authn.Chain{}, tls: map[string]*certs.Server{}, tlsFresh: map[string]*certs.Server{},
		empty: map[string]bool{},
		rules: &security.Ruleset{
			ByListener: map[string][]security.Policy{}, Shadow: map[string][]security.Policy{}, Downgrade: map[string]bool{},
		},
	}
	var errs []error
	members, mistakes := s.buildMembers(w, old, cfg)
	errs = append(errs, mistakes...)
	policies := map[string]security.Policy{}
	for _, p := range cfg.Policies {
		pol, err := s.buildPolicy(w, old, p)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		policies[p.Name] = pol
	}
	for i := range cfg.Listeners {
		if err := s.buildListener(w, old, &cfg.Listeners[i], members, policies); err != nil {
			errs = append(errs, err)
		}
	}
	for _, x := range w.warnings {
		if x.exposed && cfg.StrictFiles {
			errs = append(errs, fmt.Errorf("%s: %s (strict_files)", x.file, x.text))
		}
	}
	return w, errors.Join(errs...)
}

// buildAuthenticator makes what an authenticator of the configuration is.
func (s *Server) buildAuthenticator(w, old *world, a config.Authenticator) (authn.Authenticator, error) {
	switch a.Type {
	case config.Anonymous:
		return authn.Anonymous{Label: a.Name, BelieveUsername: a.BelieveUsername}, nil
	case config.Tokens:
		return s.buildTokens(w, a)
	case config.Scram:
		return s.buildSCRAM(w, old, a)
	case config.PasswordFile:
		if old != nil && old.passwords[a.Name] != nil && s.sameFile(a) {
			p := old.passwords[a.Name]
			acc, err := p.Load()
			if err != nil {
				return nil, err
			}
			w.warn(acc.Warnings()...)
			w.passwords[a.Name], w.accounts[a.Name] = p, acc
			return p, nil
		}
		p, warnings, err := authn.OpenPasswords(authn.PasswordsOptions{
			Name: a.Name, Realm: a.Realm, Path: a.File,
			Limits: authn.Limits{Memory: s.pool.MemoryPerWorker(), FIPS: s.cfg.FIPS}, AllowEmpty: a.AllowEmpty,
		})
		if err != nil {
			return nil, err
		}
		if old != nil && p.Len() == 0 && !a.AllowEmpty {
			return nil, fmt.Errorf("%s: %w", a.File, authn.ErrEmpty)
		}
		w.warn(warnings...)
		w.passwords[a.Name] = p
		return p, nil
	case config.AccountDatabase:
		return s.accountMember(a)
	case config.Certificate:
		return certificateAuthenticator(a)
	case config.UnixPeer:
		return authn.UnixPeer{Label: a.Name, Realm: a.Realm}, nil
	}
	return nil, fmt.Errorf("authenticator %s: unknown type %q", a.Name, a.Type)
}

func (w *world) warn(list ...authn.Warning) {
	for _, x := range list {
		w.warnings = append(w.warnings, warning{x.File, x.Text, x.Exposed})
	}
}

// sameFile reports whether authenticator a is as it was.
func (s *Server) sameFile(a config.Authenticator) bool {
	for _, b := range s.cfg.Authenticators {
		if b.Name == a.Name {
			return reflect.DeepEqual(b, a)
		}
	}
	return false
}

// buildPolicy reads one policy. At a start a file without a rule is a warning;
// on a reload it is more likely a mistake, and refused unless it was empty before
// or allow_empty says that it is meant.
func (s *Server) buildPolicy(w, old *world, p config.Policy) (security.Policy, error) {
	switch p.Type {
	case config.AllowAll:
		return roles.AllowAll(p.Name), nil
	case config.AccountRoles:
		return newAccountPolicy(p.Name, s.accounts), nil
	case config.TokenClaims:
		return token.NewPolicy(p.Name, w.tokens...), nil
	}
	pol, warnings, err := readPolicy(p, p.AllowEmpty)
	if err != nil && (old == nil || old.empty[p.File]) {
		if again, list, e := readPolicy(p, true); e == nil {
			pol, warnings, err = again, list, nil
			w.empty[p.File] = true
		}
	}
	if err != nil {
		return nil, err
	}
	w.warnings = append(w.warnings, warnings...)
	return pol, nil
}

func readPolicy(p config.Policy, allowEmpty bool) (pol security.Policy, warnings []warning, err error) {
	switch p.Type {
	case config.Permissions:
		pol, err := roles.Load(roles.Options{Name: p.Name, Path: p.File, AllowEmpty: allowEmpty})
		if err != nil {
			return nil, nil, err
		}
		for _, x := range pol.Warnings() {
			warnings = append(warnings, warning{file: place(x.File, x.Line), text: x.Text})
		}
		return pol, warnings, nil
	case config.MosquittoACL:
		pol, err := acl.Load(acl.Options{Name: p.Name, Path: p.File, Strict: p.Strict, AllowEmpty: allowEmpty})
		if err != nil {
			return nil, nil, err
		}
		for _, x := range pol.Warnings() {
			warnings = append(warnings, warning{file: place(x.File, x.Line), text: x.Text})
		}
		return pol, warnings, nil
	}
	return nil, nil, fmt.Errorf("policy %s: unknown type %q", p.Name, p.Type)
}

// place is file:line, or the file alone for line 0.
func place(file string, line int) string {
	if line == 0 {
		return file
	}
	return fmt.Sprintf("%s:%d", file, line)
}

func (s *Server) buildListener(w, old *world, l *config.Listener, members map[string]authn.Member, policies map[string]security.Policy) error {
	var chain []authn.Member
	if l.ProxyProtocol != nil && l.ProxyProtocol.ProxyIdentity {
		chain = append(chain, authn.Member{Authenticator: authn.ProxyIdentity{}})
	}
	name, err := l.Identity.Template()
	if err != nil {
		return fmt.Errorf("listener %s: identity: %w", l.Name, err)
	}
	if !name.IsZero() {
		chain = append(chain, authn.Member{Authenticator: authn.Identity{Template: name}})
	}
	certificates, err := s.certRules(l.TLS)
	if err != nil {
		return fmt.Errorf("listener %s: %w", l.Name, err)
	}
	for _, name := range l.Authenticators {
		if m, ok := members[name]; ok {
			chain = append(chain, m)
		}
	}
	c, err := authn.NewChain(authn.ChainOptions{Members: chain, ClientIDPrefixes: l.ClientIDPrefixes, ClientID: clientIDRule(l.ClientID), Certificates: certificates, Accounts: s.accountStates(), Right: s.right, Wrong: s.wrong})
	if err != nil {
		return fmt.Errorf("listener %s: %w", l.Name, err)
	}
	w.chains[l.Name] = c
	if list := chosen(policies, l.Policies); list != nil {
		w.rules.ByListener[l.Name] = list
	}
	if list := chosen(policies, l.Shadow); list != nil {
		w.rules.Shadow[l.Name] = list
	}
	if l.OnDeniedQoS == config.QoSDowngrade {
		w.rules.Downgrade[l.Name] = true
	}
	if !l.Transport.Secure() {
		return nil
	}
	return s.buildTLS(w, old, l)
}

// certRules is what a listener demands of client certificates.
func (s *Server) certRules(t *config.TLS) (authn.CertRules, error) {
	if t == nil {
		return authn.CertRules{}, nil
	}
	r := authn.CertRules{TrustDomains: t.TrustDomains, KeepExpired: !t.DisconnectOnExpiry, Hosts: s.hosts}
	switch t.HostMatch {
	case config.HostMatchIP:
		r.Host = authn.HostIP
	case config.HostMatchDNS:
		r.Host = authn.HostDNS
	}
	if t.ClientIDMustMatch == "" {
		return r, nil
	}
	var err error
	if r.ClientID, err = certfield.ParseTemplate(t.ClientIDMustMatch); err != nil {
		err = fmt.Errorf("client_id_must_match: %w", err)
	}
	return r, err
}

// chosen is the policies with these names; one that could not be built is left
// out, and its mistake keeps the whole world from being used.
func chosen(policies map[string]security.Policy, names []string) []security.Policy {
	var list []security.Policy
	for _, name := range names {
		if p := policies[name]; p != nil {
			list = append(list, p)
		}
	}
	return list
}
