package config

import (
	"fmt"
	"slices"
	"strings"

	"sallyport/internal/certfield"
)

// identity checks what user names are made of.
func (k *checker) identity(key string, l *Listener) {
	key += ".identity"
	if l.Identity == IdentityNone {
		return
	}
	if l.TLS == nil || l.TLS.ClientAuth == ClientAuthNone {
		k.wrong(key, "needs transport tls or wss with tls.client_auth optional or require")
		return
	}
	if l.Identity == IdentityCommonName || l.Identity == IdentitySubject {
		return
	}
	if !strings.Contains(string(l.Identity), "${") {
		k.wrong(key, "must be none, common_name, subject, or a text with placeholders such as ${cert.san.dns}, not %s", excerpt(string(l.Identity)))
		return
	}
	k.template(key, string(l.Identity), l.TLS)
}

// template checks a text with placeholders of a certificate.
func (k *checker) template(key, text string, t *TLS) {
	parsed, err := certfield.ParseTemplate(text)
	switch {
	case err != nil:
		k.wrong(key, "%v", err)
	case parsed.Reads("spiffe") && len(t.TrustDomains) == 0:
		k.wrong(key, "needs tls.trust_domains: without them the SPIFFE ID could be of any")
	}
}

// demands checks what client certificates have to say, where there are any.
func (k *checker) demands(key string, t *TLS) {
	if t.ClientAuth == ClientAuthNone {
		for _, x := range []struct {
			name string
			set  bool
		}{
			{"trust_domains", len(t.TrustDomains) > 0}, {"client_id_must_match", t.ClientIDMustMatch != ""},
			{"host_match", t.HostMatch != "" && t.HostMatch != HostMatchNone}, {"disconnect_on_expiry", k.set(key + ".disconnect_on_expiry")},
		} {
			if x.set {
				k.wrong(key+"."+x.name, "has no use while client_auth is none; set it to optional or require")
			}
		}
		return
	}
	for i, d := range t.TrustDomains {
		at := fmt.Sprintf("%s.trust_domains[%d]", key, i)
		if err := certfield.CheckTrustDomain(d); err != nil {
			k.wrong(at, "%v; it stands alone, without spiffe://", err)
		} else if slices.Contains(t.TrustDomains[:i], d) {
			k.wrong(at, "%s is already in this list", d)
		}
	}
	if t.ClientIDMustMatch != "" {
		k.template(key+".client_id_must_match", t.ClientIDMustMatch, t)
	}
}
