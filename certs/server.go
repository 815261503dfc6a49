package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"sallyport/certs/acme"
	"sallyport/certs/keystore"
	"sallyport/certs/revocation"
	"sallyport/certs/staple"
	"sallyport/internal/suites"
)

// ServerOptions names the files of a TLS listener and its rules.
type ServerOptions struct {
	// Name is the listener's, for the scope of its session tickets; without one
	// they are no other's.
	Name string
	// CertFile holds the certificate, the leaf first, then its intermediates: PEM,
	// or a PKCS#12 or Java store that holds the key too.
	CertFile string
	// KeyFile holds the key, PEM, where CertFile doesn't.
	KeyFile string
	// Password, KeyPassword and Alias are as in [keystore.Source].
	Password, KeyPassword []byte
	Alias                 string
	// ACME obtains the certificate and answers challenges, in the place of
	// CertFile. Until it has one, handshakes are refused; see [Server.Renew].
	ACME *acme.Keeper
	// Directory has certificates by server name, in the place of CertFile.
	Directory *keystore.DirectorySource
	// ClientCAFile holds the CAs that client certificates are verified with, in
	// any form that [keystore.TrustSource] knows. It is required when ClientAuth verifies.
	ClientCAFile     string
	ClientCAPassword []byte
	// ClientAuth is tls.NoClientCert, tls.VerifyClientCertIfGiven or
	// tls.RequireAndVerifyClientCert; modes that don't verify are refused.
	ClientAuth tls.ClientAuthType
	Revocation Revocation
	// Stapling keeps the OCSP status of the certificates at hand; nil staples nothing.
	Stapling *Stapling
	// Choice says which versions, suites and groups are spoken.
	suites.Choice
	// ALPN are protocols to confirm to clients that offer them, favourite first. A
	// client that offers only others is served without one, not refused.
	ALPN []string
	// NoResumption gives out no session tickets and takes none.
	NoResumption bool
	// TicketFile holds the ticket keys of a fleet; see [tickets.Load]. "" is keys
	// of this process.
	TicketFile string
	// Log and Alarm are told of stapling; nil for nobody. Alarm must not block.
	Log   *slog.Logger
	Alarm func(staple.Alarm)
	// Idle asks the network for nothing by itself: for checks of a configuration.
	Idle bool
	// Outside runs what waits for the network in a handshake, so that it need not
	// count as one that computes; nil just runs it.
	Outside func(wait func())
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Stapling is how often the status of our own certificates is asked for; zero
// values are the defaults of [staple.Options].
type Stapling struct {
	OverrideURL string
	Interval    time.Duration
	Wait        time.Duration // less than 0: none
}

// Server is the TLS side of one listener. It is safe for concurrent use.
//
// A session ticket is good for one listener with one set of client CAs and rules:
// under others its client begins anew. Everything that is asked of a client's
// certificate is asked in resumed sessions as in new ones, and so are version,
// suite and group.
type Server struct {
	base  *tls.Config
	world atomic.Pointer[world]
}

// LoadServer reads the files of o. Warnings are for the log; they come with a
// usable Server, which must be closed. before is the Server that the new one is
// to be adopted by, nil for none: they share what was fetched and cached.
func LoadServer(o ServerOptions, before *Server) (*Server, []Warning, error) {
	if err := o.check(); err != nil {
		return nil, nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	var shared *world
	if before != nil {
		shared = before.world.Load()
	}
	w, warnings, err := build(&o, shared)
	if err != nil {
		return nil, nil, err
	}
	s := &Server{}
	s.world.Store(w)
	s.base = &tls.Config{
		// Without any certificate crypto/tls refuses a configuration before it asks
		// for another.
		GetCertificate:     func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil },
		GetConfigForClient: s.configFor,
		// Where a configuration has no ticket keys crypto/tls takes this one's.
		SessionTicketsDisabled: true,
		MinVersion:             tls.VersionTLS12,
	}
	return s, warnings, nil
}

func (o *ServerOptions) check() error {
	verifies := o.ClientAuth == tls.VerifyClientCertIfGiven || o.ClientAuth == tls.RequireAndVerifyClientCert
	switch {
	case o.CertFile == "" && o.Directory == nil && o.ACME == nil:
		return errors.New("TLS needs a certificate file")
	case o.Directory != nil && o.CertFile != "":
		return errors.New("TLS needs a certificate file or a folder of them, not both")
	case o.ACME != nil && (o.Directory != nil || o.CertFile != ""):
		return errors.New("TLS needs a certificate that is obtained or one from a file, not both")
	case o.ClientAuth != tls.NoClientCert && !verifies:
		return errors.New("client certificates that are asked for must be verified")
	case verifies && o.ClientCAFile == "":
		return errors.New("client certificates can't be verified without a CA file")
	case o.Revocation.on() && o.ClientCAFile == "":
		return errors.New("revocation needs the CA file of the client certificates")
	}
	return o.Choice.Err()
}

// Config returns the configuration for tls.Server. It follows every Adopt.
func (s *Server) Config() *tls.Config { return s.base }

// Leaves returns the server's present certificates.
func (s *Server) Leaves() []*x509.Certificate {
	var all []*x509.Certificate
	for _, i := range s.world.Load().identities {
		all = append(all, i.pair.Leaf())
	}
	return all
}

// Speaks returns the versions, suites and groups of the listener.
func (s *Server) Speaks() *suites.Set { return s.world.Load().speaks }

// Verify is what a handshake would do with a client's chain, leaf first, its
// revocation included. It returns the chains to the client CAs.
func (s *Server) Verify(chain []*x509.Certificate) ([][]*x509.Certificate, error) {
	return s.world.Load().trust.verifyNew(chain)
}

// Adopt takes over what fresh has read: a reload whose files were judged before
// they are put to use. fresh must have been loaded with s as the one before, and
// must not be used or closed any more. New handshakes use its files; of open
// connections [Server.Keeps] tells which may go on.
func (s *Server) Adopt(fresh *Server) {
	was := s.world.Swap(fresh.world.Load())
	was.close(fresh.world.Load())
}

// Discard gives up a Server that was loaded to be adopted by before, and isn't.
func (s *Server) Discard(before *Server) {
	var shared *world
	if before != nil {
		shared = before.world.Load()
	}
	s.world.Load().close(shared)
}

// Close ends what s does on the network. Handshakes go on with what is known.
func (s *Server) Close() { s.Discard(nil) }

// Rotate lets session ticket keys end on time also while nobody connects.
func (s *Server) Rotate() {
	if ring := s.world.Load().keepers.ring; ring != nil {
		ring.Rotate()
	}
}

// Lists returns the state of every revocation list that counts, those from files
// and those that were fetched.
func (s *Server) Lists() []revocation.State {
	if c := s.world.Load().trust.checker; c != nil {
		return c.States()
	}
	return nil
}

// Staples returns what is known of the status of the server's own certificates.
func (s *Server) Staples() []staple.State {
	var all []staple.State
	for _, i := range s.world.Load().identities {
		if i.staple != nil {
			all = append(all, i.staple.State())
		}
	}
	return all
}

// InUse is a certificate that a listener depends on.
type InUse struct {
	Certificate *x509.Certificate
	Use         string // "server" or "client_ca"
	File        string
}

// InUse returns every certificate whose end would be noticed: the chains that the
// server shows and the CAs that it trusts.
func (s *Server) InUse() []InUse {
	w := s.world.Load()
	var all []InUse
	for _, i := range w.identities {
		for _, c := range i.pair.Chain {
			all = append(all, InUse{c, "server", i.pair.File})
		}
	}
	for _, c := range w.trust.anchors {
		all = append(all, InUse{c, "client_ca", w.clientCA})
	}
	return all
}
