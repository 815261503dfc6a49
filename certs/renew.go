package certs

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"fmt"

	"sallyport/certs/acme"
	"sallyport/certs/keystore"
)

// Renew takes over the certificate that ServerOptions.ACME has now; nothing else
// is read. New handshakes see it. After an error everything is as it was. It must
// not be called beside Adopt.
func (s *Server) Renew() ([]Warning, error) {
	was := s.world.Load()
	w := *was
	w.identities, w.byPair = nil, make(map[*keystore.Pair]*identity)
	o := ServerOptions{ACME: was.acme, Now: was.plain.Time}
	warnings, err := w.loadPairs(&o)
	if err != nil {
		return nil, err
	}
	warnings = append(warnings, w.keepStatus(&o)...)
	w.plain = was.plain.Clone()
	w.plain.GetCertificate = w.certificateFor
	w.alpn = make(map[string]*tls.Config)
	for protocol, c := range was.alpn {
		w.alpn[protocol] = c.Clone()
		w.alpn[protocol].GetCertificate = w.certificateFor
	}
	w.bindTickets()
	s.world.Store(&w)
	was.forget() // after the new is there: what is known of the same certificate is kept
	return warnings, nil
}

// obtained is the certificate that k has, nil if there is none yet.
func obtained(k *acme.Keeper) (*keystore.Pair, error) {
	cert := k.Leaf()
	if cert == nil {
		return nil, nil
	}
	key, ok := cert.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s: the key can't sign", k.File())
	}
	p := &keystore.Pair{Key: key, File: k.File()}
	for _, der := range cert.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.File(), err)
		}
		p.Chain = append(p.Chain, c)
	}
	return p, nil
}
