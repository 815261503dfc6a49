package config

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"sallyport/internal/jwt"
)

const (
	maxTokenIssuers = 64 // of security/authn/token
	maxTokenPath    = 128
	maxTokenAttrs   = 32
)

// jwtMember checks an authenticator of type jwt.
func (k *checker) jwtMember(key string, a *Authenticator) {
	for _, x := range []struct {
		name string
		set  bool
	}{
		{"file", a.File != ""}, {"allow_empty", a.AllowEmpty || k.set(key+".allow_empty")},
		{"believe_username", a.BelieveUsername},
	} {
		if x.set {
			k.wrong(key+"."+x.name, "type jwt has no such thing; its settings stand under jwt")
		}
	}
	j := a.JWT
	if j == nil {
		k.wrong(key+".jwt", "is needed")
		return
	}
	key += ".jwt"
	k.tokenIssuers(key+".issuers", a)
	between(k, key+".leeway", j.Leeway, 0, jwt.MaxSkew)
	between(k, key+".max_age", j.MaxAge, 0, 10*366*24*time.Hour)
	for i, t := range j.Types {
		if t == "" || printable(t) != t {
			k.wrong(fmt.Sprintf("%s.types[%d]", key, i), "must be a type such as at+jwt")
		}
	}
	k.tokenClaims(key, j)
}

// tokenClaims checks what claims become.
func (k *checker) tokenClaims(key string, j *JWT) {
	path := func(key, p string, needed bool) {
		if needed && p == "" {
			k.wrong(key, "must name a claim")
		} else if len(p) > maxTokenPath || printable(p) != p {
			k.wrong(key, "must be printable and not longer than %d bytes", maxTokenPath)
		}
	}
	path(key+".name", j.NameClaim, true)
	path(key+".groups", j.Groups, false)
	path(key+".roles", j.Roles, false)
	path(key+".permissions", j.Permissions, false)
	if len(j.Attributes) > maxTokenAttrs {
		k.wrong(key+".attributes", "there must be at most %d", maxTokenAttrs)
	}
	for _, name := range slices.Sorted(maps.Keys(j.Attributes)) {
		path(key+".attributes."+name, j.Attributes[name], true)
	}
	if j.KeepClaims != nil {
		for i, c := range *j.KeepClaims {
			path(fmt.Sprintf("%s.keep_claims[%d]", key, i), c, true)
		}
	}
}

func (k *checker) tokenIssuers(key string, a *Authenticator) {
	j := a.JWT
	if len(j.Issuers) == 0 || len(j.Issuers) > maxTokenIssuers {
		k.wrong(key, "there must be 1 to %d issuers, not %d", maxTokenIssuers, len(j.Issuers))
	}
	for i := range j.Issuers {
		x, at := &j.Issuers[i], fmt.Sprintf("%s[%d]", key, i)
		switch {
		case x.NoIssuer && x.Issuer != "":
			k.wrong(at+".no_issuer", "has no use beside issuer")
		case x.NoIssuer && len(j.Issuers) > 1:
			k.wrong(at+".no_issuer", "there can be no other issuer beside one without a name")
		case !x.NoIssuer && x.Issuer == "":
			k.wrong(at+".issuer", "is needed; no_issuer: true accepts tokens of whatever issuer")
		}
		for n := range i {
			if x.Issuer != "" && j.Issuers[n].Issuer == x.Issuer {
				k.wrong(at+".issuer", "is already in this list")
			}
		}
		switch {
		case x.NoAudience && len(x.Audiences) > 0:
			k.wrong(at+".no_audience", "has no use beside audiences")
		case !x.NoAudience && len(x.Audiences) == 0:
			k.wrong(at+".audiences", "is needed; no_audience: true accepts tokens for whatever audience")
		case slices.Contains(x.Audiences, ""):
			k.wrong(at+".audiences", "one is empty")
		}
		if len(x.Keys) == 0 {
			k.wrong(at+".keys", "there must be at least one key")
		}
		for n := range x.Keys {
			k.tokenKey(fmt.Sprintf("%s.keys[%d]", at, n), &x.Keys[n])
		}
	}
}

func (k *checker) tokenKey(key string, t *TokenKey) {
	switch {
	case t.Secret != nil && t.File != "":
		k.wrong(key, "must have file or secret, not both")
	case t.Secret != nil:
		k.secret(key+".secret", *t.Secret)
	default:
		k.file(key+".file", t.File, false)
		if k.set(key + ".encoding") {
			k.wrong(key+".encoding", "is only for secret")
		}
	}
	for i, name := range t.Algorithms {
		at := fmt.Sprintf("%s.algorithms[%d]", key, i)
		secret := len(name) > 2 && name[:2] == "HS"
		switch {
		case !jwt.Algorithm(name).Known():
			k.wrong(at, "%s is no algorithm of signatures that there is", excerpt(name))
		case t.Secret != nil && !secret:
			k.wrong(at, "%s needs a public key; with a secret there are HS256, HS384 and HS512", name)
		}
	}
}

// tokenPolicy checks a policy of type token, whose key is key: it must have something
// to ask about wherever it stands.
func (k *checker) tokenPolicy(key, name string) {
	for i := range k.c.Listeners {
		l := &k.c.Listeners[i]
		if !slices.Contains(l.Policies, name) && !slices.Contains(l.Shadow, name) {
			continue
		}
		if !slices.ContainsFunc(k.c.Authenticators, func(a Authenticator) bool {
			return a.JWT != nil && a.JWT.Permissions != "" && k.c.asks(l, a.Name)
		}) {
			k.wrong(key+".type", "listener %s has no authenticator of type jwt with jwt.permissions: there is nothing to ask", l.Name)
		}
	}
}

// tokenMethods checks that OAUTHBEARER means one authenticator on listener l.
func (k *checker) tokenMethods(key string, l *Listener) {
	offers := 0
	for _, a := range k.c.Authenticators {
		if a.JWT != nil && a.JWT.OAUTHBEARER && k.c.asks(l, a.Name) {
			offers++
		}
	}
	if offers > 1 {
		k.wrong(key+".authenticators", "several of them offer OAUTHBEARER, and only the first would be asked: write oauthbearer: false in the others, or put their issuers together")
	}
}

// warnJWT warns of secrets of tokens that others can read.
func (k *checker) warnJWT(key string, j *JWT) {
	for i := range j.Issuers {
		for n, t := range j.Issuers[i].Keys {
			if t.Secret != nil && t.Secret.File != "" {
				k.warnLoose(fmt.Sprintf("%s.issuers[%d].keys[%d].secret.file", key, i, n), t.Secret.File)
			}
		}
	}
}

// ShowsNames reports whether user names of l that have not been judged may be logged:
// not where tokens are looked for in them.
func (c *Config) ShowsNames(l *Listener) bool {
	return !slices.ContainsFunc(c.Authenticators, func(a Authenticator) bool {
		return a.JWT != nil && a.JWT.From != TokenInPassword && c.asks(l, a.Name)
	})
}
