package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
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
	// MinVersion and MaxVersion are tls.VersionTLS12 or tls.VersionTLS13;
	// 0 is 1.2 and 1.3.
	MinVersion, MaxVersion uint16
	// CipherSuites are for TLS 1.2 (Go chooses for 1.3); empty is Go's
	// selection. Only those of tls.CipherSuites are accepted.
	CipherSuites []uint16
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
// the file has for them. Resumed sessions are judged like new ones.
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
	if err := checkVersions(o.MinVersion, o.MaxVersion); err != nil {
		return err
	}
	for _, id := range o.CipherSuites {
		if !slices.ContainsFunc(tls.CipherSuites(), func(s *tls.CipherSuite) bool {
			return s.ID == id && slices.Contains(s.SupportedVersions, tls.VersionTLS12)
		}) {
			return fmt.Errorf("cipher suite %s is not an accepted one of TLS 1.2", tls.CipherSuiteName(id))
		}
	}
	return nil
}

// checkVersions accepts TLS 1.2 and 1.3, and 0 as their ends.
func checkVersions(lowest, highest uint16) error {
	for _, v := range []uint16{lowest, highest} {
		if v != 0 && v != tls.VersionTLS12 && v != tls.VersionTLS13 {
			return fmt.Errorf("%s is not accepted: TLS 1.2 and TLS 1.3 are", tls.VersionName(v))
		}
	}
	if lowest != 0 && highest != 0 && lowest > highest {
		return errors.New("lowest TLS version is above the highest")
	}
	return nil
}

// Config returns the configuration for tls.Server. It follows every Reload.
func (s *Server) Config() *tls.Config { return s.base }

// Leaf returns the server's present certificate.
func (s *Server) Leaf() *x509.Certificate { return s.world.Load().leaf }

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
	config := &tls.Config{
		Certificates: []tls.Certificate{pair},
		MinVersion:   max(o.MinVersion, tls.VersionTLS12),
		MaxVersion:   o.MaxVersion,
		CipherSuites: o.CipherSuites,
		ClientAuth:   o.ClientAuth,
		Time:         o.Now,
		// The broker flushes in batches: small first records only cost writes.
		DynamicRecordSizingDisabled: true,
	}
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
		// Called on resumption too, unlike VerifyPeerCertificate.
		config.VerifyConnection = func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 {
				return nil // ClientAuth decides whether that is allowed
			}
			return revoked.Check(state.VerifiedChains, o.Now())
		}
	}
	w := &world{plain: config, alpn: make(map[string]*tls.Config), leaf: pair.Leaf, standing: newStanding(o, anchors, revoked)}
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
