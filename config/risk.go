package config

import (
	"fmt"
	"net"
	"slices"
	"strings"
)

// Risk is a danger on one listener: something insecure that other machines
// can reach. A listener with a risk that is not accepted must not start.
type Risk struct {
	Listener string   // its name
	Name     RiskName // what accept_risk calls it
	Accepted bool     // accept_risk names it
	Text     string   // what is dangerous, and the line that accepts it
	File     string
	Pos      // of the listener; zero when unknown
}

// Error renders r like a Problem.
func (r Risk) Error() string {
	return Problem{File: r.File, Line: r.Line, Column: r.Column, Text: r.Text}.Error()
}

// Risks lists the dangers of c, listener by listener. Sockets in the file
// system and loopback addresses are reached by this machine only and have
// none. A plain listener on 8883 counts as cleartext_passwords, whatever its
// authenticators: clients expect TLS on that port and send their passwords.
func Risks(c *Config) []Risk {
	var out []Risk
	for i := range c.Listeners {
		l := &c.Listeners[i]
		if l.local() {
			continue
		}
		add := func(name RiskName, text string) {
			r := Risk{Listener: l.Name, Name: name, Accepted: slices.Contains(l.AcceptRisk, name)}
			r.File, r.Pos = c.place(fmt.Sprintf("listeners[%d]", i))
			if r.Accepted {
				r.Text = fmt.Sprintf("listener %s (%s) %s; accept_risk accepts it", l.Name, l.Address, text)
			} else {
				accept := append(slices.Clone(l.AcceptRisk), name)
				r.Text = fmt.Sprintf("listener %s (%s) %s; to accept it, write in this listener: accept_risk: [%s]", l.Name, l.Address, text, joinWords(accept))
			}
			out = append(out, r)
		}
		if c.hasAuthenticator(l, Anonymous) {
			add(RiskAnonymous, "lets other machines in without credentials")
		}
		if text := c.cleartext(l); text != "" {
			add(RiskCleartextPasswords, text)
		}
		if c.hasAllowAll(l) {
			add(RiskAllowAll, "allows every topic to everyone it lets in")
		}
	}
	return out
}

// cleartext says why passwords travel in clear text on l, "" if they don't.
func (c *Config) cleartext(l *Listener) string {
	if l.Transport.Secure() {
		return ""
	}
	if c.hasAuthenticator(l, PasswordFile) || c.hasAuthenticator(l, AccountDatabase) {
		return "takes passwords without TLS"
	}
	if c.hasAuthenticator(l, Tokens) {
		return "takes tokens without TLS, each of which is a password to whoever reads it"
	}
	if _, port, err := net.SplitHostPort(l.Address); err == nil && port == "8883" {
		return "is plain on 8883, where clients expect TLS and send passwords"
	}
	return ""
}

func (c *Config) hasAuthenticator(l *Listener, t AuthenticatorType) bool {
	return slices.ContainsFunc(c.Authenticators, func(a Authenticator) bool {
		return a.Type == t && c.asks(l, a.Name)
	})
}

// asks reports whether l asks an authenticator, be it as a part of an all_of.
func (c *Config) asks(l *Listener, name string) bool {
	return slices.Contains(l.Authenticators, name) || slices.ContainsFunc(c.Authenticators, func(a Authenticator) bool {
		return a.AllOf != nil && slices.Contains(l.Authenticators, a.Name) && slices.Contains(a.AllOf.Members, name)
	})
}

func (c *Config) hasAllowAll(l *Listener) bool {
	return slices.ContainsFunc(c.Policies, func(p Policy) bool {
		return p.Type == AllowAll && slices.Contains(l.Policies, p.Name)
	})
}

// local reports whether only this machine can reach l. A host name that is
// not localhost may mean anything.
func (l *Listener) local() bool {
	if l.Transport == Unix {
		return true
	}
	host, _, err := net.SplitHostPort(l.Address)
	if err != nil {
		return false
	}
	bound := addresses(host)
	for _, a := range bound {
		if !a.IsLoopback() {
			return false
		}
	}
	return len(bound) > 0
}

// Warnings lists what is legal and probably not meant: files with secrets that
// others can read, doors that nobody can pass, accepted risks that don't exist.
// Risks are a list of their own.
func (c *Config) Warnings() Problems {
	k := &checker{c: c, at: c.place}
	for i, a := range c.Authenticators {
		if a.Type == PasswordFile || a.Type == Scram && a.File != "" {
			k.warnLoose(fmt.Sprintf("authenticators[%d].file", i), a.File)
		}
		if a.JWT != nil {
			k.warnJWT(fmt.Sprintf("authenticators[%d].jwt", i), a.JWT)
		}
	}
	risks := Risks(c)
	for i := range c.Listeners {
		l, key := &c.Listeners[i], fmt.Sprintf("listeners[%d]", i)
		if l.TLS != nil {
			k.warnLooseTLS(key+".tls", l.TLS)
			k.warnLegacy(key+".tls.legacy", l.TLS)
		}
		if len(l.Authenticators) == 0 && l.Identity == IdentityNone && !(l.ProxyProtocol != nil && l.ProxyProtocol.ProxyIdentity) {
			k.wrong(key+".authenticators", "the list is empty: nobody can connect")
		}
		k.warnStrangers(key, l)
		if len(l.Policies) == 0 {
			k.wrong(key+".policies", "the list is empty: nobody may publish or subscribe")
		}
		if len(l.Shadow) > 0 && sameNames(l.Shadow, l.Policies) {
			k.wrong(key+".shadow", "these are the policies of the listener: nothing can differ")
		}
		for j, name := range l.AcceptRisk {
			if !slices.ContainsFunc(risks, func(r Risk) bool { return r.Listener == l.Name && r.Name == name }) {
				k.wrong(fmt.Sprintf("%s.accept_risk[%d]", key, j), "listener %s does not have the risk %s", l.Name, name)
			}
		}
	}
	k.warnStorage()
	k.warnFIPS()
	return k.problems.Sort()
}

func (k *checker) warnLoose(key, path string) {
	if text := looseMode(path); text != "" {
		k.wrong(key, "%s", text)
	}
}

// warnLooseTLS warns of private keys and passwords that others can read. What is in
// a folder of certificates is looked at when it is read.
func (k *checker) warnLooseTLS(key string, t *TLS) {
	k.warnLoose(key+".key", t.Key)
	k.warnLoose(key+".ticket_keys", t.TicketKeys)
	if t.Key == "" && t.Certificate != "" {
		k.warnLoose(key+".certificate", t.Certificate)
	}
	for name, s := range map[string]*Secret{"password": t.Password, "key_password": t.KeyPassword, "client_ca_password": t.ClientCAPassword} {
		if s != nil && s.File != "" {
			k.warnLoose(key+"."+name+".file", s.File)
		}
	}
	if a := t.ACME; a != nil && a.ExternalAccount != nil && a.ExternalAccount.Key.File != "" {
		k.warnLoose(key+".acme.external_account.key.file", a.ExternalAccount.Key.File)
	}
	if c := t.Certificates; c != nil && c.Password != nil && c.Password.File != "" {
		k.warnLoose(key+".certificates.password.file", c.Password.File)
	}
}

// warnLegacy says what of old TLS is accepted.
func (k *checker) warnLegacy(key string, t *TLS) {
	choice, err := t.Protocols(k.c.FIPS)
	set, wrong := choice.Set()
	if err != nil || wrong != nil || !t.Legacy {
		return // Check has told
	}
	if old := set.Legacy(); len(old) > 0 {
		k.wrong(key, "accepted for old clients, and insecure: %s", strings.Join(old, ", "))
	} else {
		k.wrong(key, "nothing in this section needs it")
	}
}

// sameNames reports whether a and b hold the same names; neither holds one twice.
func sameNames(a, b []string) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(s string) bool { return !slices.Contains(b, s) })
}

func joinWords[T ~string](words []T) string {
	s := make([]string, len(words))
	for i, w := range words {
		s[i] = string(w)
	}
	return strings.Join(s, ", ")
}
