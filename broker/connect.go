package broker

import (
	"crypto/rand"
	"errors"
	"log/slog"
	"time"

	"sallyport/audit"
	"sallyport/internal/text"
	"sallyport/packet"
	"sallyport/security"
	"sallyport/security/authn"
	"sallyport/session"
	"sallyport/store"
	"sallyport/topic"
)

// bridgeLevel is the bit by which a bridge marks its protocol level.
const bridgeLevel = 0x80

// handleConnect checks a CONNECT as far as it can be without knowing who sent
// it, and begins authentication.
func (c *Conn) handleConnect(h packet.Header, body []byte) error {
	if h.Flags != 0 {
		return &packet.Error{Code: packet.MalformedPacket, Text: "reserved flags of CONNECT"}
	}
	lim := c.lis.Limits
	p, err := packet.DecodeConnect(body, packet.Limits{UserProperties: lim.UserProperties, ClientID: lim.ClientIDBytes})
	if p != nil {
		c.mu.Lock()
		// Who speaks a later version is answered in the latest known; bit 7 marks
		// a bridge, which comes again without it when it is refused.
		c.version = min(p.Version&^bridgeLevel, packet.V5)
		if p.Props.Has(packet.PropMaximumPacketSize) {
			c.sendMax = p.Props.MaximumPacketSize
		}
		c.mu.Unlock()
	}
	if err != nil {
		return err
	}
	c.connect = p
	c.identity.Store(&identity{client: p.ClientID, user: p.Username})
	if err := c.checkConnect(p); err != nil {
		return err
	}
	if p.ClientID == "" {
		// Assigned now, since who may have which identifier is judged with the credentials.
		p.ClientID, c.assigned = c.lis.GeneratedPrefix+rand.Text(), true
	}
	creds := c.info.Creds
	creds.ClientID, creds.Listener = p.ClientID, c.lis.Name
	creds.HasUsername, creds.Username = p.HasUsername, p.Username
	creds.HasPassword, creds.Password = p.HasPassword, p.Password
	creds.Addr, creds.Secure = c.info.Remote, c.info.Secure
	if p.Props.Has(packet.PropAuthMethod) {
		creds.AuthMethod, creds.AuthData = p.Props.AuthMethod, p.Props.AuthData
		return c.beginExchange(&creds)
	}
	if c.lis.Auth == nil {
		c.refuseIdentity(errors.New("the listener has no authenticator"), 0)
		return nil
	}
	c.phase = authenticating
	began, resume := c.turn.now, c.await()
	c.epoch = c.lis.Auth.Epoch()
	c.setCancel(c.lis.Auth.Begin(&creds, func(who *security.Principal, err error) {
		resume(func() { c.identified(who, err, began) })
	}))
	return nil
}

// setCancel keeps what gives up an authentication when the connection ends.
func (c *Conn) setCancel(cancel func()) {
	if cancel == nil {
		return
	}
	c.mu.Lock()
	ended := c.ended.Load()
	c.cancel = cancel
	c.mu.Unlock()
	if ended {
		cancel()
	}
}

// checkConnect judges what needs no identity.
func (c *Conn) checkConnect(p *packet.Connect) error {
	lim := c.lis.Limits
	if !text.Clean(p.ClientID) || !text.Clean(p.Username) {
		// MQTT 5.0, 1.5.4: a receiver may treat control characters as malformed; we do.
		return &packet.Error{Code: packet.MalformedPacket, Text: "control character in client identifier or user name"}
	}
	if p.ClientID == "" {
		// MQTT-3.1.3-8: 3.1.1 assigns an identifier to clean sessions only; 3.1 has none (2.1.3.1).
		if !c.lis.AllowEmptyClientID || p.Version == packet.V31 || p.Version == packet.V311 && !p.CleanStart {
			return &packet.Error{Code: packet.ClientIDNotValid, Text: "empty client identifier"}
		}
	}
	if p.Version < packet.V5 && lim.KeepAliveMax > 0 && (p.KeepAlive == 0 || p.KeepAlive > lim.KeepAliveMax) {
		return &packet.Error{Code: packet.ClientIDNotValid, Text: "keep alive longer than this listener allows"}
	}
	if w := p.Will; w != nil {
		if err := topic.CheckName(w.Topic, lim.Topic); err != nil {
			return &packet.Error{Code: packet.TopicNameInvalid, Text: "will topic: " + err.Error()}
		}
		if w.QoS > lim.MaxQoS {
			// MQTT-3.2.2-12
			return &packet.Error{Code: packet.QoSNotSupported, Text: "will QoS above the maximum"}
		}
		if w.Retain && c.b.opt.NoRetain {
			// MQTT-3.2.2-13
			return &packet.Error{Code: packet.RetainNotSupported, Text: "retained will"}
		}
	}
	return nil
}

// identified goes on when authentication has answered.
func (c *Conn) identified(who *security.Principal, err error, began int64) {
	if err == nil && who == nil {
		err = errors.New("the authenticator gave no principal")
	}
	if err == nil {
		c.admitWith(who, nil)
		return
	}
	var redirect *security.Redirect
	if errors.As(err, &redirect) {
		c.redirect(redirect)
		return
	}
	if errors.Is(err, authn.ErrBusy) {
		c.refuseConnect(packet.ServerBusy, "too many authentications wait")
		return
	}
	c.refuseIdentity(err, began)
}

// refuseIdentity refuses a CONNECT so that every failure looks the same, and
// no sooner than the common floor of time.
func (c *Conn) refuseIdentity(cause error, began int64) {
	floor := time.Duration(0)
	if c.lis.Auth != nil {
		floor = c.lis.Auth.FailureFloor()
	}
	if began == 0 {
		began = c.turn.now
	}
	code := packet.BadUserNameOrPassword
	at := began + int64(floor)
	if c.b.now() >= at {
		c.refuseConnect(code, cause.Error())
		return
	}
	c.phase = authenticating
	resume := c.await()
	c.floor.fire = func() { resume(func() { c.refuseConnect(code, cause.Error()) }) }
	c.arm(&c.floor, at)
}

// redirect refuses a CONNECT and names another server; only MQTT 5 can be told.
func (c *Conn) redirect(r *security.Redirect) {
	code := packet.UseAnotherServer
	if r.Permanent {
		code = packet.ServerMoved
	}
	if c.version != packet.V5 {
		c.refuseConnect(packet.ServerUnavailable, r.Error())
		return
	}
	ack := packet.Connack{Code: code}
	ack.Props.ServerReference = r.Server
	ack.Props.Mark(packet.PropServerReference)
	c.b.metrics.ConnectsRefused.Add(1)
	c.b.audit.Record(audit.ConnectRefused, c.who(slog.String("reason", r.Error()), slog.String("code", codeText(code)))...)
	if !c.sendWithin(func(dst []byte) []byte { return packet.AppendConnack(dst, packet.V5, &ack) }) {
		c.sendWithin(func(dst []byte) []byte { return packet.AppendConnack(dst, packet.V5, &packet.Connack{Code: code}) })
	}
	c.end(ending{code: code, reason: r.Error()})
}

// refuseConnect answers a CONNECT with a failure and ends the connection. What
// was no CONNECT gets no answer.
func (c *Conn) refuseConnect(code packet.Code, reason string) {
	c.b.metrics.ConnectsRefused.Add(1)
	c.b.audit.Record(audit.ConnectRefused, c.who(slog.String("reason", reason), slog.String("code", codeText(code)))...)
	if c.version != 0 {
		if v, answer := c.connackCode(code); answer {
			// One that is too large for the client is left out: the close tells as much.
			c.sendWithin(func(dst []byte) []byte {
				return packet.AppendConnack(dst, c.version, &packet.Connack{Code: v})
			})
		}
	}
	c.end(ending{code: code, reason: reason})
}

// connackCode translates a reason code for the client's version; answer is
// false where that version closes without a CONNACK.
func (c *Conn) connackCode(code packet.Code) (v packet.Code, answer bool) {
	if c.version == packet.V5 {
		// A CONNACK knows fewer codes than a DISCONNECT (MQTT 5.0, 3.2.2.2).
		switch code {
		case packet.UnspecifiedError, packet.MalformedPacket, packet.ProtocolError, packet.ImplementationSpecificError,
			packet.UnsupportedProtocolVersion, packet.ClientIDNotValid, packet.BadUserNameOrPassword, packet.NotAuthorized,
			packet.ServerUnavailable, packet.ServerBusy, packet.Banned, packet.BadAuthenticationMethod, packet.TopicNameInvalid,
			packet.PacketTooLarge, packet.QuotaExceeded, packet.PayloadFormatInvalid, packet.RetainNotSupported,
			packet.QoSNotSupported, packet.UseAnotherServer, packet.ServerMoved, packet.ConnectionRateExceeded:
			return code, true
		}
		return packet.UnspecifiedError, true
	}
	switch code {
	case packet.UnsupportedProtocolVersion:
		return packet.V3UnacceptableVersion, true
	case packet.ClientIDNotValid:
		return packet.V3IdentifierRejected, true
	case packet.ServerUnavailable, packet.ServerBusy, packet.QuotaExceeded, packet.ServerShuttingDown:
		return packet.V3ServerUnavailable, true
	case packet.BadUserNameOrPassword, packet.NotAuthorized, packet.Banned:
		if c.lis.V3Refusal != 0 {
			return c.lis.V3Refusal, true
		}
		return packet.V3NotAuthorized, true
	}
	return 0, false
}

// admitWith asks the gate whether the principal may connect, with its will,
// and attaches. authData goes with the CONNACK.
func (c *Conn) admitWith(who *security.Principal, authData []byte) {
	p := c.connect
	if who.ClientID != p.ClientID || who.Listener != c.lis.Name || who.Addr != c.info.Remote {
		named := *who
		named.ClientID, named.Listener, named.Addr, named.Secure = p.ClientID, c.lis.Name, c.info.Remote, c.info.Secure
		who = &named
	}
	c.principal, c.clientID = who, p.ClientID
	c.identity.Store(&identity{client: p.ClientID, user: who.Name})
	if v := c.b.gate.Admit(who); !v.Allowed() {
		c.refuseConnect(packet.NotAuthorized, v.Policy+": "+v.Rule)
		return
	}
	if w := p.Will; w != nil {
		if _, v := c.b.gate.Publish(who, w.Topic, w.QoS, w.Retain, true); !v.Allowed() {
			c.b.audit.Record(audit.WillDenied, c.who(verdictAttrs(v, slog.String("topic", w.Topic))...)...)
			c.refuseConnect(packet.NotAuthorized, "will not allowed")
			return
		}
	}
	c.attach(authData)
}

// attach makes this connection the client's present one, and answers.
func (c *Conn) attach(authData []byte) {
	a, err := c.b.attach(c)
	if c.ended.Load() {
		// The end came before the client was known to it.
		if cl := c.client.Load(); cl != nil {
			cl.detach(c, ending{reason: "the connection ended while the client connected"})
		}
		return
	}
	if err != nil {
		var d *packet.Error
		if errors.As(err, &d) {
			c.refuseConnect(d.Code, d.Text)
		} else {
			c.refuseConnect(packet.UnspecifiedError, err.Error())
		}
		return
	}
	a.authData = authData
	c.phase = authenticating
	resume := c.await()
	c.b.commit(&a.batch, func(err error) {
		resume(func() { c.accept(a, err) })
	})
}

// accept sends the CONNACK and lets the session flow.
func (c *Conn) accept(a *attached, failed error) {
	if failed != nil {
		c.refuseConnect(packet.ServerUnavailable, "the session could not be stored")
		return
	}
	if c.lis.Auth != nil && c.method == "" && c.lis.Auth.Epoch() != c.epoch {
		// Accounts changed while this CONNECT was under way: it has to come again.
		c.refuseConnect(packet.ServerBusy, "accounts changed while the client connected")
		return
	}
	p := c.connect
	ack := packet.Connack{SessionPresent: a.present}
	if p.Version == packet.V5 {
		c.describe(&ack, a)
	}
	c.configure(p)
	if !c.sendWithin(func(dst []byte) []byte { return packet.AppendConnack(dst, p.Version, &ack) }) {
		c.refuseConnect(packet.ImplementationSpecificError, "the client accepts no packet as large as its CONNACK")
		return
	}
	c.b.metrics.ConnectsAccepted.Add(1)
	c.b.audit.Record(audit.Connected, c.who(slog.String("method", c.principal.Method), slog.Int("version", int(p.Version)))...)
	c.phase = serving
	c.accepted.Store(true)
	c.maxPacket = c.lis.Limits.Packet
	c.connect = nil
	c.client.Load().goLive(&c.turn, c)
}

// configure takes over what the CONNECT said of the connection.
func (c *Conn) configure(p *packet.Connect) {
	lim := c.lis.Limits
	c.access = security.NewAccess(c.b.gate, c.principal)
	c.publisher = &session.Origin{Realm: c.principal.Realm, Name: c.principal.Name, ClientID: c.clientID}
	ka := p.KeepAlive
	if lim.KeepAliveMax > 0 && (ka == 0 || ka > lim.KeepAliveMax) {
		ka = lim.KeepAliveMax
	}
	c.keepAlive.Store(int64(ka) * int64(time.Second) * 3 / 2)
	c.b.wheel.disarm(&c.life)
	c.lifeAt.Store(0)
	if ka > 0 {
		c.armLife(c.turn.now + c.keepAlive.Load())
	}
	if p.Version != packet.V5 {
		return
	}
	if p.Props.Has(packet.PropRequestProblemInfo) {
		c.problemInfo = p.Props.RequestProblemInfo == 1
	}
	if p.Props.Has(packet.PropReceiveMaximum) {
		c.receiveMax = int(p.Props.ReceiveMaximum)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.Props.Has(packet.PropTopicAliasMaximum) {
		c.aliasMax = min(p.Props.TopicAliasMaximum, lim.TopicAliasOut)
	}
}

// describe fills the properties of an MQTT 5 CONNACK (3.2.2.3).
func (c *Conn) describe(ack *packet.Connack, a *attached) {
	p, lim, pr := c.connect, c.lis.Limits, &ack.Props
	if c.assigned {
		// MQTT-3.1.3-7
		pr.AssignedClientID = p.ClientID
		pr.Mark(packet.PropAssignedClientID)
	}
	if asked := sessionExpiryAsked(p); asked != a.expiry {
		pr.SessionExpiry = a.expiry
		pr.Mark(packet.PropSessionExpiry)
	}
	if lim.KeepAliveMax > 0 && (p.KeepAlive == 0 || p.KeepAlive > lim.KeepAliveMax) {
		pr.ServerKeepAlive = lim.KeepAliveMax
		pr.Mark(packet.PropServerKeepAlive)
	}
	if lim.ReceiveMaximum < 65535 {
		pr.ReceiveMaximum = lim.ReceiveMaximum
		pr.Mark(packet.PropReceiveMaximum)
	}
	if lim.MaxQoS < 2 {
		pr.MaximumQoS = lim.MaxQoS
		pr.Mark(packet.PropMaximumQoS)
	}
	if c.b.opt.NoRetain {
		pr.Mark(packet.PropRetainAvailable)
	}
	if lim.Packet < maxPacketSize {
		pr.MaximumPacketSize = uint32(lim.Packet)
		pr.Mark(packet.PropMaximumPacketSize)
	}
	if lim.TopicAlias > 0 {
		pr.TopicAliasMaximum = lim.TopicAlias
		pr.Mark(packet.PropTopicAliasMaximum)
	}
	if c.b.opt.NoWildcards {
		pr.Mark(packet.PropWildcardSubAvailable)
	}
	if c.b.opt.NoSubscriptionIDs {
		pr.Mark(packet.PropSubIDAvailable)
	}
	if c.b.opt.NoShared {
		pr.Mark(packet.PropSharedSubAvailable)
	}
	if p.Props.RequestResponseInfo == 1 && c.b.opt.ResponseInformation != "" {
		pr.ResponseInfo = c.b.opt.ResponseInformation
		pr.Mark(packet.PropResponseInfo)
	}
	if c.method != "" {
		// MQTT-4.12.0-5
		pr.AuthMethod = c.method
		pr.Mark(packet.PropAuthMethod)
		if len(a.authData) > 0 {
			pr.AuthData = a.authData
			pr.Mark(packet.PropAuthData)
		}
	}
}

// sessionExpiryAsked is the session expiry interval of a CONNECT; 3.1.1 knows
// only "ends with the connection" and "never".
func sessionExpiryAsked(p *packet.Connect) uint32 {
	if p.Version == packet.V5 {
		return p.Props.SessionExpiry
	}
	if p.CleanStart {
		return 0
	}
	return session.NeverExpires
}

// attached is the result of taking a client over.
type attached struct {
	present  bool
	expiry   uint32
	authData []byte
	batch    store.Batch
}

func verdictAttrs(v security.Verdict, more ...slog.Attr) []slog.Attr {
	return append(more, slog.String("policy", v.Policy), slog.String("file", v.File), slog.Int("line", v.Line), slog.String("rule", v.Rule))
}
