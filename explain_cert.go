package sallyport

import (
	"crypto/x509"
	"fmt"

	"sallyport/certs"
	"sallyport/config"
	"sallyport/security/authn"
	"sallyport/security/expect"
)

// judgeCertificate shows who's certificate to the listener, as a handshake does,
// and puts it into cr; false refuses. The error says that its file can't be read.
func (a *admission) judgeCertificate(l *config.Listener, srv *certs.Server, who *expect.Who, cr *authn.Credentials) (bool, error) {
	s := expect.Said{By: "tls", Reached: true}
	var chain []*x509.Certificate
	if who.Certificate != "" {
		var err error
		if chain, err = readChain(who.Certificate); err != nil {
			return false, err
		}
	}
	asked := srv != nil && l.TLS.ClientAuth != config.ClientAuthNone
	switch {
	case who.Certificate == "" && (!asked || l.TLS.ClientAuth != config.ClientAuthRequire):
		return true, nil
	case who.Certificate == "":
		s.Says, s.Refuses = "the listener requires a client certificate, and none was given", true
		s.Opposite = "show a certificate that tls.client_ca of listener " + l.Name + " has signed"
	case !asked:
		s.Says = "the listener does not ask for a client certificate: it is not looked at"
	default:
		verified, err := srv.Verify(chain)
		if err != nil {
			s.Says, s.Refuses = "the client certificate is refused: "+err.Error(), true
			break
		}
		s.Says = "the client certificate " + chain[0].Subject.String() + " is verified"
		cr.Cert, cr.CertVerified, cr.Anchor, cr.Chain = chain[0], true, verified[0][len(verified[0])-1], verified[0]
		cr.CertExpires = authn.Expiry(verified[0], verified)
	}
	a.said = append(a.said, s)
	return !s.Refuses, nil
}

// readChain reads a client's certificate and what it sends with it.
func readChain(path string) ([]*x509.Certificate, error) {
	chain, err := certs.LoadCertificates(path)
	if err == nil && len(chain) == 0 {
		err = fmt.Errorf("%s: holds no certificate", path)
	}
	return chain, err
}
