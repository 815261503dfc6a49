package config

import (
	"fmt"
	"net"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"sallyport/internal/domain"
	"sallyport/internal/suites"
)

const maxDomains = 100 // of certs/acme, as Let's Encrypt has it

// acme checks the section of a listener, whose TLS section is t.
func (k *checker) acme(key string, t *TLS) {
	a := t.ACME
	for _, x := range []struct {
		name string
		set  bool
	}{
		{"certificate", t.Certificate != ""}, {"key", t.Key != ""}, {"password", t.Password != nil},
		{"key_password", t.KeyPassword != nil}, {"alias", t.Alias != ""}, {"certificates", t.Certificates != nil},
	} {
		if x.set {
			k.wrong(key+"."+x.name, "has no use beside acme, which obtains the certificate and makes its key")
		}
	}
	key += ".acme"
	if u, err := url.Parse(a.Directory); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		k.wrong(key+".directory", "must be an https URL without credentials")
	}
	k.domains(key+".domains", a.Domains)
	if a.Email != "" && !validEmail(a.Email) {
		k.wrong(key+".email", "must be one address such as ops@example.org, not %s", excerpt(a.Email))
	}
	if !a.AcceptTerms {
		k.wrong(key+".accept_terms", "must be true: without your consent to the server's terms of service nothing is ordered")
	}
	k.storeDir(key+".storage", a.Storage)
	if text := looseDir(a.Storage, "keys"); text != "" {
		k.wrong(key+".storage", "%s", text) // the keys of the certificate: never only a warning
	}
	if a.Storage != "" && a.Storage == k.c.Storage.Dir {
		k.wrong(key+".storage", "is the folder of the store; name another")
	}
	if a.Challenge == ACMEHTTP {
		if host, port, err := net.SplitHostPort(a.HTTPAddress); err != nil || !validHost(host) || !validPort(port) {
			k.wrong(key+".http_address", "must be host:port such as :80, not %s", excerpt(a.HTTPAddress))
		}
	} else if k.set(key + ".http_address") {
		k.wrong(key+".http_address", "is only for challenge http-01")
	}
	if e := a.ExternalAccount; e != nil {
		if e.KeyID == "" || printable(e.KeyID) != e.KeyID {
			k.wrong(key+".external_account.key_id", "is needed, and printable")
		}
		k.secret(key+".external_account.key", e.Key)
	}
	if a.CAFile != "" {
		k.file(key+".ca_file", a.CAFile, false)
	}
	between(k, key+".renew_before", a.RenewBefore, 0, 366*24*time.Hour)
	if printable(a.Profile) != a.Profile || len(a.Profile) > 64 {
		k.wrong(key+".profile", "must be printable, and not longer than 64 bytes")
	}
	k.acmeKey(key+".key_type", t)
}

// acmeKey checks that a certificate with such a key can serve what is spoken.
func (k *checker) acmeKey(key string, t *TLS) {
	kind := suites.ECDSA
	if t.ACME.KeyType == ACMERSA {
		kind = suites.RSA
	}
	choice, wrong := t.protocols(k.c.FIPS)
	if len(wrong) > 0 {
		return // said at its place
	}
	if set, wrong := choice.Set(); len(wrong) == 0 {
		if err := set.Fits(kind); err != nil {
			k.wrong(key, "%s: %v", t.ACME.KeyType, err)
		}
	}
}

func (k *checker) domains(key string, domains []string) {
	if len(domains) == 0 || len(domains) > maxDomains {
		k.wrong(key, "there must be 1 to %d names, not %d", maxDomains, len(domains))
		return
	}
	seen := map[string]bool{}
	for i, d := range domains {
		at, lower := fmt.Sprintf("%s[%d]", key, i), strings.ToLower(d)
		if problem := domain.Check(d); problem != "" {
			k.wrong(at, "%s %s", excerpt(d), problem)
		} else if seen[lower] {
			k.wrong(at, "%s is already in this list", d)
		}
		seen[lower] = true
	}
}

// validEmail reports whether s is what mailto: takes as one address without
// header fields (RFC 8555, 7.3).
func validEmail(s string) bool {
	local, host, ok := strings.Cut(s, "@")
	return ok && local != "" && host != "" && len(s) <= 254 && printable(s) == s && !strings.ContainsAny(s, " ,;?&%<>\"") && !strings.Contains(host, "@")
}

func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && strconv.FormatUint(n, 10) == port
}

// acmeClashes complains about sections that want the same folder or port:
// listeners share a certificate by having the same section.
func (k *checker) acmeClashes() {
	for i := range k.c.Listeners {
		a := k.c.Listeners[i].acme()
		if a == nil {
			continue
		}
		key := fmt.Sprintf("listeners[%d].tls.acme", i)
		door := &Listener{Transport: TCP, Address: a.HTTPAddress}
		for j := range k.c.Listeners {
			l := &k.c.Listeners[j]
			if a.Challenge == ACMEHTTP && sameDoor(door, l) {
				k.wrong(key+".http_address", "clashes with listener %s, which has %s", l.Name, l.Address)
			}
			b := l.acme()
			if j >= i || b == nil || reflect.DeepEqual(a, b) {
				continue
			}
			if a.Storage == b.Storage {
				k.wrong(key+".storage", "is that of listener %s, whose section differs: the same section shares one certificate, and two need two folders", l.Name)
			}
			if a.Challenge == ACMEHTTP && b.Challenge == ACMEHTTP && sameDoor(door, &Listener{Transport: TCP, Address: b.HTTPAddress}) {
				k.wrong(key+".http_address", "clashes with that of listener %s, whose section differs", l.Name)
			}
		}
	}
}

// acme is the section of a listener, nil if it has none.
func (l *Listener) acme() *ACME {
	if l.TLS == nil {
		return nil
	}
	return l.TLS.ACME
}
