package config

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// checker collects what is wrong with a configuration that could be read.
type checker struct {
	c        *Config
	at       func(key string) (string, Pos)
	problems Problems
}

// Check reports everything that is wrong with c beyond its form: what is
// missing, contradicts itself, names nothing, can't be read or clashes. at
// says where the value of a key stands; nil knows the file that Load read. It
// looks at files but keeps none open.
func (c *Config) Check(at func(key string) (file string, pos Pos)) Problems {
	if at == nil {
		at = c.place
	}
	k := &checker{c: c, at: at}
	if len(c.Listeners) == 0 {
		k.wrong("listeners", "there must be at least one listener")
	}
	k.names()
	for i := range c.Listeners {
		k.listener(i)
	}
	k.clashes()
	k.acmeClashes()
	for i := range c.Authenticators {
		k.authenticator(i)
	}
	for i := range c.Policies {
		k.policy(i)
	}
	k.limits("limits", c.Limits.ListenerLimits)
	k.globalLimits()
	k.broker()
	k.log()
	k.storage()
	k.accounts()
	k.fips()
	return k.problems
}

func (k *checker) wrong(key, format string, args ...any) {
	file, pos := k.at(key)
	k.problems = append(k.problems, Problem{
		File: file, Line: pos.Line, Column: pos.Column, Key: key, Text: fmt.Sprintf(format, args...),
	})
}

// set reports whether key was written in the file, where that is known.
func (k *checker) set(key string) bool {
	_, ok := k.c.origin[key]
	return ok
}

// file complains when the file under key is missing or can't be read; secret
// ones must be private when strict_files says so.
func (k *checker) file(key, path string, secret bool) {
	if path == "" {
		k.wrong(key, "is needed")
		return
	}
	if text := unreadable(path); text != "" {
		k.wrong(key, "%s: %s", printable(path), text)
		k.problems[len(k.problems)-1].Lacks = path
		return
	}
	if text := looseMode(path); secret && k.c.StrictFiles && text != "" {
		k.wrong(key, "%s", text)
	}
}

// names checks that names are there and unique, and that each is used.
func (k *checker) names() {
	unique := func(list string, n int, name func(i int) string) map[string]bool {
		seen := map[string]bool{}
		for i := range n {
			key, s := fmt.Sprintf("%s[%d].name", list, i), name(i)
			switch {
			case s == "":
				k.wrong(key, "is needed")
			case printable(s) != s || strings.ContainsAny(s, " \t"):
				k.wrong(key, "must be printable and without spaces")
			case seen[s]:
				k.wrong(key, "another one is named %s", s)
			}
			seen[s] = true
		}
		return seen
	}
	c := k.c
	unique("listeners", len(c.Listeners), func(i int) string { return c.Listeners[i].Name })
	authenticators := unique("authenticators", len(c.Authenticators), func(i int) string { return c.Authenticators[i].Name })
	policies := unique("policies", len(c.Policies), func(i int) string { return c.Policies[i].Name })

	usedA, usedP := map[string]bool{}, map[string]bool{}
	refer := func(i int, list string, names []string, known, used map[string]bool) {
		under := list
		if list == "shadow" {
			under = "policies"
		}
		for j, n := range names {
			key := fmt.Sprintf("listeners[%d].%s[%d]", i, list, j)
			switch {
			case !known[n]:
				k.wrong(key, "no entry under %s is named %s", under, excerpt(n))
			case slices.Contains(names[:j], n):
				k.wrong(key, "%s is already in this list", n)
			}
			used[n] = true
		}
	}
	for i, l := range c.Listeners {
		refer(i, "authenticators", l.Authenticators, authenticators, usedA)
		refer(i, "policies", l.Policies, policies, usedP)
		refer(i, "shadow", l.Shadow, policies, usedP)
	}
	parts := map[string]bool{}
	for _, a := range c.Authenticators {
		if a.AllOf != nil && usedA[a.Name] {
			for _, name := range a.AllOf.Members {
				parts[name] = true
			}
		}
	}
	for i, a := range c.Authenticators {
		key := fmt.Sprintf("authenticators[%d]", i)
		switch {
		case usedA[a.Name]:
		case parts[a.Name]:
			k.onlyParts(key)
		default:
			k.wrong(key+".name", "no listener names it; remove it or add it to a listener's authenticators")
		}
	}
	for i, p := range c.Policies {
		if !usedP[p.Name] {
			k.wrong(fmt.Sprintf("policies[%d].name", i), "no listener names it; remove it or add it to a listener's policies or shadow")
		}
	}
}

func (k *checker) authenticator(i int) {
	a, key := k.c.Authenticators[i], fmt.Sprintf("authenticators[%d]", i)
	k.member(i, key)
	switch a.Type {
	case Scram:
		k.scramAuthenticator(i, key)
	case PasswordFile:
		k.file(key+".file", a.File, true)
		if a.BelieveUsername {
			k.wrong(key+".believe_username", "is only for type anonymous")
		}
	case Tokens:
		k.jwtMember(key, &a)
	case Anonymous:
		if a.File != "" {
			k.wrong(key+".file", "type anonymous has no file")
		}
		if a.AllowEmpty || k.set(key+".allow_empty") {
			k.wrong(key+".allow_empty", "is only for type password_file")
		}
		if a.Realm != "" {
			k.wrong(key+".realm", "type anonymous has no realm; it is one principal per listener")
		}
	case AccountDatabase:
		k.accountAuthenticator(key, &a)
	case Certificate, UnixPeer, AllOfThem:
		if a.File != "" {
			k.wrong(key+".file", "type %s has no file", a.Type)
		}
		if a.AllowEmpty || k.set(key+".allow_empty") {
			k.wrong(key+".allow_empty", "is only for type password_file")
		}
		if a.BelieveUsername {
			k.wrong(key+".believe_username", "is only for type anonymous")
		}
		if a.Type == AllOfThem && a.Realm != "" {
			k.wrong(key+".realm", "type all_of has no realm: it is that of its source")
		}
	default:
		k.wrong(key+".type", "must be %s", orList(a.Type.Choices()))
	}
	if a.Accounts != nil && a.Type != AccountDatabase {
		k.wrong(key+".accounts", "is only for type accounts")
	}
	if a.JWT != nil && a.Type != Tokens {
		k.wrong(key+".jwt", "is only for type jwt")
	}
}

func (k *checker) policy(i int) {
	p, key := k.c.Policies[i], fmt.Sprintf("policies[%d]", i)
	switch p.Type {
	case Permissions, MosquittoACL:
		k.file(key+".file", p.File, false)
	case AllowAll, AccountRoles, TokenClaims:
		if p.File != "" {
			k.wrong(key+".file", "type %s has no file", p.Type)
		}
		if p.AllowEmpty || k.set(key+".allow_empty") {
			k.wrong(key+".allow_empty", "type %s has no file", p.Type)
		}
		if p.Type == TokenClaims {
			k.tokenPolicy(key, p.Name)
		}
	default:
		k.wrong(key+".type", "must be %s", orList(p.Type.Choices()))
	}
	if p.Type != MosquittoACL && (p.Strict || k.set(key+".strict")) {
		k.wrong(key+".strict", "is only for type mosquitto_acl")
	}
}

// between complains when v is outside of lo and hi.
func between[T cmp.Ordered](k *checker, key string, v, lo, hi T) {
	if v < lo || v > hi {
		k.wrong(key, "must be from %v to %v, not %v", lo, hi, v)
	}
}

// MaxSocketPath is how many bytes the path of a unix socket may have: what
// every platform's socket address holds.
const MaxSocketPath = 100

// What the protocol allows at most.
const (
	maxPacket     = Size(268_435_455)
	maxExpiry     = 0xFFFFFFFE * time.Second
	maxCount      = 1 << 30
	maxBytes      = Size(1) << 40
	maxPatience   = time.Hour
	leastPatience = 100 * time.Millisecond
)

// limits checks the values under key, which are l's.
func (k *checker) limits(key string, l ListenerLimits) {
	for _, n := range []struct {
		name  string
		value int
		most  int
	}{
		{"connections", l.Connections, maxCount},
		{"topic_levels", l.TopicLevels, 65535},
		{"topic_bytes", l.TopicBytes, 65535},
		{"client_id_bytes", l.ClientIDBytes, 65535},
		{"user_properties", l.UserProperties, maxCount},
		{"subscriptions", l.Subscriptions, maxCount},
		{"filters_per_subscribe", l.FiltersPerSubscribe, maxCount},
		{"queue_messages", l.QueueMessages, maxCount},
	} {
		between(k, key+"."+n.name, n.value, 0, n.most)
	}
	between(k, key+".connect_timeout", l.ConnectTimeout, leastPatience, maxPatience)
	between(k, key+".write_timeout", l.WriteTimeout, leastPatience, maxPatience)
	between(k, key+".packet_size_unauthenticated", l.PacketSizeUnauthenticated, 256, maxPacket)
	if l.PacketSize != 0 {
		between(k, key+".packet_size", l.PacketSize, 20, maxPacket)
	}
	between(k, key+".message_size", l.MessageSize, 0, maxPacket)
	between(k, key+".queue_bytes", l.QueueBytes, 0, maxBytes)
	between(k, key+".output_bytes", l.OutputBytes, 0, maxBytes)
	between(k, key+".receive_maximum", l.ReceiveMaximum, 1, 65535)
	between(k, key+".inflight", l.Inflight, 1, 65535)
	between(k, key+".qos", l.QoS, 0, 2)
	between(k, key+".session_expiry", l.SessionExpiry, 0, maxExpiry)
	if l.SessionExpiry > 0 && l.SessionExpiry < time.Second {
		k.wrong(key+".session_expiry", "must be 0 (no limit) or at least 1s")
	}
}

func (k *checker) globalLimits() {
	l := k.c.Limits
	between(k, "limits.sessions", l.Sessions, 0, maxCount)
	between(k, "limits.sessions_per_principal", l.SessionsPerPrincipal, 0, maxCount)
	between(k, "limits.retained_messages", l.RetainedMessages, 0, maxCount)
	between(k, "limits.retained_bytes", l.RetainedBytes, 0, maxBytes)
	between(k, "limits.buffer_bytes", l.BufferBytes, 0, maxBytes)
}

// broker checks what is not of one listener.
func (k *checker) broker() {
	c := k.c
	between(k, "hashing.workers", c.Hashing.Workers, 0, 256)
	between(k, "hashing.memory", c.Hashing.Memory, MiB, 4*GiB)
	between(k, "hashing.queue", c.Hashing.Queue, 1, 1_000_000)
	between(k, "hashing.auth_failure_floor", c.Hashing.AuthFailureFloor, 0, 30*time.Second)
	between(k, "hashing.cache_ttl", c.Hashing.CacheTTL, 0, 10*time.Minute)
	between(k, "hashing.wrong_ttl", c.Hashing.WrongTTL, 0, time.Minute)
	between(k, "hashing.cache_entries", c.Hashing.CacheEntries, 0, 10_000_000)
	between(k, "shutdown.timeout", c.Shutdown.Timeout, leastPatience, maxPatience)
	if c.SysInterval != 0 {
		between(k, "sys_interval", c.SysInterval, time.Second, 24*time.Hour)
	}
	if len(c.MQTT.ResponseInformation) > 1024 {
		k.wrong("mqtt.response_information", "must have at most 1024 bytes")
	}
	if c.PIDFile != "" {
		if text := notWritableIn(c.PIDFile); text != "" {
			k.wrong("pid_file", "%s", text)
		}
	}
	k.control()
}

// control checks the socket of sallyport ctl.
func (k *checker) control() {
	path, key := k.c.Control.Socket, "control.socket"
	if path == "" {
		return
	}
	k.socketPath(key, path)
	for i := range k.c.Listeners {
		if l := &k.c.Listeners[i]; l.Transport == Unix && filepath.Clean(l.Address) == filepath.Clean(path) {
			k.wrong(key, "listener %s has this path", l.Name)
		}
	}
}

// socketPath checks where a unix socket shall be made.
func (k *checker) socketPath(key, path string) {
	// The kernels' own limits are 104 and 108 bytes.
	if len(path) > MaxSocketPath {
		k.wrong(key, "the path of a unix socket must have at most %d bytes", MaxSocketPath)
	} else if text := notWritableIn(path); text != "" {
		k.wrong(key, "%s", text)
	}
}

func (k *checker) log() {
	l := k.c.Log
	if l.File != "" {
		if text := notWritableIn(l.File); text != "" {
			k.wrong("log.file", "%s", text)
		}
	}
	for i, o := range l.Outputs {
		if slices.Contains(l.Outputs[:i], o) {
			k.wrong(fmt.Sprintf("log.outputs[%d]", i), "%s is already in this list", o)
		}
	}
}
