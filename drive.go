package sallyport

import (
	"errors"
	"fmt"
	"runtime"

	"sallyport/broker"
	"sallyport/config"
	"sallyport/internal/suites"
	"sallyport/listener"
	"sallyport/security/authn"
)

// openLoops starts the event loops, one for each processor, unless the
// configuration or the system wants a goroutine for each connection.
func (s *Server) openLoops() error {
	if s.cfg.Driver == config.DriverGoroutine {
		return nil
	}
	loops, err := s.broker.NewLoops(runtime.GOMAXPROCS(0))
	if errors.Is(err, errors.ErrUnsupported) && s.cfg.Driver == config.DriverAuto {
		return nil
	}
	if err != nil {
		return fmt.Errorf("driver %s: %w", s.cfg.Driver, err)
	}
	s.loops = loops
	return nil
}

// serveDoor accepts on one listener until it is closed.
func (s *Server) serveDoor(d *listener.Listener) error {
	if s.loops != nil {
		if err := d.ServeSockets(s.admitSocket); !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	return d.Serve(s.admit)
}

// admit hands an accepted connection to the engine, on its own goroutine.
func (s *Server) admit(c *listener.Conn) { s.broker.Serve(c, s.engineInfo(&c.Info)) }

// admitSocket hands an accepted socket to an event loop.
func (s *Server) admitSocket(c listener.Socket) {
	if c.Stream == nil {
		s.loops.Serve(c.FD, nil, s.engineInfo(&c.Info), c.Done)
		return
	}
	s.loops.Serve(c.FD, stream{c.Stream}, s.engineInfo(&c.Info), c.Done)
}

// stream is a listener's Stream as the engine wants it.
type stream struct{ *listener.Stream }

// More implements broker.Stream.
func (stream) More(err error) bool { return errors.Is(err, listener.ErrMore) }

// engineInfo is what the engine has to know of a connection.
func (s *Server) engineInfo(c *listener.Info) broker.Info {
	info := broker.Info{
		Listener: c.Listener, Remote: c.Remote,
		// A proxy's Unix socket says nothing about the way to the client that it names.
		Secure: c.Transport.Secure() || c.Transport == listener.Unix && !c.Remote.IsValid(),
		Creds:  authn.Credentials{Header: c.Header, Query: c.Query},
	}
	if c.TLS != nil {
		info.TLS, info.Creds.TLS = suites.Of(c.TLS), c.TLS
		s.certificate(c, &info.Creds)
	}
	if c.Peer != nil && c.Proxy == nil { // of a proxy's socket it is the proxy
		info.Creds.Peer = &authn.Peer{UID: c.Peer.UID, GID: c.Peer.GID}
	}
	if c.Proxy != nil && c.Proxy.Header != nil && c.Proxy.Header.SSL != nil {
		if ssl := c.Proxy.Header.SSL; ssl.Shown() {
			info.Creds.Proxied = &authn.ProxyCertificate{CommonName: ssl.CN, Verified: ssl.Verified()}
		}
	}
	return info
}

// certificate is what a client's certificate says about who it is.
func (s *Server) certificate(c *listener.Info, creds *authn.Credentials) {
	if len(c.TLS.PeerCertificates) == 0 {
		return
	}
	creds.Cert = c.TLS.PeerCertificates[0]
	if chain := s.doorTLS[c.Listener].Chosen(c.TLS.VerifiedChains); chain != nil {
		creds.CertVerified, creds.Anchor, creds.Chain = true, chain[len(chain)-1], chain
		creds.CertExpires = authn.Expiry(chain, c.TLS.VerifiedChains)
	}
}
