package sallyport

import (
	"context"
	"crypto/tls"
	"fmt"

	"sallyport/certs"
	"sallyport/certs/keystore"
	"sallyport/certs/revocation"
	"sallyport/config"
)

// buildTLS reads the key material of listener l.
func (s *Server) buildTLS(w, old *world, l *config.Listener) error {
	opt, err := tlsOptions(s.ctx, l, s.cfg.FIPS)
	if err != nil {
		return fmt.Errorf("listener %s: %w", l.Name, err)
	}
	if a := l.TLS.ACME; a != nil {
		if opt.ACME, err = s.keeper(a); err != nil {
			return fmt.Errorf("listener %s: %w", l.Name, err)
		}
	}
	opt.Log, opt.Alarm, opt.Idle = s.log, s.stapleAlarm(l.Name), s.idle
	if s.turns != nil { // where handshakes are made
		opt.Outside = s.turns.Outside
	}
	var before *certs.Server
	if old != nil {
		before = old.tls[l.Name]
	}
	srv, warnings, err := certs.LoadServer(opt, before)
	if err != nil {
		return fmt.Errorf("listener %s: %w", l.Name, err)
	}
	for _, x := range warnings {
		w.warnings = append(w.warnings, warning{file: x.File, text: x.Text, exposed: x.Exposed})
	}
	w.tls[l.Name] = srv
	if before != nil {
		// The door keeps its Server: what was read now replaces what it holds.
		w.tls[l.Name], w.tlsFresh[l.Name] = before, srv
	}
	return nil
}

// discard gives up a world that is not put in the place of old.
func (w *world) discard(old *world) {
	w.closeLanes(old)
	for name, srv := range w.tls {
		var before *certs.Server
		if old != nil {
			before = old.tls[name]
		}
		if fresh := w.tlsFresh[name]; fresh != nil {
			srv = fresh
		}
		srv.Discard(before)
	}
}

// close ends what the key material in force does on the network.
func (w *world) close() {
	w.closeLanes(nil)
	for _, srv := range w.tls {
		srv.Close()
	}
}

// tlsOptions is what the TLS section of l means. Its passwords are fetched.
func tlsOptions(ctx context.Context, l *config.Listener, fips bool) (certs.ServerOptions, error) {
	t := l.TLS
	o := certs.ServerOptions{
		Name: l.Name, NoResumption: !t.Resumption, TicketFile: t.TicketKeys,
		CertFile: t.Certificate, KeyFile: t.Key, Alias: t.Alias, ClientCAFile: t.ClientCA, ALPN: t.ALPN, Revocation: revocationOf(t),
	}
	if l.Transport.Web() {
		o.ALPN = []string{"http/1.1"}
	}
	switch t.ClientAuth {
	case config.ClientAuthOptional:
		o.ClientAuth = tls.VerifyClientCertIfGiven
	case config.ClientAuthRequire:
		o.ClientAuth = tls.RequireAndVerifyClientCert
	}
	if t.OCSPStapling != nil {
		o.Stapling = &certs.Stapling{OverrideURL: t.OCSPStapling.OverrideURL, Interval: t.OCSPStapling.CacheInterval, Wait: t.OCSPStapling.StapleWait}
		if o.Stapling.Wait == 0 {
			o.Stapling.Wait = -1
		}
	}
	secrets := []struct {
		key  string
		from *config.Secret
		to   *[]byte
	}{
		{"password", t.Password, &o.Password}, {"key_password", t.KeyPassword, &o.KeyPassword},
		{"client_ca_password", t.ClientCAPassword, &o.ClientCAPassword},
	}
	if c := t.Certificates; c != nil {
		o.Directory = &keystore.DirectorySource{Path: c.Dir, Default: c.Default, Strict: c.StrictSNI}
		secrets = append(secrets, struct {
			key  string
			from *config.Secret
			to   *[]byte
		}{"certificates.password", c.Password, &o.Directory.Password})
	}
	for _, x := range secrets {
		if x.from == nil {
			continue
		}
		var err error
		if *x.to, err = x.from.Read(ctx); err != nil {
			return o, fmt.Errorf("tls.%s: %w", x.key, err)
		}
	}
	var err error
	o.Choice, err = t.Protocols(fips)
	return o, err
}

func revocationOf(t *config.TLS) certs.Revocation {
	r := certs.Revocation{
		CRLFiles: t.CRL, Points: t.CRLDistributionPoints, Wait: t.OCSPTimeout, Allow: t.RevocationNetworks, Within: t.RecheckInterval,
	}
	switch t.CRLMissing {
	case config.CRLMissingAcceptCA:
		r.Missing = revocation.AcceptMissingCA
	case config.CRLMissingAccept:
		r.Missing = revocation.AcceptMissing
	}
	if t.CRLExpired == config.CRLExpiredAccept {
		r.Expired = revocation.AcceptExpired
	}
	switch t.OCSP {
	case config.OCSPHardFail:
		r.OCSP = revocation.HardFail
	case config.OCSPSoftFail:
		r.OCSP = revocation.SoftFail
	}
	return r
}
