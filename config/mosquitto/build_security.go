package mosquitto

import (
	"fmt"

	"sallyport/config"
)

// Names of the members that a mosquitto.conf implies.
const (
	anonymousName = "mosquitto-allow-anonymous"
	anyoneName    = "mosquitto-no-password-file"
	allowAllName  = "mosquitto-no-acl-file"
)

// security maps who may connect to d and what they may do.
func (b *builder) security(key string, d *door, l *config.Listener) {
	s := &b.reader.global
	if b.perListener {
		s = &d.security
	}
	l.AllowEmptyClientID = !s.allowZeroLength.set || s.allowZeroLength.on
	l.GeneratedClientIDPrefix = "auto-"
	if s.autoIDPrefix.string != "" {
		l.GeneratedClientIDPrefix = s.autoIDPrefix.string
		b.places[key+".generated_client_id_prefix"] = s.autoIDPrefix.at
	}
	anonymous := b.anonymous(s)
	switch {
	case l.Identity != config.IdentityNone:
		// The certificate names the user; Mosquitto asks nothing else.
	case s.passwordFile.string != "":
		if anonymous {
			l.Authenticators = append(l.Authenticators, b.authenticator(config.Authenticator{Name: anonymousName, Type: config.Anonymous}, s.allowAnonymous.at))
		}
		l.Authenticators = append(l.Authenticators, b.passwordFile(s.passwordFile))
	case anonymous:
		l.Authenticators = append(l.Authenticators, b.authenticator(config.Authenticator{Name: anyoneName, Type: config.Anonymous, BelieveUsername: true}, s.allowAnonymous.at))
	default:
		b.warn(d.at, "nobody can connect to this listener: allow_anonymous is false and there is no password_file")
	}
	l.Policies = []string{b.policy(d, s)}
}

// anonymous reports whether clients without credentials may connect.
func (b *builder) anonymous(s *security) bool {
	if b.listenerLine != nil {
		return s.allowAnonymous.on
	}
	// Without a listener Mosquitto sets allow_anonymous, whatever the file says.
	switch {
	case s.allowAnonymous.set && !s.allowAnonymous.on:
		b.warn(s.allowAnonymous.at, "is obeyed; Mosquitto ignores it when no listener is configured")
		return false
	case s.passwordFile.string != "" && !s.allowAnonymous.set:
		b.warn(s.passwordFile.at, "clients without credentials are refused; Mosquitto lets them in when no listener is configured")
		return false
	}
	return true
}

// authenticator adds a once and returns its name.
func (b *builder) authenticator(a config.Authenticator, at line) string {
	for _, other := range b.c.Authenticators {
		if other.Name == a.Name {
			return a.Name
		}
	}
	key := fmt.Sprintf("authenticators[%d]", len(b.c.Authenticators))
	b.places[key], b.places[key+".file"] = at, at
	b.c.Authenticators = append(b.c.Authenticators, a)
	return a.Name
}

// passwordFile is the name of the authenticator that reads t; listeners with the same file share it.
func (b *builder) passwordFile(t text) string {
	path := t.string
	n := 1
	for _, a := range b.c.Authenticators {
		if a.Type == config.PasswordFile {
			if a.File == path {
				return a.Name
			}
			n++
		}
	}
	return b.authenticator(config.Authenticator{Name: numbered("password_file", n), Type: config.PasswordFile, File: path}, t.at)
}

// policy is the name of the policy for d.
func (b *builder) policy(d *door, s *security) string {
	path := s.aclFile.string
	n := 1
	for _, p := range b.c.Policies {
		if path == "" && p.Type == config.AllowAll || path != "" && p.File == path {
			return p.Name
		}
		if p.Type == config.MosquittoACL {
			n++
		}
	}
	p := config.Policy{Name: numbered("acl_file", n), Type: config.MosquittoACL, File: path}
	if path == "" {
		p = config.Policy{Name: allowAllName, Type: config.AllowAll}
		b.warn(d.at, "without acl_file everyone who is let in may use every topic; policy %s says so", allowAllName)
	}
	key := fmt.Sprintf("policies[%d]", len(b.c.Policies))
	b.places[key], b.places[key+".file"] = s.aclFile.at, s.aclFile.at
	b.c.Policies = append(b.c.Policies, p)
	return p.Name
}

func numbered(name string, n int) string {
	if n == 1 {
		return name
	}
	return fmt.Sprintf("%s-%d", name, n)
}

// unusedScope warns about settings that no listener has: with
// per_listener_settings those before the first listener belong to the default one.
func (b *builder) unusedScope() {
	if !b.perListener || len(b.doors) == 0 || b.standard.touched {
		return
	}
	s := &b.standard.security
	for _, at := range []line{s.allowAnonymous.at, s.passwordFile.at, s.aclFile.at, s.autoIDPrefix.at, s.allowZeroLength.at} {
		if at.n != 0 {
			b.warn(at, "has no effect: with per_listener_settings it belongs after a listener")
		}
	}
}
