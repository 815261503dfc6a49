package mosquitto

import (
	"crypto/tls"
	"slices"
	"strings"

	"sallyport/config"
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
		b.wrong(d.tlsVersion.at, "%s is broken and not offered; use tlsv1.2 or tlsv1.3", v)
	default:
		b.wrong(d.tlsVersion.at, "must be tlsv1.2 or tlsv1.3, not %s", shown(v))
	}
	if d.ciphers.string != "" && t.MinVersion == config.TLS12 {
		t.CipherSuites = b.ciphers(d.ciphers)
		b.places[key+".cipher_suites"] = d.ciphers.at
	} else if d.ciphers.string != "" {
		b.warn(d.ciphers.at, "has no use with tlsv1.3")
	}
	b.clientCertificates(key, d, l)
}

// withoutCertificate complains about TLS options of a listener without TLS.
func (b *builder) withoutCertificate(d *door) {
	for _, t := range []text{d.cafile, d.crlfile, d.tlsVersion, d.ciphers} {
		if t.string != "" {
			b.wrong(t.at, "needs certfile and keyfile")
		}
	}
	for _, f := range []toggle{d.requireCertificate, d.useIdentity} {
		if f.on {
			b.wrong(f.at, "needs certfile and keyfile")
		}
	}
}

func (b *builder) clientCertificates(key string, d *door, l *config.Listener) {
	if !d.requireCertificate.on {
		if d.useIdentity.on {
			b.wrong(d.useIdentity.at, "needs require_certificate true: otherwise no client shows a certificate")
		}
		if d.cafile.string != "" {
			b.warn(d.cafile.at, "has no effect without require_certificate true; intermediate certificates belong into certfile")
		}
		if d.crlfile.string != "" {
			b.warn(d.crlfile.at, "has no effect without require_certificate true")
		}
		return
	}
	if d.cafile.string == "" {
		b.wrong(d.requireCertificate.at, "needs cafile")
		return
	}
	l.TLS.ClientAuth = config.ClientAuthRequire
	l.TLS.ClientCA = b.setPath(key+".client_ca", d.cafile)
	l.TLS.CRL = b.setPath(key+".crl", d.crlfile)
	if d.useIdentity.on {
		l.Identity = config.IdentityCommonName
	}
}

// ciphers translates OpenSSL's names. What has no secure counterpart is left
// out with a warning; a list from which nothing remains is refused.
func (b *builder) ciphers(t text) []string {
	var out, left []string
	for name := range strings.FieldsFuncSeq(t.string, func(r rune) bool { return r == ':' || r == ',' || r == ' ' }) {
		iana := ianaName(name)
		switch {
		case iana == "":
			left = append(left, name)
		case !slices.Contains(out, iana):
			out = append(out, iana)
		}
	}
	if len(out) == 0 {
		b.wrong(t.at, "names no cipher suite of TLS 1.2 that is secure and known by name")
	} else if len(left) > 0 {
		b.warn(t.at, "left out, as insecure or not a plain name: %s", shown(strings.Join(left, ":")))
	}
	return out
}

// ianaName is the IANA name of a secure TLS 1.2 suite, "" if openssl names none.
// TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 is ECDHE-RSA-AES128-GCM-SHA256 there.
func ianaName(openssl string) string {
	for _, s := range tls.CipherSuites() {
		name := strings.TrimPrefix(s.Name, "TLS_")
		name = strings.Replace(name, "_WITH_", "_", 1)
		name = strings.Replace(name, "AES_128", "AES128", 1)
		name = strings.Replace(name, "AES_256", "AES256", 1)
		name = strings.Replace(name, "CBC_", "", 1)
		name = strings.ReplaceAll(name, "_", "-")
		if strings.Contains(name, "CHACHA20") {
			name = strings.TrimSuffix(name, "-SHA256")
		}
		if name == openssl && slices.Contains(s.SupportedVersions, tls.VersionTLS12) {
			return s.Name
		}
	}
	return ""
}
