package sallyport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"

	"sallyport/certs"
	"sallyport/certs/acme"
	"sallyport/config"
	"sallyport/control"
)

// keeper is the keeper of the certificate that section a asks for: listeners
// with the same section, which is told by its folder, share one.
func (s *Server) keeper(a *config.ACME) (*acme.Keeper, error) {
	if k := s.keepers[a.Storage]; k != nil {
		return k, nil
	}
	o := acme.Options{
		Directory: a.Directory, Domains: a.Domains, Email: a.Email, Storage: a.Storage, Challenge: acme.Challenge(a.Challenge),
		AcceptTerms: a.AcceptTerms, RenewBefore: a.RenewBefore, KeyType: acme.KeyType(a.KeyType), Profile: a.Profile,
		Log: s.log, Changed: func(*tls.Certificate) { s.renewed(a.Storage) },
	}
	if a.CAFile != "" {
		list, err := certs.LoadCertificates(a.CAFile)
		if err != nil {
			return nil, fmt.Errorf("tls.acme.ca_file: %w", err)
		}
		o.Roots = x509.NewCertPool()
		for _, c := range list {
			o.Roots.AddCert(c)
		}
	}
	if e := a.ExternalAccount; e != nil {
		text, err := e.Key.Read(s.ctx)
		if err != nil {
			return nil, fmt.Errorf("tls.acme.external_account.key: %w", err)
		}
		key, err := acme.DecodeKey(text)
		if err != nil {
			return nil, fmt.Errorf("tls.acme.external_account.key: %w", err)
		}
		o.ExternalAccount = &acme.ExternalAccount{KeyID: e.KeyID, Key: key}
	}
	k, err := acme.New(o)
	if err != nil {
		return nil, err
	}
	if s.keepers == nil {
		s.keepers = make(map[string]*acme.Keeper)
	}
	s.keepers[a.Storage] = k
	return k, nil
}

// sections are the sections of cfg that ask for a certificate, each once.
func sections(cfg *config.Config) map[string]*config.ACME {
	all := make(map[string]*config.ACME)
	for i := range cfg.Listeners {
		if t := cfg.Listeners[i].TLS; t != nil && t.ACME != nil {
			all[t.ACME.Storage] = t.ACME
		}
	}
	return all
}

// openChallenges binds the ports that http-01 is answered on, which may need root.
func (s *Server) openChallenges() error {
	s.challenges = make(map[string]net.Listener)
	for storage, a := range sections(s.cfg) {
		if a.Challenge != config.ACMEHTTP {
			continue
		}
		port, err := net.Listen("tcp", a.HTTPAddress)
		if err != nil {
			return fmt.Errorf("tls.acme.http_address: %w", err)
		}
		s.challenges[storage] = port
	}
	return nil
}

// startACME begins to keep certificates, as the user that the broker has become.
func (s *Server) startACME() error {
	for storage, k := range s.keepers {
		before := k.Leaf()
		if err := k.Start(context.Background(), s.challenges[storage]); err != nil {
			return err
		}
		delete(s.challenges, storage) // it is the keeper's
		if now := k.Leaf(); before == nil || now == nil || !before.Leaf.Equal(now.Leaf) {
			s.renewed(storage) // another broker had the folder in the meantime
		}
	}
	return nil
}

// stopACME ends what startACME began, and closes what was not needed.
func (s *Server) stopACME() {
	for _, k := range s.keepers {
		k.Close()
	}
	for _, port := range s.challenges {
		_ = port.Close() // nothing was accepted
	}
}

// renewed puts a new certificate before the clients of its listeners.
func (s *Server) renewed(storage string) {
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.hasStopped() {
		return
	}
	for i := range s.cfg.Listeners {
		l := &s.cfg.Listeners[i]
		if l.TLS == nil || l.TLS.ACME == nil || l.TLS.ACME.Storage != storage {
			continue
		}
		warnings, err := s.world.tls[l.Name].Renew()
		if err != nil {
			s.log.Error("new certificate can't be served", "listener", l.Name, "error", err)
		}
		for _, x := range warnings {
			s.log.Warn(x.Text, "listener", l.Name, "file", x.File)
		}
	}
}

func acmeState(k *acme.Keeper) *control.ACMEStatus {
	x := k.State()
	return &control.ACMEStatus{
		Directory: x.Directory, Domains: x.Domains, NotAfter: x.NotAfter.UTC(), Ordering: x.Ordering, Next: x.Next.UTC(),
		Failures: x.Failures, Error: x.LastError,
	}
}
