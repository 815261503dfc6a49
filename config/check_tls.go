package config

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// Bounds of a TLS section.
const (
	maxOCSPTimeout     = 10 * time.Second
	maxStapleWait      = 5 * time.Second
	leastCacheInterval = 15 * time.Second // between requests that fail
	maxALPN            = 16
	leastRecheck       = 5 * time.Minute // of which lists and answers may be a third old, and not less than a minute
)

// paths is where the files and folders of t are named.
func (t *TLS) paths() []*string {
	all := []*string{&t.Certificate, &t.Key, &t.ClientCA, &t.TicketKeys}
	for i := range t.CRL {
		all = append(all, &t.CRL[i])
	}
	secrets := []*Secret{t.Password, t.KeyPassword, t.ClientCAPassword}
	if c := t.Certificates; c != nil {
		all = append(all, &c.Dir)
		secrets = append(secrets, c.Password)
	}
	if a := t.ACME; a != nil {
		all = append(all, &a.CAFile) // the storage is the broker's, and not watched
		if a.ExternalAccount != nil {
			secrets = append(secrets, &a.ExternalAccount.Key)
		}
	}
	for _, s := range secrets {
		if s != nil {
			all = append(all, &s.File)
		}
	}
	return all
}

// maxWithin bounds how many files of a folder are watched.
const maxWithin = 10_000

// watched is path, or, of a folder, its names (see [ReadSum]) and the files in it.
func watched(path string) []string {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return []string{path}
	}
	all := []string{filepath.Clean(path) + string(filepath.Separator)}
	entries, err := os.ReadDir(path)
	if err != nil {
		return all // loading says so
	}
	for _, e := range entries[:min(len(entries), maxWithin)] {
		at := filepath.Join(path, e.Name())
		// What a link leads to counts. Kubernetes keeps its files in a folder beside the links.
		if info, err := os.Stat(at); err == nil && info.Mode().Type() == fs.FileMode(0) {
			all = append(all, at)
		}
	}
	return all
}

func (k *checker) tls(key string, l *Listener) {
	if !l.Transport.Secure() {
		if l.TLS != nil {
			k.wrong(key+".tls", "transport %s has no TLS; use %s", l.Transport, map[bool]Transport{true: WSS, false: TLSTCP}[l.Transport.Web()])
		}
		return
	}
	if l.TLS == nil {
		k.wrong(key+".tls", "transport %s needs tls.certificate and tls.key", l.Transport)
		return
	}
	t := l.TLS
	key += ".tls"
	if t.ACME != nil {
		k.acme(key, t)
	} else {
		k.ownCertificate(key, t)
	}
	k.clientCertificates(key, t)
	k.demands(key, t)
	k.stapling(key+".ocsp_stapling", t.OCSPStapling)
	k.alpn(key+".alpn", l)
	if t.TicketKeys != "" {
		k.file(key+".ticket_keys", t.TicketKeys, true)
		if !t.Resumption {
			k.wrong(key+".ticket_keys", "has no use with resumption: false")
		}
	}
	_, wrong := t.protocols(k.c.FIPS)
	for _, w := range wrong {
		k.wrong(key+"."+w.Path(), "%s", w.Text)
	}
	between(k, key+".handshake_timeout", t.HandshakeTimeout, 100*time.Millisecond, 5*time.Minute)
	between(k, key+".handshakes", t.Handshakes, 1, 1_000_000)
}

// ownCertificate checks where the server's certificate and key come from.
func (k *checker) ownCertificate(key string, t *TLS) {
	if c := t.Certificates; c != nil {
		for _, x := range []struct {
			name string
			set  bool
		}{
			{"certificate", t.Certificate != ""}, {"key", t.Key != ""}, {"password", t.Password != nil},
			{"key_password", t.KeyPassword != nil}, {"alias", t.Alias != ""},
		} {
			if x.set {
				k.wrong(key+"."+x.name, "goes with a single certificate, not with certificates")
			}
		}
		key += ".certificates"
		k.folder(key+".dir", c.Dir)
		k.optionalSecret(key+".password", c.Password)
		switch {
		case c.Default == "" && !c.StrictSNI:
			k.wrong(key, "needs default, the file for clients that name no server, or strict_sni: true to refuse them")
		case c.Default != "" && c.StrictSNI:
			k.wrong(key+".default", "has no use with strict_sni: true")
		case c.Default != filepath.Base(c.Default) && c.Default != "":
			k.wrong(key+".default", "must be the name of a file in dir")
		}
		return
	}
	k.file(key+".certificate", t.Certificate, t.Key == "")
	if t.Key != "" {
		k.file(key+".key", t.Key, true)
	} else if lacksKey(t.Certificate) {
		k.wrong(key+".key", "is needed: the file of certificate holds no private key")
	}
	k.optionalSecret(key+".password", t.Password)
	k.optionalSecret(key+".key_password", t.KeyPassword)
}

// lacksKey reports whether the file at path is PEM without a private key. Of key
// stores only loading can tell.
func lacksKey(path string) bool {
	data, err := ReadFile(path)
	return err == nil && bytes.Contains(data, []byte("-----BEGIN ")) && !bytes.Contains(data, []byte("PRIVATE KEY-----"))
}

func (k *checker) optionalSecret(key string, s *Secret) {
	if s != nil {
		k.secret(key, *s)
	}
}

// folder complains when path is no folder that can be read.
func (k *checker) folder(key, path string) {
	if path == "" {
		k.wrong(key, "is needed")
		return
	}
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		k.wrong(key, "%s is a file, not a folder", printable(path))
	} else if _, e := os.ReadDir(path); e != nil {
		k.wrong(key, "%s: %s", printable(path), fileError(e))
	}
}

func (k *checker) clientCertificates(key string, t *TLS) {
	if t.ClientAuth == ClientAuthNone {
		wrong := func(name string) {
			k.wrong(key+"."+name, "has no use while client_auth is none; set it to optional or require")
		}
		for _, x := range []struct {
			name string
			set  bool
		}{
			{"client_ca", t.ClientCA != ""}, {"crl", len(t.CRL) > 0}, {"client_ca_password", t.ClientCAPassword != nil},
			{"crl_distribution_points", t.CRLDistributionPoints}, {"ocsp", t.OCSP != OCSPNone},
		} {
			if x.set {
				wrong(x.name)
			}
		}
		for _, name := range []string{"crl_missing", "crl_expired", "ocsp_timeout", "revocation_networks", "recheck_interval", "on_trust_change"} {
			if k.set(key + "." + name) {
				wrong(name)
			}
		}
		return
	}
	if info, err := os.Stat(t.ClientCA); err == nil && info.IsDir() {
		k.folder(key+".client_ca", t.ClientCA)
	} else {
		k.file(key+".client_ca", t.ClientCA, false)
	}
	k.optionalSecret(key+".client_ca_password", t.ClientCAPassword)
	for i, path := range t.CRL {
		k.file(fmt.Sprintf("%s.crl[%d]", key, i), path, false)
	}
	lists, online := len(t.CRL) > 0 || t.CRLDistributionPoints, t.CRLDistributionPoints || t.OCSP != OCSPNone
	for _, x := range []struct {
		name string
		used bool
		need string
	}{
		{"crl_missing", lists, "crl or crl_distribution_points"}, {"crl_expired", lists, "crl or crl_distribution_points"},
		{"ocsp_timeout", online, "ocsp or crl_distribution_points"}, {"revocation_networks", online, "ocsp or crl_distribution_points"},
	} {
		if k.set(key+"."+x.name) && !x.used {
			k.wrong(key+"."+x.name, "has no use without %s", x.need)
		}
	}
	between(k, key+".ocsp_timeout", t.OCSPTimeout, 10*time.Millisecond, maxOCSPTimeout)
	if t.RecheckInterval != 0 {
		between(k, key+".recheck_interval", t.RecheckInterval, leastRecheck, 7*24*time.Hour)
	}
}

func (k *checker) stapling(key string, o *OCSPStapling) {
	if o == nil {
		return
	}
	if o.OverrideURL != "" {
		if u, err := url.Parse(o.OverrideURL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
			k.wrong(key+".override_url", "must be an http or https URL without credentials")
		}
	}
	between(k, key+".cache_interval", o.CacheInterval, leastCacheInterval, 7*24*time.Hour)
	between(k, key+".staple_wait", o.StapleWait, 0, maxStapleWait)
}

func (k *checker) alpn(key string, l *Listener) {
	if l.Transport.Web() {
		if k.set(key) {
			k.wrong(key, "is always http/1.1 on wss, which is what WebSocket upgrades from")
		}
		return
	}
	if len(l.TLS.ALPN) > maxALPN {
		k.wrong(key, "must have at most %d protocols", maxALPN)
	}
	for i, p := range l.TLS.ALPN {
		if p == "" || len(p) > 255 || printable(p) != p {
			k.wrong(fmt.Sprintf("%s[%d]", key, i), "must be a protocol's name of 1 to 255 bytes, such as mqtt")
		} else if p == "acme-tls/1" {
			k.wrong(fmt.Sprintf("%s[%d]", key, i), "is for the questions of ACME servers, which acme answers")
		}
	}
}

// proxies checks whom l trusts with addresses of clients.
func (k *checker) proxies(key string, l *Listener) {
	if p := l.ProxyProtocol; p != nil {
		at := key + ".proxy_protocol.trusted"
		switch {
		case l.Transport == Unix && len(p.Trusted) > 0:
			k.wrong(at, "has no meaning for transport unix: whoever may connect is trusted")
		case l.Transport != Unix:
			k.trusted(at, p.Trusted)
		}
		if p.ProxyIdentity && p.Version == ProxyV1 {
			k.wrong(key+".proxy_protocol.proxy_identity", "needs version 2 of the header")
		}
	}
	if f := l.ForwardedFor; f != nil {
		if !l.Transport.Web() {
			k.wrong(key+".forwarded_for", "is only for transport ws and wss")
			return
		}
		k.trusted(key+".forwarded_for.trusted", f.Trusted)
	}
}

func (k *checker) trusted(key string, list []netip.Prefix) {
	if len(list) == 0 {
		k.wrong(key, "is needed: the addresses of the proxies")
	}
	for i, p := range list {
		if p.Bits() == 0 {
			k.wrong(fmt.Sprintf("%s[%d]", key, i), "%s is everybody", p)
		}
	}
}
