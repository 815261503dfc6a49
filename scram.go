package sallyport

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"sallyport/config"
	"sallyport/internal/scram"
	"sallyport/security/authn"
	"sallyport/security/authn/accounts"
	"sallyport/security/authn/challenge"
	"sallyport/store"
)

// verifiers is what SCRAM needs of the account database.
type verifiers interface {
	// Verifier finds that of a name for a hash, see challenge.Options.Lookup.
	Verifier(name string, h scram.Hash) (v *scram.Verifier, known bool, err error)
	// Generation grows with each change of an account.
	Generation() uint64
	// Version is that of an account, 0 if there is none of the name.
	Version(name string) uint64
}

// buildSCRAM makes an authenticator of type scram, on its file or on the account database.
func (s *Server) buildSCRAM(w, old *world, a config.Authenticator) (authn.Authenticator, error) {
	settings := a.SCRAMSettings()
	o := challenge.Options{Name: a.Name, Realm: a.Realm, Source: a.File, Iterations: settings.Iterations, Secret: s.strangers.get}
	for _, name := range settings.Methods {
		m, ok := scram.ParseMethod(string(name))
		if !ok {
			return nil, fmt.Errorf("authenticator %s: no method %s", a.Name, name)
		}
		o.Methods = append(o.Methods, m)
	}
	if a.File == "" {
		db := s.accountVerifiers()
		switch {
		case db == nil && !s.idle:
			return nil, fmt.Errorf("authenticator %s: type scram needs a file, or the account database", a.Name)
		case db == nil:
			db = absentVerifiers{}
		}
		o.Lookup, o.Generation, o.Version = db.Verifier, db.Generation, db.Version
	} else {
		f, err := s.verifierFile(w, old, a, settings.Iterations)
		if err != nil {
			return nil, err
		}
		o.Lookup, o.Generation = f.Lookup, f.Generation
	}
	if err := s.strangers.find(s.log); err != nil {
		return nil, err
	}
	return challenge.New(o)
}

// accountVerifiers is the account database, nil where there is none.
func (s *Server) accountVerifiers() verifiers {
	if s.accounts == nil {
		return nil
	}
	return databaseVerifiers{s.accounts}
}

// databaseVerifiers is the account database as SCRAM asks it. That an account changes
// during an exchange is noticed by the exchange and by the chain: it needs no Generation.
type databaseVerifiers struct{ db *accounts.Database }

// Verifier implements verifiers.
func (d databaseVerifiers) Verifier(name string, h scram.Hash) (*scram.Verifier, bool, error) {
	u, known := d.db.User(name)
	if !known {
		return nil, false, nil
	}
	for _, encoded := range u.SCRAM {
		// One that can't be read was refused when it was kept.
		if v, err := scram.ParseVerifier(encoded); err == nil && v.Hash == h {
			return v, true, nil
		}
	}
	return nil, false, nil
}

// absentVerifiers are those of a database where no broker runs, such as in a check:
// nobody knows who is in it.
type absentVerifiers struct{}

// Verifier can't tell.
func (absentVerifiers) Verifier(string, scram.Hash) (*scram.Verifier, bool, error) {
	return nil, false, fmt.Errorf("the accounts are in the store of the running broker: %w", authn.ErrUnavailable)
}

// Generation implements verifiers.
func (absentVerifiers) Generation() uint64 { return 0 }

// Version implements verifiers.
func (absentVerifiers) Version(string) uint64 { return 0 }

// Version implements verifiers.
func (d databaseVerifiers) Version(name string) uint64 { return d.db.Version(name) }

// Generation implements verifiers.
func (databaseVerifiers) Generation() uint64 { return 0 }

// verifierFile is the file of an authenticator, as it will be when w is in force.
func (s *Server) verifierFile(w, old *world, a config.Authenticator, iterations int) (*challenge.File, error) {
	if old != nil && old.verifiers[a.Name] != nil && s.sameFile(a) {
		f := old.verifiers[a.Name]
		t, err := f.Load()
		if err != nil {
			return nil, err
		}
		w.warn(t.Warnings()...)
		w.verifiers[a.Name], w.tables[a.Name] = f, t
		return f, nil
	}
	f, warnings, err := challenge.OpenFile(challenge.FileOptions{Path: a.File, AllowEmpty: a.AllowEmpty, Iterations: iterations})
	if err != nil {
		return nil, err
	}
	if old != nil && f.Len() == 0 && !a.AllowEmpty {
		return nil, fmt.Errorf("%s: %w", a.File, authn.ErrEmpty)
	}
	w.warn(warnings...)
	w.verifiers[a.Name] = f
	return f, nil
}

// swapVerifiers puts the files of w to use and tells changed of each realm's users.
func (s *Server) swapVerifiers(w *world, changed func(realm string, c authn.Changes)) {
	for name, f := range w.verifiers {
		if t := w.tables[name]; t != nil {
			changed(w.realms[name], f.Swap(t))
		} else if was := s.world.verifiers[name]; was != nil {
			changed(s.world.realms[name], f.Since(was)) // another file, or realm, under the same name
		}
	}
}

// strangers keeps the secret that the salts of those who don't exist are made with. It
// outlives a restart with the store, and a store in memory with the process: were it
// another one then, a name whose salt has changed would be known to be nobody's.
type strangers struct {
	mu     sync.Mutex // guards the fields below
	store  store.Store
	secret []byte
}

// The secret's place in the store.
const (
	secretTable = "secrets"
	secretName  = "scram"
)

// opened tells where the secret is kept. The store must be open.
func (x *strangers) opened(st store.Store) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.store = st
}

// openStrangers finds the secret in a store that was just opened, where cfg has SCRAM.
func (s *Server) openStrangers(cfg *config.Config, st store.Store) error {
	s.strangers.opened(st)
	for _, a := range cfg.Authenticators {
		if a.Type == config.Scram {
			return s.strangers.find(s.log)
		}
	}
	return nil
}

// get is the secret, nil before it was found.
func (x *strangers) get() []byte {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.secret
}

// find reads the secret, or makes it, once there is a store to keep it in.
func (x *strangers) find(log *slog.Logger) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.store == nil || x.secret != nil {
		return nil
	}
	var found []byte
	err := x.store.Items(secretTable, func(i store.Item) error {
		if i.Name == secretName {
			found = i.Value
		}
		return nil
	})
	switch {
	case err != nil:
		return fmt.Errorf("read the secret of SCRAM: %w", err)
	case found != nil && len(found) < scram.MinSecret:
		return errors.New("the secret of SCRAM in the store is too short")
	case found != nil:
		x.secret = found
		return nil
	}
	x.secret = make([]byte, scram.MinSecret)
	rand.Read(x.secret)
	var b store.Batch
	b.Add(store.Op{Kind: store.PutItem, Item: &store.Item{Table: secretTable, Name: secretName, Value: x.secret}})
	kept := make(chan error, 1)
	x.store.Commit(&b, func(err error) { kept <- err })
	if err := <-kept; err != nil {
		// A full disk is no reason to let nobody in.
		log.Warn("the secret of SCRAM can't be kept: after the next start unknown names have other salts", "error", err)
	}
	return nil
}
