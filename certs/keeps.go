package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// Keeps reports why a client that an earlier handshake let in would be refused
// for its certificate by one of now; nil if it stays. chain is the one that was
// verified then, leaf to anchor, and is trusted to have been; empty says that the
// client showed no certificate. A listener that asks for none keeps everybody.
//
// The mere passing of time ends nothing that stands: dates of certificates are
// not looked at, and of revocation lists that have all expired the newest counts.
// It waits for nothing: an OCSP answer that is not at hand is asked for, and
// counts the next time.
func (s *Server) Keeps(chain []*x509.Certificate) error {
	return s.world.Load().trust.keeps(chain)
}

// Chosen returns, of the chains that a handshake verified, the first that ends in
// an anchor of now and is not revoked: it is the one whose anchor vouches for the
// client. A reload may have come since, and the chains of a resumed session are as
// old as its ticket. Nil for none.
func (s *Server) Chosen(chains [][]*x509.Certificate) []*x509.Certificate {
	switch len(chains) {
	case 0:
		return nil
	case 1:
		return chains[0]
	}
	t := s.world.Load().trust
	for _, chain := range t.standing(chains) {
		if t.unrevoked([][]*x509.Certificate{chain}) == nil {
			return chain
		}
	}
	return chains[0] // a reload has come between; Keeps will see it
}

func (t *trust) keeps(chain []*x509.Certificate) error {
	switch {
	case t.auth == tls.NoClientCert:
		return nil
	case len(chain) == 0 && t.auth == tls.RequireAndVerifyClientCert:
		return errors.New("a client certificate is required")
	case len(chain) == 0:
		return nil
	}
	// Every signature of the chain was verified once, and nothing in it changes:
	// while its anchor is one, only its revocation is open. So a reload judges a
	// hundred thousand connections without verifying as many signatures.
	if _, trusted := t.known[asIssuer(chain[len(chain)-1])]; trusted && t.unrevoked([][]*x509.Certificate{chain}) == nil {
		return nil
	}
	chains, err := t.verifyAgain(chain)
	if err != nil {
		return fmt.Errorf("certificate is not trusted any more: %w", err)
	}
	return t.unrevoked(chains)
}

// verifyAgain finds the leaf's chains to the present anchors, by the certificates
// that the client sent with it. The anchor of old is none of them.
func (t *trust) verifyAgain(chain []*x509.Certificate) ([][]*x509.Certificate, error) {
	o := x509.VerifyOptions{
		Roots: t.timeless, Intermediates: x509.NewCertPool(), CurrentTime: t.now(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, // as crypto/tls has it
	}
	for i := 1; i < len(chain)-1; i++ {
		o.Intermediates.AddCert(timeless(chain[i]))
	}
	return timeless(chain[0]).Verify(o)
}

func (t *trust) unrevoked(chains [][]*x509.Certificate) error {
	if t.checker == nil {
		return nil
	}
	return t.checker.Recheck(chains)
}
