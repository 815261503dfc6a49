package config

import (
	"fmt"
	"slices"
	"strings"
)

// scramAuthenticator checks authenticator i, of type scram, whose keys begin with key.
func (k *checker) scramAuthenticator(i int, key string) {
	a := &k.c.Authenticators[i]
	switch {
	case a.File != "":
		k.file(key+".file", a.File, true)
	case k.c.Storage.Type != StorageDisk:
		k.wrong(key+".file", "is needed while storage is not of type disk: the account database is kept there")
	}
	if a.File == "" && (a.AllowEmpty || k.set(key+".allow_empty")) {
		k.wrong(key+".allow_empty", "is only for a file")
	}
	if a.File == "" && (a.Account == AccountIgnored || k.set(key+".account")) {
		k.wrong(key+".account", "has no use without a file: the account is always required")
	}
	if a.BelieveUsername {
		k.wrong(key+".believe_username", "is only for type anonymous")
	}
	s := a.SCRAMSettings()
	between(k, key+".scram.iterations", s.Iterations, 4096, 10_000_000)
	plain := len(s.Methods) == 0
	if plain && k.set(key+".scram.methods") {
		k.wrong(key+".scram.methods", "the list is empty: nobody could log in")
	}
	for j, m := range s.Methods {
		plain = plain || !strings.HasSuffix(string(m), "-PLUS")
		if slices.Contains(s.Methods[:j], m) {
			k.wrong(fmt.Sprintf("%s.scram.methods[%d]", key, j), "%s is already in this list", m)
		}
	}
	if plain {
		return
	}
	for j := range k.c.Listeners {
		l := &k.c.Listeners[j]
		if at := slices.Index(l.Authenticators, a.Name); at >= 0 && !l.Transport.Secure() {
			k.wrong(fmt.Sprintf("listeners[%d].authenticators[%d]", j, at), "%s has only methods with PLUS, which need TLS: nobody could log in here", a.Name)
		}
	}
}

// scramMethodsOf checks that each method of SCRAM means one authenticator on listener l.
func (k *checker) scramMethodsOf(key string, l *Listener) {
	offers := map[SCRAMMechanism]string{}
	for i := range k.c.Authenticators {
		a := &k.c.Authenticators[i]
		if a.Type != Scram || !k.c.asks(l, a.Name) {
			continue
		}
		methods := a.SCRAMSettings().Methods
		if len(methods) == 0 {
			methods = []SCRAMMechanism{"SCRAM-SHA-256", "SCRAM-SHA-512", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-512-PLUS"}
		}
		for _, m := range methods {
			if strings.HasSuffix(string(m), "-PLUS") && !l.Transport.Secure() {
				continue
			}
			if first, taken := offers[m]; taken && first != a.Name {
				k.wrong(key+".authenticators", "%s and %s both offer %s, and only the first would be asked: give them other methods, or put their users together", first, a.Name, m)
				break
			}
			offers[m] = a.Name
		}
	}
}
