package sallyport

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"sallyport/audit"
	"sallyport/config"
	"sallyport/security"
	"sallyport/security/authn"
	"sallyport/security/authn/accounts"
	"sallyport/store"
)

// accountOptions is how cfg has the account database keep passwords.
func accountOptions(cfg *config.Config, pool *authn.Pool) (authn.Limits, accounts.Hashing) {
	c := cfg.AccountSettings()
	h := accounts.Hashing{Algorithm: authn.Algorithm(c.Hash), Upgrade: c.Upgrade}
	for _, m := range c.SCRAM {
		h.SCRAM = append(h.SCRAM, string(m))
	}
	return authn.Limits{Memory: pool.MemoryPerWorker(), FIPS: cfg.FIPS}, h
}

// makeAccounts makes the account database, which is empty until the store is open. It
// is there wherever accounts could be kept, so that they can be made before anything
// asks for them.
func (s *Server) makeAccounts(cfg *config.Config) (err error) {
	if cfg.Storage.Type != config.StorageDisk {
		return nil
	}
	s.accountKeeper = &accountKeeper{}
	o := accounts.Options{Keeper: s.accountKeeper, Changed: s.accountsChanged, Log: s.log}
	o.Limits, o.Hashing = accountOptions(cfg, s.pool)
	s.accounts, err = accounts.New(o)
	return err
}

// loadAccounts reads the accounts that st keeps, and puts their roles in force. Nobody
// is served yet.
func (s *Server) loadAccounts(st store.Store) error {
	d, ok := st.(accountStore)
	if s.accounts == nil || !ok {
		return nil
	}
	s.accountKeeper.store = d
	if err := s.accounts.Load(); err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	s.reviewRoles()
	s.sayAccounts(s.cfg)
	return nil
}

// closeAccounts ends what makeAccounts began.
func (s *Server) closeAccounts() {
	if s.accounts != nil {
		s.accounts.Close()
	}
}

// accountStates is the accounts that chains ask for, nil for none.
func (s *Server) accountStates() authn.AccountStates {
	if s.accounts == nil {
		return nil
	}
	return s.accounts
}

// accountMember is an authenticator of type accounts.
func (s *Server) accountMember(a config.Authenticator) (authn.Authenticator, error) {
	if s.accounts == nil {
		return absentAccounts(a.Name), nil
	}
	return accounts.NewMember(s.accounts, accounts.MemberOptions{Name: a.Name, Realm: a.Realm})
}

// absentAccounts is an authenticator of type accounts where no broker runs, such as in
// a check: nobody knows what it would say.
type absentAccounts string

// Name is the authenticator's name in the configuration.
func (a absentAccounts) Name() string { return string(a) }

// Authenticate can't tell.
func (a absentAccounts) Authenticate(context.Context, *authn.Credentials) (*security.Principal, error) {
	return nil, errAbsent
}

var errAbsent = fmt.Errorf("the accounts are in the store of the running broker: %w", authn.ErrUnavailable)

// Introduce implements authn.Introducing.
func (a absentAccounts) Introduce(context.Context, *authn.Credentials) (p *security.Principal, text, remedy string, err error) {
	return nil, "can't tell here: the accounts are in the store of the running broker", "ask the broker: sallyport ctl explain", errAbsent
}

// sayAccounts warns where everybody is refused for want of an account.
func (s *Server) sayAccounts(cfg *config.Config) {
	if s.accounts == nil || s.accounts.Counts().Users > 0 {
		return
	}
	for _, a := range cfg.Authenticators {
		if a.Type == config.AccountDatabase {
			s.log.Warn("there is no account: the authenticator refuses everybody until sallyport ctl user add has made one", "authenticator", a.Name)
		}
	}
}

// tuneAccounts takes over how cfg has passwords kept from now on.
func (s *Server) tuneAccounts(cfg *config.Config) error {
	if s.accounts == nil {
		return nil
	}
	return s.accounts.Tune(accountOptions(cfg, s.pool))
}

// restoreAccounts makes a store that was opened again hold the accounts that are in
// force, and has the sessions that it kept judged by these.
func (s *Server) restoreAccounts() {
	if s.accounts == nil {
		return
	}
	if err := s.accounts.Restore(); err != nil {
		s.log.Error("the store may hold accounts otherwise than they are in force until the next change that it keeps", "error", err)
	}
	s.renewAll()
}

// renewAll judges every session by the account of now: those that a store kept may be
// older than the accounts. It doesn't keep what of an account's version alone.
func (s *Server) renewAll() {
	if s.accounts == nil {
		return
	}
	s.broker.Renew(func(p *security.Principal) *security.Principal {
		q := s.asNow(p)
		if p.Account == 0 && sameRights(p, q) {
			return p
		}
		return q
	})
}

// asNow is p as the account of now has it; p itself if nothing is different, or no
// account counts. Who may not be connected any more, or whose rights can't be told
// without the credential, is left with none: what the session has is judged by that
// until its client has come again.
func (s *Server) asNow(p *security.Principal) *security.Principal {
	c := s.present().chains[p.Listener]
	if c == nil {
		return p
	}
	q := c.Renewed(p)
	if q == nil {
		bare := *p
		bare.Groups, bare.Roles, bare.Attrs, bare.Claims, bare.Account = nil, nil, nil, nil, 0
		if p.Token != nil {
			token := *p.Token // which it is still known by
			token.Granted = nil
			bare.Token = &token
		}
		q = &bare
	}
	return q
}

// sameRights reports whether p and q differ in nothing that policies look at.
func sameRights(p, q *security.Principal) bool {
	return p == q || slices.Equal(p.Groups, q.Groups) && slices.Equal(p.Roles, q.Roles) && maps.Equal(p.Attrs, q.Attrs) &&
		len(p.Claims) == len(q.Claims)
}

// present is the world in force.
func (s *Server) present() *world {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.world
}

// accountsChanged puts a change of accounts into the sessions, before the call returns
// that made it. It holds the database's own lock, one change after the other.
func (s *Server) accountsChanged(c accounts.Change) {
	if s.broker == nil {
		return
	}
	if c.Roles {
		s.reviewRoles()
	}
	if len(c.Users)+len(c.End) > 0 {
		s.askAgain()
	}
	w := s.present()
	end := named(c.End)
	concerned := named(c.Users)
	for name := range end {
		concerned[name] = true
	}
	ended := 0
	if len(end) > 0 {
		ended = s.broker.Revoke(func(p *security.Principal) bool { return end[p.Name] && w.heeds(p) }, "the account was changed, and may not connect or has another password")
	}
	if len(concerned) > 0 {
		// Who may not be connected any more, or whose rights can't be told without the credential.
		ended += s.broker.Revoke(func(p *security.Principal) bool { return concerned[p.Name] && w.ends(p) }, "the account was changed: the client has to authenticate again")
	}
	renewed := 0
	if len(concerned) > 0 {
		renewed = s.broker.Renew(func(p *security.Principal) *security.Principal {
			if !concerned[p.Name] {
				return p
			}
			return s.asNow(p)
		})
	}
	var revoked int
	if c.Roles {
		revoked = s.broker.Enforce().Revoked
	}
	s.audit.Record(audit.AccountsChanged, slog.Int("changed", len(c.Users)), slog.Int("ended", len(c.End)), slog.Bool("roles", c.Roles),
		slog.Int("disconnected", ended), slog.Int("renewed", renewed), slog.Int("revoked", revoked))
}

// heeds reports whether p is not what the account of its name makes of it now, where
// its chain asks for accounts.
func (w *world) heeds(p *security.Principal) bool {
	c := w.chains[p.Listener]
	return c != nil && !c.Stands(p)
}

// ends reports whether what p's account makes of it now is not told, or that it may
// not be connected.
func (w *world) ends(p *security.Principal) bool {
	c := w.chains[p.Listener]
	return c != nil && c.Renewed(p) == nil
}

func named(names []string) map[string]bool {
	out := make(map[string]bool, len(names))
	for _, n := range names {
		out[n] = true
	}
	return out
}
