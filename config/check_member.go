package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// serves says which of the settings that authenticators share mean something for a type.
type serves struct {
	prepare, mapping, account, errors, lane bool
}

// served is what the types of authenticators make use of.
var served = map[AuthenticatorType]serves{
	PasswordFile:    {prepare: true, account: true, errors: true},
	AccountDatabase: {prepare: true, errors: true},
	Tokens:          {prepare: true, mapping: true, account: true, errors: true, lane: true},
	Scram:           {account: true, errors: true, lane: true},
	Anonymous:       {},
	Certificate:     {account: true},
	UnixPeer:        {account: true, errors: true, lane: true},
	AllOfThem:       {account: true},
}

// member checks what an authenticator has whatever its type.
func (k *checker) member(i int, key string) {
	a := &k.c.Authenticators[i]
	s, known := served[a.Type]
	if !known {
		return // the type is wrong
	}
	idle := func(name string, used, isSet bool) {
		if !used && (isSet || k.set(key+"."+name)) {
			k.wrong(key+"."+name, "has no use for type %s", a.Type)
		}
	}
	idle("prepare", s.prepare, len(a.Prepare) > 0)
	idle("on_null", s.prepare, false)
	idle("groups", s.mapping, len(a.Groups) > 0)
	idle("roles", s.mapping, len(a.Roles) > 0)
	idle("account", s.account, false)
	idle("on_error", s.errors || a.Type == AllOfThem, false)
	idle("timeout", s.errors, false)
	idle("concurrency", s.lane, false)
	idle("queue", s.lane, false)
	if s.prepare && len(a.Prepare) == 0 && k.set(key+".on_null") {
		k.wrong(key+".on_null", "has no use without prepare")
	}
	// 0 is the default, unless it is written.
	if a.Timeout != 0 || k.set(key+".timeout") {
		between(k, key+".timeout", a.Timeout, leastPatience, 5*time.Minute)
	}
	if a.Concurrency != 0 || k.set(key+".concurrency") {
		between(k, key+".concurrency", a.Concurrency, 1, 1024)
	}
	if a.Queue != 0 || k.set(key+".queue") {
		between(k, key+".queue", a.Queue, 1, 1_000_000)
	}
	k.requirement(key+".require", a.Require)
	for _, m := range []struct {
		name string
		list map[string]Many[string]
	}{{"groups", a.Groups}, {"roles", a.Roles}} {
		for outside, inside := range m.list {
			if outside == "" || len(inside) == 0 || slices.Contains(inside, "") {
				k.wrong(join(key+"."+m.name, outside), "a name must not be empty")
			}
		}
	}
	k.sections(key, a)
}

// sections checks that an authenticator has the sections of its type and no others.
func (k *checker) sections(key string, a *Authenticator) {
	if a.Type != Certificate && a.Certificate != nil {
		k.wrong(key+".certificate", "is only for type certificate")
	}
	if a.Type == Certificate && a.Certificate != nil {
		if a.Certificate.Identity == IdentityNone {
			k.wrong(key+".certificate.identity", "must name the user")
		} else if _, err := a.Certificate.Identity.Template(); err != nil {
			k.wrong(key+".certificate.identity", "%v", err)
		}
	}
	if a.Type != Scram && a.SCRAM != nil {
		k.wrong(key+".scram", "is only for type scram")
	}
	if a.Type != AllOfThem && a.AllOf != nil {
		k.wrong(key+".all_of", "is only for type all_of")
	}
	if a.Type == AllOfThem {
		k.allOf(key+".all_of", a)
	}
}

func (k *checker) requirement(key string, r *Requirement) {
	if r == nil {
		return
	}
	if len(r.Addresses)+len(r.Listeners)+len(r.ClientIDPrefixes)+len(r.UIDs)+len(r.GIDs) == 0 && r.ClientID == ClientIDAny {
		k.wrong(key, "demands nothing")
	}
	for i, name := range r.Listeners {
		if !slices.ContainsFunc(k.c.Listeners, func(l Listener) bool { return l.Name == name }) {
			k.wrong(fmt.Sprintf("%s.listeners[%d]", key, i), "no listener is named %s", excerpt(name))
		}
	}
	if slices.Contains(r.ClientIDPrefixes, "") {
		k.wrong(key+".client_id_prefixes", "must not have an empty one")
	}
}

func (k *checker) allOf(key string, a *Authenticator) {
	if a.AllOf == nil || len(a.AllOf.Members) < 2 {
		k.wrong(key, "needs at least two members")
		return
	}
	for i, name := range a.AllOf.Members {
		at := fmt.Sprintf("%s.members[%d]", key, i)
		j := slices.IndexFunc(k.c.Authenticators, func(b Authenticator) bool { return b.Name == name })
		switch {
		case j < 0:
			k.wrong(at, "no entry under authenticators is named %s", excerpt(name))
		case slices.Contains(a.AllOf.Members[:i], name):
			k.wrong(at, "%s is already in this list", excerpt(name))
		case k.c.Authenticators[j].Type == AllOfThem:
			k.wrong(at, "%s is an all_of itself: list its members", excerpt(name))
		case k.c.Authenticators[j].Type == Anonymous:
			k.wrong(at, "%s proves nothing", excerpt(name))
		}
	}
	if scram, password := k.part(a, Scram), k.part(a, PasswordFile)+k.part(a, AccountDatabase)+k.part(a, Tokens); scram != "" && password != "" {
		k.wrong(key+".members", "%s accepts nobody who sends a password, which %s needs", scram, password)
	}
	if !slices.Contains(a.AllOf.Members, a.AllOf.Source) {
		k.wrong(key+".source", "must be the member that names the client, and %s is none", excerpt(a.AllOf.Source))
	}
}

// part is the name of a member of a's that has type t, empty if there is none.
func (k *checker) part(a *Authenticator, t AuthenticatorType) string {
	for _, b := range k.c.Authenticators {
		if b.Type == t && slices.Contains(a.AllOf.Members, b.Name) {
			return b.Name
		}
	}
	return ""
}

// onlyParts complains about settings of an authenticator that only ever is a part of
// an all_of, which has its own.
func (k *checker) onlyParts(key string) {
	for _, name := range []string{"account", "on_error"} {
		if k.set(key + "." + name) {
			k.wrong(key+"."+name, "has no use here: the all_of that it is a part of says so for all of its members")
		}
	}
}

// asksUpgrade reports whether a prepares something that only the upgrade of a WebSocket has.
func asksUpgrade(a *Authenticator) bool {
	return slices.ContainsFunc(a.Prepare, func(t Transformation) bool {
		return strings.Contains(t.From, "${header.") || strings.Contains(t.From, "${query.")
	})
}

// warnStrangers tells of authenticators that can accept nobody on l.
func (k *checker) warnStrangers(key string, l *Listener) {
	shown := l.TLS != nil && l.TLS.ClientAuth != ClientAuthNone
	for _, a := range k.c.Authenticators {
		if !k.c.asks(l, a.Name) {
			continue
		}
		switch {
		case a.Type == Certificate && !shown:
			k.wrong(key+".authenticators", "%s knows nobody here: the listener asks for no client certificates", a.Name)
		case a.Type == UnixPeer && l.Transport != Unix:
			k.wrong(key+".authenticators", "%s knows nobody here: the listener is no Unix socket", a.Name)
		case a.Require != nil && len(a.Require.UIDs)+len(a.Require.GIDs) > 0 && l.Transport != Unix:
			k.wrong(key+".authenticators", "%s accepts nobody here: it requires uids or gids, and the listener is no Unix socket", a.Name)
		}
		if !l.Transport.Web() && asksUpgrade(&a) {
			k.wrong(key+".authenticators", "%s accepts nobody here: prepare needs a header or the query of a WebSocket, and the listener has none", a.Name)
		}
	}
}
