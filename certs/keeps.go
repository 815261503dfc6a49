package certs

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// standing is what certificates that were verified before are held against.
type standing struct {
	auth    tls.ClientAuthType
	anchors map[string]struct{} // the client CAs, as asIssuer
	roots   *x509.CertPool      // the same, as timeless
	revoked *CRL                // nil without a revocation list
	now     func() time.Time
}

func newStanding(o *ServerOptions, anchors []*x509.Certificate, revoked *CRL) standing {
	s := standing{auth: o.ClientAuth, anchors: make(map[string]struct{}, len(anchors)), roots: x509.NewCertPool(), revoked: revoked, now: o.Now}
	for _, c := range anchors {
		s.anchors[asIssuer(c)] = struct{}{}
		s.roots.AddCert(timeless(c))
	}
	return s
}

// Keeps reports why a client that an earlier handshake let in would be refused
// for its certificate by one of now; nil if it stays. chain is the one that was
// verified then, leaf to anchor, and is trusted to have been; empty says that the
// client showed no certificate. A listener that asks for none keeps everybody.
//
// The mere passing of time ends nothing that stands: dates of certificates are
// not looked at, and of revocation lists that have all expired the newest counts.
func (s *Server) Keeps(chain []*x509.Certificate) error {
	return s.world.Load().standing.keeps(chain)
}

func (s *standing) keeps(chain []*x509.Certificate) error {
	switch {
	case s.auth == tls.NoClientCert:
		return nil
	case len(chain) == 0 && s.auth == tls.RequireAndVerifyClientCert:
		return errors.New("a client certificate is required")
	case len(chain) == 0:
		return nil
	}
	// Every signature of the chain was verified once, and nothing in it changes:
	// while its anchor is one, only its revocation is open. So a reload judges a
	// hundred thousand connections without verifying as many signatures.
	if _, trusted := s.anchors[asIssuer(chain[len(chain)-1])]; trusted && s.unrevoked([][]*x509.Certificate{chain}) == nil {
		return nil
	}
	chains, err := s.verify(chain)
	if err != nil {
		return fmt.Errorf("certificate is not trusted any more: %w", err)
	}
	return s.unrevoked(chains)
}

// verify finds the leaf's chains to the present anchors, by the certificates
// that the client sent with it. The anchor of old is none of them.
func (s *standing) verify(chain []*x509.Certificate) ([][]*x509.Certificate, error) {
	o := x509.VerifyOptions{
		Roots: s.roots, Intermediates: x509.NewCertPool(), CurrentTime: s.now(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, // as crypto/tls has it
	}
	for i := 1; i < len(chain)-1; i++ {
		o.Intermediates.AddCert(timeless(chain[i]))
	}
	return timeless(chain[0]).Verify(o)
}

func (s *standing) unrevoked(chains [][]*x509.Certificate) error {
	if s.revoked == nil {
		return nil
	}
	return s.revoked.check(chains, s.now(), true)
}

// timeless is a copy of c that was always valid and always will be: crypto/x509
// can't be told to leave dates alone, but reads them here and not in the DER.
func timeless(c *x509.Certificate) *x509.Certificate {
	t := *c
	t.NotBefore, t.NotAfter = time.Time{}, time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC) // RFC 5280, 4.1.2.5
	return &t
}

// asIssuer is what of a CA's certificate decides about the chains below it: its
// name, its key, and every extension. A renewal usually changes none of them.
func asIssuer(c *x509.Certificate) string {
	b := make([]byte, 0, len(c.Raw)+8*len(c.Extensions))
	add := func(part []byte) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(part))) // parts can't run into each other
		b = append(b, part...)
	}
	add(c.RawSubject)
	add(c.RawSubjectPublicKeyInfo)
	for _, e := range c.Extensions {
		add([]byte(e.Id.String()))
		add(e.Value)
		if e.Critical {
			add([]byte("critical"))
		}
	}
	return string(b)
}
