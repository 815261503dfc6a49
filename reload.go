package sallyport

import (
	"crypto/x509"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"time"

	"sallyport/audit"
	"sallyport/config"
	"sallyport/security"
	"sallyport/security/authn"
)

// ErrNoReader says that nobody told the server how to read its configuration again.
var ErrNoReader = errors.New("there is no way to read the configuration again")

var errStopped = errors.New("the broker has stopped")

// ReloadFiles reads the configuration again, by Options.Read, and puts it in
// force as Reload does. SIGHUP, changed files and sallyport ctl come here. An
// error is logged as well; one that comes from a file names it.
func (s *Server) ReloadFiles() error {
	if s.read == nil {
		return ErrNoReader
	}
	// One at a time: a configuration that was read earlier must not replace one
	// that was read later.
	s.reading.Lock()
	defer s.reading.Unlock()
	tried := s.watch.present()
	cfg, err := s.read()
	if err == nil {
		for _, f := range cfg.Sources {
			tried[f.Path] = f.Sum
		}
		tried.add(cfg.Files())
		err = s.Reload(cfg)
	}
	if err == nil || errors.Is(err, errStopped) {
		return err
	}
	var list config.Problems
	if errors.As(err, &list) {
		for _, p := range list {
			if _, known := tried[p.Lacks]; p.Lacks != "" && !known {
				tried[p.Lacks] = config.Sum{} // when it comes, that is a change
			}
		}
	}
	s.watch.refuse(tried)
	s.audit.Record(audit.ReloadRefused, slog.String("what", "configuration"), slog.String("error", err.Error()))
	return err
}

// Reload puts cfg in the place of the configuration in force: files are read
// again, and all of them are taken over or none. What only a restart can change
// (listeners and their sockets, what the engine is made with, the log) and risks
// that are not accepted are refused. Connections of users whose password is
// gone or changed are ended, and those of whom the new authenticators, client id
// rules or policies would not let in, or whose certificate was revoked or has lost
// its authority; subscriptions that the policies do not
// allow any more end as mqtt.on_policy_change says. When it returns, nothing that
// was decided before happens any more.
func (s *Server) Reload(cfg *config.Config) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.hasStopped() {
		return errStopped
	}
	if err := cfg.Check(nil).Err(); err != nil {
		return err
	}
	if err := sameForm(s.cfg, cfg); err != nil {
		return err
	}
	if err := s.judgeRisks(cfg); err != nil {
		return err
	}
	files := readingOf(cfg)
	w, err := s.build(cfg, s.world)
	if err != nil {
		w.discard(s.world)
		return err
	}
	if err := s.tuneAccounts(cfg); err != nil {
		w.discard(s.world)
		return err
	}
	w.compared = comparison(cfg, files.sums)
	s.say(w)
	s.sayAccounts(cfg)
	s.enforce(cfg, w)
	s.watch.loaded(files)
	return nil
}

func (s *Server) hasStopped() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped
}

// enforce puts world w in the place of the one in force.
func (s *Server) enforce(cfg *config.Config, w *world) {
	otherwise, anew := translated(s.cfg, cfg), prepared(s.cfg, cfg)
	for name, fresh := range w.tlsFresh {
		w.tls[name].Adopt(fresh)
	}
	s.authn.Replace(w.chains)
	gone := map[ownerName]bool{}
	changed := func(realm string, c authn.Changes) {
		for _, user := range append(c.Removed, c.Changed...) {
			gone[ownerName{realm, user}] = true
		}
	}
	for name, p := range w.passwords {
		if acc := w.accounts[name]; acc != nil {
			changed(p.Realm(), p.Swap(acc))
		} else if was := s.world.passwords[name]; was != nil {
			changed(was.Realm(), p.Since(was)) // another file, or realm, under the same name
		}
	}
	s.swapVerifiers(w, changed)
	s.right.Flush()
	s.wrong.Flush()
	s.rule(w.rules)
	if w.compared != s.world.compared {
		s.gate.Shadow().Reset()
	}
	was := s.world
	s.mu.Lock()
	s.cfg, s.world = cfg, w
	s.mu.Unlock()
	was.closeLanes(w)
	s.broker.SetListeners(s.engineListeners(cfg))
	// First whose account is gone, whatever became of their certificates: who is not
	// trusted any more may be allowed to stay, and leaves in parts otherwise.
	left := func(p *security.Principal) bool {
		return gone[ownerName{p.Realm, p.Name}] || !w.keeps(p) || p.Token != nil && otherwise[p.Method] || anew[p.Method] || was.gives(p) && !w.gives(p)
	}
	n := 0
	if len(was.tokens) > 0 { // who came by one, and whose account is as before
		n = s.broker.Revoke(func(p *security.Principal) bool {
			return p.Token != nil && !gone[ownerName{p.Realm, p.Name}] && left(p)
		}, "the token is not accepted any more: its key, or a setting that judges it, has changed")
	}
	n += s.broker.Revoke(left, "the account was changed or removed, or may not connect any more")
	n += s.revokeUntrusted(cfg, w, left)
	done := s.broker.Enforce()
	s.audit.Record(audit.Reloaded, slog.String("what", cfg.File), slog.Int("disconnected", n+done.Disconnected),
		slog.Int("revoked", done.Revoked), slog.Int("lowered", done.Lowered))
}

// Clients that are not trusted any more leave in parts, as long as there are many
// of them: they all come back at once.
const (
	leavingParts = 20
	leavingMany  = 50
	leavingPause = 150 * time.Millisecond
)

// revokeUntrusted ends the connections of clients whose certificate a handshake of
// now would not accept, and returns how many there were. Those that have left for
// another reason count there.
func (s *Server) revokeUntrusted(cfg *config.Config, w *world, left func(*security.Principal) bool) int {
	stay := map[string]bool{}
	for i := range cfg.Listeners {
		if l := &cfg.Listeners[i]; l.TLS == nil || l.TLS.OnTrustChange == config.TrustKeep {
			stay[l.Name] = true
		}
	}
	if len(stay) == len(cfg.Listeners) {
		return 0
	}
	seed, all := maphash.MakeSeed(), 0
	for part := range uint64(leavingParts) {
		n := s.broker.Revoke(func(p *security.Principal) bool {
			return !stay[p.Listener] && maphash.String(seed, p.ClientID)%leavingParts == part && !left(p) && !w.trusts(p)
		}, "the client certificate was revoked or is not trusted any more, or one is required now")
		if all += n; n > leavingMany && part < leavingParts-1 {
			select {
			case <-time.After(leavingPause):
			case <-s.ctx.Done():
			}
		}
	}
	return all
}

// translated is the authenticators that give names from outside another meaning than
// they did, or ask more of a token: what those names were, and what was in the token of
// whom they accepted, is not known any more.
func translated(was, is *config.Config) map[string]bool {
	return differing(was, is, func(a, b *config.Authenticator) bool {
		return reflect.DeepEqual(a.Groups, b.Groups) && reflect.DeepEqual(a.Roles, b.Roles) && !asksMore(a.JWT, b.JWT)
	})
}

// prepared is those that make user names and passwords in another way than they did:
// who their clients would be now is not known without what they sent.
func prepared(was, is *config.Config) map[string]bool {
	return differing(was, is, func(a, b *config.Authenticator) bool { return reflect.DeepEqual(a.Prepare, b.Prepare) })
}

// differing is the authenticators, and the all_of that they are parts of, that are not
// the same in both.
func differing(was, is *config.Config, same func(a, b *config.Authenticator) bool) map[string]bool {
	names := map[string]bool{}
	for i := range was.Authenticators {
		for j := range is.Authenticators {
			if a, b := &was.Authenticators[i], &is.Authenticators[j]; a.Name == b.Name && !same(a, b) {
				names[a.Name] = true
			}
		}
	}
	for _, a := range is.Authenticators {
		if a.AllOf != nil && slices.ContainsFunc(a.AllOf.Members, func(m string) bool { return names[m] }) {
			names[a.Name] = true
		}
	}
	return names
}

type ownerName struct{ realm, name string }

// keeps reports whether the authenticators of w would still accept a principal,
// as far as that can be told without its credentials.
func (w *world) keeps(p *security.Principal) bool {
	c := w.chains[p.Listener]
	return c != nil && c.Keeps(p) == nil
}

// gives reports whether p has groups, roles and attributes of an account.
func (w *world) gives(p *security.Principal) bool {
	c := w.chains[p.Listener]
	return c != nil && c.Gives(p)
}

// trusts reports whether a handshake with the listener's key material, which has
// been taken over already, would still let in the client that p is.
func (w *world) trusts(p *security.Principal) bool {
	srv := w.tls[p.Listener]
	if srv == nil {
		return true
	}
	var chain []*x509.Certificate
	if p.Chain != nil {
		chain = *p.Chain
	} else if p.Cert != nil {
		chain = []*x509.Certificate{p.Cert} // p was stored: what else its client sent is not known
	}
	return srv.Keeps(chain) == nil
}

// sameForm refuses a reload that would change what only a restart can: a key
// that is read again and has no effect would be taken for one that has.
func sameForm(was, is *config.Config) error {
	if len(was.Listeners) != len(is.Listeners) {
		return errors.New("a reload can't add or remove listeners: restart the broker")
	}
	var errs []error
	for i := range was.Listeners {
		errs = append(errs, sameDoor(was, is, i))
	}
	return errors.Join(append(errs, sameBroker(was, is))...)
}

// fixed is a setting that a start gives to a part which keeps it.
type fixed struct {
	key     string
	was, is any
}

// sameDoor compares what the socket of listener i was opened with.
func sameDoor(was, is *config.Config, i int) error {
	a, b := &was.Listeners[i], &is.Listeners[i]
	if a.Name != b.Name || a.Transport != b.Transport || a.Address != b.Address {
		return fmt.Errorf("listener %s: a reload can't change name, transport or address: restart the broker", b.Name)
	}
	list := []fixed{
		{"socket_mode", a.SocketMode, b.SocketMode},
		{"tcp_nodelay", a.TCPNoDelay, b.TCPNoDelay},
		{"allow", a.Allow, b.Allow},
		{"deny", a.Deny, b.Deny},
		{"proxy_protocol", a.ProxyProtocol, b.ProxyProtocol},
		{"forwarded_for", a.ForwardedFor, b.ForwardedFor},
		{"limits.connections", was.EffectiveLimits(i).Connections, is.EffectiveLimits(i).Connections},
	}
	if a.Transport.Web() {
		// Whether certificates name users decides which pages may connect.
		list = append(list, fixed{"websocket", a.WebSocket, b.WebSocket}, fixed{"identity", a.Identity, b.Identity},
			fixed{"tls.client_auth from or to none", asks(a), asks(b)})
	}
	if a.TLS != nil && b.TLS != nil {
		list = append(list, fixed{"tls.handshake_timeout", a.TLS.HandshakeTimeout, b.TLS.HandshakeTimeout},
			fixed{"tls.handshakes", a.TLS.Handshakes, b.TLS.Handshakes}, fixed{"tls.acme", a.TLS.ACME, b.TLS.ACME})
	}
	return changed("listener "+b.Name+": ", list)
}

// asks reports whether l asks clients for a certificate.
func asks(l *config.Listener) bool { return l.TLS != nil && l.TLS.ClientAuth != config.ClientAuthNone }

// sameBroker compares what the parts of the whole broker were made with.
func sameBroker(was, is *config.Config) error {
	a, b := &was.Limits, &is.Limits
	return changed("", slices.Concat([]fixed{
		{"limits.sessions", a.Sessions, b.Sessions},
		{"limits.sessions_per_principal", a.SessionsPerPrincipal, b.SessionsPerPrincipal},
		{"limits.retained_messages", a.RetainedMessages, b.RetainedMessages},
		{"limits.retained_bytes", a.RetainedBytes, b.RetainedBytes},
		{"limits.buffer_bytes", a.BufferBytes, b.BufferBytes},
		{"sys_interval", was.SysInterval, is.SysInterval},
		{"shutdown.publish_wills", was.Shutdown.PublishWills, is.Shutdown.PublishWills},
		{"storage", was.Storage, is.Storage},
		{"fips", was.FIPS, is.FIPS},
		{"driver", was.Driver, is.Driver},
		{"pid_file", was.PIDFile, is.PIDFile},
		{"run_as", was.RunAs, is.RunAs},
		{"control.socket", was.Control.Socket, is.Control.Socket},
	}, each("mqtt.", was.MQTT, is.MQTT), each("hashing.", was.Hashing, is.Hashing), each("log.", was.Log, is.Log)))
}

// each lists the settings of a section by the names that they have in the file.
func each[T any](prefix string, was, is T) []fixed {
	a, b := reflect.ValueOf(was), reflect.ValueOf(is)
	var list []fixed
	for i := range a.NumField() {
		key, _, _ := strings.Cut(a.Type().Field(i).Tag.Get("yaml"), ",")
		list = append(list, fixed{prefix + key, a.Field(i).Interface(), b.Field(i).Interface()})
	}
	return list
}

// changed names every setting that is not as it was.
func changed(where string, list []fixed) error {
	var errs []error
	for _, f := range list {
		if !reflect.DeepEqual(f.was, f.is) {
			errs = append(errs, fmt.Errorf("%sa reload can't change %s: restart the broker", where, f.key))
		}
	}
	return errors.Join(errs...)
}
