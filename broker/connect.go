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
	lim := &c.lis.Limits
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
	o := c.opening.Load()
	o.connect.Store(p)
	c.countFrom(c.turn.now)
	if err := c.checkConnect(p); err != nil {
		return err
	}
	if p.ClientID == "" {
		// Assigned now, since who may have which identifier is judged with the credentials.
		named := *p
		named.ClientID, o.assigned = c.lis.GeneratedPrefix+rand.Text(), true
		p = &named
		o.connect.Store(p)
	}
	creds := &o.info.Creds
	creds.ClientID, creds.Listener = p.ClientID, c.lis.Name
	creds.HasUsername, creds.Username = p.HasUsername, p.Username
	creds.HasPassword, creds.Password = p.HasPassword, p.Password
	creds.Addr, creds.Secure = o.info.Remote, o.info.Secure
	if p.Props.Has(packet.PropAuthMethod) {
		creds.AuthMethod, creds.AuthData = p.Props.AuthMethod, p.Props.AuthData
		return c.beginExchange(creds)
	}
	if c.lis.Auth == nil {
		c.refuseIdentity(errors.New("the listener has no authenticator"), 0)
		return nil
	}
	c.identify()
	return nil
}

// identify begins authentication.
func (c *Conn) identify() {
	c.phase = authenticating
	o := c.opening.Load()
	began, resume := c.turn.now, c.await()
	o.epoch = c.lis.Auth.Epoch()
	c.setCancel(c.lis.Auth.Begin(&o.info.Creds, func(who *security.Principal, err error) {
		resume(func() { c.identified(who, err, began) })
	}))
}

// setCancel keeps what gives up an authentication when the connection ends.
func (c *Conn) setCancel(cancel func()) {
	if cancel == nil {
		return
	}
	c.mu.Lock()
	o, ended := c.opening.Load(), c.ended.Load()
	if o != nil {
		o.cancel = cancel
	}
	c.mu.Unlock()
	if ended {
		cancel()
	}
}

// checkConnect judges what needs no identity.
func (c *Conn) checkConnect(p *packet.Connect) error {
	lim := &c.lis.Limits
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
		return &packet.Error{Code: packet.ClientIDNotValid, Text: "keep alive longer than this listener allows", Limit: "keep_alive_max"}
	}
	if w := p.Will; w != nil {
		if err := topic.CheckName(w.Topic, lim.Topic); err != nil {
			return &packet.Error{Code: packet.TopicNameInvalid, Text: "will topic: " + err.Error(), Limit: topicLimit(err)}
		}
		if w.QoS > lim.MaxQoS {
			// MQTT-3.2.2-12
			return &packet.Error{Code: packet.QoSNotSupported, Text: "will QoS above the maximum", Limit: "qos"}
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
	if err != nil {
		c.unidentified(err, began)
		return
	}
	o := c.opening.Load()
	if !c.lis.Auth.Stands(who) && o.tries < identifyTries {
		// Its account changed meanwhile: what it is now says what becomes of it.
		o.tries++
		c.identify()
		return
	}
	c.admitWith(who, nil)
}

// identifyTries is how often an authentication begins again since the account changed
// while it was under way. The CONNECT is refused as one for a busy server then.
const identifyTries = 2

// unidentified refuses a CONNECT whose authentication failed with err. What says
// nothing of the credentials has a code of its own.
func (c *Conn) unidentified(err error, began int64) {
	var redirect *security.Redirect
	if errors.As(err, &redirect) {
		c.redirect(redirect)
		return
	}
	if errors.Is(err, authn.ErrBusy) {
		c.limit("hashing.queue")
		c.refuseConnect(packet.ServerBusy, "too many authentications wait")
		return
	}
	if errors.Is(err, authn.ErrUnavailable) {
		c.refuseLater(packet.ServerUnavailable, err, began)
		return
	}
	c.refuseIdentity(err, began)
}

// refuseIdentity refuses a CONNECT so that every failure looks the same, and
// no sooner than the common floor of time.
func (c *Conn) refuseIdentity(cause error, began int64) {
	c.refuseLater(packet.BadUserNameOrPassword, cause, began)
}

// refuseLater is refuseConnect no sooner than the common floor of time.
func (c *Conn) refuseLater(code packet.Code, cause error, began int64) {
	floor := time.Duration(0)
	if c.lis.Auth != nil {
		floor = c.lis.Auth.FailureFloor()
	}
	if began == 0 {
		began = c.turn.now
	}
	at := began + int64(floor)
	if c.b.now() >= at {
		c.refuseConnect(code, cause.Error())
		return
	}
	c.phase = authenticating
	resume := c.await()
	o := c.opening.Load()
	c.mu.Lock()
	o.refuse, o.refuseAt = func() { resume(func() { c.refuseConnect(code, cause.Error()) }) }, at
	c.mu.Unlock()
	if end := o.deadline.Load(); end == 0 || at < end {
		c.arm(at)
	}
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
// was no CONNECT gets no answer. Of the refusals only the log is told.
func (c *Conn) refuseConnect(code packet.Code, reason string, refused ...refusal) {
	c.b.metrics.ConnectsRefused.Add(1)
	attrs := []slog.Attr{slog.String("reason", reason), slog.String("code", codeText(code))}
	for _, r := range refused {
		if r.id != "" {
			attrs = append(attrs, slog.String("decision", r.id))
		}
	}
	c.b.audit.Record(audit.ConnectRefused, c.who(attrs...)...)
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
