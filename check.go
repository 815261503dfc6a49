package sallyport

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"sallyport/certs"
	"sallyport/config"
	"sallyport/internal/suites"
	"sallyport/security"
	"sallyport/security/authn"
)

// Findings is what a check has to say about a configuration that would start.
type Findings struct {
	Warnings []string // about files that would be used all the same
	// Open is what lets in or allows without asking who it is, listener by
	// listener, whether other machines can reach it or not.
	Open []string
	// Shadow is which policies are asked and not obeyed.
	Shadow []string
	// TLS is what each TLS listener speaks with its certificate.
	TLS []string
}

// Check builds everything that cfg names, as a start would, and opens no port. The
// error is ErrFIPS itself where only this process is not fit for cfg: the Findings are
// those of one that is.
func Check(cfg *config.Config) (*Findings, error) {
	if err := cfg.Check(nil).Err(); err != nil {
		return &Findings{}, err
	}
	w, err := buildAlone(cfg)
	defer w.closeLanes(nil)
	if w == nil {
		return &Findings{}, err
	}
	f := &Findings{}
	for _, x := range w.warnings {
		if !x.exposed { // the modes of files are judged by config.Warnings
			f.Warnings = append(f.Warnings, x.file+": "+x.text)
		}
	}
	defer w.close()
	f.Warnings = append(f.Warnings, controlWarnings(cfg)...)
	f.Warnings = append(f.Warnings, fipsWarnings(cfg)...)
	if err = errors.Join(err, checkStore(cfg)); err != nil {
		return f, errors.Join(err, demandFIPS(cfg))
	}
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		f.tls(w, l)
		f.open(cfg, w, l)
		if len(l.Shadow) > 0 {
			f.Shadow = append(f.Shadow, fmt.Sprintf("listener %s: %s would be asked beside the policies in force, and not obeyed", l.Name, strings.Join(l.Shadow, ", ")))
		}
	}
	return f, demandFIPS(cfg)
}

// buildAlone makes the world of cfg without a broker around it. The world comes
// with the error as far as it could be built, nil if not at all.
func buildAlone(cfg *config.Config) (*world, error) {
	s := &Server{cfg: cfg, idle: true, ctx: context.Background(), hosts: authn.NewHosts(authn.HostsOptions{Offline: true})}
	var err error
	if s.pool, err = newPool(cfg, Options{}); err != nil {
		return nil, err
	}
	defer s.pool.Close()
	return s.build(cfg, nil)
}

// tls tells what listener l speaks.
func (f *Findings) tls(w *world, l *config.Listener) {
	srv := w.tls[l.Name]
	if srv == nil {
		return
	}
	say := func(format string, args ...any) {
		f.TLS = append(f.TLS, "listener "+l.Name+": "+fmt.Sprintf(format, args...))
	}
	speaks := srv.Speaks()
	var versions, groups []string
	for _, v := range speaks.Versions {
		versions = append(versions, suites.VersionText(v))
	}
	for _, g := range speaks.Groups {
		groups = append(groups, g.Name)
	}
	say("versions %s", strings.Join(versions, ", "))
	for _, key := range keys(srv) {
		say("cipher suites with this certificate's %s key %s", key, suites.Names(speaks.For(key)))
	}
	say("groups %s", strings.Join(groups, ", "))
	if unwanted := speaks.Unwanted(); len(unwanted) > 0 {
		say("clients must not offer %s: Go may choose what they offer, and the handshake is then refused", suites.Names(unwanted))
	}
}

// keys are the kinds of keys that srv has, each once.
func keys(srv *certs.Server) []suites.Key {
	var all []suites.Key
	for _, c := range srv.Leaves() {
		if k := suites.KeyOf(c.PublicKey); !slices.Contains(all, k) {
			all = append(all, k)
		}
	}
	return all
}

// open finds what of listener l is open.
func (f *Findings) open(cfg *config.Config, w *world, l *config.Listener) {
	say := func(format string, args ...any) {
		f.Open = append(f.Open, "listener "+l.Name+": "+fmt.Sprintf(format, args...))
	}
	for _, a := range cfg.Authenticators {
		switch {
		case a.Type != config.Anonymous || !slices.Contains(l.Authenticators, a.Name):
		case a.BelieveUsername:
			say("authenticator %s lets everyone in, under any user name", a.Name)
		default:
			say("authenticator %s lets clients in without credentials", a.Name)
		}
	}
	all := false
	for _, p := range cfg.Policies {
		if p.Type == config.AllowAll && slices.Contains(l.Policies, p.Name) {
			say("policy %s allows every topic to everyone who is let in", p.Name)
			all = true
		}
	}
	if all {
		return
	}
	// Whether a file does the same is found out by asking for somebody and a
	// topic that no rule can mean.
	gate, topic := security.NewGate(w.rules), rand.Text()+"/"+rand.Text()
	who := &security.Principal{
		Realm: rand.Text(), Name: rand.Text(), ClientID: rand.Text(), Listener: l.Name,
		Secure: l.Transport.Secure() || l.Transport == config.Unix,
	}
	for _, x := range []struct {
		action security.Action
		text   string
	}{{security.Publish, "publish to any topic"}, {security.Receive, "receive any message"}} {
		v := gate.Decide(&security.Request{Principal: who, Action: x.action, Topic: topic})
		if v.Allowed() {
			say("everyone who is let in may %s (%s)", x.text, ruleOf(v))
		}
	}
}

// newPool makes the workers that hash passwords, and tell opt's functions.
func newPool(cfg *config.Config, opt Options) (*authn.Pool, error) {
	h := cfg.Hashing
	workers := h.AtOnce(runtime.GOMAXPROCS(0))
	return authn.NewPool(authn.PoolOptions{Workers: workers, Memory: int64(workers) * int64(h.Memory), Queue: h.Queue,
		Working: opt.Hashing, Worked: opt.Hashed})
}
