package sallyport

import (
	"crypto/x509"
	"errors"
	"math"
	"time"

	"sallyport/audit"
	"sallyport/broker"
	"sallyport/certs"
	"sallyport/config"
	"sallyport/listener"
	"sallyport/packet"
	"sallyport/security"
	"sallyport/security/authn"
	"sallyport/session"
	"sallyport/store"
	"sallyport/topic"

	"log/slog"
)

// engineOptions translates a configuration for the engine.
func engineOptions(cfg *config.Config, g *security.Gate, st store.Store, log *slog.Logger, ls map[string]*broker.Listener, version string) broker.Options {
	o := broker.Options{
		Listeners: ls, Gate: g, Store: st, Log: log,
		NoRetain: !cfg.MQTT.Retain, NoShared: !cfg.MQTT.SharedSubscriptions,
		NoWildcards: !cfg.MQTT.WildcardSubscriptions, NoSubscriptionIDs: !cfg.MQTT.SubscriptionIdentifiers,
		QueueQoS0: cfg.MQTT.QueueQoS0, MergeOverlapping: cfg.MQTT.MergeOverlapping,
		TellNoSubscribers:     cfg.MQTT.NoMatchingSubscribers,
		RedeliverOnDisconnect: cfg.MQTT.SharedRedeliver == config.RedeliverAtDisconnect,
		OwnedByClientID:       cfg.MQTT.SessionOwner == config.OwnerClientID,
		WillsOnShutdown:       cfg.Shutdown.PublishWills,
		KeepRetainedSource:    cfg.MQTT.RetainedSource == config.RetainedKeep,
		DenyIDs:               cfg.MQTT.DenyReason == config.DenyReasonID,
		ReasonStrings:         cfg.MQTT.ReasonStrings,
		ResponseInformation:   cfg.MQTT.ResponseInformation,
		Sessions:              cfg.Limits.Sessions, SessionsPerPrincipal: cfg.Limits.SessionsPerPrincipal,
		BufferBytes: int64(cfg.Limits.BufferBytes), RetainedMessages: int64(cfg.Limits.RetainedMessages),
		RetainedBytes: int64(cfg.Limits.RetainedBytes),
		SysInterval:   cfg.SysInterval, Version: version,
	}
	if cfg.MQTT.OnPolicyChange == config.PolicyWithhold {
		o.OnPolicyChange = broker.Withhold
	}
	return o
}

// engineListeners translates the listeners' part of a configuration.
func (s *Server) engineListeners(cfg *config.Config) map[string]*broker.Listener {
	ls := make(map[string]*broker.Listener, len(cfg.Listeners))
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		door := chainDoor{svc: s.authn, listener: l.Name, tls: s.world.tls[l.Name]}
		ls[l.Name] = &broker.Listener{
			Name: l.Name, Limits: engineLimits(cfg.EffectiveLimits(i)), Auth: door, Enhanced: door,
			AllowEmptyClientID: l.AllowEmptyClientID, GeneratedPrefix: l.GeneratedClientIDPrefix,
			V3Refusal: packet.Code(l.V3RefusalCode), DisconnectDenied: l.OnDeniedPublish == config.DeniedDisconnect,
			HideNames:  !cfg.ShowsNames(l),
			MaxAuthAge: l.MaxAuthAge, MaxConnectionLifetime: l.MaxConnectionLifetime,
		}
	}
	return ls
}

// engineLimits translates limits; where the configuration's 0 means "none" the
// engine gets the largest value.
func engineLimits(l config.Limits) broker.Limits {
	none := func(n int) int {
		if n == 0 {
			return math.MaxInt
		}
		return n
	}
	bytes := func(n config.Size) int { return none(int(n)) }
	out := broker.Limits{
		ConnectTimeout: l.ConnectTimeout, WriteTimeout: l.WriteTimeout, KeepAliveMax: l.KeepAliveMax,
		PacketUnauthenticated: bytes(l.PacketSizeUnauthenticated), Packet: bytes(l.PacketSize),
		Topic:         topic.Limits{Bytes: l.TopicBytes, Levels: l.TopicLevels},
		ClientIDBytes: l.ClientIDBytes, UserProperties: l.UserProperties,
		Subscriptions: none(l.Subscriptions), FiltersPerPacket: l.FiltersPerSubscribe,
		ReceiveMaximum: l.ReceiveMaximum, Inflight: int(l.Inflight),
		QueueMessages: none(l.QueueMessages), QueueBytes: bytes(l.QueueBytes), OutputBytes: bytes(l.OutputBytes),
		TopicAlias: l.TopicAlias, TopicAliasOut: l.TopicAliasOut, MaxQoS: l.QoS,
		SessionExpiry: session.NeverExpires, MessageBytes: int(l.MessageSize),
	}
	if s := l.SessionExpiry / time.Second; s > 0 && s < session.NeverExpires {
		out.SessionExpiry = uint32(s)
	}
	switch l.QueueFull {
	case config.DropOldest:
		out.QueueFull = broker.DropOldest
	case config.QueueFullDisconnect:
		out.QueueFull = broker.Disconnect
	}
	return out
}

// openDoor binds one listener.
func (s *Server) openDoor(cfg *config.Config, i int) (*listener.Listener, error) {
	l := &cfg.Listeners[i]
	o := listener.Options{
		Name: l.Name, Address: l.Address, SocketMode: l.SocketMode, Allow: l.Allow, Deny: l.Deny,
		NoDelay: l.TCPNoDelay, MaxConnections: cfg.EffectiveLimits(i).Connections, Log: s.log,
		WebSocket: listener.WebSocketOptions{Path: l.WebSocket.Path},
	}
	switch l.Transport {
	case config.TCP:
		o.Transport = listener.TCP
	case config.TLSTCP:
		o.Transport = listener.TLS
	case config.WS:
		o.Transport = listener.WS
	case config.WSS:
		o.Transport = listener.WSS
	case config.Unix:
		o.Transport = listener.Unix
	}
	if l.WebSocket.Path == "*" {
		o.WebSocket.Path = ""
	}
	// A page of another origin must not borrow a certificate that the browser presents by itself.
	byCertificate := l.Identity != config.IdentityNone || asks(l) ||
		l.ProxyProtocol != nil && l.ProxyProtocol.ProxyIdentity
	any := false
	for _, origin := range l.WebSocket.Origins {
		if origin == "*" {
			any = true
			continue
		}
		o.WebSocket.Origins = append(o.WebSocket.Origins, origin)
	}
	if any {
		o.WebSocket.Origins = nil
	} else if len(o.WebSocket.Origins) == 0 && byCertificate {
		o.WebSocket.RequireSameOrigin = true
	}
	if p := l.ProxyProtocol; p != nil {
		o.ProxyProtocol = &listener.ProxyProtocolOptions{Trusted: p.Trusted}
		switch p.Version {
		case config.ProxyV1:
			o.ProxyProtocol.Version = 1
		case config.ProxyV2:
			o.ProxyProtocol.Version = 2
		}
	}
	if f := l.ForwardedFor; f != nil {
		o.ForwardedFor = &listener.ForwardedForOptions{Trusted: f.Trusted}
	}
	if l.Transport.Secure() {
		o.TLS = s.world.tls[l.Name].Config()
		o.HandshakeTimeout, o.MaxHandshakes, o.Turns = l.TLS.HandshakeTimeout, l.TLS.Handshakes, s.turns
		o.Failed = s.handshakeFailed
	}
	return listener.Listen(o)
}

// handshakeFailed records that a TLS handshake was refused, or not finished.
func (s *Server) handshakeFailed(i *listener.Info, err error) {
	reason, subject := "", ""
	switch {
	case errors.Is(err, listener.ErrCrowded), errors.Is(err, listener.ErrDisplaced):
		reason = "crowded"
	case errors.Is(err, listener.ErrOversized):
		reason = "oversized"
	default:
		var leaf *x509.Certificate
		if reason, leaf = certs.Refusal(err); leaf != nil {
			subject = leaf.Subject.String()
		}
	}
	addr := "local"
	if i.Remote.IsValid() {
		addr = i.Remote.String()
	}
	s.audit.Record(audit.HandshakeFailed, slog.String("addr", addr), slog.String("listener", i.Listener),
		slog.String("reason", reason), slog.String("subject", shortly(subject)), slog.String("error", shortly(err.Error())))
}

// shortly cuts what a stranger's certificate says.
func shortly(s string) string {
	const longest = 200
	if len(s) > longest {
		return s[:longest] + "..."
	}
	return s
}

// chainDoor is the authentication of one listener as the engine wants it.
type chainDoor struct {
	svc      *authn.Service
	listener string
	tls      *certs.Server // nil without TLS; follows reloads
}

// Begin implements broker.Authenticator. An answer that was found under accounts
// that are no more is asked for again.
func (d chainDoor) Begin(c *authn.Credentials, done func(*security.Principal, error)) (cancel func()) {
	if err := d.trusts(c); err != nil {
		done(nil, err)
		return func() {}
	}
	return d.svc.Begin(c, done)
}

// trusts refuses a client whose handshake was before a reload after which it
// would have failed, and whose CONNECT comes only now.
func (d chainDoor) trusts(c *authn.Credentials) error {
	if d.tls == nil {
		return nil
	}
	if err := d.tls.Keeps(c.Chain); err != nil {
		return &authn.Refused{Method: "tls", Reason: err.Error()}
	}
	return nil
}

// Epoch implements broker.Authenticator.
func (d chainDoor) Epoch() authn.Epoch { return d.svc.Epoch(d.listener) }

// Stands implements broker.Authenticator.
func (d chainDoor) Stands(p *security.Principal) bool { return d.svc.Stands(p) }

// FailureFloor implements broker.Authenticator.
func (d chainDoor) FailureFloor() time.Duration { return d.svc.FailureFloor() }

// Exchange implements broker.Enhanced.
func (d chainDoor) Exchange(_ string, c *authn.Credentials) (broker.Exchange, bool) {
	n, ok := d.svc.Negotiate(c)
	return &exchange{n: n, door: d, creds: *c}, ok
}

// exchange runs one enhanced authentication.
type exchange struct {
	n     *authn.Negotiation
	door  chainDoor
	creds authn.Credentials
}

// Step implements broker.Exchange.
func (e *exchange) Step(data []byte, done func([]byte, *security.Principal, error)) {
	e.n.Step(data, func(reply []byte, who *security.Principal, err error) {
		if who != nil && err == nil {
			if err = e.door.trusts(&e.creds); err != nil {
				who = nil
			}
		}
		done(reply, who, err)
	})
}
