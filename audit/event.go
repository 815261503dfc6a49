// Package audit is what the broker writes down for those who must know later:
// one typed list of security events, written through slog. The names and
// fields of the events are an interface: changing one is a change of API.
package audit

import (
	"context"
	"log/slog"
)

// Event is the name of a security event.
type Event string

// The events. Each is written with the fields named beside it, where known.
const (
	Connected         Event = "connected"          // client, user, addr, listener, method, version
	ConnectRefused    Event = "connect_refused"    // client, user, addr, listener, reason, code
	Disconnected      Event = "disconnected"       // client, user, addr, listener, reason, code
	PublishDenied     Event = "publish_denied"     // client, user, addr, topic, qos, retain, policy, file, line, rule, suppressed
	SubscribeDenied   Event = "subscribe_denied"   // client, user, addr, filter, qos, policy, file, line, rule
	WillDenied        Event = "will_denied"        // client, user, addr, topic, policy, file, line, rule
	SessionForeign    Event = "session_foreign"    // client, user, owner, addr: a session of another principal was asked for
	SessionTakenOver  Event = "session_taken_over" // client, user, addr, old_addr
	ProtocolViolation Event = "protocol_violation" // client, user, addr, reason, code
	LimitReached      Event = "limit_reached"      // client, addr, limit
	MessagesDropped   Event = "messages_dropped"   // client, user, reason, count
	RiskAccepted      Event = "risk_accepted"      // listener, risk
	Reloaded          Event = "reloaded"           // what
	ReloadRefused     Event = "reload_refused"     // what, error
)

// Log writes events. The zero Log writes nothing.
type Log struct{ to *slog.Logger }

// New makes a Log that writes to l.
func New(l *slog.Logger) Log { return Log{to: l} }

// Record writes event e at its level with attrs.
func (l Log) Record(e Event, attrs ...slog.Attr) {
	if l.to == nil {
		return
	}
	l.to.LogAttrs(context.Background(), e.level(), string(e), attrs...)
}

// Enabled reports whether e would be written, so that its attributes need not be made.
func (l Log) Enabled(e Event) bool {
	return l.to != nil && l.to.Enabled(context.Background(), e.level())
}

func (e Event) level() slog.Level {
	switch e {
	case Connected, Disconnected, SessionTakenOver, Reloaded:
		return slog.LevelInfo
	}
	return slog.LevelWarn
}
