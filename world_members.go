package sallyport

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"sallyport/audit"
	"sallyport/config"
	"sallyport/security/authn"
)

// buildMembers makes the members of chains out of the configuration's authenticators,
// by name, and says what is wrong with the others.
func (s *Server) buildMembers(w, old *world, cfg *config.Config) (members map[string]authn.Member, errs []error) {
	members = map[string]authn.Member{}
	for i, a := range cfg.Authenticators {
		if a.Type == config.AllOfThem {
			continue
		}
		w.realms[a.Name] = a.Realm
		m, err := s.buildMember(w, old, a)
		if steps, ok := errors.AsType[authn.StepErrors](err); ok {
			for _, n := range slices.Sorted(maps.Keys(steps)) {
				errs = append(errs, cfg.Wrong(fmt.Sprintf("authenticators[%d].prepare[%d]", i, n), steps[n]))
			}
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		members[a.Name] = m
	}
	for _, a := range cfg.Authenticators {
		if a.Type != config.AllOfThem {
			continue
		}
		all := memberOf(a)
		all.Label = a.Name
		for i, name := range a.AllOf.Members {
			m, ok := members[name]
			if !ok {
				continue // what is wrong with it was said
			}
			all.All = append(all.All, m)
			if m.Account == authn.AccountRequired {
				all.Account = m.Account // what it stands on has to be there
			}
			if name == a.AllOf.Source {
				all.Source = i
			}
		}
		if len(all.All) == len(a.AllOf.Members) {
			members[a.Name] = all
		}
	}
	return members, errs
}

// buildMember makes a member with an authenticator of its own.
func (s *Server) buildMember(w, old *world, a config.Authenticator) (authn.Member, error) {
	var err error
	m := memberOf(a)
	if m.Authenticator, err = s.buildAuthenticator(w, old, a); err != nil {
		return m, err
	}
	if m.Prepare, err = preparation(a); err != nil {
		return m, fmt.Errorf("authenticator %s: prepare: %w", a.Name, err)
	}
	m.Lane, err = s.buildLane(w, old, a)
	return m, err
}

// memberOf is what the configuration says of a member beside what it is.
func memberOf(a config.Authenticator) authn.Member {
	m := authn.Member{
		OnErrorNext: a.OnError == config.OnErrorNext,
		Groups:      mapping(a.Groups), Roles: mapping(a.Roles),
	}
	switch {
	case a.Account == config.AccountRequired, a.Type == config.AccountDatabase:
		m.Account = authn.AccountRequired
	case a.Account == config.AccountIgnored:
		m.Account = authn.AccountIgnored
	}
	if a.Type == config.Scram && a.File == "" {
		m.Account = authn.AccountRequired
	}
	if r := a.Require; r != nil {
		m.Require = authn.Requirement{
			Addresses: r.Addresses, Listeners: r.Listeners, ClientIDPrefixes: r.ClientIDPrefixes,
			ClientID: clientIDRule(r.ClientID), UIDs: r.UIDs, GIDs: r.GIDs,
		}
	}
	return m
}

func clientIDRule(r config.ClientIDRule) authn.ClientIDRule {
	switch r {
	case config.ClientIDEqualsUsername:
		return authn.EqualsUsername
	case config.ClientIDStartsWithUsername:
		return authn.StartsWithUsername
	}
	return authn.AnyClientID
}

func mapping(m map[string]config.Many[string]) authn.Mapping {
	out := authn.Mapping{}
	for outside, inside := range m {
		out[outside] = inside
	}
	return out
}

func preparation(a config.Authenticator) (*authn.Preparation, error) {
	var steps []authn.StepOptions
	for _, t := range a.Prepare {
		steps = append(steps, authn.StepOptions{
			Set: t.Set, From: t.From, Match: t.Match, As: t.As, Split: t.Split, Part: t.Part, Decode: string(t.Decode), Lower: t.Lower,
		})
	}
	return authn.NewPreparation(a.OnNull == config.OnNullNext, steps...)
}

// buildLane is the way to an authenticator: the one that was there, where its bounds
// are the same, so that a reload forgets neither who is down nor what was counted.
// What computes hashes shares the pool with the others that do.
func (s *Server) buildLane(w, old *world, a config.Authenticator) (*authn.Lane, error) {
	if old != nil && old.lanes[a.Name] != nil && s.sameLane(a) {
		w.lanes[a.Name] = old.lanes[a.Name]
		return old.lanes[a.Name], nil
	}
	o := authn.LaneOptions{Name: a.Name, Timeout: cmp.Or(a.Timeout, 10*time.Second), Changed: s.tellLane}
	if hashes(a.Type) {
		o.Pool = s.pool
	} else {
		o.Workers, o.Queue = cmp.Or(a.Concurrency, 16), cmp.Or(a.Queue, 4096)
	}
	if a.Type == config.Tokens || a.Type == config.Scram {
		o.Turns = s.turns // it computes, and waits for nobody
	}
	l, err := authn.NewLane(o)
	if err != nil {
		return nil, err
	}
	w.lanes[a.Name] = l
	return l, nil
}

// hashes reports whether a type of authenticator computes password hashes.
func hashes(t config.AuthenticatorType) bool {
	return t == config.PasswordFile || t == config.AccountDatabase
}

// sameLane reports whether the bounds of a are as they were.
func (s *Server) sameLane(a config.Authenticator) bool {
	for _, b := range s.cfg.Authenticators {
		if b.Name == a.Name {
			return b.Type == a.Type && b.Timeout == a.Timeout && b.Concurrency == a.Concurrency && b.Queue == a.Queue
		}
	}
	return false
}

// tellLane records that an authenticator is down, or back.
func (s *Server) tellLane(name string, down bool, err error) {
	if down {
		s.audit.Record(audit.AuthenticatorDown, slog.String("authenticator", name), slog.String("error", shortly(err.Error())))
		return
	}
	s.audit.Record(audit.AuthenticatorUp, slog.String("authenticator", name))
}

// closeLanes ends the lanes of w, which may be nil, that other does not have.
func (w *world) closeLanes(other *world) {
	if w == nil {
		return
	}
	for name, l := range w.lanes {
		if other == nil || other.lanes[name] != l {
			l.Close()
		}
	}
}

func certificateAuthenticator(a config.Authenticator) (authn.Authenticator, error) {
	c := a.Certificate
	if c == nil {
		c = &config.CertificateAuthenticator{}
		c.SetDefaults()
	}
	name, err := c.Identity.Template()
	if err != nil {
		return nil, fmt.Errorf("authenticator %s: certificate.identity: %w", a.Name, err)
	}
	return authn.Identity{Template: name, Label: a.Name, Realm: cmp.Or(a.Realm, a.Name), JoinAnchors: c.JoinAuthorities}, nil
}
