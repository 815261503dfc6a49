// Package audit is what the broker writes down for those who must know later:
// one typed list of security events, written through slog. The names and
// fields of the events are an interface: changing one is a change of API.
package audit

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"sallyport/internal/jwt"
)

// Event is the name of a security event.
type Event string

// The events. Each is written with the fields named beside it, where known;
// decision is the identifier of the refusal, where the configuration wants one.
const (
	HandshakeFailed Event = "handshake_failed" // addr, listener, reason, subject, error
	Connected       Event = "connected"        // client, user, addr, listener, method, version, tls
	ConnectRefused  Event = "connect_refused"  // client, user, addr, listener, reason, code, decision
	Disconnected    Event = "disconnected"     // client, user, addr, listener, reason, code
	// The credential of a connection has expired, which ends it; its will is published.
	CredentialExpired Event = "credential_expired" // client, user, addr, listener, bound, expired
	// A connection has reached a bound of its listener: bound is max_auth_age or
	// max_connection_lifetime.
	ConnectionExpired Event = "connection_expired" // client, user, addr, listener, bound, expired
	// A client has proved again who it is, or has failed to, which ends the connection.
	Reauthenticated        Event = "reauthenticated"         // client, user, addr, listener, method, expires
	ReauthenticationFailed Event = "reauthentication_failed" // client, user, addr, listener, method, reason, code
	// Authentication is what the members of a listener's chain said of a client.
	Authentication    Event = "authentication"     // client, addr, listener, result, method, asked
	AuthenticatorDown Event = "authenticator_down" // authenticator, error
	AuthenticatorUp   Event = "authenticator_up"   // authenticator
	PublishDenied     Event = "publish_denied"     // client, user, addr, listener, topic, qos, retain, repeated, policy, file, line, rule, decision
	SubscribeDenied   Event = "subscribe_denied"   // client, user, addr, listener, filter, qos, policy, file, line, rule, decision
	WillDenied        Event = "will_denied"        // client, user, addr, listener, topic, policy, file, line, rule, decision
	// Standing subscriptions, when the rules or the client's rights changed; qos as it was.
	SubscriptionRevoked Event = "subscription_revoked" // client, user, filter, qos, policy, file, line, rule
	SubscriptionLowered Event = "subscription_lowered" // client, user, filter, qos, policy, file, line, rule
	SessionForeign      Event = "session_foreign"      // client, user, addr, listener, owner, owner_realm
	SessionTakenOver    Event = "session_taken_over"   // client, user, addr, listener, old_addr
	ProtocolViolation   Event = "protocol_violation"   // client, user, addr, listener, reason, code
	LimitReached        Event = "limit_reached"        // client, user, addr, listener, limit
	MessagesDropped     Event = "messages_dropped"     // client, user, reason, count
	RiskAccepted        Event = "risk_accepted"        // listener, risk, text
	CertificateAlarm    Event = "certificate_alarm"    // listener, what, certificate, text
	Reloaded            Event = "reloaded"             // what, disconnected, revoked, lowered
	ReloadRefused       Event = "reload_refused"       // what, error
	ShadowDiffers       Event = "shadow_differs"       // client, user, listener, action, topic, qos, live, live_rule, shadow, shadow_rule
	// Accounts, groups or roles of the account database: how many accounts changed, and how many may not connect any
	// more; what became of sessions.
	AccountsChanged Event = "accounts_changed" // changed, ended, roles, disconnected, renewed, revoked
	ControlAction   Event = "control_action"   // action, actor, addr, target, result
	ControlRefused  Event = "control_refused"  // action, actor, addr, reason
)

// Log writes events. The zero Log writes nothing.
//
// Events that strangers can cause at will are written at most perSecond times
// a second each, so that a flood of refusals doesn't become a flood of log; the
// next line that is written says in "suppressed" how many were not. Failed
// handshakes are counted by their reason, so that a flood of one hides no other.
type Log struct {
	to     *slog.Logger
	floods *floods
}

// perSecond is how many events of one name are written in a second, where strangers can cause them.
const perSecond = 50

// New makes a Log that writes to l.
func New(l *slog.Logger) Log {
	return Log{to: l, floods: &floods{now: time.Now, seen: make(map[string]*flood)}}
}

// Writes reports whether Record would write anything of e, so that who can cause
// e often need not gather its fields in vain.
func (l Log) Writes(e Event) bool {
	return l.to != nil && l.to.Enabled(context.Background(), e.level())
}

// Hidden stands in the place of a text that may be a token.
const Hidden = "(hidden)"

// hideTokens takes out what may be a token: a client may send one where it doesn't
// belong, as its name say, and whoever reads the log could use it.
func hideTokens(attrs []slog.Attr) []slog.Attr {
	cloned := false
	for i, a := range attrs {
		if a.Value.Kind() != slog.KindString || !jwt.Resembles(a.Value.String()) {
			continue
		}
		if !cloned {
			attrs, cloned = slices.Clone(attrs), true
		}
		attrs[i].Value = slog.StringValue(Hidden)
	}
	return attrs
}

// Record writes event e at its level with attrs, of which none is a token.
func (l Log) Record(e Event, attrs ...slog.Attr) {
	if l.to == nil {
		return
	}
	if e.byStrangers() {
		suppressed, write := l.floods.admit(e.kind(attrs))
		if !write {
			return
		}
		if suppressed > 0 {
			attrs = append(attrs, slog.Int("suppressed", suppressed))
		}
	}
	l.to.LogAttrs(context.Background(), e.level(), string(e), hideTokens(attrs)...)
}

// byStrangers reports whether somebody without rights can cause e as often as he likes.
func (e Event) byStrangers() bool {
	switch e {
	case HandshakeFailed, ConnectRefused, Authentication, ProtocolViolation, LimitReached, PublishDenied, SubscribeDenied, WillDenied, SessionForeign,
		ControlRefused, ShadowDiffers, Reauthenticated, ReauthenticationFailed:
		return true
	}
	return false
}

// kind is what is counted together: the event, for HandshakeFailed with its
// reason, which is one of a few words.
func (e Event) kind(attrs []slog.Attr) string {
	if e == HandshakeFailed {
		for _, a := range attrs {
			if a.Key == "reason" {
				return string(e) + " " + a.Value.String()
			}
		}
	}
	return string(e)
}

// floods counts events per second.
type floods struct {
	now func() time.Time

	mu   sync.Mutex        // guards the fields below
	seen map[string]*flood // by kind
}

type flood struct {
	second     int64
	written    int
	suppressed int
}

// admit reports whether one more event is written, and how many were not since the last one.
func (f *floods) admit(kind string) (suppressed int, write bool) {
	second := f.now().Unix()
	f.mu.Lock()
	defer f.mu.Unlock()
	x := f.seen[kind]
	if x == nil {
		x = &flood{}
		f.seen[kind] = x
	}
	if x.second != second {
		x.second, x.written = second, 0
	}
	if x.written >= perSecond {
		x.suppressed++
		return 0, false
	}
	x.written++
	suppressed, x.suppressed = x.suppressed, 0
	return suppressed, true
}

func (e Event) level() slog.Level {
	switch e {
	case Authentication:
		return slog.LevelDebug
	case Connected, Disconnected, SessionTakenOver, Reauthenticated, Reloaded, AccountsChanged, ControlAction, ShadowDiffers, AuthenticatorUp:
		return slog.LevelInfo
	}
	return slog.LevelWarn
}
