package mosquitto

import (
	"crypto/tls"
	"slices"
	"strings"

	"sallyport/config"
	"sallyport/internal/suites"
)

// tls maps the certificate options of d.
func (b *builder) tls(key string, d *door, l *config.Listener) {
	if d.certfile.string == "" && d.keyfile.string == "" {
		b.withoutCertificate(d)
		return
	}
	if d.path != "" {
		b.wrong(d.at, "TLS on a unix socket is not supported")
		return
	}
	l.Transport = config.TLSTCP
	if d.web {
		l.Transport = config.WSS
	}
	t := &config.TLS{}
	t.SetDefaults()
	l.TLS = t
	key += ".tls"
	t.Certificate = b.setPath(key+".certificate", d.certfile)
	t.Key = b.setPath(key+".key", d.keyfile)
	if t.Certificate == "" {
		b.wrong(d.keyfile.at, "needs certfile beside it")
	}
	if t.Key == "" {
		b.wrong(d.certfile.at, "needs keyfile beside it")
	}
	switch v := d.tlsVersion.string; v {
	case "", "tlsv1.2":
	case "tlsv1.3":
		t.MinVersion = config.TLS13
	case "tlsv1", "tlsv1.0", "tlsv1.1":
		b.wrong(d.tlsVersion.at, "%s is broken; use tlsv1.2 or tlsv1.3 (a native configuration can accept it, with legacy: true)", v)
	default:
		b.wrong(d.tlsVersion.at, "must be tlsv1.2 or tlsv1.3, not %s", shown(v))
	}
	b.suites(key, d, t)
	b.clientCertificates(key, d, l)
}

// withoutCertificate complains about TLS options of a listener without TLS.
func (b *builder) withoutCertificate(d *door) {
	for _, t := range []text{d.cafile, d.capath, d.crlfile, d.tlsVersion, d.ciphers, d.ciphers13} {
		if t.string != "" {
			b.wrong(t.at, "needs certfile and keyfile")
		}
	}
	for _, f := range []toggle{d.requireCertificate, d.useIdentity, d.useSubject} {
		if f.on {
			b.wrong(f.at, "needs certfile and keyfile")
		}
	}
}

func (b *builder) clientCertificates(key string, d *door, l *config.Listener) {
	if !d.requireCertificate.on {
		for _, use := range []toggle{d.useIdentity, d.useSubject} {
			if use.on {
				b.wrong(use.at, "needs require_certificate true: otherwise no client shows a certificate")
			}
		}
		if d.cafile.string != "" {
			b.warn(d.cafile.at, "has no effect without require_certificate true; intermediate certificates belong into certfile")
		}
		if d.capath.string != "" {
			b.warn(d.capath.at, "has no effect without require_certificate true")
		}
		if d.crlfile.string != "" {
			b.warn(d.crlfile.at, "has no effect without require_certificate true")
		}
		return
	}
	ca := d.cafile
	switch {
	case ca.string == "" && d.capath.string == "":
		b.wrong(d.requireCertificate.at, "needs cafile or capath")
		return
	case ca.string != "" && d.capath.string != "":
		b.wrong(d.capath.at, "goes with no cafile here: put that file into the folder")
		return
	case ca.string == "":
		ca = d.capath
	}
	l.TLS.ClientAuth = config.ClientAuthRequire
	l.TLS.ClientCA = b.setPath(key+".client_ca", ca)
	if d.crlfile.string != "" {
		l.TLS.CRL = config.Many[string]{b.setPath(key+".crl[0]", d.crlfile)}
		// Mosquitto checks the client's own certificate alone.
		l.TLS.CRLMissing = config.CRLMissingAcceptCA
	}
	l.TLS.DisconnectOnExpiry = false // Mosquitto looks at dates during the handshake only
	switch {
	case d.useIdentity.on && d.useSubject.on:
		b.warn(d.useSubject.at, "has no effect beside use_identity_as_username, as in Mosquitto")
		l.Identity = config.IdentityCommonName
	case d.useIdentity.on:
		l.Identity = config.IdentityCommonName
	case d.useSubject.on:
		l.Identity = config.IdentitySubject
	}
}

// suites maps ciphers and ciphers_tls1.3. Each holds for its own versions in
// Mosquitto, and the one that is not set is OpenSSL's choice: here every suite
// that is not legacy.
func (b *builder) suites(key string, d *door, t *config.TLS) {
	old, since13 := d.ciphers, d.ciphers13
	if old.string != "" && t.MinVersion == config.TLS13 {
		b.warn(old.at, "has no use with tlsv1.3")
		old = text{}
	}
	if old.string == "" && since13.string == "" {
		return
	}
	var out []string
	if t.MinVersion != config.TLS13 {
		if out = b.ciphers(old, "TLS 1.2", tls.VersionTLS12); out == nil {
			return // refused
		}
	}
	every, named := b.ciphers(text{}, "TLS 1.3", tls.VersionTLS13), b.ciphers(since13, "TLS 1.3", tls.VersionTLS13)
	if named == nil {
		return
	}
	if len(named) < len(every) {
		b.warn(since13.at, "a client that offers other suites of TLS 1.3 beside these may be refused: Go chooses among all that it offers, and what came out is checked")
	}
	t.CipherSuites = append(out, named...)
	at := since13.at
	if old.string != "" {
		at = old.at
	}
	b.places[key+".cipher_suites"] = at
}

// ciphers translates a list of OpenSSL's, as far as it is about version v. What has
// no secure counterpart is left out with a warning; a list from which nothing
// remains is refused. No list is every suite that is not legacy.
func (b *builder) ciphers(t text, name string, v uint16) []string {
	var out []string
	if t.string == "" {
		for _, s := range suites.All() {
			if s.Legacy == "" && s.Here() && slices.Contains(s.Versions, v) {
				out = append(out, s.Name)
			}
		}
		return out
	}
	list, err := suites.ParseOpenSSL(t.string)
	if err != nil {
		b.wrong(t.at, "%v", err)
		return nil
	}
	left := list.Left
	for _, s := range list.Suites {
		if s.Legacy != "" || !s.Here() || !slices.Contains(s.Versions, v) {
			left = append(left, s.OpenSSL)
			continue
		}
		out = append(out, s.Name)
	}
	if len(out) == 0 {
		b.wrong(t.at, "names no secure cipher suite of %s that is known here", name)
	} else if len(left) > 0 {
		b.warn(t.at, "left out, as insecure, of another version or not known here: %s", shown(strings.Join(left, ":")))
	}
	return out
}
