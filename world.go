package sallyport

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"

	"sallyport/audit"
	"sallyport/certs"
	"sallyport/config"
	"sallyport/security"
	"sallyport/security/acl"
	"sallyport/security/authn"
	"sallyport/security/roles"
)

// world is what a configuration means at one time.
type world struct {
	passwords map[string]*authn.Passwords // by authenticator
	accounts  map[string]*authn.Accounts  // to be swapped in, for files that were there before
	chains    map[string]*authn.Chain     // by listener
	rules     *security.Ruleset
	tls       map[string]*certs.Server // by listener
	tlsFresh  map[string]*certs.Server // key material to take over on success
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
		chains: map[string]*authn.Chain{}, tls: map[string]*certs.Server{}, tlsFresh: map[string]*certs.Server{},
		rules: &security.Ruleset{ByListener: map[string][]security.Policy{}},
	}
	var errs []error
	members := map[string]authn.Authenticator{}
	for _, a := range cfg.Authenticators {
		m, err := s.buildMember(w, old, a)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		members[a.Name] = m
	}
	policies := map[string]security.Policy{}
	for _, p := range cfg.Policies {
		pol, err := buildPolicy(w, p, old == nil)
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

func (s *Server) buildMember(w, old *world, a config.Authenticator) (authn.Authenticator, error) {
	switch a.Type {
	case config.Anonymous:
		return authn.Anonymous{BelieveUsername: a.BelieveUsername}, nil
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
			Name: a.Name, Realm: a.Realm, Path: a.File, Cache: s.cache,
			Limits: authn.Limits{Memory: s.pool.MemoryPerWorker()},
		})
		if err != nil {
			return nil, err
		}
		w.warn(warnings...)
		w.passwords[a.Name] = p
		return p, nil
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
			return b == a
		}
	}
	return false
}

func buildPolicy(w *world, p config.Policy, start bool) (security.Policy, error) {
	switch p.Type {
	case config.AllowAll:
		return roles.AllowAll(p.Name), nil
	case config.Permissions:
		pol, err := roles.Load(roles.Options{Name: p.Name, Path: p.File, AllowEmpty: start})
		if err != nil {
			return nil, err
		}
		for _, x := range pol.Warnings() {
			w.warnings = append(w.warnings, warning{file: place(x.File, x.Line), text: x.Text})
		}
		return pol, nil
	case config.MosquittoACL:
		pol, err := acl.Load(acl.Options{Name: p.Name, Path: p.File, AllowEmpty: start})
		if err != nil {
			return nil, err
		}
		for _, x := range pol.Warnings() {
			w.warnings = append(w.warnings, warning{file: place(x.File, x.Line), text: x.Text})
		}
		return pol, nil
	}
	return nil, fmt.Errorf("policy %s: unknown type %q", p.Name, p.Type)
}

// place is file:line, or the file alone for line 0.
func place(file string, line int) string {
	if line == 0 {
		return file
	}
	return fmt.Sprintf("%s:%d", file, line)
}

func (s *Server) buildListener(w, old *world, l *config.Listener, members map[string]authn.Authenticator, policies map[string]security.Policy) error {
	var chain []authn.Member
	switch l.Identity {
	case config.IdentityCommonName:
		chain = append(chain, authn.Member{Authenticator: authn.Identity{Source: authn.CommonName}})
	case config.IdentitySubject:
		chain = append(chain, authn.Member{Authenticator: authn.Identity{Source: authn.Subject}})
	}
	for _, name := range l.Authenticators {
		if m := members[name]; m != nil {
			chain = append(chain, authn.Member{Authenticator: m})
		}
	}
	rule := authn.AnyClientID
	switch l.ClientID {
	case config.ClientIDEqualsUsername:
		rule = authn.EqualsUsername
	case config.ClientIDStartsWithUsername:
		rule = authn.StartsWithUsername
	}
	c, err := authn.NewChain(authn.ChainOptions{Members: chain, ClientIDPrefixes: l.ClientIDPrefixes, ClientID: rule})
	if err != nil {
		return fmt.Errorf("listener %s: %w", l.Name, err)
	}
	w.chains[l.Name] = c
	for _, name := range l.Policies {
		if p := policies[name]; p != nil {
			w.rules.ByListener[l.Name] = append(w.rules.ByListener[l.Name], p)
		}
	}
	if !l.Transport.Secure() {
		return nil
	}
	return s.buildTLS(w, old, l)
}

func (s *Server) buildTLS(w, old *world, l *config.Listener) error {
	opt, err := tlsOptions(l.TLS)
	if l.Transport.Web() {
		opt.ALPN = []string{"http/1.1"}
	}
	if err != nil {
		return fmt.Errorf("listener %s: %w", l.Name, err)
	}
	srv, warnings, err := certs.LoadServer(opt)
	if err != nil {
		return fmt.Errorf("listener %s: %w", l.Name, err)
	}
	for _, x := range warnings {
		w.warnings = append(w.warnings, warning{file: x.File, text: x.Text, exposed: x.File == opt.KeyFile && exposed(opt.KeyFile)})
	}
	w.tls[l.Name] = srv
	if old != nil && old.tls[l.Name] != nil {
		// The door keeps its Server: what was read now replaces what it holds.
		w.tls[l.Name], w.tlsFresh[l.Name] = old.tls[l.Name], srv
	}
	return nil
}

// exposed reports whether others than the owner can read the file.
func exposed(path string) bool {
	st, err := os.Stat(path)
	return err == nil && runtime.GOOS != "windows" && st.Mode().Perm()&0o077 != 0
}

func tlsOptions(t *config.TLS) (certs.ServerOptions, error) {
	o := certs.ServerOptions{CertFile: t.Certificate, KeyFile: t.Key, ClientCAFile: t.ClientCA, CRLFile: t.CRL, ALPN: []string{"mqtt"}}
	switch t.ClientAuth {
	case config.ClientAuthOptional:
		o.ClientAuth = tls.VerifyClientCertIfGiven
	case config.ClientAuthRequire:
		o.ClientAuth = tls.RequireAndVerifyClientCert
	}
	var err error
	if o.MinVersion, err = certs.ParseVersion(string(t.MinVersion)); err != nil {
		return o, err
	}
	if o.MaxVersion, err = certs.ParseVersion(string(t.MaxVersion)); err != nil {
		return o, err
	}
	o.CipherSuites, err = certs.ParseCipherSuites(t.CipherSuites)
	return o, err
}

// Reload puts cfg in the place of the configuration in force: files are read
// again, and all of them are taken over or none. What only a restart can change
// (listeners and their sockets, what the engine is made with, the log) and risks
// that are not accepted are refused. Connections of users whose password is
// gone or changed are ended, and those of whom the new authenticators, client id
// rules or deny rules would not let in.
func (s *Server) Reload(cfg *config.Config) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return errors.New("the broker has stopped")
	}
	if err := cfg.Check(nil).Err(); err != nil {
		return err
	}
	if err := sameForm(s.cfg, cfg); err != nil {
		return err
	}
	if err := s.judgeRisks(cfg); err != nil {
		return err
	}
	w, err := s.build(cfg, s.world)
	if err != nil {
		return err
	}
	s.say(w)
	for name, fresh := range w.tlsFresh {
		w.tls[name].Adopt(fresh)
	}
	s.authn.Replace(w.chains)
	gone := map[ownerName]bool{}
	changed := func(realm string, c authn.Changes) {
		for _, user := range append(c.Removed, c.Changed...) {
			gone[ownerName{realm, user}] = true
		}
	}
	for name, p := range w.passwords {
		if acc := w.accounts[name]; acc != nil {
			changed(p.Realm(), p.Swap(acc))
		} else if was := s.world.passwords[name]; was != nil {
			changed(was.Realm(), p.Since(was)) // another file, or realm, under the same name
		}
	}
	s.cache.Flush()
	s.gate.Swap(w.rules)
	s.cfg, s.world = cfg, w
	s.broker.SetListeners(s.engineListeners(cfg))
	n := s.broker.Revoke(func(p *security.Principal) bool {
		return gone[ownerName{p.Realm, p.Name}] || !s.keeps(w, p)
	}, "the account was changed or removed, or may not connect any more")
	s.audit.Record(audit.Reloaded, slog.String("what", cfg.File), slog.Int("disconnected", n))
	return nil
}

type ownerName struct{ realm, name string }

// keeps reports whether a principal that is connected could still connect in
// world w, as far as that can be told without its credentials.
func (s *Server) keeps(w *world, p *security.Principal) bool {
	c := w.chains[p.Listener]
	return c != nil && c.Keeps(p) == nil && s.gate.Keeps(p).Allowed()
}
