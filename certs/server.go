package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"sallyport/internal/suites"
)

// ServerOptions names the files of a TLS listener and its rules.
type ServerOptions struct {
	CertFile string // PEM, the leaf first, then its intermediates
	KeyFile  string // PEM, not encrypted
	// ClientCAFile holds the CAs that client certificates are verified with.
	// It is required when ClientAuth verifies.
	ClientCAFile string
	// ClientAuth is tls.NoClientCert, tls.VerifyClientCertIfGiven or
	// tls.RequireAndVerifyClientCert; modes that don't verify are refused.
	ClientAuth tls.ClientAuthType
	// CRLFile holds PEM revocation lists of the client CAs; see [Server] for
	// how they are applied. It requires ClientCAFile.
	CRLFile string
	// Choice says which versions, suites and groups are spoken.
	suites.Choice
	// ALPN are protocols to confirm to clients that offer them. A client that
	// offers only others is served without one, not refused.
	ALPN []string
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Server is the TLS side of one listener. It is safe for concurrent use.
//
// A client certificate is refused when a revocation list of its issuer says so,
// and, as Mosquitto does, when a CRL file is configured but holds no list of
// its issuer, or only one that is expired, not yet valid, or wrongly signed.
// Certificates between it and the trust anchor are held against the lists that
// the file has for them. Resumed sessions are judged like new ones, for version,
// suite and group too: a session that was begun under other rules is refused.
type Server struct {
	options ServerOptions
	base    *tls.Config
	world   atomic.Pointer[world]
}

// world is what one (re)load made: immutable.
type world struct {
	plain    *tls.Config
	alpn     map[string]*tls.Config // plain, confirming one protocol
	leaf     *x509.Certificate
	speaks   *suites.Set
	standing standing
}

// LoadServer reads the files of o. Warnings are for the log; they come with
// a usable Server.
func LoadServer(o ServerOptions) (*Server, []Warning, error) {
	if err := o.check(); err != nil {
		return nil, nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{options: o}
	warnings, err := s.Reload()
	if err != nil {
		return nil, nil, err
	}
	// Session ticket keys belong to base and rotate there, so they outlive reloads.
	s.base = s.world.Load().plain.Clone()
	s.base.GetConfigForClient = s.configFor
	return s, warnings, nil
}

func (o *ServerOptions) check() error {
	verifies := o.ClientAuth == tls.VerifyClientCertIfGiven || o.ClientAuth == tls.RequireAndVerifyClientCert
	switch {
	case o.CertFile == "" || o.KeyFile == "":
		return errors.New("TLS needs a certificate file and a key file")
	case o.ClientAuth != tls.NoClientCert && !verifies:
		return errors.New("client certificates that are asked for must be verified")
	case verifies && o.ClientCAFile == "":
		return errors.New("client certificates can't be verified without a CA file")
	case o.CRLFile != "" && o.ClientCAFile == "":
		return errors.New("a revocation list needs the CA file of the client certificates")
	}
	return o.Choice.Err()
}

// Config returns the configuration for tls.Server. It follows every Reload.
func (s *Server) Config() *tls.Config { return s.base }

// Leaf returns the server's present certificate.
func (s *Server) Leaf() *x509.Certificate { return s.world.Load().leaf }

// Speaks returns the versions, suites and groups of the listener.
func (s *Server) Speaks() *suites.Set { return s.world.Load().speaks }

// Verify is what a handshake would do with a client's chain, leaf first, its
// revocation lists included. It returns the chains to the client CAs.
func (s *Server) Verify(chain []*x509.Certificate) ([][]*x509.Certificate, error) {
	w := s.world.Load()
	o := x509.VerifyOptions{
		Roots: w.plain.ClientCAs, Intermediates: x509.NewCertPool(), CurrentTime: s.options.Now(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, // as crypto/tls has it
	}
	if o.Roots == nil {
		return nil, errors.New("the listener has no CA of client certificates") // and not the system's
	}
	for _, c := range chain[1:] {
		o.Intermediates.AddCert(c)
	}
	verified, err := chain[0].Verify(o)
	if err == nil && w.standing.revoked != nil {
		err = w.standing.revoked.Check(verified, s.options.Now())
	}
	return verified, err
}

// Reload reads the files again. New handshakes use them; of open connections
// [Server.Keeps] tells which may go on. After an error everything is as it was.
func (s *Server) Reload() ([]Warning, error) {
	w, warnings, err := build(&s.options)
	if err != nil {
		return nil, err
	}
	s.world.Store(w)
	return warnings, nil
}

// Adopt takes over what fresh has read: a reload whose files were judged
// before they are put to use. Both have the same ALPN protocols.
func (s *Server) Adopt(fresh *Server) {
	s.world.Store(fresh.world.Load())
}

func build(o *ServerOptions) (*world, []Warning, error) {
	pair, err := loadPair(o.CertFile, o.KeyFile)
	if err != nil {
		return nil, nil, err
	}
	warnings := append(inspectLeaf(o.CertFile, pair.Leaf, o.Now()), inspectMode(o.KeyFile)...)
	speaks, wrong := o.Choice.Set()
	if wrong != nil {
		return nil, nil, o.Choice.Err()
	}
	if err := speaks.Fits(suites.KeyOf(pair.Leaf.PublicKey)); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", o.CertFile, err)
	}
	config := &tls.Config{
		Certificates: []tls.Certificate{pair},
		ClientAuth:   o.ClientAuth,
		Time:         o.Now,
		// The broker flushes in batches: small first records only cost writes.
		DynamicRecordSizingDisabled: true,
	}
	speaks.Apply(config)
	var anchors []*x509.Certificate
	if o.ClientCAFile != "" {
		if anchors, err = LoadCertificates(o.ClientCAFile); err != nil {
			return nil, nil, fmt.Errorf("client CA: %w", err)
		}
		config.ClientCAs = x509.NewCertPool()
		for _, c := range anchors {
			config.ClientCAs.AddCert(c)
			if o.Now().After(c.NotAfter) {
				warnings = append(warnings, Warning{o.ClientCAFile, "a CA certificate in it has expired"})
			}
		}
	}
	var revoked *CRL
	if o.CRLFile != "" {
		if revoked, err = LoadCRL(o.CRLFile, anchors); err != nil {
			return nil, nil, err
		}
		warnings = append(warnings, revoked.inspect(o.CRLFile, o.Now())...)
	}
	// Called on resumption too, unlike VerifyPeerCertificate.
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if err := speaks.Permits(suites.Of(&state)); err != nil {
			return err
		}
		if revoked == nil || len(state.PeerCertificates) == 0 {
			return nil // ClientAuth decides whether that is allowed
		}
		return revoked.Check(state.VerifiedChains, o.Now())
	}
	w := &world{plain: config, alpn: make(map[string]*tls.Config), leaf: pair.Leaf, speaks: speaks, standing: newStanding(o, anchors, revoked)}
	for _, protocol := range o.ALPN {
		c := config.Clone()
		c.NextProtos = []string{protocol}
		w.alpn[protocol] = c
	}
	return w, warnings, nil
}

// configFor chooses the configuration of one handshake.
func (s *Server) configFor(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	w := s.world.Load()
	for _, protocol := range s.options.ALPN {
		if slices.Contains(hello.SupportedProtos, protocol) {
			return w.alpn[protocol], nil
		}
	}
	return w.plain, nil
}
